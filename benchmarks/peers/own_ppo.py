"""Run our PPO in its own process: one rollout and one update for each line on standard input, as in trl_ppo.py.

    python -m benchmarks.peers.own_ppo

The first line of input is the job, a JSON object: settings (of `train`), threads, episodes, turns. The first line of
output is {"libraries": bytes}. The second line describes one rollout: {"segments": tokens of each segment, "choices":
position and turn of each segment's choices}. All other lines are those of trl_ppo.py. A choice is a token that the
agent sampled among several.
"""

import json
import sys
import time
from typing import Any

import torch
from transformers.models.llama import modeling_llama  # noqa: F401  # 120 MB, otherwise loaded with the model

from benchmarks.memory import peak, reset_peak, resident
from benchmarks.players import Player
from benchmarks.recorded_episodes import recorded_episodes


def send(**answer: Any) -> None:
    """Print one line of JSON."""
    print(json.dumps(answer), flush=True)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    specs = recorded_episodes(job["episodes"], job["turns"])
    send(libraries=resident())
    player = Player(job["settings"])
    rollout = player.rollout(specs)
    segments = rollout.segments
    choices = [[(choice.position, choice.turn) for choice in s.choices] for s in segments]
    send(segments=[s.tokens.tolist() for s in segments], choices=choices)
    del rollout, segments
    reset_peak()
    for _ in sys.stdin:
        begun = time.perf_counter()
        rollout = player.rollout(specs)
        played = time.perf_counter()
        player.update(rollout)
        now = time.perf_counter()
        send(seconds=now - begun, update=now - played, peak=peak())


if __name__ == "__main__":
    main()
