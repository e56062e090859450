"""The sweeps as tables: a row for each server and step."""

from collections.abc import Callable
from typing import Any

from .markdown import number, table
from .medians import median
from .servers import Server

TITLES = {
    "payload": ("With the size of the session", "bytes", "A session that holds one text of so many bytes, and the counter."),
    "concurrency": ("With the number of connections", "connections", "As many sessions as connections, 512 in all, in turn."),
    "sessions": (
        "With the number of sessions in the store",
        "sessions",
        "Up to 10,000 of them are used in turn. Bytes a session: what the process that holds them (the server, Redis, memcached)"
        " has resident beyond what it has with the least of them.",
    ),
}


def lines(name: str, rows: list[dict[str, Any]], servers: list[Server]) -> list[str]:
    title, unit, text = TITLES[name]
    cells = []
    for server in servers:
        own = [row for row in rows if row["server"] == server.name]
        for step in sorted({row["step"] for row in own}):
            cells.append([f"**{server.name}**" if server.ours else server.name, f"{step:,}", *columns(name, own, step)])
    heads = ["", unit, "CPU µs, /read", "/write", "store µs, /read", "/write", "requests/s, /read", "/write"]
    heads += ["p99 ms, /read", "/write"] + ([EXTRA[name][0]] if name in EXTRA else [])
    return [f"## {title}", "", text, "", *table(heads, cells)]


def columns(name: str, own: list[dict[str, Any]], step: int) -> list[str]:
    found = []
    for key, text in (("cpu_us", number), ("store_us", store), ("per_second", "{:,.0f}".format), ("p99_ms", number)):
        found += [text(at(own, step, route, key)) for route in ("read", "write")]
    if name in EXTRA:
        found.append(EXTRA[name][1](own, step))
    return found


def at(own: list[dict[str, Any]], step: int, route: str, key: str) -> float:
    return median([row[key] for row in own if row["step"] == step and row["route"] == route])


def store(us: float) -> str:
    return number(us) if us else ""


def cookie_bytes(own: list[dict[str, Any]], step: int) -> str:
    return f"{at(own, step, 'write', 'cookie_bytes'):,.0f}"


def bytes_a_session(own: list[dict[str, Any]], step: int) -> str:
    size = per_session(own, step)
    return f"{size:,.0f}" if size is not None else ""


def per_session(own: list[dict[str, Any]], step: int) -> float | None:
    """Bytes for each session more than at the first step; None where that is too few to tell."""
    first = min(row["step"] for row in own)
    if step < 10 * first or step < 10_000:
        return None
    grown = at(own, step, "read", "memory") - at(own, first, "read", "memory")
    return grown * (1 << 20) / (step - first)


EXTRA: dict[str, tuple[str, Callable[[list[dict[str, Any]], int], str]]] = {
    "payload": ("Cookie header, B", cookie_bytes),
    "sessions": ("bytes a session", bytes_a_session),
}
