"""Rejection sampling by transition: which actions are imitated, and how."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from actde import Batch, OptimizerConfig
from actde.returns import lambda_advantages, td_errors
from actde.transition_rejection import TransitionRejection
from tests.helpers.actde_batches import LENGTHS, gradients, in_processes, random_batch, random_outputs, table

PLAIN: dict[str, Any] = {"gae_lambda": 0.5, "value_coef": 0.0}


def made(count: int, **settings: Any) -> TransitionRejection:
    return TransitionRejection(OptimizerConfig(**(PLAIN | {"top_actions": count} | settings)))


class WrongSign(TransitionRejection):
    """Imitates the worst actions."""

    def scores(self, batch: object) -> Tensor:
        return -super().scores(batch)  # type: ignore[arg-type]


def by_hand(optimizer: TransitionRejection) -> tuple[Tensor, set[tuple[int, int]]]:
    """Return the scores of a small batch, and the (segment, action) pairs that have a gradient."""
    batch = random_batch(0, [3, 2])
    batch = replace(
        batch,
        rewards=table([1, 0, 4], [3, 0, 0]),
        discounts=table([0.5, 0.5, 0], [0.5, 0.5, 1]),
        next_values=table([7, 7, 9], [7, 8, 0]),
        values=table([7, 7, 7], [7, 7, 0]),
        logprobs=table([-1, -1, -1], [-1, -1, 0]),
        ref_logprobs=table([-1, -4, -3], [-1, -1, 0]),
    )
    outputs = random_outputs(batch, near=True)
    found = gradients(optimizer, batch, optimizer.targets(batch), outputs)["logprobs"]
    rows, actions = found.nonzero(as_tuple=True)
    assert len({float(number) for number in found[rows, actions]}) == 1, "all imitated actions have the same weight"
    assert float(found.sum()) == pytest.approx(-1.0), "the loss is a mean over the imitated actions"
    return optimizer.scores(batch), set(zip(rows.tolist(), actions.tolist(), strict=True))


def test_exactly_the_best_actions_are_imitated() -> None:
    """G is 1 + 0.25 * 4, 0.5 * 4 and 4. In the truncated episode, it is 3 + 0.25 * 8 and 0.5 * 8."""
    scores, imitated = by_hand(made(3))
    assert scores.tolist() == [[2.0, 2.0, 4.0], [5.0, 4.0, 0.0]]
    assert imitated == {(0, 2), (1, 0), (1, 1)}
    assert by_hand(made(2))[1] == {(1, 0), (0, 2)}, "of equal scores the earlier one"
    assert by_hand(made(99))[1] == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)}
    wrong = WrongSign(OptimizerConfig(**(PLAIN | {"top_actions": 3})))
    assert by_hand(wrong)[1] != {(0, 2), (1, 0), (1, 1)}


def test_equal_returns_are_ties_whatever_v_predicts() -> None:
    """With rewards in float32, returns that are computed relative to v differ by rounding errors of v."""
    batch = random_batch(3, [5] * 8, ref=False)
    over, won = torch.arange(5) == 4, torch.ones(8, 5)
    batch = Batch(
        rewards=won * over,
        discounts=won * ~over,
        mask=batch.mask,
        logprobs=batch.logprobs.float(),
        values=3 * batch.values.float(),
        next_values=3 * batch.next_values.float(),
    )
    optimizer = made(3)
    assert set(optimizer.scores(batch).flatten().tolist()) == {1.0}
    assert optimizer.targets(batch).advantages.nonzero().tolist() == [[0, 0], [0, 1], [0, 2]], "the earliest"
    errors = td_errors(batch.rewards, batch.discounts, batch.next_values, batch.values, batch.mask)
    relative = batch.values + lambda_advantages(errors, batch.discounts, 1.0)
    assert len(set(relative.flatten().tolist())) > 1, "the same test rejects them"


def test_a_kl_reward_lowers_only_the_score_of_its_own_action() -> None:
    """log pi_old - log pi_ref is 0, 3, 2, 0, 0."""
    scores, imitated = by_hand(made(2, kl_coef=0.5, kl_place="reward"))
    assert scores.tolist() == [[2.0, 0.5, 3.0], [5.0, 4.0, 0.0]]
    assert imitated == {(1, 0), (1, 1)}
    assert by_hand(made(2, kl_coef=0.5))[0].tolist()[0] == [2.0, 2.0, 4.0], "a KL in the loss is not in the score"


def test_importance_weighted_terms_are_those_of_the_chosen_actions() -> None:
    batch = random_batch(1, LENGTHS)
    outputs = random_outputs(batch)
    assert batch.ref_logprobs is not None
    optimizer = made(4, kl_coef=0.3, entropy_coef=0.2, importance_weighting=True)
    terms = optimizer.terms(batch, optimizer.targets(batch), outputs)
    ratio = (outputs.logprobs - batch.logprobs).exp()
    assert terms["kl_ref"][0] == 0.3 and terms["entropy"][0] == -0.2
    for name, wanted in (("kl_ref", outputs.logprobs - batch.ref_logprobs), ("entropy", -outputs.logprobs)):
        torch.testing.assert_close(terms[name][1][batch.mask], (ratio * wanted)[batch.mask])
    exact = made(4, kl_coef=0.3, entropy_coef=0.2).terms(batch, optimizer.targets(batch), outputs)
    assert exact["kl_ref"][1] is outputs.kl and exact["entropy"][1] is outputs.entropy


def test_each_process_takes_the_best_of_its_own_play() -> None:
    batch = random_batch(6, LENGTHS)
    halves = [batch[torch.tensor([0, 1])], batch[torch.tensor([2, 3])]]
    found = in_processes(2, lambda rank, total: made(2).targets(halves[rank], all_reduce=total))
    weights = torch.cat([part.advantages for part in found])
    assert [int((part.advantages > 0).sum()) for part in found] == [2, 2]
    assert float(weights.sum()) == pytest.approx(int(batch.mask.sum()))
