"""Makes a run ready to start: checks all that can be checked, and only then makes its folder and the shared model."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from a3g.algorithms import algorithm_class
from a3g.config import TrainConfig
from a3g.config_json import describe_changes
from a3g.cores import check_workers
from a3g.errors import UserError
from a3g.experience.make import check_experience
from a3g.files import looking_into, remove_remains, temporary_path, write_atomically
from a3g.game.emulators import resolve_emulator
from a3g.network_spec import NetworkSpec
from a3g.processes.memory_estimate import check_memory
from a3g.processes.process import check_gpus
from a3g.processes.run_description import describe_run
from a3g.processes.run_statistics import Run
from a3g.processes.shared_run import SharedRun
from a3g.reporting.say import say
from a3g.reporting.tracking import check_trackers
from a3g.runs.best_weights import read_score
from a3g.runs.checkpoint import COUNTERS, find_checkpoint, load_checkpoint, load_config
from a3g.runs.expert import load_expert
from a3g.runs.folder_lock import FolderInUseError, FolderLock
from a3g.runs.paths import BEST_NAME, CONFIG_NAME, checkpoints_in, leaving_path, prune
from a3g.runs.scores import GameSettings, Score
from a3g.runs.weights import check_fit, load_weights, weights_path

# Half-written files of runs elsewhere that save into the same folder may be in the making; not after an hour.
_REMAINS_SECONDS = 3600.0


def prepare_run(config: TrainConfig) -> Run:
    """
    Raises:
        UserError: if something asked for isn't there or makes no sense; nothing has been changed then.
    """
    resolve_emulator(config.emulator)
    check_gpus(config.gpu_ids)
    check_workers(config.workers, os.environ)
    check_memory(config)
    check_trackers(config.track)
    algorithm = algorithm_class(config.algorithm)
    check_experience(config, algorithm.learns_from_demonstrations)
    if algorithm.learns_from_expert:
        load_expert(config)
    torch.manual_seed(config.seed)
    model = algorithm.build_model(config.network_spec())
    if config.initialisation == "torch":
        model.initialise_as_torch()
    with contextlib.ExitStack() as on_failure:
        folder: Path | None = None
        checkpoint: Path | None = None
        lock: FolderLock | None = None
        if config.resume and not config.run_name:  # locked before the choice: another launcher in it may be saving its last
            folder = find_checkpoint(config.resume, config.log_dir, lambda text: None).parent
            lock = _lock(folder)
            on_failure.callback(lock.release, leave_no_trace=True)
        if config.resume:
            checkpoint = find_checkpoint(config.resume, config.log_dir, say)
        if config.load and checkpoint is None:
            path = weights_path(config.load_model_dir, config.env)
            tensors = load_weights(path).tensors
            check_fit({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config.algorithm, model.spec, path)
            model.load_state_dict(tensors)
        shared, best, saved_at = SharedRun(model, config), b"", 0.0
        if checkpoint is not None:
            _check_algorithm(checkpoint, config)
            best, saved_at = restore(shared, checkpoint)
        if folder is None:
            folder = _run_folder(config)
        _check_writable(folder)
        _check_writable(config.save_model_dir)
        if lock is None:
            _make(folder)
            lock = _lock(folder)
            on_failure.callback(lock.release, leave_no_trace=True)
        try:
            _clean(folder, config)
            if not _restore_best(folder / BEST_NAME, best, config):
                shared.results.best_cleared.zero_()
            write_atomically(folder / CONFIG_NAME, json.dumps(describe_run(config), indent=1).encode())
        except OSError as error:
            if checkpoint is None:
                raise UserError(f"Can't write into the run's folder {folder}: {error.strerror}.") from error
            say(f"a3g: can't write into {folder} at present: {error.strerror}")  # what there is goes on all the same
        on_failure.pop_all()
    if checkpoint is not None:
        say(f"a3g: goes on from {checkpoint}")
        changes = describe_changes(load_config(checkpoint), config)
        if changes:
            say(f"a3g: changed settings: {changes}")
    return Run(config, folder, shared, checkpoint, lock, saved_at)


def _check_algorithm(checkpoint: Path, config: TrainConfig) -> None:
    """See that a checkpoint's network is of the kind that the algorithm trains: sizes alone may be the same by chance.

    Raises:
        UserError: if it isn't.
    """
    before = load_config(checkpoint).algorithm
    small = NetworkSpec(hidden_size=1, lstm=False)
    kinds = [type(algorithm_class(name).build_model(small)) for name in (before, config.algorithm)]
    if kinds[0] is not kinds[1]:
        raise UserError(
            f"The checkpoint {checkpoint} is of --algorithm {before}, and --algorithm {config.algorithm} trains another kind "
            "of network: go on with the run's own."
        )


def restore(shared: SharedRun, checkpoint: Path) -> tuple[bytes, float]:
    """Put a checkpoint's content into what the processes share.

    Returns:
        the file of the best weights (may be empty), and when the checkpoint was written

    Raises:
        UserError: if it is missing or damaged, or was written with another network or optimizer; nothing is changed.
    """
    targets = {**shared.model.tensors(), **shared.results.tensors()}
    tensors, progress, best = load_checkpoint(checkpoint, {name: tuple(each.shape) for name, each in targets.items()})
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])
    if shared.average is not None:
        shared.average.restore(tensors)
    shared.results.cleared_all.zero_()  # to be shown again: stages and settings may have changed
    counters = {name.removeprefix(COUNTERS): tensor for name, tensor in tensors.items() if name.startswith(COUNTERS)}
    shared.counters.load(replace(progress, resumed=progress.resumed + 1), counters)
    return best, progress.saved_at


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Can't make the run's folder {folder}: {error.strerror}.") from error


def _run_folder(config: TrainConfig) -> Path:
    name = config.run_name or f"{config.env}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    folder = config.log_dir / name
    with looking_into(folder):
        exists = bool(checkpoints_in(folder))
    if exists:
        raise UserError(f"The run {folder} exists: go on with it by --resume {name}, or choose another --run-name.")
    return folder


def _lock(folder: Path) -> FolderLock:
    """Let no second launcher work in a run's folder, on this machine or on another one that shares it.

    Raises:
        UserError: if a run goes on in it, or it can't be opened.
    """
    try:
        return FolderLock(folder, lambda text: say(f"a3g: {text}"))
    except FolderInUseError as error:
        raise UserError(f"The run {folder} is going on in {error}: stop that first.") from error
    except OSError as error:
        raise UserError(f"Can't open the run's folder {folder}: {error.strerror}.") from error


def _clean(folder: Path, config: TrainConfig) -> None:
    """Remove what an earlier start of the run left when it was killed."""
    remove_remains(folder)
    remove_remains(config.save_model_dir, _REMAINS_SECONDS)
    prune(folder)
    for path in folder.glob(leaving_path(folder, 0).name.replace("-0.", "-*.")):
        path.unlink(missing_ok=True)


def _restore_best(path: Path, best: bytes, config: TrainConfig) -> bool:
    """Put the best weights of a checkpoint where the tester looks for them, unless what is there is as good.

    Best weights of another stage, or earned under other settings than this run's, are none of this run.

    Returns:
        whether the best weights that are there now are this run's
    """
    there = _score_of_run(path, config)
    if not best:
        return there is not None
    candidate = temporary_path(path)
    try:
        candidate.write_bytes(best)
        score = _score_of_run(candidate, config)
        if score is not None and (there is None or score.is_better_than(there)):
            write_atomically(path, best)
    finally:
        candidate.unlink(missing_ok=True)
    return there is not None or score is not None


def _score_of_run(path: Path, config: TrainConfig) -> Score | None:
    """The score in a weights file, None if this run's tester would not have given it."""
    score = read_score(path)
    stages = [str(stage) for stage in config.test_stages()]
    return score if score is not None and score.is_of(stages, GameSettings.of(config.test_options())) else None


def _check_writable(folder: Path) -> None:
    """See that a folder can be written into, or be made; nothing stays behind.

    Raises:
        UserError: if not.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"Can't write into the folder {folder}: {error.strerror}.") from error
