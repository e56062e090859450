"""The same small app on two libraries: how long each program is, and what it does."""

import contextlib
import dataclasses
import http.client
import pathlib
import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator

from .markdown import table
from .processes import Process, Redis, free_port
from .results import Part, Rows, progress
from .settings import HERE, Settings

PATIENCE = 15  # seconds for a response
MONTH = 30 * 24 * 3600


@dataclasses.dataclass(frozen=True)
class App:
    name: str
    ours: bool

    @property
    def package(self) -> str:
        return f"app-{self.name}"

    @property
    def source(self) -> pathlib.Path:
        return HERE / "apps" / self.name / "src/main.rs"


APPS = (App("session-tower", True), App("tower-sessions", False))


def chosen(settings: Settings) -> list[App]:
    if "apps" not in settings.parts:
        return []
    return [app for app in APPS if settings.chooses(app.name) and (app.ours or settings.mode != "smoke")]


def code_lines(source: pathlib.Path) -> int:
    """Lines that are neither blank nor a comment."""
    lines = map(str.strip, source.read_text().splitlines())
    return sum(bool(line) and not line.startswith("//") for line in lines)


def measure(settings: Settings) -> None:
    part = Part("apps", settings)
    part.save()
    for app in chosen(settings):
        row = {"app": app.name, "lines": code_lines(app.source)}
        for name, check in CHECKS.items():
            try:
                with started(app, settings) as (browser, redis):
                    row[name] = check(browser, redis)
            except Exception as error:  # what the other checks find is not lost
                row[name] = f"fails: {type(error).__name__}: {error}"
            if app.ours and not row[name].startswith("yes"):
                part.note(f"{app.name}, {name}: {row[name]}")
        part.add(row)
        progress(f"apps: {row}")


@contextlib.contextmanager
def started(app: App, settings: Settings) -> Iterator[tuple["Browser", Redis]]:
    """Runs an app with a Redis of its own, both fresh."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(settings, folder)
        try:
            redis.wait()
            environment = redis.environment | {"ADDRESS": f"127.0.0.1:{port}"}
            log = settings.folder / "servers.log"
            process = Process([f"{settings.programs}/{app.package}"], settings.server_core, log, environment)
            try:
                process.wait_for(port, 20)
                yield Browser(port), redis
            finally:
                process.kill()
        finally:
            redis.kill()


class Browser:
    """Keeps one cookie, like a browser that is on https: the apps' cookies are Secure."""

    def __init__(self, port: int):
        self.port = port
        self.cookie = ""
        self.max_age: int | None = None  # None: the cookie ends with the browser
        self.body = ""

    def ask(self, method: str, route: str, **form: str) -> str:
        """Returns the status, and where it leads."""
        headers = {"Cookie": self.cookie} if self.cookie else {}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, route, urllib.parse.urlencode(form) if method == "POST" else None, headers)
            response = connection.getresponse()
            self.body = response.read().decode()
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or []:
            age = re.search(r"max-age=(-?\d+)", line.lower())
            self.max_age = int(age[1]) if age else None
            self.cookie = "" if self.max_age == 0 else line.split(";")[0]
        return " ".join(filter(None, [str(response.status), response.headers["Location"]]))

    def expect(self, wanted: str, method: str, route: str, **form: str) -> None:
        response = self.ask(method, route, **form)
        if response != wanted:
            raise RuntimeError(f"{method} {route}: {response!r} and not {wanted!r}")

    def sees(self, text: str, wanted: bool = True) -> None:
        if (text in self.body) != wanted:
            raise RuntimeError(f"{text!r} is {'not ' if wanted else ''}on the page")

    def stays_out(self, cookie: str) -> str:
        """Sends a cookie that must not be worth anything any more."""
        self.cookie = cookie
        response = self.ask("GET", "/account")
        if response not in ("303 /", "409"):
            raise RuntimeError(f"the old cookie gets {response!r}")
        return f"yes; the old cookie gets {response[:3]}"

    def log_in(self, **more: str) -> None:
        self.expect("303 /account", "POST", "/login", name="ada", password="open sesame", **more)


# ---- the checks


def login(browser: Browser, _: Redis) -> str:
    browser.expect("303 /", "POST", "/login", name="ada", password="guessed")
    anonymous = browser.cookie
    browser.log_in()
    browser.expect("200", "GET", "/account")
    browser.sees("The account of ada.")
    if browser.cookie == anonymous:
        raise RuntimeError("the cookie is the one from before the login")
    return browser.stays_out(anonymous)


def guard(browser: Browser, _: Redis) -> str:
    browser.expect("303 /", "GET", "/account")
    browser.sees("The account", False)
    browser.log_in()
    browser.expect("200", "GET", "/account")
    return "yes"


def flash(browser: Browser, _: Redis) -> str:
    for prepare, text, page in (
        (lambda: browser.ask("GET", "/account"), "Please log in first.", "/"),
        (lambda: browser.ask("POST", "/login", name="ada", password="guessed"), "That is not the password.", "/"),
        (browser.log_in, "Welcome, ada.", "/account"),
    ):
        prepare()
        browser.expect("200", "GET", page)
        browser.sees(text)
        browser.expect("200", "GET", page)
        browser.sees(text, False)
    return "yes"


def logout(browser: Browser, _: Redis) -> str:
    browser.log_in()
    browser.expect("200", "GET", "/account")
    old = browser.cookie
    browser.expect("303 /", "POST", "/logout")
    return browser.stays_out(old)


def remember(browser: Browser, _: Redis) -> str:
    """With the flash message of the login, the page after it changes the session and may set the cookie again."""
    browser.log_in()
    browser.ask("GET", "/account")
    if browser.max_age is not None:
        raise RuntimeError(f"a cookie that was not to be remembered lives for {browser.max_age} s")
    browser.log_in(remember="on")
    browser.ask("GET", "/account")
    if browser.max_age != MONTH:
        raise RuntimeError(f"a cookie that was to be remembered lives for {browser.max_age} s")
    return "yes"


def error_page(browser: Browser, redis: Redis) -> str:
    browser.log_in()
    response = redis.command("ACL SETUSER default -get")
    if not response.startswith("+OK"):
        raise RuntimeError(f"Redis: {response}")
    return has_error_page(browser)


def error_page_without_redis(browser: Browser, redis: Redis) -> str:
    browser.log_in()
    redis.kill()
    return has_error_page(browser)


def has_error_page(browser: Browser) -> str:
    try:
        status = browser.ask("GET", "/account")
    except TimeoutError:
        return f"no response in {PATIENCE} s"
    browser.sees("Please try again")
    return "yes" if status == "503" else f"yes, with {status}"


CHECKS: dict[str, Callable[[Browser, Redis], str]] = {
    "login": login,
    "guard": guard,
    "flash message, shown once": flash,
    "logout": logout,
    "remember me": remember,
    "error page when Redis refuses": error_page,
    "error page when Redis is dead": error_page_without_redis,
}


def lines(rows: Rows) -> list[str]:
    cells = [["lines of code", *(str(row["lines"]) for row in rows)]]
    cells += [[name, *(row[name] for row in rows)] for name in CHECKS]
    text = "`apps/*/src/main.rs`, without blank lines and comments; and whether each was seen to do what it is for."
    return ["## The same small app", "", text, "", *table(["", *(row["app"] for row in rows)], cells)]
