"""The episodes of the watched runs, and the filtered episodes that the list shows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from agents.play.episode import Episode
from agents.play.transcript import NAME, is_of_run
from agents.play.transcript_index import EpisodeFilter, EpisodeRow, TranscriptIndex

BATCH = 1000  # rows that are passed on at once


class Place(NamedTuple):
    """An episode of the watched runs.

    `run` is the number of its run, from 0, in the order of the command line. `row` holds what the list shows of the
    episode, and the episode's position in the transcript.
    """

    run: int
    row: EpisodeRow

    @property
    def order(self) -> tuple[int, int, int]:
        """The sort key of the episode list: run, iteration and number of the episode."""
        return self.run, self.row.iteration, self.row.index


class Batch(NamedTuple):
    """Episodes of one run that were read together.

    Attributes:
        run: number of the run.
        restart: whether the run's transcript was replaced, so that all of its earlier episodes are gone.
        places: the episodes.
        wanted: the filter at the time of reading.
        kept: the episodes that `wanted` matches.
    """

    run: int
    restart: bool
    places: list[Place]
    wanted: EpisodeFilter
    kept: list[Place]


class Catalogue:
    """The episodes of several transcripts.

    Attributes:
        labels: short name of each run.
        columns: for each of the optional columns "run" and "iteration", whether a list of the episodes has it.
        places: all episodes, in the order of reading.
        shown: the episodes that the filter `wanted` matches, by run, iteration and number.
    """

    def __init__(self, paths: Sequence[Path], wanted: EpisodeFilter) -> None:
        self.labels = labels(paths)
        self.columns = {"run": len(paths) > 1, "iteration": any(map(is_of_run, paths))}
        self.wanted = wanted
        self.places: list[Place] = []
        self.shown: list[Place] = []
        self._indices = [TranscriptIndex(path) for path in paths]

    def read(self, *, growing: bool) -> Iterator[Batch]:
        """Yield the episodes that were written since the last call.

        `growing` tells whether the transcripts may still grow (see `TranscriptIndex.read`). This method changes
        neither `places` nor `shown`, so that it can run in a thread.
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
        """Add the episodes of a batch to `places`, and those that the filter matches to `shown`."""
        if batch.restart:
            self.places = [place for place in self.places if place.run != batch.run]
            self.shown = [place for place in self.shown if place.run != batch.run]
        self.places += batch.places
        same = batch.wanted is self.wanted
        kept = batch.kept if same else [place for place in batch.places if self.wanted.accepts(place.row)]
        self.show([*self.shown, *kept])

    def show(self, places: Sequence[Place]) -> None:
        self.shown = sorted(places, key=lambda place: place.order)

    @property
    def has_others(self) -> bool:
        """Whether there are several runs, which can be compared."""
        return len(self.labels) > 1

    def partner(self, place: Place, run: int) -> Place | None:
        """Return an episode of run number `run` that has the game and the seed of `place`, or None if there is none.

        If there are several, return the one whose iteration and number are nearest to those of `place`.
        """
        row = place.row

        def distance(other: Place) -> tuple[int, int]:
            return abs(other.row.iteration - row.iteration), abs(other.row.index - row.index)

        same = (
            other
            for other in self.places
            if other.run == run and (other.row.game, other.row.seed) == (row.game, row.seed)
        )
        return min(same, key=distance, default=None)


def labels(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each transcript: the name of its folder or file, or its path if two names are equal."""
    names = [path.absolute().parent.name if path.name == NAME else path.stem for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def first_difference(one: Episode, other: Episode) -> int | None:
    """Return the first turn at which two episodes of a game differ in text or command, or None if they are equal.

    Turns count from 0. If one episode is the beginning of the other, return the turn after the shorter one's last turn.
    """
    pairs = zip(one.steps, other.steps, strict=False)
    for turn, (a, b) in enumerate(pairs):
        if (a.observation, a.decision.command) != (b.observation, b.decision.command):
            return turn
    return None if len(one.steps) == len(other.steps) else min(len(one.steps), len(other.steps))
