"""The guided policy: its probabilities by hand, in tries and in free text, and no change without guidance."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import TurnOutputs, command_probabilities, guided, guided_logprobs
from agents.model.actor_critic import ActorCritic
from agents.model.command_trie import build_trie
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError, DivergenceError
from tests.agents.language_model.test_agent import turn
from tests.helpers.models import KINDS, Kind, agent, tiny_model, tokenizer
from tests.helpers.updates import SPEC

BETA = 2.0


def test_command_probabilities_by_hand() -> None:
    """Commands (1, 3), (1, 4) and (2,): a choice of 1 or 2 and, after 1, of 3 or 4.

    With beta 2, exp(2 q) is 4 and 1 at the first choice and 1 and 3 at the second one.
    """
    trie = build_trie([(1, 3), (1, 4), (2,)])
    outputs = TurnOutputs(
        trie=trie,
        logprobs=np.log([[0.25, 0.75], [0.5, 0.5]]),
        values=np.array([7.0, -7.0]),
        q_values=np.array([[math.log(4) / 2, 0.0], [0.0, math.log(3) / 2]]),
    )
    # 1/4 x 4 : 3/4 x 1 = 4 : 3, and 1 : 3
    wanted = [4 / 7 * 1 / 4, 4 / 7 * 3 / 4, 3 / 7]
    np.testing.assert_allclose(command_probabilities(trie, guided(outputs, BETA).logprobs), wanted, rtol=1e-12)
    wrong = guided(outputs, -BETA)
    assert np.abs(command_probabilities(trie, wrong.logprobs) - wanted).max() > 0.1


def test_v_cancels_and_padding_stays_impossible() -> None:
    logprobs = torch.tensor([[0.2, 0.8, 0.0]], dtype=torch.float64).log()
    q = torch.tensor([[1.0, -1.0, 9.0]], dtype=torch.float64)
    found = guided_logprobs(logprobs, q, BETA)
    torch.testing.assert_close(guided_logprobs(logprobs, q - 5.0, BETA), found)
    assert found[0, 2] == -math.inf
    assert float(found.exp().sum()) == pytest.approx(1.0)


def played(model: ActorCritic, **settings: Any) -> list[Any]:
    with EpisodeRunner([SPEC], seed=3, parallel=3) as runner:
        return sorted(runner.play(agent(model, **settings), 6), key=lambda episode: episode.index)


@pytest.mark.parametrize("mode", ["trie", "free"])
def test_beta_0_changes_no_bit(mode: str) -> None:
    model = tiny_model()
    plain, zero = played(model, mode=mode), played(model, mode=mode, guide_beta=0.0)
    assert [e.steps for e in plain] == [e.steps for e in zero]
    assert [e.steps for e in plain] != [e.steps for e in played(model, mode=mode, guide_beta=BETA)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target_q", [False, True])
def test_play_is_guided_by_the_lower_q(kind: Kind, target_q: bool) -> None:
    """Decisions state the guided policy, and so do the recorded choices."""
    model = tiny_model(kind, q_heads=2, target_q=target_q)
    plain, player = agent(model), agent(model, guide_beta=BETA)
    (before,), (decision,) = (one.act([turn(["go", "take"], text="you see a lamp")]) for one in (plain, player))
    unnormalised = {c: before.probabilities[c] * math.exp(BETA * before.q_values[c]) for c in ("go", "take")}
    wanted = {command: value / sum(unnormalised.values()) for command, value in unnormalised.items()}
    assert dict(decision.probabilities) == pytest.approx(wanted, abs=1e-6)
    assert decision.q_values == before.q_values
    assert decision.value == before.value
    choice = player._live[0].stream.choices[0]
    assert math.exp(choice.logprob) == pytest.approx(wanted[decision.command], abs=1e-6)


def test_free_text_is_guided_over_the_whole_vocabulary() -> None:
    model = tiny_model(q_heads=2, target_q=True)
    player = agent(model, mode="free", guide_beta=BETA, max_command_tokens=1)
    (decision,) = player.act([turn([], text="you see a lamp")])
    tokens = torch.tensor([player._live[0].stream.tokens[: player._live[0].stream.choices[0].position + 1]])
    with torch.no_grad():
        hidden = model.hidden_states(tokens)[:, -1]
        every = torch.arange(len(tokenizer()))[None]
        heads = model.evaluate_heads(hidden, every)
        assert heads.recorded_q is not None
        logits = model.all_logprobs(hidden) + BETA * heads.recorded_q
    chosen = player._live[0].stream.choices[0].alternatives[0]
    assert decision.tokens[0].logprob == pytest.approx(float(logits.log_softmax(-1)[0, chosen]), abs=1e-5)


def test_an_agent_without_q_cannot_be_guided() -> None:
    with pytest.raises(AgentError, match="--guide-beta 2 needs q, but lm has no Q heads"):
        LanguageModelAgent(tiny_model(q_heads=0), tokenizer(), name="lm", guide_beta=BETA)


def test_an_infinite_q_is_reported() -> None:
    model = tiny_model()
    with torch.no_grad():
        next(model.heads.q.parameters()).fill_(math.inf)
    with pytest.raises(DivergenceError, match="not finite"):
        played(model, guide_beta=BETA)
