"""The reference policy pi_ref of the KL: the policy before training."""

from contextlib import nullcontext

import torch
from torch import Tensor

from agents.config import UpdateConfig
from agents.model.actor_critic import ActorCritic
from agents.model.vocabulary_terms import Rows
from agents.training.rollout_batch import MicroBatch, RolloutBatch


class ReferencePolicy:
    """Computes log pi_ref at the choices of rollouts, and the exact KL(pi || pi_ref).

    Args:
        model: the model that is trained.
        copy: frozen copy of the initial policy. If None, the reference policy is `model` without its LoRA adapter.
        config: settings of forward passes.
    """

    def __init__(self, model: ActorCritic, copy: ActorCritic | None, config: UpdateConfig) -> None:
        self.model, self.copy, self.config = model, copy, config

    @torch.no_grad()
    def read(self, rollout: RolloutBatch) -> None:
        """Compute the reference policy's log-probabilities of all alternatives, and store them in `rollout`.

        In free generation, also store the hidden states, from which `logprobs` computes the log-probabilities of all
        tokens. Storing these log-probabilities would take much more memory.
        """
        reference, collected = self.copy or self.model, []
        with reference.mode(training=False), self.model.without_adapter() if self.copy is None else nullcontext():
            for part in rollout.passes(reference, self.config):
                with part.hidden_states(reference) as states:
                    heads = reference.evaluate_choices(states, part.choices)
                collected.append((part.choice_index, heads.logprobs, states[part.choices.rows, part.choices.positions]))
        index, logprobs, hidden = (torch.cat(pieces) for pieces in zip(*collected, strict=True))
        rollout.ref_logprobs = logprobs[index.argsort()]
        if rollout.segments[0].whole_vocabulary:
            rollout.ref_states = hidden[index.argsort()]

    def logprobs(self, rollout: RolloutBatch, part: MicroBatch) -> Rows | None:
        """Return a function that computes log pi_ref at choices of `part`, or None if `read` was not called before.

        The function takes a slice of n choices. It returns a tensor [n, K] for all K alternatives or, in free
        generation, [n, V] for the whole vocabulary.
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
        """Return the KL to the reference policy at each choice, in nats. The shape is [N]. Call `read` first.

        Without `guide_beta`, this is the exact KL(pi || pi_ref). With `guide_beta`, the agent sampled from a policy
        that q guides. The KL of this policy is then estimated from the sampled tokens.
        """
        if guide_beta:
            played = [choice.logprob for segment in rollout.segments for choice in segment.choices]
            return torch.tensor(played, device=rollout.device) - rollout.chosen_reference
        kl = torch.empty(int(rollout.offsets[-1]), device=rollout.device)
        for part in rollout.passes(self.model, self.config):
            with part.hidden_states(self.model) as states:
                heads = self.model.evaluate_choices(states, part.choices, reference=self.logprobs(rollout, part))
            assert heads.kl is not None
            kl[part.choice_index] = heads.kl
        return kl
