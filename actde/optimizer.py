"""What every optimizer is: a baseline, and the steps from a batch to a loss, in their order.

    once per rollout    targets:  shaped_rewards -> errors against the baseline -> accumulate -> whiten
    every gradient step loss:     policy_loss + value_loss + q_loss - entropy + KL

`PPO` and `ACTDE` give `baseline` and nothing else; another algorithm overrides the step in which it differs.
Gradient steps, micro-batches and processes are the caller's: nothing here knows a network.
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
from actde.kl_controller import AdaptiveKL, FixedKL, KLController
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
    """How to learn from a batch. Made from `OptimizerConfig`, which it never changes."""

    name: ClassVar[str]
    """Its name in the registry and on the command line."""
    needs_q: ClassVar[bool] = False
    """True where it does not work without Q heads."""
    labels: ClassVar[Labels] = "none"
    """Whose choices it imitates (`Outputs.label_logprobs`): nobody's, a teacher's, or the best play's own."""

    def __init__(self, config: OptimizerConfig) -> None:
        self.config = config
        self.kl: KLController = FixedKL(config.kl_coef)
        if config.kl_target is not None:
            self.kl = AdaptiveKL(config.kl_coef, config.kl_target)
        if config.value_loss == "ilql" and not self.trains_q:
            raise OptimizerError(f"value_loss 'ilql' needs q: give {self.name!r} also train_q=True")

    @property
    def trains_q(self) -> bool:
        """True where the network must have Q heads and the batch q."""
        return self.needs_q or self.config.train_q

    # Once per rollout

    @abstractmethod
    def baseline(self, batch: Batch) -> Tensor:
        """[B, T] what the agent expected of choice t, in units of reward."""

    def targets(self, batch: Batch, *, all_reduce: AllReduce = no_reduce) -> Targets:
        """What this rollout says should be learned; once per rollout, over the whole of it.

        `all_reduce` sums a tensor over all processes, each of which calls this with its own part.
        """
        self._check_batch(batch)
        values = self._accumulated(batch, batch.values)
        returns = lambda_returns(batch.values, values, batch.mask)
        if self.config.advantage == "lambda":
            advantages = self._accumulated(batch, self.baseline(batch))
        else:
            advantages = torch.where(batch.mask, returns - self.baseline(batch), 0.0)
        if self.config.whitening == "batch":
            advantages = whiten(advantages, batch.mask, all_reduce)
        return Targets(advantages=advantages, returns=returns)

    def shaped_rewards(self, batch: Batch) -> Tensor:
        """[B, T] the rewards, less kl_coef (log pi - log pi_ref) of each choice where KL is in the reward."""
        if self.config.kl_place != "reward" or self.kl.coef == 0:
            return batch.rewards
        if batch.ref_logprobs is None:
            raise ValueError("kl_place 'reward' needs Batch.ref_logprobs, got None")
        return batch.rewards - self.kl.coef * (batch.logprobs - batch.ref_logprobs)

    def _accumulated(self, batch: Batch, baseline: Tensor) -> Tensor:
        """[B, T] A_t(baseline): one-step errors against it, accumulated with lambda."""
        rewards = self.shaped_rewards(batch)
        errors = td_errors(rewards, batch.discounts, batch.next_values, baseline, batch.mask)
        return lambda_advantages(errors, batch.discounts, self.config.gae_lambda)

    def summary(self, batch: Batch, targets: Targets, *, all_reduce: AllReduce = no_reduce) -> dict[str, Tensor]:
        """Measures of one rollout, scalars over all processes: call it once, beside `targets`.

        explained_variance (of v), explained_variance_q (where there is q): the field's measure, of the
        predictions made during the rollout against its returns; return, advantage (means), advantage_abs.
        """
        mask = batch.mask
        count = all_reduce(mask.sum().to(targets.returns.dtype)).clamp(min=1.0)
        found = {
            "return": all_reduce(targets.returns.sum()) / count,
            "advantage": all_reduce(targets.advantages.sum()) / count,
            "advantage_abs": all_reduce(targets.advantages.abs().sum()) / count,
            "explained_variance": explained_variance(batch.values, targets.returns, mask, all_reduce),
        }
        if batch.q_values is not None:
            of_q = explained_variance(batch.q_values, targets.returns, mask, all_reduce)
            found["explained_variance_q"] = of_q
        return found

    # Every gradient step

    def loss(
        self, batch: Batch, targets: Targets, outputs: Outputs, *, count: float | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and its measures.

        The loss is a sum over choices divided by `count`: by default the number of choices here; given the
        number in the whole batch, the losses of its micro-batches add up to the loss of the batch.

        The measures are detached scalars, each a mean over the choices here whatever `count` is, so the
        batch's is the mean of its parts' weighted by `choices`: policy_loss, value_loss, q_loss (where q is
        trained), entropy, kl_ref (where there is a reference), approx_kl, clip_fraction, ratio; and
        `choices`, their number.
        """
        self._check_outputs(batch, targets, outputs)
        outputs = _masked(outputs, batch.mask)
        terms = self.terms(batch, targets, outputs)
        total = torch.stack([weight * term for weight, term in terms.values()]).sum(dim=0)
        measures = {name: term for name, (_, term) in terms.items()} | self.measures(batch, outputs)
        choices = batch.mask.sum()
        own = choices.clamp(min=1)
        means = {name: masked_mean(x.detach(), batch.mask, own) for name, x in measures.items()}
        return masked_mean(total, batch.mask, count), means | {"choices": choices}

    def terms(self, batch: Batch, targets: Targets, outputs: Outputs) -> dict[str, tuple[float, Tensor]]:
        """The loss of each choice by parts: name -> (weight, [B, T]); the loss is their weighted sum."""
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
        """[B, T] what makes the policy likelier to do what had an advantage above 0."""
        ratio = _log_ratio(batch, outputs).exp()
        return losses.clipped_surrogate(ratio, targets.advantages, self.config.clip_range)

    def value_loss(self, batch: Batch, targets: Targets, outputs: Outputs) -> Tensor:
        """[B, T] what moves v: to the return, or to an expectile of q (of target heads, or the rollout's)."""
        if self.config.value_loss == "ppo":
            return losses.clipped_value_loss(
                outputs.values, batch.values, targets.returns, self.config.value_clip_range
            )
        q_values = batch.q_values if outputs.target_q_values is None else outputs.target_q_values
        assert q_values is not None
        return losses.expectile_value_loss(outputs.values, q_values, self.config.expectile)

    def measures(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """[B, T] each: how far the policy is from the rollout's, and the rollout's from the reference."""
        log_ratio = _log_ratio(batch, outputs).detach()
        ratio = log_ratio.exp()
        found = {
            "ratio": ratio,
            "approx_kl": losses.sampled_kl(log_ratio),
            "clip_fraction": ((ratio - 1.0).abs() > self.config.clip_range).to(ratio.dtype),
        }
        if outputs.kl is None and batch.ref_logprobs is not None:
            found["kl_ref"] = batch.logprobs - batch.ref_logprobs
        return found

    # After it

    def after_update(self, kl: float) -> None:
        """Told once per rollout the mean KL to the reference, nats per choice; steers an adaptive kl_coef."""
        self.kl.update(kl)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep besides the settings; JSON-able."""
        return {"kl_coef": self.kl.coef}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave; raises `OptimizerError` at anything else."""
        coef = state.get("kl_coef")
        if set(state) != {"kl_coef"} or isinstance(coef, bool) or not isinstance(coef, int | float):
            raise OptimizerError(f"state of {self.name!r} must be {{'kl_coef': number}}, got {dict(state)!r}")
        if not (math.isfinite(coef) and coef >= 0):
            raise OptimizerError(f"kl_coef must be a finite number of at least 0, got {coef!r}")
        self.kl.coef = float(coef)

    # Illegal combinations, which are the caller's bugs

    def _check_batch(self, batch: Batch) -> None:
        if batch.q_values is None and self.trains_q:
            raise ValueError(f"{self.name!r} needs Batch.q_values here, got None")

    def _check_outputs(self, batch: Batch, targets: Targets, outputs: Outputs) -> None:
        self._check_batch(batch)
        shape = batch.mask.shape
        if targets.advantages.shape != shape or outputs.logprobs.shape != shape:
            found = f"targets {list(targets.advantages.shape)}, outputs {list(outputs.logprobs.shape)}"
            raise ValueError(f"targets and outputs must be {list(shape)} like the batch, got {found}")
        if outputs.q_values is None and self.trains_q:
            raise ValueError(f"{self.name!r} needs Outputs.q_values here, got None")
        if outputs.kl is None and self.config.kl_place == "loss" and self.kl.coef > 0:
            raise ValueError("kl_place 'loss' needs Outputs.kl, got None")


def _log_ratio(batch: Batch, outputs: Outputs) -> Tensor:
    """[B, T] log pi(a_t | s_t) - log pi_old(a_t | s_t); 0 on padding."""
    return torch.where(batch.mask, outputs.logprobs - batch.logprobs, 0.0)


def _masked(outputs: Outputs, mask: Tensor) -> Outputs:
    """The outputs with 0 on padding, so that nothing there, not even NaN, has a gradient."""
    found: dict[str, Tensor] = {}
    for spec in fields(outputs):
        tensor = getattr(outputs, spec.name)
        if tensor is not None:
            found[spec.name] = torch.where(mask.unsqueeze(-1) if tensor.ndim == 3 else mask, tensor, 0.0)
    return Outputs(**found)
