"""DQN: targets, losses and schedules against slow formulations; the whole program with it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from a3g.algorithms import algorithm_class, schedules
from a3g.algorithms.dqn import DQN, dqn_targets
from a3g.command_line import parse_train
from a3g.config import TrainConfig
from a3g.errors import UserError
from a3g.experience.replay_memory import bytes_per_step
from a3g.experience.replay_sampling import PrioritizedSampler
from a3g.experience.rollout import Rollout
from a3g.network_spec import NetworkSpec
from a3g.networks.q_network import DuelingQNetwork, QNetwork
from a3g.presets import PRESETS
from a3g.processes.memory_estimate import check_memory, estimate_memory
from a3g.reporting.metrics import read_curve
from a3g.runs.checkpoint import load_config
from a3g.runs.paths import worker_path
from tests.learning import CPU
from tests.running import ROOT, Start, arguments, exact_tensors, newest_checkpoint, summary_of

ALGORITHMS = ("dqn", "dueling-dqn")
METRICS = ("epsilon", "q_value", "td_error", "td_loss", "replay_fill", "gradient_norm", "learning_rate")


def settings(**options: Any) -> TrainConfig:
    defaults = {
        "algorithm": "dqn",
        "network": "conv4",
        "hidden_size": 16,
        "lstm": False,
        "lanes": 3,
        "num_steps": 8,
        "gamma": 0.9,
        "precision": "float32",
        "replay_size": 600,
        "learning_starts": 30,
        "batch_size": 12,
        "update_interval": 6,
    }
    return TrainConfig().with_values({**defaults, **options})


def rollouts(config: TrainConfig, number: int, seed: int = 0) -> Iterator[Rollout]:
    """Random experience of games that go on from rollout to rollout."""
    random = torch.Generator().manual_seed(seed)
    game, starts = config.game_options(), torch.ones(config.lanes, dtype=torch.bool)
    shape = (config.num_steps, config.lanes)
    for _ in range(number):
        dones = torch.rand(shape, generator=random) < 0.1
        yield Rollout(
            observations=torch.randint(0, 256, (*shape, *game.observation_shape), dtype=torch.uint8, generator=random),
            actions=torch.randint(0, game.num_actions, shape, generator=random),
            rewards=torch.randn(shape, generator=random),
            dones=dones,
            episode_starts=torch.cat((starts[None], dones[:-1])),
            columns={},
            next_values=torch.zeros(config.lanes),
            initial_state=torch.zeros(2, config.lanes, 0),
            episodes=[],
        )
        starts = dones[-1]


def learner(config: TrainConfig, seed: int = 1) -> DQN:
    torch.manual_seed(seed)
    found = algorithm_class(config.algorithm)(config, CPU)
    assert isinstance(found, DQN)
    return found


# -- targets and loss


@pytest.mark.parametrize("double", [True, False])
def test_targets(double: bool) -> None:
    """Sample by sample: van Hasselt et al. 2016, equation 4, or Mnih et al. 2015, with n-step returns."""
    random = torch.Generator().manual_seed(0)
    returns, target, online = (torch.randn(shape, generator=random) for shape in ((50,), (50, 6), (50, 6)))
    discounts = torch.where(torch.rand(50, generator=random) < 0.3, 0.0, 0.9**3)
    found = dqn_targets(returns, discounts, target, online if double else None)
    for i in range(50):
        if double:
            best = max(range(6), key=lambda action, i=i: float(online[i, action]))
            value = float(target[i, best])
        else:
            value = max(target[i].tolist())
        assert float(found[i]) == pytest.approx(float(returns[i]) + float(discounts[i]) * value, abs=1e-6)


def test_what_follows_an_episodes_end_never_counts() -> None:
    bad = torch.full((1, 2), math.nan)
    assert dqn_targets(torch.tensor([1.5]), torch.zeros(1), bad, bad).tolist() == [1.5]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("options", [{}, {"double": False, "n_step": 3}, {"priority_alpha": 0.6, "n_step": 2}])
def test_an_updates_gradient_is_that_of_the_samples_one_by_one(algorithm: str, options: dict[str, Any]) -> None:
    config = settings(algorithm=algorithm, **options)
    agent = learner(config)
    agent.begin_rollout(0)
    with torch.no_grad():  # a target network of its own
        agent._target.add_(0.05 * torch.randn(agent._target.shape))
    for rollout in rollouts(config, 4):
        agent.replay.extend(rollout)
        agent.sampler.update_range()
    if isinstance(agent.sampler, PrioritizedSampler):
        everything = agent.replay.indices(agent.replay.drawable)
        agent.sampler.update_errors(everything, torch.rand(len(everything)).numpy() * 4)
    drawn = []
    draw = agent.sampler.draw
    agent.sampler.draw = lambda *how: drawn.append(draw(*how)) or drawn[-1]
    metrics = agent._update()
    indices, weights = drawn[0]
    batch = agent.replay.get(indices)
    total, errors, values = torch.zeros(()), [], []
    for i in range(12):
        value = agent.model(batch.observations[i : i + 1])[0, batch.actions[i]]
        with torch.no_grad():
            later = batch.next_observations[i : i + 1]
            chooser = agent.model if config.options.double else agent.target
            best = int(chooser(later)[0].argmax())
            goal = float(batch.returns[i]) + float(batch.discounts[i]) * float(agent.target(later)[0, best])
        error = goal - value
        huber = 0.5 * error**2 if abs(error.item()) < 1 else error.abs() - 0.5
        total = total + weights[i] * huber / 12
        errors.append(abs(error.item()))
        values.append(value.item())
    expected = torch.autograd.grad(total, list(agent.model.parameters()))
    for parameter, gradient in zip(agent.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert metrics["td_loss"] == pytest.approx(total.item(), rel=1e-4)
    assert metrics["td_error"] == pytest.approx(sum(errors) / 12, rel=1e-4)
    assert metrics["q_value"] == pytest.approx(sum(values) / 12, rel=1e-4, abs=1e-6)
    if isinstance(agent.sampler, PrioritizedSampler):
        for index, error_size in zip(indices, errors, strict=True):
            assert agent.sampler.priorities[index] == pytest.approx((error_size + 1e-6) ** 0.6, rel=1e-3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_values_of_actions_are_in_float32_whatever_the_rest_computes_in(algorithm: str) -> None:
    """Regression: bfloat16 has eight bits, and values of 100 would be rounded to halves."""
    agent = learner(settings(algorithm=algorithm, precision="bfloat16"))
    with torch.no_grad(), agent.computing():
        for head in (agent.model.head, getattr(agent.model, "value", agent.model.head)):
            head.bias.fill_(100.0)
        values = agent.model(torch.randint(0, 256, (64, 4, 80, 80), dtype=torch.uint8))
    assert values.dtype == torch.float32
    assert (values % 0.5 != 0).float().mean() > 0.9


def test_dueling_values_are_those_of_the_paper() -> None:
    """Wang et al. 2016, equation 9."""
    torch.manual_seed(0)
    network = DuelingQNetwork(NetworkSpec("conv4", (4, 80, 80), 5, 16, lstm=False))
    network.requires_grad_(False)
    observations = torch.randint(0, 256, (7, 4, 80, 80), dtype=torch.uint8)
    features = torch.relu(network.fc(network.encode(observations[None])[0]))
    for i, row in enumerate(network(observations)):
        advantages = network.head(features[i]).tolist()
        state = float(network.value(features[i]))
        for action in range(5):
            assert float(row[action]) == pytest.approx(state + advantages[action] - sum(advantages) / 5, abs=1e-5)


# -- learning


class Corridor:
    """Five rooms, each a picture of one brightness. Action 1 goes on, and out of the last room with reward 1; any other ends
    the episode with reward 0.2. Played at random, which Q-learning does not mind."""

    rooms = 5

    def __init__(self, config: TrainConfig) -> None:
        self._config, self._random = config, torch.Generator().manual_seed(0)
        self._rooms = [0] * config.lanes
        self._stacks = [self._first() for _ in self._rooms]
        self._begins = torch.ones(config.lanes, dtype=torch.bool)

    def picture(self, room: int) -> torch.Tensor:
        return torch.full(self._config.game_options().observation_shape[1:], 50 * room, dtype=torch.uint8)

    def _first(self) -> torch.Tensor:
        return torch.stack([self.picture(0)] * 4)

    def rollout(self) -> Rollout:
        (rollout,) = rollouts(self._config, 1)
        for t in range(self._config.num_steps):
            rollout.episode_starts[t] = self._begins
            rollout.actions[t] = (torch.rand(self._config.lanes, generator=self._random) < 0.75).long()
            for lane, room in enumerate(self._rooms):
                rollout.observations[t, lane] = self._stacks[lane]
                goes_on = bool(rollout.actions[t, lane] == 1)
                done = not goes_on or room == self.rooms - 1
                rollout.dones[t, lane] = done
                rollout.rewards[t, lane] = float(done and goes_on) + 0.2 * float(not goes_on)
                self._rooms[lane] = 0 if done else room + 1
                further = torch.cat((self._stacks[lane][1:], self.picture(room + 1)[None]))
                self._stacks[lane] = self._first() if done else further
            self._begins = rollout.dones[t].clone()
        return rollout


@pytest.mark.parametrize("reward_scale", [1.0, 4.0])
def test_it_learns_what_a_small_game_is_worth(reward_scale: float) -> None:
    """The values of the closed form: 0.9 to the power of the rooms that follow, by bootstrapping through all of them."""
    small = {"network": "nips", "hidden_size": 32, "lanes": 8, "num_steps": 10, "batch_size": 16}
    config = settings(**small, update_interval=20, target_interval=10, learning_starts=160, reward_scale=reward_scale)
    agent, corridor = learner(config), Corridor(config)
    weights = torch.nn.Parameter(agent.flat.parameters)
    weights.grad = agent.flat.gradients
    optimizer = torch.optim.Adam([weights], lr=1e-3)
    for _ in range(70):
        agent.begin_rollout(0)
        for _ in agent.updates(corridor.rollout()):
            optimizer.step()
    pictures = [torch.stack([corridor.picture(max(room - i, 0)) for i in (3, 2, 1, 0)]) for room in range(corridor.rooms)]
    with torch.no_grad():
        values = reward_scale * agent.model(torch.stack(pictures))
        state, no_starts = torch.zeros(2, corridor.rooms, 0), torch.zeros(corridor.rooms, dtype=torch.bool)
        worth = agent.bootstrap(torch.stack(pictures), state, no_starts)
    assert values[:, 1].tolist() == pytest.approx([0.9 ** (4 - room) for room in range(5)], abs=0.1)
    assert values[:, 0].tolist() == pytest.approx([0.2] * 5, abs=0.1)
    assert worth.tolist() == pytest.approx([0.9 ** (4 - room) for room in range(5)], abs=0.15)  # of a network some updates old


# -- when it updates what


def test_updates_keep_up_with_the_agent_steps_once_there_are_enough() -> None:
    config = settings(learning_starts=40, update_interval=10)
    agent = learner(config)
    made = []
    for rollout in rollouts(config, 5):
        agent.begin_rollout(0)
        made.append(len(list(agent.updates(rollout))))
    assert made == [0, 2, 2, 3, 2]  # 24 agent steps a rollout; the first are not made up for


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_follows_as_often_and_as_far_as_it_shall(tau: float) -> None:
    config = settings(target_interval=3, target_tau=tau)
    agent = learner(config)
    agent.begin_rollout(0)
    assert torch.equal(agent._target, agent.flat.parameters)
    expected, updates = agent.flat.parameters.clone(), 0
    online = expected
    for rollout in rollouts(config, 5):
        for _ in agent.updates(rollout):
            if updates and updates % 3 == 0:  # what it finds when the update begins
                expected = (1 - tau) * expected + tau * online
            torch.testing.assert_close(agent._target, expected, rtol=0, atol=1e-6)
            agent.flat.parameters.add_(0.01 * torch.randn(agent.flat.parameters.shape))  # as when the newest ones come back
            online = agent.flat.parameters.clone()
            updates += 1
    assert updates > 6


def test_the_target_network_does_not_follow_a_damaged_one() -> None:
    """Shared weights that were damaged are restored; updates towards a target that is no number would all be left out."""
    agent = learner(settings())
    agent.begin_rollout(0)
    before = agent._target.clone()
    agent.flat.parameters[5] = math.nan
    agent._move_target(1.0)
    assert torch.equal(agent._target, before)


def test_the_original_schedules() -> None:
    """As their programs compute them: one factor after the other."""
    chance, rate = 1.0, 2.5e-4
    for step in range(2_000):
        found = schedules.epsilon(step, 1.0, 0.1, round(math.log(0.1) / math.log(0.999)), exponential=True)
        assert found == pytest.approx(max(chance, 0.1), rel=1e-3)
        assert schedules.stepped(step, 2.5e-4, 0.99, 100) == pytest.approx(rate)
        chance *= 0.999
        if (step + 1) % 100 == 0:
            rate *= 0.99


def test_linear_schedules_reach_their_ends_and_stay() -> None:
    assert [schedules.epsilon(step, 1.0, 0.2, 8, exponential=False) for step in (0, 4, 8, 100)] == pytest.approx(
        [1, 0.6, 0.2, 0.2]
    )
    assert [schedules.beta(step, 0.4, 10) for step in (0, 5, 10, 99)] == pytest.approx([0.4, 0.7, 1.0, 1.0])
    assert schedules.beta(10**9, 0.4, 0) == 0.4
    assert schedules.epsilon(5, 0.0, 0.0, 10, exponential=True) == 0.0


@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_random_actions_are_as_frequent_as_epsilon_says(spread: float) -> None:
    config = settings(lanes=4, epsilon_start=0.5, epsilon_end=0.5, epsilon_spread=spread)
    agent = learner(config)
    agent.begin_rollout(0)
    random = torch.Generator().manual_seed(0)
    observations = torch.randint(0, 256, (4, 4, 80, 80), dtype=torch.uint8, generator=random)
    state, starts = agent.initial_state(4), torch.zeros(4, dtype=torch.bool)
    with torch.no_grad(), agent.computing():
        greedy = agent.model(observations).argmax(1)
        chosen = torch.stack([agent.act(observations, state, starts, random).actions for _ in range(1_500)])
    for lane, share in enumerate((chosen != greedy).float().mean(0).tolist()):
        epsilon = 0.5 ** (1 + spread * lane / 3)
        assert share == pytest.approx(0.9 * epsilon, abs=0.06)  # one of ten random actions is the greedy one


# -- states


@pytest.mark.parametrize("options", [{}, {"priority_alpha": 0.6, "n_step": 3, "target_interval": 2}])
def test_a_learner_goes_on_exactly_from_its_state(options: dict[str, Any]) -> None:
    config = settings(**options)
    first, experience = learner(config), list(rollouts(config, 6))
    for rollout in experience[:4]:
        first.begin_rollout(0)
        assert list(first.updates(rollout)) or rollout is experience[0]
    second = learner(config, seed=2)
    second.flat.parameters.copy_(first.flat.parameters)
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    for rollout in experience[4:]:
        found = []
        for each in (first, second):
            torch.manual_seed(7)
            each.begin_rollout(100)
            found.append([(metrics, each.flat.gradients.clone()) for metrics in each.updates(rollout)])
        for (ours, our_gradients), (theirs, their_gradients) in zip(*found, strict=True):
            assert ours == theirs
            assert torch.equal(our_gradients, their_gradients)


def test_a_state_without_replay_begins_with_an_empty_one() -> None:
    config = settings(save_replay=False)
    first, experience = learner(config), list(rollouts(config, 4))
    for rollout in experience:
        first.begin_rollout(0)
        list(first.updates(rollout))
    state = first.state_dict()
    assert not [name for name in state if name.startswith(("replay.", "sampler."))]
    second = learner(config, seed=2)
    second.load_state_dict(state)
    second.begin_rollout(0)
    assert second.replay.filled == 0
    assert torch.equal(second._target, first._target)
    assert not list(second.updates(experience[0]))


def test_a_state_that_does_not_fit_leaves_the_replay_empty() -> None:
    config = settings()
    first = learner(config)
    for rollout in rollouts(config, 3):
        first.begin_rollout(0)
        list(first.updates(rollout))
    second = learner(settings(priority_alpha=0.5))  # there are no priorities in that state
    with pytest.raises(KeyError):
        second.load_state_dict(first.state_dict())
    assert second.replay.filled == 0


# -- what it takes, and what makes no sense


def test_memory_and_disk_are_reckoned_with_the_replay(tmp_path: Path) -> None:
    usual = {"replay_size": 10_000, "workers": 2, "log_dir": tmp_path, "keep_checkpoints": 2}
    assert estimate_memory(TrainConfig(workers=2)).disk == 0
    in_memory = estimate_memory(settings(**usual, replay_storage="memory", save_replay=False))
    on_disk = estimate_memory(settings(**usual, replay_storage="disk", save_replay=False))
    assert in_memory.total - on_disk.total == on_disk.disk == 2 * 10_000 * 6_407
    assert in_memory.disk == 0
    saved = estimate_memory(settings(**usual, replay_storage="memory"))
    assert saved.disk == 2 * 3 * 10_000 * 6_407  # a third checkpoint is written before the oldest goes
    assert saved.total == in_memory.total


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"replay_size": 10**9, "replay_storage": "memory", "save_replay": False},
            r"needs [\d,.]+ GB of memory .* --replay-size",
        ),
        ({"replay_size": 10**9, "replay_storage": "disk", "save_replay": False}, r"need 12,\d+\.\d GB of disk.* --replay-size"),
        ({"replay_size": 10**9}, r"need [\d,.]+ GB of disk.*--no-save-replay"),
    ],
)
def test_a_replay_too_large_for_the_machine_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        check_memory(settings(**options, workers=2, log_dir=tmp_path))


def test_pictures_go_to_the_disk_by_themselves_when_they_are_many() -> None:
    kind = algorithm_class("dqn")
    assert kind.replay_size(settings()).disk == 0
    assert kind.replay_size(settings(replay_size=10**9)).disk == 10**9 * 6_407
    assert kind.replay_size(settings(replay_size=10**9, replay_storage="memory")).disk == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--lstm", "A DQN has no LSTM here: add --no-lstm"),
        ("--replay-size 100", "--replay-size must be at least 1040 with 16 lanes, not 100"),
        ("--learning-starts 200000", "--learning-starts must be at most 99984, so that it is reached, not 200000"),
        ("--epsilon-end 0.5 --epsilon-start 0.2", "--epsilon-end must be at most --epsilon-start (0.2), not 0.5"),
        ("--epsilon-end 0 --epsilon-decay exponential", "--epsilon-end must be more than 0 with --epsilon-decay exponential"),
        ("--target-tau 0", "--target-tau must be more than 0 and at most 1, not 0"),
        ("--priority-alpha 1.5", "--priority-alpha must be between 0 and 1, not 1.5"),
        ("--n-step 0", "--n-step must be at least 1, not 0"),
        ("--batch-size 0", "--batch-size must be at least 1, not 0"),
        ("--update-interval 0", "--update-interval must be at least 1, not 0"),
        ("--lr-decay 0", "--lr-decay must be more than 0 and at most 1"),
    ],
)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_values_that_make_no_sense(algorithm: str, arguments: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        parse_train(["--algorithm", algorithm, *arguments.split()])


def test_the_algorithm_brings_what_it_needs() -> None:
    config = parse_train(["--algorithm", "dqn", "--priority-alpha", "0.5"])
    assert (config.lstm, config.options.priority_alpha) == (False, 0.5)
    assert parse_train(["--preset", "ddqn", "--algorithm", "dueling-dqn"]).options == parse_train(["--preset", "ddqn"]).options


def test_it_goes_with_a_preset_or_a_run_of_another_kind_of_network() -> None:
    """Regression: `--resume A2C-RUN --preset ddqn` blamed --no-lstm, which nobody had given, and not the checkpoint."""
    a2c = parse_train(["--preset", "a2c"])
    for command in (["--preset", "a2c", "--algorithm", "dqn"], ["--preset", "a2c", "--algorithm", "dagger"]):
        assert (parse_train(command).lstm, parse_train(command).fc) == (False, True)
    q_learner = parse_train(["--preset", "ddqn"], defaults=a2c)
    assert (q_learner.lstm, q_learner.fc) == (False, True)
    again = parse_train(["--preset", "a2c"], defaults=q_learner)
    assert (again.lstm, again.fc) == (True, False)


def test_the_help_says_what_an_agent_step_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_train(["--algorithm", "dqn", "--help"])
    game = TrainConfig().game_options()
    assert f"{bytes_per_step(game.height, game.width):,} bytes" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["ddqn", "dqn-per"])
def test_the_presets_are_the_originals_methods(preset: str) -> None:
    config = TrainConfig().with_values(PRESETS[preset][1])
    network = algorithm_class(config.algorithm).build_model(config.network_spec())
    assert type(network) is QNetwork
    assert (config.network, config.hidden_size, config.optimizer) == ("nature", 512, "Adam")
    options = config.options
    assert (options.double, bool(options.priority_alpha)) == ((True, False) if preset == "ddqn" else (False, True))


# -- the whole program


DQN_ARGUMENTS = (
    *("--algorithm", "dqn", "--no-lstm", "--replay-size", "600", "--learning-starts", "64", "--priority-alpha", "0.6"),
    *("--n-step", "2", "--batch-size", "16", "--update-interval", "16", "--target-interval", "5", "--epsilon-steps", "1000"),
)


def test_it_goes_on_exactly_where_it_was(tmp_path: Path, start: Start) -> None:
    """One worker, stopped and resumed, against one that was never stopped: all of both checkpoints, replays included."""
    one = [*arguments(tmp_path, *DQN_ARGUMENTS), "--workers", "1", "--serial", "--precision", "float32"]
    start([*one, "--run-name", "whole", "--total-steps", "1600"]).finish(0)
    start([*one, "--run-name", "parts", "--total-steps", "960"]).finish(0)
    out, _ = start([*one, "--resume", "parts", "--total-steps", "1600"]).finish(0)
    assert "new games" not in out
    whole, parts = (exact_tensors(newest_checkpoint(tmp_path / "logs" / name)) for name in ("whole", "parts"))
    assert whole["algorithm.replay.pictures"].shape == (600, 80, 80)
    assert whole.keys() == parts.keys()
    assert [name for name, tensor in whole.items() if not torch.equal(tensor, parts[name])] == []


def test_several_workers_train_are_tested_saved_resumed_and_played(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "logs" / "run"
    command = [*arguments(tmp_path, *DQN_ARGUMENTS, "--algorithm", "dueling-dqn"), "--tensorboard-logger"]
    run = start([*command, "--run-name", "run", "--total-steps", "1600"])
    out, _ = run.finish(0)
    summary = summary_of(folder)
    assert (summary["restarts"], summary["skipped_updates"], summary["workers"]) == (0, 0, 2)
    assert 50 < summary["updates"] <= summary["agent_steps"] / 16
    for name in METRICS:  # beside the others
        assert read_curve(folder, f"learn/{name}"), name
    assert b"learn/replay_fill" in b"".join(path.read_bytes() for path in folder.glob("events*"))
    assert 0 < read_curve(folder, "learn/epsilon")[-1][2] < 1
    assert load_config(newest_checkpoint(folder)).options.n_step == 2

    # Its replays come back; without --save-replay they don't.
    sizes = [worker_path(newest_checkpoint(folder), worker).stat().st_size for worker in range(2)]
    assert min(sizes) > 500 * 6_400
    out, _ = start([*command, "--resume", "run", "--total-steps", "2000", "--no-save-replay"]).finish(0)
    assert "new games" not in out
    assert summary_of(folder)["updates"] > summary["updates"] + 15
    assert max(worker_path(newest_checkpoint(folder), worker).stat().st_size for worker in range(2)) < 1e6

    # gym_eval.py plays its weights.
    played = tmp_path / "played.json"
    evaluation = [sys.executable, str(ROOT / "gym_eval.py"), "--weights", str(folder), "--env", "SuperMarioBros-1-1-v0"]
    start([*evaluation, "--num-episodes", "2", "-tps", "3", "--json", str(played)]).finish(0)
    assert len(json.loads(played.read_text())["episodes"]) == 2

    # A checkpoint of it is none of another algorithm's, though the dueling network has as many weights as a policy's.
    _, err = start([*arguments(tmp_path), "--resume", "run", "--algorithm", "a3c", "--no-lstm"]).finish(2)
    assert re.fullmatch(
        r"main.py: The checkpoint \S+ is of --algorithm dueling-dqn, and --algorithm a3c trains another .*\.\n", err
    )


def test_a_replay_too_large_is_one_sentence_and_exit_code_2(tmp_path: Path, start: Start) -> None:
    command = [*arguments(tmp_path, *DQN_ARGUMENTS), "--replay-size", "9999999999"]
    _, err = start(command).finish(2)
    assert re.fullmatch(r"main.py: The run needs [\d,.]+ GB of memory at the least .* a smaller --replay-size, .*\.\n", err)
    assert not (tmp_path / "logs").exists()
