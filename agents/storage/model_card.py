"""The model card of an exported agent."""

import json
from collections.abc import Mapping
from typing import Any

from agents.config import SCRATCH, SMOLLM2
from agents.storage.schema import HeadsFile

SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
PROMPTS = {
    "plain": "A text is a transcript: each observation, the game's prompt (such as `> `), and the command.",
    "chat": "A text is a chat: each observation is a message of the user, each command the assistant's answer.",
}
MODES = {
    "trie": "The agent chooses among the game's admissible commands, with the probabilities that the model gives them.",
    "free": "The agent generates any text.",
}

BODY = "F.gelu(linear(f'{head}.body.0', h), approximate='tanh')"


def model_card(metadata: Mapping[str, Any], state: Mapping[str, Any], heads: HeadsFile, base_model: str | None) -> str:
    """Return the model card. `metadata` comes from `agent.json`, and `state` comes from `state.json`."""
    trunk = metadata["model"]["trunk"]
    sections = [
        _front_matter(trunk, base_model),
        f"# {metadata['name']}",
        _origin(metadata, state),
        "## Use",
        _model_usage(base_model, metadata["model"]["dtype"]),
        f"{MODES[metadata['mode']]} {PROMPTS.get(metadata['prompt'], '')} "
        f"The context is at most {metadata['context']} tokens. "
        "A command or a completion ends at a special token or at a newline.",
        "## v and q" if heads.q_heads else "## v",
        _head_usage(heads),
        "## Licence",
        _licence(trunk),
        "## Settings",
        f"```json\n{json.dumps(metadata.get('made_by', {}), indent=1)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(trunk: str, base_model: str | None) -> str:
    lines = [f"library_name: {'transformers' if base_model is None else 'peft'}", "pipeline_tag: text-generation"]
    if trunk == SMOLLM2:
        lines += [f"base_model: {SMOLLM2_HUB}", "license: apache-2.0"]
    return "\n".join(["---", *lines, "---"])


def _origin(metadata: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    made_by, model = metadata.get("made_by", {}), metadata["model"]
    run = made_by.get("run", {})
    layer_count = model.get("lora_layers")
    layers = f" on the upper {f'{layer_count} layers' if layer_count > 1 else 'layer'}" if layer_count else ""
    trained_part = f"a LoRA adapter of rank {model['lora']}{layers}" if model["lora"] else "the whole model"
    random_or_pretrained = "random weights" if model["trunk"] in SCRATCH else "pretrained weights"
    q_heads = f" and {model['q_heads']} Q head{'s' * (model['q_heads'] > 1)}" if model["q_heads"] else ""
    initial_weights = f"the weights of the run `{run['init']}`" if run.get("init") else random_or_pretrained
    lines = [
        f"A language model (trunk `{model['trunk']}`) with a value head{q_heads}.",
        f"The optimizer `{metadata['name']}` trained {trained_part}, from {initial_weights}.",
    ]
    if run:
        lines.append(f"Game: `{run['game']}`. Seed: {run['seed']}.")
    if guide_beta := metadata.get("guide_beta"):
        lines.append(f"In its evaluations, the policy is guided by q: this model's policy times exp({guide_beta:g} q).")
    if state:
        lines.append(f"Iterations: {state['iteration']}. Commands: {state['env_steps']}.")
    return "\n".join(lines)


def _model_usage(base_model: str | None, dtype: str) -> str:
    requirement = f"The adapter needs the package peft, and its base model in `{base_model}`.\n\n" if base_model else ""
    sampling_line = "model.generation_config = GenerationConfig.from_pretrained(folder)\n" if base_model else ""
    return f"""{requirement}```python
from transformers import AutoModelForCausalLM, AutoTokenizer{", GenerationConfig" if base_model else ""}

folder = "."  # this folder
model = AutoModelForCausalLM.from_pretrained(folder{f', dtype="{dtype}"' if base_model else ""})
{sampling_line}tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer("go", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**inputs)[0]))
```

`generation_config.json` samples from the policy as it was trained: at temperature 1, from the whole vocabulary."""


def _head_usage(heads: HeadsFile) -> str:
    two_layers = heads.layers == 2
    value_body, q_body = ("body('value')", "body(head)") if two_layers else ("h", "h")
    q_expression = (
        "linear(f'{head}.project', x) @ E.T / h.shape[-1] ** 0.5 + linear(f'{head}.bias', x)"
        if heads.tied
        else "linear(f'{head}.out', x)"
    )
    plus_v = " + v" if heads.dueling else ""
    head_names = ", ".join(f"'q.{index}'" for index in range(heads.q_heads))
    minimum_note = " For each token, q is the lowest of the heads." if heads.q_heads > 1 else ""
    lines = [
        "import torch.nn.functional as F",
        "from safetensors.torch import load_file",
        "",
        "weights = load_file(f'{folder}/heads.safetensors')",
        "h = model(**inputs, output_hidden_states=True).hidden_states[-1].float()  # [B, L, d]",
        "",
        "def linear(name, x):",
        "    return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])",
        *(["", "def body(head):", f"    return {BODY}"] if two_layers else []),
        "",
        f"v = linear('value.out', {value_body})  # [B, L, 1]",
    ]
    if heads.q_heads:
        lines += [
            *(["E = model.get_output_embeddings().weight.float()"] if heads.tied else []),
            "",
            "def q_of(head):",
            f"    x = {q_body}",
            f"    return {q_expression}{plus_v}  # [B, L, V]",
            "",
            f"q = [q_of(head) for head in ({head_names},)]",
        ]
    code = "\n".join(lines)
    q_clause = " and q that of each next token," if heads.q_heads else ""
    return f"""`heads.safetensors` holds the heads, and `heads.json` describes them. v is the value of
the text so far,{q_clause} in units of the training's reward.{minimum_note}

```python
{code}
```"""


def _licence(trunk: str) -> str:
    if trunk == SMOLLM2:
        return f"The base model, SmolLM2-135M-Instruct ({SMOLLM2_HUB}), is under the Apache License 2.0."
    if trunk in SCRATCH:
        return "The model was trained from random weights. The licence of the texts of its games may apply."
    return f"The licence of the base model `{trunk}` applies to this model too. Add it here before you share the model."
