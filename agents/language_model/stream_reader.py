"""Runs the trunk on the token streams of live episodes, and computes their shared prefixes once."""

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
"""Maximum number of stored `TurnOutputs`, and of stored values. A full store is emptied."""


class StreamReader:
    """Runs the trunk on token streams with a key/value cache.

    Call `forget` after an adapter is switched on or off.

    Attributes:
        tokens: number of tokens that the trunk would have processed without shared prefixes.
        computed: number of tokens that the trunk has processed.
    """

    def __init__(self, model: ActorCritic, *, share: bool = True) -> None:
        self.model, self.share = model, share
        self.tokens = self.computed = 0
        self.forget()

    def forget(self) -> None:
        """Free the cache and all stored outputs. No episode may be live."""
        self._cache, self._min_rows = RaggedCache(self.model.layers), 0
        # The key is (tokens, id of the trie). The stored output refers to its trie, so no other trie has this id.
        self._outputs: dict[tuple[tuple[int, ...], int], TurnOutputs] = {}
        self._values: dict[tuple[int, ...], float] = {}
        self._version = self._model_version()

    def begin(self, live_episodes: int) -> None:
        """Prepare for a new episode. `live_episodes` includes the new episode."""
        # detects gradient steps and changes of the training mode, but not those of an adapter
        if self._version != (version := self._model_version()):
            self._version = version
            self._outputs, self._values = {}, {}
            self._cache.mark_stale()
        self._min_rows = max(self._min_rows, live_episodes)

    @torch.no_grad()
    def evaluate(self, states: Sequence[EpisodeState], tries: Sequence[Trie]) -> list[TurnOutputs]:
        """Evaluate the heads at the branching nodes of each episode's trie."""
        keys = [(tuple(state.stream.tokens), id(trie)) for state, trie in zip(states, tries, strict=True)]
        choosing = [index for index, trie in enumerate(tries) if trie.branching]
        for index in choosing:
            self._count_tokens(states[index])
        missing = [index for index in choosing if keys[index] not in self._outputs]
        key_numbers, first_indices = self._distinct([keys[index] for index in missing])
        new_outputs = self._read(
            [states[missing[i]] for i in first_indices], [tries[missing[i]] for i in first_indices]
        )
        outputs = {index: self._outputs[keys[index]] for index in choosing if keys[index] in self._outputs}
        outputs |= {index: replace(new_outputs[n], tree=None) for index, n in zip(missing, key_numbers, strict=True)}
        if self._is_sharing:
            if len(self._outputs) + len(new_outputs) > MAX_OUTPUTS:
                self._outputs.clear()
            self._outputs |= {keys[index]: outputs[index] for index in missing}
        outputs |= {missing[i]: output for i, output in zip(first_indices, new_outputs, strict=True)}
        return [outputs.get(index, TurnOutputs(trie=trie)) for index, trie in enumerate(tries)]

    def _read(self, states: Sequence[EpisodeState], tries: Sequence[Trie]) -> list[TurnOutputs]:
        if not states:
            return []
        trees = [self._tree_input(state, trie) for state, trie in zip(states, tries, strict=True)]
        hidden = forward_trees(self.model, self._cache, trees)
        alternatives = pad_alternatives([tokens for trie in tries for tokens in trie.alternatives])
        return split_by_turn(self.model.evaluate_heads(hidden, alternatives.to(self.model.device)), tries, trees)

    def commit(self, states: Sequence[EpisodeState], outputs: Sequence[TurnOutputs], commands: Sequence[int]) -> None:
        """Append the played commands to the cache. `commands` contains command indices."""
        chosen = zip(outputs, commands, strict=True)
        commit_branches(self._cache, [(output.tree, command) for output, command in chosen if output.tree])
        for state, output, command in zip(states, outputs, commands, strict=True):
            if output.trie.branching:
                branch = output.trie.commands[command]
                length = sum(branch[: len(prefix)] == prefix for prefix in output.trie.input_nodes)
                state.counted += length
                self.tokens += length
                self.computed += length if output.tree else 0

    @torch.no_grad()
    def last_states(self, states: Sequence[EpisodeState]) -> tuple[Tensor, list[int]]:
        """Return (last, rows). The last hidden state of stream i is `last[rows[i]]`.

        `last` [n, d] has one row per distinct stream.
        """
        for state in states:
            self._count_tokens(state)
        rows, first_indices = self._distinct([tuple(state.stream.tokens) for state in states])
        trees = [self._tree_input(states[index]) for index in first_indices]
        return forward_trees(self.model, self._cache, trees), rows

    @torch.no_grad()
    def last_values(self, states: Sequence[EpisodeState]) -> list[float]:
        """Return v at the end of each stream."""
        streams = [tuple(state.stream.tokens) for state in states]
        values = {index: self._values[stream] for index, stream in enumerate(streams) if stream in self._values}
        if missing := [index for index in range(len(states)) if index not in values]:
            hidden, rows = self.last_states([states[index] for index in missing])
            values |= zip(missing, self.model.heads.values(hidden)[rows].tolist(), strict=True)
        if self._is_sharing:
            if len(self._values) + len(missing) > MAX_OUTPUTS:
                self._values.clear()
            self._values |= {streams[index]: values[index] for index in missing}
        return [values[index] for index in range(len(states))]

    def release(self, state: EpisodeState) -> None:
        if state.row is not None:
            self._cache.free_row(state.row)
            state.row = None
        state.counted = 0

    @property
    def _is_sharing(self) -> bool:
        return self.share and not self.model.training  # dropout gives equal streams different outputs

    def _tree_input(self, state: EpisodeState, trie: Trie | None = None) -> TreeInput:
        tokens = state.stream.tokens
        if self._is_sharing:
            state.row = self._cache.extend(state.row, tokens, min_rows=self._min_rows)
        elif state.row is None:
            state.row = self._cache.add_row()
        unread = tokens[self._cache.lengths[state.row] :]
        self.computed += len(unread)
        return TreeInput(row=state.row, tokens=unread, trie=trie)

    def _distinct(self, keys: Sequence[object]) -> tuple[list[int], list[int]]:
        """Return the number of each key, and the first index of each number.

        Equal keys have equal numbers.
        """
        keys = keys if self._is_sharing else range(len(keys))
        first_index: dict[object, int] = {}
        for index, key in enumerate(keys):
            first_index.setdefault(key, index)
        number = {key: index for index, key in enumerate(first_index)}
        return [number[key] for key in keys], list(first_index.values())

    def _count_tokens(self, state: EpisodeState) -> None:
        self.tokens += len(state.stream.tokens) - state.counted
        state.counted = len(state.stream.tokens)

    def _model_version(self) -> tuple[object, ...]:
        versions = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.model.parameters())
        return self.model.training, self.model.logit_transform, hash(versions)
