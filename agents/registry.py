"""Agents by name: `make_agent("random", seed=1)`, a trained one that ships with the project, or a folder of a
run.

Nothing heavy is imported before a language model is really asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.protocol import Agent, AgentError, Turn

if TYPE_CHECKING:
    from games import GameSpec

SHIPPED = Path(__file__).parent / "shipped"
"""Trained checkpoints that come with the project, one folder each."""

NAMES = ("random", "human", "walkthrough", "actde", "ppo", "smollm2")
"""Every agent that has a name; anything else is the folder of a run or of a checkpoint."""


def make_agent(
    name_or_folder: str, *, seed: int, greedy: bool = False, ask: Callable[[Turn], str] | None = None
) -> Agent:
    """The agent of that name, or the one whose run or checkpoint lies in that folder.

    `greedy` takes the likeliest command instead of drawing one (language models only); `ask` is how a human
    is asked for a command. AgentError for an unknown name, a folder without a checkpoint, or a damaged one.
    """
    from agents.simple import HumanAgent, RandomAgent, WalkthroughAgent

    if name_or_folder == "random":
        return RandomAgent(seed=seed)
    if name_or_folder == "walkthrough":
        return WalkthroughAgent()
    if name_or_folder == "human":
        if ask is None:
            raise AgentError("the human agent needs someone to ask: it plays in the terminal only")
        return HumanAgent(ask)
    return _language_model(name_or_folder, seed=seed, greedy=greedy)


def games_trained_on(name_or_folder: str, specs: Sequence[GameSpec]) -> int | None:
    """How many of the games this agent was trained on, by their hashes; None for an agent that does not say.

    What a run began with (`--init`) counts too. AgentError for a folder without a checkpoint.
    """
    folder = _folder(name_or_folder)
    if not folder.is_dir():
        return None
    from agents.checkpoint import AGENT, newest, read_json
    from games.identity import game_hash

    known = read_json(newest(folder) / AGENT).get("trained_on")
    return None if known is None else len({spec.name for spec in specs if game_hash(spec) in set(known)})


def _folder(name: str) -> Path:
    return SHIPPED / name if name in ("actde", "ppo") else Path(name)


def _language_model(name: str, *, seed: int, greedy: bool) -> Agent:
    folder = _folder(name)
    if name != "smollm2" and not folder.is_dir():
        raise AgentError(_unknown(name) if name not in NAMES else f"the trained agent {name!r} is missing: {folder}")
    from agents.checkpoint import load_agent, load_pretrained

    if name == "smollm2":
        return load_pretrained(name, seed=seed, greedy=greedy)
    return load_agent(folder, seed=seed, greedy=greedy)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, NAMES, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown agent {name!r}: neither one of {', '.join(NAMES)} nor the folder of a run{meant}"
