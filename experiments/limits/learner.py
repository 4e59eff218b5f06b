"""Train tables of logits, v and q, and measure the policy's distance from its limit."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from actde import Batch, Optimizer, OptimizerConfig, Outputs
from actde.expected_update import limit_policy
from experiments.limits.mdps import MDP

EPISODES = 64  # of each problem in a rollout
# Initial step sizes. SGD: the share of the error by which an entry of a table moves if every episode visits it. AdamW:
# the learning rate of the logits, in nats. The learning rate of v and q is tau times as large.
STEP_SIZES = {"sgd": 0.5, "adamw": 0.1}
CHECKS = 20  # measurements that `train` makes in every `rollouts` rollouts


@dataclass(slots=True, kw_only=True)
class Tables:
    """Tables of logits [R, S, A], q [R, S, A] and v [R, S], for R problems with S states and A actions."""

    logits: Tensor
    q: Tensor
    v: Tensor

    @property
    def policy(self) -> Tensor:
        return self.logits.detach().softmax(-1)


@dataclass(slots=True, kw_only=True)
class Curve:
    """Distances of the policy from the limit softmax(log pi_0 + Q^pi / tau), in nats.

    Attributes:
        distances: at each measurement, the largest distance in any state of any problem.
        initial_distance: the distance between pi_0 and the final limit.
        spread: the largest difference between the final Q^pi of two actions in a state, divided by tau.
    """

    distances: list[float]
    initial_distance: float
    spread: float


def distances(policy: Tensor, limit: Tensor) -> Tensor:
    """Return the larger of KL(policy || limit) and KL(limit || policy) over A actions, in nats. Arguments: [..., A]."""
    ratio = (policy / limit).log()
    return torch.maximum((policy * ratio).sum(-1), -(limit * ratio).sum(-1))


def train(
    mdp: MDP,
    make_optimizer: Callable[[OptimizerConfig], Optimizer],
    *,
    tau: float,
    torch_optimizer: str,
    rollouts: int,
    length_factor: int = 1,
    recentre_q: bool = False,
) -> Curve:
    """Train tables on `mdp` for `rollouts` * `length_factor` rollouts, and return a `Curve`."""
    rng = torch.Generator().manual_seed(0)
    value = (mdp.initial_policy * mdp.q(mdp.initial_policy)).sum(-1)
    tables = Tables(
        logits=mdp.initial_policy.log(), q=value.unsqueeze(-1).repeat(1, 1, mdp.initial_policy.shape[-1]), v=value
    )
    for table in (tables.logits, tables.q, tables.v):
        table.requires_grad_()
    optimizer = make_optimizer(
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
    sgd_or_adamw = _torch_optimizer(tables, torch_optimizer, tau, loss_in_nats=optimizer.name == "mpo")
    # the sum of all step sizes diverges, so they do not limit how far the tables can move
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd_or_adamw, lambda t: 1 / (1 + 4 * t / rollouts))
    state = (torch.arange(len(mdp.initial_policy)) * mdp.initial_policy.shape[1]).repeat_interleave(EPISODES)
    measurements = []
    for rollout in range(1, rollouts * length_factor + 1):
        batch, states, actions, state = _rollout(mdp, tables, state, rng)
        loss, _ = optimizer.loss(batch, optimizer.targets(batch), table_outputs(mdp, tables, states, actions))
        sgd_or_adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        sgd_or_adamw.step()
        schedule.step()
        if rollout % (rollouts // CHECKS) == 0:
            q = mdp.q(tables.policy)
            limit = limit_policy(mdp.initial_policy, q, tau)
            measurements.append(float(distances(tables.policy, limit).max()))
    return Curve(
        distances=measurements,
        initial_distance=float(distances(mdp.initial_policy, limit).max()),
        spread=float((q.amax(-1) - q.amin(-1)).max()) / tau,
    )


def _torch_optimizer(tables: Tables, name: str, tau: float, *, loss_in_nats: bool) -> torch.optim.Optimizer:
    """Return SGD or AdamW. Steps of q and v are tau times the steps of the logits."""
    step_size, state_count = STEP_SIZES[name], tables.v.numel()
    if name == "adamw":
        rates = {"logits": step_size, "q": step_size * tau, "v": step_size * tau}
    else:  # the loss is a mean over all states, so a state gets only its share of a step
        rates = {
            "logits": step_size * state_count / (1 if loss_in_nats else tau),
            "q": step_size * state_count,
            "v": step_size * state_count,
        }
    groups = [{"params": [getattr(tables, table)], "lr": rate} for table, rate in rates.items()]
    return torch.optim.SGD(groups) if name == "sgd" else torch.optim.AdamW(groups, eps=1e-12, weight_decay=0.0)


def table_outputs(mdp: MDP, tables: Tables, states: Tensor, actions: Tensor) -> Outputs:
    """Return the outputs of the tables, [N, T].

    `states` [N, T] holds indices into the result of `merge_problems`. `actions` is [N, T].
    """
    logprobs = merge_problems(tables.logits)[states].log_softmax(-1)  # [N, T, A]
    policy, q = logprobs.exp(), merge_problems(tables.q)[states]
    return Outputs(
        logprobs=values_at(logprobs, actions),
        entropy=-(policy * logprobs).sum(-1),
        values=tables.v.flatten()[states],
        q_values=values_at(q, actions).unsqueeze(-1),
        expected_q=(policy * q.detach()).sum(-1),
        kl=(policy * (logprobs - merge_problems(mdp.initial_policy)[states].log())).sum(-1),
    )


def values_at(table: Tensor, actions: Tensor) -> Tensor:
    """Return the entry of `table` [..., A] for each of `actions` [...]."""
    return table.gather(-1, actions.unsqueeze(-1))[..., 0]


def merge_problems(table: Tensor) -> Tensor:
    """Merge the axes of R problems and S states: [R, S, ...] to [R * S, ...]."""
    return table.flatten(0, 1)


@torch.no_grad()
def _rollout(mdp: MDP, tables: Tables, state: Tensor, rng: torch.Generator) -> tuple[Batch, Tensor, Tensor, Tensor]:
    """Play T = `mdp.turns` turns from each of the N states `state`.

    Return the batch, the states [N, T], the actions [N, T], and the states [N] after the last turn.
    """
    state_count = mdp.initial_policy.shape[1]
    first_states = state - state % state_count  # the first state of each problem
    policy, transitions = merge_problems(tables.policy), merge_problems(mdp.transitions)
    state_columns, action_columns, next_states, terminations = [], [], [], []
    for _ in range(mdp.turns):
        action = _draw(policy[state], rng).clamp_max(policy.shape[1] - 1)
        next_index = _draw(transitions[state, action], rng)  # the number of states stands for the end
        state_columns.append(state)
        action_columns.append(action)
        terminations.append(next_index == state_count)
        state = first_states + torch.where(terminations[-1], 0, next_index)
        next_states.append(state)
    states, actions = torch.stack(state_columns, -1), torch.stack(action_columns, -1)
    noise = mdp.noise * torch.randn(states.shape, generator=rng, dtype=torch.float64)
    batch = Batch(
        rewards=values_at(merge_problems(mdp.rewards)[states], actions) + noise,
        discounts=mdp.discount * (~torch.stack(terminations, -1)).double(),
        mask=torch.ones_like(states, dtype=torch.bool),
        logprobs=values_at(policy[states], actions).log(),
        values=tables.v.flatten()[states],
        next_values=tables.v.flatten()[torch.stack(next_states, -1)],
        q_values=values_at(merge_problems(tables.q)[states], actions),
        ref_logprobs=values_at(merge_problems(mdp.initial_policy)[states], actions).log(),
    )
    return batch, states, actions, state


def _draw(probabilities: Tensor, rng: torch.Generator) -> Tensor:
    """Sample one index from 0 to K for each row of `probabilities` [N, K].

    Index K has the rest of the probability.
    """
    return (probabilities.cumsum(-1) <= torch.rand(len(probabilities), 1, generator=rng, dtype=torch.float64)).sum(-1)
