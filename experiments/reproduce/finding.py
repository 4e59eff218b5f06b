"""One claim of the post beside our measurement, and the rules that give it a verdict.

The functions below compute the verdict of the finding that they return.
"""

import math
from dataclasses import asdict, replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Verdict: TypeAlias = Literal["reproduced", "not reproduced", "post contradicts itself", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
REPRODUCED, NOT_REPRODUCED, CONTRADICTS, NOT_RUN = VERDICTS

Section: TypeAlias = Literal[
    "Summary",
    "The advantage equation implies arbitrary amounts of update on a single experience",
    "Footnote 2: learning rates",
    "Action-conditioned TD error avoids arbitrarily high logits",
    "Footnote 3: the sequential tabular case",
    "ACTDE doesn't mode-collapse onto wireheading",
    "PPO vs ACTDE on the iterated prisoner's dilemma",
    "PPO results",
    "ACTDE results",
    "Sensitivity",
    "Speculation and text adventures",
    "Appendix: random notes",
    "Appendix: reward matrix construction",
]
"""The post's sections, in its order; a footnote with many claims follows the section that it belongs to."""
SECTIONS: tuple[Section, ...] = get_args(Section)
SUMMARY, ADVANTAGE, FOOTNOTE_2, ACTDE, FOOTNOTE_3, WIREHEADING, DILEMMA = SECTIONS[:7]
PPO_RESULTS, ACTDE_RESULTS, SENSITIVITY, SPECULATION, RANDOM_NOTES, REWARD_MATRIX = SECTIONS[7:]

TINY = 1e-9
"""Tolerance for rounding errors; relative for numbers above 1."""
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Value: TypeAlias = float | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Finding:
    """A claim of the post, our measurement and the verdict. Raises ValueError for an inconsistent one."""

    id: Annotated[str, Field(pattern=r"^[a-z]+(\.[a-z0-9-]+)+$")]
    """PART.NAME, the same in every report."""
    claim: Text
    """What the post says."""
    post: Value = None
    """The post's number or word; None if it gives none."""
    ours: Value = None
    """Our measurement; None if nothing was run."""
    low: float | None = None
    """The band, in units of `ours`: an interval over seeds, or the rounding of the post's number."""
    high: float | None = None
    verdict: Verdict
    section: Section
    criterion: Text
    """The condition for `reproduced`, and the meaning of the band if there is one."""
    of_post: bool = True
    """False: we add the claim, and it has no number of the post."""

    def __post_init__(self) -> None:
        if not (self.of_post or self.post is None):
            raise ValueError(f"{self.id}: a claim that we add has no number of the post, got {self.post!r}")
        if (self.low is None) != (self.high is None) or (self.low or 0) > (self.high or 0):
            raise ValueError(f"{self.id}: expected a band from low to high or none, got {self.low} to {self.high}")
        if (self.verdict == NOT_RUN) != (self.ours is None):
            raise ValueError(f"{self.id}: the verdict {self.verdict!r} does not match our value {self.ours!r}")

    @property
    def part(self) -> str:
        return self.id.partition(".")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_printed(text: str) -> tuple[float, float]:
    """A number as the post prints it, and the unit of its last digit: ".73" is (0.73, 0.01), "27%" (0.27, 0.01)."""
    try:
        number = Decimal(text.strip().rstrip("%").replace("−", "-").replace(",", ""))
    except InvalidOperation:
        raise ValueError(f"expected a number as the post prints it, got {text!r}") from None
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    scale = Decimal("0.01") if text.strip().endswith("%") else Decimal(1)
    return float(number * scale), float(unit * scale)


def claim(
    name: str,
    text: str,
    *,
    section: Section,
    criterion: str,
    ours: Value,
    holds: object,
    low: float | None = None,
    high: float | None = None,
    post: Value = None,
    of_post: bool = True,
) -> Finding:
    """A claim that is reproduced if it `holds` (a truth value), which the caller computed by `criterion`."""
    return Finding(
        id=name,
        claim=text,
        post=post,
        ours=ours,
        low=low,
        high=high,
        verdict=REPRODUCED if holds else NOT_REPRODUCED,
        section=section,
        criterion=criterion,
        of_post=of_post,
    )


def exact(
    name: str,
    text: str,
    *,
    section: Section,
    post: str,
    ours: float,
    rounded: bool = True,
    floor: float = -math.inf,
) -> Finding:
    """A deterministic number. The band is the rounding of `post`, which is the post's text.

    Args:
        rounded: False where the post prints the number in full ("1", "-.5"), so that the two must be equal.
        floor: lower limit of the band, such as 0 for a probability.
    """
    value, unit = parse_printed(post)
    half = TINY * max(1.0, abs(ours)) + rounded * unit / 2
    low, high = max(ours - half, floor), ours + half
    criterion = (
        "Our deterministic number agrees with the post's to its last printed digit, whose rounding is the band."
        if rounded
        else "Our deterministic number equals the post's."
    )
    holds = low <= value <= high
    return claim(
        name, text, section=section, criterion=criterion, post=value, ours=ours, holds=holds, low=low, high=high
    )


def contradiction(
    name: str,
    text: str,
    *,
    section: Section,
    post: str,
    rule: float,
    ours: float,
    floor: float = -math.inf,
) -> Finding:
    """A number that the post prints but that its own rule does not give; `rule` is the rule's number in closed form.

    If ours is not the rule's, or the post's is ours after all, the finding and its verdict are those of `exact`.
    """
    plain = exact(name, text, section=section, post=post, ours=ours, floor=floor)
    follows_rule = math.isclose(ours, rule, rel_tol=1e-6, abs_tol=1e-300)
    if not follows_rule or plain.verdict == REPRODUCED:
        return plain
    criterion = "The post's own rule gives its number, to the last printed digit (whose rounding is the band). Ours is the rule's."
    return replace(plain, verdict=CONTRADICTS, criterion=criterion)


def not_run(
    name: str, text: str, *, section: Section, criterion: str, post: Value = None, of_post: bool = True
) -> Finding:
    """A claim that this run cannot judge."""
    return Finding(
        id=name, claim=text, post=post, verdict=NOT_RUN, section=section, criterion=criterion, of_post=of_post
    )


def unjudged(finding: Finding) -> Finding:
    """The same claim as `not run`, for a quick run that is too short to judge it."""
    return replace(finding, ours=None, low=None, high=None, verdict=NOT_RUN)
