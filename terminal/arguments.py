"""Options that several commands share. Help texts show defaults in brackets."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

AGENTS = "random, human, walkthrough, smollm2, the trained actde, ppo, actde-small, ppo-small, or the folder of a run"
SOME_AGENTS = f"{AGENTS} [actde]; with --card several, comma-separated [those that ship]"
GAMES = "bandit, ipd, a game file, a folder, a manifest, or textworld:FAMILY?level=1&seed=7 (seed=100..119: 20 games)"
AUDIT = "fraction of TextWorld episodes that are replayed in TextWorld's own environment and compared"


def _audit(share: float | None) -> float | None:
    """Set the fraction of audited episodes for this process and its child processes, and return the fraction."""
    if share is not None:
        os.environ["ACTDE_AUDIT"] = str(share)
    return share


Game = Annotated[str | None, Option("--game", help=f"{GAMES} [a cooking game]", rich_help_panel="Play")]
Seed = Annotated[int, Option(min=0, help="random seed of games and agent", rich_help_panel="Play")]
MaxTurns = Annotated[int | None, Option(min=1, help="turn limit [the game's own]", rich_help_panel="Play")]
Greedy = Annotated[
    bool, Option("--greedy", help="play the likeliest command instead of sampling", rich_help_panel="Play")
]
Audit = Annotated[
    float | None, Option("--audit", min=0, max=1, metavar="SHARE", help=AUDIT, callback=_audit, rich_help_panel="Play")
]
AsJson = Annotated[bool, Option("--json", help="one JSON document on standard output", rich_help_panel="Output")]
ConfigFile = Annotated[
    Path | None, Option("--config", metavar="FILE", help="TOML file of settings; options override it")
]
