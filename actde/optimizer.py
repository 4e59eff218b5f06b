"""The base class of all optimizers: the steps from a batch to a loss.

    once per rollout    targets:  shaped_rewards -> TD errors relative to the baseline -> GAE -> whitening
    every gradient step loss:     policy_loss + value_loss + q_loss - entropy bonus + KL penalty

`PPO` and `ACTDE` define `baseline` only; another algorithm overrides the steps in which it differs. The caller runs the
network and takes the gradient steps.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from actde import losses
from actde.batch import Batch, Outputs, Targets
from actde.config import OptimizerConfig
from actde.errors import OptimizerError
from actde.kl_controller import KLController
from actde.losses import masked_mean
from actde.returns import (
    AllReduce,
    explained_variance,
    lambda_advantages,
    lambda_returns,
    no_reduce,
    td_errors,
    whiten,
)

Labels = Literal["none", "expert", "best"]


class Optimizer(ABC):
    """A rule to learn from a batch.

    Raises:
        OptimizerError: the settings contradict each other.
    """

    name: ClassVar[str]
    """Name in the registry and on the command line."""
    needs_q: ClassVar[bool] = False
    """Whether it requires Q heads."""
    labels: ClassVar[Labels] = "none"
    """What it imitates (`Outputs.label_logprobs`): nothing, an expert, or the policy's own best episodes."""

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config
        self.kl = KLController(config.kl_coef, config.kl_target)
        if config.value_loss == "ilql" and not self.trains_q:
            raise OptimizerError(f"value_loss 'ilql' needs q: set train_q=True for {self.name!r}")

    @property
    def trains_q(self) -> bool:
        """Whether the network needs Q heads and the batch q."""
        return self.needs_q or self.config.train_q

    # Once per rollout

    @abstractmethod
    def baseline(self, batch: Batch) -> Tensor:
        """[B, T] b_t, the expected return that the advantage is relative to, in units of reward."""

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        """Advantages and returns of a whole rollout; call it once per rollout.

        Every process passes its own part of the rollout; `all_reduce` sums a tensor over all processes.
        """
        self._check_batch(batch)
        returns = lambda_returns(batch.values, self._advantages(batch, batch.values), batch.mask)
        if self.config.advantage == "lambda":
            advantages = self._advantages(batch, self.baseline(batch))
        else:
            advantages = torch.where(batch.mask, returns - self.baseline(batch), 0.0)
        if self.config.whitening == "batch":
            advantages = whiten(advantages, batch.mask, all_reduce)
        return Targets(advantages=advantages, returns=returns)

    def shaped_rewards(self, batch: Batch) -> Tensor:
        """[B, T] rewards; with kl_place "reward" minus kl_coef (log pi_old - log pi_ref)."""
        if self.config.kl_place != "reward" or self.kl.coef == 0:
            return batch.rewards
        if batch.ref_logprobs is None:
            raise ValueError("kl_place 'reward' needs Batch.ref_logprobs, got None")
        return batch.rewards - self.kl.coef * (batch.logprobs - batch.ref_logprobs)

    def _advantages(self, batch: Batch, baseline: Tensor) -> Tensor:
        """[B, T] A_t(b) of a baseline b [B, T]."""
        rewards = self.shaped_rewards(batch)
        errors = td_errors(rewards, batch.discounts, batch.next_values, baseline, batch.mask)
        return lambda_advantages(errors, batch.discounts, self.config.gae_lambda)

    def summary(self, batch: Batch, targets: Targets, *, all_reduce: AllReduce = no_reduce) -> dict[str, Tensor]:
        """Metrics of a rollout, scalars over all processes; call it once per rollout.

        return, advantage, advantage_abs: means over choices. explained_variance, explained_variance_q: of the returns
        by the recorded v and q.
        """
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
        """The scalar to minimise, and its metrics.

        The loss is a sum over choices divided by `count`, by default their number. With the number of choices of the
        whole batch, the losses of its micro-batches add up to the loss of the batch.

        The metrics are detached scalars: `choices`, the number of choices, and means over these choices, whatever
        `count` is: policy_loss, value_loss, entropy, approx_kl, clip_fraction, ratio; with q q_loss; with a reference
        kl_ref. The metric of a batch is the mean over its micro-batches, weighted by `choices`.
        """
        self._check_outputs(batch, targets, outputs)
        outputs = _masked(outputs, batch.mask)
        terms = self.terms(batch, targets, outputs)
        total = torch.stack([weight * term for weight, term in terms.values()]).sum(dim=0)
        metrics = {name: term for name, (_, term) in terms.items()} | self.measures(batch, outputs)
        choices = batch.mask.sum()
        means = {name: masked_mean(x.detach(), batch.mask, choices.clamp(min=1)) for name, x in metrics.items()}
        return masked_mean(total, batch.mask, count), means | {"choices": choices}

    def terms(self, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, tuple[float, Tensor]]:
        """Terms of the loss (Schulman et al., 2017, eq. 9): name -> (weight, [B, T]), summed with these weights."""
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
        """[B, T] clipped surrogate loss."""
        ratio = _log_ratio(batch, outputs).exp()
        return losses.clipped_surrogate(ratio, targets.advantages, self.config.clip_range)

    def value_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        """[B, T] value loss: to the return, or to an expectile of q (of the target heads, else as recorded)."""
        if self.config.value_loss == "ppo":
            return losses.clipped_value_loss(
                outputs.values, batch.values, targets.returns, self.config.value_clip_range
            )
        q_values = batch.q_values if outputs.target_q_values is None else outputs.target_q_values
        assert q_values is not None
        return losses.expectile_value_loss(outputs.values, q_values, self.config.expectile)

    def measures(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Metrics without influence on the loss, [B, T] each: distances to the old and to the reference policy."""
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
        """Update an adaptive kl_coef; call it once per rollout with the mean KL to the reference, nats per choice."""
        self.kl.update(kl)

    def state_dict(self) -> dict[str, Any]:
        """The state of a checkpoint besides the settings; JSON-able."""
        return {"kl_coef": self.kl.coef}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`.

        Raises:
            OptimizerError: it is not such a state.
        """
        coef = state.get("kl_coef")
        if set(state) != {"kl_coef"} or isinstance(coef, bool) or not isinstance(coef, int | float):
            raise OptimizerError(f"state of {self.name!r} must be {{'kl_coef': number}}, got {dict(state)!r}")
        if not (math.isfinite(coef) and coef >= 0):
            raise OptimizerError(f"kl_coef must be a finite number of at least 0, got {coef!r}")
        self.kl.coef = float(coef)

    # Checks of arguments: a failure is a bug of the caller

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
        if outputs.kl is None and self.config.kl_place == "loss" and self.kl.coef > 0:
            raise ValueError("kl_place 'loss' needs Outputs.kl, got None")


def _log_ratio(batch: Batch, outputs: Outputs) -> Tensor:
    """[B, T] log pi(a_t | s_t) - log pi_old(a_t | s_t); 0 on padding."""
    return torch.where(batch.mask, outputs.logprobs - batch.logprobs, 0.0)


def _masked(outputs: Outputs, mask: Tensor) -> Outputs:
    """The outputs with 0 on padding, so that nothing there has a gradient, not even NaN."""
    masked: dict[str, Tensor] = {}
    for spec in fields(outputs):
        tensor = getattr(outputs, spec.name)
        if tensor is not None:
            masked[spec.name] = torch.where(mask.unsqueeze(-1) if tensor.ndim == 3 else mask, tensor, 0.0)
    return Outputs(**masked)
