"""Measure the post's claims about language models, from stored results."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.protocol import AgentError
from experiments.reproduce.finding import Measurement
from experiments.rlhf.confirmation_contrasts import SIGNIFICANT, contrast_rows
from games.untrusted_files import read_object

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "rlhf"
FOOTNOTE_8 = DOCS / "footnote8" / "results.json"
FAULTY = "one-of-eight-ppo"  # PPO, if only one of eight samples has a gradient
CLOSE = 0.1  # total variation below which two policies are considered equal


def measurements(results: Path = RESULTS, footnote_8: Path = FOOTNOTE_8) -> dict[str, Measurement]:
    """Return claim -> measurement, without claims whose runs are incomplete."""
    by_claim = _exact(read_object(results / "exact.json", error=AgentError))
    runs = read_object(footnote_8, error=AgentError)["runs"]
    success_rates = [run["curves"]["recent_success"][-1] for run in runs if run["optimizer"] == FAULTY]
    fails = True if max(success_rates) < 0.1 else False if min(success_rates) > 0.8 else None
    by_claim["one-of-eight"] = Measurement(min(success_rates), min(success_rates), max(success_rates), holds=fails)
    path = results / "confirmation.json"
    if path.is_file():
        confirmation = read_object(path, error=AgentError)
        metadata = confirmation["about"]
        if len(confirmation["runs"]) == len(metadata["cells"]) * len(metadata["seeds"]):
            by_claim |= _free_text(contrast_rows(confirmation["runs"]))
    return by_claim


def _exact(document: Mapping[str, Any]) -> dict[str, Measurement]:
    """Measure the claims about single words (docs/rlhf/exact.md)."""
    cells = {(cell["task"], cell["method"]): cell for cell in document["cells"]}
    late_gains = [
        contrast
        for contrast in document["contrasts"]
        if (contrast["task"], contrast["measure"]) == ("weddings", "late gain")
    ]
    (actde_contrast,) = (contrast for contrast in late_gains if contrast["first"] == "actde")
    signs = {_sign(contrast) for contrast in late_gains}
    barn = [cells["barn", method]["many"] for method in ("actde", "actde-sgd")]
    alike = [cells["alike", method]["spread"] for method in ("ppo", "pg")]
    distances = [cell["distance"] for (_, method), cell in cells.items() if method == "actde-sgd"]
    farthest = max(distances, key=lambda distance: distance["value"])
    all_close = all(distance["high"] < CLOSE for distance in distances)
    return {
        "reward-events": _measurement(
            actde_contrast["difference"], {-1: True, 1: False}.get(signs.pop() if len(signs) == 1 else 0)
        ),
        "diverse-events": _measurement(barn[0], _above_0(barn)),
        "reward-logits": _measurement(farthest, False if farthest["low"] > CLOSE else all_close or None),
        "easy-reward": _measurement(alike[0], _above_0(alike)),
    }


def _free_text(rows: Iterable[Mapping[str, Any]]) -> dict[str, Measurement]:
    """Measure the claims about free text (docs/rlhf/confirmation.md)."""
    row_of = {row["measure"]: row for row in rows if row["axis"] == "reward" and row["second"] == "ppo"}
    expected = {"kl-penalty": ("kl", -1), "variety": ("entropy", 1), "misspecification": ("true_reward", 1)}
    return {
        name: _measurement(row_of[measure]["difference"], {sign: True, -sign: False}.get(_sign(row_of[measure])))
        for name, (measure, sign) in expected.items()
    }


def _sign(row: Mapping[str, Any]) -> int:
    return 0 if row["p_holm"] >= SIGNIFICANT else 1 if row["difference"]["value"] > 0 else -1


def _above_0(estimates: Iterable[Mapping[str, float]]) -> bool | None:
    """Return True if all intervals lie above 0, False if all lie below 0, else None."""
    sides = {1 if estimate["low"] > 0 else -1 if estimate["high"] < 0 else 0 for estimate in estimates}
    return {frozenset({1}): True, frozenset({-1}): False}.get(frozenset(sides))


def _measurement(estimate: Mapping[str, float], holds: bool | None) -> Measurement:
    return Measurement(estimate["value"], estimate["low"], estimate["high"], holds=holds)
