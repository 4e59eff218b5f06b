"""The Text-Nav task follows LMRL-Gym's paper, and `observed` controls what a turn shows."""

import contextlib
import json
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import games
from games.textworld.generation.make_game import cached_game, canonical_hash, make_game
from games.textworld.generation.textnav import FURNITURE, OBJECTIVE, ROOMS


def begin(game: str) -> tuple[gymnasium.Env[str, str], str, dict[str, Any]]:
    env = games.resolve(game)[0].make(infos=("policy_commands",))
    return (env, *env.reset(seed=0))


def test_house_of_ten_rooms_with_a_random_first_room() -> None:
    made = [make_game("textnav", {"level": 1, "seed": seed}) for seed in range(40)]
    assert {info.name for info in made[0].infos.values() if info.type == "r"} == set(ROOMS)
    assert len(set(ROOMS)) == 10
    starts = {fact.arguments[1].name for game in made for fact in game.world.facts if fact.arguments[0].name == "P"}
    assert len(starts) == 10, "every room is a beginning"
    assert len({canonical_hash(game) for game in made}) == 10, "and nothing else differs"
    drawn = {canonical_hash(make_game("textnav", {"level": 2, "seed": seed})) for seed in range(12)}
    assert len(drawn) == 12


@pytest.mark.parametrize("level", [1, 2])
def test_only_the_food_in_the_fridge_earns_a_reward(level: int, game_cache: Path) -> None:
    env, _, info = begin(f"textworld:textnav?level={level}&seed=1")
    assert info["policy_commands"] == info["extra.walkthrough"]
    steps = [env.step(command) for command in info["extra.walkthrough"]]
    assert [reward for _, reward, *_ in steps] == [*([0.0] * (len(steps) - 1)), 1.0]
    _, _, terminated, _, last = steps[-1]
    assert terminated and last["won"] and last["max_score"] == 1


def test_room_and_inventory_are_shown_when_fully_observed_only(game_cache: Path) -> None:
    full, shown, info = begin("textworld:textnav?seed=1")
    part, hidden, _ = begin("textworld:textnav?seed=1&observed=part")
    assert shown == f"{OBJECTIVE}\n\n-= Kitchen =-\nYou are carrying nothing.\n{hidden.removeprefix(OBJECTIVE).strip()}"
    assert hidden.startswith(OBJECTIVE)
    way: list[str] = info["extra.walkthrough"]
    for command in [*way[:3], "drop stale food", "look", "inventory", "examine remote", "dance"]:
        shown, hidden = full.step(command)[0], part.step(command)[0]
        room, held, *here = shown.splitlines()
        assert room == ("-= Living Room =-" if len(here) > 1 or "low table" in here[0] else room)
        assert held.startswith("You are carrying")
        assert hidden == "\n".join(here)
        assert "Exits: " in hidden
    assert "stale food" in hidden and "nothing" in held, "a dropped thing lies in the room"


def test_without_objective_the_opening_is_the_state(game_cache: Path) -> None:
    _, shown, info = begin("textworld:textnav?seed=1&goal=none")
    assert info["objective"] == ""
    assert shown.startswith("-= Kitchen =-")


def test_furniture_stands_in_existing_rooms() -> None:
    assert set(FURNITURE) <= set(ROOMS)
    names = [name for piece in FURNITURE.values() for name in (piece[0], *piece[2])]
    assert len(set(names)) == len(names)


OTHER_MARKS: list[Any] = [[], {"family": "textnav"}, {"family": "textnav", "settings": 3}]


@pytest.mark.parametrize("mark", [5, *(pytest.param(mark, marks=pytest.mark.slow) for mark in OTHER_MARKS)])
def test_foreign_record_with_another_mark_is_played_unchanged(mark: Any, tmp_path: Path) -> None:
    made = cached_game("coin", {"level": 2, "seed": 1})
    story = tmp_path / "tw-foreign.z8"
    story.write_bytes(made.read_bytes())
    record = json.loads(made.with_suffix(".json").read_bytes())
    record["metadata"]["actde"] = mark
    story.with_suffix(".json").write_text(json.dumps(record))
    with contextlib.closing(games.resolve(str(story))[0].make()) as env:
        text, info = env.reset(seed=0)
    assert info["objective"] in text
