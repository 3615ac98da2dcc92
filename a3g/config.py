"""Every option of the two commands, as frozen dataclasses; nothing else knows about the command line."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import psutil
import tyro

from a3g.errors import UserError
from a3g.game.emulators import EMULATOR_NAMES
from a3g.game.lane import GameOptions
from a3g.game.stages import STAGES, Stage, parse_env_id
from a3g.networks.pixel_network import NetworkSpec

EmulatorName = Literal["auto", "native", "fceumm", "nes-py"]
ActionSet = Literal["a3g", "right", "simple", "complex"]
Network = Literal["impala", "nature", "nips", "conv4"]
assert set(EMULATOR_NAMES) == set(EmulatorName.__args__)  # type: ignore[attr-defined]


def _short(*names: str) -> Any:
    """The short spellings of an option."""
    return tyro.conf.arg(aliases=list(names))


def _cores() -> int:
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


@dataclass(frozen=True)
class TrainConfig:
    """Train agents to play Super Mario Bros: one lock-free actor-critic process per CPU core."""

    # -- what to play
    env: Annotated[str, _short("-ev")] = "SuperMarioBros-v0"
    """SuperMarioBros-v0, the whole game, or one stage such as SuperMarioBros-1-1-v0."""
    train_stages: Annotated[bool, _short("-ts")] = False
    """Give workers stages of their own: worker i trains stage i of the 32, those beyond 32 the whole game; fewer than 32
    workers share the 32 stages among them."""
    emulator: EmulatorName = "auto"
    """Engine; auto takes the fastest installed."""
    actions: ActionSet = "a3g"
    """Action set: a3g are seed 002's ten, the others gym-super-mario-bros' right-only, simple and complex."""
    skip_rate: Annotated[int, _short("-sr")] = 4
    """Frames per agent step."""
    stack: int = 4
    """Pictures in an observation."""
    two_frame_max: bool = False
    """Show the agent the brighter of the last two frames."""
    noop_max: int = 30
    """Episodes start after 0 to this many frames without buttons."""
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead of the chosen one."""
    time_per_stage: Annotated[int, _short("-tps")] = 300
    """Units of the game's clock (24 frames each) allowed for a stage."""
    max_episode_length: Annotated[int, _short("-mel")] = 100_000
    """Agent steps after which an episode is cut off."""

    # -- who plays
    workers: Annotated[int, _short("-w")] = _cores()
    """Training processes; the default is this machine's number of cores (seed 002: 32)."""
    lanes: int = 16
    """Games per worker; 1 is A3G as the seed describes it."""
    gpu_ids: Annotated[tuple[int, ...], _short("-gp")] = (-1,)
    """GPUs to use, dealt out to the workers in turn; -1 is the CPU."""
    serial: bool = False
    """Run one worker in the main process, without a tester: for tests and debuggers."""
    seed: Annotated[int, _short("-s")] = 1
    """Random seed of everything. One worker on one CPU repeats exactly, several do not."""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Arithmetic of the networks; auto takes bfloat16 where the processor computes in it; tf32 is float32 on a CPU."""
    gpu_graphs: bool = True
    """On a GPU: acting and learning as one CUDA graph each instead of hundreds of launches."""
    gpu_overlap: bool = True
    """On a GPU: act for one half of a worker's lanes while the other half's games are stepped."""
    gpu_pinned: bool = True
    """On a GPU: page-locked memory for all that crosses, the shared weights included."""

    # -- the network
    network: Network = "impala"
    """Picture encoder; impala is seed 002's, nature several times faster, nips (A3C's own) nearly twice as fast again."""
    lstm: bool = True
    """Put an LSTM behind the encoder."""
    hidden_size: Annotated[int, _short("-hs")] = 512
    """Width of the fully connected layer and of the LSTM."""
    load_rms_stats: Annotated[bool, _short("-lrs")] = True
    """Normalise pictures by seed 002's shipped statistics, frozen (its default: off); off, they are measured while training."""

    # -- learning
    loss: str = "a3c"
    """a3c: A3G's own loss, one update per rollout; ppo: the clipped objective, several epochs per rollout; module:Class: an
    algorithm of your own, a subclass of a3g.algorithms.base.Algorithm."""
    optimizer: Annotated[Literal["Adam", "RMSprop"], _short("-o")] = "Adam"
    """Optimizer, with its state shared by all workers."""
    amsgrad: Annotated[bool, _short("-a")] = False
    """Use Adam's AMSGrad variant."""
    shared_optimizer: Annotated[tyro.conf.FlagConversionOff[bool], _short("-so")] = True
    """False gives every worker an optimizer state of its own."""
    hogwild: bool = True
    """Apply gradients without locks; --no-hogwild lets workers wait for each other, for comparison only."""
    lr: Annotated[float, _short("-l")] = 1e-4
    """Learning rate."""
    adam_eps: float = 1e-3
    """Adam's epsilon."""
    gamma: Annotated[float, _short("-g")] = 0.99
    """Discount factor."""
    tau: Annotated[float, _short("-t")] = 1.0
    """GAE's lambda: the weight of longer returns."""
    entropy_coef: Annotated[float, _short("-ec")] = 0.01
    """Weight of the entropy bonus."""
    value_coef: Annotated[float, _short("-vc")] = 0.5
    """Weight of the value loss."""
    num_steps: Annotated[int, _short("-ns")] = 20
    """Agent steps per rollout in every lane."""
    max_grad_norm: float = 0.0
    """Scale longer gradients down to this norm; 0 leaves them alone, as seed 002 does."""
    keep_activations: bool = True
    """a3c on the CPU, 4 lanes or more: keep the encoder's work while playing for the backward pass; takes memory."""
    epochs: int = 4
    """ppo: passes over a rollout."""
    minibatches: int = 4
    """ppo: updates per pass, each on a share of the lanes."""
    clip: float = 0.2
    """ppo: how far a probability ratio may move from 1 before it stops paying."""

    # -- testing
    test_episodes: int = 5
    """Episodes per stage in a test; the others are played once a first one, in this test or an earlier one, cleared."""
    clear_rate: float = 0.9
    """Share of a stage's test episodes to clear for the stage to count as cleared."""
    test_interval: float = 20.0
    """Seconds from the end of a test to the beginning of the next (seed 002: 60)."""

    # -- when to stop
    total_steps: int = 0
    """Stop after this many agent steps, summed over the workers; 0 never."""
    until_cleared: bool = False
    """Stop when the tester has cleared every stage asked for."""
    max_minutes: float = 0.0
    """Stop after so many minutes; 0 never."""

    # -- files
    load: Annotated[bool, _short("-ld")] = False
    """Begin with the weights in --load-model-dir instead of random ones."""
    load_model_dir: Annotated[Path, _short("-lmd")] = Path("trained_models")
    """Folder of the weights to begin with."""
    save_model_dir: Annotated[Path, _short("-smd")] = Path("trained_models")
    """Folder for the best weights; a file there that scored better is kept."""
    log_dir: Annotated[Path, _short("-lg")] = Path("logs")
    """Folder of the runs' folders."""
    run_name: str = ""
    """Name of this run's folder; by default the environment's name and the time."""
    resume: str = ""
    """Go on with a run: its name, its folder or a checkpoint file. Its settings hold unless given again, but for the
    folders. auto: the run called --run-name, else the newest of this environment; if there is none, it begins."""
    checkpoint_interval: float = 300.0
    """Seconds between checkpoints."""
    keep_checkpoints: int = 3
    """The newest so many checkpoints are kept, and the best weights in any case."""
    silence_limit: float = 60.0
    """Seconds without a sign of life after which a process is killed and started again."""
    tensorboard_logger: Annotated[bool, _short("-tl")] = True
    """Write TensorBoard files into the run's folder (seed 002's default: off)."""

    def __post_init__(self) -> None:
        parse_env_id(self.env)
        for name, value in asdict(self).items():
            _require(not isinstance(value, float) or math.isfinite(value), name, value, "a finite number")
        for name in ("workers", "lanes", "num_steps", "epochs", "minibatches", "test_episodes", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("lr", "adam_eps", "test_interval", "checkpoint_interval", "silence_limit", "clip"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("gamma", "tau"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        for name in ("entropy_coef", "value_coef", "max_grad_norm", "total_steps", "max_minutes"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(0 < self.clear_rate <= 1, "clear_rate", self.clear_rate, "more than 0 and at most 1")
        gpus = " ".join(map(str, self.gpu_ids)) or "nothing"
        _require(min(self.gpu_ids, default=-2) >= -1, "gpu_ids", gpus, "GPU numbers, or -1 for the CPU")
        is_known = self.loss in ("a3c", "ppo") or all(self.loss.partition(":"))
        _require(is_known, "loss", self.loss, "a3c, ppo or module:Class")
        if self.loss == "ppo":
            _require(
                self.lanes % self.minibatches == 0, "lanes", self.lanes, f"a multiple of --minibatches ({self.minibatches})"
            )
        _require(
            "/" not in self.run_name and self.run_name not in (".", ".."), "run_name", self.run_name, "a plain folder name"
        )
        fits = len(os.fsencode(self.run_name)) <= LONGEST_NAME
        _require(fits, "run_name", self.run_name, f"a folder name of at most {LONGEST_NAME} bytes")
        _check_game(self)

    def game_options(self) -> GameOptions:
        """The game as the workers play it."""
        return GameOptions(
            skip_rate=self.skip_rate,
            stack=self.stack,
            actions=self.actions,
            two_frame_max=self.two_frame_max,
            noop_max=self.noop_max,
            sticky_actions=self.sticky_actions,
            time_per_stage=self.time_per_stage,
            max_episode_length=self.max_episode_length,
            episodic_life=True,
        )

    def network_spec(self) -> NetworkSpec:
        game = self.game_options()
        return NetworkSpec(self.network, game.observation_shape, game.num_actions, self.hidden_size, self.lstm)

    def test_stages(self) -> tuple[Stage, ...]:
        """The stages that the tester plays: the one trained, or all 32."""
        stage = parse_env_id(self.env)
        return STAGES if stage is None else (stage,)

    def worker_stages(self, worker: int) -> tuple[Stage | None, ...]:
        """What worker number `worker` plays: what `env` says, or its share of the stages; None is the whole game."""
        if self.train_stages:
            return STAGES[worker :: self.workers] or (None,)
        return (parse_env_id(self.env),)


@dataclass(frozen=True)
class EvalConfig:
    """Play with trained weights and score them: the 32 stages in turn, or episodes of one stage."""

    env: Annotated[str, _short("-ev")] = "SuperMarioBros-v0"
    """SuperMarioBros-v0 plays the 32 stages in turn; SuperMarioBros-1-1-v0 and the like one stage."""
    num_episodes: Annotated[int, _short("-ne")] = 1
    """Episodes to play."""
    weights: Path | None = None
    """Weights file; by default the one named after --env in --load-model-dir."""
    load_model_dir: Annotated[Path, _short("-lmr")] = Path("trained_models")
    """Folder of the weights."""
    test_single_stages: Annotated[bool, _short("-tss")] = True
    """With SuperMarioBros-v0: play single stages; --no-test-single-stages plays the whole game with three lives."""
    episode_start: Annotated[int, _short("-es")] = 0
    """First stage played, 0 for 1-1 to 31 for 8-4."""
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead of the chosen one."""
    noop_max: int = 30
    """Episodes start after 0 to this many frames without buttons."""
    sample: bool = False
    """Draw actions from the policy instead of taking the most likely one."""
    time_per_stage: Annotated[int, _short("-tps")] = 400
    """Units of the game's clock allowed for a stage."""
    max_episode_length: Annotated[int, _short("-mel")] = 100_000
    """Agent steps after which an episode is cut off."""
    skip_rate: Annotated[int | None, _short("-sr")] = None
    """Frames per agent step; by default as in training."""
    hidden_size: Annotated[int | None, _short("-hs")] = None
    """Only checked against the weights, which know their network."""
    load_rms_stats: Annotated[bool, _short("-lrs")] = True
    """Has no effect: the statistics are part of the weights."""
    emulator: EmulatorName = "auto"
    """Engine; auto takes the fastest installed."""
    seed: Annotated[int, _short("-s")] = 1
    """Random seed of the starts, the sticky actions and --sample."""
    gpu_id: Annotated[int, _short("-gp")] = -1
    """GPU to use; -1 is the CPU."""
    render: Annotated[bool, _short("-r")] = False
    """Watch the episodes in a window."""
    render_freq: Annotated[int, _short("-rf")] = 1
    """With --render: show every n-th episode."""
    record_video: Annotated[bool, _short("-rv")] = False
    """Record every episode as an MP4 file."""
    new_gym_eval: Annotated[bool, _short("-nge")] = False
    """Write the results and a video of every episode into <log-dir>/<env>_monitor."""
    log_dir: Annotated[Path, _short("-ld")] = Path("logs")
    """Folder for videos and results."""
    json: Path | None = None
    """Write the results here as JSON."""

    def __post_init__(self) -> None:
        parse_env_id(self.env)
        for name in ("num_episodes", "render_freq"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(0 <= self.episode_start < len(STAGES), "episode_start", self.episode_start, "0 (1-1) to 31 (8-4)")
        _require(self.gpu_id >= -1, "gpu_id", self.gpu_id, "a GPU's number, or -1 for the CPU")
        _check_game(self)

    def episode_stages(self) -> list[Stage | None]:
        """What each episode plays."""
        stage = parse_env_id(self.env)
        if stage is not None:
            return [stage] * self.num_episodes
        if not self.test_single_stages:
            return [None] * self.num_episodes
        return [STAGES[(self.episode_start + i) % len(STAGES)] for i in range(self.num_episodes)]


# What the two presets for one stage on few cores have in common.
_QUICK = {
    "lstm": False,
    "adam_eps": 1e-5,
    "gamma": 0.9,
    "tau": 0.95,
    "max_grad_norm": 0.5,
}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "a3g": ("A3G with seed 002's network and settings, many lanes per worker", {}),
    "seed": (
        "seed 002 as it is: one game per worker, float32, nes-py",
        {"lanes": 1, "precision": "float32", "emulator": "nes-py"},
    ),
    "quick": (
        "what clears a single stage soonest on few cores: small network, clipped objective",
        {**_QUICK, "network": "nips", "hidden_size": 256, "loss": "ppo", "num_steps": 64, "lr": 5e-4},
    ),
    "quick-a3c": (
        "for the same, A3G's own loss: a larger network, many small updates",
        {**_QUICK, "network": "nature", "loss": "a3c", "num_steps": 5, "lr": 5e-4},
    ),
}

# In bytes; no file system here takes a longer one.
LONGEST_NAME = 255
EXIT_CODES = (
    "Exit codes: 0 the goal was reached; 1 the run can't go on, or its end could not be saved; 2 a mistake in the command or "
    "in a file; stopped and saved on SIGINT 130, SIGTERM 143, SIGUSR1 138, SIGHUP 129."
)

Config = TypeVar("Config", TrainConfig, EvalConfig)


def parse_train(arguments: Sequence[str] | None = None, defaults: TrainConfig | None = None) -> TrainConfig:
    """The training options on the command line; `--preset NAME` sets the defaults of the others.

    Raises:
        UserError: if a value makes no sense.
        SystemExit: with code 2 for what tyro itself refuses, 0 after --help.
    """
    remaining = list(sys.argv[1:] if arguments is None else arguments)
    preset = _take_option(remaining, "--preset")
    if preset is not None:
        if preset not in PRESETS:
            raise UserError(f"Unknown preset {preset!r}: choose one of {', '.join(PRESETS)}.")
        defaults = replace(defaults or TrainConfig(), **PRESETS[preset][1])
    presets = "\n".join(f"  {name}: {text}" for name, (text, _) in PRESETS.items())
    description = f"{TrainConfig.__doc__}\n\n{EXIT_CODES}\n\n--preset NAME sets the defaults of the options below:\n{presets}"
    return _parse(TrainConfig, remaining, defaults, description)


def parse_eval(arguments: Sequence[str] | None = None) -> EvalConfig:
    """The evaluation options on the command line; raises as `parse_train`."""
    return _parse(EvalConfig, list(sys.argv[1:] if arguments is None else arguments), None, EvalConfig.__doc__ or "")


def _parse(kind: type[Config], arguments: list[str], defaults: Config | None, description: str) -> Config:
    options: dict[str, Any] = {} if defaults is None else {"default": defaults}
    config: Config = tyro.cli(kind, args=arguments, description=description, **options)
    return config


def _take_option(arguments: list[str], name: str) -> str | None:
    """Remove `name VALUE` or `name=VALUE` from `arguments`; returns the value."""
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            value = arguments[i + 1]
            del arguments[i : i + 2]
            return value
        if argument.startswith(f"{name}="):
            del arguments[i]
            return argument.removeprefix(f"{name}=")
    return None


def to_json(config: TrainConfig | EvalConfig) -> dict[str, Any]:
    """The options as plain values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def train_config_from_json(values: dict[str, Any]) -> TrainConfig:
    """The reverse of `to_json`; fields unknown today are left out.

    Raises:
        UserError: if a value makes no sense.
    """
    known = {field.name for field in fields(TrainConfig)}
    kinds = get_type_hints(TrainConfig)
    cleaned: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            continue
        kind = kinds[name]
        try:
            cleaned[name] = Path(value) if kind is Path else tuple(value) if isinstance(value, list) else value
            _check_kind(name, cleaned[name], kind)
        except TypeError as error:
            raise UserError(f"The run's settings can't be read: {error}.") from error
    return TrainConfig(**cleaned)


def _check_kind(name: str, value: Any, kind: Any) -> None:
    """
    Raises:
        TypeError: if a value is none that the field's type allows.
    """
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        fits = value in choices
    elif get_origin(kind) is tuple:
        fits = isinstance(value, tuple) and all(type(each) is int for each in value)
    else:
        fits = isinstance(value, Path) if kind is Path else type(value) is kind or (kind is float and type(value) is int)
    if not fits:
        raise TypeError(f"{name} can't be {value!r:.60}")


def _check_game(config: TrainConfig | EvalConfig) -> None:
    for name in ("skip_rate", "stack", "time_per_stage", "max_episode_length", "hidden_size"):
        value = getattr(config, name, None)
        _require(value is None or value >= 1, name, value, "at least 1")
    _require(config.noop_max >= 0, "noop_max", config.noop_max, "0 or more")
    _require(0 <= config.sticky_actions < 1, "sticky_actions", config.sticky_actions, "a chance from 0 up to, not including, 1")


def _require(condition: bool, name: str, value: Any, expected: str) -> None:
    if not condition:
        raise UserError(f"--{name.replace('_', '-')} must be {expected}, not {value}.")
