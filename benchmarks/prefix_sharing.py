"""Compare the time and peak memory of play and updates with and without shared prefixes of episodes.

    python -m benchmarks.prefix_sharing [--agent actde-small] [--episodes 32] [--minibatches 1] [--out FILE]

The two sides are `--prefix-sharing auto`, which computes a common prefix of several episodes once, and `off`. They run
alternately. A shipped agent plays each case in float32. Both sides learn from the same rollout with the same model, in
one epoch at a learning rate of 0. Ratios are off / auto for seconds, and auto / off for memory. The cases are:

    same        all episodes play one game
    groups      four games, each played by a quarter of the episodes
    different   every episode plays another game
    completions GRPO on groups of eight completions of 32 random tokens after a prompt of 300, without play

`sharing` is the number of tokens of separate streams, divided by the number of tokens that the trunk computes, in play
and in the update. An iteration is a rollout and an update. Episodes share prefixes only within a gradient step, so more
`--minibatches` share less. Memory is the peak during an update in a forked process, minus the memory held before.
"""

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import games
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Choice, Segment
from agents.play.runner import EpisodeRunner
from agents.registry import SHIPPED
from agents.storage.checkpoint import load_agent
from agents.training.rollout_batch import RolloutBatch
from benchmarks import harness
from benchmarks.bare_trunk import NO_LEARNING
from benchmarks.memory import peak, reset_peak, resident
from benchmarks.players import Player, choices_in, tokens_in

SIDES = ("auto", "off")
SHAPE = (8, 300, 32)  # completions per prompt, tokens of a prompt, tokens of a completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Games that are played, or random completions if `games` is empty.

    `speedup` and `memory` are targets for the update: the least ratio off / auto and the largest ratio auto / off.
    """

    games: tuple[str, ...] = ()
    speedup: float
    memory: float | None = None


CASES = {
    "same": Case(games=("textworld:simple?seed=1",), speedup=4, memory=0.5),
    "groups": Case(games=tuple(f"textworld:coin?level=5&seed={seed}" for seed in range(1, 5)), speedup=2.5),
    "different": Case(games=tuple(f"textworld:quest?level=3&seed={seed}" for seed in range(1, 33)), speedup=0.97),
    "completions": Case(speedup=3),
}


class Bench:
    """For each side (`auto` and `off`) of a case, an agent that plays and a player that learns, with one model."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        case, episodes = CASES[name], options.episodes
        agent = load_agent(SHIPPED / options.agent, seed=0)
        agent.model.float()
        if case.games:
            specs = [spec for name in case.games[:episodes] for spec in games.resolve(name)]
            group = max(1, episodes // len(specs))
            self.runner = EpisodeRunner(specs, seed=0, parallel=16, max_turns=40, group_size=group)
        self.name, self.episodes = name, episodes
        self.agents = {side: recorder(agent, share_prefixes=side == "auto") for side in SIDES}
        settings = {
            "trunk": "small" if "small" in options.agent else "smollm2",
            "minibatches": options.minibatches,
            "episodes": episodes,
            "micro_batch_tokens": options.micro_tokens,
        }
        group_size = None if case.games else SHAPE[0]
        self.players = {side: learner(agent, group_size, settings | {"prefix_sharing": side}) for side in SIDES}

    def rollout(self, side: str) -> RolloutBatch:
        return self.play(side) if CASES[self.name].games else completions(self.agents[side], self.episodes)

    def play(self, side: str) -> RolloutBatch:
        agent, self.runner.next_episode = self.agents[side], 0
        agent.forget()
        with agent.model.mode(training=False):
            for _ in self.runner.play(agent, self.episodes):
                pass
        return RolloutBatch(agent.take_segments(), credit="token")


def recorder(agent: LanguageModelAgent, *, share_prefixes: bool) -> LanguageModelAgent:
    """Return an agent that plays like `agent` and records token streams."""
    return LanguageModelAgent(
        agent.model,
        agent.tokenizer,
        prompt=agent.prompt,
        context=agent.context,
        record=True,
        share_prefixes=share_prefixes,
    )


def learner(agent: LanguageModelAgent, group_size: int | None, settings: dict[str, Any]) -> Player:
    """Return a player with the agent's model and a learning rate of 0. It learns by GRPO, or ACTDE without groups."""
    fixed = {**NO_LEARNING, "optimizer": "grpo" if group_size else "actde", "epochs": 1, "dtype": "float32"}
    return Player(fixed | {"group_size": group_size or 1} | settings, model=agent.model, tokenizer=agent.tokenizer)


def completions(agent: LanguageModelAgent, episodes: int, shape: tuple[int, int, int] = SHAPE) -> RolloutBatch:
    """Return a rollout of random completions, chosen from the whole vocabulary. `shape` is as in `SHAPE`."""
    rng, segments, (group, prompt_length, length) = np.random.default_rng(0), list[Segment](), shape
    for episode in range(episodes):
        if episode % group == 0:
            prompt = rng.integers(0, agent.model.vocabulary, prompt_length)
        tokens = np.concatenate([prompt, rng.integers(0, agent.model.vocabulary, length)])
        numbers: dict[str, Any] = dict.fromkeys(("logprob", "value", "q_value", "entropy"), 0.0)
        numbers["reward"] = float(rng.normal())
        choices = [
            Choice(position=place - 1, turn=0, alternatives=(int(tokens[place]),), chosen=0, **numbers)
            for place in range(prompt_length, len(tokens))
        ]
        segments.append(Segment(episode=episode, tokens=tokens[:-1], choices=tuple(choices), whole_vocabulary=True))
    return RolloutBatch(segments, credit="token", group_size=group)


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    bench, metrics = Bench(name, options), dict[str, dict[str, float]]()
    rollout = bench.rollout("off")
    memory = {side: memory_in_child(bench.players[side], rollout) for side in SIDES}

    def update(side: str) -> None:
        metrics[side] = bench.players[side].update(rollout)

    seconds = alternate(update, options.rounds)
    played = played_row(bench, seconds, options.rounds) if CASES[name].games else {}
    return {
        "case": name,
        "tokens": tokens_in(rollout),
        "choices": choices_in(rollout),
        "sharing": metrics["auto"]["prefix_sharing"],
        "grad_norm": {side: numbers["grad_norm"] for side, numbers in metrics.items()},
        "seconds": seconds,
        "speedup": harness.ratios(seconds["off"], seconds["auto"]),
        "bytes": memory,
        "memory": memory["auto"] / memory["off"],
        **played,
        "targets": {"speedup": CASES[name].speedup, "memory": CASES[name].memory},
    }


def alternate(measured: Callable[[str], object], rounds: int) -> harness.Times:
    return harness.alternate({side: lambda side=side: measured(side) for side in SIDES}, rounds)  # type: ignore[misc]


def played_row(bench: Bench, update: harness.Times, rounds: int) -> dict[str, Any]:
    """Return the results of play and of whole iterations. `update` holds the seconds of the updates."""
    tokens = {side: [one.tokens.tolist() for one in bench.play(side).segments] for side in SIDES}
    seconds, reader = alternate(bench.play, rounds), bench.agents["auto"].reader
    iteration = {side: [sum(pair) for pair in zip(seconds[side], update[side], strict=True)] for side in SIDES}
    return {
        "play_sharing": reader.tokens / reader.computed,
        "play_equal": tokens["auto"] == tokens["off"],
        "play_seconds": seconds,
        "play_speedup": harness.ratios(seconds["off"], seconds["auto"]),
        "iteration_speedup": harness.ratios(iteration["off"], iteration["auto"]),
    }


def memory_in_child(player: Player, rollout: RolloutBatch) -> int:
    """Run an update in a forked process. Return its peak memory in bytes, minus the memory held before the update."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        torch.set_num_threads(1)  # the threads of this process do not exist in its copy
        before = resident()
        reset_peak()
        player.update(rollout)
        sender.send(peak() - before)

    process = context.Process(target=run)
    process.start()
    added: int = receiver.recv()
    process.join()
    return added


def line(row: dict[str, Any]) -> str:
    times = [harness.summary(row["seconds"][side])["median"] for side in SIDES]
    text = (
        f"{row['case']:12} {row['tokens']:7} {row['choices']:7} {row['sharing']:8.2f} {times[0]:8.2f} {times[1]:8.2f}"
        f" {harness.shown(row['speedup']):>20} {row['bytes']['auto'] / 1e6:9.0f} {row['bytes']['off'] / 1e6:8.0f}"
        f" {row['memory']:7.2f}"
    )
    if "play_seconds" not in row:
        return text
    times = [harness.summary(row["play_seconds"][side])["median"] for side in SIDES]
    return (
        f"{text}\n{'':5}its play {'':15} {row['play_sharing']:8.2f} {times[0]:8.2f} {times[1]:8.2f}"
        f" {harness.shown(row['play_speedup']):>20}   same tokens: {row['play_equal']}"
        f"\n{'':5}iteration {'':41} {harness.shown(row['iteration_speedup']):>20}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, "actde-small", ",".join(CASES)).parse_args(arguments)
    harness.begin(options.threads)
    print(f"{'':12} {'tokens':>7} {'choices':>7} {'sharing':>8} {'auto, s':>8} {'off, s':>8} {'off / auto':>20}"
          f" {'auto, MB':>9} {'off, MB':>8} {'ratio':>7}")  # fmt: skip
    rows = []
    for name in options.cases.split(","):
        rows.append(measure(name, options))
        print(line(rows[-1]), flush=True)
    harness.report("prefix_sharing", options, arguments, rows=rows)


def parser(about: str | None, agent: str, cases: str) -> argparse.ArgumentParser:
    """Return a parser of the command line with these defaults."""
    return harness.parser(
        about,
        agent=(agent, "shipped agent that plays and learns"),
        cases=(cases, "cases to measure"),
        episodes=(32, "episodes per rollout"),
        minibatches=(1, "gradient steps per epoch"),
        micro_tokens=(4096, "tokens per micro-batch"),
    )


if __name__ == "__main__":
    main()
