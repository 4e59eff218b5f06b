"""Agents that play text games."""

import actde as actde  # protects the imports of a program (see `actde.import_path`)
from agents.protocol import Agent, AgentError, Decision, EpisodeEnd, Turn
from agents.registry import DEFAULT_GAME, games_trained_on, make_agent

__all__ = ["DEFAULT_GAME", "Agent", "AgentError", "Decision", "EpisodeEnd", "Turn", "games_trained_on", "make_agent"]
