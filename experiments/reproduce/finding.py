"""The post's claims beside our measurements, and the rules that give each of them a verdict.

`claims/PART.toml` holds the claims of a part in words. A part measures; `judged` joins the two.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import field, replace
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Annotated, Literal, TypeAlias, get_args

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
SUMMARY, ADVANTAGE, FOOTNOTE_2, _, FOOTNOTE_3, _, _, PPO_RESULTS, ACTDE_RESULTS, SENSITIVITY, _, NOTES, _ = SECTIONS

Comparison: TypeAlias = Literal["rounded", "equal", "rule", "interval"]
"""Ours equals the post's to its last printed digit, or in full, or follows the rule that the post breaks, or has an
interval that contains the post's."""
CRITERIA: dict[Comparison | None, str] = {
    "rounded": "Our deterministic number rounds to the post's; the band is the rounding of its last printed digit.",
    "equal": "Our deterministic number equals the post's.",
    "rule": "The post's own rule, which our number follows, gives the number that the post prints; the band is the"
    " rounding of its last digit.",
    "interval": "The number, read off the public code's figure, lies in our band: the 95% interval for a repetition"
    " with as many trials as theirs.",
}

CLAIMS = Path(__file__).parent / "claims"
TINY = 1e-9
"""Tolerance for rounding errors; relative for numbers above 1."""
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Value: TypeAlias = float | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Claim:
    """A claim in words."""

    section: Section
    claim: Text
    """What the post says and, in parentheses, what we measure; $name stands for a word of the measurement."""
    criterion: str = ""
    """The condition for `reproduced`; empty for a comparison with the post's number, which has one of `CRITERIA`."""
    post: Value = None
    """The post's number or word; with a comparison, the number as the post prints it, such as ".73"."""
    comparison: Comparison | None = None
    """How the post's number is compared with ours. None: the measurement says whether the claim holds."""
    of_post: bool = True
    """False: we add the claim, and it has no number of the post."""


@dataclass(frozen=True, slots=True, config=STRICT)
class Measurement:
    """Our number or word for a claim."""

    ours: Value
    low: float | None = None
    """The interval of `ours`, if it has one."""
    high: float | None = None
    holds: bool | None = None
    """Whether the claim holds; None if the claim has a comparison."""
    rule: float = 0.0
    """The number that the post's own rule gives in closed form, for the comparison "rule"."""
    floor: float | None = None
    """Lower limit of a band that comes from rounding, such as 0 for a probability."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Name -> what replaces $name in the claim and its criterion."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Finding:
    """A claim of the post, our measurement and the verdict. Raises ValueError for an inconsistent one."""

    id: Annotated[str, Field(pattern=r"^[a-z]+(\.[a-z0-9-]+)+$")]
    """PART.NAME, the same in every report."""
    claim: Text
    """What the post says."""
    post: Value
    """The post's number or word; None if it gives none."""
    ours: Value
    """Our measurement; None if nothing was run."""
    low: float | None
    """The band, in units of `ours`: an interval over seeds, or the rounding of the post's number."""
    high: float | None
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


def parse_printed(text: str) -> tuple[float, float]:
    """A number as the post prints it, and the unit of its last digit: ".73" is (0.73, 0.01), "27%" (0.27, 0.01)."""
    number = Decimal(text.rstrip("%").replace("−", "-").replace(",", ""))
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    scale = Decimal("0.01") if text.endswith("%") else Decimal(1)
    return float(number * scale), float(unit * scale)


def load_claims(part: str) -> dict[str, Claim]:
    """Name -> claim of a part, in the order of its file."""
    text = (CLAIMS / f"{part}.toml").read_text(encoding="utf-8")
    return {name: Claim(**fields) for name, fields in tomllib.loads(text).items()}


def judged(part: str, measurements: Mapping[str, Measurement], *, band: str = "") -> list[Finding]:
    """A finding for each claim of a part; a claim without a measurement is `not run`.

    Args:
        band: the meaning of the measurements' intervals, which is added to the criterion of those that have one.
    """
    claims = load_claims(part)
    assert measurements.keys() <= claims.keys(), f"no claim for {sorted(measurements.keys() - claims.keys())}"
    return [judge_claim(f"{part}.{name}", one, measurements.get(name), band=band) for name, one in claims.items()]


def judge_claim(name: str, claim: Claim, measurement: Measurement | None, *, band: str = "") -> Finding:
    """The finding for one claim, with its verdict."""
    criterion, verdict = claim.criterion or CRITERIA[claim.comparison], NOT_RUN
    post = claim.post if claim.comparison is None else parse_printed(str(claim.post))[0]
    if measurement is None:
        measurement = Measurement(None)
    elif claim.comparison is None:
        verdict = REPRODUCED if measurement.holds else NOT_REPRODUCED
        criterion += f" {band}" if band and measurement.low is not None else ""
    else:
        measurement, verdict = _compare(claim, measurement)
    return Finding(
        id=name,
        claim=Template(claim.claim).safe_substitute(measurement.words),
        post=post,
        ours=measurement.ours,
        low=measurement.low,
        high=measurement.high,
        verdict=verdict,
        section=claim.section,
        criterion=Template(criterion).safe_substitute(measurement.words),
        of_post=claim.of_post,
    )


def _compare(claim: Claim, measurement: Measurement) -> tuple[Measurement, Verdict]:
    """The measurement with its band, and the verdict, of a claim about a number of the post."""
    post, unit = parse_printed(str(claim.post))
    ours, low, high = measurement.ours, measurement.low, measurement.high
    assert isinstance(ours, float)
    if low is None or high is None:
        half = TINY * max(1.0, abs(ours)) + (0 if claim.comparison == "equal" else unit / 2)
        low, high = ours - half, ours + half
        low = low if measurement.floor is None else max(low, measurement.floor)
    contradicts = claim.comparison == "rule" and math.isclose(ours, measurement.rule, rel_tol=1e-6, abs_tol=1e-300)
    verdict = REPRODUCED if low <= post <= high else CONTRADICTS if contradicts else NOT_REPRODUCED
    return replace(measurement, low=low, high=high), verdict
