"""The scenarios of `benchmarks.faults.files`: commands that read files, and the files that are damaged."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults import processes
from terminal import error_lines

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--game", "bandit", "--trunk", "pico", "--episodes", "4", "--save-every", "1")
NEWEST = "run/checkpoints/000003"
CHECKPOINT = tuple(f"{NEWEST}/{name}" for name in ("agent.json", "model.safetensors", "tokenizer.json"))
STATE = (f"{NEWEST}/state.json", f"{NEWEST}/training.safetensors")
TRUNK = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors")
# patterns of the descriptions of faults
VALUES = r"^[^:]*: \..* (=|with|without) "  # in single values and keys
BYTES = "truncated|inserted bytes|flipped bit|deleted bytes"  # cannot be detected in a text without a checksum
WEIGHTS = r"model\.safetensors: flipped bit"  # cannot be detected in a model without a checksum
# after which a file of independent entries, one a line, may still be valid
ENTRIES = "truncated|inserted bytes|flipped bit|deleted|repeated|reversed|cut|blank|, \\."
EPISODES = 20  # of each task in docs/card.json
COMPARED = ("--optimizers", "ppo", "--seeds", "0", "--iterations", "2", "--evaluations", "4")
WORDS = ("We had a wedding party", "go north", "yes no")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command or function, and the files that it reads.

    Attributes:
        action: the words of a command line, in which {} is the scenario's folder, or a function of this folder.
        files: paths below the folder.
        folders: keys of `FOLDERS`.
        optional: whether the files may be missing.
        shown: matches the descriptions of faults after which the command may succeed with another output.
    """

    action: tuple[str, ...] | Callable[[Path], object]
    files: tuple[str, ...]
    folders: tuple[str, ...]
    optional: bool = False
    shown: str = "$^"


def prepare(base: Path, names: Sequence[str]) -> None:
    """Write the intact folders that the scenarios `names` need into `base`."""
    for part in sorted({part for name in names for part in SCENARIOS[name].folders}):
        FOLDERS[part](base / part)


def _run(folder: Path) -> None:
    processes.succeed(("train", *TINY, "--iterations", "3", "--out", folder.name, "--json"), folder.parent)
    # without agent.json, the newest checkpoint is incomplete, and an older one would replace it
    shutil.rmtree(folder / "checkpoints" / "000002")


def _compare(folder: Path) -> None:
    processes.succeed(("compare", *TINY, *COMPARED, "--out", folder.name), folder.parent)


def _texts(folder: Path) -> None:
    texts = ("a good day", "a bad day", "go north", "yes", "no")
    pairs = [{"prompt": "We had a", "chosen": f" {a}", "rejected": f" {b}"} for a in texts for b in texts if a != b]
    folder.mkdir()
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    prompts = "".join(json.dumps({"prompt": f"We had a {text}"}) + "\n" for text in texts)
    (folder / "prompts.jsonl").write_text(prompts)
    shutil.copy(ROOT / "docs" / "example.toml", folder / "example.toml")


def _copies(*files: str) -> Callable[[Path], None]:
    """Return a function that copies files of docs/ into a new folder."""

    def copy(folder: Path) -> None:
        folder.mkdir()
        for file in files:
            shutil.copy(ROOT / "docs" / file, folder)

    return copy


def _save_trunk(folder: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from agents.text.word_tokenizer import word_tokenizer

    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS)
    sizes = {"vocab_size": len(tokenizer), "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _curves(folder: Path) -> None:
    from experiments.compare.curves import draw

    draw([folder / "run"], ["reward"], folder / "curves.svg")


def _report(folder: Path) -> object:
    from experiments.reproduce import report

    return report.markdown(*report.read(folder / "post"))


def _trials(folder: Path) -> object:
    from experiments.reproduce.ipd_trials import record

    found = record.read(folder / "post" / "trials.safetensors", seed=0)
    return {"seconds": found.seconds, "sums": {name: float(rows.sum()) for name, rows in found.rows.items()}}


def _card(folder: Path) -> object:
    from experiments.card import document, rows

    path = folder / "card" / "card.json"
    return document.markdown(rows._read(path, EPISODES))


def _prompts(folder: Path) -> object:
    from games.completion.prompts import load_prompts

    return load_prompts(str(folder / "texts" / "prompts.jsonl"))


SCENARIOS = {
    "play": Scenario(("play", "--agent", "{}/run", "--game", "bandit", "--json"), CHECKPOINT, ("run",)),
    "resume": Scenario(
        ("train", "--resume", "--out", "{}/run", "--iterations", "4", "--json"),
        (*CHECKPOINT, *STATE, *STATE, "run/settings.json", "run/metrics.jsonl", "run/transcripts.jsonl"),
        ("run",),
    ),
    "init": Scenario(
        ("train", *TINY, "--init", "{}/run", "--iterations", "1", "--out", "{}/new", "--json"), CHECKPOINT, ("run",)
    ),
    "watch": Scenario(("watch", "{}/run", "--iteration", "2", "--json"), ("run/transcripts.jsonl",), ("run",)),
    "curves": Scenario(_curves, ("run/settings.json", "run/metrics.jsonl"), ("run",)),
    "compare": Scenario(
        ("compare", *TINY, *COMPARED, "--out", "{}/compare"),
        ("compare/runs/ppo-seed0/measures.json", "compare/runs/ppo-seed0/metrics.jsonl"),
        ("compare",),
    ),
    "trunk": Scenario(
        ("train", "--game", "bandit", "--trunk", "{}/trunk", "--episodes", "4", "--iterations", "1", "--out", "{}/new",
         "--json"),
        tuple(f"trunk/{name}" for name in TRUNK),
        ("trunk",),
        shown=WEIGHTS,
    ),
    "pairs": Scenario(
        ("train-reward", "--pairs", "{}/texts/pairs.jsonl", "--trunk", "{}/trunk", "--lora", "0", "--epochs", "1",
         "--held-out", "0", "--out", "{}/rm", "--json"),
        ("texts/pairs.jsonl",),
        ("texts", "trunk"),
        shown=ENTRIES,
    ),
    "prompts": Scenario(_prompts, ("texts/prompts.jsonl",), ("texts",), shown=ENTRIES),
    "config": Scenario(
        ("train", "--config", "{}/texts/example.toml", "--dry-run", "--json"),
        ("texts/example.toml",),
        ("texts",),
        shown=BYTES,
    ),
    "report": Scenario(_report, ("post/results.json", "post/about.json"), ("post",), shown=f"{VALUES}|{BYTES}"),
    "trials": Scenario(_trials, ("post/trials.safetensors",), ("post",), optional=True),
    "card": Scenario(_card, ("card/card.json",), ("card",), optional=True, shown=f"{VALUES}|{BYTES}"),
}  # fmt: skip


FOLDERS: dict[str, Callable[[Path], None]] = {
    "run": _run, "compare": _compare, "texts": _texts, "card": _copies("card.json"),
    "trunk": lambda folder: processes.succeed(lambda: _save_trunk(folder), folder.parent),
    "post": _copies("post/results.json", "post/about.json", "post/trials.safetensors"),
}  # fmt: skip


def action(scenario: Scenario, folder: Path) -> Sequence[str] | Callable[[], object]:
    """Return the command line of a scenario in a folder, or the function that reads this folder's files."""
    if isinstance(words := scenario.action, tuple):
        return [word.replace("{}", str(folder)) for word in words]
    read = words
    return lambda: error_lines.run(lambda **_: print(json.dumps(read(folder))))


def seal(path: Path) -> None:
    """Recompute the checksums in `agent.json`, if the folder of the damaged file contains an `agent.json`."""
    from agents.storage.checkpoint_files import AGENT
    from games.files import json_hash, sha256

    about = path.parent / AGENT
    if not about.is_file() or about.is_symlink() or about.stat().st_size > 1 << 30:
        return
    try:
        content = json.loads(about.read_bytes())
        if path != about and path.is_file() and path.stat().st_size < 1 << 30 and not path.is_symlink():
            content["files"][path.name] = sha256(path)
        content.pop("digest", None)
        text = json.dumps(content | {"digest": json_hash(content)})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    if content.get("files") is not None:
        about.write_text(text)
