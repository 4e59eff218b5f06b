"""One pass over many episodes equals one pass per command and episode."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.model import tree_decoder
from agents.model.actor_critic import ActorCritic
from agents.model.command_trie import Trie, build_trie
from agents.model.heads import Heads
from agents.model.kv_cache import RaggedCache
from agents.model.logit_transform import LogitTransform
from agents.model.tree_decoder import TreeInput, check_cache, commit_branches, forward_trees, group_by_length
from agents.protocol import AgentError
from tests.helpers.models import KINDS, Kind, assert_close, tiny_lm, tiny_model

TRIES = [
    build_trie([[5, 6, 1], [5, 7, 1], [5, 7, 8, 1], [9, 1]]),
    build_trie([[5, 6, 1], [5, 7, 1], [8, 6, 1], [8, 7, 9, 1], [8, 7, 4, 1], [9, 5, 1], [9, 6, 1]]),
    build_trie([[5, 6, 7, 1], [5, 6, 8, 1]]),
    build_trie([[5, 1], [6, 1], [7, 1], [8, 2, 3, 1], [8, 2, 4, 1]]),
]


@pytest.fixture(autouse=True)
def no_gradient() -> Iterator[None]:
    with torch.no_grad():
        yield


def stream(seed: int, length: int) -> list[int]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(3, 40, (length,), generator=rng).tolist()


def plain(model: ActorCritic, tokens: Sequence[int]) -> Tensor:
    """Last hidden state [d] after the tokens, from a pass without cache and mask."""
    return model.hidden_states(torch.tensor([list(tokens)]), use_cache=False)[0, -1]


def expected(model: ActorCritic, tokens: Sequence[int], trie: Trie | None) -> Tensor:
    """Hidden states [N, d] at the choice positions, from one plain pass each."""
    if trie is None:
        return plain(model, tokens)[None]
    return torch.stack([plain(model, [*tokens, *prefix]) for prefix in trie.branching])


class Player:
    """Plays scripted turns through the cache, and keeps the whole stream for comparison."""

    def __init__(self, model: ActorCritic, cache: RaggedCache, seed: int) -> None:
        self.model, self.seed, self.turn = model, seed, 0
        self.row = cache.add_row()
        self.tokens: list[int] = []
        self.pending: list[int] = []

    def tree_input(self) -> TreeInput:
        self.trie = TRIES[(self.seed + self.turn) % len(TRIES)]
        self.pending += stream(1000 * self.seed + self.turn, 1 + (3 * self.seed + 5 * self.turn) % 11)
        return TreeInput(row=self.row, tokens=self.pending, trie=self.trie)

    def command(self) -> int:
        return (self.seed + 2 * self.turn) % len(self.trie.commands)

    def committed(self) -> None:
        chosen = list(self.trie.commands[self.command()])
        kept = sum(tuple(chosen[:depth]) in self.trie.input_nodes for depth in range(1, len(chosen) + 1))
        self.tokens += self.pending + chosen[:kept]
        self.pending = chosen[kept:]
        self.turn += 1


def play_turn(model: ActorCritic, cache: RaggedCache, players: Sequence[Player]) -> list[Tensor]:
    """Play one turn of all players, compare it with plain passes, and return the hidden states of each player."""
    inputs = [player.tree_input() for player in players]
    plain_states = [expected(model, player.tokens + list(player.pending), player.trie) for player in players]
    hidden = forward_trees(model, cache, inputs)
    tree_states = torch.split(hidden, [len(states) for states in plain_states])
    for actual, states in zip(tree_states, plain_states, strict=True):
        assert_close(actual, states)
    commit_branches(cache, zip(inputs, [p.command() for p in players], strict=True))
    for player in players:
        player.committed()
        assert cache.lengths[player.row] == len(player.tokens)
    return list(tree_states)


@pytest.mark.parametrize("kind", KINDS)
def test_cached_states_equal_plain_passes_over_many_turns(kind: Kind) -> None:
    model = tiny_model(kind)
    cache = RaggedCache(model.layers)
    players = [Player(model, cache, seed) for seed in range(4)]
    for _ in range(4):
        play_turn(model, cache, players)


@pytest.mark.parametrize("kind", KINDS)
def test_order_and_number_of_live_episodes_change_nothing(kind: Kind) -> None:
    model = tiny_model(kind)

    def states(seeds: Sequence[int]) -> dict[tuple[int, int], Tensor]:
        cache, by_turn = RaggedCache(model.layers), {}
        players = [Player(model, cache, seed) for seed in seeds]
        for turn in range(3):
            for player, read in zip(players, play_turn(model, cache, players), strict=True):
                by_turn[player.seed, turn] = read
        return by_turn

    together = states([0, 1, 2, 3])
    for seeds in ([3, 1, 0, 2], [2], [1, 3]):
        for key, read in states(seeds).items():
            assert_close(read, together[key])


@pytest.mark.parametrize("kind", KINDS)
def test_freed_rows_are_reused(kind: Kind) -> None:
    model = tiny_model(kind)
    cache = RaggedCache(model.layers)
    players = [Player(model, cache, seed) for seed in range(3)]
    for turn in range(6):  # play_turn compares with plain passes, which detects leftovers of a former row
        play_turn(model, cache, players[: 2 + turn % 2])
        cache.free_row(players.pop(turn % 2).row)
        players.append(Player(model, cache, 3 + turn))
    assert len(cache.lengths) == 3 and {player.row for player in players} == {0, 1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_skip_turns(kind: Kind) -> None:
    model = tiny_model(kind)
    cache = RaggedCache(model.layers)
    players = [Player(model, cache, seed) for seed in range(4)]
    for present in ([0, 1, 2, 3], [3, 1], [0], [2, 0, 1], [3, 2, 1, 0]):
        play_turn(model, cache, [players[i] for i in present])


@pytest.mark.parametrize("kind", KINDS)
def test_eager_attention_gets_an_additive_mask(kind: Kind) -> None:
    model = tiny_model(kind)
    model.lm.set_attn_implementation("eager")
    cache = RaggedCache(model.layers)
    players = [Player(model, cache, seed) for seed in range(3)]
    for _ in range(2):
        play_turn(model, cache, players)


def test_a_trunk_that_does_not_support_the_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    model = tiny_model("llama")
    check_cache(model)
    # weights so large that ALiBi matters within a few tokens
    bloom = BloomForCausalLM(BloomConfig(vocab_size=50, hidden_size=64, n_layer=2, n_head=8, initializer_range=0.05))
    with pytest.raises(AgentError, match=r"Bloom.*cache"):
        check_cache(ActorCritic(bloom, Heads(64, 50)))

    # a trunk that ignores the mask
    monkeypatch.setattr(tree_decoder, "replaced_entry", lambda *arguments: nullcontext())
    with pytest.raises(AgentError, match="cached text differently"):
        check_cache(model)


def test_the_cache_grows() -> None:
    model = tiny_model("llama", positions=1024)
    cache = RaggedCache(model.layers)
    row, other, tokens = cache.add_row(), cache.add_row(), stream(1, 600)
    for start in range(0, 600, 150):
        first = TreeInput(row=row, tokens=tokens[start : start + 150])
        second = TreeInput(row=other, tokens=tokens[start : start + 149])
        read = forward_trees(model, cache, [first, second])[0]
        assert_close(read, plain(model, tokens[: start + 150]))
    assert cache.lengths == [600, 596]


def test_rows_may_be_read_in_any_order() -> None:
    model = tiny_model("llama")
    cache = RaggedCache(model.layers)
    rows = [cache.add_row() for _ in range(2)]
    forward_trees(model, cache, [TreeInput(row=row, tokens=stream(row, 5)) for row in rows])
    states = forward_trees(model, cache, [TreeInput(row=row, tokens=[7, 8]) for row in reversed(rows)])
    for row, state in zip(reversed(rows), states, strict=True):
        assert_close(state, plain(model, [*stream(row, 5), 7, 8]))


def cost(groups: Sequence[Sequence[int]], lengths: Sequence[int], overhead: int) -> int:
    return sum(len(group) * max(lengths[i] for i in group) + overhead for group in groups)


def partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for mates in itertools.combinations(rest, size):
            for others in partitions([item for item in rest if item not in mates]):
                yield [[first, *mates], *others]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 80), st.none() | st.integers(1, 200))
def test_groups_by_length_are_the_cheapest_partition(lengths: list[int], overhead: int, budget: int | None) -> None:
    groups = group_by_length(lengths, overhead=overhead, budget=budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))

    def fits(group: Sequence[int]) -> bool:
        return budget is None or len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget

    allowed = [other for other in partitions(range(len(lengths))) if all(map(fits, other))]
    assert all(map(fits, groups))
    assert cost(groups, lengths, overhead) == min(cost(other, lengths, overhead) for other in allowed)


def test_no_lengths_make_no_groups() -> None:
    assert group_by_length([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_heads_agree_with_the_logits_of_transformers(kind: Kind) -> None:
    model = tiny_model(kind)
    tokens = torch.tensor([stream(1, 12), stream(2, 12)])
    logits = tiny_lm(kind, model.base.config.vocab_size)(input_ids=tokens).logits  # transformers alone
    hidden = model.hidden_states(tokens, use_cache=False)
    assert_close(model.all_logprobs(hidden[0]), logits[0].log_softmax(-1))
    offered = torch.tensor([[4, 9, -1], [30, 2, 7]])
    read = model.evaluate_heads(hidden[:, -1], offered)
    for row, ids in enumerate(([4, 9], [30, 2, 7])):
        among = logits[row, -1, ids].log_softmax(-1)
        assert_close(read.logprobs[row, : len(ids)], among)
    assert read.logprobs[0, 2] == -torch.inf


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_with_large_logits_passes_the_checks(kind: Kind) -> None:
    model = tiny_model(kind)
    model.base.get_output_embeddings().weight.mul_(30)
    model.lm.to(torch.bfloat16)
    model.measure_logit_transform()
    assert model.logit_transform == LogitTransform()
    check_cache(model)
