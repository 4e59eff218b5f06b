"""The bandit: a one-turn game in which each arm has a fixed reward."""

from collections.abc import Sequence
from typing import Any

from games.base import StepResult, TextGame
from games.errors import GameError, nearest
from games.parameters import Parameter

# name -> (prompt, arms, rewards, policy), from the post by Turner and Einhorn (2023). The last two prompts are ours.
CASES = {
    "wedding": ("We had a", (" wedding", " party"), (1.0, 0.5), (0.5, 0.5)),
    "pizza": ("I will eat", (" pizza", " cookies"), (10.0, 11.0), (0.5, 0.5)),
    "wireheading": ("I will choose", (" pizza", " wirehead"), (10.0, 100.0), (0.01, 0.99)),
}


class Bandit(TextGame):
    """A one-turn game. Each arm is a command with a fixed reward. Any other command earns the smallest reward."""

    metadata: dict[str, Any] = {**TextGame.metadata, "prompt": "", "terminator": ""}  # noqa: RUF012
    parameters = (
        Parameter(name="case", kind="choice", default="wedding", choices=tuple(CASES), help="a case of the post"),
        Parameter(name="prompt", kind="text", help="the text to continue"),
        Parameter(name="arms", kind="words", help="its continuations, joined by commas"),
        Parameter(name="rewards", kind="numbers", help="one number for each arm, joined by commas"),
        Parameter(name="policy", kind="numbers", low=0, high=1, help="an initial probability for each arm"),
    )

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
        case_prompt, case_arms, case_rewards, case_policy = CASES[case]
        self.prompt = str(case_prompt if prompt is None else prompt)
        self.arms = tuple(case_arms if arms is None else arms)
        self.rewards = tuple(map(float, case_rewards if rewards is None else rewards))
        uniform = (1 / max(1, len(self.arms)),) * len(self.arms)
        self.policy = tuple(policy if policy is not None else case_policy if arms is None else uniform)
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
        max_turns = 1 if max_turns is None else max_turns
        super().__init__(max_turns=max_turns, characters=self.prompt, render_mode=render_mode)
        self.vocabulary = tuple(dict.fromkeys(" ".join((self.prompt, *self.arms)).split()))
        self._reward_of = dict(zip(names, self.rewards, strict=True))

    def _start(self, options: dict[str, Any]) -> StepResult:
        # the game reports the policy, but does not use it
        info = {"max_score": max(self.rewards), "initial_policy": dict(zip(self.arms, self.policy, strict=True))}
        return StepResult(text=self.prompt, commands=self.arms, info=info)

    def _play(self, command: str) -> StepResult:
        best = max(self.rewards)
        reward = self._reward_of.get(command.strip(), min(self.rewards))
        won = reward == best and command.strip() in self._reward_of
        return StepResult(text="", reward=reward, won=won, terminated=True, info={"max_score": best})
