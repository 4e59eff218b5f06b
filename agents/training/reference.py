"""The reference policy pi_ref of the KL: the policy before training."""

from contextlib import nullcontext

import torch
from torch import Tensor

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.vocabulary_terms import Rows
from agents.training.rollout_batch import MicroBatch, RolloutBatch


class ReferencePolicy:
    """Computes log pi_ref and the exact KL(pi || pi_ref) at the choices of rollouts.

    Without `copy`, the reference policy is `model` without its LoRA adapter.
    """

    def __init__(self, model: ActorCritic, copy: ActorCritic | None, config: UpdateConfig) -> None:
        self.model, self.copy, self.config = model, copy, config

    @torch.no_grad()
    def read(self, rollout: RolloutBatch) -> None:
        """Store the log-probabilities of all alternatives under pi_ref in `rollout`."""
        reference, collected = self.copy or self.model, []
        with reference.mode(training=False), self.model.without_adapter() if self.copy is None else nullcontext():
            for part in rollout.passes(reference, self.config):
                with part.hidden_states(reference) as states:
                    heads = reference.evaluate_choices(states, part.choices)
                collected.append((part.choice_index, heads.logprobs, states[part.choices.rows, part.choices.positions]))
        index, logprobs, hidden = (torch.cat(pieces) for pieces in zip(*collected, strict=True))
        rollout.ref_logprobs = logprobs[index.argsort()]
        if rollout.segments[0].whole_vocabulary:
            # log-probabilities of the whole vocabulary would take much more memory
            rollout.ref_states = hidden[index.argsort()]

    def logprobs(self, rollout: RolloutBatch, part: MicroBatch) -> Rows | None:
        """Return a function for log pi_ref at choices of `part`, or None before `read`.

        The function maps a slice of n choices to [n, K] or, in free generation, to [n, V].
        """
        if rollout.ref_logprobs is None:
            return None
        if rollout.ref_states is None:
            return rollout.ref_logprobs[part.choice_index].__getitem__
        states = rollout.ref_states[part.choice_index]

        @torch.no_grad()
        def of_vocabulary(rows: slice) -> Tensor:
            with self.model.without_adapter() if self.copy is None else nullcontext():
                return (self.copy or self.model).all_logprobs(states[rows])

        return of_vocabulary

    @torch.no_grad()
    def kl(self, rollout: RolloutBatch, *, guide_beta: float = 0.0) -> Tensor:
        """Return the KL to the reference policy at each choice [N], in nats. Call `read` first."""
        if guide_beta:  # estimate the KL of the guided policy from the sampled tokens
            played = [choice.logprob for segment in rollout.segments for choice in segment.choices]
            return torch.tensor(played, device=rollout.device) - rollout.chosen_reference
        kl = torch.empty(int(rollout.offsets[-1]), device=rollout.device)
        for part in rollout.passes(self.model, self.config):
            with part.hidden_states(self.model) as states:
                heads = self.model.evaluate_choices(states, part.choices, reference=self.logprobs(rollout, part))
            assert heads.kl is not None
            kl[part.choice_index] = heads.kl
        return kl
