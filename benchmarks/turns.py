"""Compare whole turns of two agents: one keeps its cache between turns, the other encodes the history at every turn.

    python -m benchmarks.turns [--trunk smollm2] [--dtype bfloat16] [--turns 30] [--out FILE] [--figure FILE.svg]

Both agents play the same tape (a recorded episode) and the same commands. `kept` is our agent. `again` works like
trl-textworld: at every turn it tokenizes and encodes the whole text so far, both commands and responses. Its other
parts are ours (trie pass, heads, sampling), so that only the treatment of the history differs. trl-textworld also
decodes commands token by token and has a second model. These costs are not included.

`off` is the largest difference between the two agents' probabilities of a command. The benchmark reports the number of
turns at which a subword tokenizer splits the whole text differently from its pieces.

With a cache, the time of a turn should grow with the turn number only because of attention. `attention` measures this
cost alone: torch's attention of the new tokens over all tokens so far, with the trunk's shapes, for all layers.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import TurnOutputs
from agents.protocol import Decision, Turn
from benchmarks import harness
from benchmarks.players import Player, Text, ended
from benchmarks.recorded_episodes import EpisodeSpec, recorded_episodes
from experiments.plot_style import PALETTE, make_figure, save_figure

WAYS = ("again", "kept", "attention")


def decide(agent: LanguageModelAgent, turn: Turn, taken: int | None) -> tuple[float, TurnOutputs, Decision, int]:
    """Play one turn with the command of index `taken`, or with a sampled command if None.

    Return a tuple: (1) seconds, (2) outputs, (3) decision, (4) index of the command.
    """
    begun = time.perf_counter()
    outputs = agent.evaluate([turn])
    ((decision, command),) = agent.sample([turn], outputs)
    command = command if taken is None else taken
    agent.commit([turn], outputs, [command])
    return time.perf_counter() - begun, outputs[0], decision, command


def attention(player: Player, new: int, visible: int) -> float:
    """Return the seconds that the attention of all layers takes, for one row of `new` queries and `visible` keys."""
    config = player.model.base.config
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", heads)
    dtype = next(player.model.base.parameters()).dtype
    q, k = torch.randn(1, heads, new, width, dtype=dtype), torch.randn(1, keys, visible, width, dtype=dtype)
    k = k.repeat_interleave(heads // keys, dim=1)
    mask = torch.ones(1, 1, new, visible, dtype=torch.bool).tril(visible - new)
    begun = time.perf_counter()
    for _ in range(config.num_hidden_layers):
        scaled_dot_product_attention(q, k, k, attn_mask=mask)
    return time.perf_counter() - begun


def play(player: Player, tape: EpisodeSpec, episode: int) -> list[dict[str, Any]]:
    """Play a tape with both agents and return a row for each turn. Episode numbers from `episode` on are used."""
    kept, again = player.agent(context=None), player.agent(context=None)
    pieces, text, rows = Text(kept), "", []
    for number in range(len(tape.scenes)):
        turn = tape.turn(number, episode=episode)
        text += turn.observation
        whole = replace(turn, episode=episode + number, observation=text, first=True)
        pieces.show(turn)
        theirs, ours = decide(again, whole, 0), decide(kept, turn, None)
        again.end([ended(whole.episode)])
        assert theirs[1].tree is not None and ours[1].tree is not None
        probabilities = np.array([list(each[2].probabilities.values()) for each in (ours, theirs)])
        new, inner = ours[1].tree.length, len(ours[1].trie.input_nodes)
        rows.append(
            {
                "turn": number + 1,
                "new": new,
                "tokens": len(pieces.tokens),
                "same_tokens": pieces.tokens == list(theirs[1].tree.tokens),
                "off": float(np.abs(probabilities[0] - probabilities[1]).max()),
                "again": theirs[0],
                "kept": ours[0],
                "attention": attention(player, new, len(pieces.tokens) + inner),
            }
        )
        pieces.tokens += ours[1].trie.commands[ours[3]]
        text += turn.prompt + ours[2].command + kept.prompt.after_command(game_terminator=turn.terminator)
    kept.end([ended(episode)])
    return rows


def measure(player: Player, turns: int, commands: int | None, rounds: int) -> dict[str, Any]:
    """Return the seconds of every turn and round, and the ratios of whole episodes."""
    tape = recorded_episodes(1, turns, commands=commands)[0]
    play(player, replace(tape, scenes=tape.scenes[:3]), 0)  # warm-up
    plays = [play(player, tape, 1000 * (1 + number)) for number in range(rounds)]
    rows = [
        {
            **{name: row[name] for name in ("turn", "new", "tokens", "same_tokens")},
            "off": max(one[index]["off"] for one in plays),
            "seconds": {way: [one[index][way] for one in plays] for way in WAYS},
        }
        for index, row in enumerate(plays[0])
    ]
    ends = [*(at for at in (1, 5, 10, 20) if at < turns), turns]
    return {"rows": rows, "episodes": {at: episode(rows, at) for at in ends}}


def episode(rows: Sequence[dict[str, Any]], turns: int) -> dict[str, Any]:
    """Return the tokens and seconds of the first `turns` turns together, and the ratio again / kept."""
    rounds = range(len(rows[0]["seconds"]["kept"]))
    summed = {way: [sum(row["seconds"][way][number] for row in rows[:turns]) for number in rounds] for way in WAYS}
    return {
        "tokens": rows[turns - 1]["tokens"],
        "seconds": summed,
        "ratio": harness.ratios(summed["again"], summed["kept"]),
    }


def growth(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return how many more ms a turn takes for each 1,000 tokens before it, for `kept` and for attention alone.

    This is c of the least-squares fit seconds = a + b (new tokens) + c (tokens so far), over the turns of a round.
    """
    terms = np.array([[1.0, row["new"], row["tokens"]] for row in rows])
    slopes = {}
    for way in ("kept", "attention"):
        seconds = np.array([row["seconds"][way] for row in rows])  # [turns, rounds]
        slopes[way] = harness.summary((1e6 * np.linalg.lstsq(terms, seconds, rcond=None)[0][2]).tolist())
    return slopes


def draw(data: dict[str, Any], path: Path) -> None:
    """Plot the seconds of each turn and of the episode so far: medians over rounds, with areas of their range."""
    figure, (left, right) = make_figure()
    for way, color, dashes, label in (
        ("again", PALETTE[1], "--", "history encoded again"),
        ("kept", PALETTE[0], "-", "cache kept"),
        ("attention", PALETTE[6], ":", "attention alone"),
    ):
        seconds = np.array([row["seconds"][way] for row in data["rows"]])
        turns = np.arange(1, len(seconds) + 1)
        for axis, drawn in ((left, seconds), (right, seconds.cumsum(axis=0))):
            axis.plot(turns, np.median(drawn, axis=1), dashes, color=color, label=label)
            axis.fill_between(turns, drawn.min(axis=1), drawn.max(axis=1), color=color, alpha=0.2, linewidth=0)
    for axis, label in ((left, "seconds for the turn"), (right, "seconds for the episode so far")):
        axis.set(xlabel="turn", ylabel=label, yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    save_figure(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(
        __doc__,
        arguments,
        trunk=("smollm2", "trunk of `train`; the context of `small` allows about 20 turns"),
        dtype=("bfloat16", "float32 or bfloat16; float32 for the comparison in `off`"),
        turns=(30, "turns of the episode"),
        commands=(int, "number of commands at each turn; default: that of the games"),
        figure=(Path, "file of a figure of seconds against turns"),
    )
    player = Player({"trunk": options.trunk, "dtype": options.dtype, "lora": 0, "optimizer": "actde"})
    data = measure(player, options.turns, options.commands, options.rounds)
    data["growth"] = growth(data["rows"])
    print(f"{'turns':>5} {'tokens':>7} {'again, s':>20} {'kept, s':>20} {'again / kept':>20}")
    for turns, row in data["episodes"].items():
        shown = [harness.shown(harness.summary(row["seconds"][way])) for way in ("again", "kept")]
        print(f"{turns:5} {row['tokens']:7} {shown[0]:>20} {shown[1]:>20} {harness.shown(row['ratio'], 1):>20}")
    kept, attention_share = (harness.shown(data["growth"][way], 1) for way in ("kept", "attention"))
    print(f"each 1,000 tokens of text add {kept} ms to a turn; attention alone adds {attention_share} ms")
    off, cut = max(row["off"] for row in data["rows"]), sum(not row["same_tokens"] for row in data["rows"])
    print(f"off by at most {off:.1e}; turns whose text was tokenized differently: {cut}")
    harness.report("turns", options, arguments, **data)
    if options.figure is not None:
        draw(data, options.figure)


if __name__ == "__main__":
    main()
