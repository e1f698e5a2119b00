"""What our documents contain: fenced and indented code, inline code, links."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "helm" / "README.md"])
SIDE = [*(ROOT / "gateway").rglob("README.md"), ROOT / "rules" / "README.md", ROOT / "CONTRIBUTING.md"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}.*\n|\n)+)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of code in a document. `language` is empty for indented code."""

    document: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.text.strip().splitlines()[0][:50]}"


def blocks(document: Path) -> list[Block]:
    """All code, in order of kind."""
    text = document.read_text(encoding="utf-8")
    fenced = [Block(document, found[1], found[2]) for found in _FENCE.finditer(text)]
    rest = _FENCE.sub("", text)
    indented = [Block(document, "", textwrap.dedent(f[1])) for f in _INDENTED.finditer(rest) if f[1].strip()]
    return fenced + indented


def inline(document: Path) -> list[str]:
    """Everything between single backticks."""
    return [found[1] for found in _INLINE.finditer(_FENCE.sub("", document.read_text(encoding="utf-8")))]


def links(document: Path) -> list[str]:
    """Targets of links, without their anchors; none that lead elsewhere."""
    found = _LINK.findall(_FENCE.sub("", document.read_text(encoding="utf-8")))
    return [
        target.partition("#")[0] for target in found if "://" not in target and not target.startswith("#")
    ]
