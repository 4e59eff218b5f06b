"""Experiments: comparisons of optimizers over seeds, the evaluation card, shipped agents, and the reproduced post."""
