"""The native core against FCEUmm, against OpenCV and against the rules in Python; its states; wrong arguments.

Nothing here is skipped because the core is missing: where a C++ compiler is there, it must have been built.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

if importlib.util.find_spec("a3g_native") is None and not any(map(shutil.which, ("c++", "g++", "clang++"))):
    pytest.skip("No C++ compiler here, so there is no native core.", allow_module_level=True)

import a3g_native

from a3g.game import memory
from a3g.game.emulators import Emulator, make_emulator
from a3g.game.lane import ACTION_SETS
from a3g.game.rules import Episode
from a3g.game.stage_starts import go_to_start
from a3g.game.stages import STAGES, Stage
from benchmarks import native_compare
from tests.test_rules import to_a_sinking_lift, to_the_minus_world

ROM = native_compare.rom_path().read_bytes()
NEEDS_FCEUMM = pytest.mark.skipif(
    importlib.util.find_spec("stable_retro") is None, reason="FCEUmm has no wheel for this Python."
)
RIGHT, A, START = native_compare.RIGHT, native_compare.A, native_compare.START


class Arrays:
    """The arrays that a batch fills."""

    def __init__(self, lanes: int, height: int = 80, width: int = 80, stack: int = 4) -> None:
        self.observations = np.zeros((lanes, stack, height, width), np.uint8)
        self.rewards = np.zeros(lanes, np.float32)
        self.variables = np.zeros((lanes, len(a3g_native.VARIABLES)), np.int32)
        self.ram = np.zeros((lanes, 2048), np.uint8)

    @property
    def all(self) -> tuple[np.ndarray, ...]:
        return self.observations, self.rewards, self.variables, self.ram

    def variable(self, name: str, lane: int = 0) -> int:
        return int(self.variables[lane, a3g_native.VARIABLES.index(name)])


@pytest.fixture(scope="module")
def starts() -> dict[Stage, bytes]:
    """A save state at the start of each of the 32 stages."""
    emulator = make_emulator("native")
    return {stage: go_to_start(emulator, stage) for stage in STAGES}


# ---- the same game as FCEUmm's -------------------------------------------------------------------------


@NEEDS_FCEUMM
def test_ram_and_picture_equal_fceumm_in_every_frame() -> None:
    """In a process of its own: FCEUmm runs once a process, and other tests of this session use it too."""
    import subprocess

    script = Path(native_compare.__file__)
    run = subprocess.run(
        [sys.executable, str(script), "--frames", "9000", "--seed", "3", "--episode-frames", "280", "--picture-every", "3"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "32 stages played" in run.stdout


# ---- states --------------------------------------------------------------------------------------------


def test_a_state_brings_everything_back(starts: dict[Stage, bytes]) -> None:
    emulator = a3g_native.Emulator(ROM)
    emulator.load(starts[Stage(1, 2)])
    buttons = [int(each) for each in np.random.default_rng(0).choice((0, RIGHT, RIGHT | A, A), 60)]
    for held in buttons[:20]:
        emulator.frame(held)
    state = emulator.save()

    def play() -> list[tuple[bytes, bytes]]:
        seen = []
        for held in buttons[20:]:
            emulator.frame(held)
            seen.append((emulator.ram(), emulator.indices().tobytes()))
        return seen

    first = play()
    emulator.load(state)
    assert emulator.save() == state
    assert play() == first
    other = a3g_native.Emulator(ROM)
    other.load(state)
    assert other.save() == state


def test_reset_is_power_on() -> None:
    emulator = a3g_native.Emulator(ROM)
    fresh = emulator.save()
    for _ in range(100):
        emulator.frame(START)
    assert emulator.save() != fresh
    emulator.reset()
    assert emulator.save() == fresh


def test_drawing_changes_nothing_but_the_picture(starts: dict[Stage, bytes]) -> None:
    drawing, blind = a3g_native.Emulator(ROM), a3g_native.Emulator(ROM)
    for stage in (Stage(1, 1), Stage(2, 2), Stage(8, 4)):
        drawing.load(starts[stage])
        blind.load(starts[stage])
        buttons = native_compare.random_buttons(np.random.default_rng(1), "run")
        for _ in range(200):
            held = next(buttons)
            drawing.frame(held)
            blind.frame(held, draw=False)
            assert drawing.save() == blind.save()


def test_a_damaged_state_is_refused_and_changes_nothing(starts: dict[Stage, bytes]) -> None:
    emulator = a3g_native.Emulator(ROM)
    emulator.load(starts[Stage(1, 1)])
    good = emulator.save()
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 0x10
        with pytest.raises(ValueError, match="save state"):
            emulator.load(bytes(bad))
    for bad_state in (b"", b"nonsense", good[:-1], good + b"\0", good[: len(good) // 2], bytes(len(good))):
        with pytest.raises(ValueError, match="save state"):
            emulator.load(bad_state)
    assert emulator.save() == good


def test_a_state_of_another_rom_is_refused(starts: dict[Stage, bytes]) -> None:
    other = a3g_native.Emulator(native_compare.palette_cartridge())
    with pytest.raises(ValueError, match="another ROM"):
        other.load(starts[Stage(1, 1)])


@pytest.mark.parametrize(
    ("rom", "sentence"),
    [
        (b"", "no NES ROM"),
        (b"MES\x1a" + ROM[4:], "no NES ROM"),
        (ROM[:-1], "bytes"),
        (ROM + b"\0", "bytes"),
        (ROM[:4] + b"\x01" + ROM[5:], "16 KB of program"),
        (ROM[:6] + b"\x11" + ROM[7:], "mapper 1"),
        (ROM[:6] + b"\x05" + ROM[7:], "trainer"),
        (ROM[:6] + b"\x09" + ROM[7:], "four name tables"),
    ],
)
def test_a_wrong_rom_is_refused(rom: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        a3g_native.Emulator(rom)
    with pytest.raises(ValueError, match=sentence):
        a3g_native.Batch(rom, 1)


def test_a_program_that_makes_no_sense_is_an_error() -> None:
    rom = bytearray(native_compare.palette_cartridge())
    rom[16:18] = b"\x02\x02"
    emulator = a3g_native.Emulator(bytes(rom))
    with pytest.raises(RuntimeError, match="instruction"):
        emulator.frame(0)


def test_code_outside_of_the_program_runs() -> None:
    """A program that writes a routine to RAM (count in 0x10, jump back) and runs it there again and again."""
    to_ram = "a9e6 8d0002 a910 8d0102 a94c 8d0202 a922 8d0302 a980 8d0402 a900 8510 a200"  # 37 cycles
    code = bytes.fromhex(to_ram + "4c0002 e8 4c1f80")  # JMP 0x0200; then from there to INX, JMP: 16 cycles a round
    rom = bytearray(native_compare.palette_cartridge())
    rom[16 : 16 + len(code)] = code
    emulator = a3g_native.Emulator(bytes(rom))
    emulator.frame(0, draw=False)
    cycles = 262 * 341 / 3
    assert emulator.ram()[0x10] == int((cycles - 37 - 3) / 16 + 1) % 256


# ---- one console ---------------------------------------------------------------------------------------


def test_the_ram_view_is_live_and_writable() -> None:
    emulator = a3g_native.Emulator(ROM)
    view = emulator.ram_view()
    assert view.shape == (2048,)
    assert view.dtype == np.uint8
    emulator.poke(0x75A, 7)
    assert view[0x75A] == 7
    view[0x75A] = 9
    assert emulator.ram()[0x75A] == 9
    del emulator
    assert view[0x75A] == 9  # the console lives as long as its view


def test_grey_and_rgb_are_the_palettes_of_the_indices(starts: dict[Stage, bytes]) -> None:
    emulator = a3g_native.Emulator(ROM)
    emulator.load(starts[Stage(1, 1)])
    emulator.frame(0)
    rgb = emulator.rgb()
    assert rgb.shape == (240, 256, 3)
    assert emulator.indices().max() < 64
    assert np.array_equal(emulator.grey(), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    assert tuple(rgb[60, 100]) == (104, 136, 252)  # the sky of 1-1 on nes-py


@pytest.mark.parametrize("address", [-1, 2048])
def test_poking_outside_of_ram_is_refused(address: int) -> None:
    with pytest.raises(ValueError, match="address"):
        a3g_native.Emulator(ROM).poke(address, 0)


@pytest.mark.parametrize("value", [-1, 256])
def test_numbers_that_are_no_bytes_are_refused(value: int) -> None:
    emulator = a3g_native.Emulator(ROM)
    with pytest.raises(ValueError, match="value"):
        emulator.poke(0, value)
    with pytest.raises(ValueError, match="buttons"):
        emulator.frame(value)


# ---- many games ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "crop", "tolerance"),
    [
        (80, 80, (15, 215, 43, 243), 0),
        (100, 100, (15, 215, 43, 243), 0),
        (50, 40, (15, 215, 43, 243), 0),
        (200, 200, (15, 215, 43, 243), 0),
        (84, 84, (15, 215, 43, 243), 1),
        (84, 84, (0, 240, 0, 256), 1),
        (96, 96, (8, 232, 8, 248), 1),
        (61, 47, (3, 190, 11, 250), 1),
    ],
)
def test_observations_equal_opencvs_area_resize(
    starts: dict[Stage, bytes], height: int, width: int, crop: tuple[int, int, int, int], tolerance: int
) -> None:
    batch = a3g_native.Batch(ROM, 1, height=height, width=width, crop=crop, frame_skip=3)
    emulator = a3g_native.Emulator(ROM)
    arrays = Arrays(1, height, width)
    top, bottom, left, right = crop
    for stage in STAGES[::5]:
        batch.start(0, starts[stage], stage, 2, arrays.observations)
        emulator.load(starts[stage])
        emulator.frame(0)
        emulator.frame(0)
        for _ in range(12):
            batch.step(np.array([RIGHT], np.uint8), arrays.observations)
            for _ in range(3):
                emulator.frame(RIGHT)
            grey = np.ascontiguousarray(emulator.grey()[top:bottom, left:right])
            expected = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
            off = np.abs(arrays.observations[0, -1].astype(int) - expected)
            assert off.max() <= tolerance


@pytest.mark.parametrize(
    ("two_frame_max", "threads", "reward"),
    [
        (False, 1, "a3g"),
        (False, 2, "a3g"),
        (True, 1, "a3g"),
        (True, 2, "a3g"),
        (False, 1, "gym"),
        (False, 1, "gym-bonus"),
        (False, 1, "gym-forward"),
    ],
)
def test_rules_rewards_and_observations_equal_the_python_rules(
    starts: dict[Stage, bytes], two_frame_max: bool, threads: int, reward: str
) -> None:
    """Every agent step of games that die, clear, warp and run out of time, in all variables, RAM and picture."""
    rng = np.random.default_rng(threads + 10 * two_frame_max)
    emulator = make_emulator("native")
    console = emulator._console  # type: ignore[attr-defined]
    actions = ACTION_SETS["a3g"]
    outcomes: set[str] = set()
    hurry, down = 3, 9  # to the right, running; into a pipe
    hurry = 3  # to the right, running
    episodes: list[tuple[Stage, bytes, int, int | None]]
    episodes = [(stage, state, 300, hurry) for stage, state in _shortly_before_the_end(starts)]
    episodes += [(STAGES[i], starts[STAGES[i]], 300, None) for i in (0, 5, 3, 15, 31, 27)]
    episodes += [(Stage(1, 1), starts[Stage(1, 1)], 3, 0)]  # stands still until the time is up
    episodes += [(Stage(2, 1), starts[Stage(1, 3)], 300, None)]  # another stage than asked for: warped
    episodes += [(Stage(1, 2), _prepared(to_the_minus_world), 300, down)]  # out of the 32 stages: warped
    episodes += [(Stage(1, 3), _prepared(to_a_sinking_lift), 300, 0)]
    for number, (stage, state, time_per_stage, always) in enumerate(episodes):
        whole_game = number in (1, 4, 7, len(episodes) - 2)
        options = {"two_frame_max": two_frame_max, "time_per_stage": time_per_stage, "threads": threads, "reward": reward}
        batch = a3g_native.Batch(ROM, 2, **options)
        arrays = Arrays(2)
        lane = number % 2
        idle = 1 + int(rng.integers(5))
        batch.start(1 - lane, starts[Stage(1, 1)], None, 1, *arrays.all)
        batch.start(lane, state, None if whole_game else stage, idle, *arrays.all)
        emulator.load(state)
        for _ in range(idle):
            emulator.frame(0)
        # With two_frame_max a first step of one frame shows the start's picture too.
        seen = [np.ascontiguousarray(console.grey()[15:215, 43:243])]

        def look(_: Any, seen: list[np.ndarray] = seen) -> None:
            seen.append(np.ascontiguousarray(console.grey()[15:215, 43:243]))
            del seen[:-2]

        episode = Episode(emulator.ram(), None if whole_game else stage, time_per_stage, look, reward)
        action = hurry if always is None else always
        for _ in range(120):
            if always is None and rng.random() < 0.2:
                action = int(rng.choice(len(actions), p=(0.02, 0.12, 0.15, 0.25, 0.3, 0.04, 0.04, 0.03, 0.02, 0.03)))
            before = episode.attempted_stage, episode.progress
            older = arrays.observations[lane, 1:].copy()
            held = np.zeros(2, np.uint8)
            held[lane] = actions[action]
            batch.step(held, *arrays.all)
            result = episode.step(emulator, actions[action], 4)
            attempt, progress = (episode.attempted_stage, episode.progress) if result.outcome is None else before
            expected: dict[str, Any] = dict(memory.decode(emulator.ram()))
            expected["status"] = a3g_native.STATUSES.index(expected["status"])
            expected["outcome"] = a3g_native.OUTCOMES.index(None if result.outcome is None else str(result.outcome))
            expected |= {"game_over": result.game_over, "progress": progress}
            expected |= {"attempt_world": attempt.world, "attempt_stage": attempt.stage}
            assert {name: arrays.variable(name, lane) for name in a3g_native.VARIABLES} == expected
            assert arrays.rewards[lane] == result.reward
            assert arrays.ram[lane].tobytes() == bytes(emulator.ram())
            picture = np.maximum(*seen) if two_frame_max and len(seen) == 2 else seen[-1]
            assert np.array_equal(arrays.observations[lane, -1], cv2.resize(picture, (80, 80), interpolation=cv2.INTER_AREA))
            assert np.array_equal(arrays.observations[lane, :-1], older)
            outcomes.add(str(result.outcome))
            if result.game_over:
                break
    assert outcomes == {"None", "died", "cleared", "warped", "timeout"}


def _shortly_before_the_end(starts: dict[Stage, bytes]) -> list[tuple[Stage, bytes]]:
    """States from which running right clears the stage: Mario is carried over 1-1 (twice) and 1-4 by pushes upwards."""
    emulator = a3g_native.Emulator(ROM)
    ram = emulator.ram_view()
    states = []
    for stage, page in ((Stage(1, 1), 12), (Stage(1, 1), 12), (Stage(1, 4), 9)):
        emulator.load(starts[stage])
        for _ in range(3000):
            ram[0x79F] = 20  # a star
            if ram[0xCE] > 110 and 0 < ram[0x9F] < 128:
                ram[0x9F], ram[0x1D] = 0xFB, 1  # up again
            emulator.frame(RIGHT | native_compare.B, draw=False)
            if ram[memory.PLAYER_PAGE] >= page:
                break
        states.append((stage, emulator.save()))
    return states


def _prepared(prepare: Callable[[Emulator], object]) -> bytes:
    emulator = make_emulator("native")
    prepare(emulator)
    return emulator.to_bytes()


@pytest.mark.parametrize(("two_frame_max", "threads"), [(False, 1), (True, 2)])
def test_steps_without_pictures_and_without_some_lanes_are_the_same_steps(
    starts: dict[Stage, bytes], two_frame_max: bool, threads: int
) -> None:
    """Games of which some are left out of each step, none drawn, against games by themselves that are always drawn."""
    rng = np.random.default_rng(5)
    actions = np.array(ACTION_SETS["a3g"], np.uint8)
    stages = [Stage(1, 1), Stage(1, 2), Stage(2, 2), Stage(8, 1), Stage(8, 4)]
    lanes = len(stages)
    options = {"two_frame_max": two_frame_max, "stack": 2}
    undrawn, arrays = a3g_native.Batch(ROM, lanes, threads=threads, **options), Arrays(lanes, stack=2)
    drawn, expected = [a3g_native.Batch(ROM, 1, **options) for _ in stages], [Arrays(1, stack=2) for _ in stages]

    def begin(lane: int) -> None:
        idle, stage = 1 + int(rng.integers(30)), stages[lane]
        undrawn.start(lane, starts[stage], stage, idle, None, *arrays.all[1:])
        drawn[lane].start(0, starts[stage], stage, idle, *expected[lane].all)

    for lane in range(lanes):
        begin(lane)
    outcomes = set()
    chosen = rng.integers(len(actions), size=lanes)
    for _ in range(250):
        chosen = np.where(rng.random(lanes) < 0.2, rng.choice((1, 2, 3, 4, 5, 9), size=lanes), chosen)
        active = rng.random(lanes) < 0.7
        undrawn.step(actions[chosen], None, *arrays.all[1:], active=active)
        for lane in range(lanes):
            if active[lane]:
                drawn[lane].step(actions[chosen[lane : lane + 1]], *expected[lane].all)
            for ours, theirs in zip(arrays.all[1:], expected[lane].all[1:], strict=True):
                np.testing.assert_array_equal(ours[lane], theirs[0])
            outcomes.add(expected[lane].variable("outcome"))
            if expected[lane].variable("game_over"):
                begin(lane)
    assert not arrays.observations.any()
    assert outcomes >= {0, a3g_native.OUTCOMES.index("died")}
    # Drawing goes on with the right pictures, in another batch too.
    other = a3g_native.Batch(ROM, lanes, **options)
    for lane in range(lanes):
        game = undrawn.save_game(lane)
        assert game == drawn[lane].save_game(0)
        other.load_game(lane, game)
    for _ in range(4):
        other.step(actions[chosen], arrays.observations)
        for lane in range(lanes):
            drawn[lane].step(actions[chosen[lane : lane + 1]], expected[lane].observations)
    assert arrays.observations.any()
    np.testing.assert_array_equal(arrays.observations, [each.observations[0] for each in expected])


def test_only_lanes_that_are_stepped_need_an_episode(starts: dict[Stage, bytes]) -> None:
    batch = a3g_native.Batch(ROM, 2)
    batch.start(1, starts[Stage(1, 1)], (1, 1), 1)
    batch.step(np.zeros(2, np.uint8), active=np.array([False, True]))
    with pytest.raises(RuntimeError, match="lane 0 has no episode"):
        batch.step(np.zeros(2, np.uint8), active=np.array([True, True]))


def test_run_steps_without_rules(starts: dict[Stage, bytes]) -> None:
    batch, emulator, arrays = a3g_native.Batch(ROM, 3), a3g_native.Emulator(ROM), Arrays(3)
    for lane in range(3):
        batch.load(lane, starts[STAGES[lane]])
    held = np.array([RIGHT, RIGHT | A, 0], np.uint8)
    batch.run(held, 30, arrays.observations, arrays.variables, arrays.ram)
    for lane in range(3):
        emulator.load(starts[STAGES[lane]])
        for _ in range(30):
            emulator.frame(int(held[lane]))
        assert arrays.ram[lane].tobytes() == emulator.ram()
        assert batch.save(lane) == emulator.save()
        crop = np.ascontiguousarray(emulator.grey()[15:215, 43:243])
        assert np.array_equal(arrays.observations[lane, -1], cv2.resize(crop, (80, 80), interpolation=cv2.INTER_AREA))


def _bad_arguments() -> list[tuple[dict[str, Any], type[Exception], str]]:
    good = Arrays(2)
    frozen = np.zeros_like(good.observations)
    frozen.flags.writeable = False
    return [
        ({"buttons": np.zeros(3, np.uint8)}, ValueError, r"buttons must have the shape \(2,\), not \(3,\)"),
        ({"buttons": np.zeros(2, np.int64)}, TypeError, "buttons must be of dtype uint8"),
        ({"buttons": [0, 0]}, TypeError, "buttons must be a NumPy array"),
        ({"buttons": np.zeros(4, np.uint8)[::2]}, ValueError, "buttons must be C-contiguous"),
        ({"observations": [0]}, TypeError, "observations must be a NumPy array"),
        ({"observations": good.observations[:1]}, ValueError, "observations must have the shape"),
        ({"observations": np.zeros((2, 4, 84, 84), np.uint8)}, ValueError, "observations must have the shape"),
        ({"observations": good.observations.astype(np.float32)}, TypeError, "observations must be of dtype uint8"),
        ({"observations": np.zeros((2, 4, 80, 160), np.uint8)[..., ::2]}, ValueError, "observations must be C-contiguous"),
        ({"observations": good.observations.transpose(0, 1, 3, 2)}, ValueError, "observations must be C-contiguous"),
        ({"observations": frozen}, ValueError, "observations must be writable"),
        ({"rewards": np.zeros(2)}, TypeError, "rewards must be of dtype float32"),
        ({"variables": np.zeros((2, 3), np.int32)}, ValueError, "variables must have the shape"),
        ({"ram": np.zeros((2, 2047), np.uint8)}, ValueError, "ram must have the shape"),
        ({"active": np.ones(3, np.bool_)}, ValueError, r"active must have the shape \(2,\), not \(3,\)"),
        ({"active": np.ones(2, np.uint8)}, TypeError, "active must be of dtype bool"),
    ]


@pytest.mark.parametrize(("arguments", "error", "sentence"), _bad_arguments())
def test_wrong_arrays_are_refused(
    starts: dict[Stage, bytes], arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    batch, arrays = a3g_native.Batch(ROM, 2), Arrays(2)
    for lane in range(2):
        batch.start(lane, starts[Stage(1, 1)], (1, 1), 1, arrays.observations)
    before = [batch.save(lane) for lane in range(2)]
    fitting = {"buttons": np.zeros(2, np.uint8), "observations": arrays.observations}
    with pytest.raises(error, match=sentence):
        batch.step(**fitting | arguments)
    assert [batch.save(lane) for lane in range(2)] == before


def test_wrong_options_and_lanes_are_refused(starts: dict[Stage, bytes]) -> None:
    for options, sentence in (
        ({"lanes": 0}, "lanes must be"),
        ({"lanes": 1, "frame_skip": 0}, "frame_skip must be"),
        ({"lanes": 1, "stack": 0}, "stack must be"),
        ({"lanes": 1, "threads": 0}, "threads must be"),
        ({"lanes": 1, "height": 0}, "cannot be shrunk"),
        ({"lanes": 1, "width": 201}, "cannot be shrunk"),
        ({"lanes": 1, "crop": (0, 241, 0, 256)}, "crop must lie"),
        ({"lanes": 1, "crop": (9, 9, 0, 256)}, "crop must lie"),
        ({"lanes": 1, "reward": "score"}, "there is no reward score: choose one of a3g, gym, gym-bonus, gym-forward"),
    ):
        with pytest.raises(ValueError, match=sentence):
            a3g_native.Batch(ROM, **options)
    batch, arrays = a3g_native.Batch(ROM, 2), Arrays(2)
    for lane in (-1, 2):
        with pytest.raises(IndexError, match="no lane"):
            batch.save(lane)
    with pytest.raises(ValueError, match="idle_frames"):
        batch.start(0, starts[Stage(1, 1)], (1, 1), 0, arrays.observations)
    with pytest.raises(RuntimeError, match="lane 0 has no episode"):
        batch.step(np.zeros(2, np.uint8), arrays.observations)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(3, 4, 80, 80), (2, 1, 5, 7), (1, 3, 1, 1), (5, 4, 3, 1)])
def test_interleaving_looks_every_byte_up_and_puts_stacks_innermost(shape: tuple[int, ...], dtype: Any) -> None:
    random = np.random.default_rng(1)
    pictures = random.integers(256, size=shape, dtype=np.uint8)
    table = random.integers(60_000, size=256).astype(dtype)
    result = np.zeros((shape[0], *shape[2:], shape[1]), dtype)
    a3g_native.interleave(pictures, table, result)
    np.testing.assert_array_equal(result, table[pictures].transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("pictures", "table", "result", "says"),
    [
        (np.zeros((2, 4, 8), np.uint8), np.zeros(256, np.float32), np.zeros((2, 8, 4), np.float32), "4 dimensions"),
        ("pictures", np.zeros(256, np.float32), np.zeros((2, 8, 8, 4), np.float32), "4 dimensions"),
        (np.zeros((2, 4, 8, 8), np.int32), np.zeros(256, np.float32), np.zeros((2, 8, 8, 4), np.float32), "uint8"),
        (np.zeros((2, 4, 8, 8), np.uint8), np.zeros(255, np.float32), np.zeros((2, 8, 8, 4), np.float32), "table"),
        (np.zeros((2, 4, 8, 8), np.uint8), np.zeros(256), np.zeros((2, 8, 8, 4), np.float32), "float32"),
        (np.zeros((2, 4, 8, 8), np.uint8), np.zeros(256, np.uint16), np.zeros((2, 8, 8, 4), np.float32), "uint16"),
        (np.zeros((2, 4, 8, 8), np.uint8), np.zeros(256, np.uint16), np.zeros((2, 4, 8, 8), np.uint16), "shape"),
        (np.zeros((2, 4, 8, 16), np.uint8)[..., ::2], np.zeros(256, np.uint16), np.zeros((2, 8, 8, 4), np.uint16), "contig"),
    ],
)
def test_interleaving_refuses_arrays_that_do_not_fit(pictures: Any, table: Any, result: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        a3g_native.interleave(pictures, table, result)


@pytest.mark.parametrize(
    ("x", "y", "winners", "says"),
    [
        (np.zeros((2, 8, 8), np.uint16), np.zeros((2, 4, 4, 16), np.uint16), np.zeros((2, 4, 4, 16), np.uint8), "4 dimensions"),
        (
            np.zeros((2, 8, 8, 8), np.uint16),
            np.zeros((2, 4, 4, 8), np.uint16),
            np.zeros((2, 4, 4, 8), np.uint8),
            "multiple of 16",
        ),
        (
            np.zeros((2, 0, 8, 16), np.uint16),
            np.zeros((2, 0, 4, 16), np.uint16),
            np.zeros((2, 0, 4, 16), np.uint8),
            "not empty",
        ),
        (np.zeros((2, 8, 8, 16), np.float32), np.zeros((2, 4, 4, 16), np.uint16), np.zeros((2, 4, 4, 16), np.uint8), "uint16"),
        (np.zeros((2, 9, 8, 16), np.uint16), np.zeros((2, 4, 4, 16), np.uint16), np.zeros((2, 4, 4, 16), np.uint8), "shape"),
        (np.zeros((2, 8, 8, 16), np.uint16), np.zeros((2, 4, 4, 16), np.uint16), np.zeros((2, 4, 4, 8), np.uint8), "winners"),
    ],
)
def test_pooling_refuses_arrays_that_do_not_fit(x: Any, y: Any, winners: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        a3g_native.max_pool(x, y, winners)
    with pytest.raises((ValueError, TypeError), match=says):
        a3g_native.max_pool_gradient(y, winners, x)
