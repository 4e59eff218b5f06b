"""The command `export`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from terminal import arguments as arg
from terminal import completion, console

LOAD = "transformers loads it: AutoModelForCausalLM.from_pretrained({!r}); its README.md shows how"


def export(
    run: Annotated[
        str,
        Argument(
            metavar="RUN",
            help="Folder of a run or checkpoint, or a shipped agent: actde, ppo, actde-small or ppo-small.",
            autocompletion=completion.shipped_agents,
        ),
    ],
    to: Annotated[Path, Option("--to", metavar="FOLDER", help="New folder of the model.")],
    adapter: Annotated[
        bool, Option("--adapter", help="Write the LoRA adapter in the format of peft, instead of merging it.")
    ] = False,
    as_json: arg.AsJson = False,
) -> None:
    """Write a trained agent as a plain model of the transformers library, with its value and Q heads beside it."""
    from agents.registry import trained_folder

    folder = trained_folder(run)
    from agents.storage.export import export_agent  # imports torch

    with console.waiting(f"exporting {run}"):
        about = export_agent(folder, to, adapter=adapter)
    console.output(about, [f"the model of {run} is in {to}; {LOAD.format(str(to))}"], as_json=as_json)
