"""Builds an `ActorCritic` and its tokenizer from a `ModelConfig`."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from agents.config import SCRATCH, ModelConfig
from agents.model.actor_critic import ActorCritic
from agents.model.cpu_attention import use_blockwise_attention
from agents.model.heads import Heads
from agents.model.lower_layers import decoder_layers
from agents.model.pretrained import load_pretrained
from agents.model.tree_decoder import check_cache
from agents.model.trunk_config import check_size, trunk_config_of
from agents.protocol import AgentError

LARGE_VOCABULARY = 8192  # from this size on, Q heads share the output embedding


def assemble(
    config: ModelConfig, vocabulary: Sequence[str] | None, extra_texts: Sequence[str] = ()
) -> tuple[ActorCritic, Any]:
    """Return a model with untrained heads, and the tokenizer.

    Args:
        vocabulary: words that a new trunk knows. The default is all words of TextWorld.
        extra_texts: texts whose words are added to the default vocabulary.
    """
    if config.trunk not in SCRATCH:
        lm, tokenizer = _load_trunk(config)
        return _with_heads(lm, config), tokenizer
    if config.lora:
        raise AgentError(f"--lora adapts a pretrained trunk, but {config.trunk!r} starts from random weights")
    from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer

    words = [*textworld_vocabulary(), *extra_texts] if vocabulary is None else vocabulary
    tokenizer = word_tokenizer(words, specials=vocabulary is None)
    return _with_heads(new_trunk(config.trunk, len(tokenizer), config.dropout), config), tokenizer


def build_model(
    config: ModelConfig, trunk_config: Mapping[str, Any] | None, vocabulary: int, tensor_sizes: Sequence[int]
) -> ActorCritic:
    """Build a checkpoint's model. The caller must load the weights.

    Args:
        trunk_config: configuration of the trunk. If None, load the pretrained trunk.
        vocabulary: number of tokens of the tokenizer.
        tensor_sizes: size of each stored tensor, in bytes.
    """
    if trunk_config is None:
        return _with_heads(_load_trunk(config)[0], config)
    from transformers import AutoModelForCausalLM

    lm_config = trunk_config_of(trunk_config, "the checkpoint's config", from_checkpoint=True)
    if config.trunk in SCRATCH and lm_config.vocab_size != vocabulary:
        raise AgentError(f"the checkpoint's tokenizer has {vocabulary} tokens, its config {lm_config.vocab_size}")
    check_size(AutoModelForCausalLM, lm_config, "the checkpoint's config", len(tensor_sizes), sum(tensor_sizes))
    return _with_heads(AutoModelForCausalLM.from_config(lm_config).to(getattr(torch, config.dtype)), config)


def _load_trunk(config: ModelConfig) -> tuple[Any, Any]:
    return load_pretrained(config.trunk, dtype=config.dtype, dropout=0.0 if config.lora else config.dropout)


def meta_model(config: ModelConfig, trunk_config: Any, vocabulary: int, *, on_cpu: bool = True) -> ActorCritic:
    """Build a model on torch's meta device, where weights need no memory.

    A new trunk has `vocabulary` tokens.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        if config.trunk in SCRATCH:
            lm = new_trunk(config.trunk, vocabulary, config.dropout)
        else:
            lm = AutoModelForCausalLM.from_config(trunk_config, dtype=getattr(torch, config.dtype)).eval()
        return _with_heads(lm, config, verify=False, on_cpu=on_cpu)


def _with_heads(lm: Any, config: ModelConfig, *, verify: bool = True, on_cpu: bool = True) -> ActorCritic:
    vocabulary, width = lm.get_output_embeddings().weight.shape
    heads = Heads(
        width,
        vocabulary,
        q_heads=config.q_heads,
        layers=config.head_layers,
        tied=vocabulary >= LARGE_VOCABULARY,
        target_q=config.target_q,
        detach_value=config.detach_value,
        detach_q=config.detach_q,
        dueling=config.dueling,
        init_std=0.02 if config.trunk in SCRATCH else 0.0,
    )
    if lm.dtype == torch.bfloat16 and on_cpu:
        use_blockwise_attention(lm)
    model = ActorCritic(lm, heads, noisy_trunk=config.dropout > 0 and not config.lora)
    if verify:
        model.measure_logit_transform()
        check_cache(model)
    used = {*model.decoder.parameters(), *model.base.get_output_embeddings().parameters()}
    for parameter in model.lm.parameters():
        if parameter not in used:  # such a parameter, as of a vision encoder, does not affect the logits of text
            parameter.requires_grad_(False)
    if config.lora:
        model.lm = _with_adapter(model, config)
    return model


def new_trunk(name: str, vocabulary: int, dropout: float) -> Any:
    """Build an untrained trunk. "pico" is the GPT-2 of Turner and Einhorn (2023), and "small" is a Llama."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if name == "pico":
        sizes = {"vocab_size": vocabulary, "n_positions": 128, "n_embd": 12, "n_layer": 3, "n_head": 3}
        rates = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), dropout)
        pico = GPT2Config(**sizes, **rates, tie_word_embeddings=False, bos_token_id=None, eos_token_id=None)
        return GPT2LMHeadModel(pico)
    if dropout:
        raise AgentError(f"the trunk small has no dropout: expected --dropout 0, got {dropout:g}")
    small = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_range=128**-0.5,  # v learns more slowly with 0.02 (NOTES.md)
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    lm = LlamaForCausalLM(small)
    with torch.no_grad():
        lm.get_input_embeddings().weight.mul_(0.02 / small.initializer_range)  # makes the initial policy nearly uniform
    return lm


def _with_adapter(model: ActorCritic, config: ModelConfig) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise AgentError("--lora needs the package peft: pip install -e '.[peft]'") from error
    from transformers.pytorch_utils import Conv1D

    lora = LoraConfig(
        r=config.lora,
        lora_alpha=2 * config.lora,
        lora_dropout=config.dropout,
        target_modules="all-linear",
        exclude_modules=_excluded_modules(model, (nn.Linear, Conv1D), config.lora_layers),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.lm.modules()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a name that transformers deprecates
        adapted = get_peft_model(model.lm, lora)
    for module in adapted.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False  # `ActorCritic` casts the adapter's weights instead
    return adapted


@torch.no_grad()
def _excluded_modules(
    model: ActorCritic, linear_types: tuple[type[nn.Module], ...], upper_count: int | None
) -> list[str]:
    """Return the names of the linear modules that get no adapter."""
    layers = decoder_layers(model)
    if upper_count and not layers:
        raise AgentError(f"--lora-layers cannot be used: {type(model.base).__name__} has no list of layers")
    if upper_count and upper_count > len(layers):
        raise AgentError(f"--lora-layers {upper_count} is more than the trunk's {len(layers)} layers; choose fewer")
    adaptable = layers[-upper_count:] if upper_count else [model.lm]
    adapted = {module for layer in adaptable for module in layer.modules()}
    routers, decoder = set[nn.Module](), set(model.decoder.modules())

    def record_router(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            routers.add(module)  # of a mixture of experts; peft cannot adapt modules that return several tensors

    hooks = [module.register_forward_hook(record_router) for module in decoder if isinstance(module, linear_types)]
    if model.device.type != "meta":  # without numbers, routers remain unknown; an adapter of theirs is small
        model.hidden_states(torch.zeros(1, 1, dtype=torch.int64, device=model.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    named_linear = ((name, module) for name, module in model.lm.named_modules() if isinstance(module, linear_types))
    return [name for name, module in named_linear if module in routers or module not in decoder & adapted]
