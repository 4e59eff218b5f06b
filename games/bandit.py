"""The bandit: a prompt, a few words to continue it with, a reward for each. One turn, no chance.

Rewards are exact, not drawn: what is studied is the update rule, not estimation.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from games.base import StepResult, TextGame
from games.errors import GameError, nearest
from games.parameters import Parameter

PROMPT, ARMS, REWARDS = "We had a", (" wedding", " party"), (1.0, 0.5)
CASES: MappingProxyType[str, Any] = MappingProxyType(
    {
        "wedding": {"prompt": PROMPT, "arms": ARMS, "rewards": REWARDS, "policy": (0.5, 0.5)},
        "pizza": {
            "prompt": "I will eat",
            "arms": (" pizza", " cookies"),
            "rewards": (10.0, 11.0),
            "policy": (0.5, 0.5),
        },
        "wireheading": {
            "prompt": "I will choose",
            "arms": (" pizza", " wirehead"),
            "rewards": (10.0, 100.0),
            "policy": (0.01, 0.99),
        },
    }
)
"""The three cases of the post that proposes ACTDE; the prompts of the last two are ours."""

SETTINGS = (
    Parameter(name="case", kind="choice", default="wedding", choices=tuple(CASES), help="a case of the post"),
    Parameter(name="prompt", kind="text", help="the text to continue"),
    Parameter(name="arms", kind="words", help="its continuations, joined by commas"),
    Parameter(name="rewards", kind="numbers", help="one number for each arm, joined by commas"),
    Parameter(name="policy", kind="numbers", low=0, high=1, help="an initial probability for each arm"),
)


class Bandit(TextGame):
    """A one-turn game: continue the prompt with one of the arms and earn its reward.

    `case` names a case of the post; `prompt`, `arms`, `rewards` and `policy` replace its parts (new arms
    need new rewards). `policy` is the probability of each arm before learning: the game does not use it,
    `info["initial_policy"]` hands it to whoever sets up an agent; without it the arms are equally likely.
    Blanks around a command do not count. A word that is no arm ends the game like any other and earns the
    smallest reward, so that it is never the better choice. Choosing a best arm is a win.
    """

    metadata: dict[str, Any] = {**TextGame.metadata, "prompt": "", "terminator": ""}  # noqa: RUF012

    def __init__(
        self,
        *,
        case: str = "wedding",
        prompt: str | None = None,
        arms: Sequence[str] | None = None,
        rewards: Sequence[float] | None = None,
        policy: Sequence[float] | None = None,
        max_turns: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if case not in CASES:
            raise GameError(f"bandit has no case {case!r}; {nearest(case, CASES)}")
        preset = CASES[case]
        self.prompt = str(preset["prompt"] if prompt is None else prompt)
        self.arms = tuple(preset["arms"] if arms is None else arms)
        self.rewards = tuple(float(reward) for reward in (preset["rewards"] if rewards is None else rewards))
        uniform = (1 / max(1, len(self.arms)),) * len(self.arms)
        self.policy = tuple(policy if policy is not None else uniform if arms is not None else preset["policy"])
        self._check()
        limit = 1 if max_turns is None else max_turns
        super().__init__(max_turns=limit, characters=self.prompt, render_mode=render_mode)
        self.vocabulary = tuple(dict.fromkeys(" ".join((self.prompt, *self.arms)).split()))
        self._rewards = dict(zip((arm.strip() for arm in self.arms), self.rewards, strict=True))

    def _check(self) -> None:
        names = [arm.strip() for arm in self.arms]
        if len(names) < 2 or not all(names) or len(set(names)) < len(names):
            raise GameError(f"bandit: expected at least two different arms, none blank, got {self.arms}")
        if not self.prompt.strip() or not all(text.isprintable() for text in (self.prompt, *names)):
            raise GameError("bandit: expected a prompt and arms of printable characters")
        for name, numbers in (("rewards", self.rewards), ("policy", self.policy)):
            if len(numbers) != len(names):
                raise GameError(f"bandit: {len(names)} arms need {len(names)} {name}, got {len(numbers)}")
        if min(self.policy) < 0 or abs(sum(self.policy) - 1) > 1e-6:
            raise GameError(f"bandit: expected a policy of probabilities that sum to 1, got {self.policy}")

    def _start(self, options: dict[str, Any]) -> StepResult:
        policy = dict(zip(self.arms, self.policy, strict=True))
        extra = {"max_score": max(self.rewards), "initial_policy": policy}
        return StepResult(text=self.prompt, commands=self.arms, extra=extra)

    def _play(self, command: str) -> StepResult:
        reward = self._rewards.get(command.strip(), min(self.rewards))
        best = command.strip() in self._rewards and reward == max(self.rewards)
        return StepResult(text="", reward=reward, won=best, over=True, extra={"max_score": max(self.rewards)})
