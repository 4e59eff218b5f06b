"""Write a folder with planted (hostile) files, which no command may execute.

The folder contains a Python module for every name that a library may import, and configuration files that libraries may
read without being asked. A planted module records its name when it is executed.
"""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

OURS = ("actde", "agents", "benchmarks", "cli", "experiments", "games", "terminal", "tests")
SITE = ("sitecustomize", "usercustomize")
"""Modules that Python imports before the first line of a program, wherever they are on the import path."""
OPTIONAL = (
    *("apex", "bitsandbytes", "comet_ml", "deepspeed", "flash_attn", "flax", "gym", "IPython", "jax", "kernels"),
    *("mlflow", "mujoco", "optimum", "ray", "readline", "tensorflow", "tensorflow_text", "torch_xla", "torchaudio"),
    *("torchvision", "triton", "trl", "uvloop", "vllm", "wandb", "xformers", "conftest", "setup", "evil"),
)
"""Names of modules that libraries import only if these are installed. None of the tested packages provides them."""
ENTRY_POINTS = ("actde.games", "actde.optimizers", "torch.backends", "gymnasium.envs", "fsspec.specs",
                "keyring.backends")  # fmt: skip
FILES = {
    "matplotlibrc": "backend: module://evil\ntext.usetex: True\nlines.linewidth: 9\nfigure.facecolor: red\n",
    ".numba_config.yaml": "color_scheme: !!python/object/apply:os.system ['touch RECORD']\n",
    ".env": "HF_HUB_OFFLINE=0\nHF_ENDPOINT=http://192.0.2.1\nPYTHONPATH=.\nFASTMCP_LOG_LEVEL=DEBUG\n",
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p evil'\n[tool.typer]\napp = 'evil'\n",
    "setup.cfg": "[tool:pytest]\naddopts = -p evil\n[build_ext]\ncompiler = evil\n",
    "pytest.ini": "[pytest]\naddopts = -p evil\n",
    "tox.ini": "[pytest]\naddopts = -p evil\n",
    "default_config.yaml": "compute_environment: AMAZON_SAGEMAKER\ndynamo_config: {dynamo_backend: evil}\n",
    "accelerate_config.yaml": "compute_environment: AMAZON_SAGEMAKER\n",
    ".hotspotrc": "-XX:OnError=touch RECORD\n",
    ".pdbrc": "import evil\n",
    "evil.pth": "import evil\n",
    "pyvenv.cfg": "home = .\ninclude-system-site-packages = true\n",
    "evil-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    "evil-1.0.dist-info/entry_points.txt": "".join(f"[{group}]\nevil = evil:Evil\n" for group in ENTRY_POINTS),
}
"""Name -> content of a configuration file that a library may look for in the current folder.

The shell commands in these files touch the file RECORD if they are executed.
"""
GUESS = """import json
import random

import gymnasium


class Guess(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Text(100)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return json.dumps("High or low?"), {"admissible_commands": ["high", "low"]}

    def step(self, action):
        return "The end.", random.choice([1.0]), True, False, {"won": True, "score": 1.0, "max_score": 1}
"""
AVERAGED = """import statistics

from actde import PPO


class Averaged(PPO):
    name = "averaged"
    needs_q = True

    def baseline(self, batch):
        return batch.values * statistics.mean([1, 0]) + batch.q_values / 2
"""


def names() -> list[str]:
    """Return the names of all modules of the standard library, installed packages and this project, and some more."""
    found = {*sys.stdlib_module_names, *packages_distributions(), *OPTIONAL, *OURS, *SITE}
    return sorted(filter(str.isidentifier, found))


def code(name: str, record: Path) -> str:
    """Return Python code that records `name`, and imports nothing."""
    return f"open({str(record)!r}, 'a').write({name + ' '!r})\n"


def plant(folder: Path, record: Path, *, packages: bool) -> None:
    """Write the user's code, all planted modules and the configurations into a new folder.

    A planted module appends its name to the file `record`. With `packages`, modules are packages, otherwise files.
    """
    write_named(folder)
    for name in names():
        path = folder / name / "__init__.py" if packages else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(code(name, record))
    for file, text in FILES.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text.replace("RECORD", str(record)))


def write_named(folder: Path) -> None:
    """Write the two files of the user's code, which commands name, into a new folder."""
    folder.mkdir(parents=True)
    (folder / "guess.py").write_text(GUESS)
    (folder / "averaged.py").write_text(AVERAGED)
