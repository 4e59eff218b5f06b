"""Level schedules, and the games on which an agent was trained."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import games
from agents import DEFAULT_GAME, games_trained_on
from agents.config import TrainConfig
from agents.play import transcript
from agents.play.episode import Episode, Step
from agents.protocol import AgentError, Decision
from agents.storage.checkpoint_files import AGENT, newest, read_json
from agents.storage.run_folder import read_metrics
from agents.training.factory import make_trainer
from agents.training.level_schedule import LevelSchedule
from games.game_hash import game_hash
from games.textworld.generation.make_game import canonical_hash, make_game
from tests.agents.training.test_trainer import assert_same_run

GAMES = "textworld:coin?level=2..4&seed=1..2"


def specs(game: str = GAMES) -> list[games.GameSpec]:
    return games.resolve(game)


def curriculum(promote: float | None = 0.5, episodes: int = 4) -> LevelSchedule:
    return LevelSchedule(specs(), promote=promote, episodes=episodes)


def results(of: LevelSchedule, won: list[bool], *, level: int) -> list[Episode]:
    names = [spec.name for spec in of.specs if spec.level == level]
    return [
        Episode(
            index=i, game=names[i % len(names)], seed=0, steps=(), final_observation="", score=0.0, max_score=1.0,
            won=w, lost=False, terminated=True, truncated=False, moves=0,
        )
        for i, w in enumerate(won)
    ]  # fmt: skip


def levels(of: LevelSchedule) -> Counter[int | None]:
    return Counter(spec.level for spec in of.in_play())


def test_it_starts_at_the_lowest_level_and_replays_lower_levels_half_of_the_time() -> None:
    found = curriculum()
    assert found.level == 2 and levels(found) == {2: 2}
    assert found.update(results(found, [True, True, False], level=2))["level"] == 2
    assert found.level == 2, "three episodes are not four"
    found.update(results(found, [False], level=2))
    assert found.level == 3 and levels(found) == {3: 2, 2: 2}
    assert [spec.level for spec in found.in_play()] == [3, 2, 3, 2]
    found.update([*results(found, [True] * 9, level=2), *results(found, [True] * 3, level=3)])
    assert found.level == 3, "only episodes of the level reached count"
    assert not found.at_last_level
    found.update(results(found, [True], level=3))
    assert found.level == 4 and levels(found) == {4: 4, 3: 2, 2: 2} and found.at_last_level
    found.update(results(found, [True] * 9, level=4))
    assert found.level == 4


def test_a_win_in_which_the_expert_played_does_not_count() -> None:
    found = curriculum()
    decision = Decision(command="go east", by_expert=True)
    step = Step(observation="", admissible_commands=("go east",), decision=decision, reward=1.0, score=1.0)
    helped = [replace(episode, steps=(step,)) for episode in results(found, [True] * 9, level=2)]
    assert found.update(helped) == {"level": 2} and found.level == 2
    found.update([*helped, *results(found, [True, False] * 2, level=2)])
    assert found.level == 3, "the four episodes of the agent alone count"


def test_without_promotion_all_levels_are_in_play_and_counted() -> None:
    found = curriculum(promote=None)
    assert [spec.level for spec in found.in_play()] == [2, 3, 4, 2, 3, 4], "one pass does not end with the hardest"
    assert set(found.in_play()) == set(specs()) and found.at_last_level
    counted = found.update([*results(found, [True, False], level=2), *results(found, [True], level=4)])
    assert counted == {"success_level_2": 0.5, "success_level_4": 1.0}
    single = LevelSchedule(specs("textworld:coin?level=2&seed=1..2"), promote=None, episodes=4)
    assert single.update(results(single, [True], level=2)) == {}, "one level is what `success` says"


def test_the_state_survives_json() -> None:
    found = curriculum()
    found.update(results(found, [True] * 4, level=2))
    found.update(results(found, [False, True], level=3))
    again = curriculum()
    again.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert again.state_dict() == found.state_dict() and again.in_play() == found.in_play()


def test_games_without_levels_cannot_be_promoted() -> None:
    with pytest.raises(AgentError, match="--promote needs games whose levels are known"):
        LevelSchedule(specs("bandit"), promote=0.5, episodes=4)


# -- runs --------------------------------------------------------------------------------------------------


def wanted(**changes: Any) -> TrainConfig:
    usual: dict[str, Any] = {
        "game": GAMES,
        "optimizer": "imitation",
        "trunk": "pico",
        "context": 128,
        "episodes": 4,
        "parallel": 3,
        "max_turns": 12,
        "epochs": 1,
        "iterations": 6,
        "save_every": 2,
        "beta": 0.5,
        "beta_decay": 0.5,
        "promote": 0.3,
        "promote_episodes": 3,
        "gamma": 0.9,
        "value_coef": 0.5,
    }
    return TrainConfig.from_flat(usual | changes)


def test_a_resumed_run_with_expert_and_promotion_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    list(make_trainer(wanted(), tmp_path / "whole").run())
    trainer = make_trainer(wanted(), tmp_path / "parts")
    for metrics in trainer.run():
        trainer.stopping = metrics["iteration"] == 2
    list(make_trainer(wanted(), tmp_path / "parts", resume=True).run())
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    lines = read_metrics(tmp_path / "whole")
    assert [line["beta"] for line in lines] == pytest.approx([0.5 * 0.5**i for i in range(6)])
    assert lines[0]["level"] == 2 < lines[-1]["level"]
    recent: list[bool] = []
    for line in lines:
        assert 0 <= line["agreement"] <= 1 and line["labelled"] == 1.0
        played = [
            e.episode for e in transcript.read(tmp_path / "whole" / transcript.NAME) if e.iteration == line["iteration"]
        ]
        alone = [e for e in played if not any(step.decision.by_expert for step in e.steps)]
        recent += [bool(episode.won) for episode in alone]
        assert line.get("success") == (np.mean([bool(e.won) for e in alone]) if alone else None)
        assert line.get("recent_success") == (np.mean(recent) if recent else None)
        assert ("success_with_expert" in line) == (len(alone) < len(played))
        for level in (2, 3, 4):
            of_level = [bool(episode.won) for episode in alone if f"level={level}&" in episode.game]
            assert line.get(f"success_level_{level}") == (sum(of_level) / len(of_level) if of_level else None)
        assert all(f"level={level}&" not in e.game for e in played for level in (3, 4) if level > line["level"])


@pytest.mark.parametrize(
    "changes", [{"optimizer": "rejection", "group_size": 2}, {"expert": "policy", "beta": 0.0, "promote": None}]
)
def test_other_ways_to_imitate_run_and_resume(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = wanted(**({"iterations": 4} | changes))
    list(make_trainer(settings, tmp_path / "whole").run())
    list(make_trainer(settings.replace(iterations=2), tmp_path / "parts").run())
    list(make_trainer(settings, tmp_path / "parts", resume=True).run())
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    entries = list(transcript.read(tmp_path / "whole" / transcript.NAME))
    if "group_size" in changes:
        assert all(a.episode.game == b.episode.game for a, b in zip(entries[::2], entries[1::2], strict=True))


def test_a_budget_of_commands(tmp_path: Path) -> None:
    trainer = make_trainer(wanted(env_steps=60, iterations=1000), tmp_path / "run")
    steps = [metrics["env_steps"] for metrics in trainer.run()]
    assert steps[-1] >= 60 > steps[-2]
    longer = make_trainer(wanted(env_steps=61, iterations=1000), tmp_path / "run", resume=True)
    assert len(list(longer.run())) == int(steps[-1] < 61)


@pytest.mark.parametrize("setting", [{"promote": 0.5}, {"promote": None, "stop_success": 0.9}])
def test_goals_are_refused_if_the_expert_plays_every_turn(setting: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="the expert plays every turn"):
        make_trainer(wanted(**({"beta": 1.0, "beta_decay": 1.0} | setting)), tmp_path / "run")


# -- which games -------------------------------------------------------------------------------------------


def test_the_hash_of_a_game_does_not_depend_on_its_name(tmp_path: Path) -> None:
    entries = games.generate(tmp_path / "made", family="coin", levels=[2], per_level=2, workers=1)
    listed = specs(str(tmp_path / "made"))
    assert [spec.level for spec in listed] == [2, 2]
    for spec, entry in zip(listed, entries, strict=True):
        (file,) = specs(str(entry.path))
        (named,) = specs(f"textworld:coin?level=2&seed={entry.seed}")
        assert spec == file and file.hash is None
        assert game_hash(spec) == game_hash(file) == game_hash(named) == entry.hash
        named.make().close()  # now it is in the cache
        assert game_hash(named) == entry.hash
        assert entry.hash == canonical_hash(make_game("coin", dict(named.settings)))
    assert len({game_hash(spec) for spec in (*listed, *specs("bandit"), *specs("ipd"))}) == 4


def test_an_agent_knows_which_games_it_was_trained_on(tmp_path: Path) -> None:
    settings = wanted(iterations=1, promote=None)
    list(make_trainer(settings, tmp_path / "run").run())
    about = read_json(newest(tmp_path / "run") / AGENT)
    assert about["trained_on"] == sorted(game_hash(spec) for spec in specs())
    assert games_trained_on(str(tmp_path / "run"), specs("textworld:coin?level=2..3&seed=2..3")) == 2
    assert games_trained_on("random", specs()) is None
    assert games_trained_on("actde-small", specs(DEFAULT_GAME)) == 0
