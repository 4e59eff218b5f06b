"""Parse number lists that users write, such as `1-3,7`."""

from games.errors import GameError


def parse_levels(text: str) -> list[int]:
    """Return the numbers in a list such as `1-3,7`, which gives [1, 2, 3, 7]. Raise GameError for any other text."""
    levels: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(part) > 12:
            raise GameError(f"levels={text}: expected numbers and ranges, as in 1-3,7")
        if int(high or low) < int(low):
            raise GameError(f"levels={text}: expected a range from low to high, got {part.strip()}")
        levels += range(int(low), min(int(high or low), int(low) + 10_000) + 1)
    return levels
