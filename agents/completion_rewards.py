"""Loads the reward functions of the game `completion`."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from agents.protocol import AgentError
from games import GameError, GameSpec
from games.completion import Scorer, Term, parse_reward, resolve_reward


def scorer(reward: str) -> Scorer:
    """Return the reward function for a string such as "rm:FOLDER". Raise GameError if loading fails."""
    return resolve_reward(reward, load_scorer)


def load_scorer(term: Term) -> Scorer:
    """Load the reward model in the folder `term.argument`. Raise GameError if loading fails."""
    folder = Path(term.argument).expanduser()
    if not folder.is_dir():
        raise GameError(f"reward {term.name}: {'this is a file; expected a' if folder.exists() else 'no such'} folder")
    try:
        return _load(term.kind, folder.resolve(), folder.stat().st_mtime_ns)
    except AgentError as error:
        raise GameError(f"reward {term.name}: {error}") from error


def load_models(specs: Iterable[GameSpec]) -> None:
    """Load the reward models of the games. Raise GameError if loading fails."""
    for spec in specs:
        reward = str(dict(spec.settings).get("reward", "")) if spec.kind == "completion" else ""
        if reward and any(term.is_model for term in parse_reward(reward)):
            scorer(reward)


@lru_cache(maxsize=8)  # a changed folder has a new time, and is loaded again
def _load(kind: str, folder: Path, modification_time: int) -> Scorer:
    if kind == "rm":
        from agents.training.reward_model import load_reward_model

        return load_reward_model(folder)
    from agents.model.classifier import load_classifier

    return load_classifier(folder)
