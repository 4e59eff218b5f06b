"""The evaluation card: every agent on fixed tasks of held-out games, in one document (`evaluate --card`)."""
