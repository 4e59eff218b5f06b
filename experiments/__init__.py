"""Experiments: optimizer comparisons, the evaluation card, the release of agents, and the reproduction of a post.

The post is that by Turner and Einhorn (2023).
"""
