"""The result of a command."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a process that has ended.

    Attributes:
        status: exit status, negative after a signal, or None if it is unknown.
        out, err: what the process has printed on standard output and on standard error.
        connections: addresses with ports to which the process or its children tried to connect, if they were traced.
    """

    status: int | None = None
    out: str = ""
    err: str = ""
    connections: tuple[str, ...] = ()

    @property
    def last_line(self) -> str:
        """The last line on standard error."""
        return (self.err.strip().splitlines() or [""])[-1]

    @property
    def is_refused(self) -> bool:
        """Whether the command ended with status 1 or 2 and one line that begins with `error:`."""
        is_clean = "Traceback" not in self.err and len(self.last_line) < 2000
        return is_clean and self.status in (1, 2) and self.last_line.startswith("error: ")

    @property
    def is_one_line(self) -> bool:
        """Whether the command was refused and printed nothing else on standard error."""
        return self.is_refused and self.err.count("\n") == 1
