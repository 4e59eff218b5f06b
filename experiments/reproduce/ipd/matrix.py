"""What the post says about its payoffs, computed from the game: returns, optimal strategies, discount thresholds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce.finding import DILEMMA, REWARD_MATRIX, Finding, Section, claim, exact
from experiments.reproduce.statistics import judge
from games.ipd import ACTIONS, PAYOFFS, Payoff, PrisonersDilemma

GAMMA = 0.5
REWARDS = {"cc": "0.5", "cd": "2", "dd": "-0.74", "dc": "-1.76"}
"""The past action and the present one -> the post's reward."""
RETURNS = {"cccc": "1.000", "cddd": "1.261", "cdcd": "1.492", "dddd": "-1.477", "dccc": "-1.261", "dcdc": "-1.015"}
"""The past action and the following ones -> the post's return."""
DASHES = {"alternate": "0.4170", "cooperate": "0.2882", "defect": "0.2948"}
"""The dashed lines of the post's figures, with the digits of the public code."""
FAR = 128
"""Games after which a discount of .5 leaves nothing, as in the public code."""
PLANS = {"cooperate": (0, 0), "repeat": (0, 1), "alternate": (1, 0), "defect": (1, 1)}
"""Every strategy that depends on the past action alone: the action after cooperate and the one after defect."""


def played(words: str, payoff: str = "post") -> list[float]:
    """Rewards of a sequence such as "cdcd" in the game; its first letter is the past action."""
    env = PrisonersDilemma(payoff=payoff, max_turns=len(words))
    names = {action[0]: action for action in ACTIONS}
    env.reset(options={"start": names[words[0]]})
    return [float(env.step(names[letter])[1]) for letter in words[1:]]


def discounted(words: str, payoff: str = "post", gamma: float = GAMMA) -> float:
    """Return of a sequence that is extended to `FAR` actions: "cdcd" alternates, others repeat their last letter."""
    endless = words[:2] * (FAR // 2) if words in ("cdcd", "dcdc") else words[0] + words[-1] * (FAR - 1)
    return float(np.dot(played(endless, payoff), gamma ** np.arange(FAR - 1)))


def mean_returns(payoff: str = "post") -> dict[str, float]:
    """Strategy -> its return averaged over both past actions (the post's footnote 5)."""
    starts = {"alternate": ("cdcd", "dcdc"), "cooperate": ("cccc", "dccc"), "defect": ("cddd", "dddd")}
    return {name: float(np.mean([discounted(words, payoff) for words in pair])) for name, pair in starts.items()}


def softmax_shares(payoff: str = "post") -> dict[str, float]:
    """Strategy -> softmax over the mean returns, the post's dashed lines."""
    returns = mean_returns(payoff)
    weights = np.exp(list(returns.values()))
    return dict(zip(returns, (weights / weights.sum()).tolist(), strict=True))


def best_plan(payoff: Payoff, gamma: float) -> str:
    """The plan with the highest value, summed over both past actions."""
    return max(PLANS, key=lambda name: float(plan_values(payoff, gamma, PLANS[name]).sum()))


def plan_values(payoff: Payoff, gamma: float, plan: tuple[int, int]) -> NDArray[np.float64]:
    """[2], v(past action) of a plan: v = r + gamma P v."""
    rewards = np.array([payoff[plan[past]][past] for past in (0, 1)])
    moves = np.eye(2)[list(plan)]
    return np.linalg.solve(np.eye(2) - gamma * moves, rewards)


def thresholds(payoff: Payoff) -> tuple[float, float]:
    """Discounts above which always cooperating beats always defecting, after cooperate and after defect.

    After cooperate: a / (1 - g) = b + d g / (1 - g), so g = (b - a) / (b - d). After defect: c + a g / (1 - g) =
    d / (1 - g), so g = (d - c) / (a - c), with [[a, c], [b, d]] = payoff[now][before].
    """
    (a, c), (b, d) = payoff
    return (b - a) / (b - d), (d - c) / (a - c)


def findings(rng: np.random.Generator) -> list[Finding]:
    """All claims about the matrix."""
    returns = {words: discounted(words) for words in RETURNS}
    return [*_payoffs(returns), _pairs(rng), *_construction(returns)]


def _payoffs(returns: dict[str, float]) -> list[Finding]:
    lines = softmax_shares()
    best = best_plan(PAYOFFS["post"], GAMMA)
    highest = all(
        returns[words] == max(value for other, value in returns.items() if other[0] == words[0])
        for words in ("cdcd", "dcdc")
    )
    optimal = claim(
        "ipd.alternating-optimal",
        "Alternating is the optimal strategy from both start states.",
        section=DILEMMA,
        criterion="Alternating has the highest return of the three from either start, and is the best of all four"
        " plans.",
        **judge("alternate" if best == "alternate" else "another", highest and best == "alternate"),
    )
    rewards = [
        exact(
            f"ipd.reward-{pair}",
            f"The reward of {pair} (the past action, then the present one).",
            section=DILEMMA,
            post=post,
            ours=played(pair)[0],
            rounded=len(post) > 3,
        )
        for pair, post in REWARDS.items()
    ]
    sums = [
        (f"return-{words}", f"{words}...: the sum of rewards with discount .5.", post, returns[words])
        for words, post in RETURNS.items()
    ]
    dashes = [
        (
            f"softmax-{name}",
            f"Dashed line of the figures: softmax over mean returns, {name} (the public code's digits).",
            post,
            lines[name],
        )
        for name, post in DASHES.items()
    ]
    return [*rewards, *_exact(DILEMMA, sums), optimal, *_exact(DILEMMA, dashes)]


def _exact(section: Section, rows: Sequence[tuple[str, str, str, float]]) -> list[Finding]:
    """Rounded numbers: (name, claim, the post's number, ours)."""
    return [exact(f"ipd.{name}", text, section=section, post=post, ours=ours) for name, text, post, ours in rows]


def _pairs(rng: np.random.Generator) -> Finding:
    actions = rng.integers(0, 2, size=(10_000, 101))
    steps = np.diff(actions, axis=1)
    most = int(np.abs((steps == 1).sum(axis=1) - (steps == -1).sum(axis=1)).max())
    return claim(
        "ipd.pairs",
        "cd and dc come in pairs, except for at most one (footnote 4; largest difference in random sequences).",
        section=DILEMMA,
        post=1.0,
        criterion="No random sequence has a larger difference.",
        **judge(most, most <= 1),
    )


def _construction(returns: dict[str, float]) -> list[Finding]:
    matrix = PAYOFFS["post"]
    from_c, from_d = thresholds(matrix)
    myopic, patient, usual = (best_plan(matrix, gamma) for gamma in (0.0, 0.99, GAMMA))
    thresholds_of_post = [
        ("threshold-c", "The discount at which both returns are equal, after cooperate.", "0.5477", from_c),
        ("threshold-d", "The same after defect.", "0.4523", from_d),
        ("threshold-mean", "The mean of the two.", "0.500", (from_c + from_d) / 2),
    ]
    total = sum(map(sum, matrix))
    third = returns["cddd"] > returns["cccc"] and returns["dccc"] > returns["dddd"] and usual == "alternate"
    best = "It is the best of the four plans."
    return [
        *_exact(REWARD_MATRIX, thresholds_of_post),
        claim(
            "ipd.zero-sum",
            "The matrix sums to 0.",
            section=REWARD_MATRIX,
            post=0.0,
            criterion="Its four numbers, with the six digits of the public code, sum to 0 within 1e-5.",
            **judge(total, abs(total) < 1e-5),
        ),
        claim(
            "ipd.defect-myopic",
            "Always defecting is the myopic strategy (best plan at discount 0).",
            section=REWARD_MATRIX,
            criterion=best,
            **judge(myopic, myopic == "defect"),
        ),
        claim(
            "ipd.cooperate-patient",
            "Always cooperating is the non-myopic strategy (best plan at discount .99).",
            section=REWARD_MATRIX,
            criterion=best,
            **judge(patient, patient == "cooperate"),
        ),
        claim(
            "ipd.third-strategy",
            "After cooperate, always defecting is better; after defect, always cooperating is better. So alternating,"
            " a third strategy, is best.",
            section=REWARD_MATRIX,
            criterion="cddd beats cccc, dccc beats dddd, and alternating is the best of the four plans.",
            ours=third,
            holds=third,
        ),
    ]
