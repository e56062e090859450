"""The cost of the parts that a session is made of: what the program in limits/ prints, a few times."""

import json
import os
import subprocess

from .processes import stores
from .results import Part, progress
from .settings import HERE, Settings


def measure(settings: Settings) -> None:
    part = Part("limits", settings)
    part.save()
    with stores(settings) as shared:
        environment = os.environ | {
            "REDIS_PORT": str(shared.redis_port),
            "MEMCACHED_PORT": str(shared.memcached_port),
            "MILLISECONDS": "20" if settings.mode == "smoke" else "700",
        }
        command = ["taskset", "-c", settings.server_core, f"{settings.programs}/bench-limits"]
        for number in range(settings.rounds):
            progress(f"limits, round {number + 1} of {settings.rounds}")
            try:
                run = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
            except OSError as error:
                part.note(f"limits: {error}")
                return
            if run.returncode:
                part.note(f"limits failed: {run.stderr.strip()[-300:]}")
            for line in run.stdout.splitlines():
                part.add({"round": number} | json.loads(line))
