"""Train tiny transformers in the iterated prisoner's dilemma."""
