"""Progress of this process in an iteration. A display reads it from another thread."""

from dataclasses import dataclass

from agents.play.live_episode import StepEvent


@dataclass(slots=True)
class Progress:
    """Progress in the current part of an iteration.

    Attributes:
        part: `rollout`, `buffer`, `data`, `update` or `evaluation`. It is "" before the first iteration.
        done, total: number of episodes or, in an update, of tokens.
    """

    part: str = ""
    done: int = 0
    total: int = 0
    turns: int = 0
    tokens: int = 0

    def begin(self, part: str, total: int) -> None:
        self.part, self.done, self.total, self.turns, self.tokens = part, 0, total, 0, 0

    def count(self, event: StepEvent, tokens: int = 0) -> None:
        """Count a command and, if it ends its episode, the episode."""
        self.turns, self.tokens = self.turns + 1, tokens
        self.done += event.terminated or event.truncated

    def __str__(self) -> str:
        if self.part == "update":
            return f"update: {self.done:,} of {self.total:,} tokens"
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.part}: {self.done:,} of {self.total:,} episodes, {self.turns:,} turns{tokens}"
