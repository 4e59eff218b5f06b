"""Progress of this process within an iteration. A display reads it from another thread."""

from dataclasses import dataclass

from agents.play.live_episode import StepEvent


@dataclass(slots=True)
class Progress:
    """Progress in the current phase of an iteration.

    Attributes:
        phase: `rollout`, `buffer`, `data`, `update` or `evaluation`. It is "" before the first iteration.
        done, total: number of finished episodes, and of all episodes. An update counts tokens instead.
    """

    phase: str = ""
    done: int = 0
    total: int = 0
    turns: int = 0
    tokens: int = 0

    def begin(self, phase: str, total: int) -> None:
        self.phase, self.done, self.total, self.turns, self.tokens = phase, 0, total, 0, 0

    def count(self, event: StepEvent, tokens: int = 0) -> None:
        """Count a command. If it ends the episode, count the episode too."""
        self.turns, self.tokens = self.turns + 1, tokens
        self.done += event.terminated or event.truncated

    def __str__(self) -> str:
        if self.phase == "update":
            return f"update: {self.done:,} of {self.total:,} tokens"
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.phase}: {self.done:,} of {self.total:,} episodes, {self.turns:,} turns{tokens}"
