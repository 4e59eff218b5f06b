"""The decision transformer: the text of returns in play and training, and play that obtains the wanted return."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actde import OptimizerConfig
from actde.errors import ConfigError
from agents import make_agent
from agents.config import TrainConfig, UpdateConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.recorded_streams import StreamRecorder
from agents.model.actor_critic import ActorCritic
from agents.model.build import new_trunk
from agents.model.heads import Heads
from agents.play.baselines import RandomAgent
from agents.play.episode import Episode
from agents.play.runner import EpisodeRunner
from agents.protocol import AgentError
from agents.storage.checkpoint_files import AGENT, BEST, INITIAL
from agents.text.prompt import PLAIN, PromptFormat, ReturnText, format_number
from agents.training import presets
from agents.training.data_file import Converter
from agents.training.factory import make_trainer
from agents.training.hindsight import with_obtained_returns
from agents.training.progress import Progress
from agents.training.recorded_play import RecordedPlay
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import make_torch_optimizer
from experiments.compare.measure import measure_run
from tests.agents.training.test_recorded_play import PROMPTS, assert_same_segments, episodes_of, opened
from tests.agents.training.test_trainer import assert_same_run, settings, trained
from tests.helpers.command_line import cli
from tests.helpers.models import KINDS, WORDS, Kind, agent, tiny_model, tokenizer
from tests.helpers.scripts import Scene, ScriptSpec
from tests.helpers.updates import OPTIONS, updater

SAME = ScriptSpec([[Scene(f"room {n}", dict.fromkeys(OPTIONS, 0.3)) for n in range(4)]], over=False, end="you see")
"""Every episode has the return 1.2."""
ARMS = {"go": 0.0, "take": 0.3, "drop": 1.0}
BANDIT = ScriptSpec([[Scene("you", ARMS)]], end="")
TWICE = ScriptSpec([[Scene("red", {"go": 0.0, "take": 1.0}), Scene("blue", {"go": 0.0, "take": 1.0})]], end="")
"""An episode has the return 0, 1 or 2."""
Change = Callable[[Sequence[Episode]], list[Episode]]


def stating(place: Any = "turn", wanted: float | None = None) -> PromptFormat:
    return replace(PLAIN, returns=ReturnText(position=place, target=wanted))


def test_numbers_are_short_and_hide_rounding_errors() -> None:
    found = [
        format_number(value) for value in (0.0, -0.0, 1.0, 0.1 + 0.2, 12.5, -0.004, -2.0, 1 / 3, 100.0, 0.125 - 1e-17)
    ]
    assert found == ["0", "0", "1", "0.3", "12.5", "0", "-2", "0.33", "100", "0.12"]


def test_where_a_return_stands() -> None:
    texts = [
        stating(place).before_command("a room", game_prompt=prompt, first=first, return_to_go=0.5)
        for place in ("turn", "prefix")
        for prompt in ("\n> ", "")
        for first in (True, False)
    ]
    seed = "This play through has a return of 0.5\na room"
    assert texts[:4] == ["a room\nReturn: 0.5\n>"] * 2 + ["Return: 0.5\na room"] * 2
    assert texts[4:] == [f"{seed}\n>", "a room\n>", seed, "a room"]
    assert PLAIN.before_command("a room", game_prompt="\n> ", first=True, return_to_go=0.5) == "a room\n>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [128, 30])
@pytest.mark.parametrize("place", ["turn", "prefix"])
def test_play_that_obtains_the_wanted_return_has_the_tokens_of_training(
    kind: Kind, context: int, place: Any, tmp_path: Path
) -> None:
    """Play that states a wrong return has other tokens, until it is rewritten with the obtained return."""
    model, right, wrong = tiny_model(kind), stating(place, 1.2), stating(place, 7.0)
    player = agent(model, prompt=right, context=context)
    episodes, wanted = episodes_of(player, 3, spec=SAME), player.take_segments()
    assert ("0 . 6 \n >" in text_of(player, wanted)) == (place == "turn")
    recorder = StreamRecorder(player.tokenizer, right, mode="trie", context=context, gamma=0.5)
    converter = Converter(recorder, PROMPTS, labels="return")
    (tmp_path / "data").write_text("".join(converter.lines(("source", e) for e in episodes)))
    found = opened(tmp_path / "data", model).segments(0, Progress())[0]
    assert_same_segments(found, wanted, labels=False)
    assert all(choice.label == choice.chosen for segment in found for choice in segment.choices)

    over = Named(replace(SAME, over=True))
    other = agent(model, prompt=wrong, context=context)
    played, before = episodes_of(other, 3, spec=over), other.take_segments()
    after = with_obtained_returns(TrainConfig.from_flat({"gamma": 0.5}), other, [over], played)
    assert [s.tokens.tolist() for s in after] != [s.tokens.tolist() for s in before], "it stated 7"
    chosen = [
        {(s.episode, c.turn, c.alternatives): c.chosen for s in one for c in s.choices} for one in (before, after)
    ]
    assert chosen[0] == chosen[1] and all(c.label == c.chosen for s in after for c in s.choices)
    recorded = [converter.segments(episode) for episode in played]
    assert [s.tokens.tolist() for s in after] == [s.tokens.tolist() for row in recorded for s in row]


class Named(ScriptSpec):
    """A scripted game with the further fields that `prompts_of` reads."""

    kind, target = "open", "script"

    def __init__(self, spec: ScriptSpec) -> None:
        super().__init__(spec.plays, over=spec.over, end=spec.end, name=spec.name)

    def __hash__(self) -> int:
        return id(self)


def text_of(player: LanguageModelAgent, segments: Sequence[Any]) -> str:
    return " ".join(token for s in segments for token in player.tokenizer.convert_ids_to_tokens(s.tokens))


def test_shared_prefixes_do_not_change_play_for_a_return() -> None:
    model = tiny_model()
    plays = [agent(model, prompt=stating(wanted=1.2), share_prefixes=share) for share in (True, False)]
    for player in plays:
        episodes_of(player, 5, spec=SAME)
    assert_same_segments(plays[0].take_segments(), plays[1].take_segments())


def learned(name: str, spec: ScriptSpec, path: Path, change: Change = list) -> LanguageModelAgent:
    """Train a pico trunk by `name` on random play, and return an agent that states the wanted return."""
    torch.manual_seed(0)
    words, prompt = tokenizer((*WORDS, "return")), stating()
    with EpisodeRunner([spec], seed=1, parallel=8) as runner:
        episodes = change(sorted(runner.play(RandomAgent(seed=1), 96), key=lambda episode: episode.index))
    recorder = StreamRecorder(words, prompt if name == "decision" else PLAIN, mode="trie", context=128, gamma=1.0)
    labels = "return" if name == "decision" else "expert"
    lines = Converter(recorder, PROMPTS, labels=labels).lines(("source", episode) for episode in episodes)
    path.write_text("".join(lines))
    model = ActorCritic(new_trunk("pico", len(words), 0.0), Heads(12, len(words), q_heads=1, init_std=0.02))
    play = RecordedPlay(path, model, UpdateConfig(), count=96, vocabulary=len(words))
    torch_optimizer = make_torch_optimizer(model, UpdateConfig(lr=8e-3))
    update = updater(model, name, torch_optimizer=torch_optimizer, learning=OptimizerConfig(gamma=1.0), epochs=8)
    for iteration in range(15):
        segments = play.segments(iteration, Progress())[0]
        update.learn(RolloutBatch(segments, credit="token"), np.random.default_rng(iteration))
    return LanguageModelAgent(model.eval(), words, prompt=recorder._writer.prompt)


def obtained(player: LanguageModelAgent, spec: ScriptSpec, wanted: float) -> list[float]:
    """The returns of 64 episodes in which the agent wants a return."""
    if player.prompt.returns is not None:
        player.prompt.returns.target = wanted
    with EpisodeRunner([spec], seed=2, parallel=16) as runner:
        return [episode.reward for episode in runner.play(player, 64)]


def share(player: LanguageModelAgent, spec: ScriptSpec, wanted: float) -> float:
    """The share of the episodes that obtain the wanted return."""
    return float(np.mean(np.isclose(obtained(player, spec, wanted), wanted)))


def shuffled(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the episodes with their rewards permuted among them."""
    order = np.random.default_rng(0).permutation(len(episodes))
    rows = zip(episodes, [episodes[index] for index in order], strict=True)
    return [
        replace(e, steps=tuple(replace(s, reward=t.reward) for s, t in zip(e.steps, o.steps, strict=True)))
        for e, o in rows
    ]


def test_a_wanted_return_of_0_3_yields_0_3(tmp_path: Path) -> None:
    player = learned("decision", BANDIT, tmp_path / "data")
    assert min(share(player, BANDIT, wanted) for wanted in ARMS.values()) > 0.9
    wrong = learned("decision", BANDIT, tmp_path / "shuffled", shuffled)
    imitation = learned("imitation", BANDIT, tmp_path / "imitation")
    for other in (wrong, imitation):
        assert share(other, BANDIT, 0.3) < 0.6, "the same test rejects it"


@pytest.mark.slow
def test_a_wanted_return_is_obtained_over_two_turns(tmp_path: Path) -> None:
    player = learned("decision", TWICE, tmp_path / "data")
    assert min(share(player, TWICE, wanted) for wanted in (0.0, 1.0, 2.0)) > 0.85
    assert share(learned("decision", TWICE, tmp_path / "shuffled", shuffled), TWICE, 1.0) < 0.7


@pytest.mark.parametrize(
    "changes", [{"data": "random:9"}, {"wanted_return": 0.5}, {"data": "random:9", "data_share": 0.5}]
)
def test_a_resumed_run_equals_an_uninterrupted_one(changes: dict[str, Any], tmp_path: Path) -> None:
    wanted = settings("bandit", optimizer="decision", kl_coef=0.0, kl_target=None, **changes)
    whole = trained(wanted, tmp_path / "whole")
    part = trained(wanted.replace(iterations=3), tmp_path / "part")
    assert_same_run(trained(wanted, part, resume=True), whole)
    best = changes.get("wanted_return", 1.0)
    assert make_agent(str(whole), seed=0).prompt.returns.target == best  # type: ignore[attr-defined]


def test_the_best_return_of_the_data_is_wanted_by_default(tmp_path: Path) -> None:
    run = trained(
        settings("bandit", optimizer="decision", data="random:9", data_share=0.5, iterations=1), tmp_path / "run"
    )
    assert make_agent(str(run), seed=0).prompt.returns.target == 1.0  # type: ignore[attr-defined]
    given = make_agent(str(run), seed=0, wanted_return=0.25)
    assert given.prompt.returns == ReturnText(target=0.25)  # type: ignore[attr-defined]
    with pytest.raises(AgentError, match="random plays for no wanted return"):
        make_agent("random", seed=0, wanted_return=1.0)
    initial = run / INITIAL / AGENT
    initial.write_text(json.dumps(json.loads(initial.read_text()) | {"wanted_return": None, "digest": ""}))
    with pytest.raises(AgentError, match="does not know which return to want: give --wanted-return X"):
        make_agent(str(run / INITIAL), seed=0)


def test_a_wanted_return_above_the_data_is_noted(tmp_path: Path) -> None:
    def notes_of(wanted: float) -> list[str]:
        given = {"data": "random:9", "wanted_return": wanted, "iterations": 1}
        trainer = make_trainer(settings("bandit", optimizer="decision", **given), tmp_path / f"run-{wanted}")
        list(trainer.run())
        return trainer.notes

    above = "--wanted-return is above 1, the best return of the recorded play"
    assert above in notes_of(50.0) and above not in notes_of(1.0)


def test_all_agents_of_a_run_want_the_best_return_of_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy of a frozen run therefore has no KL to the initial one. A resumed run saves the best agent again."""
    given = {"data": "random:9", "eval_game": "bandit", "eval_episodes": 2, "lr": 0.0, "kl_coef": 0.0}
    config = settings("bandit", optimizer="decision", kl_target=None, iterations=1, **given)
    run = trained(config, tmp_path / "run")
    assert measure_run(run, config, episodes=4)["collapse"]["kl_initial"] == 0.0
    monkeypatch.setattr("agents.training.state.is_best", lambda trainer: True)
    shutil.rmtree(run / BEST)  # as after a kill between the checkpoint and the best agent
    make_trainer(config, run, resume=True).folder.unlock()
    wanted = {
        path.name: json.loads((path / AGENT).read_text())["wanted_return"] for path in (run / INITIAL, run / BEST)
    }
    assert wanted == {INITIAL: 1.0, BEST: 1.0}


def test_a_run_takes_the_place_of_returns_from_its_initial_checkpoint(tmp_path: Path) -> None:
    first = settings("bandit", optimizer="decision", data="random:9", return_text="prefix", iterations=1)
    run = trained(first, tmp_path / "run")
    given = {"game": "bandit", "optimizer": "decision", "init": str(run), "wanted_return": 0.5}
    found = presets.resolve(given)
    assert found.rollout.return_text == "prefix" and presets.resolve({"game": "bandit"}).rollout.return_text == "turn"
    next(make_trainer(found.replace(tracker="none", iterations=1), tmp_path / "second").run())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, "give --wanted-return X or --data"),
        ({"wanted_return": 1.0, "mode": "free"}, "needs --mode trie"),
        ({"wanted_return": 1.0, "reward_scale": 0.1}, "own rewards: leave out --reward-scale"),
        ({"data": "random:9", "step_cost": 0.1, "bonus_command": "take"}, "leave out --step-cost"),
    ],
)
def test_returns_that_play_cannot_state_are_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        make_trainer(settings("bandit", optimizer="decision", **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "settings.json").exists()


def test_evaluate_shows_a_curve_of_obtained_against_wanted_return(tmp_path: Path) -> None:
    run = trained(settings("bandit", optimizer="decision", data="random:9", iterations=1), tmp_path / "run")
    words = ("evaluate", "--agent", str(run), "--game", "bandit", "--episodes", "4", "--save", str(tmp_path / "saved"))
    found = cli(*words, "--wanted-return", "1", "--wanted-return", "0.5", "--json")
    assert found.returncode == 0 and "the episodes are in" in found.stderr
    curve = json.loads(found.stdout)["curve"]
    assert [point["wanted_return"] for point in curve] == [0.5, 1.0]
    assert all(0.5 <= point["obtained"]["value"] <= 1 for point in curve)
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["wanted_0_5", "wanted_1"]
    shown = cli(*words[:-2], "--wanted-return", "0.5", "--wanted-return", "1")
    assert shown.returncode == 0 and "wanted return   obtained return" in shown.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wanted_return": math.inf}, "expected a finite number as --wanted-return, got inf"),
        ({"wanted_return": math.nan}, "got nan"),
        ({"guide_beta": math.inf}, "expected a finite number as --guide-beta, got inf"),
        ({"guide_beta": 1.0}, "random has no q: leave out --guide-beta"),
    ],
)
def test_an_agent_refuses_settings_that_it_cannot_use(given: dict[str, float], message: str) -> None:
    with pytest.raises(AgentError, match=message):
        make_agent("random", seed=0, **given)  # type: ignore[arg-type]
