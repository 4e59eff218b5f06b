"""The page of `experiments.rlhf.fit`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.compare.intervals import over_runs
from experiments.rlhf.fit_rollouts import GAME, LAST, ROLLOUTS, TEXTS
from experiments.rlhf.sampled_returns import CEILINGS, SAMPLES, TOKENS, ceilings
from experiments.tables import interval, table

Runs = Sequence[Mapping[str, Any]]


def markdown(names: Sequence[str], runs: Runs) -> str:
    """Return the page. `names` are the settings in the order of the table. Settings without a result are left out."""
    rows, best = list[list[str]](), list[float]()
    for name in names:
        if found := [run["settings"][name] for run in runs if name in run["settings"]]:
            label = name if len(found) == len(runs) else f"{name} ({len(found)} of {len(runs)} seeds)"
            rows.append([label, *(_mean([one[key] for one in found]) for key in CEILINGS)])
            best.append(float(np.mean([one["advantage"] for one in found])))
    return "\n".join(
        [
            "# Does q fit on free text?",
            "",
            f"SmolLM2 without training writes {ROLLOUTS} rollouts of {TEXTS} texts, `{GAME}`. Only the heads are"
            " trained, online. Explained variance of the undiscounted Monte Carlo return in the last"
            f" {LAST} rollouts, before each is learned; means over {len(runs)} seeds with 95% t intervals. 0"
            " is a constant, 1 is perfect. The last column is the share of the variance left by v that q - v explains:"
            " what ACTDE's baseline adds to PPO's. Command: `python -m experiments.rlhf.fit --out docs/rlhf  # 10 s"
            " if nothing is missing`.",
            "",
            f"In the best setting, q - v explains {max(best):.2f} of the variance that v leaves.",
            "",
            table(["setting", "v", "q", "q - v"], rows),
            "",
            *_about_settings(names, runs),
            *_ceiling(runs),
            *_ridges(runs),
        ]
    )


def _about_settings(names: Sequence[str], runs: Runs) -> list[str]:
    found, lines = {name for run in runs for name in run["settings"]}, list[str]()
    if any("own layers" in name for name in names if name in found):
        lines += [
            "With own layers, v and q read a copy of the trunk's last layers that their losses train. The rate is that"
            " of the layers; the heads have rates of 1e-4.",
            "",
        ]
    if any("per token" in name for name in names if name in found):
        lines += [
            "With returns per token, the heads learn from one state of each text, in which the policy samples"
            f" {TOKENS} tokens. The target of q is the mean of the returns of that many sampled continuations of the"
            f" token. The target of v is the mean over both tokens.",
            "",
        ]
    return lines


def _ceiling(runs: Runs) -> list[str]:
    """Return the section on the explained variances of perfect predictions, or [] if no returns are sampled."""
    parts = [one["returns"] for run in runs for one in run.get("sampled", ())]
    seeds = [str(run["seed"]) for run in runs if run.get("sampled")]
    if not parts:
        return []
    returns = np.concatenate([np.array(part, dtype=np.float64) for part in parts])
    bounds = ceilings(returns)
    return [
        "## What a perfect v and q would explain",
        "",
        f"In a state of each text, uniform among its states, the policy samples {TOKENS} tokens, and {SAMPLES} texts"
        " that continue each of them. A nested analysis of variance separates the variance of v, that of q - v and the"
        f" noise of the continuations. {len(returns):,} states, pooled over the seeds {', '.join(seeds)}, with 95%"
        " bootstrap intervals over states. The estimates are unbiased and can be negative. The columns are those of the"
        " table above.",
        "",
        table(["", "v", "q", "q - v"], [["perfect", *(interval(bounds[name], "z.3f") for name in CEILINGS)]]),
        "",
    ]


def _ridges(runs: Runs) -> list[str]:
    kinds, done = ("state", "state and token"), [run["ridge"] for run in runs if "ridge" in run]
    if not done:
        return []
    rows = [[penalty, *(_mean([ridge[penalty][kind] for ridge in done]) for kind in kinds)] for penalty in done[0]]
    return [
        "Ridge regressions on all earlier rollouts, for comparison:\n",
        table(["penalty", "hidden state", "hidden state and the token's embedding"], rows),
        "",
    ]


def _mean(values: Sequence[float]) -> str:
    estimate = over_runs(values, (-float("inf"), 1.0))
    return interval(None if estimate is None else asdict(estimate), ".2f")
