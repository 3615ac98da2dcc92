"""Environments made from names and options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from gymnasium.vector import AutoresetMode

from a3g.errors import UserError
from a3g.game.emulators import resolve_emulator
from a3g.game.env import MarioEnv
from a3g.game.lane_vector import LaneVectorEnv
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.options import GameOptions
from a3g.game.stages import WHOLE_GAME, Stage, parse_stage
from a3g.game.starts import StartSource, UniformStarts
from a3g.game.vector import MarioVectorEnv, VectorEnvArguments


def make_env(
    env_id: str | Stage | None = WHOLE_GAME, *, emulator: str = "auto", render_mode: str | None = None, **options: Any
) -> MarioEnv:
    """One game as a Gymnasium environment.

    Args:
        env_id: ``SuperMarioBros-v0`` or None (the whole game), ``SuperMarioBros-<world>-<stage>-v0``, or a stage's name
            such as ``1-1``.
        emulator: engine, see `a3g.game.emulators`.
        render_mode: None, ``rgb_array`` or ``human``.
        options: fields of `GameOptions`.

    Raises:
        UserError: for an unknown environment, engine or option, or a missing display.
    """
    return MarioEnv(parse_stage(env_id), _game_options(options), emulator, render_mode)


def make_vector_env(
    stages: Sequence[str | Stage | None],
    num_lanes: int,
    emulator: str = "auto",
    seed: int | None = 0,
    *,
    starts: StartSource | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    **options: Any,
) -> MarioVectorEnv:
    """Many games as a Gymnasium vector environment; observations uint8 (lanes, stack, height, width).

    Args:
        stages: names as in `make_env`, shared out among the lanes as `UniformStarts` says; unused if `starts` is given.
        num_lanes: games.
        emulator: engine, see `a3g.game.emulators`.
        seed: of all lanes.
        starts: where episodes begin, see `a3g.game.starts`.
        autoreset_mode: what follows an episode's end, see `MarioVectorEnv`.
        render_mode: None, or ``rgb_array``: `render` returns a picture uint8 (224, 240, 3) for each lane.
        options: fields of `GameOptions`.

    Raises:
        UserError: for an unknown stage, engine, mode or option.
    """
    return vector_env(
        [parse_stage(stage) for stage in stages],
        num_lanes,
        _game_options(options),
        emulator,
        seed,
        starts=starts,
        autoreset_mode=autoreset_mode,
        render_mode=render_mode,
    )


def vector_env(
    stages: Sequence[Stage | None],
    num_lanes: int,
    options: GameOptions,
    emulator: str = "auto",
    seed: int | None = 0,
    copy: bool = True,
    **arguments: Unpack[VectorEnvArguments],
) -> MarioVectorEnv:
    """`make_vector_env` with ready options; `copy` and further arguments as in `MarioVectorEnv`."""
    if resolve_emulator(emulator) == "native":
        check_core(options)
        return NativeVectorEnv(stages, num_lanes, options, seed, copy, **arguments)
    return LaneVectorEnv(stages, num_lanes, options, emulator, seed, copy, **arguments)


def check_core(options: GameOptions) -> None:
    """See that the native core installed here is not too old for the options.

    Raises:
        UserError: if it is.
    """
    import a3g_native

    if options.reward not in a3g_native.REWARDS:
        raise UserError(
            f"The native core installed here is too old for the reward {options.reward}: build it anew by "
            "`pip install ./native`, or choose another --emulator."
        )


def vector_env_parts(
    stages: Sequence[Stage | None],
    num_lanes: int,
    num_parts: int,
    options: GameOptions,
    emulator: str = "auto",
    seed: int | None = 0,
    copy: bool = True,
    starts: StartSource | None = None,
) -> list[MarioVectorEnv]:
    """The lanes of one vector environment dealt out, in order, to several that can be stepped on their own.

    Every lane plays the stages that it would play in the one, and the same games if the parts are reset with their
    shares of `lane_seeds(seed, num_lanes)`. All parts share one start source.

    Args:
        num_parts: a divisor of `num_lanes`.
        stages, num_lanes, options, emulator, seed, copy, starts: as in `vector_env`.
    """
    size = num_lanes // num_parts
    source = starts or UniformStarts(stages, options.noop_max, num_lanes)
    return [
        vector_env(stages, size, options, emulator, seed, copy, starts=source, first_lane=first)
        for first in range(0, num_lanes, size)
    ]


def _game_options(options: dict[str, Any]) -> GameOptions:
    unknown = set(options) - set(GameOptions.__dataclass_fields__)
    if unknown:
        known = ", ".join(GameOptions.__dataclass_fields__)
        raise UserError(f"Unknown environment option {sorted(unknown)[0]!r}: choose from {known}.")
    return GameOptions(**options)
