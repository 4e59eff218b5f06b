"""Trunks by name, and the assembly of trunk, adapter, heads and tokenizer into an `ActorCritic`.

`pico` is the post's 3 x 12 GPT-2, `small` a Llama of two layers of 128 with words as tokens; both are made
from a config. Anything else is a pretrained decoder (`agents/model/pretrained.py`), trained in full or through a
LoRA adapter. Leaves out loading what was trained (checkpoint.py).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agents.config import ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.model.cpu_attention import use_blocks
from agents.model.heads import Heads
from agents.model.tree_decoder import check_cache
from agents.protocol import AgentError

SCRATCH = ("pico", "small")
"""Trunks that are made from a config, with random weights."""
LARGE_VOCABULARY = 8192
"""From this size on, Q heads share the output embedding instead of keeping a row per token."""


def assemble(assembly: ModelConfig, vocabulary: Sequence[str] | None) -> tuple[ActorCritic, Any]:
    """An untrained model and its tokenizer.

    Args:
        assembly: what to put together.
        vocabulary: all words of a game with a closed vocabulary; None for TextWorld's words. Pretrained
            trunks bring their own.

    Raises:
        AgentError: the trunk is unknown or cannot be loaded, or a setting does not fit it.
    """
    if assembly.trunk in SCRATCH:
        if assembly.lora:
            raise AgentError(f"--lora adapts a pretrained trunk, but {assembly.trunk!r} starts from random weights")
        lm, tokenizer = _from_config(assembly, vocabulary)
    else:
        lm, tokenizer = _from_pretrained(assembly)
    return _with_heads(lm, assembly), tokenizer


def build_model(assembly: ModelConfig, config: Mapping[str, Any] | None, vocabulary: int) -> ActorCritic:
    """The model that a checkpoint describes, with whatever weights: from its config, or base and adapter.

    Raises:
        AgentError: the config is none of transformers', or the base model is missing.
    """
    if config is None:
        return _with_heads(_from_pretrained(assembly)[0], assembly)
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        settings = dict(config)
        known = AutoConfig.for_model(settings.pop("model_type"), **settings)
    except (KeyError, ValueError, TypeError) as error:
        raise AgentError(f"the checkpoint's config is not one of transformers' decoders: {error}") from None
    if known.vocab_size != vocabulary and assembly.trunk in SCRATCH:
        raise AgentError(f"the checkpoint's tokenizer has {vocabulary} tokens, its config {known.vocab_size}")
    lm = AutoModelForCausalLM.from_config(known)
    return _with_heads(lm.to(_dtype(assembly.dtype)), assembly)


def _with_heads(lm: Any, assembly: ModelConfig) -> ActorCritic:
    config = lm.config
    heads = Heads(
        config.hidden_size,
        config.vocab_size,
        q_heads=assembly.q_heads,
        layers=assembly.head_layers,
        rows="tied" if config.vocab_size >= LARGE_VOCABULARY else "own",
        target_q=assembly.target_q,
        detach_value=assembly.detach_value,
        detach_q=assembly.detach_q,
        dueling=assembly.dueling,
        init_std=0.02 if assembly.trunk in SCRATCH else 0.0,
    )
    if lm.dtype == torch.bfloat16:
        use_blocks(lm)
    model = ActorCritic(_adapted(lm, assembly) if assembly.lora else lm, heads)
    model.check()
    check_cache(model)
    return model


def _dtype(name: str) -> torch.dtype:
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _from_config(assembly: ModelConfig, vocabulary: Sequence[str] | None) -> tuple[Any, Any]:
    from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer

    if vocabulary is None:
        tokenizer = word_tokenizer(textworld_vocabulary())
    else:
        tokenizer = word_tokenizer(vocabulary, specials=False)
    return from_config(assembly.trunk, len(tokenizer), assembly.dropout), tokenizer


def from_config(trunk: str, vocabulary: int, dropout: float) -> Any:
    """A causal language model with random weights (torch's global generator) and `vocabulary` tokens.

    pico: the trunk of the post's prisoner's dilemma (minGPT): 3 layers, 3 heads, 12 dims, 128 positions,
    GPT-2 initialisation, an lm_head of its own. small: Llama, 2 layers, 4 heads, 128 dims, RoPE, the
    embedding shared with the lm_head; linear weights of standard deviation 128^-0.5, with which v is fitted in a
    fraction of the steps that the usual 0.02 takes (NOTES.md), the embedding at 0.02.
    """
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if trunk == "pico":
        return GPT2LMHeadModel(
            GPT2Config(
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
        )
    if dropout:
        raise AgentError(f"the trunk 'small' has no dropout: expected 0, got {dropout}")
    lm = LlamaForCausalLM(
        LlamaConfig(
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
    )
    with torch.no_grad():
        lm.get_input_embeddings().weight.mul_(0.02 / lm.config.initializer_range)  # the first policy is uniform
    return lm


def _from_pretrained(assembly: ModelConfig) -> tuple[Any, Any]:
    from agents.model.pretrained import load_pretrained

    return load_pretrained(assembly.trunk, dtype=assembly.dtype)


def _adapted(lm: Any, assembly: ModelConfig) -> Any:
    """The trunk behind a LoRA adapter (Hu et al. 2021) on all its linear layers; only the adapter is trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise AgentError("--lora needs the package peft: pip install '.[peft]'") from error
    from transformers.pytorch_utils import Conv1D

    config = LoraConfig(
        r=assembly.lora,
        lora_alpha=2 * assembly.lora,
        lora_dropout=assembly.dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in lm.modules()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        adapted = get_peft_model(lm, config)
    for module in adapted.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False  # `ActorCritic` casts its weights, which are few, instead
    return adapted
