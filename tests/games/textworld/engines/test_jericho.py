"""Z-machine stories without TextWorld's record: their scores and ends, stopped commands, rejected files and infos."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import gymnasium
import pytest

import games
from agents.config import TrainConfig
from agents.play.baselines import WalkthroughAgent
from agents.play.evaluate import evaluate
from agents.training.factory import make_trainer
from games.textworld import env
from games.textworld.engines.command_filter import FreeTextFilter
from games.textworld.engines.subprocess_engine import create_engine
from games.textworld.env import TextWorld
from games.textworld.generation.make_game import cached_game
from games.textworld.validation.game_file import check_story
from tests.helpers.stories import compile_story

USUAL = ["look", "north", "south", "wait"]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("stories")
    return {version: compile_story(folder, version) for version in (3, 5, 8)}


@pytest.mark.parametrize("version", [3, 5, 8])
def test_a_story_plays_from_its_opening_to_its_end(stories: dict[int, Path], version: int) -> None:
    """The score is known up to version 3 only, because the standard defines its address there."""
    (spec,) = games.resolve(str(stories[version]))
    assert games.resolve(spec.name) == [spec]
    env = spec.make()
    text, info = env.reset(seed=0)
    assert text == "Two Rooms\n\nYou are in the hall. A door leads north."
    assert text in env.observation_space
    assert (info["admissible_commands"], info["max_score"], info["extra.walkthrough"]) == (USUAL, 0, [])
    assert env.step("north")[0] == "You are in the garden. The hall is south; a gold bar lies here."
    assert env.step("dance")[:4] == ("You cannot do that here.", 0.0, False, False)
    text, reward, terminated, truncated, info = env.step("take bar")
    assert text == "The bar is yours.\n\n*** You have won ***\n\nRESTART or QUIT?"
    assert (reward, terminated, truncated) == (5.0 if version == 3 else 0.0, True, False)
    assert (info["won"], info["lost"], info["admissible_commands"]) == (True, False, [])
    env.reset()
    _, _, terminated, _, info = env.step("jump")
    assert (terminated, info["won"], info["lost"]) == (True, False, True)
    assert info["score"] == (-1 if version == 3 else 0)
    env.close()
    env.close()
    assert env.reset()[0].startswith("Two Rooms")


def test_every_episode_draws_the_same_random_numbers(stories: dict[int, Path]) -> None:
    def play(env: gymnasium.Env[str, str]) -> list[str]:
        env.reset()
        return [env.step("wait")[0] for _ in range(5)]

    env = TextWorld(str(stories[5]))
    first = play(env)
    assert len(set(first)) > 1
    assert play(env) == first
    assert play(TextWorld(str(stories[5]))) == first


def test_gymnasium_makes_a_story(stories: dict[int, Path]) -> None:
    env = gymnasium.make("games:actde/TextWorld-v0", game=str(stories[3]), max_turns=2, render_mode="ansi")
    env.reset(seed=0)
    assert [env.step("look")[2:4] for _ in range(2)] == [(False, False), (False, True)]
    assert env.render() == "> look\nYou are in the hall. A door leads north."


def test_a_textworld_game_without_its_record_keeps_its_score(tmp_path: Path) -> None:
    made = cached_game("simple", {"seed": 7})
    whole = TextWorld(str(made))
    shutil.copy(made, tmp_path / "lone.z8")
    lone = TextWorld(str(tmp_path / "lone.z8"))
    text, info = whole.reset()
    with pytest.warns(
        RuntimeWarning, match=r"\Alone.z8: this is a game of TextWorld, but lone.json beside it is missing"
    ):
        assert lone.reset()[0] == text
    assert lone.reset()[0] == text, "the warning is not repeated"
    for command in info["extra.walkthrough"]:
        ours, theirs = whole.step(command), lone.step(command)
        assert ours[0].split() == theirs[0].split()
        assert ours[1:4] == theirs[1:4]
        assert [ours[4][key] for key in ("score", "max_score", "won")] == [
            theirs[4][key] for key in ("score", "max_score", "won")
        ]
    assert theirs[4]["won"] is True


def test_a_file_named_like_textworlds_needs_its_record(tmp_path: Path) -> None:
    shutil.copy(cached_game("simple", {"seed": 7}), tmp_path / "tw-lone.z8")
    with pytest.raises(games.GameError, match=r"tw-lone.json: no such game file, TextWorld's record"):
        TextWorld(str(tmp_path / "tw-lone.z8"))


def test_infos_of_textworld_are_rejected(stories: dict[int, Path]) -> None:
    with pytest.raises(games.GameError, match="without TextWorld's record has no 'policy_commands' to ask for"):
        TextWorld(str(stories[5]), infos=["policy_commands"])


@pytest.mark.parametrize("version", [3, 5, 8])
def test_agents_that_ask_for_infos_of_textworld_play_stories(stories: dict[int, Path], version: int) -> None:
    env = games.resolve(str(stories[version]))[0].make(infos=["policy_commands", "last_command"])
    env.reset()
    info = env.step("")[4]
    assert info["last_command"] == "" and "policy_commands" not in info
    env.close()


@pytest.fixture
def walkthrough(stories: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """The GAME of a story for which jericho has a walkthrough. It is played in this process."""
    import jericho

    known = {"name": "two", "rom": "two.z5", "walkthrough": "Look/north//take bar", "grammar": "", "max_word_length": 9}
    digest = hashlib.md5(stories[5].read_bytes()).hexdigest()
    monkeypatch.setitem(jericho.defines.BINDINGS_DICT, digest, known)
    monkeypatch.setattr(
        env, "SubprocessEngine", lambda path, infos, engine_name: create_engine(engine_name, path, infos)
    )
    return str(stories[5])


def test_a_story_with_a_walkthrough_offers_its_commands_and_the_walkthrough_wins(walkthrough: str) -> None:
    (spec,) = games.resolve(walkthrough)
    _, info = spec.make().reset()
    assert info["extra.walkthrough"] == ["Look", "north", "", "take bar"]
    assert info["admissible_commands"] == sorted([*USUAL, "Look", "take bar"])
    found = evaluate(WalkthroughAgent(), [spec], game=walkthrough, episodes=2, seed=1)
    assert found.success_rate is not None
    assert (found.success_rate.value, found.steps.value, found.errors) == (1.0, 4.0, 0)


@pytest.mark.parametrize("expert", ["walkthrough", "policy"])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_imitation_finds_the_expert_of_a_story(walkthrough: str, expert: str, beta: float, tmp_path: Path) -> None:
    wanted = {"game": walkthrough, "optimizer": "imitation", "trunk": "pico", "context": 256, "episodes": 4,
              "parallel": 2, "max_turns": 12, "iterations": 1, "beta": beta, "expert": expert}  # fmt: skip
    trainer = make_trainer(TrainConfig.from_flat(wanted), tmp_path / "run")
    assert trainer.agent.tokenizer.unk_token_id not in trainer.agent.tokenizer("gold bar lies, count to")["input_ids"]
    (metrics,) = trainer.run()
    assert metrics["labelled"] == 1.0 if beta == 1 else 0 < metrics["labelled"] < 1
    if beta == 1:
        assert metrics["success_with_expert"] == 1.0


def test_games_that_are_not_ours_have_new_words(stories: dict[int, Path], tmp_path: Path) -> None:
    ours = str(cached_game("simple", {"seed": 7}))
    names = [str(stories[3]), str(stories[5]), ours, "textworld:simple?seed=7", "bandit"]
    assert [games.resolve(name)[0].has_new_words for name in names] == [True, True, False, False, False]


def test_a_folder_of_stories_is_a_list_of_games(stories: dict[int, Path]) -> None:
    assert [spec.target for spec in games.resolve(str(stories[3].parent))] == [str(stories[v]) for v in (3, 5, 8)]


@pytest.mark.parametrize("version", [3, 5, 8])
def test_a_damaged_story_gets_one_line(stories: dict[int, Path], version: int) -> None:
    data = stories[version].read_bytes()
    length = int.from_bytes(data[26:28], "big") * {3: 2, 5: 4, 8: 8}[version]
    damaged = bytearray(data)
    damaged[200] ^= 1
    for content, why in (
        (b"", "empty"),
        (data[: length // 2], "truncated"),
        (bytes(damaged), "checksum is wrong"),
        (b"\x09" + data[1:], "versions 1 to 8"),
        (data[:8] + b"\xff\xff" + data[10:], "dictionary outside it"),
    ):
        with pytest.raises(games.GameError, match=why) as error:
            check_story(content, Path("x.z5"), range(1, 9))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        "save",
        " QUIT ",
        "restart",
        "undo",
        "look then quit",
        "take bar and save",
        "recording on",
        "transcript on",
        "tw-print x",
        "purloin bar",
    ],
)
def test_a_meta_verb_is_stopped(command: str) -> None:
    verdict = FreeTextFilter().check(command, ())
    assert verdict.command is None and verdict.reply
    assert "not a move of the story" in str(verdict.reason)


@pytest.mark.parametrize("command", ["\\quit", "a. quit", "bob, save", "a\0b", "look\nquit", "é", "x" * 101])
def test_characters_are_checked_as_in_textworlds_games(command: str) -> None:
    assert FreeTextFilter().check(command, ()).command is None


@pytest.mark.parametrize(
    "command",
    [
        "",
        "bob, go north",
        'say "hello"',
        "pay $5",
        "get lamp. n",
        "what?",
        "get all",
        " Enter the house ",
        "n",
        "say hello to the quitter",
        "then",
        "load cannon",
        "record",
        "oops lamp",
        "verbose",
    ],
)
def test_all_other_words_pass_unchanged(command: str) -> None:
    assert FreeTextFilter().check(command, ()).command == command.strip()
