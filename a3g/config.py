"""Every option of the training command, as a frozen dataclass. Imports neither PyTorch nor the engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from a3g.algorithm_options import A3COptions, AlgorithmOptions, converted, options_class
from a3g.cores import usable_cores
from a3g.errors import UserError
from a3g.game.options import REWARD_NAMES, GameOptions, reward_name
from a3g.game.stages import STAGES, WHOLE_GAME, Stage, parse_env_id
from a3g.network_spec import MAP_ENCODER, NetworkSpec
from a3g.option_types import ActionSet, EmulatorName, Network, short
from a3g.ranges import check_ranges, check_run_name, require

TRACKERS = ("wandb", "mlflow")
_STAGE_NAMES = {str(stage): stage for stage in STAGES}


@dataclass(frozen=True)
class TrainConfig:
    """Train agents to play Super Mario Bros: one lock-free actor-critic process per CPU core."""

    preset: str = ""
    """Named set of values for the other options."""

    # -- the game
    env: Annotated[str, short("-ev")] = "SuperMarioBros-v0"
    """SuperMarioBros-v0, the whole game, or one stage such as SuperMarioBros-1-1-v0."""
    train_stages: Annotated[bool, short("-ts")] = False
    """Give workers stages of their own: worker i trains stage i of the 32, those beyond 32 the whole game; fewer than 32
    workers share the 32 stages among them."""
    stages: tuple[str, ...] = ()
    """With SuperMarioBros-v0: single stages to train and test instead of the whole game, such as 1-1 2-2; by default all 32 are
    tested."""
    emulator: EmulatorName = "auto"
    """Engine; auto takes the fastest installed."""
    actions: ActionSet = "a3g"
    """Action set: a3g are the original A3G's ten; right, simple and complex those of gym-super-mario-bros; walk-jump right and
    right with A."""
    reward: str = "a3g"
    """What is learned from: a3g, the original A3G's reward with no ground paid twice; gym, gym-super-mario-bros' default
    reward; gym-bonus, with 50 more for clearing and 50 less for losing, in tenths; gym-forward, with 1 for the direction, 1,000
    for clearing and 50 less for losing, in tenths. seed-001 to seed-004 name gym, a3g, gym-bonus and gym-forward."""
    skip_rate: Annotated[int, short("-sr")] = 4
    """Frames per agent step."""
    stack: int = 4
    """Pictures in an observation."""
    observation: Literal["pictures", "map"] = "pictures"
    """map: what is around Mario, read from RAM instead of seen, for an expert that teaches others (goes with --network map)."""
    two_frame_max: bool = False
    """Show the agent the brighter of the last two frames."""
    show_buttons: bool = False
    """Draw two squares into the lower left corner of the agent's pictures, white while it holds A or B: a jump needs A to have
    been let go, and nothing else on a picture tells."""
    noop_max: int = 30
    """Episodes start after 0 to this many frames without buttons."""
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead of the chosen one."""
    sticky_actions_max: float = 0.0
    """Each training episode draws its own such chance, from --sticky-actions to this; 0: all have --sticky-actions."""
    # -- where episodes begin, and experts
    starts: Literal["stage", "demonstrations"] = "stage"
    """Where training episodes begin: at the start of a stage, or also along demonstrations, the nearer to the start the more
    is mastered (needs the native engine)."""
    demos_dir: Path = Path("trained_models/demos")
    """Folder of the demonstrations, which `explore` finds."""
    expert: Path = Path("trained_models/experts")
    """dagger: the expert that is learned from, trained with --observation map: a weights file, a run's folder, or a folder with
    a file named after --env or SuperMarioBros-v0."""
    retry_share: float = 0.0
    """Chance that an episode begins 8 to 48 agent steps before the death of its lane's last one (needs the native engine)."""
    stage_sampling: Literal["uniform", "adaptive"] = "uniform"
    """adaptive: every worker plays all stages asked for, the least cleared ones most; uniform: all alike."""
    # -- the game
    time_per_stage: Annotated[int, short("-tps")] = 300
    """Units of the game's clock (24 frames each) allowed for a stage."""
    max_episode_length: Annotated[int, short("-mel")] = 100_000
    """Agent steps after which an episode is cut off."""

    # -- workers and machine
    workers: Annotated[int, short("-w")] = usable_cores()
    """Training processes; by default as many as this process may use cores (the original A3G: 32)."""
    lanes: int = 16
    """Games per worker; 1 is A3G as the original has it."""
    gpu_ids: Annotated[tuple[int, ...], short("-gp")] = (-1,)
    """GPUs to use, dealt out to the workers in turn; -1 is the CPU."""
    serial: bool = False
    """Run one worker in the main process, without a tester: for tests and debuggers."""
    seed: Annotated[int, short("-s")] = 1
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
    """Picture encoder; impala is the original A3G's, nature several times faster, nips (A3C's own) nearly twice as fast
    again."""
    lstm: bool = True
    """Put an LSTM behind the encoder."""
    fc: bool = True
    """Put a fully connected layer before the LSTM; --no-fc needs the LSTM."""
    hidden_size: Annotated[int, short("-hs")] = 512
    """Width of the fully connected layer and of the LSTM."""
    load_rms_stats: Annotated[bool, short("-lrs")] = True
    """Normalise pictures by the statistics shipped with the original A3G, frozen (its default: off); off, they are measured
    while training."""
    initialisation: Literal["a3g", "torch"] = "a3g"
    """Weights to begin with: drawn as in the original A3G, or as PyTorch does for each layer."""

    # -- learning
    algorithm: Annotated[str, short("--loss")] = "a3c"
    """a3c: A3G's own loss, one update per rollout; a2c: the same with means over time and a Huber loss of the critic; ppo: the
    clipped objective, several epochs per rollout; imitation: of
    demonstrations; dagger: of an expert; module:Class: an algorithm of yours. Each has options of its own, which
    --help shows beside --algorithm."""
    options: Annotated[AlgorithmOptions, tyro.conf.arg(name="")] = field(default_factory=A3COptions)
    """Of the algorithm."""
    optimizer: Annotated[Literal["Adam", "RMSprop"], short("-o")] = "Adam"
    """Optimizer, with its state shared by all workers."""
    amsgrad: Annotated[bool, short("-a")] = False
    """Use Adam's AMSGrad variant."""
    shared_optimizer: Annotated[tyro.conf.FlagConversionOff[bool], short("-so")] = True
    """False gives every worker an optimizer state of its own."""
    hogwild: bool = True
    """Apply gradients without locks; --no-hogwild lets workers wait for each other, for comparison only."""
    lr: Annotated[float, short("-l")] = 1e-4
    """Learning rate."""
    adam_eps: float = 1e-3
    """Adam's epsilon."""
    rmsprop_eps: float = 0.1
    """RMSprop's epsilon; the original A3G's is so large that it learns almost as by plain gradient descent."""
    gamma: Annotated[float, short("-g")] = 0.99
    """Discount factor."""
    num_steps: Annotated[int, short("-ns")] = 20
    """Agent steps per rollout in every lane."""
    max_grad_norm: float = 0.0
    """Scale longer gradients down to this norm; 0 leaves them alone, as the original A3G does."""

    # -- tests while training
    test_episodes: int = 5
    """Episodes per stage in a test. The others are played once a first one, in this test or an earlier one, cleared; with
    several stages and sticky actions in any case, unless that would take longer than --test-interval."""
    clear_rate: float = 0.9
    """Share of a stage's test episodes to clear for the stage to count as cleared."""
    test_sticky_actions: float = 0.0
    """Chance that an agent step of a test repeats the last action, if it is larger than --sticky-actions."""
    average_steps: int = 0
    """Test, and keep as the best, an average of the weights over about so many agent steps instead of the newest ones; 0: the
    newest."""
    test_at_end: bool = False
    """Test the last weights before the run ends, unless a signal other than Ctrl-C ends it; another Ctrl-C ends the test."""
    test_interval: float = 20.0
    """Seconds from the end of a test to the beginning of the next (the original A3G: 60); with --until-cleared the next one
    begins sooner when half of --clear-rate is reached in training."""

    # -- when to stop
    total_steps: int = 0
    """Stop after this many agent steps, summed over the workers; 0 never."""
    until_cleared: bool = False
    """Stop when the tester has cleared every stage asked for, and again in a second test with fresh seeds."""
    max_minutes: float = 0.0
    """Stop after so many minutes; 0 never."""

    # -- several machines
    cluster: str = ""
    """Train on all machines of a Ray cluster: auto for the one that this machine is part of, or its head's address, such as
    10.0.0.1:6379. --workers is then the most that each machine gets; one with fewer processors in Ray runs so many."""
    cluster_rule: Literal["additive", "downpour", "easgd", "diloco"] = "additive"
    """How the parameter server merges what machines have learnt: additive adds it up (Project Adam); downpour is Adam at the
    server; easgd elastic averaging; diloco outer Nesterov steps on the mean."""
    cluster_updates: int = 32
    """Updates of a machine between two exchanges with the server."""
    cluster_shards: int = 1
    """Parts into which the server's parameters are cut, each in a process of its own."""

    # -- the run and its files
    load: Annotated[bool, short("-ld")] = False
    """Begin with the weights in --load-model-dir instead of random ones."""
    load_model_dir: Annotated[Path, short("-lmd")] = Path("trained_models")
    """Folder of the weights to begin with."""
    save_model_dir: Annotated[Path, short("-smd")] = Path("trained_models")
    """Folder for the best weights; a file there that scored better is kept."""
    log_dir: Annotated[Path, short("-lg")] = Path("logs")
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
    heartbeat_timeout: Annotated[float, short("--silence-limit")] = 60.0
    """Seconds without a sign of life after which a process is killed and started again."""
    tensorboard_logger: Annotated[bool, short("-tl")] = True
    """Write TensorBoard files into the run's folder (the original A3G's default: off)."""
    curves: bool = True
    """Redraw curves.png in the run's folder every minute, in a process of its own."""
    record: bool = False
    """Film the tests and, apart, the best episode of every stage so far, as MP4 files in the run's folder videos."""
    track: tuple[str, ...] = ()
    """Send curves and settings to experiment trackers too: wandb, mlflow, or both (each an extra to install)."""

    # -- a page to watch it
    watch: int | None = None
    """Serve a page that shows the run at this port of the machine itself; 0 takes a free one."""
    watch_host: str = "127.0.0.1"
    """Address that the page is served at; 0.0.0.0 lets everybody look who can reach this machine."""

    def __post_init__(self) -> None:
        parse_env_id(self.env)
        # Options of another algorithm, such as the default one's, give way; what both have is kept.
        object.__setattr__(self, "options", converted(self.options, options_class(self.algorithm)))
        check_ranges(self)
        check_ranges(self.options)
        self.options.check(self.lanes, self.lstm)
        object.__setattr__(self, "reward", reward_name(self.reward))
        require(self.reward in REWARD_NAMES, "reward", f"{self.reward:.50}", f"one of {', '.join(REWARD_NAMES)}")
        gpus = " ".join(map(str, self.gpu_ids)) or "nothing"
        require(min(self.gpu_ids, default=-2) >= -1, "gpu_ids", gpus, "GPU numbers, or -1 for the CPU")
        for name in self.stages:
            require(name in _STAGE_NAMES, "stages", name, "stages from 1-1 to 8-4")
        alone = not (self.stages and (self.train_stages or parse_env_id(self.env) is not None))
        require(alone, "stages", " ".join(self.stages), f"given with --env {WHOLE_GAME} and without --train-stages")
        if not (self.fc or self.lstm):
            raise UserError("--no-fc needs the LSTM: leave --no-lstm out.")
        if self.train_stages and parse_env_id(self.env) is not None:
            raise UserError(f"--train-stages trains all 32 stages: it needs --env {WHOLE_GAME}, not {self.env}.")
        if self.network == MAP_ENCODER and self.observation != "map":
            raise UserError(f"--network {self.network} learns from maps: it needs --observation map, not {self.observation}.")
        fits = self.network == MAP_ENCODER or self.observation != "map"
        require(fits, "network", self.network, "map with --observation map")
        if self.amsgrad and self.optimizer != "Adam":
            raise UserError(f"--amsgrad is a variant of Adam: it needs --optimizer Adam, not {self.optimizer}.")
        if self.serial and self.watch is not None:
            raise UserError("--watch needs a process of its own, which --serial does without: leave one of the two out.")
        if self.serial and self.until_cleared:
            raise UserError("--until-cleared needs the tester, which --serial does without: leave one of the two out.")
        for tracker in self.track:
            require(tracker in TRACKERS, "track", f"{tracker:.50}", f"one or more of {', '.join(TRACKERS)}")
        if self.serial and (self.record or self.track):
            raise UserError("--record and --track need the processes that --serial does without: leave --serial out.")
        highest = self.sticky_actions_max
        fits = not highest or highest >= self.sticky_actions
        require(fits, "sticky_actions_max", highest, f"0 or at least --sticky-actions ({self.sticky_actions:g})")
        if self.cluster and self.serial:
            raise UserError("--serial trains in one process, --cluster on many machines: leave one of the two out.")
        if self.cluster and not self.load_rms_stats:
            raise UserError("--cluster needs the shipped statistics of the pictures: leave --no-load-rms-stats out.")
        check_run_name(self.run_name)

    def with_values(self, values: Mapping[str, Any]) -> TrainConfig:
        """A copy with other values, the algorithm's own options by their names among them.

        Raises:
            UserError: if a value makes no sense.
            TypeError: if there is no such option.
        """
        own = {name: value for name, value in values.items() if name in self.__dataclass_fields__}
        kind = options_class(own.get("algorithm", self.algorithm))
        others = {name: value for name, value in values.items() if name not in own}
        options = converted(own.pop("options", self.options), kind)
        return replace(self, **own, options=replace(options, **others))

    def game_options(self) -> GameOptions:
        """The game as the workers play it."""
        return GameOptions(
            skip_rate=self.skip_rate,
            stack=self.stack,
            actions=self.actions,
            two_frame_max=self.two_frame_max,
            show_buttons=self.show_buttons,
            noop_max=self.noop_max,
            sticky_actions=self.sticky_actions,
            time_per_stage=self.time_per_stage,
            max_episode_length=self.max_episode_length,
            episodic_life=True,
            reward=self.reward,
            observation=self.observation,
        )

    def test_options(self) -> GameOptions:
        """The game as the tester plays it: without episodic life a stage is an episode, as in gym_eval.py."""
        sticky_actions = max(self.sticky_actions, self.test_sticky_actions)
        return replace(self.game_options(), sticky_actions=sticky_actions, episodic_life=False)

    def network_spec(self) -> NetworkSpec:
        game = self.game_options()
        return NetworkSpec(self.network, game.observation_shape, game.num_actions, self.hidden_size, self.lstm, self.fc)

    def test_stages(self) -> tuple[Stage, ...]:
        """The stages that the tester plays: those trained, or all 32."""
        if self.stages:
            return tuple(_STAGE_NAMES[name] for name in self.stages)
        stage = parse_env_id(self.env)
        return STAGES if stage is None else (stage,)

    def single_stages(self) -> tuple[Stage, ...]:
        """The stages that a curriculum chooses from: those asked for, or all 32."""
        return self.test_stages()

    def worker_stages(self, worker: int) -> tuple[Stage | None, ...]:
        """What worker number `worker` plays: what `env` says, or its share of the stages; None is the whole game."""
        if self.stages:
            return self.test_stages()
        if self.train_stages:
            return STAGES[worker :: self.workers] or (None,)
        return (parse_env_id(self.env),)
