"""The settings with which https://github.com/CVHvn/Mario_A2C_A3C learned each stage, for the preset `a2c`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from a3g.game.stages import parse_env_id

_HOURS = timedelta(hours=1)


@dataclass(frozen=True)
class StageSettings:
    """A row of that program's table; the names in its table are in brackets."""

    lanes: int = 16
    """Games (num_envs)."""
    num_steps: int = 20
    """Agent steps per rollout in every lane (learn_step)."""
    gamma: float = 0.9
    lr: float = 1e-4
    adam_eps: float = 1e-8
    detach_lstm_state: bool = True
    """Whether its LSTM was cut off from what came before each step; here it is always trained through time."""
    init_weights: bool = True
    """Whether the weights began as Xavier's, otherwise as PyTorch's."""
    training_steps: int = 0
    """Steps of all its games together until it had cleared the stage (training_step)."""
    hours: float = 0.0
    """How long that took it (training_time)."""

    @property
    def agent_steps(self) -> int:
        """Until it had cleared the stage, summed over its games."""
        return self.training_steps * self.lanes

    def values(self) -> dict[str, Any]:
        """Of the options of `a3g.config.TrainConfig` that a row decides."""
        names = ("lanes", "num_steps", "gamma", "lr", "adam_eps")
        return {**{name: getattr(self, name) for name in names}, "initialisation": "a3g" if self.init_weights else "torch"}


DEFAULT = StageSettings()
"""What it began with on every stage, and what holds here for stages without a row: it did not clear them."""


def _row(training_steps: int, time: str, gamma: float = 0.9, **others: Any) -> StageSettings:
    """
    Args:
        time: hours:minutes:seconds.
    """
    hours, minutes, seconds = (int(part) for part in time.split(":"))
    took = timedelta(hours=hours, minutes=minutes, seconds=seconds) / _HOURS
    return StageSettings(gamma=gamma, training_steps=training_steps, hours=took, **others)


STAGE_SETTINGS: dict[str, StageSettings] = {
    "1-1": _row(374_000, "5:34:38"),
    "1-2": _row(1_388_000, "18:44:51"),
    "1-4": _row(56_000, "0:51:34"),
    "2-1": _row(2_520_000, "15:11:00", 0.99),
    "2-2": _row(2_582_000, "38:54:56"),
    "2-3": _row(401_000, "5:28:46"),
    "2-4": _row(247_000, "3:40:49"),
    "3-1": _row(308_000, "4:43:37"),
    "3-2": _row(156_000, "2:29:00"),
    "3-3": _row(1_311_000, "15:16:28", 0.99),
    "3-4": _row(443_000, "6:46:07", 0.99),
    "4-1": _row(295_000, "4:08:22"),
    "4-2": _row(1_120_000, "11:35:43", 0.99),
    "5-1": _row(486_000, "7:10:43"),
    "5-2": _row(1_089_000, "11:50:50"),
    "5-4": _row(1_636_000, "22:02:11", 0.99),
    "6-1": _row(88_000, "1:01:50"),
    "6-2": _row(1_215_000, "16:41:19", 0.99),
    "6-3": _row(1_746_500, "13:50:27", 0.99, lr=7e-5, detach_lstm_state=False, init_weights=False),
    "6-4": _row(940_000, "7:57:47", 0.99),
    "7-1": _row(528_000, "4:06:45", lanes=8),
    "7-2": _row(3_427_000, "29:22:18", lanes=8),
    "7-3": _row(1_545_000, "12:17:16", lanes=8),
    "7-4": _row(1_462_000, "15:27:19", 0.99),
    "8-1": _row(2_158_000, "26:35:41", num_steps=5),
    "8-2": _row(1_107_000, "16:24:30"),
    "8-3": _row(521_000, "8:12:27"),
}
"""By stage; 1-3, 4-3, 4-4, 5-3 and 8-4 have no row."""


def settings_of_stage(env: str) -> StageSettings:
    """The row of an environment's stage, or DEFAULT; raises as `parse_env_id`."""
    return STAGE_SETTINGS.get(str(parse_env_id(env)), DEFAULT)
