"""Builds an `ActorCritic` and its tokenizer from a `ModelConfig`: a trunk, the heads and optionally an adapter.

The trunks `pico` and `small` start with random weights, and their tokens are words. Any other trunk is a pretrained
decoder, trained in full or through a LoRA adapter.
"""

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
    config: ModelConfig, vocabulary: Sequence[str] | None, further: Sequence[str] = ()
) -> tuple[ActorCritic, Any]:
    """Build an untrained model and its tokenizer. Pretrained trunks ignore `vocabulary` and `further`.

    Args:
        vocabulary: all words that the games can print. If None, TextWorld's words and those of `further` are used.
        further: texts whose words are added to TextWorld's if `vocabulary` is None.

    Raises:
        AgentError: the trunk is unknown or cannot be loaded, or a setting does not fit the trunk.
    """
    if config.trunk not in SCRATCH:
        lm, tokenizer = _load_trunk(config)
        return _with_heads(lm, config), tokenizer
    if config.lora:
        raise AgentError(f"--lora adapts a pretrained trunk, but {config.trunk!r} starts from random weights")
    from agents.text.word_tokenizer import textworld_vocabulary, word_tokenizer

    words = [*textworld_vocabulary(), *further] if vocabulary is None else vocabulary
    tokenizer = word_tokenizer(words, specials=vocabulary is None)
    return _with_heads(from_config(config.trunk, len(tokenizer), config.dropout), config), tokenizer


def build_model(
    config: ModelConfig, trunk_config: Mapping[str, Any] | None, vocabulary: int, sizes: Sequence[int]
) -> ActorCritic:
    """Build the model that a checkpoint describes. The caller loads the checkpoint's weights afterwards.

    Args:
        trunk_config: configuration of the trunk in the `transformers` library. If None, the checkpoint holds only an
            adapter, and the pretrained trunk is loaded.
        vocabulary: number of tokens of the checkpoint's tokenizer.
        sizes: size in bytes of each weight tensor of the checkpoint. A trunk that is far larger than their sum is
            rejected.

    Raises:
        AgentError: `trunk_config` is invalid or does not fit the tokenizer or the weights, or the pretrained trunk is
            missing.
    """
    if trunk_config is None:
        return _with_heads(_load_trunk(config)[0], config)
    from transformers import AutoModelForCausalLM

    known = trunk_config_of(trunk_config, "the checkpoint's config", ours=True)
    if config.trunk in SCRATCH and known.vocab_size != vocabulary:
        raise AgentError(f"the checkpoint's tokenizer has {vocabulary} tokens, its config {known.vocab_size}")
    check_size(AutoModelForCausalLM, known, "the checkpoint's config", len(sizes), sum(sizes))
    return _with_heads(AutoModelForCausalLM.from_config(known).to(getattr(torch, config.dtype)), config)


def _load_trunk(config: ModelConfig) -> tuple[Any, Any]:
    """Load a pretrained trunk and its tokenizer. With LoRA, only the adapter has dropout."""
    return load_pretrained(config.trunk, dtype=config.dtype, dropout=0.0 if config.lora else config.dropout)


def meta_model(config: ModelConfig, trunk_config: Any, vocabulary: int, *, on_cpu: bool = True) -> ActorCritic:
    """Build a model on torch's meta device, where tensors have shapes but no memory.

    Args:
        trunk_config: configuration of the trunk in the `transformers` library. Ignored by `pico` and `small`.
        vocabulary: number of tokens of the trunks `pico` and `small`. Other trunks have a vocabulary of their own.
        on_cpu: whether the model computes attention as on a CPU. Otherwise, it computes attention as on a GPU.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        if config.trunk in SCRATCH:
            lm = from_config(config.trunk, vocabulary, config.dropout)
        else:
            lm = AutoModelForCausalLM.from_config(trunk_config, dtype=getattr(torch, config.dtype)).eval()
        return _with_heads(lm, config, verify=False, on_cpu=on_cpu)


def _with_heads(lm: Any, config: ModelConfig, *, verify: bool = True, on_cpu: bool = True) -> ActorCritic:
    """Return the language model `lm` with heads and, if configured, an adapter.

    Args:
        verify: whether to run `measure_logit_transform` and `check_cache`.
        on_cpu: whether a bfloat16 model uses the attention of `agents.model.cpu_attention`.
    """
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


def from_config(trunk: str, vocabulary: int, dropout: float) -> Any:
    """Build a causal language model with `vocabulary` tokens and random weights from torch's global generator.

    `pico` is the GPT-2 (minGPT) that the post by Turner and Einhorn (2023) uses for the prisoner's dilemma. `small` is
    a Llama whose lm_head shares the weights of the embedding. In `small`, the embedding's initial weights have standard
    deviation 0.02. Those of the linear layers have 128^-0.5, because v learns more slowly with 0.02 (NOTES.md).

    Raises:
        AgentError: `dropout` is above 0 for `small`, which has no dropout.
    """
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if trunk == "pico":
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
        initializer_range=128**-0.5,
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
    """Return the frozen trunk with a trainable LoRA adapter (Hu et al., 2021) in its linear layers."""
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
        exclude_modules=_not_adapted(model, (nn.Linear, Conv1D), config.lora_layers),
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
def _not_adapted(model: ActorCritic, linear: tuple[type[nn.Module], ...], upper: int | None) -> list[str]:
    """Return the names of the modules of the types `linear` that get no adapter.

    Modules outside of the decoder get none, because they read no text. Mixture-of-experts routers that return several
    tensors get none, because peft cannot adapt them. If `upper` is not None, only modules in the decoder's last `upper`
    layers get an adapter.

    Raises:
        AgentError: the decoder has fewer than `upper` layers, or its layers cannot be identified.
    """
    layers = decoder_layers(model)
    if upper and not layers:
        raise AgentError(f"--lora-layers cannot be used: {type(model.base).__name__} has no list of layers")
    if upper and upper > len(layers):
        raise AgentError(f"--lora-layers {upper} is more than the trunk's {len(layers)} layers; choose fewer")
    adapted = {module for layer in layers[-upper:] for module in layer.modules()} if upper else {*model.lm.modules()}
    routers, decoder = set[nn.Module](), set(model.decoder.modules())

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, torch.Tensor):
            routers.add(module)

    hooks = [module.register_forward_hook(note) for module in decoder if isinstance(module, linear)]
    if model.device.type != "meta":  # without numbers, routers remain unknown; an adapter of theirs is small
        model.hidden_states(torch.zeros(1, 1, dtype=torch.int64, device=model.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    named = ((name, module) for name, module in model.lm.named_modules() if isinstance(module, linear))
    return [name for name, module in named if module in routers or module not in decoder & adapted]
