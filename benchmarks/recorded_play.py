"""Measure the time and the memory of reading recorded play: `python -m benchmarks.recorded_play --turns 1000000`.

There are three parts. A synthetic transcript is converted to token streams as by `train --data`, the resulting file is
indexed, and about 1,000 of its episodes are read in a scattered order. The memory of a part is how far the peak of the
process rises after the first 2,000 turns of the part or, for the index, during the whole part.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import typer

from agents.play import transcript
from agents.play.episode import Episode, Step
from agents.protocol import Decision
from benchmarks.memory import peak, reset_peak, resident

TURNS = 20
WARM = 2_000
COMMANDS = ("go east", "go north", "go south", "go west", "inventory", "look", "open chest", "take lamp",
            "take red key")  # fmt: skip


def episode(index: int) -> Episode:
    """Return a synthetic episode of `TURNS` turns. No two episodes have the same text."""
    texts = [f"You are in room {index} {turn}. You see a lamp, a red key and a closed chest." for turn in range(TURNS)]
    steps = tuple(
        Step(
            observation=text,
            admissible_commands=COMMANDS,
            reward=float((index + turn) % 7 == 0),
            score=0.0,
            decision=Decision(command=COMMANDS[(index + turn) % len(COMMANDS)]),
        )
        for turn, text in enumerate(texts)
    )
    return Episode(
        index=index,
        game="textworld:simple?seed=1",
        seed=index,
        steps=steps,
        final_observation="You have won.",
        score=1.0,
        max_score=1.0,
        won=index % 2 == 0,
        lost=False,
        terminated=index % 3 > 0,
        truncated=index % 3 == 0,
        moves=TURNS,
    )


class Meter:
    """Measures the time of one part, and how much the memory grows."""

    def __init__(self) -> None:
        reset_peak()
        self.begin, self.before = time.perf_counter(), resident()

    def watched(self, items: Iterator[Any], each: int) -> Iterator[Any]:
        """Yield the items, of `each` turns each, and begin to measure memory growth after the first `WARM` turns."""
        for number, item in enumerate(items):
            if number == WARM // each:
                reset_peak()
                self.before = resident()
            yield item

    def row(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.begin
        return {"seconds": round(seconds, 1), "growth_mb": round((peak() - self.before) / 1e6, 1)}


def measure(turns: int, folder: Path) -> dict[str, Any]:
    """Write a transcript of `turns` turns to `folder`, and measure all three parts."""
    from agents.language_model.recorded_streams import StreamRecorder
    from agents.text.prompt import PLAIN
    from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer
    from agents.training import data_file

    source, data, count = folder / transcript.NAME, folder / "data.jsonl", turns // TURNS
    for start in range(0, count, 100):
        entries = (transcript.Entry(iteration=0, episode=episode(n)) for n in range(start, min(start + 100, count)))
        transcript.append(source, entries)
    tokenizer = word_tokenizer(textworld_vocabulary())
    recorder = StreamRecorder(tokenizer, PLAIN, mode="trie", context=1024, gamma=0.9)
    results: dict[str, Any] = {"turns": turns, "transcript_mb": round(source.stat().st_size / 1e6, 1)}
    meter = Meter()
    converter = data_file.Converter(recorder, {"": ("\n> ", "\n")}, labels="expert")
    episodes = (entry.episode for entry in transcript.read(source))
    with data.open("w", encoding="utf-8") as file:
        file.writelines(converter.lines(zip(repeat("source"), meter.watched(episodes, TURNS))))
    results |= {"data_mb": round(data.stat().st_size / 1e6, 1), "convert": meter.row()}
    meter = Meter()
    index = data_file.read_index(data, len(tokenizer))
    results["index"] = meter.row()
    meter = Meter()
    for number in meter.watched(iter(range(0, count, max(1, count // 1000))), TURNS):
        data_file.read_row(data, index, number * 7919 % count, len(tokenizer))
    return results | {"read_1000": meter.row()}


def main(turns: Annotated[int, typer.Option(min=2 * WARM, help="Turns of the transcript.")] = 1_000_000) -> None:
    """Print the measures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(turns, Path(folder)), indent=1))


if __name__ == "__main__":
    typer.run(main)
