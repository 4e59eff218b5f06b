"""Growth of the logits on policy: PPO with fixed and decaying step sizes, vanilla policy gradient, ACTDE.

Two arms have rewards r1 > r2, with D = r1 - r2. g is the logit of the better arm minus that of the worse arm, and
x = pi(worse), about e^-g. alpha is the step size of v, b that of the logits. Expected growth of PPO, by mean values:

* **alpha fixed.** v is about r1 except after a pull of the worse arm. The pull moves g by b D, since the worse logit
  falls, and v by -alpha D. The better arm's next errors, D alpha (1 - alpha)^k, move g by another b D in total. So each
  pull adds 2 b D whatever alpha is, pulls come at the rate x, and dg/dn = 2 b D e^-g: g grows like ln n for every
  alpha in (0, 1]. A smaller alpha does not stop the growth.
* **alpha = 1/n, b fixed.** v is the mean of all rewards so far, r1 - M/n with M = D x (pulls of the worse arm). So the
  better arm's error is M/n at every step, and g grows like b M ln n. Pulls come at the rate n^(-b M): they continue
  while b M <= 1 and stop above that. This is faster than with a fixed alpha.
* **alpha = 1/n^2, b fixed.** The steps of v have a finite sum, so v stops below r1 and g grows linearly. Decaying the
  step size of v alone makes the growth worse.
* **alpha = b = 1/n.** With T = the sum of b, about ln n: dg/dT = 2 D x (1 - x) (and more, since v lags). So e^g grows
  like 2 D T, and g like ln ln n: very slowly, but without bound, as for any schedule with an infinite sum. (With a
  finite sum, no learner can reach its limit.)
* **alpha = b = 1/n^2.** |g| moves by at most the sum of b |error|, which is finite: g is bounded but stops early.

ACTDE's g is (b / alpha) (difference of q) at every step if b / alpha is constant, so at most (b / alpha) D.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.vectorized import Curves, Learner
from experiments.reproduce.finding import ADVANTAGE, FOOTNOTE_2, Measurement, Section
from experiments.reproduce.statistics import Array, above_zero, judge, over_seeds, slopes

LEARNERS = (
    Learner(name="ppo", rule="ppo"),
    Learner(name="ppo, alpha 0.1", rule="ppo", alpha=0.1),
    Learner(name="ppo, v 1/n", rule="ppo", alpha_power=1),
    Learner(name="ppo, v 1/n^2", rule="ppo", alpha_power=2),
    Learner(name="ppo, both 1/n", rule="ppo", alpha_power=1, b_power=1),
    Learner(name="ppo, both 1/n^2", rule="ppo", alpha_power=2, b_power=2),
    Learner(name="ppo, gradient", rule="ppo", gradient=True),
    Learner(name="vanilla", rule="none", gradient=True),
    Learner(name="actde", rule="actde"),
    Learner(name="actde, both 1/n", rule="actde", alpha_power=1, b_power=1),
    Learner(name="actde, both 1/n^2", rule="actde", alpha_power=2, b_power=2),
    Learner(name="actde, gradient", rule="actde", gradient=True),
)
"""Wedding (1) against party (0.5) from the uniform policy, v = q = 0."""
PANELS = {
    "fixed step sizes": {
        "ppo": "PPO, alpha 1",
        "ppo, alpha 0.1": "PPO, alpha 0.1",
        "vanilla": "vanilla policy gradient",
        "actde": "ACTDE, alpha 1",
    },
    "decaying step sizes": {
        "ppo, v 1/n^2": "PPO, v: 1/n²",
        "ppo, v 1/n": "PPO, v: 1/n",
        "ppo, both 1/n": "PPO, v and logits: 1/n",
        "ppo, both 1/n^2": "PPO, v and logits: 1/n²",
        "actde, both 1/n": "ACTDE, q and logits: 1/n",
    },
}
"""Title of a panel -> learner -> label."""
FIGURE = "bandit-growth.svg"
CAPTION = (
    "Logit of wedding minus that of party, on policy: mean over seeds, band from the 5th to the 95th percentile. Left:"
    " fixed step sizes. Right: decaying step sizes, of v alone or of v and the logits."
)


def measure_fixed(curves: dict[str, Curves], *, quick: bool) -> dict[str, Measurement]:
    """Growth with fixed step sizes; a quick run is too short for the limit of the policy."""
    ppo = curves["ppo"]
    party = expit(-ppo.gap[-1])
    limit = judge(over_seeds(party), (party < 0.001).all() and (ppo.last_decade(ppo.gap) >= 0).all())
    return {
        "ppo.unbounded": above_zero(over_seeds(late_slope(ppo))),
        "ppo.gradient": above_zero(over_seeds(late_slope(curves["ppo, gradient"]))),
        "vanilla": above_zero(over_seeds(late_slope(curves["vanilla"]))),
        "footnote2.fixed": above_zero(over_seeds(late_slope(curves["ppo, alpha 0.1"]))),
        "ppo.oscillates": above_zero(over_seeds(ppo.last_decade(ppo.negative))),
        "ppo.reinforcement": above_zero(over_seeds(ppo.last_decade(ppo.moved))),
        **({} if quick else {"ppo.limit": limit}),
    }


def late_slope(curves: Curves) -> Array:
    """[S], growth of the gap per unit of ln n over the last two decades of steps."""
    late = curves.since(0.01)
    return slopes(np.log(curves.steps[late]), curves.gap[late])


def measure_schedules(curves: dict[str, Curves]) -> dict[str, Measurement]:
    """Footnote 2's "a decaying learning rate schedule probably does", and ACTDE with the same schedules."""

    def stopped(growth: Array) -> Measurement:
        band = over_seeds(growth)
        return judge(band, band["low"] <= 0)

    def softmax(actde: Curves) -> Measurement:
        band = over_seeds(actde.gap[-1])
        return judge(band, abs(band["ours"] - 0.5) < 0.01)

    square = curves["ppo, both 1/n^2"]
    movement = square.last_decade(square.gap)
    return {
        "footnote2.v": stopped(late_slope(curves["ppo, v 1/n"])),
        "footnote2.v-square": stopped(late_power(curves["ppo, v 1/n^2"])),
        "footnote2.both": stopped(slow_pace(curves["ppo, both 1/n"])),
        "footnote2.both-square": judge(over_seeds(movement), np.abs(movement).max() < 1e-3),
        "footnote2.actde": softmax(curves["actde, both 1/n"]),
        "footnote2.actde-square": softmax(curves["actde, both 1/n^2"]),
    }


def slow_pace(both: Curves) -> Array:
    """[S], growth of e^gap per unit of the sum of 1/n over the last two decades, for 1/n for v and logits."""
    late = both.since(0.01)
    return slopes(harmonic(both.steps)[late], np.exp(both.gap[late]))


def late_power(curves: Curves) -> Array:
    """[S], the power of n with which the gap grows over the last two decades."""
    late = curves.since(0.01)
    return slopes(np.log(curves.steps[late]), np.log(np.maximum(curves.gap[late], 1e-9)))


def notes(curves: dict[str, Curves]) -> dict[Section, list[str]]:
    """What the arithmetic at the top of this file predicts, beside what was measured."""
    slope = {name: over_seeds(late_slope(curves[name]))["ours"] for name in ("ppo", "ppo, alpha 0.1", "ppo, v 1/n")}
    pulls = over_seeds(curves["ppo, v 1/n"].pulls[-1])["ours"]
    both = curves["ppo, both 1/n"]
    pace = over_seeds(slow_pace(both))["ours"]
    squares = float((expit(both.gap[both.since(0.01)]) ** 2).mean())
    seeds, steps = both.converged_at.size, int(both.steps[-1])
    return {
        ADVANTAGE: [f"On policy: {seeds} seeds of {steps:,} steps each; all learners share the random numbers."],
        FOOTNOTE_2: [
            "Predictions from mean values (docstring of `experiments/reproduce/bandit/growth.py`). With a fixed step of"
            " v, each pull of the worse arm adds twice the rewards' difference whatever alpha is: 1 nat per unit of"
            f" ln n (measured {slope['ppo']:.2f} at alpha 1, {slope['ppo, alpha 0.1']:.2f} at 0.1). With 1/n for v"
            " alone, v is the mean of all rewards; per unit of ln n, the gap grows by the rewards' difference times the"
            f" number of pulls of the worse arm ({0.5 * pulls:.2f}; measured {slope['ppo, v 1/n']:.2f}). With 1/n^2 for"
            " v alone, v stops short of its limit, and the gap grows in proportion to n. With 1/n for both, e^gap grows"
            f" by about the square of pi(wedding) per unit of the sum of 1/n ({squares:.2f}; measured {pace:.2f},"
            " because v lags, which adds to the growth).",
        ],
    }


def harmonic(steps: NDArray[np.int64]) -> Array:
    """[T], the sum of 1/n up to every step."""
    return np.cumsum(1 / np.arange(1, steps[-1] + 1))[steps - 1]


def figure(curves: dict[str, Curves], path: Path) -> None:
    """The gap against steps, fixed step sizes left and decaying ones right."""
    drawing, axes = make_figure()
    for axis, (title, labels) in zip(axes, PANELS.items(), strict=True):
        for place, (name, label) in enumerate(labels.items()):
            steps, gap = curves[name].steps, curves[name].gap
            low, high = np.percentile(gap, [5, 95], axis=1)
            color, style = PALETTE[place], ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), ":")[place]
            axis.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
            axis.plot(steps, gap.mean(axis=1), color=color, ls=style, lw=1.6, label=label)
        axis.set(xscale="log", xlabel="steps", title=title, ylabel="logit(wedding) − logit(party), nats")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    axes[1].set_yscale("symlog", linthresh=1)
    axes[1].set(ylim=(-2, None))
    save_figure(drawing, path)
