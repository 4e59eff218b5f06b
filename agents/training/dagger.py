"""Labels for imitation: the commands that the update imitates."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.language_model.agent import LanguageModelAgent
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.play.metrics import Metrics
from agents.protocol import AgentError, Decision, EpisodeEnd, Turn


class Expert:
    """Labels turns with the game's own solution.

    The label is the next command of the walkthrough. After a deviation, it is a look-up or one of `policy_commands`.
    A look-up, such as reading a recipe, is a command of the walkthrough that is not in the first `policy_commands`.

    With `prefer_policy`, the label is one of `policy_commands`, or else the next command of the walkthrough.
    """

    def __init__(self, *, prefer_policy: bool) -> None:
        self.prefer_policy = prefer_policy
        # by episode: commands of the walkthrough, and look-ups among them, that were not played yet
        self._walkthroughs: dict[int, list[str]] = {}  # [] after a deviation
        self._lookups: dict[int, list[str]] = {}

    def label(self, turn: Turn) -> int | None:
        """Return the index of the label among the admissible commands, or None."""
        policy = list(turn.info.get("policy_commands") or ())
        if turn.first:
            solution = list(turn.info.get("extra.walkthrough") or ())
            self._walkthroughs[turn.episode] = solution
            self._lookups[turn.episode] = [command for command in solution if policy and command not in policy]
        self._skip_redundant(turn)
        commands: list[str] = turn.info["admissible_commands"]
        walkthrough, policy = self._walkthroughs[turn.episode][:1], policy[:1]
        # look-ups come first, because `policy_commands` may use information that the player has not read yet
        after_deviation = self._lookups[turn.episode] or policy
        candidates = policy + walkthrough if self.prefer_policy else walkthrough + after_deviation
        return next((commands.index(command) for command in candidates if command in commands), None)

    def record(self, turn: Turn, command: str) -> None:
        walkthrough = self._walkthroughs[turn.episode]
        self._walkthroughs[turn.episode] = walkthrough[1:] if walkthrough[:1] == [command] else []
        self._lookups[turn.episode] = [other for other in self._lookups[turn.episode] if other != command]

    def _skip_redundant(self, turn: Turn) -> None:
        """Skip inadmissible commands, such as "open door" if the door is open."""
        while (rest := self._walkthroughs[turn.episode]) and rest[0] not in turn.info["admissible_commands"]:
            self.record(turn, rest[0])

    def end(self, episode: int) -> None:
        self._walkthroughs.pop(episode, None)
        self._lookups.pop(episode, None)


class DAggerAgent:
    """Plays the expert's command with probability `beta`, and the model's command otherwise.

    In a fraction `greedy` of the episodes, the model plays greedily. This is DAgger (Ross, Gordon and Bagnell, 2011),
    trained on the current rollout only.
    """

    def __init__(self, agent: LanguageModelAgent, expert: Expert, *, beta: float = 1.0, greedy: float = 0.0) -> None:
        if agent.mode != "trie":
            raise AgentError(f"an expert's commands are admissible ones: expected mode trie, got {agent.mode}")
        self.agent, self.expert, self.name = agent, expert, agent.name
        self.beta, self.greedy = beta, greedy
        self._rngs: dict[int, np.random.Generator] = {}
        self._sampled: dict[int, bool] = {}  # by episode: whether the model samples on its own turns
        # of the turns with several commands: their number, and whether each label was the model's likeliest command
        self._turns, self._agreed = 0, list[bool]()

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        outputs = self.agent.evaluate(turns)
        drawn = self.agent.sample(turns, outputs)
        labels = [self.expert.label(turn) for turn in turns]
        followed = [
            label if label is not None and self._expert_plays(turn.episode) else None
            for turn, label in zip(turns, labels, strict=True)
        ]
        played = [
            self._own(turn, *choice) if label is None else label
            for turn, choice, label in zip(turns, drawn, followed, strict=True)
        ]
        self.agent.commit(turns, outputs, played, labels)
        decisions = []
        rows = zip(turns, outputs, drawn, labels, followed, played, strict=True)
        for turn, output, (decision, _), label, followed_label, command in rows:
            commands = turn.info["admissible_commands"]
            self.expert.record(turn, commands[command])
            decisions.append(replace(decision, command=commands[command], by_expert=followed_label is not None))
            if output.trie.branching:
                self._turns += 1
                if label is not None:
                    likeliest = max(decision.probabilities.values())
                    self._agreed.append(decision.probabilities[commands[label]] == likeliest)
        return decisions

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self.expert.end(ending.episode)
            self._rngs.pop(ending.episode, None)
            self._sampled.pop(ending.episode, None)
        self.agent.end(endings)

    def take_metrics(self) -> Metrics:
        """Return metrics since the last call. Raise `AgentError` if no turn has a label."""
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
        likeliest = max(decision.probabilities, key=lambda name: decision.probabilities[name])
        commands: list[str] = turn.info["admissible_commands"]
        return commands.index(likeliest)


def label_best_episodes(
    segments: Sequence[Segment], episodes: Sequence[Episode], *, top_fraction: float, gamma: float
) -> tuple[list[Segment], Metrics]:
    """Return all segments, and the metric `kept`. Only the best episodes are labelled."""
    kept = best_episodes(episodes, top_fraction=top_fraction, gamma=gamma)
    labels = [[c.chosen if segment.episode in kept else None for c in segment.choices] for segment in segments]
    labelled = [
        replace(segment, choices=tuple(replace(c, label=label) for c, label in zip(segment.choices, row, strict=True)))
        for segment, row in zip(segments, labels, strict=True)
    ]
    return labelled, {"kept": len(kept) / len(episodes)}


def best_episodes(episodes: Sequence[Episode], *, top_fraction: float, gamma: float) -> set[int]:
    """Return the numbers of the won episodes and of each game's best episodes.

    The best are the first ceil(`top_fraction` * n) of n episodes by discounted return, and ties. The lowest return does
    not count as best, unless `top_fraction` is 1.
    """
    returns = [discounted_return(episode, gamma) for episode in episodes]
    won = [bool(episode.won) for episode in episodes]
    best = best_returns([episode.game for episode in episodes], returns, won, top_fraction=top_fraction)
    return {episode.index for episode, kept in zip(episodes, best, strict=True) if kept}


def discounted_return(episode: Episode, gamma: float) -> float:
    """Return the sum of the shaped rewards, discounted by `gamma` per turn."""
    return sum(gamma**turn * step.reward for turn, step in enumerate(episode.steps))


def best_returns(games: ArrayLike, returns: ArrayLike, won: ArrayLike, *, top_fraction: float) -> NDArray[np.bool_]:
    """Return a mask [N] of the episodes to imitate, as in `best_episodes`. All arrays are [N]."""
    earned, best = np.asarray(returns, dtype=np.float64), np.array(won, dtype=np.bool_)
    if top_fraction == 1:
        return np.ones_like(best)
    numbers = np.unique(np.asarray(games), return_inverse=True)[1]
    for game in range(numbers.max(initial=-1) + 1):
        rows = np.flatnonzero(numbers == game)
        ordered = np.sort(earned[rows])[::-1]
        least, worst = ordered[math.ceil(top_fraction * len(rows)) - 1], ordered[-1]
        best[rows] |= (earned[rows] >= least) & (earned[rows] > worst)
    return best
