"""Runs, models and games whose files name foreign code, foreign files or models of the Hugging Face hub."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults import scenarios
from benchmarks.isolation import planted

PACKAGE = "evil_package"
"""Name of an installed package that no command names. The package declares the game and the optimizer `evil`."""
HUB = "org/evil"
URL = "https://192.0.2.1/evil"
NEWEST = scenarios.NEWEST
PLAY = ("play", "--agent", "run", "--game", "bandit", "--json")
RESUME = ("train", "--resume", "--out", "run", "--iterations", "4", "--json")
TRAIN = (
    "train",
    "--game",
    "bandit",
    "--trunk",
    "trunk",
    "--episodes",
    "4",
    "--iterations",
    "1",
    "--out",
    "new",
    "--json",
)
REWARD = ("train", "--game", "completion?reward=hf:classifier&max_tokens=2", "--trunk", "trunk", "--episodes", "2",
          "--iterations", "1", "--out", "new", "--json")  # fmt: skip
CARD = ("evaluate", "--card", "--agent", "run", "--tasks", "coin", "--episodes", "1", "--out", "card.md")
ESCAPE = "{{ cycler.__init__.__globals__.os.system('touch RECORD') }}{{ ''.__class__.__mro__[1].__subclasses__() }}"
AUTO_MAP = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoModel"), "evil.Evil")
PIPELINES = {"evil": {"impl": "evil.Evil"}}
TOKENIZERS = ("LlamaTokenizer", "BertJapaneseTokenizer", "MistralCommonBackend", "RagTokenizer", "TransfoXLTokenizer")


@dataclass(frozen=True, slots=True)
class Case:
    """A change to intact files, and a command that reads them in their folder.

    Attributes:
        change: function of two paths: the folder, and the file to which executed foreign code writes. It is None if
            only the command is hostile.
    """

    words: tuple[str, ...]
    change: Callable[[Path, Path], object] | None = None


class Pickled:
    """An object that records its name when it is unpickled."""

    def __init__(self, record: Path) -> None:
        self.code = planted.code("pickle", record)

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.code,)


def install(folder: Path, record: Path) -> None:
    """Install the package `PACKAGE`, which no command names, into `folder`. Its code writes to `record` if executed."""
    info = folder / f"{PACKAGE}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{PACKAGE}.py").write_text(planted.code(PACKAGE, record))
    (folder / "gym.py").write_text(planted.code("gym", record))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    groups = ("actde.games", "actde.optimizers")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\nevil = {PACKAGE}:Evil\n" for group in groups))


def prepare(folder: Path) -> None:
    """Write the intact files: a run, a trunk, a classifier of the trunk's size, and one TextWorld game."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    folder.mkdir()
    scenarios.prepare(folder, ["play", "trunk"])
    shutil.copytree(folder / "trunk", folder / "classifier")
    config = GPT2Config.from_pretrained(folder / "trunk", num_labels=1)
    GPT2ForSequenceClassification(config).save_pretrained(folder / "classifier")
    scenarios.cli(folder, "generate", "games", "--family", "coin", "--per-level", "1", "--workers", "1", "--json")


def _set(file: str, *path: str, value: object, without: tuple[str, ...] = ()) -> Callable[[Path, Path], None]:
    """Return a function that sets the value at `path` in a JSON file, and recomputes the checksums.

    It also deletes the keys `without` of the document.
    """

    def change(folder: Path, record: Path) -> None:
        place = folder / file
        document = json.loads(place.read_text()) if place.exists() else {}
        for name in without:
            document.pop(name, None)
        inner = document
        for name in path[:-1]:
            if not isinstance(inner.get(name), dict):
                inner[name] = {}
            inner = inner[name]
        inner[path[-1]] = json.loads(json.dumps(value).replace("HERE", str(folder)).replace("RECORD", str(record)))
        place.write_text(json.dumps(document) + "\n")
        scenarios.seal(place)

    return change


def _all(*changes: Callable[[Path, Path], object]) -> Callable[[Path, Path], None]:
    def change(folder: Path, record: Path) -> None:
        for each in changes:
            each(folder, record)

    return change


def _code(*names: str) -> Callable[[Path, Path], None]:
    """Return a function that adds Python files to the trunk's folder."""

    def change(folder: Path, record: Path) -> None:
        for name in names:
            (folder / "trunk" / name).parent.mkdir(exist_ok=True)
            (folder / "trunk" / name).write_text(planted.code(name, record))

    return change


def _pickle(*names: str, without: tuple[str, ...] = ()) -> Callable[[Path, Path], None]:
    """Return a function that adds pickle files to a folder, and deletes the files `without`."""

    def change(folder: Path, record: Path) -> None:
        for name in without:
            (folder / name).unlink()
        for name in names:
            (folder / name).write_bytes(pickle.dumps(Pickled(record)))
            if name.endswith(".safetensors"):
                scenarios.seal(folder / name)

    return change


def _link(name: str, target: str) -> Callable[[Path, Path], None]:
    def change(folder: Path, record: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / target)

    return change


def _text(name: str, text: str) -> Callable[[Path, Path], object]:
    return lambda folder, record: (folder / name).write_text(
        text.replace("RECORD", str(record)).replace("HERE", str(folder))
    )


def cases() -> Iterator[tuple[str, Case]]:
    """Yield all cases as tuples (name, case)."""
    yield from _settings()
    yield from _agents()
    yield from _trunks()
    yield from _games()
    yield from _names_of_the_user()


def _settings() -> Iterator[tuple[str, Case]]:
    """Yield cases that resume a run whose settings name code or models."""
    games = ("HERE/evil.py:Evil", f"{PACKAGE}:Evil", f"{PACKAGE}:evil/Evil-v0", "evil", f"bandit + {PACKAGE}:Evil",
             f"completion?reward={PACKAGE}:score", "completion?reward=HERE/evil.py:score*1,length",
             f"completion?reward=hf:{HUB}", f"completion?reward=rm:{URL}",
             f"GymV26Environment-v0?env_id={PACKAGE}:Evil-v0", f"GymV21Environment-v0?env_id={PACKAGE}:Evil-v0",
             "CartPole-v1", "phys2d/CartPole-v1", f"completion?prompts={URL}", URL)  # fmt: skip
    values = [("run", "game", game) for game in games]
    values += [("run", "optimizer", "evil"), ("run", "optimizer", f"{PACKAGE}:Evil"), ("run", "imports", PACKAGE)]
    values += [("run", "imports", f"HERE/evil.py,{PACKAGE}:Evil"), ("run", "init", HUB), ("run", "init", URL)]
    values += [("model", "trunk", HUB), ("model", "trunk", URL), ("probe", "probe_prompts", URL)]
    for group, name, value in values:
        yield f"settings {name}={value}", Case(RESUME, _set("run/settings.json", group, name, value=value))
    for judge in (f"{PACKAGE}:score", "HERE/evil.py:score", f"hf:{HUB}"):
        probe = {"probe_prompts": "heldout", "judge": judge}
        game = _set("run/settings.json", "run", "game", value="completion?reward=length&max_tokens=2")
        yield f"settings judge={judge}", Case(RESUME, _all(game, _set("run/settings.json", "probe", value=probe)))


def _agents() -> Iterator[tuple[str, Case]]:
    """Yield cases that load a run whose `agent.json` names code or models, or whose files are pickles or links."""
    about = f"{NEWEST}/agent.json"
    config = {"attn_implementation": "org/kernel", "_attn_implementation": "org/kernel", "auto_map": AUTO_MAP,
              "_attn_implementation_internal": "org/kernel", "experts_implementation": "org/kernel",
              "quantization_config": {"quant_method": "gptq", "bits": 4}, "custom_pipelines": PIPELINES,
              "kernel_config": {"kernel_mapping": {"RMSNorm": "org/kernel"}}, "use_kernels": True, "_name_or_path": HUB,
              "trust_remote_code": True, "code_revision": "main", "architectures": [f"{PACKAGE}.Evil"],
              "model_type": PACKAGE, "activation_function": f"{PACKAGE}.evil",
              "tokenizer_class": "EvilTokenizer"}  # fmt: skip
    for key, value in config.items():
        yield f"agent config {key}", Case(PLAY, _set(about, "config", key, value=value))
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "EvilTokenizer",
                 "tokenizer_file": "/etc/passwd", "gguf_file": URL, "name_or_path": HUB,
                 "backend": PACKAGE}  # fmt: skip
    for key, value in tokenizer.items():
        yield f"agent tokenizer {key}", Case(PLAY, _set(about, "tokenizer", key, value=value))
    template = _all(_set(about, "tokenizer", "chat_template", value=ESCAPE), _set(about, "prompt", value="chat"))
    yield "agent chat template", Case(PLAY, template)
    trunk = _all(_set(about, "model", "trunk", value=HUB), _set(about, "model", "lora", value=4),
                 _set(about, "config", value=None))  # fmt: skip
    yield "agent adapts a hub model", Case(PLAY, trunk)
    for game in (f"{PACKAGE}:Evil", "evil", f"completion?reward={PACKAGE}:score"):
        made_by = _set(about, "made_by", "run", "game", value=game, without=("trained_on",))
        yield f"agent made_by {game}", Case(CARD, made_by)
    pickles = ("pytorch_model.bin", "adapter_model.bin", "optimizer.pt", "training_args.bin", "scheduler.pt")
    yield "agent with pickles", Case(PLAY, _pickle(*(f"{NEWEST}/{name}" for name in pickles)))
    yield "agent weights are a pickle", Case(PLAY, _pickle(f"{NEWEST}/model.safetensors"))
    yield "state is a pickle", Case(RESUME, _pickle(f"{NEWEST}/training.safetensors"))
    yield "weights are a link", Case(PLAY, _link(f"{NEWEST}/model.safetensors", "trunk/model.safetensors"))


def _trunks() -> Iterator[tuple[str, Case]]:
    """Yield cases that load a model folder with code, or with files that name foreign code."""
    files = ("evil.py", "__init__.py", "modeling_evil.py", "tokenization_evil.py", "custom_generate/generate.py")
    code = _code(*files)
    config = {"auto_map": AUTO_MAP, "attn_implementation": "org/kernel", "_attn_implementation": "org/kernel",
              "quantization_config": {"quant_method": "bitsandbytes"}, "custom_pipelines": PIPELINES,
              "kernel_config": {"kernel_mapping": {}}, "_name_or_path": HUB, "model_type": PACKAGE, "use_kernels": True,
              "architectures": ["EvilForCausalLM"], "trust_remote_code": True, "activation_function": PACKAGE,
              "tokenizer_class": "EvilTokenizer", "torch_dtype": PACKAGE,
              "compression_config": {"quant_method": "evil"}, "experts_implementation": "org/kernel",
              "base_model_name_or_path": HUB, "task_specific_params": {"evil": HUB}}  # fmt: skip
    for words, what in ((TRAIN, "trunk"), (REWARD, "classifier")):
        for key, value in config.items() if what == "trunk" else list(config.items())[:4]:
            yield f"{what} config {key}", Case(words, _all(code, _set(f"{what}/config.json", key, value=value)))
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "EvilTokenizer",
                 "name_or_path": HUB, "tokenizer_file": f"{URL}/tokenizer.json", "vocab_file": "/etc/passwd",
                 "processor_class": "EvilProcessor", "custom_pipelines": {}, "chat_template": ESCAPE,
                 "backend": "mistral_common", "trust_remote_code": True, "fix_mistral_regex": True}  # fmt: skip
    for key, value in tokenizer.items():
        yield f"trunk tokenizer {key}", Case(TRAIN, _all(code, _set("trunk/tokenizer_config.json", key, value=value)))
    for name in TOKENIZERS:
        change = _set("trunk/tokenizer_config.json", "tokenizer_class", value=name)
        yield f"trunk tokenizer is {name}", Case(TRAIN, change)
    chat = (*TRAIN, "--prompt", "chat")
    yield "trunk chat template", Case(chat, _set("trunk/tokenizer_config.json", "chat_template", value=ESCAPE))
    yield "trunk chat_template.jinja", Case(chat, _text("trunk/chat_template.jinja", ESCAPE))
    generation = {"custom_generate": HUB, "assistant_model": HUB, "cache_implementation": PACKAGE, "auto_map": AUTO_MAP}
    for key, value in generation.items():
        yield f"trunk generation {key}", Case(TRAIN, _all(code, _set("trunk/generation_config.json", key, value=value)))
    adapter = {"base_model_name_or_path": HUB, "auto_mapping": {"parent_library": PACKAGE}, "peft_type": "LORA"}
    yield "trunk with an adapter", Case(TRAIN, _text("trunk/adapter_config.json", json.dumps(adapter)))
    for file in ("../run/settings.json", "/etc/passwd", URL, "other.safetensors"):
        index = json.dumps({"metadata": {}, "weight_map": {"transformer.wte.weight": file}})
        yield f"trunk index names {file}", Case(TRAIN, _text("trunk/model.safetensors.index.json", index))
    pickles = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "tf_model.h5", "flax_model.msgpack")
    paths = tuple(f"trunk/{name}" for name in pickles)
    yield "trunk with pickles", Case(TRAIN, _pickle(*paths))
    yield "trunk of pickles only", Case(TRAIN, _pickle(*paths, without=("trunk/model.safetensors",)))
    yield "trunk weights are a pickle", Case(TRAIN, _pickle("trunk/model.safetensors"))
    yield "trunk config is a link", Case(TRAIN, _link("trunk/config.json", "run/settings.json"))


def _games() -> Iterator[tuple[str, Case]]:
    """Yield cases that play game files which contain or name code, or name other files."""
    play = ("play", "--agent", "random", "--game", "games", "--max-turns", "2", "--json")
    for path in (f"{PACKAGE}:Evil", "../evil.py", URL, "/etc/passwd"):
        yield f"manifest names {path}", Case(play, _set("games/manifest.jsonl", "file", value=path))
    yield "game file of pickle", Case((*play[:4], "evil.z8", *play[5:]), _pickle("evil.z8", "evil.json"))
    yield "game file of Python", Case((*play[:4], "evil.z5", *play[5:]), _text("evil.z5", "import evil"))
    yield "Python file as a game", Case((*play[:4], "evil.py", *play[5:]))


def _names_of_the_user() -> Iterator[tuple[str, Case]]:
    """Yield cases whose command names a hub model or a URL. The command must not download the model or the URL."""
    train = ("train", "--episodes", "2", "--iterations", "1", "--out", "new", "--json", "--game")
    prompts = ("--trunk", "trunk", "--probe-prompts")
    for name in (HUB, URL, "gpt2"):
        yield f"--trunk {name}", Case((*train, "bandit", "--trunk", name))
        yield f"--init {name}", Case((*train, "bandit", "--init", name))
        yield f"--agent {name}", Case(("play", "--agent", name, "--game", "bandit", "--json"))
        yield f"hf:{name}", Case((*train, f"completion?reward=hf:{name}", "--trunk", "trunk"))
        yield f"--game {name}", Case(("play", "--agent", "random", "--game", name, "--json"))
        yield f"--probe-prompts {name}", Case((*train, "completion?reward=length", *prompts, name))
    yield "watch an address", Case(("watch", URL, "--json"))
    yield "--config of an address", Case(("train", "--config", URL, "--dry-run", "--json"))


def copy(intact: Path, folder: Path, record: Path) -> None:
    """Make the folder of a case: the intact files, and planted Python files that no command names."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(intact, folder)
    for name in ("evil", PACKAGE, "json", "torch", "org", "run"):
        (folder / f"{name}.py").write_text(planted.code(name, record))
