"""The post's two tables cell by cell and the limits that it gives, from the learners of actde/tabular.py.

Histories here are fixed: the post's, or all actions in turn. What learners do on their own policy is in growth.py
and limits.py.
"""

import math
from collections.abc import Mapping
from typing import Any

from scipy.optimize import brentq

from actde.tabular import Tabular, TabularACTDE, TabularPPO, bandit_steps, replay
from experiments.reproduce import finding
from experiments.reproduce.finding import Finding

SUMMARY, ADVANTAGE = finding.SECTIONS[:2]
ACTDE, WIREHEADING = (section for section in finding.SECTIONS if section.startswith(("Action-", "ACTDE doesn't")))
STATE = "We had a"
REWARDS: dict[Any, float] = {"wedding": 1.0, "party": 0.5}
HISTORY = ("wedding", "party", "party", "wedding")
PPO_CELLS = (("1", ".73", "1"), ("-.5", ".82", ".5"), ("0", ".82", ".5"), (".5", ".88", "1"))
"""As the post prints them, t = 1 to 4: advantage, pi(wedding), v."""
ACTDE_CELLS = (
    ("1", ".73", "1", "0"),
    (".5", ".63", "1", ".5"),
    ("0", ".63", "1", ".5"),
    ("0", ".63", "1", ".5"),
)
"""Error, pi(wedding), q(wedding), q(party)."""
ROUNDS = 1000


def findings() -> list[Finding]:
    """Both tables, and the limits."""
    return [*ppo_table(), *bits(), *actde_table(), *softmax_limits(), *wireheading(), *ppo_in_turn()]


def even(rewards: Mapping[Any, float]) -> dict[Any, dict[Any, float]]:
    """The uniform policy, as logits."""
    return {STATE: dict.fromkeys(rewards, 0.0)}


def in_turn(kind: type[Tabular], rewards: Mapping[Any, float], start: Mapping[Any, float], rounds: int) -> Tabular:
    """A learner that took every action once in each round; `start` gives the initial logits."""
    learner = kind({STATE: dict(start)})
    replay(learner, bandit_steps(STATE, rewards, list(rewards) * rounds))
    return learner


def softmax(logits: Mapping[Any, float], action: object) -> float:
    """pi(action), in closed form."""
    return 1 / sum(math.exp(logit - logits[action]) for logit in logits.values())


def gap(learner: Tabular, first: object, second: object) -> float:
    """Logit of the first action less that of the second, nats."""
    row = learner.logits[STATE]
    return row[first] - row[second]


def ppo_table() -> list[Finding]:
    found = []
    for row, cells in zip(
        replay(TabularPPO(even(REWARDS)), bandit_steps(STATE, REWARDS, HISTORY)), PPO_CELLS, strict=True
    ):
        ours = (row.error, row.policy["wedding"], row.value)
        for name, what, post, number in zip(
            ("advantage", "pi", "v"), ("advantage", "pi(wedding)", "v"), cells, ours, strict=True
        ):
            found.append(
                finding.exact(
                    f"bandit.ppo-table.t{row.t}.{name}",
                    f"PPO, t = {row.t}, {row.action}: {what}.",
                    section=ADVANTAGE,
                    post=post,
                    ours=number,
                    rounded=name == "pi",
                )
            )
    return found


def bits() -> list[Finding]:
    """The rule is said twice, in bits and as logits; the table follows the second."""
    learner = TabularPPO(even(REWARDS), b=math.log(2))
    replay(learner, bandit_steps(STATE, REWARDS, HISTORY[:1]))
    return [
        finding.contradiction(
            "bandit.bits",
            'An advantage of 1 makes an action "1 bit more probable", from .5 to .73 (a bit doubles the odds;'
            " adding 1 to a logit multiplies them by e).",
            section=ADVANTAGE,
            post=".73",
            rule=2 / 3,
            ours=learner.policy(STATE)["wedding"],
        )
    ]


def actde_table() -> list[Finding]:
    found = []
    rows = replay(TabularACTDE(even(REWARDS)), bandit_steps(STATE, REWARDS, HISTORY))
    for row, (error, policy, *q_cells) in zip(rows, ACTDE_CELLS, strict=True):
        name, where = f"bandit.actde-table.t{row.t}", f"ACTDE, t = {row.t}, {row.action}"
        rule = softmax(dict(zip(REWARDS, (finding.printed(cell)[0] for cell in q_cells), strict=True)), "wedding")
        found.append(
            finding.exact(f"{name}.error", f"{where}: error.", section=ACTDE, post=error, ours=row.error, rounded=False)
        )
        found.append(
            finding.contradiction(
                f"{name}.pi",
                f"{where}: pi(wedding), the softmax of the q beside it.",
                section=ACTDE,
                post=policy,
                rule=rule,
                ours=row.policy["wedding"],
            )
        )
        for action, post in zip(REWARDS, q_cells, strict=True):
            found.append(
                finding.exact(
                    f"{name}.q-{action}",
                    f"{where}: q({action}).",
                    section=ACTDE,
                    post=post,
                    ours=row.q_values[action],
                    rounded=False,
                )
            )
    return found


def softmax_limits() -> list[Finding]:
    """Where ACTDE ends when every action was tried."""
    food = {"pizza": 10.0, "cookies": 11.0}
    policy = in_turn(TabularACTDE, food, even(food)[STATE], ROUNDS).policy(STATE)
    wedding = in_turn(TabularACTDE, REWARDS, even(REWARDS)[STATE], ROUNDS)
    found = [
        finding.exact(
            f"bandit.{name}",
            f"Rewards 10 and 11: ACTDE ends at pi({name}).",
            section=SUMMARY,
            post=post,
            ours=policy[name],
        )
        for name, post in (("pizza", "27%"), ("cookies", "73%"))
    ]
    found.append(
        finding.contradiction(
            "bandit.limit",
            "ACTDE's limit e/(e + sqrt e) for wedding and party.",
            section=ACTDE,
            post=".63",
            rule=math.e / (math.e + math.sqrt(math.e)),
            ours=wedding.policy(STATE)["wedding"],
        )
    )
    for name, post in (("wedding", "1"), ("party", ".5")):
        found.append(
            finding.exact(
                f"bandit.logit-{name}",
                f'"The learned policy has R({name}) logits on {name}."',
                section=ACTDE,
                post=post,
                ours=wedding.logits[STATE][name],
                rounded=False,
            )
        )
    return found


def wireheading() -> list[Finding]:
    """ACTDE from {pizza 1%, wirehead 99%} with rewards 10 and 100, all in the logarithm of the probability."""
    start = {"pizza": math.log(0.01), "wirehead": math.log(0.99)}

    def share(difference: float) -> float:
        learner = in_turn(TabularACTDE, {"pizza": 10.0, "wirehead": 10.0 + difference}, start, 2)
        return math.exp(-float(gap(learner, "wirehead", "pizza"))) * learner.policy(STATE)["wirehead"]

    rule = math.exp(-90) / 99 / (1 + math.exp(-90) / 99)
    need = float(brentq(lambda difference: share(difference) - 0.0002, 0, 90, xtol=1e-12))
    return [
        finding.contradiction(
            "bandit.wireheading.pizza",
            "ACTDE's converged policy has pizza at about .02%; the rule, 10 and 100 added to the initial logits,"
            " gives e^-90 / 99.",
            post=".02%",
            rule=rule,
            ours=share(90),
            floor=0,
            section=WIREHEADING,
        ),
        finding.contradiction(
            "bandit.wireheading.wirehead",
            "... and wirehead at 99.98%.",
            post="99.98%",
            rule=1 - rule,
            ours=1 - share(90),
            section=WIREHEADING,
        ),
        finding.claim(
            "bandit.wireheading.difference",
            "The rule gives .02% where the rewards differ by 90 (the difference at which it does).",
            ours=need,
            holds=math.isclose(need, 90, abs_tol=0.5),
            section=WIREHEADING,
            criterion="It does so at 90, to half a unit of reward.",
            of_post=False,
        ),
    ]


def ppo_in_turn() -> list[Finding]:
    """How many logits a round of both actions adds to the better one, forever."""
    found = []
    for name, claim, section, rewards, start in (
        (
            "bandit.cookies-ppo",
            "Under PPO, cookies get arbitrarily many logits although the rewards differ little"
            " (logits per round of both actions, in turn).",
            SUMMARY,
            {"cookies": 11.0, "pizza": 10.0},
            {"cookies": 0.0, "pizza": 0.0},
        ),
        (
            "bandit.wedding-ppo",
            "Wedding, party, wedding, ...: wedding gets arbitrarily high logits (logits per round, in turn).",
            ADVANTAGE,
            REWARDS,
            even(REWARDS)[STATE],
        ),
        (
            "bandit.wireheading.ppo",
            "PPO upweights wireheading more and more, to arbitrarily many logits (logits per round of both actions,"
            " in turn).",
            WIREHEADING,
            {"wirehead": 100.0, "pizza": 10.0},
            {"wirehead": math.log(0.99), "pizza": math.log(0.01)},
        ),
    ):
        better, worse = rewards
        half, whole = (gap(in_turn(TabularPPO, rewards, start, n), better, worse) for n in (ROUNDS // 2, ROUNDS))
        rate, last = (whole - half) / (ROUNDS - ROUNDS // 2), 2 * (rewards[better] - rewards[worse])
        found.append(
            finding.claim(
                name,
                claim,
                section=section,
                ours=rate,
                holds=math.isclose(rate, last, rel_tol=1e-9),
                criterion="Every round adds twice the difference of the rewards, the last of 1,000 as the 500th.",
            )
        )
    return found
