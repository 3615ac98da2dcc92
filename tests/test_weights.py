"""Weights files: what comes back, what is refused, and what survives a failed write."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from a3g.errors import UserError
from a3g.files import load_tensors, save_tensors, write_atomically
from a3g.game.lane import GameOptions
from a3g.networks.actor_critic import ActorCritic
from a3g.networks.flat_parameters import FlatParameters
from a3g.networks.pixel_network import NetworkSpec
from a3g.runs.scores import GameSettings, Score, StageScore
from a3g.runs.weights import check_fit, load_weights, save_weights, weights_path

SPEC = NetworkSpec("conv4", (2, 16, 16), num_actions=10, hidden_size=8, lstm=True)
GAME = GameOptions(stack=2, height=16, width=16, skip_rate=3, sticky_actions=0.25)
SCORE = Score({"1-1": StageScore(20, 19, 3000.5)}, GameSettings.of(GAME), 0.9, 123_456)


@pytest.fixture
def model() -> ActorCritic:
    torch.manual_seed(3)
    model = ActorCritic(SPEC)
    model.input_mean.fill_(12.5)
    return model


@pytest.fixture
def path(tmp_path: Path, model: ActorCritic) -> Path:
    """A good weights file."""
    path = tmp_path / "SuperMarioBros-1-1-v0.safetensors"
    save_weights(path, model, "SuperMarioBros-1-1-v0", GAME, 123_456, SCORE)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


# -- what comes back


def test_a_round_trip_gives_everything_back(path: Path, model: ActorCritic) -> None:
    weights = load_weights(path)
    assert weights.env_id == "SuperMarioBros-1-1-v0"
    assert weights.network == SPEC
    assert weights.game == GAME
    assert weights.score == SCORE
    assert weights.agent_steps == 123_456
    expected = model.state_dict()
    assert set(weights.tensors) == set(expected)
    for name, tensor in weights.tensors.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("encoder", ["impala", "nature", "nips", "conv4"])
@pytest.mark.parametrize("lstm", [True, False])
def test_the_network_is_rebuilt_and_plays_the_same(tmp_path: Path, encoder: str, lstm: bool) -> None:
    model = ActorCritic(NetworkSpec(encoder, (4, 40, 40), num_actions=5, hidden_size=16, lstm=lstm))
    model.input_mean.fill_(100.0)
    model.input_variance.fill_(2000.0)
    game = GameOptions(height=40, width=40, actions="right")
    save_weights(tmp_path / "w.safetensors", model, "SuperMarioBros-v0", game, 1)
    rebuilt = load_weights(tmp_path / "w.safetensors").build()
    assert not rebuilt.training
    pictures = torch.randint(0, 256, (3, 2, 4, 40, 40), dtype=torch.uint8)
    inputs = pictures, model.initial_state(2), torch.zeros(3, 2, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(*inputs), model(*inputs), rtol=0, atol=0)


def test_weights_in_training_are_saved_as_they_are(tmp_path: Path, model: ActorCritic) -> None:
    """From a flat model whose parameters are views of one vector, as the tester saves them."""
    FlatParameters(model)
    save_weights(tmp_path / "w.safetensors", model, "SuperMarioBros-v0", GAME, 1)
    for name, tensor in load_weights(tmp_path / "w.safetensors").tensors.items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_never_tested_weights_have_no_score(tmp_path: Path, model: ActorCritic) -> None:
    save_weights(tmp_path / "w.safetensors", model, "SuperMarioBros-v0", GAME, 1)
    assert load_weights(tmp_path / "w.safetensors").score is None


def test_a_file_describes_itself_to_other_tools(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["network"])["encoder"] == "conv4"
    assert json.loads(metadata["game"])["skip_rate"] == 3
    assert json.loads(metadata["score"])["stages"]["1-1"] == {"episodes": 20, "cleared": 19, "mean_progress": 3000.5}


def test_empty_tensors_of_any_type_can_be_saved(tmp_path: Path) -> None:
    """Such as the lengths of no byte strings, in the state of games that begin at no saved state."""
    tensors = {"numbers": torch.from_numpy(np.array([], np.int64)), "bytes": torch.zeros(0, 3, dtype=torch.uint8)}
    save_tensors(tmp_path / "state", tensors, {})
    loaded, _ = load_tensors(tmp_path / "state", "state")
    assert {name: (each.shape, each.dtype) for name, each in loaded.items()} == {
        name: (each.shape, each.dtype) for name, each in tensors.items()
    }


def test_a_folder_is_made_when_needed(tmp_path: Path, model: ActorCritic) -> None:
    path = weights_path(tmp_path / "new" / "folder", "SuperMarioBros-2-3-v0")
    assert path.name == "SuperMarioBros-2-3-v0.safetensors"
    save_weights(path, model, "SuperMarioBros-2-3-v0", GAME, 1)
    assert load_weights(path).env_id == "SuperMarioBros-2-3-v0"


def test_saving_again_replaces_the_file_and_leaves_nothing_else(path: Path, model: ActorCritic) -> None:
    with torch.no_grad():
        model.critic.bias.fill_(7.0)
    save_weights(path, model, "SuperMarioBros-1-1-v0", GAME, 200_000)
    assert load_weights(path).agent_steps == 200_000
    assert float(load_weights(path).tensors["critic.bias"]) == 7.0
    assert files_in(path.parent) == [path.name]


# -- what is refused, each with one sentence


def refuse(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing.safetensors", "There is no weights file")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    refuse(tmp_path, "There is no weights file")


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"not weights", b"{}" * 100, b"\xff" * 64, os.urandom(5000)])
def test_what_is_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    refuse(path, "damaged or is none")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path, "damaged")


def test_a_file_with_something_at_its_end(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    refuse(path, "damaged")


def test_flipped_bits_wherever_they_are(path: Path) -> None:
    """In the header's length, its JSON, the description, the weights: never taken for good weights."""
    data = path.read_bytes()
    random = torch.Generator().manual_seed(0)
    header = 8 + int.from_bytes(data[:8], "little")
    positions = [*range(8), *torch.randint(8, header, (150,), generator=random).tolist()]
    positions += torch.randint(header, len(data), (50,), generator=random).tolist()
    for position in positions:
        bit = 1 << int(torch.randint(8, (), generator=random))
        path.write_bytes(data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])
        with pytest.raises(UserError):
            load_weights(path)


def test_every_digit_of_the_description_counts(path: Path) -> None:
    """Regression: a flipped bit in the metadata still made readable JSON, and another game was played."""
    data = path.read_bytes()
    assert data.count(b'stack\\": 2') == 1
    path.write_bytes(data.replace(b'stack\\": 2', b'stack\\": 3'))
    refuse(path, "checksum")


def test_a_foreign_safetensors_file(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    refuse(tmp_path / "w.safetensors", "not written by this program")
    save_file({"weight": torch.zeros(3)}, tmp_path / "w.safetensors", {"format": "pt", "checksum": "abc"})
    refuse(tmp_path / "w.safetensors", "not written by this program")


class _Evil:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_no_pickle_is_ever_loaded(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "w.safetensors", tmp_path / "trace"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(_Evil(str(trace))))
    else:
        torch.save({"weights": _Evil(str(trace))}, path)
    refuse(path, "damaged or is none")
    with pytest.raises(UserError):
        load_tensors(path, "checkpoint")
    assert not trace.exists()


def test_no_source_file_unpickles() -> None:
    """Nothing a user might load is a pickle."""
    root = Path(__file__).parent.parent
    sources = [*root.glob("*.py"), *(root / "a3g").rglob("*.py")]
    assert len(sources) > 20
    for source in sources:
        text = source.read_text()
        assert not any(word in text for word in ("torch.load", "pickle.load", "import pickle", "np.load(")), source


def test_a_file_from_a_newer_version(path: Path) -> None:
    tensors, metadata = load_tensors(path, "weights")
    save_file(tensors, path, {**metadata, "format_version": "2", "checksum": "of another kind"})
    refuse(path, "is of version 2, this program reads 1")


def described(path: Path, **changes: str | None) -> None:
    """Write a file again with other descriptions; None leaves one out."""
    tensors, metadata = load_tensors(path, "weights")
    metadata.pop("format_version")
    save_tensors(path, tensors, {key: value for key, value in {**metadata, **changes}.items() if value is not None})


@pytest.mark.parametrize("key", ["env_id", "network", "game", "score", "agent_steps"])
def test_a_missing_description(path: Path, key: str) -> None:
    described(path, **{key: None})
    refuse(path, "no usable description")


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "{"},
        {"network": "[]"},
        {"network": '{"encoder": "conv4", "wings": 2}'},
        {"agent_steps": "many"},
        {"game": '{"skip_rate": "four"}'},
        {"game": '{"colour": true}'},
        {"network": json.dumps({**dataclasses.asdict(SPEC), "hidden_size": 0})},
        {"network": json.dumps({**dataclasses.asdict(SPEC), "hidden_size": -8})},
        {"network": json.dumps({**dataclasses.asdict(SPEC), "hidden_size": "8"})},
    ],
)
def test_a_description_that_makes_no_sense(path: Path, changes: dict[str, str]) -> None:
    described(path, **changes)
    refuse(path, "no usable description")


def test_weights_of_an_unknown_network(path: Path) -> None:
    described(path, network=json.dumps({**dataclasses.asdict(SPEC), "encoder": "transformer"}))
    with pytest.raises(UserError, match="Unknown network 'transformer'"):
        load_weights(path)


@pytest.mark.parametrize(
    "other",
    [
        {"hidden_size": 16},
        {"lstm": False},
        {"encoder": "impala"},
        {"num_actions": 7},
        {"observation_shape": (4, 16, 16)},
        {"observation_shape": (2, 80, 80)},
    ],
)
def test_tensors_that_do_not_fit_the_network_they_name(path: Path, other: dict[str, object]) -> None:
    described(path, network=json.dumps(dataclasses.asdict(dataclasses.replace(SPEC, **other))))
    refuse(path, "weights of another network")


def test_tensors_missing_or_too_many(path: Path) -> None:
    tensors, metadata = load_tensors(path, "weights")
    metadata.pop("format_version")
    save_tensors(path, {**tensors, "wings": torch.zeros(2)}, metadata)
    refuse(path, "wings is .* and missing in")
    del tensors["actor.bias"]
    save_tensors(path, tensors, metadata)
    refuse(path, "actor.bias is missing there")


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in load_weights(path).tensors.items()}


def test_the_sentence_on_another_network_names_the_options(path: Path) -> None:
    with pytest.raises(UserError, match="--network, --lstm, --fc, --hidden-size, --actions and --stack"):
        check_fit(shapes_of(path), "a3c", NetworkSpec(), path)


def test_checking_costs_no_random_numbers(path: Path) -> None:
    """So that a run that looks at a weights file on the way is the same run."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_fit(shapes_of(path), "a3c", SPEC, path)
    assert torch.equal(torch.rand(3), expected)


# -- failed writes


def test_an_interrupted_write_leaves_the_old_file(path: Path) -> None:
    """A process killed in the middle of writing: what is read is the old file, whole."""
    before = path.read_bytes()
    script = (
        "import os, sys, pathlib; os.fsync = lambda descriptor: os.kill(os.getpid(), 9)\n"
        "from a3g.files import write_atomically\n"
        "write_atomically(pathlib.Path(sys.argv[1]), b'half')"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == -9
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_old_file_and_no_remains(path: Path) -> None:
    """The kernel's own "file too large", as near to a full disk as a test gets without one."""
    before = path.read_bytes()
    script = (
        "import resource, signal, sys, pathlib\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from a3g.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(pathlib.Path(sys.argv[1]), bytes(5000))\n"
        "except OSError: sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 7
    assert path.read_bytes() == before
    assert files_in(path.parent) == [path.name]


def test_what_can_not_be_replaced_raises_and_leaves_no_remains(tmp_path: Path, model: ActorCritic) -> None:
    taken = tmp_path / "w.safetensors"
    taken.mkdir()
    with pytest.raises(OSError, match=r"w\.safetensors"):
        save_weights(taken, model, "SuperMarioBros-v0", GAME, 1)
    assert files_in(tmp_path) == ["w.safetensors"]


def test_a_file_in_place_of_the_folder(tmp_path: Path, model: ActorCritic) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        save_weights(tmp_path / "file" / "w.safetensors", model, "SuperMarioBros-v0", GAME, 1)
    assert (tmp_path / "file").read_text() == "mine"


def test_writing_atomically_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for content in (b"long content", b"", b"short"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert files_in(tmp_path) == ["new", "new/file"]
