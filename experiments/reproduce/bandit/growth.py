"""How far apart the logits go on policy: PPO with fixed and decaying steps, vanilla policy gradient, ACTDE.

Two arms, rewards r1 > r2, D = r1 - r2; g is the better arm's logit less the worse arm's, x = pi(worse), about e^-g.
Step sizes: alpha of v, b of the logits. What is to be expected of PPO, by arithmetic of means:

* **alpha fixed.** v is about r1 except after a try of the worse arm. The try moves g by b D, as the worse logit falls,
  and v by -alpha D. The better arm's next errors, D alpha (1 - alpha)^k, move g by b D more in all. So a try
  gives 2 b D whatever alpha is, tries come at the rate x, and dg/dn = 2 b D e^-g: g grows like ln n, for every alpha in
  (0, 1]. A smaller alpha does not stop it.
* **alpha = 1/n, b fixed.** v is the mean of all rewards so far, r1 - M/n with M = D x (tries of the worse arm). So the
  better arm's error is M/n at every step, and g grows like b M ln n. Tries, at the rate n^(-b M), go on while b M <= 1
  and come to an end above it. Faster than with a fixed alpha.
* **alpha = 1/n^2, b fixed.** The steps of v have a finite sum, v stops below r1, and g grows linearly. Decay of v's
  step alone makes matters worse.
* **alpha = b = 1/n.** With T = the sum of b, about ln n: dg/dT = 2 D x (1 - x) (v lags, which adds to it), so e^g grows
  like 2 D T and g like ln ln n: hardly at all, yet without bound, as with any schedule whose sum is infinite
  (and with a finite sum no learner gets to where it goes).
* **alpha = b = 1/n^2.** |g| moves by at most the sum of b |error|, which is finite: bounded, frozen on the way.

ACTDE's g is (b / alpha) (difference of q) at every moment where b / alpha is constant, so no more than b / alpha D.
"""

from pathlib import Path

import numpy as np
from scipy.special import expit

from experiments.plot_style import PALETTE, make_figure, save_figure
from experiments.reproduce import finding
from experiments.reproduce.bandit.lanes import Array, Course, Lane
from experiments.reproduce.finding import Finding
from experiments.reproduce.seeds import over_seeds, slopes

ADVANTAGE, FOOTNOTE = finding.SECTIONS[1:3]
LANES = (
    Lane(name="ppo", rule="ppo"),
    Lane(name="ppo, alpha 0.1", rule="ppo", alpha=0.1),
    Lane(name="ppo, v 1/n", rule="ppo", alpha_power=1),
    Lane(name="ppo, v 1/n^2", rule="ppo", alpha_power=2),
    Lane(name="ppo, both 1/n", rule="ppo", alpha_power=1, b_power=1),
    Lane(name="ppo, both 1/n^2", rule="ppo", alpha_power=2, b_power=2),
    Lane(name="ppo, gradient", rule="ppo", gradient=True),
    Lane(name="vanilla", rule="none", gradient=True),
    Lane(name="actde", rule="actde"),
    Lane(name="actde, both 1/n", rule="actde", alpha_power=1, b_power=1),
    Lane(name="actde, both 1/n^2", rule="actde", alpha_power=2, b_power=2),
    Lane(name="actde, gradient", rule="actde", gradient=True),
)
"""Wedding (1) against party (0.5) from an even policy, v = q = 0."""
FIGURE = "bandit-growth.svg"
CAPTION = (
    "Logit of wedding less that of party, on policy: mean over seeds, band from the 5th to the 95th percentile. Left:"
    " step sizes that stay as they are. Right: step sizes that decay, of v alone or of v and the logits."
)


def findings(course: Course, *, quick: bool) -> list[Finding]:
    """The claims about growth with fixed step sizes."""
    end = finding_at_end(course)
    return [*growing(course), finding.unjudged(end) if quick else end]


def late_slope(course: Course, name: str) -> Array:
    """[S], growth of the gap per unit of ln n over the last two decades of steps."""
    lane, late = course.of(name), course.since(0.01)
    return slopes(np.log(lane.steps[late]), lane.gap[late, 0])


def late_growth(course: Course, name: str, share: float = 0.1) -> Array:
    """[S], growth of the gap over the last decade."""
    lane = course.of(name)
    return np.asarray(lane.gap[-1, 0] - lane.gap[lane.since(share)][0, 0])


def growing(course: Course) -> list[Finding]:
    """Fixed step sizes: every growth like ln n."""
    criterion = "The interval over seeds of the growth per unit of ln n, in the last two decades of steps, is above 0."
    found = []
    for name, claim, section, lane in (
        ("ppo.unbounded", "Wedding's logits just go up and up (nats per unit of ln n).", ADVANTAGE, "ppo"),
        (
            "ppo.gradient",
            "The same where the error moves the logits along the gradient of log pi.",
            ADVANTAGE,
            "ppo, gradient",
        ),
        (
            "vanilla",
            "Vanilla policy gradient, without a baseline, also gives an unbounded amount of reinforcement.",
            ADVANTAGE,
            "vanilla",
        ),
        (
            "footnote2.fixed",
            "A fixed learning rate of v below 1 (0.1) does not stop it.",
            FOOTNOTE,
            "ppo, alpha 0.1",
        ),
    ):
        band = over_seeds(late_slope(course, lane))
        holds = band["low"] > 0
        found.append(
            finding.claim(
                f"bandit.{name}",
                claim,
                section=section,
                holds=holds,
                criterion=criterion,
                of_post=name != "ppo.gradient",
                **band,
            )
        )
    ppo = course.of("ppo")
    tries = over_seeds(ppo.negative[-1, 0] - ppo.negative[ppo.since(0.1)][0, 0])
    found.append(
        finding.claim(
            "bandit.ppo.oscillates",
            "The advantage can oscillate forever (negative advantages in the last decade of steps).",
            section=ADVANTAGE,
            holds=tries["low"] > 0,
            criterion="The interval over seeds of their number is above 0.",
            **tries,
        )
    )
    return found


def finding_at_end(course: Course) -> Finding:
    party = expit(-course.of("ppo").gap[-1, 0])
    return finding.claim(
        "bandit.ppo.limit",
        "With probability 1, pi(wedding) goes to 1 (pi(party) after the last step).",
        section=ADVANTAGE,
        post=0.0,
        holds=bool((party < 0.001).all() and (late_growth(course, "ppo") >= 0).all()),
        criterion="pi(party) is below .001 for every seed, and for none did it rise over the last decade of steps.",
        **over_seeds(party),
    )


def figure(course: Course, path: Path) -> None:
    """The gap against steps, fixed step sizes left and decaying ones right."""
    panels = (
        (
            "fixed step sizes",
            (
                ("ppo", "PPO, alpha 1"),
                ("ppo, alpha 0.1", "PPO, alpha 0.1"),
                ("vanilla", "vanilla policy gradient"),
                ("actde", "ACTDE, alpha 1"),
            ),
        ),
        (
            "decaying step sizes",
            (
                ("ppo, v 1/n^2", "PPO, v: 1/n²"),
                ("ppo, v 1/n", "PPO, v: 1/n"),
                ("ppo, both 1/n", "PPO, v and logits: 1/n"),
                ("ppo, both 1/n^2", "PPO, v and logits: 1/n²"),
                ("actde, both 1/n", "ACTDE, q and logits: 1/n"),
            ),
        ),
    )
    drawing, axes = make_figure()
    for axis, (title, lanes) in zip(axes, panels, strict=True):
        for place, (name, label) in enumerate(lanes):
            gap = course.of(name).gap[:, 0]
            low, high = np.percentile(gap, [5, 95], axis=1)
            color, style = PALETTE[place], ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), ":")[place]
            axis.fill_between(course.steps, low, high, color=color, alpha=0.15, lw=0)
            axis.plot(course.steps, gap.mean(axis=1), color=color, ls=style, lw=1.6, label=label)
        axis.set(xscale="log", xlabel="steps", title=title, ylabel="logit(wedding) − logit(party), nats")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    axes[1].set_yscale("symlog", linthresh=1)
    axes[1].set(ylim=(-2, None))
    save_figure(drawing, path)
