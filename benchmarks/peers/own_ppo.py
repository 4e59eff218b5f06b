"""Our PPO in a process of its own, one rollout and its update for each line on standard input, as trl_ppo.py.

    python -m benchmarks.peers.own_ppo

The first line is the job, a JSON object: settings (of `train`), threads, episodes, turns. After "libraries" a line says
what one rollout is: {"segments": its tokens, "choices": position and turn of each segment's choices}.
"""

import json
import sys
import time
from typing import Any

import torch
from transformers.models.llama import modeling_llama  # noqa: F401  # else loaded with the model, and 120 MB

from benchmarks.memory import forget_peak, peak, resident
from benchmarks.players import Player
from benchmarks.tapes import tapes


def say(**found: Any) -> None:
    """One line of JSON."""
    print(json.dumps(found), flush=True)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    specs = tapes(job["episodes"], job["turns"])
    say(libraries=resident())
    player = Player(job["settings"])
    rollout = player.rollout(specs)
    segments = rollout.segments
    choices = [[(choice.position, choice.turn) for choice in s.choices] for s in segments]
    say(segments=[s.tokens.tolist() for s in segments], choices=choices)
    del rollout, segments
    forget_peak()
    for _ in sys.stdin:
        begun = time.perf_counter()
        rollout = player.rollout(specs)
        played = time.perf_counter()
        player.update(rollout)
        now = time.perf_counter()
        say(seconds=now - begun, update=now - played, peak=peak())


if __name__ == "__main__":
    main()
