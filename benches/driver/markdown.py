"""Tables and numbers as Markdown."""

import math

from .medians import Spread


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def number(value: float) -> str:
    """Two digits after the point below ten, one above: more is noise."""
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:,.1f}"


def ranged(spread: Spread, unit: str = "") -> str:
    if not spread or math.isnan(spread.median):
        return ""
    text = f"{number(spread.median)}{unit}"
    if len(spread.values) > 1:
        text += f" ({number(spread.low)}–{number(spread.high)})"
    return text
