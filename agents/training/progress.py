"""Progress within an iteration, which another thread displays."""

from dataclasses import dataclass

from agents.play.live_episode import StepEvent


@dataclass(slots=True)
class Progress:
    """Progress in one phase of an iteration. `done` and `total` count episodes, or tokens during an update."""

    phase: str = ""  # rollout, buffer, data, update or evaluation
    done: int = 0
    total: int = 0
    turns: int = 0
    tokens: int = 0

    def begin(self, phase: str, total: int) -> None:
        self.phase, self.done, self.total, self.turns, self.tokens = phase, 0, total, 0, 0

    def count(self, event: StepEvent, tokens: int = 0) -> None:
        """Count a command, and the episode if the episode ends."""
        self.turns, self.tokens = self.turns + 1, tokens
        self.done += event.terminated or event.truncated

    def __str__(self) -> str:
        if self.phase == "update":
            return f"update: {self.done:,} of {self.total:,} tokens"
        tokens = f", {self.tokens:,} tokens" if self.tokens else ""
        return f"{self.phase}: {self.done:,} of {self.total:,} episodes, {self.turns:,} turns{tokens}"
