"""Options that several commands share. Help texts show defaults in parentheses: typer parses brackets as markup."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

play_option = partial(Option, rich_help_panel="Play")
output_option = partial(Option, rich_help_panel="Output")
card_option = partial(Option, rich_help_panel="Card")
AGENTS = "random, human, walkthrough, smollm2, the trained actde, ppo, actde-small, ppo-small, or the folder of a run"
SOME_AGENTS = f"{AGENTS} (actde); with --card several, comma-separated (those that ship)"
GAMES = (
    "bandit, ipd, completion?reward=sentiment, a game file, a folder, a manifest, "
    "textworld:FAMILY?level=1&seed=7 (seed=100..119: 20 games), a Gymnasium id, or FILE.py:Class"
)
CODE = "module or Python file that registers games or optimizers; repeatable"
STEP_SECONDS = "time limit of a game's step; each game then runs in a child process, which is killed (no limit)"
MOST = 1_000_000  # the largest number of episodes, turns and other repetitions
AUDIT = "fraction of TextWorld episodes that are replayed in TextWorld's own environment and compared"


def _audit(share: float | None) -> float | None:
    """Set the fraction of audited episodes for this process and its child processes, and return the fraction."""
    if share is not None:
        os.environ["ACTDE_AUDIT"] = str(share)
    return share


def _import(sources: list[str] | None) -> list[str] | None:
    """Import the code that the user names, and return its names."""
    if sources:
        from agents.imports import load_imports

        load_imports(",".join(sources))
    return sources


Game = Annotated[str | None, play_option("--game", help=f"{GAMES} (a cooking game)")]
Seed = Annotated[int, play_option(min=0, max=2**63 - 1, help="random seed of games and agent")]
MaxTurns = Annotated[int | None, play_option(min=1, max=MOST, help="turn limit (the game's own)")]
StepSeconds = Annotated[float | None, play_option(min=1e-3, metavar="SECONDS", help=STEP_SECONDS)]
Greedy = Annotated[bool, play_option("--greedy", help="play the likeliest command instead of sampling")]
Temperature = Annotated[float, play_option(min=1e-3, help="temperature of a language model's sampling")]
TopP = Annotated[float, play_option(min=1e-6, max=1, help="share of the probability from which it samples")]
Audit = Annotated[float | None, play_option("--audit", min=0, max=1, metavar="SHARE", help=AUDIT, callback=_audit)]
Imports = Annotated[
    list[str] | None,
    play_option("--import", metavar="CODE", help=CODE, callback=_import),
]
AsJson = Annotated[bool, output_option("--json", help="one JSON document on standard output")]
ConfigFile = Annotated[
    Path | None, Option("--config", metavar="FILE", help="TOML file of settings; options override it")
]
