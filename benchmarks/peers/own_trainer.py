"""Run our trainer in its own process: each line on standard input starts one rollout and its update.

    python -m benchmarks.peers.own_trainer

The first line of input is the job, a JSON object: settings (of `train`), threads, episodes, and optionally turns (of
tapes, which are played instead of the game in `settings`), max_turns (of an episode) and clock (the name of a function
in `time`; the default is perf_counter).

The first line of output is {"libraries": bytes}. The second line describes one rollout: {"segments": tokens of each
segment, "choices": position and turn of each segment's choices}. A choice is a token that the agent sampled among
several. For each later line of input, which starts a rollout and its update, there is a line {"seconds", "update":
seconds of the update alone, "peak": bytes}.
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
    print(json.dumps(answer), flush=True)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    count = job["episodes"]
    specs = recorded_episodes(count, job["turns"]) if "turns" in job else games.resolve(job["settings"]["game"]) * count
    send(libraries=resident())
    clock, limit = getattr(time, job.get("clock", "perf_counter")), job.get("max_turns")
    player = Player(job["settings"])
    rollout = player.rollout(specs, max_turns=limit)
    choices = [[(choice.position, choice.turn) for choice in segment.choices] for segment in rollout.segments]
    send(segments=[segment.tokens.tolist() for segment in rollout.segments], choices=choices)
    del rollout
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
