"""Train tables of logits, v and q, and measure how far the policy is from its limit."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from actde import Batch, Optimizer, OptimizerConfig, Outputs
from actde.expected_update import limit
from experiments.limits.mdps import MDP

EPISODES = 64  # of each problem in a rollout
# Initial step sizes. SGD: the share of the error by which an entry of a table moves if every episode visits it. AdamW:
# the learning rate of the logits, in nats. The learning rate of v and q is tau times as large.
STEP = {"sgd": 0.5, "adamw": 0.1}
CHECKS = 20  # measurements that `train` makes in every `rollouts` rollouts


@dataclass(slots=True, kw_only=True)
class Tables:
    """Tables of logits [R, S, A], q [R, S, A] and v [R, S], as in `MDP`."""

    logits: Tensor
    q: Tensor
    v: Tensor

    @property
    def policy(self) -> Tensor:
        return self.logits.detach().softmax(-1)


@dataclass(slots=True, kw_only=True)
class Curve:
    """The distance between the policy and its limit during training, in nats.

    The limit is proportional to pi_0 exp(Q^pi / tau), with the exact Q^pi of the current policy.

    Attributes:
        distances: the maximum over states and problems, at each measurement.
        start: the distance between pi_0 and the last limit.
        spread: the largest difference between the final Q^pi of two actions in a state, divided by tau.
    """

    distances: list[float]
    start: float
    spread: float


def distances(policy: Tensor, target: Tensor) -> Tensor:
    """Return the larger of the two KL divergences between policies [..., A], in nats."""
    ratio = (policy / target).log()
    return torch.maximum((policy * ratio).sum(-1), -(target * ratio).sum(-1))


def train(
    mdp: MDP,
    make: Callable[[OptimizerConfig], Optimizer],
    *,
    tau: float,
    torch_optimizer: str,
    rollouts: int,
    times: int = 1,
    recentre_q: bool = False,
) -> Curve:
    """Train tables for `rollouts` * `times` rollouts, and return the distances from the limit."""
    rng = torch.Generator().manual_seed(0)
    value = (mdp.start * mdp.q(mdp.start)).sum(-1)
    tables = Tables(logits=mdp.start.log(), q=value.unsqueeze(-1).repeat(1, 1, mdp.start.shape[-1]), v=value)
    for table in (tables.logits, tables.q, tables.v):
        table.requires_grad_()
    optimizer = make(
        OptimizerConfig(
            gae_lambda=0.0,
            advantage="return",
            value_clip_range=None,
            value_coef=1.0,
            q_coef=0.5,
            tau=tau,
            recentre_q=recentre_q,
        )
    )
    torch_steps = _torch_optimizer(tables, torch_optimizer, tau, in_nats=optimizer.name == "mpo")
    # the sum of all step sizes diverges, so they do not limit how far the tables can move
    schedule = torch.optim.lr_scheduler.LambdaLR(torch_steps, lambda t: 1 / (1 + 4 * t / rollouts))
    state = (torch.arange(len(mdp.start)) * mdp.start.shape[1]).repeat_interleave(EPISODES)
    measured = []
    for count in range(1, rollouts * times + 1):
        batch, states, actions, state = _rollout(mdp, tables, state, rng)
        loss, _ = optimizer.loss(batch, optimizer.targets(batch), table_outputs(mdp, tables, states, actions))
        torch_steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch_steps.step()
        schedule.step()
        if count % (rollouts // CHECKS) == 0:
            q = mdp.q(tables.policy)
            target = limit(mdp.start, q, tau)
            measured.append(float(distances(tables.policy, target).max()))
    return Curve(
        distances=measured,
        start=float(distances(mdp.start, target).max()),
        spread=float((q.amax(-1) - q.amin(-1)).max()) / tau,
    )


def _torch_optimizer(tables: Tables, name: str, tau: float, *, in_nats: bool) -> torch.optim.Optimizer:
    """Return the torch optimizer. The step size of q is tau times that of the logits.

    `in_nats` is whether the policy loss is in nats, not in units of reward.
    """
    step, states = STEP[name], tables.v.numel()
    if name == "adamw":
        rates = {"logits": step, "q": step * tau, "v": step * tau}
    else:  # the loss is a mean over all states, so a state gets only its share of a step
        rates = {"logits": step * states / (1 if in_nats else tau), "q": step * states, "v": step * states}
    groups = [{"params": [getattr(tables, table)], "lr": rate} for table, rate in rates.items()]
    return torch.optim.SGD(groups) if name == "sgd" else torch.optim.AdamW(groups, eps=1e-12, weight_decay=0.0)


def table_outputs(mdp: MDP, tables: Tables, states: Tensor, actions: Tensor) -> Outputs:
    """Look up the outputs for `states` and `actions` [N, T]. A state is an index of `rows`."""
    logprobs = rows(tables.logits)[states].log_softmax(-1)  # [N, T, A]
    policy, q = logprobs.exp(), rows(tables.q)[states]
    return Outputs(
        logprobs=take(logprobs, actions),
        entropy=-(policy * logprobs).sum(-1),
        values=tables.v.flatten()[states],
        q_values=take(q, actions).unsqueeze(-1),
        expected_q=(policy * q.detach()).sum(-1),
        kl=(policy * (logprobs - rows(mdp.start)[states].log())).sum(-1),
    )


def take(table: Tensor, actions: Tensor) -> Tensor:
    """Return the entries of `table` [..., A] at `actions` [...]."""
    return table.gather(-1, actions.unsqueeze(-1))[..., 0]


def rows(table: Tensor) -> Tensor:
    """Merge the first two dimensions of a table [R, S, ...]."""
    return table.flatten(0, 1)


@torch.no_grad()
def _rollout(mdp: MDP, tables: Tables, state: Tensor, rng: torch.Generator) -> tuple[Batch, Tensor, Tensor, Tensor]:
    """Play `mdp.turns` turns from the states `state` [N], which are indices of `rows`.

    Return the batch, the states [N, T], the actions [N, T], and the states [N] of the next rollout.
    """
    count = mdp.start.shape[1]
    first = state - state % count  # the first state of each problem
    policy, following = rows(tables.policy), rows(mdp.transitions)
    visited, played, after, ends = [], [], [], []
    for _ in range(mdp.turns):
        action = _draw(policy[state], rng).clamp_max(policy.shape[1] - 1)
        drawn = _draw(following[state, action], rng)  # the number of states stands for the end
        visited.append(state)
        played.append(action)
        ends.append(drawn == count)
        state = first + torch.where(ends[-1], 0, drawn)
        after.append(state)
    states, actions = torch.stack(visited, -1), torch.stack(played, -1)
    noise = mdp.noise * torch.randn(states.shape, generator=rng, dtype=torch.float64)
    batch = Batch(
        rewards=take(rows(mdp.rewards)[states], actions) + noise,
        discounts=mdp.discount * (~torch.stack(ends, -1)).double(),
        mask=torch.ones_like(states, dtype=torch.bool),
        logprobs=take(policy[states], actions).log(),
        values=tables.v.flatten()[states],
        next_values=tables.v.flatten()[torch.stack(after, -1)],
        q_values=take(rows(tables.q)[states], actions),
        ref_logprobs=take(rows(mdp.start)[states], actions).log(),
    )
    return batch, states, actions, state


def _draw(weights: Tensor, rng: torch.Generator) -> Tensor:
    """Sample an index from 0 to K for each row of `weights` [N, K].

    Index K has the rest of the row's probability.
    """
    return (weights.cumsum(-1) <= torch.rand(len(weights), 1, generator=rng, dtype=torch.float64)).sum(-1)
