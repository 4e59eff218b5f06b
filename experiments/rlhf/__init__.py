"""Experiments on the collapse of language models that write freely."""
