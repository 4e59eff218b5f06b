"""Reward models: a language model with a scalar head, trained on preferences.

The reward r(prompt, completion) is the value head's output at the end token behind the text. Under the model of Bradley
and Terry (1952), a judge prefers one completion to another with probability sigmoid(r(chosen) - r(rejected)). Training
maximizes the likelihood of the preferences.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from agents.config import ModelConfig, UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.build import assemble
from agents.protocol import AgentError
from agents.storage.checkpoint import AGENT, load_model, newest, read_json, save_agent, verify
from agents.text.preferences import Preference
from agents.training.updater import make_torch_optimizer, set_learning_rates

KIND = "reward model"
MAX_TOKENS = 512
"""Maximum length of a text. Of a longer text, the last tokens are scored."""
MICRO_BATCH_TOKENS = 2048
"""Tokens per forward pass. Limits memory."""


class RewardModel:
    """A language model whose value head scores texts.

    Args:
        model: trunk and value head. The caller controls its training mode.
        tokenizer: a tokenizer of the `transformers` library.
    """

    def __init__(self, model: ActorCritic, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_tokens = min(model.context, MAX_TOKENS)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return the reward of each completion. This is a `games.completion.Scorer`."""
        texts = [self.encode(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
        rewards = torch.empty(len(texts))
        for rows in batches_by_length([len(text) for text in texts], MICRO_BATCH_TOKENS):
            rewards[rows] = self.rewards([texts[row] for row in rows]).cpu()
        return [float(reward) for reward in rewards]

    def encode(self, prompt: str, completion: str) -> list[int]:
        """Return the tokens of a text: those of the prompt, of the completion, and an end token."""
        pieces = [self._tokens(prompt), self._tokens(completion)]
        end = self.tokenizer.eos_token_id
        last = self._tokens("\n") if end is None else [end]
        return [token for piece in (*pieces, last) for token in piece][-self.max_tokens :]

    def rewards(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return the rewards of texts, given as tokens. The shape is [N]."""
        lengths = torch.tensor([len(text) for text in texts])
        tokens = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = torch.tensor(text)  # padding on the right has no effect, because the trunk is causal
        hidden = self.model.hidden_states(tokens.to(self.model.device), use_cache=False)
        return self.model.heads.values(hidden[torch.arange(len(texts)), lengths - 1])

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return tokens


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
    def of(cls, correct: int, pairs: int) -> "Accuracy":
        from scipy.stats import binomtest

        interval = binomtest(correct, pairs).proportion_ci(confidence_level=0.95, method="exact")
        low, high = float(interval.low), float(interval.high)
        return cls(correct=correct, pairs=pairs, value=correct / pairs, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTraining:
    """A trained reward model and the measures of its training. `held_out` is None if no preference was held out.

    `losses` holds the mean loss of each epoch, in nats, before the final scaling of the rewards.
    """

    reward_model: RewardModel
    losses: list[float]
    trained: Accuracy
    held_out: Accuracy | None

    def to_json(self) -> dict[str, Any]:
        held_out = None if self.held_out is None else asdict(self.held_out)
        return {"losses": self.losses, "trained": asdict(self.trained), "held_out": held_out}


def train_reward_model(
    preferences: Sequence[Preference],
    config: ModelConfig,
    *,
    epochs: int = 4,
    lr: float = 3e-4,
    head_lr: float = 1e-3,
    batch: int = 16,
    held_out: float = 0.2,
    seed: int = 0,
    progress: Callable[[str, float, float], None] = lambda text, done, total: None,
) -> RewardTraining:
    """Train a new reward model. `seed` determines all random numbers.

    Afterwards, the head is shifted and scaled so that the rewards of the training texts have mean 0 and standard
    deviation 1 (as in Ziegler et al. 2019). Accuracies do not change.

    Args:
        batch: preferences per gradient step.
        held_out: share of the preferences that are not trained on. These preferences have prompts of their own.
        progress: function that receives a text, the work done so far, and the total work.

    Raises:
        AgentError: the trunk cannot be loaded, or there are too few preferences or prompts.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tested, learned = split_by_prompt(preferences, held_out, rng)
    model, tokenizer = assemble(config.replace(q_heads=0), None)
    reward_model = RewardModel(model.to(PartialState().device), tokenizer)
    losses = _fit(reward_model, learned, epochs, batch, UpdateConfig(lr=lr, value_lr=head_lr), rng, progress)
    model.eval()
    trained = accuracy(reward_model, learned)
    result = RewardTraining(
        reward_model=reward_model,
        losses=losses,
        trained=trained,
        held_out=accuracy(reward_model, tested) if tested else None,
    )
    _standardize(reward_model, learned)
    return result


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return -log sigmoid(r(chosen) - r(rejected)) for rewards [N], in nats. The shape is [N]."""
    return -nn.functional.logsigmoid(chosen - rejected)


def accuracy(reward_model: RewardModel, preferences: Sequence[Preference]) -> Accuracy:
    """Return the accuracy of a reward model on preferences. Equal rewards count as wrong."""
    pairs = _rewards(reward_model, preferences)
    return Accuracy.of(sum(chosen > rejected for chosen, rejected in pairs), len(pairs))


def split_by_prompt(
    preferences: Sequence[Preference], share: float, rng: np.random.Generator
) -> tuple[list[Preference], list[Preference]]:
    """Split preferences into two parts without common prompts. The first part holds at least this share of them.

    Raises:
        AgentError: one part would be empty, although `share` is above 0.
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


def batches_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return the indices of texts in batches of at most this many tokens, with padding. A longer text stands alone.

    Texts of similar length are in the same batch.
    """
    batches = list[list[int]]()
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[index] <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def check_folder(folder: Path) -> None:
    """Raise `AgentError` if saving a reward model would replace a folder that holds no reward model."""
    if folder.exists() and not folder.is_dir():
        raise AgentError(f"{folder} is a file; expected a new folder")
    if folder.is_dir() and any(folder.iterdir()) and read_json(folder / AGENT).get("kind") != KIND:
        raise AgentError(f"{folder} holds another kind of model; expected a new folder or a reward model to replace")


def save_reward_model(folder: Path, training: RewardTraining, config: ModelConfig, description: dict[str, Any]) -> None:
    """Write the folder of a reward model atomically (see `agents.storage.checkpoint`). An existing one is replaced."""
    model, tokenizer = training.reward_model.model, training.reward_model.tokenizer
    about = {"kind": KIND, "name": KIND, "prompt": "plain", "mode": "free", "context": training.reward_model.max_tokens}
    save_agent(folder, model, tokenizer, config.replace(q_heads=0), {**about, **description, **training.to_json()})


def load_reward_model(folder: Path) -> RewardModel:
    """Load the reward model of a folder. The global random-number generator does not change.

    Raises:
        AgentError: a file is missing, damaged or of another format, or the folder holds no reward model.
    """
    about = verify(newest(folder), kind=KIND)
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = load_model(folder, about)
    return RewardModel(model.requires_grad_(False), tokenizer)


def _fit(
    reward_model: RewardModel,
    preferences: Sequence[Preference],
    epochs: int,
    batch: int,
    config: UpdateConfig,
    rng: np.random.Generator,
    progress: Callable[[str, float, float], None],
) -> list[float]:
    """Train on preferences, and return the mean loss of each epoch."""
    model = reward_model.model.train()
    pairs = [[reward_model.encode(p.prompt, text) for text in (p.chosen, p.rejected)] for p in preferences]
    torch_optimizer = make_torch_optimizer(model, config)
    steps, step, losses = epochs * -(-len(pairs) // batch), 0, list[float]()
    for _ in range(epochs):
        total, order = 0.0, rng.permutation(len(pairs))
        for start in range(0, len(pairs), batch):
            set_learning_rates(torch_optimizer, config, step, steps)
            some = [pairs[index] for index in order[start : start + batch]]
            total += _gradient_step(reward_model, some, torch_optimizer, config)
            step += 1
            progress(f"loss {total / min(start + batch, len(pairs)):.3f}", step, steps)
        losses.append(total / len(pairs))
    return losses


def _gradient_step(
    reward_model: RewardModel,
    pairs: Sequence[Sequence[list[int]]],
    torch_optimizer: torch.optim.Optimizer,
    config: UpdateConfig,
) -> float:
    """Take a gradient step on pairs of texts, given as tokens, and return the sum of the losses before the step."""
    total = 0.0
    torch_optimizer.zero_grad()
    for rows in batches_by_length([max(map(len, pair)) for pair in pairs], MICRO_BATCH_TOKENS // 2):
        texts = [pairs[row][which] for which in (0, 1) for row in rows]
        chosen, rejected = reward_model.rewards(texts).chunk(2)
        loss = bradley_terry_loss(chosen, rejected).sum()
        (loss / len(pairs)).backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    nn.utils.clip_grad_norm_(reward_model.model.parameters(), config.max_grad_norm)
    torch_optimizer.step()
    return total


@torch.no_grad()
def _standardize(reward_model: RewardModel, preferences: Sequence[Preference]) -> None:
    """Change the head so that the rewards of the texts in the preferences have mean 0 and standard deviation 1."""
    rewards = _rewards(reward_model, preferences)
    mean, spread = float(np.mean(rewards)), float(np.std(rewards))
    if spread > 0:
        out = reward_model.model.heads.value.out
        out.weight.div_(spread)
        out.bias.sub_(mean).div_(spread)


def _rewards(reward_model: RewardModel, preferences: Sequence[Preference]) -> list[tuple[float, float]]:
    """Return the rewards of the chosen and the rejected completion of each preference."""
    prompts = [preference.prompt for preference in preferences]
    rewards = reward_model(2 * prompts, [p.chosen for p in preferences] + [p.rejected for p in preferences])
    return list(zip(rewards[: len(prompts)], rewards[len(prompts) :], strict=True))
