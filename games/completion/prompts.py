"""Prompts of the completion game, also called openings."""

from pathlib import Path

from games.errors import GameError, nearest
from games.untrusted_files import parse_json, read_lines

OPENINGS = Path(__file__).with_name("openings")
# no opening of `heldout` shares its first two or its last two words with an opening of `train`
SETS = ("heldout", "train")
SUFFIXES = (".txt", ".jsonl")


def load_prompts(source: str, *, setting: str = "completion: prompts=") -> tuple[str, ...]:
    """Return the prompts of a built-in set or a file. Raise GameError if a prompt is blank or occurs twice."""
    path = OPENINGS / f"{source}.txt" if source in SETS else _file(source, setting)
    texts = [line for _, line in read_lines(path, error=GameError)]
    if path.suffix == ".jsonl":
        texts = [_prompt(line, f"{path}:{number}") for number, line in enumerate(texts, 1)]
    line_of: dict[str, int] = {}
    for number, text in enumerate((text.strip() for text in texts), 1):
        if not text:
            raise GameError(f"{path}:{number}: expected a prompt, got a blank one")
        if text in line_of:
            raise GameError(f"{path}:{number}: this prompt is the same as that of line {line_of[text]}")
        line_of[text] = number
    if not line_of:
        raise GameError(f"{path}: the file holds no prompts")
    return tuple(line_of)


def _file(source: str, setting: str) -> Path:
    path = Path(source).expanduser()
    if path.suffix not in SUFFIXES or "\0" in source:
        expected = f"expected train, heldout or a file ({' or '.join(SUFFIXES)})"
        raise GameError(f"{setting}{source}: {expected}; {nearest(source, SETS)}")
    if not path.exists():
        raise GameError(f"{setting}{source}: no such file")
    return path


def _prompt(line: str, location: str) -> str:
    try:
        record = parse_json(line, location)
    except GameError:
        record = None
    prompt = record.get("prompt") if isinstance(record, dict) else None
    if not isinstance(prompt, str):
        raise GameError(f"{location}: expected a JSON object with a text in the field 'prompt'")
    return prompt
