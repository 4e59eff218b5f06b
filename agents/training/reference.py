"""The reference policy pi_ref, which is the policy before training."""

from contextlib import nullcontext

import torch
from torch import Tensor

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.vocabulary_terms import RowFunction
from agents.training.rollout_batch import MicroBatch, RolloutBatch


class ReferencePolicy:
    """Computes log pi_ref and KL(pi || pi_ref).

    If `copy` is None, the reference policy is `model` without the LoRA adapter.
    """

    def __init__(self, model: ActorCritic, copy: ActorCritic | None, config: UpdateConfig) -> None:
        self.model, self.copy, self.config = model, copy, config

    @torch.no_grad()
    def evaluate(self, rollout: RolloutBatch) -> None:
        """Store log pi_ref of all alternatives in `rollout`."""
        reference, results = self.copy or self.model, []
        with reference.mode(training=False), self.model.without_adapter() if self.copy is None else nullcontext():
            for micro_batch in rollout.micro_batches_for(reference, self.config):
                choices = micro_batch.choices
                with micro_batch.hidden_states(reference) as states:
                    heads = reference.evaluate_choices(states, choices)
                results.append((micro_batch.choice_index, heads.logprobs, states[choices.rows, choices.positions]))
        index, logprobs, hidden = (torch.cat(pieces) for pieces in zip(*results, strict=True))
        rollout.ref_logprobs = logprobs[index.argsort()]
        if rollout.segments[0].whole_vocabulary:
            # log-probabilities of the whole vocabulary would take much more memory
            rollout.ref_states = hidden[index.argsort()]

    def logprobs(self, rollout: RolloutBatch, micro_batch: MicroBatch) -> RowFunction | None:
        """Return a function: slice of n choices -> log pi_ref [n, K] of K alternatives per choice.

        Before `evaluate`, return None.
        """
        if rollout.ref_logprobs is None:
            return None
        if rollout.ref_states is None:
            return rollout.ref_logprobs[micro_batch.choice_index].__getitem__
        states = rollout.ref_states[micro_batch.choice_index]

        @torch.no_grad()
        def of_vocabulary(rows: slice) -> Tensor:
            with self.model.without_adapter() if self.copy is None else nullcontext():
                return (self.copy or self.model).all_logprobs(states[rows])

        return of_vocabulary

    @torch.no_grad()
    def kl(self, rollout: RolloutBatch, *, guide_beta: float = 0.0) -> Tensor:
        """Return KL(pi || pi_ref) [N] at N choices, in nats. Call `evaluate` first."""
        if guide_beta:  # estimate the KL of the guided policy from the sampled tokens
            sampled = [choice.logprob for segment in rollout.segments for choice in segment.choices]
            return torch.tensor(sampled, device=rollout.device) - rollout.chosen_reference
        kl = torch.empty(int(rollout.offsets[-1]), device=rollout.device)
        for micro_batch in rollout.micro_batches_for(self.model, self.config):
            with micro_batch.hidden_states(self.model) as states:
                heads = self.model.evaluate_choices(
                    states, micro_batch.choices, reference=self.logprobs(rollout, micro_batch)
                )
            assert heads.kl is not None
            kl[micro_batch.choice_index] = heads.kl
        return kl
