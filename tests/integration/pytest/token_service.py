# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that a registry sends its clients to for a token, over TLS with the registry's own certificate."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import pathlib
import ssl
import threading
import typing as t
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from tests.integration.pytest.registry_rig import PASSWORD, USER


class TokenService:
    """Gives tokens to who has the password, for the repositories that are asked for."""

    def __init__(self, folder: pathlib.Path, denied: str = "") -> None:
        self.denied = denied
        self.asked: list[list[str]] = []
        self._certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = service.answer(self.path, self.headers.get("Authorization", ""))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_words: t.Any) -> None:
                """Keep quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def realm(self) -> str:
        """Return where to ask."""
        return f"https://127.0.0.1:{self._server.server_address[1]}/token"

    @contextlib.contextmanager
    def running(self) -> t.Iterator[TokenService]:
        """Answer until the end of the block."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, t.Any]]:
        """Return status and body for one request."""
        scopes = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query).get("scope", [])
        scopes = [part for scope in scopes for part in scope.split()]
        self.asked.append(scopes)
        wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if authorization != f"Basic {wanted}":
            return 401, {}
        return 200, {"token": self._token(scopes)}

    def _token(self, scopes: t.Sequence[str]) -> str:
        parts = [scope.split(":") for scope in scopes]
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in parts
            if name != self.denied
        ]
        now = int(SystemClock().now())
        times = {"nbf": now - 60, "iat": now, "exp": now + 300}
        claims = {
            "iss": "tests",
            "aud": "tests",
            "sub": USER,
            "jti": "1",
            **times,
            "access": access,
        }
        chain = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(chain).decode()]}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
