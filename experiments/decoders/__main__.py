"""Test which decoders work: `python -m experiments.decoders --out docs/decoders.md`."""

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import TypedDict

from agents.protocol import AgentError
from experiments import program
from experiments.decoders.architectures import ARCHITECTURES, POSITIONS, WINDOW
from experiments.decoders.measure import LIMITS, RANK, Agreement, measure, save
from experiments.tables import table
from games.files import atomic_write, exclusive, scratch_folder
from games.untrusted_files import is_present, read_json

CASES = {f"{method}, {dtype}": (method == "LoRA", dtype) for method in ("full", "LoRA") for dtype in LIMITS}


class StoredRows(TypedDict, total=False):
    """The content of the JSON file with the stored results."""

    transformers: str  # version
    rows: dict[str, dict[str, Any]]  # the results of `row` by architecture


def row(architecture: str) -> dict[str, Any]:
    """Test an architecture. Return case -> result for all `CASES`."""
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(architecture, path := Path(folder) / architecture)
        results = {case: measure(path, lora=lora, dtype=dtype) for case, (lora, dtype) in CASES.items()}
    return {case: result if isinstance(result, str) else asdict(result) for case, result in results.items()}


def report(rows: Mapping[str, Mapping[str, Any]], version: str) -> str:
    refused = {
        name: set(row.values()) for name, row in rows.items() if all(isinstance(result, str) for result in row.values())
    }
    lines = [
        [
            name,
            *(_cell(row[case], dtype) for case, (_, dtype) in CASES.items()),
            max(result["tokens"] for result in row.values() if not isinstance(result, str)),
        ]
        for name, row in rows.items()
        if name not in refused
    ]
    return f"""# Decoders

`python -m experiments.decoders --out docs/decoders.md  # 10 s if nothing is missing` wrote this document. It lists
{len(rows)} architectures of the `transformers` library ({version}). Each decoder is tiny and has random weights so
large that every token and every layer affects the logits. Attention windows and chunks have {WINDOW} tokens, and a
stream may have {POSITIONS}. LoRA adapters have rank {RANK} and random weights.

A cell holds two differences of log-probabilities of sampled tokens, in nats: (1) between rollout (tree attention and
key/value cache) and update (one pass in training mode), (2) between update and the logits of the `transformers` library
alone. They are maxima over all choices in float32 and means in bfloat16, in which a router of experts may choose
differently after rounding. A cell ends with ! if a difference exceeds {LIMITS["float32"]:g} or {LIMITS["bfloat16"]:g}.

{table(["architecture", *CASES, "tokens"], lines)}

These decoders are refused:

{table(["architecture", "error"], [[name, "; ".join(sorted(errors))] for name, errors in refused.items()])}
"""


def _cell(result: Any, dtype: str) -> str:
    if isinstance(result, str):
        return result
    agreement = Agreement(**result)
    return f"{agreement.update:.0e} / {agreement.logits:.0e}{'' if agreement.within(dtype) else ' !'}"


def main(out: Annotated[Path, typer.Option(help="Markdown document; its data are in a .json file beside it")]) -> None:
    """Complete the missing rows, and write the document."""
    import transformers

    store = out.with_suffix(".json")
    with exclusive(store.parent, store.name, out.name):
        stored = read_json(store, StoredRows, error=AgentError) if is_present(store) else {}
        rows = stored.get("rows", {}) if stored.get("transformers") == transformers.__version__ else {}
        for name in ARCHITECTURES:
            if name not in rows:
                typer.echo(name)
                rows[name] = row(name)
                document = {"transformers": transformers.__version__, "rows": rows}
                atomic_write(store, json.dumps(document, indent=1) + "\n")
        atomic_write(out, report({name: rows[name] for name in ARCHITECTURES}, transformers.__version__))


if __name__ == "__main__":
    program.run(main)
