"""Where learners end on their own policy: ACTDE's softmax, how long it takes, and wireheading.

Unlike in tables.py, an action counts only if the policy happens to try it.
"""

import math

import numpy as np
from scipy.special import expit

from experiments.reproduce import finding
from experiments.reproduce.bandit.lanes import Array, Course, Lane
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds

SUMMARY, ADVANTAGE = finding.SECTIONS[:2]
ACTDE, WIREHEADING = (section for section in finding.SECTIONS if section.startswith(("Action-", "ACTDE doesn't")))
FOOD, WIRE, START = (11.0, 10.0), (100.0, 10.0), math.log(99)
LANES = (
    Lane(name="cookies, ppo", rule="ppo", rewards=FOOD),
    Lane(name="cookies, actde", rule="actde", rewards=FOOD),
    Lane(name="wirehead, ppo", rule="ppo", rewards=WIRE, gap=START),
    Lane(name="wirehead, actde", rule="actde", rewards=WIRE, gap=START),
)
"""The better arm first."""
FAST = 100
"""Steps; what settles within them was fast."""
SOFTMAX = math.e / (math.e + math.sqrt(math.e))


def findings(course: Course, *, quick: bool) -> list[Finding]:
    long = cookies(course)
    return [
        *wedding(course),
        *reinforcement(course),
        *(map(finding.unjudged, long) if quick else long),
        *wireheading(course),
    ]


def share(course: Course, name: str, sign: int = 1) -> Array:
    """[S], pi(first arm) after the last step, or pi(second arm) for a sign of -1."""
    return np.asarray(expit(sign * course.of(name).gap[-1, 0]))


def wedding(course: Course) -> list[Finding]:
    """ACTDE on wedding and party."""
    settled = course.of("actde").settled[0]
    ends, along_gradient = share(course, "actde"), share(course, "actde, gradient")
    return [
        finding.claim(
            "bandit.actde.fast",
            "Convergence is quick, extremely fast (the step after which no error differs from 0).",
            section=ACTDE,
            holds=bool(settled.max() <= FAST),
            criterion=f"Every seed has settled after {FAST} steps.",
            **over_seeds(settled.astype(float)),
        ),
        finding.claim(
            "bandit.actde.not-optimal",
            "ACTDE does not converge to the optimal policy even with infinite exploration; there is no mode collapse"
            " (pi(wedding) after the last step).",
            section=ACTDE,
            holds=bool(np.abs(ends - SOFTMAX).max() < 1e-9),
            criterion="Every seed is at e/(e + sqrt e) = .6225 after the last step.",
            **over_seeds(ends),
        ),
        finding.claim(
            "bandit.actde.gradient",
            "... also where the error moves the logits along the gradient of log pi, which moves both: seeds end"
            f" between {along_gradient.min():.2f} and {along_gradient.max():.2f}.",
            section=ACTDE,
            of_post=False,
            holds=bool(np.abs(along_gradient - SOFTMAX).max() < 0.005),
            criterion="Every seed is within .005 of e/(e + sqrt e) after the last step.",
            **over_seeds(along_gradient),
        ),
    ]


def reinforcement(course: Course) -> list[Finding]:
    """How much the logits were moved in all, forth and back, and after the first steps."""
    actde, ppo = course.of("actde"), course.of("ppo")
    early = int(np.flatnonzero(course.steps >= FAST)[0])
    later = [over_seeds(lane.moved[-1, 0] - lane.moved[early, 0]) for lane in (actde, ppo)]
    decade = over_seeds(ppo.moved[-1, 0] - ppo.moved[ppo.since(0.1)][0, 0])
    return [
        finding.claim(
            "bandit.actde.finite",
            "A finite amount of reinforcement: the sum of all |errors| is the sum of the rewards.",
            section=ACTDE,
            holds=bool(np.abs(actde.moved[-1, 0] - 1.5).max() < 1e-9),
            criterion="Every seed's sum is 1.5 after the last step.",
            **over_seeds(actde.moved[-1, 0]),
        ),
        finding.claim(
            "bandit.actde.stable",
            "Training should be more stable, with fewer fluctuations in advantage: the sum of |errors| after step"
            f" {FAST} (PPO's is {later[1]['ours']:.1f}).",
            section=ACTDE,
            holds=later[0]["high"] < later[1]["low"],
            criterion="ACTDE's interval lies below PPO's.",
            **later[0],
        ),
        finding.claim(
            "bandit.ppo.reinforcement",
            "PPO extracts arbitrarily many updates from one kind of event: its sum of |errors| in the last decade.",
            section=ADVANTAGE,
            holds=decade["low"] > 0,
            criterion="The interval over seeds is above 0.",
            **decade,
        ),
    ]


def cookies(course: Course) -> list[Finding]:
    """Rewards of 10 and 11: the first reward is a wall that takes tens of thousands of steps to climb."""
    ends, ppo = share(course, "cookies, actde"), share(course, "cookies, ppo", -1)
    settled = course.of("cookies, actde").settled[0].astype(float)
    return [
        finding.claim(
            "bandit.cookies.actde",
            "Under ACTDE the network converges to 73% cookies, also on its own policy (pi after the last step).",
            section=SUMMARY,
            post=0.73,
            holds=bool(np.abs(ends - 1 / (1 + math.exp(-1))).max() < 0.005),
            criterion="Every seed is within .005 of e/(1 + e) after the last step.",
            **over_seeds(ends),
        ),
        finding.claim(
            "bandit.cookies.fast",
            'Convergence is "extremely fast" with these rewards too (the step at which it settles; footnote 6 says it'
            " of wedding and party only).",
            section=SUMMARY,
            of_post=False,
            holds=bool(settled.max() <= FAST),
            criterion=f"Every seed has settled after {FAST} steps.",
            **over_seeds(settled),
        ),
        finding.claim(
            "bandit.cookies.ppo",
            "PPO converges to cookies alone, also on its own policy (pi(pizza) after the last step).",
            section=SUMMARY,
            holds=bool(ppo.max() < 0.01),
            criterion="Every seed has pi(pizza) below .01 after the last step.",
            **over_seeds(ppo),
        ),
    ]


def wireheading(course: Course) -> list[Finding]:
    """On policy pizza is tried early or, by a probability of e^-104, never."""
    ppo, actde = (course.of(f"wirehead, {rule}").gap[:, 0] for rule in ("ppo", "actde"))
    early = int(np.flatnonzero(course.steps >= FAST)[0])
    log_pizza = -np.logaddexp(0, ppo[-1]) / math.log(10)
    reached = np.abs(actde[-1] - START - 90) < 1e-6
    return [
        finding.claim(
            "bandit.wireheading.ppo-on-policy",
            f"PPO upweights wireheading more and more, on its own policy (nats of growth after step {FAST}).",
            section=WIREHEADING,
            holds=bool(over_seeds(ppo[-1] - ppo[early])["low"] > 0),
            criterion="The interval over seeds is above 0.",
            **over_seeds(ppo[-1] - ppo[early]),
        ),
        finding.claim(
            "bandit.wireheading.ppo-end",
            "PPO ends up at {pizza: epsilon, wirehead: 1 - epsilon} (the decimal logarithm of pi(pizza)).",
            section=WIREHEADING,
            holds=bool(log_pizza.max() < -6),
            criterion="Every seed has pi(pizza) below one in a million after the last step.",
            **over_seeds(log_pizza),
        ),
        finding.claim(
            "bandit.wireheading.bounded",
            "Under ACTDE there are only boundedly many logits on wireheading (nats above pizza, the most of any seed).",
            section=WIREHEADING,
            ours=float(actde.max()),
            holds=bool(actde.max() <= START + 100 + 1e-9),
            criterion="At no recorded step of any seed is the gap above log 99 + 100.",
        ),
        finding.claim(
            "bandit.wireheading.actde-on-policy",
            "ACTDE leads to the softmax over rewards, on its own policy (share of seeds that are there).",
            section=WIREHEADING,
            holds=bool(reached.all()),
            criterion="Every seed's gap is log 99 + 90 after the last step.",
            **over_seeds(reached, unit=True),
        ),
    ]
