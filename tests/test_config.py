"""The command lines: every flag of the original A3G, switches that switch off, presets, and values that make no sense."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
import torch

from a3g.command_line import parse_eval, parse_train
from a3g.config import TrainConfig
from a3g.config_json import describe_changes, to_json, train_config_from_json
from a3g.cores import cgroup_cores, check_workers, granted_cpus
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.game.stages import STAGES, Stage
from a3g.networks.actor_critic import ActorCritic
from a3g.presets import PRESETS
from a3g.processes.memory_estimate import WORKER_BYTES, check_memory, estimate_memory
from a3g.processes.run_description import describe_run
from a3g.ranges import RANGES
from a3g.stage_settings import STAGE_SETTINGS

ROOT = Path(__file__).parent.parent
# The original A3G's main.py: long flag, short flag, what may follow, the option and its value.
TRAIN_FLAGS: list[tuple[str, str, list[str], str, Any]] = [
    ("--lr", "-l", ["0.0007"], "lr", 0.0007),
    ("--gamma", "-g", ["0.9"], "gamma", 0.9),
    ("--tau", "-t", ["0.95"], "tau", 0.95),
    ("--entropy-coef", "-ec", ["0.02"], "entropy_coef", 0.02),
    ("--value-coef", "-vc", ["0.25"], "value_coef", 0.25),
    ("--seed", "-s", ["7"], "seed", 7),
    ("--workers", "-w", ["36"], "workers", 36),
    ("--num-steps", "-ns", ["40"], "num_steps", 40),
    ("--max-episode-length", "-mel", ["500"], "max_episode_length", 500),
    ("--env", "-ev", ["SuperMarioBros-1-1-v0"], "env", "SuperMarioBros-1-1-v0"),
    ("--shared-optimizer", "-so", ["True"], "shared_optimizer", True),
    ("--shared-optimizer", "-so", ["False"], "shared_optimizer", False),
    ("--load", "-ld", [], "load", True),
    ("--optimizer", "-o", ["RMSprop"], "optimizer", "RMSprop"),
    ("--load-model-dir", "-lmd", ["models/"], "load_model_dir", Path("models")),
    ("--save-model-dir", "-smd", ["models/"], "save_model_dir", Path("models")),
    ("--log-dir", "-lg", ["runs/"], "log_dir", Path("runs")),
    ("--gpu-ids", "-gp", ["0", "1", "2"], "gpu_ids", (0, 1, 2)),
    ("--gpu-ids", "-gp", ["-1"], "gpu_ids", (-1,)),
    ("--amsgrad", "-a", [], "amsgrad", True),
    ("--skip-rate", "-sr", ["2"], "skip_rate", 2),
    ("--hidden-size", "-hs", ["256"], "hidden_size", 256),
    ("--tensorboard-logger", "-tl", [], "tensorboard_logger", True),
    ("--time-per-stage", "-tps", ["100"], "time_per_stage", 100),
    ("--load-rms-stats", "-lrs", [], "load_rms_stats", True),
    ("--train-stages", "-ts", [], "train_stages", True),
]
# The original A3G's gym_eval.py.
EVAL_FLAGS: list[tuple[str, str, list[str], str, Any]] = [
    ("--env", "-ev", ["SuperMarioBros-8-4-v0"], "env", "SuperMarioBros-8-4-v0"),
    ("--num-episodes", "-ne", ["32"], "num_episodes", 32),
    ("--render", "-r", [], "render", True),
    ("--render-freq", "-rf", ["3"], "render_freq", 3),
    ("--record-video", "-rv", [], "record_video", True),
    ("--test-single-stages", "-tss", [], "test_single_stages", True),
    ("--episode-start", "-es", ["31"], "episode_start", 31),
    ("--new-gym-eval", "-nge", [], "new_gym_eval", True),
    ("--gpu-id", "-gp", ["-1"], "gpu_id", -1),
    ("--gpu-id", "-gp", ["1"], "gpu_id", 1),
    ("--time-per-stage", "-tps", ["400"], "time_per_stage", 400),
    ("--max-episode-length", "-mel", ["99"], "max_episode_length", 99),
    ("--log-dir", "-ld", ["runs/"], "log_dir", Path("runs")),
    ("--load-model-dir", "-lmr", ["models/"], "load_model_dir", Path("models")),
    ("--seed", "-s", ["3"], "seed", 3),
    ("--skip-rate", "-sr", ["2"], "skip_rate", 2),
    ("--hidden-size", "-hs", ["512"], "hidden_size", 512),
    ("--load-rms-stats", "-lrs", [], "load_rms_stats", True),
]


def name_of(flag: tuple[str, str, list[str], str, Any]) -> str:
    return f"{flag[0]} {' '.join(flag[2])}"


@pytest.mark.parametrize("flag", TRAIN_FLAGS, ids=name_of)
def test_main_takes_every_flag_of_the_original_a3g(flag: tuple[str, str, list[str], str, Any]) -> None:
    long, short, values, option, expected = flag
    for spelling in (long, short):
        config = parse_train([spelling, *values])
        assert {**dataclasses.asdict(config), **dataclasses.asdict(config.options)}[option] == expected
        assert config == TrainConfig().with_values({option: expected})  # and nothing else


@pytest.mark.parametrize("flag", EVAL_FLAGS, ids=name_of)
def test_gym_eval_takes_every_flag_of_the_original_a3g(flag: tuple[str, str, list[str], str, Any]) -> None:
    long, short, values, option, expected = flag
    for spelling in (long, short):
        config = parse_eval([spelling, *values])
        assert getattr(config, option) == expected
        assert config == dataclasses.replace(EvalConfig(), **{option: expected})


def test_the_original_a3gs_defaults_hold_where_none_is_better() -> None:
    config = TrainConfig()
    assert (config.lr, config.gamma, config.options.tau, config.options.entropy_coef, config.options.value_coef) == (
        1e-4,
        0.99,
        1.0,
        0.01,
        0.5,
    )
    assert (config.seed, config.num_steps, config.max_episode_length, config.env) == (1, 20, 100_000, "SuperMarioBros-v0")
    assert (config.optimizer, config.adam_eps, config.amsgrad, config.shared_optimizer) == ("Adam", 1e-3, False, True)
    assert (config.skip_rate, config.hidden_size, config.time_per_stage, config.max_grad_norm) == (4, 512, 300, 0.0)
    assert (config.gpu_ids, config.load, config.train_stages) == ((-1,), False, False)
    assert (config.load_model_dir, config.save_model_dir, config.log_dir) == (
        Path("trained_models"),
        Path("trained_models"),
        Path("logs"),
    )
    assert (config.network, config.lstm, config.algorithm, config.actions) == ("impala", True, "a3c", "a3g")
    evaluation = EvalConfig()
    assert (evaluation.time_per_stage, evaluation.episode_start, evaluation.render_freq) == (400, 0, 1)


@pytest.mark.parametrize(
    "command",
    [
        "--env SuperMarioBros-1-1-v0 --workers 8 -lrs --amsgrad",
        "--env SuperMarioBros-1-1-v0 --workers 36 --gpu-ids 0 1 2 --amsgrad -lrs",
        "--env SuperMarioBros-v0 --workers 36 --gpu-ids 0 1 2 --amsgrad -lrs -ts",
    ],
)
def test_the_training_commands_in_the_original_a3gs_readme(command: str) -> None:
    config = parse_train(command.split())
    assert config.amsgrad
    assert config.load_rms_stats
    assert config.workers in (8, 36)


def test_the_evaluation_command_in_the_original_a3gs_readme() -> None:
    config = parse_eval(["--env", "SuperMarioBros-v0", "--num-episodes", "32", "-r", "-lrs", "-tps", "400", "-es", "0", "-tss"])
    assert config.episode_stages() == list(STAGES)


def switches(kind: type[TrainConfig | EvalConfig]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if isinstance(field.default, bool)]


@pytest.mark.parametrize("name", [name for name in switches(TrainConfig) if name != "shared_optimizer"])
def test_every_switch_of_main_can_be_switched_on_and_off(name: str) -> None:
    """Regression of another A3C program, where `type=bool` makes every value true."""
    flag = name.replace("_", "-")
    assert getattr(parse_train([f"--{flag}"]), name) is True
    assert getattr(parse_train([f"--no-{flag}"]), name) is False


@pytest.mark.parametrize("name", switches(EvalConfig))
def test_every_switch_of_gym_eval_can_be_switched_on_and_off(name: str) -> None:
    flag = name.replace("_", "-")
    assert getattr(parse_eval([f"--{flag}"]), name) is True
    assert getattr(parse_eval([f"--no-{flag}"]), name) is False


@pytest.mark.parametrize("value", ["on", "0", "false ", "nope", ""])
def test_the_shared_optimizer_takes_no_odd_string_as_true(value: str) -> None:
    """Regression of the original A3G."""
    with pytest.raises(SystemExit) as caught:
        parse_train(["-so", value])
    assert caught.value.code == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_set_the_defaults_and_options_come_on_top(preset: str) -> None:
    expected = TrainConfig().with_values({"preset": preset, **PRESETS[preset][1]})
    assert parse_train(["--preset", preset]) == expected
    assert parse_train([f"--preset={preset}"]) == expected
    changed = parse_train(["--lr", "0.5", "--preset", preset, "--lanes", "8"])
    assert changed == dataclasses.replace(expected, lr=0.5, lanes=8)


def test_the_original_a3g_is_one_game_per_worker_with_its_settings() -> None:
    config = parse_train(["--preset", "original-a3g"])
    assert parse_train(["--preset", "seed"]) == config  # its name before
    assert (config.lanes, config.precision, config.algorithm, config.network) == (1, "float32", "a3c", "impala")


def test_a2c_takes_the_row_of_its_stage_and_options_come_on_top() -> None:
    config = parse_train(["--preset", "a2c", "--env", "SuperMarioBros-6-3-v0"])
    assert (config.gamma, config.lr, config.initialisation) == (0.99, 7e-5, "torch")
    assert (config.workers, config.lanes, config.num_steps, config.adam_eps) == (1, 16, 20, 1e-8)
    assert parse_train(["-ev", "SuperMarioBros-7-1-v0", "--preset=a2c"]).lanes == 8
    assert parse_train(["--preset", "a2c", "--env=SuperMarioBros-8-1-v0"]).num_steps == 5
    assert parse_train(["--preset", "a2c", "--env", "SuperMarioBros-8-1-v0", "--num-steps", "7"]).num_steps == 7
    assert parse_train(["--preset", "a2c", "--env", "SuperMarioBros-1-3-v0"]).gamma == 0.9  # has no row
    of_run = parse_train(["--env", "SuperMarioBros-3-4-v0"])
    assert parse_train(["--preset", "a2c"], defaults=of_run).gamma == 0.99
    with pytest.raises(UserError, match="SuperMarioBros-9-9-v0"):
        parse_train(["--preset", "a2c", "--env", "SuperMarioBros-9-9-v0"])


def test_the_table_of_stages_is_whole() -> None:
    """Against sums over the columns of the table in https://github.com/CVHvn/Mario_A2C_A3C#a2c-2."""
    rows = STAGE_SETTINGS
    assert set(map(str, STAGES)) - set(rows) == {"1-3", "4-3", "4-4", "5-3", "8-4"}
    assert sum(row.training_steps for row in rows.values()) == 29_149_500
    assert sum(row.gamma == 0.99 for row in rows.values()) == 9
    assert [stage for stage, row in rows.items() if row.lanes != 16] == ["7-1", "7-2", "7-3"]
    assert [stage for stage, row in rows.items() if row.num_steps != 20] == ["8-1"]
    assert [stage for stage, row in rows.items() if not (row.detach_lstm_state and row.init_weights)] == ["6-3"]
    assert rows["2-2"].hours == pytest.approx(24 + 14 + 54 / 60 + 56 / 3600)
    assert rows["1-1"].agent_steps == 5_984_000


def test_presets_explain_themselves_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_train(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in PRESETS:
        assert re.search(rf"^  {name} ", text, flags=re.MULTILINE)
    for long, short, *_ in TRAIN_FLAGS:
        assert long in text or f"--no-{long[2:]}" in text
        assert re.search(rf"[ ,│]{short}[ ,]", text), short


def test_every_option_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for kind, parse in ((TrainConfig, parse_train), (EvalConfig, parse_eval)):
        with pytest.raises(SystemExit):
            parse(["--help"])
        text = capsys.readouterr().out
        for field in dataclasses.fields(kind):
            if field.name == "options":  # each algorithm's own
                continue
            assert f"--{field.name.replace('_', '-')}" in text


def test_an_unknown_preset() -> None:
    with pytest.raises(UserError, match=r"Unknown preset 'turbo': choose one of a3g, original-a3g, a3c, a2c, ppo, quick"):
        parse_train(["--preset", "turbo"])


def test_a_preset_on_top_of_a_runs_settings_changes_only_its_own() -> None:
    """Regression: `--resume RUN --preset quick` forgot all the run's settings."""
    settings = dataclasses.replace(TrainConfig(), env="SuperMarioBros-2-1-v0", lanes=8)
    config = parse_train(["--preset", "quick"], defaults=settings)
    assert config == settings.with_values({"preset": "quick", **PRESETS["quick"][1]})


BAD_TRAIN_VALUES = [
    ("--env SuperMarioBros-9-1-v0", "SuperMarioBros-9-1-v0"),
    ("--env SuperMarioBros-1-1-v3", "SuperMarioBros-1-1-v3"),
    ("--env Pong-v0", "Pong-v0"),
    ("--workers 0", "--workers must be at least 1, not 0"),
    ("--workers -3", "--workers must be at least 1, not -3"),
    ("--preset dqn-per --tau 0.9", "--tau is no option of --algorithm dqn, only of a3c, a2c, ppo, imitation, dagger"),
    ("--preset ddqn -ec 0.1", "-ec is no option of --algorithm dqn, only of a3c"),
    ("--preset a2c --replay_size=5", "--replay-size is no option of --algorithm a2c, only of dqn, dueling-dqn"),
    ("--preset ppo --no-double", "--no-double is no option of --algorithm ppo, only of dqn, dueling-dqn"),
    ("--preset a2c --no-lstm", "--no-fc needs the LSTM: leave --no-lstm out"),
    ("--preset ppo --lanes 6", r"--lanes must be a multiple of --minibatches \(4\), not 6"),
    ("--preset a3c --amsgrad", "--amsgrad is a variant of Adam: it needs --optimizer Adam, not RMSprop"),
    ("--preset ddqn --lstm", "A DQN has no LSTM here: add --no-lstm"),
    ("--preset ddqn --network map", "--network map learns from maps: it needs --observation map, not pictures"),
    ("--preset ddqn --observation map", "--network must be map with --observation map, not nature"),
    ("--no-fc --no-lstm", "--no-fc needs the LSTM: leave --no-lstm out"),
    ("--lanes 0", "--lanes must be at least 1"),
    ("--num-steps 0", "--num-steps must be at least 1"),
    ("--hidden-size 0", "--hidden-size must be at least 1"),
    ("--algorithm ppo --epochs 0", "--epochs must be at least 1"),
    ("--algorithm ppo --minibatches 0", "--minibatches must be at least 1"),
    ("--test-episodes 0", "--test-episodes must be at least 1"),
    ("--lr 0", "--lr must be more than 0"),
    ("--lr -1", "--lr must be more than 0"),
    ("--lr nan", "--lr must be a finite number, not nan"),
    ("--lr inf", "--lr must be a finite number, not inf"),
    ("--entropy-coef inf", "--entropy-coef must be a finite number"),
    ("--adam-eps 0", "--adam-eps must be more than 0"),
    ("--rmsprop-eps 0", "--rmsprop-eps must be more than 0"),
    ("--algorithm ppo --clip 0", "--clip must be more than 0"),
    ("--test-interval 0", "--test-interval must be more than 0"),
    ("--checkpoint-interval 0", "--checkpoint-interval must be more than 0"),
    ("--gamma 1.1", "--gamma must be between 0 and 1"),
    ("--gamma -0.1", "--gamma must be between 0 and 1"),
    ("--tau 2", "--tau must be between 0 and 1"),
    ("--entropy-coef -1", "--entropy-coef must be 0 or more"),
    ("--value-coef -1", "--value-coef must be 0 or more"),
    ("--max-grad-norm -1", "--max-grad-norm must be 0 or more"),
    ("--total-steps -1", "--total-steps must be 0 or more"),
    ("--max-minutes -1", "--max-minutes must be 0 or more"),
    ("--clear-rate 0", "--clear-rate must be more than 0 and at most 1"),
    ("--clear-rate 1.5", "--clear-rate must be more than 0 and at most 1"),
    ("--gpu-ids -2", "--gpu-ids must be GPU numbers, or -1 for the CPU, not -2"),
    ("--gpu-ids -1 -5", "--gpu-ids must be GPU numbers, or -1 for the CPU, not -1 -5"),
    ("--gpu-ids", "--gpu-ids must be GPU numbers, or -1 for the CPU, not nothing"),
    ("--loss ppo --lanes 6", r"--lanes must be a multiple of --minibatches \(4\), not 6"),
    ("--run-name a/b", "--run-name must be a plain folder name, not a/b"),
    ("--run-name ..", "--run-name must be a plain folder name"),
    ("--skip-rate 0", "--skip-rate must be at least 1, not 0"),
    ("--stack 0", "--stack must be at least 1"),
    ("--time-per-stage 0", "--time-per-stage must be at least 1"),
    ("--max-episode-length 0", "--max-episode-length must be at least 1"),
    ("--noop-max -1", "--noop-max must be 0 or more"),
    ("--sticky-actions 1", "--sticky-actions must be a chance"),
    ("--sticky-actions nan", "--sticky-actions must be a finite number"),
    ("--test-sticky-actions 1", "--test-sticky-actions must be a chance"),
    # Regression: these were tracebacks, hangs and restarts.
    ("--seed -1", "--seed must be 0 or more, not -1"),
    ("--seed 100000000000000000000000", "--seed must be at most 4611686018427387904, not 100000000000000000000000"),
    ("--num-steps 1000000000", "--num-steps must be at most 100000"),
    ("--lanes 10000000", "--lanes must be at most 4096"),
    ("--hidden-size 100000000", "--hidden-size must be at most 16384"),
    ("--skip-rate 1000000000", "--skip-rate must be at most 1000"),
    ("--noop-max 1000000000", "--noop-max must be at most 3600"),
    ("--workers 1000000000000000000000000000000", "--workers must be at most 4096"),
    ("--time-per-stage 10000000000000000000000000", "--time-per-stage must be at most 10000"),
    ("--silence-limit 1e-9", "--heartbeat-timeout must be at least 1, not 1e-09"),
    ("--train-stages --env SuperMarioBros-1-1-v0", "--train-stages trains all 32 stages"),
    ("--optimizer RMSprop --amsgrad", "--amsgrad is a variant of Adam"),
    ("--serial --until-cleared", "--until-cleared needs the tester"),
    ("--resume=", "--resume must be a name or a path, not empty"),
    ("--log-dir=", "--log-dir must be a name or a path, not empty"),
]


@pytest.mark.parametrize(("arguments", "match"), BAD_TRAIN_VALUES, ids=[each[0] for each in BAD_TRAIN_VALUES])
def test_values_that_make_no_sense_for_main(arguments: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        parse_train(arguments.split())
    assert_one_sentence(str(caught.value))


BAD_EVAL_VALUES = [
    ("--env SuperMarioBros-1-5-v0", "SuperMarioBros-1-5-v0"),
    ("--num-episodes 0", "--num-episodes must be at least 1, not 0"),
    ("--render-freq 0", "--render-freq must be at least 1"),
    ("--episode-start 32", r"--episode-start must be 0 \(1-1\) to 31 \(8-4\), not 32"),
    ("--episode-start -1", "--episode-start must be 0"),
    ("--gpu-id -2", "--gpu-id must be a GPU's number, or -1 for the CPU, not -2"),
    ("--sticky-actions 1", "--sticky-actions must be"),
    ("--sticky-actions nan", "--sticky-actions must be"),
    ("--noop-max -1", "--noop-max must be"),
    ("--time-per-stage 0", "--time-per-stage must be"),
    ("--max-episode-length 0", "--max-episode-length must be"),
    ("--skip-rate 0", "--skip-rate must be"),
    ("--hidden-size 0", "--hidden-size must be"),
    ("--num-episodes 100000000000000000000", "--num-episodes must be at most 1000000"),
    ("--seed -1", "--seed must be 0 or more"),
    ("--weights=", "--weights must be a name or a path, not empty"),
    ("--played-starts --no-test-single-stages", "--played-starts is for single stages"),
]


@pytest.mark.parametrize(("arguments", "match"), BAD_EVAL_VALUES, ids=[each[0] for each in BAD_EVAL_VALUES])
def test_values_that_make_no_sense_for_gym_eval(arguments: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        parse_eval(arguments.split())
    assert_one_sentence(str(caught.value))


def assert_one_line(text: str) -> None:
    assert text.endswith(".")
    assert "\n" not in text


def assert_one_sentence(text: str) -> None:
    assert_one_line(text)
    assert ". " not in text


@pytest.mark.parametrize("arguments", ["--optimizer Adagrad", "--workers two", "--wings 2", "extra", "--loss", "--preset"])
def test_what_is_no_option_or_no_value_ends_with_code_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_train(arguments.split())
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# -- as JSON, in checkpoints and beside them


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(),
        TrainConfig().with_values(PRESETS["quick"][1]),
        TrainConfig(gpu_ids=(2, 0), log_dir=Path("a/b"), run_name="x", train_stages=True, lr=1e-9, shared_optimizer=False),
    ],
)
def test_json_round_trip(config: TrainConfig) -> None:
    assert train_config_from_json(json.loads(json.dumps(to_json(config)))) == config


def test_settings_of_other_versions() -> None:
    """Options that are gone are left out, those that are new get their defaults."""
    values = {name: value for name, value in to_json(TrainConfig(lr=0.5)).items() if name != "clip"}
    assert train_config_from_json({**values, "wings": 2}) == TrainConfig(lr=0.5)


@pytest.mark.parametrize("values", [{"workers": "two"}, {"lr": None}, {"workers": 0}, {"env": 3}])
def test_unreadable_settings(values: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        train_config_from_json({**to_json(TrainConfig()), **values})


# -- what the settings mean


def test_train_stages_gives_workers_stages_of_their_own() -> None:
    config = TrainConfig(train_stages=True, workers=34)
    assert [config.worker_stages(i) for i in (0, 1, 31)] == [(Stage(1, 1),), (Stage(1, 2),), (Stage(8, 4),)]
    assert [config.worker_stages(i) for i in (32, 33)] == [(None,), (None,)]


def test_without_it_all_workers_play_what_env_says() -> None:
    assert TrainConfig(env="SuperMarioBros-3-2-v0").worker_stages(5) == (Stage(3, 2),)
    assert TrainConfig().worker_stages(5) == (None,)


def test_the_tester_plays_the_stage_trained_or_all_32() -> None:
    assert TrainConfig(env="SuperMarioBros-3-2-v0").test_stages() == (Stage(3, 2),)
    assert TrainConfig().test_stages() == STAGES


def test_evaluation_goes_through_the_stages_in_turn() -> None:
    assert EvalConfig(num_episodes=32).episode_stages() == list(STAGES)
    assert EvalConfig(num_episodes=3, episode_start=30).episode_stages() == [Stage(8, 3), Stage(8, 4), Stage(1, 1)]
    assert EvalConfig(env="SuperMarioBros-2-2-v0", num_episodes=3).episode_stages() == [Stage(2, 2)] * 3
    assert EvalConfig(num_episodes=2, test_single_stages=False).episode_stages() == [None, None]


def test_every_number_has_a_range_and_its_default_is_in_it() -> None:
    for kind in (TrainConfig, EvalConfig):
        for name, hint in get_type_hints(kind).items():
            if hint in (int, float, int | None):
                assert name in RANGES
                assert getattr(kind(), name) is None or not RANGES[name].complaint(getattr(kind(), name))


def test_empty_places_are_mistakes_given_apart_too() -> None:
    for arguments in (["--resume", ""], ["--log-dir", ""], ["-lg", "", "--serial"]):
        with pytest.raises(UserError, match="not empty"):
            parse_train(arguments)


ODD_VALUES = (
    "", "0", "-1", "1", "7", "0.5", "1e-9", "1e30", "-1e999", "nan", "inf", "10" * 15, "9" * 5000, "x", "1 2", "None", "True",
    "../..", "×", "SuperMarioBros-1-1-v0", "RMSprop", "--", "--help-me", "-1 -1 3",
)  # fmt: skip


def outcome_of(parse: Any, arguments: list[str]) -> str | int | None:
    """A sentence, an exit code, or None if the options were taken."""
    try:
        parse(arguments)
    except UserError as error:
        return str(error)
    except SystemExit as end:
        return end.code
    return None


@pytest.mark.parametrize(("parse", "kind"), [(parse_train, TrainConfig), (parse_eval, EvalConfig)])
def test_any_command_line_is_taken_or_refused_properly(parse: Any, kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """200 of them from a seeded generator: options or a sentence, never a traceback."""
    chance = random.Random(5)
    options = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)]
    taken = 0
    for _ in range(200):
        arguments: list[str] = []
        for _ in range(chance.choice((1, 1, 2, 3))):
            arguments += [chance.choice(options), *chance.choice(ODD_VALUES).split(" ")]
        outcome = outcome_of(parse, arguments)
        taken += outcome is None
        if isinstance(outcome, str):
            assert_one_line(outcome)
        else:
            assert outcome in (None, 0, 2)
        assert "Traceback" not in capsys.readouterr().err
    assert taken > 5


def test_changed_settings_in_one_line() -> None:
    before = TrainConfig(lr=1e-4, gpu_ids=(-1,))
    after = dataclasses.replace(before, lr=0.5, gpu_ids=(0, 1), log_dir=Path("x"), run_name="y")
    assert describe_changes(before, after) == "--gpu-ids -1 → 0 1, --lr 0.0001 → 0.5"
    assert describe_changes(before, before) == ""


# -- memory


def test_what_cannot_fit_into_memory_is_refused_with_the_estimate() -> None:
    for options in ({"lanes": 4096, "num_steps": 100_000}, {"workers": 4096, "hidden_size": 16_384}):
        with pytest.raises(
            UserError, match=r"needs [\d,.]+ GB of memory at the least \(.*\), and [\d,.]+ GB are free"
        ) as caught:
            check_memory(TrainConfig().with_values(options))
        assert_one_sentence(str(caught.value))
    check_memory(TrainConfig(workers=1, lanes=1, network="conv4", hidden_size=16))


def test_too_little_shared_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    with pytest.raises(UserError, match=r"of shared memory at the least, and /dev/shm has 1.0 MB free") as caught:
        check_memory(TrainConfig(workers=1))
    assert_one_sentence(str(caught.value))


@pytest.mark.parametrize("lstm", [False, True])
def test_the_estimate_is_the_weights_the_optimizer_and_the_pictures(lstm: bool) -> None:
    config = TrainConfig(workers=3, lanes=2, num_steps=5, network="conv4", hidden_size=16, lstm=lstm)
    weights = 4 * sum(parameter.numel() for parameter in ActorCritic(config.network_spec()).parameters())
    estimate = estimate_memory(config)
    assert estimate.shared == 3 * weights  # Adam's two moments
    assert estimate.worker == WORKER_BYTES + 2 * weights + 6 * 2 * 4 * 80 * 80
    assert estimate.total == estimate.shared + 3 * estimate.worker


# -- config.json


def test_a_runs_description_says_with_what_it_ran_and_loads() -> None:
    config = TrainConfig(lr=0.5, preset="quick")
    text = json.loads(json.dumps(describe_run(config)))
    assert train_config_from_json(text) == config
    assert (text["preset"], text["versions"]["torch"]) == ("quick", torch.__version__)
    assert set(text["versions"]) == {"a3g", "torch", "python"}
    assert text["host"]
    assert text["resolved"]["emulator"] in ("native", "fceumm", "nes-py")
    assert text["resolved"]["precision"] in ("float32", "bfloat16")
    assert text["resolved"]["devices"] == ["cpu"]


# -- output that can't be encoded


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_cannot_be_encoded_is_said_plainly(encoding: str) -> None:
    """Regression: PYTHONIOENCODING=ascii ended in UnicodeEncodeError."""
    program = (
        "from a3g.reporting.say import make_output_patient, say\n"
        "make_output_patient()\n"
        "say('2 × 3 – 4 → … │ 日')\n"
        "say('name-\\udcff')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONIOENCODING": encoding}, capture_output=True, check=True
    )
    plain = {"ascii": "2 x 3 - 4 -> ... | \\u65e5", "latin-1": "2 × 3 - 4 -> ... | \\u65e5", "utf-8": "2 × 3 – 4 → … │ 日"}
    assert result.stdout == plain[encoding].encode(encoding) + b"\nname-\xff\n"
    assert result.stderr == b""


@pytest.mark.parametrize("command", ["main.py", "gym_eval.py"])
def test_help_without_unicode_and_without_a_home(command: str) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "LANG": "C"}
    result = subprocess.run([sys.executable, command, "--help"], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert result.stderr == b""
    assert b"--emulator" in result.stdout


# -- quick to import


@pytest.mark.parametrize("command", ["main.py", "gym_eval.py"])
def test_help_needs_neither_torch_nor_the_engines(command: str) -> None:
    """Regression: `--help` took as long as importing PyTorch does."""
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{command!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / command)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'cv2', 'gymnasium', 'av', 'tensorboard', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


# -- cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_there_are_no_more_workers_than_cores_that_may_be_used() -> None:
    """Regression: on two cores of a large machine, as `taskset` and batch systems give them, all its cores got workers."""
    program = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
    program += "from a3g.config import TrainConfig; assert TrainConfig().workers == 1"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({}, "0::/", None),
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"cpu.max": "250000 100000"}, "0::/", 2.5),
        ({"cpu.max": "max 100000", "job/cpu.max": "800000 100000", "job/step/cpu.max": "max 100000"}, "0::/job/step", 8.0),
        ({"job/cpu.max": "400000 100000", "job/step/cpu.max": "800000 100000"}, "0::/job/step", 4.0),
        ({"cpu.max": "150000 100000"}, "0::/not/seen/from/inside", 1.5),
        ({"cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/a", 3.0),
        (
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            "4:cpu,cpuacct:/\n3:memory:/",
            None,
        ),
        ({"cpu.max": "nonsense"}, "nonsense", None),
    ],
)
def test_control_groups_limit_cores(tmp_path: Path, files: dict[str, str], membership: str, cores: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert cgroup_cores(tmp_path, membership) == cores


IN_JOB = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "8"}


@pytest.mark.parametrize(
    ("environment", "cpus"),
    [
        ({}, None),
        ({"SLURM_CPUS_ON_NODE": "8"}, None),  # left over in a shell, outside of any job
        (IN_JOB, 8),
        ({**IN_JOB, "SLURM_CPUS_PER_TASK": "3"}, 3),
        ({**IN_JOB, "SLURM_CPUS_PER_TASK": ""}, 8),
        ({"SLURM_JOB_ID": "7"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "many"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "0"}, None),
    ],
)
def test_slurm_says_how_many_processors_a_job_has(environment: dict[str, str], cpus: int | None) -> None:
    grant = granted_cpus(environment)
    assert (grant and grant.cpus) == cpus


def test_a_job_has_no_more_workers_than_processors() -> None:
    check_workers(8, IN_JOB)
    check_workers(1000, {})  # a machine of one's own
    with pytest.raises(UserError, match=r"--workers 9 is more than Slurm granted job 7, 8 .*: use --workers 8, or"):
        check_workers(9, IN_JOB)


def test_the_default_of_workers_is_what_slurm_granted() -> None:
    program = "from a3g.config import TrainConfig; assert TrainConfig().workers == 1"
    environment = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment)


def test_options_keep_their_old_names() -> None:
    expected = TrainConfig(heartbeat_timeout=7.0)
    assert parse_train(["--silence-limit", "7"]) == expected == parse_train(["--heartbeat-timeout", "7"])
    values = to_json(expected)
    values["silence_limit"] = values.pop("heartbeat_timeout")
    assert train_config_from_json(values) == expected


def test_some_stages_alone_are_trained_and_tested() -> None:
    config = TrainConfig(stages=("2-2", "1-1"))
    assert config.test_stages() == config.worker_stages(3) == config.single_stages() == (Stage(2, 2), Stage(1, 1))
    assert train_config_from_json(json.loads(json.dumps(to_json(config)))) == config
    for wrong, options in ((("9-1",), {}), (("1-1",), {"env": "SuperMarioBros-1-1-v0"}), (("1-1",), {"train_stages": True})):
        with pytest.raises(UserError, match="stages must be"):
            TrainConfig(stages=wrong, **options)
