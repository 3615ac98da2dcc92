"""The page on earlier programs: every row says where a feature is and what stands behind it, and its flags do what it says."""

from __future__ import annotations

import functools
import re
from dataclasses import fields
from pathlib import Path

import pytest

from a3g.algorithm_options import DQNOptions, flags_of
from a3g.algorithms import algorithm_class, schedules
from a3g.command_line import parse_eval, parse_train
from a3g.config import TrainConfig
from a3g.network_spec import NetworkSpec
from a3g.processes.memory_estimate import estimate_memory
from a3g.processes.prepare import prepare_run
from benchmarks.flags_table import flag_names

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "parity.md").read_text()
PRESETS = {"001": "ddqn", "002": "a3g", "003": "a2c", "004": "dqn-per"}
_ABSENT = re.compile(r"\bnot (here|yet|shown here)\b")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading that begins so, without the table's own head."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = (each for each in section if each.startswith(heading))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@functools.cache
def flags_with(preset: str) -> set[str]:
    """Every flag that goes with a preset."""
    own = flags_of(type(parse_train(["--preset", preset]).options))
    return own | {flag for names in flag_names(TrainConfig).values() for flag in names}


FEATURES = [(number, *row) for number in PRESETS for row in rows(number)]
MISTAKES = rows("What was wrong there")


def stands_behind(cell: str) -> list[str]:
    """The tests, files and commands in a cell; what is no such thing fails."""
    found = re.findall(r"`([^`]+)`", cell)
    for code in found:
        file, _, test = code.partition("::")
        if file.startswith(("tests/", "a3g/", "benchmarks/")):
            assert (ROOT / file).exists(), code
            assert not test or f"def {test}(" in (ROOT / file).read_text(), code
        elif code.startswith("python -m "):
            assert (ROOT / f"{code.split()[2].replace('.', '/')}.py").exists(), code
        elif code.startswith("make "):
            assert re.search(rf"^{code[5:]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), code
        elif code.startswith("python gym_eval.py"):
            parse_eval(code.split()[2:])
        else:
            assert code.startswith("--"), code
    return [code for code in found if not code.startswith("--")]


@pytest.mark.parametrize(("number", "feature", "here", "evidence"), FEATURES, ids=[f"{row[0]} {row[1]}" for row in FEATURES])
def test_each_feature_is_somewhere_with_a_test_or_is_said_to_be_absent(
    number: str, feature: str, here: str, evidence: str
) -> None:
    assert feature
    assert here
    assert stands_behind(evidence) or evidence == "the same" or _ABSENT.search(here)


@pytest.mark.parametrize(("number", "feature", "here", "evidence"), FEATURES, ids=[f"{row[0]} {row[1]}" for row in FEATURES])
def test_each_flag_exists_with_its_preset_and_takes_its_value(number: str, feature: str, here: str, evidence: str) -> None:
    known = flags_with(PRESETS[number])
    for code in re.findall(r"`([^`]+)`", here):
        first, *others = code.split()
        if first == "gym_eval.py":
            parse_eval([word for word in others if word != "--render"])
        elif first.startswith("--") and others:
            parse_train(["--preset", PRESETS[number], *code.split()])
        elif first.startswith("--"):
            assert first in known or f"--{first.removeprefix('--no-')}" in known, first


@pytest.mark.parametrize(("program", "mistake", "evidence"), MISTAKES, ids=[f"{row[0]} {row[1]}" for row in MISTAKES])
def test_each_mistake_has_a_test(program: str, mistake: str, evidence: str) -> None:
    assert program in (*PRESETS, "all four", "A3C programs before")
    assert any(code.startswith("tests/") for code in stands_behind(evidence)), mistake


def commands() -> list[TrainConfig]:
    return [parse_train(line.split()[2:]) for line in PAGE.splitlines() if line.startswith("python main.py")]


def test_the_commands_have_the_programs_schedules() -> None:
    """Against the programs' own loops, which multiply step by step."""
    tutorial, prioritised = (config.options for config in commands())
    assert isinstance(tutorial, DQNOptions)
    assert isinstance(prioritised, DQNOptions)
    for options, factor, least in ((tutorial, 0.99999975, 0.1), (prioritised, 0.999, 0.01)):
        for step in (0, 1, 1_000, 3_000, 1_000_000, 20_000_000):
            epsilon = schedules.epsilon(step, options.epsilon_start, options.epsilon_end, options.epsilon_steps, True)
            assert epsilon == pytest.approx(max(factor**step, least), rel=1e-3)
        assert options.epsilon_decay == "exponential"
    assert (tutorial.batch_size, tutorial.update_interval, tutorial.learning_starts) == (32, 3, 10_000)
    assert tutorial.update_interval * tutorial.target_interval == pytest.approx(10_000, abs=3)
    assert (prioritised.batch_size, prioritised.update_interval, prioritised.target_interval) == (32, 1, 500)
    for config in commands():
        assert isinstance(config.options, DQNOptions)
        assert (config.lr, config.adam_eps, config.options.n_step, config.options.reward_scale) == (2.5e-4, 1e-8, 1, 1.0)
    assert (prioritised.lr_decay, prioritised.lr_decay_steps) == (0.99, 1_000)
    assert schedules.beta(10**9, prioritised.priority_beta, prioritised.priority_beta_steps) == 0.4


def test_ddqns_network_is_the_tutorials() -> None:
    """Its shapes, written down from the tutorial, for its pictures of 84 x 84."""
    config = parse_train(["--preset", "ddqn"])
    spec = NetworkSpec(config.network, (4, 84, 84), 2, config.hidden_size, config.lstm, config.fc)
    shapes = sorted(tuple(parameter.shape) for parameter in algorithm_class(config.algorithm).build_model(spec).parameters())
    weights = [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136), (2, 512)]
    assert shapes == sorted([*weights, *((shape[0],) for shape in weights)])


def test_adam_takes_more_memory_than_rmsprop() -> None:
    adam, rmsprop = (estimate_memory(parse_train(["--preset", "a3c", "--optimizer", name])) for name in ("Adam", "RMSprop"))
    assert adam.shared * 2 == rmsprop.shared * 3  # the weights, and two numbers or one for each


def test_a_run_is_named_by_its_environment_and_time(tmp_path: Path) -> None:
    folders = ["--log-dir", str(tmp_path / "logs"), "--save-model-dir", str(tmp_path)]
    run = prepare_run(parse_train(["--preset", "a3c", "--env", "SuperMarioBros-1-1-v0", "--workers", "1", *folders]))
    assert re.fullmatch(r"SuperMarioBros-1-1-v0_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run.folder.name)
    assert run.folder.parent == tmp_path / "logs", "regression: the original A3G needed a folder that nobody made"


def test_the_page_names_every_option_of_deep_q_learning() -> None:
    named = set(re.findall(r"--[a-z-]+", PAGE))
    for field in fields(DQNOptions):
        flag = field.name.replace("_", "-")
        beyond = {"n-step", "epsilon-spread"}  # none of the programs has them
        assert flag in beyond or {f"--{flag}", f"--no-{flag}"} & named, flag
