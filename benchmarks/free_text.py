"""Compare free generation and its update with the `transformers` library: the same prompts, batch and model.

    python -m benchmarks.free_text [--texts N] [--tokens N] [--out FILE]

Four tasks alternate. The settings are the presets of `train` for the completion game with SmolLM2 (bf16 and LoRA):

    generate    `model.generate` of `transformers`: a padded batch of prompts, sampling, its own key/value cache
    rollout     the agent writes texts at the same prompts: tokenizer, cache, v, q, sampling, records, the game
    passes      forward and backward passes of the language model with its loss over the same tokens, in the update's
                epochs, mini- and micro-batches
    update      `Updater.learn`: targets, heads, losses, the same passes, gradient clipping, the optimizer's step

`generate` and `rollout` are compared by tokens per second, because texts may end early. The reported ratios are those
of rollout to generate (above 1, our side is faster) and of update to passes (below 1, our side is faster). The update
measures no KL, because the bare passes have no reference policy. The learning rate is 0, so that all rounds are equal.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

import games
from agents.training.rollout_batch import MicroBatch, RolloutBatch
from benchmarks import harness
from benchmarks.bare_trunk import NO_LEARNING, in_steps
from benchmarks.players import Player, choices_in


@torch.no_grad()
def generate(player: Player, prompts: Sequence[str], tokens: int) -> tuple[float, int]:
    """Write texts with `transformers`. Return a tuple (seconds, number of tokens written)."""
    tokenizer, model = player.tokenizer, player.model.lm.eval()
    begun = time.perf_counter()
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True)
    pad = tokenizer.pad_token_id
    with player.model.in_trunk_dtype():
        texts = model.generate(**batch, max_new_tokens=tokens, do_sample=True, top_k=0, pad_token_id=pad)
    written = texts[:, batch["input_ids"].shape[1] :]
    return time.perf_counter() - begun, int((written != pad).sum())


def passes(player: Player, rollout: RolloutBatch) -> None:
    """Run forward and backward passes for the cross-entropy of the sampled tokens, in the steps of the update."""
    model = player.model.train()

    def run(part: MicroBatch) -> None:
        with model.in_trunk_dtype():
            logits = model.lm(input_ids=part.tokens, use_cache=False).logits
        at_choices = logits[part.choices.rows, part.choices.positions].float()
        torch.autograd.backward(torch.nn.functional.cross_entropy(at_choices, part.choices.alternatives[:, 0]))

    in_steps(model, rollout, player.config.update, run)


def measure(texts: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Time all four tasks."""
    game = f"completion?reward=length&max_tokens={tokens}&newlines=true"
    settings = {"optimizer": "actde", "game": game, "episodes": texts, "parallel": texts, "measure_kl": False}
    player = Player(settings | NO_LEARNING)
    specs = games.resolve(game) * texts
    rollout = player.rollout(specs)
    prompts = [
        player.tokenizer.decode(segment.tokens[: segment.choices[0].position + 1]) for segment in rollout.segments
    ]
    rates: dict[str, list[float]] = {"generate": [], "rollout": []}

    def peer() -> float:
        seconds, written = generate(player, prompts, tokens)
        rates["generate"].append(written / seconds)
        return seconds

    def ours() -> float:
        begun = time.perf_counter()
        played = player.rollout(specs)
        seconds = time.perf_counter() - begun
        rates["rollout"].append(choices_in(played) / seconds)
        return seconds

    seconds = harness.alternate(
        {
            "generate": peer,
            "rollout": ours,
            "passes": lambda: passes(player, rollout),
            "update": lambda: player.update(rollout),
        },
        rounds,
    )
    rates = {name: values[-rounds:] for name, values in rates.items()}
    return {
        "texts": texts,
        "tokens": tokens,
        "choices": choices_in(rollout),
        "seconds": seconds,
        "tokens_per_second": rates,
        "rollout": harness.ratios(rates["rollout"], rates["generate"]),
        "update": harness.ratios(seconds["update"], seconds["passes"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = harness.start(
        __doc__,
        arguments,
        texts=(32, "texts of a rollout, all written in parallel"),
        tokens=(16, "maximum number of tokens of a text"),
    )
    row = measure(options.texts, options.tokens, options.rounds)
    print(f"tokens per second, ours / transformers.generate: {harness.shown(row['rollout'])}")
    print(f"seconds, update / bare passes: {harness.shown(row['update'])}")
    harness.report("free_text", options, arguments, rows=[row])


if __name__ == "__main__":
    main()
