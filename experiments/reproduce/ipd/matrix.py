"""What the post says about its payoffs, from the game itself: returns, optimal strategies, discount thresholds."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.reproduce import finding
from experiments.reproduce.finding import Finding
from games.ipd import ACTIONS, PAYOFFS, Payoff, PrisonersDilemma

SECTION = "PPO vs ACTDE on the iterated prisoner's dilemma"
APPENDIX = "Appendix: reward matrix construction"
GAMMA = 0.5
SEQUENCES = {
    "cccc": "1.000",
    "cddd": "1.261",
    "cdcd": "1.492",
    "dddd": "-1.477",
    "dccc": "-1.261",
    "dcdc": "-1.015",
}
"""The first action is the past; after it comes what is played; the post's returns."""
FAR = 128
"""Games after which a discount of .5 leaves nothing, as in the public code."""


PLANS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""What to play after cooperate and after defect: every strategy that looks at the past action alone."""


def played(words: str, payoff: str = "post") -> list[float]:
    """Rewards of a sequence such as "cdcd" in the game: its first letter is the past."""
    env = PrisonersDilemma(payoff=payoff, max_turns=len(words))
    names = {action[0]: action for action in ACTIONS}
    env.reset(options={"start": names[words[0]]})
    return [float(env.step(names[letter])[1]) for letter in words[1:]]


def endless(words: str) -> str:
    """A sequence of `FAR` letters: "cdcd" goes on alternating, the others repeat their last letter."""
    return words[:2] * (FAR // 2) if words in ("cdcd", "dcdc") else words[0] + words[-1] * (FAR - 1)


def discounted(rewards: Sequence[float], gamma: float = GAMMA) -> float:
    """Sum of gamma^t r_t."""
    return float(np.dot(rewards, gamma ** np.arange(len(rewards))))


def mean_returns(payoff: str = "post", gamma: float = GAMMA) -> dict[str, float]:
    """Strategy -> its return averaged over both pasts (the post's footnote 5)."""
    starts = {"alternate": ("cdcd", "dcdc"), "cooperate": ("cccc", "dccc"), "defect": ("cddd", "dddd")}
    return {
        name: float(np.mean([discounted(played(endless(words), payoff), gamma) for words in pair]))
        for name, pair in starts.items()
    }


def softmax_shares(payoff: str = "post") -> dict[str, float]:
    """Strategy -> softmax over the mean returns, the post's dashed lines."""
    returns = mean_returns(payoff)
    weights = np.exp(list(returns.values()))
    return dict(zip(returns, (weights / weights.sum()).tolist(), strict=True))


def optimal(payoff: Payoff, gamma: float) -> tuple[int, int]:
    """(action after cooperate, action after defect) of the best strategy, by enumeration of all four."""
    return max(PLANS, key=lambda plan: float(_values(payoff, gamma, plan).sum()))


def _values(payoff: Payoff, gamma: float, plan: tuple[int, int]) -> NDArray[np.float64]:
    """[2] v(past) of a plan: v = r + gamma P v."""
    rewards = np.array([payoff[plan[past]][past] for past in (0, 1)])
    moves = np.eye(2)[list(plan)]
    return np.linalg.solve(np.eye(2) - gamma * moves, rewards)


def thresholds(payoff: Payoff) -> tuple[float, float]:
    """Discounts above which to cooperate for ever beats to defect for ever, from a past of c and of d.

    From c: a / (1 - g) = b + d g / (1 - g), so g = (b - a) / (b - d). From d: c + a g / (1 - g) = d / (1 - g), so
    g = (d - c) / (a - c), with [[a, c], [b, d]] = payoff[now][before].
    """
    (a, c), (b, d) = payoff
    return (b - a) / (b - d), (d - c) / (a - c)


def findings(rng: np.random.Generator) -> list[Finding]:
    """All claims about the matrix."""
    return [*_payoffs(), *_returns(), *_pairs(rng), *_construction()]


def _payoffs() -> list[Finding]:
    pairs = {"cc": "0.5", "cd": "2", "dd": "-0.74", "dc": "-1.76"}
    return [
        finding.exact(
            f"ipd.reward-{pair}",
            f"The reward of {pair} (the past, then the action).",
            section=SECTION,
            post=text,
            ours=played(pair)[0],
            rounded=len(text) > 3,
        )
        for pair, text in pairs.items()
    ]


def _returns() -> list[Finding]:
    returns = {words: discounted(played(endless(words))) for words in SEQUENCES}
    found = [
        finding.exact(
            f"ipd.return-{words}",
            f"{words}...: sum of rewards discounted by .5.",
            section=SECTION,
            post=text,
            ours=returns[words],
        )
        for words, text in SEQUENCES.items()
    ]
    best = optimal(PAYOFFS["post"], GAMMA)
    found.append(
        finding.claim(
            "ipd.alternating-optimal",
            "Alternating is the optimal strategy for both start states.",
            section=SECTION,
            ours="alternate" if best == (1, 0) else "another",
            holds=best == (1, 0)
            and returns["cdcd"] == max(returns[words] for words in ("cccc", "cddd", "cdcd"))
            and returns["dcdc"] == max(returns[words] for words in ("dddd", "dccc", "dcdc")),
            criterion="It has the highest return of the three from either start, and is the best of all four plans.",
        )
    )
    lines = softmax_shares()
    for name, text in (("alternate", "0.4170"), ("cooperate", "0.2882"), ("defect", "0.2948")):
        found.append(
            finding.exact(
                f"ipd.softmax-{name}",
                f"The dashed line of the figures: softmax over mean returns, {name} (digits of the public code).",
                section=SECTION,
                post=text,
                ours=lines[name],
            )
        )
    return found


def _pairs(rng: np.random.Generator) -> list[Finding]:
    actions = rng.integers(0, 2, size=(10_000, 101))
    steps = np.diff(actions, axis=1)
    most = int(np.abs((steps == 1).sum(axis=1) - (steps == -1).sum(axis=1)).max())
    return [
        finding.claim(
            "ipd.pairs",
            "cd and dc come in pairs except for at most one (footnote 4; largest difference in random sequences).",
            section=SECTION,
            post=1.0,
            ours=float(most),
            holds=most <= 1,
            criterion="No random sequence has more.",
        )
    ]


def _construction() -> list[Finding]:
    matrix = PAYOFFS["post"]
    from_c, from_d = thresholds(matrix)
    total = sum(map(sum, matrix))
    found = [
        finding.exact(name, text, section=APPENDIX, post=post, ours=ours)
        for name, text, post, ours in (
            ("ipd.threshold-c", "Discount of equal returns, from cooperate.", "0.5477", from_c),
            ("ipd.threshold-d", "The same from defect.", "0.4523", from_d),
            ("ipd.threshold-mean", "Their mean.", "0.500", (from_c + from_d) / 2),
        )
    ]
    myopic, patient = optimal(matrix, 0.0), optimal(matrix, 0.99)
    returns = {words: discounted(played(endless(words))) for words in SEQUENCES}
    third = returns["cddd"] > returns["cccc"] and returns["dccc"] > returns["dddd"]
    return [
        *found,
        finding.claim(
            "ipd.zero-sum",
            "The matrix has sum 0.",
            section=APPENDIX,
            post=0.0,
            ours=total,
            holds=abs(total) < 1e-5,
            criterion="Its four numbers, as printed in the public code with six digits, sum to 0 within 1e-5.",
        ),
        finding.claim(
            "ipd.defect-myopic",
            "To defect always is the myopic strategy (best plan at a discount of 0).",
            section=APPENDIX,
            ours=plan_name(myopic),
            holds=myopic == (1, 1),
            criterion="It is the best of the four plans.",
        ),
        finding.claim(
            "ipd.cooperate-patient",
            "To cooperate always is the non-myopic one (best plan at a discount of .99).",
            section=APPENDIX,
            ours=plan_name(patient),
            holds=patient == (0, 0),
            criterion="It is the best of the four plans.",
        ),
        finding.claim(
            "ipd.third-strategy",
            "After cooperate it is better to defect for ever, after defect to cooperate for ever, and so alternating,"
            " a third strategy, is best.",
            section=APPENDIX,
            ours=third and optimal(matrix, GAMMA) == (1, 0),
            holds=third and optimal(matrix, GAMMA) == (1, 0),
            criterion="cddd beats cccc, dccc beats dddd, and alternating is the best of the four plans.",
        ),
    ]


def plan_name(plan: tuple[int, int]) -> str:
    """The plan in a word."""
    return {(0, 0): "cooperate", (1, 1): "defect", (1, 0): "alternate", (0, 1): "repeat"}[plan]
