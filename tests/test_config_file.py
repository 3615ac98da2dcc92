"""`--config FILE`: a run's own config.json or a TOML file; flags win over it, and it wins over a preset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from a3g.algorithm_options import PPOOptions
from a3g.command_line import parse_eval, parse_explore, parse_resume_request, parse_train
from a3g.commands import eval_command, train_command
from a3g.config import TrainConfig
from a3g.config_file import DESCRIPTIONS
from a3g.config_json import to_json
from a3g.errors import UserError
from a3g.presets import PRESETS, preset_values
from a3g.processes.run_description import describe_run


def toml(folder: Path, text: str) -> str:
    path = folder / "options.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_config_json_of_a_run_gives_the_same_options(preset: str, tmp_path: Path) -> None:
    env = "SuperMarioBros-6-3-v0"
    config = TrainConfig(env=env).with_values({**preset_values(preset, env), "preset": preset, "seed": 7, "run_name": "x"})
    (tmp_path / "config.json").write_text(json.dumps(describe_run(replace(config, gpu_ids=(-1,)))))
    assert parse_train(["--config", str(tmp_path / "config.json")]) == config


def test_a_real_run_writes_what_the_next_one_reads(tmp_path: Path) -> None:
    few = "--serial --workers 1 --lanes 4 --num-steps 8 --total-steps 32 --no-tensorboard-logger --algorithm ppo --network nips"
    folders = ["--log-dir", str(tmp_path), "--save-model-dir", str(tmp_path / "models"), "--run-name", "first"]
    command = ["--env", "SuperMarioBros-1-1-v0", *few.split(), *folders]
    assert train_command(command, "main.py") == 0
    written = tmp_path / "first" / "config.json"
    assert parse_train(["--config", str(written)]) == parse_train(command)
    assert train_command(["--config", str(written)], "main.py") == 2, "that run is there already"
    assert train_command(["--config", str(written), "--run-name", "again"], "main.py") == 0
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {**again, "run_name": "first"} == json.loads(written.read_text())


def test_what_a_run_describes_beside_its_options() -> None:
    assert set(describe_run(TrainConfig())) - set(to_json(TrainConfig())) == set(DESCRIPTIONS)


def test_a_resumed_runs_config_json_does_not_resume_again(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(describe_run(TrainConfig(resume="elsewhere"))))
    assert parse_train(["--config", str(path)]) == TrainConfig()
    assert parse_resume_request(["--config", str(path)]).resume == ""


def test_flags_win_over_the_file_and_the_file_over_a_preset(tmp_path: Path) -> None:
    path = toml(tmp_path, 'preset = "quick"\nlr = 0.25\nnum-steps = 12\nstages = ["1-1", "2-2"]\ndemos_dir = "d"\nclip = 1\n')
    quick = TrainConfig().with_values({**PRESETS["quick"][1], "preset": "quick"})
    expected = quick.with_values({"lr": 0.25, "num_steps": 12, "stages": ("1-1", "2-2"), "demos_dir": Path("d"), "clip": 1.0})
    assert parse_train(["--config", path]) == expected
    assert parse_train([f"--config={path}", "--lr", "0.5"]) == replace(expected, lr=0.5)
    assert parse_train(["--lanes", "8", "--config", path, "--no-two-frame-max"]) == replace(expected, lanes=8)
    other = parse_train(["--preset", "quick-a3c", "--config", toml(tmp_path, 'preset = "quick"\nlr = 0.25')])
    assert other == TrainConfig().with_values({**PRESETS["quick-a3c"][1], "preset": "quick-a3c", "lr": 0.25})


def test_a_preset_named_in_the_file_knows_the_files_stage(tmp_path: Path) -> None:
    assert parse_train(["--config", toml(tmp_path, 'preset = "a2c"\nenv = "SuperMarioBros-6-3-v0"')]).lr == 7e-5


def test_another_algorithm_takes_what_it_has_in_common(tmp_path: Path) -> None:
    path = toml(tmp_path, 'algorithm = "ppo"\nclip = 0.3\ntau = 0.5')
    assert parse_train(["--config", path]).options == PPOOptions(clip=0.3, tau=0.5)
    assert parse_train(["--config", path, "--algorithm", "a3c"]).options.tau == 0.5
    assert parse_train(["--config", toml(tmp_path, "clip = 0.3"), "--loss", "ppo"]).options == PPOOptions(clip=0.3)
    assert not parse_train(["--config", toml(tmp_path, 'algorithm = "dqn"')]).lstm


def test_which_run_to_resume_may_stand_in_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, f'resume = "auto"\nrun_name = "x"\nlog_dir = "{tmp_path}"\nlr = 0.5')
    request = parse_resume_request(["--config", path, "--workers", "1"])
    assert (request.resume, request.run_name, request.log_dir) == ("auto", "x", tmp_path)


def test_the_other_commands_take_files_too(tmp_path: Path) -> None:
    config = parse_eval(["--config", toml(tmp_path, 'num_episodes = 3\nskip_rate = 2\nweights = "w"'), "--seed", "9"])
    assert (config.num_episodes, config.skip_rate, config.weights, config.seed) == (3, 2, Path("w"), 9)
    assert parse_explore(["--config", toml(tmp_path, 'stages = ["1-1"]')]).stages == ("1-1",)


BAD: list[tuple[str, str, str]] = [
    ("a.toml", "wings = 2", "has an unknown option 'wings'"),
    ("a.toml", "clip = 0.1", "has an unknown option 'clip': there is none of a3c"),
    ("a.toml", 'workers = "two"', 'workers must be a whole number, not "two"'),
    ("a.toml", "workers = true", "workers must be a whole number, not true"),
    ("a.toml", "workers = 2.5", "workers must be a whole number, not 2.5"),
    ("a.toml", "lstm = 1", "lstm must be true or false, not 1"),
    ("a.toml", 'lr = "fast"', 'lr must be a number, not "fast"'),
    ("a.toml", "lr = 2099-01-01", "lr must be a number"),
    ("a.toml", 'network = "huge"', "network must be one of impala, nature"),
    ("a.toml", "gpu_ids = 0", "gpu_ids must be a list of whole numbers, not 0"),
    ("a.toml", 'stages = [["1-1"]]', "stages must be a list of texts"),
    ("a.toml", 'log_dir = ""', "log_dir must be a path"),
    ("a.toml", "[learning]\nlr = 0.1", "has an unknown option 'learning'"),
    ("a.toml", "env = 3", "env must be a text, not 3"),
    ("a.toml", "workers = 0", "--workers must be at least 1, not 0"),
    ("a.toml", "num-steps = 1\nnum_steps = 1", "gives num_steps twice"),
    ("a.toml", 'preset = "turbo"', "Unknown preset 'turbo'"),
    ("a.toml", "lr = = 2", "is damaged, it is no TOML"),
    ("a.json", '{"lr": 0.1', "is damaged, it is no JSON"),
    ("a.json", "[" * 100_000, "is damaged, it is no JSON"),
    ("a.json", "[1]", "must hold options by their names, not [1]"),
    ("a.json", '{"lr": NaN}', "--lr must be a finite number"),
    ("a.json", '{"lr": null}', "lr must be a number, not null"),
    ("a.json", "\udcff", "is damaged, it is no JSON"),
    ("a.yaml", "lr: 1", "must be a .json or a .toml file"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BAD, ids=[f"{text:.20}" for _, text, _ in BAD])
def test_a_mistake_in_the_file_is_one_sentence_that_names_it(
    name: str, text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert train_command(["--config", str(path)], "main.py") == 2
    error = capsys.readouterr().err
    assert expected in error
    assert str(path) in error or "preset" in error
    assert error.startswith("main.py: ")
    assert error.count("\n") == 1
    assert error.endswith(".\n")


def test_a_missing_file_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert eval_command(["--config", str(tmp_path / "none.json")], "gym_eval.py") == 2
    assert "There is no config file" in capsys.readouterr().err
    (tmp_path / "folder.toml").mkdir()
    assert train_command(["--config", str(tmp_path / "folder.toml")], "main.py") == 2
    assert "can't be read: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--config"], ["--config="], ["--config", "--lr", "0.1"]])
def test_no_file_at_all(arguments: list[str]) -> None:
    with pytest.raises(UserError, match="--config must be the name of a file"):
        parse_train(arguments)


def test_a_file_of_other_types_is_refused_before_anything_starts(tmp_path: Path) -> None:
    values: dict[str, Any] = {**describe_run(TrainConfig()), "lanes": "16"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match='lanes must be a whole number, not "16"'):
        parse_train(["--config", str(tmp_path / "config.json")])
