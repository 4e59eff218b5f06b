"""Tiny models and tokenizers for tests: real decoders of two layers, and `Bigram`, whose policy is set by hand."""

from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedConfig

from agents.language_model.agent import LanguageModelAgent
from agents.model.actor_critic import ActorCritic
from agents.model.heads import Heads
from agents.text.word_tokenizer import word_tokenizer

Kind = Literal["llama", "gpt2"]
KINDS: tuple[Kind, ...] = ("llama", "gpt2")
WORDS = ("go", "take", "drop", "north", "south", "red", "blue", "key", "lamp", "you", "see", "a", "room", "won")
"""Words of `tokenizer()`, besides newline, digits and punctuation."""


def assert_close(actual: Tensor, expected: Tensor, *, within: float = 2e-5) -> None:
    """Assert an absolute difference of at most `within`."""
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=within)


def tokenizer(words: tuple[str, ...] = WORDS) -> Any:
    return word_tokenizer(words)


def tiny_lm(kind: Kind, vocabulary: int, *, seed: int = 0, positions: int = 128, dropout: float = 0.0) -> Any:
    """Return a decoder of two layers and hidden size 16, in evaluation mode. Its weights make every token matter."""
    torch.manual_seed(seed)
    if kind == "gpt2":
        gpt2 = GPT2Config(
            vocab_size=vocabulary,
            n_positions=positions,
            n_embd=16,
            n_layer=2,
            n_head=2,
            initializer_range=0.3,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            resid_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
        )
        return GPT2LMHeadModel(gpt2).eval()
    llama = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.3,
        attention_dropout=dropout,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(llama).eval()


def tiny_model(kind: Kind = "llama", *, seed: int = 0, positions: int = 128, dropout: float = 0.0, **heads: Any) -> Any:
    """Return an `ActorCritic` for `tokenizer()` in evaluation mode, with random heads. The default is one Q head."""
    lm = tiny_lm(kind, len(tokenizer()), seed=seed, positions=positions, dropout=dropout)
    return ActorCritic(lm, Heads(16, len(tokenizer()), **({"init_std": 0.3} | heads))).eval()


class Bigram(nn.Module):
    """A causal language model with given logits [V, V]. Its hidden state is the one-hot vector of the last token."""

    def __init__(self, logits: Tensor, *, positions: int = 128) -> None:
        super().__init__()
        vocabulary = len(logits)
        self.config = PreTrainedConfig(
            vocab_size=vocabulary,
            hidden_size=vocabulary,
            num_hidden_layers=0,
            max_position_embeddings=positions,
            attn_implementation="sdpa",
        )
        self.table = nn.Embedding(vocabulary, vocabulary, _weight=torch.eye(vocabulary), _freeze=True)
        self.lm_head = nn.Linear(vocabulary, vocabulary, bias=False)
        with torch.no_grad():
            self.lm_head.weight.copy_(logits.T)

    def get_decoder(self) -> Any:
        return lambda input_ids, **kwargs: SimpleNamespace(last_hidden_state=self.table(input_ids))

    def forward(self, input_ids: Tensor, **kwargs: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.table(input_ids)))

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head


def bigram_model(logits: Tensor, *, positions: int = 128, **heads: Any) -> ActorCritic:
    """Return a tabular actor-critic. Policy, v and q depend only on the last token. By default, the heads are 0."""
    vocabulary = len(logits)
    return ActorCritic(Bigram(logits, positions=positions), Heads(vocabulary, vocabulary, **heads)).eval()


def agent(model: ActorCritic, **settings: Any) -> LanguageModelAgent:
    """Return an agent that has the model and `tokenizer()`, and that records its choices."""
    return LanguageModelAgent(model, tokenizer(), **({"record": True, "gamma": 0.5} | settings))
