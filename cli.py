"""The command line. `python cli.py COMMAND --help` explains a command.

Packages that are slow to import are imported inside the commands that need them, so that `--help` responds quickly.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from experiments import reproduce as reproduction
from terminal import arguments as arg
from terminal import console, failures, preferences, serving
from terminal.arguments import card_option, output_option, play_option
from terminal.options import ConfigCommand, explicit_layers, with_config, with_optimizers

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
    agent: Annotated[str, play_option("--agent", help=arg.AGENTS)] = "actde",
    game: arg.Game = None,
    code: arg.Imports = None,
    seed: arg.Seed = 0,
    episodes: Annotated[int, play_option(min=1, max=arg.MOST, help="episodes to play")] = 1,
    max_turns: arg.MaxTurns = None,
    greedy: arg.Greedy = False,
    temperature: arg.Temperature = 1.0,
    top_p: arg.TopP = 1.0,
    audit: arg.Audit = None,
    delay: Annotated[float | None, output_option(min=0, help="seconds after each turn (0.6 in a terminal)")] = None,
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
            agent,
            seed=seed,
            greedy=greedy,
            temperature=temperature,
            top_p=top_p,
            ask=lambda turn: console.ask(view.turn(turn)),
            notify=console.note,
        )
    runner = EpisodeRunner(specs, seed=seed, parallel=1, max_turns=max_turns, infos=getattr(player, "infos", ()))
    finished, status = playback.play(runner, player, episodes, None if as_json else view, pause=pause)
    if as_json:
        rows = [episode.to_json() for episode in finished]
        console.document({"agent": agent, "game": game, "seed": seed, "episodes": rows})
    raise typer.Exit(status if status is not None else int(any(episode.error for episode in finished)))


@app.command()
def evaluate(
    agent: Annotated[str | None, play_option("--agent", help=arg.SOME_AGENTS)] = None,
    game: arg.Game = None,
    code: arg.Imports = None,
    seed: arg.Seed = 0,
    episodes: Annotated[int | None, play_option(min=1, max=arg.MOST, help="episodes (20; --card: 100 a task)")] = None,
    max_turns: arg.MaxTurns = None,
    greedy: arg.Greedy = False,
    temperature: arg.Temperature = 1.0,
    top_p: arg.TopP = 1.0,
    parallel: Annotated[int | None, play_option(min=1, max=arg.MOST, help="parallel episodes (8)")] = None,
    bonus_command: Annotated[str, output_option(metavar="START", help="report the share of these commands")] = "",
    audit: arg.Audit = None,
    card: Annotated[
        bool, card_option("--card", help="play the tasks of the evaluation card that its results lack")
    ] = False,
    tasks: Annotated[str | None, card_option(help="tasks, separated by commas (all)")] = None,
    out: Annotated[Path | None, card_option("--out", help="NAME.md, beside NAME.json (docs/card.md)")] = None,
    as_json: arg.AsJson = False,
) -> None:
    """Evaluate success, score and steps of an agent and of two baselines on the same games and seeds."""
    import agents
    from terminal import evaluation

    if card:
        usual = (None, 0, None, False, 1.0, 1.0, None, "")
        if (game, seed, max_turns, greedy, temperature, top_p, parallel, bonus_command) != usual:
            raise typer.BadParameter("--card has its own games, seeds and limits: leave out the other options")
        out = out or Path("docs/card.md")
        results = evaluation.play_card(out, agent, tasks, episodes or 100)
        console.output(results, [f"the card is in {out}"], as_json=as_json)
        return
    if tasks is not None or out is not None:
        raise typer.BadParameter("--tasks and --out are options of the card: add --card, or leave them out")
    rows = evaluation.evaluate_beside_baselines(
        agent or "actde",
        game or agents.DEFAULT_GAME,
        sampling={"seed": seed, "greedy": greedy, "temperature": temperature, "top_p": top_p},
        episodes=episodes or 20,
        parallel=parallel or 8,
        max_turns=max_turns,
        bonus_command=bonus_command,
    )
    console.output([row.to_json() for row in rows], [evaluation.evaluation_table(rows)], as_json=as_json)


@app.command()
def generate(
    folder: Annotated[Path, Argument(metavar="OUT", help="new folder of the games and manifest.jsonl")],
    family: Annotated[str, Option(help="simple, coin, treasure, cooking, quest or textnav")],
    levels: Annotated[str, Option(help="levels, as in 1-3,7")] = "1",
    per_level: Annotated[int, Option(min=1, max=arg.MOST, help="games per level")] = 10,
    split: Annotated[str, Option(help="train, valid or test; these are disjoint")] = "train",
    seed: arg.Seed = 0,
    setting: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", help="further settings of the family")
    ] = None,
    workers: Annotated[int | None, Option(min=1, help="processes (one per CPU)")] = None,
    preview: Annotated[
        bool, Option("--preview", help="draw the map of each level's first game, here and in OUT/preview")
    ] = False,
    crawl: Annotated[
        bool, Option("--crawl", help="find all states of each game now, so that play needs no interpreter")
    ] = False,
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
        settings=dict(map(_pair, setting or ())),
        workers=workers,
    )
    previews = draw_previews(folder, entries) if preview else {}
    crawled = generation.crawl(folder, entries) if crawl else {}
    rows, pictures = [{key: getattr(entry, key) for key in KEYS} for entry in entries], [*map(str, previews)]
    maps = [part for picture, view in previews.items() for part in (view, f"the map as a picture: {picture}", "")]
    console.output(
        {"out": str(folder), "games": rows, "passed_over": rejected, "previews": pictures, "crawled": crawled},
        [*maps, *generation.summary(folder, len(entries), rejected, crawled)],
        as_json=as_json,
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set expects NAME=VALUE, got {text!r}")
    return name, value


@app.command(cls=ConfigCommand)
@with_config()
def train(
    folder: Annotated[Path | None, Option("--out", metavar="RUN", help="folder of the run: new or empty")] = None,
    resume: Annotated[bool, Option("--resume", help="continue the run in --out with its own settings")] = False,
    config: arg.ConfigFile = None,
    code: arg.Imports = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="print the configuration and the origin of each value, and exit")
    ] = False,
    audit: arg.Audit = None,
    as_json: arg.AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train an agent on a game."""
    from agents.training import presets
    from terminal import training as view

    own = {"folder": folder, "resume": resume, "config": config, "code": code}
    layers = presets.with_presets(explicit_layers(given, own))
    settings = presets.from_layers(layers)
    if dry_run:
        import games
        from actde import optimizer_class

        games.resolve(settings.run.game)
        optimizer_class(settings.run.optimizer)
        origins = presets.origins(layers)
        rows = {name: {"value": value, "origin": origins[name]} for name, value in settings.flat().items()}
        console.output(rows, view.configuration(settings, origins), as_json=as_json)
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
        kept = trainer.iteration or resume
        hint = f"continue with: train --resume --out {folder}" if kept else "no iteration was complete: nothing is kept"
        console.note(f"stopped; {hint}")
    else:
        watched = f"play --agent {folder} --game {shlex.quote(settings.run.game)}"
        console.show([f"the agent is in {folder}; watch it: {watched}"])
    raise typer.Exit(130 if trainer.stopping else 0)


@app.command(cls=ConfigCommand)
@with_config(skip=("optimizer", "seed"))
def compare(
    folder: Annotated[Path, Option("--out", help="folder for table, figures and results.json")] = Path("comparison"),
    optimizers: Annotated[str, Option(help="optimizers, with their own settings as in ppo+kl_coef=0.1")] = "ppo,actde",
    seeds: Annotated[str | None, Option(help="seeds, as in 0-2,7 (0-2; with --quick 0)")] = None,
    vary: Annotated[
        str | None, Option(metavar="NAME=VALUES", help="vary one setting, as in reward_scale=1,3,10")
    ] = None,
    runs: Annotated[Path | None, Option(help="folder of the runs (OUT/runs)")] = None,
    evaluations: Annotated[int, Option(min=1, max=arg.MOST, help="evaluation episodes per trained agent")] = 50,
    tests: Annotated[str, Option(metavar="GAME", help="held-out games for the evaluation (the training games)")] = "",
    workers: Annotated[int | None, Option(min=1, help="runs in parallel (1; with --quick 2)")] = None,
    quick: Annotated[bool, Option("--quick", help="one seed of the completion game in about ten minutes")] = False,
    config: arg.ConfigFile = None,
    code: arg.Imports = None,
    audit: arg.Audit = None,
    *,
    given: dict[str, Any],
) -> None:
    """Compare optimizers over seeds on one game: learning curves, scores and collapse.

    The same command continues after an interruption.
    """
    from agents.training import presets
    from experiments.compare import grid, report, results
    from experiments.compare.runs import grid_runs, parse_values
    from games import parse_levels
    from terminal import comparison

    if config and (taken := {"optimizer", "seed"} & set(presets.read_toml(config).values)):
        raise typer.BadParameter(f"{config} sets {', '.join(sorted(taken))}: use --optimizers and --seeds instead")
    names, given = with_optimizers(optimizers.split(","), given)
    explicit = explicit_layers(given, {"config": config, "code": code})
    if quick:
        explicit = [presets.Layer("--quick", presets.QUICK), *explicit]
        seeds, workers, tests = seeds or "0", workers or 2, tests or presets.held_out(presets.merged(explicit)["game"])
    presets.from_layers(presets.with_presets(explicit))  # checks the values, because an error here names the file
    given = presets.merged(explicit)
    wanted = grid_runs(names, parse_levels(seeds or "0-2", "--seeds"), *parse_values(vary), given)
    configs = grid.check(wanted, given, tests)
    with console.progress("runs", len(wanted)) as advance, console.resumable(folder):

        def done(row: dict[str, Any]) -> None:
            advance(row)
            console.show([report.headline(row)])

        rows = grid.run_grid(
            configs, runs or folder / "runs", episodes=evaluations, tests=tests, workers=workers or 1, on_run=done
        )
        about = {"command": console.typed(), "game": presets.resolve(given).run.game, "tests": tests}
        report.write(folder, about | {"episodes": evaluations}, rows)
    tables = comparison.text_tables(rows) if results.write_texts(rows) else []
    console.show([*tables, f"the report is in {folder / 'README.md'}, the learning curves in {folder / 'curves.svg'}"])


@app.command()
def reproduce(
    part: Annotated[str, Argument(metavar="PART", help=f"{', '.join(reproduction.PARTS)}, or all of them")],
    folder: Annotated[Path, Option("--out", file_okay=False, help="folder of the report; other parts in it are kept")],
    quick: Annotated[bool, Option("--quick", help="a small version of less than two minutes")] = False,
    seed: Annotated[int, Option(min=0, help="random seed")] = 0,
    workers: Annotated[int, Option(min=0, help="processes; 0 only reports earlier runs")] = 1,
) -> None:
    """Reproduce the numbers, figures and claims of the post by Turner and Einhorn (2023), each with a verdict."""
    from experiments.reproduce import report
    from terminal import display

    names = reproduction.part_names(part)
    with console.resumable(folder):
        report.check(folder, names, quick=quick)
        for name in names:
            begin = time.monotonic()
            with console.reporting(name) as progress:
                run = reproduction.load(name)
                outcome = run(seed=seed, quick=quick, folder=folder, workers=workers, progress=progress)
            seconds = round(time.monotonic() - begin if outcome.seconds is None else outcome.seconds, 1)
            versions = report.versions()
            info = report.RunInfo(command=console.typed(), seed=seed, quick=quick, seconds=seconds, versions=versions)
            findings = report.write(folder, name, info, outcome)
    console.show([display.verdict_table(report.counts(findings)), f"the report is in {folder / report.README}"])


@app.command()
def watch(
    run: Annotated[Path, Argument(help="folder of a run, or a transcript file")],
    iteration: Annotated[int | None, Option(min=1, help="episodes of this iteration, counted from 1 (newest)")] = None,
    episode: Annotated[int | None, Option(min=0, help="this episode only, counted from 0")] = None,
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


app.command()(serving.serve)
app.command()(preferences.make_pairs)
app.command()(preferences.train_reward)


def main() -> None:
    """Run the command line."""
    failures.run(app)


if __name__ == "__main__":
    main()
