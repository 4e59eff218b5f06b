"""The language-model agent: reads the game as one growing token stream and chooses commands by its policy.

All live episodes are read in one pass a turn (`agents/model/tree_decoder.py`), the key/value cache is kept across turns
and nothing is encoded twice. What the agent chose, and what it thought of it, is recorded in streams that
the training loop takes as segments. Two modes: `trie`, exact over the admissible commands, and `free`, any
text up to the end of the line. Leaves out learning (train.py) and storage (checkpoint.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from agents.language_model.command_policy import HeadValues, choices_for_command, decide
from agents.language_model.token_stream import Choice, Segment, TokenStream
from agents.model.actor_critic import ActorCritic, entropy
from agents.model.command_trie import Trie, build_trie
from agents.model.kv_cache import RaggedCache
from agents.model.tree_decoder import TreeInput, commit_branches, forward_trees
from agents.protocol import AgentError, Decision, EpisodeEnd, Turn
from agents.text.prompt import PLAIN, PromptFormat

Mode = Literal["trie", "free"]


@dataclass(slots=True)
class _Live:
    """What the agent keeps of a live episode."""

    stream: TokenStream
    rng: np.random.Generator
    prompt: str
    terminator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an agent read at one turn, before a command is taken."""

    trie: Trie
    """Of the admissible commands."""
    heads: HeadValues
    """At the trie's branching nodes, in their order."""
    block: TreeInput | None
    """What was read; None where there is one command only."""


class LanguageModelAgent:
    """Plays with an `ActorCritic`. One instance may play any number of episodes of any number of games."""

    def __init__(
        self,
        model: ActorCritic,
        tokenizer: Any,
        *,
        name: str = "language model",
        prompt: PromptFormat = PLAIN,
        seed: int = 0,
        greedy: bool = False,
        mode: Mode = "trie",
        context: int | None = None,
        gamma: float = 1.0,
        record: bool = False,
        max_command_tokens: int = 16,
    ) -> None:
        """
        Args:
            model: trunk and heads; its training mode decides about dropout and is left as it is.
            tokenizer: a transformers tokenizer.
            name: what tables and screens call the agent.
            prompt: how turns become text.
            seed: with an episode's number, the only source of its randomness.
            greedy: choose the most probable command instead of sampling.
            mode: `trie` chooses among the admissible commands, `free` writes any line.
            context: longest stream in tokens; the trunk's own limit if None or larger.
            gamma: discount per turn, booked on recorded choices.
            record: keep finished segments for `take_segments`.
            max_command_tokens: longest line in `free` mode.
        """
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.prompt, self.seed, self.greedy, self.mode = prompt, seed, greedy, mode
        self.context = min(context or model.context, model.context)
        self.gamma, self.record, self.max_command_tokens = gamma, record, max_command_tokens
        self._cache = RaggedCache(model.layers)
        self._live: dict[int, _Live] = {}
        self._tries: dict[tuple[str, ...], Trie] = {}
        self._segments: list[Segment] = []
        self._line_ends: frozenset[int] | None = None

    # -- the agent protocol ---------------------------------------------------------------------------

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        """One command for each turn; see `agents.protocol.Agent`."""
        if self.mode == "free":
            return self._act_free(turns)
        readings = self.evaluate(turns)
        found = self.sample(turns, readings)
        self.commit(turns, readings, [command for _, command in found])
        return [decision for decision, _ in found]

    @torch.no_grad()
    def evaluate(self, turns: Sequence[Turn]) -> list[Reading]:
        """Read what the game wrote, and what the heads say of every command; `take` has to follow. `trie` mode only."""
        tries = [self._trie(turn) for turn in turns]
        lives = [self._read_turn(turn, max(trie.depths)) for turn, trie in zip(turns, tries, strict=True)]
        blocks = [
            TreeInput(row=live.stream.row, tokens=live.stream.pending, trie=trie) if trie.branching else None
            for live, trie in zip(lives, tries, strict=True)
        ]
        heads = self._read_heads([block for block in blocks if block]).turns([len(trie.branching) for trie in tries])
        return [
            Reading(trie=trie, heads=seen, block=block) for trie, seen, block in zip(tries, heads, blocks, strict=True)
        ]

    def sample(self, turns: Sequence[Turn], readings: Sequence[Reading]) -> list[tuple[Decision, int]]:
        """Draw a command for each turn, or take the likeliest: the decision and the command's number."""
        rngs = [None if self.greedy else self._live[turn.episode].rng for turn in turns]
        return [
            decide(reading.trie, turn.info["admissible_commands"], reading.heads, rng)
            for turn, reading, rng in zip(turns, readings, rngs, strict=True)
        ]

    def commit(
        self,
        turns: Sequence[Turn],
        readings: Sequence[Reading],
        commands: Sequence[int],
        labels: Sequence[int | None] | None = None,
    ) -> None:
        """Go on with these commands (numbers among the admissible ones), whoever chose them.

        `labels` are the commands that should be imitated, where there are any.
        """
        for turn, reading, command, label in zip(turns, readings, commands, labels or [None] * len(turns), strict=True):
            stream, heads = self._live[turn.episode].stream, reading.heads
            trie, place = reading.trie, len(stream.tokens) - 1
            for choice in choices_for_command(trie, command, heads, position=place, turn=stream.turn, label=label):
                stream.record(choice)
            stream.tokens += [trie.tokens[node] for node in reversed(trie.path(command))]
        read = [(reading.block, command) for reading, command in zip(readings, commands, strict=True) if reading.block]
        if read:
            commit_branches(self._cache, [block for block, _ in read], [command for _, command in read])
        for turn, reading in zip(turns, readings, strict=True):
            if reading.block:
                stream = self._live[turn.episode].stream
                stream.cached = self._cache.lengths[stream.row]

    @torch.no_grad()
    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        """Close episodes: value the state after a truncated one, keep the segments if asked to, free the cache."""
        lives = {ending.episode: self._live.pop(ending.episode) for ending in endings}
        bootstraps = self._bootstrap([e for e in endings if self.record and e.truncated and not e.terminated], lives)
        for ending in endings:
            stream = lives[ending.episode].stream
            segments = stream.finish(
                ending.reward,
                bootstrap=bootstraps.get(ending.episode),
                whole_vocabulary=self.mode == "free",
            )
            if self.record:
                self._segments += segments
            self._cache.free_row(stream.row)

    def take_segments(self) -> list[Segment]:
        """The segments finished since the last call, in order of episode."""
        segments, self._segments = sorted(self._segments, key=lambda s: s.episode), []
        return segments

    # -- text becomes tokens --------------------------------------------------------------------------

    def _read_turn(self, turn: Turn, reserve: int) -> _Live:
        """Append what the game wrote; cut the stream where `reserve` more tokens would not fit."""
        live = self._live.get(turn.episode)
        if live is None:
            stream = TokenStream(episode=turn.episode, gamma=self.gamma, row=self._cache.add_row())
            rng = np.random.default_rng([self.seed, turn.episode])
            live = self._live[turn.episode] = _Live(stream, rng, turn.prompt, turn.terminator)
        live.stream.begin_turn(turn.reward, first=turn.first)
        self._append(live, turn.observation, first=turn.first, reserve=reserve)
        return live

    def _append(self, live: _Live, observation: str, *, first: bool, reserve: int) -> None:
        stream = live.stream
        text = self.prompt.before_command(observation, game_prompt=live.prompt, first=first)
        stream.tokens += self._encode(text)
        if not stream.tokens:
            raise AgentError("the game opens without any text; a language model needs at least one token to read")
        if first:
            stream.opening = min(len(stream.tokens), self.context // 4)
        if len(stream.tokens) + reserve > self.context:
            room = self.context - reserve
            if room < 1:
                raise AgentError(f"a command of {reserve} tokens does not fit into a context of {self.context} tokens")
            stream.opening = min(stream.opening, room // 2)
            stream.cut(max(1, min(self.context // 2, room) - stream.opening))
            self._cache.lengths[stream.row] = 0

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False) if text else []
        return tokens

    def _trie(self, turn: Turn) -> Trie:
        key = (turn.prompt, turn.terminator, *turn.info["admissible_commands"])
        if key not in self._tries:
            if len(self._tries) >= 8192:
                self._tries.clear()
            end = self._encode(self.prompt.after_command(game_terminator=turn.terminator))
            texts = [self.prompt.command(command, game_prompt=turn.prompt) for command in key[2:]]
            try:
                self._tries[key] = build_trie([self._encode(text) + end for text in texts])
            except ValueError as error:
                raise AgentError(f"{turn.game}: the agent cannot tell the commands apart: {error}") from error
        return self._tries[key]

    # -- the trie mode ---------------------------------------------------------------------------------

    def _read_heads(self, blocks: Sequence[TreeInput]) -> HeadValues:
        if not blocks:
            return HeadValues(logprobs=np.zeros((0, 1)), values=np.zeros(0), q_values=None)
        hidden = forward_trees(self.model, self._cache, blocks)
        offered = [block.trie.alternatives[n] for block in blocks if block.trie for n in block.trie.branching]
        alternatives = np.full((len(offered), max(map(len, offered))), -1, dtype=np.int64)
        for row, tokens in enumerate(offered):
            alternatives[row, : len(tokens)] = tokens
        return HeadValues.of(self.model.evaluate_heads(hidden, torch.from_numpy(alternatives).to(self.model.device)))

    def _bootstrap(self, endings: Sequence[EpisodeEnd], lives: dict[int, _Live]) -> dict[int, float]:
        """v of the state after each truncated episode."""
        if not endings:
            return {}
        blocks = []
        for ending in endings:
            live = lives[ending.episode]
            self._append(live, ending.observation, first=False, reserve=0)
            blocks.append(TreeInput(row=live.stream.row, tokens=live.stream.pending))
        values = self.model.heads.values(forward_trees(self.model, self._cache, blocks)).tolist()
        return {ending.episode: value for ending, value in zip(endings, values, strict=True)}

    # -- the free mode ---------------------------------------------------------------------------------

    @torch.no_grad()
    def _act_free(self, turns: Sequence[Turn]) -> list[Decision]:
        """Write a line each: tokens from the whole vocabulary until one ends the line."""
        lives = [self._read_turn(turn, self.max_command_tokens + 1) for turn in turns]
        starts = [len(live.stream.tokens) for live in lives]
        entropies = [0.0] * len(turns)
        values: list[float | None] = [None] * len(turns)
        writing = list(range(len(turns)))
        for _ in range(self.max_command_tokens):
            if not writing:
                break
            blocks = [TreeInput(row=lives[i].stream.row, tokens=lives[i].stream.pending) for i in writing]
            hidden = forward_trees(self.model, self._cache, blocks)
            logprobs = self.model.all_logprobs(hidden)
            spread = entropy(logprobs).tolist()
            tokens = [self._next_token(lives[i].rng, row) for i, row in zip(writing, logprobs, strict=True)]
            heads = HeadValues.of(
                self.model.evaluate_heads(hidden, torch.tensor(tokens, device=self.model.device)[:, None])
            )
            for index, (i, token) in enumerate(zip(writing, tokens, strict=True)):
                stream = lives[i].stream
                stream.cached = self._cache.lengths[stream.row]
                values[i] = float(heads.values[index]) if values[i] is None else values[i]
                entropies[i] += spread[index]
                stream.record(
                    Choice(
                        position=len(stream.tokens) - 1,
                        turn=stream.turn,
                        alternatives=(token,),
                        chosen=0,
                        logprob=float(logprobs[index, token]),
                        value=float(heads.values[index]),
                        q_value=0.0 if heads.q_values is None else float(heads.q_values[index, 0]),
                        entropy=spread[index],
                    )
                )
                stream.tokens.append(token)
            ended = {i for i, token in zip(writing, tokens, strict=True) if token in self.line_ends}
            writing = [i for i in writing if i not in ended]
        for i in writing:  # the line was too long: the game ends it
            lives[i].stream.tokens += self._encode(self.prompt.after_command(game_terminator=turns[i].terminator))
        return [
            Decision(command=self._line(live.stream.tokens[start:]), value=value, entropy=spread)
            for live, start, value, spread in zip(lives, starts, values, entropies, strict=True)
        ]

    def _next_token(self, rng: np.random.Generator, logprobs: torch.Tensor) -> int:
        if self.greedy:
            return int(logprobs.argmax())
        probabilities = logprobs.cpu().double().exp().numpy()
        return int(rng.choice(len(probabilities), p=probabilities / probabilities.sum()))

    def _line(self, tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if token not in self.line_ends]
        line: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        return line.strip()

    @property
    def line_ends(self) -> frozenset[int]:
        """Tokens that end a line in free mode: the end of text, and every token that contains a newline."""
        if self._line_ends is None:
            ends = {i for i in range(len(self.tokenizer)) if "\n" in self.tokenizer.decode([i])}
            ends |= set(self.tokenizer.all_special_ids)
            self._line_ends = frozenset(ends)
        return self._line_ends
