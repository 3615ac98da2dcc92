"""Every option of the evaluation command, as a frozen dataclass. Imports neither PyTorch nor the engines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from a3g.errors import UserError
from a3g.game.stages import STAGES, Stage, parse_env_id
from a3g.option_types import EmulatorName, short
from a3g.ranges import check_ranges


@dataclass(frozen=True)
class EvalConfig:
    """Play with trained weights and score them: the 32 stages in turn, or episodes of one stage."""

    # -- what is played, and by whom
    env: Annotated[str, short("-ev")] = "SuperMarioBros-v0"
    """SuperMarioBros-v0 plays the 32 stages in turn; SuperMarioBros-1-1-v0 and the like one stage."""
    num_episodes: Annotated[int, short("-ne")] = 1
    """Episodes to play."""
    weights: Path | None = None
    """Weights file, checkpoint, or a run's folder (its best weights, else its newest checkpoint); by default the file named
    after --env in --load-model-dir."""
    load_model_dir: Annotated[Path, short("-lmr")] = Path("trained_models")
    """Folder of the weights."""
    test_single_stages: Annotated[bool, short("-tss")] = True
    """With SuperMarioBros-v0: play single stages; --no-test-single-stages plays the whole game with three lives."""
    episode_start: Annotated[int, short("-es")] = 0
    """First stage played, 0 for 1-1 to 31 for 8-4."""
    # -- the game
    sticky_actions: float = 0.0
    """Chance that an agent step repeats the last action instead of the chosen one."""
    noop_max: int = 30
    """Episodes start after 0 to this many frames without buttons."""
    played_starts: bool = False
    """Begin stages as they are reached by playing: after a demonstration of the stage before, drawn at random."""
    demos_dir: Path = Path("trained_models/demos")
    """With --played-starts: folder of the demonstrations."""
    sample: bool = False
    """Draw actions from the policy instead of taking the most likely one."""
    time_per_stage: Annotated[int, short("-tps")] = 400
    """Units of the game's clock allowed for a stage."""
    max_episode_length: Annotated[int, short("-mel")] = 100_000
    """Agent steps after which an episode is cut off."""
    skip_rate: Annotated[int | None, short("-sr")] = None
    """Frames per agent step; by default as in training."""
    hidden_size: Annotated[int | None, short("-hs")] = None
    """Only checked against the weights, which know their network."""
    load_rms_stats: Annotated[bool, short("-lrs")] = True
    """Has no effect: the statistics are part of the weights."""
    emulator: EmulatorName = "auto"
    """Engine; auto takes the fastest installed."""
    seed: Annotated[int, short("-s")] = 1
    """Random seed of the starts, the sticky actions and --sample."""
    # -- machine
    gpu_id: Annotated[int, short("-gp")] = -1
    """GPU to use; -1 is the CPU."""
    cluster: str = ""
    """Play on all machines of a Ray cluster: auto, or its head's address; see the training's --cluster."""
    # -- looking at it, and results
    render: Annotated[bool, short("-r")] = False
    """Watch the episodes in a window."""
    render_freq: Annotated[int, short("-rf")] = 1
    """With --render: show every n-th episode."""
    record_video: Annotated[bool, short("-rv")] = False
    """Record every episode as an MP4 file."""
    new_gym_eval: Annotated[bool, short("-nge")] = False
    """Write the results and a video of every episode into <log-dir>/<env>_monitor."""
    log_dir: Annotated[Path, short("-ld")] = Path("logs")
    """Folder for videos and results."""
    json: Path | None = None
    """Write the results here as JSON."""

    watch: int | None = None
    """Serve a page that shows the episodes at this port of the machine itself, until Ctrl-C; 0 takes a free one. The episodes
    are played at the game's own speed then."""
    watch_host: str = "127.0.0.1"
    """Address that the page is served at; 0.0.0.0 lets everybody look who can reach this machine."""

    def __post_init__(self) -> None:
        parse_env_id(self.env)
        check_ranges(self)
        if self.played_starts and not self.test_single_stages:
            raise UserError("--played-starts is for single stages: leave it out, or --no-test-single-stages.")

    def episode_stages(self) -> list[Stage | None]:
        """What each episode plays."""
        stage = parse_env_id(self.env)
        if stage is not None:
            return [stage] * self.num_episodes
        if not self.test_single_stages:
            return [None] * self.num_episodes
        return [STAGES[(self.episode_start + i) % len(STAGES)] for i in range(self.num_episodes)]
