"""Learning a model's episodes from the very starts of stages by heart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from a3g.algorithms.dagger import Dagger
from a3g.command_line import parse_train
from a3g.errors import UserError
from a3g.experience.rollout import Rollout
from a3g.exploration.demonstrations import load_demonstrations
from a3g.game.emulators import available_emulators
from a3g.game.options import GameOptions
from a3g.game.stages import WHOLE_GAME, Stage
from a3g.runs.weights import load_weights, save_weights, weights_path
from benchmarks.polish import ExpertStates, Options, Polisher, Way, polish
from tests.learning import CPU
from tests.running import ROOT

pytestmark = pytest.mark.skipif("native" not in available_emulators(), reason="the native core is not built here")
EXPERT = ROOT / "trained_models" / "experts"
STAGE = Stage(1, 4)  # a short one


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that knows nothing."""
    torch.manual_seed(1)
    config = parse_train(["--preset", "all-stages", "--hidden-size", "128"])
    path = tmp_path_factory.mktemp("weights") / "new.safetensors"
    save_weights(path, Dagger(config, CPU).model, WHOLE_GAME, config.game_options(), 0, None, "dagger")
    return path


def options(weights: Path, out: Path, **changes: object) -> Options:
    return Options(weights=weights, expert=EXPERT, out=out, stages=(str(STAGE),), states=2048, **changes)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_network_that_knows_nothing_learns_a_stage_by_heart(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer samples and a shorter search than for all stages; where that finds nothing, a demonstration is learned."""
    monkeypatch.setattr("benchmarks.polish._BATCH", 32)
    monkeypatch.setattr("benchmarks.polish._TEACHING", 2.0)
    assert polish(options(weights, tmp_path, minutes=4.5, lr=1e-3, updates=200)) == 1
    path = weights_path(tmp_path, WHOLE_GAME)
    again = Polisher(options(path, tmp_path))
    assert again.cleared() == [STAGE]
    again.close()
    assert load_weights(path).score is None, "these were not tested under sticky actions"


def test_a_way_is_what_is_seen_on_it() -> None:
    shown = load_demonstrations(ROOT / "trained_models" / "demos", [STAGE])[STAGE][0]
    way = Way.of(shown, GameOptions(noop_max=0))
    assert way.actions.tolist() == shown.actions.tolist()
    assert way.observations.shape == (len(shown.actions), 4, 80, 80)
    # Each stack is the one before it, shifted by a picture.
    assert torch.equal(way.observations[1:, :-1], way.observations[:-1, 1:])
    waits = Way(way.observations[:1].expand(5, -1, -1, -1), torch.tensor([0, 0, 0, 3, 3]))
    assert waits.ambiguous() == 2
    assert way.ambiguous() < 20


def test_the_newest_states_are_kept() -> None:
    game = GameOptions()
    policy = Dagger(parse_train(["--preset", "all-stages", "--hidden-size", "8"]), CPU)
    kept = ExpertStates(10, game)

    class Collector:
        """Its rollouts are numbered, in their pictures and in what the expert says."""

        rollouts = 0

        def collect(self) -> Rollout:
            self.rollouts += 1
            rollout = Rollout.empty(2, 3, game.observation_shape, policy)
            rollout.observations.fill_(self.rollouts)
            rollout.columns["expert_log_probs"] = torch.full((2, 3, game.num_actions), float(self.rollouts))
            return rollout

        def state_dict(self) -> dict[str, torch.Tensor]:
            return {}

        def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
            pass

        def close(self) -> None:
            pass

    collector = Collector()
    kept.collect(collector, 1)
    assert kept.filled == 6
    kept.collect(collector, 2)
    observations, log_probs = kept.draw(200)
    assert observations.shape == (200, 4, 80, 80)
    assert set(observations.unique().tolist()) == {2, 3}
    assert torch.equal(observations[:, 0, 0, 0].float(), log_probs[:, 0])
    few = ExpertStates(4, game)  # less than a rollout
    few.collect(collector, 1)
    assert few.filled == 4


@pytest.mark.parametrize("name", ["minutes", "updates", "states", "lr"])
def test_nothing_of_it_can_be_nothing(weights: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"--{name} must be more than 0, not 0"):
        Polisher(replace(options(weights, tmp_path), **{name: 0}))


def test_an_expert_can_not_be_polished(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be polished"):
        Polisher(options(EXPERT / f"{WHOLE_GAME}.safetensors", tmp_path))
