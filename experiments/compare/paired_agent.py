"""A trained agent plays, and the policy that it began with reads along.

`PairedAgent` is an agent (`agents.protocol.Agent`), so the runner plays it like any other. At every state that the
trained agent visits, both policies are read at every branching node of the commands' trie, and q with them.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import Floats, TurnOutputs, reach_probabilities
from agents.protocol import Decision, EpisodeEnd, Turn
from agents.training.rollout_batch import Credit
from experiments.compare.collapse import Nodes

Part = tuple[Floats, Floats, Floats, Floats | None]
"""Of one turn: reach [n], log pi [n, K], log pi_0 [n, K] and q [n, K] at n nodes (see `Nodes`)."""


class PairedAgent:
    """Plays as `trained` does, whose commands `initial` follows; both speak the same tokens.

    `credit` says what q was trained for: the choice of a token, or a whole command. In the second case a decision
    is one node, whose alternatives are the commands. In free mode nothing is read along.
    """

    def __init__(self, trained: LanguageModelAgent, initial: LanguageModelAgent, credit: Credit) -> None:
        self.trained, self.initial, self.credit, self.name = trained, initial, credit, trained.name
        self.strategies: dict[int, list[str]] = {}
        """Episode -> the strategy of each of its commands, as the game names them (info's `strategy`)."""
        self._parts: list[Part] = []

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        """The trained agent's commands."""
        for turn in turns:
            self._note(turn)
        if self.trained.mode == "free":
            return self.trained.act(turns)
        ours, theirs = self.trained.evaluate(turns), self.initial.evaluate(turns)
        chosen = self.trained.sample(turns, ours)
        for agent, outputs in ((self.trained, ours), (self.initial, theirs)):
            agent.commit(turns, outputs, [command for _, command in chosen])
        read = by_token if self.credit == "token" else by_command
        self._parts += [read(mine, first) for mine, first in zip(ours, theirs, strict=True) if mine.trie.branching]
        return [decision for decision, _ in chosen]

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        """Both agents forget the episodes."""
        for ending in endings:
            self._note(ending)
        self.trained.end(endings)
        if self.trained.mode != "free":
            self.initial.end(endings)

    def nodes(self) -> Nodes | None:
        """All that was read; None where nothing was (free mode, or no choice)."""
        if not self._parts:
            return None
        reach, policy, initial, q = zip(*self._parts, strict=True)
        return Nodes(
            reach=np.concatenate(reach),
            policy=_stacked(policy, -np.inf),
            initial=_stacked(initial, -np.inf),
            q_values=None if q[0] is None else _stacked([part for part in q if part is not None], 0.0),
            decisions=len(self._parts),
        )

    def _note(self, shown: Turn | EpisodeEnd) -> None:
        if "strategy" in shown.info:
            self.strategies.setdefault(shown.episode, []).append(shown.info["strategy"])


def by_token(mine: TurnOutputs, first: TurnOutputs) -> Part:
    """What was read at the n branching nodes of a turn."""
    q = None if mine.q_values is None else np.where(mine.logprobs == -np.inf, 0.0, mine.q_values)
    policy, initial = (log_softmax(outputs.logprobs, axis=1) for outputs in (mine, first))  # to 16 digits
    return reach_probabilities(mine.trie, policy), policy, initial, q


def by_command(mine: TurnOutputs, first: TurnOutputs) -> Part:
    """The same with the commands as alternatives of one node; q(s, command) is that of its last choice."""
    trie, q = mine.trie, mine.q_values
    different = sorted(set(trie.first_with_same_tokens))

    def summed(logprobs: Floats) -> Floats:
        found = [[sum(logprobs[choice] for choice in trie.paths[i]) for i in different]]
        commands: Floats = log_softmax(np.array(found), axis=1)
        return commands

    last = [trie.paths[i][-1] for i in different]
    found = None if q is None else np.array([[q[choice] for choice in last]])
    return np.ones(1), summed(mine.logprobs), summed(first.logprobs), found


def _stacked(parts: Sequence[Floats], padding: float) -> Floats:
    """Arrays [n_i, K_i] on top of each other, padded to the widest."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=padding) for part in parts]
    )
