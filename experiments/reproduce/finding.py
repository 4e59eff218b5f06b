"""Compare claims with measurements, and derive a verdict for each claim."""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

# a verdict is "open" if measurements exist but cannot decide
Verdict: TypeAlias = Literal[
    "reproduced", "not reproduced", "post contradicts itself", "open", "not run", "not testable here"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
REPRODUCED, NOT_REPRODUCED, CONTRADICTS, OPEN, NOT_RUN, NOT_TESTABLE = VERDICTS

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
# The sections are in the post's order. A footnote with many claims follows the section that refers to it.
SECTIONS: tuple[Section, ...] = get_args(Section)
_, ADVANTAGE, FOOTNOTE_2, _, FOOTNOTE_3, _, _, PPO_RESULTS, ACTDE_RESULTS, SENSITIVITY, _, NOTES, _ = SECTIONS

Comparison: TypeAlias = Literal["rounded", "equal", "rule", "interval"]
# With "rule", if the numbers differ but ours follows a rule that the post states, the post contradicts itself.
CRITERIA: dict[Comparison | None, str] = {
    "rounded": "Our deterministic number rounds to the post's; the band is the rounding of its last printed digit.",
    "equal": "Our deterministic number equals the post's.",
    "rule": "The post's own rule, which our number follows, gives the number that the post prints; the band is the"
    " rounding of its last digit.",
    "interval": "The number, read off the public code's figure, lies in our band: the 95% interval for a repetition"
    " with as many trials as theirs.",
}

CLAIMS = Path(__file__).parent / "claims"  # PART.toml: the claims; PART_notes.toml: conclusions from the verdicts
TINY = 1e-9  # tolerance for floating-point errors, relative for numbers above 1 and absolute otherwise
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Value: TypeAlias = float | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Claim:
    """A claim of the post, or an added claim. The text may contain placeholders like $name."""

    section: Section
    claim: Text
    criterion: str = ""  # for the verdict "reproduced"; if empty, `CRITERIA` gives it
    post: Value = None  # the number or word as the post prints it, such as "27%"
    comparison: Comparison | None = None  # if None, `Measurement.holds` decides
    of_post: bool = True  # False if we added the claim
    testable: bool = True  # if False, `criterion` gives the reason


@dataclass(frozen=True, slots=True, config=STRICT)
class Measurement:
    """The number or word that we measured for a claim."""

    ours: Value
    low: float | None = None  # of the confidence or prediction interval
    high: float | None = None
    holds: bool | None = None  # None if the data cannot decide, or if `Claim.comparison` decides
    rule: float = 0.0  # the result of the post's own rule, for the comparison "rule"
    floor: float | None = None  # the smallest possible value of `ours`
    words: Mapping[str, str] = field(default_factory=dict)  # for the placeholders of the claim


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Finding:
    """A claim, our measurement and the verdict."""

    id: Annotated[str, Field(pattern=r"^[a-z]+(\.[a-z0-9-]+)+$")]  # PART.NAME
    claim: Text
    post: Value
    ours: Value
    low: float | None  # of the interval, or of the rounding tolerance
    high: float | None
    verdict: Verdict
    section: Section
    criterion: Text
    of_post: bool = True

    def __post_init__(self) -> None:
        if not (self.of_post or self.post is None):
            raise ValueError(f"{self.id}: a claim that we add has no number of the post, got {self.post!r}")
        if (self.low is None) != (self.high is None) or (self.low or 0) > (self.high or 0):
            raise ValueError(f"{self.id}: expected a band from low to high or none, got {self.low} to {self.high}")
        if (self.verdict in (NOT_RUN, NOT_TESTABLE)) != (self.ours is None):
            raise ValueError(f"{self.id}: the verdict {self.verdict!r} does not match our value {self.ours!r}")

    @property
    def part(self) -> str:
        return self.id.partition(".")[0]


def parse_printed(text: str) -> tuple[float, float]:
    """Parse a printed number. Return (number, unit of the last digit): 27% gives (0.27, 0.01)."""
    number = Decimal(text.rstrip("%").replace("−", "-").replace(",", ""))
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    scale = Decimal("0.01") if text.endswith("%") else Decimal(1)
    return float(number * scale), float(unit * scale)


def load_claims(part: str) -> dict[str, Claim]:
    """Load the claims of a part, by name."""
    claims = tomllib.loads((CLAIMS / f"{part}.toml").read_text(encoding="utf-8"))
    return {name: Claim(**fields) for name, fields in claims.items()}


def judge_claims(part: str, measurements: Mapping[str, Measurement], *, band: str = "") -> list[Finding]:
    """Judge every claim of a part. `band` is a sentence about the measured intervals."""
    claims = load_claims(part)
    assert measurements.keys() <= claims.keys(), f"no claim for {sorted(measurements.keys() - claims.keys())}"
    return [judge_claim(f"{part}.{name}", claim, measurements.get(name), band=band) for name, claim in claims.items()]


def judge_claim(finding_id: str, claim: Claim, measurement: Measurement | None, *, band: str = "") -> Finding:
    """Judge a claim by a measurement."""
    criterion = claim.criterion or CRITERIA[claim.comparison]
    post = claim.post if claim.comparison is None else parse_printed(str(claim.post))[0]
    if measurement is None:
        measurement, verdict = Measurement(None), NOT_RUN if claim.testable else NOT_TESTABLE
    elif claim.comparison is None:
        verdict = OPEN if measurement.holds is None else REPRODUCED if measurement.holds else NOT_REPRODUCED
        criterion += f" {band}" if band and measurement.low is not None else ""
    else:
        measurement, verdict = _compare(claim, measurement)
    return Finding(
        id=finding_id,
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
    post, unit = parse_printed(str(claim.post))
    ours, low, high = measurement.ours, measurement.low, measurement.high
    assert isinstance(ours, float)
    if low is None or high is None:
        tolerance = TINY * max(1.0, abs(ours)) + (0 if claim.comparison == "equal" else unit / 2)
        low, high = ours - tolerance, ours + tolerance
        low = low if measurement.floor is None else max(low, measurement.floor)
    contradicts = claim.comparison == "rule" and math.isclose(ours, measurement.rule, rel_tol=1e-6, abs_tol=1e-300)
    verdict = REPRODUCED if low <= post <= high else CONTRADICTS if contradicts else NOT_REPRODUCED
    return replace(measurement, low=low, high=high), verdict


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Note:
    """A report paragraph, shown only if the listed findings have the required verdicts."""

    section: Section
    text: str
    reproduced: list[str]  # findings without their part: `actde.fast` means `bandit.actde.fast`
    not_reproduced: list[str]
    number: str = ""  # the finding whose number replaces $number
    format: str = ""  # of this number


def load_notes(part: str) -> list[Note]:
    notes = tomllib.loads((CLAIMS / f"{part}_notes.toml").read_text(encoding="utf-8"))
    return [Note(**fields) for fields in notes["note"]]


def supported_notes(part: str, findings: Sequence[Finding]) -> dict[Section, list[str]]:
    """Return section -> texts of all notes that the verdicts support."""
    by_name = {finding.id.partition(".")[2]: finding for finding in findings}
    notes: dict[Section, list[str]] = {}
    for note in load_notes(part):
        verdicts = dict.fromkeys(note.reproduced, REPRODUCED) | dict.fromkeys(note.not_reproduced, NOT_REPRODUCED)
        if all(by_name[name].verdict == verdict for name, verdict in verdicts.items()):
            number = format(by_name[note.number].ours, note.format) if note.number else ""
            notes.setdefault(note.section, []).append(Template(note.text).substitute(number=number))
    return notes
