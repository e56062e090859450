"""A small client with a cookie jar, and the check of what a server does before it is put under load."""

import http.client
import re

from .servers import Server


class Client:
    def __init__(self, port: int):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self.jar: dict[str, str] = {}
        self.set_cookie: list[str] = []  # of the last response

    def get(self, route: str, cookie: str | None = None) -> str:
        header = "; ".join(f"{name}={value}" for name, value in self.jar.items()) if cookie is None else cookie
        self.connection.request("GET", f"/{route}", headers={"Cookie": header} if header else {})
        response = self.connection.getresponse()
        body = response.read().decode()
        self.set_cookie = response.headers.get_all("Set-Cookie") or []
        for line in self.set_cookie:
            name, _, value = line.split(";")[0].partition("=")
            self.jar[name] = value
            if "max-age=0" in line.lower().split("; "):
                del self.jar[name]
        if response.status != 200:
            raise RuntimeError(f"/{route} responses {response.status} {body[:80]!r}")
        return body

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.jar.items())

    def close(self) -> None:
        self.connection.close()


def expect(response: str, wanted: str, what: str) -> None:
    if response != wanted:
        raise RuntimeError(f"{what}: {response!r} and not {wanted!r}")


def verify(server: Server, port: int) -> dict[str, str]:
    """Checks that the three routes do the work that is compared; returns what is worth telling."""
    client, other = Client(port), Client(port)
    expect(client.get("none"), "ok", "/none")
    if not server.keeps_sessions:
        client.get("read")
        client.get("write")
        return {}
    yes = ("no", "yes")
    facts = {"cookie on /none without a session": yes[bool(client.set_cookie)]}
    expect(client.get("read"), "0", "/read without a session")
    facts["cookie on /read of an empty session"] = yes[bool(client.set_cookie)]
    for counter in ("1", "2", "3"):
        expect(client.get("write"), counter, "/write")
    if not client.set_cookie and server.store == "cookie":
        raise RuntimeError("no Set-Cookie on /write")
    facts["cookie again on every /write"] = yes[bool(client.set_cookie)]
    expect(client.get("read"), "3", "/read after three writes")
    facts["cookie again on /read"] = yes[bool(client.set_cookie)]
    expect(other.get("write"), "1", "a second client's /write")
    facts["cookie"] = " and ".join(f"`{shortened(line)}`" for line in other.set_cookie)
    if any("; secure" in line.lower() or "3600" not in line and "expires" not in line.lower() for line in other.set_cookie):
        raise RuntimeError(f"another cookie than the peers': {other.set_cookie}")
    expect(client.get("read"), "3", "/read after another client's write")
    again = Client(port)
    again.jar = dict(client.jar)
    expect(again.get("read"), "3", "/read on a new connection")
    expect(again.get("write"), "4", "/write on a new connection")
    expect(client.get("read"), "4" if server.keeps_on_the_server else "3", "/read after the other connection's write")
    for each in (client, other, again):
        each.close()
    return facts


def shortened(line: str) -> str:
    """A Set-Cookie line without its long values."""
    return re.sub(r"=([^;]{25,})", lambda value: f"=<{len(value[1])} characters>", line)


def sessions(server: Server, port: int, count: int) -> list[str]:
    """The Cookie headers of new sessions. A bare server gets cookies as long as an identity."""
    if not server.keeps_sessions:
        return ["id=0123456789abcdef0123456789abcdef"] * count
    headers = []
    for _ in range(count):
        client = Client(port)
        expect(client.get("write"), "1", "a new session's /write")
        headers.append(client.header())
        client.close()
    return headers


def total(port: int, headers: list[str]) -> int:
    """The sum of the sessions' counters."""
    client = Client(port)
    counters = [int(client.get("read", header)) for header in headers]
    client.close()
    return sum(counters)
