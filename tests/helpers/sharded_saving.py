"""One of the processes of `test_sharding.py`: `python -m tests.helpers.sharded_saving TRUNK RUN OUT`.

The process takes gradient steps on a sharded trunk, saves the run, resumes it, and fails to save it twice. It writes a
JSON object to the file OUT:

* saving, loading: by how many MB its private memory grew at most during the save and during the resumption;
* parts: the size of its parts of the master weights and AdamW's moments in MB;
* seconds: the duration of the save;
* errors: the errors of the last two saves, in which only process 1 finds a full disk or has a weight that is NaN;
* files: the names below the folder of checkpoints afterwards.
"""

import errno
import json
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch

from agents.model.sharding import local, reshard
from agents.protocol import AgentError
from agents.storage.tensor_files import ShardFile
from agents.training.factory import make_trainer
from agents.training.presets import resolve
from agents.training.state import load_state
from agents.training.trainer import Trainer
from agents.training.updater import torch_optimizer_tensors
from tests.helpers.sharded_loading import SETTINGS, largest_private, private


def error_of_save(trainer: Trainer) -> str:
    try:
        trainer.save()
    except (AgentError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def fill_the_disk(file: ShardFile, folder: Path) -> str:
    (folder / file.name).write_bytes(b"half of it")
    raise OSError(errno.ENOSPC, "No space left on device", str(folder / file.name))


def main(trunk: str, run: str, out: str) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(resolve({**SETTINGS, "trunk": trunk, "kl_coef": 0.0}), Path(run))
    trainer.iterate()
    before, begin = private(), time.perf_counter()
    with largest_private() as saving:
        trainer.save()
    result = {"saving": saving[0] - before, "seconds": time.perf_counter() - begin}
    tensors = torch_optimizer_tensors(trainer.updater.torch_optimizer)
    result["parts"] = sum(local(tensor).nbytes for tensor in tensors.values()) / 1e6
    reshard(*trainer.updater.models)
    before, saved = private(), trainer.folder.checkpoint(trainer.iteration)
    with largest_private() as loading:
        load_state(trainer, saved)
    result["loading"] = loading[0] - before
    if trainer.accelerator.process_index:
        with patch.object(ShardFile, "write", fill_the_disk):
            errors = [error_of_save(trainer)]
        next(map(local, trainer.updater.model.shards.values())).detach().view(-1)[0] = torch.nan
    else:
        errors = [error_of_save(trainer)]
    errors.append(error_of_save(trainer))
    names = sorted(path.relative_to(saved.parent).as_posix() for path in saved.parent.rglob("*"))
    Path(out).write_text(json.dumps({**result, "errors": errors, "files": names}))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
