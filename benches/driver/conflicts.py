"""Many writers of one session in one process: what the program in conflicts/ prints."""

import json
import os
import subprocess

from .markdown import number, table
from .medians import median
from .processes import stores
from .results import Part, Rows, progress
from .settings import HERE, Settings

WRITERS = (8, 64, 200, 800)


def measure(settings: Settings) -> None:
    part = Part("conflicts", settings)
    part.save()
    writers = WRITERS[:2] if settings.mode == "smoke" else WRITERS
    with stores(settings) as shared:
        command = ["taskset", "-c", settings.server_core, f"{settings.programs}/bench-conflicts", str(settings.rounds)]
        command += map(str, writers)
        try:
            child = subprocess.Popen(command, cwd=HERE, env=os.environ | shared.environment, stdout=subprocess.PIPE, text=True)
        except OSError as error:
            part.note(f"conflicts: {error}")
            return
        for line in child.stdout:
            row = json.loads(line)
            part.add(row)
            progress(f"conflicts: {line.strip()}")
            if row["lost"]:
                part.note(f"conflicts, {row['store']}, {row['writers']} writers: {row['lost']} acknowledged keys are lost")
        if child.wait():
            part.note(f"conflicts failed: exit status {child.returncode}")


def lines(rows: Rows) -> list[str]:
    groups: dict[tuple[str, int], Rows] = {}
    for row in rows:
        groups.setdefault((row["store"], row["writers"]), []).append(row)
    cells = []
    for (store, writers), group in groups.items():
        saves = sum(row["bursts"] for row in group) * writers
        saved = sum(row["saved"] for row in group)
        failed: dict[str, int] = {}
        for row in group:
            for kind, count in row["failed"].items():
                failed[kind] = failed.get(kind, 0) + count
        cells.append([
            store,
            str(writers),
            number(median([row["commands"] / row["bursts"] / writers for row in group])),
            f"{saved} of {saves}",
            ", ".join(f"{kind} {count}" for kind, count in failed.items()),
            str(sum(row["lost"] for row in group)),
            number(median([row["ms"] for row in group])),
            number(median([row["beside_ms"] for row in group])),
            number(median([row["idle_ms"] for row in group])),
        ])
    text = (
        "All writers have loaded one session and save at once, each with a key of its own, in one process on one thread."
        " Commands are those of the saves, as the store counts them; what a script calls does not count again. Beside them"
        " a reader loads another user's session through the same storage: the median of its reads, and without writers."
    )
    heads = ["", "writers", "commands a writer", "saved", "failed", "lost", "ms until all ended", "read beside, ms", "read alone, ms"]
    return ["## Conflicts", "", text, "", *table(heads, cells)]
