"""What the post's Speculation says about the tabular bandit: "reward logits" that are e^R there and R before."""

import math

from actde.tabular import TabularACTDE
from experiments.reproduce import finding
from experiments.reproduce.bandit.tables import REWARDS, STATE, even, in_turn, softmax
from experiments.reproduce.finding import Finding

SECTION = "Speculation and text adventures"


def findings() -> list[Finding]:
    """pi(wedding) if e^R were added to the logits, beside that of the rule, which adds R."""
    said = softmax({action: math.exp(reward) for action, reward in REWARDS.items()}, "wedding")
    return [
        finding.contradiction(
            "bandit.speculation.reward-logits",
            'In the tabular bandit ACTDE adds "reward logits (e^R)" onto log pi_0 (pi(wedding) if e^1 and e^.5 were'
            " added; the post's own rule and table add 1 and .5).",
            section=SECTION,
            post=f"{said:.2f}",
            rule=math.e / (math.e + math.sqrt(math.e)),
            ours=in_turn(TabularACTDE, REWARDS, even(REWARDS)[STATE], 2).policy(STATE)["wedding"],
        )
    ]
