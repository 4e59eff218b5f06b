"""Play with a trained agent, and evaluate its initial policy on the same states."""

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
    """An agent that plays the commands of `trained` and evaluates `initial` on the same states.

    Both must have the same tokenizer. Free text has no nodes, but a `text_kl`.

    Attributes:
        strategies: the strategies of each episode's commands, as the game reports them.
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
        ours, theirs = self.trained.evaluate(turns), self.initial.evaluate(turns)
        chosen = self.trained.sample(turns, ours)
        for agent, outputs in ((self.trained, ours), (self.initial, theirs)):
            agent.commit(turns, outputs, [command for _, command in chosen])
        to_arrays = by_token if self.credit == "token" else by_command
        self._turns += [to_arrays(mine, first) for mine, first in zip(ours, theirs, strict=True) if mine.trie.branching]
        return [decision for decision, _ in chosen]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self._record_strategy(ending)
        self.trained.end(endings)
        if not self.writes_freely:
            self.initial.end(endings)

    def nodes(self) -> Nodes | None:
        """Return the branching nodes of all turns, or None if there are none."""
        if not self._turns:
            return None
        reach, policy, initial, q = zip(*self._turns, strict=True)
        return Nodes(
            reach=np.concatenate(reach),
            policy=_stacked(policy, -np.inf),
            initial=_stacked(initial, -np.inf),
            q_values=None if q[0] is None else _stacked([part for part in q if part is not None], 0.0),
            decisions=len(self._turns),
        )

    def text_kl(self) -> float | None:
        """Return the KL from the trained to the initial policy in nats per token. Call this once, after play."""
        if not self.writes_freely:
            return None
        model = self.trained.model
        rollout = RolloutBatch(self.trained.take_segments(), credit="token", device=model.device)
        reference = ReferencePolicy(model, self.initial.model, UpdateConfig(micro_batch_tokens=MICRO_BATCH_TOKENS))
        reference.read(rollout)
        return float(reference.kl(rollout, guide_beta=self.trained.guide_beta).mean())

    def _record_strategy(self, shown: Turn | EpisodeEnd) -> None:
        if "strategy" in shown.info:
            self.strategies.setdefault(shown.episode, []).append(shown.info["strategy"])


def by_token(mine: TurnOutputs, first: TurnOutputs) -> NodeArrays:
    """Return the arrays of `Nodes` for one turn. The children of a node are tokens."""
    q = None if mine.q_values is None else np.where(mine.logprobs == -np.inf, 0.0, mine.q_values)
    policy, initial = (log_softmax(outputs.logprobs, axis=1) for outputs in (mine, first))  # normalise to 16 digits
    return reach_probabilities(mine.trie, policy), policy, initial, q


def by_command(mine: TurnOutputs, first: TurnOutputs) -> NodeArrays:
    """Return the arrays of `Nodes` for one turn: a single node whose children are the commands.

    A command's q is the q of its last choice.
    """
    trie, q = mine.trie, mine.q_values
    paths = [trie.paths[command] for command in sorted(set(trie.first_with_same_tokens))]
    policy, initial = (
        log_softmax(np.array([[sum(outputs.logprobs[choice] for choice in path) for path in paths]]), axis=1)
        for outputs in (mine, first)
    )
    return np.ones(1), policy, initial, None if q is None else np.array([[q[path[-1]] for path in paths]])


def _stacked(parts: Sequence[Floats], padding: float) -> Floats:
    width = max(part.shape[1] for part in parts)  # the second axes of [n_i, K_i] are padded to the same size
    pads = [((0, 0), (0, width - part.shape[1])) for part in parts]
    return np.concatenate([np.pad(*each, constant_values=padding) for each in zip(parts, pads, strict=True)])
