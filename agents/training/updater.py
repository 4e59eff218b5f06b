"""Updates the model on a rollout.

Each gradient step uses one minibatch, which is split into micro-batches that fit into memory.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

from actde import Batch, Optimizer, Targets
from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.finite_check import check_finite
from agents.model.prefix_tree import Indices
from agents.model.sharding import clip_gradients, gather_trunk, is_sharded, sharded, uneven_passes
from agents.storage.tensor_files import StoredTensor, local_rows
from agents.training.auxiliary_loss import lm_loss, sample_positions
from agents.training.frozen_trunk import computed_tokens, keep_lower_states, trunk_runs_once
from agents.training.master_weights import master_of, master_weights, optimized_parameters, round_to_parameters
from agents.training.memory_estimate import SMALLER_GATHER, SMALLER_UPDATE, memory_advice
from agents.training.processes import connected, gather, sum_gradients
from agents.training.progress import Progress
from agents.training.reference import ReferencePolicy
from agents.training.rollout_batch import MicroBatch, RolloutBatch


def parameter_groups(model: ActorCritic, config: UpdateConfig) -> list[dict[str, Any]]:
    """Return parameter groups for the torch optimizer. The policy, v and q have separate learning rates."""
    rates = {"policy": config.lr, "value": config.value_lr, "q": config.q_lr}
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | Conv1D)}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            network = "value" if name.startswith("heads.value") else "q" if name.startswith("heads.q") else "policy"
            decay = id(parameter) in decayed - embeddings  # only matrices of linear layers
            groups.setdefault((network, decay), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": (rate := config.lr if rates[network] is None else rates[network]),
            "full_lr": rate,
            "weight_decay": config.weight_decay if decay else 0.0,
            "name": network,
        }
        for (network, decay), parameters in groups.items()
    ]


def make_torch_optimizer(model: ActorCritic, config: UpdateConfig) -> torch.optim.Optimizer:
    """Build AdamW or plain SGD. For bfloat16 parameters, the optimizer updates float32 master weights."""
    groups = [group | {"params": list(map(master_of, group["params"]))} for group in parameter_groups(model, config)]
    torch_optimizer: torch.optim.Optimizer
    if config.torch_optimizer == "sgd":
        torch_optimizer = torch.optim.SGD(groups, lr=config.lr)
    else:
        torch_optimizer = torch.optim.AdamW(
            groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.adam_eps
        )
    torch_optimizer.register_step_post_hook(round_to_parameters)
    return torch_optimizer


def set_learning_rates(
    torch_optimizer: torch.optim.Optimizer, config: UpdateConfig, iteration: int, iterations: int
) -> None:
    """Set the learning rates for `iteration`, which counts from 0."""
    decay = 1.0 if config.lr_schedule == "constant" else max(0.0, 1 - iteration / iterations)
    for group in torch_optimizer.param_groups:
        frozen = group["name"] == "policy" and iteration < config.critic_warmup
        group["lr"] = 0.0 if frozen else decay * group["full_lr"]


def torch_optimizer_tensors(torch_optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return a torch optimizer's moments, step counts and master weights, by name."""
    state = torch_optimizer.state_dict()["state"]
    moments = {
        f"torch_optimizer.{index}.{name}": tensor
        for index, tensors in state.items()
        for name, tensor in tensors.items()
    }
    return moments | {f"torch_optimizer.{index}.master": tensor for index, tensor in master_weights(torch_optimizer)}


def load_torch_optimizer(torch_optimizer: torch.optim.Optimizer, tensors: Mapping[str, StoredTensor]) -> None:
    """Restore the result of `torch_optimizer_tensors`. Raise ValueError if a tensor does not fit."""
    parameters = optimized_parameters(torch_optimizer)
    state: defaultdict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        match key.split("."):
            case ["torch_optimizer", number, name] if number.isdecimal() and int(number) < len(parameters):
                if tensor.shape != (shape := () if name == "step" else parameters[int(number)].shape):
                    raise ValueError(f"{key} is {list(tensor.shape)}, expected {list(shape)}")
                state[int(number)][name] = local_rows(tensor, parameters[int(number)])
            case _:
                raise ValueError(f"expected no tensor {key!r:.60}")
    for index, master in master_weights(torch_optimizer):
        master.data.copy_(state[index].pop("master"))
    moments = {index: state_tensors for index, state_tensors in state.items() if state_tensors}
    torch_optimizer.load_state_dict({"state": moments, "param_groups": torch_optimizer.state_dict()["param_groups"]})


class Updater:
    """Takes gradient steps on the loss of an `actde` optimizer.

    Gradients of all processes are summed, so `model` must not be wrapped in DistributedDataParallel.
    """

    def __init__(
        self,
        model: ActorCritic,
        torch_optimizer: torch.optim.Optimizer,
        optimizer: Optimizer,
        config: UpdateConfig,
        accelerator: Any,
        reference: ActorCritic | None = None,
    ) -> None:
        self.model, self.torch_optimizer, self.optimizer = model, torch_optimizer, optimizer
        self.config, self.accelerator = config, accelerator
        self.reference = ReferencePolicy(model, reference, config)

    @property
    def models(self) -> list[ActorCritic]:
        """The trained model and the frozen copy of the initial policy, if any."""
        return [self.model] if self.reference.copy is None else [self.model, self.reference.copy]

    @memory_advice(SMALLER_GATHER)
    def gather(self) -> None:
        """Gather the weights of sharded trunks. All processes must call this method."""
        with connected():
            gather_trunk(*self.models)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        with connected():
            reduced: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return reduced

    @memory_advice(SMALLER_UPDATE)
    def learn(
        self, rollout: RolloutBatch, rng: np.random.Generator, progress: Progress | None = None
    ) -> tuple[dict[str, float], Targets]:
        """Take all gradient steps on a rollout. Return a tuple (metrics, targets)."""
        progress = progress or Progress()
        progress.begin("update", self.config.epochs * sum(len(segment.tokens) for segment in rollout.segments))
        lower_tokens = keep_lower_states(self, rollout)
        if self.optimizer.needs_reference:  # the KL is used or measured
            with connected(), uneven_passes(self.reference.copy or self.model):
                self.reference.evaluate(rollout)
        batch = rollout.batch(with_q=self.optimizer.trains_q)
        with torch.no_grad():
            targets = self.optimizer.targets(batch, all_reduce=self.all_reduce)
            summary = self.optimizer.summary(batch, targets, all_reduce=self.all_reduce)
        totals: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.model.device))
        with connected(), sharded(*self.models), trunk_runs_once(self, rollout) as trunk_tokens:
            totals["prefix_sharing.computed"] += lower_tokens + trunk_tokens
            for rows in self._minibatches(len(rollout), rng):
                count = self.config.lm_loss_tokens
                sample = sample_positions(rollout, rows, count, rng) if self.config.lm_loss_coef else None
                self._step(rollout, batch, targets, rows, totals, sample, progress)
        self.gather()
        measures = self._means(totals) | {name: float(value) for name, value in summary.items()}
        self.optimizer.after_update(measures.get("kl_ref", 0.0))
        return measures, targets

    def _minibatches(self, segments: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Yield the segment indices of each gradient step. All processes take the same number of steps."""
        count = min(gather(min(self.config.minibatches, segments)))
        for _ in range(self.config.epochs):
            order = rng.permutation(segments) if count > 1 else np.arange(segments)
            for rows in np.array_split(order, count):
                yield rows.tolist()

    def _step(
        self,
        rollout: RolloutBatch,
        batch: Batch,
        targets: Targets,
        rows: list[int],
        totals: defaultdict[str, Tensor],
        sample: dict[int, Indices] | None,
        progress: Progress,
    ) -> None:
        """Take one gradient step. Add metrics to `totals`, weighted by the number of actions."""
        action_count = self.all_reduce(batch.mask[torch.tensor(rows, device=batch.mask.device)].sum().float())
        target_count = action_count
        if sample is not None:
            sampled = torch.tensor(float(sum(map(len, sample.values()))), device=action_count.device)
            target_count = self.all_reduce(sampled).clamp(min=1)
        for micro_batch, is_repeated in self._micro_batches(rollout, rows):
            index, weight = torch.tensor(micro_batch.segments, device=batch.mask.device), 0.0 if is_repeated else 1.0
            with micro_batch.hidden_states(self.model) as states:
                heads = self.model.evaluate_choices(
                    states,
                    micro_batch.choices,
                    reference=self.reference.logprobs(rollout, micro_batch),
                    with_expected_q=self.optimizer.needs_expected_q,
                    with_q_logprobs=self.optimizer.needs_q_logprobs,
                )
                loss, measures = self.optimizer.loss(
                    batch[index], targets[index], micro_batch.outputs(heads), count=action_count
                )
                if sample is not None:
                    auxiliary = lm_loss(self.model, states, micro_batch, sample) / target_count
                    loss = loss + self.config.lm_loss_coef * auxiliary
                    totals["lm_loss"] = totals["lm_loss"] + weight * auxiliary.detach() * action_count
                if loss.requires_grad:  # not without a loss of the heads, if they are trained alone
                    self.accelerator.backward(weight * loss)
            if is_repeated:
                continue
            choices = measures["choices"].float()
            for name, value in measures.items():
                totals[name] = totals[name] + (choices if name == "choices" else value * choices)
            tokens = sum(len(rollout.segments[row].tokens) for row in micro_batch.segments)
            totals["prefix_sharing.tokens"] += tokens
            totals["prefix_sharing.computed"] += computed_tokens(rollout, micro_batch, self.model)
            progress.done += tokens
        self._sum_gradients()
        norm = clip_gradients(optimized_parameters(self.torch_optimizer), self.config.max_grad_norm)
        check_finite({"the gradient of the loss": norm})
        totals["grad_norm"] = totals["grad_norm"] + norm * action_count
        self.torch_optimizer.step()
        self.torch_optimizer.zero_grad(set_to_none=True)
        self.model.heads.sync_targets(self.config.target_rate)

    def _micro_batches(self, rollout: RolloutBatch, rows: list[int]) -> Iterator[tuple[MicroBatch, bool]]:
        """Yield tuples (micro-batch, is repeated). Repeated micro-batches must not count in the loss or the metrics."""
        micro_batches = rollout.micro_batches_for(self.model, self.config, rows)
        if not is_sharded(self.model):
            yield from ((micro_batch, False) for micro_batch in micro_batches)
            return
        own_batches = list(micro_batches)
        # all processes must run equally many passes of a sharded trunk
        missing = max(gather(len(own_batches))) - len(own_batches)
        yield from [(micro_batch, False) for micro_batch in own_batches]
        yield from [(min(own_batches, key=lambda micro_batch: micro_batch.tokens.numel()), True)] * missing

    def _sum_gradients(self) -> None:
        if self.accelerator.num_processes > 1:
            # The backward pass has summed the others. Each loss is already divided by the actions of all processes.
            replicated = (p for p in optimized_parameters(self.torch_optimizer) if not isinstance(p, DTensor))
            sum_gradients(p for p in replicated if getattr(p, "rounded", p).requires_grad)

    def _means(self, totals: dict[str, Tensor]) -> dict[str, float]:
        norm = totals.pop("grad_norm")
        summed = {name: self.all_reduce(total) for name, total in totals.items()}
        choices, tokens, computed = map(summed.pop, ("choices", "prefix_sharing.tokens", "prefix_sharing.computed"))
        means = {name: float(total / choices) for name, total in summed.items()}
        return means | {"grad_norm": float(norm / choices), "prefix_sharing": float(tokens / computed)}
