"""Compares three computations of a decoder's policy: in the rollout, in the update, and in the `transformers` library."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.config import ModelConfig
from agents.language_model.agent import LanguageModelAgent, Mode
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.protocol import AgentError, EpisodeEnd, Turn
from agents.training.rollout_batch import RolloutBatch
from experiments.decoders.architectures import tiny_decoder

WORDS = ("go", "take", "drop", "north", "south", "red", "blue", "key", "lamp", "you", "see", "a", "room", "won")
COMMANDS = ("go north", "go south", "take red key", "take red lamp", "take blue key", "drop lamp")
TURNS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Differences of the log-probabilities of sampled tokens, in nats.

    Attributes:
        update: maximum difference between rollout and update.
        logits: maximum difference between update and logits of the `transformers` library.
        tokens: length of the longest stream.
    """

    update: float
    logits: float
    tokens: int


def save(name: str, folder: Path) -> None:
    """Save a tiny decoder and a tokenizer, as a pretrained model."""
    tokenizer = byte_tokenizer()
    tiny_decoder(name, len(tokenizer) + 8).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer() -> Any:
    """Build a byte-level tokenizer with tokens for `WORDS`."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    text = " ".join(WORDS)
    backend.train_from_iterator([text] * 2, vocab_size=320, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, clean_up_tokenization_spaces=False)


def measure(folder: Path, *, lora: int, dtype: str) -> Agreement | str:
    """Play and evaluate the decoder in `folder`. Return how well the results agree, or why the decoder is refused."""
    torch.manual_seed(0)
    try:
        model, tokenizer = assemble(ModelConfig(trunk=str(folder), lora=lora, dtype=dtype, dropout=0.0), None)
    except AgentError as error:
        return str(error).replace(str(folder), "")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    results = [_agreement(model.eval(), tokenizer, mode) for mode in ("trie", "free")]
    return Agreement(
        update=max(result.update for result in results),
        logits=max(result.logits for result in results),
        tokens=max(result.tokens for result in results),
    )


@torch.no_grad()
def _agreement(model: ActorCritic, tokenizer: Any, mode: Mode) -> Agreement:
    rollout = RolloutBatch(play(model, tokenizer, mode), credit="token")
    recorded = torch.tensor([choice.logprob for segment in rollout.segments for choice in segment.choices])
    part = rollout.micro_batch(range(len(rollout)))
    choices = part.choices
    with model.mode(training=True):
        heads = model(part.tokens, choices)
    updated = heads.logprobs.gather(
        1, choices.chosen[:, None] if mode == "trie" else torch.zeros_like(choices.chosen)[:, None]
    )[:, 0]
    with model.in_trunk_dtype():
        logits = model.lm(input_ids=part.tokens, use_cache=False).logits
    logits = logits[choices.rows, choices.positions].float()
    tokens = choices.alternatives.gather(1, choices.chosen[:, None])
    theirs = logits.log_softmax(-1)
    if mode == "trie":
        among = logits.gather(1, choices.alternatives.clamp_min(0)).masked_fill(choices.alternatives < 0, -torch.inf)
        theirs, tokens = among.log_softmax(-1), choices.chosen[:, None]
    theirs = theirs.gather(1, tokens)[:, 0]
    recorded = recorded[part.choice_index]
    return Agreement(
        update=float((updated - recorded).abs().max()),
        logits=float((updated - theirs).abs().max()),
        tokens=part.tokens.shape[1],
    )


def play(model: ActorCritic, tokenizer: Any, mode: Mode) -> Any:
    """Play episodes of random text. The streams are longer than every attention window."""
    agent = LanguageModelAgent(model, tokenizer, mode=mode, record=True, max_command_tokens=8)
    rng = np.random.default_rng(0)
    episodes = range(3)
    for turn in range(TURNS):
        agent.act([_turn(rng, episode, turn) for episode in episodes])
    agent.end(
        [
            EpisodeEnd(episode=e, observation="won", reward=1.0, terminated=True, truncated=False, info={})
            for e in episodes
        ]
    )
    return agent.take_segments()


def _turn(rng: np.random.Generator, episode: int, number: int) -> Turn:
    text = " ".join(rng.choice(WORDS, size=6 + 4 * episode))
    return Turn(
        game="random",
        episode=episode,
        observation=f"you see {text}\n",
        reward=0.0,
        info={"admissible_commands": COMMANDS},
        first=number == 0,
        prompt="> ",
        terminator="\n",
    )
