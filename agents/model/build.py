"""Builds an `ActorCritic` and its tokenizer from a `ModelConfig`: trunk, adapter and heads.

The trunk `pico` is the post's 3 x 12 GPT-2, `small` a Llama of two layers of 128 with words as tokens; both start with
random weights. Any other trunk is a pretrained decoder, trained in full or through a LoRA adapter.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.model.cpu_attention import use_blockwise_attention
from agents.model.heads import Heads
from agents.model.pretrained import load_pretrained
from agents.model.tree_decoder import check_cache
from agents.protocol import AgentError

SCRATCH = ("pico", "small")
"""Trunks that start with random weights."""
LARGE_VOCABULARY = 8192
"""From this size on, Q heads share the output embedding instead of having a row of weights per token."""


def assemble(config: ModelConfig, vocabulary: Sequence[str] | None) -> tuple[ActorCritic, Any]:
    """Build an untrained model and its tokenizer.

    Args:
        config: what to build.
        vocabulary: all words of a game with a closed vocabulary; None for TextWorld's words. Pretrained trunks have
            their own.

    Raises:
        AgentError: the trunk is unknown or cannot be loaded, or a setting does not fit it.
    """
    if config.trunk not in SCRATCH:
        lm, tokenizer = load_pretrained(config.trunk, dtype=config.dtype)
        return _with_heads(lm, config), tokenizer
    if config.lora:
        raise AgentError(f"--lora adapts a pretrained trunk, but {config.trunk!r} starts from random weights")
    from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer

    words = textworld_vocabulary() if vocabulary is None else vocabulary
    tokenizer = word_tokenizer(words, specials=vocabulary is None)
    return _with_heads(from_config(config.trunk, len(tokenizer), config.dropout), config), tokenizer


def build_model(config: ModelConfig, trunk_config: Mapping[str, Any] | None, vocabulary: int) -> ActorCritic:
    """Build the model that a checkpoint describes; the checkpoint's weights are loaded afterwards.

    Args:
        config: what to build.
        trunk_config: the trunk's configuration in transformers; None for an adapter, whose trunk is pretrained.
        vocabulary: number of tokens of the checkpoint's tokenizer.

    Raises:
        AgentError: transformers does not know the config, or the pretrained trunk is missing.
    """
    if trunk_config is None:
        return _with_heads(load_pretrained(config.trunk, dtype=config.dtype)[0], config)
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        settings = dict(trunk_config)
        known = AutoConfig.for_model(settings.pop("model_type"), **settings)
    except (KeyError, ValueError, TypeError) as error:
        raise AgentError(f"the checkpoint's config is not one of transformers' decoders: {error}") from None
    if known.vocab_size != vocabulary and config.trunk in SCRATCH:
        raise AgentError(f"the checkpoint's tokenizer has {vocabulary} tokens, its config {known.vocab_size}")
    lm = AutoModelForCausalLM.from_config(known)
    return _with_heads(lm.to(getattr(torch, config.dtype)), config)


def _with_heads(lm: Any, config: ModelConfig) -> ActorCritic:
    heads = Heads(
        lm.config.hidden_size,
        lm.config.vocab_size,
        q_heads=config.q_heads,
        layers=config.head_layers,
        tied=lm.config.vocab_size >= LARGE_VOCABULARY,
        target_q=config.target_q,
        detach_value=config.detach_value,
        detach_q=config.detach_q,
        dueling=config.dueling,
        init_std=0.02 if config.trunk in SCRATCH else 0.0,
    )
    if lm.dtype == torch.bfloat16:
        use_blockwise_attention(lm)
    model = ActorCritic(_with_adapter(lm, config) if config.lora else lm, heads)
    model.check_logits()
    check_cache(model)
    return model


def from_config(trunk: str, vocabulary: int, dropout: float) -> Any:
    """Build a causal language model with random weights (torch's global generator) and `vocabulary` tokens.

    pico: the trunk of the post's prisoner's dilemma (minGPT): 3 layers, 3 heads, 12 dims, 128 positions, GPT-2
    initialisation, an lm_head of its own. small: Llama, 2 layers, 4 heads, 128 dims, RoPE, the embedding shared with
    the lm_head. Its linear weights have standard deviation 128^-0.5, which fits v in a fraction of the steps of the
    usual 0.02 (NOTES.md); its embedding has 0.02.
    """
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if trunk == "pico":
        pico = GPT2Config(
            vocab_size=vocabulary,
            n_positions=128,
            n_embd=12,
            n_layer=3,
            n_head=3,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            resid_pdrop=dropout,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        return GPT2LMHeadModel(pico)
    if dropout:
        raise AgentError(f"the trunk 'small' has no dropout: expected 0, got {dropout}")
    small = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_range=128**-0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    lm = LlamaForCausalLM(small)
    with torch.no_grad():
        lm.get_input_embeddings().weight.mul_(0.02 / small.initializer_range)  # the first policy is uniform
    return lm


def _with_adapter(lm: Any, config: ModelConfig) -> Any:
    """Add a LoRA adapter (Hu et al. 2021) to all linear layers of the trunk; only the adapter is trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise AgentError("--lora needs the package peft: pip install '.[peft]'") from error
    from transformers.pytorch_utils import Conv1D

    lora = LoraConfig(
        r=config.lora,
        lora_alpha=2 * config.lora,
        lora_dropout=config.dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in lm.modules()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a deprecated name of transformers
        adapted = get_peft_model(lm, lora)
    for module in adapted.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False  # `ActorCritic` casts the few weights instead of the inputs
    return adapted
