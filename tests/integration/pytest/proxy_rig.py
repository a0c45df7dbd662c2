# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A company's network on the loopback: a proxy with a password that opens TLS, and signs with its own CA."""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import http.server
import pathlib
import secrets
import socket
import socketserver
import ssl
import threading
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Addresses that nothing else has, so that whoever finds one of them found the proxy.
PROXY_ADDRESS, ORIGIN_ADDRESS = "127.77.31.7", "127.77.31.8"
_PEM = serialization.Encoding.PEM


class Authority:
    """A CA, and server certificates signed by it."""

    def __init__(self, folder: pathlib.Path, name: str) -> None:
        self.folder, self.name = folder, name
        folder.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self._key, None)
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.certificate.public_bytes(_PEM))

    @property
    def traces(self) -> list[bytes]:
        """Return what would be found of it: its name, and its certificate as text and as bytes."""
        lines = self.path.read_bytes().splitlines()
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return [self.name.encode(), lines[len(lines) // 2], der[len(der) // 2 :]]

    def context(self, *hosts: str) -> ssl.SSLContext:
        """Return what a server of these names answers with."""
        key = ec.generate_private_key(ec.SECP256R1())
        pair = self.folder / f"{hosts[0]}.pem"
        private = key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pair.write_bytes(private + self._sign(hosts[0], key, hosts).public_bytes(_PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        return context

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, hosts: t.Sequence[str] | None
    ) -> x509.Certificate:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(hosts is None, None), critical=True)
        )
        if hosts is not None:
            names = [x509.DNSName(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Files(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class InspectingProxy:
    """The proxy, and the origin behind it whose certificate only the proxy trusts."""

    def __init__(self, root: pathlib.Path, served: pathlib.Path, *hosts: str) -> None:
        mark = secrets.token_hex(6)
        self.user, self.token = f"ann-{mark}", f"token-{secrets.token_hex(12)}"
        self.authority = Authority(root / "inspecting", f"Inspecting CA {mark}")
        self.origin = Authority(root / "origin", f"Origin CA {mark}")
        self.front = self.authority.context(*hosts)
        self.seen: list[str] = []
        handler = functools.partial(_Files, directory=str(served))
        self._origin = http.server.ThreadingHTTPServer((ORIGIN_ADDRESS, 0), handler)
        back = self.origin.context(*hosts)
        self._origin.socket = back.wrap_socket(self._origin.socket, server_side=True)
        self._proxy = _Server((PROXY_ADDRESS, 0), functools.partial(_Tunnel, self))

    @property
    def url(self) -> str:
        """Return what a person puts into https_proxy."""
        return f"http://{self.user}:{self.token}@{PROXY_ADDRESS}:{self._proxy.server_address[1]}"

    @property
    def credentials(self) -> str:
        """Return what clients send for it."""
        return base64.b64encode(f"{self.user}:{self.token}".encode()).decode()

    @property
    def traces(self) -> list[bytes]:
        """Return everything of it that must be nowhere."""
        words = [self.user, self.token, self.credentials, PROXY_ADDRESS, ORIGIN_ADDRESS]
        return [word.encode() for word in words] + self.authority.traces + self.origin.traces

    @contextlib.contextmanager
    def running(self) -> t.Iterator[InspectingProxy]:
        """Serve until the end of the block."""
        servers: list[socketserver.BaseServer] = [self._origin, self._proxy]
        threads = [threading.Thread(target=server.serve_forever) for server in servers]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server, thread in zip(servers, threads, strict=True):
                server.shutdown()
                thread.join()
                server.server_close()

    def reach(self, host: str) -> ssl.SSLSocket:
        """Connect to the origin as one does who trusts it."""
        context = ssl.create_default_context(cafile=str(self.origin.path))
        plain = socket.create_connection((ORIGIN_ADDRESS, self._origin.server_address[1]), 30)
        return context.wrap_socket(plain, server_hostname=host)


class _Tunnel(socketserver.BaseRequestHandler):
    def __init__(self, proxy: InspectingProxy, *words: t.Any) -> None:
        self.proxy = proxy
        super().__init__(*words)

    def handle(self) -> None:
        """Answer CONNECT, and read along from there."""
        asked = _head(self.request)
        if f"Basic {self.proxy.credentials}" not in asked:
            self.request.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b'Proxy-Authenticate: Basic realm="proxy"\r\nContent-Length: 0\r\n\r\n'
            )
            self.proxy.seen.append("407")
            return
        host = asked.split(" ")[1].partition(":")[0]
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            near = stack.enter_context(self.proxy.front.wrap_socket(self.request, server_side=True))
            far = stack.enter_context(self.proxy.reach(host))
            request = _head(near)
            # What only one who reads along can see.
            self.proxy.seen.append(request.split("\r\n")[0])
            far.sendall(request.encode("latin-1"))
            # The origin closes after each answer, and so do we.
            while data := far.recv(65536):
                near.sendall(data)


def _head(connection: socket.socket) -> str:
    """Return a request; none of ours has a body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        some = connection.recv(1)
        if not some:
            break
        head += some
    return head.decode("latin-1")
