"""Imports the user's games and optimizers."""

from contextlib import suppress
from pathlib import Path

from games.code_import import CODE, canonical, import_code, import_name
from games.errors import GameError
from games.external_games import missing_class_message

BASES = ("Optimizer", "PPO", "ACTDE", "GRPO", "Imitation", "Rejection")  # usual bases of a user's optimizer


def load_imports(entries: str) -> None:
    """Import entries such as "mine.py" or "mine.py:Mine", joined by commas.

    Raise GameError or OptimizerError if an import fails.
    """
    for entry in filter(None, entries.split(",")):
        if CODE.fullmatch(entry):
            optimizer_name(entry)
        else:
            import_code(entry)


def optimizer_name(text: str) -> str:
    """Return an optimizer's name. For "mine.py:Mine", first import and register the class Mine."""
    if text.endswith(".py") and Path(text).expanduser().is_file():
        raise GameError(missing_class_message(text, BASES))
    from actde import OptimizerError, optimizer_names, register

    if ":" not in text:
        with suppress(OSError):  # the name is too long
            if Path(f"{text}.py").is_file() and text not in optimizer_names():
                raise GameError(f"no optimizer is called {text!r}; {missing_class_message(f'{text}.py', BASES)}")
        return text

    imported_class = import_name(text, "class")
    try:
        return str(register(imported_class).name)
    except OptimizerError as error:
        raise OptimizerError(f"{error} ({Path(source_of(text)).name})") from error


def source_of(entry: str) -> str:
    """Return the module or file of an import: "mine.py" for "mine.py:Mine"."""
    match = CODE.fullmatch(entry)
    return match["source"] if match else entry


def merge_imports(*lists: str) -> str:
    """Merge comma-separated lists of imports. Paths become absolute."""
    return ",".join(dict.fromkeys(_absolute_entry(entry) for text in lists for entry in text.split(",") if entry))


def _absolute_entry(entry: str) -> str:
    match = CODE.fullmatch(entry)
    return f"{canonical(match['source'])}:{match['name']}" if match else canonical(entry)
