"""The runs whose memory `benchmarks.memory_model` predicts and measures."""

from typing import Any

COIN = {"game": "textworld:coin?level=5&seed=1..50", "max_turns": 8, "optimizer": "ppo", "epochs": 1, "minibatches": 2}
"""Settings of cases that play a text adventure. Episodes are longer than the context, so token streams fill it."""
BASE: dict[str, Any] = {"iterations": 1, "prefix_sharing": "off", "tracker": "none", **COIN}
SMOLLM2 = {"trunk": "smollm2", "dtype": "float32", "parallel": 4, "episodes": 4}
SMALL = {"trunk": "small", "lora": 0, "parallel": 16, "episodes": 16, "max_turns": 60, "context": 1024,
         "micro_batch_tokens": 8192}  # fmt: skip
BFLOAT16 = {"dtype": "bfloat16", "parallel": 2, "episodes": 2}
RANDOM = {"trunk": "random", "dtype": "float32", "parallel": 4, "episodes": 4}
NEOX = {
    "model_type": "gpt_neox", "vocab_size": 49152, "hidden_size": 1024, "intermediate_size": 4096,
    "num_hidden_layers": 16, "num_attention_heads": 16, "max_position_embeddings": 2048,
}  # fmt: skip
# 1.7 billion parameters
LARGE_NEOX = NEOX | {"hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 12,
                     "num_attention_heads": 24}  # fmt: skip
LLAMA = {
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 768, "intermediate_size": 2048,
    "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4, "max_position_embeddings": 2048,
}  # fmt: skip
QWEN2 = {
    "model_type": "qwen2", "vocab_size": 49152, "hidden_size": 896, "intermediate_size": 3072, "num_hidden_layers": 6,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
OLMO2 = {
    "model_type": "olmo2", "vocab_size": 49152, "hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 8,
    "num_attention_heads": 10, "num_key_value_heads": 10, "max_position_embeddings": 2048,
}  # fmt: skip
TINY = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1}  # fmt: skip
SHORT = {"context": 256, "micro_batch_tokens": 512}
FEW = {"max_turns": 4, **SHORT}
LONG = {"max_turns": 16, **SHORT}  # episodes that fill the micro-batches
TEXTS = {"game": "completion?reward=length&max_tokens=112&newlines=true", "context": 128, "micro_batch_tokens": 256,
         "parallel": 4, "episodes": 8, "group_size": 4}  # fmt: skip
"""Settings of cases that generate free text, with every token of the vocabulary as an alternative."""

Case = dict[str, Any]
CASES: dict[str, Case] = {
    "smollm2-lora": {**SMOLLM2, **SHORT, "lora": 16},
    "smollm2-lora-checkpointing": {**SMOLLM2, **SHORT, "lora": 16, "gradient_checkpointing": True},
    "smollm2-full-sharing": {**SMOLLM2, **SHORT, "lora": 0, "prefix_sharing": "auto"},
    "smollm2-lora-bfloat16": {**SMOLLM2, **BFLOAT16, "lora": 16, "context": 128, "micro_batch_tokens": 128},
    "small": SMALL,
    "small-checkpointing": {**SMALL, "gradient_checkpointing": True},
    "neox-full-checkpointing": {**RANDOM, **SHORT, "of": NEOX, "lora": 0, "gradient_checkpointing": True},
    "neox-lora-kl": {**RANDOM, **SHORT, "of": NEOX, "lora": 8, "kl_coef": 0.1},
    "llama-full-kl-copy": {**RANDOM, **SHORT, "of": LLAMA, "lora": 0, "kl_coef": 0.1},
    "llama-full-two-shards": {**RANDOM, **SHORT, "of": LLAMA, "lora": 0, "shards": 2},
    "smollm2-lora-actde": {**SMOLLM2, **FEW, "lora": 8, "optimizer": "actde"},
    "smollm2-lora-sharing": {**SMOLLM2, **FEW, "lora": 16, "micro_batch_tokens": 1024, "prefix_sharing": "auto"},
    "smollm2-full-bfloat16": {
        **SMOLLM2, **FEW, **BFLOAT16, "lora": 0, "context": 192, "micro_batch_tokens": 192,
    },
    "neox-full": {**RANDOM, **FEW, "of": {**NEOX, "num_hidden_layers": 4}, "lora": 0},
    "neox-lora-checkpointing": {
        **RANDOM, **FEW, "of": {**NEOX, "num_hidden_layers": 8}, "lora": 16, "micro_batch_tokens": 1024,
        "gradient_checkpointing": True,
    },
    "llama-lora-kl-two-shards": {
        **RANDOM, **FEW, "of": {**LLAMA, "num_hidden_layers": 6}, "lora": 8, "kl_coef": 0.1, "shards": 2,
    },
    "qwen2-lora": {**RANDOM, **FEW, "of": QWEN2, "lora": 16},
    "qwen2-full-kl-copy": {**RANDOM, **FEW, "of": QWEN2, "lora": 0, "kl_coef": 0.1},
    "completions-smollm2-lora": {**SMOLLM2, **TEXTS, "lora": 16, "optimizer": "grpo"},
    "completions-llama-full-kl": {
        **RANDOM, **TEXTS, "of": {**LLAMA, "num_hidden_layers": 6}, "lora": 0, "optimizer": "ppo", "kl_coef": 0.1,
    },
    "smollm2-upper-layers": {**SMOLLM2, **LONG, "lora": 16, "lora_layers": 10},
    "smollm2-lora-context-512": {**SMOLLM2, **LONG, "lora": 8, "context": 512},
    "neox-lora-wide-micro-batch": {
        **RANDOM, **LONG, "of": {**NEOX, "num_hidden_layers": 6}, "lora": 8, "kl_coef": 0.1,
        "micro_batch_tokens": 1024,
    },
    "llama-full-sgd": {**RANDOM, **LONG, "of": {**LLAMA, "num_hidden_layers": 8}, "lora": 0, "torch_optimizer": "sgd"},
    "qwen2-full-checkpointing": {**RANDOM, **LONG, "of": QWEN2, "lora": 0, "gradient_checkpointing": True},
    "olmo2-lora-actde": {**RANDOM, **LONG, "of": OLMO2, "lora": 16, "optimizer": "actde"},
    "olmo2-full-two-shards": {**RANDOM, **LONG, "of": {**OLMO2, "num_hidden_layers": 6}, "lora": 0, "shards": 2},
    "qwen2-lora-checkpointing-two-shards": {
        **RANDOM, **LONG, "of": QWEN2, "lora": 16, "gradient_checkpointing": True, "shards": 2,
    },
    "completions-olmo2-lora-kl": {**RANDOM, **TEXTS, "of": OLMO2, "lora": 8, "optimizer": "ppo", "kl_coef": 0.1},
    "neox-large-lora": {**RANDOM, **FEW, "of": LARGE_NEOX, "lora": 16},
}  # fmt: skip
"""Settings of each case. `of` is the configuration of a trunk with random weights, `shards` the number of processes."""
TUNING: dict[str, Case] = {
    "llama-full": {**RANDOM, **SHORT, "of": LLAMA, "lora": 0},
    "llama-lora": {**RANDOM, **SHORT, "of": LLAMA, "lora": 8},
    "llama-small-shards": {**RANDOM, **SHORT, "of": {**LLAMA, "num_hidden_layers": 4}, "lora": 0, "shards": 2},
}
"""Cases on which the model and the measurement were developed. They are not part of the report."""
