"""`benches/run`: builds, measures, and writes what it found. README.md says what it means."""

import sys
import time

from . import apps, conflicts, instructions, limits, report, rounds, servers, smoke, sweeps, trouble
from .load import Patience
from .results import progress
from .settings import APART, HERE, USAGE, Settings, parse


def main(words: list[str]) -> int:
    if {"help", "-h", "--help"} & set(words):
        print(USAGE)
        return 0
    command, settings = parse(words)
    settings.folder.mkdir(parents=True, exist_ok=True)
    if command == "draw":
        return draw(settings)
    chosen = servers.chosen(settings)
    servers.build(chosen, [app.package for app in apps.chosen(settings)], settings)
    if command == "build":
        return 0
    start = time.monotonic()
    measure(settings, chosen)
    progress(f"measured in {(time.monotonic() - start) / 60:.1f} minutes")
    return draw(settings)


def measure(settings: Settings, chosen: list[servers.Server]) -> None:
    for log in settings.folder.glob("*.log"):
        log.unlink()
    patience = Patience(settings)
    parts = {
        "table": lambda: rounds.measure(settings, chosen, patience),
        "instructions": lambda: instructions.measure(settings, chosen),
        "conflicts": lambda: conflicts.measure(settings),
        "limits": lambda: limits.measure(settings),
        "payload": lambda: sweeps.payload(settings, chosen, patience),
        "concurrency": lambda: sweeps.concurrency(settings, chosen, patience),
        "sessions": lambda: sweeps.stored(settings, chosen, patience),
        "trouble": lambda: trouble.measure(settings, chosen),
        "apps": lambda: apps.measure(settings),
    }
    end = time.monotonic() + settings.minutes * 60
    for name in settings.parts:
        if time.monotonic() > end:
            progress(f"{name} is left out: {settings.minutes} minutes are over")
            continue
        begin = time.monotonic()
        try:
            parts[name]()
        except Exception as error:  # what the other parts find is not lost
            progress(f"{name} failed: {type(error).__name__}: {error}")
        progress(f"{name} took {(time.monotonic() - begin) / 60:.1f} minutes")


def draw(settings: Settings) -> int:
    if settings.mode == "full":
        for name in set(settings.parts) & set(APART):
            (HERE / f"{name.upper()}.md").write_text(report.alone(settings.folder, name))
            progress(f"wrote benches/{name.upper()}.md")
    if settings.only_counts and settings.mode == "full":
        print(report.only_counts(settings.folder, settings.parts))
        return 0
    text = report.markdown(settings.folder)
    if settings.mode != "full":
        (settings.folder / "RESULTS.md").write_text(text)
        print(text, *(report.alone(settings.folder, name) for name in APART if name in settings.parts), sep="\n")
        if settings.mode == "smoke":
            return smoke.check(settings)
        return 0
    (HERE / "RESULTS.md").write_text(text)
    progress("wrote benches/RESULTS.md")
    try:
        from . import charts  # matplotlib, which a short run does without
    except ImportError as error:
        progress(f"no pictures: {error}")
        return 1
    for picture in charts.draw(settings.folder):
        progress(f"wrote benches/{picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
