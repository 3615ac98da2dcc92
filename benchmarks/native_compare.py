"""Play the same random games on a3g_native and on FCEUmm and compare all of RAM, and the picture, frame by frame.

    python benchmarks/native_compare.py --frames 1000000

Every episode starts in one of the 32 stages, by turns. Three ways of playing reach different parts of the game: random
walks that die early, runs to the right, and runs helped on (the same bytes written to both consoles: a star against
enemies, a push up over pits, or over everything; now and then the beginning of a pipe, a vine or the end of a castle) that
get to flagpoles, castles, warp zones, bonus areas and the end of the game.
Exit code 1 if any byte of RAM or any pixel differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import a3g_native
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
A, B, SELECT, START, UP, DOWN, LEFT, RIGHT = (1 << bit for bit in range(8))

# RAM addresses, see https://datacrystal.tcrf.net/wiki/Super_Mario_Bros./RAM_map
ACTIVITY, FLOAT_STATE, Y, Y_PAGE, Y_SPEED = 0x0E, 0x1D, 0xCE, 0xB5, 0x9F
WORLD, STAGE, AREA, MODE, TASK = 0x75F, 0x75C, 0x760, 0x770, 0x772
AREA_TYPE, LOOP_COMMAND, STAR_TIMER, BLACK_SCREEN, CLOCK = 0x74E, 0x745, 0x79F, 0x7A0, 0x7F8
WARP_ZONE = 0x6D6

STAGES = [(world, stage) for world in range(8) for stage in range(4)]
WORLDS_WITH_INTRO = (0, 1, 3, 6)
WAYS = ("walk", "run", "helped", "helped")
# Heights (y grows downwards) below which a helped Mario is pushed up; a new one is drawn every few seconds.
HELPED_HEIGHTS = (190, 190, 130, 40, 255)
HELPED_FRAMES = 240
# Chances in a frame that a helped Mario is put at the beginning of a scene: (chance, bytes written).
SCENES = (
    (1 / 2000, ((0x0E, 1),)),  # climbs a vine
    (1 / 2000, ((0x0E, 2),)),  # walks into a pipe
    (1 / 2000, ((0x0E, 3),)),  # goes down a pipe
    (1 / 5000, ((0x770, 2), (0x772, 0))),  # has reached the axe; in 8-4 the end of the game
)
EPISODE_FRAMES = 3000


def rom_path() -> Path:
    """The ROM inside the installed gym-super-mario-bros, found without importing it."""
    spec = importlib.util.find_spec("gym_super_mario_bros")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The ROM was not found: install gym-super-mario-bros.")
    return Path(spec.submodule_search_locations[0]) / "_roms" / "super-mario-bros.nes"


class Fceumm:
    """FCEUmm inside stable-retro, with a3g_native's buttons."""

    def __init__(self, rom: Path | str) -> None:
        import stable_retro

        self.console = stable_retro.RetroEmulator(str(rom))
        self._data = stable_retro.data.GameData()
        self.console.configure_data(self._data)
        self.power_on = self.console.get_state()
        self._masks = np.zeros((256, 9), np.uint8)
        for bit, position in enumerate((8, 0, 2, 3, 4, 5, 6, 7)):
            self._masks[:, position] = np.arange(256) >> bit & 1

    def frame(self, buttons: int) -> None:
        self.console.set_button_mask(self._masks[buttons], 0)
        self.console.step()

    def ram(self) -> bytes:
        return self._data.memory.blocks[0] + self._data.memory.blocks[1024]

    def poke(self, address: int, value: int) -> None:
        self._data.memory.assign(address, "|u1", value)

    def palette(self) -> NDArray[np.uint8]:
        """The colours that FCEUmm gives the 64 palette indices, uint8 (64, 3), shown by a cartridge made for it."""
        return shown_colours(self)


def palette_cartridge() -> bytes:
    """A cartridge that shows one colour of the palette a frame, counting it in RAM byte 0."""
    code = bytes.fromhex("78a2ff9aa90085008d0020a90e8d0120")  # SEI, stack, counter, no interrupts, background on
    loop = len(code)
    code += bytes.fromhex("2c022010fb")  # wait for the vertical blank
    code += bytes.fromhex("a93f8d0620a9008d0620a5008d0720e600")  # the counter to palette entry 0; count
    code += bytes.fromhex("a9008d06208d0620") + bytes([0x4C, loop, 0x80])  # address away from the palette; again
    program = code.ljust(0x7FFA, b"\0") + bytes([0, 0x80] * 3)
    return b"NES\x1a\x02\x01\x01" + bytes(9) + program + bytes(0x2000)


def shown_colours(fceumm: Fceumm) -> NDArray[np.uint8]:
    colours = np.zeros((64, 3), np.uint8)
    for _ in range(200):
        fceumm.frame(0)
        colours[(fceumm.ram()[0] - 1) & 63] = fceumm.console.get_screen()[100, 100]
    return colours


class Pair:
    """Both consoles, always given the same buttons and the same pokes."""

    def __init__(self, rom: Path | None = None) -> None:
        rom = rom or rom_path()
        self.fceumm = Fceumm(rom)
        self.native = a3g_native.Emulator(rom.read_bytes())
        self._view = self.native.ram_view()

    def reset(self) -> None:
        """Switch both on; stable-retro has run one frame when it hands a console over."""
        self.fceumm.console.set_state(self.fceumm.power_on)
        self.native.reset()
        self.native.frame(0)

    def frame(self, buttons: int, draw: bool = False) -> None:
        self.fceumm.frame(buttons)
        self.native.frame(buttons, draw)

    def poke(self, address: int, value: int) -> None:
        self.fceumm.poke(address, value)
        self.native.poke(address, value)

    @property
    def ram(self) -> NDArray[np.uint8]:
        """a3g_native's RAM, live."""
        return self._view

    def difference(self) -> list[tuple[int, int, int]]:
        """(address, FCEUmm's byte, a3g_native's) wherever they differ."""
        theirs = self.fceumm.ram()
        if theirs == self.native.ram():
            return []
        both = np.frombuffer(theirs, np.uint8), self._view
        return [(int(i), int(both[0][i]), int(both[1][i])) for i in np.nonzero(both[0] != both[1])[0]]

    def go_to_start(self, stage: int) -> None:
        """Power on and play to the first frame in which Mario obeys in stage 0 (1-1) to 31 (8-4)."""
        self.reset()
        world, number = STAGES[stage]
        area = number + (world in WORLDS_WITH_INTRO and number > 0)
        ram = self._view
        for frame in range(2000):
            if ram[MODE] == 1 and ram[TASK] == 3 and ram[ACTIVITY] == 8:
                return
            if ram[MODE] == 0 or not ram[CLOCK : CLOCK + 3].any():
                for address, value in ((WORLD, world), (STAGE, number), (AREA, area)):
                    self.poke(address, value)
            self.poke(BLACK_SCREEN, 0)
            self.frame(START if ram[MODE] == 0 and frame % 2 else 0)
        raise RuntimeError(f"{world + 1}-{number + 1} did not start")


def random_buttons(rng: np.random.Generator, way: str) -> Iterator[int]:
    """Buttons held for random times, mostly to the right."""
    while True:
        if way == "walk":
            choice = rng.choice((0, RIGHT, LEFT, A, DOWN, UP, RIGHT | A, LEFT | A, RIGHT | B, DOWN | B, START))
        else:
            choice = rng.choice(
                (RIGHT | B, RIGHT | A | B, RIGHT | A, RIGHT, LEFT, DOWN, UP), p=(0.3, 0.37, 0.1, 0.1, 0.05, 0.05, 0.03)
            )
        for _ in range(int(rng.integers(1, 40))):
            yield int(choice)


@dataclass
class Findings:
    """What a comparison met and what differed."""

    frames: int = 0
    pictures: int = 0
    ram_differs: int = 0
    pictures_differ: int = 0
    first: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    stages: set[tuple[int, int]] = field(default_factory=set)

    def note(self, sentence: str) -> None:
        if len(self.first) < 20:
            self.first.append(sentence)


def compare(
    pair: Pair,
    palette: NDArray[np.uint8],
    frames: int,
    seed: int = 0,
    picture_every: int = 7,
    episode_frames: int = EPISODE_FRAMES,
) -> Findings:
    """Play `frames` frames over all stages on both consoles."""
    rng = np.random.default_rng(seed)
    found = Findings()
    episode = 0
    while found.frames < frames:
        stage, way = episode % 32, WAYS[(episode // 32 + episode) % len(WAYS)]
        episode += 1
        pair.go_to_start(stage)
        _play(pair, palette, found, rng, way, min(episode_frames, frames - found.frames), picture_every, STAGES[stage])
    return found


def _play(
    pair: Pair,
    palette: NDArray[np.uint8],
    found: Findings,
    rng: np.random.Generator,
    way: str,
    frames: int,
    picture_every: int,
    start: tuple[int, int],
) -> None:
    ram = pair.ram
    buttons = random_buttons(rng, way)
    before = _situation(ram)
    dead_for = 0
    height = HELPED_HEIGHTS[0]
    for frame in range(frames):
        if way == "helped":
            if frame % HELPED_FRAMES == 0:
                height = int(rng.choice(HELPED_HEIGHTS))
            _help(pair, rng, height)
        draw = found.frames % picture_every == 0
        held = next(buttons)
        pair.frame(held, draw)
        found.frames += 1
        difference = pair.difference()
        where = f"frame {found.frames} of an episode from {start[0] + 1}-{start[1] + 1} ({way})"
        if difference:
            found.ram_differs += 1
            found.note(f"{where}: RAM " + ", ".join(f"{a:#06x} {theirs} {ours}" for a, theirs, ours in difference[:6]))
        if draw:
            found.pictures += 1
            theirs = pair.fceumm.console.get_screen()
            ours = palette[pair.native.indices()[8:232, 8:248]]
            if not np.array_equal(theirs, ours):
                found.pictures_differ += 1
                at = np.argwhere((theirs != ours).any(2)) + 8
                first, last = at.min(0), at.max(0)
                found.note(f"{where}: {len(at)} pixels, rows {first[0]}-{last[0]}, columns {first[1]}-{last[1]}")
        before = _count(found, before, ram)
        dead_for = dead_for + 1 if ram[MODE] in (0, 3) else 0
        if dead_for > 300:
            return


def _help(pair: Pair, rng: np.random.Generator, height: int) -> None:
    """Keep Mario alive: a star, and a push up when he falls below `height`."""
    ram = pair.ram
    if ram[MODE] != 1 or ram[TASK] != 3 or ram[ACTIVITY] != 8:
        return
    if ram[STAR_TIMER] < 4:
        pair.poke(STAR_TIMER, 20)
    for chance, writes in SCENES:
        if rng.random() < chance:
            for address, value in writes:
                pair.poke(address, value)
            return
    falling = 0 < ram[Y_SPEED] < 128
    if ram[Y_PAGE] == 1 and ram[Y] > height and falling and rng.random() < 0.7:
        pair.poke(Y_SPEED, 0xFB)
        pair.poke(FLOAT_STATE, 1)


def _situation(ram: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int(ram[at]) for at in (MODE, ACTIVITY, WORLD, STAGE, AREA, AREA_TYPE, LOOP_COMMAND, WARP_ZONE))


def _count(found: Findings, before: tuple[int, ...], ram: NDArray[np.uint8]) -> tuple[int, ...]:
    """Keep account of what the games went through."""
    now = _situation(ram)
    mode, activity, world, stage, _, area_type, loop, warp = now
    if mode == 1:
        found.stages.add((world, stage))
    if now == before:
        return now
    events = (
        ("deaths", activity in (6, 11) and before[1] not in (6, 11)),
        ("flagpoles", activity == 4 and before[1] != 4),
        ("pipes down", activity == 3 and before[1] != 3),
        ("pipes sideways", activity == 2 and before[1] != 2),
        ("vines", activity == 1 and before[1] != 1),
        ("ends of a world", mode == 2 and before[0] != 2),
        ("ends of the game", mode == 2 and before[0] != 2 and world == 7),
        ("games over", mode == 3 and before[0] != 3),
        ("areas under water", area_type == 0 and before[5] != 0 and mode == 1),
        ("maze checks", loop != 0 and before[6] == 0),
        ("warp zones", warp != 0 and before[7] == 0),
        ("worlds by warp", world != before[2] and mode == 1 and before[0] == 1),
    )
    for name, happened in events:
        if happened:
            found.met[name] += 1
    return now


def fceumm_palette() -> NDArray[np.uint8]:
    """FCEUmm's colours, measured in a process of its own: a process can hold one console only."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cartridge = Path(folder) / "palette.nes"
        cartridge.write_bytes(palette_cartridge())
        output = subprocess.run(
            [sys.executable, "-m", "benchmarks.native_compare", "--print-palette", str(cartridge)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    return np.array(json.loads(output), np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="frames to compare, over all stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture-every", type=int, default=7, help="compare the picture of every n-th frame")
    parser.add_argument("--episode-frames", type=int, default=EPISODE_FRAMES, help="frames in each stage before the next")
    parser.add_argument("--json", type=Path, help="write the findings there")
    parser.add_argument("--print-palette", metavar="CARTRIDGE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.print_palette:
        print(json.dumps(shown_colours(Fceumm(arguments.print_palette)).tolist()))
        return 0
    palette = fceumm_palette()
    began = time.perf_counter()
    found = compare(Pair(), palette, arguments.frames, arguments.seed, arguments.picture_every, arguments.episode_frames)
    for sentence in found.first:
        print(sentence)
    print(f"{found.frames} frames in {time.perf_counter() - began:.0f} s, {len(found.stages)} stages played")
    print(", ".join(f"{count} {name}" for name, count in sorted(found.met.items())))
    print(f"RAM differs in {found.ram_differs} frames, the picture in {found.pictures_differ} of {found.pictures}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    "frames": found.frames,
                    "pictures": found.pictures,
                    "ram_differs": found.ram_differs,
                    "pictures_differ": found.pictures_differ,
                    "met": dict(found.met),
                    "stages": len(found.stages),
                },
                indent=2,
            )
        )
    return 1 if found.ram_differs or found.pictures_differ else 0


if __name__ == "__main__":
    sys.exit(main())
