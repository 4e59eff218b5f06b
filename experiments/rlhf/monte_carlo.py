"""Compare the learned q with Monte Carlo estimates of Q^pi: how much the return depends on the next token of a text.

In some states that the trained policy visits, the policy writes many continuations of each of its likeliest next
tokens. The mean return of these texts is an unbiased estimate of Q^pi(s, a). Its sampling error is estimated, and is
subtracted from the variance of the estimates within a state.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from experiments.rlhf.sampled_returns import returns_of

Array = NDArray[np.float64]
LIKELY_TOKENS, TEXTS_PER_TOKEN = 6, 24
"""Number of likeliest next tokens per state, and number of texts that continue each of these tokens."""
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
    """Return, for one state of each text, a dict of arrays [K] over K next tokens of the state.

    `monte_carlo` contains the estimates of Q^pi, `error` their standard errors, and `q` the learned q, all in units of
    the reward. `log_ratio` is log pi - log pi_0 in nats.

    In text i, the state is the one before the token with the index 4 i, modulo the length of the text. The K tokens are
    the `LIKELY_TOKENS` likeliest, without those that end the text. States with K < 2 are skipped.

    Args:
        trained: agent with the policy pi and with q. It writes the continuations.
        initial: agent with the policy pi_0.
        segments: recorded texts of the trained agent, one for each prompt.
        prompts: the prompt of each text.
        reward: name of the reward.
        max_tokens: largest number of tokens in a text.
        seed: seed of the continuations.
    """
    ends, embedding = trained.text_ends[1], trained.model.base.get_output_embeddings().weight
    rows, streams, limits, starts = list[dict[str, Array]](), list[list[int]](), list[int](), list[tuple[str, int]]()
    for number, (segment, prompt) in enumerate(zip(segments, prompts, strict=True)):
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
        limits += [max_tokens - at - 1] * len(tokens)
        starts += [(prompt, segment.choices[0].position + 1)] * len(tokens)
    if not rows:
        return []
    returns = returns_of(trained, streams, limits, starts, reward, TEXTS_PER_TOKEN, np.random.SeedSequence(seed))
    for row, own in zip(rows, np.split(returns, np.cumsum([len(row["q"]) for row in rows])[:-1]), strict=True):
        row["monte_carlo"], row["error"] = own.mean(1), own.std(1, ddof=1) / np.sqrt(TEXTS_PER_TOKEN)
    return rows


def summary(states: Sequence[dict[str, Array]]) -> dict[str, dict[str, float]]:
    """Return three measures, with 95% bootstrap confidence intervals over states. Without states, they are NaN.

    Within each state, all quantities are centred, and all tokens have the same weight.

    * `spread`: standard deviation of Q^pi within states, after subtraction of the sampling error
    * `correlation`: correlation between q and the estimates of Q^pi, attenuated by the sampling error
    * `log_ratio`: correlation between log pi - log pi_0 and the estimates of Q^pi, also attenuated
    """
    if not states:
        return {name: dict.fromkeys(("value", "low", "high"), float("nan")) for name in MEASURES}
    rng = np.random.default_rng(0)
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
