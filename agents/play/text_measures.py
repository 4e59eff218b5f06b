"""Measures of the diversity of texts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from agents.protocol import AgentError

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")  # a word or a punctuation mark


def text_measures(texts: Sequence[str]) -> dict[str, float]:
    """Return measures of the diversity of texts. All except `words` range from 0 to 1.

    * distinct_1: number of different words, divided by the number of words (Li et al., 2016)
    * distinct_2: the same for pairs of adjacent words
    * self_bleu: result of `self_bleu` (Zhu et al., 2018)
    * repeated: fraction of the texts that equal an earlier text
    * commonest_word: frequency of the most common word
    * commonest_opening: fraction of the texts that begin with the most common two words
    * words: mean number of words of a text
    """
    split = [WORD.findall(text.casefold()) for text in texts]
    words = [word for text in split for word in text]
    return {
        "distinct_1": _distinct(words),
        "distinct_2": _distinct([pair for text in split for pair in pairwise(text)]),
        "self_bleu": self_bleu(texts),
        "repeated": 1.0 - _distinct([text.strip() for text in texts]),
        "commonest_word": _commonest(words),
        "commonest_opening": _commonest(tuple(text[:2]) for text in split),
        "words": len(words) / len(texts),
    }


def self_bleu(texts: Sequence[str]) -> float:
    """Return the mean BLEU-4 of the texts, from 0 to 1. The other texts are the references."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise AgentError("self-BLEU needs the package sacrebleu: pip install -e '.[rlhf]'") from error
    if len(texts) < 2:
        return 0.0
    bleu = BLEU(lowercase=True, effective_order=True)
    scores = [bleu.sentence_score(text, [*texts[:at], *texts[at + 1 :]]).score for at, text in enumerate(texts)]
    return float(sum(scores) / len(scores) / 100)


def _distinct(items: Sequence[object]) -> float:
    return len(set(items)) / len(items) if items else 0.0


def _commonest(items: Iterable[object]) -> float:
    counts = Counter(items)
    return max(counts.values()) / counts.total() if counts else 0.0
