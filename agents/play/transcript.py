"""Transcripts: JSON Lines files with one episode per line."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agents.play.episode import Episode
from agents.play.iteration_log import LogLine, checked_lines, episodes_per_process, read_log
from agents.protocol import AgentError
from games.errors import noticing_changes
from games.files import append_rows, create_folder
from games.untrusted_files import is_present

NAME = "transcripts.jsonl"  # in the folder of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An episode in a transcript.

    `iteration` counts from 0. Ignore the iteration if `of_run` is False.
    """

    iteration: int
    episode: Episode
    of_run: bool = field(default=True, compare=False)

    @property
    def location(self) -> str:
        """A text such as "iteration 3, episode 40". Iterations count from 1."""
        iteration = f"iteration {self.iteration + 1}, " if self.of_run else ""
        return f"{iteration}episode {self.episode.index}"


def is_of_run(path: Path) -> bool:
    """Return whether a training run may have written the transcript."""
    return path.name != NAME or not path.exists() or (path.parent / "settings.json").exists()


def append(path: Path, entries: Iterable[Entry]) -> None:
    """Append entries to a transcript. After an error, the file is unchanged."""
    append_rows(path, ({"iteration": entry.iteration, "episode": entry.episode.to_json()} for entry in entries))


def recorder(folder: Path) -> Callable[[Episode], None]:
    """Return a function that appends episodes to a new transcript in `folder`.

    Raise AgentError if the transcript exists.
    """
    path, created = folder / NAME, False
    exists_error = AgentError(f"{path} already exists; choose another folder")
    if is_present(path):
        raise exists_error
    if folder.exists() and not folder.is_dir():
        raise AgentError(f"{folder} is a file; expected a folder")

    def record(episode: Episode) -> None:
        nonlocal created
        if not created:
            create_folder(folder)
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                raise exists_error from None
            created = True
        with noticing_changes(folder):
            append(path, [Entry(iteration=0, episode=episode)])

    return record


def read(path: Path) -> Iterator[Entry]:
    """Yield the entries of a transcript. Raise `AgentError` if the file is missing or damaged."""
    check_present(path)
    yield from map(parse_entry, checked_lines(read_log(path), path))


def check_present(path: Path, *, expected: str = "the folder of a run, or a transcript file") -> None:
    """Raise `AgentError` if a transcript is missing."""
    if path.name == NAME and episodes_per_process(path.parent) == 0:
        reason = "the run was trained on recorded play (--data) and played no episodes"
        raise AgentError(f"{path.parent} has no transcript: {reason}; name the recorded play instead")
    if not is_present(path):
        in_folder = path.name == NAME and path.parent.is_dir()
        problem = f"{path.parent.absolute()} holds no {NAME}" if in_folder else f"{path} does not exist"
        raise AgentError(f"{problem}; expected {expected}")


def parse_entry(line: LogLine) -> Entry:
    """Parse a line of a transcript. Raise `AgentError` if the line is damaged."""
    if set(line.row) != {"iteration", "episode"}:
        raise AgentError(f"{line.location} is damaged: expected the fields iteration and episode")
    try:
        return Entry(iteration=line.iteration, episode=Episode.from_json(line.row["episode"]))
    except AgentError as failure:
        raise AgentError(f"{line.location} is damaged: {failure}") from None
