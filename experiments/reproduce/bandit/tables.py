"""The post's two tables cell by cell, and its limits, from the learners of actde/tabular.py.

Histories here are fixed: the post's, or all actions in turn. growth.py and limits.py let learners act on policy.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from scipy.optimize import brentq

from actde.tabular import Tabular, TabularACTDE, TabularPPO, bandit_steps, replay
from experiments.reproduce.finding import (
    ACTDE,
    ADVANTAGE,
    SPECULATION,
    SUMMARY,
    WIREHEADING,
    Finding,
    claim,
    contradiction,
    exact,
    parse_printed,
)
from experiments.reproduce.statistics import judge

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
LIMIT = math.e / (math.e + math.sqrt(math.e))
"""ACTDE's pi(wedding) at convergence: 0.6225."""
ROUNDS = 1000


def findings() -> list[Finding]:
    """Both tables, and the limits."""
    return [*ppo_table(), bits(), *actde_table(), *softmax_limits(), *wireheading(), *ppo_in_turn()]


def uniform(rewards: Mapping[Any, float]) -> dict[Any, float]:
    """Logits of the uniform policy."""
    return dict.fromkeys(rewards, 0.0)


def in_turn(kind: type[Tabular], rewards: Mapping[Any, float], start: Mapping[Any, float], rounds: int) -> Tabular:
    """A learner with the initial logits `start` that took every action once in each round."""
    learner = kind({STATE: dict(start)})
    replay(learner, bandit_steps(STATE, rewards, list(rewards) * rounds))
    return learner


def softmax(logits: Mapping[Any, float], action: object) -> float:
    """pi(action), in closed form."""
    return 1 / sum(math.exp(logit - logits[action]) for logit in logits.values())


def gap(learner: Tabular, first: object, second: object) -> float:
    """Logit of the first action minus that of the second, nats."""
    row = learner.logits[STATE]
    return row[first] - row[second]


def ppo_table() -> list[Finding]:
    results = []
    rows = replay(TabularPPO({STATE: uniform(REWARDS)}), bandit_steps(STATE, REWARDS, HISTORY))
    for row, (error, policy, value) in zip(rows, PPO_CELLS, strict=True):
        where = f"PPO, t = {row.t}, {row.action}"
        cell = partial(exact, section=ADVANTAGE)
        results += [
            cell(
                f"bandit.ppo-table.t{row.t}.advantage",
                f"{where}: advantage.",
                post=error,
                ours=row.error,
                rounded=False,
            ),
            cell(f"bandit.ppo-table.t{row.t}.pi", f"{where}: pi(wedding).", post=policy, ours=row.policy["wedding"]),
            cell(f"bandit.ppo-table.t{row.t}.v", f"{where}: v.", post=value, ours=row.value, rounded=False),
        ]
    return results


def bits() -> Finding:
    """The post states its rule in bits and in logits; its table follows the logits."""
    learner = TabularPPO({STATE: uniform(REWARDS)}, b=math.log(2))
    replay(learner, bandit_steps(STATE, REWARDS, HISTORY[:1]))
    return contradiction(
        "bandit.bits",
        'An advantage of 1 makes an action "1 bit more probable", from .5 to .73 (a bit doubles the odds; adding 1 to a'
        " logit multiplies them by e).",
        section=ADVANTAGE,
        post=".73",
        rule=2 / 3,
        ours=learner.policy(STATE)["wedding"],
    )


def actde_table() -> list[Finding]:
    results = []
    rows = replay(TabularACTDE({STATE: uniform(REWARDS)}), bandit_steps(STATE, REWARDS, HISTORY))
    cell = partial(exact, section=ACTDE, rounded=False)
    for row, (error, policy, *q_cells) in zip(rows, ACTDE_CELLS, strict=True):
        name, where = f"bandit.actde-table.t{row.t}", f"ACTDE, t = {row.t}, {row.action}"
        rule = softmax(dict(zip(REWARDS, (parse_printed(q)[0] for q in q_cells), strict=True)), "wedding")
        results += [
            cell(f"{name}.error", f"{where}: error.", post=error, ours=row.error),
            contradiction(
                f"{name}.pi",
                f"{where}: pi(wedding), the softmax of q in the same row.",
                section=ACTDE,
                post=policy,
                rule=rule,
                ours=row.policy["wedding"],
            ),
        ]
        results += [
            cell(f"{name}.q-{action}", f"{where}: q({action}).", post=post, ours=row.q_values[action])
            for action, post in zip(REWARDS, q_cells, strict=True)
        ]
    return results


def softmax_limits() -> list[Finding]:
    """ACTDE's policy once it has tried every action."""
    food = {"pizza": 10.0, "cookies": 11.0}
    policy = in_turn(TabularACTDE, food, uniform(food), ROUNDS).policy(STATE)
    wedding = in_turn(TabularACTDE, REWARDS, uniform(REWARDS), ROUNDS)
    return [
        *(
            exact(
                f"bandit.{name}",
                f"Rewards 10 and 11: ACTDE converges to this pi({name}).",
                section=SUMMARY,
                post=post,
                ours=policy[name],
            )
            for name, post in (("pizza", "27%"), ("cookies", "73%"))
        ),
        contradiction(
            "bandit.limit",
            "ACTDE's limit e/(e + sqrt e) for wedding and party.",
            section=ACTDE,
            post=".63",
            rule=LIMIT,
            ours=wedding.policy(STATE)["wedding"],
        ),
        *(
            exact(
                f"bandit.logit-{name}",
                f'"The learned policy has R({name}) logits on {name}."',
                section=ACTDE,
                post=post,
                ours=wedding.logits[STATE][name],
                rounded=False,
            )
            for name, post in (("wedding", "1"), ("party", ".5"))
        ),
    ]


def speculation() -> Finding:
    """The post's Speculation section calls e^R the reward logits of the tabular bandit; its rule adds R."""
    said = softmax({action: math.exp(reward) for action, reward in REWARDS.items()}, "wedding")
    return contradiction(
        "bandit.speculation.reward-logits",
        'In the tabular bandit, ACTDE adds "reward logits (e^R)" to log pi_0 (pi(wedding) if e^1 and e^.5 were added;'
        " the post's own rule and table add 1 and .5).",
        section=SPECULATION,
        post=f"{said:.2f}",
        rule=LIMIT,
        ours=in_turn(TabularACTDE, REWARDS, uniform(REWARDS), 2).policy(STATE)["wedding"],
    )


def wireheading() -> list[Finding]:
    """ACTDE from {pizza 1%, wirehead 99%} with rewards 10 and 100; small probabilities are computed as logarithms."""
    start = {"pizza": math.log(0.01), "wirehead": math.log(0.99)}

    def share(difference: float) -> float:
        learner = in_turn(TabularACTDE, {"pizza": 10.0, "wirehead": 10.0 + difference}, start, 2)
        return math.exp(-float(gap(learner, "wirehead", "pizza"))) * learner.policy(STATE)["wirehead"]

    rule = math.exp(-90) / 99 / (1 + math.exp(-90) / 99)
    needed = float(brentq(lambda difference: share(difference) - 0.0002, 0, 90, xtol=1e-12))
    return [
        contradiction(
            "bandit.wireheading.pizza",
            "ACTDE's converged policy has pizza at about .02% (the rule, which adds 10 and 100 to the initial logits,"
            " gives e^-90 / 99).",
            post=".02%",
            rule=rule,
            ours=share(90),
            floor=0,
            section=WIREHEADING,
        ),
        contradiction(
            "bandit.wireheading.wirehead",
            "... and wirehead at 99.98%.",
            post="99.98%",
            rule=1 - rule,
            ours=1 - share(90),
            section=WIREHEADING,
        ),
        claim(
            "bandit.wireheading.difference",
            "The rule gives .02% if the rewards differ by 90 (the difference that gives .02%).",
            section=WIREHEADING,
            criterion="The difference is 90, to half a unit of reward.",
            of_post=False,
            **judge(needed, math.isclose(needed, 90, abs_tol=0.5)),
        ),
    ]


def ppo_in_turn() -> list[Finding]:
    """The logits that PPO adds to the better action in each round of both actions, for ever."""
    food, wire = {"cookies": 11.0, "pizza": 10.0}, {"wirehead": 100.0, "pizza": 10.0}
    results = []
    for name, text, section, rewards, start in (
        (
            "cookies-ppo",
            "Under PPO, cookies get arbitrarily many logits although the rewards differ little",
            SUMMARY,
            food,
            uniform(food),
        ),
        (
            "wedding-ppo",
            "Wedding, party, wedding, ...: wedding's logit grows arbitrarily",
            ADVANTAGE,
            REWARDS,
            uniform(REWARDS),
        ),
        (
            "wireheading.ppo",
            "PPO upweights wireheading more and more, to arbitrarily many logits",
            WIREHEADING,
            wire,
            {"wirehead": math.log(0.99), "pizza": math.log(0.01)},
        ),
    ):
        better, worse = rewards
        half, whole = (gap(in_turn(TabularPPO, rewards, start, n), better, worse) for n in (ROUNDS // 2, ROUNDS))
        rate, expected = (whole - half) / (ROUNDS - ROUNDS // 2), 2 * (rewards[better] - rewards[worse])
        results.append(
            claim(
                f"bandit.{name}",
                f"{text} (logits per round of both actions, taken in turn).",
                section=section,
                criterion="A round adds twice the difference of the rewards, in the mean of the last 500 of 1,000.",
                **judge(rate, math.isclose(rate, expected, rel_tol=1e-9)),
            )
        )
    return results
