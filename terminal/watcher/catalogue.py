"""The episodes of the watched runs, and their filter."""

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


class CatalogueItem(NamedTuple):
    """An episode of the watched run with index `run`."""

    run: int
    row: EpisodeRow


class Batch(NamedTuple):
    """New episodes of a run. `accepted` holds the items that match `episode_filter`."""

    run: int
    restart: bool  # the run's transcript was replaced
    items: list[CatalogueItem]
    episode_filter: EpisodeFilter  # at the time of reading
    accepted: list[CatalogueItem]


class Catalogue:
    """The episodes of several runs. `shown` holds the episodes that match `episode_filter`."""

    def __init__(self, paths: Sequence[Path], episode_filter: EpisodeFilter) -> None:
        self.labels = labels(paths)
        self.columns = {"run": len(paths) > 1, "iteration": any(map(is_of_run, paths))}
        self.episode_filter = episode_filter
        self.items: list[CatalogueItem] = []
        self.shown: list[CatalogueItem] = []
        self._indices = [TranscriptIndex(path) for path in paths]

    def read(self, *, growing: bool) -> Iterator[Batch]:
        """Yield new episodes in batches. A background thread may call this method."""
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
        items, episode_filter = [CatalogueItem(run, row) for row in rows], self.episode_filter
        return Batch(run, restart, items, episode_filter, [item for item in items if episode_filter.accepts(item.row)])

    def add(self, batch: Batch) -> None:
        if batch.restart:
            self.items = [item for item in self.items if item.run != batch.run]
            self.shown = [item for item in self.shown if item.run != batch.run]
        self.items += batch.items
        if batch.episode_filter is not self.episode_filter:  # the filter has changed since
            batch = self._batch(batch.run, [item.row for item in batch.items], restart=False)
        self.show([*self.shown, *batch.accepted])

    def show(self, items: Sequence[CatalogueItem]) -> None:
        self.shown = sorted(items, key=lambda item: (item.run, item.row.iteration, item.row.index))

    def partner(self, item: CatalogueItem, run: int) -> CatalogueItem | None:
        """Return the episode of `run` with the same game and seed, and the closest iteration."""
        row = item.row
        candidates = (
            candidate
            for candidate in self.items
            if candidate.run == run and (candidate.row.game, candidate.row.seed) == (row.game, row.seed)
        )
        return min(
            candidates,
            key=lambda candidate: (abs(candidate.row.iteration - row.iteration), abs(candidate.row.index - row.index)),
            default=None,
        )


def transcripts(path: Path) -> list[Path]:
    """Return the transcripts in the folder `path`. If `path` is not a folder, return [`path`]."""
    if path.is_dir():
        matches = (sorted(path.glob(f"{below}{NAME}")) for below in ("", "*/", "*/*/"))  # `compare`: OUT/runs/RUN
        return next(filter(None, matches), [path / NAME])
    if path.is_file() and path.suffix != Path(NAME).suffix:
        raise AgentError(f"{path} is no transcript; expected the folder of a run, or a transcript file (.jsonl)")
    return [path]


def choose(paths: Sequence[Path], episode_filter: EpisodeFilter) -> list[EpisodeRow]:
    """Return the episodes that match the filter. An empty filter selects the newest iteration of each run."""
    chosen, problems = list[EpisodeRow](), list[str]()
    for path in paths:
        with console.waiting(f"reading {path}"):
            rows = sorted(TranscriptIndex(path).read(), key=lambda row: (row.iteration, row.index))
            if not rows:
                raise AgentError(f"{path} holds no episodes yet")
            newest = rows[-1].iteration + 1
            iterations = f"iterations go up to {newest}, its " if is_of_run(path) else ""
            available = f"its {iterations}episodes go up to {max(row.index for row in rows)}"
            is_numbered = (episode_filter.iteration, episode_filter.episode) != (None, None)
            problems.append(
                f"{path} has no such episode: {available if is_numbered else f'none of its {len(rows)} matches'}"
            )
            applied_filter = (
                replace(episode_filter, iteration=newest) if episode_filter == EpisodeFilter() else episode_filter
            )
            chosen += filter(applied_filter.accepts, rows)
    if not chosen:
        raise AgentError("; ".join(problems))
    return chosen


def labels(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each path. A duplicate name is replaced by the path."""
    names = [path.absolute().parent.name if path.name == NAME else path.stem for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def first_difference(first: Episode, second: Episode) -> int | None:
    """Return the index of the first turn at which two episodes differ, or None."""
    pairs = zip_longest(*([(step.observation, step.decision.command) for step in e.steps] for e in (first, second)))
    return next((turn for turn, (a, b) in enumerate(pairs) if a != b), None)
