"""Stop a process, and all that it starts, before each system call that changes files. Linux on x86-64 only.

A process installs a seccomp filter with `install_filter`. The kernel then blocks each of these calls and notifies the
process that holds the filter's descriptor. This process continues the call, or kills the caller before the call has any
effect. Unlike ptrace, the filter does not slow other system calls down. See seccomp(2) and seccomp_unotify(2).
"""

import ctypes
import errno
import fcntl
import os
import re
import select
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Numbers of the calls on x86-64. A text describes the arguments: p is a path, d a folder's descriptor before a path,
# f a file's descriptor, - anything else.
CALLS = {
    1: ("write", "f"), 2: ("open", "p"), 18: ("pwrite64", "f"), 20: ("writev", "f"), 40: ("sendfile", "f"),
    74: ("fsync", "f"), 75: ("fdatasync", "f"), 76: ("truncate", "p"), 77: ("ftruncate", "f"), 82: ("rename", "pp"),
    83: ("mkdir", "p"), 84: ("rmdir", "p"), 85: ("creat", "p"), 86: ("link", "pp"), 87: ("unlink", "p"),
    88: ("symlink", "-p"), 257: ("openat", "dp"), 258: ("mkdirat", "dp"), 263: ("unlinkat", "dp"),
    264: ("renameat", "dpdp"), 265: ("linkat", "dpdp"), 266: ("symlinkat", "-dp"), 285: ("fallocate", "f"),
    296: ("pwritev", "f"), 316: ("renameat2", "dpdp"), 326: ("copy_file_range", "--f"),
}  # fmt: skip
FLAGS = {2: 1, 257: 2}  # calls that open files -> the argument with the flags
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

SECCOMP, SET_MODE_FILTER, NEW_LISTENER, WAIT_KILLABLE = 317, 1, 1 << 3, 1 << 5
PR_SET_NO_NEW_PRIVS, X86_64 = 38, 0xC000003E
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
LOAD, JUMP_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x45, 0x06
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
NOTIFICATION = struct.Struct("QIIiIQ6Q")  # id, thread, flags, call, architecture, instruction, arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A system call of a thread, with the paths of its files."""

    name: str
    thread: int
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.paths)})"


def install_filter() -> int:
    """Filter the calls of this process and of all processes that it will start. Return the filter's descriptor."""
    program = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 1, 0, X86_64), (RETURN, 0, 0, ALLOW)]
    for number in CALLS:
        body = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, NOTIFY)]
        if (argument := FLAGS.get(number)) is not None:
            flags = [(LOAD, 0, 0, 16 + 8 * argument), (JUMP_SET, 1, 0, WRITES), (RETURN, 0, 0, ALLOW)]
            body = [body[0], (JUMP_EQUAL, 0, 4, number), *flags, body[2]]
        program += body
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    pointer = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    descriptor = int(libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER | WAIT_KILLABLE, pointer))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses a seccomp filter")
    return descriptor


def serve(descriptor: int, kills: Callable[[Call], bool], seconds: float) -> None:
    """Answer one notification of a blocked call, if one comes within this time.

    `descriptor` is the result of `install_filter` in another process. If `kills` returns True, the caller is killed.
    """
    poll, buffer = select.poll(), bytearray(NOTIFICATION.size)
    poll.register(descriptor, select.POLLIN)
    if not any(event & select.POLLIN for _, event in poll.poll(seconds * 1000)):
        return
    try:
        fcntl.ioctl(descriptor, RECEIVE, buffer)
    except OSError as error:
        if error.errno != errno.ENOENT:  # the process has ended
            raise
        return
    identity, thread, _, number, _, _, *arguments = NOTIFICATION.unpack(buffer)
    if kills(_call(thread, number, arguments)):
        os.kill(thread, signal.SIGKILL)
        return
    with suppress(FileNotFoundError):
        fcntl.ioctl(descriptor, SEND, struct.pack("QqiI", identity, 0, 0, CONTINUE))


def _call(thread: int, number: int, arguments: list[int]) -> Call:
    name, kinds = CALLS[number]
    process, paths = f"/proc/{thread}", list[str]()
    folder = f"{process}/cwd"
    for kind, argument in zip(kinds, arguments, strict=False):
        descriptor = ctypes.c_int32(argument & 0xFFFFFFFF).value
        with suppress(OSError):
            if kind == "d":
                folder = f"{process}/fd/{descriptor}" if descriptor >= 0 else f"{process}/cwd"
            elif kind == "f":
                paths.append(str(Path(f"{process}/fd/{descriptor}").readlink()))
            elif kind == "p":
                paths.append(os.path.normpath(Path(folder).readlink() / _text(thread, argument)))
    return Call(name=name, thread=thread, paths=tuple(paths))


def _text(thread: int, address: int) -> str:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        page = 4096 - address % 4096
        data = memory.read(page)
        return os.fsdecode(re.split(b"\0", data if b"\0" in data else data + memory.read(4096))[0])
