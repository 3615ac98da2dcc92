"""Which collector a worker plays with, and where its episodes begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.collector import Collector
from a3g.experience.demonstration_collector import DemonstrationCollector
from a3g.experience.double_buffered_collector import DoubleBufferedCollector
from a3g.experience.expert_collector import Expert, ExpertCollector
from a3g.experience.rollout import Policy, Rollout
from a3g.exploration.curriculum import CurriculumStarts
from a3g.exploration.demonstrations import ACTION_SET, FRAME_SKIP, Demonstration, load_demonstrations
from a3g.exploration.retries import RetryStarts
from a3g.exploration.teacher import Teacher
from a3g.exploration.verification import check_first_demonstrations
from a3g.game.emulators import emulator_class, resolve_emulator
from a3g.game.make import check_core, vector_env_parts
from a3g.game.native_vector import NativeVectorEnv
from a3g.game.stages import Stage
from a3g.game.starts import StartSource, UniformStarts
from a3g.game.vector import AfterStep
from a3g.reporting.phases import PhaseClock


class AnyCollector(Protocol):
    """What plays a worker's lanes."""

    def collect(self) -> Rollout:
        """Play `num_steps` agent steps in every lane."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next rollout depends on but the network, as copies on the CPU."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` gave."""

    def close(self) -> None:
        """End the games."""


def lane_groups(config: TrainConfig, device: torch.device) -> int:
    """In how many groups a worker's lanes shall play: two on a GPU, if they can be halved."""
    # Each half is an environment with an emulator of its own.
    can_halve = config.lanes % 2 == 0 and not emulator_class(resolve_emulator(config.emulator)).one_per_process
    return 2 if device.type == "cuda" and config.gpu_overlap and can_halve else 1


def check_experience(config: TrainConfig, learns_from_demonstrations: bool) -> None:
    """See that everything is there that a worker's experience begins with or comes from, before workers start.

    Args:
        learns_from_demonstrations: see `Policy.learns_from_demonstrations`.

    Raises:
        UserError: if demonstrations are damaged, missing for all stages, or can't be played with these settings, if the
            first one of a stage does not clear it, or if something needs the native engine that is not used,
            or a newer one.
    """
    if resolve_emulator(config.emulator) == "native":
        check_core(config.game_options())
    _check_retries(config)
    _check_teacher(config)
    if config.starts == "demonstrations" or learns_from_demonstrations:
        check_first_demonstrations(config.demos_dir, _demonstrations(config, config.single_stages()))


def _check_teacher(config: TrainConfig) -> None:
    if getattr(config.options, "taught_steps", 0) and config.observation != "pictures":
        raise UserError("--taught-steps lets the agent play from pictures: leave --observation map out.")


def _check_retries(config: TrainConfig) -> None:
    if config.retry_share and resolve_emulator(config.emulator) != "native":
        raise UserError("--retry-share needs the native engine: choose --emulator native.")


def make_starts(config: TrainConfig, worker: int) -> StartSource:
    """Where a worker's episodes begin; raises as `check_experience`."""
    _check_retries(config)
    sticky_actions = (config.sticky_actions, config.sticky_actions_max) if config.sticky_actions_max else None
    if config.starts == "stage" and config.stage_sampling == "uniform":
        starts: StartSource = UniformStarts(config.worker_stages(worker), config.noop_max, config.lanes, sticky_actions)
    else:
        adaptive = config.stage_sampling == "adaptive"
        stages = config.single_stages()
        demonstrations = _demonstrations(config, stages) if config.starts == "demonstrations" else {}
        starts = CurriculumStarts(stages, config.game_options(), demonstrations, adaptive, sticky_actions)
    return RetryStarts(starts, config.retry_share, config.lanes) if config.retry_share else starts


def _demonstrations(config: TrainConfig, stages: Sequence[Stage]) -> dict[Stage, list[Demonstration]]:
    """What exploration has found."""
    if resolve_emulator(config.emulator) != "native":
        raise UserError("Demonstrations are played by the native engine: choose --emulator native.")
    if (config.actions, config.skip_rate) != (ACTION_SET, FRAME_SKIP):
        wanted = f"--actions {ACTION_SET} --skip-rate {FRAME_SKIP}"
        raise UserError(f"Demonstrations need {wanted}, not --actions {config.actions} --skip-rate {config.skip_rate}.")
    demonstrations = load_demonstrations(config.demos_dir, stages)
    if not any(demonstrations.values()):
        raise UserError(f"There is no demonstration in {config.demos_dir}: find some with `python main.py explore`.")
    return demonstrations


def make_collector(
    config: TrainConfig,
    worker: int,
    policy: Policy,
    seed: int,
    clock: PhaseClock,
    on_step: Callable[[], None],
    expert: Expert | None = None,
    after_step: AfterStep | None = None,
) -> AnyCollector:
    """The games of a worker, and what plays them with a policy on the policy's device; raises as `check_experience`.

    Args:
        expert: whom the policy learns from, if from one.
        after_step: called after every step of the games; not of demonstrations.
    """
    if policy.learns_from_demonstrations:
        stages = config.single_stages()
        known, game = _demonstrations(config, stages), config.game_options()
        sticky_actions = max(config.sticky_actions, config.sticky_actions_max)
        taught_steps = getattr(config.options, "taught_steps", 0)
        teacher = Teacher(known, config.lanes, game, sticky_actions, seed) if taught_steps else None
        shown = [each for of_stage in known.values() for each in of_stage]
        shape = config.lanes, config.num_steps, game
        return DemonstrationCollector(policy, shown, *shape, seed, teacher, taught_steps, clock, on_step)
    envs = vector_env_parts(
        config.worker_stages(worker),
        config.lanes,
        1 if expert is not None else lane_groups(config, policy.device),
        config.game_options(),
        config.emulator,
        seed,
        copy=False,
        starts=make_starts(config, worker),
    )
    for env in envs:
        env.after_step = after_step
    if expert is not None:
        assert isinstance(envs[0], NativeVectorEnv)
        return ExpertCollector(policy, envs[0], expert, config.num_steps, config.gamma, seed, clock, on_step)
    if policy.device.type == "cpu":
        return Collector(policy, envs[0], config.num_steps, config.gamma, seed, clock, on_step)
    return DoubleBufferedCollector(
        policy, envs, config.num_steps, config.gamma, seed, config.gpu_graphs, config.gpu_pinned, clock, on_step
    )
