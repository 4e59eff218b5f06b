"""ScienceWorld, a suite of thirty school experiments (Wang et al., 2022; https://arxiv.org/abs/2203.07540)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from games.base import StepResult
from games.errors import GameError, nearest
from games.parameters import Parameter
from games.suites import java
from games.suites.base import SuiteGame

PARAMETERS = (
    Parameter(name="seed", kind="int", default=0, low=0, high=10_000, help="number of the task's variation"),
    Parameter(name="simplify", kind="words", help="the suite's simplifications, joined by commas, such as easy"),
)


class ScienceWorld(SuiteGame):
    """A task of ScienceWorld. `seed` is the number of the task's variation. A fatal mistake sets the score to -100."""

    @classmethod
    def names(cls) -> Sequence[str]:
        from scienceworld.constants import ID2TASK

        return tuple(ID2TASK.values())

    @classmethod
    def parameters_of(cls, name: str) -> tuple[Parameter, ...]:
        return PARAMETERS

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        simplify: Sequence[str] = (),
        max_turns: int | None = None,
        infos: Sequence[str] = (),
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_turns=max_turns, render_mode=render_mode)
        self._arguments = (name, seed, "easy" if "easy" in simplify else ",".join(simplify))  # easy includes all others
        self._walkthrough: list[str] | None = None if "policy_commands" in infos else []
        # each live episode has its own JVM, because games in one JVM affect each other
        self._jvm: java.Jvm | None = None
        self._load(simplify)
        self.close()

    def close(self) -> None:
        """End the episode, and release the JVM for other games."""
        super().close()
        if self._jvm is not None:
            java.give_back(self._jvm)
        self._jvm = None

    def _load(self, simplify: Sequence[str] = ()) -> None:
        from scienceworld.constants import JAR_PATH

        if self._jvm is None or self._jvm.is_dead():
            self._jvm = java.borrow(Path(JAR_PATH))
        self._game = self._jvm.call(self._jvm.classes.scienceworld.runtime.pythonapi.PythonInterface)
        simplifications = ("easy", *self._call("getPossibleSimplifications").split(", "))
        for word in simplify:
            if word not in simplifications:
                raise GameError(f"scienceworld:{self._arguments[0]}: simplify={word}: {nearest(word, simplifications)}")
        if problem := self._call("load", *self._arguments, self._walkthrough is None):
            raise GameError(f"scienceworld:{self._arguments[0]}: {problem.strip()}")
        if self._walkthrough is None:
            self._walkthrough = list(self._call("getGoldActionSequence"))  # takes up to several seconds
        self._task: str = self._call("getTaskDescription").strip()

    def _call(self, method: str, *arguments: Any) -> Any:
        assert self._jvm is not None
        return self._jvm.call(getattr(self._game, method), *arguments)

    def _start(self, options: dict[str, Any]) -> StepResult:
        self._load()
        result = self._result(self._call("step", "look around"), previous_score=0)
        result.text = f"{self._task}\n\n{result.text}"
        if self._walkthrough:
            result.info["extra.walkthrough"] = list(self._walkthrough)
        return result

    def _play(self, command: str) -> StepResult:
        result = self._result(self._call("step", java.encodable(command)), previous_score=self._score)
        if result.terminated or self._turns + 1 >= self.max_turns:
            self.close()
        return result

    def _result(self, text: str, previous_score: float) -> StepResult:
        score = round(100 * self._call("getScore"))
        is_over = score < 0 or self._call("getCompleted")
        return StepResult(
            text=text.strip(),
            reward=score - previous_score,
            commands=() if is_over else self._commands(),
            won=is_over and score == 100,
            lost=is_over and score != 100,
            terminated=is_over,
            info={"max_score": 100, "objective": self._task},
        )

    def _commands(self) -> tuple[str, ...]:
        assert self._jvm is not None
        commands = self._call("getValidActionObjectCombinations")
        joined: str = self._jvm.call(self._jvm.classes.String.join, "\n", commands)  # one call, not one per command
        return tuple(joined.split("\n"))
