"""The seeds that training must not use: their games belong to the evaluation card (`evaluate --card`).

Another seed may give the same game where a family has few. The card therefore takes only games whose hash puts them
into the test split, and reports where an agent was trained on one of them.
"""

RESERVED = range(2_000_000_000, 2_000_100_000)
"""Seeds of held-out games."""
