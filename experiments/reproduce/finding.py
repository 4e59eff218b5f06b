"""One claim of the post beside what we found, and the rules by which it gets a verdict.

A finding is not given a verdict: it is made by one of the functions below, which compute it. Leaves out where the
numbers come from (the parts) and how they are shown (report.py).
"""

import math
import re
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
CONTRADICTS, NOT_RUN = "post contradicts itself", "not run"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONTRADICTS, NOT_RUN)

SECTIONS = (
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
)
"""Where in the post a claim stands, in the post's order; a footnote with much to say follows what it belongs to."""

ID = re.compile(r"[a-z]+(\.[a-z0-9-]+)+")
TINY = 1e-9
"""Rounding that is no difference; relative for numbers above 1."""
Value: TypeAlias = float | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim of the post, our number for it, and what follows. Raises ValueError for an illegal one."""

    id: str
    """PART.NAME in small letters, the same in every report."""
    claim: str
    """What the post says, in a few words."""
    post: Value
    """The post's number or word; None where it gives none."""
    ours: Value
    """What we found; None where nothing was run."""
    low: float | None
    """Our band, in units of `ours`: an interval over seeds, or how exactly the post prints."""
    high: float | None
    verdict: str
    section: str
    """One of SECTIONS."""
    criterion: str
    """What would make it `reproduced`, and what the band is where there is one."""
    of_post: bool = True
    """True: the post says it. False: we add it, and it has no number of the post."""

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ValueError(f"expected an id like part.name, got {self.id!r}")
        for name in ("claim", "criterion"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{self.id}: {name} must be a sentence, got {getattr(self, name)!r}")
        if self.verdict not in VERDICTS:
            raise ValueError(f"{self.id}: unknown verdict {self.verdict!r}")
        if self.section not in SECTIONS:
            raise ValueError(f"{self.id}: unknown section {self.section!r}")
        for name in ("post", "ours", "low", "high"):
            _check_value(self.id, name, getattr(self, name))
        if not isinstance(self.of_post, bool) or not (self.of_post or self.post is None):
            raise ValueError(f"{self.id}: of_post is {self.of_post!r} beside the post's {self.post!r}")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"{self.id}: the band ends before it begins: {self.low} to {self.high}")
        if (self.verdict == NOT_RUN) != (self.ours is None):
            raise ValueError(f"{self.id}: {self.verdict!r} does not go with our value {self.ours!r}")

    @property
    def part(self) -> str:
        return self.id.partition(".")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: object) -> "Finding":
        """The finding that `to_json` gave, of_post or not (older reports lack it); ValueError for anything else."""
        keys = {field.name for field in fields(cls)}
        if not isinstance(found, dict) or set(found) | {"of_post"} != keys:
            got = sorted(found) if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"expected a finding with the keys {sorted(keys)}, got {got}")
        return cls(**found)


def _check_value(name: str, key: str, value: object) -> None:
    text = key in ("post", "ours") and isinstance(value, str | bool)
    if value is None or text:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: {key} must be a finite number, got {value!r}")


def printed(text: str) -> tuple[float, float]:
    """A number as the post prints it, and the unit of its last digit: ".73" is (0.73, 0.01), "27%" (0.27, 0.01)."""
    try:
        number = Decimal(text.strip().rstrip("%").replace("−", "-").replace(",", ""))
    except InvalidOperation:
        raise ValueError(f"expected a number as the post prints it, got {text!r}") from None
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    scale = Decimal("0.01") if text.strip().endswith("%") else Decimal(1)
    return float(number * scale), float(unit * scale)


def exact(
    name: str,
    text: str,
    *,
    section: str,
    post: str,
    ours: float,
    rounded: bool = True,
    floor: float | None = None,
) -> Finding:
    """A number without chance. `post` is the post's text; the band is as wide as what is lost by printing it.

    Args:
        rounded: False where the post prints the number in full ("1", "-.5"): then the two must be equal.
        floor: what the band does not go below, such as 0 for a probability.
    """
    value, unit = printed(post)
    slack = TINY * max(1.0, abs(ours))
    half = unit / 2 + slack if rounded else slack
    low, high = ours - half, ours + half
    criterion = (
        "Our number, which involves no chance, is the post's as far as the post prints it; the band is what its last"
        " digit leaves open."
        if rounded
        else "Our number, which involves no chance, is the post's."
    )
    return Finding(
        id=name,
        claim=text,
        post=value,
        ours=ours,
        low=low if floor is None else max(low, floor),
        high=high,
        verdict=REPRODUCED if low <= value <= high else NOT_REPRODUCED,
        section=section,
        criterion=criterion,
    )


def contradiction(
    name: str,
    text: str,
    *,
    section: str,
    post: str,
    rule: float,
    ours: float,
    floor: float | None = None,
) -> Finding:
    """A number that the post prints beside what its own rule gives (`rule`, in closed form).

    Where ours is not the rule's, or the post's is ours after all, this is `exact` and its verdict.
    """
    plain = exact(name, text, section=section, post=post, ours=ours, floor=floor)
    agrees = math.isclose(ours, rule, rel_tol=1e-6, abs_tol=1e-300)
    if not agrees or plain.verdict == REPRODUCED:
        return plain
    criterion = "The post's number is what its own rule gives, as far as it is printed (the band); ours is the rule's."
    return Finding(**plain.to_json() | {"verdict": CONTRADICTS, "criterion": criterion})


def measured(
    name: str,
    text: str,
    *,
    section: str,
    post: str,
    ours: float,
    low: float,
    high: float,
    criterion: str = "The post's number lies in our 95% interval over seeds.",
) -> Finding:
    """A number that depends on chance; `low` to `high` is its interval over seeds."""
    value, _ = printed(post)
    return Finding(
        id=name,
        claim=text,
        post=value,
        ours=ours,
        low=low,
        high=high,
        verdict=REPRODUCED if low <= value <= high else NOT_REPRODUCED,
        section=section,
        criterion=criterion,
    )


def claim(
    name: str,
    text: str,
    *,
    section: str,
    ours: float | str | bool,
    holds: bool,
    criterion: str,
    post: Value = None,
    low: float | None = None,
    high: float | None = None,
    of_post: bool = True,
) -> Finding:
    """A statement without a number of its own; the caller computed by `criterion` whether it holds."""
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


def not_run(
    name: str,
    text: str,
    *,
    section: str,
    criterion: str,
    post: Value = None,
    of_post: bool = True,
) -> Finding:
    """A claim that this run cannot judge."""
    return Finding(
        id=name,
        claim=text,
        post=post,
        ours=None,
        low=None,
        high=None,
        verdict=NOT_RUN,
        section=section,
        criterion=criterion,
        of_post=of_post,
    )


def unjudged(found: Finding) -> Finding:
    """The same claim as `not run`, where a quick run cannot judge it."""
    return replace(found, ours=None, low=None, high=None, verdict=NOT_RUN)
