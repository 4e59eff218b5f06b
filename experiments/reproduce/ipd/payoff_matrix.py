"""Check what the post by Turner and Einhorn (2023) says about the payoffs of its prisoner's dilemma.

The reward depends on the agent's past action and its present action. A sequence of actions is written as a word of the
letters c (cooperate) and d (defect). Its first letter is the past action, which gives no reward.
"""

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import judge
from games.ipd import ACTIONS, PAYOFFS, Payoff, PrisonersDilemma

GAMMA = 0.5
RETURNS = ("cccc", "cddd", "cdcd", "dddd", "dccc", "dcdc")  # sequences whose returns the post gives
FAR = 128  # length of sequences that stand for infinite ones, as in the post's public code
# The deterministic strategies: the actions after cooperate (0) and after defect (1).
PLANS = {"cooperate": (0, 0), "repeat": (0, 1), "alternate": (1, 0), "defect": (1, 1)}


def played(words: str, payoff: str = "post") -> list[float]:
    """Play a sequence such as "cdcd" in the game, and return its rewards. `payoff` is the name of the payoff matrix."""
    env = PrisonersDilemma(payoff=payoff, max_turns=len(words))
    names = {action[0]: action for action in ACTIONS}
    env.reset(options={"start": names[words[0]]})
    return [float(env.step(names[letter])[1]) for letter in words[1:]]


def discounted(words: str, payoff: str = "post") -> float:
    """Return the discounted return of an infinite sequence of actions.

    "cdcd" and "dcdc" mean that the two actions alternate forever. Any other `words`, such as "cddd", means the first
    letter and endless repetitions of the last letter.
    """
    endless = words[:2] * (FAR // 2) if words in ("cdcd", "dcdc") else words[0] + words[-1] * (FAR - 1)
    return float(np.dot(played(endless, payoff), GAMMA ** np.arange(FAR - 1)))


def mean_returns(payoff: str = "post") -> dict[str, float]:
    """Compute each strategy's return, averaged over the two possible past actions (footnote 5 of the post)."""
    starts = {"alternate": ("cdcd", "dcdc"), "cooperate": ("cccc", "dccc"), "defect": ("cddd", "dddd")}
    return {name: float(np.mean([discounted(words, payoff) for words in pair])) for name, pair in starts.items()}


def softmax_shares(payoff: str = "post") -> dict[str, float]:
    """Return the softmax over the strategies' mean returns. The post's figures show these shares as dashed lines."""
    returns = mean_returns(payoff)
    weights = np.exp(list(returns.values()))
    return dict(zip(returns, (weights / weights.sum()).tolist(), strict=True))


def best_plan(payoff: Payoff, gamma: float) -> str:
    """Return the name of the best plan. A plan's score is the sum of its values for the two possible past actions."""
    return max(PLANS, key=lambda name: float(plan_values(payoff, gamma, PLANS[name]).sum()))


def plan_values(payoff: Payoff, gamma: float, plan: tuple[int, int]) -> NDArray[np.float64]:
    """Return the value [2] of a plan for each past action. `plan` holds the action to take after each past action.

    The values solve v = r + gamma P v, with the plan's rewards r and transition matrix P.
    """
    rewards = np.array([payoff[plan[past]][past] for past in (0, 1)])
    return np.linalg.solve(np.eye(2) - gamma * np.eye(2)[list(plan)], rewards)


def thresholds(payoff: Payoff) -> tuple[float, float]:
    """Return the discount factors above which always cooperating beats always defecting, for each past action.

    Let [[a, c], [b, d]] be payoff[now][before]. At the threshold g, the two strategies have equal returns:

    * After cooperate, a / (1 - g) = b + d g / (1 - g), and therefore g = (b - a) / (b - d).
    * After defect, c + a g / (1 - g) = d / (1 - g), and therefore g = (d - c) / (a - c).
    """
    (a, c), (b, d) = payoff
    return (b - a) / (b - d), (d - c) / (a - c)


def measure(rng: np.random.Generator) -> dict[str, Measurement]:
    matrix = PAYOFFS["post"]
    returns = {words: discounted(words) for words in RETURNS}
    from_c, from_d = thresholds(matrix)
    total = sum(map(sum, matrix))
    myopic, patient, best = (best_plan(matrix, gamma) for gamma in (0.0, 0.99, GAMMA))
    highest = all(
        returns[words] == max(value for other, value in returns.items() if other[0] == words[0])
        for words in ("cdcd", "dcdc")
    )
    third = returns["cddd"] > returns["cccc"] and returns["dccc"] > returns["dddd"] and best == "alternate"
    steps = np.diff(rng.integers(0, 2, size=(10_000, 101)), axis=1)
    most = int(np.abs((steps == 1).sum(axis=1) - (steps == -1).sum(axis=1)).max())  # numbers of cd and dc
    return {
        **{f"reward-{pair}": Measurement(played(pair)[0]) for pair in ("cc", "cd", "dd", "dc")},
        **{f"return-{words}": Measurement(ours) for words, ours in returns.items()},
        "alternating-optimal": judge(best if best == "alternate" else "another", highest and best == "alternate"),
        **{f"softmax-{name}": Measurement(ours) for name, ours in softmax_shares().items()},
        "pairs": judge(most, most <= 1),
        "threshold-c": Measurement(from_c),
        "threshold-d": Measurement(from_d),
        "threshold-mean": Measurement((from_c + from_d) / 2),
        "zero-sum": judge(total, abs(total) < 1e-5),
        "defect-myopic": judge(myopic, myopic == "defect"),
        "cooperate-patient": judge(patient, patient == "cooperate"),
        "third-strategy": judge(third, third),
    }
