"""The completion game. The agent continues a prompt with a text, and a reward function scores the text.

The game is the smallest form of reinforcement learning from human feedback: one prompt, one completion, one reward.
"""

from games.completion.env import Completion
from games.completion.rewards import Scorer, Term, parse_reward, resolve_reward

__all__ = ["Completion", "Scorer", "Term", "parse_reward", "resolve_reward"]
