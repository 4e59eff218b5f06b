"""Who chooses a command, where text becomes tokens, and how a network learns from what was played.

This face is light: protocol and `make_agent` alone. `agents.arena` plays, `agents.evaluate` counts, and only
the language model's own modules import torch.
"""

from agents.protocol import Agent, AgentError, Decision, Ending, Turn
from agents.registry import games_trained_on, make_agent, shown_game

__all__ = ["Agent", "AgentError", "Decision", "Ending", "Turn", "games_trained_on", "make_agent", "shown_game"]
