"""Repair two opcodes of Jericho 3.3.1: `quit` does not halt the interpreter, and `restore_undo` causes a crash."""

import ctypes
from typing import Any

QUIT, RESTORE_UNDO = 10, 10  # indices into the tables of opcodes without operands and of extended opcodes


def repair(frotz: Any) -> None:
    """Repair the opcodes of one `jericho.FrotzEnv`."""
    library = frotz.frotz_lib
    halted = ctypes.c_int.in_dll(library, "emulator_halted")

    def halt() -> None:
        library.flush_buffer()
        halted.value = 1

    callback, table = ctypes.CFUNCTYPE(None)(halt), ctypes.c_void_p * 11
    table.in_dll(library, "op0_opcodes")[QUIT] = ctypes.cast(callback, ctypes.c_void_p).value
    table.in_dll(library, "ext_opcodes")[RESTORE_UNDO] = ctypes.cast(library.z_save_undo, ctypes.c_void_p).value
    frotz.halt_at_quit = callback  # ctypes does not keep callbacks alive


def is_halted(frotz: Any) -> bool:
    """Return whether the opcode `quit` or an error has halted the interpreter."""
    return bool(frotz.frotz_lib.halted() > 0)
