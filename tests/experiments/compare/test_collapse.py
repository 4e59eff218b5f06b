"""Measures of collapse: properties that hold for any policy, and the paired agent compared with plain play."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from agents.language_model.agent import LanguageModelAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import Agent, EpisodeEnd, Turn
from agents.training.rollout_batch import Credit
from experiments.compare import collapse
from experiments.compare.collapse import Floats, Nodes
from experiments.compare.paired_agent import PairedAgent
from tests.helpers.models import KINDS, Kind, bigram_model, tiny_model, tokenizer
from tests.helpers.scripts import Scene, script

COMMANDS = ("go north", "go south", "take red key", "take red lamp", "take blue key", "drop key 1")
ROOMS = script(*(Scene(f"room {n}", dict.fromkeys(COMMANDS, 1.0)) for n in range(3)))


def ragged(rng: np.random.Generator, n: int, width: int, scale: float) -> tuple[Floats, Floats]:
    """Return random logits [n, width] with 2 to `width` alternatives a row, and q; padding is -inf and 0."""
    counts = rng.integers(2, width + 1, n)
    padding = np.arange(width) >= counts[:, None]
    logits = np.where(padding, -np.inf, rng.normal(0, scale, (n, width)))
    return logits, np.where(padding, 0.0, rng.normal(0, 1, (n, width)))


@st.composite
def some_nodes(draw: st.DrawFn) -> Nodes:
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, width, scale = draw(st.integers(1, 5)), draw(st.integers(2, 5)), draw(st.sampled_from([0.01, 1.0, 20.0]))
    initial, q = ragged(rng, n, width, scale)
    policy = np.where(initial == -np.inf, -np.inf, rng.normal(0, scale, (n, width)))
    return Nodes(
        reach=np.append(1.0, rng.uniform(0, 1, n - 1)),
        policy=log_softmax(policy, axis=1),
        initial=log_softmax(initial, axis=1),
        q_values=q,
        decisions=draw(st.integers(1, n)),
    )


def q_of(nodes: Nodes) -> Floats:
    assert nodes.q_values is not None
    return nodes.q_values


def changed(nodes: Nodes, **parts: Any) -> Nodes:
    fields = ("reach", "policy", "initial", "q_values", "decisions")
    return Nodes(**({name: getattr(nodes, name) for name in fields} | parts))


@given(some_nodes())
def test_kl_is_never_negative(nodes: Nodes) -> None:
    assert collapse.kl_to_initial(nodes) >= -1e-12
    assert collapse.kl_to_tilted(nodes, 3.0) >= -1e-12
    assert collapse.kl_to_initial(changed(nodes, policy=nodes.initial)) == 0


@given(some_nodes(), st.floats(0, 50))
def test_without_q_the_tilted_policy_is_the_initial_policy(nodes: Nodes, inverse_tau: float) -> None:
    none = changed(nodes, q_values=np.zeros_like(nodes.policy))
    assert collapse.kl_to_tilted(none, inverse_tau) == pytest.approx(collapse.kl_to_initial(nodes), abs=1e-9)
    assert collapse.kl_to_tilted(nodes, 0.0) == pytest.approx(collapse.kl_to_initial(nodes), abs=1e-9)
    assert collapse.best_inverse_tau(none) == 0


@given(some_nodes(), st.floats(0.05, 5))
def test_a_constant_added_to_q_changes_nothing(nodes: Nodes, inverse_tau: float) -> None:
    padding = nodes.policy == -np.inf
    moved = changed(nodes, q_values=np.where(padding, 0.0, q_of(nodes) + 7.0))
    expected = collapse.kl_to_tilted(nodes, inverse_tau)
    assert collapse.kl_to_tilted(moved, inverse_tau) == pytest.approx(expected, abs=1e-9)
    least = collapse.kl_to_tilted(nodes, collapse.best_inverse_tau(nodes))
    assert collapse.kl_to_tilted(nodes, collapse.best_inverse_tau(moved)) == pytest.approx(least, abs=1e-7)


@given(some_nodes(), st.floats(0.1, 5))
def test_the_temperature_of_a_tilted_policy_is_recovered(nodes: Nodes, inverse_tau: float) -> None:
    """If pi = softmax(log pi_0 + q / tau), the KL to the tilted policy is 0 at this tau, which is the best fit."""
    made = changed(nodes, policy=collapse.tilted_policy(nodes, inverse_tau))
    assert collapse.kl_to_tilted(made, inverse_tau) == pytest.approx(0, abs=1e-9)
    best = collapse.best_inverse_tau(made)
    assert collapse.kl_to_tilted(made, best) == pytest.approx(0, abs=1e-7)
    p, q = np.exp(made.policy), q_of(nodes)
    if made.mean((p * q**2).sum(axis=1) - (p * q).sum(axis=1) ** 2) > 1e-3:  # else many values of tau fit
        assert best == pytest.approx(inverse_tau, rel=1e-3)


@given(some_nodes(), st.floats(0, 100))
def test_no_temperature_fits_better_than_the_best(nodes: Nodes, other: float) -> None:
    best = collapse.best_inverse_tau(nodes)
    assert collapse.kl_to_tilted(nodes, best) <= collapse.kl_to_tilted(nodes, other) + 1e-7


def test_a_policy_that_prefers_low_q_is_fitted_best_by_the_initial_policy() -> None:
    logs = np.log([[0.9, 0.1]])
    nodes = Nodes(
        reach=np.ones(1), policy=logs, initial=np.log([[0.5, 0.5]]), q_values=np.array([[0.0, 1.0]]), decisions=1
    )
    assert collapse.best_inverse_tau(nodes) == 0
    assert collapse.kl_to_initial(nodes) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))


def test_inconsistent_shapes_are_refused() -> None:
    logs = np.log([[0.5, 0.5]])
    with pytest.raises(ValueError, match="reach is"):
        Nodes(reach=np.ones(2), policy=logs, initial=logs, q_values=None, decisions=1)
    with pytest.raises(ValueError, match="finite"):
        Nodes(reach=np.ones(1), policy=logs, initial=logs, q_values=np.array([[0.0, np.nan]]), decisions=1)
    with pytest.raises(ValueError, match="at least one"):
        Nodes(reach=np.ones(1), policy=logs, initial=logs, q_values=None, decisions=0)


# -- the paired agent ---------------------------------------------------------------------------------------


def player(kind: Kind, model_seed: int, **heads: Any) -> LanguageModelAgent:
    return LanguageModelAgent(tiny_model(kind, seed=model_seed, **heads), tokenizer(), name=f"{model_seed}", seed=4)


def first_turn(commands: Sequence[str]) -> Turn:
    info = {"admissible_commands": sorted(commands)}
    return Turn(episode=0, game="test", observation="room", info=info, reward=0.0, first=True)


def played(agent: Agent, episodes: int = 6) -> list[Episode]:
    with EpisodeRunner([ROOMS], seed=0, parallel=4) as runner:
        return sorted(runner.play(agent, episodes), key=lambda episode: episode.index)


@pytest.mark.parametrize("credit", ["token", "command"])
@pytest.mark.parametrize("kind", KINDS)
def test_kl_by_nodes_is_kl_over_commands(kind: Kind, credit: Credit) -> None:
    """The KL by the chain rule over the trie equals the KL between the command probabilities that `act` returns."""
    ours, theirs = (player(kind, seed).act([first_turn(COMMANDS)])[0] for seed in (0, 1))
    paired = PairedAgent(player(kind, 0), player(kind, 1), credit)
    assert paired.act([first_turn(COMMANDS)]) == [ours]
    nodes = paired.nodes()
    assert nodes is not None and nodes.decisions == 1
    assert len(nodes.reach) == (1 if credit == "command" else 4)
    expected = sum(p * math.log(p / theirs.probabilities[name]) for name, p in ours.probabilities.items())
    assert collapse.kl_to_initial(nodes) == pytest.approx(expected, rel=1e-5)
    if credit == "command":
        logits = [math.log(theirs.probabilities[name]) + 2.0 * ours.q_values[name] for name in sorted(COMMANDS)]
        tilted = log_softmax(logits)
        mine = [ours.probabilities[name] for name in sorted(COMMANDS)]
        expected = sum(p * (math.log(p) - t) for p, t in zip(mine, tilted, strict=True))
        assert collapse.kl_to_tilted(nodes, 2.0) == pytest.approx(expected, rel=1e-5)


def test_the_paired_agent_plays_as_the_trained_one_and_both_have_the_same_stream() -> None:
    paired = PairedAgent(player("llama", 0), player("llama", 1), "token")
    assert played(paired) == played(player("llama", 0))
    paired = PairedAgent(player("llama", 0), player("llama", 1), "token")
    turn = first_turn(COMMANDS)
    (decision,) = paired.act([turn])
    later = Turn(episode=0, game="test", observation="won", info=turn.info, reward=1.0, first=False)
    paired.act([later])
    streams = [agent._live[0].stream for agent in (paired.trained, paired.initial)]
    assert streams[0].tokens == streams[1].tokens
    assert tokenizer().decode(streams[0].tokens[:6]).count(decision.command.split()[0]) == 1


def test_an_agent_that_did_not_learn_has_no_kl() -> None:
    paired = PairedAgent(player("gpt2", 0), player("gpt2", 0), "token")
    played(paired)
    nodes = paired.nodes()
    assert nodes is not None and nodes.decisions == 18
    assert collapse.kl_to_initial(nodes) == 0


def test_without_q_heads_there_is_no_tilted_policy() -> None:
    paired = PairedAgent(player("gpt2", 0, q_heads=0), player("gpt2", 1, q_heads=0), "token")
    assert paired.nodes() is None
    paired.act([first_turn(["go north", "go south"])])
    nodes = paired.nodes()
    assert nodes is not None and nodes.q_values is None


def test_a_network_set_to_the_tilted_policy_is_recognised() -> None:
    """The networks are tables: the trained one has the initial logits plus q / tau at every token."""
    size, tau = len(tokenizer()), 0.7
    rng = torch.Generator().manual_seed(0)
    logits, q = (torch.randn(size, size, generator=rng) for _ in range(2))
    trained, initial = bigram_model(logits + q / tau, q_heads=1), bigram_model(logits, q_heads=1)
    head: Any = trained.heads.q[0]
    with torch.no_grad():
        head.out.weight.copy_(q.T)
    agents = [LanguageModelAgent(model, tokenizer(), seed=1) for model in (trained, initial)]
    paired = PairedAgent(agents[0], agents[1], "token")
    played(paired)
    nodes = paired.nodes()
    assert nodes is not None
    assert collapse.kl_to_initial(nodes) > 0.1
    assert 1 / collapse.best_inverse_tau(nodes) == pytest.approx(tau, rel=1e-4)
    assert collapse.kl_to_tilted(nodes, 1 / tau) == pytest.approx(0, abs=1e-9)


def test_the_kl_of_texts_counts_the_guidance_by_q() -> None:
    """Both networks are the same table, so without guidance the KL is 0."""
    size = len(tokenizer())
    logits, q = (torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    model, start = bigram_model(logits, q_heads=1), tokenizer().convert_tokens_to_ids("lamp")
    head: Any = model.heads.q[0]
    with torch.no_grad():
        head.out.weight.copy_(q.T)
    found = []
    for beta in (0.0, 1.0):
        trained, initial = (
            LanguageModelAgent(model, tokenizer(), mode="free", guide_beta=b, max_command_tokens=1) for b in (beta, 0.0)
        )
        paired = PairedAgent(trained, initial, "token")
        turns = [replace(first_turn(["go"]), episode=number, observation="lamp", prompt="") for number in range(2000)]
        paired.act(turns)
        paired.end(
            [
                EpisodeEnd(episode=turn.episode, observation="", info={}, reward=0.0, terminated=True, truncated=False)
                for turn in turns
            ]
        )
        found.append(paired.text_kl())
    guided = (logits + q)[start].log_softmax(0)
    exact = float((guided.exp() * (guided - logits[start].log_softmax(0))).sum())
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert exact > 0.1 and found[1] == pytest.approx(exact, rel=0.15)
