"""Imitation: labels of an expert, labels of the best episodes, and the loss."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from actde import OptimizerConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import TurnOutputs, record_command
from agents.language_model.token_stream import Segment, TokenStream
from agents.model.command_trie import build_trie
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError, Turn
from agents.training.dagger import DAggerAgent, Expert
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.fakes import CorridorSpec
from tests.helpers.models import KINDS, Kind, agent, assert_close, bigram_model, tiny_model, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec
from tests.helpers.updates import OPTIONS, Kept, assert_same_gradients, gradients, learn, updater

WAY = ("take red key", "go south", "take lamp")
GUIDED = ScriptSpec(
    [[Scene(f"room {n}", OPTIONS, policy=(command,)) for n, command in enumerate(WAY)]],
    over=False,
    end="you see a lamp",
)
SILENT = ScriptSpec([[Scene(f"room {n}", OPTIONS, policy=(WAY[n],) if n != 1 else ()) for n in range(3)]])
POLICY_ONLY = OptimizerConfig(gamma=0.5, value_coef=0.0, q_coef=0.0)


def with_expert(player: LanguageModelAgent, *, beta: float = 1.0, greedy: float = 0.0) -> DAggerAgent:
    return DAggerAgent(player, Expert(prefer_policy=False), beta=beta, greedy_share=greedy)


def played(player: Any, count: int = 4, *, spec: Any = GUIDED) -> list[Episode]:
    with EpisodeRunner([spec], seed=3, parallel=3) as runner:
        return sorted(runner.play(player, count), key=lambda episode: episode.index)


def commands(episode: Episode) -> tuple[str, ...]:
    return tuple(step.decision.command for step in episode.steps)


@pytest.mark.parametrize("twice", range(3))
def test_a_greedy_turn_plays_the_likeliest_command_where_one_is_listed_twice(twice: int) -> None:
    player = with_expert(agent(tiny_model()), beta=0.0, greedy=1.0)
    listed = sorted([*OPTIONS, sorted(OPTIONS)[twice]])
    info = {"admissible_commands": listed}
    first = Turn(episode=0, game="test", observation="room 0", info=info, reward=0.0, first=True)
    (decision,) = player.act([first])
    assert decision.command == max(decision.probabilities, key=lambda name: decision.probabilities[name])


def labelled_rollout(
    model: Any, *, beta: float = 1.0, spec: Any = GUIDED, count: int = 4, credit: Any = "token"
) -> RolloutBatch:
    player = agent(model)
    played(with_expert(player, beta=beta), count, spec=spec)
    return RolloutBatch(player.take_segments(), credit=credit)


def plain_logprobs(model: Any, segments: Sequence[Segment]) -> list[Tensor]:
    """Log-probabilities of the alternatives of every choice, by a plain pass of the causal language model."""
    found = []
    for segment in segments:
        logits = model.lm(input_ids=torch.from_numpy(segment.tokens)[None]).logits[0]
        found += [logits[choice.position, list(choice.alternatives)].log_softmax(-1) for choice in segment.choices]
    return found


def cross_entropy(model: Any, segments: Sequence[Segment]) -> Tensor:
    """Minus the sum of the labels' plain log-probabilities, divided by the number of all choices."""
    choices = [choice for segment in segments for choice in segment.choices]
    terms = [
        row[c.label] for row, c in zip(plain_logprobs(model, segments), choices, strict=True) if c.label is not None
    ]
    return -torch.stack(terms).sum() / len(choices)


# -- the expert --------------------------------------------------------------------------------------------


def test_an_expert_that_plays_every_turn_plays_the_walkthrough() -> None:
    for model in (tiny_model(), tiny_model(seed=1)):
        for episode in played(with_expert(agent(model)), spec=CorridorSpec("corridor", 4)):
            assert commands(episode) == ("forward",) * 4 and episode.won
        for episode in played(with_expert(agent(model))):
            assert commands(episode) == WAY


@pytest.mark.parametrize(("beta", "shares"), [(0.0, {0.0}), (1.0, {1.0})])
def test_the_turns_of_the_expert_are_marked(beta: float, shares: set[float]) -> None:
    episodes = played(with_expert(agent(tiny_model()), beta=beta))
    assert {sum(s.decision.by_expert for s in e.steps) / len(e.steps) for e in episodes} == shares


def test_a_marked_turn_plays_the_label_and_a_turn_without_a_label_is_not_marked() -> None:
    for episode in played(with_expert(agent(tiny_model()), beta=0.5), 20):
        assert all(not s.decision.by_expert or s.decision.command in WAY for s in episode.steps)
    marked = [[s.decision.by_expert for s in e.steps] for e in played(with_expert(agent(tiny_model())), spec=SILENT)]
    assert marked and all(turns[0] and not turns[1] for turns in marked)


def test_beta_is_the_share_of_turns_that_the_expert_plays() -> None:
    logits = torch.zeros(len(tokenizer()), len(tokenizer()))
    blue = tokenizer().encode("blue", add_special_tokens=False)[0]
    logits[:, blue] = 30.0  # this model never takes the red key
    rooms = ScriptSpec([[Scene("room", {"take red key": 0.0, "take blue key": 0.0}, policy=("take red key",))] * 4])

    def share(beta: float) -> float:
        found = [
            c for e in played(with_expert(agent(bigram_model(logits)), beta=beta), 200, spec=rooms) for c in commands(e)
        ]
        return found.count("take red key") / len(found)

    assert (share(0.0), share(1.0)) == (0.0, 1.0)
    assert abs(share(0.25) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 800)


def test_in_a_share_of_the_episodes_the_model_plays_greedily() -> None:
    logits = torch.zeros(len(tokenizer()), len(tokenizer()))
    blue = tokenizer().encode("blue", add_special_tokens=False)[0]
    logits[:, blue] = 1.0  # 0.73 of this model's draws take the blue key
    rooms = ScriptSpec([[Scene("room", {"take red key": 0.0, "take blue key": 0.0}, policy=("take red key",))] * 16])

    def without_red(greedy: float, beta: float = 0.0) -> float:
        player = with_expert(agent(bigram_model(logits)), beta=beta, greedy=greedy)
        return np.mean([set(commands(e)) == {"take blue key"} for e in played(player, 100, spec=rooms)]).item()

    assert without_red(0.0) == pytest.approx(0.73**16, abs=0.03)
    assert without_red(1.0) == 1.0
    assert abs(without_red(0.5) - 0.5) < 4 * np.sqrt(0.25 / 100)
    assert without_red(1.0, beta=1.0) == 0.0, "the expert's turns are never greedy"


def test_results_with_an_expert_do_not_depend_on_the_number_of_live_episodes() -> None:
    def course(parallel: int) -> list[tuple[str, ...]]:
        player = with_expert(agent(tiny_model()), beta=0.5)
        with EpisodeRunner([GUIDED], seed=3, parallel=parallel) as runner:
            return [commands(e) for e in sorted(runner.play(player, 6), key=lambda e: e.index)]

    assert course(1) == course(6)
    assert len(set(course(1))) > 1


def test_a_decision_has_the_outputs_of_the_model() -> None:
    model = tiny_model()
    ((step, *_),) = [episode.steps for episode in played(with_expert(agent(model)), 1)]
    info = {"admissible_commands": sorted(OPTIONS)}
    turn = Turn(episode=0, game="g", observation="room 0", info=info, reward=0.0, first=True)
    (decision,) = agent(model).act([turn])
    assert step.decision == replace(decision, command=WAY[0], by_expert=True)


def test_an_expert_needs_admissible_commands_and_labels() -> None:
    with pytest.raises(AgentError, match="expected mode trie, got free"):
        with_expert(agent(tiny_model(), mode="free"))
    silent = with_expert(agent(tiny_model()))
    played(silent, spec=ScriptSpec([[Scene("room", OPTIONS)]]))
    with pytest.raises(AgentError, match="the expert has no labels"):
        silent.take_metrics()


def test_agreement_is_the_share_of_labels_that_were_likeliest() -> None:
    player = with_expert(agent(tiny_model()), beta=0.5)
    episodes = played(player, 6, spec=SILENT)
    steps = [step for episode in episodes for step in episode.steps]
    right = [
        max(step.decision.probabilities, key=step.decision.probabilities.__getitem__) == WAY[turn]
        for episode in episodes
        for turn, step in enumerate(episode.steps)
        if turn != 1
    ]
    assert player.take_metrics() == {"labelled": len(right) / len(steps), "agreement": np.mean(right)}


# -- labels of another way ---------------------------------------------------------------------------------


def test_labels_end_where_the_expert_deviates_from_the_played_command() -> None:
    go, take, red, blue, key, north, end = range(7)
    names = ([go, north, end], [take, red, key, end], [take, blue, key, end], [go, key, end])
    trie = build_trie(names)
    outputs = TurnOutputs(trie=trie, logprobs=np.log(np.full((3, 2), 0.5)), values=np.zeros(3))

    def labels(played: int, label: int | None) -> list[tuple[int, int | None]]:
        stream = TokenStream(episode=0, gamma=1.0, tokens=[0])
        record_command(stream, outputs, played, label)
        return [
            (c.alternatives[c.chosen], None if c.label is None else c.alternatives[c.label]) for c in stream.choices
        ]

    assert labels(1, 1) == [(take, take), (red, red)]
    assert labels(1, 2) == [(take, take), (red, blue)]
    assert labels(1, 0) == [(take, go), (red, None)]
    assert labels(0, 2) == [(go, take), (north, None)]
    assert labels(0, None) == [(go, None), (north, None)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spec", [GUIDED, SILENT])
def test_the_loss_is_the_plain_models_cross_entropy_to_the_labels(kind: Kind, beta: float, spec: ScriptSpec) -> None:
    model = tiny_model(kind)
    rollout = labelled_rollout(model, beta=beta, spec=spec)
    labelled = [c.label is not None for s in rollout.segments for c in s.choices]
    assert all(labelled) == (beta == 1.0 and spec is GUIDED) or beta < 1.0
    kept = Kept(model)
    measures = learn(updater(model, "imitation", torch_optimizer=kept, learning=POLICY_ONLY), rollout)
    loss = cross_entropy(model, rollout.segments)
    assert measures["policy_loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
    model.zero_grad()
    torch.autograd.backward(loss)
    wanted = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert_same_gradients({n: g for n, g in kept.steps[0].items() if n in wanted}, wanted)


@pytest.mark.parametrize("credit", ["token", "command"])
def test_micro_batches_change_nothing_where_some_have_no_label(credit: str) -> None:
    model = tiny_model()
    rollout = labelled_rollout(model, beta=0.3, spec=SILENT, credit=credit)
    (whole,) = gradients(model, rollout, "imitation")
    (parts,) = gradients(model, rollout, "imitation", micro_batch_tokens=1)
    assert_same_gradients(parts, whole)


def test_credit_per_command_gives_the_same_gradient_of_the_sum() -> None:
    model = tiny_model()
    one, other = (labelled_rollout(model, beta=0.3, credit=credit) for credit in ("token", "command"))
    (tokens,) = gradients(model, one, "imitation", learning=POLICY_ONLY)
    (whole,) = gradients(model, other, "imitation", learning=POLICY_ONLY)
    share = int(other.batch(with_q=True).mask.sum()) / int(one.batch(with_q=True).mask.sum())
    assert_close(tokens["lm.lm_head.weight"], whole["lm.lm_head.weight"] * share, within=1e-5)


def test_a_turn_without_a_label_trains_v_and_q_but_not_the_policy() -> None:
    model = tiny_model(detach_value=True, detach_q=True)
    player = agent(model)
    played(player)
    rollout = RolloutBatch(player.take_segments(), credit="token")
    (found,) = gradients(model, rollout, "imitation", learning=OptimizerConfig(value_coef=1.0))
    assert not any(g.any() for n, g in found.items() if n.startswith("lm."))
    assert all(found[name].any() for name in ("heads.value.out.weight", "heads.q.0.out.weight"))


def test_dagger_equals_imitation_if_labels_equal_the_play() -> None:
    """A model that is certain of the expert's commands plays them itself."""
    logits = torch.zeros(len(tokenizer()), len(tokenizer()))
    sure = ScriptSpec([[Scene("room", {"go north": 1.0, "go south": 0.0}, policy=("go south",))] * 3])
    north, south = (tokenizer().encode(w, add_special_tokens=False)[0] for w in ("north", "south"))
    logits[:, south] = 20.0
    assert north != south
    model = bigram_model(logits, init_std=0.3)
    cloned, dagger = (labelled_rollout(model, beta=beta, spec=sure) for beta in (1.0, 0.0))
    assert [s.choices for s in cloned.segments] == [s.choices for s in dagger.segments]
    (one,), (other,) = (gradients(model, rollout, "imitation") for rollout in (cloned, dagger))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_imitation_trains_v_and_q_as_ppo_and_actde_do() -> None:
    model = tiny_model()
    rollout = labelled_rollout(model, beta=0.5)
    learning = OptimizerConfig(gamma=0.5, train_q=True)
    (ours,) = gradients(model, rollout, "imitation", learning=learning)
    for name in ("ppo", "actde"):
        (theirs,) = gradients(model, rollout, name, learning=learning)
        for head in ("heads.value.out.weight", "heads.q.0.out.weight"):
            assert_close(ours[head], theirs[head])


# -- rejection ---------------------------------------------------------------------------------------------
