"""Collects the words of games for the tokenizer of a new trunk."""

from collections.abc import Sequence
from pathlib import Path

import games
from agents.config import SCRATCH, TrainConfig
from agents.play.baselines import RandomAgent
from agents.play.runner import EpisodeRunner
from agents.storage.checkpoint_files import INITIAL, TOKENIZER, newest, read_json
from agents.text.word_tokenizer import known_words, split_words
from agents.training.data_sources import recorded_episodes
from games.base import TextGame

WORD_EPISODES, WORD_TURNS = 8, 25  # number and turn limit of random episodes
COMMANDS_ADVICE = "drop --mode trie, or train with --mode free"


def vocabulary_of(specs: Sequence[games.GameSpec]) -> tuple[str, ...] | None:
    """Return all words of the games, or None if a game has no vocabulary."""
    words: dict[str, None] = {}
    for spec in specs:
        env = spec.make()
        vocabulary = env.unwrapped.vocabulary if isinstance(env.unwrapped, TextGame) else None
        env.close()
        if vocabulary is None:
            return None
        words.update(dict.fromkeys(vocabulary))
    return tuple(words)


def texts_with_new_words(specs: Sequence[games.GameSpec], config: TrainConfig, resumed_run: Path | None) -> list[str]:
    """Return texts whose words a new tokenizer must contain. `resumed_run` is the folder of a resumed run."""
    texts = dict[str, None]()
    open_specs = [spec for spec in specs if spec.has_new_words]
    if not open_specs or config.model.trunk not in SCRATCH:
        return []
    if resumed_run is not None:  # new random episodes could have other words
        initial = resumed_run / INITIAL
        return known_words(read_json((initial if initial.exists() else newest(resumed_run)) / TOKENIZER))
    if config.rollout.mode == "trie":
        with EpisodeRunner(open_specs, seed=0, parallel=1, max_turns=WORD_TURNS, advice=COMMANDS_ADVICE) as runner:
            for episode in runner.play(RandomAgent(seed=0), WORD_EPISODES):
                texts |= dict.fromkeys([episode.final_observation])
                for step in episode.steps:
                    texts |= dict.fromkeys([step.observation, *step.admissible_commands])
    for _source, episode in recorded_episodes(config, specs):
        episode_texts = [episode.final_observation]
        for step in episode.steps:
            episode_texts += [step.observation, step.decision.command, *step.admissible_commands]
        texts |= dict.fromkeys(word for text in episode_texts for word in split_words(text))
    return [text for text in texts if split_words(text)]
