"""Processes that a run starts, each on one core, and ends by pid."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

from .settings import HERE, VALKEY, Settings

TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    def __init__(self, command: list[str], core: str, log: pathlib.Path, environment: dict[str, str] | None = None):
        self.log = log
        with log.open("ab") as file:
            self.child = subprocess.Popen(
                ["taskset", "-c", core, *command],  # which becomes the command: the pid is the server's own
                cwd=HERE,
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        self.pid = self.child.pid

    def cpu(self) -> tuple[float, float]:
        """Seconds in user mode and in the kernel so far, of all threads."""
        # The name before the bracket may hold anything. proc(5): fields 14 and 15.
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def memory(self) -> tuple[float, float]:
        """MiB resident now, and at most so far."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        now, peak = (int(re.search(name + r":\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM"))
        return now, peak

    def wait_for(self, port: int, seconds: float) -> None:
        """Returns as soon as it listens."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.child.poll() is not None:
                last = self.log.read_text(errors="replace").strip()[-300:]
                raise RuntimeError(f"ended at once, {self.child.returncode}: {last}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"does not listen after {seconds:.0f} s: see {self.log}")

    def stop(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(30)  # callgrind writes what it has counted
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis_command(port: int, folder: str, program: str = "redis-server") -> list[str]:
    """Without persistence."""
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    return [*command, "--save", "", "--appendonly", "no"]


class Stores:
    """A Redis without persistence and a memcached, on the load's core, with their defaults otherwise.

    A Valkey beside them, if a server that is measured uses it.
    """

    def __init__(self, settings: Settings):
        self.redis_port, self.memcached_port = free_port(), free_port()
        memcached = ["memcached", "-l", "127.0.0.1", "-p", str(self.memcached_port), "-U", "0"]
        memcached += ["-m", "4096"]  # MiB, as an upper bound: room for a million sessions
        if os.geteuid() == 0:
            memcached += ["-u", "root"]
        log = settings.folder / "stores.log"
        self.processes = {
            "redis": Process(redis_command(self.redis_port, str(settings.folder)), settings.load_core, log),
            "memcached": Process(memcached, settings.load_core, log),
        }
        self.environment = {
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/",
            "MEMCACHED": f"127.0.0.1:{self.memcached_port}",
        }
        self.folder, self.settings = settings.folder, settings

    def of(self, store: str) -> dict[str, str]:
        """The environment of a server that keeps its sessions in `store`."""
        if store != "valkey":
            return self.environment
        if "valkey" not in self.processes:
            if not VALKEY.exists():
                raise RuntimeError("Valkey could not be fetched")
            self.valkey_port = free_port()
            command = redis_command(self.valkey_port, str(self.folder), str(VALKEY))
            self.processes["valkey"] = Process(command, self.settings.load_core, self.folder / "stores.log")
            self.processes["valkey"].wait_for(self.valkey_port, 20)
        return self.environment | {"REDIS_URL": f"redis://127.0.0.1:{self.valkey_port}/"}

    def wait(self) -> None:
        self.processes["redis"].wait_for(self.redis_port, 20)
        self.processes["memcached"].wait_for(self.memcached_port, 20)

    def stop(self) -> None:
        for process in self.processes.values():
            process.stop()


@contextlib.contextmanager
def stores(settings: Settings) -> Iterator[Stores]:
    started = Stores(settings)
    try:
        started.wait()
        yield started
    finally:
        started.stop()


class Redis:
    """A Redis alone, which is stopped and started again on the same port."""

    def __init__(self, settings: Settings, folder: str):
        self.settings, self.folder = settings, folder
        self.port = free_port()
        self.environment = {"REDIS_URL": f"redis://127.0.0.1:{self.port}/"}
        self.processes: dict[str, Process] = {}
        self.start()

    def of(self, _store: str) -> dict[str, str]:
        return self.environment

    def start(self) -> None:
        command = redis_command(self.port, self.folder)
        self.processes["redis"] = Process(command, self.settings.load_core, self.settings.folder / "stores.log")

    def wait(self) -> None:
        self.processes["redis"].wait_for(self.port, 20)

    def pause(self) -> None:
        self.processes["redis"].child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.processes["redis"].child.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.processes["redis"].kill()

    def command(self, line: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f"{line}\r\n".encode())
            return connection.recv(1000).decode()
