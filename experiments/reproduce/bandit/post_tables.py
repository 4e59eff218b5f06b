"""Recompute the post's two tables, and the policies at convergence."""

import math
from typing import Any, TypeAlias

from scipy.optimize import brentq
from scipy.special import expit

from actde.tabular import Row as StepRow
from actde.tabular import Tabular, TabularACTDE, TabularPPO, bandit_steps, replay
from experiments.reproduce.finding import Measurement, load_claims, parse_printed
from experiments.reproduce.statistics import judge

Row: TypeAlias = dict[Any, float]  # the rewards or the logits of a bandit's actions
STATE = "We had a"
REWARDS: Row = {"wedding": 1.0, "party": 0.5}
HISTORY = ("wedding", "party", "party", "wedding")
LIMIT = math.e / (math.e + math.sqrt(math.e))  # ACTDE's pi(wedding) at convergence: 0.6225
PIZZA: Row = {"pizza": math.log(0.01), "wirehead": math.log(0.99)}  # initial logits of the wireheading example
ROUNDS = 1000


def measure() -> dict[str, Measurement]:
    return tables() | bandit_limits() | wireheading() | ppo_rates()


def train_in_turn(
    learner_type: type[Tabular],
    rewards: Row,
    rounds: int = ROUNDS,
    initial_logits: Row | None = None,
    **settings: float,
) -> Tabular:
    """Train a learner on a bandit. Each round takes every action once."""
    learner = learner_type({STATE: initial_logits or dict.fromkeys(rewards, 0.0)}, **settings)
    replay(learner, bandit_steps(STATE, rewards, list(rewards) * rounds))
    return learner


def replay_history(learner_type: type[Tabular], steps: int = len(HISTORY), **settings: float) -> list[StepRow]:
    """Train a learner on the post's actions. Return one row per step."""
    learner = learner_type({STATE: dict.fromkeys(REWARDS, 0.0)}, **settings)
    return replay(learner, bandit_steps(STATE, REWARDS, HISTORY[:steps]))


def gap(learner: Tabular) -> float:
    """Return the first action's logit minus the second action's logit, in nats."""
    first, second = learner.logits[STATE].values()
    return first - second


def tables() -> dict[str, Measurement]:
    measurements = {
        f"ppo-table.t{row.t}.{name}": Measurement(ours)
        for row in replay_history(TabularPPO)
        for name, ours in (("advantage", row.error), ("pi", row.policy["wedding"]), ("v", row.value))
    }
    claims = load_claims("bandit")
    for row in replay_history(TabularACTDE):
        name = f"actde-table.t{row.t}"
        printed = {action: parse_printed(str(claims[f"{name}.q-{action}"].post))[0] for action in REWARDS}
        measurements[f"{name}.error"] = Measurement(row.error)
        # the post's rule: the softmax of the q-values that it prints
        measurements[f"{name}.pi"] = Measurement(
            row.policy["wedding"], rule=expit(printed["wedding"] - printed["party"])
        )
        measurements |= {f"{name}.q-{action}": Measurement(row.q_values[action]) for action in REWARDS}
    return measurements


def bandit_limits() -> dict[str, Measurement]:
    # the post calls an advantage of 1 "1 bit more probable", and one bit doubles the odds
    (first_row,) = replay_history(TabularPPO, 1, b=math.log(2))
    policy = train_in_turn(TabularACTDE, {"pizza": 10.0, "cookies": 11.0}).policy(STATE)
    wedding = train_in_turn(TabularACTDE, REWARDS)
    return {
        "bits": Measurement(first_row.policy["wedding"], rule=2 / 3),
        "pizza": Measurement(policy["pizza"]),
        "cookies": Measurement(policy["cookies"]),
        **dict.fromkeys(
            ("limit", "speculation.reward-logits"), Measurement(wedding.policy(STATE)["wedding"], rule=LIMIT)
        ),
        **{f"logit-{action}": Measurement(logit) for action, logit in wedding.logits[STATE].items()},
    }


def wireheading() -> dict[str, Measurement]:
    def pi_pizza(difference: float) -> float:
        learner = train_in_turn(TabularACTDE, {"pizza": 10.0, "wirehead": 10.0 + difference}, 2, PIZZA)
        return math.exp(float(gap(learner))) * learner.policy(STATE)["wirehead"]

    rule = math.exp(-90) / 99 / (1 + math.exp(-90) / 99)
    # the difference of the rewards that gives the post's pi(pizza) of .02%
    needed_difference = float(brentq(lambda difference: pi_pizza(difference) - 0.0002, 0, 90, xtol=1e-12))
    return {
        "wireheading.pizza": Measurement(pi_pizza(90), rule=rule, floor=0.0),
        "wireheading.wirehead": Measurement(1 - pi_pizza(90), rule=1 - rule),
        "wireheading.difference": judge(needed_difference, math.isclose(needed_difference, 90, abs_tol=0.5)),
    }


def ppo_rates() -> dict[str, Measurement]:
    """Measure how fast PPO's two logits move apart, in nats per round."""
    measurements = {}
    for name, rewards, initial_logits in (
        ("cookies-ppo", {"cookies": 11.0, "pizza": 10.0}, None),
        ("wedding-ppo", REWARDS, None),
        ("wireheading.ppo", {"wirehead": 100.0, "pizza": 10.0}, dict(reversed(PIZZA.items()))),
    ):
        better, worse = rewards.values()
        half_gap, whole_gap = (
            gap(train_in_turn(TabularPPO, rewards, rounds, initial_logits)) for rounds in (ROUNDS // 2, ROUNDS)
        )
        rate, expected = (whole_gap - half_gap) / (ROUNDS - ROUNDS // 2), 2 * (better - worse)
        measurements[name] = judge(rate, math.isclose(rate, expected, rel_tol=1e-9))
    return measurements
