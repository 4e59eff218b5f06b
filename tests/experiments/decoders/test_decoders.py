"""Rollout, update and the logits of `transformers` agree for every architecture, or it is refused in one line."""

from pathlib import Path
from typing import Any

import pytest

from experiments.decoders.__main__ import CASES, report, row
from experiments.decoders.architectures import ARCHITECTURES, WINDOW
from experiments.decoders.measure import Agreement

REFUSED = {"bloom", "falcon_h1", "jamba", "lfm2", "mamba", "mpt", "qwen3_next", "recurrent_gemma", "rwkv"}
SAMPLE = ("gemma3", "opt", "mistral", "bloom", "mamba")
"""Windows and chunks, nested sizes, scales, soft caps, a projection, routers; ALiBi and recurrent layers."""


def check(name: str) -> None:
    results = row(name)
    if name in REFUSED:
        assert len(set(results.values())) == 1, results
        assert all(isinstance(error, str) and "\n" not in error for error in results.values())
        return
    for case, (_, dtype) in CASES.items():
        agreement = Agreement(**results[case])
        assert agreement.within(dtype), (case, agreement)
        assert agreement.tokens > 8 * WINDOW or name == "gpt_neo"  # its context is its window


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_table(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - set(SAMPLE)))
def test_the_whole_table(name: str) -> None:
    check(name)


def test_the_table_is_long_and_few_decoders_are_refused() -> None:
    assert len(ARCHITECTURES) >= 45
    assert ARCHITECTURES.keys() >= REFUSED and len(REFUSED) <= 10


def test_the_document_lists_agreements_and_refusals() -> None:
    good: dict[str, Any] = {"update": 1e-6, "logits": 2e-7, "tokens": 165}
    rows: dict[str, dict[str, Any]] = {
        "sound": dict.fromkeys(CASES, good),
        "wrong": dict.fromkeys(CASES, good | {"update": 0.5}),
        "refused": dict.fromkeys(CASES, "no cache"),
    }
    text = report(rows, "5.0")
    assert "| sound | 1e-06 / 2e-07 | 1e-06 / 2e-07 |" in text
    assert "| wrong | 5e-01 / 2e-07 ! |" in text
    assert "| refused | no cache |" in text


def test_the_document_in_the_repository_lists_all_architectures() -> None:
    text = (Path(__file__).parents[3] / "docs" / "decoders.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in ARCHITECTURES) and " ! |" not in text
