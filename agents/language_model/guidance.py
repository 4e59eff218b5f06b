"""The guided policy: the policy of a language model, reweighted by its q (`--guide-beta`)."""

from dataclasses import replace

import torch
from torch import Tensor

from agents.language_model.command_policy import TurnOutputs


def guided_logprobs(logprobs: Tensor, q_values: Tensor, beta: float) -> Tensor:
    """Return the log-probabilities of the guided policy at each choice.

        pi_beta(a | s) = pi(a | s) exp(beta (q(s, a) - v(s))) / Z(s) = pi(a | s) exp(beta q(s, a)) / Z'(s)

    Z and Z' normalise over the alternatives of the choice, so v cancels. The guided policy is that of ILQL (Snell et
    al., 2022). With beta = 1 / tau, it is softmax(log pi + q / tau).

    Args:
        logprobs: [..., K] log-probabilities of the alternatives, -inf for padding.
        q_values: [..., K] q of the alternatives, in units of reward.
        beta: weight with which q is added to the log-probabilities. Its unit is 1 / reward.
    """
    return (logprobs + beta * q_values).log_softmax(-1)


def guided(outputs: TurnOutputs, beta: float) -> TurnOutputs:
    """Return the outputs of a turn with the log-probabilities of the guided policy at each branching node of the trie.

    As without guidance, the probability of a command is the product of the probabilities of its choices.
    """
    if beta == 0 or outputs.q_values is None:
        return outputs
    logprobs, q_values = torch.from_numpy(outputs.logprobs), torch.from_numpy(outputs.q_values)
    return replace(outputs, logprobs=guided_logprobs(logprobs, q_values, beta).numpy())
