"""Compare a trained agent with its initial policy."""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from agents.config import UpdateConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import Floats, TurnOutputs, reach_probabilities
from agents.protocol import Decision, EpisodeEnd, Turn
from agents.training.reference import ReferencePolicy
from agents.training.rollout_batch import Credit, RolloutBatch
from experiments.compare.collapse import Nodes

MICRO_BATCH_TOKENS = 2048  # at most in a forward pass that computes the KL of texts
NodeArrays = tuple[Floats, Floats, Floats, Floats | None]  # reach, policy, initial and q_values of `Nodes` for one turn


class PairedAgent:
    """Play with the agent `trained`, and evaluate the agent `initial` on the same states.

    Attributes:
        strategies: the strategies that the game reported, by episode index.
    """

    def __init__(self, trained: LanguageModelAgent, initial: LanguageModelAgent, credit: Credit) -> None:
        self.trained, self.initial, self.credit, self.name = trained, initial, credit, trained.name
        self.strategies: dict[int, list[str]] = {}
        self._turns: list[NodeArrays] = []
        self.writes_freely = trained.record = trained.mode == "free"

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        for turn in turns:
            self._record_strategy(turn)
        if self.writes_freely:
            return self.trained.act(turns)
        trained_outputs, initial_outputs = self.trained.evaluate(turns), self.initial.evaluate(turns)
        chosen = self.trained.sample(turns, trained_outputs)
        for agent, outputs in ((self.trained, trained_outputs), (self.initial, initial_outputs)):
            agent.commit(turns, outputs, [command for _, command in chosen])
        to_arrays = by_token if self.credit == "token" else by_command
        self._turns += [
            to_arrays(trained, initial)
            for trained, initial in zip(trained_outputs, initial_outputs, strict=True)
            if trained.trie.branching
        ]
        return [decision for decision, _ in chosen]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self._record_strategy(ending)
        self.trained.end(endings)
        if not self.writes_freely:
            self.initial.end(endings)

    def nodes(self) -> Nodes | None:
        """Return the nodes of all turns, or None if no turn has nodes."""
        if not self._turns:
            return None
        reach, policy, initial, q = zip(*self._turns, strict=True)
        return Nodes(
            reach=np.concatenate(reach),
            policy=_concatenate(policy, -np.inf),
            initial=_concatenate(initial, -np.inf),
            q_values=None if q[0] is None else _concatenate([turn_q for turn_q in q if turn_q is not None], 0.0),
            decisions=len(self._turns),
        )

    def text_kl(self) -> float | None:
        """Return KL(trained || initial) of free text in nats per token. Call once, after play."""
        if not self.writes_freely:
            return None
        model = self.trained.model
        rollout = RolloutBatch(self.trained.take_segments(), credit="token", device=model.device)
        reference = ReferencePolicy(model, self.initial.model, UpdateConfig(micro_batch_tokens=MICRO_BATCH_TOKENS))
        reference.evaluate(rollout)
        return float(reference.kl(rollout, guide_beta=self.trained.guide_beta).mean())

    def _record_strategy(self, event: Turn | EpisodeEnd) -> None:
        if "strategy" in event.info:
            self.strategies.setdefault(event.episode, []).append(event.info["strategy"])


def by_token(trained: TurnOutputs, initial: TurnOutputs) -> NodeArrays:
    """Return one turn's arrays for `Nodes`. The children of a node are tokens."""
    q = None if trained.q_values is None else np.where(trained.logprobs == -np.inf, 0.0, trained.q_values)
    # normalise to 16 digits
    trained_policy, initial_policy = (log_softmax(outputs.logprobs, axis=1) for outputs in (trained, initial))
    return reach_probabilities(trained.trie, trained_policy), trained_policy, initial_policy, q


def by_command(trained: TurnOutputs, initial: TurnOutputs) -> NodeArrays:
    """Return one turn's arrays for `Nodes`. The turn has a single node, whose children are commands."""
    trie, q = trained.trie, trained.q_values
    paths = [trie.paths[command] for command in sorted(set(trie.first_with_same_tokens))]
    trained_policy, initial_policy = (
        log_softmax(np.array([[sum(outputs.logprobs[choice] for choice in path) for path in paths]]), axis=1)
        for outputs in (trained, initial)
    )
    # a command has the q of the last choice on its path
    command_q = None if q is None else np.array([[q[path[-1]] for path in paths]])
    return np.ones(1), trained_policy, initial_policy, command_q


def _concatenate(arrays: Sequence[Floats], padding: float) -> Floats:
    width = max(array.shape[1] for array in arrays)  # the second axes of [n_i, K_i] are padded to the same size
    pads = [((0, 0), (0, width - array.shape[1])) for array in arrays]
    return np.concatenate(
        [np.pad(array, pad, constant_values=padding) for array, pad in zip(arrays, pads, strict=True)]
    )
