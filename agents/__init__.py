"""Agents: protocol, play, language models and their training. The names below import no torch."""

from agents.protocol import Agent, AgentError, Decision, EpisodeEnd, Turn
from agents.registry import DEFAULT_GAME, games_trained_on, make_agent

__all__ = ["DEFAULT_GAME", "Agent", "AgentError", "Decision", "EpisodeEnd", "Turn", "games_trained_on", "make_agent"]
