"""The commands that are started in a folder with planted modules: those of `cli.py`, and `python -P -m` programs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = (sys.executable, str(ROOT / "cli.py"))
MODULE = (sys.executable, "-P", "-m")
BANDIT = ("--game", "bandit", "--trunk", "pico", "--episodes", "4")
ONE = ("--episodes", "1", "--json")
GAME_FILE = "{out}/games/tw-coin-level1-0001.z8"
SIMPLE = "textworld:simple?seed=7"
LETTERS = "completion?reward=letter&max_tokens=4"
SMOLLM2 = ("--trunk", "smollm2", "--lora", "4", "--episodes", "4", "--iterations", "1", "--json")
IMPORT_ALL = """
import importlib, pkgutil
for package in ("actde", "agents", "benchmarks", "experiments", "games", "terminal"):
    paths = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(paths, package + "."):
        if not module.name.endswith("__main__") and not module.name.startswith("benchmarks.peers.trl"):
            importlib.import_module(module.name)
"""
CLIENT = """
import subprocess, sys
from openenv.core import GenericEnvClient
command = [sys.executable, sys.argv[1], "serve", "--game", "bandit", "--port", "0", "--sessions", "2"]
server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
line = server.stderr.readline()
with GenericEnvClient(base_url=line.split(" on ")[1].split(";")[0]).sync() as client:
    result = client.reset(seed=3)
    print(client.step({"command": result.observation["admissible_commands"][0]}).reward)
server.terminate()
server.wait()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A command that is started in a folder.

    Attributes:
        words: the command. {out} is the folder for all outputs; {actde}, {torchrun} and {accelerate} are scripts.
        environment: additional environment variables. {here} is the current folder.
        given: standard input.
        loopback: why the command connects to its own machine, or "" if it does not.
        packages: whether the planted modules are packages (folders). Otherwise they are single files.
        refused: whether the command ends with status 2 and an error in one line.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    given: str = ""
    loopback: str = ""
    packages: bool = False
    refused: bool = False


def _cli(*words: str, **further: object) -> Start:
    return Start(words=(*SCRIPT, *words), **further)  # type: ignore[arg-type]


STARTS: dict[str, Start] = {
    "help": _cli("--help"),
    "help of a command": _cli("train", "--game", "bandit", "--help-all", packages=True),
    "script actde": Start(words=("{actde}", "play", "--agent", "random", "--game", "bandit", *ONE)),
    "python -P -m actde": Start(words=(*MODULE, "actde", "play", "--agent", "random", "--game", "ipd", *ONE)),
    "PYTHONSAFEPATH=1": Start(
        words=(sys.executable, "-m", "actde", "play", "--agent", "random", "--game", "ipd", *ONE),
        environment={"PYTHONSAFEPATH": "1"}, packages=True,
    ),
    "empty PYTHONPATH": _cli("play", "--agent", "random", "--game", "bandit", *ONE, environment={"PYTHONPATH": ""}),
    "PYTHONSTARTUP": _cli(
        "play", "--agent", "random", "--game", "bandit", *ONE, environment={"PYTHONSTARTUP": "{here}/evil.py"}
    ),
    "all modules": Start(words=(sys.executable, "-P", "-c", IMPORT_ALL), packages=True),
    "human": _cli("play", "--agent", "human", "--game", "bandit", given="wedding\n"),
    "generate": _cli(
        "generate", "{out}/games", "--family", "coin", "--levels", "1-2", "--per-level", "1", "--workers", "2",
        "--preview", "--crawl", "--json",
    ),
    "walkthrough": _cli("play", "--agent", "walkthrough", "--game", "{out}/games", *ONE, packages=True),
    "foreign game file": _cli("play", "--agent", "random", "--game", GAME_FILE, "--max-turns", "5", *ONE),
    "evaluate": _cli(
        "evaluate", "--agent", "random", "--game", "{out}/games", "--episodes", "4", "--audit", "1", "--json"
    ),
    "step-seconds": _cli(
        "evaluate", "--agent", "random", "--game", "guess.py:Guess + textworld:simple?seed=1", "--step-seconds", "60",
        "--max-turns", "4", "--episodes", "4", "--json",
    ),
    "card": _cli(
        "evaluate", "--card", "--agent", "random", "--tasks", "coin", "--episodes", "1", "--out", "{out}/card.md",
        packages=True,
    ),
    "actde-small": _cli("play", "--agent", "actde-small", "--game", SIMPLE, "--max-turns", "9", *ONE),
    "actde": _cli("play", "--game", SIMPLE, "--max-turns", "2", *ONE, packages=True),
    "train": _cli("train", *BANDIT, "--iterations", "2", "--save-every", "1", "--out", "{out}/run", "--json"),
    "resume": _cli("train", "--resume", "--iterations", "3", "--out", "{out}/run", "--json"),
    "train on a user's code": _cli(
        "train", "--optimizer", "averaged.py:Averaged", "--game", "guess.py:Guess", "--trunk", "small", "--episodes",
        "2", "--iterations", "1", "--step-seconds", "60", "--out", "{out}/own", "--json",
    ),
    "resume with a user's code": _cli(
        "train", "--resume", "--import", "guess.py", "--import", "averaged.py", "--iterations", "2", "--out",
        "{out}/own", "--json",
    ),
    "imitation": _cli(
        "train", "--optimizer", "imitation", "--beta", "0.5", "--game", "textworld:cooking?level=1&seed=3", "--trunk",
        "small", "--episodes", "2", "--iterations", "1", "--out", "{out}/imitation", "--json",
    ),
    "completion": _cli(
        "train", "--optimizer", "grpo", "--group-size", "2", "--game", "completion?reward=sentiment&max_tokens=4",
        "--judge", "letter", "--probe-prompts", "heldout", *SMOLLM2, "--out", "{out}/completion",
    ),
    "compare": _cli(
        "compare", *BANDIT, "--optimizers", "ppo,actde", "--seeds", "0", "--iterations", "2", "--evaluations", "4",
        "--workers", "2", "--out", "{out}/compare",
    ),
    "watch": _cli("watch", "{out}/run", "--json"),
    "reproduce bandit": _cli("reproduce", "bandit", "--quick", "--out", "{out}/post", packages=True),
    "reproduce ipd": _cli("reproduce", "ipd", "--quick", "--workers", "2", "--out", "{out}/post"),
    "make-pairs": _cli(
        "make-pairs", "--game", LETTERS, "--judge", "sentiment", "--pairs", "4", "--out", "{out}/pairs.jsonl"
    ),
    "train-reward": _cli("train-reward", "--pairs", "{out}/pairs.jsonl", "--epochs", "1", "--out", "{out}/rm"),
    "reward model": _cli(
        "train", "--optimizer", "ppo", "--game", "completion?reward=rm:{out}/rm&max_tokens=4", *SMOLLM2, "--out",
        "{out}/rlhf", packages=True,
    ),
    "curves": Start(
        words=(*MODULE, "experiments.compare.curves", "{out}/run", "--columns", "reward", "--out", "{out}/curves.svg")
    ),
    "licences": Start(words=(*MODULE, "experiments.release.licences", "--out", "{out}/licences.md"), packages=True),
    "base rates": Start(words=(*MODULE, "experiments.rlhf.base_rates", "--help")),
    "benchmark": Start(
        words=(*MODULE, "benchmarks.textworld_fuzz", "--commands", "30", "--out", "{out}/fuzz.json")
    ),
    "express": _cli(
        "play", "--agent", "random", "--game", "express:coin?seed=1", "--max-turns", "2", *ONE,
        loopback="the pipe to Java",
    ),
    "scienceworld": _cli(
        "play", "--agent", "random", "--game", "scienceworld:find-animal?seed=1&simplify=easy", "--max-turns", "2",
        *ONE, loopback="the pipe to Java", packages=True,
    ),
    "textarena": _cli(
        "play", "--agent", "random", "--game", "textarena:FrozenLake-v0?seed=1&choices=[up],[down],[left],[right]",
        "--max-turns", "3", *ONE,
    ),
    "data of NLTK": _cli(
        "play", "--agent", "random", "--game", "textarena:Wordle-v0", *ONE,
        environment={"HOME": "{here}", "NLTK_DATA": "{here}"}, refused=True,
    ),
    "serve": Start(words=(sys.executable, "-P", "-c", CLIENT, str(ROOT / "cli.py")), loopback="a client of the server"),
    "torchrun": Start(
        words=("{torchrun}", "--standalone", "--nproc-per-node", "2", str(ROOT / "cli.py"), "train", *BANDIT,
               "--iterations", "1", "--out", "{out}/two", "--json"),
        loopback="the two processes",
    ),
    "accelerate": Start(
        words=("{accelerate}", "launch", "--cpu", "--num_processes", "1", str(ROOT / "cli.py"), "train", *BANDIT,
               "--iterations", "1", "--out", "{out}/launched", "--json"),
        loopback="the launcher", packages=True,
    ),
}  # fmt: skip
# later commands use the outputs of earlier commands
