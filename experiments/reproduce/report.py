"""The report of what was reproduced: results.json, about.json, and from these two alone README.md.

results.json is a list of findings (finding.py); about.json says for every part how it was made and which figures
and notes it left. Parts share a folder: writing one replaces its own findings and leaves the others.
"""

import json
import math
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from experiments.reproduce import PARTS, Outcome, other
from experiments.reproduce.finding import SECTIONS, VERDICTS, Finding, Value
from experiments.tables import table
from games.files import atomic_write

RESULTS, ABOUT, README = "results.json", "about.json", "README.md"
POST = "https://www.lesswrong.com/posts/A7RgYuYH4HywNeYWD/mode-collapse-in-rl-may-be-fueled-by-the-update-equation"
PACKAGES = ("numpy", "scipy", "torch", "matplotlib")
INTRODUCTION = f"""# The post, reproduced

What "[Mode collapse in RL may be fueled by the update equation]({POST})" says, beside what this project finds.
A verdict follows from numbers alone: what would make a claim *reproduced* is said below each table, and there stands
too what the band behind a number of ours is. Claims that the post does not make, which we add, are counted apart.
A slip of the post counts as a contradiction once for every place where the post prints it: one .63 stands in several
cells."""
ADDED = "added by us"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How the findings of one part were made."""

    command: str
    seed: int
    quick: bool
    """A small version, with fewer seeds and steps."""
    seconds: float
    """Wall time; processor time of all commands together, of a part that goes on where it was stopped."""
    versions: Mapping[str, str]
    """Name -> version of Python and of the packages that were imported."""
    figures: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Section -> (file name, caption)."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Section -> paragraphs of Markdown."""

    def __post_init__(self) -> None:
        kinds = {"command": str, "seed": int, "quick": bool, "versions": Mapping, "figures": Mapping, "notes": Mapping}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is not a {kind.__name__}: {getattr(self, name)!r}")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float):
            raise ValueError(f"seconds is not a number: {self.seconds!r}")
        if not set(self.figures) | set(self.notes) <= set(SECTIONS):
            raise ValueError(f"unknown section among {sorted(set(self.figures) | set(self.notes))}")
        if not all(isinstance(text, str) for texts in self.notes.values() for text in texts):
            raise ValueError("notes are not texts")
        pairs = [pair for found in self.figures.values() for pair in found]
        if not all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs):
            raise ValueError("figures are not pairs of file name and caption")


About = dict[str, Made]
"""Part -> how it was made; in the order of PARTS."""


def versions() -> dict[str, str]:
    """Python, and those of the packages that were imported so far."""
    loaded = {name: sys.modules[name] for name in PACKAGES if name in sys.modules}
    return {"python": platform.python_version()} | {name: str(loaded[name].__version__) for name in loaded}


def write(out: Path, part: str, made: Made, outcome: Outcome) -> list[Finding]:
    """Put a part's outcome into the report in `out`; its figures are there already.

    Returns:
        All findings of the report, those of other parts included.

    Raises:
        AgentError: what is in `out` is no report.
    """
    before, about = read(out) if (out / RESULTS).exists() else ([], {})
    strangers = [finding.id for finding in outcome.findings if finding.part != part]
    assert not strangers, f"{part} found {strangers}"
    kept = [finding for finding in before if finding.part not in (part, "other")]
    places = {name: place for place, name in enumerate(PARTS)}
    findings = [
        *sorted([*kept, *outcome.findings], key=lambda finding: places.get(finding.part, len(places))),
        *other.findings(),
    ]
    both = about | {part: replace(made, figures=outcome.figures, notes=outcome.notes)}
    about = {name: both[name] for name in sorted(both, key=lambda name: places.get(name, len(places)))}
    _unique(findings, out)
    atomic_write(out / RESULTS, _text([finding.to_json() for finding in findings]))
    atomic_write(out / ABOUT, _text({name: asdict(about[name]) for name in about}))
    atomic_write(out / README, markdown(findings, about))
    return findings


def _text(data: object) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read(out: Path) -> tuple[list[Finding], About]:
    """The findings in a folder and how they were made.

    Raises:
        AgentError: a file is missing, or is not what `write` leaves.
    """
    results, about = _load(out / RESULTS, list), _load(out / ABOUT, dict)
    try:
        findings = [Finding.from_json(found) for found in results]
        keys = {spec.name for spec in fields(Made)}
        for name, found in about.items():
            if not isinstance(found, dict) or set(found) != keys:
                raise ValueError(f"{name}: expected the keys {sorted(keys)}")
        parts = {name: Made(**found) for name, found in about.items()}
    except (ValueError, TypeError) as error:
        raise AgentError(f"{out} does not hold a report: {error}") from None
    _unique(findings, out)
    return findings, parts


def check(out: Path, parts: Sequence[str], *, quick: bool) -> None:
    """See that a folder holds a report whose parts may be written again.

    Raises:
        AgentError: it holds no report, or a quick run would take the place of a full one.
    """
    _, about = read(out)
    full = [part for part in parts if part in about and not about[part].quick]
    if quick and full:
        raise AgentError(f"{out} holds the full report of {', '.join(full)}; choose another --out for the quick one")


def _load(path: Path, kind: type) -> Any:
    def refuse(word: str) -> float:
        raise ValueError(f"{word} is no number here")

    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise AgentError(f"{path} is missing") from None
    except ValueError as error:
        raise AgentError(f"{path} is damaged: {error}") from None
    if not isinstance(found, kind):
        raise AgentError(f"{path} is damaged: expected a {kind.__name__}, got a {type(found).__name__}")
    return found


def _unique(findings: Iterable[Finding], out: Path) -> None:
    seen: set[str] = set()
    for finding in findings:
        if finding.id in seen:
            raise AgentError(f"{out} does not hold a report: {finding.id} is in it twice")
        seen.add(finding.id)


def counts(findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Part -> verdict -> how many of the post's claims, every verdict named; last, the claims that we add."""
    rows: dict[str, dict[str, int]] = {}
    for finding in sorted(findings, key=lambda finding: not finding.of_post):
        row = rows.setdefault(finding.part if finding.of_post else ADDED, dict.fromkeys(VERDICTS, 0))
        row[finding.verdict] += 1
    return rows


def markdown(findings: Sequence[Finding], about: Mapping[str, Made]) -> str:
    """README.md, from nothing but the two files."""
    blocks = [INTRODUCTION, table(["part", *VERDICTS], _count_rows(findings)), _how(about)]
    for section in SECTIONS:
        mine = [finding for finding in findings if finding.section == section]
        figures = [pair for made in about.values() for pair in made.figures.get(section, ())]
        notes = [text for made in about.values() for text in made.notes.get(section, ())]
        if mine or figures or notes:
            blocks.append(f"## {section}")
        if mine:
            rows = [[finding.claim, _post(finding), _band(finding), finding.verdict] for finding in mine]
            blocks.append(table(["claim", "post", "ours (band)", "verdict"], rows))
        blocks += [f"![{caption.partition('. ')[0]}]({name})\n\n*{caption}*" for name, caption in figures]
        blocks += notes
        if mine:
            blocks.append(_criteria(mine))
    return "\n\n".join(blocks) + "\n"


def _count_rows(findings: Sequence[Finding]) -> list[list[str]]:
    """A row for each part's claims of the post, their sum, and what we add."""
    found = counts(findings)
    added = found.pop(ADDED, None)
    found["all of the post's"] = {verdict: sum(row[verdict] for row in found.values()) for verdict in VERDICTS}
    rows = found if added is None else found | {ADDED: added}
    return [[name, *(str(row[verdict]) for verdict in VERDICTS)] for name, row in rows.items()]


def _how(about: Mapping[str, Made]) -> str:
    """How the parts were made: commands, seeds, times, versions."""
    lines = ["Made by", "", "```", *dict.fromkeys(made.command for made in about.values()), "```", ""]
    rows = []
    for name, made in about.items():
        words = ", ".join(f"{package} {version}" for package, version in made.versions.items())
        rows.append([name, "quick" if made.quick else "full", str(made.seed), _time(made.seconds), words])
    return "\n".join(lines) + "\n" + table(["part", "run", "seed", "time", "with"], rows)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"


def show(value: Value) -> str:
    """A number with four digits, yes or no, a text as it is, nothing for None."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value != 0 and 1e-4 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e7 else f"{value:,.0f}"


def _post(finding: Finding) -> str:
    """The post's number with as many digits as it has; says so where the claim is not the post's."""
    if not finding.of_post:
        return "(added by us)"
    number = isinstance(finding.post, int | float) and not isinstance(finding.post, bool)
    return f"{finding.post:.12g}" if number else show(finding.post)


def _band(finding: Finding) -> str:
    """ "0.6225 (0.6175 to 0.6275)"; the number alone where the band has no width."""
    low, high = finding.low, finding.high
    if low is None and high is None:
        return show(finding.ours)
    if low is not None and high is not None and math.isclose(low, high, rel_tol=1e-8, abs_tol=1e-8):
        return show(finding.ours)
    ends = f"{show(low)} to {show(high)}" if low is not None and high is not None else None
    return f"{show(finding.ours)} ({ends or (f'at least {show(low)}' if high is None else f'at most {show(high)}')})"


def _criteria(findings: Sequence[Finding]) -> str:
    """What would make each of them `reproduced`; those with the same criterion together."""
    groups: dict[str, list[str]] = {}
    for finding in findings:
        groups.setdefault(finding.criterion, []).append(f"`{finding.id}`")
    lines = [f"* {criterion} {', '.join(names)}" for criterion, names in groups.items()]
    return "\n".join(["<details><summary>What would make each reproduced</summary>", "", *lines, "", "</details>"])
