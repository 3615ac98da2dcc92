"""How fast the native core is, against FCEUmm in turn in the same run, on one core.

    taskset -c 0 python benchmarks/native_speed.py --json native_speed.json

Both play the same random games in the same stages: frame skip 4, 80 x 80 grey stack of 4, episode rules and rewards. FCEUmm
is driven by this project's own environment, as training does.

Where the native core's time goes is measured twice. Once as the difference between runs that do more and more. And once
by clocks: the core is built again with -DA3G_PROFILE=ON into a temporary folder and reads the processor's time stamp
whenever it goes from one part to another. What reading it takes is measured on empty parts and taken off; since a processor
does that partly beside other work, the truth lies between a part's share so and its share with that time left in. The frames
of cutscenes and new episodes count where they are spent: 6502, PPU, drawing. Both engines are timed without clocks.
--no-clocks leaves the second build out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import a3g_native
import numpy as np

import environment
from a3g.game.emulators import make_emulator
from a3g.game.lane import ACTION_SETS
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import STAGES
from benchmarks import native_compare

ROOT = Path(__file__).resolve().parent.parent
STAGE_NAMES = [str(stage) for stage in STAGES[::2]]
LANES = len(STAGE_NAMES)
SKIP = 4
STEPS = 300
# What the core's parts (native/src/profile.hpp) are to a reader.
PARTS = {
    "cpu": "6502: its instructions",
    "ppu": "PPU, not drawing: registers, scroll, sprite-0 hit, sprite transfer; controllers",
    "copies": "copies of the console, for drawing a frame after all",
    "drawing": "drawing",
    "resizing": "observation: resize and stack",
    "rules": "rules, rewards, variables, loading of new episodes",
}


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

    def fingerprint(self, buttons: np.ndarray) -> int:
        """A checksum of all that `play` gives, and of the RAM, after every agent step."""
        self.restart()
        checksum = 0
        for held in buttons:
            self.play(held[np.newaxis])
            for seen in (self.observations, self.rewards, self.variables):
                checksum = zlib.crc32(seen, checksum)
            for lane in range(LANES):
                checksum = zlib.crc32(self.batch.save(lane), checksum)
        return checksum


class Build:
    """The core built with options of its own, playing in a process of its own: one process can import one build."""

    def __init__(self, folder: Path, *options: str) -> None:
        if not (folder / "a3g_native").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
            defines = [f"--config-settings=cmake.define.{option}" for option in options]
            source = ROOT / "native"
            if subprocess.run([*command, *defines, "--target", str(folder), str(source)], check=False).returncode:
                raise SystemExit(f"The native core was not built with {', '.join(options)}: pip's words above say why.")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.native_speed", "--serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(folder)},
        )

    def ask(self, what: str, steps: int) -> Any:
        """See `serve`."""
        assert self._process.stdin
        assert self._process.stdout
        print(what, steps, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def serve() -> None:
    """Play on this process' build, as the lines of stdin ask: processor time and parts of a step, or a fingerprint."""
    games = NativeGames()
    for line in sys.stdin:
        what, steps = line.split()
        _, buttons = random_play(int(steps))
        if what == "fingerprint":
            answer: Any = games.fingerprint(buttons)
        else:
            games.restart()
            profiled = hasattr(a3g_native._core, "take_profile")
            if profiled:
                a3g_native._core.take_profile()
            answer = {"seconds": seconds_per_step(lambda: games.play(buttons), len(buttons))}  # noqa: B023
            if profiled:
                answer["parts"] = a3g_native._core.take_profile()
        print(json.dumps(answer), flush=True)


def random_play(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Random actions, each held for eight agent steps: their numbers and their buttons, (steps, LANES)."""
    actions = np.array(ACTION_SETS["a3g"], np.uint8)
    chances = (0.02, 0.12, 0.15, 0.25, 0.3, 0.04, 0.04, 0.03, 0.02, 0.03)
    chosen = np.random.default_rng(0).choice(len(actions), (steps, LANES), p=chances)
    chosen = np.repeat(chosen, 8, 0)[:steps]
    return chosen, actions[chosen]


def seconds_per_step(work: Callable[[], object], steps: int) -> float:
    """Processor time of one agent step of one lane."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / steps / LANES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="both engines are measured so many times, by turns")
    parser.add_argument("--steps", type=int, default=STEPS, help="native agent steps of every lane in a round")
    parser.add_argument("--fceumm-steps", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--clocks", action=argparse.BooleanOptionalAction, default=True, help="build the core with clocks, too")
    parser.add_argument("--builds", type=Path, help="keep the build with clocks in this folder, and use it again")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        clocked = Build((arguments.builds or Path(folder)) / "profile", "A3G_PROFILE=ON") if arguments.clocks else None
        measure(arguments, clocked)
        if clocked:
            clocked.close()
    return 0


def measure(arguments: argparse.Namespace, clocked: Build | None) -> None:
    chosen, buttons = random_play(arguments.steps)
    games = NativeGames()
    fceumm = environment.make_vector_env(STAGE_NAMES, LANES, "fceumm")
    fceumm.reset()

    def play_fceumm() -> None:
        for step in range(arguments.fceumm_steps):
            fceumm.step(chosen[step])

    parts: dict[str, list[float]] = {"frames": [], "frames_observed": [], "steps": [], "fceumm": []}
    shares: dict[str, list[float]] = {name: [] for name in PARTS}
    shares_uncorrected: dict[str, list[float]] = {name: [] for name in PARTS}
    for _ in range(arguments.rounds):
        games.restart()
        parts["frames"].append(seconds_per_step(lambda: games.run(buttons, observe=False), arguments.steps))
        games.restart()
        parts["frames_observed"].append(seconds_per_step(lambda: games.run(buttons, observe=True), arguments.steps))
        games.restart()
        parts["steps"].append(seconds_per_step(lambda: games.play(buttons), arguments.steps))
        parts["fceumm"].append(seconds_per_step(play_fceumm, arguments.fceumm_steps))
        if clocked:
            ticks, of_clocks = np.transpose([clocked.ask("play", arguments.steps)["parts"][name] for name in PARTS])
            for i, name in enumerate(PARTS):
                shares[name].append((ticks - of_clocks)[i] / (ticks - of_clocks).sum())
                shares_uncorrected[name].append(ticks[i] / ticks.sum())
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
        "shares_by_clocks": {
            description: (statistics.median(shares[name]), statistics.median(shares_uncorrected[name]))
            for name, description in PARTS.items()
            if shares[name]
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
    for name, (share, uncorrected) in result["shares_by_clocks"].items():
        print(f"        {share:10.1%} of an agent step by clocks ({uncorrected:.1%} with their own time): {name}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))
    fceumm.close()


if __name__ == "__main__":
    sys.exit(main())
