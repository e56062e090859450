"""The pictures: sessions.svg, python.svg, payload.svg, concurrency.svg, stored.svg."""

import pathlib
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from . import look, sweep_tables
from .medians import Spread, Table, median
from .results import load
from .servers import Server, known
from .settings import HERE

Rows = list[dict[str, Any]]


def draw(folder: pathlib.Path) -> list[str]:
    """Draws what was measured; returns the names of the files."""
    servers, drawn = known(), []
    look.use()

    def save(name: str, figure: Figure | None) -> None:
        if figure is not None:
            look.save(figure, HERE / name)
            drawn.append(name)

    if (part := load(folder, "table")) and part["rows"]:
        measured = Table(part["rows"], part["about"]["quiet"])
        with_costs = [server for server in servers if measured.has(server.name) and measured.has(server.bare)]
        save("sessions.svg", costs(measured, [server for server in with_costs if not server.is_python]))
        pairs = {server.against for server in with_costs if server.is_python}
        save("python.svg", costs(measured, [server for server in with_costs if server.is_python or server.name in pairs]))
    for name, file, sweep in (
        ("payload", "payload.svg", payload),
        ("concurrency", "concurrency.svg", concurrency),
        ("sessions", "stored.svg", stored),
    ):
        if (part := load(folder, name)) and part["rows"]:
            save(file, sweep(part["rows"], servers))
    return drawn


# ---- the table

STORES = {"cookie": "in the cookie", "memory": "in the server's memory", "redis": "in Redis"}
STORES |= {"valkey": "in Valkey", "memcached": "in memcached"}


def costs(measured: Table, servers: list[Server]) -> Figure | None:
    """Two bars a server, /read and /write, by where the session lives."""
    groups = {store: [server for server in servers if server.store == store] for store in STORES}
    groups = {store: members for store, members in groups.items() if members}
    if not groups:
        return None
    height = sum(0.36 + 0.42 * len(members) for members in groups.values())
    figure = look.figure(7.6, height + 0.95)
    axes = figure.subplots()
    position, names = 0.0, []
    spreads = [measured.session_cost(server, route) for server in servers for route in ("read", "write")]
    longest = max(spread.high for spread in spreads)
    for store, members in groups.items():
        axes.text(0, position, STORES[store], color=look.TEXT, fontsize=9.5, va="center", style="italic")
        position += 0.78
        for server in members:
            names.append((position, server))
            for route, offset in (("read", -0.2), ("write", 0.2)):
                bar(axes, position + offset, measured.session_cost(server, route), server, route, longest)
            position += 1.05
        position += 0.2
    axes.set_ylim(position - 0.3, -0.5)
    # Up to the end of the longest line, and room for the number behind it.
    axes.set_xlim(min(0, axes.get_xlim()[0]), longest * 1.1)
    axes.set_yticks([place for place, _ in names], [server.name for _, server in names])
    for text, (_, server) in zip(axes.get_yticklabels(), names, strict=True):
        look.name(text, server.ours)
    axes.set_xlabel("CPU µs that the session adds to a request: upper bar /read, lower bar /write; less is better")
    look.plain(axes, grid="x")
    look.check_inside(figure, axes)
    return figure


def bar(axes: Any, place: float, cost: Spread, server: Server, route: str, longest: float) -> None:
    axes.barh(place, cost.median, height=0.38, color=look.colour(server.ours), alpha=0.6 if route == "read" else 1)
    if len(cost.values) > 1:
        axes.plot([cost.low, cost.high], [place, place], color=look.TEXT, linewidth=0.8)
    end = max(cost.high, cost.median, 0) + longest * 0.008
    axes.text(end, place, f"{cost.median:.1f}", color=look.TEXT, fontsize=8, va="center")


# ---- the sweeps

Value = Callable[[Rows, int], float | None]


def payload(rows: Rows, servers: list[Server]) -> Figure:
    figure = look.figure(9.6, 3.9)
    left, right = figure.subplots(1, 2)
    kinds = {server.name: server.store for server in servers}
    cookies = [row for row in rows if kinds.get(row["server"]) == "cookie"]
    stores = [row for row in rows if kinds.get(row["server"]) != "cookie"]
    lines(left, cookies, servers, writes("cpu_us"))
    lines(right, stores, servers, writes("cpu_us"), log=True)
    left.set_title("Sessions in cookies")
    right.set_title("Sessions in stores")
    for axes in (left, right):
        axes.set_xlabel("bytes in the session")
        axes.set_ylabel("server's CPU µs for a /write")
    return figure


def concurrency(rows: Rows, servers: list[Server]) -> Figure:
    figure = look.figure(9.6, 4.3)
    left, right = figure.subplots(1, 2)
    lines(left, rows, servers, writes("cpu_us"), log=True)
    lines(right, rows, servers, writes("p99_ms"), log=True)
    left.set_title("Server's CPU µs for a /write")
    right.set_title("99 of 100 /write responded to within, ms")
    for axes in (left, right):
        axes.set_xlabel("connections")
    return figure


def stored(rows: Rows, servers: list[Server]) -> Figure:
    figure = look.figure(9.6, 3.9)
    left, right = figure.subplots(1, 2)
    lines(left, rows, servers, writes("cpu_us"))
    lines(right, rows, servers, sweep_tables.per_session)
    left.set_title("Server's CPU µs for a /write")
    right.set_title("Bytes of memory for a session")
    for axes in (left, right):
        axes.set_xlabel("sessions in the store")
        axes.set_ylim(bottom=0)
    return figure


def writes(key: str) -> Value:
    return lambda own, step: median([row[key] for row in own if row["step"] == step and row["route"] == "write"])


def lines(axes: Any, rows: Rows, servers: list[Server], value: Value, log: bool = False) -> None:
    """A line a server over the steps, its name at the end."""
    axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
        look.log_scale(axes.yaxis)
    ends = []
    for index, server in enumerate(servers):
        own = [row for row in rows if row["server"] == server.name]
        steps = sorted({row["step"] for row in own})
        points = [(step, value(own, step)) for step in steps]
        points = [(step, found) for step, found in points if found is not None]
        if not points:
            continue
        marker = look.MARKERS[index % len(look.MARKERS)]
        colour = look.colour(server.ours)
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, linewidth=2 if server.ours else 1.3)
        ends.append((*points[-1], server))
    ticks = sorted({row["step"] for row in rows})
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.minorticks_off()
    if not log:
        axes.set_ylim(bottom=0)
    look.plain(axes, grid="y")
    look.end_labels(axes, ends)


def short(step: int) -> str:
    """1000 as 1k, 65536 as 64Ki, 1000000 as 1M."""
    for size, unit in ((1 << 10, "Ki"), (10**6, "M"), (10**3, "k")):
        if step >= size and step % size == 0:
            return f"{step // size}{unit}"
    return f"{step / 1000:g}k" if step >= 1000 else str(step)
