"""What must be true of a short run: every part found something, and nothing went wrong."""

from .results import load, progress
from .settings import ROUTES, Settings


def check(settings: Settings) -> int:
    failures = []
    for name in settings.parts:
        part = load(settings.folder, name) or {"rows": [], "notes": ["was not measured"]}
        failures += [f"{name}: {note}" for note in part["notes"]]
        if not part["rows"]:
            failures.append(f"{name}: found nothing")
        for row in part["rows"]:
            for measured in [row[route] for route in ROUTES] if name == "table" else [row]:
                if measured.get("requests") == 0:
                    failures.append(f"{name}: {row['server']} got no response")
    for failure in failures:
        progress(f"FAILED {failure}")
    progress("smoke: " + ("failed" if failures else "all servers, routes and parts work"))
    return 1 if failures else 0
