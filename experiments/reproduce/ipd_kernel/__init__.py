"""The post's prisoner's dilemma by a fast path: its own tiny trunk compiled to vector code, everything else shared.

The update rules, losses and advantages are those of `actde`; the payoffs are those of `games`.
"""
