"""An unknown option is an error in one line that names the right option, also for names of other libraries."""

import pytest
import typer

import cli
from actde.synonyms import SYNONYMS
from agents.config import FIELDS
from tests.conftest import Command

# names of TRL, Stable-Baselines3, CleanRL and transformers
TRAIN = {
    "--learning-rate": "--lr",
    "--learning_rate": "--lr",
    "--batch-size": "--episodes or --minibatches",
    "--per-device-train-batch-size": "--episodes or --minibatches",
    "--num-train-epochs": "--epochs",
    "--num-ppo-epochs": "--epochs",
    "--n-epochs": "--epochs",
    "--update-epochs": "--epochs",
    "--max-steps": "--max-turns or --iterations",
    "--model-name": "--trunk",
    "--model-name-or-path": "--trunk",
    "--env": "--game",
    "--env-id": "--game",
    "--output": "--out",
    "--output-dir": "--out",
    "--total-timesteps": "--env-steps",
    "--num-envs": "--parallel",
    "--num-steps": "--episodes or --max-turns",
    "--num-minibatches": "--minibatches",
    "--ent-coef": "--entropy-coef",
    "--vf-coef": "--value-coef",
    "--clip-coef": "--clip-range",
    "--cliprange": "--clip-range",
    "--target-kl": "--kl-target",
    "--num-generations": "--group-size",
    "--lora-r": "--lora",
    "--bf16": "--dtype",
    "--algo": "--optimizer",
    "--kl": "--kl-coef",
    "--seeds": "--seed",
    "--num-threads": "--threads",
}
OTHERS = [
    ("play", "--temprature", "did you mean --temperature?"),
    ("play", "--model", "did you mean --agent?"),
    ("evaluate", "--n-eval-episodes", "did you mean --episodes?"),
    ("compare", "--optimizer", "did you mean --optimizers?"),
    ("compare", "--seed", "did you mean --seeds?"),
    ("compare", "--num-workers", "did you mean --workers?"),
    ("compare", "--learning-rate", "did you mean --lr?"),
    ("export", "--output", "did you mean --to?"),
    ("export", "--out", "did you mean --to?"),
    ("train", "--iteration", "did you mean --iterations?"),
    ("train", "--temperature", "it is an option of play, evaluate, make-pairs"),
    ("play", "--clip-range", "it is an option of train, compare"),
    ("watch", "--xyzzy", "list the options: python cli.py watch --help"),
]


ALL = [*(("train", option, f"did you mean {right}?") for option, right in TRAIN.items()), *OTHERS]


@pytest.mark.parametrize(("name", "option", "hint"), ALL)
def test_an_unknown_option_names_the_right_one(
    command: Command, name: str, option: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda program: "python")
    monkeypatch.setattr("sys.executable", "python")
    assert command(name, option, "1") == (2, "", f"error: No such option: {option}; {hint}\n")


def test_synonyms_lead_to_options_that_exist() -> None:
    group = typer.main.get_command(cli.app)
    commands = group.commands.values()  # type: ignore[attr-defined]
    own = {name.lstrip("-").replace("-", "_") for each in commands for option in each.params for name in option.opts}
    assert {name for names in SYNONYMS.values() for name in names} <= own | set(FIELDS)


def test_a_synonym_is_no_setting_of_its_own() -> None:
    several = {"optimizer", "optimizers", "seed", "seeds", "out", "to", "save", "eval_episodes"}  # of some commands
    assert not (set(SYNONYMS) - several) & set(FIELDS)


def test_settings_in_files_and_grids_have_the_same_synonyms(command: Command) -> None:
    status, _, errors = command("compare", "--game", "bandit", "--vary", "learning_rate=1,2")
    assert status == 2 and errors.endswith("; did you mean 'lr'?\n")
