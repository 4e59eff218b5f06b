"""Messages of errors."""

import pytest

from games.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one of:\n(1) a file,\n  (2) a folder."), "one of: (1) a file, (2) a folder."),
        (ValueError("\nno such thing\nmore"), "no such thing"),
        (ValueError("cannot load:"), "cannot load"),
        (KeyError(), "KeyError"),
    ],
)
def test_the_first_line_of_a_message_is_complete(error: Exception, line: str) -> None:
    assert first_line(error) == line
