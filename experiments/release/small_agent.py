"""Trains a small agent that ships by one command: `python -m experiments.release.small_agent actde` (or `ppo`).

It makes games, lets the small trunk learn them beside a teacher (DAgger), goes on by reinforcement on other games, and
ships what comes out. Each stage is a command of `cli.py`, shown before it runs; the same command goes on after an
interruption. How long it takes, and what became of it, is in the shipped agent's README.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agents.storage.run_folder import SETTINGS

ROOT = Path(__file__).parent.parent
_SEEDS = "seed=2000000000..2000000019"
_GAMES = f"textworld:quest?level=6&{_SEEDS} + textworld:cooking?level=5&split=test&{_SEEDS}"
MEASURED = ("--game", _GAMES, "--episodes", "100")
"""How what ships is measured."""
FAMILIES = {"simple": ("1", 300), "quest": ("3,6", 200), "cooking": ("5", 300), "coin": ("5-15", 40)}
"""Family -> levels, and how many games of each to imitate; reinforcement has half as many, others."""
IMITATION = (
    *("--trunk", "small", "--dueling", "--q-coef", "0", "--lr-schedule", "linear", "--iterations", "2400"),
    *("--beta-decay", "0.998", "--greedy-share", "0.5", "--max-turns", "25"),
)
REINFORCEMENT = (
    *("--iterations", "25", "--episodes", "32", "--parallel", "32", "--max-turns", "30"),
    *("--lr", "1e-4", "--detach-value", "--value-coef", "0.01", "--kl-coef", "0.05"),
)
"""Small steps: those of the preset take a prior that wins nine of ten apart (NOTES.md, 2026-11-26)."""


def curriculum(folder: Path, *, seed: int, share: float = 1.0) -> tuple[str, list[list[str]]]:
    """The GAME of all families in `folder`, and the commands that make them."""
    split = ("--split", "train", "--seed", str(seed))
    commands = []
    for family, (levels, count) in FAMILIES.items():
        size = ("--levels", levels, "--per-level", str(int(count * share)))
        commands.append(["generate", str(folder / family), "--family", family, *size, *split])
    return " + ".join(str(folder / family) for family in FAMILIES), commands


def stages(optimizer: str, out: Path) -> list[list[str]]:
    """All commands of `cli.py`, in order."""
    to_imitate, make_first = curriculum(out / "games-imitation", seed=5)
    to_reinforce, make_second = curriculum(out / "games-reinforcement", seed=6, share=0.5)
    prior, run = str(out / "prior"), str(out / optimizer)
    return [
        *make_first,
        ["train", "--optimizer", "imitation", *IMITATION, "--game", to_imitate, "--out", prior],
        *make_second,
        ["train", "--optimizer", optimizer, "--init", prior, *REINFORCEMENT, "--game", to_reinforce, "--out", run],
    ]


def resumed(stage: Sequence[str]) -> list[str]:
    """The stage as it goes on where it has begun: a run takes its own settings, a curriculum the same command."""
    if stage[0] == "train" and (Path(stage[-1]) / SETTINGS).is_file():
        return ["train", "--resume", *stage[-2:]]
    return list(stage)


def main() -> None:
    """Run every stage, then ship; the exit status is that of the first stage that fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("optimizer", choices=("actde", "ppo"))
    parser.add_argument("--out", type=Path, default=Path("runs/small"), help="folder of games and runs")
    parser.add_argument("--agent", type=Path, help="where the agent goes (OUT/OPTIMIZER-small)")
    given = parser.parse_args()
    agent = given.agent or given.out / f"{given.optimizer}-small"
    for stage in stages(given.optimizer, given.out):
        _run([str(ROOT / "cli.py"), *resumed(stage)])
    _run(["-m", "experiments.release.ship", str(given.out / given.optimizer), str(agent), *MEASURED])


def _run(arguments: list[str]) -> None:
    Console(stderr=True).print(shlex.join(["python", *arguments]), markup=False, highlight=False, soft_wrap=True)
    if status := subprocess.run([sys.executable, *arguments], check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
