"""Training of reward models on preferences.

Under the model of Bradley and Terry (1952), a judge prefers one completion to another with probability
sigmoid(r(chosen) - r(rejected)), where r is the reward. Training maximizes the likelihood of the preferences.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
from agents.text.preferences import Preference
from agents.training.master_weights import stepped
from agents.training.reward_checkpoint import RewardCheckpoint
from agents.training.reward_model import MICRO_BATCH_TOKENS, EncodedText, RewardModel
from agents.training.updater import make_torch_optimizer, set_learning_rates

Progress = Callable[[str, float, float], None]
"""A function that receives a text to display, the number of finished gradient steps, and their total number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The share of preferences whose chosen completion has the higher reward, with its exact 95% interval.

    The interval is that of Clopper and Pearson (1934).
    """

    correct: int
    pairs: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rewards: Sequence[tuple[float, float]]) -> "Accuracy":
        """Return the accuracy of pairs of rewards (chosen text, rejected text). Equal rewards count as wrong."""
        from scipy.stats import binomtest

        correct, pairs = sum(chosen > rejected for chosen, rejected in rewards), len(rewards)
        interval = binomtest(correct, pairs).proportion_ci(confidence_level=0.95, method="exact")
        low, high = float(interval.low), float(interval.high)
        return cls(correct=correct, pairs=pairs, value=correct / pairs, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTraining:
    """A trained reward model and the measures of its training.

    `losses` holds the mean loss of each epoch, in nats, before the final scaling of the rewards. `trained` is the
    accuracy on the preferences of the training, `held_out` that on the held-out ones, or None if there are none.
    """

    reward_model: RewardModel
    losses: list[float]
    trained: Accuracy
    held_out: Accuracy | None

    def to_json(self) -> dict[str, Any]:
        held_out = self.held_out and asdict(self.held_out)
        return {"losses": self.losses, "trained": asdict(self.trained), "held_out": held_out}


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
    """Train a new reward model. `seed` determines all random numbers.

    After training, the head is shifted and scaled so that the rewards of the training texts have mean 0 and standard
    deviation 1 (as in Ziegler et al. 2019). This does not change the accuracies.

    Args:
        batch: preferences per gradient step.
        held_out: fraction of the preferences that are excluded from training, together with their prompts.
        progress: function that is called after each gradient step.
        checkpoint: where the state is saved at the start and after each epoch, and from which the training continues.

    Raises:
        AgentError: the trunk cannot be loaded, or there are too few preferences or prompts.
        DivergenceError: a gradient or a reward is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tested, learned = split_by_prompt(preferences, held_out, rng)
    model, tokenizer = assemble(config.replace(q_heads=0), None)
    reward_model = RewardModel(model.to(PartialState().device), tokenizer)
    try:
        update = UpdateConfig(lr=lr, value_lr=head_lr)
        losses = _fit(reward_model, learned, epochs, batch, update, rng, progress, checkpoint)
        model.eval()
        rewards = paired_rewards(reward_model, learned)
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
        held_out=Accuracy.of(paired_rewards(reward_model, tested)) if tested else None,
    )


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return -log sigmoid(r(chosen) - r(rejected)) for rewards [N], in nats. The shape is [N]."""
    return -nn.functional.logsigmoid(chosen - rejected)


def paired_rewards(reward_model: RewardModel, preferences: Sequence[Preference]) -> list[tuple[float, float]]:
    """Return a tuple for each preference: the reward of the chosen and of the rejected completion."""
    prompts = [preference.prompt for preference in preferences]
    rewards = reward_model(2 * prompts, [p.chosen for p in preferences] + [p.rejected for p in preferences])
    return list(zip(rewards[: len(prompts)], rewards[len(prompts) :], strict=True))


def split_by_prompt(
    preferences: Sequence[Preference], share: float, rng: np.random.Generator
) -> tuple[list[Preference], list[Preference]]:
    """Split preferences into a tuple of two parts that have no prompt in common.

    The first part holds at least the fraction `share` of the preferences, and the second part the rest. The first part
    is empty if `share` is 0.

    Raises:
        AgentError: `share` is above 0, and no preference is left for the second part.
    """
    if not share:
        return [], list(preferences)
    counts = Counter(preference.prompt for preference in preferences)
    prompts, chosen, size = list(counts), set[str](), 0
    for index in rng.permutation(len(prompts)):
        if size >= share * len(preferences):
            break
        chosen.add(prompts[index])
        size += counts[prompts[index]]
    parts = [[p for p in preferences if (p.prompt in chosen) == inside] for inside in (True, False)]
    if not parts[1]:
        raise AgentError(
            f"no preference is left for training: {len(preferences)} preferences of {len(prompts)} prompts, of which "
            f"a share of {share:g} is held out; expected more prompts or a smaller share"
        )
    return parts[0], parts[1]


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
    """Train on preferences, and return the mean loss of each epoch."""
    model = reward_model.model.train()
    pairs = [[reward_model.encode(p.prompt, text) for text in (p.chosen, p.rejected)] for p in preferences]
    torch_optimizer = make_torch_optimizer(model, config)
    losses = checkpoint.load(reward_model, torch_optimizer) if checkpoint else []
    per_epoch = -(-len(pairs) // batch)
    steps, step = epochs * per_epoch, len(losses) * per_epoch
    orders = [rng.permutation(len(pairs)) for _ in range(epochs)]
    if checkpoint and not losses:  # a full disk is then noticed before the training
        checkpoint.save(reward_model, torch_optimizer, losses)
    for order in orders[len(losses) :]:
        total = 0.0
        for start in range(0, len(pairs), batch):
            set_learning_rates(torch_optimizer, config, step, steps)
            some = [pairs[index] for index in order[start : start + batch]]
            total += _gradient_step(reward_model, some, torch_optimizer, config)
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
    """Take a gradient step on pairs (chosen text, rejected text). Return the sum of their losses before the step."""
    total = 0.0
    torch_optimizer.zero_grad()
    lengths = [max(len(text.tokens) for text in pair) for pair in pairs]
    for rows in group_by_length(lengths, budget=MICRO_BATCH_TOKENS // 2):
        texts = [pairs[row][which] for which in (0, 1) for row in rows]
        chosen, rejected = reward_model.rewards(texts).chunk(2)
        loss = bradley_terry_loss(chosen, rejected).sum()
        (loss / len(pairs)).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = nn.utils.clip_grad_norm_(stepped(torch_optimizer), config.max_grad_norm)
    check_finite({"the gradient of the loss": norm})
    torch_optimizer.step()
    return total


@torch.no_grad()
def _standardize(head: nn.Linear, rewards: Sequence[tuple[float, float]]) -> None:
    """Shift and scale the output layer of the head, so that `rewards` get mean 0 and standard deviation 1."""
    mean, spread = float(np.mean(rewards)), float(np.std(rewards))
    if spread > 0:
        head.weight.div_(spread)
        head.bias.sub_(mean).div_(spread)
