"""Measures of the diversity of texts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from agents.protocol import AgentError

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")  # a word or a punctuation mark


def text_measures(texts: Sequence[str]) -> dict[str, float]:
    """Return measures of the diversity of texts.

    * distinct_1: number of distinct words divided by the number of words (Li et al., 2016)
    * distinct_2: number of distinct word pairs divided by the number of word pairs
    * self_bleu: mean BLEU-4 of each text, with all other texts as references, 0 to 1 (Zhu et al., 2018)
    * repeated: fraction of the texts that equal an earlier text
    * commonest_word: fraction of the words that equal the most common word
    * commonest_opening: fraction of the texts that share the most common first two words
    * words: mean number of words per text
    """
    tokenized = [WORD.findall(text.casefold()) for text in texts]
    words = [word for text in tokenized for word in text]
    return {
        "distinct_1": _distinct_share(words),
        "distinct_2": _distinct_share([pair for text in tokenized for pair in pairwise(text)]),
        "self_bleu": self_bleu(texts),
        "repeated": 1.0 - _distinct_share([text.strip() for text in texts]),
        "commonest_word": _top_share(words),
        "commonest_opening": _top_share(tuple(text[:2]) for text in tokenized),
        "words": len(words) / len(texts),
    }


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU-4 of each text, with all other texts as references, from 0 to 1."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise AgentError("self-BLEU needs the package sacrebleu: pip install -e '.[rlhf]'") from error
    if len(texts) < 2:
        return 0.0
    bleu = BLEU(lowercase=True, effective_order=True)
    scores = [
        bleu.sentence_score(text, [*texts[:index], *texts[index + 1 :]]).score for index, text in enumerate(texts)
    ]
    return float(sum(scores) / len(scores) / 100)


def _distinct_share(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else 0.0


def _top_share(items: Iterable[object]) -> float:
    counts = Counter(items)
    return max(counts.values()) / counts.total() if counts else 0.0
