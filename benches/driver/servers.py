"""The servers of servers.toml: how they are built and started."""

import contextlib
import dataclasses
import subprocess
import tomllib
from collections.abc import Iterator

from .processes import Process, Redis, Stores, free_port
from .results import progress
from .settings import APART, HERE, VALKEY_VERSION, Settings


@dataclasses.dataclass(frozen=True)
class Server:
    name: str
    command: str
    arguments: tuple[str, ...] = ()
    package: str = ""
    store: str = ""
    bare: str = ""
    against: str = ""
    ours: bool = False
    trouble: bool = False
    counted: bool = False
    sweeps: tuple[str, ...] = ()

    @property
    def keeps_sessions(self) -> bool:
        return bool(self.store)

    @property
    def is_python(self) -> bool:
        return not self.package

    @property
    def keeps_on_the_server(self) -> bool:
        return self.store not in ("", "cookie")


def known() -> list[Server]:
    with (HERE / "servers.toml").open("rb") as file:
        tables = tomllib.load(file)["server"]
    return [Server(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}) for table in tables]


def chosen(settings: Settings) -> list[Server]:
    """Those that the run is about, with the bare servers that they are compared with."""
    servers = known()
    if settings.mode == "smoke":
        servers = [server for server in servers if server.ours or server is servers[0]]
    if settings.only_counts:  # nothing else is built
        servers = [server for server in servers if is_counted(server, settings)]
    wanted = {server.name for server in servers if settings.chooses(server.name)}
    if not set(settings.parts) <= set(APART):
        wanted |= {server.bare for server in servers if server.name in wanted} | {server.name for server in servers[:1]}
    return [server for server in servers if server.name in wanted]


def is_counted(server: Server, settings: Settings) -> bool:
    """Whether one of the parts that do not put servers under load needs it."""
    needs = {"instructions": server.counted, "trouble": server.trouble}
    return any(needed for part, needed in needs.items() if part in settings.parts)


def counted(servers: list[Server], settings: Settings) -> list[Server]:
    """Those whose instructions are counted. A short run is content with one of ours."""
    found = [server for server in servers if server.counted]
    if settings.mode == "smoke":
        found = [server for server in found if server.store in ("", "memory")]
    return found


def build(servers: list[Server], apps: list[str], settings: Settings) -> None:
    """Builds one package at a time, so that none gets what another turns on in a shared dependency.

    Fetches Valkey, which not every suite of Debian has, if a server uses it.
    """
    if any(server.store == "valkey" for server in servers):
        progress("fetching Valkey")
        subprocess.run([HERE.parent / "tests/servers", "valkey", VALKEY_VERSION], stdout=subprocess.DEVNULL, check=False)
    packages = [*(server.package for server in servers if server.package), *apps]
    packages += [f"bench-{part}" for part in ("conflicts", "limits") if part in settings.parts]
    for package in dict.fromkeys(packages):
        progress(f"building {package}")
        command = ["cargo", "build", "--locked", "--quiet", "-p", package]
        if settings.mode != "smoke":
            command.append("--release")
        if subprocess.run(command, cwd=HERE, check=False).returncode:
            # Its server will not start, and the report says so; the others are measured.
            progress(f"{package} does not build")


@dataclasses.dataclass(frozen=True)
class Running:
    server: Server
    process: Process
    store: Process | None  # whose CPU time is counted beside the server's
    port: int


@contextlib.contextmanager
def running(
    server: Server, stores: Stores | Redis, settings: Settings, under: tuple[str, ...] = (), **environment: str
) -> Iterator[Running]:
    """Runs a server, as the argument of the command `under` if there is one."""
    port = free_port()
    command = server.command.format(programs=settings.programs, python=".venv/bin/python").split()
    process = Process(
        [*under, *command, str(port), *server.arguments],
        settings.server_core,
        settings.folder / "servers.log",
        stores.of(server.store) | environment,
    )
    try:
        process.wait_for(port, 300 if under or "FILL" in environment else 20)
        yield Running(server, process, stores.processes.get(server.store), port)
    finally:
        process.stop()
