"""An agent that plays text games with a language model."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import torch

from agents.language_model.command_policy import TurnOutputs, guided, record_command, sample_command
from agents.language_model.free_generation import Limits, generate, text_ends
from agents.language_model.stream_reader import StreamReader
from agents.language_model.stream_writer import StreamWriter
from agents.language_model.token_stream import EpisodeState, Segment, TokenStream
from agents.model.actor_critic import ActorCritic
from agents.protocol import AgentError, Decision, EpisodeEnd, GeneratedToken, Turn
from agents.text.prompt import PLAIN, PromptFormat

Mode = Literal["trie", "free"]
MAX_COMMAND_TOKENS = 16
"""Default maximum number of tokens of a text in `free` mode."""


class LanguageModelAgent:
    """Plays any number of episodes with the policy of an `ActorCritic`.

    Args:
        temperature, top_p: sampling parameters. Leave both at 1 for training.
        mode: "trie" chooses an admissible command, and "free" generates any text.
        context: maximum length of a token stream. The default is the trunk's limit.
        gamma: discount per turn.
        record: whether to store finished segments for `take_segments`.
        random_share: probability of a random command in mode "trie".
        guide_beta: weight of q in the policy (see `guided_logprobs`).
    """

    def __init__(
        self,
        model: ActorCritic,
        tokenizer: Any,
        *,
        name: str = "language model",
        prompt: PromptFormat = PLAIN,
        seed: int = 0,
        greedy: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        mode: Mode = "trie",
        context: int | None = None,
        gamma: float = 1.0,
        record: bool = False,
        max_command_tokens: int = MAX_COMMAND_TOKENS,
        share_prefixes: bool = True,
        random_share: float = 0.0,
        guide_beta: float = 0.0,
    ) -> None:
        if guide_beta and not len(model.heads.q):
            raise AgentError(f"--guide-beta {guide_beta:g} needs q, but {name} has no Q heads: leave it out")
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.prompt, self.seed, self.mode = prompt, seed, mode
        self.greedy, self.temperature, self.top_p, self.random_share = greedy, temperature, top_p, random_share
        self.context = min(context or model.context, model.context)
        self.gamma, self.record, self.max_command_tokens = gamma, record, max_command_tokens
        self.guide_beta = guide_beta
        self._writer = StreamWriter(tokenizer, prompt, context=self.context)
        self.stream_tokenizer = self._writer.tokenizer
        self.reader = StreamReader(model, share=share_prefixes)
        self._live: dict[int, EpisodeState] = {}
        self._segments: list[Segment] = []

    def twin(self, *, seed: int, record: bool = False) -> Self:
        """Return an agent that samples the same policy at temperature 1, without random commands."""
        return type(self)(
            self.model,
            self.tokenizer,
            prompt=self.prompt,
            seed=seed,
            mode=self.mode,
            context=self.context,
            record=record,
            share_prefixes=self.reader.share,
            guide_beta=self.guide_beta,
        )

    @property
    def tokens(self) -> int:
        """Total number of tokens in all streams so far."""
        return self._writer.tokens

    @property
    def writes_freely(self) -> bool:
        """Whether the agent can play a turn that has no admissible commands."""
        return self.mode == "free" or not self.record  # all choices of an update must have the same mode

    def act(self, turns: Sequence[Turn]) -> list[Decision]:
        """Return one decision for each turn."""
        free = [turn for turn in turns if self.mode == "free" or not turn.info["admissible_commands"]]
        decisions = {turn.episode: decision for turn, decision in zip(free, self._generate(free), strict=True)}
        if trie_turns := [turn for turn in turns if turn.episode not in decisions]:
            outputs = self.evaluate(trie_turns)
            sampled = self.sample(trie_turns, outputs)
            self.commit(trie_turns, outputs, [command for _, command in sampled])
            decisions |= {turn.episode: decision for turn, (decision, _) in zip(trie_turns, sampled, strict=True)}
        return [decisions[turn.episode] for turn in turns]

    def evaluate(self, turns: Sequence[Turn]) -> list[TurnOutputs]:
        """Evaluate the heads for each turn, only in mode "trie".

        The caller must call `commit` afterwards.
        """
        tries = [self._writer.trie(turn) for turn in turns]
        states = [self._observe(turn, max(map(len, trie.commands))) for turn, trie in zip(turns, tries, strict=True)]
        return [guided(output, self.guide_beta) for output in self.reader.evaluate(states, tries)]

    def sample(self, turns: Sequence[Turn], outputs: Sequence[TurnOutputs]) -> list[tuple[Decision, int]]:
        """Sample a command for each turn. Return pairs (decision, command index)."""
        return [
            sample_command(
                output,
                turn.info["admissible_commands"],
                None if self.greedy else self._live[turn.episode].rng,
                temperature=self.temperature,
                top_p=self.top_p,
                random_share=self.random_share,
            )
            for turn, output in zip(turns, outputs, strict=True)
        ]

    def commit(
        self,
        turns: Sequence[Turn],
        outputs: Sequence[TurnOutputs],
        commands: Sequence[int],
        labels: Sequence[int | None] | None = None,
    ) -> None:
        """Record the choices of the played commands, and append the commands to the streams.

        `labels` contains indices of commands to imitate.
        """
        for turn, output, command, label in zip(turns, outputs, commands, labels or [None] * len(turns), strict=True):
            stream = self._live[turn.episode].stream
            record_command(stream, output, command, label)
            self._writer.extend(stream, output.trie.commands[command])
        self.reader.commit([self._live[turn.episode] for turn in turns], outputs, commands)

    @torch.no_grad()
    def end(self, endings: Sequence[EpisodeEnd]) -> None:
        """Close episodes, and store the finished segments if `self.record` is True."""
        bootstraps = self._final_values(
            [end for end in endings if self.record and end.truncated and not end.terminated]
        )
        for ending in endings:
            state = self._live.pop(ending.episode)
            if self.record:
                self._segments += state.stream.finish(
                    ending.reward,
                    bootstrap=bootstraps.get(ending.episode),
                    whole_vocabulary=self.mode == "free",
                )
            self.reader.release(state)

    def forget(self) -> None:
        """Abandon the live episodes and free the cache. Finished segments are kept."""
        self._live.clear()
        self.reader.forget()

    def take_segments(self) -> list[Segment]:
        """Return and remove the finished segments, sorted by episode number."""
        segments, self._segments = sorted(self._segments, key=lambda s: s.episode), []
        return segments

    @cached_property
    def text_ends(self) -> tuple[frozenset[int], frozenset[int]]:
        return text_ends(self.tokenizer)

    def _observe(self, turn: Turn, reserve: int) -> EpisodeState:
        if turn.episode not in self._live:
            target_return = (self.prompt.returns and self.prompt.returns.target) or 0.0
            stream = TokenStream(episode=turn.episode, gamma=self.gamma, prompt=turn.prompt, return_to_go=target_return)
            self._live[turn.episode] = EpisodeState(stream, np.random.default_rng([self.seed, turn.episode]))
            self.reader.begin(len(self._live))
        state = self._live[turn.episode]
        state.stream.begin_turn(turn.reward)
        if self._writer.append(state.stream, turn.observation, first=turn.first, reserve=reserve):
            self.reader.release(state)
        return state

    def _final_values(self, endings: Sequence[EpisodeEnd]) -> dict[int, float]:
        """Return a dict: episode number -> v of the final state."""
        if not endings:
            return {}
        states = [self._live[ending.episode] for ending in endings]
        for state, ending in zip(states, endings, strict=True):
            state.stream.return_to_go -= ending.reward
            if self._writer.append(state.stream, ending.observation, first=False, reserve=0):
                self.reader.release(state)
        return dict(zip([ending.episode for ending in endings], self.reader.last_values(states), strict=True))

    @torch.no_grad()
    def _generate(self, turns: Sequence[Turn]) -> list[Decision]:
        limits = [
            Limits(
                max_tokens=turn.info.get("max_tokens", self.max_command_tokens),
                end_tokens=self.text_ends[0 if turn.info.get("newlines") else 1],
            )
            for turn in turns
        ]
        states = [self._observe(turn, limit.max_tokens + 1) for turn, limit in zip(turns, limits, strict=True)]
        first_choices = [len(state.stream.choices) for state in states]
        generate(
            self.reader,
            states,
            limits,
            greedy=self.greedy,
            temperature=self.temperature,
            top_p=self.top_p,
            guide_beta=self.guide_beta,
        )
        return [
            self._decision(turn, state.stream, first, limit.end_tokens)
            for turn, state, first, limit in zip(turns, states, first_choices, limits, strict=True)
        ]

    def _decision(self, turn: Turn, stream: TokenStream, first_choice: int, end_tokens: frozenset[int]) -> Decision:
        choices = stream.choices[first_choice:]
        chosen = [choice.alternatives[0] for choice in choices]
        self._writer.tokens += len(chosen)
        if chosen[-1] not in end_tokens:
            stream.tokens += self._writer.terminator_tokens(turn)
        text = self.stream_tokenizer.decode(
            [token for token in chosen if token not in end_tokens], skip_special_tokens=True
        )
        texts = [self.stream_tokenizer.decode([token]) for token in chosen]
        has_q = len(self.model.heads.q) > 0
        tokens = [
            GeneratedToken(text, choice.logprob, choice.value, choice.q_value if has_q else None)
            for text, choice in zip(texts, choices, strict=True)
        ]
        return Decision(
            command=text.strip() if turn.prompt else text,  # without a prompt, the text continues the observation
            value=choices[0].value,
            entropy=sum(choice.entropy for choice in choices),
            tokens=tuple(tokens),
        )
