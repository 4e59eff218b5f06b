"""Compare the learned q with Monte Carlo estimates of Q^pi: how much the return depends on the next token of a text.

In some states that the trained policy visits, the policy writes many continuations of each of its likeliest next
tokens. The mean return of these texts is an unbiased estimate of Q^pi(s, a). Its sampling error is estimated, and is
subtracted from the variance of the estimates within a state.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.completion_rewards import scorer
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment

Array = NDArray[np.float64]
TOKENS, SAMPLES = 6, 24
"""Likeliest tokens of a state, and texts that continue each of them."""
MEASURES = ("spread", "correlation", "log_ratio")


@torch.no_grad()
def q_estimates(
    trained: LanguageModelAgent,
    initial: LanguageModelAgent,
    segments: Sequence[Segment],
    prompts: Sequence[str],
    reward: str,
    *,
    max_tokens: int,
    seed: int,
) -> list[dict[str, Array]]:
    """Return arrays [K] for one state of each text: Q^pi, its standard error, q, pi and log pi - log pi_0.

    In text i, the state is the one before the token with the index 4 i, modulo the length of the text. The K tokens are
    those of the `TOKENS` likeliest that do not end the text. States with K < 2 are skipped.

    Args:
        segments: recorded texts of the trained agent, one for each prompt.
        reward: name of the reward, whose unit is that of q.
    """
    torch.manual_seed(seed)
    score, (_, ends), rows = scorer(reward), trained.text_ends, list[dict[str, Array]]()
    for number, (segment, prompt) in enumerate(zip(segments, prompts, strict=True)):
        at = 4 * number % len(segment.choices)
        first, position = segment.choices[0].position, segment.choices[at].position
        state = torch.from_numpy(segment.tokens[: position + 1])[None]
        ours, theirs = (agent.model.hidden_states(state, use_cache=False)[:, -1] for agent in (trained, initial))
        logprobs, before = (a.model.all_logprobs(h)[0] for a, h in ((trained, ours), (initial, theirs)))
        tokens = torch.tensor([t for t in logprobs.topk(TOKENS).indices.tolist() if t not in ends])
        if len(tokens) < 2:
            continue
        streams = torch.cat([state.expand(len(tokens), -1), tokens[:, None]], dim=1).repeat_interleave(SAMPLES, 0)
        texts = [
            trained.tokenizer.decode([t for t in text if t not in ends], skip_special_tokens=True)
            for text in _continued(trained, streams, max_tokens - at - 1, ends)[:, first + 1 :].tolist()
        ]
        returns = np.reshape(score([prompt] * len(texts), texts), (len(tokens), SAMPLES))
        weight = trained.model.base.get_output_embeddings().weight[tokens]
        rows.append(
            {
                "monte_carlo": returns.mean(1),
                "error": returns.std(1, ddof=1) / np.sqrt(SAMPLES),
                "q": trained.model.heads.q_values(ours, tokens, weight)[0].amin(-1).double().numpy(),
                "policy": logprobs[tokens].exp().double().numpy(),
                "log_ratio": (logprobs - before)[tokens].double().numpy(),
            }
        )
    return rows


def _continued(agent: LanguageModelAgent, streams: Tensor, limit: int, ends: frozenset[int]) -> Tensor:
    """Continue each of the streams [N, L] by at most `limit` sampled tokens. Shorter texts are padded by end tokens."""
    if limit <= 0:
        return streams
    model = agent.model
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.dtype == torch.bfloat16):
        generated: Tensor = model.base.generate(
            streams,
            attention_mask=torch.ones_like(streams),
            do_sample=True,
            top_k=0,
            max_new_tokens=limit,
            eos_token_id=sorted(ends),
            pad_token_id=min(ends),
        )
    return generated


def summary(states: Sequence[dict[str, Array]], seed: int = 0) -> dict[str, dict[str, float]]:
    """Return three measures, with 95% bootstrap confidence intervals over states.

    Within each state, all quantities are centred, and all tokens have the same weight.

    * `spread`: standard deviation of Q^pi within states, after subtraction of the sampling error
    * `correlation`: correlation between q and the estimates of Q^pi, attenuated by the sampling error
    * `log_ratio`: correlation between log pi - log pi_0 and the estimates of Q^pi, also attenuated
    """
    rng = np.random.default_rng(seed)
    moments = np.array([_moments(state) for state in states])
    drawn = moments[rng.integers(len(states), size=(2000, len(states)))].sum(1)
    values, samples = _measures(moments.sum(0)), _measures(drawn.T)
    low, high = np.nanquantile(samples, (0.025, 0.975), axis=1)
    rows = zip(MEASURES, values.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: {"value": value, "low": a, "high": b} for name, value, a, b in rows}


def _moments(state: dict[str, Array]) -> Array:
    """Return the sums [7] over a state's tokens that `_measures` needs, in the order in which it unpacks them."""
    true, q, ratio = (state[name] - state[name].mean() for name in ("monte_carlo", "q", "log_ratio"))
    noise = (1 - 1 / len(true)) * state["error"] @ state["error"]
    return np.array([true @ true, noise, q @ q, true @ q, ratio @ ratio, true @ ratio, len(true) - 1])


def _measures(sums: Array) -> Array:
    """Return the measures [3, ...] of `summary` from the sums [7, ...] of `_moments`."""
    true, noise, q, true_q, ratio, true_ratio, freedom = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(0.0, true - noise) / freedom)
        return np.array([spread, true_q / np.sqrt(true * q), true_ratio / np.sqrt(true * ratio)])
