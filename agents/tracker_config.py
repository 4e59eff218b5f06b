"""The setting of the trackers that show the metrics of a run."""

from typing import Self

from pydantic import model_validator

from actde.config import Config
from actde.errors import ConfigError, unknown

NO_TRACKER = "none"
TRACKERS = ("tensorboard", "wandb", "trackio")


class TrackerConfig(Config):
    """Where the metrics of a run are recorded, in addition to its `metrics.jsonl`."""

    tracker: str = "tensorboard"
    """Trackers of the metrics: tensorboard, wandb (Weights & Biases), trackio, several joined by commas, or none."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the trackers. The result is empty if there are none."""
        return () if self.tracker == NO_TRACKER else tuple(dict.fromkeys(self.tracker.split(",")))

    @model_validator(mode="after")
    def _trackers_are_known(self) -> Self:
        for name in self.names:
            if name == NO_TRACKER:
                raise ConfigError(f"--tracker none records nothing: expected none or names alone, got {self.tracker!r}")
            if name not in TRACKERS:
                raise unknown("tracker", name, (*TRACKERS, NO_TRACKER))
        return self
