"""Folders of tests."""

from pathlib import Path


def file_names(folder: Path) -> list[str]:
    """Return the sorted names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())
