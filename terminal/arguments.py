"""Options and arguments of the commands, with their help texts. Help texts show defaults in brackets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

PLAY, OUTPUT, CARD = "Play", "Output", "Card"
AGENTS = "random, human, walkthrough, smollm2, the trained actde, ppo, actde-small, ppo-small, or the folder of a run"
GAMES = "bandit, ipd, a game file, a folder, a manifest, or textworld:FAMILY?level=1&seed=7 (seed=100..119: 20 games)"
SOME_AGENTS = f"{AGENTS} [actde]; with --card several, comma-separated [those that ship]"
SOME_EPISODES = "episodes per agent [20; with --card 100 a task]"
AUDIT = "fraction of TextWorld episodes that are replayed in TextWorld's own environment and compared"


def _audit(share: float | None) -> float | None:
    """Set the fraction of audited episodes for this process and its child processes, and return the fraction."""
    if share is not None:
        os.environ["ACTDE_AUDIT"] = str(share)
    return share


# Several commands
Game = Annotated[str | None, Option("--game", help=f"{GAMES} [a cooking game]", rich_help_panel=PLAY)]
Seed = Annotated[int, Option(min=0, help="random seed of games and agent", rich_help_panel=PLAY)]
MaxTurns = Annotated[int | None, Option(min=1, help="turn limit [the game's own]", rich_help_panel=PLAY)]
Greedy = Annotated[
    bool, Option("--greedy", help="play the likeliest command instead of sampling", rich_help_panel=PLAY)
]
Audit = Annotated[
    float | None, Option("--audit", min=0, max=1, metavar="SHARE", help=AUDIT, callback=_audit, rich_help_panel=PLAY)
]
AsJson = Annotated[bool, Option("--json", help="one JSON document on standard output", rich_help_panel=OUTPUT)]
ConfigFile = Annotated[
    Path | None, Option("--config", metavar="FILE", help="TOML file of settings; options override it")
]

# play and evaluate
Agent = Annotated[str, Option("--agent", help=AGENTS, rich_help_panel=PLAY)]
Episodes = Annotated[int, Option(min=1, help="episodes to play", rich_help_panel=PLAY)]
Delay = Annotated[
    float | None, Option(min=0, help="seconds after each turn [0.6 in a terminal]", rich_help_panel=OUTPUT)
]
SomeAgents = Annotated[str | None, Option("--agent", help=SOME_AGENTS, rich_help_panel=PLAY)]
SomeEpisodes = Annotated[int | None, Option(min=1, help=SOME_EPISODES, rich_help_panel=PLAY)]
Parallel = Annotated[int, Option(min=1, help="parallel episodes", rich_help_panel=PLAY)]
BonusCommand = Annotated[
    str, Option(metavar="START", help="report the share of commands with this start", rich_help_panel=OUTPUT)
]
Card = Annotated[
    bool, Option("--card", help="play the tasks of the evaluation card that its results lack", rich_help_panel=CARD)
]
Tasks = Annotated[str | None, Option(help="tasks, separated by commas [all]", rich_help_panel=CARD)]
Document = Annotated[Path, Option("--out", help="document NAME.md; the results are in NAME.json", rich_help_panel=CARD)]

# generate
GamesFolder = Annotated[Path, Argument(metavar="OUT", help="new folder of the games and manifest.jsonl")]
Family = Annotated[str, Option(help="simple, coin, treasure, cooking, quest or textnav")]
Levels = Annotated[str, Option(help="levels, as in 1-3,7")]
PerLevel = Annotated[int, Option(min=1, help="games per level")]
Split = Annotated[str, Option(help="train, valid or test; these are disjoint")]
FamilySettings = Annotated[
    list[str] | None, Option("--set", metavar="NAME=VALUE", help="further settings of the family")
]
Processes = Annotated[int | None, Option(min=1, help="processes [one per CPU]")]
Previews = Annotated[bool, Option("--preview", help="draw the map of each level's first game, here and in OUT/preview")]
Crawl = Annotated[bool, Option("--crawl", help="find all states of each game now, so that play needs no interpreter")]

# train
RunFolder = Annotated[Path | None, Option("--out", metavar="RUN", help="folder of the run: new or empty")]
Resume = Annotated[bool, Option("--resume", help="continue the run in --out with its own settings")]
DryRun = Annotated[bool, Option("--dry-run", help="print the configuration and the origin of each value, and exit")]

# compare
Report = Annotated[Path, Option("--out", help="folder for table, figures and results.json")]
Optimizers = Annotated[str, Option(help="optimizers, with their own settings as in ppo+kl_coef=0.1")]
Seeds = Annotated[str, Option(help="seeds, as in 0-2,7")]
Vary = Annotated[str | None, Option(metavar="NAME=VALUES", help="vary one setting, as in reward_scale=1,3,10")]
Runs = Annotated[Path | None, Option(help="folder of the runs [OUT/runs]")]
Evaluations = Annotated[int, Option(min=1, help="evaluation episodes per trained agent")]
HeldOut = Annotated[str, Option(metavar="GAME", help="held-out games for the evaluation [the training games]")]
Workers = Annotated[int, Option(min=1, help="parallel runs, each with its share of the cores")]

# reproduce
PostReport = Annotated[Path, Option("--out", file_okay=False, help="folder of the report; other parts in it are kept")]
Quick = Annotated[bool, Option("--quick", help="a small version of less than two minutes")]
RunSeed = Annotated[int, Option(min=0, help="random seed")]
SomeProcesses = Annotated[int, Option(min=0, help="processes; 0 only reports earlier runs")]

# watch
Transcripts = Annotated[Path, Argument(help="folder of a run, or a transcript file")]
Iteration = Annotated[int | None, Option(min=0, help="episodes of this iteration [the newest]")]
EpisodeNumber = Annotated[int | None, Option(min=0, help="this episode only")]
