"""Names of the experiment trackers, such as TensorBoard, that show the metrics of a run."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from actde.errors import ConfigError, unknown

NO_TRACKER = "none"
TRACKERS = ("tensorboard", "wandb", "trackio")


def tracker_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of names, without repetitions. The text "none" gives an empty tuple."""
    return () if text == NO_TRACKER else tuple(dict.fromkeys(text.split(",")))


def _check(text: str) -> str:
    for name in tracker_names(text):
        if name == NO_TRACKER:
            raise ConfigError(f"tracker must be none or names without none, got {text!r}")
        if name not in TRACKERS:
            raise unknown("tracker", name, (*TRACKERS, NO_TRACKER))
    return text


TrackerNames: TypeAlias = Annotated[str, AfterValidator(_check)]
