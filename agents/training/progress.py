"""Progress of this process in the current iteration of a training run. A display reads it from another thread."""

from dataclasses import dataclass

from agents.play.live_episode import StepEvent


@dataclass(slots=True)
class Progress:
    """Progress in the current part of an iteration.

    Attributes:
        part: `rollout`, `buffer`, `data`, `update` or `evaluation`. It is "" before the first iteration.
        done, total: number of finished episodes, and number of all episodes of the part. In an update, they count the
            tokens of all epochs instead.
        turns, tokens: number of commands played in the part, and number of tokens of their streams.
    """

    part: str = ""
    done: int = 0
    total: int = 0
    turns: int = 0
    tokens: int = 0

    def begin(self, part: str, total: int) -> None:
        self.part, self.done, self.total, self.turns, self.tokens = part, 0, total, 0, 0

    def count(self, event: StepEvent, tokens: int = 0) -> None:
        """Count a command. If it ends its episode, also count the episode. `tokens` replaces the attribute `tokens`."""
        self.turns, self.tokens = self.turns + 1, tokens
        self.done += event.terminated or event.truncated

    def __str__(self) -> str:
        if self.part == "update":
            return f"update: {self.done:,} of {self.total:,} tokens"
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.part}: {self.done:,} of {self.total:,} episodes, {self.turns:,} turns{tokens}"
