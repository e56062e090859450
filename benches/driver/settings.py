"""What a run may be told, and where its files are."""

import dataclasses
import os
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent.parent
RUN = HERE / ".run"
VALKEY_VERSION = "8.1"  # the first one that compares and sets with one command
VALKEY = HERE.parent / f"target/servers/valkey-{VALKEY_VERSION}/run"
ROUTES = ("none", "read", "write")

PARTS = ("table", "instructions", "conflicts", "limits", "payload", "concurrency", "sessions")
SWEEPS = PARTS[4:]
APART = ("trouble", "apps")  # not in a full run, which they would hold up: they wait where nothing responds
COUNTS = (*PARTS[1:3], *APART)  # alone, these parts print what they found and leave RESULTS.md as it is


@dataclasses.dataclass(frozen=True)
class Settings:
    mode: str = "full"  # full, quick, smoke
    parts: tuple[str, ...] = PARTS
    only: str = ""  # a regular expression: the servers whose name it is found in, and the bare ones
    seconds: int = 2  # of each measurement of the table; wrk takes whole ones
    rounds: int = 3  # of the table and the limits
    sweep_seconds: int = 1
    sweep_rounds: int = 1
    connections: int = 64
    requests: int = 2000  # of a route, to count their instructions
    server_core: str = "0"
    load_core: str = "1"  # for wrk and the store
    quiet: float = 0.15  # cores that others may use during a measurement
    retries: int = 2  # of a measurement that others disturbed
    patience: float = 120  # seconds, in the whole run, for waiting for others and measuring again
    minutes: float = 25  # after which no further part is begun

    @property
    def folder(self) -> pathlib.Path:
        """Where this run's results go: a short run does not replace those of a full one."""
        return RUN / self.mode

    @property
    def programs(self) -> str:
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        return f"{target}/debug" if self.mode == "smoke" else f"{target}/release"

    @property
    def only_counts(self) -> bool:
        return set(self.parts) <= set(COUNTS)

    def chooses(self, name: str) -> bool:
        return bool(re.search(self.only, name))


USAGE = """\
usage: benches/run [MODE] [PART..] [NAME=VALUE..]

modes   (none)   everything: about 20 minutes after building. Writes RESULTS.md and the pictures
        quick    the table alone, in two rounds of a second: prints it
        smoke    builds and checks our servers and bare hyper, in seconds: measures nothing worth reading
        build    builds all that a full run needs, and measures nothing
        draw     RESULTS.md and the pictures again, from what the last full run measured
parts   table, instructions, conflicts, limits, payload, concurrency, sessions; sweeps: the last three. Default: all.
        trouble (writes TROUBLE.md), apps (writes APPS.md): only if named, and in smoke
        instructions, conflicts, trouble and apps alone print what they found and leave RESULTS.md as it is
values  only=REGEX (the servers whose name matches, and the bare ones)  rounds=3  seconds=2  sweep_rounds=1
        sweep_seconds=1  requests=2000  connections=64  server_core=0  load_core=1  quiet=0.15  retries=2  patience=120  minutes=25
"""


def parse(words: list[str]) -> tuple[str, Settings]:
    """What to do (measure, build, draw) and with which settings."""
    command, changed, parts = "measure", {}, []
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in kinds and name not in ("mode", "parts"):
            changed[name] = kinds[name](value)
        elif word in ("build", "draw"):
            command = word
        elif word == "quick":
            changed = {"mode": word, "rounds": 2, "seconds": 1, "patience": 20.0} | changed
            parts = parts or ["table"]
        elif word == "smoke":
            changed = {"mode": word, "rounds": 1, "seconds": 1, "patience": 0.0, "connections": 16, "requests": 20} | changed
        elif word in PARTS + APART:
            parts.append(word)
        elif word == "sweeps":
            parts += SWEEPS
        else:
            raise SystemExit(USAGE)
    if changed.get("mode") == "smoke":
        parts = parts or [*PARTS, *APART]
    if parts:
        changed["parts"] = tuple(part for part in PARTS + APART if part in parts)
    return command, Settings(**changed)
