"""Compare learners of recorded play, and learners of their own play."""
