"""What the watch page shows of a run that goes on, of an evaluation, and of a run that is over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from starlette.websockets import WebSocket

from a3g.config import TrainConfig
from a3g.config_json import train_config_from_json
from a3g.errors import UserError
from a3g.eval_config import EvalConfig
from a3g.game.buttons import BUTTON_A, BUTTON_B, BUTTON_DOWN, BUTTON_LEFT, BUTTON_RIGHT, BUTTON_UP
from a3g.game.emulators import available_emulators
from a3g.game.options import ACTION_SETS, GameOptions
from a3g.processes.counters import Count
from a3g.processes.run_statistics import Run, read_status
from a3g.processes.shared_run import SharedRun
from a3g.processes.watch_channel import WatchChannel
from a3g.processes.watch_ghosts import Ghosts
from a3g.processes.watch_live import LiveGames
from a3g.processes.watch_play import Games
from a3g.reporting.metrics_registry import metric
from a3g.reporting.phases import PHASE_NAMES
from a3g.reporting.status import SavingStatus
from a3g.reporting.step_rate import StepRate
from a3g.reporting.watch.run_files import Curves, public_settings, read_json, settings_of, without_paths
from a3g.runs.paths import CONFIG_NAME, SCORECARD_NAME, SUMMARY_NAME

_BUTTON_SIGNS = {BUTTON_LEFT: "←", BUTTON_RIGHT: "→", BUTTON_UP: "↑", BUTTON_DOWN: "↓", BUTTON_A: "A", BUTTON_B: "B"}
_DEMOS = TrainConfig.demos_dir
_SHIPPED_DEMOS = Path(__file__).parents[2] / _DEMOS
_SCORED = (
    "agent_steps",
    "mean_clear_rate",
    "mean_clear_rate_interval",
    "mean_progress",
    "stages",
    "stages_passed",
    "pass_rate",
)


class TrainingRun:
    """A run that goes on, as the page sees it."""

    def __init__(self, config: TrainConfig, shared: SharedRun, folder: Path) -> None:
        assert shared.watch is not None
        self.folder: Path | None = folder
        self._run = Run(config, folder, shared, None, None)
        self._channel = shared.watch
        self._games = LiveGames(shared.watch, self.status)
        self._played = Games(config.game_options(), Ghosts(folder, demos_folder(config.demos_dir), config.reward))
        self._curves = Curves(folder)
        self._rate: StepRate | None = None
        # Those of a cluster are on other machines, as far as this one is concerned.
        self._workers = 0 if config.cluster else config.workers
        self._worker_rates = [StepRate() for _ in range(self._workers)]
        self._machine_rates: dict[str, StepRate] = {}
        self._beats = [(-1, 0.0)] * (config.workers + 1)

    def description(self) -> dict[str, Any]:
        config, game = self._run.config, self._run.config.game_options()
        return {
            "kind": "training",
            "name": self._run.folder.name,
            "env": config.env,
            "workers": self._workers,
            "lanes": config.lanes,
            "stages": [str(stage) for stage in config.test_stages()],
            "action_names": action_names(game),
            "subtitle": subtitle(config),
            "settings": settings_of(config),
            "play": can_play(),
        }

    def status(self) -> dict[str, Any]:
        note = self._channel.read_note()
        status = read_status(self._run, SavingStatus(**note.get("saving", {})), note.get("trouble", ""))
        # The launcher's own counts are not shared.
        seconds = note.get("seconds_before", 0.0) + self._run.shared.counters.seconds_since_first_step
        self._rate = self._rate or StepRate(seconds, status.agent_steps)
        return {
            "agent_steps": status.agent_steps,
            "rate": self._rate.update(seconds, status.agent_steps),
            "seconds": seconds,
            "updates": status.updates,
            "episodes": status.episodes,
            "skipped": status.skipped_updates,
            "restarts": note.get("restarts", 0),
            "restored": note.get("restored", 0),
            "trouble": without_paths(status.last_trouble),
            "saved_at": status.saving.saved_at,
            "not_saving": without_paths(status.saving.trouble),
            "tests": status.tests,
            "tested_agent_steps": status.tested_agent_steps,
            "testing": self._channel.is_testing,
            "rests": self._channel.seconds_to_test,
            "stages": [_stage(stage) for stage in status.stages],
            "metrics": {metric(name).heading: value for name, value in status.metrics.items()},
            "phases": dict(zip(PHASE_NAMES, status.phase_shares, strict=True)),
            "processes": [*self._processes(note.get("children", {})), *self._machines(note.get("machines", []))],
            "viewers": self._games.viewers,
        }

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        return self._curves.read()

    def scorecard(self) -> dict[str, Any]:
        return public_scorecard(read_json(self._run.folder / SCORECARD_NAME))

    async def live(self, websocket: WebSocket) -> None:
        await self._games.serve(websocket)

    async def play(self, websocket: WebSocket) -> None:
        await self._played.serve(websocket)

    def _processes(self, children: dict[str, int]) -> list[dict[str, Any]]:
        """The workers and the tester: steps per second, seconds since the last sign of life, restarts."""
        shared, now = self._run.shared, time.monotonic()
        processes = []
        for number, (before, _) in enumerate(self._beats):
            is_worker = number < self._run.config.workers
            if is_worker and not self._workers:
                continue
            beats = shared.control.heartbeats.count(number)
            if beats != before:
                self._beats[number] = beats, now
            title = f"a3g train {number}" if is_worker else "a3g test"
            rate = None
            if is_worker:
                rate = self._worker_rates[number].update(now, int(shared.counters.counts[number, Count.AGENT_STEPS]))
            processes.append(
                {
                    "title": title,
                    "rate": rate,
                    "silent": now - self._beats[number][1],
                    "started": beats > 0,
                    "restarts": children.get(title, 0),
                }
            )
        return processes

    def _machines(self, machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of a cluster, as the launcher last said; a machine that comes back under its old name counts anew."""
        now = time.monotonic()
        rates = {each["title"]: self._machine_rates.get(each["title"]) or StepRate() for each in machines}
        self._machine_rates = rates
        return [
            {
                "title": each["title"],
                "rate": rates[each["title"]].update(now, each["agent_steps"]),
                "silent": each["silent"],
                "started": each["has_reported"],
                "restarts": 0,
            }
            for each in machines
        ]


class EvaluationRun:
    """Episodes that `gym_eval.py` plays, as the page sees them."""

    folder: Path | None = None

    def __init__(self, config: EvalConfig, channel: WatchChannel, game: GameOptions, weights: Path, agent_steps: int) -> None:
        """
        Args:
            channel: what is shown.
            game: that is played.
            weights: file of the weights that play.
            agent_steps: their age.
        """
        self._config, self._channel, self._game, self._agent_steps = config, channel, game, agent_steps
        self._games = LiveGames(channel, self.status)
        self._played = Games(game, Ghosts(weights, demos_folder(config.demos_dir), game.reward))
        self._began = time.monotonic()

    def description(self) -> dict[str, Any]:
        stages = list(dict.fromkeys(str(stage) for stage in self._config.episode_stages() if stage is not None))
        return {
            "kind": "evaluation",
            "name": self._config.env,
            "subtitle": f"{self._config.num_episodes} episodes, weights after {self._agent_steps:,} agent steps",
            "workers": 0,
            "lanes": 0,
            "stages": stages,
            "action_names": action_names(self._game),
            "settings": settings_of(self._config),
            "play": can_play(),
        }

    def status(self) -> dict[str, Any]:
        note = self._channel.read_note()
        return {
            "agent_steps": self._agent_steps,
            "rate": None,
            "seconds": time.monotonic() - self._began,
            "episodes": note.get("episodes", 0),
            "wanted": self._config.num_episodes,
            "over": bool(note.get("over", False)),
            "stages": [{"stage": stage, "best_clears": True} for stage in note.get("cleared", [])],
            "viewers": self._games.viewers,
        }

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        return {}

    def scorecard(self) -> dict[str, Any]:
        return {}

    async def live(self, websocket: WebSocket) -> None:
        await self._games.serve(websocket)

    async def play(self, websocket: WebSocket) -> None:
        await self._played.serve(websocket)


class FinishedRun:
    """A run's folder, as the page sees it."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: the run's.

        Raises:
            UserError: if it is no run's folder, or its settings can't be read.
        """
        self.folder: Path | None = folder
        self._folder = folder
        self._curves = Curves(folder)
        self._settings = read_json(folder / CONFIG_NAME)
        if not self._settings:
            raise UserError(f"The folder {folder} is no run's: its {CONFIG_NAME} is missing or damaged.")
        self._config = train_config_from_json(self._settings)
        self._played = Games(
            self._config.game_options(), Ghosts(folder, demos_folder(self._config.demos_dir), self._config.reward)
        )

    def description(self) -> dict[str, Any]:
        config = self._config
        return {
            "kind": "over",
            "name": self._folder.name,
            "subtitle": subtitle(config),
            "workers": config.workers,
            "lanes": config.lanes,
            "stages": [str(stage) for stage in config.test_stages()],
            "action_names": action_names(config.game_options()),
            "settings": public_settings(self._settings),
            "play": can_play(),
        }

    def status(self) -> dict[str, Any]:
        summary = read_json(self._folder / SUMMARY_NAME)
        passed = (self.scorecard().get("best") or {}).get("stages_passed", [])
        return {
            **{name: summary.get(name, 0) for name in ("agent_steps", "seconds", "updates", "episodes", "restarts")},
            "rate": summary.get("agent_steps_per_second"),
            "skipped": summary.get("skipped_updates", 0),
            "ended": without_paths(str(summary.get("exit_reason", ""))),
            "over": True,
            "stages": [{"stage": stage, "best_clears": True} for stage in passed],
        }

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        return self._curves.read()

    def scorecard(self) -> dict[str, Any]:
        return public_scorecard(read_json(self._folder / SCORECARD_NAME))

    async def live(self, websocket: WebSocket) -> None:
        await websocket.close(1008)

    async def play(self, websocket: WebSocket) -> None:
        await self._played.serve(websocket)


def subtitle(config: TrainConfig) -> str:
    """What a training is, in a line."""
    workers = f"up to {config.workers} workers on each machine" if config.cluster else f"{config.workers} workers"
    return f"{config.env}, {config.algorithm}, {workers} with {config.lanes} games each"


def demos_folder(folder: Path) -> Path:
    """Where demonstrations are looked for: as with weights, the default folder may be the program's own."""
    return _SHIPPED_DEMOS if folder == _DEMOS and not folder.is_dir() else folder


def can_play() -> bool:
    """Whether viewers can play: several games in one process take the native core."""
    return "native" in available_emulators()


def public_scorecard(card: dict[str, Any]) -> dict[str, Any]:
    """The scores of a scorecard, without its episodes."""
    scores = {name: card.get(name) for name in ("test", "confirmation", "best")}
    return {
        name: {key: score[key] for key in _SCORED if key in score} if isinstance(score, dict) else None
        for name, score in scores.items()
    }


def action_names(game: GameOptions) -> list[str]:
    """The actions as the buttons that they hold."""
    return [
        "".join(sign for bit, sign in _BUTTON_SIGNS.items() if buttons & bit) or "·" for buttons in ACTION_SETS[game.actions]
    ]


def _stage(status: Any) -> dict[str, Any]:
    names = ("stage", "episodes", "clear_rate", "furthest", "tested", "test_clear_rate", "test_furthest", "best_clears")
    return {name: getattr(status, name) for name in names}
