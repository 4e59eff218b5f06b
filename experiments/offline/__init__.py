"""Compare agents that learn from recorded play with agents that learn from their own play."""
