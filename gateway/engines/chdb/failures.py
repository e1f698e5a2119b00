"""Statuses of ClickHouse's exception codes, and exceptions as the HTTP interface tells them.

Statuses as ClickHouse 26.7 answers them (`exceptionCodeToHTTPStatus`); codes not listed are 500.
"""

from __future__ import annotations

import re

_STATUS_OF_CODES = {
    400: (6, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 68, 72, 76, 117, 167, 168, 321, 427),
    401: (194,),
    403: (192, 193, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 81, 115, 511),
    408: (159,),
    411: (381,),
    501: (48,),
    503: (209, 439),
}
STATUS = {code: status for status, codes in _STATUS_OF_CODES.items() for code in codes}
_CODE = re.compile(r"Code: (\d+)\. ")

BAD_ARGUMENTS, SESSION_NOT_FOUND, SESSION_IS_LOCKED, TOO_MANY_SESSIONS = 36, 372, 373, 202


class Failure(Exception):
    """An exception to tell the client. `text` is as ClickHouse words it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """From what chdb raised; its own prefix about streaming is not for clients."""
        text = str(error)
        match = _CODE.search(text)
        if match is None:
            return cls(1001, f"Code: 1001. DB::Exception: {text}. (STD_EXCEPTION)")
        return cls(int(match[1]), text[match.start() :])

    @classmethod
    def saying(cls, code: int, name: str, message: str) -> Failure:
        """One of our own, in the same words."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({name})")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS.get(self.code, 500)
