"""Scenarios: commands that read files, the files that are damaged, and the outcome of a command."""

import contextlib
import importlib
import io
import json
import re
import shutil
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TINY = ("--game", "bandit", "--trunk", "pico", "--episodes", "4", "--save-every", "1")
NEWEST = "run/checkpoints/000003"
CHECKPOINT = tuple(f"{NEWEST}/{name}" for name in ("agent.json", "model.safetensors", "tokenizer.json"))
STATE = (f"{NEWEST}/state.json", f"{NEWEST}/training.safetensors")
TRUNK = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors")
TIMES = re.compile(r"seconds|_per_second|minutes|peak_memory")
VALUES = r"^[^:]*: \..* (=|with|without) "
"""Matches faults in single values and keys."""
BYTES = "truncated|inserted bytes|flipped bit|deleted bytes"
"""Matches changed bytes, which a text without a checksum cannot reveal."""
ENTRIES = "truncated|inserted bytes|flipped bit|deleted|repeated|reversed|cut|blank|, \\."
"""Matches faults in lists of independent entries, of which any part may be legal."""
WORDS = ("We had a wedding party", "go north", "yes no")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command, or a function that reads files, and the files that it reads.

    Attributes:
        action: the words of a command line, in which {} is the scenario's folder, or a function of this folder.
        files: paths below the folder.
        folders: subfolders of the intact folder that the scenario needs.
        optional: whether the files may be missing.
        shown: matches faults that change content which the command only shows, such as a number in a table. Any other
            value of the right type is then as legal as the intact one.
    """

    action: tuple[str, ...] | Callable[[Path], object]
    files: tuple[str, ...]
    folders: tuple[str, ...]
    optional: bool = False
    shown: str = "$^"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did: its status and its output, without times, or the traceback of a bug."""

    status: int
    output: Any
    error: str
    bug: str = ""

    @property
    def refused(self) -> bool:
        """Whether the command printed one line that begins with `error:` and ended with status 1 or 2."""
        last = self.error.strip().splitlines()[-1:] or [""]
        clean = "Traceback" not in self.error and len(last[0]) < 2000
        return not self.bug and self.status in (1, 2) and last[0].startswith("error: ") and clean


def prepare(base: Path, names: Sequence[str]) -> None:
    """Write the intact folders of these scenarios."""
    for part in sorted({part for name in names for part in SCENARIOS[name].folders}):
        FOLDERS[part](base / part)


def _run(folder: Path) -> None:
    _cli("train", *TINY, "--iterations", "3", "--out", str(folder), "--json")
    # without agent.json, the newest checkpoint is incomplete, and an older one would replace it
    shutil.rmtree(folder / "checkpoints" / "000002")


def _compare(folder: Path) -> None:
    compared = ("--optimizers", "ppo", "--seeds", "0", "--iterations", "2", "--evaluations", "4")
    _cli("compare", *TINY, *compared, "--out", str(folder))


def _texts(folder: Path) -> None:
    texts = ("a good day", "a bad day", "go north", "yes", "no")
    pairs = [{"prompt": "We had a", "chosen": f" {a}", "rejected": f" {b}"} for a in texts for b in texts if a != b]
    folder.mkdir()
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    prompts = "".join(json.dumps({"prompt": f"We had a {text}"}) + "\n" for text in texts)
    (folder / "prompts.jsonl").write_text(prompts)
    shutil.copy(ROOT / "docs" / "example.toml", folder / "example.toml")


def _post(folder: Path) -> None:
    folder.mkdir()
    for name in ("results.json", "about.json", "trials.safetensors"):
        shutil.copy(ROOT / "docs" / "post" / name, folder / name)


def _card_folder(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(ROOT / "docs" / "card.json", folder / "card.json")


def _trunk(folder: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from agents.text.word_tokenizer import word_tokenizer

    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS)
    sizes = {"vocab_size": len(tokenizer), "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _curves(folder: Path) -> object:
    from experiments.compare.curves import draw

    draw([folder / "run"], ["reward"], folder / "curves.svg")
    return None


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
    return document.markdown(rows._read(path, 100))


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
        ("compare", *TINY, "--optimizers", "ppo", "--seeds", "0", "--iterations", "2", "--evaluations", "4",
         "--out", "{}/compare"),
        ("compare/runs/ppo-seed0/measures.json", "compare/runs/ppo-seed0/metrics.jsonl"),
        ("compare",),
    ),
    "trunk": Scenario(
        ("train", "--game", "bandit", "--trunk", "{}/trunk", "--episodes", "4", "--iterations", "1", "--out", "{}/new",
         "--json"),
        tuple(f"trunk/{name}" for name in TRUNK),
        ("trunk",),
    ),
    "pairs": Scenario(
        ("train-reward", "--pairs", "{}/texts/pairs.jsonl", "--trunk", "{}/trunk", "--lora", "0", "--epochs", "1",
         "--out", "{}/rm", "--json"),
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
"""Name -> scenario."""


FOLDERS: dict[str, Callable[[Path], None]] = {
    "run": _run, "compare": _compare, "trunk": _trunk, "texts": _texts, "post": _post, "card": _card_folder,
}  # fmt: skip
"""Name of a folder -> function that writes it."""


def run(scenario: Scenario, folder: Path) -> Outcome:
    """Run the scenario's action in this process."""
    action = scenario.action
    if isinstance(action, tuple):
        return _captured(lambda: _main([word.replace("{}", str(folder)) for word in action]))
    failures = importlib.import_module("terminal.error_lines")
    return _captured(lambda: failures.run(lambda **_: _print(action(folder))))


def _cli(*words: str) -> None:
    outcome = _captured(lambda: _main(list(words)))
    assert outcome.status == 0 and not outcome.bug, outcome


def _main(words: list[str]) -> None:
    import cli

    sys.argv = ["cli.py", *words]
    importlib.reload(cli).main()


def _print(value: object) -> None:
    print(json.dumps(value))


def _captured(work: Callable[[], object]) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    status, bug = 0, ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _no_network():
        try:
            work()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 2
            err.write("" if isinstance(end.code, int | None) else str(end.code))
        except BaseException:
            bug = traceback.format_exc()
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                raise
    return Outcome(status, without_times(out.getvalue()), err.getvalue(), bug)


def without_times(text: str) -> Any:
    try:
        return _strip(json.loads(text))
    except ValueError:
        return text


def _strip(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strip(item) for key, item in value.items() if not TIMES.search(key)}
    return [_strip(item) for item in value] if isinstance(value, list) else value


@contextlib.contextmanager
def _no_network() -> Iterator[None]:
    """Make every connection and every look-up of a host a bug."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a network connection was attempted: {arguments[1:]}")

    saved = socket.socket.connect, socket.getaddrinfo
    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = saved  # type: ignore[method-assign]


def seal(path: Path) -> None:
    """Compute the checksums in `agent.json` beside a damaged file again, if there is one."""
    from agents.storage.checkpoint import AGENT
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
