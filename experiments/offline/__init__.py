"""Compare learners of recorded play at equal data, and learners of their own play at equal numbers of episodes."""
