"""The iterated prisoner's dilemma against one's own last action. There is no other player and no last round."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar

from games.base import Info, StepResult, TextGame
from games.errors import GameError, nearest
from games.parameters import Parameter

ACTIONS = ("cooperate", "defect")
STRATEGIES = ("cooperate", "defect", "alternate")
Payoff = tuple[tuple[float, float], tuple[float, float]]

PAYOFFS: MappingProxyType[str, Payoff] = MappingProxyType(
    {
        "post": ((0.5, -1.76139), (2.0, -0.738613)),
        "temptation-1": ((0.5, -1.27526), (1.0, -0.224745)),
        "temptation-0.7": ((0.5, -1.20718), (0.7, 0.00717968)),
        "threshold-0.75": ((-0.1176, -1.0588), (2.0, -0.8236)),
    }
)
"""payoff[action now][action before], 0 = cooperate, 1 = defect, in game points per turn.

`post` is the matrix of the figures: it sums to zero, and at a discount of 0.5 (the mean of its two
thresholds 0.5477 and 0.4523) alternating is best. The others are variants tried in the public code; the last
one has its threshold at a discount of 0.75."""

SETTINGS = (
    Parameter(name="payoff", kind="choice", default="post", choices=tuple(PAYOFFS), help="the payoff matrix"),
    Parameter(
        name="matrix",
        kind="numbers",
        help="four payoffs in place of a named matrix: cooperate after cooperate, cooperate after defect,"
        " defect after cooperate, defect after defect",
    ),
    Parameter(name="start", kind="choice", default="coin", choices=("coin", *ACTIONS), help="the first past"),
    Parameter(name="discount", kind="float", default=0.5, low=0, high=1, help="what a learner should discount by"),
)


class PrisonersDilemma(TextGame):
    """At turn t the player plays against its own action of turn t-1 and earns payoff[now][before].

    The opening text is the action before the first turn (a fair coin from the seed, or
    `options={"start": "defect"}`); later texts are empty, since the player's own words are its history.
    There is no last round: the turn limit truncates, and `info["continuation"]` holds the reset options
    with which the next episode goes on. `discount` changes nothing here; it is kept beside the matrix
    because the two belong together. A word that is neither action changes nothing and earns the smallest
    payoff. `info["strategy"]` says of every game of two actions which of the post's strategies it was: cooperate
    (cc), defect (dd) or alternate (cd or dc).
    """

    metadata: dict[str, Any] = {**TextGame.metadata, "prompt": "", "terminator": ""}  # noqa: RUF012
    vocabulary = ACTIONS
    strategies = STRATEGIES
    options: ClassVar[tuple[str, ...]] = ("start",)

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
        self.discount = discount
        self.start = _checked(start, ("coin", *ACTIONS))
        self._last = 0

    def _start(self, options: dict[str, Any]) -> StepResult:
        start = _checked(options.get("start", self.start), ("coin", *ACTIONS))
        self._last = int(self.np_random.integers(2)) if start == "coin" else ACTIONS.index(start)
        return StepResult(text=ACTIONS[self._last], commands=ACTIONS)

    def _play(self, command: str) -> StepResult:
        word = command.strip()
        if word not in ACTIONS:
            return StepResult(text="", reward=min(map(min, self.payoff)), commands=ACTIONS)
        now, before = ACTIONS.index(word), self._last
        self._last = now
        strategy = ACTIONS[now] if now == before else "alternate"
        return StepResult(text="", reward=self.payoff[now][before], commands=ACTIONS, extra={"strategy": strategy})

    def _continuation(self) -> Info:
        return {"continuation": {"start": ACTIONS[self._last]}}


def _checked(start: object, known: tuple[str, ...]) -> str:
    if not isinstance(start, str) or start not in known:
        raise GameError(f"ipd: start={start!r}: expected one of {', '.join(known)}")
    return start
