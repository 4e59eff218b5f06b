"""The policy over whole commands: probabilities, sampling and guidance by q."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.language_model.token_stream import Choice, TokenStream
from agents.model.command_trie import Trie
from agents.model.head_outputs import HeadOutputs
from agents.model.tree_decoder import TreeInput
from agents.protocol import Decision, DivergenceError

Floats = NDArray[np.float64]
NOT_FINITE = "the outputs of the model are not finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOutputs:
    """Outputs of the heads in one turn, at the n branching nodes of the trie.

    Attributes:
        tree: input of the forward pass, or None if no pass was needed.
        logprobs: [n, K] log-probabilities of up to K alternatives, nats. Padding is -inf.
        values: [n] v(s), units of reward.
        q_values: [n, K] q(s, token), units of reward.
    """

    trie: Trie
    tree: TreeInput | None = None
    logprobs: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    values: Floats = field(default_factory=lambda: np.zeros(0))
    q_values: Floats | None = None


def split_by_turn(heads: HeadOutputs, tries: Sequence[Trie], trees: Sequence[TreeInput | None]) -> list[TurnOutputs]:
    """Split the heads' outputs by turn. Raise DivergenceError if an output is not finite."""
    logprobs, values = (tensor.cpu().double().numpy() for tensor in (heads.logprobs, heads.values))
    q_values = None if heads.recorded_q is None else heads.recorded_q.cpu().double().numpy()
    if np.isnan(logprobs).any() or not all(np.isfinite(x).all() for x in (values, q_values) if x is not None):
        raise DivergenceError(NOT_FINITE)
    outputs, start = [], 0
    for trie, tree in zip(tries, trees, strict=True):
        rows = slice(start, start + len(trie.branching))
        q = None if q_values is None else q_values[rows]
        outputs.append(TurnOutputs(trie=trie, tree=tree, logprobs=logprobs[rows], values=values[rows], q_values=q))
        start = rows.stop
    return outputs


def guided_logprobs(logprobs: Tensor, q_values: Tensor, beta: float) -> Tensor:
    """Return the log-probabilities of ILQL's policy pi(a | s) exp(beta q(s, a)) / Z(s) (Snell et al., 2022)."""
    return (logprobs + beta * q_values).log_softmax(-1)


def guided(outputs: TurnOutputs, beta: float) -> TurnOutputs:
    """Replace a turn's log-probabilities by `guided_logprobs`."""
    if beta == 0 or outputs.q_values is None:
        return outputs
    logprobs, q_values = torch.from_numpy(outputs.logprobs), torch.from_numpy(outputs.q_values)
    return replace(outputs, logprobs=guided_logprobs(logprobs, q_values, beta).numpy())


def command_probabilities(trie: Trie, logprobs: Floats) -> Floats:
    """Return the probability of each command. A command with the tokens of an earlier command gets 0."""
    summed = np.array([sum(logprobs[choice] for choice in path) for path in trie.paths])
    duplicate = np.array([first != command for command, first in enumerate(trie.first_with_same_tokens)])
    probabilities = np.where(duplicate, 0.0, np.exp(summed))
    normalized: Floats = probabilities / probabilities.sum()
    return normalized


def reach_probabilities(trie: Trie, logprobs: Floats) -> Floats:
    """Return the probability that a sampled command passes through each branching node."""
    reach = np.zeros(len(trie.branching))
    for path in trie.paths:
        summed = 0.0
        for index, child in path:
            reach[index] = np.exp(summed)
            summed += logprobs[index, child]
    return reach


def sampling_probabilities(probabilities: Floats, temperature: float, top_p: float) -> Floats:
    """Apply a temperature and nucleus sampling (Holtzman et al., 2020) along the last dimension."""
    if temperature != 1.0:
        scaled = (probabilities / probabilities.max(-1, keepdims=True)) ** (1.0 / temperature)
        probabilities = scaled / scaled.sum(-1, keepdims=True)
    if top_p < 1.0:
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        ranked = np.take_along_axis(probabilities, order, -1)
        nucleus = np.where(ranked.cumsum(-1) - ranked < top_p, ranked, 0.0)  # if likelier ones sum to less than top_p
        probabilities = np.zeros_like(probabilities)
        np.put_along_axis(probabilities, order, nucleus / nucleus.sum(-1, keepdims=True), -1)
    return probabilities


def sample_command(
    outputs: TurnOutputs,
    commands: Sequence[str],
    rng: np.random.Generator | None,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    random_share: float = 0.0,
) -> tuple[Decision, int]:
    """Sample a command. Return (decision, command index).

    If `rng` is None, take the most probable command.
    """
    trie, q = outputs.trie, outputs.q_values
    # the decision has these probabilities, without `temperature`, `top_p` and `random_share`
    probabilities = command_probabilities(trie, outputs.logprobs)
    if rng is None:
        index = int(probabilities.argmax())
    elif random_share and rng.random() < random_share:
        index = int(rng.integers(len(commands)))
    else:
        index = int(rng.choice(len(commands), p=sampling_probabilities(probabilities, temperature, top_p)))
    q_values: dict[str, float] = {}
    if q is not None:  # q(s, command) is q of the command's last choice
        q_values = {command: float(q[path[-1]]) for command, path in zip(commands, trie.paths, strict=True) if path}
    positive = probabilities[probabilities > 0]
    by_command = dict.fromkeys(commands, 0.0)  # a game may list a command twice
    for command, probability in zip(commands, probabilities.tolist(), strict=True):
        by_command[command] += probability
    decision = Decision(
        command=commands[index],
        probabilities=by_command,
        value=float(outputs.values[0]) if trie.branching else None,
        q_values=q_values,
        entropy=float(-(positive * np.log(positive)).sum()),
    )
    return decision, index


def record_command(stream: TokenStream, outputs: TurnOutputs, command: int, label: int | None) -> None:
    """Record the choices of a played command, before the command's tokens are appended.

    `label` is the index of the command to imitate.
    """
    trie, q = outputs.trie, outputs.q_values
    expert_choices = {} if label is None else dict(trie.paths[label])
    end = len(stream.tokens) - 1
    for index, child in trie.paths[command]:
        tokens = trie.alternatives[index]
        logprobs = outputs.logprobs[index, : len(tokens)]
        stream.record(
            Choice(
                position=end + len(trie.branching[index]),
                turn=stream.turn,
                alternatives=tokens,
                chosen=child,
                logprob=float(logprobs[child]),
                value=float(outputs.values[index]),
                q_value=0.0 if q is None else float(q[index, child]),
                entropy=float(-(np.exp(logprobs) * logprobs).sum()),
                label=expert_choices.get(index),
            )
        )
