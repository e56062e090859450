"""How the cost grows: with the payload, with the number of connections, with the number of sessions."""

import dataclasses
import math
from typing import Any

from .client import sessions
from .load import Load, Measurement, Patience
from .processes import stores
from .results import Part, progress
from .servers import Running, Server, running
from .settings import Settings

COOKIE_PAYLOADS = (100, 300, 1000, 2000, 2800)  # more than 2800 bytes do not fit the 4096 of a cookie in base64
STORE_PAYLOADS = (100, 1000, 4096, 16384, 65536, 262144)
CONNECTIONS = (1, 4, 16, 64, 256, 512)
SESSIONS = (1000, 10_000, 100_000, 1_000_000)


class Sweep:
    """One sweep's servers, and the rows that it finds: one for each server, step and route."""

    def __init__(self, name: str, settings: Settings, servers: list[Server], patience: Patience):
        self.settings, self.patience = settings, patience
        self.part = Part(name, settings)
        self.part.save()
        self.servers = [server for server in servers if name in server.sweeps]

    def step(self, started: Running, load: Load, number: int, connections: int, **more: Any) -> None:
        """Measures both routes that use a session."""
        for route in ("read", "write"):
            seconds = self.settings.sweep_seconds
            best: Measurement = self.patience.best(lambda: load.measure(started, route, connections, seconds))
            name = f"{started.server.name} /{route} at {number:,}"
            if best.bad:
                self.part.note(f"{self.part.name}: {name}: {best.bad} in {best.requests} requests")
            row = {"server": started.server.name, "step": number, "route": route} | more
            self.part.add(row | dataclasses.asdict(best))
            progress(f"{self.part.name}: {name}  {best.cpu_us:.1f} µs, {best.per_second:,.0f}/s")

    def failed(self, server: Server, number: int, error: Exception) -> None:
        self.part.note(f"{self.part.name}: {server.name} failed at {number:,}: {type(error).__name__}: {error}")


def payload(settings: Settings, servers: list[Server], patience: Patience) -> None:
    """A session that holds one text of this many bytes and the counter, in place of a user."""
    sweep = Sweep("payload", settings, servers, patience)
    smoke = settings.mode == "smoke"
    with stores(settings) as shared:
        for _ in range(settings.sweep_rounds):
            for server in sweep.servers:
                steps = COOKIE_PAYLOADS if server.store == "cookie" else STORE_PAYLOADS
                for number in steps[-1:] if smoke else steps:
                    try:
                        with running(server, shared, settings, PAYLOAD=str(number)) as started:
                            load = Load(settings, sessions(server, started.port, settings.connections))
                            cookie = len(load.headers[0])
                            sweep.step(started, load, number, settings.connections, cookie_bytes=cookie)
                    except Exception as error:
                        sweep.failed(server, number, error)


def concurrency(settings: Settings, servers: list[Server], patience: Patience) -> None:
    """The sessions of the table, with more or fewer connections at once."""
    sweep = Sweep("concurrency", settings, servers, patience)
    steps = CONNECTIONS[2:3] if settings.mode == "smoke" else CONNECTIONS
    with stores(settings) as shared:
        for _ in range(settings.sweep_rounds):
            for server in sweep.servers:
                try:
                    with running(server, shared, settings) as started:
                        load = Load(settings, sessions(server, started.port, max(steps)))
                        for number in steps:
                            sweep.step(started, load, number, number)
                except Exception as error:
                    sweep.failed(server, 0, error)


def stored(settings: Settings, servers: list[Server], patience: Patience) -> None:
    """The sessions of the table, with up to a million of them in the store."""
    sweep = Sweep("sessions", settings, servers, patience)
    steps = SESSIONS[:1] if settings.mode == "smoke" else SESSIONS
    for _ in range(settings.sweep_rounds):
        for server in sweep.servers:
            for number in steps:
                try:
                    fill_and_measure(sweep, server, number)
                except Exception as error:
                    sweep.failed(server, number, error)


def fill_and_measure(sweep: Sweep, server: Server, number: int) -> None:
    settings = sweep.settings
    file = settings.folder / "cookies.filled"
    # Stores of its own, for their memory: the server fills them before it listens.
    with stores(settings) as own, running(server, own, settings, FILL=str(number), COOKIES=str(file)) as started:
        load = Load(settings, file)
        if len(load.headers) != math.ceil(number / math.ceil(number / 10_000)):
            raise RuntimeError(f"{len(load.headers)} cookies of {number} sessions")
        holder = started.store or started.process
        before = holder.memory()[0]
        sweep.step(started, load, number, settings.connections, memory=before)
