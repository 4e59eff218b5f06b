"""The base class of the optimizers. Call `targets` once per rollout, and `loss` in every gradient step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from actde import losses
from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError, ResultError
from actde.kl_controller import KLController
from actde.losses import masked_mean
from actde.returns import AllReduce, explained_variance, lambda_advantages, lambda_returns, no_reduce, td_errors, whiten

Labels = Literal["none", "expert", "best", "recorded", "return"]


class Optimizer(ABC):
    """Base class of the optimizers. A subclass must define `name` and `baseline`.

    Attributes:
        needs_q: whether Q heads are required.
        baseline_is_q: whether the baseline is q.
        needs_expected_q, needs_q_logprobs, needs_kl: whether `Outputs` needs `expected_q`, `q_logprobs` or `kl`.
        needs_groups: whether `Batch.groups` is required.
        learns_off_policy: whether another policy may have played the episodes.
        labels: which actions the policy imitates. "none": none. "expert": an expert's actions. "best": the policy's own
            actions in its best episodes. "recorded": actions in recorded play. "return": actions in all episodes, with
            the return in prompts.
        kl: holds the coefficient of the KL penalty.

    Raises:
        OptimizerError: the settings contradict each other.
    """

    name: ClassVar[str]
    needs_q: ClassVar[bool] = False
    baseline_is_q: ClassVar[bool] = False
    needs_expected_q: ClassVar[bool] = False
    needs_q_logprobs: ClassVar[bool] = False
    needs_kl: ClassVar[bool] = False
    needs_groups: ClassVar[bool] = False
    learns_off_policy: ClassVar[bool] = False
    labels: ClassVar[Labels] = "none"

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config
        self.kl = KLController(config.kl_coef, config.kl_target)
        if config.value_loss == "ilql" and not self.trains_q:
            raise OptimizerError(f"--value-loss ilql needs q: give --train-q, because {self.name} trains none")

    @property
    def trains_q(self) -> bool:
        """Whether q is trained and Q heads are needed."""
        return self.needs_q or self.config.train_q

    @property
    def needs_reference(self) -> bool:
        """Whether the log-probabilities of the reference policy are needed."""
        return self.needs_kl or self.config.needs_reference

    # Once per rollout

    @abstractmethod
    def baseline(self, batch: Batch) -> Tensor:
        """Return the baseline of each action, [B, T], in units of reward."""

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        """Compute advantages and returns. `all_reduce` sums a tensor over all processes.

        Raises:
            ResultError: the method `baseline` or `shaped_rewards` returned an invalid tensor.
        """
        self._check_batch(batch)
        baseline, rewards = self.baseline(batch), self.shaped_rewards(batch)
        self._check_result("baseline", baseline, batch.mask, finite=True)
        self._check_result("shaped_rewards", rewards, batch.mask, finite=True)
        returns = lambda_returns(batch.values, self._advantages(batch, rewards, batch.values), batch.mask)
        if self.config.advantage == "lambda":
            advantages = self._advantages(batch, rewards, baseline)
        else:
            advantages = torch.where(batch.mask, returns - baseline, 0.0)
        if self.config.whitening == "batch":
            advantages = whiten(advantages, batch.mask, all_reduce)
        return Targets(advantages=advantages, returns=returns)

    def shaped_rewards(self, batch: Batch) -> Tensor:
        """Return the rewards [B, T], minus the KL penalty if the setting `kl_place` is "reward"."""
        if self.config.kl_place != "reward" or self.kl.coef == 0:
            return batch.rewards
        if batch.ref_logprobs is None:
            raise ValueError("kl_place 'reward' needs Batch.ref_logprobs, got None")
        return batch.rewards - self.kl.coef * (batch.logprobs - batch.ref_logprobs)

    def _advantages(self, batch: Batch, rewards: Tensor, baseline: Tensor) -> Tensor:
        errors = td_errors(rewards, batch.discounts, batch.next_values, baseline, batch.mask)
        return lambda_advantages(errors, batch.discounts, self.config.gae_lambda)

    def summary(self, batch: Batch, targets: Targets, *, all_reduce: AllReduce = no_reduce) -> dict[str, Tensor]:
        """Return scalar metrics of a rollout, computed over all processes."""
        mask = batch.mask
        count = all_reduce(mask.sum().to(targets.returns.dtype)).clamp(min=1.0)
        metrics = {
            "return": all_reduce(targets.returns.sum()) / count,
            "advantage": all_reduce(targets.advantages.sum()) / count,
            "advantage_abs": all_reduce(targets.advantages.abs().sum()) / count,
            "explained_variance": explained_variance(batch.values, targets.returns, mask, all_reduce),
        }
        if batch.q_values is not None:
            metrics["explained_variance_q"] = explained_variance(batch.q_values, targets.returns, mask, all_reduce)
        return metrics

    # Every gradient step

    def loss(
        self, batch: Batch, targets: Targets, outputs: Outputs, *, count: float | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scalar loss and a dict of scalar metrics.

        All are means over actions, except the metric `choices`, which is the number of actions. For a micro-batch,
        `count` must be the number of actions in the whole batch. The losses of micro-batches then add up.
        """
        self._check_outputs(batch, targets, outputs)
        # 0 on padding, so that the gradient there is 0 and never NaN
        masks = {2: batch.mask, 3: batch.mask.unsqueeze(-1)}  # by the number of dimensions
        outputs = Outputs(**{name: torch.where(masks[x.ndim], x, 0.0) for name, x in outputs.tensors().items()})
        terms = self.terms(batch, targets, outputs)
        for name, (_, term) in terms.items():
            self._check_result(name if hasattr(self, name) else "terms", term, batch.mask)
        total = torch.stack([weight * term for weight, term in terms.values()]).sum(dim=0)
        metrics = {name: term for name, (_, term) in terms.items()} | self.measures(batch, outputs)
        choices = batch.mask.sum()
        means = {name: masked_mean(x.detach(), batch.mask, choices.clamp(min=1)) for name, x in metrics.items()}
        return masked_mean(total, batch.mask, count), means | {"choices": choices}

    def terms(self, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, tuple[float, Tensor]]:
        """Return the loss terms as a dict: name -> (weight, values [B, T])."""
        config = self.config
        terms = {
            "policy_loss": (1.0, self.policy_loss(batch, targets, outputs)),
            "value_loss": (config.value_coef, self.value_loss(batch, targets, outputs)),
            "entropy": (-config.entropy_coef, outputs.entropy),
        }
        if self.trains_q:
            assert outputs.q_values is not None
            terms["q_loss"] = (config.q_coef, losses.q_loss(outputs.q_values, targets.returns))
        if outputs.kl is not None:
            terms["kl_ref"] = (self.kl.coef if config.kl_place == "loss" else 0.0, outputs.kl)
        return terms

    def policy_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        """Return the clipped surrogate loss of each action, [B, T]."""
        ratio = _log_ratio(batch, outputs).exp()
        return losses.clipped_surrogate(ratio, targets.advantages, self.config.clip_range)

    def value_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        """Return the value loss of each action, [B, T]."""
        if self.config.value_loss == "ppo":
            clip_range = self.config.value_clip_range
            return losses.clipped_value_loss(outputs.values, batch.values, targets.returns, clip_range)
        q_values = batch.q_values if outputs.target_q_values is None else outputs.target_q_values
        assert q_values is not None
        return losses.expectile_value_loss(outputs.values, q_values, self.config.expectile)

    def measures(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Return a dict of metrics of the policy's change: name -> values [B, T]."""
        log_ratio = _log_ratio(batch, outputs).detach()
        ratio = log_ratio.exp()
        metrics = {
            "ratio": ratio,
            "approx_kl": losses.sampled_kl(log_ratio),
            "clip_fraction": ((ratio - 1.0).abs() > self.config.clip_range).to(ratio.dtype),
        }
        if outputs.kl is None and batch.ref_logprobs is not None:
            metrics["kl_ref"] = batch.logprobs - batch.ref_logprobs
        return metrics

    # After the update

    def after_update(self, kl: float) -> None:
        """Adapt the KL coefficient. `kl` is the mean KL of the last rollout, in nats per action."""
        self.kl.update(kl)

    def state_dict(self) -> dict[str, Any]:
        """Return the JSON-serializable state for a checkpoint."""
        return {"kl_coef": self.kl.coef}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state`, which `state_dict` returned.

        Raises:
            OptimizerError: `state` is invalid.
        """
        coef = state.get("kl_coef")
        if set(state) != {"kl_coef"} or isinstance(coef, bool) or not isinstance(coef, int | float):
            raise OptimizerError(f"state of {self.name!r} must be {{'kl_coef': number}}, got {dict(state)!r:.100}")
        if not (math.isfinite(coef) and coef >= 0):
            raise OptimizerError(f"kl_coef must be a finite number of at least 0, got {coef!r}")
        self.kl.coef = float(coef)

    # Check of results: a failure is a mistake in the subclass

    def _check_result(self, method: str, result: object, mask: Tensor, *, finite: bool = False) -> None:
        expected = f"{method} to return a float tensor of shape {list(mask.shape)} on {mask.device}"
        if not isinstance(result, Tensor):
            got = "None" if result is None else type(result).__name__
        elif result.shape != mask.shape or result.device != mask.device or not result.is_floating_point():
            got = f"{result.dtype} of shape {list(result.shape)} on {result.device}"
        elif finite and bool((invalid := mask & ~torch.isfinite(result)).any()):
            row, choice = invalid.nonzero()[0].tolist()
            expected = f"finite numbers from {method}"
            got = f"{result[row, choice].item()} at segment {row}, choice {choice}"
        else:
            return
        raise ResultError(f"class {type(self).__name__}: expected {expected}, got {got}", method=method)

    # Argument checks: a failure is a bug in the caller

    def _check_batch(self, batch: Batch) -> None:
        if batch.q_values is None and self.trains_q:
            raise ValueError(f"{self.name!r} needs Batch.q_values here, got None")

    def _check_outputs(self, batch: Batch, targets: Targets, outputs: Outputs) -> None:
        self._check_batch(batch)
        shape = batch.mask.shape
        if targets.advantages.shape != shape or outputs.logprobs.shape != shape:
            shapes = f"targets {list(targets.advantages.shape)}, outputs {list(outputs.logprobs.shape)}"
            raise ValueError(f"targets and outputs must be {list(shape)} like the batch, got {shapes}")
        if outputs.q_values is None and self.trains_q:
            raise ValueError(f"{self.name!r} needs Outputs.q_values here, got None")
        needed = {
            "expected_q": self.needs_expected_q,
            "q_logprobs": self.needs_q_logprobs,
            "kl": self.needs_kl or self.config.recentre_q,
        }
        for name, is_needed in needed.items():
            if is_needed and getattr(outputs, name) is None:
                raise ValueError(f"{self.name!r} needs Outputs.{name}, got None")
        if outputs.kl is None and self.config.kl_place == "loss" and self.kl.coef > 0:
            raise ValueError("kl_place 'loss' needs Outputs.kl, got None")


def _log_ratio(batch: Batch, outputs: Outputs) -> Tensor:
    return torch.where(batch.mask, outputs.logprobs - batch.logprobs, 0.0)
