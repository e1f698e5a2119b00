"""Work for the child in test_child.py."""

import ctypes
import resource


def reverse(payload: bytes) -> bytes:
    return payload[::-1]


def shout(payload: bytes) -> bytes:
    print("this must not end up in the answer")
    return payload.upper()


def fail(payload: bytes) -> bytes:
    raise ValueError(payload.decode())


def spin(payload: bytes) -> bytes:
    while True:
        pass


def limit_cpu_then_spin(payload: bytes) -> bytes:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1, resource.RLIM_INFINITY)
    )
    return spin(payload)


def crash(payload: bytes) -> bytes:
    ctypes.string_at(0)
    return payload


def hoard(payload: bytes) -> bytes:
    return bytes(4 << 30)
