# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SE-16, RO-14: a JSON source of figures is asked within bounds, and no answer is no verdict."""

from __future__ import annotations

import asyncio
import datetime
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._probe import source
from ansible_collections.immutable.cutover.plugins.module_utils._probe.source import JsonSource
from ansible_collections.immutable.cutover.tests.unit.plugins.module_utils._probe.conftest import (
    Answer,
    Serve,
)

CLOCK = SystemClock()
ERRORS = "rate < `0.05`"


def says(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> Answer:
    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        length = b"Content-Length: %d\r\n" % len(body)
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + length + more + b"\r\n" + body)

    return answer


def ask(serve: Serve, answer: Answer, success: str = ERRORS, failure: str = "") -> source.Answer:
    port = serve(answer).port
    return JsonSource(f"http://localhost:{port}/q?token=hidden", success, failure).ask(CLOCK)


@pytest.mark.parametrize(
    ("body", "success", "failure", "passed", "failed"),
    [
        (b'{"rate": 0.01}', ERRORS, "", True, False),
        (b'{"rate": 0.2}', ERRORS, "", False, True),
        (b"{}", ERRORS, "", False, True),
        (b'{"rate": 0.2}', "", "rate > `0.1`", False, True),
        (b'{"rate": 0.01}', "", "rate > `0.1`", True, False),
        (b'{"rate": 0.2}', ERRORS, "rate > `0.1`", False, True),
        (b'{"rate": 0.07}', ERRORS, "rate > `0.1`", False, False),
        (b'{"rate": "x"}', ERRORS, "rate > `0.1`", False, False),
        (b'{"rate": 0.01}', "rate", "", False, True),
    ],
)
def test_ro_14_conditions(
    serve: Serve, body: bytes, success: str, failure: str, passed: bool, failed: bool
) -> None:
    found = ask(serve, says(body), success, failure)
    assert (found.passed, found.failed) == (passed, failed), found.detail


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(b'{"rate": 0}', b"500 X"), "status 500"),
        (says(b'{"rate": 0}', b"302 X", b"Location: http://169.254.169.254/\r\n"), "status 302"),
        (says(b"rate 0"), "not JSON"),
        (says(b'"' + b"x" * 70000 + b'"'), "larger than 64 KB"),
    ],
)
def test_se_16_what_is_no_answer_is_no_verdict(serve: Serve, answer: Answer, why: str) -> None:
    found = ask(serve, answer)
    assert not found.passed and not found.failed
    assert why in found.detail and "hidden" not in found.detail


def test_se_16_no_source_holds_a_run_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_head: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(source, "TIMEOUT", 0.3)
    assert "no complete answer within 0.3 s" in ask(serve, never).detail
    closed = JsonSource("http://127.0.0.1:1/", ERRORS, "").ask(CLOCK)
    assert not closed.passed and not closed.failed


def test_se_16_a_name_that_takes_for_ever_holds_no_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def resolves(*_arguments: Any, **_options: Any) -> list[Any]:
        asked.wait(60)
        raise OSError("at last")

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    monkeypatch.setattr(source, "TIMEOUT", 0.1)
    found = JsonSource("http://metrics.example/", ERRORS, "").ask(CLOCK)
    asked.set()
    assert "no answer within 0.1 s" in found.detail and not found.passed


def test_se_16_a_name_that_becomes_a_link_local_address_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolves(_host: str, port: int, **_options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    found = JsonSource("http://metrics.example/", ERRORS, "").ask(CLOCK)
    assert "169.254.169.254, which is not asked" in found.detail and not found.passed


def test_the_host_is_called_by_its_name(serve: Serve) -> None:
    server = serve(says(b'{"rate": 0}'))
    assert JsonSource(f"http://localhost:{server.port}/a?b=c", ERRORS, "").ask(CLOCK).passed
    assert server.heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: localhost:")


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="analysis.failure_condition: not a JMESPath"):
        JsonSource("http://m/", "", "a ||")


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Serve JSON over TLS as C(localhost); the certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = builder.add_extension(names, False).sign(key, hashes.SHA256())
    encoding, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    certificate, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(encoding))
    secret.write_bytes(key.private_bytes(encoding, plain, serialization.NoEncryption()))

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"rate": 0}')

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield int(server.server_address[1]), certificate
    server.shutdown()
    server.server_close()


def test_se_16_https_is_asked_only_with_a_certificate_for_its_name(
    https: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, certificate = https

    def ask_of(host: str) -> source.Answer:
        return JsonSource(f"https://{host}:{port}/", ERRORS, "").ask(CLOCK)

    unknown = ask_of("localhost")
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.detail and not unknown.failed
    trusted = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusted)
    assert ask_of("localhost").passed
    assert "CERTIFICATE_VERIFY_FAILED" in ask_of("127.0.0.1").detail


def test_se_16_plain_text_is_no_https(serve: Serve) -> None:
    port = serve(says(b'{"rate": 0}')).port
    found = JsonSource(f"https://localhost:{port}/", ERRORS, "").ask(CLOCK)
    assert not found.passed and not found.failed
