"""Write the report on the reproduced claims."""

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
from experiments.reproduce.finding import SECTIONS, STRICT, VERDICTS, Finding, Section, Value, judge_claims
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
    """Replace a part's outcome in the report. Return all findings."""
    old_findings, infos = read(out) if (out / RESULTS).exists() else ([], {})
    other_findings = [finding for finding in old_findings if finding.part not in (part, "other")]
    findings = sorted([*other_findings, *outcome.findings], key=lambda finding: _part_index(finding.part))
    findings += judge_claims("other", language_models.measurements())
    infos[part] = replace(info, figures=outcome.figures, notes=outcome.notes)
    infos = {name: infos[name] for name in sorted(infos, key=_part_index)}
    # the results last: a folder without results holds no report, so that the same command can continue after a kill
    atomic_write(out / ABOUT, _json({name: asdict(part_info) for name, part_info in infos.items()}))
    atomic_write(out / RESULTS, _json([asdict(finding) for finding in findings]))
    atomic_write(out / README, markdown(findings, infos))
    return findings


def _part_index(part: str) -> int:
    return [*PARTS, part].index(part)


def _json(data: object) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read(out: Path) -> tuple[list[Finding], dict[str, RunInfo]]:
    """Return all findings, and part -> `RunInfo`. Raise AgentError if a file is damaged."""
    findings, infos = _read(out / RESULTS, list[Finding]), _read(out / ABOUT, dict[str, RunInfo])
    repeated = [name for name, count in Counter(finding.id for finding in findings).items() if count > 1]
    if repeated:
        raise AgentError(f"{out / RESULTS} is damaged: {repeated[0]} is in it twice")
    if not findings:
        raise AgentError(f"{out / RESULTS} is damaged: it holds no claim")
    if unknown := {finding.part for finding in findings} - infos.keys() - {"other"}:
        raise AgentError(f"{out / ABOUT} is damaged: {min(unknown)} is missing, although {RESULTS} has its claims")
    return findings, infos


def _read(path: Path, content_type: type[T]) -> T:
    return validated(content_type, read_json(path, error=AgentError), str(path), AgentError)


def check(out: Path, parts: Sequence[str], *, quick: bool) -> None:
    """Raise AgentError if the report is damaged, or if a quick run would replace a full run."""
    infos = read(out)[1] if (out / RESULTS).exists() else {}
    full_parts = [part for part in parts if part in infos and not infos[part].quick]
    if quick and full_parts:
        raise AgentError(
            f"{out} holds the full report of {', '.join(full_parts)}; choose another --out for the quick one"
        )


def counts(findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Return part -> verdict -> number of claims."""
    rows: dict[str, dict[str, int]] = {}
    for finding in sorted(findings, key=lambda finding: not finding.of_post):
        row = rows.setdefault(finding.part if finding.of_post else ADDED, dict.fromkeys(VERDICTS, 0))
        row[finding.verdict] += 1
    return rows


def markdown(findings: Sequence[Finding], infos: Mapping[str, RunInfo]) -> str:
    blocks = [INTRODUCTION, table(["part", *VERDICTS], _count_rows(findings)), _made_by(infos)]
    for section in SECTIONS:
        in_section = [finding for finding in findings if finding.section == section]
        figures = [pair for info in infos.values() for pair in info.figures.get(section, ())]
        texts = [f"![{caption.partition('. ')[0]}]({name})\n\n*{caption}*" for name, caption in figures]
        texts += [text for info in infos.values() for text in info.notes.get(section, ())]
        if in_section:
            rows = [
                [finding.claim, _post_cell(finding), _ours_cell(finding), finding.verdict] for finding in in_section
            ]
            texts = [table(["claim", "post", "ours (band)", "verdict"], rows), *texts, _criteria(in_section)]
        if texts:
            blocks += [f"## {section}", *texts]
    return "\n\n".join(blocks) + "\n"


def _count_rows(findings: Sequence[Finding]) -> list[list[object]]:
    rows = counts(findings)
    added = {ADDED: rows.pop(ADDED)} if ADDED in rows else {}
    rows["all of the post's"] = {verdict: sum(row[verdict] for row in rows.values()) for verdict in VERDICTS}
    return [[name, *row.values()] for name, row in (rows | added).items()]


def _made_by(infos: Mapping[str, RunInfo]) -> str:
    seconds_of, rows = defaultdict[str, float](float), []
    for name, info in infos.items():
        seconds_of[info.command] += info.seconds
        packages = ", ".join(map(" ".join, info.versions.items()))
        rows.append([name, "quick" if info.quick else "full", info.seed, duration(info.seconds), packages])
    commands = (f"{command}  # {duration(total)}" for command, total in seconds_of.items())
    return "\n".join(["Made by", "", "```", *commands, "```", "", table(["part", "run", "seed", "time", "with"], rows)])


def format_value(value: Value) -> str:
    """Format a value with about four significant digits."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value != 0 and 1e-4 <= abs(value) < 1:
        return f"{value:.4f}"
    return f"{value:.4g}" if abs(value) < 1e4 or abs(value) >= 1e7 else f"{value:,.0f}"


def _post_cell(finding: Finding) -> str:
    if not finding.of_post:
        return "(added by us)"
    # all printed digits
    return f"{finding.post:.12g}" if isinstance(finding.post, float) else format_value(finding.post)


def _ours_cell(finding: Finding) -> str:
    low, high = finding.low, finding.high
    if low is None or high is None or math.isclose(low, high, rel_tol=1e-8, abs_tol=1e-8):
        return format_value(finding.ours)
    return f"{format_value(finding.ours)} ({format_value(low)} to {format_value(high)})"


def _criteria(findings: Sequence[Finding]) -> str:
    groups: dict[str, list[str]] = {}
    for finding in findings:
        groups.setdefault(finding.criterion, []).append(f"`{finding.id}`")
    lines = [f"* {criterion} {', '.join(names)}" for criterion, names in groups.items()]
    return "\n".join(["<details><summary>Criteria for <i>reproduced</i></summary>", "", *lines, "", "</details>"])
