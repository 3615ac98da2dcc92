"""Files of demonstrations: what is saved is loaded, and what is damaged or of another kind is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from a3g.errors import UserError
from a3g.exploration.demonstrations import Demonstration, demonstrations_path, load_demonstrations, save_demonstrations
from a3g.files import load_tensors, save_tensors
from a3g.game.stages import STAGES, Stage

STAGE = Stage(1, 1)


def demonstrations(stage: Stage = STAGE) -> list[Demonstration]:
    rng = np.random.default_rng(0)
    return [
        Demonstration(stage, idle, rng.integers(10, size=length, dtype=np.uint8), chance)
        for idle, length, chance in ((0, 300, 0.0), (30, 1, 0.25), (7, 511, 0.125))
    ]


def assert_same(ours: list[Demonstration], theirs: list[Demonstration]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.stage, one.idle_frames, one.sticky_actions) == (other.stage, other.idle_frames, other.sticky_actions)
        assert one.actions.dtype == other.actions.dtype == np.uint8
        np.testing.assert_array_equal(one.actions, other.actions)


@pytest.mark.parametrize("stage", STAGES[::9], ids=str)
def test_what_is_saved_is_loaded(tmp_path: Path, stage: Stage) -> None:
    save_demonstrations(tmp_path, stage, demonstrations(stage))
    assert_same(load_demonstrations(tmp_path)[stage], demonstrations(stage))
    assert [path.name for path in tmp_path.iterdir()] == [f"{stage}.safetensors"]


def test_stages_without_a_file_have_no_demonstrations(tmp_path: Path) -> None:
    save_demonstrations(tmp_path, STAGE, demonstrations())
    save_demonstrations(tmp_path, Stage(1, 2), [])
    loaded = load_demonstrations(tmp_path)
    assert tuple(loaded) == STAGES
    assert [stage for stage, found in loaded.items() if found] == [STAGE]
    assert load_demonstrations(tmp_path / "missing", [STAGE]) == {STAGE: []}


def test_saving_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    save_demonstrations(tmp_path, STAGE, demonstrations())
    save_demonstrations(tmp_path, STAGE, demonstrations()[1:2])
    assert_same(load_demonstrations(tmp_path, [STAGE])[STAGE], demonstrations()[1:2])


def test_demonstrations_of_another_stage_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1-1"):
        save_demonstrations(tmp_path, STAGE, demonstrations(Stage(1, 2)))
    assert not list(tmp_path.iterdir())


def test_any_flipped_byte_and_any_length_is_noticed(tmp_path: Path) -> None:
    save_demonstrations(tmp_path, STAGE, demonstrations())
    path = demonstrations_path(tmp_path, STAGE)
    good = path.read_bytes()
    broken = [good[:size] for size in range(0, len(good), 53)]
    for position in range(0, len(good), 17):
        flipped = bytearray(good)
        flipped[position] ^= 0x11
        broken.append(bytes(flipped))
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(UserError) as error:
            load_demonstrations(tmp_path, [STAGE])
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"actions": torch.full((812,), 10, dtype=torch.uint8)}, "it has an action 10, actions are 0 to 9"),
        ({"actions": torch.zeros(811, dtype=torch.uint8)}, "do not add up to its 811 actions"),
        ({"lengths": torch.tensor([812, 0, 0], dtype=torch.int32)}, "do not add up"),
        ({"lengths": torch.tensor([812, 1, -1], dtype=torch.int32)}, "do not add up"),
        ({"lengths": torch.tensor([300, 1, 511])}, "not those of demonstrations"),
        ({"idle_frames": torch.zeros(2, dtype=torch.uint8)}, "do not fit together"),
        ({"sticky_actions": torch.tensor([0.0, float("nan"), 0.0])}, "chances of sticky actions"),
        ({"more": torch.zeros(1)}, "not those of demonstrations"),
    ],
)
def test_content_that_makes_no_sense_is_refused(tmp_path: Path, changed: dict[str, torch.Tensor], sentence: str) -> None:
    save_demonstrations(tmp_path, STAGE, demonstrations())
    path = demonstrations_path(tmp_path, STAGE)
    tensors, metadata = load_tensors(path, "demonstrations")
    save_tensors(path, tensors | changed, metadata)
    with pytest.raises(UserError, match=sentence) as error:
        load_demonstrations(tmp_path, [STAGE])
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"demonstrations_version": "2"}, "is of version 2, this program reads 1"),
        ({"stage": "1-2"}, "has stage 1-2, it must be 1-1"),
        ({"action_set": "complex"}, "has action_set complex, it must be a3g"),
        ({"frame_skip": "5"}, "has frame_skip 5, it must be 4"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, changed: dict[str, str], sentence: str) -> None:
    save_demonstrations(tmp_path, STAGE, demonstrations())
    path = demonstrations_path(tmp_path, STAGE)
    tensors, metadata = load_tensors(path, "demonstrations")
    save_tensors(path, tensors, metadata | changed)
    with pytest.raises(UserError, match=sentence):
        load_demonstrations(tmp_path, [STAGE])
    save_tensors(path, tensors, {})
    with pytest.raises(UserError, match="holds no demonstrations"):
        load_demonstrations(tmp_path, [STAGE])
