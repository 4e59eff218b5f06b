"""Environments that misbehave: each failure ends the episode with its kind in one line."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import games
from games.external_values import as_text


class Broken(gymnasium.Env[Any, Any]):
    """Returns `first` from reset, and `second` from step. If it is a function, returns what the function returns."""

    action_space = gymnasium.spaces.Text(9)

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def reset(self, **options: Any) -> Any:
        return self.first() if callable(self.first) else self.first

    def step(self, action: Any) -> Any:
        return self.second() if callable(self.second) else self.second


def raises(error: Exception) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


GOOD: Any = ("Hello.", {})
STEP: Any = ("Hello.", 1, False, False, {})


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (raises(KeyError("x")), STEP, "reset raised"),
        (None, STEP, "result"),
        ((3, {}), STEP, "observation"),
        ((b"bytes", {}), STEP, "observation"),
        ((bytearray(b"bytes"), {}), STEP, "observation"),
        ((np.array([b"bytes"]), {}), STEP, "observation"),
        (({"text": b"bytes"}, {}), STEP, "observation"),
        ((("text", b"bytes"), {}), STEP, "observation"),
        ((np.array(["text", b"bytes"], dtype=object), {}), STEP, "observation"),
        (("Hello.", {"admissible_commands": [b"a"]}), STEP, "commands"),
        (("Hello.", {"score": None}), STEP, "info"),
        (("Hello.", {"max_score": "100"}), STEP, "info"),
        (("Hello.", {"moves": float("nan")}), STEP, "info"),
        (("Hello.", {"score": b"3"}), STEP, "info"),
        (GOOD, raises(SystemExit()), "step raised"),  # type: ignore[arg-type]
        (GOOD, ("Hello.", b"1", False, False, {}), "reward"),
        (GOOD, ("Hello.", "1", False, False, {}), "reward"),
        (GOOD, ("Hello.", 10**400, False, False, {}), "reward"),
        (GOOD, ("Hello.", 1, "False", False, {}), "result"),
        (GOOD, ("Hello.", 1, False, None, {}), "result"),
        (GOOD, ("Hello.", 1, b"", False, {}), "result"),
        (("Hello.", None), STEP, "info"),
        (("Hello.", {"admissible_commands": ["a", "a"]}), STEP, "commands"),
        (("Hello.", {"admissible_commands": ["a\nb"]}), STEP, "commands"),
        (("Hello.", {"admissible_commands": [" "]}), STEP, "commands"),
        (("Hello.", {"admissible_commands": ["a\u2028b"]}), STEP, "commands"),
        (("Hello.", {"admissible_commands": ["\ud800"]}), STEP, "commands"),
        (("\ud800", {}), STEP, "observation"),
        (("Hello.", {"admissible_commands": ["a" * 999]}), STEP, "commands"),
        (("Hello.", {"admissible_commands": "look"}), STEP, "commands"),
        (("Hello.", {"admissible_commands": ["a", 2]}), STEP, "commands"),
        (GOOD, raises(RuntimeError("no\nway")), "step raised"),
        (GOOD, ("Hello.", 1, True, {}), "result"),
        (GOOD, ("Hello.", float("nan"), False, False, {}), "reward"),
        (GOOD, ("Hello.", float("inf"), False, False, {}), "reward"),
        (GOOD, ("Hello.", None, False, False, {}), "reward"),
        (GOOD, ([], 1, False, False, {}), "observation"),
    ],
)
def test_a_failure_names_its_kind_in_one_line(first: Any, second: Any, kind: str) -> None:
    env = games.ExternalEnv(Broken(first, second), "mine")

    def play() -> None:
        env.reset(seed=0)
        env.step("go")

    with pytest.raises(games.EpisodeError, match=r"\Amine: [^\n]+\Z") as failure:
        play()
    assert failure.value.kind == kind


@pytest.mark.parametrize("max_score", [None, 3, np.float32(3), np.array(3)])
@pytest.mark.parametrize("over", [True, np.bool_(True), 1, np.int64(1)])
def test_numbers_and_flags_of_numpy_are_accepted(max_score: object, over: object) -> None:
    env = games.ExternalEnv(Broken(("Hello.", {"max_score": max_score}), ("Hello.", np.array(2), over, 0, {})), "mine")
    assert env.reset(seed=0)[1]["max_score"] is max_score
    assert env.step("go")[1:4] == (2.0, True, False)


@pytest.mark.parametrize("error", [AttributeError("process"), OSError("gone"), SystemExit(1)])
def test_an_environment_that_cannot_be_closed_is_dropped(error: Exception) -> None:
    class Stuck(Broken):
        def close(self) -> None:
            raise error

    games.ExternalEnv(Stuck(GOOD, STEP), "mine").close()


@pytest.mark.parametrize(
    ("observation", "text"),
    [
        ("a", "a"),
        (np.str_("a"), "a"),
        (np.array("a"), "a"),
        (np.array(["a", "b"]), "a\nb"),
        (("a", "b"), "a\nb"),
        ({"obs": "a", "time": np.array([3])}, "obs: a\ntime: 3"),
        ({"obs": "a", "done": np.True_}, "obs: a\ndone: True"),
        (3, None),
        (b"a", None),
        ({}, None),
        (np.array([1, 2]), None),
    ],
)
def test_observations_of_wrappers_become_text(observation: object, text: str | None) -> None:
    assert as_text(observation) == text


@pytest.mark.parametrize("method", ["reset", "step"])
def test_a_class_without_a_method_is_named(method: str) -> None:
    class Half(Broken):
        pass

    setattr(Half, method, getattr(gymnasium.Env, method))
    with pytest.raises(games.GameError, match=rf"\Amine: the class Half defines no method '{method}'\Z"):
        games.ExternalEnv(Half(GOOD, STEP), "mine")
