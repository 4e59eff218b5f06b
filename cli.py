"""The command line, and the only file that prints. `python cli.py COMMAND --help` explains each command.

Screens are drawn in `terminal/`. Anything heavy is imported inside the command that needs it, so that
help comes at once. Errors are one line on standard error: status 2 for a user's mistake, 1 for a failing machine,
130 for Ctrl-C; a bug shows its traceback.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from io import UnsupportedOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType

from actde.config import OptimizerConfig
from agents.config import TrainConfig
from experiments import reproduce as reproducing
from options import with_settings

if TYPE_CHECKING:
    from agents.play.episode import Episode
    from agents.play.transcript import Entry
    from agents.protocol import Turn
    from agents.training.trainer import Trainer
    from games.textworld.generation.manifest import Entry as GameEntry

DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOTDIR: "a folder is needed, but this path leads through a file",
    errno.EEXIST: "a folder is needed, but a file has this name",
    errno.EISDIR: "a file is needed, but this is a folder",
    errno.ENAMETOOLONG: "the name is too long",
}

app = typer.Typer(
    name="actde",
    help="Language-model agents that play and learn text games.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AGENTS = "random, human, walkthrough, smollm2, the trained actde, ppo, actde-small, ppo-small, or the folder of a run"
GAMES = "bandit, ipd, a game file, a folder, a manifest, or textworld:FAMILY?level=1&seed=7 (seed=100..119: 20 games)"
AgentOption = Annotated[str, typer.Option("--agent", help=AGENTS, rich_help_panel="What is played")]
GameOption = Annotated[
    str | None,
    typer.Option("--game", help=f"{GAMES}; by default one that the agent knows", rich_help_panel="What is played"),
]
SeedOption = Annotated[int, typer.Option(min=0, help="seed of games and agent", rich_help_panel="What is played")]
TurnsOption = Annotated[
    int | None, typer.Option(min=1, help="turn limit; the game's own by default", rich_help_panel="What is played")
]
GreedyOption = Annotated[
    bool, typer.Option("--greedy", help="take the likeliest command, do not draw", rich_help_panel="What is played")
]
AuditOption = Annotated[
    float | None,
    typer.Option(
        "--audit",
        min=0,
        max=1,
        metavar="SHARE",
        help="share of TextWorld episodes in which TextWorld's own environment plays along and is compared",
        callback=lambda share: _audit(share),
        rich_help_panel="What is played",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="one JSON document on standard output", rich_help_panel="What is shown")
]


@app.command()
def play(
    agent: AgentOption = "actde",
    game: GameOption = None,
    seed: SeedOption = 0,
    episodes: Annotated[int, typer.Option(min=1, help="episodes to play", rich_help_panel="What is played")] = 1,
    max_turns: TurnsOption = None,
    greedy: GreedyOption = False,
    audit: AuditOption = None,
    delay: Annotated[
        float | None,
        typer.Option(min=0, help="seconds to look at each turn; 0.6 in a terminal", rich_help_panel="What is shown"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Watch an agent play, or play yourself (--agent human)."""
    import agents
    import games
    from agents.play.runner import EpisodeRunner
    from terminal import playback

    asking = agent == "human"
    if asking and as_json:
        raise typer.BadParameter("a person cannot play with --json")
    specs = games.resolve(game or agents.SHOWN_GAME)
    view: playback.View = playback.Lines(asking=asking)
    if as_json:
        view = playback.Silence()
    elif out.is_terminal:
        view = playback.Screen(agent, asking=asking)
    pause = 0.0 if asking or not out.is_terminal or as_json else 0.6 if delay is None else delay

    def ask(turn: Turn) -> str:
        _show(view.turn(turn))
        return input(" > ")

    with _waiting(f"loading {agent}"):
        player = agents.make_agent(agent, seed=seed, greedy=greedy, ask=ask, notify=_note)
    finished: list[Episode] = []
    infos: Sequence[str] = getattr(player, "infos", ())
    stopped: int | None = None
    with EpisodeRunner(specs, seed=seed, parallel=1, max_turns=max_turns, infos=infos) as arena:
        try:
            for episode in arena.play(player, episodes, on_step=lambda event: _show(view.step(event), pause)):
                finished.append(episode)
                _show(view.episode(episode))
        except EOFError:
            stopped = 0
        except KeyboardInterrupt:
            stopped = 130
    if stopped is not None and not as_json:
        out.print("\nstopped", style="dim")
    _show(view.end(finished))
    if as_json:
        _document(
            {
                "agent": agent,
                "game": game,
                "seed": seed,
                "episodes": [episode.to_json() for episode in finished],
            }
        )
    raise typer.Exit(stopped if stopped is not None else int(any(episode.error for episode in finished)))


@app.command()
def evaluate(
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent",
            help=f"{AGENTS} (actde); with --card several, joined by commas (those that ship)",
            rich_help_panel="What is played",
        ),
    ] = None,
    game: GameOption = None,
    seed: SeedOption = 0,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="episodes per agent (20; with --card 100 a task)", rich_help_panel="What is played"),
    ] = None,
    max_turns: TurnsOption = None,
    greedy: GreedyOption = False,
    parallel: Annotated[int, typer.Option(min=1, help="episodes at once", rich_help_panel="What is played")] = 8,
    bonus_command: Annotated[
        str, typer.Option(metavar="ACT", help="count turns whose command begins so", rich_help_panel="What is shown")
    ] = "",
    audit: AuditOption = None,
    card: Annotated[
        bool,
        typer.Option(
            "--card", help="play the card's tasks instead, those that its results lack", rich_help_panel="Card"
        ),
    ] = False,
    tasks: Annotated[
        str | None, typer.Option(help="some of its tasks, joined by commas; all by default", rich_help_panel="Card")
    ] = None,
    document: Annotated[
        Path, typer.Option("--out", help="the document, NAME.md, with NAME.json beside it", rich_help_panel="Card")
    ] = Path("docs/card.md"),
    as_json: JsonOption = False,
) -> None:
    """Success, score and steps of an agent, beside random and walkthrough on the same games and seeds."""
    if card:
        if (game, seed, max_turns, greedy, bonus_command) != (None, 0, None, False, ""):
            raise typer.BadParameter("--card has games, seeds and limits of its own: leave out the other options")
        _card(document, agent, tasks, 100 if episodes is None else episodes, as_json=as_json)
        return
    agent, episodes = agent or "actde", episodes or 20
    import agents
    import games
    from agents.play.evaluate import Evaluation
    from agents.play.evaluate import evaluate as measure
    from terminal import display

    game = game or agents.SHOWN_GAME
    specs = games.resolve(game)
    rows: list[Evaluation] = []
    for name in dict.fromkeys((agent, "random", "walkthrough")):
        with _waiting(f"loading {name}"):
            player = agents.make_agent(name, seed=seed, greedy=greedy, notify=_note)
        try:
            with _progress(f"{name} plays", episodes) as advance:
                row = measure(
                    player,
                    specs,
                    game=game,
                    episodes=episodes,
                    seed=seed,
                    parallel=parallel,
                    max_turns=max_turns,
                    act=bonus_command,
                    on_episode=advance,
                )
        except agents.AgentError as error:
            if name == agent:
                raise
            err.print(f"left out: {error}", markup=False, soft_wrap=True)
        else:
            rows.append(replace(row, agent=name, trained_on=agents.games_trained_on(name, specs)))
    if as_json:
        _document([row.to_json() for row in rows])
    else:
        out.print(display.comparison(rows))


def _card(document: Path, names: str | None, tasks: str | None, episodes: int, *, as_json: bool) -> None:
    """Play the rows of the evaluation card that its results lack, and write the document."""
    from agents.storage.run_folder import replace_text
    from experiments.card.document import markdown
    from experiments.card.rows import play as play_rows
    from experiments.card.rows import players
    from experiments.card.tasks import chosen

    if document.suffix != ".md":
        raise typer.BadParameter(f"--out expects NAME.md, got {document}")
    path, played, wanted = document.with_suffix(".json"), chosen(tasks), players(names, _note)
    with _reporting("card") as progress, _may_be_stopped():
        for results in play_rows(path, played, wanted, episodes=episodes, progress=progress):
            replace_text(document, markdown(results))
    if as_json:
        _document(results)
    else:
        out.print(f"the card is in {document}", markup=False, soft_wrap=True)


@app.command()
def generate(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="new folder for the games and manifest.jsonl")],
    family: Annotated[str, typer.Option(help="simple, coin, treasure, cooking, quest or textnav")],
    levels: Annotated[str, typer.Option(help="levels, as in 1-3,7")] = "1",
    per_level: Annotated[int, typer.Option(min=1, help="games per level")] = 10,
    split: Annotated[str, typer.Option(help="train, valid or test; no game is in two of them")] = "train",
    seed: SeedOption = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a further setting of the family")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; one per CPU by default")] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="draw the map of each level's first game, here and in OUT/preview")
    ] = False,
    crawl: Annotated[
        bool, typer.Option("--crawl", help="find every state of each game now, so that play needs no interpreter")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a curriculum of TextWorld games. The same command goes on after an interruption."""
    from games.textworld.generation.dataset import Progress, parse_levels
    from games.textworld.generation.dataset import generate as make
    from games.textworld.generation.manifest import KEYS

    chosen = parse_levels(levels)
    words = dict(_pair(text) for text in setting or ())
    latest: Progress | None = None
    with _progress(f"{family} games", per_level * len(chosen)) as advance:

        def show(progress: Progress) -> None:
            nonlocal latest
            for _ in range(progress.done - (latest.done if latest else 0)):
                advance(progress)
            latest = progress

        entries = make(
            folder,
            family=family,
            levels=chosen,
            per_level=per_level,
            split=split,
            seed=seed,
            settings=words,
            workers=workers,
            on_progress=show,
        )
    passed = latest.passed if latest else {}
    previews = _previews(folder, entries, quiet=as_json) if preview else []
    crawled = _crawl(entries) if crawl else {}
    if as_json:
        games = [{key: getattr(entry, key) for key in KEYS} for entry in entries]
        _document({"out": str(folder), "games": games, "passed_over": passed, "previews": previews, "crawled": crawled})
    else:
        _show([f"{len(entries)} games in {folder}; play one of them with --game {folder}"])
        if passed:
            _show(["passed over: " + ", ".join(f"{count} {why}" for why, count in passed.items())])
        if crawled:
            whole = sum(row["complete"] for row in crawled.values())
            states = sum(row["states"] for row in crawled.values())
            _show([f"{states} states found; {whole} of {len(crawled)} games are known completely"])


def _crawl(entries: Sequence[GameEntry]) -> dict[str, Any]:
    """Find the states of games that have not been crawled; file -> what was found."""
    from games.textworld.transitions.crawl import crawl_file

    with _progress("games crawled", len(entries)) as advance:
        found = {}
        for entry in entries:
            found[entry.file] = asdict(crawl_file(entry.path))
            advance(entry)
    return found


def _previews(folder: Path, entries: Sequence[GameEntry], *, quiet: bool) -> list[str]:
    """Draw the map of the first game of each level, in the terminal and as pictures, whose names are returned."""
    from experiments.release.map_picture import draw_map
    from games.textworld.maps import load_map
    from terminal.map import MapView

    (folder / "preview").mkdir(exist_ok=True)
    pictures = []
    for entry in sorted({entry.level: entry for entry in reversed(entries)}.values(), key=lambda entry: entry.level):
        drawn, picture = load_map(entry.path), folder / "preview" / f"{entry.path.stem}.svg"
        title = f"{entry.file}: {entry.family} level {entry.level}, {entry.max_score} points"
        draw_map(drawn, title, picture)
        pictures.append(str(picture))
        if not quiet:
            _show([MapView(drawn, title), f"the map as a picture: {picture}", ""])
    return pictures


def _audit(share: float | None) -> float | None:
    """Say to this process and its children how many episodes are audited (`games/textworld/transitions/cache.py`)."""
    if share is not None:
        os.environ["ACTDE_AUDIT"] = str(share)
    return share


def _pair(text: str) -> tuple[str, str]:
    """NAME=VALUE as (name, value)."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set expects NAME=VALUE, got {text!r}")
    return name, value


@app.command()
@with_settings(TrainConfig, OptimizerConfig)
def train(
    folder: Annotated[Path, typer.Option("--out", help="folder of the run: new or empty", rich_help_panel="Run")],
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with the run in --out, with its own settings", rich_help_panel="Run")
    ] = False,
    audit: AuditOption = None,
    as_json: JsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn to play a game. What is not given follows from the game and the trunk (agents/training/presets.py)."""
    from agents.storage.run_folder import read_settings
    from agents.training import presets

    if resume:
        before = read_settings(folder)
        given = before["train"] | before["learning"] | given
    settings, learning = presets.resolve(given)
    from agents.training.trainer import Trainer

    with _waiting("setting up"):
        trainer = Trainer(settings, learning, folder, resume=resume)
    for note in trainer.notes:
        err.print(note, markup=False, soft_wrap=True)
    with _stopping_politely(trainer):
        latest = _watched(trainer, f"{settings.optimizer} learns {settings.game}", quiet=as_json)
    if as_json:
        _document({"run": str(folder), "settings": settings.to_dict() | learning.to_dict(), "metrics": latest})
    elif trainer.stopping:
        err.print(f"stopped; go on with: train --resume --out {folder}", markup=False, soft_wrap=True)
    else:
        hint = f"the agent is in {folder}; watch it: play --agent {folder} --game '{settings.game}'"
        out.print(hint, markup=False, soft_wrap=True)
    raise typer.Exit(130 if trainer.stopping else 0)


def _watched(trainer: Trainer, title: str, *, quiet: bool) -> dict[str, float] | None:
    """Run the training to its end and show it: a live panel in a terminal, a line an iteration elsewhere."""
    from rich.live import Live

    from terminal import training

    settings, history = trainer.settings, []
    if quiet or not out.is_terminal:
        for metrics in trainer.run():
            history.append(metrics)
            if not quiet:
                out.print(training.line(metrics, settings.iterations), markup=False, soft_wrap=True)
    else:
        with Live(training.panel(title, [], settings), console=out) as live:
            for metrics in trainer.run():
                history.append(metrics)
                live.update(training.panel(title, history, settings), refresh=True)
    return history[-1] if history else None


@contextmanager
def _stopping_politely(trainer: Trainer) -> Iterator[None]:
    """The first Ctrl-C lets the iteration end and saves it; a second one stops at once."""
    import signal

    def first(signum: int, frame: object) -> None:
        trainer.stopping = True
        signal.signal(signal.SIGINT, before)
        err.print("\nstopping after this iteration (Ctrl-C again: at once)", style="dim")

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@app.command()
@with_settings(TrainConfig, OptimizerConfig, skip=("optimizer", "seed"))
def compare(
    folder: Annotated[Path, typer.Option("--out", help="folder for table, figures and results.json")],
    optimizers: Annotated[
        str, typer.Option(help="optimizers to compare, with settings of their own: ppo+kl_coef=0.1")
    ] = "ppo,actde",
    seeds: Annotated[str, typer.Option(help="seeds of each, as in 0-2,7")] = "0-2",
    vary: Annotated[
        str | None, typer.Option(metavar="NAME=VALUES", help="vary one setting, as in reward_scale=1,3,10")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="folder of the runs; OUT/runs by default")] = None,
    evaluations: Annotated[int, typer.Option(min=1, help="episodes that each finished agent plays")] = 50,
    tests: Annotated[
        str, typer.Option(metavar="GAME", help="held-out games that it plays; empty: those that it learned")
    ] = "",
    workers: Annotated[int, typer.Option(min=1, help="runs at once, each on its share of the cores")] = 1,
    audit: AuditOption = None,
    *,
    given: dict[str, Any],
) -> None:
    """Train optimizers over seeds on one game: how they learn, how far they collapse. Goes on after an interruption."""
    from agents.training import presets
    from experiments.compare import grid, report
    from experiments.compare import runs as cells
    from games import parse_levels

    name, values = cells.parse_values(vary)
    wanted = cells.cells(optimizers.split(","), parse_levels(seeds), name, values, given)
    grid.check(wanted, given, tests)
    with _progress("runs", len(wanted)) as advance, _may_be_stopped():

        def done(row: dict[str, Any]) -> None:
            advance(row)
            out.print(report.headline(row), markup=False, soft_wrap=True)

        place = folder / "runs" if runs is None else runs
        rows = grid.run_grid(wanted, given, place, episodes=evaluations, tests=tests, workers=workers, on_run=done)
    game = presets.resolve(given)[0].game
    report.write(folder, {"command": _typed(), "game": game, "tests": tests, "episodes": evaluations}, rows)
    out.print(f"the report is in {folder / 'README.md'}", markup=False, soft_wrap=True)


@app.command()
def reproduce(
    part: Annotated[str, typer.Argument(metavar="PART", help=f"{', '.join(reproducing.PARTS)}, or all of them")],
    folder: Annotated[
        Path, typer.Option("--out", file_okay=False, help="folder of the report; parts made before stay in it")
    ],
    quick: Annotated[bool, typer.Option("--quick", help="a small version, in less than two minutes")] = False,
    seed: Annotated[int, typer.Option(min=0, help="seed of everything")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help="processes at once, where a part can use them; 0: report what was run before")
    ] = 1,
) -> None:
    """The post's numbers, figures and claims beside ours, each with a verdict."""
    from experiments.reproduce import report
    from terminal import display

    names = reproducing.part_names(part)
    if (folder / report.RESULTS).exists():
        report.check(folder, names, quick=quick)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        begin = time.monotonic()
        with _reporting(name) as progress, _may_be_stopped():
            outcome = reproducing.load(name)(seed=seed, quick=quick, folder=folder, workers=workers, progress=progress)
        seconds = round(time.monotonic() - begin if outcome.seconds is None else outcome.seconds, 1)
        info = report.RunInfo(command=_typed(), seed=seed, quick=quick, seconds=seconds, versions=report.versions())
        findings = report.write(folder, name, info, outcome)
    out.print(display.verdicts(report.counts(findings)))
    out.print(f"the report is in {folder / report.README}", markup=False, soft_wrap=True)


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(help="folder of a run, or a file of transcripts")],
    iteration: Annotated[int | None, typer.Option(min=0, help="its episodes only; the newest by default")] = None,
    episode: Annotated[int | None, typer.Option(min=0, help="this episode only")] = None,
    as_json: JsonOption = False,
) -> None:
    """Page through the episodes that a run recorded, turn by turn."""
    from agents.play import transcript
    from terminal import playback

    path = run / transcript.NAME if run.is_dir() else run
    with _waiting(f"reading {path}"):
        entries = transcript.choose(path, iteration=iteration, episode=episode)
    if as_json:
        _document([{"iteration": entry.iteration, **entry.episode.to_json()} for entry in entries])
    elif out.is_terminal and sys.stdin.isatty():
        _pages(entries)
    else:
        for entry in entries:
            _show(playback.record(entry))


def _pages(entries: Sequence[Entry]) -> None:
    """Turn by turn, as keys say, until q."""
    from terminal import playback

    book = playback.Book(entries)
    while True:
        out.clear()
        _show(book.page())
        out.print(book.keys, style="dim")
        try:
            key = typer.getchar()
        except (EOFError, KeyboardInterrupt):
            return
        if key in ("q", "\x04"):
            return
        book.turn(key)


def _show(things: Iterable[RenderableType], pause: float = 0.0) -> None:
    """Print one thing after the other, with time to look at each; a plain line is never wrapped."""
    for thing in things:
        out.print(thing, markup=False, soft_wrap=isinstance(thing, str))
        if pause:
            time.sleep(pause)


def _note(line: str) -> None:
    """Something that the user should know, on standard error."""
    err.print(line, markup=False, soft_wrap=True)


def _document(data: object) -> None:
    print(json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1))  # noqa: T201


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Say on a terminal what takes so long."""
    if not err.is_terminal:
        yield
        return
    with err.status(what, spinner="dots"):
        yield


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[object], None]]:
    """A progress bar on standard error, where that is a terminal; yields what to call after each unit."""
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda unit: bar.advance(task)


@contextmanager
def _reporting(what: str) -> Iterator[Callable[[str, float, float], None]]:
    """Progress by share of the work: a bar with the time left on a terminal, elsewhere a line every half minute."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    begin = said = time.monotonic()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def progress(text: str, done: float, total: float) -> None:
            nonlocal said
            now = time.monotonic()
            if err.is_terminal:
                bar.update(task, description=f"{what}: {text}", completed=done, total=total)
            elif now - said > 30:
                said = now
                left = f", {(now - begin) * (total - done) / done / 60:.0f} min left" if done else ""
                err.print(f"{what}: {text}, {done / total:.0%}{left}", markup=False, soft_wrap=True)

        yield progress


@contextmanager
def _may_be_stopped() -> Iterator[None]:
    """Ctrl-C ends it with a line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("stopped; what is finished is kept, and the same command goes on", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None


def _typed() -> str:
    """The command line, as it was typed."""
    return " ".join(["python cli.py", *(shlex.quote(word) for word in sys.argv[1:])])


def _mistakes() -> tuple[type[ValueError], ...]:
    """The errors that mean a user's mistake, of those packages that have been imported."""
    names = (("games.errors", "GameError"), ("agents.protocol", "AgentError"), ("actde.errors", "OptimizerError"))
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _fail(message: str, status: int) -> NoReturn:
    err.print(f"error: {' '.join(message.split())}", markup=False, soft_wrap=True)
    sys.exit(status)


def main() -> None:
    """Run the command line; see the top of this file for exit statuses."""
    try:
        status = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except typer.Abort:
        _fail("stopped", 130)
    except ValueError as error:
        if not isinstance(error, _mistakes()):
            raise
        _fail(str(error), 2)
    except OSError as error:
        if error.errno not in DISK:
            raise
        if error.errno == errno.ENOSPC:
            # what could not be written is still in the buffer, and would be tried again on the way out
            with suppress(UnsupportedOperation):  # a stream that is no file has nothing to write to
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f": {error.filename}" if error.filename else ""
        _fail(DISK[error.errno] + where, 1)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
