"""What each optimisation of the native core is worth: an agent step with it and without it, by turns in the same run.

    taskset -c 0 python benchmarks/native_optimisations.py --json native_optimisations.json

For each optimisation inside the core, the core is built again without it into a temporary folder
(-DA3G_WITHOUT=name, see native/src/optimisations.hpp). -march=native, a build option, is measured in the same way. Before
anything is timed, every build plays the same agent steps and must give the same observations, rewards, variables and save
states. The steps after the picture are compared with the same steps in Python with OpenCV and NumPy, on single consoles,
which draw the whole picture; the observations must be equal there, too. Times are processor time. The games are those of
native_speed.py; in the second kind of comparison they run without rules and new episodes.

Two optimisations are not measured, because the core has no other way: the sprite-0 hit computed in advance (no PPU here goes
dot by dot), and no allocation inside the core (filling the caller's arrays can be left out, and is measured).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import a3g_native
import cv2
import numpy as np

from benchmarks import native_compare
from benchmarks.native_speed import LANES, SKIP, STEPS, Build, NativeGames, random_play, seconds_per_step

# Names in native/src/optimisations.hpp, with / without.
LEFT_OUT = {
    "jump_skip": "`JMP` to itself skipped to the next event / run round by round",
    "wait_skip": "wait for sprite 0 skipped to the change of its flag / run round by round",
    "catch_up": "PPU brought up to date when the CPU touches it / before every instruction",
    "unseen_frames": "only the last frame of an agent step drawn / all four",
    "crop": "only the crop drawn / the whole picture",
    "tiles": "background by rows of decoded tiles / pixel by pixel from the patterns",
}
NATIVE_CPU = "this machine's instructions (`A3G_NATIVE_CPU=ON`) / the platform's baseline"
TOP, BOTTOM, LEFT, RIGHT = 15, 215, 43, 243  # a3g_native.Batch's crop


class Consoles:
    """The games of `NativeGames` on single consoles: stepped and made into observations by Python, NumPy and OpenCV."""

    def __init__(self, games: NativeGames, picture: Callable[[a3g_native.Emulator], np.ndarray], two: bool = False) -> None:
        rom = native_compare.rom_path().read_bytes()
        self.consoles = [a3g_native.Emulator(rom) for _ in games.starts]
        self.starts, self.picture, self.two = games.starts, picture, two
        self.observations = np.zeros_like(games.observations)

    def restart(self) -> None:
        for console, start in zip(self.consoles, self.starts, strict=True):
            console.load(start)
            console.frame(0, False)

    def run(self, buttons: np.ndarray) -> None:
        for held in buttons:
            self.observations[:, :-1] = self.observations[:, 1:]
            for lane, console in enumerate(self.consoles):
                pressed = int(held[lane])
                for frame in range(SKIP - 1):
                    console.frame(pressed, self.two and frame == SKIP - 2)
                earlier = self.picture(console) if self.two else None
                console.frame(pressed)
                seen = self.picture(console)
                if earlier is not None:
                    seen = np.maximum(seen, earlier)
                cv2.resize(seen, (80, 80), dst=self.observations[lane, -1], interpolation=cv2.INTER_AREA)


def grey_crop(console: a3g_native.Emulator) -> np.ndarray:
    return console.grey(TOP, BOTTOM, LEFT, RIGHT)


def grey_by_opencv(console: a3g_native.Emulator) -> np.ndarray:
    return cv2.cvtColor(console.rgb(), cv2.COLOR_RGB2GRAY)[TOP:BOTTOM, LEFT:RIGHT]


class Pipelines:
    """Pairs of ways from the same frames to the same observations: with an optimisation, and without it."""

    def __init__(self, steps: int) -> None:
        _, self.buttons = random_play(steps)
        self.one, self.two = NativeGames(), NativeGames(two_frame_max=True)
        grey, colour = Consoles(self.one, grey_crop), Consoles(self.one, grey_by_opencv)
        grey_two = Consoles(self.one, grey_crop, two=True)
        self.pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
            "grey straight from the palette / RGB picture and `cv2.cvtColor`": (self._timed(grey), self._timed(colour)),
            "crop and resize in the core / `grey()` and `cv2.resize`": (self._timed(self.one), self._timed(grey)),
            "the same with the maximum of two frames / and `np.maximum`": (self._timed(self.two), self._timed(grey_two)),
            "the caller's arrays filled in place / new ones in every step": (self._timed(self.one), self._fresh),
        }
        for mine, others in ((self.one, (grey, colour)), (self.two, (grey_two,))):
            self._timed(mine)()
            for other in others:
                self._timed(other)()
                if not np.array_equal(mine.observations, other.observations):
                    raise SystemExit("The observations differ: the comparison means nothing.")

    def _timed(self, games: NativeGames | Consoles) -> Callable[[], float]:
        def run() -> float:
            games.restart()
            play = (
                (lambda: games.run(self.buttons, True)) if isinstance(games, NativeGames) else lambda: games.run(self.buttons)
            )
            return seconds_per_step(play, len(self.buttons))

        return run

    def _fresh(self) -> float:
        """Every step into a new copy of the arrays, as an environment does whose observations may be kept."""
        games = self.one

        def run() -> None:
            for held in self.buttons:
                games.observations = games.observations.copy()
                games.batch.run(held, SKIP, games.observations)

        games.restart()
        return seconds_per_step(run, len(self.buttons))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="everything is measured so many times, by turns")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"agent steps of each of the {LANES} games in a round")
    parser.add_argument("--builds", type=Path, help="keep the builds in this folder, and use them again")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.builds or Path(temporary)
        usual = Build(folder / "nothing", "A3G_WITHOUT=nothing")
        builds = {name: Build(folder / name, f"A3G_WITHOUT={name}") for name in LEFT_OUT}
        native_cpu = Build(folder / "native_cpu", "A3G_NATIVE_CPU=ON")
        expected = usual.ask("fingerprint", arguments.steps)
        for name, build in [*builds.items(), ("native_cpu", native_cpu)]:
            if build.ask("fingerprint", arguments.steps) != expected:
                raise SystemExit(f"The build {name} plays another game: the comparison means nothing.")
        pipelines = Pipelines(arguments.steps)
        print(f"built and compared in {time.perf_counter() - began:.0f} s: all play the same game")

        took: dict[str, list[tuple[float, float]]] = {}
        for _ in range(arguments.rounds):
            for name, build in builds.items():
                pair = usual.ask("play", arguments.steps)["seconds"], build.ask("play", arguments.steps)["seconds"]
                took.setdefault(LEFT_OUT[name], []).append(pair)
            for description, (with_it, without) in pipelines.pairs.items():
                took.setdefault(description, []).append((with_it(), without()))
            without_it, with_it = usual.ask("play", arguments.steps), native_cpu.ask("play", arguments.steps)
            took.setdefault(NATIVE_CPU, []).append((with_it["seconds"], without_it["seconds"]))
        for build in (usual, native_cpu, *builds.values()):
            build.close()

    result = {}
    print("| with it / without it | µs with | µs without | factor |\n|---|---|---|---|")
    for description, pairs in took.items():
        with_us, without_us = (statistics.median(pair[i] for pair in pairs) * 1e6 for i in (0, 1))
        factor = statistics.median(without / with_ for with_, without in pairs)
        result[description] = {"microseconds_with": with_us, "microseconds_without": without_us, "factor": factor}
        print(f"| {description} | {with_us:.1f} | {without_us:.1f} | {factor:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": arguments.rounds, "steps": result}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
