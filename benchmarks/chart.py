"""The figures as bars, in an SVG written by hand: no library is needed for a few rectangles."""

from __future__ import annotations

from html import escape
from pathlib import Path

from benchmarks.report import LOAD, MACHINE, Report

_WIDTH, _LINE, _LEFT = 900, 18, 430
_COLOURS = {"direct": "#9aa5b1", "gateway": "#2f6fde", "chproxy": "#d9822b", "trino-gateway": "#b04fb8"}
_SHOWN = ("added p50 (pairs)", "proxy CPU a request", "throughput", "rate", "cold p50", "warm p50", "p50")


def write(report: Report, path: Path) -> None:
    """One group of bars for each metric that is shown; bars of a group share their scale."""
    lines: list[str] = []
    y = _LINE
    for work in report.works():
        for metric in dict.fromkeys(row.metric for row in report.rows if row.work == work):
            if metric not in _SHOWN:
                continue
            bars = [row for row in report.rows if row.work == work and row.metric == metric]
            top = max((bar.value for bar in bars), default=0.0)
            load = report.value(work, MACHINE, LOAD)
            beside = "" if load is None else f" (load {load:.1f})"
            lines.append(_text(4, y + 13, f"{work}: {metric}, {bars[0].unit}{beside}", "bold"))
            y += _LINE
            for bar in bars:
                width = 0.0 if top <= 0 else max(0.0, bar.value) / top * (_WIDTH - _LEFT - 90)
                colour = _COLOURS.get(bar.target, "#666")
                lines.append(_text(20, y + 13, bar.target))
                lines.append(f'<rect x="150" y="{y + 2}" width="{width:.1f}" height="14" fill="{colour}"/>')
                lines.append(_text(int(156 + width), y + 13, f"{bar.value:,.3g}"))
                y += _LINE
            y += _LINE // 2
    style = "font: 12px sans-serif; background: white"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + _LINE}" style="{style}">'
    path.write_text("\n".join([head, *lines, "</svg>\n"]))


def _text(x: int, y: int, words: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(words)}</text>'
