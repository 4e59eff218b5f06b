"""Fixtures of the tests of agents."""

from typing import Any

import pytest


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that returns the folder of a tiny decoder."""
    from experiments.decoders.measure import save

    base = tmp_path_factory.mktemp("decoders")

    def folder(name: str) -> str:
        if not (base / name).exists():
            save(name, base / name)
        return str(base / name)

    return folder
