"""Reward functions of the completion game."""

import inspect
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, SupportsFloat, TypeAlias, cast

from games.code_import import code_errors, find_nearby, import_name
from games.errors import GameError, ScorerError, did_you_mean, nearest

Scorer: TypeAlias = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""Takes prompts and their completions. Returns one finite number for each completion."""

Kind = Literal["contains", "function", "hf", "length", "letter", "rm", "sentiment"]
# built-in term -> its smallest and largest value
BOUNDS = {"sentiment": (-1.0, 1.0), "letter": (0.0, 1.0), "length": (0.0, math.inf), "contains": (0.0, 1.0)}
MODELS = ("rm", "hf")
NEEDS = {"contains": "a word, as in contains:sea", "rm": "a folder, as in rm:FOLDER", "hf": "a folder, as in hf:FOLDER"}
WORD = re.compile(r"\w+(?:['’-]\w+)*")
DEFAULT_LETTER = "e"


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a reward. For example, `letter:e*2` has the kind `letter`, the argument `e` and the weight 2."""

    kind: Kind
    argument: str = ""
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The term without its weight, such as `letter:e`."""
        if self.kind == "function":
            return self.argument
        return f"{self.kind}:{self.argument}" if self.argument else self.kind

    @property
    def is_model(self) -> bool:
        return self.kind in MODELS


def parse_reward(text: str) -> tuple[Term, ...]:
    """Parse the terms of a reward without loading code or models."""
    return tuple(_parse_term(part.strip()) for part in text.split(","))


def resolve_reward(text: str, load_model: Callable[[Term], Scorer] | None = None) -> Scorer:
    """Return the scorer of a reward. `load_model(term)` must return the scorer of a reward-model term."""
    terms = parse_reward(text)
    scorers = [_with_checked_scores(term, _make_scorer(term, load_model)) for term in terms]

    def score(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        columns = [scorer(prompts, completions) for scorer in scorers]
        totals = [sum(t.weight * x for t, x in zip(terms, row, strict=True)) for row in zip(*columns, strict=True)]
        if not all(map(math.isfinite, totals)):
            raise ScorerError(f"reward {text}: expected a finite sum of its terms, got {totals}")
        return totals

    return score


def max_reward(terms: Sequence[Term]) -> float | None:
    """Return the largest possible reward, or None if infinite or unknown."""
    if len(terms) != 1 or terms[0].kind not in BOUNDS:
        return None
    weight = terms[0].weight
    largest = max(weight * bound if weight and bound else 0.0 for bound in BOUNDS[terms[0].kind])
    return largest if math.isfinite(largest) else None


def _parse_term(text: str) -> Term:
    term_name, star, factor = text.partition("*")
    kind, colon, argument = term_name.strip().partition(":")
    weight = _parse_weight(text, factor) if star else 1.0
    if kind in NEEDS and not argument.strip():
        raise GameError(f"reward {text}: {kind} needs {NEEDS[kind]}")
    if kind in ("sentiment", "length") and colon:
        raise GameError(f"reward {text}: {kind} takes no argument, got {argument!r}")
    if kind == "letter" and colon and not (len(argument.strip()) == 1 and argument.strip().isalpha()):
        raise GameError(f"reward {text}: expected one letter, as in letter:e, got {argument!r}")
    if kind in BOUNDS or kind in MODELS:
        default = DEFAULT_LETTER if kind == "letter" else ""
        return Term(cast("Kind", kind), argument.strip() or default, weight)
    module, _, function = term_name.strip().rpartition(":")
    if not (module and function.isidentifier()):
        candidates = (*BOUNDS, *MODELS, "MODULE:FUNCTION", "FILE.py:FUNCTION")
        module = kind.removesuffix(".py")
        nearby = find_nearby(f"{module}:{module.rpartition('.')[2]}")
        hint = f"did you mean {nearby!r}?" if nearby else nearest(kind, candidates)
        raise GameError(f"no reward is called {text!r}; {hint}")
    return Term("function", term_name.strip(), weight)


def _parse_weight(text: str, factor: str) -> float:
    try:
        weight = float(factor)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise GameError(f"reward {text}: expected a finite weight after '*', as in length*-0.01, got {factor!r}")
    return weight


def _make_scorer(term: Term, load_model: Callable[[Term], Scorer] | None) -> Scorer:
    if term.is_model:
        if load_model is None:
            raise GameError(f"reward {term.name}: a model cannot be loaded here, only a reward of text")
        return load_model(term)
    if term.kind == "function":
        return _import_scorer(term)
    function = _text_function(term)
    return lambda prompts, completions: [function(text) for text in completions]


def _text_function(term: Term) -> Callable[[str], float]:
    argument = term.argument.casefold()
    if term.kind == "letter":
        return lambda text: _share_of_words(argument, WORD.findall(text))
    if term.kind == "length":
        return lambda text: float(len(WORD.findall(text)))
    if term.kind == "contains":
        pattern = re.compile(rf"(?<!\w){re.escape(argument)}(?!\w)")
        return lambda text: float(pattern.search(text.casefold()) is not None)
    return _sentiment()


def _share_of_words(letter: str, words: Sequence[str]) -> float:
    return sum(word.casefold().startswith(letter) for word in words) / len(words) if words else 0.0


@lru_cache(maxsize=1)
def _sentiment() -> Callable[[str], float]:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise GameError("reward sentiment needs the package vaderSentiment: pip install -e '.[rlhf]'") from error
    analyzer = SentimentIntensityAnalyzer()
    return lambda text: float(analyzer.polarity_scores(text)["compound"])


def _import_scorer(term: Term) -> Scorer:
    try:
        function = import_name(term.argument, "function")
    except GameError as error:
        source = term.argument.rpartition(":")[0]
        hint = "" if source.endswith(".py") else did_you_mean(source, (*BOUNDS, *MODELS))
        if isinstance(error.__cause__, ModuleNotFoundError) and (nearby := find_nearby(term.argument)):
            hint = f"; name the file: {nearby}"
        raise ScorerError(f"reward {term.name}: {error}{hint}") from error
    return _check_signature(term, function)


def _check_signature(term: Term, function: Callable[..., Any]) -> Scorer:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # C code may have no signature
        return cast("Scorer", function)
    try:
        signature.bind((), ())
    except TypeError:
        signature_text = f"{term.argument.rpartition(':')[2]}({', '.join(signature.parameters)})"
        expected = "expected a function that takes two lists, (prompts, completions)"
        raise ScorerError(f"reward {term.name}: {expected}, got {signature_text}") from None
    return cast("Scorer", function)


def _with_checked_scores(term: Term, scorer: Scorer) -> Scorer:
    def score(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        expectation = f"reward {term.name}: expected one finite number for each completion ({len(completions)}),"
        with code_errors(expectation, ScorerError):
            result: Any = scorer(prompts, completions)
            scores = result.tolist() if hasattr(result, "tolist") else result  # an array or a tensor
            is_list = isinstance(scores, Iterable) and not isinstance(scores, str | bytes | bytearray | Mapping | Set)
            scores = list(scores) if is_list else []
            numbers = [float(value) if isinstance(value, SupportsFloat) else math.nan for value in scores]
        if not is_list:
            raise ScorerError(f"{expectation} got {_short(result)}, not a list of numbers")
        if len(scores) != len(completions):
            raise ScorerError(f"{expectation} got {len(scores)} scores")
        for value, number, text in zip(scores, numbers, completions, strict=True):
            if not math.isfinite(number):
                raise ScorerError(f"{expectation} got {_short(value)} for {_short(text)}")
        return numbers

    return score


def _short(value: object) -> str:
    return " ".join(reprlib.repr(value).split())
