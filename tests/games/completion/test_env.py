"""The completion game: one prompt, one text, one reward."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import games
from games import GameError, resolve
from games.completion import Completion
from games.completion.prompts import load_prompts
from games.game_hash import game_hash


def make(settings: str = "") -> Completion:
    env = resolve(f"completion?{settings}")[0].make()
    assert isinstance(env, Completion)
    return env


def test_prompt_is_continued_by_one_text_that_the_reward_scores() -> None:
    env = make()
    text, info = env.reset(seed=3)
    assert text in load_prompts("train")
    assert info == {
        "admissible_commands": [], "score": 0.0, "won": False, "lost": False, "moves": 0,
        "prompt": text, "max_score": 1.0, "max_tokens": 16, "newlines": False,
    }  # fmt: skip
    observation, reward, terminated, truncated, info = env.step(" wonderful")
    assert (observation, reward, terminated, truncated) == ("", 0.5719, True, False)
    assert info == {
        "admissible_commands": [], "score": 0.5719, "won": False, "lost": False, "moves": 1,
        "prompt": text, "completion": " wonderful", "max_score": 1.0,
    }  # fmt: skip


def test_command_is_scored_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "size.py"
    path.write_text("def score(prompts, completions): return [len(text) for text in completions]\n")
    env = Completion(reward=f"{path}:score")
    for text, size in ((" a ", 3), ("", 0), ("a\n", 2)):
        env.reset()
        _, reward, terminated, _, info = env.step(text)
        assert (reward, terminated, info["completion"]) == (size, True, text)


def test_each_seed_draws_one_prompt_and_all_are_drawn() -> None:
    env = make("prompts=heldout")
    drawn = [env.reset(seed=seed)[0] for seed in range(500)]
    assert drawn == [env.reset(seed=seed)[0] for seed in range(500)]
    assert set(drawn) == set(load_prompts("heldout"))
    env.reset(seed=0)
    assert len({env.reset()[0] for _ in range(20)}) > 5, "without a seed, prompts change from episode to episode"


def test_reset_option_sets_the_prompt() -> None:
    env = make()
    text, info = env.reset(options={"prompt": " Once upon\na time "})
    assert text == info["prompt"] == "Once upon\na time"
    assert env.step(" there")[4]["prompt"] == text
    for wrong in ("", " \n", 3, None):
        with pytest.raises(GameError, match="expected a text that is not blank as the reset option 'prompt', got"):
            env.reset(options={"prompt": wrong})
    with pytest.raises(GameError, match="did you mean 'prompt'"):
        env.reset(options={"promt": "a"})


def test_openings_of_a_file_may_have_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "Čau,\\n"}\n')
    env = Completion(prompts=str(path))
    text, _ = env.reset(seed=0)
    assert text == "Čau,"
    assert text in env.observation_space


def test_limits_of_the_agent_are_reported_and_not_applied() -> None:
    env = make("max_tokens=1&newlines=no&reward=length")
    _, info = env.reset()
    assert (info["max_tokens"], info["newlines"]) == (1, False)
    assert env.step("one\ntwo three")[1] == 3.0
    assert make("newlines=true").reset()[1]["newlines"] is True


@pytest.mark.parametrize("reward", ["rm:runs/rm", "hf:folder*2", "sentiment,length*-0.1,rm:runs/rm"])
def test_reward_with_a_model_is_not_computed_here(reward: str) -> None:
    env = make(f"reward={reward}")
    assert "max_score" not in env.reset()[1]
    _, earned, terminated, _, info = env.step(" wonderful")
    assert (earned, terminated, info["unscored"], info["score"]) == (0.0, True, reward, 0.0)
    assert "max_score" not in info


def test_scored_text_is_not_marked_and_unbounded_reward_has_no_maximum() -> None:
    env = make("reward=length")
    assert "max_score" not in env.reset()[1]
    assert not {"unscored", "max_score"} & set(env.step("a")[4])


def test_choices_are_the_admissible_commands_and_other_texts_stay_legal() -> None:
    env = make("choices= wonderful, awful")
    assert env.reset()[1]["admissible_commands"] == [" awful", " wonderful"]
    rewards = []
    for text in (" awful", " wonderful", " great"):
        env.reset()
        rewards.append(env.step(text)[1])
    assert rewards == [-0.4588, 0.5719, 0.6249]
    assert " wonderful" in env.action_space


def test_invalid_penalty_spares_free_text_and_not_a_text_beside_the_choices() -> None:
    for settings, penalties in (("reward=length", [0.0, 0.0]), ("reward=length&choices= a, b", [0.0, -5.0])):
        env = games.shape(make(settings), invalid_penalty=5.0)
        for text, penalty in zip((" a", " c"), penalties, strict=True):
            env.reset()
            assert env.step(text)[1] == 1.0 + penalty


def test_gymnasium_checker_passes_on_free_text() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("games:actde/Completion-v0")
        check_env(env.unwrapped)
        text, _ = env.reset(seed=0)
        assert env.step(" wonderful")[1] == 0.5719
    assert text in load_prompts("train")


def test_transcript_shows_the_completion_without_a_sign() -> None:
    env = resolve("completion")[0].make(render_mode="ansi")
    text, _ = env.reset(seed=0)
    assert env.render() == text
    env.step(" wonderful")
    assert env.render() == " wonderful"


def test_several_games_run_as_a_vector_environment() -> None:
    from games.vector import TextVectorEnv

    vector = TextVectorEnv("completion + completion?reward=length", workers=0)
    texts, _ = vector.reset(seed=0)
    assert set(texts) <= set(load_prompts("train"))
    assert vector.step((" awful", " a b"))[1].tolist() == [-0.4588, 2.0]
    vector.close()


def test_train_and_heldout_games_have_different_hashes() -> None:
    hashes = {game_hash(resolve(name)[0]) for name in ("completion", "completion?prompts=heldout", "bandit")}
    assert len(hashes) == 3
    assert resolve("completion?prompts=train&reward=sentiment&max_tokens=16&newlines=false")[0].name == "completion"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("prompts=trian", "did you mean 'train'"),
        ("reward=sentimnet", "did you mean 'sentiment'"),
        ("reward=rm:,length", "rm needs a folder"),
        ("max_tokens=0", "max_tokens=0: expected a whole number from 1 to 512"),
        ("max_tokens=513", "max_tokens=513: expected a whole number from 1 to 512"),
        ("newlines=maybe", "newlines=maybe: expected true or false"),
        ("choices=a", "at least two different choices of printable characters, none blank, got"),
        ("choices=a,a", "at least two different choices"),
        ("choices=a, ", "at least two different choices"),
        ("choices=a,b%0A", "at least two different choices"),
        ("prompt=a", "did you mean 'prompts'"),
    ],
)
def test_mistakes_in_settings_are_one_line(settings: str, message: str) -> None:
    with pytest.raises(GameError, match=message) as error:
        make(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("limit", [0, 513, True, "16"])
def test_token_limit_of_the_constructor_is_checked(limit: Any) -> None:
    with pytest.raises(GameError, match=f"max_tokens={limit}: expected a whole number from 1 to 512"):
        Completion(max_tokens=limit)


def test_failing_reward_ends_the_step_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def score(prompts, completions): raise ValueError('no')\n")
    env = Completion(reward=f"{path}:score")
    env.reset()
    with pytest.raises(GameError, match=r"mine.py:score: expected one finite number .* got ValueError: no"):
        env.step("a")
