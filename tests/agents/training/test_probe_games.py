"""Five probe games with known answers, each for one part of the learner, trained on the post's trunk.

PPO must learn v and the best action. ACTDE must learn v and q, and its advantage must vanish once q is known; it does
not guarantee the best action. ILQL must learn v and q of the best action, and its play is guided by q. Imitation must
follow the expert, whatever the reward, and learn its values. Rejection must find the best action without an expert.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from actde import Batch, OptimizerConfig, Targets, make_optimizer, optimizer_class
from agents.config import UpdateConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import ActorCritic
from agents.model.build import new_trunk
from agents.model.heads import Heads
from agents.play.episode import Episode
from agents.play.metrics import episode_metrics
from agents.play.runner import EpisodeRunner
from agents.training.dagger import DAggerAgent, Expert, label_best_episodes
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import make_torch_optimizer
from tests.helpers.models import assert_close, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec
from tests.helpers.updates import updater

GAMMA = 0.5
TAU = 1.0
NAMES = ("ppo", "actde")
TILTED = ("mpo", "recentred")
"""Learners that end at softmax(log pi_0 + Q / TAU). "recentred" is ACTDE with a re-centred q."""
FROZEN = "frozen"
"""Trains v and q alone, and q guides its play. It ends at TILTED's policy if the random trunk separates the states."""
SAME = {"north": 1.0, "south": 1.0}
CONSTANT = ScriptSpec([[Scene("room", SAME)]], end="")
OBSERVED = ScriptSpec([[Scene("red", dict.fromkeys(SAME, 1.0))], [Scene("blue", dict.fromkeys(SAME, -1.0))]], end="")
DELAYED = ScriptSpec([[Scene("red", dict.fromkeys(SAME, 0.0)), Scene("blue", SAME)]], end="")
POLICY = ScriptSpec([[Scene("room", {"north": 1.0, "south": -1.0})]], end="")
BOTH = ScriptSpec(
    [[Scene("red", {"north": 1.0, "south": -1.0})], [Scene("blue", {"north": -1.0, "south": 1.0})]], end=""
)
TAUGHT = ScriptSpec(
    [
        [Scene("red", {"north": 1.0, "south": -1.0}, policy=("south",))],
        [Scene("blue", {"north": -1.0, "south": 1.0}, policy=("south",))],
    ],
    end="",
)
"""A game whose expert is wrong in the state "red"."""


@dataclass
class Trained:
    """The last rollout of a training, its batch and its targets."""

    episodes: list[Episode]
    segments: list[Segment]
    batch: Batch
    targets: Targets

    def mean(self, what: str, text: str) -> float:
        """Mean of `value` or of a command's probability (`p:north`) or q (`q:north`) where the game shows `text`."""
        decisions = [step.decision for e in self.episodes for step in e.steps if step.observation == text]
        if what == "value":
            return float(np.mean([d.value for d in decisions]))
        kind, command = what.split(":")
        return float(np.mean([(d.probabilities if kind == "p" else d.q_values)[command] for d in decisions]))


def train(
    spec: ScriptSpec,
    name: str,
    iterations: int = 14,
    *,
    beta: float = 1.0,
    shaping: Mapping[str, Any] | None = None,
) -> Trained:
    """Train a pico trunk with 64 episodes and 8 gradient steps per iteration."""
    torch.manual_seed(0)
    learning = OptimizerConfig(gamma=GAMMA, value_coef=1.0, value_clip_range=None, tau=TAU, top_actions=32)
    if name == "recentred":
        learning = learning.replace(recentre_q=True, advantage="return")
    rate, offline = 0.0 if name == FROZEN else 4e-3, name == "ilql"
    guide_beta = {"ilql": 4.0, FROZEN: 1 / TAU}.get(name, 0.0)
    name = "actde" if name in ("recentred", FROZEN) else name
    words, needs_q = tokenizer(), optimizer_class(name).needs_q
    heads = Heads(12, len(words), q_heads=int(needs_q) + offline, target_q=offline, init_std=0.02)
    model = ActorCritic(new_trunk("pico", len(words), 0.0), heads)
    player = LanguageModelAgent(model, words, gamma=GAMMA, record=True, guide_beta=guide_beta)
    with_expert = DAggerAgent(player, Expert(prefer_policy=True), beta=beta)
    reference = copy.deepcopy(model).eval() if make_optimizer(name, learning).needs_reference else None
    torch_optimizer = make_torch_optimizer(model, UpdateConfig(lr=rate, value_lr=1e-2, q_lr=1e-2))
    slower = torch.optim.lr_scheduler.LinearLR(torch_optimizer, 1.0, 0.1, total_iters=iterations)
    settings: dict[str, Any] = {"reference": reference, "learning": learning, "epochs": 8, "target_rate": 0.2}
    update = updater(model, name, torch_optimizer=torch_optimizer, **settings)
    with EpisodeRunner(
        [spec], seed=0, parallel=64, shaping=shaping, group_size=8 if name in ("grpo", "qae") else 1
    ) as runner:
        for iteration in range(iterations):
            episodes = list(runner.play(with_expert if name == "imitation" else player, 64))
            segments = player.take_segments()
            if name == "rejection":
                segments, _ = label_best_episodes(segments, episodes, top_fraction=0.5, gamma=GAMMA)
            rollout = RolloutBatch(segments, credit="token", group_size=8)
            if iteration < iterations - 1:
                update.learn(rollout, np.random.default_rng(iteration))
                slower.step()
            elif reference is not None:
                update.reference.evaluate(rollout)
    batch = rollout.batch(with_q=needs_q)
    return Trained(episodes, segments, batch, make_optimizer(name, learning).targets(batch))


def near(number: float | list[float], within: float = 0.12) -> Any:
    return pytest.approx(number, abs=within)


def test_v_is_one_if_every_reward_is_one() -> None:
    assert train(CONSTANT, "ppo").mean("value", "room") == near(1.0)


def test_q_is_one_and_advantages_vanish_if_every_reward_is_one() -> None:
    found = train(CONSTANT, "actde")
    assert [found.mean(what, "room") for what in ("value", "q:north", "q:south")] == near([1.0] * 3)
    assert found.targets.advantages.abs().max() < 0.05


@pytest.mark.parametrize("name", TILTED)
def test_a_tilted_policy_does_not_move_if_every_reward_is_one(name: str) -> None:
    found, before = train(CONSTANT, name), train(CONSTANT, name, iterations=1)
    assert [found.mean(what, "room") for what in ("value", "q:north", "q:south")] == near([1.0] * 3)
    assert found.mean("p:north", "room") == near(before.mean("p:north", "room"), within=0.03)


@pytest.mark.parametrize(
    "name", ["actde", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ppo", *TILTED, "ilql"))]
)
def test_v_and_q_depend_on_the_observation(name: str) -> None:
    found = train(OBSERVED, name)
    for what in ("value", "q:north", "q:south") if name != "ppo" else ("value",):
        assert found.mean(what, "red") == near(1.0)
        assert found.mean(what, "blue") == near(-1.0)


@pytest.mark.parametrize("name", [*NAMES, "ilql", *(pytest.param(name, marks=pytest.mark.slow) for name in TILTED)])
def test_a_later_reward_is_discounted(name: str) -> None:
    found = train(DELAYED, name)
    for what in ("value", "q:north", "q:south") if name != "ppo" else ("value",):
        assert found.mean(what, "red") == near(GAMMA)
        assert found.mean(what, "blue") == near(1.0)


@pytest.mark.parametrize("name", ["grpo", "qae"])
def test_grpo_finds_the_better_action_without_v(name: str) -> None:
    found = train(POLICY, name)
    assert found.mean("p:north", "room") > 0.95


def test_ppo_finds_the_better_action() -> None:
    found = train(POLICY, "ppo")
    assert found.mean("p:north", "room") > 0.95
    assert found.mean("value", "room") == near(1.0)


def test_actde_learns_q_and_its_advantages_vanish() -> None:
    found = train(POLICY, "actde")
    p, q, other = (found.mean(what, "room") for what in ("p:north", "q:north", "q:south"))
    assert [q, other] == near([1.0, -1.0])
    assert found.mean("value", "room") == near(p * q + (1 - p) * other)
    assert found.targets.advantages.abs().mean() < 0.1  # the error that moves the policy has vanished
    against_v = found.batch.rewards - found.batch.values
    assert against_v.abs().mean() > 2 * found.targets.advantages.abs().mean()  # where PPO would go on


def test_ppo_finds_the_better_action_for_each_observation() -> None:
    found = train(BOTH, "ppo", iterations=18)
    for text, command in (("red", "north"), ("blue", "south")):
        assert found.mean(f"p:{command}", text) > 0.95
        assert found.mean("value", text) == near(1.0, within=0.2)


def test_actde_learns_q_for_each_observation() -> None:
    found = train(BOTH, "actde", iterations=18)
    for text, better, worse in (("red", "north", "south"), ("blue", "south", "north")):
        p, q, other = (found.mean(what, text) for what in (f"p:{better}", f"q:{better}", f"q:{worse}"))
        assert [q, other] == near([1.0, -1.0], within=0.2)
        assert found.mean("value", text) == near(p * q + (1 - p) * other, within=0.45)  # of few and changing samples
    assert found.targets.advantages.abs().mean() < 0.1


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        (FROZEN, POLICY),
        *((name, BOTH) for name in TILTED),
        *(pytest.param(name, POLICY, marks=pytest.mark.slow) for name in TILTED),
    ],
)
def test_a_tilted_policy_ends_at_the_tilted_prior(name: str, spec: ScriptSpec) -> None:
    """Q is 1 and -1, and the initial policy is nearly even, so the better command ends near 1 / (1 + exp(-2 / TAU))."""
    found, before = train(spec, name, iterations=18), train(spec, name, iterations=1)
    better = {"room": "north", "red": "north", "blue": "south"}
    for text in {scene.text for play in spec.plays for scene in play}:
        start = before.mean(f"p:{better[text]}", text)
        wanted = start / (start + (1 - start) * math.exp(-2 / TAU))
        assert found.mean(f"p:{better[text]}", text) == near(wanted, within=0.05)
        assert abs(wanted - start) > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_a_bonus_is_learned_and_does_not_change_the_score(name: str) -> None:
    """The game rewards north with 1 and south with 0; the bonus for south is 2."""
    game = ScriptSpec([[Scene("room", {"north": 1.0, "south": 0.0})]], end="")
    found = train(game, name, shaping={"bonus": 2.0, "bonus_command": "south"})
    measures = episode_metrics(found.episodes, "south")
    assert {step.score for episode in found.episodes for step in episode.steps} == {0.0}, "as the game says"
    assert measures["reward"] == pytest.approx(1 + measures["bonus_share"])
    if name == "ppo":
        assert measures["bonus_share"] > 0.9
        assert found.mean("value", "room") == near(2.0, within=0.2)
    else:
        assert [found.mean(what, "room") for what in ("q:north", "q:south")] == near([1.0, 2.0], within=0.2)
        assert measures["bonus_share"] > 0.5


@pytest.mark.parametrize("beta", [1.0, 0.0])
def test_imitation_follows_the_expert_and_learns_its_values(beta: float) -> None:
    found = train(TAUGHT, "imitation", beta=beta)
    for text, worth in (("red", -1.0), ("blue", 1.0)):
        assert found.mean("p:south", text) > 0.95
        assert found.mean("value", text) == near(worth, within=0.25)
        assert found.mean("q:south", text) == near(worth, within=0.25)


@pytest.mark.parametrize("spec", [pytest.param(POLICY, marks=pytest.mark.slow), BOTH])
def test_ilql_finds_the_better_action_and_its_value(spec: ScriptSpec) -> None:
    found = train(spec, "ilql", iterations=18)
    better = {"room": "north", "red": "north", "blue": "south"}
    for text in {scene.text for play in spec.plays for scene in play}:
        assert found.mean(f"p:{better[text]}", text) > 0.95
        assert [found.mean(what, text) for what in ("value", f"q:{better[text]}")] == near([1.0, 1.0], within=0.2)


def test_rejection_finds_the_better_action() -> None:
    found = train(POLICY, "rejection")
    assert found.mean("p:north", "room") > 0.95
    assert [found.mean(what, "room") for what in ("value", "q:north")] == near([1.0, 1.0])


@pytest.mark.parametrize("spec", [pytest.param(POLICY, marks=pytest.mark.slow), BOTH])
def test_rejection_by_transition_finds_the_better_action(spec: ScriptSpec) -> None:
    """It imitates the better half of the actions."""
    found = train(spec, "rejection-transition", iterations=18)
    for text, better in {"room": "north", "red": "north", "blue": "south"}.items():
        if text in {scene.text for play in spec.plays for scene in play}:
            assert found.mean(f"p:{better}", text) > 0.95
            assert found.mean("value", text) == near(1.0, within=0.2)


def test_the_advantage_identity() -> None:
    """A_t(q) = A_t(v) - sum over k of (discount lambda)^k (q(s, a) - v(s)), on a real rollout."""
    spec = ScriptSpec([[*DELAYED.plays[0], *BOTH.plays[0], *BOTH.plays[1]]], end="")
    found = train(spec, "actde", iterations=2)
    batch = found.batch
    assert batch.q_values is not None
    learning = OptimizerConfig(gamma=GAMMA)
    ppo = make_optimizer("ppo", learning).targets(batch)
    later, extra = torch.zeros(len(batch)), torch.zeros_like(batch.values)
    for t in reversed(range(batch.values.shape[1])):
        later = batch.q_values[:, t] - batch.values[:, t] + batch.discounts[:, t] * learning.gae_lambda * later
        extra[:, t] = later
    assert_close(found.targets.advantages, ppo.advantages - extra)
    assert_close(found.targets.returns, ppo.returns)
