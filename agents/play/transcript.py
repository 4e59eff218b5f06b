"""Transcripts: episodes as JSON Lines. Each line holds one episode and its iteration of the training run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agents.play.episode import Episode
from agents.play.iteration_log import LogLine, complete, episodes_of_a_process, read_log
from agents.protocol import AgentError
from games import json_lines
from games.errors import noticing_changes
from games.files import create_folder
from games.untrusted_files import is_present

NAME = "transcripts.jsonl"  # in the folder of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a transcript: an episode and the iteration of the training run, counted from 0.

    `of_run` is false for the episodes that `play` or `evaluate` saved. They have no iterations.
    """

    iteration: int
    episode: Episode
    of_run: bool = field(default=True, compare=False)

    @property
    def place(self) -> str:
        """A text such as "iteration 3, episode 40". The iteration counts from 1 and is given only for training runs."""
        iteration = f"iteration {self.iteration + 1}, " if self.of_run else ""
        return f"{iteration}episode {self.episode.index}"


def is_of_run(path: Path) -> bool:
    """Return False if `play` or `evaluate` saved the transcript, and True if it may be of a training run."""
    return path.name != NAME or not path.exists() or (path.parent / "settings.json").exists()


def append(path: Path, entries: Iterable[Entry]) -> None:
    """Append entries to the file, which is created if necessary. If writing fails, the file is left unchanged."""
    json_lines.append(path, ({"iteration": entry.iteration, "episode": entry.episode.to_json()} for entry in entries))


def recorder(folder: Path) -> Callable[[Episode], None]:
    """Return a function that appends an episode to a new transcript in a folder. Its first call creates the file.

    Raises:
        AgentError: the folder already has a transcript, or is a file. The first call of the returned function also
            raises this error if a transcript has been created since.
    """
    path, created = folder / NAME, False
    taken = AgentError(f"{path} already exists; choose another folder")
    if is_present(path):
        raise taken
    if folder.exists() and not folder.is_dir():
        raise AgentError(f"{folder} is a file; expected a folder")

    def record(episode: Episode) -> None:
        nonlocal created
        if not created:
            create_folder(folder)
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                raise taken from None
            created = True
        with noticing_changes(folder):
            append(path, [Entry(iteration=0, episode=episode)])

    return record


def read(path: Path) -> Iterator[Entry]:
    """Yield all entries of the file. Raise `AgentError` if the file or a line is missing or damaged."""
    check_present(path)
    for line in complete(read_log(path), path):
        yield parse_entry(line)


def check_present(path: Path, *, expected: str = "the folder of a run, or a transcript file") -> None:
    """Raise `AgentError` if the transcript `path` does not exist, or if its run plays no episodes.

    If the folder exists without the file, the message names the folder. `expected` is the part of the message that
    names what the user may give instead.
    """
    if path.name == NAME and episodes_of_a_process(path.parent) == 0:
        learned = "the run was trained on recorded play (--data) and played no episodes"
        raise AgentError(f"{path.parent} has no transcript: {learned}; name the recorded play instead")
    if is_present(path):
        return
    in_folder = path.name == NAME and path.parent.is_dir()
    problem = f"{path.parent.absolute()} holds no {NAME}" if in_folder else f"{path} does not exist"
    raise AgentError(f"{problem}; expected {expected}")


def parse_entry(line: LogLine) -> Entry:
    """Return the entry on a line of a transcript, or raise `AgentError`, which names the line and the field."""
    if set(line.row) != {"iteration", "episode"}:
        raise AgentError(f"{line.where} is damaged: expected the fields iteration and episode")
    try:
        return Entry(iteration=line.iteration, episode=Episode.from_json(line.row["episode"]))
    except AgentError as failure:
        raise AgentError(f"{line.where} is damaged: {failure}") from None
