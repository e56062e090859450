"""One measurement: wrk on one route of a running server, and what everybody's CPU time was meanwhile."""

import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import time
from collections.abc import Callable
from typing import Any

from .client import total
from .processes import TICKS
from .servers import Running
from .settings import HERE, Settings


@dataclasses.dataclass
class Measurement:
    requests: int
    per_second: float
    cpu_us: float  # of the server for a request, user mode and kernel
    user_us: float
    store_us: float  # of Redis or memcached for a request
    p50_ms: float
    p90_ms: float
    p99_ms: float
    response_bytes: float
    bad: dict[str, int]  # responses other than 200, errors of sockets
    server_busy: float  # of a core
    wrk_busy: float
    noise: float  # cores that anything else took, stolen time included
    kept: float | None = None  # of the increments that got a response, how many the store has


class Load:
    """wrk with the cookies of some sessions, sent in turn on every route."""

    def __init__(self, settings: Settings, headers: list[str] | pathlib.Path):
        self.settings = settings
        self.file = settings.folder / "cookies"
        if isinstance(headers, pathlib.Path):
            self.file, self.headers = headers, headers.read_text().splitlines()
        else:
            self.headers = headers
            self.file.write_text("".join(f"{header}\n" for header in headers))

    def wrk(self, port: int, route: str, connections: int, seconds: int, check: bool = False) -> dict[str, Any]:
        environment = os.environ | {"COOKIES": str(self.file)} | ({"CHECK": "1"} if check else {})
        command = ["taskset", "-c", self.settings.load_core, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        command += ["--timeout", "5s", "-s", str(HERE / "driver/wrk.lua"), f"http://127.0.0.1:{port}/{route}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)  # without the servers, which have not ended
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = re.search(r"RESULT (\{.*\})", run.stdout)
        if not result:
            raise RuntimeError(f"wrk: {(run.stdout + run.stderr)[-300:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(result[1]) | {"cpu": cpu}

    def measure(self, running: Running, route: str, connections: int, seconds: int, count_kept: bool = False) -> Measurement:
        count_kept = count_kept and route == "write" and running.server.keeps_on_the_server
        kept_before = total(running.port, self.headers) if count_kept else 0
        before = Clock(running)
        result = self.wrk(running.port, route, connections, seconds)
        used = Clock(running) - before
        requests = max(result["requests"], 1)
        wall = result["us"] / 1e6
        store = sum(used.store)
        return Measurement(
            requests=result["requests"],
            per_second=requests / wall,
            cpu_us=sum(used.server) / requests * 1e6,
            user_us=used.server[0] / requests * 1e6,
            store_us=store / requests * 1e6,
            p50_ms=result["p50"] / 1e3,
            p90_ms=result["p90"] / 1e3,
            p99_ms=result["p99"] / 1e3,
            response_bytes=result["bytes"] / requests,
            bad={name: result[name] for name in ("status", "connect", "read", "write", "timeout") if result[name]},
            server_busy=sum(used.server) / wall,
            wrk_busy=result["cpu"] / wall,
            noise=max(0.0, used.machine - sum(used.server) - store - result["cpu"]) / used.wall,
            kept=(total(running.port, self.headers) - kept_before) / requests if count_kept else None,
        )


@dataclasses.dataclass
class Used:
    wall: float
    machine: float
    server: tuple[float, float]
    store: tuple[float, float]


class Clock:
    """Everybody's CPU time at one moment."""

    def __init__(self, running: Running):
        self.wall, self.machine, self.server = time.monotonic(), machine_busy(), running.process.cpu()
        self.store = running.store.cpu() if running.store else (0.0, 0.0)

    def __sub__(self, before: "Clock") -> Used:
        return Used(
            self.wall - before.wall,
            self.machine - before.machine,
            (self.server[0] - before.server[0], self.server[1] - before.server[1]),
            (self.store[0] - before.store[0], self.store[1] - before.store[1]),
        )


def machine_busy() -> float:
    """Seconds that all cores were not idle, time stolen by other guests of the host included."""
    fields = pathlib.Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    seconds = [int(field) / TICKS for field in fields]
    return sum(seconds) - seconds[3] - seconds[4]  # proc(5): idle and iowait


class Patience:
    """Seconds to spend, in the whole run, on waiting for others to leave the cores and on measuring again."""

    def __init__(self, settings: Settings):
        self.settings, self.left = settings, settings.patience

    def wait(self) -> None:
        step = 0.2
        while self.left > 0:
            before = machine_busy()
            time.sleep(step)
            if machine_busy() - before <= self.settings.quiet * step + 1 / TICKS:
                return
            self.left -= step

    def best(self, measure: Callable[[], Measurement]) -> Measurement:
        """The quietest of a few measurements, one if nothing disturbed it."""
        best: Measurement | None = None
        for _ in range(1 + self.settings.retries):
            self.wait()
            start = time.monotonic()
            again = measure()
            if best is None or again.noise < best.noise:
                best = again
            if best.noise <= self.settings.quiet:
                break
            self.left -= time.monotonic() - start
            if self.left <= 0:
                break
        return best
