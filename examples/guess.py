"""A game: `python cli.py train --game examples/guess.py:Guess --out runs/guess  # 30 s`."""

import gymnasium


class Guess(gymnasium.Env):
    """Say whether the next card is `high` or `low`."""

    observation_space = action_space = gymnasium.spaces.Text(100)

    def __init__(self, cards: int = 10) -> None:
        self.cards = cards

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.card, self.next = self.np_random.choice(self.cards, 2, replace=False)
        return f"The card is {self.card} of {self.cards}. High or low?", {"admissible_commands": ["high", "low"]}

    def step(self, action):
        won = bool((action == "high") == (self.next > self.card))
        return f"The next is {self.next}.", float(won), True, False, {"won": won, "score": float(won), "max_score": 1}


gymnasium.register("mine/Guess-v0", entry_point=Guess)
