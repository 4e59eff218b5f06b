"""TD errors, advantages and returns against tables by hand and independent definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from actde import Batch
from actde.returns import explained_variance, lambda_advantages, lambda_returns, td_errors, whiten
from tests.helpers.actde_batches import changed, in_processes, padded, random_batch, table

LENGTHS = st.lists(st.integers(1, 7), min_size=1, max_size=5)
SEEDS = st.integers(0, 10_000)
LAMBDAS = st.sampled_from([0.0, 0.3, 0.95, 1.0])
some = settings(max_examples=40, deadline=None)


def advantages_of(batch: Batch, baseline: Tensor, gae_lambda: float) -> Tensor:
    errors = td_errors(batch.rewards, batch.discounts, batch.next_values, baseline, batch.mask)
    return lambda_advantages(errors, batch.discounts, gae_lambda)


def returns_of(batch: Batch, gae_lambda: float) -> Tensor:
    return lambda_returns(batch.values, advantages_of(batch, batch.values, gae_lambda), batch.mask)


def forward_view(batch: Batch, row: int, gae_lambda: float) -> list[float]:
    """Return lambda-returns by definition: means of all n-step returns with weights (1 - lambda) lambda^(n-1)."""
    length = int(batch.mask[row].sum())
    reward: list[float] = batch.rewards[row].tolist()
    discount: list[float] = batch.discounts[row].tolist()
    after: list[float] = batch.next_values[row].tolist()

    def n_step(t: int, n: int) -> float:
        total, weight = 0.0, 1.0
        for k in range(t, t + n):
            total += weight * reward[k]
            weight *= discount[k]
        return total + weight * after[t + n - 1]

    found = []
    for t in range(length):
        most = length - t
        inner = sum((1 - gae_lambda) * gae_lambda ** (n - 1) * n_step(t, n) for n in range(1, most))
        found.append(inner + gae_lambda ** (most - 1) * n_step(t, most))
    return found


@pytest.mark.parametrize(("baseline", "wanted"), [([1, 2, 4], [0.5, -1, -2]), ([2, 2, 3], [-0.25, -0.5, -1])])
def test_a_table_by_hand(baseline: list[float], wanted: list[float]) -> None:
    rewards, discounts, next_values = table([1, 0, 2]), table([0.5, 0.5, 0]), table([2, 4, 9])
    mask = torch.ones(1, 3, dtype=torch.bool)
    errors = td_errors(rewards, discounts, next_values, table(baseline), mask)
    assert torch.equal(lambda_advantages(errors, discounts, 1.0), table(wanted))


@some
@given(SEEDS, LENGTHS, LAMBDAS)
def test_lambda_returns_are_the_forward_view(seed: int, lengths: list[int], gae_lambda: float) -> None:
    batch = random_batch(seed, lengths)
    found = returns_of(batch, gae_lambda)
    for row, length in enumerate(lengths):
        assert found[row, :length].tolist() == pytest.approx(forward_view(batch, row, gae_lambda), abs=1e-12)


@some
@given(SEEDS, LENGTHS)
def test_lambda_1_is_monte_carlo_and_lambda_0_is_one_step(seed: int, lengths: list[int]) -> None:
    batch = random_batch(seed, lengths)
    one_step = batch.rewards + batch.discounts * batch.next_values
    torch.testing.assert_close(returns_of(batch, 0.0), torch.where(batch.mask, one_step, 0.0))
    whole = returns_of(batch, 1.0)
    for row, length in enumerate(lengths):
        rest = float(batch.next_values[row, length - 1])
        for t in range(length - 1, -1, -1):
            rest = float(batch.rewards[row, t] + batch.discounts[row, t] * rest)
            assert float(whole[row, t]) == pytest.approx(rest, abs=1e-12)


@some
@given(SEEDS, LENGTHS, LAMBDAS)
def test_advantages_of_actde_are_those_of_ppo_minus_q_minus_v(seed: int, lengths: list[int], gae_lambda: float) -> None:
    """A_t(q) = A_t(v) - sum_k (gamma lambda)^k (q - v)_{t+k}: the sentence in ACTDE's docstring."""
    batch = random_batch(seed, lengths)
    assert batch.q_values is not None
    difference = torch.where(batch.mask, batch.q_values - batch.values, 0.0)
    wanted = advantages_of(batch, batch.values, gae_lambda)
    weight = torch.ones_like(wanted)
    for k in range(wanted.shape[1]):
        shifted = torch.nn.functional.pad(difference[:, k:], (0, k))
        wanted = wanted - weight * shifted
        weight = weight * gae_lambda * torch.nn.functional.pad(batch.discounts[:, k:], (0, k))
    torch.testing.assert_close(advantages_of(batch, batch.q_values, gae_lambda), wanted)


@some
@given(SEEDS, LENGTHS, LAMBDAS, st.sampled_from([0.0, 7.0, -1e6]))
def test_padding_and_its_content_change_nothing(
    seed: int, lengths: list[int], gae_lambda: float, garbage: float
) -> None:
    batch = random_batch(seed, lengths)
    wide = padded(batch, 3, garbage)
    for found, wanted in (
        (advantages_of(wide, wide.values, gae_lambda), advantages_of(batch, batch.values, gae_lambda)),
        (returns_of(wide, gae_lambda), returns_of(batch, gae_lambda)),
    ):
        assert torch.equal(found[:, :-3], wanted)
        assert not found[~wide.mask].any()


@some
@given(SEEDS, LENGTHS, LAMBDAS)
def test_the_order_of_the_segments_changes_nothing(seed: int, lengths: list[int], gae_lambda: float) -> None:
    batch = random_batch(seed, lengths)
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed))
    found = advantages_of(batch[order], batch[order].values, gae_lambda)
    assert torch.equal(found, advantages_of(batch, batch.values, gae_lambda)[order])


def test_a_truncated_segment_bootstraps_and_a_terminated_one_does_not() -> None:
    rewards, values, mask = table([1, 1]), table([0, 0]), torch.ones(1, 2, dtype=torch.bool)
    next_values = table([0, 10])
    for last, wanted in ((0.5, [1 + 0.5 * 6, 6]), (0.0, [1.5, 1])):
        discounts = table([0.5, last])
        errors = td_errors(rewards, discounts, next_values, values, mask)
        assert lambda_advantages(errors, discounts, 1.0).tolist() == [wanted]


def test_advantages_do_not_cross_the_end_of_an_episode() -> None:
    """Two episodes in one segment have the advantages of separate segments."""
    errors, discounts = table([1, 2, 100, 200]), table([0.5, 0, 0.5, 0])
    assert lambda_advantages(errors, discounts, 1.0).tolist() == [[2, 2, 200, 200]]


def test_lambda_returns_do_not_restart_at_a_command() -> None:
    """With discount 1 inside a command, a reward at its end reaches its first token undiscounted."""
    errors, discounts = table([0, 0, 1]), table([1, 1, 0])
    assert lambda_advantages(errors, discounts, 1.0).tolist() == [[1, 1, 1]]


@some
@given(SEEDS, LENGTHS, st.floats(-1e3, 1e3), st.floats(0.1, 100))
def test_whitening_centres_and_scales(seed: int, lengths: list[int], shift: float, scale: float) -> None:
    batch = random_batch(seed, [*lengths, 2])
    found = whiten(shift + scale * batch.rewards, batch.mask)
    inside = found[batch.mask]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-9)
    assert float(inside.std(correction=0)) == pytest.approx(1, abs=1e-3)
    assert not found[~batch.mask].any()


def test_whitening_by_hand_counts_zeros_and_skips_padding() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    x = table([0, 3], [-3, 1000])
    spread = 6**0.5
    torch.testing.assert_close(whiten(x, mask), table([0, 3 / spread], [-3 / spread, 0]))


def test_whitening_equal_advantages_gives_0() -> None:
    assert not whiten(table([5, 5, 5]), torch.ones(1, 3, dtype=torch.bool)).any()


def test_whitening_and_explained_variance_over_processes_are_those_of_the_whole() -> None:
    batch = random_batch(3, [4, 2, 5, 1, 3, 3])
    parts = [batch[torch.tensor(rows)] for rows in ([0, 1, 2], [3], [4, 5])]
    found = in_processes(3, lambda rank, total: whiten(parts[rank].rewards, parts[rank].mask, total))
    torch.testing.assert_close(torch.cat(found), whiten(batch.rewards, batch.mask))
    trios = [(part.values, part.rewards, part.mask) for part in parts]
    shares = in_processes(3, lambda rank, total: explained_variance(*trios[rank], total))
    whole = explained_variance(batch.values, batch.rewards, batch.mask)
    assert all(float(share) == pytest.approx(float(whole)) for share in shares)


def test_a_process_without_choices_is_counted() -> None:
    batch = random_batch(3, [4, 2])
    none = changed(batch, lambda name, tensor: torch.zeros_like(tensor))
    parts = [batch, none]
    found = in_processes(2, lambda rank, total: whiten(parts[rank].rewards, parts[rank].mask, total))
    torch.testing.assert_close(found[0], whiten(batch.rewards, batch.mask))
    assert not found[1].any()


def test_explained_variance_by_hand() -> None:
    mask = torch.tensor([[True, True, True, False]])
    returns = table([1, 2, 3, 50])
    for prediction, wanted in (([1, 2, 3, 0], 1), ([7, 7, 7, 0], 0), ([3, 2, 1, 9], -3), ([2, 3, 4, 9], 1)):
        assert float(explained_variance(table(prediction), returns, mask)) == pytest.approx(wanted)
    assert float(explained_variance(returns, table([2, 2, 2, 9]), mask)) == 0
