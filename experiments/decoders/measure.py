"""Test whether rollouts, updates and the `transformers` library compute the same log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.config import ModelConfig
from agents.language_model.agent import LanguageModelAgent, Mode
from agents.language_model.token_stream import Segment
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.head_outputs import Choices
from agents.protocol import AgentError, EpisodeEnd, Turn
from agents.training.rollout_batch import RolloutBatch
from experiments.decoders.architectures import tiny_decoder

WORDS = ("go", "take", "drop", "north", "south", "red", "blue", "key", "lamp", "you", "see", "a", "room", "won")
COMMANDS = ("go north", "go south", "take red key", "take red lamp", "take blue key", "drop lamp")
EPISODES, TURNS = 3, 6  # every episode is longer than the attention windows
RANK = 2  # of LoRA adapters
LIMITS = {"float32": 1e-4, "bfloat16": 0.03}  # of the differences in `Agreement`


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Differences between three computations of the same log-probabilities, in nats."""

    update: float  # between rollout and update: the maximum over tokens in float32, the mean in bfloat16
    logits: float  # between update and the `transformers` library, likewise
    tokens: int  # length of the longest token sequence

    def within(self, dtype: str) -> bool:
        return max(self.update, self.logits) < LIMITS[dtype]


def save(architecture: str, folder: Path) -> None:
    """Save a tiny decoder and a tokenizer as a pretrained model."""
    tokenizer = byte_tokenizer()
    tiny_decoder(architecture, len(tokenizer) + 8).save_pretrained(
        folder
    )  # some tokenizer classes add tokens when loaded
    tokenizer.save_pretrained(folder)


def byte_tokenizer() -> Any:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator([" ".join(WORDS)] * 2, vocab_size=320, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, clean_up_tokenization_spaces=False)


def measure(folder: Path, *, lora: bool, dtype: str) -> Agreement | str:
    """Test the decoder in `folder`. Return an error message if the decoder is refused."""
    torch.manual_seed(0)
    try:
        config = ModelConfig.model_validate({"trunk": str(folder), "lora": RANK * lora, "dtype": dtype})
        model, tokenizer = assemble(config, None)
    except AgentError as error:
        return str(error)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    differences, tokens = zip(*(_differences(model.eval(), tokenizer, mode) for mode in ("trie", "free")), strict=True)
    all_differences = torch.cat(differences, dim=1)  # [2, choices]
    update, logits = (all_differences.amax(1) if dtype == "float32" else all_differences.mean(1)).tolist()
    return Agreement(update=update, logits=logits, tokens=max(tokens))


@torch.no_grad()
def _differences(model: ActorCritic, tokenizer: Any, mode: Mode) -> tuple[Tensor, int]:
    """Return absolute differences [2, choices] of log-probabilities, and the longest sequence's length."""
    segments = play(model, tokenizer, mode)
    rollout_batch = RolloutBatch(segments, credit="token")
    batch = rollout_batch.micro_batch(range(len(rollout_batch)))
    rollout = torch.tensor([choice.logprob for segment in segments for choice in segment.choices])[batch.choice_index]
    with model.mode(training=True):
        logprobs = model(batch.tokens, batch.choices).logprobs
    update = logprobs.gather(1, batch.choices.chosen[:, None])[:, 0]
    with model.in_trunk_dtype():
        logits = model.lm(input_ids=batch.tokens, use_cache=False).logits
    library = _chosen_logprobs(logits[batch.choices.rows, batch.choices.positions].float(), batch.choices)
    # rows: between update and rollout, and between update and library
    return torch.stack([(update - rollout).abs(), (update - library).abs()]), batch.tokens.shape[1]


def _chosen_logprobs(logits: Tensor, choices: Choices) -> Tensor:
    """Normalize `logits` over the allowed tokens. Return the sampled tokens' log-probabilities [choices]."""
    if choices.whole_vocabulary:
        return logits.log_softmax(-1).gather(1, choices.alternatives[:, :1])[:, 0]
    allowed = logits.gather(1, choices.alternatives.clamp_min(0)).masked_fill(choices.alternatives < 0, -torch.inf)
    return allowed.log_softmax(-1).gather(1, choices.chosen[:, None])[:, 0]


def play(model: ActorCritic, tokenizer: Any, mode: Mode) -> Sequence[Segment]:
    """Play episodes of random text. Return the recorded segments."""
    agent = LanguageModelAgent(model, tokenizer, mode=mode, record=True, max_command_tokens=8)
    rng = np.random.default_rng(0)
    for turn in range(TURNS):
        agent.act([_turn(rng, episode, turn) for episode in range(EPISODES)])
    end = EpisodeEnd(episode=0, observation="", info={}, reward=1.0, terminated=True, truncated=False)
    agent.end([replace(end, episode=episode) for episode in range(EPISODES)])
    return agent.take_segments()


def _turn(rng: np.random.Generator, episode: int, turn: int) -> Turn:
    text = " ".join(rng.choice(WORDS, size=6 + 4 * episode))
    return Turn(
        episode=episode,
        game="random text",
        observation=f"you see {text}\n",
        info={"admissible_commands": COMMANDS},
        reward=0.0,
        first=turn == 0,
        prompt="> ",
    )
