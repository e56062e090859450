"""What a run finds: a JSON file for each part, written as it comes, so that nothing measured is lost."""

import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from typing import Any

from .settings import HERE, SWEEPS, VALKEY, Settings


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


Rows = list[dict[str, Any]]


class Part:
    """One part of a run: its rows, what went wrong, and where and when that was."""

    def __init__(self, name: str, settings: Settings):
        self.name = name
        self.path = settings.folder / f"{name}.json"
        self.started = time.time()
        self.rows: Rows = []
        self.notes: list[str] = []
        self.about = machine() | {
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "seconds": settings.sweep_seconds if name in SWEEPS else settings.seconds,
            "rounds": settings.sweep_rounds if name in SWEEPS else settings.rounds,
            "connections": settings.connections,
            "quiet": settings.quiet,
        }

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.save()

    def note(self, text: str) -> None:
        progress(f"NOTE: {text}")
        if text not in self.notes:
            self.notes.append(text)
        self.save()

    def save(self) -> None:
        self.about["took"] = round(time.time() - self.started)
        data = {"about": self.about, "notes": self.notes, "rows": self.rows}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(data, indent=1))
        unfinished.replace(self.path)


def load(folder: pathlib.Path, name: str) -> dict[str, Any] | None:
    """A part as it was saved, or None if it was never measured."""
    try:
        return json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError:
        return None


def machine() -> dict[str, str]:
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}",
        "versions": "; ".join([
            output("rustc", "--version"),
            re.sub(r"^Redis server v=(\S+).*", r"Redis \1", output("redis-server", "--version")),
            *([re.sub(r"^Valkey server v=(\S+).*", r"Valkey \1", output(str(VALKEY), "--version"))] if VALKEY.exists() else []),
            output("memcached", "--version"),
            re.sub(r"^(wrk \S+).*", r"\1", output("wrk", "--version")),
            f"Python {platform.python_version()}",
        ]),
        "peers": ", ".join(peers()),
    }


def processor() -> str:
    """The model, with the numbers that tell two of one name apart."""
    about = pathlib.Path("/proc/cpuinfo").read_text()
    found = [re.search(rf"^{name}\s*:\s*(.*)", about, re.MULTILINE) for name in ("model name", "cpu family", "model")]
    name, family, model = (it[1] if it else "" for it in found)
    return f"{name} (family {family}, model {model})" if family else name or platform.machine()


def peers() -> list[str]:
    """The versions that are locked."""
    lock, python = (HERE / "Cargo.lock").read_text(), (HERE / "requirements.txt").read_text()
    names = ("hyper", "axum", "actix-web", "tower-sessions", "tower-sessions-redis-store", "actix-session", "axum_session", "tokio")
    names += ("fred", "redis")  # the clients of the peers and ours
    found = []
    for name in names:
        versions = re.findall(rf'^name = "{name}"\nversion = "(.*)"', lock, re.MULTILINE)
        found.append(f"{name} {' and '.join(versions)}")
    return found + re.findall(r"^(?:aiohttp|aiohttp-session)==.*", python, re.MULTILINE)


def output(*command: str) -> str:
    """The first line that a program says about itself."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"no {command[0]}"
    return (run.stdout or run.stderr).partition("\n")[0]
