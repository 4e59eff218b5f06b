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
    """An episode of a watched run. `run` is the index of the run in `Catalogue.labels`."""

    run: int
    row: EpisodeRow


class Batch(NamedTuple):
    """Episodes of one run that were read together.

    If `restart` is true, the run's transcript was replaced, so that its earlier episodes are gone. `wanted` is the
    filter at the time of reading, and `kept` holds the episodes that it matches.
    """

    run: int
    restart: bool
    places: list[Place]
    wanted: EpisodeFilter
    kept: list[Place]


class Catalogue:
    """The episodes of several transcripts.

    `labels` holds a short name for each run. `columns` tells whether the list has the columns "run" and "iteration".
    `places` holds all episodes in the order of reading, and `shown` those that the filter `wanted` matches, by run,
    iteration and number.
    """

    def __init__(self, paths: Sequence[Path], wanted: EpisodeFilter) -> None:
        self.labels = labels(paths)
        self.columns = {"run": len(paths) > 1, "iteration": any(map(is_of_run, paths))}
        self.wanted = wanted
        self.places: list[Place] = []
        self.shown: list[Place] = []
        self._indices = [TranscriptIndex(path) for path in paths]

    def read(self, *, growing: bool) -> Iterator[Batch]:
        """Yield the episodes that were written since the last call. `growing` is as in `TranscriptIndex.read`.

        This method can run in another thread, because it changes neither `places` nor `shown`.
        """
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
        """Add the episodes of a batch to `places`, and those that match the filter to `shown`."""
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
        """Return an episode of run number `run` with the game and seed of `place`, or None if there is none.

        If there are several, return the one with the nearest iteration and, among these, the nearest number.
        """
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
    """Return the transcripts in the folder `run`, or `run` itself if it is a transcript.

    `run` can be the folder of a run, or a folder with several transcripts that `evaluate --save` or `compare` wrote.
    Raise `AgentError` if `run` is any other file.
    """
    if run.is_dir():
        found = (sorted(run.glob(f"{below}{NAME}")) for below in ("", "*/", "*/*/"))  # `compare`: OUT/runs/RUN
        return next(filter(None, found), [run / NAME])
    if run.is_file() and run.suffix != Path(NAME).suffix:
        raise AgentError(f"{run} is no transcript; expected the folder of a run, or a transcript file (.jsonl)")
    return [run]


def choose(paths: Sequence[Path], wanted: EpisodeFilter) -> list[EpisodeRow]:
    """Return the episodes that a filter matches, sorted by transcript, iteration and number.

    If the filter is empty, return the episodes of the newest iteration in each transcript. Raise `AgentError` if a
    transcript is missing, damaged or empty, or if no episode matches.
    """
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
    """Return for each transcript the name of its folder or file. If several have the same name, return their paths."""
    names = [path.absolute().parent.name if path.name == NAME else path.stem for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def first_difference(one: Episode, other: Episode) -> int | None:
    """Return the index of the first turn at which two episodes differ in text or command, or None if there is none.

    If one episode is the beginning of the other, they differ at the end of the shorter one.
    """
    pairs = zip_longest(*([(step.observation, step.decision.command) for step in e.steps] for e in (one, other)))
    return next((turn for turn, (a, b) in enumerate(pairs) if a != b), None)
