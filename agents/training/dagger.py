"""Who labels the choices that an optimizer imitates: a teacher who plays or looks on, or one's own best play.

`DAggerAgent` is the language model with an expert beside it; it plays like any agent, and leaves choices with labels
in the stream. `labelled_best` labels what was played without one.
"""

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
    """Says what it would do at each turn of an episode, by the game's own solution.

    The game's walkthrough counts for as long as the episode has followed it. `policy_commands` are the game's own way
    to win from wherever it stands; some games say nothing there. With `prefer_policy` they come first,
    otherwise they are asked where the walkthrough has been left.

    They know what the player can only find out: in cooking they fetch the ingredient of a recipe that nobody has read.
    So what the walkthrough looks up (it is what the policy leaves out at the beginning) still comes first after leaving
    it, and until it can be looked up nothing is said.
    """

    def __init__(self, *, prefer_policy: bool) -> None:
        self.prefer_policy = prefer_policy
        self._rest: dict[int, list[str]] = {}
        """By episode: the walkthrough from here on; empty where it has been left."""
        self._unread: dict[int, list[str]] = {}
        """By episode: what the walkthrough looks up and was not played yet."""

    def label(self, turn: Turn) -> int | None:
        """Number of its command among the admissible ones; None where it has none."""
        policy = list(turn.info.get("policy_commands") or ())
        if turn.first:
            whole = list(turn.info.get("extra.walkthrough") or ())
            self._rest[turn.episode] = whole
            self._unread[turn.episode] = [command for command in whole if policy and command not in policy]
        walkthrough, policy = self._rest[turn.episode][:1], policy[:1]
        commands: list[str] = turn.info["admissible_commands"]
        left = self._unread[turn.episode] or policy
        wanted = policy + walkthrough if self.prefer_policy else walkthrough + left
        return next((commands.index(command) for command in wanted if command in commands), None)

    def see(self, turn: Turn, command: str) -> None:
        """Be told what was played."""
        rest = self._rest[turn.episode]
        self._rest[turn.episode] = rest[1:] if rest[:1] == [command] else []
        self._unread[turn.episode] = [other for other in self._unread[turn.episode] if other != command]

    def forget(self, episode: int) -> None:
        """The episode is over."""
        self._rest.pop(episode, None)
        self._unread.pop(episode, None)


class DAggerAgent:
    """Plays turn by turn as the teacher, with probability `beta`, or as the model; every turn gets the teacher's label.

    In a share of the episodes, `greedy`, the model's own turns take its likeliest command. That is how it is shown
    the way out of the circles in which a model that draws nothing goes on for ever.

    Ross, Gordon and Bagnell (2011), with the difference that a rollout is learned from once, in place of a growing data
    set. beta = 1 is behavioural cloning. Where the teacher has no command, the model plays, and the
    turn has no label. A decision's probabilities, v and q are the model's, whoever played.
    """

    def __init__(self, agent: LanguageModelAgent, teacher: Expert, *, beta: float = 1.0, greedy: float = 0.0) -> None:
        if agent.mode != "trie":
            raise AgentError(f"a teacher's commands are admissible ones: expected mode trie, got {agent.mode}")
        self.agent, self.teacher, self.name = agent, teacher, agent.name
        self.beta, self.greedy = beta, greedy
        self._rngs: dict[int, np.random.Generator] = {}
        self._draws: dict[int, bool] = {}
        """By episode: are the model's own commands drawn?"""
        self._agreed: list[bool] = []
        """Of turns with a label and a choice: was it the model's likeliest command?"""
        self._turns = 0
        """Turns with a choice."""

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        """One command for each turn; see `agents.protocol.Agent`."""
        outputs = self.agent.evaluate(turns)
        drawn = self.agent.sample(turns, outputs)
        labels = [self.teacher.label(turn) for turn in turns]
        played = [
            self._own(turn, *choice) if label is None or not self._teacher_plays(turn.episode) else label
            for turn, choice, label in zip(turns, drawn, labels, strict=True)
        ]
        self.agent.commit(turns, outputs, played, labels)
        decisions = []
        for turn, output, (decision, _), label, command in zip(turns, outputs, drawn, labels, played, strict=True):
            name = turn.info["admissible_commands"][command]
            self.teacher.see(turn, name)
            self._note(turn, output, decision, label)
            decisions.append(replace(decision, command=name))
        return decisions

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        """Close the episodes."""
        for ending in endings:
            self.teacher.forget(ending.episode)
            self._rngs.pop(ending.episode, None)
            self._draws.pop(ending.episode, None)
        self.agent.end(endings)

    def take_metrics(self) -> Metrics:
        """Of the turns with a choice since the last call: `labelled`, the share that has a label, and `agreement`,
        the share of these in which the label was the model's likeliest command.

        Raises:
            AgentError: there is no label at all.
        """
        agreed, turns, self._agreed, self._turns = self._agreed, self._turns, [], 0
        if not agreed:
            raise AgentError("the teacher says nothing: none of these games has a walkthrough or policy_commands")
        return {"labelled": len(agreed) / turns, "agreement": sum(agreed) / len(agreed)}

    def _teacher_plays(self, episode: int) -> bool:
        if self.beta in (0.0, 1.0):
            return self.beta == 1.0
        if episode not in self._rngs:
            self._rngs[episode] = np.random.default_rng([self.agent.seed, episode, 1])
        return bool(self._rngs[episode].random() < self.beta)

    def _own(self, turn: Turn, decision: Decision, drawn: int) -> int:
        if self.greedy and turn.episode not in self._draws:
            rng = np.random.default_rng([self.agent.seed, turn.episode, 2])
            self._draws[turn.episode] = bool(rng.random() >= self.greedy)
        if self._draws.get(turn.episode, True):
            return drawn
        return int(np.argmax(list(decision.probabilities.values())))

    def _note(self, turn: Turn, output: TurnOutputs, decision: Decision, label: int | None) -> None:
        if not output.trie.branching:
            return
        self._turns += 1
        if label is not None:
            likeliest = max(decision.probabilities.values())
            self._agreed.append(decision.probabilities[turn.info["admissible_commands"][label]] == likeliest)


def labelled_best(
    segments: Sequence[Segment], episodes: Sequence[Episode], *, top_fraction: float, gamma: float
) -> tuple[list[Segment], Metrics]:
    """The segments, those of the best episodes labelled with what was chosen in them, and `kept`, their share."""
    kept = best_episodes(episodes, top_fraction=top_fraction, gamma=gamma)
    found = [_own_labels(segment) if segment.episode in kept else segment for segment in segments]
    return found, {"kept": len(kept) / len(episodes)}


def best_episodes(episodes: Sequence[Episode], *, top_fraction: float, gamma: float) -> set[int]:
    """Numbers of the episodes to imitate: those won, and of each game's n the top_fraction n best that beat the worst.

    They are compared by their discounted return. The number is rounded up, and those that equal the last of them are
    kept too. So of episodes that all earned the same, or of a single one, none is kept unless it was won: no
    choice in them is known to be better than another. `top_fraction` = 1 keeps all.
    """
    by_game: dict[str, list[tuple[float, Episode]]] = defaultdict(list)
    for episode in episodes:
        by_game[episode.game].append((_discounted(episode, gamma), episode))
    found = set()
    for rows in by_game.values():
        returns = sorted((earned for earned, _ in rows), reverse=True)
        least, worst = returns[math.ceil(top_fraction * len(rows)) - 1], returns[-1]
        found |= {e.index for earned, e in rows if e.won or top_fraction == 1 or (earned >= least and earned > worst)}
    return found


def _discounted(episode: Episode, gamma: float) -> float:
    return sum(gamma**turn * step.reward for turn, step in enumerate(episode.steps))


def _own_labels(segment: Segment) -> Segment:
    return replace(segment, choices=tuple(replace(choice, label=choice.chosen) for choice in segment.choices))
