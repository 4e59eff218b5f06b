"""The command line. `python cli.py COMMAND --help` explains a command.

Packages that are slow to import are imported inside the commands that need them, so that `--help` responds quickly.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments import reproduce as reproduction
from terminal import arguments as arg
from terminal import console, failures
from terminal.options import ConfigCommand, explicit_layers, with_config

app = typer.Typer(
    name="actde",
    help="Train language-model agents on text games with PPO or ACTDE (action-conditioned TD error).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def play(
    agent: arg.Agent = "actde",
    game: arg.Game = None,
    seed: arg.Seed = 0,
    episodes: arg.Episodes = 1,
    max_turns: arg.MaxTurns = None,
    greedy: arg.Greedy = False,
    audit: arg.Audit = None,
    delay: arg.Delay = None,
    as_json: arg.AsJson = False,
) -> None:
    """Watch an agent play, or play yourself (--agent human)."""
    import agents
    import games
    from agents.play.runner import EpisodeRunner
    from terminal import playback

    human = agent == "human"
    if human and as_json:
        raise typer.BadParameter("a person cannot play with --json")
    specs = games.resolve(game or agents.DEFAULT_GAME)
    view = playback.PanelView(agent, human=human) if console.out.is_terminal else playback.LineView()
    pause = 0.0 if human or not console.out.is_terminal or as_json else 0.6 if delay is None else delay
    with console.waiting(f"loading {agent}"):
        player = agents.make_agent(
            agent, seed=seed, greedy=greedy, ask=lambda turn: console.ask(view.turn(turn)), notify=console.note
        )
    infos: Sequence[str] = getattr(player, "infos", ())
    runner = EpisodeRunner(specs, seed=seed, parallel=1, max_turns=max_turns, infos=infos)
    finished, status = playback.play(runner, player, episodes, None if as_json else view, pause=pause)
    if as_json:
        rows = [episode.to_json() for episode in finished]
        console.document({"agent": agent, "game": game, "seed": seed, "episodes": rows})
    raise typer.Exit(status if status is not None else int(any(episode.error for episode in finished)))


@app.command()
def evaluate(
    agent: arg.SomeAgents = None,
    game: arg.Game = None,
    seed: arg.Seed = 0,
    episodes: arg.SomeEpisodes = None,
    max_turns: arg.MaxTurns = None,
    greedy: arg.Greedy = False,
    parallel: arg.Parallel = 8,
    bonus_command: arg.BonusCommand = "",
    audit: arg.Audit = None,
    card: arg.Card = False,
    tasks: arg.Tasks = None,
    document: arg.Document = Path("docs/card.md"),
    as_json: arg.AsJson = False,
) -> None:
    """Evaluate success, score and steps of an agent and of two baselines on the same games and seeds."""
    if card:
        if (game, seed, max_turns, greedy, bonus_command) != (None, 0, None, False, ""):
            raise typer.BadParameter("--card has its own games, seeds and limits: leave out the other options")
        _card(document, agent, tasks, 100 if episodes is None else episodes, as_json=as_json)
        return
    import agents
    import games
    from terminal import evaluation

    game = game or agents.DEFAULT_GAME
    rows = evaluation.evaluate_beside_baselines(
        agent or "actde",
        games.resolve(game),
        game=game,
        seed=seed,
        greedy=greedy,
        episodes=episodes or 20,
        parallel=parallel,
        max_turns=max_turns,
        bonus_command=bonus_command,
    )
    if as_json:
        console.document([row.to_json() for row in rows])
    else:
        console.show([evaluation.evaluation_table(rows)])


def _card(document: Path, names: str | None, tasks: str | None, episodes: int, *, as_json: bool) -> None:
    """Play the evaluation card's tasks that have no results yet, and write the card's document."""
    from experiments.card.document import markdown
    from experiments.card.rows import play as play_rows
    from experiments.card.rows import players
    from experiments.card.tasks import select_tasks
    from games.files import atomic_write

    if document.suffix != ".md":
        raise typer.BadParameter(f"--out expects NAME.md, got {document}")
    path, played, wanted = document.with_suffix(".json"), select_tasks(tasks), players(names, console.note)
    with console.reporting("card") as report, console.resumable():
        for results in play_rows(path, played, wanted, episodes=episodes, progress=report):
            atomic_write(document, markdown(results))
    if as_json:
        console.document(results)
    else:
        console.show([f"the card is in {document}"])


@app.command()
def generate(
    folder: arg.GamesFolder,
    family: arg.Family,
    levels: arg.Levels = "1",
    per_level: arg.PerLevel = 10,
    split: arg.Split = "train",
    seed: arg.Seed = 0,
    setting: arg.FamilySettings = None,
    workers: arg.Processes = None,
    preview: arg.Previews = False,
    crawl: arg.Crawl = False,
    as_json: arg.AsJson = False,
) -> None:
    """Generate a curriculum of TextWorld games. The same command continues after an interruption."""
    from games import parse_levels
    from games.textworld.generation.manifest import KEYS
    from terminal import generation
    from terminal.map import draw_previews

    entries, rejected = generation.generate(
        folder,
        family=family,
        levels=parse_levels(levels),
        per_level=per_level,
        split=split,
        seed=seed,
        settings=dict(_pair(text) for text in setting or ()),
        workers=workers,
    )
    previews = draw_previews(folder, entries) if preview else {}
    crawled = generation.crawl(entries) if crawl else {}
    if as_json:
        rows, pictures = [{key: getattr(entry, key) for key in KEYS} for entry in entries], [*map(str, previews)]
        console.document(
            {"out": str(folder), "games": rows, "passed_over": rejected, "previews": pictures, "crawled": crawled}
        )
        return
    for picture, view in previews.items():
        console.show([view, f"the map as a picture: {picture}", ""])
    console.show(generation.summary(folder, len(entries), rejected, crawled))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set expects NAME=VALUE, got {text!r}")
    return name, value


@app.command(cls=ConfigCommand)
@with_config()
def train(
    folder: arg.RunFolder = None,
    resume: arg.Resume = False,
    config: arg.ConfigFile = None,
    dry_run: arg.DryRun = False,
    audit: arg.Audit = None,
    as_json: arg.AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train an agent on a game."""
    from agents.training import presets
    from terminal import training as view

    layers = presets.with_presets(explicit_layers(given, {"folder": folder, "resume": resume, "config": config}))
    settings = presets.from_layers(layers)
    if dry_run:
        import games
        from actde import optimizer_class

        games.resolve(settings.run.game)
        optimizer_class(settings.run.optimizer)
        origins = presets.origins(layers)
        if as_json:
            rows = settings.flat().items()
            console.document({name: {"value": value, "origin": origins[name]} for name, value in rows})
        else:
            console.show(view.configuration(settings, origins))
        return
    if folder is None:
        raise typer.BadParameter("--out is missing: expected the folder of the run")
    from agents.training.factory import make_trainer

    with console.waiting("setting up"):
        trainer = make_trainer(settings, folder, resume=resume)
    for line in trainer.notes:
        console.note(line)
    with console.stopping(trainer):
        latest = view.follow(trainer, f"{settings.run.optimizer} on {settings.run.game}", quiet=as_json)
    if as_json:
        console.document({"run": str(folder), "settings": settings.model_dump(), "metrics": latest})
    elif trainer.stopping:
        console.note(f"stopped; continue with: train --resume --out {folder}")
    else:
        hint = f"the agent is in {folder}; watch it: play --agent {folder} --game '{settings.run.game}'"
        console.show([hint])
    raise typer.Exit(130 if trainer.stopping else 0)


@app.command(cls=ConfigCommand)
@with_config(skip=("optimizer", "seed"))
def compare(
    folder: arg.Report,
    optimizers: arg.Optimizers = "ppo,actde",
    seeds: arg.Seeds = "0-2",
    vary: arg.Vary = None,
    runs: arg.Runs = None,
    evaluations: arg.Evaluations = 50,
    tests: arg.HeldOut = "",
    workers: arg.Workers = 1,
    config: arg.ConfigFile = None,
    audit: arg.Audit = None,
    *,
    given: dict[str, Any],
) -> None:
    """Compare optimizers over seeds on one game: learning curves, scores and collapse.

    The same command continues after an interruption.
    """
    from agents.training import presets
    from experiments.compare import grid, report
    from experiments.compare.runs import grid_runs, parse_values
    from games import parse_levels

    if config and (taken := {"optimizer", "seed"} & set(presets.read_toml(config).values)):
        raise typer.BadParameter(f"{config} sets {', '.join(sorted(taken))}: use --optimizers and --seeds instead")
    explicit = explicit_layers(given, {"config": config})
    presets.from_layers(presets.with_presets(explicit))  # checks the values, because an error here names the file
    given = presets.merged(explicit)
    name, values = parse_values(vary)
    wanted = grid_runs(optimizers.split(","), parse_levels(seeds), name, values, given)
    configs = grid.check(wanted, given, tests)
    with console.progress("runs", len(wanted)) as advance, console.resumable():

        def done(row: dict[str, Any]) -> None:
            advance(row)
            console.show([report.headline(row)])

        place = folder / "runs" if runs is None else runs
        rows = grid.run_grid(configs, place, episodes=evaluations, tests=tests, workers=workers, on_run=done)
    about = {"command": console.typed(), "game": presets.resolve(given).run.game}
    report.write(folder, about | {"tests": tests, "episodes": evaluations}, rows)
    console.show([f"the report is in {folder / 'README.md'}"])


@app.command()
def reproduce(
    part: Annotated[str, typer.Argument(metavar="PART", help=f"{', '.join(reproduction.PARTS)}, or all of them")],
    folder: arg.PostReport,
    quick: arg.Quick = False,
    seed: arg.RunSeed = 0,
    workers: arg.SomeProcesses = 1,
) -> None:
    """Reproduce the numbers, figures and claims of the post by Turner and Einhorn (2023), each with a verdict."""
    from experiments.reproduce import report
    from terminal import display

    names = reproduction.part_names(part)
    if (folder / report.RESULTS).exists():
        report.check(folder, names, quick=quick)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        begin = time.monotonic()
        with console.reporting(name) as progress, console.resumable():
            run = reproduction.load(name)
            outcome = run(seed=seed, quick=quick, folder=folder, workers=workers, progress=progress)
        seconds = round(time.monotonic() - begin if outcome.seconds is None else outcome.seconds, 1)
        versions = report.versions()
        info = report.RunInfo(command=console.typed(), seed=seed, quick=quick, seconds=seconds, versions=versions)
        findings = report.write(folder, name, info, outcome)
    console.show([display.verdict_table(report.counts(findings)), f"the report is in {folder / report.README}"])


@app.command()
def watch(
    run: arg.Transcripts,
    iteration: arg.Iteration = None,
    episode: arg.EpisodeNumber = None,
    as_json: arg.AsJson = False,
) -> None:
    """Page through the episodes that a run recorded, turn by turn."""
    from agents.play import transcript
    from terminal import playback

    path = run / transcript.NAME if run.is_dir() else run
    with console.waiting(f"reading {path}"):
        entries = transcript.select(path, iteration=iteration, episode=episode)
    if as_json:
        console.document([{"iteration": entry.iteration, **entry.episode.to_json()} for entry in entries])
    elif console.out.is_terminal and sys.stdin.isatty():
        playback.page_through(entries)
    else:
        for entry in entries:
            console.show(playback.episode_lines(entry))


def main() -> None:
    """Run the command line."""
    failures.run(app)


if __name__ == "__main__":
    main()
