"""Experiments on language models that write freely: which update rules collapse, and what prevents it."""
