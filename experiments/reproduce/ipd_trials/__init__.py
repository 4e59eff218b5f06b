"""The post's prisoner's dilemma: trials of its tiny trunk in batches.

The update rules, losses and advantages are those of `actde`; the payoffs are those of `games`.
"""
