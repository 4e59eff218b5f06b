"""Format the results of `fit.py` as the page `fit.md`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.rlhf.contrasts import estimate
from experiments.rlhf.fit_rollouts import GAME, LAST, ROLLOUTS, TEXTS
from experiments.rlhf.pages import page
from experiments.rlhf.sampled_returns import CEILINGS, SAMPLES, TOKENS, ceilings
from experiments.tables import interval, table

Runs = Sequence[Mapping[str, Any]]


def markdown(names: Iterable[str], runs: Runs) -> str:
    """Return a Markdown page whose table rows are the settings in `names`."""
    seed_scores_by_name = ((name, [run["settings"][name] for run in runs if name in run["settings"]]) for name in names)
    scores = {name: seed_scores for name, seed_scores in seed_scores_by_name if seed_scores}
    rows = [
        [
            name if len(seed_scores) == len(runs) else f"{name} ({len(seed_scores)} of {len(runs)} seeds)",
            *(_mean([score[key] for score in seed_scores]) for key in CEILINGS),
        ]
        for name, seed_scores in scores.items()
    ]
    return page(
        "# Does q fit on free text?",
        f"SmolLM2 without training writes {ROLLOUTS} rollouts of {TEXTS} texts, `{GAME}`. Only the heads are"
        " trained, online. Explained variance of the undiscounted Monte Carlo return in the last"
        f" {LAST} rollouts, before each is learned; means over {len(runs)} seeds with 95% t intervals. 0"
        " is a constant, 1 is perfect. The last column is the share of the variance left by v that q - v explains:"
        " what ACTDE's baseline adds to PPO's. Command: `python -m experiments.rlhf.fit --out docs/rlhf  # 10 s"
        " if nothing is missing`.",
        _best_setting({name: seed_scores for name, seed_scores in scores.items() if len(seed_scores) == len(runs)}),
        table(["setting", "v", "q", "q - v"], rows),
        *_setting_notes(scores),
        *_ridge_table(runs),
        *_ceiling_section(runs),
    )


def _best_setting(scores_by_name: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    if not scores_by_name:
        return ""
    v, advantage = (
        {name: float(np.mean([score[key] for score in scores])) for name, scores in scores_by_name.items()}
        for key in ("v", "advantage")
    )
    best = max(advantage, key=advantage.__getitem__)
    text = (
        f"In the best setting ({best}), q - v explains {advantage[best]:.2f} of the variance that v leaves. This is a"
        " maximum over all settings."
    )
    if v[best] < max(v.values()):
        text += (
            " It may contain value of the state that v has not learned: in this setting, v explains"
            f" {v[best]:.2f} of the variance of the return, and up to {max(v.values()):.2f} in other settings."
        )
    return text


def _setting_notes(names: Iterable[str]) -> Iterator[str]:
    if any("own layers" in name for name in names):
        yield (
            "With own layers, v and q read a copy of the trunk's last layers that their losses train. The rate is that"
            " of the layers; the heads have rates of 1e-4."
        )
    if any("per token" in name for name in names):
        yield (
            f"In the settings with returns per token, the policy samples {TOKENS} tokens in a state of each text. The"
            " target of q is the mean of the returns of that many sampled continuations of the token. The target of v"
            f" is the mean over all {TOKENS} tokens. These settings learn from one state of each text, about 1/15 of"
            " the states of the other settings. Compare them only with each other."
        )


def _ceiling_section(runs: Runs) -> list[str]:
    moments_by_seed = {str(run["seed"]): np.array(run["moments"], dtype=np.float64) for run in runs if "moments" in run}
    if not moments_by_seed:
        return []
    seeds, moments = [*moments_by_seed], np.concatenate([*moments_by_seed.values()])
    shares = ceilings(moments)
    pooled = f"seed {seeds[0]}" if len(seeds) == 1 else f"the seeds {', '.join(seeds)}"
    return [
        "## What a perfect v and q would explain",
        f"In a state of each text, uniform among its states, the policy samples {TOKENS} tokens, and {SAMPLES} texts"
        " that continue each of them. A nested analysis of variance separates the variance of v, that of q - v and the"
        f" noise of the continuations. {len(moments):,} states, pooled over {pooled}, with 95% bootstrap intervals over"
        " states. The estimates of the variance components are unbiased, so a share can be negative. Here, each text"
        " contributes one state, whereas the table of the settings weights all choices equally. The columns are those"
        " of that table.",
        table(["", "v", "q", "q - v"], [["perfect", *(interval(shares[name], "z.3f") for name in CEILINGS)]]),
    ]


def _ridge_table(runs: Runs) -> list[str]:
    features, ridges = ("state", "state and token"), [run["ridge"] for run in runs if "ridge" in run]
    if not ridges:
        return []
    rows = [
        [penalty, *(_mean([ridge[penalty][feature] for ridge in ridges]) for feature in features)]
        for penalty in ridges[0]
    ]
    return [
        "Ridge regressions on all earlier rollouts, for comparison:",
        table(["penalty", "hidden state", "hidden state and the token's embedding"], rows),
    ]


def _mean(values: Sequence[float]) -> str:
    return interval(estimate(values, "explained"), ".2f")
