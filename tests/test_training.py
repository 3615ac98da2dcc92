"""Training on the real game with real processes: learning, repeating, stopping, going on, surviving."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import multiprocessing, nn

from a3g.algorithms.actor_critic import Batch
from a3g.config import TrainConfig
from a3g.files import load_tensors
from a3g.networks.actor_critic import ActorCritic
from a3g.processes.counters import STAGE_INDEX, Count, StageCount
from a3g.processes.process_lock import ProcessLock
from a3g.processes.shared_run import SharedRun
from a3g.processes.worker import make_worker, run_worker
from a3g.reporting.metrics import read_curve
from a3g.runs.paths import checkpoints_in
from a3g.runs.weights import load_weights
from tests.running import PATIENCE_SECONDS, ROOT, SMALL, SUMMARY_KEYS, Start, arguments, newest_checkpoint, summary_of

CPU = torch.device("cpu")


def config(**options: Any) -> TrainConfig:
    return TrainConfig().with_values({**SMALL, **options})


def make_shared(settings: TrainConfig) -> SharedRun:
    torch.manual_seed(settings.seed)
    return SharedRun(ActorCritic(settings.network_spec()), settings)


def train_alone(settings: TrainConfig, restart: int = 0) -> SharedRun:
    """One worker in this process."""
    shared = make_shared(settings)
    make_worker(0, settings, shared, CPU, restart).run()
    return shared


# -- one worker


FREED_AND_TAKEN_AGAIN = """
import resource, torch
from a3g.processes.process import compute_on_one_core
compute_on_one_core()
def work():
    kept = [torch.ones(megabytes, 1 << 18) for megabytes in 12 * [8]]
    return sum(float(each[0, 0]) for each in kept)
faults = []
for _ in range(10):
    work()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-5])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="No glibc here.")
def test_memory_that_is_freed_is_there_the_next_time_without_the_kernel() -> None:
    """96 MB of 4 KB pages would be 24,000 faults each time."""
    command = [sys.executable, "-c", FREED_AND_TAKEN_AGAIN]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 500


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lstm": False, "algorithm": "ppo", "epochs": 2, "minibatches": 2},
        {"algorithm": "ppo", "minibatches": 4, "optimizer": "RMSprop", "precision": "float32", "load_rms_stats": False},
    ],
    ids=["a3c", "ppo", "ppo with measured input statistics"],
)
def test_one_worker_repeats_exactly(options: dict[str, Any]) -> None:
    settings = config(workers=1, total_steps=256, sticky_actions=0.1, **options)
    first, second = train_alone(settings), train_alone(settings)
    assert torch.equal(first.model.weights, second.model.weights)
    assert torch.equal(first.model.input_statistics, second.model.input_statistics)
    assert torch.equal(first.counters.counts, second.counters.counts)
    assert torch.equal(first.counters.stages, second.counters.stages)
    begin = make_shared(settings)
    assert not torch.equal(first.model.weights, begin.model.weights)
    rollouts = 256 // (4 * 8)
    updates = rollouts if settings.algorithm == "a3c" else rollouts * settings.options.epochs * settings.options.minibatches
    assert first.counters.total(Count.AGENT_STEPS) == 256
    assert first.counters.total(Count.UPDATES) == updates


def test_another_seed_or_another_start_is_another_training() -> None:
    runs = [train_alone(config(workers=1, total_steps=64))]
    runs.append(train_alone(config(workers=1, total_steps=64, seed=2)))
    runs.append(train_alone(config(workers=1, total_steps=64), restart=1))
    for i, one in enumerate(runs):
        for other in runs[i + 1 :]:
            assert not torch.equal(one.model.weights, other.model.weights)


@pytest.mark.parametrize("loss", ["a3c", "ppo"])
def test_every_update_applies_gradients_of_its_own(loss: str) -> None:
    """Regression of the original A3G, whose shared gradient stayed the first one for ever."""
    once = {"epochs": 1, "minibatches": 1} if loss == "ppo" else {}
    settings = config(workers=1, total_steps=96, algorithm=loss, **once)
    shared = make_shared(settings)
    assert shared.model.optimizer is not None
    before: dict[int, torch.Tensor] = {}  # by the optimizer's step count, since torch may call a hook twice

    def remember(*_: object) -> None:
        assert shared.model.optimizer is not None
        assert shared.model.weights.grad is not None
        before[int(shared.model.optimizer.state[shared.model.weights]["step"])] = shared.model.weights.grad.clone()

    worker = make_worker(0, settings, shared, CPU)
    shared.model.optimizer.register_step_pre_hook(remember)
    worker.run()
    applied = list(before.values())
    assert len(applied) == int(shared.model.optimizer.state[shared.model.weights]["step"]) == 3
    for i, gradient in enumerate(applied):
        assert bool(gradient.any())
        assert not any(torch.equal(gradient, other) for other in applied[i + 1 :])
    assert torch.equal(applied[-1], worker.algorithm.flat.gradients)


def test_the_workers_copy_is_the_shared_model_when_it_plays() -> None:
    settings = config(workers=1, total_steps=64)
    shared = make_shared(settings)
    worker = make_worker(0, settings, shared, CPU)
    collect, compared = worker.collector.collect, []

    def compare() -> Any:
        compared.append(torch.equal(worker.algorithm.flat.parameters, shared.model.weights))
        return collect()

    worker.collector.collect = compare  # type: ignore[method-assign]
    worker.run()
    assert compared == [True, True]


def test_a_workers_time_is_accounted_for() -> None:
    settings = config(workers=1, total_steps=64)
    shared = make_shared(settings)
    begin = time.perf_counter()
    make_worker(0, settings, shared, CPU).run()
    seconds = shared.counters.phase_seconds[0]
    assert (seconds > 0).all()
    assert float(seconds.sum()) <= time.perf_counter() - begin


@pytest.mark.slow
def test_staleness_counts_the_updates_of_the_others() -> None:
    settings = config(workers=2, total_steps=0)
    shared = make_shared(settings)
    worker = make_worker(0, settings, shared, CPU)
    collect, rollouts = worker.collector.collect, []

    def others_work_meanwhile() -> Any:
        shared.counters.counts[1, Count.UPDATES] += 3
        rollouts.append(1)
        shared.control.stop.fill_(len(rollouts) == 200)
        return collect()

    worker.collector.collect = others_work_meanwhile  # type: ignore[method-assign]
    worker.run()
    assert shared.counters.metrics.read(0)["staleness"] == pytest.approx(3, rel=0.01)


def test_workers_can_take_turns_with_a_lock() -> None:
    settings = config(workers=1, total_steps=64, hogwild=False)
    shared = make_shared(settings)
    worker = make_worker(0, settings, shared, CPU)
    step, held = worker.store.optimizer.step, []

    def look(*arguments: Any) -> Any:
        lock = shared.model.lock
        assert isinstance(lock, ProcessLock)
        other = multiprocessing.get_context("fork").Process(target=lambda: os._exit(lock.is_free()))
        other.start()
        other.join()
        held.append(not other.exitcode)
        return step(*arguments)

    worker.store.optimizer.step = look  # type: ignore[method-assign]
    worker.run()
    assert held == [True, True]


def test_gradients_that_are_not_finite_never_arrive() -> None:
    settings = config(workers=1, total_steps=64)
    shared = make_shared(settings)
    before = shared.model.weights.detach().clone()
    worker = make_worker(0, settings, shared, CPU)
    # As after an overflow somewhere in the network: a hook on one of its layers spoils the gradient.
    worker.algorithm.model.fc.weight.register_hook(lambda gradient: gradient * float("nan"))
    worker.run()
    assert torch.equal(shared.model.weights.detach(), before)
    assert shared.counters.total(Count.SKIPPED_UPDATES) == 2
    assert shared.counters.total(Count.UPDATES) == 0
    assert shared.counters.total(Count.AGENT_STEPS) == 64


def test_one_sample_per_update_is_no_reason_to_skip_it() -> None:
    """Regression: the standard deviation of a single advantage is not a number."""
    settings = config(workers=1, lanes=1, num_steps=1, total_steps=3, algorithm="ppo", epochs=1, minibatches=1)
    shared = train_alone(settings)
    assert shared.counters.total(Count.SKIPPED_UPDATES) == 0
    assert shared.counters.total(Count.UPDATES) == 3


def test_clipped_gradients_are_what_is_applied() -> None:
    settings = config(workers=1, total_steps=32, max_grad_norm=1e-3)
    shared = make_shared(settings)
    worker = make_worker(0, settings, shared, CPU)
    worker.run()
    assert shared.model.weights.grad is not None
    assert float(shared.model.weights.grad.norm()) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("shared_optimizer", [True, False])
def test_optimizer_state_is_shared_or_the_workers_own(shared_optimizer: bool) -> None:
    settings = config(workers=1, total_steps=32, shared_optimizer=shared_optimizer)
    shared = make_shared(settings)
    worker = make_worker(0, settings, shared, CPU)
    assert (worker.store.optimizer is shared.model.optimizer) is shared_optimizer
    before = shared.model.weights.detach().clone()
    worker.run()
    assert not torch.equal(shared.model.weights.detach(), before)  # in both cases it is the shared weights that learn
    assert float(worker.store.optimizer.state[shared.model.weights]["step"]) == 1


def test_ppo_minibatches_take_every_lane_once_per_epoch() -> None:
    settings = config(workers=1, lanes=8, algorithm="ppo", epochs=3, minibatches=4)
    shared = make_shared(settings)
    worker = make_worker(0, settings, shared, CPU)
    batches = list(worker.algorithm._batches(Batch(*[torch.zeros(0)] * len(Batch._fields))))
    worker.collector.close()
    assert [len(batch) for batch in batches] == [2] * 12
    for epoch in range(3):
        lanes = torch.cat(batches[4 * epoch : 4 * epoch + 4])
        assert sorted(lanes.tolist()) == list(range(8))


def test_input_statistics_become_those_of_the_pictures_seen() -> None:
    settings = config(load_rms_stats=False)
    shared = make_shared(settings)
    random = torch.Generator().manual_seed(0)
    batches = [torch.randint(low, 256, (5, 4, 4, 80, 80), dtype=torch.uint8, generator=random) for low in (0, 100, 200)]
    shared.model.input_statistics[2] = 1e-6  # as if the shipped ones had hardly any weight
    for batch in batches:
        shared.model.observe(batch)
    everything = torch.cat(batches).double()
    mean, variance, weight = shared.model.input_statistics.tolist()
    assert mean == pytest.approx(float(everything.mean()), rel=1e-4)
    assert variance == pytest.approx(float(everything.var()), rel=1e-3)
    assert weight == pytest.approx(60)


@pytest.mark.parametrize(("number", "stage"), [(1, "1-2"), (31, "8-4"), (32, "1-1")])
def test_train_stages_gives_a_worker_its_stage(number: int, stage: str) -> None:
    """Those beyond the 32 play the whole game, which begins with 1-1; each life lost is an episode there."""
    settings = config(env="SuperMarioBros-v0", workers=33, train_stages=True, total_steps=256)
    shared = make_shared(settings)
    make_worker(number, settings, shared, CPU).run()
    played = {name for name, i in STAGE_INDEX.items() if shared.counters.stages[:, i, StageCount.EPISODES].any()}
    assert played == {stage}
    assert (
        int(shared.counters.counts[number, Count.EPISODES])
        == int(shared.counters.stages[number, :, StageCount.EPISODES].sum())
        > 4
    )


# -- several workers


def mean_progress_of_random_play(settings: TrainConfig) -> float:
    """Of a fresh network: the weights never change."""
    fresh = TrainConfig().with_values({**vars(settings), "workers": 1, "lr": 1e-30, "total_steps": 2_000})
    shared = train_alone(fresh)
    return float(shared.counters.stages[0, 0, StageCount.MEAN_PROGRESS])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "ppo", "num_steps": 32, "total_steps": 5_000},
        {"algorithm": "a3c", "num_steps": 16, "total_steps": 9_000},
    ],
    ids=["ppo", "a3c"],
)
def test_two_workers_learn_to_run(options: dict[str, Any]) -> None:
    """Two spawned processes on one model learn from pictures to get far in the little time that an episode has."""
    settings = config(
        lanes=8,
        lstm=False,
        hidden_size=64,
        lr=1e-3,
        adam_eps=1e-5,
        gamma=0.9,
        tau=0.95,
        time_per_stage=8,
        **options,
    )
    shared = make_shared(settings)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=run_worker, args=(i, settings, shared)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert int(shared.counters.counts[:2, Count.UPDATES].min()) > 10  # both took part
    assert isinstance(shared.model.weights, nn.Parameter)
    learnt = float(shared.counters.stages[:, 0, StageCount.MEAN_PROGRESS].mean())
    random_play = mean_progress_of_random_play(settings)
    assert learnt > 1.7 * random_play, (learnt, random_play)


# -- the command


def test_a_run_survives_a_killed_worker_stops_on_sigterm_and_goes_on(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    run = start(arguments(tmp_path, "--run-name", "run", "--test-interval", "0.5"))

    # Titles tell the processes apart.
    titles = {"a3g test", "a3g train 0", "a3g train 1"}
    run.wait_for(lambda: titles <= set(run.children()))
    run.wait_for((folder / "metrics.csv").exists)
    assert psutil.Process(run.process.pid).cmdline()[0] == "a3g launch"

    # A worker that dies is started again, and counted.
    victim = run.children()["a3g train 1"]
    victim.kill()
    run.wait_for(lambda: run.children().get("a3g train 1", victim) != victim)
    run.wait_for((folder / "scorecard.json").exists)

    # SIGTERM: everything is saved, and nothing left behind.
    run.process.send_signal(signal.SIGTERM)
    out, err = run.finish(128 + signal.SIGTERM)
    assert "a3g train 1 died by SIGKILL" in out
    assert "Traceback" not in err
    summary = summary_of(folder)
    assert set(summary) == SUMMARY_KEYS
    assert summary["exit_reason"] == "SIGTERM"
    assert summary["restarts"] == 1
    assert (summary["workers"], summary["lanes"]) == (2, 4)
    assert summary["frames"] == 4 * summary["agent_steps"]
    assert summary["updates"] > 0
    assert summary["seconds"] > 0
    steps = summary["agent_steps"]
    assert steps > 0
    assert steps % (4 * 8) == 0
    assert read_curve(folder, "train/updates")[-1][0] <= steps
    remains = [path.name for path in folder.glob(".*") if not path.name.startswith(".lease-")]  # that one stays, released
    assert not remains, "remains of files half written"

    # --resume: the settings hold, the counters go on, --total-steps counts from the beginning.
    before = load_tensors(newest_checkpoint(folder), "checkpoint")[0]
    goal = steps + 320
    command = [sys.executable, str(ROOT / "main.py"), "--resume", str(folder), "--total-steps", str(goal)]
    command += ["--save-model-dir", str(tmp_path / "models")]
    resumed = start(command)
    resumed.finish(0)
    again = summary_of(folder)
    assert again["exit_reason"] == f"total_steps {goal} reached"
    assert goal <= again["agent_steps"] < goal + 2 * 4 * 8
    assert again["updates"] == summary["updates"] + (again["agent_steps"] - steps) // (4 * 8)
    assert again["episodes"] >= summary["episodes"]
    assert again["seconds"] > summary["seconds"]
    assert (again["restarts"], again["workers"], again["lanes"]) == (1, 2, 4)
    after, metadata = load_tensors(newest_checkpoint(folder), "checkpoint")
    assert float(after["optimizer.step"]) > float(before["optimizer.step"])
    assert not torch.equal(after["model.weights"], before["model.weights"])
    assert json.loads(metadata["progress"])["resumed"] == 1
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["run"]  # it went on where it was


def test_ctrl_c_stops_even_a_run_that_is_only_starting(tmp_path: Path, start: Start) -> None:
    """A terminal sends it to every process; the fork server, still importing, must not answer with a traceback."""
    run = start(arguments(tmp_path, "--run-name", "run"))
    run.wait_for(lambda: checkpoints_in(tmp_path / "logs" / "run"))
    os.killpg(run.process.pid, signal.SIGINT)
    _, err = run.finish(128 + signal.SIGINT)
    assert "Traceback" not in err
    summary = summary_of(tmp_path / "logs" / "run")
    assert summary["exit_reason"] == "SIGINT"
    assert summary["restarts"] == 0
    assert newest_checkpoint(tmp_path / "logs" / "run").exists()


@pytest.mark.slow
def test_children_do_not_outlive_a_killed_launcher(tmp_path: Path, start: Start) -> None:
    run = start(arguments(tmp_path, "--run-name", "run", "--workers", "1"))
    run.wait_for((tmp_path / "logs" / "run" / "metrics.csv").exists)
    run.process.kill()
    run.process.wait()
    _, living = psutil.wait_procs(run.seen.values(), timeout=PATIENCE_SECONDS)
    assert not living


def test_a_signal_to_the_whole_group_restarts_nobody(tmp_path: Path, start: Start) -> None:
    """As a cluster's scheduler sends it."""
    run = start(arguments(tmp_path, "--run-name", "run", "--workers", "1"))
    run.wait_for((tmp_path / "logs" / "run" / "metrics.csv").exists)
    os.killpg(run.process.pid, signal.SIGTERM)
    run.finish(128 + signal.SIGTERM)
    summary = summary_of(tmp_path / "logs" / "run")
    assert (summary["exit_reason"], summary["restarts"]) == ("SIGTERM", 0)


def test_a_worker_that_keeps_dying_ends_the_run_with_a_reason(tmp_path: Path, start: Start) -> None:
    # Rollouts so long that no worker finishes one before it is killed.
    run = start(arguments(tmp_path, "--run-name", "run", "--workers", "1", "--num-steps", "2000"))
    for _ in range(3):
        victim = run.wait_for(lambda: run.children().get("a3g train 0"))
        victim.kill()
        victim.wait()
        while victim.pid in {child.pid for child in run.children().values()}:
            time.sleep(0.05)
    out, _ = run.finish(1)
    summary = summary_of(tmp_path / "logs" / "run")
    assert summary["exit_reason"] == "a3g train 0 died 3 times in a row; the last time it died by SIGKILL"
    assert summary["restarts"] == 2
    assert newest_checkpoint(tmp_path / "logs" / "run").exists()
    assert out.count("started again") == 2


def test_serial_training_stops_at_its_steps_and_goes_on_even_elsewhere(tmp_path: Path, start: Start) -> None:
    start(arguments(tmp_path, "--serial", "--run-name", "run", "--total-steps", "64")).finish(0)
    first = summary_of(tmp_path / "logs" / "run")
    assert set(first) == SUMMARY_KEYS
    assert (first["agent_steps"], first["updates"], first["workers"]) == (64, 2, 1)

    # Regression: a run that was moved went on in the folder where it had been.
    moved = tmp_path / "elsewhere"
    (tmp_path / "logs" / "run").rename(moved)
    start([sys.executable, str(ROOT / "main.py"), "--resume", str(moved), "--total-steps", "128"]).finish(0)
    second = summary_of(moved)
    assert (second["agent_steps"], second["updates"]) == (128, 4)
    assert second["seconds"] > first["seconds"]
    assert not (tmp_path / "logs" / "run").exists()


@pytest.mark.slow
def test_training_ends_when_everything_is_cleared(tmp_path: Path, start: Start) -> None:
    """With the shipped weights, which clear 1-1: the tester finds it out and the launcher stops."""
    shipped = load_weights(ROOT / "trained_models" / "SuperMarioBros-1-1-v0.safetensors")
    command = [sys.executable, str(ROOT / "main.py"), "--preset", "quick", "--env", "SuperMarioBros-1-1-v0", "--workers", "1"]
    command += ["--network", shipped.network.encoder, "--hidden-size", str(shipped.network.hidden_size)]
    command += ["--show-buttons" if shipped.game.show_buttons else "--no-show-buttons"]
    command += ["--load", "--lr", "1e-12", "--until-cleared", "--test-episodes", "3", "--clear-rate", "0.3"]
    command += [
        "--log-dir",
        str(tmp_path),
        "--run-name",
        "run",
        "--save-model-dir",
        str(tmp_path / "models"),
        "--no-tensorboard-logger",
    ]
    start(command).finish(0)
    summary = summary_of(tmp_path / "run")
    assert summary["exit_reason"] == "cleared every stage asked for"
    assert summary["stages_cleared"] == ["1-1"]
    assert (tmp_path / "models" / "SuperMarioBros-1-1-v0.safetensors").exists()
