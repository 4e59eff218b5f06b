"""Write recorded episodes to an HTML or Markdown file. Texts are escaped."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.play.episode import Episode, Step
from agents.play.transcript import Entry
from terminal import display
from terminal.texts import one_line
from terminal.watcher.plots import series

TEMPLATE = "page.html"
BAR = 20  # characters of the longest bar in Markdown


class Row(NamedTuple):
    """A command with its q, or a token with its v and q."""

    text: str
    percent: str
    chosen: bool
    numbers: list[str]


def write_page(path: Path, entries: Iterable[tuple[str, Entry]]) -> None:
    """Write pairs (run name, episode) to an .html or .md file."""
    from games.files import atomic_write, exclusive

    episodes = [_episode(run, entry) for run, entry in entries]
    runs = ", ".join(dict.fromkeys(episode["run"] for episode in episodes))
    title = f"{len(episodes)} {'episode' if len(episodes) == 1 else 'episodes'} of {runs}"
    with exclusive(path.parent, path.name):
        atomic_write(path, (_html if path.suffix == ".html" else _markdown)(title, episodes))


def _html(title: str, episodes: Sequence[dict[str, Any]]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(TEMPLATE).render(title=title, episodes=episodes) + "\n"


def _markdown(title: str, episodes: Sequence[dict[str, Any]]) -> str:
    parts = [f"# {_escape(title)}"]
    for episode in episodes:
        parts.append(f"## {_escape(episode['run'])}, {episode['place']}: {_escape(episode['game'])}")
        expert = f", {episode['expert']} by the expert" if episode["expert"] else ""
        parts.append(f"{_escape(episode['summary'])}, return {episode['total']}{expert}")
        for turn in episode["turns"]:
            parts += [f"### Turn {turn['number']}", _fenced(turn["observation"])]
            parts += [_table(turn)] if turn["rows"] else []
            expert = " (played by the expert)" if turn["expert"] else ""
            parts.append(f"**\\> {_escape(turn['command'])}** {_escape(turn['outcome'])}{expert}")
        parts += [_fenced(episode["final"])] if episode["final"] else []
    return "\n\n".join(parts) + "\n"


def _table(turn: dict[str, Any]) -> str:
    head = [turn["head"], "probability", "", *turn["columns"]]
    lines = [head, [":--", ":--", *["--:"] * (len(head) - 2)]]
    for row in turn["rows"]:
        bar = "█" * round(BAR * float(row.percent) / 100)
        lines.append([("▶ " if row.chosen else "") + _escape(row.text), bar, f"{row.percent}%", *row.numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Escape characters that are special within a line of Markdown."""
    return re.sub(r"([\\`*_~\[\]<>&|$@!])", r"\\\1", text)


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _episode(run: str, entry: Entry) -> dict[str, Any]:
    episode = entry.episode
    return {
        "run": one_line(run),
        "place": entry.location,
        "game": display.game_name(episode.game),
        "summary": display.summary(episode),
        "kind": {"green": "won", "red": "lost"}.get(display.result_style(episode), ""),
        "total": f"{episode.reward:+z.2f}",
        "expert": sum(step.decision.by_expert for step in episode.steps),
        "plots": _plots(episode),
        "turns": [_turn(number, step, episode.max_score) for number, step in enumerate(episode.steps, 1)],
        "final": display.tidy(episode.final_observation),
    }


def _turn(number: int, step: Step, max_score: float | None) -> dict[str, Any]:
    decision = step.decision
    outcome = [f"reward {display.number(step.reward)}", display.points(step.score, max_score)]
    outcome += [] if decision.value is None else [f"v {decision.value:+z.2f}"]
    outcome += [] if step.advantage is None else [f"advantage {step.advantage:+z.3f}"]
    if any(p < display.RARE_PROBABILITY for name, p in decision.probabilities.items() if name in decision.q_values):
        outcome.append(display.RARE_NOTE)
    return {
        "number": number,
        "observation": display.tidy(step.observation),
        "command": one_line(decision.command),
        "expert": decision.by_expert,
        "outcome": ", ".join(outcome),
        "head": "token" if decision.tokens else "command",
        "columns": ["v", "q"] if decision.tokens else ["q"],
        "rows": _rows(step),
    }


def _rows(step: Step) -> list[Row]:
    decision = step.decision
    if decision.tokens:
        return [
            Row(display.token_text(token), f"{token.probability:z.1%}"[:-1], False, [*map(_signed, token[2:])])
            for token in decision.tokens
        ]
    return [
        Row(
            one_line(name),
            f"{min(max(p, 0.0), 1.0):z.1%}"[:-1],
            name == decision.command,
            [display.q_text(decision.q_values.get(name), p).strip()],
        )
        for name, p in sorted(decision.probabilities.items(), key=lambda item: (-item[1], item[0]))
    ]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+z.2f}"


def _plots(episode: Episode) -> list[dict[str, str]]:
    """Return SVG paths of v, q and reward, scaled to 100 x 100."""
    plots = []
    for name, values in series(episode).values.items():
        if not (points := [(index, value) for index, value in enumerate(values) if value is not None]):
            continue
        minimum, maximum = (end(value for _, value in points) for end in (min, max))
        low, high = min(0.0, minimum), max(0.0, maximum)
        x_scale, y_scale = 100 / max(1, len(values) - 1), 98 / (high - low or 1.0)
        path = " L".join(f"{index * x_scale:z.1f} {99 - (value - low) * y_scale:z.1f}" for index, value in points)
        plots.append(
            {
                "name": name,
                "path": f"M{path}",
                "zero": f"{99 + low * y_scale:z.1f}",
                "low": _signed(minimum),
                "high": _signed(maximum),
            }
        )
    return plots
