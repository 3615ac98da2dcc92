"""Files made to be read wrongly: whatever is in them, a loader says one sentence or reads what was written.

Thousands of damaged files from a seeded generator, in two ways: bytes changed anywhere, which the checksum has to
find, and tensors, texts and JSON values changed under a checksum that fits, which only a stranger's file has.
"""

from __future__ import annotations

import copy
import json
import random
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import MAX_HEADER_BYTES, load_tensors, save_tensors
from a3g.networks.actor_critic import ActorCritic
from a3g.processes.prepare import restore
from a3g.processes.shared_run import SharedRun
from a3g.processes.worker import make_worker
from a3g.runs.checkpoint import load_config, save_checkpoint
from a3g.runs.progress import Progress
from a3g.runs.scores import GameSettings, Score, StageScore
from a3g.runs.weights import load_weights, save_weights
from a3g.runs.worker_state import load_worker_state, save_worker_state
from tests.running import snapshot_of

CONFIG = TrainConfig(
    env="SuperMarioBros-1-1-v0", network="conv4", hidden_size=4, lstm=False, workers=1, lanes=1, num_steps=1, run_name="run"
)
SCORE = Score({"1-1": StageScore(2, 1, 9.0)}, GameSettings.of(CONFIG.game_options()), 0.9, 5)
# What a loader may take beside what is there already. PyTorch reserves address space generously.
MEMORY_BYTES = 2 << 30


def read_weights(path: Path) -> None:
    weights = load_weights(path)
    if weights.score is not None:
        assert not weights.score.is_better_than(weights.score)
    weights.build()


class Kind:
    """A kind of file: a good one, and what reads it in the program."""

    def __init__(self, name: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.path = folder / name
        self.read: Callable[[Path], object] = read_weights
        model = ActorCritic(CONFIG.network_spec())
        shared, cpu = SharedRun(model, CONFIG), torch.device("cpu")
        if name == "weights":
            save_weights(self.path, model, CONFIG.env, CONFIG.game_options(), 5, SCORE)
        elif name == "checkpoint":
            save_checkpoint(self.path, snapshot_of(shared).tensors, Progress(), CONFIG, b"best")
            self.read = lambda path: (load_config(path), restore(shared, path))
        else:
            worker = make_worker(0, CONFIG, shared, cpu)
            save_worker_state(self.path, worker.state_dict(), CONFIG, 0, cpu)
            self.read = worker.resume
        self.good = self.path.read_bytes()


@pytest.fixture(params=["weights", "checkpoint", "worker's state"], scope="module")
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kind:
    return Kind(request.param, tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(autouse=True)
def little_memory() -> Any:
    """A loader that takes memory for what a file only declares fails here."""
    import psutil

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused_or_read(kind: Kind) -> bool:
    """Whether the file at `kind.path` was read; anything but a UserError of one line fails the test."""
    refusal = ""
    try:
        kind.read(kind.path)
    except UserError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 1000
    return not refusal


def damaged(good: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled, or put in from elsewhere; mostly in the header, where it hurts."""
    data = bytearray(good)
    header = 8 + int.from_bytes(good[:8], "little")
    for _ in range(chance.choice((1, 1, 1, 3, 10))):
        end = len(data) if chance.random() < 0.3 else min(header, len(data))
        if not end:
            break
        at, size = chance.randrange(end), chance.choice((1, 1, 2, 8, 100))
        what = chance.randrange(5)
        if what == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            data[at : at + size] = chance.randbytes(size)
        elif what == 2:
            del data[at : at + size]
        elif what == 3:
            data[at:at] = data[at : at + size]
        else:
            digits = chance.choice((b"-1", b"99999999999999999999", b"1e999", b"[[", b"null", b'"', b"\xff"))
            data[at : at + len(digits)] = digits
    return bytes(data)


def test_damaged_bytes_are_never_taken_for_a_good_file(kind: Kind) -> None:
    chance = random.Random(1)
    for _ in range(600):
        data = damaged(kind.good, chance)
        kind.path.write_bytes(data)
        assert not refused_or_read(kind) or data == kind.good


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**30, float("nan"), float("inf"), "", "1-1", "../../etc/passwd", "x" * 10_000, [], [[]], {},
    {"a": 1}, [1, "a", None], {"1-1": "many"},
)  # fmt: skip


def odd_json(value: Any, chance: random.Random) -> Any:
    """A JSON value with something in it changed, deep inside or altogether."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        value = dict(value)
        name = chance.choice(list(value))
        what = chance.randrange(6)
        if what == 0:
            del value[name]
        elif what == 1:
            value[chance.choice(("wings", "__class__", ""))] = chance.choice(ODD)
        else:
            value[name] = odd_json(value[name], chance)
        return value
    if isinstance(value, list) and value and chance.random() < 0.7:
        value = list(value)
        value[chance.randrange(len(value))] = chance.choice(ODD)
        return value
    return chance.choice(ODD)


def odd_tensors(tensors: dict[str, Tensor], chance: random.Random) -> None:
    """A tensor missing, added, of another shape or type, or with an impossible number."""
    name = chance.choice(sorted(tensors))
    tensor, what = tensors[name], chance.randrange(6)
    if what == 0:
        del tensors[name]
    elif what == 1:
        tensors[chance.choice(("wings", "../../x", ""))] = torch.zeros(3)
    elif what == 2:
        tensors[name] = tensor.unsqueeze(0)
    elif what == 3:
        tensors[name] = tensor.to(chance.choice((torch.float64, torch.int32, torch.bool, torch.float16)))
    elif tensor.numel() and what == 4:
        tensors[name] = tensor.flatten()[: chance.randrange(tensor.numel())].clone()
    elif tensor.numel():
        flat = tensor.flatten().clone()
        flat[chance.randrange(len(flat))] = float("nan") if flat.is_floating_point() else 1
        tensors[name] = flat.view(tensor.shape)


def test_strange_content_under_a_right_checksum_is_refused_in_one_sentence(kind: Kind) -> None:
    kind.path.write_bytes(kind.good)
    good_tensors, good_texts = load_tensors(kind.path, "test")
    good_texts.pop("format_version")
    chance = random.Random(2)
    read = 0
    for _ in range(300):
        tensors, texts = dict(good_tensors), copy.copy(good_texts)
        if chance.random() < 0.5:
            odd_tensors(tensors, chance)
        else:
            name = chance.choice(sorted(texts))
            try:
                value = json.loads(texts[name])
            except ValueError:
                value = texts[name]
            texts[name] = json.dumps(odd_json(value, chance))
        save_tensors(kind.path, tensors, texts)
        read += refused_or_read(kind)
    assert read < 150  # most of it is nonsense, and is not taken for anything else


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 64]}},
        {"w": {"dtype": "F32", "shape": [1 << 31, 1 << 31, 1 << 31], "data_offsets": [0, 64]}},
        {"w": {"dtype": "F32", "shape": [-4, -4], "data_offsets": [0, 64]}},
        {"w": {"dtype": "F32", "shape": [16.0], "data_offsets": [0, 64]}},
        {"w": {"dtype": "F128", "shape": [4], "data_offsets": [0, 64]}},
        {"w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 1 << 50]}},
        {"w": {"dtype": "F32", "shape": [16], "data_offsets": [-64, 0]}},
        {
            "w": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
            "v": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]},
        },
        {"w": {"dtype": "F32", "shape": 16, "data_offsets": [0, 64]}},
        {"w": [1]},
        {"__metadata__": {"format_version": 1}},
        {"__metadata__": []},
        [],
        7,
    ],
)
def test_headers_that_declare_nonsense(kind: Kind, header: Any) -> None:
    if isinstance(header, dict):
        header = {"__metadata__": {"format_version": "1", "checksum": ""}, **header}
    data = json.dumps(header).encode()
    kind.path.write_bytes(len(data).to_bytes(8, "little") + data + bytes(64))
    assert not refused_or_read(kind)


@pytest.mark.parametrize("games", ["[]", "7", "null", "[[1]]"])
def test_a_workers_state_of_other_kinds_of_games_is_refused(tmp_path: Path, games: str) -> None:
    """Regression: a list where a dict should be ended in a TypeError."""
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"random": torch.zeros(1)}, {"games": games})
    with pytest.raises(UserError, match="is damaged"):
        load_worker_state(path, CONFIG, 0, torch.device("cpu"))


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES + 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_headers_of_any_length_are_not_read(kind: Kind, size: int) -> None:
    with kind.path.open("wb") as file:
        file.write(size.to_bytes(8, "little"))
        file.truncate(min(size, 1 << 42))  # a file with a hole: it is as long as it says, and takes no room
    assert not refused_or_read(kind)
    kind.path.write_bytes(b"")


def test_deeply_nested_headers_are_no_way_to_end_the_program(kind: Kind) -> None:
    for opening in (b"[", b'{"a":'):
        data = opening * (MAX_HEADER_BYTES // len(opening) - 1)
        kind.path.write_bytes(len(data).to_bytes(8, "little") + data)
        assert not refused_or_read(kind)
    assert sys.getrecursionlimit() >= 1000
