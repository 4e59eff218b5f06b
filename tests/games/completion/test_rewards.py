"""Rewards: the grammar, the built-in scorers, the user's functions, and one clear line for every mistake."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from games import GameError
from games.completion.rewards import Scorer, Term, max_reward, parse_reward, resolve_reward
from games.errors import ScorerError


def one(reward: str, completion: str, prompt: str = "We had a") -> float:
    (score,) = resolve_reward(reward)([prompt], [completion])
    assert type(score) is float
    return score


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("sentiment", [Term("sentiment")]),
        ("letter", [Term("letter", "e")]),
        (" letter:T * 2 ", [Term("letter", "T", 2.0)]),
        ("sentiment*1,length*-0.01", [Term("sentiment"), Term("length", weight=-0.01)]),
        ("contains:deep sea", [Term("contains", "deep sea")]),
        ("a.b:score*1e-3", [Term("function", "a.b:score", 0.001)]),
        ("~/my.py:score", [Term("function", "~/my.py:score")]),
        ("rm:runs/rm,hf:a/b*0.5", [Term("rm", "runs/rm"), Term("hf", "a/b", 0.5)]),
    ],
)
def test_grammar_gives_weighted_terms(text: str, terms: list[Term]) -> None:
    assert list(parse_reward(text)) == terms


def test_terms_have_the_name_that_a_reward_uses() -> None:
    names = [term.name for term in parse_reward("length*2,letter:t,a.b:score,rm:F")]
    assert names == ["length", "letter:t", "a.b:score", "rm:F"]
    assert [term.is_model for term in parse_reward("hf:F,length,rm:F")] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no reward is called ''"),
        ("sentiment,", "no reward is called ''"),
        ("sentimnet", "no reward is called 'sentimnet'; did you mean 'sentiment'"),
        ("xyz", "known are: FILE.py:FUNCTION, MODULE:FUNCTION, contains, hf, length, letter, rm, sentiment"),
        ("a.py:not a name", "no reward is called"),
        (":score", "no reward is called"),
        ("sentiment:x", "sentiment takes no argument, got 'x'"),
        ("length:3", "length takes no argument, got '3'"),
        ("letter:", "expected one letter, as in letter:e, got ''"),
        ("letter:ab", "expected one letter, as in letter:e, got 'ab'"),
        ("letter:3", "expected one letter, as in letter:e, got '3'"),
        ("contains", "contains needs a word, as in contains:sea"),
        ("contains: ", "contains needs a word, as in contains:sea"),
        ("rm", "rm needs a folder, as in rm:FOLDER"),
        ("hf:", "hf needs a folder, as in hf:FOLDER"),
        ("length*", r"reward length\*: expected a finite weight after '\*', as in length\*-0.01, got ''"),
        ("length*x", "expected a finite weight after .*got 'x'"),
        ("length*nan", "expected a finite weight after .*got 'nan'"),
        ("length*1*2", r"expected a finite weight after .*got '1\*2'"),
    ],
)
def test_mistakes_in_the_grammar_are_one_line(text: str, message: str) -> None:
    with pytest.raises(GameError, match=message) as error:
        parse_reward(text)
    assert "\n" not in str(error.value)


def test_sentiment_is_vaders_compound_score_of_the_completion() -> None:
    assert one("sentiment", " wonderful") == 0.5719
    assert one("sentiment", " awful", prompt="wonderful") == -0.4588
    assert one("sentiment", "") == one("sentiment", "\ud800") == 0.0


@pytest.mark.parametrize(
    ("reward", "completion", "score"),
    [
        ("letter", " Every egg is 'eaten' here.", 3 / 5),
        ("letter:t", "the tall man", 2 / 3),
        ("letter:É", " école", 1.0),
        ("letter", "", 0.0),
        ("letter", " ... ", 0.0),
        ("length", "a well-known man's dog, and 3 cats", 7.0),
        ("length", " ", 0.0),
        ("contains:Sea", "at sea.", 1.0),
        ("contains:sea", "seaside, overseas", 0.0),
        ("contains:C++", "I write c++.", 1.0),
        ("contains:deep sea", "the deep sea", 1.0),
    ],
)
def test_built_in_rewards(reward: str, completion: str, score: float) -> None:
    assert one(reward, completion) == pytest.approx(score)


def test_terms_are_summed_with_their_weights_over_a_batch() -> None:
    scores = resolve_reward("length*-0.5,contains:a*3")(["x", "y", "z"], ["a b", "b", ""])
    assert list(scores) == [2.0, -0.5, 0.0]
    assert list(resolve_reward("length,sentiment")([], [])) == []


@pytest.mark.parametrize(
    ("reward", "largest"),
    [
        ("sentiment", 1.0),
        ("sentiment*-2", 2.0),
        ("letter*3", 3.0),
        ("contains:a*-1", 0.0),
        ("length", None),
        ("length*-1", 0.0),
        ("length*0", 0.0),
        ("a.b:score", None),
        ("rm:F", None),
        ("letter:a,letter:b", None),
    ],
)
def test_largest_reward_is_given_where_it_is_known(reward: str, largest: float | None) -> None:
    assert max_reward(parse_reward(reward)) == largest


def test_missing_vader_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from games.completion import rewards

    rewards._sentiment.cache_clear()
    monkeypatch.setitem(sys.modules, "vaderSentiment.vaderSentiment", None)
    with pytest.raises(GameError, match=r"needs the package vaderSentiment: pip install -e '\.\[rlhf\]'"):
        resolve_reward("sentiment")


def test_models_need_a_loader() -> None:
    with pytest.raises(GameError, match="reward rm:F: a model cannot be loaded here"):
        resolve_reward("sentiment,rm:F")

    def load(term: Term) -> Scorer:
        return lambda prompts, completions: [float(len(term.argument + text)) for text in completions]

    assert list(resolve_reward("length,rm:F*2", load)(["", ""], ["a", "a b"])) == [5.0, 10.0]


SOURCE = """
import dataclasses

@dataclasses.dataclass
class Settings:
    gain: float = 2.0

LIMIT = 3

def score(prompts, completions):
    return [Settings().gain * len(p + c) for p, c in zip(prompts, completions)]
"""


def write(folder: Path, body: str, name: str = "mine.py") -> str:
    (folder / name).write_text(body)
    return f"{folder / name}:score"


def test_function_of_a_file_sees_prompts_and_completions_in_a_batch(tmp_path: Path) -> None:
    reward = write(tmp_path, SOURCE)
    assert list(resolve_reward(f"{reward}*0.5,length")(["ab", "c"], [" d", "e f"])) == [5.0, 6.0]


def test_file_is_executed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    reward = write(tmp_path, "import sys\nsys.path.append('executed')\ndef score(p, c): return [1.0]\n")
    resolve_reward(reward)
    assert one(reward, "") == 1.0
    assert sys.path.count("executed") == 1
    write(tmp_path, "def score(prompts, completions): return [22.0]\n")
    assert one(reward, "") == 22.0


def test_function_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pack").mkdir()
    write(tmp_path / "pack", SOURCE, "tastes.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert one("pack.tastes:score", "ab", prompt="") == 4.0


@pytest.mark.parametrize(
    "result",
    ["(1,)", "[True]", "np.array([1.0])", "np.ones(1, np.float32)", "[torch.ones(1)]", "torch.ones(1).bfloat16()"],
)
def test_a_sequence_array_or_tensor_of_numbers_is_a_result(tmp_path: Path, result: str) -> None:
    reward = write(tmp_path, f"import numpy as np, torch\ndef score(prompts, completions): return {result}\n")
    assert one(reward, "") == 1.0


WANTED = r"mine.py:score: expected one finite number for each completion \(2\), got "


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('gone\\nfor good')", r"KeyError: 'gone\\nfor good'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("return [1.0]", "1 scores"),
        ("return [1.0, 2.0, 3.0]", "3 scores"),
        ("return 1.0", "1.0, not a list of numbers$"),
        ("return None", "None, not a list of numbers$"),
        ("return 'ab'", "'ab', not a list of numbers$"),
        ("return b'ab'", "b'ab', not a list of numbers$"),
        ("return {1: 1, 2: 2}", "{1: 1, 2: 2}, not a list of numbers$"),
        ("return {1, 2}", "{1, 2}, not a list of numbers$"),
        ("return __import__('numpy').float64(1)", r"np.float64\(1.0\), not a list of numbers$"),
        ("return [0.5, float('nan')]", "nan for ' b'"),
        ("return [float('-inf'), 0.5]", "-inf for ' a'"),
        ("return ['1', '2']", "'1' for ' a'"),
        ("return [None, 1]", "None for ' a'"),
        ("return [10 ** 400, 1]", "OverflowError: int too large to convert to float"),
        ("return [1 / 0 for _ in completions]", "ZeroDivisionError: division by zero"),
        ("return ['x' * 10000, 1]", r"'x+\.\.\.x+' for ' a'"),
    ],
)
def test_failing_scorer_is_named_with_what_was_expected_and_what_came(tmp_path: Path, body: str, message: str) -> None:
    scorer = resolve_reward(write(tmp_path, f"def score(prompts, completions):\n    {body}\n"))
    with pytest.raises(GameError, match=WANTED + message) as error:
        scorer(["p", "q"], [" a", " b"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("parameters", ["texts", "", "prompts, completions, other"])
def test_function_with_other_parameters_is_refused(tmp_path: Path, parameters: str) -> None:
    reward = write(tmp_path, f"def score({parameters}):\n    return [1.0]\n")
    expected = r"mine.py:score: expected a function that takes two lists, \(prompts, completions\)"
    with pytest.raises(ScorerError, match=rf"{expected}, got score\({parameters}\)$"):
        resolve_reward(reward)


def test_matrix_is_no_list_of_numbers() -> None:
    scorer = resolve_reward("rm:F", lambda term: lambda prompts, completions: np.zeros((2, 3)))  # type: ignore[arg-type, return-value]
    with pytest.raises(GameError, match=r"reward rm:F: expected one finite number .* got \[0.0, 0.0, 0.0\] for 'a'"):
        scorer(["p", "q"], ["a", "b"])


@pytest.mark.parametrize("count", [0, 2])
def test_one_completion_needs_one_score(count: int) -> None:
    scorer = resolve_reward("rm:F", lambda term: lambda prompts, completions: [1.0] * count)
    with pytest.raises(GameError, match=rf"for each completion \(1\), got {count} scores$"):
        scorer(["p"], ["a"])


def test_sum_that_overflows_raises(tmp_path: Path) -> None:
    reward = write(tmp_path, "def score(prompts, completions): return [1e308]\n")
    with pytest.raises(GameError, match=r"expected a finite sum of its terms, got \[inf\]"):
        one(f"{reward}*10", "")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def scores(p, c): return []", r"mine.py has no function 'score'; did you mean 'scores'\?"),
        ("score = 3", "mine.py has no function 'score'$"),
        ("def score(", "mine.py cannot be imported, got SyntaxError: "),
        ("raise ValueError('a\\nb')", "mine.py cannot be imported, got ValueError: a b"),
        ("import nothing_here", "got ModuleNotFoundError: No module named 'nothing_here'"),
    ],
)
def test_file_without_the_function_raises(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(GameError, match=message) as error:
        resolve_reward(write(tmp_path, source))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("no/such.py:score", "reward no/such.py:score: no/such.py: no such file"),
        (
            "leter:e",
            "leter cannot be imported, got ModuleNotFoundError: No module named 'leter'; did you mean 'letter'",
        ),
        ("no_package.module:score", "got ModuleNotFoundError: No module named 'no_package'$"),
        ("..a:score", "cannot be imported, got TypeError"),
        ("math:sqr", "math has no function 'sqr'; did you mean 'sqrt'"),
    ],
)
def test_missing_file_module_or_function_raises(reward: str, message: str) -> None:
    with pytest.raises(GameError, match=message):
        resolve_reward(reward)


@pytest.mark.parametrize(
    ("reward", "hint"),
    [
        ("vowel_count", r"no reward is called 'vowel_count'; did you mean 'vowel_count.py:vowel_count'\?"),
        ("vowel_count.py", r"no reward is called 'vowel_count.py'; did you mean 'vowel_count.py:vowel_count'\?"),
        ("vowel_count:score", "; name the file: vowel_count.py:score$"),
    ],
)
def test_a_file_in_the_current_folder_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vowel_count.py").touch()
    with pytest.raises(GameError, match=hint):
        resolve_reward(reward)
