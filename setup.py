"""The project is used from its checkout: `pip install --editable .` works, and a wheel is refused.

A wheel would install `agents` and `games` at the top level of site-packages. There `pip install openai-agents`
overwrites `agents`, and `pip uninstall openai-agents` deletes its files.
"""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class RefuseWheel(bdist_wheel):
    """Refuse to build a wheel. An editable installation does not call `run`."""

    def run(self) -> None:
        """Raise SystemExit."""
        raise SystemExit("actde is used from its checkout: pip install --editable FOLDER")


setup(cmdclass={"bdist_wheel": RefuseWheel})
