"""The runs of a grid, named and not yet made: optimizers (with settings of their own) x values of a setting x seeds.

Leaves out making them (grid.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from actde.registry import optimizer_class
from agents.config import parse
from agents.protocol import AgentError

OF_Q = frozenset({"q_lr", "q_coef", "q_heads", "target_q", "target_rate", "detach_q", "dueling"})
"""Settings that change nothing where no q is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a grid."""

    optimizer: str
    """Its name, with settings of its own behind it: "ppo+kl_coef=0.1"."""
    seed: int
    setting: str | None
    """The setting that is varied; None where none is, or it does not concern this optimizer."""
    value: float | str | None
    """Its value in this run."""

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        varied = "" if self.setting is None else f"-{self.setting}={self.value}"
        return f"{self.optimizer}{varied}-seed{self.seed}"

    def asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are asked for in this run, where `given` are those of every run.

        Raises:
            AgentError: a setting is no NAME=VALUE.
        """
        name, *own = self.optimizer.split("+")
        asked = dict(given) | {"optimizer": name, "seed": self.seed}
        for text in own:
            setting, values = parse_values(text)
            if len(values) != 1 or setting in ("optimizer", "seed"):
                raise AgentError(f"expected NAME+SETTING=VALUE for an optimizer, got {self.optimizer!r}")
            asked[str(setting)] = values[0]
        return asked if self.setting is None else asked | {self.setting: self.value}


def cells(
    optimizers: Sequence[str],
    seeds: Sequence[int],
    setting: str | None,
    values: Sequence[Any],
    given: Mapping[str, Any],
) -> list[Cell]:
    """All runs of a grid, seed by seed, so that an interrupted grid holds whole comparisons.

    An optimizer that trains no q has one run a seed where a setting of q is varied: its runs would all be the same.

    Args:
        given: settings of every run of the grid that are not the defaults.

    Raises:
        OptimizerError: an unknown optimizer.
        AgentError: an optimizer is not of the form NAME+SETTING=VALUE.
    """
    wanted = []
    for seed in seeds:
        for value in values if setting else [None]:
            for optimizer in optimizers:
                cell = Cell(optimizer=optimizer, seed=seed, setting=setting, value=value)
                if setting in OF_Q and not _trains_q(cell.asked(given)):
                    cell = replace(cell, setting=None, value=None)
                wanted.append(cell)
    return list(dict.fromkeys(wanted))


def _trains_q(asked: Mapping[str, Any]) -> bool:
    return optimizer_class(asked["optimizer"]).needs_q or bool(asked.get("train_q"))


def parse_values(text: str | None) -> tuple[str | None, list[Any]]:
    """ "reward_scale=1,3,10" to the setting's name and its values; None to no setting.

    Raises:
        AgentError: the text is not of this form.
    """
    if text is None:
        return None, []
    name, _, values = text.partition("=")
    if not name or not values:
        raise AgentError(f"expected NAME=VALUE,VALUE to vary a setting, got {text!r}")
    name = name.replace("-", "_")
    return name, [parse(name, word) for word in values.split(",")]
