"""GAME strings: resolving, canonical names and error messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from games import GameError, resolve
from games.parameters import Parameter, Value, format_settings, parse_settings, split_query
from games.textworld.generation.families import FAMILIES

STRINGS = [
    "bandit",
    "bandit?case=pizza",
    "bandit?arms= a, b&rewards=1,0.25&prompt=Say: 100%25 %26 %3F",
    "completion",
    "completion?prompts=heldout&reward=letter:e*2,length*-0.01&max_tokens=8&newlines=true&choices= a, b",
    "ipd",
    "ipd?payoff=threshold-0.75&start=defect&discount=0.9",
    "ipd?matrix=0.5,-1.5,2,-1",
    *(f"textworld:{name}" for name in FAMILIES),
    "textworld:simple?level=1&seed=7&rewards=dense&goal=detailed",
    "textworld:cooking?level=7&rooms=9&drop=yes&split=test&seed=3",
    "textworld:quest?steps=5&objects=9&rooms=4&goal=none",
]


@pytest.mark.parametrize("game", STRINGS)
def test_canonical_name_resolves_to_the_same_spec(game: str) -> None:
    (spec,) = resolve(game)
    assert resolve(spec.name) == [spec]
    assert hash(spec) == hash(resolve(spec.name)[0])


@given(st.text(min_size=1), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=5))
def test_prompt_and_rewards_round_trip_through_a_game_string(prompt: str, rewards: list[float]) -> None:
    table = (Parameter(name="prompt", kind="text", help=""), Parameter(name="rewards", kind="numbers", help=""))
    values: dict[str, Value] = {"prompt": prompt, "rewards": tuple(rewards)}
    try:
        text = format_settings(table, values)
    except UnicodeEncodeError:  # a lone surrogate cannot be percent-encoded
        return
    assert parse_settings(table, split_query(text, "game"), "game") == values


def test_canonical_name_omits_settings_equal_to_the_preset() -> None:
    (spec,) = resolve("textworld:simple?goal=detailed&rewards=dense&seed=7&level=1")
    assert spec.name == "textworld:simple?level=1&seed=7"
    (other,) = resolve("textworld:simple?goal=none&level=1&seed=7")
    assert other.name == "textworld:simple?level=1&seed=7&goal=none"


def test_ranges_of_seeds_and_levels_give_several_games() -> None:
    names = [spec.name for spec in resolve("textworld:coin?seed=100..119")]
    assert names == [f"textworld:coin?level=1&seed={seed}" for seed in range(100, 120)]
    assert len(resolve("textworld:coin?level=1..3&seed=5..6&goal=brief")) == 6


def test_games_of_joined_strings_are_interleaved_evenly() -> None:
    several = ["textworld:coin?seed=1..4", "textworld:simple?seed=7..8", "bandit"]
    names = [spec.name for spec in resolve(" + ".join(several))]
    assert [name.partition("?")[0].removeprefix("textworld:") for name in names] == (
        ["coin", "simple", "coin", "bandit", "coin", "simple", "coin"]
    )
    for game in several:
        own = [spec.name for spec in resolve(game)]
        assert [name for name in names if name in own] == own, "in their own order"


def test_escaped_plus_in_a_setting_joins_no_games() -> None:
    (spec,) = resolve("bandit?prompt=1 %2B 1 is")
    assert resolve(spec.name) == [spec]


MISTAKES = [
    ("", "no game is called ''"),
    ("bandti", "did you mean 'bandit'"),
    ("simple?level=1", r"did you mean 'textworld:simple\?level=1'"),
    ("textworld", "known are|did you mean"),
    ("textworld:", "no family"),
    ("textworld:treasur", "did you mean 'treasure'"),
    ("textworld:simple?levle=1", "did you mean 'level'"),
    ("textworld:simple?level", "expected settings as name=value"),
    ("textworld:simple?level=1&level=2", "given twice"),
    ("textworld:simple?level=0", "level=0: expected a whole number|expected a number from 1 to 9"),
    ("textworld:simple?level=10", "from 1 to 9"),
    ("textworld:simple?level=x", "expected a whole number from 1 to 9"),
    ("textworld:simple?seed=-1", "seed=-1: expected"),
    ("textworld:simple?seed=9..3", "from low to high"),
    ("textworld:simple?seed=0..9999999", "too many"),
    ("textworld:simple?goal=non", "did you mean 'none'"),
    ("textworld:simple?rooms=4", "has no setting 'rooms'"),
    ("textworld:coin?level=151", "more than 100 rooms"),
    ("textworld:coin?level=149..151", "more than 100 rooms"),
    ("textworld:cooking?rooms=7", "expected one of 1, 6, 9, 12"),
    ("textworld:cooking?open=maybe", "expected true or false"),
    ("no/such/file.z8", "no such file"),
    ("missing.z8", "no such file"),
    ("\0", "no game is called"),
    ("bandit + bandti", "did you mean 'bandit'"),
    ("bandit + ", "no game is called ''"),
]


@pytest.mark.parametrize(("game", "message"), MISTAKES)
def test_errors_are_one_line_and_suggest_the_nearest_name(game: str, message: str) -> None:
    with pytest.raises(GameError, match=message) as error:
        resolve(game)
    assert "\n" not in str(error.value)


def test_resolving_another_type_raises() -> None:
    with pytest.raises(TypeError, match="a GAME is a str"):
        resolve(3)  # type: ignore[arg-type]


def test_folder_without_games_and_other_files_raise(tmp_path: Path) -> None:
    with pytest.raises(GameError, match="holds no game files"):
        resolve(str(tmp_path))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(GameError, match=r"expected a game file \(.z1 to .z8, .json or .tw-pddl\)"):
        resolve(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_level_sets_all_parameters_or_is_excluded(name: str) -> None:
    family = FAMILIES[name]
    names = {parameter.name for parameter in family.parameters}
    for level in range(1, family.levels + 1):
        if level in family.excluded:
            with pytest.raises(GameError, match="are excluded"):
                family.complete({"level": level})
            continue
        values = family.complete({"level": level})
        assert set(values) == names
        spelled = split_query(format_settings(family.parameters, values), name)
        assert parse_settings(family.parameters, spelled, name) == values
