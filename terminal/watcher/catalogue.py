"""The episodes of the watched runs, and a filter for them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from agents.play.episode import Episode
from agents.play.transcript import NAME, is_of_run
from agents.play.transcript_index import EpisodeFilter, EpisodeRow, TranscriptIndex
from agents.protocol import AgentError
from terminal import console

BATCH = 1000  # maximum number of rows in a batch


class Place(NamedTuple):
    """An episode of a watched run. `run` is an index in `Catalogue.labels`."""

    run: int
    row: EpisodeRow


class Batch(NamedTuple):
    """Episodes of one run that were read together. `kept` holds those that `wanted` accepts."""

    run: int
    restart: bool  # the run's transcript was replaced
    places: list[Place]
    wanted: EpisodeFilter  # at the time of reading
    kept: list[Place]


class Catalogue:
    """The episodes of several transcripts. `shown` holds those that the filter `wanted` accepts."""

    def __init__(self, paths: Sequence[Path], wanted: EpisodeFilter) -> None:
        self.labels = labels(paths)
        self.columns = {"run": len(paths) > 1, "iteration": any(map(is_of_run, paths))}
        self.wanted = wanted
        self.places: list[Place] = []
        self.shown: list[Place] = []
        self._indices = [TranscriptIndex(path) for path in paths]

    def read(self, *, growing: bool) -> Iterator[Batch]:
        """Yield new episodes. It may run in another thread: it changes neither `places` nor `shown`."""
        for run, index in enumerate(self._indices):
            if restart := index.is_replaced():
                index = self._indices[run] = TranscriptIndex(index.path)
            rows = list[EpisodeRow]()
            for row in index.read(growing=growing):
                rows.append(row)
                if len(rows) == BATCH:
                    yield self._batch(run, rows, restart=restart)
                    rows, restart = [], False
            if rows or restart:
                yield self._batch(run, rows, restart=restart)

    def _batch(self, run: int, rows: Sequence[EpisodeRow], *, restart: bool) -> Batch:
        places, wanted = [Place(run, row) for row in rows], self.wanted
        return Batch(run, restart, places, wanted, [place for place in places if wanted.accepts(place.row)])

    def add(self, batch: Batch) -> None:
        if batch.restart:
            self.places = [place for place in self.places if place.run != batch.run]
            self.shown = [place for place in self.shown if place.run != batch.run]
        self.places += batch.places
        if batch.wanted is not self.wanted:  # the filter has changed since
            batch = self._batch(batch.run, [place.row for place in batch.places], restart=False)
        self.show([*self.shown, *batch.kept])

    def show(self, places: Sequence[Place]) -> None:
        self.shown = sorted(places, key=lambda place: (place.run, place.row.iteration, place.row.index))

    def partner(self, place: Place, run: int) -> Place | None:
        """Return the nearest episode of `run` with the game and seed of `place`."""
        row = place.row
        same = (
            other
            for other in self.places
            if other.run == run and (other.row.game, other.row.seed) == (row.game, row.seed)
        )
        return min(
            same,
            key=lambda other: (abs(other.row.iteration - row.iteration), abs(other.row.index - row.index)),
            default=None,
        )


def transcripts(run: Path) -> list[Path]:
    """Return the transcripts in a folder, or `run` itself if it is a transcript."""
    if run.is_dir():
        found = (sorted(run.glob(f"{below}{NAME}")) for below in ("", "*/", "*/*/"))  # `compare`: OUT/runs/RUN
        return next(filter(None, found), [run / NAME])
    if run.is_file() and run.suffix != Path(NAME).suffix:
        raise AgentError(f"{run} is no transcript; expected the folder of a run, or a transcript file (.jsonl)")
    return [run]


def choose(paths: Sequence[Path], wanted: EpisodeFilter) -> list[EpisodeRow]:
    """Return the matching episodes. An empty filter selects the newest iteration of each transcript."""
    chosen, ends = list[EpisodeRow](), list[str]()
    for path in paths:
        with console.waiting(f"reading {path}"):
            rows = sorted(TranscriptIndex(path).read(), key=lambda row: (row.iteration, row.index))
            if not rows:
                raise AgentError(f"{path} holds no episodes yet")
            last = rows[-1].iteration + 1
            iterations = f"iterations go up to {last}, its " if is_of_run(path) else ""
            numbers = f"its {iterations}episodes go up to {max(row.index for row in rows)}"
            numbered = (wanted.iteration, wanted.episode) != (None, None)
            ends.append(f"{path} has no such episode: {numbers if numbered else f'none of its {len(rows)} matches'}")
            choice = replace(wanted, iteration=last) if wanted == EpisodeFilter() else wanted
            chosen += filter(choice.accepts, rows)
    if not chosen:
        raise AgentError("; ".join(ends))
    return chosen


def labels(paths: Sequence[Path]) -> list[str]:
    """Return a name for each transcript, or its path if the name is not unique."""
    names = [path.absolute().parent.name if path.name == NAME else path.stem for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def first_difference(one: Episode, other: Episode) -> int | None:
    """Return the index of the first turn at which two episodes differ, or None."""
    pairs = zip_longest(*([(step.observation, step.decision.command) for step in e.steps] for e in (one, other)))
    return next((turn for turn, (a, b) in enumerate(pairs) if a != b), None)
