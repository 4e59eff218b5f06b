"""Free generation: lines of text, token by token, from the whole vocabulary."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from actde import OptimizerConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
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
    assert end in player.line_ends and ids("\n")[0] in player.line_ends and ids("go")[0] not in player.line_ends


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
            kept = [token for token in tokens if token not in player.line_ends]
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


def test_the_kl_of_a_generated_line() -> None:
    """It is estimated by exp(r) - r - 1 at the chosen token, r = log pi_ref - log pi."""
    model, reference = tiny_model(), tiny_model(seed=7).requires_grad_(False)
    _, segments = play(agent(model, mode="free", max_command_tokens=4))
    rollout = RolloutBatch(segments, credit="token")
    learning = OptimizerConfig(gamma=0.5, kl_coef=0.1)
    measures = learn(updater(model, reference=reference, learning=learning, lr=0.0), rollout)
    expected = []
    for segment in segments:
        with torch.no_grad():
            both = [m.lm(input_ids=torch.from_numpy(segment.tokens)[None]).logits[0] for m in (model, reference)]
        ours, theirs = (logits.log_softmax(-1) for logits in both)
        for c in segment.choices:
            r = float((theirs - ours)[c.position, c.alternatives[0]])
            expected.append(np.exp(r) - r - 1)
    assert measures["kl_ref"] == pytest.approx(np.mean(expected), rel=1e-3)
    same = learn(updater(model, reference=copy.deepcopy(model), learning=learning, lr=0.0), rollout)
    assert same["kl_ref"] == pytest.approx(0.0, abs=1e-6)
