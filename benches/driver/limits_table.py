"""What our sessions cost beside the sum of the parts that they cannot do without."""

from typing import Any

from .markdown import number, table
from .medians import Table, median
from .servers import Server

READ = {
    "session-cookie, Fernet": ("JSON parse", "Fernet open"),
    "session-cookie, NaCl": ("JSON parse", "NaCl open"),
    "session-core, memory": ("JSON parse",),
    "session-redis": ("JSON parse", "Redis GET"),
    "session-memcached": ("JSON parse", "memcached gets"),
}
WRITE = {
    "session-cookie, Fernet": ("JSON parse", "Fernet open", "JSON write", "Fernet seal"),
    "session-cookie, NaCl": ("JSON parse", "NaCl open", "JSON write", "NaCl seal"),
    "session-core, memory": ("JSON parse", "JSON write"),
    "session-redis": ("JSON parse", "JSON write", "Redis GET, SET"),
    "session-memcached": ("JSON parse", "JSON write", "memcached gets, cas"),
}


def lines(measured: Table, servers: list[Server], rows: list[dict[str, Any]]) -> list[str]:
    parts: dict[str, list[float]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row["us"])
    costs = {part: median(values) for part, values in parts.items()}
    compared = []
    for server in servers:
        for route, needs in (("read", READ.get(server.name)), ("write", WRITE.get(server.name))):
            if not needs or any(part not in costs for part in needs) or not measured.has(server.bare):
                continue
            cost, least = measured.session_cost(server, route).median, sum(costs[part] for part in needs)
            compared.append([f"{server.name}, /{route}", " + ".join(needs), *map(number, (cost, least, cost / least))])
    text = (
        "The parts alone in a loop, in the crates that are used here, JSON into a struct of known fields; round trips by 64 tasks"
        " at once. What is beyond the sum: finding the cookie, the fields of any type, Set-Cookie, the futures, fewer"
        " commands that travel together, and the compare-and-set in Redis."
    )
    return [
        "## Beside the sum of its parts",
        "",
        text,
        "",
        *table(["part", "CPU µs"], [[part, number(cost)] for part, cost in costs.items()]),
        *table(["", "needs", "session µs", "sum µs", "times"], compared),
    ]
