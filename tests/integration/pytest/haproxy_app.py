# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A small HTTP server to stand behind a load balancer: python haproxy_app.py NAME ADDRESS PORT UNREADY_FILE."""

from __future__ import annotations

import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

NAME, ADDRESS, PORT, UNREADY = sys.argv[1:5]


class Handler(BaseHTTPRequestHandler):
    """/readyz follows the file, /slow?s= takes its time, /stream and /upgrade do not end; all else gets the name."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path == "/stream":
            self._stream()
        elif url.path == "/upgrade":
            self._upgrade()
        else:
            self._name(url)

    def _name(self, url: SplitResult) -> None:
        if url.path == "/slow":
            time.sleep(float(parse_qs(url.query)["s"][0]))
        while url.path == "/held" and Path(UNREADY).with_name("held").exists():
            time.sleep(0.02)
        ready = url.path != "/readyz" or not Path(UNREADY).exists()
        body = NAME.encode()
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"2\r\n.\n\r\n")
            time.sleep(0.1)

    def _upgrade(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "test")
        self.end_headers()
        while self.rfile.read(1):
            pass
        self.close_connection = True

    do_GET = do_POST = _answer

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Any number of connections at once."""

    address_family = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
    daemon_threads = True
    request_queue_size = 512


Server((ADDRESS, int(PORT)), Handler).serve_forever()
