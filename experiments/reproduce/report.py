"""Write the report about all parts that were run.

README.md is generated from results.json and about.json.
"""

import json
import math
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic.dataclasses import dataclass

from agents.protocol import AgentError
from experiments.reproduce import PARTS, Outcome, language_models
from experiments.reproduce.finding import SECTIONS, STRICT, VERDICTS, Finding, Section, Value, judged
from experiments.tables import duration, table
from games.files import atomic_write
from games.untrusted_files import read_json, validated

RESULTS, ABOUT, README = "results.json", "about.json", "README.md"
POST = "https://www.lesswrong.com/posts/A7RgYuYH4HywNeYWD/mode-collapse-in-rl-may-be-fueled-by-the-update-equation"
PACKAGES = ("numpy", "scipy", "torch", "matplotlib")
INTRODUCTION = f"""# The post, reproduced

This report compares what "[Mode collapse in RL may be fueled by the update equation]({POST})" says with what this
project measures. Every verdict follows from numbers alone. The list below each table states the criterion for
*reproduced* and the meaning of the band. Claims that we add to the post's are counted separately. A wrong number that
the post prints in several places, such as .63, counts once for each place."""
ADDED = "added by us"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RunInfo:
    """The command, settings, figures and notes of a part's last run."""

    command: str
    seed: int
    quick: bool
    seconds: float  # of processor time, or of wall time if `Outcome.seconds` is None
    versions: Mapping[str, str]
    figures: Mapping[Section, Sequence[tuple[str, str]]] = field(default_factory=dict)
    notes: Mapping[Section, Sequence[str]] = field(default_factory=dict)


def versions() -> dict[str, str]:
    loaded = {name: str(sys.modules[name].__version__) for name in PACKAGES if name in sys.modules}
    return {"python": platform.python_version()} | loaded


def write(out: Path, part: str, info: RunInfo, outcome: Outcome) -> list[Finding]:
    """Replace a part's outcome in the report, and return all findings."""
    before, about = read(out) if (out / RESULTS).exists() else ([], {})
    kept = [finding for finding in before if finding.part not in (part, "other")]
    findings = sorted([*kept, *outcome.findings], key=lambda finding: _place(finding.part))
    findings += judged("other", language_models.measurements())
    about[part] = replace(info, figures=outcome.figures, notes=outcome.notes)
    about = {name: about[name] for name in sorted(about, key=_place)}
    # the results last: a folder without results holds no report, so that the same command can continue after a kill
    atomic_write(out / ABOUT, _json({name: asdict(one) for name, one in about.items()}))
    atomic_write(out / RESULTS, _json([asdict(finding) for finding in findings]))
    atomic_write(out / README, markdown(findings, about))
    return findings


def _place(part: str) -> int:
    return [*PARTS, part].index(part)


def _json(data: object) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read(out: Path) -> tuple[list[Finding], dict[str, RunInfo]]:
    """Return the findings and the `RunInfo` of each part. Raise AgentError if a file is damaged."""
    findings, about = _read(out / RESULTS, list[Finding]), _read(out / ABOUT, dict[str, RunInfo])
    repeated = [name for name, count in Counter(finding.id for finding in findings).items() if count > 1]
    if repeated:
        raise AgentError(f"{out / RESULTS} is damaged: {repeated[0]} is in it twice")
    if not findings:
        raise AgentError(f"{out / RESULTS} is damaged: it holds no claim")
    if unknown := {finding.part for finding in findings} - about.keys() - {"other"}:
        raise AgentError(f"{out / ABOUT} is damaged: {min(unknown)} is missing, although {RESULTS} has its claims")
    return findings, about


def _read(path: Path, kind: type[T]) -> T:
    return validated(kind, read_json(path, error=AgentError), str(path), AgentError)


def check(out: Path, parts: Sequence[str], *, quick: bool) -> None:
    """Raise AgentError if the report is damaged, or if a quick run would replace a full one."""
    about = read(out)[1] if (out / RESULTS).exists() else {}
    full = [part for part in parts if part in about and not about[part].quick]
    if quick and full:
        raise AgentError(f"{out} holds the full report of {', '.join(full)}; choose another --out for the quick one")


def counts(findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Count the claims by part and verdict. The last row counts those that we added."""
    rows: dict[str, dict[str, int]] = {}
    for finding in sorted(findings, key=lambda finding: not finding.of_post):
        row = rows.setdefault(finding.part if finding.of_post else ADDED, dict.fromkeys(VERDICTS, 0))
        row[finding.verdict] += 1
    return rows


def markdown(findings: Sequence[Finding], about: Mapping[str, RunInfo]) -> str:
    blocks = [INTRODUCTION, table(["part", *VERDICTS], _count_rows(findings)), _how(about)]
    for section in SECTIONS:
        mine = [finding for finding in findings if finding.section == section]
        figures = [pair for info in about.values() for pair in info.figures.get(section, ())]
        texts = [f"![{caption.partition('. ')[0]}]({name})\n\n*{caption}*" for name, caption in figures]
        texts += [text for info in about.values() for text in info.notes.get(section, ())]
        if mine:
            rows = [[finding.claim, _post(finding), _band(finding), finding.verdict] for finding in mine]
            texts = [table(["claim", "post", "ours (band)", "verdict"], rows), *texts, _criteria(mine)]
        if texts:
            blocks += [f"## {section}", *texts]
    return "\n\n".join(blocks) + "\n"


def _count_rows(findings: Sequence[Finding]) -> list[list[object]]:
    rows = counts(findings)
    added = {ADDED: rows.pop(ADDED)} if ADDED in rows else {}
    rows["all of the post's"] = {verdict: sum(row[verdict] for row in rows.values()) for verdict in VERDICTS}
    return [[name, *row.values()] for name, row in (rows | added).items()]


def _how(about: Mapping[str, RunInfo]) -> str:
    seconds, rows = defaultdict[str, float](float), []
    for name, info in about.items():
        seconds[info.command] += info.seconds
        packages = ", ".join(map(" ".join, info.versions.items()))
        rows.append([name, "quick" if info.quick else "full", info.seed, duration(info.seconds), packages])
    commands = (f"{command}  # {duration(took)}" for command, took in seconds.items())
    return "\n".join(["Made by", "", "```", *commands, "```", "", table(["part", "run", "seed", "time", "with"], rows)])


def show(value: Value) -> str:
    """Format a value with about four significant digits."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value != 0 and 1e-4 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e7 else f"{value:,.0f}"


def _post(finding: Finding) -> str:
    if not finding.of_post:
        return "(added by us)"
    return f"{finding.post:.12g}" if isinstance(finding.post, float) else show(finding.post)  # all printed digits


def _band(finding: Finding) -> str:
    low, high = finding.low, finding.high
    if low is None or high is None or math.isclose(low, high, rel_tol=1e-8, abs_tol=1e-8):
        return show(finding.ours)
    return f"{show(finding.ours)} ({show(low)} to {show(high)})"


def _criteria(findings: Sequence[Finding]) -> str:
    groups: dict[str, list[str]] = {}
    for finding in findings:
        groups.setdefault(finding.criterion, []).append(f"`{finding.id}`")
    lines = [f"* {criterion} {', '.join(names)}" for criterion, names in groups.items()]
    return "\n".join(["<details><summary>Criteria for <i>reproduced</i></summary>", "", *lines, "", "</details>"])
