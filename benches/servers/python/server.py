"""aiohttp and aiohttp_session: `server.py PORT bare|fernet|nacl|redis|memcached`.

The store's address is in REDIS_URL or MEMCACHED.
"""

import os
import sys

import aiohttp_session
from aiohttp import web

KEY = b"0123456789abcdef0123456789abcdef"
LIFE = 3600


async def none(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def read(request: web.Request) -> web.Response:
    session = await aiohttp_session.get_session(request)
    return web.Response(text=str(session.get("counter", 0)))


async def write(request: web.Request) -> web.Response:
    session = await aiohttp_session.get_session(request)
    counter = session.get("counter", 0)
    if counter == 0:
        session["user_id"] = 1234567
        session["name"] = "Ada Lovelace"
        session["roles"] = ["admin", "editor", "viewer"]
        session["last_visit"] = 1700000000.123456
    session["counter"] = counter + 1
    return web.Response(text=str(counter + 1))


class Bare:
    """The same responses without a session."""

    counter = 0

    async def read(self, request: web.Request) -> web.Response:
        return web.Response(text=str(self.counter))

    async def write(self, request: web.Request) -> web.Response:
        self.counter += 1
        return web.Response(text=str(self.counter))


def make_storage(kind: str) -> aiohttp_session.AbstractStorage:
    if kind == "fernet":
        from aiohttp_session.cookie_storage import EncryptedCookieStorage

        return EncryptedCookieStorage(KEY, max_age=LIFE)
    if kind == "nacl":
        from aiohttp_session.nacl_storage import NaClCookieStorage

        return NaClCookieStorage(KEY, max_age=LIFE)
    if kind == "redis":
        from aiohttp_session.redis_storage import RedisStorage
        from redis import asyncio as aioredis

        return RedisStorage(aioredis.from_url(os.environ["REDIS_URL"]), max_age=LIFE)
    if kind == "memcached":
        import aiomcache
        from aiohttp_session.memcached_storage import MemcachedStorage

        host, port = os.environ["MEMCACHED"].split(":")
        # Its default pool: two connections.
        return MemcachedStorage(aiomcache.Client(host, int(port)), max_age=LIFE)
    raise SystemExit(f"no storage is called {kind!r}")


async def make_app(kind: str) -> web.Application:
    app = web.Application()
    app.router.add_get("/none", none)
    if kind == "bare":
        bare = Bare()
        app.router.add_get("/read", bare.read)
        app.router.add_get("/write", bare.write)
    else:
        aiohttp_session.setup(app, make_storage(kind))
        app.router.add_get("/read", read)
        app.router.add_get("/write", write)
    return app


if __name__ == "__main__":
    port, kind = int(sys.argv[1]), sys.argv[2]
    web.run_app(make_app(kind), host="127.0.0.1", port=port, access_log=None, print=None)
