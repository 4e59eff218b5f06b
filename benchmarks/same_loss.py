"""Compare the policy loss of one step of TRL's PPO with that of our update on the same data.

`trl` runs one step of TRL, and returns the data and the logged loss. The model has two layers, and a formula gives its
weights. `ours` converts the tokens, values and scores to segments, and returns our loss. Every token of an answer
becomes a choice, which is a token that the agent sampled among several.

The module is a part of `benchmarks.update`. update.json stores the result of one run of `trl`, so that `ours` can be
tested without TRL.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from actde import PPO, Batch, OptimizerConfig, Targets
from actde.returns import AllReduce, no_reduce
from agents.config import UpdateConfig
from agents.language_model.token_stream import Choice, Segment
from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, make_torch_optimizer

VOCABULARY, WIDTH = 512, 32
EPOCHS, LEARNING_RATE, ANSWER = 3, 3e-3, 12
LENGTHS = (9, 14, 14, 5, 11, 8)  # of the prompts, which TRL pads
SEED = 2  # of the prompts, with which TRL does not sample its padding token
MEASURE = ("loss/policy_avg", "policy_loss")
"""Names of the compared loss in TRL and in our update: the clipped surrogate, averaged over choices and epochs.

The other measures that both sides report have different definitions. For example, TRL counts a ratio as clipped only if
the clipping changes the loss.
"""


class BesselPPO(PPO):
    """PPO that whitens advantages with the unbiased variance estimate, as TRL does."""

    name = "bessel"

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        targets = super().targets(batch, all_reduce=all_reduce)
        count = int(batch.mask.sum())
        return Targets(advantages=targets.advantages * math.sqrt((count - 1) / count), returns=targets.returns)


def language_model() -> Any:
    """Return a Llama of two layers. Its weights are sines, so they are the same on every machine."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    lm = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for number, (name, weight) in enumerate(lm.named_parameters()):
            if "norm" not in name:
                places = torch.arange(weight.numel(), dtype=torch.float64)
                weight.copy_((0.3 * torch.sin(1.7 * places * (number + 1) + number)).reshape(weight.shape))
    return lm


def trl(start: Callable[[dict[str, Any]], Any], folder: Path) -> dict[str, Any]:
    """Return the data and the loss of one step of TRL. `start` starts a worker for a job (see `update.Worker`)."""
    from agents.text.word_tokenizer import word_tokenizer

    language_model().save_pretrained(folder)
    word_tokenizer(["north"]).save_pretrained(folder)
    rng = np.random.default_rng(SEED)
    queries = [rng.integers(3, VOCABULARY, length).tolist() for length in LENGTHS]
    job = {
        "model": str(folder),
        "dtype": "float32",
        "threads": 1,
        "queries": queries,
        "response": ANSWER,
        "steps": 1,
        "epochs": EPOCHS,
        "micro": len(queries),
        "lora": 0,
        "rate": LEARNING_RATE,
        "kl_coef": 0.0,
        "vf_coef": 0.0,
        "inspect": True,
    }
    with start(job) as worker:
        worker.step()
        step: dict[str, Any] = worker.answer() | {"versions": worker.versions}
    answers = [row[max(LENGTHS) :] for row in step["tokens"]]
    assert not any(0 in answer for answer in answers), (
        "TRL truncates an answer at its padding token; choose another SEED"
    )
    return {
        "versions": step["versions"],
        "tokens": [row[max(LENGTHS) - _prompt(row, queries) :] for row in step["tokens"]],
        "values": [row[max(LENGTHS) - 1 : -1] for row in step["values"]],
        "scores": [row[-1] for row in step["scores"]],
        "policy_loss": step["logged"][MEASURE[0]],
    }


def _prompt(row: list[int], queries: list[list[int]]) -> int:
    """Return the length of the prompt in a row that is padded on the left."""
    (length,) = {len(query) for query in queries if row[max(LENGTHS) - len(query) : max(LENGTHS)] == query}
    return length


def ours(step: dict[str, Any]) -> float:
    """Return the policy loss of our update for the same step."""
    model = ActorCritic(language_model(), Heads(WIDTH, VOCABULARY, q_heads=0))
    pieces = zip(step["tokens"], step["values"], step["scores"], strict=True)
    rollout = RolloutBatch([segment(model, *piece) for piece in pieces], credit="token")
    config = UpdateConfig(epochs=EPOCHS, lr=LEARNING_RATE, beta2=0.999, max_grad_norm=1e9)
    learning = OptimizerConfig(gamma=1.0, gae_lambda=0.95, clip_range=0.2, value_coef=0.0, whitening="batch")
    updater = Updater(model, make_torch_optimizer(model, config), BesselPPO(learning), config, Accelerator())
    measures, _ = updater.learn(rollout, np.random.default_rng(0))
    return measures[MEASURE[1]]


@torch.no_grad()
def segment(model: ActorCritic, tokens: list[int], values: list[float], score: float) -> Segment:
    """Convert a row of TRL, whose last len(values) tokens are choices. The last choice has the score as reward."""
    first = len(tokens) - len(values)
    hidden = model.hidden_states(torch.tensor([tokens]), use_cache=False)[0, first - 1 : -1]
    logprobs = model.all_logprobs(hidden)
    choices = [
        Choice(
            position=first - 1 + place,
            turn=0,
            alternatives=(token,),
            chosen=0,
            logprob=float(logprobs[place, token]),
            value=value,
            q_value=0.0,
            entropy=0.0,
            reward=0.0,
            discount=1.0,
            next_value=next_value,
        )
        for place, (token, value, next_value) in enumerate(zip(tokens[first:], values, [*values[1:], 0.0], strict=True))
    ]
    choices[-1] = replace(choices[-1], reward=score, discount=0.0)
    return Segment(episode=0, tokens=np.array(tokens[:-1]), choices=tuple(choices), whole_vocabulary=True)
