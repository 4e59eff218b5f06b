"""Free generation: lines of text, token by token, from the whole vocabulary."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import games
from actde import OptimizerConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import sampling_probabilities
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.training.rollout_batch import RolloutBatch
from tests.helpers.models import KINDS, Kind, agent, assert_close, bigram_model, tiny_model, tokenizer
from tests.helpers.scripts import Scene, script
from tests.helpers.updates import learn, updater

ROOMS = script(*(Scene(f"room {n}", {"go north": 1.0, "go south": 0.0}) for n in range(3)), over=False, end="a room")


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False))


def play(player: LanguageModelAgent, episodes: int = 4, spec: Any = ROOMS) -> tuple[list[Episode], list[Segment]]:
    with EpisodeRunner([spec], seed=0, parallel=3) as runner:
        played = sorted(runner.play(player, episodes), key=lambda episode: episode.index)
    return played, player.take_segments()


def agent_that_repeats(*words: str) -> LanguageModelAgent:
    """An agent that repeats these words: each token is followed by the next one."""
    chain = [*ids(">"), *(token for word in words for token in ids(word))]
    logits = torch.full((len(tokenizer()), len(tokenizer())), -30.0)
    for now, after in zip(chain, [*chain[1:], chain[1]], strict=True):
        logits[now, after] = 30.0
    return agent(bigram_model(logits), mode="free", max_command_tokens=5)


def test_a_line_ends_at_the_newline() -> None:
    episodes, segments = play(agent_that_repeats("go", "north", "\n"), 1)
    assert [step.decision.command for step in episodes[0].steps] == ["go north"] * 3
    assert [c.turn for c in segments[0].choices] == [0] * 3 + [1] * 3 + [2] * 3  # the newline is a choice too
    assert segments[0].tokens.tolist()[:8] == [*ids("room 0\n>"), *ids("go north\n"), *ids("room")]


def test_a_line_ends_at_the_end_of_text() -> None:
    player = agent_that_repeats("go", "north")
    end = tokenizer().eos_token_id
    with torch.no_grad():
        player.model.base.lm_head.weight[end, ids("north")[0]] = 99.0
    episodes, _ = play(player, 1)
    assert episodes[0].steps[0].decision.command == "go north"
    special, special_or_newline = player.text_ends
    assert end in special and ids("\n")[0] not in special
    assert end in special_or_newline and ids("\n")[0] in special_or_newline and ids("go")[0] not in special_or_newline


def test_the_game_ends_a_line_that_is_too_long() -> None:
    episodes, (segment,) = play(agent_that_repeats("go", "north", "south"), 1)
    assert [step.decision.command for step in episodes[0].steps] == ["go north south go north"] * 3
    assert [c.turn for c in segment.choices] == [0] * 5 + [1] * 5 + [2] * 5
    after = segment.choices[4].position + 2  # after the fifth token
    assert segment.tokens[after : after + 2].tolist() == [*ids("\n"), *ids("room")]


def test_a_command_that_is_not_admissible_is_a_move() -> None:
    episodes, segments = play(agent_that_repeats("take", "lamp", "\n"), 1)
    assert [step.reward for step in episodes[0].steps] == [-9.0] * 3
    assert [c.reward for c in segments[0].choices if c.discount < 1] == [-9.0] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_over_the_whole_vocabulary_and_the_ratio_is_one(kind: Kind) -> None:
    model = tiny_model(kind)
    episodes, segments = play(agent(model, mode="free", max_command_tokens=4))
    assert len({step.decision.command for e in episodes for step in e.steps}) > 5
    for segment in segments:
        assert segment.whole_vocabulary
        with torch.no_grad():
            logits = model.lm(input_ids=torch.from_numpy(segment.tokens)[None]).logits[0].log_softmax(-1)
        for c in segment.choices:
            assert len(c.alternatives) == 1 and c.chosen == 0
            row = logits[c.position]
            assert c.logprob == pytest.approx(float(row[c.alternatives[0]]), abs=2e-5)
            assert c.entropy == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-4)
    rollout = RolloutBatch(segments, credit="token")
    part = rollout.micro_batch(range(len(rollout)))
    with torch.no_grad():
        outputs = part.outputs(model(part.tokens, part.choices))
    batch = rollout.batch(with_q=True)
    assert batch.q_values is not None and outputs.q_values is not None
    for recomputed, recorded in (
        (outputs.logprobs, batch.logprobs),
        (outputs.values, batch.values),
        (outputs.q_values.amin(-1), batch.q_values),
    ):
        assert_close(recomputed, recorded)
    for credit in ("token", "command"):
        measures = learn(updater(model, lr=0.0), RolloutBatch(segments, credit=credit))
        assert measures["ratio"] == pytest.approx(1.0, abs=1e-4)
        assert measures["clip_fraction"] == 0.0


def test_the_stream_is_the_text_of_the_episode() -> None:
    player = agent(tiny_model(), mode="free", max_command_tokens=4)
    episodes, segments = play(player)
    for episode, segment in zip(episodes, segments, strict=True):
        for turn, step in enumerate(episode.steps):
            chosen = [c for c in segment.choices if c.turn == turn]
            start = chosen[0].position + 1
            text = ids(f"{step.observation}\n>")
            assert segment.tokens[start - len(text) : start].tolist() == text
            tokens = [c.alternatives[0] for c in chosen]
            assert [c.position for c in chosen] == list(range(start - 1, start - 1 + len(chosen)))
            kept = [token for token in tokens if token not in player.text_ends[1]]
            assert step.decision.command == tokenizer().decode(kept, skip_special_tokens=True).strip()


def test_number_and_order_of_live_episodes_change_nothing() -> None:
    model = tiny_model()

    def commands(parallel: int) -> list[list[str]]:
        with EpisodeRunner([ROOMS], seed=0, parallel=parallel) as runner:
            episodes = sorted(runner.play(agent(model, mode="free"), 4), key=lambda episode: episode.index)
        return [[step.decision.command for step in episode.steps] for episode in episodes]

    assert commands(1) == commands(4) == commands(3)


def test_greedy_takes_the_most_probable_token() -> None:
    model = tiny_model()
    episodes, (segment, *_) = play(agent(model, mode="free", greedy=True), 2)
    with torch.no_grad():
        logits = model.lm(input_ids=torch.from_numpy(segment.tokens)[None]).logits[0]
    assert all(int(logits[c.position].argmax()) == c.alternatives[0] for c in segment.choices)
    first, second = ([step.decision.command for step in episode.steps] for episode in episodes)
    assert first == second


@pytest.mark.parametrize("coef", [0.0, 0.1])
def test_the_kl_of_a_generated_line_is_exact(coef: float) -> None:
    model, reference = tiny_model(), tiny_model(seed=7).requires_grad_(False)
    _, segments = play(agent(model, mode="free", max_command_tokens=4))
    rollout = RolloutBatch(segments, credit="token")
    learning = OptimizerConfig(gamma=0.5, kl_coef=coef, measure_kl=True)
    measures = learn(updater(model, reference=reference, learning=learning, lr=0.0), rollout)
    expected = []
    for segment in segments:
        with torch.no_grad():
            both = [m.lm(input_ids=torch.from_numpy(segment.tokens)[None]).logits[0] for m in (model, reference)]
        ours, theirs = (logits.double().log_softmax(-1) for logits in both)
        expected += [float((ours[c.position].exp() * (ours - theirs)[c.position]).sum()) for c in segment.choices]
    assert measures["kl_ref"] == pytest.approx(np.mean(expected), rel=1e-4)
    same = learn(updater(model, reference=copy.deepcopy(model), learning=learning, lr=0.0), rollout)
    assert same["kl_ref"] == pytest.approx(0.0, abs=1e-6)


def test_a_game_without_commands_is_continued_freely_and_recorded_in_free_mode_only() -> None:
    spec = games.resolve("completion?reward=length&max_tokens=3")[0]
    for player in (agent(tiny_model(), mode="free"), agent(tiny_model(), mode="trie", record=False)):
        episodes, _ = play(player, 4, spec)
        assert all(e.error is None and 1 <= len(e.steps[0].decision.tokens) <= 3 for e in episodes)
    with pytest.raises(AgentError, match="offers no admissible commands"):
        play(agent(tiny_model(), mode="trie"), 1, spec)


def test_a_decision_lists_its_tokens() -> None:
    episodes, segments = play(agent(tiny_model(), mode="free", max_command_tokens=4), 2)
    for episode, segment in zip(episodes, segments, strict=True):
        tokens = [token for step in episode.steps for token in step.decision.tokens]
        assert [t.logprob for t in tokens] == [c.logprob for c in segment.choices]
        assert [(t.value, t.q_value) for t in tokens] == [(c.value, c.q_value) for c in segment.choices]
        assert [t.text for t in tokens] == [tokenizer().decode(list(c.alternatives)) for c in segment.choices]
        assert Episode.from_json(episode.to_json()) == episode


def test_the_game_sets_the_limits_of_a_text() -> None:
    for newlines, expected in ((True, ["go", "\n", "go", "\n"]), (False, ["go", "\n"])):
        spec = script(Scene("room", {"go": 1.0}, info={"newlines": newlines, "max_tokens": 4}))
        episodes, _ = play(agent_that_repeats("go", "\n"), 1, spec)
        assert [token.text for token in episodes[0].steps[0].decision.tokens] == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [((1.0, 1.0), [0.5, 0.3, 0.2]), ((0.5, 1.0), [25 / 38, 9 / 38, 4 / 38]), ((1.0, 0.6), [0.625, 0.375, 0.0])],
)
def test_temperature_and_top_p_change_the_distribution(settings: tuple[float, float], expected: list[float]) -> None:
    result = sampling_probabilities(np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]]), *settings)
    assert result.ravel().tolist() == pytest.approx([*expected, expected[2], *expected[:2]])


@pytest.mark.parametrize("mode", ["free", "trie"])
@pytest.mark.parametrize("sampling", [{"temperature": 1e-4}, {"top_p": 1e-4}])
def test_cold_sampling_is_greedy_and_records_the_policy(mode: Any, sampling: dict[str, float]) -> None:
    (greedy, first), (cold, second) = (
        play(agent(tiny_model(), mode=mode, **how), 3) for how in ({"greedy": True}, sampling)
    )
    for one, other in zip(greedy, cold, strict=True):
        assert [step.decision for step in one.steps] == [step.decision for step in other.steps]
    assert [s.choices for s in first] == [s.choices for s in second]
