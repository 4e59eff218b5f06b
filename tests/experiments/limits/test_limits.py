"""The study of limits in its smallest form: both learners reach the tilted prior, and wrong variants do not."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from actde import ACTDE, Batch, Optimizer, Outputs, Targets
from actde.mpo import MPO
from experiments.limits import learner
from experiments.limits.__main__ import LEARNERS, TOLERANCE, _row_position, report
from experiments.limits.learner import Curve, Tables, train
from experiments.limits.mdps import MDP, PROBLEMS
from tests import ROOT

RESULTS = ROOT / "docs/limits/results.json"


def problem(name: str) -> MDP:
    return PROBLEMS[name](torch.Generator().manual_seed(0))


def curve(name: str, kind: type[Optimizer], torch_optimizer: str = "adamw", *, length_factor: int = 1) -> Curve:
    mdp = problem(name)
    return train(
        mdp,
        kind,
        tau=0.3 * mdp.scale,
        torch_optimizer=torch_optimizer,
        rollouts=150,
        length_factor=length_factor,
        recentre_q=issubclass(kind, ACTDE),
    )


def is_at_limit(found: Curve) -> bool:
    """Return whether the policy ends within 0.01 nats of the limit. Assert that it starts far from there."""
    assert found.initial_distance > 5 * TOLERANCE
    return found.distances[-1] <= TOLERANCE


# The problems


def test_q_of_the_dilemma_is_that_of_the_posts_strategies() -> None:
    """The post lists the discounted returns of cccc..., cdcd... and dcdc.... The first letter is a state."""
    mdp = problem("dilemma")
    cooperate, alternate = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    for policy, state, wanted in ((cooperate, 0, 1.0), (alternate, 0, 1.492), (alternate, 1, -1.015)):
        always = policy.double().expand(len(mdp.initial_policy), 2, 2)
        values = (always * mdp.q(always)).sum(-1)
        assert float(values[0, state]) == pytest.approx(wanted, abs=1e-3)


def test_q_of_acyclic_mdps_is_the_backward_recursion() -> None:
    mdp = problem("acyclic MDPs")
    q = mdp.rewards.clone()
    for _ in range(3):  # layers
        values = (mdp.initial_policy * q).sum(-1)
        q = mdp.rewards + torch.einsum("rsat,rt->rsa", mdp.transitions, values)
    torch.testing.assert_close(mdp.q(mdp.initial_policy), q)


def test_rollouts_follow_the_policy_and_the_transitions() -> None:
    """The mean return of sampled episodes is V^pi of the first state."""
    mdp = problem("acyclic MDPs")
    tables = Tables(
        logits=mdp.initial_policy.log(),
        q=torch.zeros_like(mdp.initial_policy),
        v=torch.zeros_like(mdp.initial_policy[..., 0]),
    )
    first = (torch.arange(len(mdp.initial_policy)) * mdp.initial_policy.shape[1]).repeat_interleave(4000)
    batch, *_ = learner._rollout(mdp, tables, first, torch.Generator().manual_seed(0))
    returns = batch.rewards.sum(1).view(len(mdp.initial_policy), -1)
    wanted = (mdp.initial_policy * mdp.q(mdp.initial_policy)).sum(-1)[:, 0]
    assert ((returns.mean(1) - wanted).abs() < 4 * returns.std(1) / 4000**0.5).all()
    assert not batch.discounts[:, -1].any()


# The learners


@pytest.mark.parametrize("torch_optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kind", [MPO, ACTDE])
@pytest.mark.parametrize("name", ["five arms", "dilemma"])
def test_mpo_and_recentred_actde_end_at_the_tilted_prior_and_stay(
    name: str, kind: type[Optimizer], torch_optimizer: str
) -> None:
    found = curve(name, kind, torch_optimizer, length_factor=2)
    assert is_at_limit(found)
    assert max(found.distances[len(found.distances) // 2 :]) <= TOLERANCE


class WrongSignMPO(MPO):
    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        assert outputs.kl is not None
        assert outputs.expected_q is not None
        return outputs.kl + outputs.expected_q / self.config.tau


class WrongSignACTDE(ACTDE):
    def _tilt(self, batch: Batch, logprobs: Tensor) -> Tensor:
        return -super()._tilt(batch, logprobs)


class ShiftedPriorACTDE(ACTDE):
    """Takes the prior's log-probability of the action in the preceding episode of the batch."""

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        assert batch.ref_logprobs is not None
        return super().policy_loss(replace(batch, ref_logprobs=batch.ref_logprobs.roll(1, 0)), targets, outputs)


@pytest.mark.parametrize("kind", [WrongSignMPO, WrongSignACTDE, ShiftedPriorACTDE])
def test_wrong_losses_do_not_end_there(kind: type[Optimizer]) -> None:
    assert not is_at_limit(curve("five arms", kind))


@pytest.mark.parametrize("wrong", ["labels", "expectation"])
def test_a_wrong_q_does_not_end_there(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The q of action a - 1 is fitted to the return of action a, or stands for the q of action a in the expectation."""
    right = learner.table_outputs

    def outputs(mdp: MDP, tables: Tables, states: Tensor, actions: Tensor) -> Outputs:
        shifted = Tables(logits=tables.logits, q=tables.q.roll(1, -1), v=tables.v)
        found, other = right(mdp, tables, states, actions), right(mdp, shifted, states, actions)
        if wrong == "labels":
            return replace(found, q_values=other.q_values)
        return replace(found, expected_q=other.expected_q)

    monkeypatch.setattr(learner, "table_outputs", outputs)
    assert not is_at_limit(curve("five arms", MPO))


def test_plain_actde_ends_elsewhere() -> None:
    mdp = problem("five arms")
    found = train(mdp, ACTDE, tau=0.3, torch_optimizer="adamw", rollouts=150)
    assert not is_at_limit(found)


# The report


def cells() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    return found


def test_the_report_shows_the_results() -> None:
    text = report(dict(sorted(cells().items(), key=_row_position)))
    assert (RESULTS.parent / "README.md").read_text() == text
    example = {"tau": 0.2, "end": 0.02, "worst": 0.003, "start": 1.0, "spread": 5.0}
    both = report({f"bandit, 0.2, sgd, {name}": example for name in LEARNERS})
    assert "| bandit | 0.2 | sgd | 5 | 1 | **0.02** | **0.02**, 0.003 | **0.02**, 0.003 |" in both
    assert "* MPO ends and stays within 0.01 nats in 0 of 1 rows." in both
