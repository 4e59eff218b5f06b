"""Train and ship a small agent: `python -m experiments.release.small_agent actde`."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from typer import Option

from agents.storage.run_folder import SETTINGS
from experiments import program
from games.child_process import python_environment

ROOT = Path(__file__).parents[2]
_SEEDS = "seed=2000000000..2000000019"
_GAMES = f"textworld:quest?level=6&{_SEEDS} + textworld:cooking?level=5&split=test&{_SEEDS}"
EVALUATION = ("--game", _GAMES, "--episodes", "100")
# Levels, and number of games per level for imitation. Reinforcement learning uses half as many new games.
FAMILIES = {"simple": ("1", 300), "quest": ("3,6", 200), "cooking": ("5", 300), "coin": ("5-15", 40)}
IMITATION = (
    *("--trunk", "small", "--dueling", "--q-coef", "0", "--lr-schedule", "linear", "--iterations", "2400"),
    *("--beta-decay", "0.998", "--greedy-share", "0.5", "--max-turns", "25"),
)
# The preset's larger steps destroy the policy of a warm start that wins nine of ten games (NOTES.md, 2026-11-26).
REINFORCEMENT = (
    *("--iterations", "25", "--episodes", "32", "--parallel", "32", "--max-turns", "30"),
    *("--lr", "1e-4", "--detach-value", "--value-coef", "0.01", "--kl-coef", "0.05"),
)


def curriculum(folder: Path, *, seed: int, fraction: float = 1.0) -> tuple[str, list[list[str]]]:
    """Return (GAME string, commands that generate the games in `folder`)."""
    commands = [
        ["generate", str(folder / family), "--family", family, "--levels", levels, "--per-level",
         str(int(count * fraction)), "--split", "train", "--seed", str(seed)]
        for family, (levels, count) in FAMILIES.items()
    ]  # fmt: skip
    return " + ".join(str(folder / family) for family in FAMILIES), commands


def stages(optimizer: str, out: Path) -> list[list[str]]:
    """Return the arguments of `cli.py` for each stage."""
    imitation_games, generate_imitation = curriculum(out / "games-imitation", seed=5)
    new_games, generate_new = curriculum(out / "games-reinforcement", seed=6, fraction=0.5)
    warm_start, run = str(out / "prior"), str(out / optimizer)
    return [
        *generate_imitation,
        ["train", "--optimizer", "imitation", *IMITATION, "--game", imitation_games, "--out", warm_start],
        *generate_new,
        ["train", "--optimizer", optimizer, "--init", warm_start, *REINFORCEMENT, "--game", new_games, "--out", run],
    ]


def resumed(stage: Sequence[str]) -> list[str]:
    """Return a stage's arguments. If training has started, return arguments that resume the training."""
    started = stage[0] == "train" and (Path(stage[-1]) / SETTINGS).is_file()
    return ["train", "--resume", *stage[-2:]] if started else list(stage)


def main(
    optimizer: Literal["actde", "ppo"],
    out: Annotated[Path, Option(help="folder for games and runs")] = Path("runs/small"),
    agent: Annotated[Path | None, Option(help="folder for the agent (OUT/OPTIMIZER-small)")] = None,
) -> None:
    """Train and ship a small agent. Exit with the status of the first stage that fails."""
    for stage in stages(optimizer, out):
        _run([str(ROOT / "cli.py"), *resumed(stage)])
    shipped = agent or out / f"{optimizer}-small"
    _run(["-m", "experiments.release.ship", str(out / optimizer), str(shipped), *EVALUATION])


def _run(arguments: list[str]) -> None:
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(shlex.join(["python", *arguments]), soft_wrap=True)
    if status := subprocess.run([sys.executable, *arguments], check=False, env=python_environment()).returncode:
        sys.exit(status)


if __name__ == "__main__":
    program.run(main)
