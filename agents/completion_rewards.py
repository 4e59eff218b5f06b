"""Rewards of the completion game, including those that a model computes."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from agents.protocol import AgentError
from games import GameError, GameSpec
from games.completion import Scorer, Term, parse_reward, resolve_reward


def scorer(reward: str) -> Scorer:
    """Return the function that computes a reward, such as "sentiment" or "rm:FOLDER" (see `games.completion.rewards`).

    Raise GameError if a term of the reward is invalid, or if its model cannot be loaded.
    """
    return resolve_reward(reward, load_scorer)


def load_scorer(term: Term) -> Scorer:
    """Return the function that computes a term of a reward with a model.

    `rm:FOLDER` names a reward model that `train-reward` wrote. `hf:FOLDER` names a sequence classifier that
    `save_pretrained` wrote. The model is cached until its folder changes.

    Raise GameError if the folder is missing or damaged, or holds another kind of model.
    """
    folder = Path(term.argument).expanduser()
    if not folder.is_dir():
        raise GameError(f"reward {term.name}: {'this is a file; expected a' if folder.exists() else 'no such'} folder")
    try:
        return _load(term.kind, folder.resolve(), folder.stat().st_mtime_ns)
    except AgentError as error:
        raise GameError(f"reward {term.name}: {error}") from error


def load_models(specs: Iterable[GameSpec]) -> None:
    """Load the models of the games' rewards, so that a damaged model raises GameError before a run starts."""
    for spec in specs:
        reward = str(dict(spec.settings).get("reward", "")) if spec.kind == "completion" else ""
        if reward and any(term.is_model for term in parse_reward(reward)):
            scorer(reward)


@lru_cache(maxsize=8)
def _load(kind: str, folder: Path, modified: int) -> Scorer:
    if kind == "rm":
        from agents.training.reward_model import load_reward_model

        return load_reward_model(folder)
    from agents.model.classifier import load_classifier

    return load_classifier(folder)
