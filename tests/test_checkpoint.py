"""Checkpoints: what comes back, which one is taken, and a run that goes on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from a3g.algorithm_options import PPOOptions
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.files import load_tensors, save_tensors
from a3g.game.emulators import available_emulators
from a3g.networks.actor_critic import ActorCritic
from a3g.presets import PRESETS
from a3g.processes.counters import Count
from a3g.processes.launcher import train
from a3g.processes.parameter_store import SharedMemoryStore
from a3g.processes.prepare import prepare_run, restore
from a3g.processes.shared_run import SharedRun
from a3g.processes.tester import BEST_NAME
from a3g.processes.worker import make_worker
from a3g.runs.checkpoint import find_automatically, find_checkpoint, load_config, load_progress, newest_good, save_checkpoint
from a3g.runs.folder_lock import FolderLock
from a3g.runs.paths import checkpoint_path, checkpoints_in, next_number, prune, worker_path
from a3g.runs.progress import Progress
from a3g.runs.scores import GameSettings, Score, StageScore
from a3g.runs.weights import load_weights, save_weights
from tests.running import ROOT, SMALL, Start, exact_tensors, newest_checkpoint, snapshot_of, summary_of


def config(**options: object) -> TrainConfig:
    defaults = {"network": "conv4", "hidden_size": 8, "workers": 1, "run_name": "test"}
    return TrainConfig().with_values({**defaults, **options})  # type: ignore[arg-type]


def shared_run(settings: TrainConfig, seed: int) -> SharedRun:
    torch.manual_seed(seed)
    return SharedRun(ActorCritic(settings.network_spec()), settings)


def trained(settings: TrainConfig) -> SharedRun:
    """With weights and an optimizer's state that are nobody's beginning."""
    shared = shared_run(settings, 1)
    model = shared.model
    assert model.optimizer is not None
    for _ in range(3):
        model.weights.grad = torch.randn_like(model.weights)
        model.optimizer.step()
    model.observe(torch.full((2, 3, 4, 80, 80), 100, dtype=torch.uint8))
    return shared


def save(path: Path, settings: TrainConfig, shared: SharedRun | None = None, best: bytes = b"", **counts: int) -> Path:
    """A checkpoint of a run that has counted so much."""
    shared, progress = shared or shared_run(settings, 1), Progress(**counts)
    shared.counters.load(progress, {})
    save_checkpoint(path, snapshot_of(shared).tensors, progress, settings, best)
    return path


# -- what comes back


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"optimizer": "RMSprop"}, {"lstm": False}])
def test_a_run_goes_on_exactly_where_its_checkpoint_was(tmp_path: Path, options: dict[str, object]) -> None:
    """Weights, moments, step count and statistics: the next update after loading is the one that would have been."""
    settings = config(workers=2, **options)
    shared = trained(settings)
    counters, results = shared.counters, shared.results
    results.tests.fill_(4)
    results.best_cleared[2] = 1
    counters.counts[:, Count.AGENT_STEPS] = torch.tensor([300, 200, 500])  # the last: of earlier starts
    counters.counts[1] += torch.tensor([0, 9, 7, 1])
    counters.stages[1, 3] = 5.0
    counters.metrics.write(0, {"entropy": 1.5, "staleness": 0.25})
    progress = Progress(agent_steps=1000, updates=9, episodes=7, skipped_updates=1, restarts=2, resumed=1, seconds=12.5)
    path = checkpoint_path(tmp_path, 1)
    save_checkpoint(path, snapshot_of(shared).tensors, progress, settings, b"the best weights")
    assert load_progress(path) == progress

    other = shared_run(settings, 2)
    assert restore(other, path) == (b"the best weights", progress.saved_at)
    found = other.counters.progress()
    assert dataclasses.replace(found, saved_at=0.0) == dataclasses.replace(progress, resumed=2)
    assert other.counters.metrics.read(0) == {"entropy": 1.5, "staleness": 0.25}
    assert torch.equal(other.counters.counts, counters.counts)
    assert torch.equal(other.counters.stages, counters.stages)
    for ours, theirs in zip(results.tensors().values(), other.results.tensors().values(), strict=True):
        assert torch.equal(ours, theirs)
        assert theirs.is_shared()
    assert torch.equal(shared.model.input_statistics, other.model.input_statistics)
    gradient = torch.randn_like(shared.model.weights)
    for each in (shared.model, other.model):
        assert each.optimizer is not None
        assert each.weights.is_shared()
        assert all(tensor.is_shared() for tensor in each.optimizer.state[each.weights].values())
        each.weights.grad = gradient.clone()
        each.optimizer.step()
    assert torch.equal(shared.model.weights, other.model.weights)


def test_every_stage_has_to_be_cleared_again_after_a_resume(tmp_path: Path) -> None:
    """Stages and settings may have changed."""
    shared = shared_run(config(), 1)
    shared.results.cleared_all.fill_(1)
    other = shared_run(config(), 2)
    restore(other, save(checkpoint_path(tmp_path, 1), config(), shared))
    assert not other.results.cleared_all


def test_with_another_number_of_workers_the_sums_go_on(tmp_path: Path) -> None:
    shared = shared_run(config(workers=2), 1)
    shared.counters.counts[:, Count.AGENT_STEPS] = 50
    shared.counters.metrics.write(0, {"entropy": 1.5})
    path = checkpoint_path(tmp_path, 1)
    save_checkpoint(path, snapshot_of(shared).tensors, Progress(agent_steps=150, updates=7), config(workers=2))
    other = shared_run(config(workers=3), 2)
    restore(other, path)
    assert (other.counters.agent_steps, other.counters.total(Count.UPDATES)) == (150, 7)
    assert not other.counters.counts[:3].any()  # nothing of it is any present worker's
    assert other.counters.metrics.by_name() == {}


def test_a_checkpoint_without_a_shared_optimizer(tmp_path: Path) -> None:
    settings = config(shared_optimizer=False)
    shared, other = shared_run(settings, 1), shared_run(settings, 2)
    assert shared.model.optimizer is None
    restore(other, save(checkpoint_path(tmp_path, 1), settings, shared))
    assert torch.equal(shared.model.weights, other.model.weights)


def test_the_settings_come_back(tmp_path: Path) -> None:
    settings = config(env="SuperMarioBros-4-2-v0", gpu_ids=(0, 2), lr=3e-4, load_model_dir=Path("x/y"), amsgrad=True)
    assert load_config(save(checkpoint_path(tmp_path, 1), settings)) == settings


# -- what is refused, and changes nothing


@pytest.mark.parametrize(
    "other",
    [
        {"hidden_size": 16},
        {"network": "nature"},
        {"lstm": False},
        {"optimizer": "RMSprop"},
        {"amsgrad": True},
        {"shared_optimizer": False},
        {"stack": 2},
    ],
)
def test_a_checkpoint_of_another_network_or_optimizer_changes_nothing(tmp_path: Path, other: dict[str, object]) -> None:
    path = save(checkpoint_path(tmp_path, 1), config())
    shared = shared_run(config(**other), 2)
    before = shared.model.weights.detach().clone()
    with pytest.raises(UserError, match="another network or optimizer"):
        restore(shared, path)
    assert torch.equal(shared.model.weights.detach(), before)


def test_a_damaged_checkpoint_changes_nothing(tmp_path: Path) -> None:
    settings = config()
    path = save(checkpoint_path(tmp_path, 1), settings, trained(settings))
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:-1], data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], b""):
        path.write_bytes(damaged)
        shared = shared_run(settings, 2)
        before = shared.model.weights.detach().clone()
        with pytest.raises(UserError, match="damaged"):
            restore(shared, path)
        with pytest.raises(UserError, match="damaged"):
            load_config(path)
        assert torch.equal(shared.model.weights.detach(), before)


@pytest.mark.parametrize(
    ("metadata", "missing"),
    [
        ({}, "progress"),
        ({"progress": "[]"}, "progress"),
        ({"progress": '{"wings": 2}', "config": "{}"}, "progress"),
        ({"progress": '{"agent_steps": -1}', "config": "{}"}, "progress"),
        ({"progress": '{"agent_steps": "many"}', "config": "{}"}, "progress"),
        ({"progress": "{}", "config": "{"}, "config"),
        ({"progress": "[" * 100_000, "config": "{}"}, "progress"),
    ],
)
def test_a_checkpoint_without_readable_books(tmp_path: Path, metadata: dict[str, str], missing: str) -> None:
    settings = config()
    path = save(checkpoint_path(tmp_path, 1), settings)
    tensors, _ = load_tensors(path, "checkpoint")
    save_tensors(path, tensors, metadata)
    with pytest.raises(UserError, match=f"no readable {missing}"):
        restore(shared_run(settings, 2), path)


@pytest.mark.parametrize(
    "values",
    [
        {"workers": "many"},
        {"workers": 1.5},
        {"log_dir": 5},
        {"gpu_ids": ["one"]},
        {"gpu_ids": 0},
        {"env": 11},
        {"env": "../../etc"},
        {"run_name": "../../etc"},
        {"network": "transformer"},
        {"lstm": 1},
        {"gamma": "high"},
        {"lr": float("nan")},
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, values: dict[str, Any]) -> None:
    path = save(checkpoint_path(tmp_path, 1), config())
    tensors, metadata = load_tensors(path, "checkpoint")
    metadata.pop("format_version")
    settings = {**json.loads(metadata["config"]), **values}
    save_tensors(path, tensors, {**metadata, "config": json.dumps(settings)})
    with pytest.raises(UserError):
        load_config(path)


def test_a_checkpoint_of_damaged_weights_is_of_no_use(tmp_path: Path) -> None:
    shared = shared_run(config(), 1)
    with torch.no_grad():
        shared.model.weights[5] = float("nan")
    path = save(checkpoint_path(tmp_path, 1), config(), shared)
    with pytest.raises(UserError, match="not finite"):
        restore(shared_run(config(), 2), path)


def test_weights_are_no_checkpoint_and_the_other_way_round(tmp_path: Path) -> None:
    settings, path = config(), tmp_path / "weights.safetensors"
    save_weights(path, ActorCritic(settings.network_spec()), "SuperMarioBros-v0", settings.game_options(), 1)
    with pytest.raises(UserError, match="another network or optimizer"):
        restore(shared_run(settings, 1), path)
    with pytest.raises(UserError, match="no usable description"):
        load_weights(save(checkpoint_path(tmp_path, 1), settings))


# -- which one


def test_a_run_is_found_by_its_name_its_folder_or_its_file(tmp_path: Path) -> None:
    """Regression of seed 004: going on reads the file that stopping wrote."""
    folder = tmp_path / "logs" / "my-run"
    path = save(checkpoint_path(folder, 7), config())
    for resume in ("my-run", str(folder), str(path)):
        assert find_checkpoint(resume, tmp_path / "logs", print) == path
    with pytest.raises(UserError, match="There is no checkpoint to resume"):
        find_checkpoint("other-run", tmp_path / "logs", print)


def test_damaged_checkpoints_are_passed_over_for_the_newest_good_one(tmp_path: Path) -> None:
    for number in (9, 10, 11, 999_999, 1_000_000):
        save(checkpoint_path(tmp_path, number), config(), agent_steps=number)
    assert newest_good(tmp_path, print).name == "checkpoint-1000000.safetensors"
    assert next_number(tmp_path) == 1_000_001
    newest = checkpoint_path(tmp_path, 1_000_000)
    newest.write_bytes(newest.read_bytes()[:1000])
    checkpoint_path(tmp_path, 999_999).write_bytes(b"")
    said: list[str] = []
    assert load_progress(newest_good(tmp_path, said.append)).agent_steps == 11
    assert len(said) == 2
    assert all("is damaged" in each and "passed over" in each for each in said)
    for path in checkpoints_in(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="None of the 5 checkpoints"):
        newest_good(tmp_path, print)


def test_the_newest_are_kept_with_what_belongs_to_them(tmp_path: Path) -> None:
    for number in range(1, 6):
        checkpoint_path(tmp_path, number).touch()
        worker_path(checkpoint_path(tmp_path, number), 0).touch()
    (tmp_path / BEST_NAME).touch()
    prune(tmp_path, 2, spare=checkpoint_path(tmp_path, 2))
    assert [path.name for path in checkpoints_in(tmp_path)] == [f"checkpoint-00000{number}.safetensors" for number in (2, 4, 5)]
    assert worker_path(checkpoint_path(tmp_path, 2), 0).exists()
    worker_path(checkpoint_path(tmp_path, 6), 0).touch()  # of a checkpoint that was never finished
    prune(tmp_path)
    assert not worker_path(checkpoint_path(tmp_path, 6), 0).exists()
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        BEST_NAME,
        "checkpoint-000004.safetensors",
        "checkpoint-000004.worker-0.safetensors",
        "checkpoint-000005.safetensors",
        "checkpoint-000005.worker-0.safetensors",
    ]


def test_what_a_user_has_put_aside_stays(tmp_path: Path) -> None:
    names = ("checkpoint-000001-good.safetensors", "checkpoint-best.safetensors", "checkpoint-000001.old.safetensors")
    for name in names:
        (tmp_path / name).touch()
    for number in (1, 2):
        save(checkpoint_path(tmp_path, number), config())
        worker_path(checkpoint_path(tmp_path, number), 0).touch()
    prune(tmp_path, 1)
    ours = ("checkpoint-000002.safetensors", "checkpoint-000002.worker-0.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((*names, *ours))


@pytest.mark.parametrize("resume", [["--resume", "run"], ["--resume", "auto", "--run-name", "run"]])
def test_a_checkpoint_written_while_the_next_launcher_waits_is_not_lost(
    tmp_path: Path, resume: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that has the folder writes its last one after the next has looked, and before that has the lock."""
    import main
    from a3g.processes import launcher, prepare

    folder, lock = tmp_path / "run", prepare._lock
    save(checkpoint_path(folder, 1), config(), agent_steps=1)

    def lock_late(folder: Path) -> FolderLock:
        save(checkpoint_path(folder, 2), config(), agent_steps=2)
        return lock(folder)

    def only_prepare(settings: TrainConfig) -> int:
        run = prepare.prepare_run(settings)
        run.close()
        assert run.resumed_from == checkpoint_path(folder, 2)
        assert run.shared.counters.agent_steps == 2
        return 0

    monkeypatch.setattr(prepare, "_lock", lock_late)
    monkeypatch.setattr(launcher, "train", only_prepare)
    assert main.main([*resume, "--log-dir", str(tmp_path), "--save-model-dir", str(tmp_path)]) == 0


def test_resume_auto_takes_the_named_run_or_the_newest_of_its_environment(tmp_path: Path) -> None:
    settings = config(env="SuperMarioBros-1-1-v0", log_dir=tmp_path, run_name="")
    assert find_automatically(tmp_path, "", settings.env, print) is None
    save(checkpoint_path(tmp_path / "SuperMarioBros-1-1-v0_old", 9), settings)
    newer = save(checkpoint_path(tmp_path / "SuperMarioBros-1-1-v0_new", 2), settings)
    save(checkpoint_path(tmp_path / "SuperMarioBros-1-2-v0_other", 3), settings)
    named = save(checkpoint_path(tmp_path / "named", 4), settings)
    assert find_automatically(tmp_path, "", settings.env, print) == newer
    assert find_automatically(tmp_path, "named", settings.env, print) == named
    assert find_automatically(tmp_path, "unknown", settings.env, print) is None


@pytest.mark.parametrize("resume", [["--resume", "run"], ["--resume", "auto", "--run-name", "run"]])
def test_a_resumed_run_takes_the_options_of_its_own_algorithm(
    tmp_path: Path, resume: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: without --algorithm again they were "Unrecognized options"."""
    import main
    from a3g.processes import launcher

    values = {"algorithm": "ppo", "lstm": False, "learn_share": 0.5}
    save(checkpoint_path(tmp_path / "run", 1), config().with_values(values), agent_steps=1)
    trained: list[TrainConfig] = []
    monkeypatch.setattr(launcher, "train", lambda settings: trained.append(settings) or 0)
    assert main.main([*resume, "--epochs", "2", "-lg", str(tmp_path), "--save-model-dir", str(tmp_path)]) == 0
    # What the new command does not say is as the run had it, even if it fits the run's settings only.
    assert main.main([*resume, "--learn-share", "0.4", "-lg", str(tmp_path), "--save-model-dir", str(tmp_path)]) == 0
    assert [each.options for each in trained] == [PPOOptions(epochs=2, learn_share=0.5), PPOOptions(learn_share=0.4)]
    assert {each.algorithm for each in trained} == {"ppo"}
    assert main.main([*resume, "--taught-steps", "8", "-lg", str(tmp_path)]) == 2


FIRST_VERSION = ROOT / "tests" / "data" / "checkpoint-first-version.safetensors"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_checkpoint_of_the_first_version_goes_on(tmp_path: Path, workers: int, start: Start) -> None:
    """Written by 0.1.0 with two workers: its counters have a row for each worker and none beside them."""
    before, metadata = load_tensors(FIRST_VERSION, "checkpoint")
    assert len(before["counters.counts"]) == 2
    assert json.loads(metadata["config"])["workers"] == 2
    assert load_progress(FIRST_VERSION).agent_steps == int(before["counters.counts"][:, 0].sum()) == 1056
    path = checkpoint_path(tmp_path / "logs" / "run", 2)
    path.parent.mkdir(parents=True)
    path.write_bytes(FIRST_VERSION.read_bytes())
    command = [sys.executable, "main.py", "--log-dir", str(tmp_path / "logs"), "--save-model-dir", str(tmp_path / "models")]
    start([*command, "--resume", "run", "--workers", str(workers), "--total-steps", "1120"]).finish(0)
    folder = tmp_path / "logs" / "run"
    summary = summary_of(folder)
    assert 1120 <= summary["agent_steps"] < 1120 + workers * 32
    assert summary["updates"] == 33 + (summary["agent_steps"] - 1056) // 32
    assert summary["episodes"] >= 75
    assert summary["seconds"] > 40
    assert load_progress(newest_checkpoint(folder)).resumed == 1
    after, _ = load_tensors(newest_checkpoint(folder), "checkpoint")
    assert int(after["optimizer.step"]) == int(before["optimizer.step"]) + summary["updates"] - 33
    assert not torch.equal(after["model.weights"], before["model.weights"])
    assert (folder / BEST_NAME).exists()


# -- as if it had never stopped


SERIAL = {**SMALL, "workers": 1, "serial": True, "time_per_stage": 2, "noop_max": 4}
# Presets whose own values are not those of a case below, on few games.
FEW_GAMES = {"lanes": 4, "num_steps": 8, "hidden_size": 16}
SMALL_REPLAY = {"replay_size": 400, "learning_starts": 40, "batch_size": 8, "update_interval": 8}
ON_POLICY = ("a3g", "a3c", "a2c", "ppo", "quick", "quick-a3c", "quick-expert", "quick-student", "expert", "all-stages")
EXACT: dict[str, dict[str, Any]] = {
    **{f"preset {name}": {**PRESETS[name][1], **FEW_GAMES} for name in ON_POLICY},
    **{f"preset {name}": {**PRESETS[name][1], **FEW_GAMES, **SMALL_REPLAY} for name in ("ddqn", "dqn-per")},
    "a3c with LSTM, sticky actions": {"sticky_actions": 0.2},
    "ppo, measured statistics": {"algorithm": "ppo", "minibatches": 2, "epochs": 2, "load_rms_stats": False, "lstm": False},
    "RMSprop, two-frame maximum": {"optimizer": "RMSprop", "two_frame_max": True, "precision": "float32"},
    "AMSGrad of its own": {"amsgrad": True, "shared_optimizer": False},
    "whole game": {"env": "SuperMarioBros-v0", "lanes": 2},
    "stages of its own": {"env": "SuperMarioBros-v0", "train_stages": True},
    "cut off": {"max_episode_length": 11},
    "fceumm": {"emulator": "fceumm", "lanes": 2},
    "nes-py": {"emulator": "nes-py", "lanes": 1, "num_steps": 4},
}


@pytest.mark.parametrize("options", EXACT.values(), ids=EXACT)
def test_training_stopped_and_resumed_is_training_never_stopped(tmp_path: Path, options: dict[str, Any]) -> None:
    """Bit for bit: weights, optimizer, counters, games, randomness. With a stop in the middle of episodes, and another."""
    if options.get("emulator", "native") not in available_emulators():
        pytest.skip("the engine is not installed here")
    settings = TrainConfig().with_values({**SERIAL, **options, "log_dir": tmp_path, "save_model_dir": tmp_path / "models"})
    rollout = settings.lanes * settings.num_steps
    goals = [3 * rollout, 4 * rollout, 9 * rollout]
    assert train(dataclasses.replace(settings, run_name="whole", total_steps=goals[-1])) == 0
    for i, goal in enumerate(goals):
        part = dataclasses.replace(settings, run_name="" if i else "parts", total_steps=goal)
        part = dataclasses.replace(part, resume=str(newest_checkpoint(tmp_path / "parts")) if i else "")
        assert train(part) == 0
    whole, parts = exact_tensors(newest_checkpoint(tmp_path / "whole")), exact_tensors(newest_checkpoint(tmp_path / "parts"))
    if settings.emulator == "fceumm":  # its states hold addresses of its own memory too, which are never the same
        del whole["collector.env.consoles"], parts["collector.env.consoles"]
    assert whole.keys() == parts.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    assert load_progress(newest_checkpoint(tmp_path / "whole")).episodes > 0
    progress = load_progress(newest_checkpoint(tmp_path / "parts"))
    assert (progress.agent_steps, progress.resumed) == (goals[-1], 2)


def test_without_the_workers_part_it_begins_new_games_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = TrainConfig().with_values(
        {**SERIAL, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run", "total_steps": 64}
    )
    assert train(settings) == 0
    again = dataclasses.replace(settings, run_name="", resume=str(newest_checkpoint(tmp_path / "run")), total_steps=96)
    path = worker_path(newest_checkpoint(tmp_path / "run"), 0)
    path.write_bytes(path.read_bytes()[:-1])
    assert train(again) == 0
    assert "begins new games" in capsys.readouterr().out
    other = dataclasses.replace(again, resume=str(newest_checkpoint(tmp_path / "run")), total_steps=128, lanes=8)
    assert train(other) == 0
    assert "not those of the settings now" in capsys.readouterr().out
    assert load_progress(newest_checkpoint(tmp_path / "run")).agent_steps == 160  # rollouts are twice as long now


def test_the_best_weights_come_back_with_a_checkpoint(tmp_path: Path) -> None:
    """Into a run under a new name, and in place of a file that was lost or spoilt; never in place of better ones."""
    settings = TrainConfig().with_values(
        {**SERIAL, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run", "total_steps": 32}
    )
    folder = tmp_path / "run"
    model = ActorCritic(settings.network_spec())

    def keep(progress: float) -> None:
        score = Score({"1-1": StageScore(5, 0, progress)}, GameSettings.of(settings.game_options()), 0.9, 1)
        save_weights(folder / BEST_NAME, model, settings.env, settings.game_options(), 1, score)

    keep(100.0)
    assert train(settings) == 0

    def go_on(run_name: str) -> int:
        return train(dataclasses.replace(settings, run_name=run_name, resume=str(newest_checkpoint(folder)), total_steps=33))

    assert go_on("new") == 0
    assert progress_of(tmp_path / "new" / BEST_NAME) == 100.0
    for spoilt, expected in ((b"", 100.0), (None, 100.0), (50.0, 100.0), (200.0, 200.0)):
        if isinstance(spoilt, float):
            keep(spoilt)
        elif spoilt is None:
            (folder / BEST_NAME).unlink()
        else:
            (folder / BEST_NAME).write_bytes(spoilt)
        assert go_on("") == 0
        assert progress_of(folder / BEST_NAME) == expected


def progress_of(path: Path) -> float:
    score = load_weights(path).score
    assert score is not None
    return score.mean_progress


@pytest.mark.parametrize("changed", [{"env": "SuperMarioBros-1-2-v0"}, {"env": "SuperMarioBros-v0"}, {"sticky_actions": 0.1}])
def test_a_run_that_plays_something_else_does_not_take_over_what_was_best(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Regression: a run resumed with another --env kept the old stage's best, in its folder and in summary.json."""
    settings = TrainConfig().with_values(
        {**SERIAL, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run", "total_steps": 32}
    )
    assert train(settings) == 0
    score = Score({"1-1": StageScore(5, 5, 3000.0)}, GameSettings.of(settings.game_options()), 0.9, 1)
    folder = tmp_path / "run"
    shared = SharedRun(ActorCritic(settings.network_spec()), settings)
    shared.results.best_cleared[0] = 1
    save_weights(folder / BEST_NAME, ActorCritic(settings.network_spec()), settings.env, settings.game_options(), 1, score)
    save_checkpoint(
        checkpoint_path(folder, 9),
        snapshot_of(shared).tensors,
        Progress(agent_steps=32),
        settings,
        (folder / BEST_NAME).read_bytes(),
    )

    again = dataclasses.replace(settings, resume=str(folder), total_steps=33)
    assert train(dataclasses.replace(again, run_name="same")) == 0
    assert load_weights(tmp_path / "same" / BEST_NAME).score == score
    assert json.loads((tmp_path / "same" / "summary.json").read_text())["stages_cleared"] == ["1-1"]

    assert train(dataclasses.replace(again, run_name="other", **changed)) == 0
    assert not (tmp_path / "other" / BEST_NAME).exists()
    assert json.loads((tmp_path / "other" / "summary.json").read_text())["stages_cleared"] == []


def test_two_launchers_do_not_work_in_one_folder(tmp_path: Path) -> None:
    settings = TrainConfig().with_values({**SERIAL, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run"})
    run = prepare_run(settings)
    with pytest.raises(UserError, match="is going on in another process"):
        prepare_run(settings)
    run.close()
    prepare_run(settings).close()


def test_a_clock_that_is_set_back_spoils_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainConfig().with_values(
        {**SERIAL, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run", "total_steps": 32}
    )
    clock = itertools.count(2e9, -1000.0)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert train(settings) == 0
    assert load_progress(newest_checkpoint(tmp_path / "run")).seconds > 0


def test_a_snapshot_is_never_of_damaged_weights() -> None:
    """Damage may arrive between a look at the shared weights and the copy."""
    shared = trained(config())
    weights = shared.model.weights.detach()
    snapshot, before = snapshot_of(shared), weights.clone()
    weights[5] = float("nan")
    assert not snapshot.take()
    snapshot.restore()
    assert torch.equal(weights, before)
    weights[5] = 3.0
    assert snapshot.take()
    assert snapshot.tensors["model.weights"][5] == 3.0


def test_damage_is_seen_in_weights_moments_and_statistics() -> None:
    for name in ("model.weights", "optimizer.exp_avg", "optimizer.exp_avg_sq", "model.input_statistics"):
        for damage in (float("nan"), float("inf"), float("-inf")):
            shared = trained(config())
            snapshot = snapshot_of(shared)
            assert snapshot.source_is_sound
            shared.model.tensors()[name][-1] = damage
            assert not snapshot.source_is_sound, (name, damage)


def test_a_changed_game_keeps_the_workers_own_optimizer_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: with `-so False`, any changed game option threw Adam's state away, without a word about it."""
    base = {"log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run", "shared_optimizer": False}
    settings = TrainConfig().with_values({**SERIAL, **base, "total_steps": 64})
    assert train(settings) == 0
    path = worker_path(newest_checkpoint(tmp_path / "run"), 0)
    saved, _ = load_tensors(path, "worker's state")
    for options, lost in (({"sticky_actions": 0.25}, False), ({"optimizer": "RMSprop", "sticky_actions": 0.25}, True)):
        changed = dataclasses.replace(settings, **options)
        shared = SharedRun(ActorCritic(changed.network_spec()), changed)
        worker = make_worker(0, changed, shared, torch.device("cpu"))
        capsys.readouterr()
        with pytest.raises(UserError, match=r"not those of the settings now\.$"):
            worker.resume(path)
        assert ("begins with a new optimizer state" in capsys.readouterr().out) is lost
        if not lost:
            assert isinstance(worker.store, SharedMemoryStore)
            own = worker.store.optimizer.state[shared.model.weights]
            assert float(own["step"]) > 0
            assert own.keys() == {"step", "exp_avg", "exp_avg_sq"}
            for name, tensor in own.items():
                assert torch.equal(tensor, saved[f"optimizer.{name}"])


def test_serial_training_stops_when_its_minutes_are_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: `--serial` ignored `--max-minutes`. And going on from it, what changed is said."""
    settings = TrainConfig().with_values(
        {**SERIAL, "log_dir": tmp_path, "save_model_dir": tmp_path, "run_name": "run", "total_steps": 0}
    )
    assert train(dataclasses.replace(settings, max_minutes=1e-9)) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["exit_reason"] == "max_minutes 1e-09 reached"
    again = {"run_name": "", "resume": str(newest_checkpoint(tmp_path / "run")), "total_steps": 1, "max_minutes": 0.0}
    capsys.readouterr()
    assert train(dataclasses.replace(settings, **again)) == 0
    assert "a3g: changed settings: --total-steps 0 → 1, --max-minutes 1e-09 → 0.0\n" in capsys.readouterr().out
