"""The evaluation card: held-out games, stored rows, and the document made from its results."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import games
from agents import AgentError
from agents.config import TrainConfig
from agents.registry import TRAINED, agent_folder, make_agent
from agents.training.factory import make_trainer
from experiments.card import held_out, rows, tasks
from experiments.card.document import MARK, markdown
from experiments.card.rows import Player, play, players
from games.game_hash import game_hash
from games.textworld.generation.manifest import split_of
from games.textworld.generation.reserved_seeds import RESERVED
from tests import ROOT

CARDS = sorted((ROOT / "docs").glob("card*.json"))
TASK = next(task for task in tasks.TASKS if task.name == "coin")
QUICK = replace(TASK, levels=(1, 2), max_turns=5)
RANDOM, WALKTHROUGH = (Player(name=name, source=name, digest=name, trained_on=frozenset()) for name in rows.BASELINES)


def silent(text: str, done: float, total: float) -> None:
    """Ignore the progress."""


def played(*args: Any, **options: Any) -> dict[str, Any]:
    """Return the results after all rows."""
    *_, results = play(*args, **options)
    return results


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_follows_from_its_results(path: Path) -> None:
    assert path.with_suffix(".md").read_text() == markdown(json.loads(path.read_text()))


def test_every_task_names_a_game_of_its_family() -> None:
    assert {task.family for task in tasks.TASKS} == {"simple", "coin", "treasure", "cooking", "quest", "textnav"}
    for task in tasks.TASKS:
        for variant in tasks.VARIANTS:
            (spec,) = games.resolve(task.game(variant, task.levels[-1], RESERVED.start))
            assert spec.target == task.family
            assert variant == "told" or dict(spec.settings)["goal"] == "none"
    with pytest.raises(AgentError, match="did you mean 'quest-2-3-4'"):
        tasks.select_tasks("quest-2-3")


def test_names_and_titles_of_tasks_match_their_levels() -> None:
    from games.textworld.generation.families import FAMILIES

    for task in tasks.TASKS:
        if task.family == "quest":
            preset = FAMILIES["quest"].preset(task.levels[0])
            assert task.name == f"quest-{preset['rooms']}-{preset['objects']}-{preset['steps']}"
        if task.family == "cooking":
            preset = FAMILIES["cooking"].preset(task.levels[0])
            assert [preset[name] for name in ("recipe", "take", "rooms", "open", "cook", "cut")] == [
                1, 1, 6, True, False, False
            ]  # fmt: skip


@pytest.mark.slow
def test_held_out_games_are_distinct_reserved_and_of_the_test_split(game_cache: Path) -> None:
    found = held_out.find_games(QUICK, 4)
    assert [level for level, _, _ in found] == [1, 2, 1, 2]
    assert len({name for _, _, name in found}) == 4
    for level, seed, name in found:
        assert seed in RESERVED and split_of(name) == "test"
        told, untold = (games.resolve(QUICK.game(variant, level, seed))[0] for variant in tasks.VARIANTS)
        assert game_hash(told) == game_hash(untold) == name, "the hash does not depend on the objective"
    assert held_out.find_games(QUICK, 2) == found[:2], "a smaller card has the first ones"
    assert held_out.find_games(QUICK, 4, found[:3]) == found, "a larger card adds to them"


def test_training_refuses_reserved_seeds(tmp_path: Path) -> None:
    game = f"textworld:coin?level=1&seed={RESERVED.start + 5}"
    with pytest.raises(games.GameError, match="held out for evaluation"):
        make_trainer(TrainConfig.from_flat({"game": game}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_are_played_again_only_where_something_changed(
    tmp_path: Path, game_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, begun = tmp_path / "card.json", list[str]()

    def watched(name: str, **settings: Any) -> Any:
        begun.append(name)
        return make_agent(name, **settings)

    monkeypatch.setattr(rows, "make_agent", watched)
    first = played(path, [QUICK], [RANDOM], episodes=2, progress=silent)
    assert begun == ["random", "random"], "with and without objective"
    again = played(path, [QUICK], [RANDOM, WALKTHROUGH], episodes=2, progress=silent)
    assert begun[2:] == ["walkthrough", "walkthrough"]
    assert [row for row in again["rows"] if row["agent"] == "random"] == first["rows"]
    assert json.loads(path.read_text()) == json.loads(json.dumps(again))
    begun.clear()
    trained = replace(RANDOM, digest="another")
    other = played(path, [QUICK], [trained], episodes=2, progress=silent)
    assert begun == ["random", "random"], "the digest changed"
    assert [row["agent"] for row in other["rows"]] == [row["agent"] for row in again["rows"]], "other rows stay"
    begun.clear()
    changed = played(path, [replace(QUICK, max_turns=6)], [trained], episodes=2, progress=silent)
    assert begun == ["random", "random"], "the task changed"
    assert {row["agent"] for row in changed["rows"]} == {"random"}, "rows of the earlier task are dropped"
    with pytest.raises(AgentError, match="has 2 episodes a task, not 3"):
        played(path, [QUICK], [], episodes=3, progress=silent)


def test_an_interrupted_card_never_shows_an_older_version_of_an_agent(tmp_path: Path, game_cache: Path) -> None:
    path = tmp_path / "card.json"
    played(path, [QUICK], [RANDOM, WALKTHROUGH], episodes=2, progress=silent)
    begun = next(play(path, [QUICK], [replace(RANDOM, digest="another")], episodes=2, progress=silent))
    shown = [(row["agent"], row["variant"], row["of"]["agent"]) for row in begun["rows"]]
    kept = [("walkthrough", variant, "walkthrough") for variant in ("told", "untold")]
    assert sorted(shown) == [("random", "told", "another"), *kept]
    assert json.loads(path.read_text())["rows"] == begun["rows"]


def test_rows_without_stored_games_are_dropped_and_damage_is_refused(tmp_path: Path, game_cache: Path) -> None:
    path, other = tmp_path / "card.json", replace(QUICK, name="quest-2-3-4")
    whole = played(path, [QUICK, other], [WALKTHROUGH], episodes=2, progress=silent)
    path.write_text(json.dumps(whole | {"games": {QUICK.name: whole["games"][QUICK.name]}}))
    left = played(path, [QUICK], [], episodes=2, progress=silent)
    assert {row["task"] for row in left["rows"]} == {QUICK.name}
    assert "walkthrough" in markdown(left)
    path.write_text(json.dumps({"episodes": 2, "rows": []}))
    with pytest.raises(AgentError, match="is damaged: games: Field required"):
        played(path, [QUICK], [], episodes=2, progress=silent)


def test_the_document_shows_that_the_walkthrough_wins(tmp_path: Path, game_cache: Path) -> None:
    results = played(tmp_path / "card.json", [QUICK], [RANDOM, WALKTHROUGH], episodes=2, progress=silent)
    document = markdown(results)
    assert document.count("| walkthrough | with objective | 1.00 (0.16 to 1.00) |") == 1
    assert document.count("| walkthrough | without objective | 1.00 (0.16 to 1.00) |") == 1
    assert MARK not in document.partition("## `coin`")[2]
    assert "python cli.py evaluate --card --episodes 2" in document


def test_an_agent_that_was_trained_on_a_game_of_the_card_is_marked(tmp_path: Path, game_cache: Path) -> None:
    seen = frozenset({held_out.find_games(QUICK, 1)[0][2]})
    cheat = replace(RANDOM, trained_on=seen)
    document = markdown(played(tmp_path / "card.json", [QUICK], [cheat], episodes=2, progress=silent))
    assert f"| random {MARK} | with objective |" in document
    assert f"{MARK} random was trained on 1 of these 2 games." in document


def test_a_trained_agent_plays_sampled_and_greedy_and_names_its_training_games() -> None:
    plain = players(None, pytest.fail)
    own = [name for name in TRAINED if agent_folder(name).name == name]
    assert [player.name for player in plain] == [*rows.BASELINES, *own]
    assert {player.modes for player in plain[2:]} == {("sampled", "greedy")}
    about = json.loads((agent_folder("actde-small") / "agent.json").read_text())
    (small,) = (player for player in plain if player.name == "actde-small")
    assert (small.digest, small.trained_on) == (about["digest"], frozenset(about["trained_on"]))
    del about["trained_on"]
    about["made_by"]["run"]["game"] = "textworld:coin?level=3&goal=none&seed=0..1"
    hashes = {game_hash(spec) for spec in games.resolve(about["made_by"]["run"]["game"])}
    assert held_out.training_games(about) == hashes, "an older checkpoint stores the games' name"
    about["made_by"]["run"]["game"] = "evil_package:Evil"
    with pytest.raises(
        games.GameError, match="the agent needs code that is imported only if you name it: evil_package"
    ):
        held_out.training_games(about)
    with pytest.raises(AgentError, match="unknown agent"):
        players("nobody", pytest.fail)
    with pytest.raises(AgentError, match="to play yourself"):
        players("human", pytest.fail)


def test_an_interrupted_card_covers_every_task(tmp_path: Path) -> None:
    path, other = tmp_path / "card.json", replace(QUICK, name="quest-2-3-4")
    stages = play(path, [QUICK, other], [WALKTHROUGH], episodes=2, progress=silent)
    rows_of = [[(row["task"], row["variant"]) for row in results["rows"]] for results in stages]
    told = [("coin", "told"), ("quest-2-3-4", "told")]
    assert rows_of[:2] == [told[:1], told]
    assert rows_of[-1] == [told[0], ("coin", "untold"), told[1], ("quest-2-3-4", "untold")]
    assert json.loads(path.read_text())["rows"] == rows._read(path, 2)["rows"]


def test_failed_episodes_are_on_the_card() -> None:
    results = json.loads((ROOT / "docs" / "card.json").read_text())
    assert "the game failed" not in markdown(results)
    for row, errors in zip(results["rows"], (1, 0, 5), strict=False):
        row["evaluation"]["errors"] = errors
    shown = markdown(results)
    assert re.findall("the game failed in ([0-9]+) episodes", shown) == ["1", "5"]
