"""Compare the learned q with log pi - log pi_0, and with Monte Carlo estimates of Q^pi."""

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
from experiments.rlhf.contrasts import INTERVAL_QUANTILES, Array, with_bounds
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
class AgentTexts:
    """A trained agent (policy pi), the initial agent (policy pi_0), and texts of the trained agent."""

    trained: LanguageModelAgent
    initial: LanguageModelAgent
    prompts: list[str]
    segments: list[Segment]
    reward: str
    max_tokens: int


def measure(checkpoint: Path, initial: Path, game: str, prompts: str) -> dict[str, Any]:
    """Measure the agent in the folder `checkpoint`: results of `regressions` and `summary`."""
    with torch.random.fork_rng():  # training in the same process must not be affected
        trained, initial_agent = load_agent(checkpoint, seed=SEED), load_agent(initial, seed=SEED)
        trained.record = True
        spec, texts = resolve(game)[0], load_prompts(prompts)
        with EpisodeRunner([PromptSpec(spec, prompt) for prompt in texts], seed=SEED, parallel=len(texts)) as runner:
            list(runner.play(trained, len(texts)))
        with closing(spec.make()) as env:
            limits = env.reset(seed=SEED)[1]
        agent_texts = AgentTexts(
            trained=trained,
            initial=initial_agent,
            prompts=list(texts),
            segments=sorted(trained.take_segments(), key=lambda segment: segment.episode),
            reward=str(dict(spec.settings).get("reward", "sentiment")),
            max_tokens=int(limits["max_tokens"]),
        )
        states = q_estimates(agent_texts)
        return {**regressions(agent_texts), "monte_carlo": {"states": len(states), **summary(states)}}


@torch.no_grad()
def regressions(agent_texts: AgentTexts) -> dict[str, Any]:
    """Return a dict: weighting -> regression of log pi - log pi_0 on q (both centred per state)."""
    trained, initial = agent_texts.trained, agent_texts.initial
    rollout = RolloutBatch(agent_texts.segments, credit="token")
    sums: dict[str, Tensor] = {}
    for row in range(len(rollout)):
        micro_batch = rollout.micro_batch([row])
        trained_hidden, initial_hidden = (
            agent.model.hidden_states(micro_batch.tokens, use_cache=False)[0, micro_batch.choices.positions]
            for agent in (trained, initial)
        )
        logprobs, initial_logprobs = (
            trained.model.all_logprobs(trained_hidden),
            initial.model.all_logprobs(initial_hidden),
        )
        weight = trained.model.base.get_output_embeddings().weight
        q = trained.model.heads.q_values(trained_hidden, torch.arange(len(weight)), weight).amin(-1)
        likeliest_weights = torch.zeros_like(initial_logprobs).scatter_(
            1, initial_logprobs.topk(LIKELIEST).indices, 1 / LIKELIEST
        )
        for name, w in (
            ("sampled", logprobs.exp()),
            ("initial", initial_logprobs.exp()),
            ("likeliest", likeliest_weights),
        ):
            x, y = ((z - (w * z).sum(-1, keepdim=True)).double() for z in (q, logprobs - initial_logprobs))
            moments = torch.stack([(w * a).sum() for a in (x * x, x * y, y * y)])
            sums[name] = sums.get(name, torch.zeros(3, dtype=torch.float64)) + moments
    choices = int(rollout.offsets[-1])
    return {
        name: {
            "slope": float(xy / xx),  # estimates 1 / tau
            "r2": float(xy**2 / (xx * yy)),
            "spread_q": float((xx / choices).sqrt()),
            "spread_log_ratio": float((yy / choices).sqrt()),
        }
        for name, (xx, xy, yy) in sums.items()
    }


@torch.no_grad()
def q_estimates(agent_texts: AgentTexts) -> list[dict[str, Array]]:
    """Return one dict per state, for up to `STATES` states. Arrays have one entry per likely next token.

    * `monte_carlo`: estimates of Q^pi
    * `error`: standard errors of the estimates
    * `q`: the learned q
    * `log_ratio`: log pi - log pi_0
    """
    trained, initial = agent_texts.trained, agent_texts.initial
    end_tokens, embedding = trained.text_ends[1], trained.model.base.get_output_embeddings().weight
    rows, streams, limits, starts = list[dict[str, Array]](), list[list[int]](), list[int](), list[tuple[str, int]]()
    for index, (segment, prompt) in enumerate(
        zip(agent_texts.segments[:STATES], agent_texts.prompts[:STATES], strict=True)
    ):
        choice = 4 * index % len(segment.choices)
        state = segment.tokens[: segment.choices[choice].position + 1]
        trained_hidden, initial_hidden = (
            agent.model.hidden_states(torch.from_numpy(state)[None], use_cache=False)[:, -1]
            for agent in (trained, initial)
        )
        logprobs, initial_logprobs = (
            a.model.all_logprobs(h)[0] for a, h in ((trained, trained_hidden), (initial, initial_hidden))
        )
        tokens = torch.tensor([t for t in logprobs.topk(LIKELY_TOKENS).indices.tolist() if t not in end_tokens])
        if len(tokens) < 2:
            continue
        rows.append(
            {
                "q": trained.model.heads.q_values(trained_hidden, tokens, embedding[tokens])[0]
                .amin(-1)
                .double()
                .numpy(),
                "log_ratio": (logprobs - initial_logprobs)[tokens].double().numpy(),
            }
        )
        streams += [[*state.tolist(), token] for token in tokens.tolist()]
        limits += [agent_texts.max_tokens - choice - 1] * len(tokens)
        starts += [(prompt, segment.choices[0].position + 1)] * len(tokens)
    if not rows:
        return []
    root = np.random.SeedSequence(SEED)
    returns = returns_of(trained, streams, limits, starts, agent_texts.reward, TEXTS_PER_TOKEN, root)
    for row, state_returns in zip(
        rows, np.split(returns, np.cumsum([len(row["q"]) for row in rows])[:-1]), strict=True
    ):
        row["monte_carlo"], row["error"] = (
            state_returns.mean(1),
            state_returns.std(1, ddof=1) / np.sqrt(TEXTS_PER_TOKEN),
        )
    return rows


def summary(states: list[dict[str, Array]]) -> dict[str, dict[str, float]]:
    """Return three measures with 95% bootstrap intervals. Inputs are first centred within each state.

    * `spread`: standard deviation of Q^pi, with the sampling error subtracted
    * `correlation`: correlation of q with the estimates of Q^pi
    * `log_ratio`: correlation of log pi - log pi_0 with the estimates of Q^pi
    """
    if not states:
        return {name: dict.fromkeys(("value", "low", "high"), float("nan")) for name in MEASURES}
    moments = np.array([_moments(state) for state in states])
    resampled = moments[np.random.default_rng(0).integers(len(states), size=(2000, len(states)))].sum(1)
    bounds = np.nanquantile(
        _measures(resampled.T), INTERVAL_QUANTILES, axis=1
    )  # a resample may leave a correlation undefined
    return with_bounds(MEASURES, _measures(moments.sum(0)), bounds)


def _moments(state: dict[str, Array]) -> Array:
    true, q, ratio = (state[name] - state[name].mean() for name in ("monte_carlo", "q", "log_ratio"))
    noise = (1 - 1 / len(true)) * state["error"] @ state["error"]
    return np.array([true @ true, noise, q @ q, true @ q, ratio @ ratio, true @ ratio, len(true) - 1])


def _measures(sums: Array) -> Array:
    """Compute the three measures of `summary` from sums of `_moments`."""
    true, noise, q, true_q, ratio, true_ratio, degrees_of_freedom = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(0.0, true - noise) / degrees_of_freedom)
        return np.array([spread, true_q / np.sqrt(true * q), true_ratio / np.sqrt(true * ratio)])
