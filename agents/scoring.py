"""Rewards of the completion game, including rewards that are computed by a model."""

from functools import lru_cache

from games import GameError
from games.completion import Scorer, Term, resolve_reward


@lru_cache(maxsize=8)
def scorer(reward: str) -> Scorer:
    """Return the scorer that a reward names (see `games.completion.rewards`). Models are loaded once.

    Raises:
        GameError: a term is invalid, or its model cannot be loaded.
    """
    return resolve_reward(reward, load_scorer)


def load_scorer(term: Term) -> Scorer:
    raise GameError(f"reward {term.name}: models are not supported yet")
