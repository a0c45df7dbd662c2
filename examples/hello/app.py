# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The smallest app that can be replaced without losing a request: it reads PORT, and on SIGTERM ends its work first."""

from __future__ import annotations

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    """Answers every GET with the greeting."""

    timeout = 10

    def do_GET(self) -> None:
        body = f"{os.environ.get('GREETING', 'hello')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Closes only when every request it took is answered."""

    daemon_threads = False
    request_queue_size = 128


def main() -> None:
    server = Server(("", int(os.environ["PORT"])), Hello)
    # Not in the handler itself: it runs in the thread that serves, which would wait for itself.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
