"""Landlock: which files this process, and what it becomes, can reach (landlock(7))."""

from __future__ import annotations

import ctypes
import os
import stat

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12  # devices, sockets, pipes, links

LIST = _READ_DIR
READ = _READ_FILE | _READ_DIR | _EXECUTE
DEVICES = _READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEV
# Everything about plain files and folders; what else can be made in a folder, cannot.
WRITE = ((1 << 15) - 1) & ~_SPECIAL

# Which rights a version of Landlock knows: those below this bit.
_KNOWN_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_TCP = 1 << 0 | 1 << 1  # bind, connect
_SIGNALS_AND_SOCKETS = 1 << 0 | 1 << 1  # of processes outside


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict(libc: ctypes.CDLL, rules: list[tuple[str, int]]) -> None:
    """Leave this process nothing but `rules`: paths and what may be done beneath them.

    Does nothing where the kernel has no Landlock. A path that is not there is left out.
    """
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return
    handled = (1 << _KNOWN_BITS.get(version, 16)) - 1
    wanted = _Ruleset(
        handled, _TCP if version >= 4 else 0, _SIGNALS_AND_SOCKETS if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(libc.syscall(_CREATE, ctypes.byref(wanted), ctypes.c_size_t(size), 0))
    for path, rights in rules:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        is_folder = stat.S_ISDIR(os.fstat(parent).st_mode)
        allowed = rights & handled if is_folder else rights & handled & _OF_FILES
        rule = _PathBeneath(allowed, parent)
        if allowed:
            _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
        os.close(parent)
    _checked(libc.syscall(_RESTRICT, ruleset, 0))
    os.close(ruleset)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses its rules")
    return result
