"""Options of `train` and `compare`: one for each setting, help with resolved defaults, a TOML file, and a dry run."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agents.config import FIELDS, GROUP_OF, flatten
from agents.storage.run_folder import SETTINGS
from agents.training.presets import resolve
from terminal.options import BASIC
from tests.conftest import Command
from tests.test_cli_open import GAME, OPTIMIZER


def shown(text: str) -> dict[str, str]:
    """The help text of each setting, by its name."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        begin = re.match(r"│ --(?:\[no-\])?([\w-]+)(?: \S+)?  +(.*?) *│", line)
        if begin:
            name = begin[1].replace("-", "_")
            found[name] = begin[2]
        elif name and line.startswith("│"):
            found[name] += f" {line.strip('│ ')}"
    return {name: text for name, text in found.items() if name in FIELDS}


def default(text: str) -> str:
    return text.rpartition("[default: ")[2].removesuffix("]")


# -- help --------------------------------------------------------------------------------------------------


def test_help_shows_few_settings_and_help_all_every_one(command: Command) -> None:
    status, text, errors = command("train", "--help")
    assert (status, errors) == (0, "")
    assert set(shown(text)) == BASIC and len(BASIC) <= 36
    assert re.search("--help-all +Show all options", text)
    assert command("train", "-h") == (0, text, "")
    every = command("train", "--help-all")[1]
    assert set(shown(every)) == set(FIELDS) - {"imports"} and len(FIELDS) == 104
    assert all(len(line) <= 100 for line in every.splitlines())
    assert "default: ()" not in every
    for option in ("--out RUN", "--import CODE", "--resume", "--config FILE", "--dry-run", "--json"):
        assert option in text and option in every
    assert all(group.capitalize() in text for group in set(GROUP_OF.values()))


def test_help_shows_the_defaults_of_this_run(command: Command, tmp_path: Path) -> None:
    def lr(*words: str) -> str:
        return default(shown(command("train", *words, "--help")[1])["lr"])

    assert lr() == "0.0007"
    assert lr("--game", "bandit") == "0.001"
    assert lr("--trunk", "smollm2") == "0.0001"
    assert lr("--lr", "0.5") == "0.5"
    (tmp_path / "run.toml").write_text("[update]\nlr = 0.25")
    assert lr("--config", str(tmp_path / "run.toml")) == "0.25"
    (tmp_path / SETTINGS).write_text(resolve({"game": "ipd", "lr": 0.125}).model_dump_json())
    assert lr("--resume", "--out", str(tmp_path)) == "0.125"


def test_help_shows_what_a_setting_accepts(command: Command) -> None:
    text = command("train", "--help-all")[1]
    for usage in ("--mode trie|free", "--max-turns N|none", "--kl-target X|none", "--game GAME", "--[no-]train-q  "):
        assert usage in text
    values = {name: default(help_text) for name, help_text in shown(text).items()}
    assert (values["value_clip_range"], values["detach_q"], values["mode"]) == ("none", "False", "trie")
    assert "default: ]" not in text, "an empty text has no default to show"


def test_compare_sets_optimizer_and_seed_by_its_own_options(command: Command) -> None:
    status, text, errors = command("compare", "--help-all")
    assert (status, errors) == (0, "")
    assert set(shown(text)) == set(FIELDS) - {"imports", "optimizer", "seed"}
    assert "--optimizers NAMES" in text and "--seeds SEEDS" in text


def test_only_the_command_that_is_typed_has_the_options(command: Command) -> None:
    status, out, errors = command("watch", "somewhere", "--lr", "1")
    assert (status, out, errors.count("\n")) == (2, "", 1) and "--lr" in errors


# -- a dry run ---------------------------------------------------------------------------------------------


def test_a_dry_run_shows_each_value_with_its_origin_and_makes_nothing(command: Command, tmp_path: Path) -> None:
    words = ("train", "--game", "bandit", "--lr", "0.5", "--out", str(tmp_path / "run"), "--dry-run")
    status, out, errors = command(*words, "--json")
    assert (status, errors) == (0, "")
    found = json.loads(out)
    memory = found.pop("memory")
    assert memory["peak"] == max(memory["phases"].values()) > memory["components"]["activations"] > 0
    assert {name: row["value"] for name, row in found.items()} == resolve({"game": "bandit", "lr": 0.5}).flat()
    origins = {name: found[name]["origin"] for name in ("game", "lr", "gamma", "seed")}
    assert origins == {"game": "given", "lr": "given", "gamma": "preset of bandit", "seed": "default"}
    lines = command(*words)[1].splitlines()
    for setting, origin in (
        ("lr = 0.5", "given"),
        ("gamma = 1.0", "preset of bandit"),
        ('minutes = "none"', "default"),
    ):
        assert [line for line in lines if re.fullmatch(rf"{re.escape(setting)} +# {origin}", line)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--game", "bandit"),
        ("--optimizer", "imitation", "--max-turns", "none", "--bonus-command", 'say "é"\\'),
        ("--kl-coef", "0.1", "--kl-target", "1e-7", "--value-clip-range", "0.3", "--train-q", "--no-detach-q"),
    ],
)
def test_the_output_of_a_dry_run_is_a_file_that_gives_the_same_run(
    command: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    first = command("train", *words, "--dry-run")[1]
    path = tmp_path / "run.toml"
    path.write_text(first)
    values = json.loads(command("train", *words, "--dry-run", "--json")[1])
    again = json.loads(command("train", "--config", str(path), "--dry-run", "--json")[1])
    assert again.pop("memory") == values.pop("memory")
    assert {name: row["value"] for name, row in again.items()} == {name: row["value"] for name, row in values.items()}
    assert {row["origin"] for row in again.values()} == {str(path)}
    assert set(flatten(tomllib.loads(first))) == set(FIELDS)


def test_a_dry_run_of_a_resumed_run_has_its_settings(command: Command, tmp_path: Path) -> None:
    (tmp_path / SETTINGS).write_text(resolve({"game": "ipd", "lr": 0.125}).model_dump_json())
    words = ("train", "--resume", "--out", str(tmp_path), "--iterations", "9", "--dry-run", "--json")
    found = json.loads(command(*words)[1])
    assert found["lr"] == {"value": 0.125, "origin": str(tmp_path / SETTINGS)}
    assert found["iterations"] == {"value": 9, "origin": "given"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--game", "bandid"), "did you mean 'bandit'"),
        (("--game", "textworld:simpel"), "did you mean 'simple'"),
        (("--lr", "fast"), "--lr must be a number of at least 0, got 'fast'"),
        (("--mode", "fre"), "did you mean 'free'"),
        (("--whitening", "None"), "unknown --whitening 'None', expected one of batch, none"),
        (("--kl-target", "0.1"), "--kl-target needs a --kl-coef above 0"),
        (("--init", "nowhere"), "nowhere holds no checkpoint"),
        (("--config", "nowhere.toml"), "nowhere.toml is missing"),
        (("--gama", "1"), "--gama"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse(command: Command, words: tuple[str, ...], message: str) -> None:
    status, out, errors = command("train", *words, "--dry-run")
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and message in errors


# -- a TOML file -------------------------------------------------------------------------------------------


def test_options_override_the_file_and_the_file_the_presets(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[run]\ngame = "bandit"\n[update]\nlr = 0.25\nepochs = 3\n[optimizer]\ntrain_q = true\n')
    words = ("train", "--config", str(path), "--lr", "0.5", "--no-train-q", "--dry-run", "--json")
    found: dict[str, Any] = json.loads(command(*words)[1])
    wanted = {
        "lr": (0.5, "given"),
        "train_q": (False, "given"),
        "epochs": (3, str(path)),
        "game": ("bandit", str(path)),
        "gamma": (1.0, "preset of bandit"),
    }
    assert {name: (found[name]["value"], found[name]["origin"]) for name in wanted} == wanted


@pytest.mark.usefixtures("clean_registry")
def test_paths_in_the_file_are_relative_to_the_current_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, cards in ((tmp_path, 10), (tmp_path / "configs", 20)):  # the second file must not be read
        folder.mkdir(exist_ok=True)
        (folder / "guess.py").write_text(GAME.replace("cards: int = 10", f"cards: int = {cards}"))
        (folder / "averaged.py").write_text(OPTIMIZER.replace('"averaged"', f'"averaged-{cards}"'))
    text = '[run]\ngame = "guess.py:Guess"\noptimizer = "averaged.py:Averaged"\nimports = "guess.py"\n'
    (tmp_path / "configs" / "run.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    status, out, errors = command("train", "--config", "configs/run.toml", "--dry-run", "--json")
    assert (status, errors) == (0, "")
    found: dict[str, Any] = json.loads(out)
    assert found["optimizer"]["value"] == "averaged-10"
    assert found["imports"]["value"].split(",")[0] == str(tmp_path / "guess.py")
    assert "Its paths start in the current folder" in " ".join(
        line.strip("│ ") for line in command("train", "--help")[1].splitlines()
    )


@pytest.mark.usefixtures("clean_registry")
def test_the_preset_of_another_game_is_named_by_its_purpose(command: Command, tmp_path: Path) -> None:
    (tmp_path / "guess.py").write_text(GAME)
    shown = command("train", "--game", f"{tmp_path}/guess.py:Guess", "--dry-run")[1]
    assert "# preset of text adventures" in shown and "textworld" not in shown


@pytest.mark.parametrize("made", ["nothing", "games", "empty"])
def test_a_folder_that_holds_no_run_is_not_resumed(command: Command, tmp_path: Path, made: str) -> None:
    if made != "nothing":
        (tmp_path / made).mkdir()
    if made == "games":
        (tmp_path / made / "manifest.jsonl").touch()
    status, out, errors = command("train", "--resume", "--out", str(tmp_path / made))
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert f"{tmp_path / made} holds no run: expected a folder that `train --out` has written" in errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[updates]\nlr = 1", "unknown group 'updates'"),
        ("[run]\nlr = 1", "it belongs in [update]"),
        ("[update]\nlrr = 1", "did you mean 'lr'"),
        ("[update]\nlr = -1", "lr must be a number of at least 0, got -1"),
        ("[update", "Expected"),
    ],
)
@pytest.mark.parametrize("name", ["train", "compare"])
def test_a_wrong_file_is_one_line_with_its_name(
    command: Command, tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    status, out, errors = command(name, "--config", str(path), "--out", str(tmp_path / "out"))
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert message in errors and errors.startswith(f"error: {path}: ")
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_folder_is_refused(command: Command) -> None:
    status, out, errors = command("train", "--game", "bandit")
    assert (status, out) == (2, "") and "--out is missing" in errors


def test_compare_refuses_a_file_that_sets_what_its_own_options_set(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[run]\ngame = "bandit"\nseed = 3\n')
    status, out, errors = command("compare", "--config", str(path), "--out", str(tmp_path / "out"))
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert f"{path} sets seed: use --optimizers and --seeds instead" in errors


def test_a_dry_run_refuses_an_unknown_optimizer(command: Command) -> None:
    status, out, errors = command("train", "--game", "bandit", "--optimizer", "acdte", "--dry-run")
    assert (status, out) == (2, "") and "did you mean 'actde'?" in errors


def test_code_of_the_file_and_of_the_options_is_recorded(command: Command, tmp_path: Path) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.touch()
    second.touch()
    (tmp_path / "c.toml").write_text(f'[run]\nimports = "{first}"\n')
    shown = json.loads(command("train", "--dry-run", "--json", "--config", tmp_path / "c.toml", "--import", second)[1])
    assert shown["imports"]["value"] == f"{first},{second}"
