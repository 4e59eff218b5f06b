"""Prompts that state a return, for the optimizer `decision`.

The optimizer is trained on prompts that state the return that the episode obtained. While the model plays, this return
is not known yet, so the prompts state the wanted return. Before the update, the token streams of the played episodes
are therefore written again, with the obtained returns.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import games
from actde import Optimizer
from agents.config import TrainConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.recorded_streams import StreamRecorder
from agents.language_model.token_stream import Segment
from agents.play.episode import Episode
from agents.text.prompt import PromptFormat, prompt_format
from agents.text.return_text import ReturnText
from agents.training.choice_numbers import evaluated_streams
from agents.training.data_file import Converter, Prompts


def prompt_of(config: TrainConfig, tokenizer: Any, optimizer: Optimizer) -> PromptFormat:
    """Return the prompt format of a run. It states returns if the optimizer learns from them."""
    returns = None
    if optimizer.labels == "return":
        returns = ReturnText(place=config.rollout.return_text, wanted=config.rollout.wanted_return)
    return prompt_format(config.rollout.prompt, tokenizer, returns)


def with_return_words(
    optimizer: Optimizer, vocabulary: Sequence[str] | None, further: Sequence[str]
) -> tuple[Sequence[str] | None, Sequence[str]]:
    """Add the words that express returns in prompts to the words of a new tokenizer, if the optimizer needs them.

    `vocabulary` and `further` are arguments of `assemble`. Return both as a tuple. The words are added to `further` if
    `vocabulary` is None, and otherwise to `vocabulary`.
    """
    words = [text for place in ("turn", "prefix") for text in ReturnText(place=place).words]
    if optimizer.labels != "return":
        return vocabulary, further
    return (vocabulary, [*further, *words]) if vocabulary is None else ((*vocabulary, *words), further)


def prompts_of(specs: Iterable[games.GameSpec]) -> Prompts:
    """Return a dict from the name of each game to the texts before and after a command.

    The key "" holds the texts of the first game, which apply to games that are not in `specs`.
    """
    kinds: dict[tuple[str, str], games.GameSpec] = {}
    prompts = {spec.name: _texts(kinds.setdefault((spec.kind, spec.target), spec)) for spec in specs}
    return prompts | {"": next(iter(prompts.values()))}


@cache
def _texts(spec: games.GameSpec) -> tuple[str, str]:
    env = spec.make()
    texts = env.metadata.get("prompt", "\n> "), env.metadata.get("terminator", "\n")
    env.close()
    return texts


def with_obtained_returns(
    config: TrainConfig, agent: LanguageModelAgent, specs: Sequence[Any], episodes: Sequence[Episode]
) -> list[Segment]:
    """Write the token streams of the agent's episodes again, with prompts that state the obtained returns.

    Return their segments. All choices are labelled, and hold the outputs of the current model for the new prompts.

    Args:
        specs: the games that were played.
        episodes: the episodes, ordered by number.
    """
    recorder = StreamRecorder(
        agent.tokenizer, agent.prompt, mode=agent.mode, context=agent.context, gamma=config.optimizer.gamma
    )
    converter = Converter(recorder, prompts_of(specs), labels="return")
    truncated = [episode.truncated and not episode.terminated for episode in episodes]
    streams = [converter.segments(episode) for episode in episodes]
    return evaluated_streams(agent.model, config.update, streams, truncated)[0]
