"""Run our trainer in its own process: each line on standard input starts one rollout and its update.

    python -m benchmarks.peers.own_trainer

The first line of input is the job, a JSON object: settings (of `train`), threads, and episodes. If the job has `turns`,
the episodes are tapes (recorded episodes) of this many turns. Otherwise they are episodes of the game in `settings`. If
the job has `max_turns`, an episode ends after this many commands. `clock` is the name of a function in the module
`time`; the default is perf_counter.

The first line of output is {"libraries": bytes}. The second line describes one rollout: {"segments": tokens of each
segment, "choices": position and turn of each segment's choices}. A choice is a token that the agent sampled among
several. Every later line of input starts a round, which is a rollout and its update. For each round, there is a line
{"seconds", "update": seconds of the update alone, "peak": bytes}.
"""

import json
import sys
import time
from typing import Any

import torch
from transformers.models.llama import modeling_llama  # noqa: F401  # 120 MB, otherwise loaded with the model

import games
from benchmarks.memory import peak, reset_peak, resident
from benchmarks.players import Player
from benchmarks.recorded_episodes import recorded_episodes


def send(**answer: Any) -> None:
    """Print one line of JSON."""
    print(json.dumps(answer), flush=True)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    episodes = job["episodes"]
    specs = (
        recorded_episodes(episodes, job["turns"])
        if "turns" in job
        else games.resolve(job["settings"]["game"]) * episodes
    )
    send(libraries=resident())
    clock, limit = getattr(time, job.get("clock", "perf_counter")), job.get("max_turns")
    player = Player(job["settings"])
    rollout = player.rollout(specs, max_turns=limit)
    segments = rollout.segments
    choices = [[(choice.position, choice.turn) for choice in s.choices] for s in segments]
    send(segments=[s.tokens.tolist() for s in segments], choices=choices)
    del rollout, segments
    reset_peak()
    for _ in sys.stdin:
        begun = clock()
        rollout = player.rollout(specs, max_turns=limit)
        played = clock()
        player.update(rollout)
        now = clock()
        send(seconds=now - begun, update=now - played, peak=peak())


if __name__ == "__main__":
    main()
