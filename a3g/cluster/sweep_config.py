"""The options of the command `sweep`, and the trainings that they ask for. Imports neither PyTorch nor the engines."""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from a3g.errors import UserError
from a3g.game.stages import STAGES
from a3g.ranges import require

FOLDERS = Path("logs/sweeps")
# These decide where a training's files lie and whether it goes on: the sweep itself sets them.
_OWN_OPTIONS = ("--run-name", "--log-dir", "-lg", "--save-model-dir", "-smd", "--resume", "--seed", "-s")


@dataclass(frozen=True)
class SweepConfig:
    """Train every combination of stages, seeds and settings, each as a job of its own, and put their scores into one table and
    one picture.

    All options that are not below go to every training, such as --preset quick --total-steps 1000000.
    """

    stages: tuple[str, ...] = ()
    """One training for each of these stages, such as 1-1 1-2; by default all play what --env says."""
    seeds: tuple[int, ...] = (1,)
    """One training for each of these random seeds."""
    set: tuple[str, ...] = ()
    """Settings to compare: NAME=VALUE,VALUE such as lr=1e-4,3e-4 gamma=0.9,0.99; each is an option of `a3g train`, on and off
    switch one such as lstm=on,off."""
    folder: Path | None = None
    """Where everything is written; by default logs/sweeps/ and the time. The same command with the folder of an earlier sweep
    starts again what has not reached its goal."""
    executor: Literal["auto", "slurm", "local"] = "auto"
    """slurm: one job array; local: processes on this machine; auto: Slurm where there is one."""
    at_once: int = 0
    """Trainings at the same time at most; 0: as many as Slurm gives, one on this machine."""
    detach: bool = False
    """With Slurm: only submit, without waiting for the end."""
    watch: Path | None = None
    """Wait for the end of the sweep in this folder, then write its table and picture; nothing is submitted."""
    collect: Path | None = None
    """Write the table and the picture of the sweep in this folder as it stands now; nothing is submitted."""

    # -- what each job asks Slurm for
    cpus: int = 8
    """Processors for each training."""
    gpus: int = 0
    """GPUs for each training."""
    hours: float = 24.0
    """Time limit of a job; a training that takes longer is saved, and its job requeued."""
    partition: str = ""
    """Partition; by default the cluster's own choice."""
    sbatch: tuple[str, ...] = ("mem-per-cpu=2G",)
    """Further options of sbatch: NAME=VALUE such as account=mario qos=long."""

    def __post_init__(self) -> None:
        known = {str(stage) for stage in STAGES}
        for stage in self.stages:
            require(stage in known, "stages", f"{stage:.50}", "stages from 1-1 to 8-4")
        require(len(set(self.stages)) == len(self.stages), "stages", " ".join(self.stages), "different stages")
        seeds = " ".join(map(str, self.seeds))
        require(min(self.seeds, default=-1) >= 0, "seeds", seeds or "nothing", "one or more numbers from 0 up")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", seeds, "different numbers")
        require(self.at_once >= 0, "at_once", self.at_once, "0 or more")
        require(self.cpus >= 1, "cpus", self.cpus, "at least 1")
        require(self.gpus >= 0, "gpus", self.gpus, "0 or more")
        require(0.05 <= self.hours <= 10_000, "hours", self.hours, "between 0.05 and 10000")
        require(self.watch is None or self.collect is None, "watch", f"{self.watch}", "left out with --collect")
        for text in self.sbatch:
            require("=" in text, "sbatch", f"{text:.50}", "made of NAME=VALUE")
        self.settings()

    def settings(self) -> dict[str, list[str]]:
        """The values to compare, by the options' names with dashes.

        Raises:
            UserError: if --set can't be understood.
        """
        settings: dict[str, list[str]] = {}
        for text in self.set:
            name, _, values = text.partition("=")
            name = name.lstrip("-").replace("_", "-")
            require(bool(name) and all(values.split(",")), "set", f"{text:.50}", "made of NAME=VALUE,VALUE")
            require(name not in settings, "set", f"{text:.50}", "made of different names")
            require(f"--{name}" not in _OWN_OPTIONS, "set", f"{text:.50}", "something else: the sweep sets that itself")
            settings[name] = values.split(",")
        return settings

    def folder_now(self) -> Path:
        """The sweep's folder: the one asked for, or a new one named after the time."""
        return self.folder if self.folder is not None else FOLDERS / time.strftime("%Y-%m-%d_%H-%M-%S")


@dataclass(frozen=True)
class SweepTask:
    """One training of a sweep."""

    name: str
    """Of its run, too."""
    stage: str
    """Empty: what --env says."""
    seed: int
    settings: dict[str, str]
    """Of --set, by their names."""
    arguments: list[str]
    """Of `a3g train`, but for the folders and the GPUs."""


def make_tasks(config: SweepConfig, common: Sequence[str]) -> list[SweepTask]:
    """Every combination, seeds changing fastest.

    Args:
        config: what to combine.
        common: options that all trainings get.

    Raises:
        UserError: if `common` has options that the sweep sets itself.
    """
    for argument in common:
        name = argument.split("=")[0].replace("_", "-")
        if name in (*_OWN_OPTIONS, *(("--env", "-ev", "--stages") if config.stages else ())):
            raise UserError(f"{name} is set by the sweep itself for each of its trainings: leave it out.")
    settings = config.settings()
    tasks = []
    for stage, values, seed in itertools.product(config.stages or ("",), itertools.product(*settings.values()), config.seeds):
        chosen = dict(zip(settings, values, strict=True))
        parts = [*([stage] if stage else []), *(f"{name}={value}" for name, value in chosen.items()), f"seed={seed}"]
        arguments = [*common, *(["--env", f"SuperMarioBros-{stage}-v0"] if stage else []), "--seed", str(seed)]
        for name, value in chosen.items():
            switch = {"on": [f"--{name}"], "off": [f"--no-{name}"]}
            arguments += switch.get(value, [f"--{name}", value])
        tasks.append(SweepTask("_".join(parts).replace("/", "-"), stage, seed, chosen, arguments))
    return tasks


def parse_sweep(arguments: Sequence[str]) -> tuple[SweepConfig, list[str]]:
    """The sweep's own options, and those that go to every training.

    Raises:
        UserError: if a value makes no sense.
        SystemExit: with code 2 for what tyro itself refuses, 0 after --help.
    """
    for name in ("--stages", "--seeds", "--set", "--sbatch"):
        given = [argument for argument in arguments if argument.split("=")[0] == name]
        if len(given) > 1:
            raise UserError(f"{name} is given {len(given)} times: give all its values behind one.")
    config, common = tyro.cli(SweepConfig, args=list(arguments), prog="a3g sweep", return_unknown_args=True)
    if common and (config.watch or config.collect):
        raise UserError(f"With --watch or --collect nothing is trained: leave {shlex.join(common)} out.")
    return config, common
