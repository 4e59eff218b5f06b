"""The weights of the first trial of a batch, by their names in transformers' GPT-2 and in `ActorCritic`."""

from torch import Tensor

from experiments.reproduce.ipd_trials.trunk import L, Model

BLOCK = {
    "ln1": "ln_1",
    "qkv": "attn.c_attn",
    "proj": "attn.c_proj",
    "ln2": "ln_2",
    "fc": "mlp.c_fc",
    "out": "mlp.c_proj",
}


def first(model: Model) -> dict[str, Tensor]:
    """Return the weights of the first trial by their own names."""
    return {name: weight[0] for name, weight in model.weights.items()}


def gpt2_names(model: Model) -> dict[str, Tensor]:
    """Return the weights by their names in GPT-2, as [in, out] for its Conv1D. wpe is omitted: its length differs."""
    w, found = first(model), {}
    for mine, theirs in BLOCK.items():
        for layer in range(L):
            weight = w[f"{mine}_weight"][layer]
            found[f"transformer.h.{layer}.{theirs}.weight"] = weight.T if weight.ndim == 2 else weight
            found[f"transformer.h.{layer}.{theirs}.bias"] = w[f"{mine}_bias"][layer]
    found |= {"transformer.ln_f.weight": w["lnf_weight"], "transformer.ln_f.bias": w["lnf_bias"]}
    return found | {"transformer.wte.weight": w["wte"], "lm_head.weight": w["policy"]}


def generic_names(model: Model) -> dict[str, Tensor]:
    """Return the weights, including the heads, by their names in `agents.model.actor_critic.ActorCritic`."""
    heads = {
        "value.out.weight": "value",
        "value.out.bias": "value_bias",
        "q.0.out.weight": "q",
        "q.0.out.bias": "q_bias",
    }
    found = {f"lm.{name}": weight for name, weight in gpt2_names(model).items()}
    return found | {f"heads.{theirs}": first(model)[mine] for theirs, mine in heads.items()}
