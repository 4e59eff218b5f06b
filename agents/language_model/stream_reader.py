"""Reads the token streams of live episodes. Tokens that several streams share are read once."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agents.language_model.command_policy import TurnOutputs, split_by_turn
from agents.language_model.token_stream import EpisodeState
from agents.model.actor_critic import ActorCritic
from agents.model.command_trie import Trie
from agents.model.head_outputs import pad_alternatives
from agents.model.kv_cache import RaggedCache
from agents.model.tree_decoder import TreeInput, commit_branches, forward_trees

MAX_OUTPUTS = 2048
"""Maximum number of stored head outputs and of stored values. A full store is emptied."""


class StreamReader:
    """Reads streams through a key/value cache.

    Gradient steps and changes of the training mode are noticed when an episode begins. After any other change of the
    model, such as switching off an adapter, call `forget`.

    Attributes:
        tokens: number of tokens that would have been read without sharing.
        computed: number of tokens that the model has read.
    """

    def __init__(self, model: ActorCritic, *, share: bool = True) -> None:
        self.model, self.share = model, share
        self.tokens = self.computed = 0
        self.forget()

    def forget(self) -> None:
        """Free the cache and all stored outputs. No episode may be live."""
        self._cache, self._rows = RaggedCache(self.model.layers), 0
        # The key is (tokens, id of the trie). The stored output refers to its trie, so no other trie has this id.
        self._outputs: dict[tuple[tuple[int, ...], int], TurnOutputs] = {}
        self._values: dict[tuple[int, ...], float] = {}
        self._version = self._model_version()

    def begin(self, live: int) -> None:
        """Prepare for a new episode. `live` is the number of live episodes, including the new one."""
        if self._version != (version := self._model_version()):
            self._version = version
            self._outputs, self._values = {}, {}
            self._cache.hide()
        self._rows = max(self._rows, live)

    @torch.no_grad()
    def evaluate(self, states: Sequence[EpisodeState], tries: Sequence[Trie]) -> list[TurnOutputs]:
        """Return each episode's head outputs at the branching nodes of its trie."""
        keys = [(tuple(state.stream.tokens), id(trie)) for state, trie in zip(states, tries, strict=True)]
        choosing = [place for place, trie in enumerate(tries) if trie.branching]
        for place in choosing:
            self._count(states[place])
        new = [place for place in choosing if keys[place] not in self._outputs]
        index, different = self._distinct([keys[place] for place in new])
        read = self._read([states[new[one]] for one in different], [tries[new[one]] for one in different])
        outputs = {place: self._outputs[keys[place]] for place in choosing if keys[place] in self._outputs}
        outputs |= {place: replace(read[one], tree=None) for place, one in zip(new, index, strict=True)}
        if self._shares:
            if len(self._outputs) + len(read) > MAX_OUTPUTS:
                self._outputs.clear()
            self._outputs |= {keys[place]: outputs[place] for place in new}
        outputs |= {new[one]: output for one, output in zip(different, read, strict=True)}
        return [outputs.get(place, TurnOutputs(trie=trie)) for place, trie in enumerate(tries)]

    def _read(self, states: Sequence[EpisodeState], tries: Sequence[Trie]) -> list[TurnOutputs]:
        if not states:
            return []
        trees = [self._unread(state, trie) for state, trie in zip(states, tries, strict=True)]
        hidden = forward_trees(self.model, self._cache, trees)
        alternatives = pad_alternatives([tokens for trie in tries for tokens in trie.alternatives])
        return split_by_turn(self.model.evaluate_heads(hidden, alternatives.to(self.model.device)), tries, trees)

    def commit(self, states: Sequence[EpisodeState], outputs: Sequence[TurnOutputs], commands: Sequence[int]) -> None:
        """Keep the commands with the indices `commands` in the cache."""
        chosen = zip(outputs, commands, strict=True)
        commit_branches(self._cache, [(output.tree, command) for output, command in chosen if output.tree])
        for state, output, command in zip(states, outputs, commands, strict=True):
            if output.trie.branching:
                branch = output.trie.commands[command]
                length = sum(branch[: len(prefix)] == prefix for prefix in output.trie.inner)
                state.seen += length
                self.tokens += length
                self.computed += length if output.tree else 0

    @torch.no_grad()
    def last_states(self, states: Sequence[EpisodeState]) -> tuple[Tensor, list[int]]:
        """Read each stream to its end.

        Return the last hidden states [n, d] of n different streams, and the row of each episode.
        """
        for state in states:
            self._count(state)
        index, different = self._distinct([tuple(state.stream.tokens) for state in states])
        trees = [self._unread(states[place]) for place in different]
        return forward_trees(self.model, self._cache, trees), index

    @torch.no_grad()
    def last_values(self, states: Sequence[EpisodeState]) -> list[float]:
        """Return v at the end of each stream."""
        streams = [tuple(state.stream.tokens) for state in states]
        values = {place: self._values[stream] for place, stream in enumerate(streams) if stream in self._values}
        if new := [place for place in range(len(states)) if place not in values]:
            hidden, index = self.last_states([states[place] for place in new])
            values |= zip(new, self.model.heads.values(hidden)[index].tolist(), strict=True)
        if self._shares:
            if len(self._values) + len(new) > MAX_OUTPUTS:
                self._values.clear()
            self._values |= {streams[place]: values[place] for place in new}
        return [values[place] for place in range(len(states))]

    def release(self, state: EpisodeState) -> None:
        if state.row is not None:
            self._cache.free_row(state.row)
            state.row = None
        state.seen = 0

    @property
    def _shares(self) -> bool:
        return self.share and not self.model.training  # dropout gives equal streams different outputs

    def _unread(self, state: EpisodeState, trie: Trie | None = None) -> TreeInput:
        tokens = state.stream.tokens
        if self._shares:
            state.row = self._cache.extend(state.row, tokens, rows=self._rows)
        elif state.row is None:
            state.row = self._cache.add_row()
        unread = tokens[self._cache.lengths[state.row] :]
        self.computed += len(unread)
        return TreeInput(row=state.row, tokens=unread, trie=trie)

    def _distinct(self, keys: Sequence[object]) -> tuple[list[int], list[int]]:
        """Number the distinct keys. Return each key's number, and the first place of each number."""
        keys = keys if self._shares else range(len(keys))
        places: dict[object, int] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, place)
        number = {key: index for index, key in enumerate(places)}
        return [number[key] for key in keys], list(places.values())

    def _count(self, state: EpisodeState) -> None:
        self.tokens += len(state.stream.tokens) - state.seen
        state.seen = len(state.stream.tokens)

    def _model_version(self) -> tuple[object, ...]:
        """Return a value that changes with gradient steps, the training mode and the logit transform."""
        versions = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.model.parameters())
        return self.model.training, self.model.logit_transform, hash(versions)
