"""The completion game. A reward function scores the agent's continuation of a prompt."""

from games.completion.env import Completion
from games.completion.rewards import Scorer, Term, parse_reward, resolve_reward

__all__ = ["Completion", "Scorer", "Term", "parse_reward", "resolve_reward"]
