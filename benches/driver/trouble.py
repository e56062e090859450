"""Servers in trouble: many requests at once, a logout meanwhile, a Redis that is silent, dead, and back."""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .markdown import table
from .processes import Redis
from .results import Part, Rows, progress
from .servers import Running, Server, running
from .settings import Settings

KEYS = 20
PATIENCE = 15  # seconds for a response
RECOVERY = 60  # seconds for a server to work again
PAUSE = 0.5  # seconds between two tries

Scene = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Response:
    status: int | None  # None: none came in time
    seconds: float
    body: str = ""
    cookie: str = ""  # the Cookie header that its Set-Cookie makes, if it sets one


def ask(port: int, route: str, cookie: str = "", patience: float = PATIENCE) -> Response:
    """Sends one request on a connection of its own."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("GET", f"/{route}", headers={"Cookie": cookie} if cookie else {})
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return Response(None, time.monotonic() - start)
    finally:
        connection.close()
    lines = [line for line in response.headers.get_all("Set-Cookie") or [] if "max-age=0" not in line.lower().split("; ")]
    cookie = "; ".join(line.split(";")[0] for line in lines)
    return Response(response.status, time.monotonic() - start, body, cookie)


def new_session(port: int) -> str:
    response = ask(port, "write")
    if (response.status, response.body) != (200, "1") or not response.cookie:
        raise RuntimeError(f"a new session's /write: {response}")
    return response.cookie


def measure(settings: Settings, servers: list[Server]) -> None:
    part = Part("trouble", settings)
    part.save()
    for server in servers:
        if not server.trouble:
            continue
        row: Scene = {"server": server.name, "store": server.store}
        scenes: list[Callable[[Running, Redis], Scene]] = [at_once]
        if server.store == "redis":
            scenes += [silent, dead]
        for scene in scenes:
            try:
                with started(server, settings) as (server_process, redis):
                    row |= scene(server_process, redis)
            except Exception as error:  # a server that fails does not end the run
                part.note(f"{server.name}, {scene.__name__}: {type(error).__name__}: {error}")
        part.add(row)
        progress(f"trouble: {server.name}  {row}")
        if server.ours:
            for wrong in surprises(row):
                part.note(f"{server.name}: {wrong}")


@contextlib.contextmanager
def started(server: Server, settings: Settings) -> Iterator[tuple[Running, Redis]]:
    """Runs a server with a Redis of its own, both fresh."""
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(settings, folder)
        try:
            redis.wait()
            with running(server, redis, settings, TROUBLE="1") as process:
                try:
                    yield process, redis
                finally:
                    process.process.kill()  # a hung request would hold up an orderly end
        finally:
            redis.kill()


# ---- the scenes


def at_once(server: Running, _: Redis) -> Scene:
    """Requests that all load one session before the first saves it; then a logout during a slow request."""
    port = server.port
    cookie = new_session(port)
    with concurrent.futures.ThreadPoolExecutor(KEYS) as pool:
        responses = list(pool.map(lambda key: ask(port, f"set/key{key}/500", cookie), range(KEYS)))
        kept = sum(ask(port, f"value/key{key}", cookie).body == "1" for key in range(KEYS))

        cookie = new_session(port)
        slow = pool.submit(ask, port, "set/late/1000", cookie)
        time.sleep(0.3)
        logout = ask(port, "logout", cookie)
        was_first = not slow.done()
        late = slow.result()
    if logout.status != 200 or not was_first:
        raise RuntimeError(f"no logout during a slow request: {logout}")
    return {
        "acknowledged": sum(response.status == 200 for response in responses),
        "kept": kept,
        "late_status": late.status,
        "old_cookie_lives": ask(port, "read", cookie).body != "0",
        "late_cookie_lives": bool(late.cookie) and ask(port, "read", late.cookie).body != "0",
    }


def silent(server: Running, redis: Redis) -> Scene:
    """Redis stops responding, as a machine that is overloaded or cut off does, and goes on later."""
    cookie = new_session(server.port)
    redis.pause()
    response = ask(server.port, "read", cookie)
    redis.resume()
    return {"silent": shown(response), "after_silence": until_it_works(server.port)}


def dead(server: Running, redis: Redis) -> Scene:
    """Redis is killed, and restarted on the same port."""
    cookie = new_session(server.port)
    redis.kill()
    response = ask(server.port, "read", cookie)
    redis.start()
    redis.wait()
    return {"dead": shown(response), "after_death": until_it_works(server.port)}


def until_it_works(port: int) -> float | None:
    """Seconds until a new session is stored and read; None if that takes too long."""
    start = time.monotonic()
    end = start + RECOVERY
    worked: list[float] = []

    def attempt() -> None:
        written = ask(port, "write", patience=end - time.monotonic())
        left = end - time.monotonic()
        if written.status == 200 and written.cookie and left > 0 and ask(port, "read", written.cookie, left).body == "1":
            worked.append(time.monotonic() - start)

    # A try waits as long as it must, and does not hold up the next one.
    tries: list[threading.Thread] = []
    while not worked and time.monotonic() < end - PAUSE:
        tries.append(threading.Thread(target=attempt))
        tries[-1].start()
        tries[-1].join(PAUSE)
        time.sleep(0 if worked else PAUSE / 10)
    if worked:
        return worked[0]
    for each in tries:
        each.join()
    return min(worked, default=None)


def shown(response: Response) -> Scene:
    return {"status": response.status, "seconds": response.seconds}


# ---- the table


def lines(rows: Rows) -> list[str]:
    measures: dict[str, Callable[[Scene], str]] = {
        f"{KEYS} requests set {KEYS} keys at once: kept": kept_text,
        "a logout during a slow request: who wins": winner_text,
        "Redis is silent: a request that reads its session": lambda row: response_text(row, "silent"),
        "Redis goes on: the server works again": lambda row: recovery_text(row, "after_silence"),
        "Redis is dead: a request that reads its session": lambda row: response_text(row, "dead"),
        "Redis is restarted: the server works again": lambda row: recovery_text(row, "after_death"),
    }
    heads = ["", *(row["server"] for row in rows)]
    return ["## Trouble", "", *table(heads, [[name, *map(cell, rows)] for name, cell in measures.items()])]


def kept_text(row: Scene) -> str:
    if "kept" not in row:
        return ""
    text = f"{row['kept']} of {KEYS}"
    return text if row["acknowledged"] == KEYS else f"{text}; {row['acknowledged']} responses were 200"


def winner_text(row: Scene) -> str:
    if "late_status" not in row:
        return ""
    status = row["late_status"] or "no response"
    if row["old_cookie_lives"]:
        return f"the slow request ({status}): the old cookie has its session again"
    if row["late_cookie_lives"]:
        return f"the slow request ({status}): its response sets a cookie that has the session"
    return f"the logout; the slow request gets {status}"


def response_text(row: Scene, scene: str) -> str:
    if scene not in row:
        return ""
    status, seconds = row[scene]["status"], row[scene]["seconds"]
    if status:
        return f"{status} after {seconds:.1f} s" if seconds >= 0.05 else f"{status} at once"
    return f"no response in {PATIENCE} s" if seconds >= PATIENCE else f"connection closed after {seconds:.1f} s"


def recovery_text(row: Scene, scene: str) -> str:
    if scene not in row:
        return ""
    seconds = row[scene]
    return f"not within {RECOVERY} s" if seconds is None else f"yes, after {seconds:.1f} s" if seconds >= 0.05 else "yes, at once"


def surprises(row: Scene) -> Iterator[str]:
    """What would be a bug of ours."""
    if row.get("kept") != KEYS:
        yield f"kept {row.get('kept')} of {KEYS} keys"
    if row.get("old_cookie_lives", True) or row.get("late_cookie_lives", True):
        yield "a slow request brought a session back after its logout"
    if row["store"] == "redis":
        for scene in ("silent", "dead"):
            if row.get(scene, {}).get("status") != 503:
                yield f"{scene}: {row.get(scene)}"
        for scene in ("after_silence", "after_death"):
            if row.get(scene) is None:
                yield f"{scene}: does not work again"
