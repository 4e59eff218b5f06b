"""Rewards from sequence classifiers in local folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from agents.model.pretrained import load_folder

BATCH = 32
MAX_TOKENS = 512
"""Maximum number of tokens of a text. The start of a longer text is left out."""


class Classifier:
    """Scores completions with a sequence classifier.

    With one label, the score is the logit. With several labels, the score is the last label's probability.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.tokenizer.truncation_side = "left"
        positions = getattr(model.config, "max_position_embeddings", None) or MAX_TOKENS
        self.max_tokens = min(MAX_TOKENS, positions, tokenizer.model_max_length)
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        self.batch = BATCH if tokenizer.pad_token is not None else 1

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
        scores = list[float]()
        for start in range(0, len(texts), self.batch):
            tokens = self.tokenizer(
                texts[start : start + self.batch],
                padding=self.batch > 1,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
            logits = self.model(**tokens.to(self.model.device)).logits.float()  # [N, labels]
            scores += (logits[:, 0] if logits.shape[1] == 1 else logits.softmax(1)[:, -1]).tolist()
        return scores


def load_classifier(folder: Path) -> Classifier:
    """Load a classifier from a folder with safetensors weights."""
    from accelerate import PartialState
    from transformers import AutoModelForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        model, tokenizer = load_folder(str(folder), AutoModelForSequenceClassification)
    return Classifier(model.to(PartialState().device), tokenizer)
