"""Who chooses a command, where text becomes tokens, and how a network learns from what was played.

This face is light: protocol and `make_agent` alone. `agents.play.runner` plays, `agents.play.evaluate` counts, and only
the language model's own modules import torch.
"""

from agents.protocol import Agent, AgentError, Decision, EpisodeEnd, Turn
from agents.registry import SHOWN_GAME, games_trained_on, make_agent

__all__ = ["SHOWN_GAME", "Agent", "AgentError", "Decision", "EpisodeEnd", "Turn", "games_trained_on", "make_agent"]
