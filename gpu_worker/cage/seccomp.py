"""seccomp: which system calls this process, and what it becomes, can make (seccomp(2)).

A list of what is refused, not of what is allowed: codecs and drivers call many things, but none
needs a socket, another process, or the calls that administer a machine.
"""

from __future__ import annotations

import ctypes
import errno
import os

_PR_SET_SECCOMP, _FILTER_MODE = 22, 2
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000  # another set of numbers for the same calls
_AF_UNIX = 1
_CLONE_THREAD = 0x00010000
_PR_SET_PDEATHSIG = 1

# By machine: the number that audit(7) gives it, and those of the calls.
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED = {
    # network; io_uring has its own ways to a socket
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # other processes
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    # limits, once set
    "setrlimit": (160, 164),
    # the machine
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
}
_CLONE, _CLONE3, _SOCKETPAIR = (56, 220), (435, 435), (53, 199)
_KILL_CALL, _TGKILL, _PRLIMIT, _PRCTL = (62, 129), (234, 131), (302, 261), (157, 167)

_Instruction = tuple[int, int, int, int]


class _SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_SockFilter)))


def restrict(libc: ctypes.CDLL) -> None:
    """Refuse what no child of ours needs, from now on. Needs PR_SET_NO_NEW_PRIVS.

    Does nothing on machines that we have no numbers for, or kernels without filters.
    """
    machine = os.uname().machine
    if machine not in _AUDIT:
        return
    instructions = _program(machine, os.getpid())
    filters = (_SockFilter * len(instructions))(*(_SockFilter(*each) for each in instructions))
    program = _Program(len(instructions), filters)
    libc.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0)


def _program(machine: str, pid: int) -> list[_Instruction]:
    column = list(_AUDIT).index(machine)
    denied = _answer(_ERROR | errno.EPERM)
    allowed = _answer(_ALLOW)
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _AUDIT[machine]),
        _answer(_KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32), denied]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [(_EQUAL, 0, 1, number), denied]
    # Told as not there: the C library then falls back to clone, whose flags can be seen.
    program += [(_EQUAL, 0, 1, _CLONE3[column]), _answer(_ERROR | errno.ENOSYS)]

    def call(numbers: tuple[int, int], *then: _Instruction) -> None:
        program.extend([(_EQUAL, 0, len(then), numbers[column]), *then])

    first = (_LOAD, 0, 0, _ARGUMENTS_AT)
    call(_CLONE, first, (_ANY_BIT, 0, 1, _CLONE_THREAD), allowed, denied)
    call(_SOCKETPAIR, first, (_EQUAL, 0, 1, _AF_UNIX), allowed, denied)
    call(_KILL_CALL, first, (_EQUAL, 0, 1, pid), allowed, denied)
    call(_TGKILL, first, (_EQUAL, 0, 1, pid), allowed, denied)
    call(_PRCTL, first, (_EQUAL, 0, 1, _PR_SET_PDEATHSIG), denied, allowed)
    new_limit = [(_LOAD, 0, 0, _ARGUMENTS_AT + 2 * 8 + half) for half in (0, 4)]
    low, high = new_limit
    # Asking for limits is allowed, setting them is not.
    call(_PRLIMIT, low, (_EQUAL, 0, 3, 0), high, (_EQUAL, 0, 1, 0), allowed, denied)
    return [*program, allowed]


def _answer(value: int) -> _Instruction:
    return (_RETURN, 0, 0, value)
