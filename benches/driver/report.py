"""RESULTS.md: the tables."""

import pathlib
from typing import Any

from . import apps, conflicts, instructions, limits_table, sweep_tables, trouble
from .markdown import number, ranged, table
from .medians import Table, median
from .results import load
from .servers import Server, known
from .settings import PARTS, ROUTES

Rows = list[list[str]]

STORES = {"cookie": "the cookie", "memory": "the server's memory", "redis": "Redis"}
STORES |= {"valkey": "Valkey", "memcached": "memcached"}


def markdown(folder: pathlib.Path) -> str:
    parts = {name: load(folder, name) for name in PARTS}
    found = {name: part for name, part in parts.items() if part and part["rows"]}
    servers = known()
    lines = ["# What a session costs", "", *head(found)]
    if "table" in found:
        measured = Table(found["table"]["rows"], found["table"]["about"]["quiet"])
        present = [server for server in servers if measured.has(server.name)]
        lines += in_short(measured, present)
        lines += the_table(measured, present, found["table"]["about"])
    lines += counts(found, servers)
    if "table" in found:
        if "limits" in found:
            lines += limits_table.lines(measured, present, found["limits"]["rows"])
    for name in sweep_tables.TITLES:
        if name in found:
            lines += sweep_tables.lines(name, found[name]["rows"], servers)
    if "table" in found:
        lines += seen(measured, present)
    lines += ["## Notes of the run", ""]
    notes = [f"- {note}" for part in parts.values() if part for note in part["notes"]]
    lines += notes or ["Nothing failed, and no response was other than 200."]
    return "\n".join(lines) + "\n"


def counts(found: dict[str, dict[str, Any]], servers: list[Server]) -> list[str]:
    """The sections that count events and not time."""
    lines = []
    if "instructions" in found:
        lines += instructions.lines(found["instructions"]["rows"], servers)
    if "conflicts" in found:
        lines += conflicts.lines(found["conflicts"]["rows"])
    if "trouble" in found:
        lines += trouble.lines(found["trouble"]["rows"])
    if "apps" in found:
        lines += apps.lines(found["apps"]["rows"])
    return lines


def only_counts(folder: pathlib.Path, names: tuple[str, ...]) -> str:
    """The sections of a run of these parts alone, and what went wrong."""
    parts = {name: load(folder, name) for name in names}
    found = {name: part for name, part in parts.items() if part and part["rows"]}
    notes = [f"- {note}" for part in parts.values() if part for note in part["notes"]]
    lines = [f"{about['machine']}; {about['versions']}; {about['when']}" for part in found.values() for about in [part["about"]]]
    return "\n".join([*dict.fromkeys(lines), "", *counts(found, known()), *notes]) + "\n"


def alone(folder: pathlib.Path, name: str) -> str:
    """A page of its own for a part that is not in RESULTS.md."""
    part = load(folder, name) or {"rows": [], "notes": ["was not measured"]}
    [title, *section] = counts({name: part}, known()) if part["rows"] else [f"## {name}"]
    written = [f"Written by `benches/run {name}`; [README.md](README.md) says what is done and how.", ""]
    if part["rows"]:
        about = part["about"]
        written += [f"- {about['machine']}", f"- {about['versions']}", f"- {about['peers']}", f"- Measured: {about['when']}", ""]
    notes = [f"- {note}" for note in part["notes"]]
    return "\n".join([title.removeprefix("#"), "", *written, *section[1:], *notes]).rstrip() + "\n"


def head(found: dict[str, dict[str, Any]]) -> list[str]:
    if not found:
        return ["Nothing was measured yet.", ""]
    first = next(iter(found.values()))["about"]
    times = [f"{name} {part['about']['when']} ({part['about']['took'] / 60:.1f} minutes)" for name, part in found.items()]
    return [
        "Written by `benches/run`; [README.md](README.md) says what is measured, how, and what the numbers do not say.",
        "",
        f"- Machine: {first['machine']}",
        f"- {first['versions']}",
        f"- {first['peers']}",
        f"- Measured: {', '.join(times)}",
        "",
    ]


def in_short(measured: Table, servers: list[Server]) -> list[str]:
    """The two routes that use a session, ours beside the peers: to be pasted where readers come first."""
    ours = {server.name: server for server in servers if server.ours}
    rows: Rows = []
    for store, place in STORES.items():
        for server in servers:
            if server.store != store or not measured.has(server.bare):
                continue
            row = [place, label(server)]
            row += [number(measured.session_cost(server, route).median) for route in ROUTES[1:]]
            spreads = [measured.compared(server, ours[server.against], route) if server.against in ours else None for route in ROUTES[1:]]
            row += [f"{number(spread.median)}×" if spread and spread.median == spread.median else "" for spread in spreads]
            rows.append(row)
    if not rows:
        return []
    text = "The server's CPU time that the session adds to a request, µs, and the same as a multiple of ours in the same place."
    heads = ["the session lives in", "", "µs, /read", "µs, /write", "beside ours, /read", "/write"]
    return ["## In short", "", text, "", *table(heads, rows)]


def the_table(measured: Table, servers: list[Server], about: dict[str, Any]) -> list[str]:
    heads = [f"{about['rounds']} rounds, {about['seconds']} s each, {about['connections']} connections."]
    heads += ["Medians; in brackets the range over the rounds. µs are CPU time for a request, user mode and kernel."]
    return [
        "## The table",
        "",
        " ".join(heads),
        "",
        *session_costs(measured, servers),
        *comparisons(measured, servers),
        *cpu(measured, servers),
        *rates(measured, servers),
        *latencies(measured, servers),
        *memory(measured, servers),
    ]


def session_costs(measured: Table, servers: list[Server]) -> list[str]:
    rows: Rows = []
    for server in servers:
        if not server.bare or not measured.has(server.bare):
            continue
        row = [label(server)] + [ranged(measured.session_cost(server, route)) for route in ROUTES]
        has_store = server.store in ("redis", "valkey", "memcached")
        row += [number(measured.value(server.name, route, "store_us").median) if has_store else "" for route in ROUTES]
        rows.append(row)
    text = "The server's CPU time less that of the same framework without a session, in the same round; and the store's own."
    heads = ["µs a request", *(f"/{route}" for route in ROUTES), *(f"store, /{route}" for route in ROUTES)]
    return ["### What the session itself costs", "", text, "", *table(heads, rows)]


def comparisons(measured: Table, servers: list[Server]) -> list[str]:
    ours = {server.name: server for server in servers if server.ours}
    rows: Rows = []
    for peer in servers:
        if peer.against in ours:
            spreads = [measured.compared(peer, ours[peer.against], route) for route in ROUTES[1:]]
            rows.append([peer.name, peer.against, *(ranged(spread, "×") for spread in spreads)])
    if not rows:
        return []
    text = "The session's cost as a multiple of ours where a session lives in the same place, in the same round."
    return ["### Beside ours", "", text, "", *table(["", "beside", "/read", "/write"], rows)]


def cpu(measured: Table, servers: list[Server]) -> list[str]:
    base = servers[0].name
    rows: Rows = []
    for server in servers:
        row = [label(server)]
        for route in ROUTES:
            row += [number(measured.value(server.name, route, "cpu_us").median)]
            row += [number(measured.value(server.name, route, "user_us").median)]
            row += [ranged(measured.ratio(server.name, base, route, "cpu_us"))]
        rows.append(row)
    heads = [head for route in ROUTES for head in (f"/{route}", "of that user mode", "ratio")]
    text = f"The ratio is to {base}, in the same round."
    return ["### The server's CPU time, µs a request", "", text, "", *table(["", *heads], rows)]


def rates(measured: Table, servers: list[Server]) -> list[str]:
    base = servers[0].name
    rows: Rows = []
    for server in servers:
        row = [label(server)]
        for route in ROUTES:
            row += [f"{measured.value(server.name, route, 'per_second').median:,.0f}"]
            row += [ranged(measured.ratio(server.name, base, route, "per_second"))]
        rows.append(row)
    text = "One core for the server, one for wrk and the store: whichever is full first is the bound, for the fast ones wrk."
    heads = [head for route in ROUTES for head in (f"/{route}", "ratio")]
    return ["### Requests per second", "", text, "", *table(["", *heads], rows)]


def latencies(measured: Table, servers: list[Server]) -> list[str]:
    def cell(server: Server, route: str) -> str:
        keys = ("p50_ms", "p90_ms", "p99_ms")
        return " / ".join(f"{measured.value(server.name, route, key).median:.2f}" for key in keys)

    rows = [[label(server), *(cell(server, route) for route in ROUTES)] for server in servers]
    text = "Under full load, where each connection asks again at once: mostly the time in the queue before the server."
    return ["### Latency, ms: p50 / p90 / p99", "", text, "", *table(["", *(f"/{route}" for route in ROUTES)], rows)]


def memory(measured: Table, servers: list[Server]) -> list[str]:
    rows: Rows = []
    for server in servers:
        own = measured.of(server.name)
        every = [row[route] for row in own for route in ROUTES]
        kept = [row["write"]["kept"] for row in own if row["write"]["kept"] is not None]
        responses = [measured.value(server.name, route, "response_bytes").median for route in ("read", "write")]
        busy = [median([each[key] for each in every]) for key in ("server_busy", "wrk_busy")]
        rows.append([
            label(server),
            number(median([row["rss"] for row in own])),
            number(median([row["peak"] for row in own])),
            str(own[0]["cookie_bytes"]),
            " / ".join(f"{size:.0f}" for size in responses),
            " / ".join(f"{share:.0%}" for share in busy),
            f"{median(kept):.0%}" if kept else "",
            str(sum(sum(each["bad"].values()) for each in every)),
            f"{sum(each['noise'] <= measured.quiet for each in every)} of {len(every)}",
        ])
    text = "Updates kept: of the increments that got a response, how many the store has (above 100 %: responses after the end of the load)."
    heads = ["", "MiB resident", "peak", "Cookie header, B", "response to /read / /write, B", "server / wrk busy", "updates kept"]
    return ["### Memory, sizes, checks", "", text, "", *table([*heads, "bad responses", "quiet runs"], rows)]


def seen(measured: Table, servers: list[Server]) -> list[str]:
    lines = ["## What each was seen to do", "", "Checked before each load, beside the responses and the counters.", ""]
    for server in servers:
        facts = measured.of(server.name)[0]["facts"]
        if facts:
            lines.append(f"- **{server.name}**: " + "; ".join(f"{what}: {response}" for what, response in facts.items()))
    return [*lines, ""]


def label(server: Server) -> str:
    return f"**{server.name}**" if server.ours else server.name
