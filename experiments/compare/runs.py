"""List the runs of a grid: every combination of an optimizer, a value of the varied setting, and a seed.

An optimizer's text can include settings that apply only to this optimizer, as in "ppo+kl_coef=0.1".
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actde.registry import optimizer_class
from agents.config import parse
from agents.protocol import AgentError

# Settings that have no effect if no q is trained.
Q_SETTINGS = frozenset({"q_lr", "q_coef", "q_heads", "target_q", "target_rate", "detach_q", "dueling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRun:
    """One run of a grid.

    Attributes:
        optimizer: an optimizer's name, and possibly its settings.
        setting, value: the varied setting and its value. None if none is varied, or if it has no effect on this run.
    """

    optimizer: str
    seed: int
    setting: str | None
    value: float | str | None

    @property
    def name(self) -> str:
        varied = "" if self.setting is None else f"-{self.setting}={self.value}"
        return f"{self.optimizer}{varied}-seed{self.seed}"

    def explicit(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of this run that are not defaults. `common` contains those that all runs share.

        Raises:
            AgentError: a text after a "+" in `optimizer` is not SETTING=VALUE, or sets the varied setting or one twice.
        """
        name, *own = self.optimizer.split("+")
        explicit, given = dict(common) | {"optimizer": name, "seed": self.seed}, dict[str, Any]()
        for text in own:
            setting, values = parse_values(text)
            if len(values) != 1 or setting in ("optimizer", "seed"):
                raise AgentError(f"expected NAME+SETTING=VALUE for an optimizer, got {self.optimizer!r}")
            if setting == self.setting:
                raise AgentError(f"--vary {setting} would override the {setting} of {self.optimizer!r}: leave out one")
            if setting in given:
                raise AgentError(f"{self.optimizer!r} gives {setting} twice: leave out one")
            given[str(setting)] = values[0]
        return explicit | given | ({} if self.setting is None else {self.setting: self.value})


def grid_runs(
    optimizers: Sequence[str],
    seeds: Sequence[int],
    setting: str | None,
    values: Sequence[Any],
    common: Mapping[str, Any],
) -> list[GridRun]:
    """Return all runs of a grid, ordered by seed, so that an interrupted grid contains complete comparisons.

    If the varied setting only affects q, an optimizer without q has one run per seed, since its runs would be
    identical. `common` contains the settings that all runs share and that are not defaults.

    Raises:
        OptimizerError: an optimizer is unknown.
        AgentError: an optimizer is not of the form NAME+SETTING=VALUE.
    """
    runs = []
    for seed, value, optimizer in itertools.product(seeds, values if setting else [None], optimizers):
        run = GridRun(optimizer=optimizer, seed=seed, setting=setting, value=value)
        if setting in Q_SETTINGS:
            explicit = run.explicit(common)
            if not (optimizer_class(explicit["optimizer"]).needs_q or explicit.get("train_q")):
                run = replace(run, setting=None, value=None)
        runs.append(run)
    return list(dict.fromkeys(runs))


def parse_values(text: str | None) -> tuple[str | None, list[Any]]:
    """Parse a text such as "reward_scale=1,3,10" into the setting's name and its values; None gives (None, [])."""
    if text is None:
        return None, []
    name, _, values = text.partition("=")
    if not name or not values:
        raise AgentError(f"expected NAME=VALUE,VALUE to vary a setting, got {text!r}")
    name = name.replace("-", "_")
    return name, [parse(name, word) for word in values.split(",")]
