"""Instructions in user mode for a request, counted by callgrind. Other load on the machine does not change them."""

import pathlib
import re

from .client import Client, expect, sessions, verify
from .markdown import table
from .processes import Stores, stores
from .results import Part, Rows, progress
from .servers import Server, counted, running
from .settings import ROUTES, Settings


def measure(settings: Settings, servers: list[Server]) -> None:
    part = Part("instructions", settings)
    part.save()
    with stores(settings) as shared:
        for server in counted(servers, settings):
            try:
                row = measure_server(server, shared, settings)
            except Exception as error:  # a server that fails does not end the run
                part.note(f"{server.name} failed under callgrind: {type(error).__name__}: {error}")
                continue
            part.add({"server": server.name} | row)
            progress(f"instructions: {server.name}  " + "  ".join(f"/{route} {row[route]:,.0f}" for route in ROUTES))


def measure_server(server: Server, shared: Stores, settings: Settings) -> dict[str, float]:
    """Subtracts a run with few requests from one that has `requests` more of a route, so that start-up drops out."""
    few = total(server, shared, settings, {})
    return {
        route: (total(server, shared, settings, {route: settings.requests}) - few) / settings.requests for route in ROUTES
    }


def total(server: Server, shared: Stores, settings: Settings, more: dict[str, int]) -> int:
    """Counts a whole run: start-up, the same few requests of all routes, and `more`."""
    file = settings.folder.resolve() / "callgrind.out"
    file.unlink(missing_ok=True)
    callgrind = ("valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={file}")
    with running(server, shared, settings, under=callgrind) as started:
        verify(server, started.port)
        [cookie] = sessions(server, started.port, 1)
        # One request at a time on one connection, with the cookie that the first response has set.
        client = Client(started.port)
        for route in ROUTES:
            for _ in range(settings.requests // 10 + more.get(route, 0)):
                response = client.get(route, cookie)
                if route == "none":
                    expect(response, "ok", "/none")
        client.close()
    return instructions(file)


def instructions(file: pathlib.Path) -> int:
    totals = re.findall(r"^totals: (\d+)", file.read_text(), re.MULTILINE)
    if not totals:
        raise RuntimeError("callgrind has written no totals")
    return sum(map(int, totals))


def lines(rows: Rows, servers: list[Server]) -> list[str]:
    found = {row["server"]: row for row in rows}
    ours = {server.name: server for server in servers if server.ours}

    def own(server: Server, route: str) -> float:
        return found[server.name][route] - found[server.bare][route]

    cells = []
    for server in servers:
        if server.name not in found:
            continue
        name = f"**{server.name}**" if server.ours else server.name
        row = [name, *(f"{found[server.name][route]:,.0f}" for route in ROUTES)]
        has_bare = server.bare in found
        row += [f"{own(server, route):,.0f}" if has_bare else "" for route in ROUTES]
        rival = ours.get(server.against)
        compared = has_bare and rival and rival.name in found and rival.bare in found
        row += [f"{own(server, route) / own(rival, route):.2f}×" if compared else "" for route in ROUTES[1:]]
        cells.append(row)
    text = (
        "The server's instructions in user mode for a request, counted by callgrind; then less those of the same framework"
        " without a session. Requests come one at a time on one connection. callgrind emulates a processor without SHA"
        " instructions, so encryption and signatures count more than they cost."
    )
    heads = ["", *(f"/{route}" for route in ROUTES), *(f"session, /{route}" for route in ROUTES), "beside ours, /read", "/write"]
    return ["## Instructions", "", text, "", *table(heads, cells)]
