"""The seeds that training must not use. Their games belong to the evaluation card (`evaluate --card`).

In a family with few games, another seed may give the same game. The evaluation card therefore takes only games whose
hash puts them into the test split, and reports if an agent was trained on one of these games.
"""

RESERVED = range(2_000_000_000, 2_000_100_000)
"""Seeds of held-out games."""
