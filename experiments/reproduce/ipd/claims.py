"""A claim about trials: what it says, by which criterion it is judged, and how, once the trials are there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.reproduce import finding
from experiments.reproduce.finding import Finding

Judgement = tuple[Mapping[str, Any], bool]
"""`ours`, `low` and `high`, and whether the claim holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim; `judge` is called only where its trials are there."""

    id: str
    text: str
    criterion: str
    judge: Callable[[], Judgement]
    of_post: bool = True
    """False where the post does not say it and we add it."""


def number(ours: float) -> dict[str, float | None]:
    """A number without a band."""
    return {"ours": float(ours), "low": None, "high": None}


def judged(claims: Sequence[Claim], *, section: str, ready: bool) -> list[Finding]:
    """The findings; all `not run` where the trials are not ready."""
    made = []
    for one in claims:
        words: dict[str, Any] = {"section": section, "criterion": one.criterion, "of_post": one.of_post}
        if ready:
            band, holds = one.judge()
            made.append(finding.claim(one.id, one.text, holds=bool(holds), **words, **band))
        else:
            made.append(finding.not_run(one.id, one.text, **words))
    return made
