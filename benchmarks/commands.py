"""Compare three methods that choose a command: a trie pass with a cache, a pass for each command, and copied caches.

    python -m benchmarks.commands [--trunk smollm2] [--dtype bfloat16] [--commands 5,20,40] [--turns 1,10,30]

Our agent plays an episode. At some turns, three methods choose among the same commands after the same text:

    ours     `LanguageModelAgent`'s evaluate, sample and commit: one pass over new text and the trie of commands
    passes   TWOSOME's method: for each command, one pass over the whole text and the command
    copies   lamorel's method: one pass over the whole text, then one over all commands, each with a copy of the cache

The peers (`passes` and `copies`, in peers/scoring.py) start from tokens. Our method also tokenizes the text and
computes the heads for v and q. All methods score the token that ends a command.

All multiply p(token | text) over a command's tokens, but define different policies. The peers normalise p over the
vocabulary, and the product over the commands. Our method normalises p at each node of the trie over the next tokens of
the commands. `policies differ` is the total variation distance between these two policies for the same logits. `off` is
a check: the largest difference between our probabilities and our normalisation of the peers' scores.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.peers.scoring import cached_copies, one_pass_each, over_choices, over_commands
from benchmarks.players import Player, Text, ended
from benchmarks.recorded_episodes import EpisodeSpec, recorded_episodes

PEERS = {"passes": one_pass_each, "copies": cached_copies}


def play(player: Player, tape: EpisodeSpec, at: Sequence[int], episode: int) -> dict[int, dict[str, Any]]:
    """Play a tape (a recorded episode) and measure all three methods at the turns `at`, which count from 1.

    Return a row for each of these turns. The module docstring defines `off` and `policies_differ`.
    """
    agent = player.agent(context=None)
    text, rows = Text(agent), {}
    lm = player.model.lm.eval()
    for number in range(max(at)):
        turn = tape.turn(number, episode=episode)
        begun = time.perf_counter()
        outputs = agent.evaluate([turn])
        ((decision, command),) = agent.sample([turn], outputs)
        seconds = {"ours": time.perf_counter() - begun}
        commands = outputs[0].trie.commands
        text.show(turn)
        if number + 1 in at:
            ours = np.array([decision.probabilities[name] for name in turn.info["admissible_commands"]])
            row: dict[str, Any] = {"tokens": len(text.tokens), "seconds": seconds, "off": {}}
            for name, peer in PEERS.items():
                begun = time.perf_counter()
                scores = peer(lm, text.tokens, commands)
                theirs = over_commands(scores)
                seconds[name] = time.perf_counter() - begun
                row["off"][name] = float(np.abs(over_choices(scores, commands) - ours).max())
            row["policies_differ"] = float(np.abs(theirs - ours).sum() / 2)
            rows[number + 1] = row
        begun = time.perf_counter()
        agent.commit([turn], outputs, [command])
        seconds["ours"] += time.perf_counter() - begun
        text.tokens += commands[command]
    agent.end([ended(episode)])
    return rows


def measure(player: Player, commands: int, at: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Return a row for each turn of `at` with the seconds of all rounds, after a warm-up round."""
    tape = recorded_episodes(1, max(at), commands=commands)[0]
    play(player, tape, at[:1], 0)
    plays = [play(player, tape, at, 1 + number) for number in range(rounds)]
    rows = []
    for number in at:
        seconds = {name: [one[number]["seconds"][name] for one in plays] for name in ("ours", *PEERS)}
        rows.append(
            {
                "commands": commands,
                "turn": number,
                "tokens": plays[0][number]["tokens"],
                "seconds": seconds,
                "decisions_per_second": 1 / harness.summary(seconds["ours"])["median"],
                "ratios": {name: harness.ratios(seconds[name], seconds["ours"]) for name in PEERS},
                "off": {name: max(one[number]["off"][name] for one in plays) for name in PEERS},
                "policies_differ": plays[0][number]["policies_differ"],
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(
        __doc__,
        arguments,
        trunk=("smollm2", "trunk of `train`"),
        dtype=("bfloat16", "float32 or bfloat16; float32 for the comparison in `off`"),
        commands=([5, 20, 40], "numbers of commands"),
        turns=([1, 10, 30], "turns at which to measure; the context of `small` allows 20"),
    )
    player = Player({"trunk": options.trunk, "dtype": options.dtype, "lora": 0, "optimizer": "actde"})
    print(f"{'commands':>8} {'turn':>5} {'tokens':>7} {'ours, 1/s':>12} {'passes / ours':>20} {'copies / ours':>20}"
          f" {'off':>9} {'policies differ':>16}")  # fmt: skip
    rows: list[dict[str, Any]] = []
    for commands in options.commands:
        for row in measure(player, commands, options.turns, options.rounds):
            rows.append(row)
            ratios = " ".join(f"{harness.shown(row['ratios'][name], 1):>20}" for name in PEERS)
            print(f"{commands:8} {row['turn']:5} {row['tokens']:7} {row['decisions_per_second']:12.2f} {ratios}"
                  f" {max(row['off'].values()):9.1e} {row['policies_differ']:16.3f}", flush=True)  # fmt: skip
    harness.report("commands", options, arguments, rows=rows)


if __name__ == "__main__":
    main()
