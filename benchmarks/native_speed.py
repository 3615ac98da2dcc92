"""How fast the native core is, against FCEUmm in turn in the same run, on one core.

    taskset -c 0 python benchmarks/native_speed.py --json native_speed.json

Both play the same random games in the same stages: frame skip 4, 80 x 80 grey stack of 4, episode rules and rewards. FCEUmm
is driven by this project's own environment, as training does. The time of each part of the native core is the
difference between runs that do more and more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import a3g_native
import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import native_compare

import environment
from a3g.game.emulators import make_emulator
from a3g.game.lane import ACTION_SETS
from a3g.game.stages import STAGES, go_to_start

STAGE_NAMES = [str(stage) for stage in STAGES[::2]]
LANES = len(STAGE_NAMES)
SKIP = 4


class NativeGames:
    """One game in each of 16 stages on the native core."""

    def __init__(self, threads: int = 1, two_frame_max: bool = False) -> None:
        emulator = make_emulator("native")
        self.stages = STAGES[::2]
        self.starts = [go_to_start(emulator, stage) for stage in self.stages]
        self.batch = a3g_native.Batch(
            native_compare.rom_path().read_bytes(), LANES, threads=threads, two_frame_max=two_frame_max
        )
        self.observations = np.zeros((LANES, 4, 80, 80), np.uint8)
        self.rewards = np.zeros(LANES, np.float32)
        self.variables = np.zeros((LANES, len(a3g_native.VARIABLES)), np.int32)
        self.over = a3g_native.VARIABLES.index("game_over")
        self.restart()

    def restart(self) -> None:
        for lane in range(LANES):
            self.start(lane)

    def start(self, lane: int) -> None:
        self.batch.start(lane, self.starts[lane], self.stages[lane], 1, self.observations, self.rewards, self.variables)

    def play(self, buttons: np.ndarray) -> None:
        """Agent steps with rules, rewards and new episodes."""
        for held in buttons:
            self.batch.step(held, self.observations, self.rewards, self.variables)
            for lane in np.nonzero(self.variables[:, self.over])[0]:
                self.start(int(lane))

    def run(self, buttons: np.ndarray, observe: bool) -> None:
        """The same frames without rules."""
        for held in buttons:
            self.batch.run(held, SKIP, self.observations if observe else None)


def seconds_per_step(work: Callable[[], object], steps: int) -> float:
    """Processor time of one agent step of one lane."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / steps / LANES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="both engines are measured so many times, by turns")
    parser.add_argument("--steps", type=int, default=300, help="native agent steps of every lane in a round")
    parser.add_argument("--fceumm-steps", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()

    actions = np.array(ACTION_SETS["a3g"], np.uint8)
    rng = np.random.default_rng(0)
    # A random action, held for one to sixteen agent steps.
    chosen = np.repeat(
        rng.choice(len(actions), (arguments.steps, LANES), p=(0.02, 0.12, 0.15, 0.25, 0.3, 0.04, 0.04, 0.03, 0.02, 0.03)), 8, 0
    )
    chosen = chosen[: arguments.steps]
    buttons = actions[chosen]

    games = NativeGames()
    fceumm = environment.make_vector_env(STAGE_NAMES, LANES, "fceumm")
    fceumm.reset()

    def play_fceumm() -> None:
        for step in range(arguments.fceumm_steps):
            fceumm.step(chosen[step])

    parts: dict[str, list[float]] = {"frames": [], "frames_observed": [], "steps": [], "fceumm": []}
    for _ in range(arguments.rounds):
        games.restart()
        parts["frames"].append(seconds_per_step(lambda: games.run(buttons, observe=False), arguments.steps))
        games.restart()
        parts["frames_observed"].append(seconds_per_step(lambda: games.run(buttons, observe=True), arguments.steps))
        games.restart()
        parts["steps"].append(seconds_per_step(lambda: games.play(buttons), arguments.steps))
        parts["fceumm"].append(seconds_per_step(play_fceumm, arguments.fceumm_steps))
    frames, observed, steps, theirs = (
        statistics.median(parts[name]) for name in ("frames", "frames_observed", "steps", "fceumm")
    )
    result = {
        "native_frames_per_second": SKIP / frames,
        "native_agent_steps_per_second": 1 / steps,
        "fceumm_agent_steps_per_second": 1 / theirs,
        "native_over_fceumm": theirs / steps,
        "microseconds_per_agent_step": {
            "four frames, not drawn": frames * 1e6,
            "drawing and observing": (observed - frames) * 1e6,
            "rules, rewards, variables, new episodes": (steps - observed) * 1e6,
        },
        "rounds": arguments.rounds,
        "cores": len(os.sched_getaffinity(0)),
    }
    print(f"native  {result['native_agent_steps_per_second']:10,.0f} agent steps/s with observations, rules and rewards")
    print(f"fceumm  {result['fceumm_agent_steps_per_second']:10,.0f} agent steps/s, this project's environment")
    print(f"ratio   {result['native_over_fceumm']:10.1f}")
    print(f"native  {result['native_frames_per_second']:10,.0f} frames/s, not drawn")
    for name, microseconds in result["microseconds_per_agent_step"].items():
        print(f"        {microseconds:10.1f} µs of an agent step: {name}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))
    fceumm.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
