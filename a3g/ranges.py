"""From where to where each number among the options goes, in one table."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from a3g.errors import UserError

if TYPE_CHECKING:
    from a3g.algorithm_options import AlgorithmOptions
    from a3g.config import TrainConfig
    from a3g.eval_config import EvalConfig
    from a3g.explore_config import ExploreConfig
    from a3g.watch_config import WatchConfig

# In bytes; no file system here takes a longer one.
LONGEST_NAME = 255
LARGEST_STACK = 64


@dataclass(frozen=True)
class Range:
    """The values that a number may have, both ends included unless said otherwise."""

    low: float
    high: float
    above_low: bool = False
    """`low` itself is too small."""
    below_high: bool = False
    """`high` itself is too large."""
    words: str = ""
    """The whole range in words; by default only the end that was passed is named."""

    def complaint(self, value: float) -> str:
        """What `value` would have to be, or nothing if it is in the range."""
        if value < self.low or (self.above_low and value == self.low):
            return self.words or (f"more than {self.low:g}" if self.above_low else _at_least(self.low))
        if value > self.high or (self.below_high and value == self.high):
            return self.words or f"at most {_plain(self.high)}"
        return ""


_SHARE = Range(0, 1, words="between 0 and 1")
_CHANCE = Range(0, 1, below_high=True, words="a chance from 0 up to, not including, 1")
_CLOCK = Range(1, 10_000)  # the game's own has three digits
_STEPS = Range(1, 10**9)
_WEIGHT = Range(0, 10**6)
_DAYS = 10**7  # in seconds, about 115 of them
_POSITIVE_SECONDS = Range(0, _DAYS, above_low=True)

# What stands here is what makes sense at all; what fits into a machine's memory depends on all of them together, see
# `a3g.processes.memory_estimate`.
RANGES: dict[str, Range] = {
    # -- what to play
    "skip_rate": Range(1, 1_000),
    "stack": Range(1, LARGEST_STACK),
    "noop_max": Range(0, 3_600),  # a minute; the game's clock would end an episode after at most four
    "sticky_actions": _CHANCE,
    "sticky_actions_max": _CHANCE,
    "retry_share": _SHARE,
    "time_per_stage": _CLOCK,
    "max_episode_length": _STEPS,
    # -- who plays
    "workers": Range(1, 4_096),
    "lanes": Range(1, 4_096),
    "seed": Range(0, 2**62),  # each worker adds to it, and PyTorch takes 64 bits
    # -- the network, learning
    "hidden_size": Range(1, 16_384),
    "lr": Range(0, 1e30, above_low=True),
    "adam_eps": Range(0, 1_000, above_low=True),
    "rmsprop_eps": Range(0, 1_000, above_low=True),
    "gamma": _SHARE,
    "tau": _SHARE,
    "entropy_coef": _WEIGHT,
    "value_coef": _WEIGHT,
    "num_steps": Range(1, 100_000),
    "max_grad_norm": Range(0, 1e30),
    "epochs": Range(1, 1_000),
    "minibatches": Range(1, 4_096),
    "clip": Range(0, 1_000, above_low=True),
    "taught_steps": Range(0, 100_000),
    "learn_share": Range(0, 1, above_low=True, words="more than 0 and at most 1"),
    "n_step": Range(1, 1_000),
    "reward_scale": Range(0, 1e30, above_low=True),
    "replay_size": Range(1, 10**10),
    "learning_starts": Range(1, 10**10),
    "batch_size": Range(1, 65_536),
    "update_interval": Range(1, 10**6),
    "target_interval": Range(1, 10**9),
    "target_tau": Range(0, 1, above_low=True, words="more than 0 and at most 1"),
    "priority_alpha": _SHARE,
    "priority_beta": _SHARE,
    "priority_beta_steps": Range(0, 10**12),
    "epsilon_start": _SHARE,
    "epsilon_end": _SHARE,
    "epsilon_steps": Range(1, 10**12),
    "epsilon_spread": Range(0, 100),
    "lr_decay": Range(0, 1, above_low=True, words="more than 0 and at most 1"),
    "lr_decay_steps": Range(1, 10**12),
    # -- testing
    "test_episodes": Range(1, 10_000),
    "clear_rate": Range(0, 1, above_low=True, words="more than 0 and at most 1"),
    "test_sticky_actions": _CHANCE,
    "test_interval": _POSITIVE_SECONDS,
    "average_steps": Range(0, 10**18),  # counted in 64 bits
    # -- when to stop
    "total_steps": Range(0, 10**18),  # counted in 64 bits
    "max_minutes": Range(0, _DAYS),
    # -- several machines
    "cluster_updates": Range(1, 10**6),
    "cluster_shards": Range(1, 1_000),
    # -- files, and signs of life
    "checkpoint_interval": _POSITIVE_SECONDS,
    "keep_checkpoints": Range(1, 10**6),
    "heartbeat_timeout": Range(1, _DAYS),
    # -- the page
    "port": Range(0, 65_535, words="a port from 1 to 65535, or 0 for a free one"),
    "watch": Range(0, 65_535, words="a port from 1 to 65535, or 0 for a free one"),
    # -- evaluation only
    "num_episodes": Range(1, 10**6),
    "episode_start": Range(0, 31, words="0 (1-1) to 31 (8-4)"),
    "gpu_id": Range(-1, 1_023, words="a GPU's number, or -1 for the CPU"),
    "render_freq": Range(1, 10**6),
    # -- exploration only
    "per_stage": Range(1, 10_000),
    "shortening_steps": Range(0, 10**9),
}


def check_ranges(config: TrainConfig | EvalConfig | ExploreConfig | WatchConfig | AlgorithmOptions) -> None:
    """Numbers without an entry in RANGES, such as those of an algorithm outside this package, only have to be finite.

    Raises:
        UserError: if a number is outside its range, or is none.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        require(not isinstance(value, float) or math.isfinite(value), field.name, value, "a finite number")
        complaint = RANGES[field.name].complaint(value) if field.name in RANGES else ""
        require(not complaint, field.name, value, complaint)


def check_run_name(name: str) -> None:
    """
    Raises:
        UserError: if a run's folder can't have this name; an empty one is chosen by the program.
    """
    plain = "/" not in name and "\0" not in name and name not in (".", "..")
    require(plain, "run_name", name, "a plain folder name")
    require(len(os.fsencode(name)) <= LONGEST_NAME, "run_name", name, f"a folder name of at most {LONGEST_NAME} bytes")


_LONGEST_SHOWN = 200


def require(condition: bool, name: str, value: Any, expected: str) -> None:
    """
    Args:
        name: the option's field.
        expected: what the value would have to be.

    Raises:
        UserError: unless `condition` holds.
    """
    if not condition:
        shown = f"{value}"
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}…"
        raise UserError(f"--{name.replace('_', '-')} must be {expected}, not {shown}.")


def _at_least(low: float) -> str:
    return "0 or more" if low == 0 else f"at least {_plain(low)}"


def _plain(number: float) -> str:
    """2500 and 1e+30, as people type them."""
    return str(number) if isinstance(number, int) else f"{number:g}"
