"""Trains reward models with the preference model of Bradley and Terry (1952)."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from agents.config import ModelConfig, UpdateConfig
from agents.model.build import assemble
from agents.model.finite_check import check_finite
from agents.model.tree_decoder import group_by_length
from agents.protocol import AgentError, DivergenceError
from agents.storage.checkpoint import load_tensors, loading_tensors, read_tensors
from agents.storage.checkpoint_files import AGENT, STATE, TRAINING, WEIGHTS, read_json, verify
from agents.text.preferences import Preference
from agents.training.master_weights import optimized_parameters
from agents.training.reward_model import MICRO_BATCH_TOKENS, EncodedText, RewardModel, save_reward_model
from agents.training.updater import (
    load_torch_optimizer,
    make_torch_optimizer,
    set_learning_rates,
    torch_optimizer_tensors,
)
from games.untrusted_files import validated

KIND = "training of a reward model"
Progress = Callable[[str, float, float], None]
"""A callback with the arguments (text to display, finished gradient steps, all gradient steps)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The share of preferences whose chosen completion has the higher reward.

    `low` and `high` bound the exact 95% confidence interval (Clopper and Pearson, 1934).
    """

    correct: int
    pairs: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rewards: Sequence[tuple[float, float]]) -> "Accuracy":
        """Return the accuracy for tuples (chosen reward, rejected reward). Equal rewards count as wrong."""
        from scipy.stats import binomtest

        correct, pairs = sum(chosen > rejected for chosen, rejected in rewards), len(rewards)
        interval = binomtest(correct, pairs).proportion_ci(confidence_level=0.95, method="exact")
        low, high = float(interval.low), float(interval.high)
        return cls(correct=correct, pairs=pairs, value=correct / pairs, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTraining:
    """A trained reward model. `losses` holds the mean loss of each epoch, in nats."""

    reward_model: RewardModel
    losses: list[float]
    trained: Accuracy
    held_out: Accuracy | None

    def to_json(self) -> dict[str, Any]:
        held_out = self.held_out and asdict(self.held_out)
        return {"losses": self.losses, "trained": asdict(self.trained), "held_out": held_out}


class RewardCheckpoint:
    """Saves the state of an unfinished training, and loads a state with equal settings `made_by`."""

    def __init__(self, out: Path, config: ModelConfig, made_by: Mapping[str, Any]) -> None:
        self._folder, self._config, self._made_by = out.with_name(f".{out.name}.part"), config, dict(made_by)

    def save(self, reward_model: RewardModel, torch_optimizer: torch.optim.Optimizer, losses: Sequence[float]) -> None:
        save_reward_model(
            self._folder,
            reward_model,
            self._config,
            {"kind": KIND, "name": KIND, "made_by": self._made_by},
            training=torch_optimizer_tensors(torch_optimizer) | {"torch_rng": torch.get_rng_state()},
            state={"losses": list(losses)},
        )

    def load(self, reward_model: RewardModel, torch_optimizer: torch.optim.Optimizer) -> list[float]:
        """Load any saved state. Return the mean loss of each finished epoch."""
        if not (self._folder / AGENT).is_file() or verify(self._folder, kind=KIND).get("made_by") != self._made_by:
            return []
        path = self._folder / STATE
        state = validated(dict[str, list[float]], read_json(path), str(path), AgentError)
        tensors = read_tensors(self._folder / TRAINING)
        with loading_tensors(self._folder / TRAINING):
            torch.set_rng_state(tensors.pop("torch_rng"))
            load_torch_optimizer(torch_optimizer, tensors)
        load_tensors(reward_model.model, read_tensors(self._folder / WEIGHTS), self._folder)
        return state["losses"]

    def is_present(self) -> bool:
        agent_file = self._folder / AGENT
        return agent_file.is_file() and read_json(agent_file).get("made_by") == self._made_by

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def train_reward_model(
    preferences: Sequence[Preference],
    config: ModelConfig,
    *,
    epochs: int = 2,
    lr: float = 3e-4,
    head_lr: float = 3e-3,
    batch: int = 16,
    held_out: float = 0.2,
    seed: int = 0,
    progress: Progress = lambda text, done, total: None,
    checkpoint: RewardCheckpoint | None = None,
) -> RewardTraining:
    """Train a new reward model. A fraction `held_out` of the preferences is not used for training.

    If `checkpoint` holds a state, continue from that state.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held_out_preferences, training_preferences = split_by_prompt(preferences, held_out, rng)
    model, tokenizer = assemble(config.replace(q_heads=0), None)
    reward_model = RewardModel(model.to(PartialState().device), tokenizer)
    try:
        update = UpdateConfig(lr=lr, value_lr=head_lr)
        losses = _fit(reward_model, training_preferences, epochs, batch, update, rng, progress, checkpoint)
        model.eval()
        rewards = paired_rewards(reward_model, training_preferences)
        check_finite({"a reward of the trained model": torch.tensor(rewards)})
    except DivergenceError as error:
        if checkpoint:
            checkpoint.remove()
        raise DivergenceError(f"the training diverged: {error}; nothing is saved; try a lower --lr") from None
    _standardize(model.heads.value.out, rewards)
    return RewardTraining(
        reward_model=reward_model,
        losses=losses,
        trained=Accuracy.of(rewards),
        held_out=Accuracy.of(paired_rewards(reward_model, held_out_preferences)) if held_out_preferences else None,
    )


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return the loss -log sigmoid(chosen - rejected) of rewards [N], in nats."""
    return -nn.functional.logsigmoid(chosen - rejected)


def paired_rewards(reward_model: RewardModel, preferences: Sequence[Preference]) -> list[tuple[float, float]]:
    """Return a tuple (chosen reward, rejected reward) for each preference."""
    prompts = [preference.prompt for preference in preferences]
    rewards = reward_model(2 * prompts, [p.chosen for p in preferences] + [p.rejected for p in preferences])
    return list(zip(rewards[: len(prompts)], rewards[len(prompts) :], strict=True))


def split_by_prompt(
    preferences: Sequence[Preference], fraction: float, rng: np.random.Generator
) -> tuple[list[Preference], list[Preference]]:
    """Return a tuple (held-out preferences, training preferences). The two lists share no prompt."""
    if not fraction:
        return [], list(preferences)
    counts = Counter(preference.prompt for preference in preferences)
    prompts, held_out_prompts, held_out_count = list(counts), set[str](), 0
    for index in rng.permutation(len(prompts)):
        if held_out_count >= fraction * len(preferences):
            break
        held_out_prompts.add(prompts[index])
        held_out_count += counts[prompts[index]]
    split = [[p for p in preferences if (p.prompt in held_out_prompts) == is_held_out] for is_held_out in (True, False)]
    if not split[1]:
        raise AgentError(
            f"no preference is left for training: {len(preferences)} preferences of {len(prompts)} prompts, of which "
            f"a share of {fraction:g} is held out; expected more prompts or a smaller share"
        )
    return split[0], split[1]


def _fit(
    reward_model: RewardModel,
    preferences: Sequence[Preference],
    epochs: int,
    batch: int,
    config: UpdateConfig,
    rng: np.random.Generator,
    progress: Progress,
    checkpoint: RewardCheckpoint | None,
) -> list[float]:
    model = reward_model.model.train()
    pairs = [[reward_model.encode(p.prompt, text) for text in (p.chosen, p.rejected)] for p in preferences]
    torch_optimizer = make_torch_optimizer(model, config)
    losses = checkpoint.load(reward_model, torch_optimizer) if checkpoint else []
    steps_per_epoch = -(-len(pairs) // batch)
    steps, step = epochs * steps_per_epoch, len(losses) * steps_per_epoch
    orders = [rng.permutation(len(pairs)) for _ in range(epochs)]
    if checkpoint and not losses:  # a full disk is then noticed before the training
        checkpoint.save(reward_model, torch_optimizer, losses)
    for order in orders[len(losses) :]:
        total = 0.0
        for start in range(0, len(pairs), batch):
            set_learning_rates(torch_optimizer, config, step, steps)
            minibatch = [pairs[index] for index in order[start : start + batch]]
            total += _gradient_step(reward_model, minibatch, torch_optimizer, config)
            step += 1
            progress(f"loss {total / min(start + batch, len(pairs)):.3f}", step, steps)
        losses.append(total / len(pairs))
        if checkpoint:
            checkpoint.save(reward_model, torch_optimizer, losses)
    return losses


def _gradient_step(
    reward_model: RewardModel,
    pairs: Sequence[Sequence[EncodedText]],
    torch_optimizer: torch.optim.Optimizer,
    config: UpdateConfig,
) -> float:
    """Take a gradient step on pairs (chosen text, rejected text). Return the sum of the losses."""
    total = 0.0
    torch_optimizer.zero_grad()
    lengths = [max(len(text.tokens) for text in pair) for pair in pairs]
    for rows in group_by_length(lengths, budget=MICRO_BATCH_TOKENS // 2):
        texts = [pairs[row][side] for side in (0, 1) for row in rows]
        chosen, rejected = reward_model.rewards(texts).chunk(2)
        loss = bradley_terry_loss(chosen, rejected).sum()
        (loss / len(pairs)).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = nn.utils.clip_grad_norm_(optimized_parameters(torch_optimizer), config.max_grad_norm)
    check_finite({"the gradient of the loss": norm})
    torch_optimizer.step()
    return total


@torch.no_grad()
def _standardize(head: nn.Linear, rewards: Sequence[tuple[float, float]]) -> None:
    """Rescale the head so that `rewards` would have mean 0 and standard deviation 1 (Ziegler et al., 2019)."""
    mean, deviation = float(np.mean(rewards)), float(np.std(rewards))
    if deviation > 0:
        head.weight.div_(deviation)
        head.bias.sub_(mean).div_(deviation)
