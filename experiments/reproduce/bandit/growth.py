"""Measure how the logits of on-policy learners grow.

The bandit has two arms whose rewards differ by D. The gap g is the better arm's logit minus the worse arm's logit.
PPO has the step sizes alpha for v and b for the logits. Predicted growth of g, where n counts the steps:

* alpha and b fixed: g grows like ln n.
* alpha = 1/n, b fixed: g grows like b M ln n. M is D times the number of pulls of the worse arm.
* alpha = 1/n^2, b fixed: g grows linearly.
* alpha = b = 1/n: g grows like ln ln n or faster.
* alpha = b = 1/n^2: g is bounded.
"""

from pathlib import Path

import numpy as np
from scipy.special import expit

from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce.bandit.vectorized import Curves, Learner
from experiments.reproduce.finding import ADVANTAGE, FOOTNOTE_2, Measurement, Section
from experiments.reproduce.statistics import Array, above_zero, judge, over_seeds, slopes

# Derivation. Let x = pi(worse), about e^-g. Random quantities are replaced by their means.
# alpha and b fixed: v is about the better reward. A pull of the worse arm raises g by b D, and lowers v by alpha D. The
# errors of the next pulls of the better arm sum to D and raise g by another b D. Hence dg/dn = 2 b D e^-g.
# alpha = 1/n: v is the better reward minus M/n. Each pull of the better arm has the error M/n, so g grows like
# b M ln n. The worse arm is pulled until b M exceeds 1.
# alpha = 1/n^2: v stops below the better reward, so each pull of the better arm has an error above 0.
# alpha = b = 1/n: Let T be the sum of b, about ln n. If v is the policy's mean reward, dg/dT = 2 D x (1 - x), and g
# grows like ln T. In practice v lags, and g grows faster.
# alpha = b = 1/n^2: The sum of b is finite.
# For ACTDE with a constant b / alpha, g = (b / alpha) (q(better) - q(worse)) at every step.
LEARNERS = (  # on the bandit with the arms wedding (reward 1) and party (reward 0.5)
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
PANELS = {  # the labels of the learners by name, for each panel of the figure by title
    "fixed step sizes": {"ppo": "PPO, alpha 1", "ppo, alpha 0.1": "PPO, alpha 0.1",
                         "vanilla": "vanilla policy gradient", "actde": "ACTDE, alpha 1"},
    "decaying step sizes": {"ppo, v 1/n^2": "PPO, v: 1/n²", "ppo, v 1/n": "PPO, v: 1/n",
                            "ppo, both 1/n": "PPO, v and logits: 1/n", "ppo, both 1/n^2": "PPO, v and logits: 1/n²",
                            "actde, both 1/n": "ACTDE, q and logits: 1/n"},
}  # fmt: skip
FIGURE = "bandit-growth.svg"
CAPTION = (
    "Logit of wedding minus that of party, on policy: mean over seeds, band from the 5th to the 95th percentile. Left:"
    " fixed step sizes. Right: decaying step sizes, of v alone or of v and the logits."
)


def measure(curves: dict[str, Curves], *, quick: bool) -> dict[str, Measurement]:
    ppo = curves["ppo"]
    measurements = {
        "ppo.unbounded": above_zero(over_seeds(late_slope(ppo))),
        "ppo.gradient": above_zero(over_seeds(late_slope(curves["ppo, gradient"]))),
        "vanilla": above_zero(over_seeds(late_slope(curves["vanilla"]))),
        "footnote2.fixed": above_zero(over_seeds(late_slope(curves["ppo, alpha 0.1"]))),
        "ppo.oscillates": above_zero(over_seeds(ppo.last_decade(ppo.negative_errors))),
        "ppo.reinforcement": above_zero(over_seeds(ppo.last_decade(ppo.movement))),
    }
    if quick:
        return measurements
    pi_party, both_square = expit(-ppo.gap[-1]), curves["ppo, both 1/n^2"]
    movement = both_square.last_decade(both_square.gap)
    growth_bands = {
        "v": over_seeds(late_slope(curves["ppo, v 1/n"])),
        "v-square": over_seeds(late_power(curves["ppo, v 1/n^2"])),
        "both": over_seeds(exp_slope(curves["ppo, both 1/n"])),
    }
    learners = {"actde": "actde, both 1/n", "actde-square": "actde, both 1/n^2"}
    gap_bands = {name: over_seeds(curves[learner].gap[-1]) for name, learner in learners.items()}
    return {
        **measurements,
        "ppo.limit": judge(over_seeds(pi_party), (pi_party < 0.001).all() and (ppo.last_decade(ppo.gap) >= 0).all()),
        **{f"footnote2.{name}": judge(band, band["low"] <= 0) for name, band in growth_bands.items()},
        "footnote2.both-square": judge(over_seeds(movement), np.abs(movement).max() < 1e-3),
        **{f"footnote2.{name}": judge(band, abs(band["ours"] - 0.5) < 0.01) for name, band in gap_bands.items()},
    }


def late_slope(curves: Curves) -> Array:
    """Return each seed's slope of the gap against ln(step)."""
    return slopes(np.log(curves.after(0.01, curves.steps)), curves.after(0.01, curves.gap))


def exp_slope(curves: Curves) -> Array:
    """Return each seed's slope of exp(gap) against 1 + 1/2 + ... + 1/step."""
    sums = np.cumsum(1 / np.arange(1, curves.steps[-1] + 1))[curves.steps - 1]
    return slopes(curves.after(0.01, sums), np.exp(curves.after(0.01, curves.gap)))


def late_power(curves: Curves) -> Array:
    """Fit gap ~ step^p. Return each seed's exponent p."""
    return slopes(np.log(curves.after(0.01, curves.steps)), np.log(np.maximum(curves.after(0.01, curves.gap), 1e-9)))


def notes(curves: dict[str, Curves]) -> dict[Section, list[str]]:
    """Return paragraphs that compare the predicted and the measured growth."""
    slope = {name: over_seeds(late_slope(curves[name]))["ours"] for name in ("ppo", "ppo, alpha 0.1", "ppo, v 1/n")}
    pulls = over_seeds(curves["ppo, v 1/n"].pulls[-1])["ours"]
    both_curves = curves["ppo, both 1/n"]
    both_slope = over_seeds(exp_slope(both_curves))["ours"]
    squares = float((expit(both_curves.after(0.01, both_curves.gap)) ** 2).mean())
    seeds, steps = both_curves.converged_at.size, int(both_curves.steps[-1])
    return {
        ADVANTAGE: [f"On policy: {seeds} seeds of {steps:,} steps each; all learners share the random numbers."],
        FOOTNOTE_2: [
            "Predictions from mean values (docstring of `experiments/reproduce/bandit/growth.py`). With a fixed step of"
            " v, each pull of the worse arm adds twice the rewards' difference whatever alpha is: 1 nat per unit of"
            f" ln n (measured {slope['ppo']:.2f} at alpha 1, {slope['ppo, alpha 0.1']:.2f} at 0.1). With 1/n for v"
            " alone, v is the mean of all rewards; per unit of ln n, the gap grows by the rewards' difference times the"
            f" number of pulls of the worse arm ({0.5 * pulls:.2f}; measured {slope['ppo, v 1/n']:.2f}). With 1/n^2 for"
            " v alone, v stops short of its limit, and the gap grows in proportion to n. With 1/n for both, e^gap grows"
            f" by about the square of pi(wedding) per unit of the sum of 1/n ({squares:.2f}; measured {both_slope:.2f},"
            " because v lags, which adds to the growth)."
        ],
    }


def draw_figure(curves: dict[str, Curves], path: Path) -> None:
    figure, axes = make_figure()
    for axis, (title, labels) in zip(axes, PANELS.items(), strict=True):
        for index, (name, label) in enumerate(labels.items()):
            steps, gap = curves[name].steps, curves[name].gap
            low, high = np.percentile(gap, [5, 95], axis=1)
            color, style = PALETTE[index], ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), ":")[index]
            axis.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
            axis.plot(steps, gap.mean(axis=1), color=color, ls=style, lw=1.6, label=label)
        axis.set(xscale="log", xlabel="steps", title=title, ylabel="logit(wedding) − logit(party), nats")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    axes[1].set_yscale("symlog", linthresh=1)
    axes[1].set(ylim=(-2, None))
    save_figure(figure, path)
