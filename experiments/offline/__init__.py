"""Compare learners that use the same recorded play, and learners that play equal numbers of episodes themselves."""
