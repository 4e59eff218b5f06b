"""Train SmolLM2 on a bandit. Each arm is a word that continues a fixed prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from actde import OptimizerConfig, make_optimizer
from agents.config import ModelConfig, UpdateConfig
from agents.language_model.token_stream import Choice, Segment
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.model.heads import Heads
from agents.training.rollout_batch import RolloutBatch
from agents.training.updater import Updater, make_torch_optimizer
from experiments.rlhf.contrasts import Array
from experiments.rlhf.exact_heads import ArmHeads, CentredHeads, tied_kernel
from experiments.rlhf.exact_tasks import PROMPT, TASKS, TAU, Task

LAYERS = 8
EPISODES = 256  # episodes per rollout
STEP = 1.0  # nats by which a plain gradient step moves the logit of an arm whose probability and advantage are 1
# Fraction of the error that a plain gradient step corrects: for v, and for q of an arm that every episode plays
HEAD_STEP = {"value": 0.5, "q": STEP * TAU}
LOSS_COEF = 0.5  # weight of the value loss and of the Q loss
STEADY_EVERY = 5  # rollouts between two adjustments of the policy's learning rate, if `Method.steady` is set


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a run updates the model.

    Attributes:
        adamw: AdamW's learning rates (policy, heads), or None for SGD.
        steady: whether SGD's learning rate is adjusted so that the policy's steps have a constant size.
        heads: "tied" for `Heads`, "arms" for `ArmHeads`, "centred" for `CentredHeads`.
    """

    optimizer: str
    adamw: tuple[float, float] | None = None
    steady: bool = False
    kl_coef: float = 0.0
    heads: str = "tied"


LEARNING_RATES = (3e-5, 1e-4)
METHODS = {
    "ppo": Method(optimizer="ppo", adamw=LEARNING_RATES),
    "ppo-kl": Method(optimizer="ppo", adamw=LEARNING_RATES, kl_coef=TAU),
    "actde": Method(optimizer="actde", adamw=LEARNING_RATES),
    "actde-slow-q": Method(optimizer="actde", adamw=(3e-5, 3e-5)),
    "actde-fast-q": Method(optimizer="actde", adamw=(3e-5, 3e-4)),
    "actde-10x": Method(optimizer="actde", adamw=(3e-4, 1e-3)),
    "pg": Method(optimizer="ppo", heads="arms"),
    "pg-kl": Method(optimizer="ppo", kl_coef=TAU, heads="arms"),
    "actde-sgd": Method(optimizer="actde", heads="arms"),
    "corrected-sgd": Method(optimizer="actde-corrected", heads="arms"),
    "actde-steady": Method(optimizer="actde", heads="arms", steady=True),
    "centred-steady": Method(optimizer="actde", heads="centred", steady=True),
}


class _Activations(nn.Module):
    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, tokens: Tensor) -> Tensor:
        return self.states.expand(len(tokens), -1, -1)


@cache
def load_upper_layers() -> tuple[ActorCritic, Any, Tensor]:
    """Return a tuple (model, tokenizer, the L tokens [1, L] of `PROMPT`). The model works only for `PROMPT`."""
    model, tokenizer = assemble(ModelConfig(trunk="smollm2", lora=16, detach_value=True, detach_q=True), None)
    tokens, trunk = torch.tensor([tokenizer.encode(PROMPT)]), model.base.model
    lower_count = len(trunk.layers) - LAYERS
    with torch.no_grad():
        states = trunk(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states[lower_count]
    # all episodes have the same prompt, so the output of the lower layers is stored
    trunk.embed_tokens, trunk.layers = _Activations(states), trunk.layers[lower_count:]
    model.base.config.num_hidden_layers = LAYERS
    return model, tokenizer, tokens


def initial_model(task: Task, method: Method, seed: int) -> tuple[ActorCritic, Tensor, Tensor]:
    """Return a tuple (initial model, the L prompt tokens [1, L], the K arm tokens [K])."""
    from peft.tuners.lora import LoraLayer

    model, tokenizer, tokens = load_upper_layers()
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters("default", True)
    arms = torch.tensor([tokenizer.encode(f" {arm}") for arm in task.arms])
    if arms.shape[1] != 1:
        raise ValueError("every arm must be a single token")
    width, detached = model.base.config.hidden_size, {"detach_value": True, "detach_q": True}
    if method.heads == "tied":
        model.heads = Heads(width, len(tokenizer), tied=True, dueling=True, **detached)
    else:
        model.heads = {"arms": ArmHeads, "centred": CentredHeads}[method.heads](width, len(arms), **detached)
    return model, tokens, arms[:, 0]


def logit_kernel(model: ActorCritic, tokens: Tensor, arms: Tensor) -> Array:
    """Return [K, K]: inner products of the gradients of the centred logits of K arms."""
    parameters = [p for p in model.lm.parameters() if p.requires_grad]
    logits = model.hidden_states(tokens, use_cache=False)[0, -1] @ model.base.get_output_embeddings().weight[arms].T
    gradients_of_logits = (
        torch.autograd.grad(logit, parameters, retain_graph=True, allow_unused=True) for logit in logits - logits.mean()
    )
    gradients = torch.stack(
        [torch.cat([gradient.flatten() for gradient in row if gradient is not None]) for row in gradients_of_logits]
    )
    return np.asarray((gradients @ gradients.T).numpy(), dtype=np.float64)


def logit_rate(model: ActorCritic, tokens: Tensor, arms: Tensor) -> float:
    """Return the learning rate at which one SGD step moves a logit by `STEP` nats on average."""
    return STEP * (len(arms) - 1) / float(np.trace(logit_kernel(model, tokens, arms)))


def update_config(model: ActorCritic, tokens: Tensor, arms: Tensor, method: Method) -> UpdateConfig:
    """Return the update settings. For SGD, `STEP` and `HEAD_STEP` determine the learning rates."""
    if method.adamw:
        lr, head_lr = method.adamw
        return UpdateConfig(epochs=2, lr=lr, value_lr=head_lr, q_lr=head_lr)
    with torch.no_grad():
        squared_norm = float(model.hidden_states(tokens, use_cache=False)[0, -1].square().sum()) + 1
    return UpdateConfig(
        torch_optimizer="sgd",
        epochs=1,
        max_grad_norm=1e9,  # no clipping
        lr=logit_rate(model, tokens, arms),
        value_lr=HEAD_STEP["value"] / (LOSS_COEF * squared_norm),
        q_lr=HEAD_STEP["q"] / (2 * LOSS_COEF * squared_norm),
    )


def make_updater(model: ActorCritic, config: UpdateConfig, method: Method) -> Updater:
    from accelerate import Accelerator

    optimizer = make_optimizer(
        method.optimizer,
        OptimizerConfig(
            gamma=1.0,
            value_clip_range=None,
            value_coef=LOSS_COEF,
            q_coef=LOSS_COEF,
            kl_coef=method.kl_coef,
            train_q=True,
        ),
    )
    return Updater(model, make_torch_optimizer(model, config), optimizer, config, Accelerator(cpu=True))


def train(task: Task, method: Method, *, seed: int, rollouts: int) -> dict[str, Any]:
    """Train the model, and return a dict: name -> array.

    * `policy`, `q`, `value`: the model's outputs before each rollout and after the last rollout
    * `reinforcement`: sum of each arm's advantages / number of episodes
    * `errors`: sum of each arm's absolute advantages / number of episodes
    * `kernels`: mean step of a logit at learning rate 1, before and after training
    """
    model, tokens, arms = initial_model(task, method, seed)
    initial_kernel = STEP / logit_rate(model, tokens, arms)
    updater = make_updater(model, update_config(model, tokens, arms, method), method)
    policy_groups = [group for group in updater.torch_optimizer.param_groups if group["name"] == "policy"]
    rng, rows = np.random.default_rng([seed, len(task.arms)]), []
    for iteration in range(rollouts):
        if method.steady and iteration and iteration % STEADY_EVERY == 0:
            rate = logit_rate(model, tokens, arms)
            for group in policy_groups:
                group["lr"] = rate
        outputs = arm_outputs(model, tokens, arms)
        chosen = rng.choice(len(arms), size=EPISODES, p=outputs["policy"])
        rollout = rollout_batch(tokens, arms, outputs, chosen, task.pay(chosen, rng))
        _, targets = updater.learn(rollout, rng)
        advantages = targets.advantages[0].numpy().astype(np.float64)
        sums = [
            np.bincount(chosen, values, minlength=len(arms)) / EPISODES for values in (advantages, np.abs(advantages))
        ]
        rows.append({**outputs, "reinforcement": sums[0], "errors": sums[1]})
    rows.append({**arm_outputs(model, tokens, arms), "reinforcement": 0 * sums[0], "errors": 0 * sums[1]})
    kernels = [initial_kernel, STEP / logit_rate(model, tokens, arms)]
    return {**{name: np.array([row[name] for row in rows]) for name in rows[0]}, "kernels": kernels}


@torch.no_grad()
def arm_outputs(model: ActorCritic, tokens: Tensor, arms: Tensor) -> Mapping[str, Any]:
    """Return a dict: `policy` (probabilities) and `q` of K arms, each [K], and the prompt's `value`."""
    model.eval()
    heads = model.evaluate_heads(model.hidden_states(tokens, use_cache=False)[0, -1:], arms[None])
    assert heads.recorded_q is not None
    policy = heads.logprobs[0].double().softmax(-1).numpy()
    return {"policy": policy, "q": heads.recorded_q[0].double().numpy(), "value": float(heads.values[0])}


def rollout_batch(
    tokens: Tensor, arms: Tensor, outputs: Mapping[str, Any], chosen: np.ndarray[Any, Any], rewards: Array
) -> RolloutBatch:
    """Return a rollout of N bandit episodes. `chosen` [N] holds the arm of each episode."""
    alternatives, logprobs = tuple(arms.tolist()), np.log(outputs["policy"])
    entropy = float(-(outputs["policy"] * logprobs).sum())
    choices = tuple(
        Choice(
            position=tokens.shape[1] - 1,
            turn=turn,
            alternatives=alternatives,
            chosen=int(arm),
            logprob=float(logprobs[arm]),
            value=outputs["value"],
            q_value=float(outputs["q"][arm]),
            entropy=entropy,
            reward=float(reward),
            discount=0.0,  # the returns must not contain the rewards of other episodes
        )
        for turn, (arm, reward) in enumerate(zip(chosen, rewards, strict=True))
    )
    return RolloutBatch([Segment(episode=0, tokens=tokens[0].numpy(), choices=choices)], credit="token")


def q_step_sizes() -> dict[str, Any]:
    """Return a dict: task -> change of q in one gradient step / (error * learning rate)."""
    step_sizes: dict[str, Any] = {}
    for name, task in TASKS.items():
        model, tokens, arms = initial_model(task, METHODS["actde"], 0)
        kernel, count = tied_kernel(model, tokens, arms), len(arms)
        common = float(kernel.sum()) / count  # for equal changes of all arms
        differences = (float(np.trace(kernel)) - common) / (count - 1)  # for changes that sum to 0
        step_sizes[name] = {"common": common, "differences": differences, "times": common / differences}
    with torch.no_grad():
        # the largest change of v in AdamW's first step
        step_sizes["adamw"] = 1 + float(model.hidden_states(tokens, use_cache=False)[0, -1].abs().sum())
    return step_sizes
