"""The table: every server on every route, one after the other, in rounds."""

import dataclasses
from typing import Any

from .client import sessions, verify
from .load import Load, Patience
from .processes import Stores, stores
from .results import Part, progress
from .servers import Server, running
from .settings import ROUTES, Settings


def measure(settings: Settings, servers: list[Server], patience: Patience) -> None:
    part = Part("table", settings)
    part.save()
    with stores(settings) as shared:
        for number in range(settings.rounds):
            # Every other round backwards, so that none is always the one after the same neighbour.
            for server in servers if number % 2 == 0 else reversed(servers):
                try:
                    row = measure_server(settings, server, shared, patience, part, number)
                except Exception as error:  # a server that fails does not end the run
                    part.note(f"{server.name} failed in round {number + 1}: {type(error).__name__}: {error}")
                    continue
                part.add({"server": server.name, "round": number} | row)
                costs = "  ".join(f"/{route} {row[route]['cpu_us']:.1f} µs" for route in ROUTES)
                progress(f"table, round {number + 1} of {settings.rounds}: {server.name}  {costs}")


def measure_server(
    settings: Settings, server: Server, shared: Stores, patience: Patience, part: Part, number: int
) -> dict[str, Any]:
    connections, seconds = settings.connections, settings.seconds
    with running(server, shared, settings) as started:
        row: dict[str, Any] = {"facts": verify(server, started.port)}
        # A session a connection, so that requests to one and the same session are rare.
        load = Load(settings, sessions(server, started.port, connections))
        row["cookie_bytes"] = len(load.headers[0])
        for route in ROUTES if number == 0 else ("write",):
            warm = load.wrk(started.port, route, connections, 1, check=True)
            if warm["odd"] or warm["status"]:
                part.note(f"{server.name} /{route}: {warm['odd']} of {warm['requests']} first responses were no 200 with a body")
        for route in ROUTES:
            best = patience.best(lambda: load.measure(started, route, connections, seconds, count_kept=True))
            if best.bad:
                part.note(f"{server.name} /{route}: {best.bad} in {best.requests} requests")
            # In a short run on busy cores a session's requests overlap, and the later count replaces the earlier.
            low, high = (0.5, float("inf")) if settings.mode == "smoke" else (0.99, 1.1)
            if best.kept is not None and not low <= best.kept <= high:
                part.note(f"{server.name}: of the increments that it responded to, the store has {best.kept:.0%}")
            row[route] = dataclasses.asdict(best)
        row["rss"], row["peak"] = started.process.memory()
    return row
