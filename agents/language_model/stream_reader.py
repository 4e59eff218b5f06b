"""Reads the token streams of live episodes with the model. What several episodes have in common is read only once.

TextWorld is deterministic and a trained agent repeats itself, so the streams of many episodes begin alike. There are
three cases:

* Streams that are equal in the same round are read in one row of the pass.
* If a stream and its admissible commands occurred before, the earlier outputs of the heads are used.
* If only the beginning of a stream occurred before, the row of the cache that holds it is copied.

The cache has as many rows as there were live episodes at once, so it needs no more memory than separate streams. The
row that was used least recently is overwritten first.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agents.language_model.command_policy import TurnOutputs, split_by_turn
from agents.language_model.token_stream import EpisodeState
from agents.model.actor_critic import ActorCritic, pad_alternatives
from agents.model.command_trie import Trie
from agents.model.kv_cache import RaggedCache
from agents.model.tree_decoder import TreeInput, commit_branches, forward_trees

MAX_OUTPUTS = 2048
"""Maximum number of turns whose outputs are stored, and of final values. If more are needed, all are removed."""


class StreamReader:
    """Reads streams through a key/value cache.

    With dropout, each stream is read separately, because equal streams then have different outputs.

    Args:
        share: whether common prefixes are read only once.

    Attributes:
        tokens: number of tokens of all streams so far, which separate streams would read. The last command of an
            episode is not read.
        computed: number of these tokens that the model has computed.
    """

    def __init__(self, model: ActorCritic, *, share: bool = True) -> None:
        self.model, self.share = model, share
        self.tokens = self.computed = 0
        self.forget()

    def forget(self) -> None:
        """Remove everything that was read, and free its memory. No episode may be live."""
        self._cache, self._rows = RaggedCache(self.model.layers), 0
        self._outputs: dict[tuple[tuple[int, ...], int], TurnOutputs] = {}  # by tokens and id of the trie
        self._values: dict[object, float] = {}  # by tokens
        self._version = self._model_version()

    def begin(self, live: int) -> None:
        """Prepare for an episode. `live` is the number of live episodes, with this one.

        If it is the only one, and the model has changed, everything that was read is removed.
        """
        if live == 1 and self._version != self._model_version():
            self.forget()
        self._rows = max(self._rows, live)

    @torch.no_grad()
    def evaluate(self, states: Sequence[EpisodeState], tries: Sequence[Trie]) -> list[TurnOutputs]:
        """Evaluate the heads at every choice that leads to a command of the episode's trie.

        An output has a `tree` only if its stream was read in this call.
        """
        keys = [
            (self._count(state), id(trie) if self._shares else place)
            for place, (state, trie) in enumerate(zip(states, tries, strict=True))
        ]
        first = dict(zip(reversed(keys), reversed(range(len(keys))), strict=True))
        new = sorted(place for key, place in first.items() if tries[place].branching and key not in self._outputs)
        read: dict[int, TurnOutputs] = {}
        if new:
            trees, chosen = (
                [self._unread(states[place], tries[place]) for place in new],
                [tries[place] for place in new],
            )
            hidden = forward_trees(self.model, self._cache, trees)
            alternatives = pad_alternatives([tokens for trie in chosen for tokens in trie.alternatives])
            heads = self.model.evaluate_heads(hidden, alternatives.to(self.model.device))
            read |= zip(new, split_by_turn(heads, chosen, trees), strict=True)
        known = self._outputs | {keys[place]: replace(output, tree=None) for place, output in read.items()}
        if self._shares:
            self._outputs = known if len(known) <= MAX_OUTPUTS else {}
        return [
            read[place] if place in read else known[key] if trie.branching else TurnOutputs(trie=trie)
            for place, (key, trie) in enumerate(zip(keys, tries, strict=True))
        ]

    def commit(self, states: Sequence[EpisodeState], outputs: Sequence[TurnOutputs], commands: Sequence[int]) -> None:
        """Keep the keys and values of the chosen commands, given by their indices, if they were read in this turn."""
        read = [(output.tree, command) for output, command in zip(outputs, commands, strict=True) if output.tree]
        commit_branches(self._cache, read)
        for state, output, command in zip(states, outputs, commands, strict=True):
            if output.trie.branching:
                branch = output.trie.commands[command]
                length = sum(branch[: len(prefix)] == prefix for prefix in output.trie.inner)
                state.seen += length
                self.tokens += length
                self.computed += length if output.tree else 0

    @torch.no_grad()
    def last_states(self, states: Sequence[EpisodeState]) -> tuple[Tensor, list[int]]:
        """Read streams to their ends.

        Returns:
            A tuple (hidden, index): the last hidden states [n, d] of n different streams, and for each episode the
            index of its stream among them.
        """
        streams = [self._count(state) for state in states]
        if self._shares:
            different = {stream: place for place, stream in enumerate(dict.fromkeys(streams))}
            index = [different[stream] for stream in streams]
        else:
            index = list(range(len(states)))
        to_read = [states[index.index(place)] for place in range(max(index) + 1)]
        return forward_trees(self.model, self._cache, [self._unread(state) for state in to_read]), index

    @torch.no_grad()
    def last_values(self, states: Sequence[EpisodeState]) -> list[float]:
        """Return v at the end of each stream."""
        keys = [tokens if self._shares else place for place, tokens in enumerate(map(self._count, states))]
        new = [place for place, key in enumerate(keys) if key not in self._values]
        known = dict(self._values)
        if new:
            hidden, index = self.last_states([states[place] for place in new])
            values = self.model.heads.values(hidden)[index].tolist()
            known |= zip([keys[place] for place in new], values, strict=True)
        if self._shares:
            self._values = known if len(known) <= MAX_OUTPUTS else {}
        return [known[key] for key in keys]

    def restart(self, state: EpisodeState) -> None:
        """Give up the episode's cache row, because its stream was cut or has ended."""
        if state.row is not None:
            self._cache.free_row(state.row)
            state.row = None
        state.seen = 0

    @property
    def _shares(self) -> bool:
        return self.share and not self.model.training

    def _unread(self, state: EpisodeState, trie: Trie | None = None) -> TreeInput:
        """Return an input with the tokens of the stream that are not in the cache yet, and with the trie, if any."""
        tokens = state.stream.tokens
        if self._shares:
            state.row = self._cache.extend(state.row, tokens, rows=self._rows)
        elif state.row is None:
            state.row = self._cache.add_row()
        unread = tokens[self._cache.lengths[state.row] :]
        self.computed += len(unread)
        return TreeInput(row=state.row, tokens=unread, trie=trie)

    def _count(self, state: EpisodeState) -> tuple[int, ...]:
        """Return the tokens of the stream, and count those that separate streams would read now."""
        self.tokens += len(state.stream.tokens) - state.seen
        state.seen = len(state.stream.tokens)
        return tuple(state.stream.tokens)

    def _model_version(self) -> tuple[object, ...]:
        """Return a value that changes with the weights and the training mode of the model."""
        parameters = [(parameter.data_ptr(), parameter._version) for parameter in self.model.parameters()]
        return self.model.training, hash(tuple(parameters))
