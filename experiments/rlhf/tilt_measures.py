"""Compare log pi - log pi_0 with q / tau on the policy's own texts, and q with Q^pi.

The theory of ACTDE predicts log pi - log pi_0 = q / tau + c(s) (see `actde/tabular.py`), where a state s is the prefix
of a text. In each state that the trained policy visits, both sides are centred, and log pi - log pi_0 is regressed on
q. Tokens are weighted by pi (tokens that are sampled), by pi_0, or equally among the 100 likeliest tokens under pi_0
(mostly tokens that are not sampled). In some states, Monte Carlo estimates of Q^pi are compared with q (see
`experiments.rlhf.monte_carlo`).
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent
from agents.training.probe import PromptSpec
from agents.training.rollout_batch import RolloutBatch
from experiments.rlhf.monte_carlo import q_estimates, summary
from games import resolve
from games.completion.prompts import load_prompts

LIKELIEST = 100
"""Number of tokens per state that have equal weights in the weighting `likeliest`. All others have the weight 0."""
STATES = 16
"""Number of texts that contribute a state to the Monte Carlo estimates."""
SEED = 0
"""Seed of the texts and of the Monte Carlo estimates."""
WEIGHTINGS = ("sampled", "initial", "likeliest")


@dataclass(frozen=True, slots=True)
class Visited:
    """The texts with which a trained agent continued fixed prompts.

    Attributes:
        trained: the agent that wrote the texts, with the policy pi and with q.
        initial: the agent before training, with the policy pi_0.
        prompts: the prompts.
        segments: the recorded text of each prompt.
        reward: name of the reward.
        max_tokens: largest number of tokens in a text.
    """

    trained: LanguageModelAgent
    initial: LanguageModelAgent
    prompts: list[str]
    segments: list[Segment]
    reward: str
    max_tokens: int


def measure(checkpoint: Path, initial: Path, game: str, prompts: str) -> dict[str, Any]:
    """Return the measures of a checkpoint: those of `regressions` and, as `monte_carlo`, those of q against Q^pi.

    The state of PyTorch's random-number generators is restored, so that a training in this process is not changed.

    Args:
        checkpoint: folder of a trained agent with q, whose policy is not guided by q (`guide_beta` is 0).
        initial: folder of the agent before training.
        game: the completion game of the training.
        prompts: name or file of the prompts that the trained agent continues.
    """
    with torch.random.fork_rng():
        visited = visit(checkpoint, initial, game, prompts)
        states = q_estimates(
            visited.trained,
            visited.initial,
            visited.segments[:STATES],
            visited.prompts[:STATES],
            visited.reward,
            max_tokens=visited.max_tokens,
            seed=SEED,
        )
        return {**regressions(visited), "monte_carlo": {"states": len(states), **summary(states)}}


def visit(checkpoint: Path, initial: Path, game: str, prompts: str) -> Visited:
    """Let a trained agent continue a set of prompts. The arguments are those of `measure`."""
    trained, before = load_agent(checkpoint, seed=SEED), load_agent(initial, seed=SEED)
    trained.record = True
    spec = resolve(game)[0]
    texts = load_prompts(prompts)
    with EpisodeRunner([PromptSpec(spec, prompt) for prompt in texts], seed=SEED, parallel=len(texts)) as runner:
        list(runner.play(trained, len(texts)))
    with closing(spec.make()) as env:
        limits = env.reset(seed=SEED)[1]
    return Visited(
        trained=trained,
        initial=before,
        prompts=list(texts),
        segments=sorted(trained.take_segments(), key=lambda segment: segment.episode),
        reward=str(dict(spec.settings).get("reward", "sentiment")),
        max_tokens=int(limits["max_tokens"]),
    )


@torch.no_grad()
def regressions(visited: Visited) -> dict[str, Any]:
    """Return four measures of the regression of log pi - log pi_0 on q, pooled over states, for each of `WEIGHTINGS`.

    * `slope`: 1 / tau, in nats per unit of reward
    * `r2`: squared correlation
    * `spread_q`: standard deviation of q within states, in units of reward
    * `spread_log_ratio`: standard deviation of log pi - log pi_0 within states, in nats
    """
    trained, initial = visited.trained, visited.initial
    rollout = RolloutBatch(visited.segments, credit="token")
    sums: dict[str, Tensor] = {}
    for row in range(len(rollout)):
        part = rollout.micro_batch([row])
        ours, theirs = (
            agent.model.hidden_states(part.tokens, use_cache=False)[0, part.choices.positions]
            for agent in (trained, initial)
        )
        logprobs, first = trained.model.all_logprobs(ours), initial.model.all_logprobs(theirs)
        weight = trained.model.base.get_output_embeddings().weight
        q = trained.model.heads.q_values(ours, torch.arange(len(weight)), weight).amin(-1)
        equal = torch.zeros_like(first).scatter_(1, first.topk(LIKELIEST).indices, 1 / LIKELIEST)
        for name, w in (("sampled", logprobs.exp()), ("initial", first.exp()), ("likeliest", equal)):
            x, y = ((z - (w * z).sum(-1, keepdim=True)).double() for z in (q, logprobs - first))
            moments = torch.stack([(w * a).sum() for a in (x * x, x * y, y * y)])
            sums[name] = sums.get(name, torch.zeros(3, dtype=torch.float64)) + moments
    choices = int(rollout.offsets[-1])
    return {
        name: {
            "slope": float(xy / xx),
            "r2": float(xy**2 / (xx * yy)),
            "spread_q": float((xx / choices).sqrt()),
            "spread_log_ratio": float((yy / choices).sqrt()),
        }
        for name, (xx, xy, yy) in sums.items()
    }
