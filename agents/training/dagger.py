"""Labels for imitation: an expert's commands (behaviour cloning, DAgger), or the choices of the best episodes."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.command_policy import TurnOutputs
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.protocol import AgentError, Decision, EpisodeEnd, Turn


class Expert:
    """Labels turns with the game's own solution.

    The label is the walkthrough's command while the episode follows it. After a deviation it is the first of
    `policy_commands`, which solve the game from its current state; some games have none. With `prefer_policy`,
    `policy_commands` come first.

    `policy_commands` use information that the player has to look up first: in cooking they fetch the ingredients of an
    unread recipe. After a deviation, the walkthrough's look-ups (its commands that the initial `policy_commands` lack)
    therefore come first, and while one of them is not admissible the turn has no label.
    """

    def __init__(self, *, prefer_policy: bool) -> None:
        self.prefer_policy = prefer_policy
        self._walkthroughs: dict[int, list[str]] = {}
        """Episode -> the rest of the walkthrough; empty after a deviation."""
        self._lookups: dict[int, list[str]] = {}
        """Episode -> look-ups of the walkthrough that were not played yet."""

    def label(self, turn: Turn) -> int | None:
        """Index of the expert's command among the admissible ones; None if it has none."""
        policy = list(turn.info.get("policy_commands") or ())
        if turn.first:
            solution = list(turn.info.get("extra.walkthrough") or ())
            self._walkthroughs[turn.episode] = solution
            self._lookups[turn.episode] = [command for command in solution if policy and command not in policy]
        walkthrough, policy = self._walkthroughs[turn.episode][:1], policy[:1]
        after_deviation = self._lookups[turn.episode] or policy
        candidates = policy + walkthrough if self.prefer_policy else walkthrough + after_deviation
        commands: list[str] = turn.info["admissible_commands"]
        return next((commands.index(command) for command in candidates if command in commands), None)

    def record(self, turn: Turn, command: str) -> None:
        """Record the command that was played."""
        walkthrough = self._walkthroughs[turn.episode]
        self._walkthroughs[turn.episode] = walkthrough[1:] if walkthrough[:1] == [command] else []
        self._lookups[turn.episode] = [other for other in self._lookups[turn.episode] if other != command]

    def end(self, episode: int) -> None:
        """Forget the episode."""
        self._walkthroughs.pop(episode, None)
        self._lookups.pop(episode, None)


class DAggerAgent:
    """Plays each turn as the expert, with probability `beta`, or as the model; the expert labels every turn.

    DAgger (Ross, Gordon and Bagnell, 2011), with the current rollout in place of a growing data set; beta = 1 is
    behaviour cloning. If the expert has no command, the model plays and the turn has no label. Probabilities, v and q
    of a decision are always the model's.

    In a fraction `greedy` of the episodes the model plays greedily on its own turns, so that it learns to escape the
    loops of greedy decoding.

    Raises:
        AgentError: the model generates free text, which cannot be labelled.
    """

    def __init__(self, agent: LanguageModelAgent, expert: Expert, *, beta: float = 1.0, greedy: float = 0.0) -> None:
        if agent.mode != "trie":
            raise AgentError(f"an expert's commands are admissible ones: expected mode trie, got {agent.mode}")
        self.agent, self.expert, self.name = agent, expert, agent.name
        self.beta, self.greedy = beta, greedy
        self._rngs: dict[int, np.random.Generator] = {}
        self._sampled: dict[int, bool] = {}
        """Episode -> whether the model's commands are sampled."""
        self._agreed: list[bool] = []
        """For each turn with a label and a choice: whether the label was the model's likeliest command."""
        self._turns = 0
        """Number of turns with a choice."""

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        """One decision for each turn."""
        outputs = self.agent.evaluate(turns)
        drawn = self.agent.sample(turns, outputs)
        labels = [self.expert.label(turn) for turn in turns]
        played = [
            self._own(turn, *choice) if label is None or not self._expert_plays(turn.episode) else label
            for turn, choice, label in zip(turns, drawn, labels, strict=True)
        ]
        self.agent.commit(turns, outputs, played, labels)
        decisions = []
        for turn, output, (decision, _), label, command in zip(turns, outputs, drawn, labels, played, strict=True):
            name = turn.info["admissible_commands"][command]
            self.expert.record(turn, name)
            self._note(turn, output, decision, label)
            decisions.append(replace(decision, command=name))
        return decisions

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        """Close the episodes."""
        for ending in endings:
            self.expert.end(ending.episode)
            self._rngs.pop(ending.episode, None)
            self._sampled.pop(ending.episode, None)
        self.agent.end(endings)

    def take_metrics(self) -> Metrics:
        """Metrics of the turns with a choice since the last call.

        `labelled` is the share with a label; `agreement` the share of these whose label is the model's likeliest
        command.

        Raises:
            AgentError: no turn has a label.
        """
        agreed, turns, self._agreed, self._turns = self._agreed, self._turns, [], 0
        if not agreed:
            raise AgentError("the expert has no labels: none of these games has a walkthrough or policy_commands")
        return {"labelled": len(agreed) / turns, "agreement": sum(agreed) / len(agreed)}

    def _expert_plays(self, episode: int) -> bool:
        if self.beta in (0.0, 1.0):
            return self.beta == 1.0
        if episode not in self._rngs:
            self._rngs[episode] = np.random.default_rng([self.agent.seed, episode, 1])
        return bool(self._rngs[episode].random() < self.beta)

    def _own(self, turn: Turn, decision: Decision, drawn: int) -> int:
        if self.greedy and turn.episode not in self._sampled:
            rng = np.random.default_rng([self.agent.seed, turn.episode, 2])
            self._sampled[turn.episode] = bool(rng.random() >= self.greedy)
        if self._sampled.get(turn.episode, True):
            return drawn
        return int(np.argmax(list(decision.probabilities.values())))

    def _note(self, turn: Turn, output: TurnOutputs, decision: Decision, label: int | None) -> None:
        if not output.trie.branching:
            return
        self._turns += 1
        if label is not None:
            likeliest = max(decision.probabilities.values())
            self._agreed.append(decision.probabilities[turn.info["admissible_commands"][label]] == likeliest)


def label_best_episodes(
    segments: Sequence[Segment], episodes: Sequence[Episode], *, top_fraction: float, gamma: float
) -> tuple[list[Segment], Metrics]:
    """The segments, their own choices as labels in the best episodes, and the metric `kept`, the share of these."""
    kept = best_episodes(episodes, top_fraction=top_fraction, gamma=gamma)
    labelled = [_own_labels(segment) if segment.episode in kept else segment for segment in segments]
    return labelled, {"kept": len(kept) / len(episodes)}


def best_episodes(episodes: Sequence[Episode], *, top_fraction: float, gamma: float) -> set[int]:
    """Numbers of the episodes to imitate: those won, and the best `top_fraction` of each game's episodes.

    Episodes are compared by discounted return. The number is rounded up and ties with the last one are kept. The worst
    return is never kept, so that of episodes with equal returns, or of a single one, only wins are kept: no choice in
    them is known to be better than another. `top_fraction` = 1 keeps all.
    """
    by_game: dict[str, list[tuple[float, Episode]]] = defaultdict(list)
    for episode in episodes:
        by_game[episode.game].append((_discounted(episode, gamma), episode))
    best = set()
    for rows in by_game.values():
        returns = sorted((earned for earned, _ in rows), reverse=True)
        least, worst = returns[math.ceil(top_fraction * len(rows)) - 1], returns[-1]
        best |= {e.index for earned, e in rows if e.won or top_fraction == 1 or (earned >= least and earned > worst)}
    return best


def _discounted(episode: Episode, gamma: float) -> float:
    return sum(gamma**turn * step.reward for turn, step in enumerate(episode.steps))


def _own_labels(segment: Segment) -> Segment:
    return replace(segment, choices=tuple(replace(choice, label=choice.chosen) for choice in segment.choices))
