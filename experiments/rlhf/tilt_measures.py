"""Compare log pi - log pi_0 with q / tau (see `actde/tabular.py`), and q with Q^pi."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint import load_agent
from agents.training.probe import PromptSpec
from agents.training.rollout_batch import RolloutBatch
from experiments.rlhf.contrasts import ENDS, Array, with_bounds
from experiments.rlhf.sampled_returns import returns_of
from games import resolve
from games.completion.prompts import load_prompts

LIKELIEST = 100  # number of tokens per state that have equal weights in the weighting `likeliest`; others have 0
STATES = 16  # number of texts that contribute a state to the Monte Carlo estimates
SEED = 0  # seed of the texts and of the Monte Carlo estimates
LIKELY_TOKENS, TEXTS_PER_TOKEN = 6, 24  # likeliest next tokens per state, and texts that continue each of them
MEASURES = ("spread", "correlation", "log_ratio")
WEIGHTINGS = ("sampled", "initial", "likeliest")  # tokens weighted by pi, by pi_0, or equally if likely under pi_0


@dataclass(frozen=True, slots=True)
class Visited:
    """The texts that a trained agent (pi) wrote, and the agent before training (pi_0)."""

    trained: LanguageModelAgent
    initial: LanguageModelAgent
    prompts: list[str]
    segments: list[Segment]
    reward: str
    max_tokens: int


def measure(checkpoint: Path, initial: Path, game: str, prompts: str) -> dict[str, Any]:
    """Return the results of `regressions`, with those of `summary` under the key `monte_carlo`.

    `checkpoint` is the folder of an agent with q, whose policy is not guided by q.
    """
    with torch.random.fork_rng():  # training in the same process must not be affected
        trained, before = load_agent(checkpoint, seed=SEED), load_agent(initial, seed=SEED)
        trained.record = True
        spec, texts = resolve(game)[0], load_prompts(prompts)
        with EpisodeRunner([PromptSpec(spec, prompt) for prompt in texts], seed=SEED, parallel=len(texts)) as runner:
            list(runner.play(trained, len(texts)))
        with closing(spec.make()) as env:
            limits = env.reset(seed=SEED)[1]
        visited = Visited(
            trained=trained,
            initial=before,
            prompts=list(texts),
            segments=sorted(trained.take_segments(), key=lambda segment: segment.episode),
            reward=str(dict(spec.settings).get("reward", "sentiment")),
            max_tokens=int(limits["max_tokens"]),
        )
        states = q_estimates(visited)
        return {**regressions(visited), "monte_carlo": {"states": len(states), **summary(states)}}


@torch.no_grad()
def regressions(visited: Visited) -> dict[str, Any]:
    """Regress log pi - log pi_0 on q within states, once for each of `WEIGHTINGS`.

    * `slope`: 1 / tau, in nats per unit of reward
    * `r2`: squared correlation
    * `spread_q`: standard deviation of q, in units of reward
    * `spread_log_ratio`: standard deviation of log pi - log pi_0, in nats
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


@torch.no_grad()
def q_estimates(visited: Visited) -> list[dict[str, Array]]:
    """Return arrays [K] over likely next tokens, for a state of each of the first `STATES` texts.

    * `monte_carlo`, `error`: estimates of Q^pi and their standard errors, in units of reward
    * `q`: the learned q
    * `log_ratio`: log pi - log pi_0, in nats
    """
    trained, initial = visited.trained, visited.initial
    ends, embedding = trained.text_ends[1], trained.model.base.get_output_embeddings().weight
    rows, streams, limits, starts = list[dict[str, Array]](), list[list[int]](), list[int](), list[tuple[str, int]]()
    for number, (segment, prompt) in enumerate(zip(visited.segments[:STATES], visited.prompts[:STATES], strict=True)):
        at = 4 * number % len(segment.choices)
        state = segment.tokens[: segment.choices[at].position + 1]
        ours, theirs = (
            agent.model.hidden_states(torch.from_numpy(state)[None], use_cache=False)[:, -1]
            for agent in (trained, initial)
        )
        logprobs, before = (a.model.all_logprobs(h)[0] for a, h in ((trained, ours), (initial, theirs)))
        tokens = torch.tensor([t for t in logprobs.topk(LIKELY_TOKENS).indices.tolist() if t not in ends])
        if len(tokens) < 2:
            continue
        rows.append(
            {
                "q": trained.model.heads.q_values(ours, tokens, embedding[tokens])[0].amin(-1).double().numpy(),
                "log_ratio": (logprobs - before)[tokens].double().numpy(),
            }
        )
        streams += [[*state.tolist(), token] for token in tokens.tolist()]
        limits += [visited.max_tokens - at - 1] * len(tokens)
        starts += [(prompt, segment.choices[0].position + 1)] * len(tokens)
    if not rows:
        return []
    root = np.random.SeedSequence(SEED)
    returns = returns_of(trained, streams, limits, starts, visited.reward, TEXTS_PER_TOKEN, root)
    for row, own in zip(rows, np.split(returns, np.cumsum([len(row["q"]) for row in rows])[:-1]), strict=True):
        row["monte_carlo"], row["error"] = own.mean(1), own.std(1, ddof=1) / np.sqrt(TEXTS_PER_TOKEN)
    return rows


def summary(states: list[dict[str, Array]]) -> dict[str, dict[str, float]]:
    """Return three measures within states, with 95% bootstrap intervals. Without states, they are NaN.

    * `spread`: standard deviation of Q^pi, without the sampling error
    * `correlation`: correlation between q and the estimates of Q^pi
    * `log_ratio`: correlation between log pi - log pi_0 and these estimates

    The sampling error attenuates both correlations.
    """
    if not states:
        return {name: dict.fromkeys(("value", "low", "high"), float("nan")) for name in MEASURES}
    moments = np.array([_moments(state) for state in states])
    drawn = moments[np.random.default_rng(0).integers(len(states), size=(2000, len(states)))].sum(1)
    bounds = np.nanquantile(_measures(drawn.T), ENDS, axis=1)  # a resample may leave a correlation undefined
    return with_bounds(MEASURES, _measures(moments.sum(0)), bounds)


def _moments(state: dict[str, Array]) -> Array:
    """Return the sums [7] over a state's tokens that `_measures` unpacks."""
    true, q, ratio = (state[name] - state[name].mean() for name in ("monte_carlo", "q", "log_ratio"))
    noise = (1 - 1 / len(true)) * state["error"] @ state["error"]
    return np.array([true @ true, noise, q @ q, true @ q, ratio @ ratio, true @ ratio, len(true) - 1])


def _measures(sums: Array) -> Array:
    """Return the measures [3, ...] of `summary` from the sums [7, ...] of `_moments`."""
    true, noise, q, true_q, ratio, true_ratio, freedom = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(0.0, true - noise) / freedom)
        return np.array([spread, true_q / np.sqrt(true * q), true_ratio / np.sqrt(true * ratio)])
