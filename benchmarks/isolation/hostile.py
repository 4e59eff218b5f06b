"""Runs, models and games whose files name foreign code, foreign files or models of the Hugging Face hub."""

import json
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults import processes, scenarios
from benchmarks.isolation import planted

PACKAGE = "evil_package"
"""Name of an installed package that no command names. The package declares the game and the optimizer `evil`."""
HUB = "org/evil"
URL = "https://192.0.2.1/evil"
NEWEST = scenarios.NEWEST
PLAY = ("play", "--agent", "run", "--game", "bandit", "--json")
RESUME = ("train", "--resume", "--out", "run", "--iterations", "4", "--json")
TRAIN = ("train", "--game", "bandit", "--trunk", "trunk", "--episodes", "4", "--iterations", "1", "--out", "new",
         "--json")  # fmt: skip
REWARD = ("train", "--game", "completion?reward=hf:classifier&max_tokens=2", "--trunk", "trunk", "--episodes", "2",
          "--iterations", "1", "--out", "new", "--json")  # fmt: skip
CARD = ("evaluate", "--card", "--agent", "run", "--tasks", "coin", "--episodes", "1", "--out", "card.md")
ESCAPE = "{{ cycler.__init__.__globals__.os.system('touch RECORD') }}{{ ''.__class__.__mro__[1].__subclasses__() }}"
INDEX = '{"metadata": {}, "weight_map": {"transformer.wte.weight": "%s"}}'
AUTO_MAP = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoModel"), "evil.Evil")
PIPELINES = {"evil": {"impl": "evil.Evil"}}
TOKENIZERS = ("LlamaTokenizer", "BertJapaneseTokenizer", "MistralCommonBackend", "RagTokenizer", "TransfoXLTokenizer")


Change = Callable[[Path, Path], object]
"""Function of two paths: the folder with intact files, and the file to which executed foreign code writes."""


class Case:
    """A command, and changes to the intact files that it reads in their folder."""

    def __init__(self, words: tuple[str, ...], *changes: Change) -> None:
        self.words, self.changes = words, changes


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
    generate = ("generate", "games", "--family", "coin", "--per-level", "1", "--workers", "1", "--json")
    processes.succeed(generate, folder)


def _set(file: str, *path: str, value: object, without: tuple[str, ...] = ()) -> Change:
    """Return a function that sets a value in a JSON file, deletes the keys `without`, and recomputes the checksums."""

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


def _add_code(folder: Path, record: Path) -> None:
    """Add Python files to the trunk's folder."""
    for name in ("evil.py", "__init__.py", "modeling_evil.py", "tokenization_evil.py", "custom_generate/generate.py"):
        (folder / "trunk" / name).parent.mkdir(exist_ok=True)
        (folder / "trunk" / name).write_text(planted.code(name, record))


def _pickle(*names: str, without: tuple[str, ...] = ()) -> Change:
    """Return a function that adds pickle files to a folder, and deletes the files `without`."""

    def change(folder: Path, record: Path) -> None:
        for name in without:
            (folder / name).unlink()
        for name in names:
            (folder / name).write_bytes(pickle.dumps(Pickled(record)))
            if name.endswith(".safetensors"):
                scenarios.seal(folder / name)

    return change


def _link(name: str, target: str) -> Change:
    def change(folder: Path, record: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / target)

    return change


def _text(name: str, text: str) -> Change:
    return lambda folder, record: (folder / name).write_text(
        text.replace("RECORD", str(record)).replace("HERE", str(folder))
    )


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    return _settings() | _agents() | _trunks() | _games() | _names_of_the_user()


def _settings() -> dict[str, Case]:
    """Return cases that resume a run whose settings name code or models."""
    games = ("HERE/evil.py:Evil", f"{PACKAGE}:Evil", f"{PACKAGE}:evil/Evil-v0", "evil", f"bandit + {PACKAGE}:Evil",
             f"completion?reward={PACKAGE}:score", "completion?reward=HERE/evil.py:score*1,length",
             f"completion?reward=hf:{HUB}", f"completion?reward=rm:{URL}",
             f"GymV26Environment-v0?env_id={PACKAGE}:Evil-v0", f"GymV21Environment-v0?env_id={PACKAGE}:Evil-v0",
             "CartPole-v1", "phys2d/CartPole-v1", f"completion?prompts={URL}", URL)  # fmt: skip
    values = [
        *(("run", "game", game) for game in games),
        ("run", "optimizer", "evil"), ("run", "optimizer", f"{PACKAGE}:Evil"), ("run", "imports", PACKAGE),
        ("run", "imports", f"HERE/evil.py,{PACKAGE}:Evil"), ("run", "init", HUB), ("run", "init", URL),
        ("model", "trunk", HUB), ("model", "trunk", URL), ("probe", "probe_prompts", URL),
    ]  # fmt: skip
    file, game = "run/settings.json", "completion?reward=length&max_tokens=2"
    found = {
        f"settings {name}={value}": Case(RESUME, _set(file, group, name, value=value)) for group, name, value in values
    }
    for judge in (f"{PACKAGE}:score", "HERE/evil.py:score", f"hf:{HUB}"):
        probe = _set(file, "probe", value={"probe_prompts": "heldout", "judge": judge})
        found[f"settings judge={judge}"] = Case(RESUME, _set(file, "run", "game", value=game), probe)
    return found


def _each(
    name: str, words: tuple[str, ...], values: Mapping[str, object], file: str, *path: str, first: Sequence[Change] = ()
) -> dict[str, Case]:
    """Return a case for each of `values`, in which its key has this value below `path` in a JSON file."""
    return {f"{name} {key}": Case(words, *first, _set(file, *path, key, value=x)) for key, x in values.items()}


def _agents() -> dict[str, Case]:
    """Return cases that load a run whose `agent.json` names code or models, or whose files are pickles or links."""
    about = f"{NEWEST}/agent.json"
    config = {"attn_implementation": "org/kernel", "_attn_implementation": "org/kernel", "auto_map": AUTO_MAP,
              "_attn_implementation_internal": "org/kernel", "experts_implementation": "org/kernel",
              "quantization_config": {"quant_method": "gptq", "bits": 4}, "custom_pipelines": PIPELINES,
              "kernel_config": {"kernel_mapping": {"RMSNorm": "org/kernel"}}, "use_kernels": True, "_name_or_path": HUB,
              "trust_remote_code": True, "code_revision": "main", "architectures": [f"{PACKAGE}.Evil"],
              "model_type": PACKAGE, "activation_function": f"{PACKAGE}.evil",
              "tokenizer_class": "EvilTokenizer"}  # fmt: skip
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "EvilTokenizer",
                 "tokenizer_file": "/etc/passwd", "gguf_file": URL, "name_or_path": HUB,
                 "backend": PACKAGE}  # fmt: skip
    template = _set(about, "tokenizer", "chat_template", value=ESCAPE)
    trunk, lora = _set(about, "model", "trunk", value=HUB), _set(about, "model", "lora", value=4)
    games = (f"{PACKAGE}:Evil", "evil", f"completion?reward={PACKAGE}:score")
    pickles = ("pytorch_model.bin", "adapter_model.bin", "optimizer.pt", "training_args.bin", "scheduler.pt")
    return {
        **_each("agent config", PLAY, config, about, "config"),
        **_each("agent tokenizer", PLAY, tokenizer, about, "tokenizer"),
        "agent chat template": Case(PLAY, template, _set(about, "prompt", value="chat")),
        "agent adapts a hub model": Case(PLAY, trunk, lora, _set(about, "config", value=None)),
        **{
            f"agent made_by {game}": Case(
                CARD, _set(about, "made_by", "run", "game", value=game, without=("trained_on",))
            )
            for game in games
        },
        "agent with pickles": Case(PLAY, _pickle(*(f"{NEWEST}/{name}" for name in pickles))),
        "agent weights are a pickle": Case(PLAY, _pickle(f"{NEWEST}/model.safetensors")),
        "state is a pickle": Case(RESUME, _pickle(f"{NEWEST}/training.safetensors")),
        "weights are a link": Case(PLAY, _link(f"{NEWEST}/model.safetensors", "trunk/model.safetensors")),
    }


def _trunks() -> dict[str, Case]:
    """Return cases that load a model folder with code, or with files that name foreign code."""
    first = {"auto_map": AUTO_MAP, "attn_implementation": "org/kernel", "_attn_implementation": "org/kernel",
             "quantization_config": {"quant_method": "bitsandbytes"}}  # fmt: skip
    config = {**first, "custom_pipelines": PIPELINES, "kernel_config": {"kernel_mapping": {}}, "_name_or_path": HUB,
              "model_type": PACKAGE, "use_kernels": True, "architectures": ["EvilForCausalLM"],
              "trust_remote_code": True, "activation_function": PACKAGE, "tokenizer_class": "EvilTokenizer",
              "torch_dtype": PACKAGE, "compression_config": {"quant_method": "evil"},
              "experts_implementation": "org/kernel", "base_model_name_or_path": HUB,
              "task_specific_params": {"evil": HUB}}  # fmt: skip
    tokenizer = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "EvilTokenizer",
                 "name_or_path": HUB, "tokenizer_file": f"{URL}/tokenizer.json", "vocab_file": "/etc/passwd",
                 "processor_class": "EvilProcessor", "custom_pipelines": {}, "chat_template": ESCAPE,
                 "backend": "mistral_common", "trust_remote_code": True, "fix_mistral_regex": True}  # fmt: skip
    generation = {"custom_generate": HUB, "assistant_model": HUB, "cache_implementation": PACKAGE, "auto_map": AUTO_MAP}
    adapter = {"base_model_name_or_path": HUB, "auto_mapping": {"parent_library": PACKAGE}, "peft_type": "LORA"}
    of_tokenizer, code, chat = "trunk/tokenizer_config.json", (_add_code,), (*TRAIN, "--prompt", "chat")
    pickles = [f"trunk/{name}" for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "tf_model.h5",
                                            "flax_model.msgpack")]  # fmt: skip
    return {
        **_each("trunk config", TRAIN, config, "trunk/config.json", first=code),
        **_each("classifier config", REWARD, first, "classifier/config.json", first=code),
        **_each("trunk tokenizer", TRAIN, tokenizer, of_tokenizer, first=code),
        **{
            f"trunk tokenizer is {name}": Case(TRAIN, _set(of_tokenizer, "tokenizer_class", value=name))
            for name in TOKENIZERS
        },
        "trunk chat template": Case(chat, _set(of_tokenizer, "chat_template", value=ESCAPE)),
        "trunk chat_template.jinja": Case(chat, _text("trunk/chat_template.jinja", ESCAPE)),
        **_each("trunk generation", TRAIN, generation, "trunk/generation_config.json", first=code),
        "trunk with an adapter": Case(TRAIN, _text("trunk/adapter_config.json", json.dumps(adapter))),
        **{
            f"trunk index names {file}": Case(TRAIN, _text("trunk/model.safetensors.index.json", INDEX % file))
            for file in ("../run/settings.json", "/etc/passwd", URL, "other.safetensors")
        },
        "trunk with pickles": Case(TRAIN, _pickle(*pickles)),
        "trunk of pickles only": Case(TRAIN, _pickle(*pickles, without=("trunk/model.safetensors",))),
        "trunk weights are a pickle": Case(TRAIN, _pickle("trunk/model.safetensors")),
        "trunk config is a link": Case(TRAIN, _link("trunk/config.json", "run/settings.json")),
    }


def _games() -> dict[str, Case]:
    """Return cases that play game files which contain or name code, or name other files."""
    play = ("play", "--agent", "random", "--max-turns", "2", "--json", "--game")
    return {
        **{
            f"manifest names {path}": Case((*play, "games"), _set("games/manifest.jsonl", "file", value=path))
            for path in (f"{PACKAGE}:Evil", "../evil.py", URL, "/etc/passwd")
        },
        "game file of pickle": Case((*play, "evil.z8"), _pickle("evil.z8", "evil.json")),
        "game file of Python": Case((*play, "evil.z5"), _text("evil.z5", "import evil")),
        "Python file as a game": Case((*play, "evil.py")),
    }


def _names_of_the_user() -> dict[str, Case]:
    """Return cases whose command names a hub model or a URL. The command must not download the model or the URL."""
    train = ("train", "--episodes", "2", "--iterations", "1", "--out", "new", "--json", "--game")
    found = {
        "watch an address": Case(("watch", URL, "--json")),
        "--config of an address": Case(("train", "--config", URL, "--dry-run", "--json")),
    }
    for name in (HUB, URL, "gpt2"):
        found |= {
            f"--trunk {name}": Case((*train, "bandit", "--trunk", name)),
            f"--init {name}": Case((*train, "bandit", "--init", name)),
            f"--agent {name}": Case(("play", "--agent", name, "--game", "bandit", "--json")),
            f"hf:{name}": Case((*train, f"completion?reward=hf:{name}", "--trunk", "trunk")),
            f"--game {name}": Case(("play", "--agent", "random", "--game", name, "--json")),
            f"--probe-prompts {name}": Case(
                (*train, "completion?reward=length", "--trunk", "trunk", "--probe-prompts", name)
            ),
        }
    return found


def copy(intact: Path, folder: Path, record: Path) -> None:
    """Make the folder of a case: the intact files, and planted Python files that no command names."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(intact, folder)
    for name in ("evil", PACKAGE, "json", "torch", "org", "run"):
        (folder / f"{name}.py").write_text(planted.code(name, record))
