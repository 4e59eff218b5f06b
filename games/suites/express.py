"""TextWorldExpress, a suite of eight games (Jansen and Côté, 2023; https://arxiv.org/abs/2208.01174)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from games.base import StepResult
from games.errors import GameError
from games.parameters import Parameter
from games.suites import java
from games.suites.base import SuiteGame

MAP = ("numLocations", "includeDoors", "limitInventorySize")
SETTINGS = {
    "cookingworld": (*MAP, "numIngredients", "numDistractorItems"),
    "twc": (*MAP, "numItemsToPutAway"),
    "coin": (*MAP, "numDistractorItems"),
    "mapreader": (*MAP, "maxDistanceApart", "maxDistractorItemsPerLocation"),
    "arithmetic": (),
    "sorting": (),
    "simonsays": ("gameLength", "numDistractors", "memorization", "verboseNone"),
    "peckingorder": (),
}
"""Game -> the names of its settings, all of which are integers."""
PARAMETERS = (
    Parameter(name="seed", kind="int", default=0, low=0, high=2**31 - 1, help="seed of the generator"),
    Parameter(name="fold", kind="choice", default="train", choices=("train", "dev", "test"), help="split"),
)


class Express(SuiteGame):
    """A game of TextWorldExpress.

    If `infos` contains `policy_commands`, a reset returns a solution in `info["extra.walkthrough"]`.
    """

    @classmethod
    def names(cls) -> Sequence[str]:
        return tuple(SETTINGS)

    @classmethod
    def parameters_of(cls, name: str) -> tuple[Parameter, ...]:
        settings = (Parameter(name=key, kind="int", low=0, high=10_000, help="see the suite") for key in SETTINGS[name])
        return (*PARAMETERS, *settings)

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        fold: str = "train",
        max_turns: int | None = None,
        infos: Sequence[str] = (),
        render_mode: str | None = None,
        **settings: int,
    ) -> None:
        super().__init__(max_turns=max_turns, render_mode=render_mode)
        self._name, self._settings = name, ",".join(f"{key}={value}" for key, value in settings.items())
        self._arguments = (seed, fold, "policy_commands" in infos)
        self._load()

    def _load(self) -> None:
        from textworld_express.constants import JAR_PATH

        self._jvm = java.shared_jvm(Path(JAR_PATH))
        self._game = self._jvm.call(self._jvm.classes.textworldexpress.runtime.PythonInterface)
        if problem := self._jvm.call(self._game.load, self._name, self._settings):
            raise GameError(f"express:{self._name}: {problem.strip()}")

    def _start(self, options: dict[str, Any]) -> StepResult:
        if self._jvm.is_dead():
            self._load()
        response = self._jvm.call(self._game.generateNewGameJSON, *self._arguments)
        self._task: str = self._jvm.call(self._game.getTaskDescription).strip()
        result = self._result(response, previous_score=0.0)
        result.text = f"{self._task}\n\n{result.text}"
        if self._arguments[-1]:
            result.info["extra.walkthrough"] = list(self._jvm.call(self._game.getGoldActionSequence))
        return result

    def _play(self, command: str) -> StepResult:
        return self._result(self._jvm.call(self._game.stepJSON, java.encodable(command)), previous_score=self._score)

    def _result(self, response: str, previous_score: float) -> StepResult:
        state = json.loads(response)
        won, lost = bool(state["tasksuccess"]), bool(state["taskfailure"])
        return StepResult(
            text=state["observation"].strip(),
            reward=state["score"] - previous_score,
            commands=tuple(set(state["validActions"])),  # `simonsays` lists some twice
            won=won,
            lost=lost,
            terminated=won or lost,
            info={
                "max_score": 1.0,
                "objective": self._task,
                "description": state["look"].strip(),
                "inventory": state["inventory"].strip(),
            },
        )
