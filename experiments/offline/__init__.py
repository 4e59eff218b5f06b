"""Compare learning from recorded episodes with learning from an agent's own episodes."""
