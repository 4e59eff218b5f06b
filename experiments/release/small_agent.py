"""Train and ship a small agent in one command: `python -m experiments.release.small_agent actde` (or `ppo`).

First, an agent with the small trunk is trained by DAgger on generated games. The agent is then trained by reinforcement
learning on other games, and shipped. Each stage is a command of `cli.py`, which is printed before it runs. After an
interruption, run the same command again to continue.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

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


def curriculum(folder: Path, *, seed: int, share: float = 1.0) -> tuple[str, list[list[str]]]:
    """Return a tuple (game, commands) for a set of generated games.

    `game` is the GAME string for all families in `folder`, and `commands` are the commands that generate the games. The
    numbers of games in `FAMILIES` are multiplied by `share`.
    """
    commands = [
        ["generate", str(folder / family), "--family", family, "--levels", levels, "--per-level",
         str(int(count * share)), "--split", "train", "--seed", str(seed)]
        for family, (levels, count) in FAMILIES.items()
    ]  # fmt: skip
    return " + ".join(str(folder / family) for family in FAMILIES), commands


def stages(optimizer: str, out: Path) -> list[list[str]]:
    """Return the `cli.py` commands of all stages, in order."""
    to_imitate, make_first = curriculum(out / "games-imitation", seed=5)
    to_reinforce, make_second = curriculum(out / "games-reinforcement", seed=6, share=0.5)
    warm_start, run = str(out / "prior"), str(out / optimizer)
    return [
        *make_first,
        ["train", "--optimizer", "imitation", *IMITATION, "--game", to_imitate, "--out", warm_start],
        *make_second,
        ["train", "--optimizer", optimizer, "--init", warm_start, *REINFORCEMENT, "--game", to_reinforce, "--out", run],
    ]


def resumed(stage: Sequence[str]) -> list[str]:
    """Return the command of a stage. For a training run that has already started, return `train --resume`."""
    started = stage[0] == "train" and (Path(stage[-1]) / SETTINGS).is_file()
    return ["train", "--resume", *stage[-2:]] if started else list(stage)


@program.one_line_errors()
def main() -> None:
    """Run every stage, then ship the agent. Exit with the status of the first stage that fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("optimizer", choices=("actde", "ppo"))
    parser.add_argument("--out", type=Path, default=Path("runs/small"), help="folder for games and runs")
    parser.add_argument("--agent", type=Path, help="folder for the agent (OUT/OPTIMIZER-small)")
    given = parser.parse_args()
    agent = given.agent or given.out / f"{given.optimizer}-small"
    for stage in stages(given.optimizer, given.out):
        _run([str(ROOT / "cli.py"), *resumed(stage)])
    _run(["-m", "experiments.release.ship", str(given.out / given.optimizer), str(agent), *EVALUATION])


def _run(arguments: list[str]) -> None:
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(shlex.join(["python", *arguments]), soft_wrap=True)
    if status := subprocess.run([sys.executable, *arguments], check=False, env=python_environment()).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
