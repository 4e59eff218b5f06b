"""Labels for imitation. A label is the command that the policy should imitate in a turn."""

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
    """Labels turns with commands of a solution: the walkthrough or `policy_commands`.

    The `policy_commands` of a turn win from the current state.
    """

    def __init__(self, *, prefer_policy: bool) -> None:
        self.prefer_policy = prefer_policy
        # By episode: commands of the walkthrough, and look-ups among them, that were not played yet. Look-ups, such as
        # reading a recipe, are commands that the first turn's `policy_commands` do not contain.
        self._walkthroughs: dict[int, list[str]] = {}  # [] after a deviation
        self._lookups: dict[int, list[str]] = {}

    def label(self, turn: Turn) -> int | None:
        """Return the label's index among the admissible commands, or None."""
        policy = list(turn.info.get("policy_commands") or ())
        if turn.first:
            solution = list(turn.info.get("extra.walkthrough") or ())
            self._walkthroughs[turn.episode] = solution
            self._lookups[turn.episode] = [command for command in solution if policy and command not in policy]
        self._skip_inadmissible(turn)
        commands: list[str] = turn.info["admissible_commands"]
        walkthrough, policy = self._walkthroughs[turn.episode][:1], policy[:1]
        # look-ups come first, because `policy_commands` may use information that the player has not read yet
        after_deviation = self._lookups[turn.episode] or policy
        candidates = policy + walkthrough if self.prefer_policy else walkthrough + after_deviation
        return next((commands.index(command) for command in candidates if command in commands), None)

    def record(self, turn: Turn, command: str) -> None:
        walkthrough = self._walkthroughs[turn.episode]
        self._walkthroughs[turn.episode] = walkthrough[1:] if walkthrough[:1] == [command] else []
        self._lookups[turn.episode] = [lookup for lookup in self._lookups[turn.episode] if lookup != command]

    def _skip_inadmissible(self, turn: Turn) -> None:
        # such as "open door" if the door is open
        while (commands := self._walkthroughs[turn.episode]) and commands[0] not in turn.info["admissible_commands"]:
            self.record(turn, commands[0])

    def end(self, episode: int) -> None:
        self._walkthroughs.pop(episode, None)
        self._lookups.pop(episode, None)


class DAggerAgent:
    """Plays the expert's command with probability `beta`, otherwise the model's command.

    The algorithm is DAgger (Ross, Gordon and Bagnell, 2011).
    """

    def __init__(
        self, agent: LanguageModelAgent, expert: Expert, *, beta: float = 1.0, greedy_share: float = 0.0
    ) -> None:
        if agent.mode != "trie":
            raise AgentError(f"an expert's commands are admissible ones: expected mode trie, got {agent.mode}")
        self.agent, self.expert, self.name = agent, expert, agent.name
        self.beta, self.greedy_share = beta, greedy_share  # fraction of episodes in which the model plays greedily
        self._rngs: dict[int, np.random.Generator] = {}
        self._is_sampling: dict[int, bool] = {}  # by episode: whether the model samples on its own turns
        # of the turns with several commands: their number, and whether each label was the model's likeliest command
        self._branching_turns, self._agreements = 0, list[bool]()

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        outputs = self.agent.evaluate(turns)
        samples = self.agent.sample(turns, outputs)
        labels = [self.expert.label(turn) for turn in turns]
        expert_commands = [
            label if label is not None and self._expert_plays(turn.episode) else None
            for turn, label in zip(turns, labels, strict=True)
        ]
        chosen = [
            self._model_command(turn, *choice) if label is None else label
            for turn, choice, label in zip(turns, samples, expert_commands, strict=True)
        ]
        self.agent.commit(turns, outputs, chosen, labels)
        decisions = []
        rows = zip(turns, outputs, samples, labels, expert_commands, chosen, strict=True)
        for turn, output, (decision, _), label, expert_command, index in rows:
            commands = turn.info["admissible_commands"]
            self.expert.record(turn, commands[index])
            decisions.append(replace(decision, command=commands[index], by_expert=expert_command is not None))
            if output.trie.branching:
                self._branching_turns += 1
                if label is not None:
                    likeliest = max(decision.probabilities.values())
                    self._agreements.append(decision.probabilities[commands[label]] == likeliest)
        return decisions

    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        for ending in endings:
            self.expert.end(ending.episode)
            self._rngs.pop(ending.episode, None)
            self._is_sampling.pop(ending.episode, None)
        self.agent.end(endings)

    def take_metrics(self) -> Metrics:
        """Return metrics of the turns since the last call. Raise `AgentError` if no turn has a label."""
        agreements, turns, self._agreements, self._branching_turns = self._agreements, self._branching_turns, [], 0
        if not agreements:
            raise AgentError("the expert has no labels: none of these games has a walkthrough or policy_commands")
        return {"labelled": len(agreements) / turns, "agreement": sum(agreements) / len(agreements)}

    def _expert_plays(self, episode: int) -> bool:
        if self.beta in (0.0, 1.0):
            return self.beta == 1.0
        if episode not in self._rngs:
            self._rngs[episode] = np.random.default_rng([self.agent.seed, episode, 1])
        return bool(self._rngs[episode].random() < self.beta)

    def _model_command(self, turn: Turn, decision: Decision, sampled: int) -> int:
        if self.greedy_share and turn.episode not in self._is_sampling:
            rng = np.random.default_rng([self.agent.seed, turn.episode, 2])
            self._is_sampling[turn.episode] = bool(rng.random() >= self.greedy_share)
        if self._is_sampling.get(turn.episode, True):
            return sampled
        likeliest = max(decision.probabilities, key=lambda command: decision.probabilities[command])
        commands: list[str] = turn.info["admissible_commands"]
        return commands.index(likeliest)


def label_best_episodes(
    segments: Sequence[Segment], episodes: Sequence[Episode], *, top_fraction: float, gamma: float
) -> tuple[list[Segment], Metrics]:
    """In the best episodes, label each choice for imitation. Return a tuple (all segments, metrics)."""
    best = best_episodes(episodes, top_fraction=top_fraction, gamma=gamma)
    labels = [[c.chosen if segment.episode in best else None for c in segment.choices] for segment in segments]
    labelled = [
        replace(segment, choices=tuple(replace(c, label=label) for c, label in zip(segment.choices, row, strict=True)))
        for segment, row in zip(segments, labels, strict=True)
    ]
    return labelled, {"kept": len(best) / len(episodes)}


def best_episodes(episodes: Sequence[Episode], *, top_fraction: float, gamma: float) -> set[int]:
    """Return the indices of the won episodes and of each game's best episodes.

    The best episodes of a game are the fraction `top_fraction` with the highest discounted returns.
    """
    returns = [discounted_return(episode, gamma) for episode in episodes]
    won = [bool(episode.won) for episode in episodes]
    mask = best_returns([episode.game for episode in episodes], returns, won, top_fraction=top_fraction)
    return {episode.index for episode, is_best in zip(episodes, mask, strict=True) if is_best}


def discounted_return(episode: Episode, gamma: float) -> float:
    """Return the sum of the shaped rewards, discounted by `gamma` per turn."""
    return sum(gamma**turn * step.reward for turn, step in enumerate(episode.steps))


def best_returns(games: ArrayLike, returns: ArrayLike, won: ArrayLike, *, top_fraction: float) -> NDArray[np.bool_]:
    """Return a mask [N]: which of N episodes `best_episodes` selects. `games`, `returns` and `won` are arrays [N]."""
    values, mask = np.asarray(returns, dtype=np.float64), np.array(won, dtype=np.bool_)
    if top_fraction == 1:
        return np.ones_like(mask)
    game_numbers = np.unique(np.asarray(games), return_inverse=True)[1]
    for game in range(game_numbers.max(initial=-1) + 1):
        rows = np.flatnonzero(game_numbers == game)
        descending = np.sort(values[rows])[::-1]
        # ties are selected too, but no episode with the game's lowest return
        threshold, lowest = descending[math.ceil(top_fraction * len(rows)) - 1], descending[-1]
        mask[rows] |= (values[rows] >= threshold) & (values[rows] > lowest)
    return mask
