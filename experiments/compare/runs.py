"""List the runs of a grid: every combination of an optimizer, values of the varied settings, and a seed.

An optimizer's text can include settings that apply only to this optimizer, as in "ppo+kl_coef=0.1".
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actde.registry import optimizer_class
from agents.protocol import AgentError
from experiments.compare.variation import Combination, parse_values, value_text

# Settings that are left out of runs that train no q.
Q_SETTINGS = frozenset(
    {"q_lr", "q_coef", "q_heads", "target_q", "target_rate", "detach_q", "dueling", "guide_beta", "reset_q"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRun:
    """One run of a grid.

    Attributes:
        optimizer: an optimizer's name, possibly with settings of its own, as in "ppo+kl_coef=0.1".
        varied: the varied settings that have an effect on this run, and their values.
    """

    optimizer: str
    seed: int
    varied: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        varied = "".join(f"-{name}={value_text(value)}" for name, value in self.varied)
        return f"{self.optimizer}{varied}-seed{self.seed}"

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON. `results.varied` explains the keys "setting" and "value"."""
        names, values = ([pair[place] for pair in self.varied] for place in (0, 1))
        setting, value = (names, values) if len(names) > 1 else (next(iter(names), None), next(iter(values), None))
        return {"name": self.name, "optimizer": self.optimizer, "seed": self.seed, "setting": setting, "value": value}

    def explicit(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of this run that are not defaults. `common` contains those that all runs share.

        Raises:
            AgentError: a text after a "+" in `optimizer` is not SETTING=VALUE, sets a varied setting, or sets a setting
                for the second time.
        """
        name, *own = self.optimizer.split("+")
        explicit, given = dict(common) | {"optimizer": name, "seed": self.seed}, dict[str, Any]()
        varied = dict(self.varied)
        for text in own:
            setting, values = parse_values(text)
            if len(values) != 1 or setting in ("optimizer", "seed"):
                raise AgentError(f"expected NAME+SETTING=VALUE for an optimizer, got {self.optimizer!r}")
            if setting in varied:
                raise AgentError(f"--vary {setting} would override the {setting} of {self.optimizer!r}: leave out one")
            if setting in given:
                raise AgentError(f"{self.optimizer!r} gives {setting} twice: leave out one")
            given[setting] = values[0]
        return explicit | given | varied


def grid_runs(
    optimizers: Sequence[str],
    seeds: Sequence[int],
    combinations: Sequence[Combination],
    common: Mapping[str, Any],
) -> list[GridRun]:
    """Return all runs of a grid, ordered by seed, so that an interrupted grid contains complete comparisons.

    For an optimizer without q, varied settings that only affect q are ignored, since their runs would be identical.

    Args:
        combinations: combinations of values of the varied settings. If no setting is varied, the only combination is
            empty.
        common: the settings that all runs share and that are not defaults.

    Raises:
        OptimizerError: an optimizer is unknown.
        AgentError: an optimizer is not of the form NAME+SETTING=VALUE.
    """
    runs = []
    for seed, combination, optimizer in itertools.product(seeds, combinations, optimizers):
        run = GridRun(optimizer=optimizer, seed=seed, varied=tuple(combination.items()))
        if not Q_SETTINGS.isdisjoint(combination):
            explicit = run.explicit(common)
            if not (optimizer_class(explicit["optimizer"]).needs_q or explicit.get("train_q")):
                run = replace(run, varied=tuple(pair for pair in run.varied if pair[0] not in Q_SETTINGS))
        runs.append(run)
    return list(dict.fromkeys(runs))
