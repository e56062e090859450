"""Runs oracle_server.py on a free port, and says on stdout which.

    serve.py --storage simple|fernet|nacl ...    (the flags of oracle_server.py, without --port)

It ends when its standard input does, so that it cannot outlive the test that started it.
"""

import logging
import os
import socket
import sys
import threading

from aiohttp import web

import oracle_server


def end_with_stdin():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    # /error is meant to fail; a traceback for each would drown the output of the test.
    logging.basicConfig(level=logging.CRITICAL)
    args = oracle_server.parse_args(["--port", "0", *sys.argv[1:]])
    listener = socket.create_server((args.host, 0))
    host, port = listener.getsockname()
    # Connections wait in the listener's queue until the application is up.
    print(f"serving {args.storage} on {host}:{port}", flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    web.run_app(oracle_server.app_factory(args), sock=listener, print=None, access_log=None)


if __name__ == "__main__":
    main()
