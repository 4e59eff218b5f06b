"""Build a tiny decoder with random weights for an architecture of `transformers`."""

from typing import Any

import torch

WINDOW = 16  # attention window of the architectures that have one, in tokens
POSITIONS = 256
OMIT = object()  # value of a setting that the architecture does not have
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": POSITIONS,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
WINDOWED = {"sliding_window": WINDOW, "num_hidden_layers": 4}
SLIDING_TWICE = WINDOWED | {"layer_types": ["sliding_attention", "full_attention"] * 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
GPT2 = {"n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 4}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "biogpt": {},
    "bitnet": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "codegen": GPT2 | {"rotary_dim": 8},
    "cohere": {"logit_scale": 0.25},
    "cohere2": SLIDING_TWICE | {"logit_scale": 0.25},
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "diffllama": {},
    "doge": {},
    "ernie4_5": {},
    "exaone4": SLIDING_TWICE,
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
    "falcon": {"alibi": False, "head_dim": OMIT},
    "gemma": {},
    "gemma2": SLIDING_TWICE | {"final_logit_softcapping": 5.0},
    "gemma3": {
        "text_config": SIZES | SLIDING_TWICE | {"final_logit_softcapping": 5.0},
        "vision_config": VISION,
        "mm_tokens_per_image": 1,
    },
    "gemma3_text": SLIDING_TWICE,
    "gemma3n_text": SLIDING_TWICE
    | {
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 256,
        "num_kv_shared_layers": 2,
        "laurel_rank": 8,
    },
    "gemma4_text": SLIDING_TWICE | {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "global_head_dim": 8},
    "glm": {},
    "glm4": {},
    "gpt2": GPT2,
    "gpt_bigcode": GPT2,
    "gpt_neo": {
        "num_layers": 2,
        "num_heads": 4,
        "window_size": 2 * WINDOW,
        "attention_types": [[["global", "local"], 1]],
    },
    "gpt_neox": {},
    "gpt_oss": SLIDING_TWICE | LOCAL_EXPERTS,
    "gptj": GPT2 | {"rotary_dim": 8},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5},
    "granitemoe": LOCAL_EXPERTS | {"logits_scaling": 4.0},
    "helium": {},
    "hunyuan_v1_dense": {},
    "hyperclovax": {"logits_scaling": 0.25},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama": {},
    "llama4": {
        "text_config": SIZES
        | LOCAL_EXPERTS
        | {"attention_chunk_size": WINDOW, "num_hidden_layers": 4, "intermediate_size_mlp": 48},
        "vision_config": VISION | {"vision_output_dim": 16, "projector_dim": 16},
    },
    "mamba": {"state_size": 4},
    "minicpm3": LATENT,
    "ministral": SLIDING_TWICE,
    "mistral": WINDOWED,
    "mixtral": WINDOWED | LOCAL_EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},
    "nanochat": {"final_logit_softcapping": 5.0},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": SLIDING_TWICE,
    "olmoe": EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "persimmon": {},
    "phi": {},
    "phi3": WINDOWED,
    "phimoe": WINDOWED | LOCAL_EXPERTS,
    "qwen2": SLIDING_TWICE | {"use_sliding_window": True},
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 16},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "qwen3_next": EXPERTS | {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": WINDOW},
    "rwkv": {"attention_hidden_size": 32},
    "seed_oss": {},
    "smollm3": SLIDING_TWICE | {"use_sliding_window": True},
    "stablelm": {},
    "starcoder2": WINDOWED,
    "vaultgemma": SLIDING_TWICE | {"final_logit_softcapping": 5.0},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
}


def tiny_decoder(architecture: str, vocabulary_size: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = ARCHITECTURES[architecture]
    if "text_config" in settings:
        settings = settings | {"text_config": settings["text_config"] | {"vocab_size": vocabulary_size}}
    else:
        settings = SIZES | {"vocab_size": vocabulary_size} | settings
    config = AutoConfig.for_model(architecture, **{key: value for key, value in settings.items() if value is not OMIT})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        lm = AutoModelForCausalLM.from_config(config)
        for parameter in lm.parameters():
            if parameter.ndim > 1:  # so large that every token and every layer affects the logits
                parameter.normal_(std=1.5 * parameter.shape[-1] ** -0.5)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return lm.eval()
