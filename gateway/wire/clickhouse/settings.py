"""Which settings a client may send: the allow-list of `settings.txt`, and what an operator adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources


def _read(text: str) -> tuple[frozenset[str], frozenset[str], tuple[str, ...], tuple[str, ...]]:
    """(never, names, prefixes, excepted prefixes) of the list."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    never = frozenset(line[1:] for line in lines if line[0] == "!")
    excepted = tuple(line[1:].rstrip("*") for line in lines if line[0] == "-")
    plain = [line for line in lines if line[0] not in "!-"]
    names = frozenset(line for line in plain if not line.endswith("*"))
    return never, names, tuple(line[:-1] for line in plain if line.endswith("*")), excepted


NEVER, _NAMES, _PREFIXES, _EXCEPTED = _read(
    resources.files(__package__).joinpath("settings.txt").read_text("utf-8")
)
"""NEVER: refused whatever an operator lists."""


class UnknownSettings(StrEnum):
    """What happens to a setting that is not on the list. Dropping is said in a response header."""

    REFUSE = "refuse"
    DROP = "drop"
    PASS = "pass"  # noqa: S105


@dataclass(frozen=True, slots=True)
class SettingsPolicy:
    """`allow` and `deny` add to the built-in lists; `deny` wins; `NEVER` wins over both."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    unknown: UnknownSettings = UnknownSettings.REFUSE

    def accepts(self, name: str) -> bool:
        """Whether the name is on the list (`readonly` is checked by value elsewhere)."""
        return name not in self.deny and name not in NEVER and (name in self.allow or _listed(name))

    def passes_unknown(self, name: str) -> bool:
        """Whether an operator lets unlisted names through, and this one may be among them."""
        return (
            self.unknown is UnknownSettings.PASS
            and name not in NEVER
            and name not in self.deny
            and "dialect" not in name
        )


@lru_cache(maxsize=4096)
def _listed(name: str) -> bool:
    if name in _NAMES:
        return True
    return name.startswith(_PREFIXES) and not name.startswith(_EXCEPTED)
