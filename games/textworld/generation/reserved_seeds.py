"""The seeds that training must not use. Their games belong to the evaluation card (`evaluate --card`).

In a family with few games, a training seed may give the same game as a reserved seed. The evaluation card therefore
uses only games whose hash assigns them to the test split. It also reports if an agent was trained on such a game.
"""

RESERVED = range(2_000_000_000, 2_000_100_000)
"""Seeds of held-out games."""
