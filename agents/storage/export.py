"""Exports an agent as a model of the `transformers` library."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from agents.config import ModelConfig
from agents.language_model.free_generation import text_ends
from agents.model.actor_critic import ActorCritic
from agents.model.pretrained import trunk_source, without_bars
from agents.protocol import AgentError
from agents.storage.checkpoint import load_model
from agents.storage.checkpoint_files import STATE, newest, read_json, verify
from agents.storage.model_card import model_card
from agents.storage.schema import HeadsFile
from games.files import atomic_folder, exclusive

HEADS, HEADS_FILE, CARD = "heads.safetensors", "heads.json", "README.md"
MAX_NEW_TOKENS = 16  # default maximum length of a generated text, in tokens, as in `LanguageModelAgent`


def export_agent(source: Path, target: Path, *, adapter: bool = False) -> dict[str, Any]:
    """Export a run or a checkpoint to a new folder. If `adapter` is True, leave out the base model."""
    checkpoint = newest(source)
    with exclusive(target.parent, target.name):
        if os.path.lexists(target):
            raise AgentError(f"{target} already exists; choose another --to")
        metadata = verify(checkpoint)
        config = ModelConfig(**metadata["model"])
        if adapter and not config.lora:
            raise AgentError(f"{source} has no adapter, because its whole trunk was trained; leave out --adapter")
        model, tokenizer = load_model(checkpoint, metadata)
        heads = _describe_heads(model, config)
        base_model = trunk_source(config.trunk) if adapter else None
        state = read_json(checkpoint / STATE) if (checkpoint / STATE).is_file() else {}
        with atomic_folder(target) as temporary, without_bars():
            _save_trunk(model, tokenizer, temporary, base_model)
            tokenizer.save_pretrained(temporary)
            tensors = {name: x.contiguous() for name, x in model.heads.cpu().state_dict().items()}
            (temporary / HEADS).write_bytes(save(tensors))
            (temporary / HEADS_FILE).write_text(heads.model_dump_json(indent=1) + "\n", encoding="utf-8")
            (temporary / CARD).write_text(model_card(metadata, state, heads, base_model), encoding="utf-8")
            for path in temporary.iterdir():  # safetensors denies other users, such as a server's, to read its files
                path.chmod((temporary / CARD).stat().st_mode)
    return {"to": str(target), "checkpoint": str(checkpoint), "base": base_model, "heads": heads.model_dump()}


def _describe_heads(model: ActorCritic, config: ModelConfig) -> HeadsFile:
    heads = model.heads
    return HeadsFile(
        hidden_size=heads.value.out.in_features,
        vocabulary=model.vocabulary,
        layers=config.head_layers,
        q_heads=len(heads.q),
        tied=any(head.tied for head in heads.q),
        dueling=heads.dueling,
        target_q=heads.target_q is not None,
    )


def _save_trunk(model: ActorCritic, tokenizer: Any, folder: Path, base_model: str | None) -> None:
    from transformers import GenerationConfig

    sampling = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=sorted(text_ends(tokenizer)[0]) or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    if base_model is not None:
        model.lm.peft_config["default"].base_model_name_or_path = base_model
        model.lm.save_pretrained(folder, save_embedding_layers=False)
        sampling.save_pretrained(folder)
        return
    # rounding the merged weights to bfloat16 would change the policy
    lm = model.lm if model.lm is model.base else model.lm.to(torch.float32).merge_and_unload()
    lm.generation_config = sampling
    lm.save_pretrained(folder)
