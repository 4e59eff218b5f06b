"""Learners of recorded play beside learners of their own play, at equal data or equal numbers of episodes."""
