"""Train the tiny transformers of the iterated prisoner's dilemma in the post by Turner and Einhorn (2023).

Several models are trained at once. The update rules, losses and advantages are those of `actde`. The payoffs are those
of `games.ipd`.
"""
