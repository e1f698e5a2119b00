"""A ClickHouse server in this process, from the C library of the npm package: run as a program.

`python clickhouse_process.py LIBRARY CLICKHOUSE-OPTIONS…` does not return until the server ends (SIGTERM).
The library offers clickhouse-local's command line, whose SYSTEM START LISTEN opens the real protocol ports;
the endless SELECT keeps the process up. One call per process.
"""

from __future__ import annotations

import ctypes
import sys

_SERVE = (
    "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
    "SELECT sleepEachRow(1) FROM system.numbers SETTINGS max_block_size=1, "
    "function_sleep_max_microseconds_per_block=60000000 FORMAT Null"
)


class _Result(ctypes.Structure):
    """`local_result_v2` of chdb.h."""

    _fields_ = (
        ("buffer", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("vector", ctypes.c_void_p),
        ("elapsed", ctypes.c_double),
        ("rows_read", ctypes.c_uint64),
        ("bytes_read", ctypes.c_uint64),
        ("error_message", ctypes.c_char_p),
    )


def main(arguments: list[str]) -> int:
    library = ctypes.CDLL(arguments[0])
    query = library.query_stable_v2
    query.restype = ctypes.POINTER(_Result)
    query.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_char_p))
    command = ["clickhouse", *arguments[1:], "--query", _SERVE]
    result = query(len(command), (ctypes.c_char_p * len(command))(*(a.encode() for a in command))).contents
    message = (result.error_message or b"").decode(errors="replace")
    print(f"clickhouse ended: {message or 'no error reported'}", file=sys.stderr, flush=True)
    return 1 if message else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
