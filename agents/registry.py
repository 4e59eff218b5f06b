"""Agents by name or by the folder of a run: `make_agent("random", seed=1)`.

The shipped agents `actde-small` and `ppo-small` have small trunks of their own. `actde` and `ppo` are adapters of
SmolLM2, whose weights come in a separate package; without it the small agents replace them. torch is imported only
for language models.
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
"""Trained checkpoints that ship with the project, one folder each."""

FALLBACKS = {"actde": "actde-small", "ppo": "ppo-small"}
"""Shipped agents that need SmolLM2's package, and their replacements without it."""
TRAINED = (*FALLBACKS, *FALLBACKS.values())
"""The shipped agents, in display order."""
NAMES = ("random", "human", "walkthrough", *TRAINED, "smollm2")
"""All agent names; anything else is the folder of a run or of a checkpoint."""

DEFAULT_GAME = "textworld:cooking?level=5&split=test&seed=101"
"""The default game: a cooking game on which no shipped agent was trained."""


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
    """The agent of this name, or of the run or checkpoint in this folder.

    Args:
        greedy: play the likeliest command instead of sampling; language models only.
        ask: returns a person's command for a turn; required by the human agent.
        notify: receives one line if another agent replaces the named one.

    Raises:
        AgentError: the name is unknown, or the folder has no checkpoint or a damaged one.
    """
    from agents.play.baselines import HumanAgent, RandomAgent, WalkthroughAgent

    if name_or_folder == "random":
        return RandomAgent(seed=seed)
    if name_or_folder == "walkthrough":
        return WalkthroughAgent()
    if name_or_folder == "human":
        if ask is None:
            raise AgentError("the human agent plays in the terminal only")
        return HumanAgent(ask)
    if name_or_folder == "smollm2":
        from agents.storage.checkpoint import load_pretrained

        return load_pretrained(name_or_folder, seed=seed, greedy=greedy)
    folder = agent_folder(name_or_folder, notify)
    from agents.storage.checkpoint import load_agent

    return load_agent(folder, seed=seed, greedy=greedy)


def games_trained_on(name_or_folder: str, specs: Sequence[GameSpec]) -> int | None:
    """Number of these games on which the agent was trained, its warm starts included; None if it is not recorded.

    Games are compared by their hashes.

    Raises:
        AgentError: the folder has no checkpoint.
    """
    if name_or_folder in NAMES and name_or_folder not in TRAINED:
        return None
    from agents.storage.checkpoint import AGENT, newest, read_json
    from games.game_hash import game_hash

    folder = agent_folder(name_or_folder, lambda line: None)
    known = read_json(newest(folder) / AGENT).get("trained_on")
    return None if known is None else len({spec.name for spec in specs if game_hash(spec) in set(known)})


def agent_folder(name_or_folder: str, notify: Callable[[str], None] = _warn) -> Path:
    """The folder of the trained agent of this name (or of its replacement), or the folder itself.

    Raises:
        AgentError: there is no such folder.
    """
    name, folder = name_or_folder, Path(name_or_folder)
    if name in TRAINED:
        folder = SHIPPED / name
        if name in FALLBACKS and not _is_playable(name, notify):
            folder = SHIPPED / FALLBACKS[name]
    if not folder.is_dir():
        raise AgentError(_unknown(name) if name not in NAMES else f"the trained agent {name!r} is missing: {folder}")
    return folder


def _is_playable(name: str, notify: Callable[[str], None]) -> bool:
    """Whether this agent ships and its package is installed; `notify` receives a line if only the latter fails."""
    if not (SHIPPED / name).is_dir():
        return False
    from agents.model.pretrained import missing_packages

    lacking = missing_packages()
    if lacking is not None:
        notify(f"{name} plays as {FALLBACKS[name]}: {lacking}")
    return lacking is None


def _unknown(name: str) -> str:
    from games.errors import did_you_mean

    return f"unknown agent {name!r}: expected {', '.join(NAMES)} or the folder of a run{did_you_mean(name, NAMES)}"
