"""The committed pictures of the screens are those that the code draws now."""

import os
import re
from pathlib import Path
from unittest.mock import patch

import pictures
import pytest


def texts(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", picture)


@pytest.mark.slow
def test_the_committed_pictures_show_the_present_screens(tmp_path: Path) -> None:
    with patch.dict(os.environ):  # the command line sets variables
        pictures.draw(tmp_path)
    drawn, committed = (
        {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.svg"))}
        for folder in (tmp_path, pictures.FOLDER)
    )
    assert drawn.keys() == committed.keys()
    for name, picture in drawn.items():
        assert texts(picture) == texts(committed[name]), f"{name}: look at it after `python docs/pictures.py`"
        assert picture == committed[name], f"the colours of {name}: look at it after `python docs/pictures.py`"
