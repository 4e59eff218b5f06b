"""Measure the post's claims about language models from our stored results."""

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
    """Return our measurements by claim. Claims with incomplete runs are left out."""
    found = _exact(read_object(results / "exact.json", error=AgentError))
    runs = read_object(footnote_8, error=AgentError)["runs"]
    won = [run["curves"]["recent_success"][-1] for run in runs if run["optimizer"] == FAULTY]
    fails = True if max(won) < 0.1 else False if min(won) > 0.8 else None
    found["one-of-eight"] = Measurement(min(won), min(won), max(won), holds=fails)
    path = results / "confirmation.json"
    if path.is_file():
        confirmation = read_object(path, error=AgentError)
        about = confirmation["about"]
        if len(confirmation["runs"]) == len(about["cells"]) * len(about["seeds"]):
            found |= _free_text(contrast_rows(confirmation["runs"]))
    return found


def _exact(document: Mapping[str, Any]) -> dict[str, Measurement]:
    """Measure the claims on bandits with one-word arms (docs/rlhf/exact.md)."""
    cells = {(cell["task"], cell["method"]): cell for cell in document["cells"]}
    late = [c for c in document["contrasts"] if (c["task"], c["measure"]) == ("weddings", "late gain")]
    (shown,) = (contrast for contrast in late if contrast["first"] == "actde")
    signs = {_sign(contrast) for contrast in late}
    barn = [cells["barn", method]["many"] for method in ("actde", "actde-sgd")]
    alike = [cells["alike", method]["spread"] for method in ("ppo", "pg")]
    distances = [cell["distance"] for (_, method), cell in cells.items() if method == "actde-sgd"]
    far = max(distances, key=lambda distance: distance["value"])
    near = all(distance["high"] < CLOSE for distance in distances)
    return {
        "reward-events": _measurement(
            shown["difference"], {-1: True, 1: False}.get(signs.pop() if len(signs) == 1 else 0)
        ),
        "diverse-events": _measurement(barn[0], _above_0(barn)),
        "reward-logits": _measurement(far, False if far["low"] > CLOSE else near or None),
        "easy-reward": _measurement(alike[0], _above_0(alike)),
    }


def _free_text(rows: Iterable[Mapping[str, Any]]) -> dict[str, Measurement]:
    """Measure the claims on free text (docs/rlhf/confirmation.md)."""
    at_reward = {row["measure"]: row for row in rows if row["axis"] == "reward" and row["second"] == "ppo"}
    claimed = {"kl-penalty": ("kl", -1), "variety": ("entropy", 1), "misspecification": ("true_reward", 1)}
    return {
        name: _measurement(at_reward[measure]["difference"], {sign: True, -sign: False}.get(_sign(at_reward[measure])))
        for name, (measure, sign) in claimed.items()
    }


def _sign(row: Mapping[str, Any]) -> int:
    return 0 if row["p_holm"] >= SIGNIFICANT else 1 if row["difference"]["value"] > 0 else -1


def _above_0(estimates: Iterable[Mapping[str, float]]) -> bool | None:
    """Return True if all intervals lie above 0, False if all lie below."""
    sides = {1 if estimate["low"] > 0 else -1 if estimate["high"] < 0 else 0 for estimate in estimates}
    return {frozenset({1}): True, frozenset({-1}): False}.get(frozenset(sides))


def _measurement(estimate: Mapping[str, float], holds: bool | None) -> Measurement:
    return Measurement(estimate["value"], estimate["low"], estimate["high"], holds=holds)
