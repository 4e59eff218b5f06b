"""The iterated prisoner's dilemma."""

from collections.abc import Mapping
from typing import Any

from games.base import Info, StepResult, TextGame
from games.errors import GameError, nearest
from games.parameters import Parameter

ACTIONS = ("cooperate", "defect")
STARTS = ("coin", *ACTIONS)
Payoff = tuple[tuple[float, float], tuple[float, float]]

PAYOFFS: Mapping[str, Payoff] = {
    "post": ((0.5, -1.76139), (2.0, -0.738613)),
    "temptation-1": ((0.5, -1.27526), (1.0, -0.224745)),
    "temptation-0.7": ((0.5, -1.20718), (0.7, 0.00717968)),
    "threshold-0.75": ((-0.1176, -1.0588), (2.0, -0.8236)),
}
"""Name -> payoff[current action][previous action], in game points per turn. Action 0 is cooperate.

`post` is from the figures of Turner and Einhorn (2023), who propose ACTDE. Their public code also tries the others.
"""


class PrisonersDilemma(TextGame):
    """The iterated prisoner's dilemma. The opponent repeats the player's previous action."""

    metadata: dict[str, Any] = {**TextGame.metadata, "prompt": "", "terminator": ""}  # noqa: RUF012
    parameters = (
        Parameter(name="payoff", kind="choice", default="post", choices=tuple(PAYOFFS), help="the payoff matrix"),
        Parameter(name="matrix", kind="numbers", help="four payoffs in place of a named matrix: cooperate after"
                  " cooperate, cooperate after defect, defect after cooperate, defect after defect"),
        Parameter(name="start", kind="choice", default="coin", choices=STARTS, help="the action before the first"),
        Parameter(name="discount", kind="float", default=0.5, low=0, high=1, help="the learner's discount"),
    )  # fmt: skip
    vocabulary = ACTIONS
    strategies = (*ACTIONS, "alternate")
    reset_options = ("start",)

    def __init__(
        self,
        *,
        payoff: str = "post",
        matrix: tuple[float, ...] | None = None,
        start: str = "coin",
        discount: float = 0.5,
        max_turns: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_turns=100 if max_turns is None else max_turns, render_mode=render_mode)
        if payoff not in PAYOFFS:
            raise GameError(f"ipd has no payoff {payoff!r}; {nearest(payoff, PAYOFFS)}")
        if matrix is not None and len(matrix) != 4:
            raise GameError(f"ipd: expected a matrix of four numbers, got {len(matrix)}")
        self.payoff = PAYOFFS[payoff] if matrix is None else ((matrix[0], matrix[1]), (matrix[2], matrix[3]))
        self.discount, self.start, self._last_action = discount, _check_start(start), 0

    def _start(self, options: dict[str, Any]) -> StepResult:
        start = _check_start(options.get("start", self.start))
        self._last_action = int(self.np_random.integers(2)) if start == "coin" else ACTIONS.index(start)
        return StepResult(text=ACTIONS[self._last_action], commands=ACTIONS)

    def _play(self, command: str) -> StepResult:
        word = command.strip()
        if word not in ACTIONS:
            return StepResult(text="", reward=min(map(min, self.payoff)), commands=ACTIONS)
        previous, self._last_action = self._last_action, ACTIONS.index(word)
        info = {"strategy": word if self._last_action == previous else "alternate"}
        return StepResult(text="", reward=self.payoff[self._last_action][previous], commands=ACTIONS, info=info)

    def _continuation(self) -> Info:
        return {"continuation": {"start": ACTIONS[self._last_action]}}


def _check_start(start: object) -> str:
    if not isinstance(start, str) or start not in STARTS:
        raise GameError(f"ipd: start={start!r}: expected one of {', '.join(STARTS)}")
    return start
