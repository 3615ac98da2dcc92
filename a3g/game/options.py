"""How the game is shown and played: action sets, options, the table of engines. Pure data, so that it imports quickly."""

from __future__ import annotations

from dataclasses import dataclass

from a3g.errors import UserError
from a3g.game.buttons import BUTTON_A, BUTTON_B, BUTTON_DOWN, BUTTON_LEFT, BUTTON_RIGHT, BUTTON_UP
from a3g.game.rewards import REWARDS


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an engine is, and whether it is installed."""

    path: str
    """``module:Class`` of the `a3g.game.emulators.Emulator`; imported when the engine is asked for."""
    needs: str
    """The module whose presence says that the engine is installed."""
    how_to_get: str
    """Ends the sentence that refuses an engine which is not installed."""


ENGINES: dict[str, Engine] = {
    "native": Engine(
        "a3g.game.emulators.native:Native", "a3g_native", "build it by `pip install ./native`, which needs a C++ compiler"
    ),
    "fceumm": Engine(
        "a3g.game.emulators.fceumm:Fceumm",
        "stable_retro",
        "install stable-retro 1.0.0, which has wheels for Python 3.12 and older",
    ),
    "nes-py": Engine("a3g.game.emulators.nes_py:NesPy", "nes_py", "install nes-py"),
}
"""By what `--emulator` calls them, fastest first; `a3g.game.emulators` starts them."""
EMULATOR_NAMES = ("auto", *ENGINES)
"""What `--emulator` can be."""

REWARD_NAMES = tuple(REWARDS)
"""What a reward can be called; `a3g.game.rewards` says what they are."""
REWARD_ALIASES = {"seed-001": "gym", "seed-002": "a3g", "seed-003": "gym-bonus", "seed-004": "gym-forward"}
"""Other names of theirs: the programs that had them first, by their numbers on the parity page of the documentation."""


def reward_name(name: str) -> str:
    """The name in REWARDS of a reward that may be called by another one; an unknown name stays as it is."""
    return REWARD_ALIASES.get(name, name)


OBSERVATIONS = ("pictures", "map")
"""What an agent can be shown: a stack of pictures, or the map of `a3g.game.map_observation`."""
MAP_SHAPE = (1, 1, 1196)
"""Of a map, in bytes."""

_R, _L, _A, _B = BUTTON_RIGHT, BUTTON_LEFT, BUTTON_A, BUTTON_B

ACTION_SETS: dict[str, tuple[int, ...]] = {
    # The original A3G's ten: enough for every stage but the vines, which lead to bonuses only.
    "a3g": (0, _R, _R | _A, _R | _B, _R | _A | _B, _A, _L | _A, _L | _B, _L | _A | _B, BUTTON_DOWN),
    # gym-super-mario-bros' three.
    "right": (0, _R, _R | _A, _R | _B, _R | _A | _B),
    "simple": (0, _R, _R | _A, _R | _B, _R | _A | _B, _A, _L),
    "complex": (0, _R, _R | _A, _R | _B, _R | _A | _B, _A, _L, _L | _A, _L | _B, _L | _A | _B, BUTTON_DOWN, BUTTON_UP),
    # The two of PyTorch's tutorial on double DQN: https://docs.pytorch.org/tutorials/intermediate/mario_rl_tutorial.html
    "walk-jump": (_R, _R | _A),
}


@dataclass(frozen=True)
class GameOptions:
    """How the game is shown to the agent and played by it. Travels with the weights."""

    skip_rate: int = 4
    """Frames per agent step."""
    stack: int = 4
    """Pictures in an observation, oldest first."""
    height: int = 80
    width: int = 80
    actions: str = "a3g"
    """Name in ACTION_SETS."""
    two_frame_max: bool = False
    """Show the brighter of the last two frames, against sprites that flicker."""
    show_buttons: bool = False
    """Draw into each picture whether A and B were down in its last frame, see `a3g.game.button_display`."""
    noop_max: int = 30
    """An episode starts after a random number of frames without buttons, 0 to this."""
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead (Machado et al. 2018, section 5)."""
    time_per_stage: int = 300
    """Units of the game's clock allowed for a stage."""
    max_episode_length: int = 100_000
    """Agent steps after which an episode is truncated."""
    episodic_life: bool = False
    """Whole game only: a life lost or a stage cleared terminates, and the next reset goes on from there."""

    reward: str = "a3g"
    """Name in `a3g.game.rewards.REWARDS`, or another one of it in REWARD_ALIASES, which becomes that."""
    observation: str = "pictures"
    """Name in OBSERVATIONS; the fields about pictures mean nothing to the others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reward", reward_name(self.reward))
        if self.reward not in REWARDS:
            raise UserError(f"Unknown reward {self.reward!r:.50}: choose one of {', '.join(REWARD_NAMES)}.")
        if self.observation not in OBSERVATIONS:
            raise UserError(f"Unknown observation {self.observation!r:.50}: choose one of {', '.join(OBSERVATIONS)}.")
        if self.actions not in ACTION_SETS:
            raise UserError(f"Unknown action set {self.actions!r}: choose one of {', '.join(ACTION_SETS)}.")
        for name in ("skip_rate", "stack", "height", "width", "time_per_stage", "max_episode_length"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.noop_max < 0:
            raise UserError(f"noop_max must be 0 or more, not {self.noop_max}.")
        if not 0.0 <= self.sticky_actions < 1.0:
            raise UserError(f"sticky_actions must be a chance from 0 up to, not including, 1, not {self.sticky_actions}.")

    @property
    def observation_shape(self) -> tuple[int, int, int]:
        """(stack, height, width)."""
        if self.observation == "map":
            return MAP_SHAPE
        return self.stack, self.height, self.width

    @property
    def num_actions(self) -> int:
        return len(ACTION_SETS[self.actions])
