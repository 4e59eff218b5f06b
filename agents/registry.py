"""Agents by name: `make_agent("random", seed=1)`, a trained one that ships with the project, or a folder of a
run.

`actde-small` and `ppo-small` are trunks of our own. `actde` and `ppo` are adapters of SmolLM2, whose weights come in a
package of their own; where it is missing, or while no such agent ships, the small ones play in their place. Nothing
heavy is imported before a language model is really asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.protocol import Agent, AgentError, Turn

if TYPE_CHECKING:
    from games import GameSpec

SHIPPED = Path(__file__).parent / "shipped"
"""Trained checkpoints that come with the project, one folder each."""

INSTEAD = {"actde": "actde-small", "ppo": "ppo-small"}
"""Shipped agents that need the model's package, and who plays where it is missing."""
TRAINED = (*INSTEAD, *INSTEAD.values())
"""The shipped agents, in the order in which they are shown."""
NAMES = ("random", "human", "walkthrough", *TRAINED, "smollm2")
"""Every agent that has a name; anything else is the folder of a run or of a checkpoint."""

SHOWN_GAME = "textworld:cooking?level=5&split=test&seed=101"
"""What is played where no game was asked for: a meal that none of the shipped agents has cooked before."""


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=4)


def make_agent(
    name_or_folder: str,
    *,
    seed: int,
    greedy: bool = False,
    ask: Callable[[Turn], str] | None = None,
    notify: Callable[[str], None] = _warn,
) -> Agent:
    """The agent of that name, or the one whose run or checkpoint lies in that folder.

    `greedy` takes the likeliest command instead of drawing one (language models only); `ask` is how a human
    is asked for a command; `notify` gets a line that says why another agent plays. AgentError for an unknown name,
    a folder without a checkpoint, or a damaged one.
    """
    from agents.play.baselines import HumanAgent, RandomAgent, WalkthroughAgent

    if name_or_folder == "random":
        return RandomAgent(seed=seed)
    if name_or_folder == "walkthrough":
        return WalkthroughAgent()
    if name_or_folder == "human":
        if ask is None:
            raise AgentError("the human agent needs someone to ask: it plays in the terminal only")
        return HumanAgent(ask)
    if name_or_folder == "smollm2":
        from agents.storage.checkpoint import load_pretrained

        return load_pretrained(name_or_folder, seed=seed, greedy=greedy)
    folder = agent_folder(name_or_folder, notify)
    from agents.storage.checkpoint import load_agent

    return load_agent(folder, seed=seed, greedy=greedy)


def games_trained_on(name_or_folder: str, specs: Sequence[GameSpec]) -> int | None:
    """How many of the games this agent was trained on, by their hashes; None for an agent that does not say.

    What a run began with (`--init`) counts too. AgentError for a folder without a checkpoint.
    """
    if name_or_folder in NAMES and name_or_folder not in TRAINED:
        return None
    from agents.storage.checkpoint import AGENT, newest, read_json
    from games.game_hash import game_hash

    folder = agent_folder(name_or_folder, lambda line: None)
    known = read_json(newest(folder) / AGENT).get("trained_on")
    return None if known is None else len({spec.name for spec in specs if game_hash(spec) in set(known)})


def agent_folder(name_or_folder: str, notify: Callable[[str], None] = _warn) -> Path:
    """The folder of the trained agent of that name, or the folder itself; AgentError where there is none.

    `notify` gets a line where another agent's folder is meant, because a package is missing.
    """
    name, folder = name_or_folder, Path(name_or_folder)
    if name in TRAINED:
        folder = SHIPPED / name
        if name in INSTEAD and not _can_play(name, notify):
            folder = SHIPPED / INSTEAD[name]
    if not folder.is_dir():
        raise AgentError(_unknown(name) if name not in NAMES else f"the trained agent {name!r} is missing: {folder}")
    return folder


def _can_play(name: str, notify: Callable[[str], None]) -> bool:
    """Whether this agent ships, and all that it needs is there; a line for `notify` where only that is missing."""
    if not (SHIPPED / name).is_dir():
        return False
    from agents.model.pretrained import missing_packages

    lacking = missing_packages()
    if lacking is not None:
        notify(f"{name} plays as {INSTEAD[name]}: {lacking}")
    return lacking is None


def _unknown(name: str) -> str:
    from games.errors import did_you_mean

    expected = f"neither one of {', '.join(NAMES)} nor the folder of a run"
    return f"unknown agent {name!r}: {expected}{did_you_mean(name, NAMES)}"
