"""How the pictures look: readable on a light and on a dark page, small, the same whenever they are drawn."""

import pathlib
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import LogLocator  # noqa: E402

from .servers import Server  # noqa: E402

# Each with a contrast of about 4 to white and to black, since a page may be either.
OURS = "#d9480f"
PEERS = "#8b949e"
TEXT = "#7a828c"
MARKERS = "osD^vPX"


def use() -> None:
    matplotlib.rcParams.update({
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "benches",  # and identifiers the same
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
        "font.size": 9,
        "axes.titlesize": 10,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "axes.titlecolor": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
        "axes.edgecolor": TEXT,
    })


def figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def save(picture: Figure, path: pathlib.Path) -> None:
    picture.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def colour(ours: bool) -> str:
    return OURS if ours else PEERS


def name(text: Any, ours: bool) -> None:
    text.set_color(OURS if ours else TEXT)
    text.set_fontweight("bold" if ours else "normal")


def plain(axes: Any, grid: str) -> None:
    """No frame, a faint grid."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, color=TEXT, alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)


def check_inside(picture: Figure, axes: Any) -> None:
    """Fails if a line or a number of the axes reaches beyond them, where it would be cut off or misplaced."""
    picture.draw_without_rendering()
    left, right = axes.bbox.x0, axes.bbox.x1
    for artist in (*axes.lines, *axes.patches, *axes.texts):
        extent = artist.get_window_extent()
        if extent.x0 < left - 1 or extent.x1 > right + 1:
            raise ValueError(f"{artist} is not inside of the picture")


def log_scale(axis: Any) -> None:
    """Plain numbers at 1, 2, 5, 10, ..."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")


def end_labels(axes: Any, ends: list[tuple[float, float, Server]]) -> None:
    """The servers' names to the right of their lines' ends, moved apart where they would overlap."""
    least = 0.062  # of the height: a line of text
    axes.autoscale_view()
    to_axes = axes.transScale + axes.transLimits
    ends = sorted(ends, key=lambda end: end[1])
    heights = [to_axes.transform((x, y))[1] for x, y, _ in ends]
    for _ in range(200):
        for below in range(len(heights) - 1):
            gap = least - (heights[below + 1] - heights[below])
            if gap > 0:
                heights[below] -= gap / 2
                heights[below + 1] += gap / 2
        heights = [min(max(height, 0.0), 1.0) for height in heights]
    for height, (x, y, server) in zip(heights, ends, strict=True):
        label = axes.annotate(
            server.name,
            xy=(x, y),
            xytext=(1.05, height),
            textcoords="axes fraction",
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour(server.ours), "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4},
        )
        name(label, server.ours)
