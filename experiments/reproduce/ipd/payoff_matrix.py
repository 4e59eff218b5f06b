"""Check the post's claims about the payoffs of the prisoner's dilemma."""

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import Measurement
from experiments.reproduce.statistics import judge
from games.ipd import ACTIONS, PAYOFFS, Payoff, PrisonersDilemma

GAMMA = 0.5
# In a sequence of actions, c is cooperate and d is defect. The first action gives no reward.
RETURNS = ("cccc", "cddd", "cdcd", "dddd", "dccc", "dcdc")  # sequences whose returns the post gives
HORIZON = 128  # length of sequences that stand for infinite ones, as in the post's public code
# The deterministic strategies: the actions after cooperate (0) and after defect (1).
PLANS = {"cooperate": (0, 0), "repeat": (0, 1), "alternate": (1, 0), "defect": (1, 1)}


def rewards_of(sequence: str, payoff: str = "post") -> list[float]:
    """Return the rewards of `sequence`, a string of c (cooperate) and d (defect)."""
    env = PrisonersDilemma(payoff=payoff, max_turns=len(sequence))
    names = {action[0]: action for action in ACTIONS}
    env.reset(options={"start": names[sequence[0]]})
    return [float(env.step(names[letter])[1]) for letter in sequence[1:]]


def discounted_return(sequence: str, payoff: str = "post") -> float:
    """Continue the pattern of `sequence` forever. Return the discounted return."""
    # `cdcd` and `dcdc` alternate, and any other sequence repeats its last letter
    actions = (
        sequence[:2] * (HORIZON // 2) if sequence in ("cdcd", "dcdc") else sequence[0] + sequence[-1] * (HORIZON - 1)
    )
    return float(np.dot(rewards_of(actions, payoff), GAMMA ** np.arange(HORIZON - 1)))


def mean_returns(payoff: str = "post") -> dict[str, float]:
    """Return strategy -> discounted return, averaged over the two first actions (the post's footnote 5)."""
    starts = {"alternate": ("cdcd", "dcdc"), "cooperate": ("cccc", "dccc"), "defect": ("cddd", "dddd")}
    return {
        name: float(np.mean([discounted_return(sequence, payoff) for sequence in pair]))
        for name, pair in starts.items()
    }


def softmax_shares(payoff: str = "post") -> dict[str, float]:
    """Return the softmax of the strategies' mean returns."""
    returns = mean_returns(payoff)
    weights = np.exp(list(returns.values()))
    return dict(zip(returns, (weights / weights.sum()).tolist(), strict=True))


def best_plan(payoff: Payoff, gamma: float) -> str:
    """Return the name of the plan with the largest sum of values."""
    return max(PLANS, key=lambda name: float(plan_values(payoff, gamma, PLANS[name]).sum()))


def plan_values(payoff: Payoff, gamma: float, plan: tuple[int, int]) -> NDArray[np.float64]:
    """Return a plan's values [2] for the past actions cooperate and defect."""
    # v = r + gamma P v
    rewards = np.array([payoff[plan[past]][past] for past in (0, 1)])
    return np.linalg.solve(np.eye(2) - gamma * np.eye(2)[list(plan)], rewards)


def thresholds(payoff: Payoff) -> tuple[float, float]:
    """Return two discount factors above which cooperating beats defecting: after cooperate, and after defect."""
    # cooperating and defecting have equal returns after cooperate if a / (1 - g) = b + d g / (1 - g), and after
    # defect if c + a g / (1 - g) = d / (1 - g)
    (a, c), (b, d) = payoff  # payoff[present][past]
    return (b - a) / (b - d), (d - c) / (a - c)


def measure(rng: np.random.Generator) -> dict[str, Measurement]:
    matrix = PAYOFFS["post"]
    returns = {sequence: discounted_return(sequence) for sequence in RETURNS}
    threshold_c, threshold_d = thresholds(matrix)
    matrix_sum = sum(map(sum, matrix))
    myopic, patient, best = (best_plan(matrix, gamma) for gamma in (0.0, 0.99, GAMMA))
    highest = all(
        returns[sequence] == max(value for other, value in returns.items() if other[0] == sequence[0])
        for sequence in ("cdcd", "dcdc")
    )
    claim_holds = returns["cddd"] > returns["cccc"] and returns["dccc"] > returns["dddd"] and best == "alternate"
    steps = np.diff(rng.integers(0, 2, size=(10_000, 101)), axis=1)
    largest_difference = int(np.abs((steps == 1).sum(axis=1) - (steps == -1).sum(axis=1)).max())  # numbers of cd and dc
    return {
        **{f"reward-{pair}": Measurement(rewards_of(pair)[0]) for pair in ("cc", "cd", "dd", "dc")},
        **{f"return-{sequence}": Measurement(ours) for sequence, ours in returns.items()},
        "alternating-optimal": judge(best if best == "alternate" else "another", highest and best == "alternate"),
        **{f"softmax-{name}": Measurement(ours) for name, ours in softmax_shares().items()},
        "pairs": judge(largest_difference, largest_difference <= 1),
        "threshold-c": Measurement(threshold_c),
        "threshold-d": Measurement(threshold_d),
        "threshold-mean": Measurement((threshold_c + threshold_d) / 2),
        "zero-sum": judge(matrix_sum, abs(matrix_sum) < 1e-5),
        "defect-myopic": judge(myopic, myopic == "defect"),
        "cooperate-patient": judge(patient, patient == "cooperate"),
        "third-strategy": judge(claim_holds, claim_holds),
    }
