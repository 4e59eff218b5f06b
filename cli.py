"""The command line. `python cli.py COMMAND --help` explains a command."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from terminal import arguments as arg
from terminal import commands, console, error_lines
from terminal.help_page import GAME, HelpCommand, HelpGroup
from terminal.options import ConfigCommand, explicit_layers, show_configuration, with_config, with_optimizers
from terminal.runs import runs as list_runs
from terminal.watcher.command import watch

app = typer.Typer(
    name="actde",
    cls=HelpGroup,
    help="Train language-model agents on text games with PPO or ACTDE (action-conditioned TD error).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        console.show([f"actde {version('actde')}"])
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself, which precede the command."""


# the commands import slow packages themselves, so that --help responds quickly
command = partial(app.command, cls=HelpCommand)


@command()
def play(
    agent: arg.Player = "actde",
    game: arg.Game = None,
    code: arg.Imports = None,
    seed: arg.Seed = 0,
    episodes: Annotated[int, Option(min=1, max=arg.MAX, help="Episodes to play.")] = 1,
    max_turns: arg.MaxTurns = None,
    step_seconds: arg.StepSeconds = None,
    greedy: arg.Greedy = False,
    temperature: arg.Temperature = 1.0,
    top_p: arg.TopP = 1.0,
    guide_beta: arg.GuideBeta = None,
    wanted_return: arg.WantedReturn = None,
    audit: arg.Audit = None,
    threads: arg.Threads = None,
    delay: Annotated[float, Option(min=0, help="Seconds to wait after each turn in a terminal.")] = 0.6,
    save: arg.Save = None,
    as_json: arg.AsJson = False,
) -> None:
    """Watch an agent play, or play yourself (--agent human)."""
    import agents
    import games
    from agents.play.runner import EpisodeRunner
    from agents.play.transcript import recorder
    from terminal import playback

    human = agent == "human"
    if human and as_json:
        raise typer.BadParameter("a person cannot play with --json")
    record = recorder(save.absolute()) if save else None  # a game may change the current folder
    specs = games.resolve(game or agents.DEFAULT_GAME, step_seconds=step_seconds)
    view = (playback.PanelView if console.out.is_terminal else playback.LineView)(agent, human=human)
    pause = 0.0 if human or not console.out.is_terminal or as_json else delay
    with console.waiting(f"loading {agent}", lines=True):
        sampling: dict[str, Any] = {"seed": seed, "greedy": greedy, "temperature": temperature, "top_p": top_p}
        sampling |= {"guide_beta": guide_beta, "wanted_return": wanted_return, "notify": console.note}
        player = agents.make_agent(agent, **sampling, ask=lambda turn: playback.ask(view, turn))
    runner = EpisodeRunner(specs, seed=seed, parallel=1, max_turns=max_turns, infos=getattr(player, "infos", ()))
    finished, status = playback.play(runner, player, episodes, None if as_json else view, pause=pause, record=record)
    if as_json:
        rows = [episode.to_json() for episode in finished]
        console.document({"agent": agent, "game": game, "seed": seed, "episodes": rows})
    console.note_saved(save if finished else None)
    raise typer.Exit(status)


@command()
def evaluate(
    agent: arg.Evaluated = None,
    game: arg.Game = None,
    code: arg.Imports = None,
    seed: arg.Seed = 0,
    episodes: Annotated[
        int | None,
        Option(min=1, max=arg.MAX, help="Episodes of each agent.", show_default="20; with --card 100 of each task"),
    ] = None,
    max_turns: arg.MaxTurns = None,
    step_seconds: arg.StepSeconds = None,
    greedy: arg.Greedy = False,
    temperature: arg.Temperature = 1.0,
    top_p: arg.TopP = 1.0,
    guide_beta: arg.GuideBeta = None,
    wanted_return: arg.WantedReturns = None,
    parallel: Annotated[
        int | None, Option(min=1, max=arg.MAX, help="Episodes played at the same time.", show_default="8")
    ] = None,
    bonus_command: Annotated[
        str, Option(metavar="START", help="Report the share of commands that begin with these words, such as look.")
    ] = "",
    audit: arg.Audit = None,
    threads: arg.Threads = None,
    card: Annotated[
        bool, arg.card_option("--card", help="Play the tasks of the evaluation card that its results lack.")
    ] = False,
    tasks: arg.CardTasks = None,
    out: arg.CardOut = None,
    cluster: arg.CardCluster = None,
    save: arg.Save = None,
    as_json: arg.AsJson = False,
) -> None:
    """Evaluate an agent beside baselines on the same games and seeds: success, score, steps.

    The baselines are random and walkthrough or, for the completion game, smollm2 without training.
    """
    import agents
    from terminal import evaluation

    if card:
        defaults = (None, 0, None, None, False, 1.0, 1.0, None, None, None, "", None)
        sampling = (seed, max_turns, step_seconds, greedy, temperature, top_p, guide_beta, wanted_return)
        if (game, *sampling, parallel, bonus_command, save) != defaults:
            raise typer.BadParameter("--card has its own games, seeds and limits: leave out the other options")
        evaluation.play_card(out or Path("docs/card.md"), agent, tasks, episodes or 100, cluster, as_json=as_json)
        return
    if (tasks, out, cluster) != (None, None, None):
        raise typer.BadParameter("--tasks, --out and --cluster belong to the card: add --card, or leave them out")
    if "," in (agent or "") and not Path(agent or "").exists():
        raise typer.BadParameter("--agent takes several agents only with --card: evaluate one after the other")
    evaluation.run(
        agent or "actde",
        game or agents.DEFAULT_GAME,
        wanted_return or (),
        sampling={"seed": seed, "greedy": greedy, "temperature": temperature, "top_p": top_p, "guide_beta": guide_beta},
        episodes=episodes or 20,
        parallel=parallel or 8,
        max_turns=max_turns,
        step_seconds=step_seconds,
        bonus_command=bonus_command,
        save=save,
        as_json=as_json,
    )


@command()
def generate(
    folder: Annotated[Path, Argument(metavar="OUT", help="New folder of the games and manifest.jsonl.")],
    family: Annotated[str, Option(metavar="NAME", help="simple, coin, treasure, cooking, quest or textnav.")],
    levels: Annotated[str, Option(metavar="LEVELS", help="Levels, as in 1-3,7.")] = "1",
    per_level: Annotated[int, Option(min=1, max=arg.MAX, help="Games per level.")] = 10,
    split: Annotated[str, Option(metavar="NAME", help="train, valid or test. These are disjoint.")] = "train",
    seed: arg.Seed = 0,
    setting: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", help="Further setting of the family. Repeatable.")
    ] = None,
    workers: Annotated[int | None, Option(min=1, help="Processes.", show_default="one for each CPU")] = None,
    cluster: arg.Cluster = None,
    preview: Annotated[
        bool, Option("--preview", help="Draw the map of each level's first game, here and in OUT/preview.")
    ] = False,
    crawl: Annotated[
        bool, Option("--crawl", help="Find all states of each game now, so that play needs no interpreter.")
    ] = False,
    crawl_states: arg.CrawlStates = None,
    as_json: arg.AsJson = False,
) -> None:
    """Generate a curriculum of TextWorld games.

    To resume after an interruption, run the same command again.
    """
    from games import parse_levels
    from games.textworld.generation.manifest import KEYS
    from games.textworld.transitions.crawl import STATES
    from terminal import generation
    from terminal.map import draw_previews

    if crawl_states is not None and not crawl:
        raise typer.BadParameter("--crawl-states limits the crawl: add --crawl, or leave it out")
    entries, rejected = generation.generate(
        folder,
        family=family,
        levels=parse_levels(levels),
        per_level=per_level,
        split=split,
        seed=seed,
        settings=generation.parse_settings(setting or ()),
        workers=workers,
        cluster=cluster,
    )
    previews = draw_previews(folder, entries) if preview else {}
    crawled = generation.crawl(folder, entries, crawl_states or STATES) if crawl else {}
    rows, pictures = [{key: getattr(entry, key) for key in KEYS} for entry in entries], [*map(str, previews)]
    maps = [part for picture, view in previews.items() for part in (view, f"the map as a picture: {picture}", "")]
    console.output(
        {"out": str(folder), "games": rows, "passed_over": rejected, "previews": pictures, "crawled": crawled},
        [*maps, *generation.summary(folder, len(entries), rejected, crawled)],
        as_json=as_json,
    )


@command(cls=ConfigCommand)
@with_config()
def train(
    folder: Annotated[Path | None, Option("--out", metavar="RUN", help="Folder of the run: new or empty.")] = None,
    resume: Annotated[bool, Option("--resume", help="Continue the run in --out with its own settings.")] = False,
    config: arg.ConfigFile = None,
    code: arg.Imports = None,
    dry_run: Annotated[
        bool,
        Option(
            "--dry-run", help="Print the configuration, the origin of each value and the predicted memory, and exit."
        ),
    ] = False,
    audit: arg.Audit = None,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Train an agent on a game."""
    from agents.training import presets
    from terminal import training as view

    run_folder = folder and folder.absolute()  # a game may change the current folder
    options = {"folder": run_folder, "resume": resume, "config": config, "code": code}
    layers = presets.with_presets(explicit_layers(settings, options))
    resolved = presets.from_layers(layers)
    if dry_run:
        show_configuration(resolved, presets.origins(layers), as_json=as_json)
        return
    if folder is None or run_folder is None:
        raise typer.BadParameter("--out is missing: expected the folder of the run")
    trainer, latest = view.run(resolved, run_folder, resume=resume, origins=presets.origins(layers), quiet=as_json)
    if trainer.failures.count:
        console.note(trainer.failures.summary)
    if as_json:
        console.document({"run": str(folder), "settings": resolved.model_dump(), "metrics": latest})
    else:
        view.show_end(trainer, folder)
    raise typer.Exit(130 if trainer.stopped else 0)


@command(cls=ConfigCommand)
@with_config(skip=("optimizer", "seed"))
def compare(
    folder: Annotated[Path, Option("--out", metavar="OUT", help="Folder for table, figures and results.json.")] = Path(
        "comparison"
    ),
    optimizers: arg.Optimizers = "ppo,actde",
    seeds: Annotated[
        str | None, Option(metavar="SEEDS", help="Seeds, as in 0-2,7.", show_default="0-2; with --quick 0")
    ] = None,
    vary: Annotated[
        list[str] | None,
        Option(metavar="NAME=VALUES", help="Vary a setting: lr=1,3,10 or, with --samples, lr=1..10. Repeatable."),
    ] = None,
    samples: Annotated[
        int | None, Option(min=1, max=arg.MAX, help="Random combinations of --vary.", show_default="all combinations")
    ] = None,
    runs: Annotated[Path | None, Option(metavar="FOLDER", help="Folder of the runs.", show_default="OUT/runs")] = None,
    evaluations: Annotated[int, Option(min=1, max=arg.MAX, help="Evaluation episodes per trained agent.")] = 50,
    tests: Annotated[
        str, Option(metavar=GAME, help="Held-out games of the evaluation.", show_default="the games of the training")
    ] = "",
    workers: Annotated[int | None, Option(min=1, help="Runs in parallel.", show_default="1; with --quick 2")] = None,
    cluster: arg.Cluster = None,
    quick: Annotated[bool, Option("--quick", help="Completion game only: one seed in about six minutes.")] = False,
    config: arg.ConfigFile = None,
    code: arg.Imports = None,
    audit: arg.Audit = None,
    threads: arg.Threads = None,
    as_json: arg.AsJson = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Compare optimizers over seeds on one game: learning curves, scores and collapse.

    To resume after an interruption, run the same command again.
    """
    from agents.training import presets
    from experiments.compare import grid, report
    from experiments.compare.runs import combinations, grid_runs
    from games import parse_levels
    from terminal import comparison

    out = folder.absolute()  # a game may change the current folder
    runs_folder = runs.absolute() if runs else out / "runs"
    comparison.check_folders(out, runs_folder)
    if config and (fixed := {"optimizer", "seed"} & set(presets.read_toml(config).values)):
        raise typer.BadParameter(f"{config} sets {', '.join(sorted(fixed))}: use --optimizers and --seeds instead")
    names, settings = with_optimizers(optimizers.split(","), settings)
    layers = explicit_layers(settings, {"config": config, "code": code})
    if quick:
        layers = [presets.Layer("--quick", presets.QUICK), *layers]
        seeds, tests = seeds or "0", tests or presets.with_held_out_prompts(presets.merged(layers)["game"])
    presets.from_layers(presets.with_presets(layers))  # checks the values, because an error here names the file
    settings = presets.merged(layers)
    planned = grid_runs(names, parse_levels(seeds or "0-2", "--seeds"), combinations(vary or (), samples), settings)
    configs = grid.check(planned, settings, tests)
    with comparison.progress(len(planned)) as on_progress, console.resumable(out):
        rows, diverged = grid.run_grid(
            configs,
            runs_folder,
            episodes=evaluations,
            tests=tests,
            workers=workers or (2 if quick and not cluster else None),
            cluster=cluster,
            on_run=lambda row: console.show([] if as_json else [report.headline(row)]),
            on_progress=on_progress,
        )
        command_line, trained_game = console.typed_command_line(), presets.resolve(settings).run.game
        metadata = {"command": command_line, "game": trained_game, "tests": tests}
        results = report.write(out, metadata | {"episodes": evaluations}, rows, diverged)
    comparison.conclude(folder, results, as_json=as_json)


command()(watch)
command()(list_runs)
command()(commands.reproduce)
command()(commands.serve)
command()(commands.export)
command()(commands.make_pairs)
command()(commands.train_reward)


def main() -> None:
    """Run the command line."""
    error_lines.run(app)


if __name__ == "__main__":
    main()
