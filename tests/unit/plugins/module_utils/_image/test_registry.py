# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other registries than the one of the integration tests answer, from a small server."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
import threading
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    RegistryError,
    RegistryErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import INDEX_TYPE
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry import Registry
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    registry_options,
)

Headers = dict[str, str]
Answer = tuple[int, Headers, bytes]
BLOB = b"content"
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


class Server:
    """Gives prepared answers, in order for each path, and notes who asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str, str]] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                path = self.path.partition("?")[0]
                server.asked.append((self.command, path, self.headers.get("Authorization", "")))
                found = server.answers[path]
                status, headers, body = found.pop(0) if len(found) > 1 else found[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = answer

            def log_message(self, *_words: t.Any) -> None:
                """Keep quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> t.Iterator[Server]:
        """Answer until the end of the block."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def registry(self, **changes: t.Any) -> Registry:
        """Return a client with a password."""
        given = {"username": "ci", "password": "swordfish", "plain_http": True}
        return Registry(registry_options({"host": self.host, **given, **changes}))


@pytest.fixture
def server() -> t.Iterator[Server]:
    with Server().running() as running:
        yield running


def test_the_password_goes_to_no_other_host(server: Server) -> None:
    with Server().running() as storage:
        server.answers["/v2/a/blobs/uploads/"] = [
            (202, {"Location": f"http://{storage.host}/store?x=1"}, b"")
        ]
        storage.answers["/store"] = [(201, {}, b"")]
        server.registry().upload_blob("a", DIGEST, BLOB)
        server.answers[f"/v2/a/blobs/{DIGEST}"] = [
            (307, {"Location": f"http://{storage.host}/load"}, b"")
        ]
        storage.answers["/load"] = [(200, {}, BLOB)]
        assert b"".join(server.registry().get_blob("a", DIGEST, len(BLOB))) == BLOB
    assert [sent for _verb, _path, sent in storage.asked] == ["", ""]
    assert all(sent.startswith("Basic ") for _verb, _path, sent in server.asked)


@pytest.mark.parametrize("size", [1, len(BLOB) - 1])
def test_a_blob_longer_than_the_manifest_says_is_cut_off(server: Server, size: int) -> None:
    server.answers[f"/v2/a/blobs/{DIGEST}"] = [(200, {}, BLOB)]
    with pytest.raises(RegistryError, match=f"more than the {size} bytes"):
        list(server.registry().get_blob("a", DIGEST, size))


@pytest.mark.parametrize("sent", [BLOB[:-1], b"", b"CONTENT"], ids=["short", "empty", "other"])
def test_a_blob_of_other_content_is_an_error_at_its_end(server: Server, sent: bytes) -> None:
    server.answers[f"/v2/a/blobs/{DIGEST}"] = [(200, {}, sent)]
    with pytest.raises(RegistryError, match=f"expected {DIGEST} got sha256:") as caught:
        list(server.registry().get_blob("a", DIGEST, len(BLOB)))
    assert caught.value.kind is RegistryErrorKind.DIGEST_MISMATCH


def test_a_connection_that_breaks_off_is_named(server: Server) -> None:
    server.answers[f"/v2/a/blobs/{DIGEST}"] = [
        (200, {"Content-Length": "99", "Connection": "close"}, BLOB)
    ]
    with pytest.raises(RegistryError, match="cannot reach the registry|digest mismatch"):
        list(server.registry(timeout=2).get_blob("a", DIGEST, 99))


def test_a_manifest_by_digest_is_what_the_digest_says(server: Server) -> None:
    server.answers[f"/v2/a/manifests/{DIGEST}"] = [(200, {}, b"{}")]
    with pytest.raises(RegistryError, match="digest mismatch"):
        server.registry().get_manifest("a", DIGEST)


def test_a_registry_that_tells_no_digest_is_asked_for_the_manifest(server: Server) -> None:
    server.answers["/v2/a/manifests/1.0.0"] = [(200, {}, BLOB)]
    assert server.registry().head_manifest("a", "1.0.0") == DIGEST


def test_a_registry_that_wrote_something_else_is_not_believed(server: Server) -> None:
    answer: Answer = (201, {"Docker-Content-Digest": DIGEST}, b"")
    server.answers["/v2/a/manifests/1.0.0"] = [answer]
    assert server.registry().put_manifest("a", "1.0.0", BLOB) is False
    with pytest.raises(RegistryError, match="digest mismatch"):
        server.registry().put_manifest("a", "1.0.0", b"{}")


def test_what_passes_is_tried_again_but_nothing_is_sent_twice(server: Server) -> None:
    server.answers["/v2/a/manifests/1.0.0"] = [(503, {}, b""), (200, {}, BLOB)]
    assert server.registry().get_manifest("a", "1.0.0") == BLOB
    server.answers["/v2/a/manifests/2.0.0"] = [(503, {}, b""), (201, {}, b"")]
    with pytest.raises(RegistryError, match="registry answered 503"):
        server.registry().put_manifest("a", "2.0.0", BLOB)


def test_a_list_of_referrers_is_used_where_there_is_one(server: Server) -> None:
    index = b'{"manifests": [{"digest": "sha256:1"}]}'
    path = f"/v2/a/referrers/{DIGEST}"
    server.answers[path] = [(200, {"Content-Type": INDEX_TYPE}, index)]
    assert server.registry().referrers("a", DIGEST) == [{"digest": "sha256:1"}]
    assert [path for _verb, path, _sent in server.asked] == [path]
    server.answers["/v2/a/manifests/1.0.0"] = [(201, {"OCI-Subject": DIGEST}, b"")]
    assert server.registry().put_manifest("a", "1.0.0", BLOB) is True


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"manifests": [{}]}', b"<html>"])
def test_a_list_that_is_none_is_refused(server: Server, body: bytes) -> None:
    server.answers[f"/v2/a/referrers/{DIGEST}"] = [(200, {"Content-Type": INDEX_TYPE}, body)]
    with pytest.raises(RegistryError, match="sends something that is no index"):
        server.registry().referrers("a", DIGEST)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"", "user name or password wrong or missing"),
        (403, b'{"errors": [{"code": "DENIED", "message": "not yours"}]}', "DENIED: not yours"),
        (404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}', "NAME_UNKNOWN"),
        (500, b"<html>\n<b>no</b>", "registry answered 500"),
        (429, b'{"errors": "x"}', "registry answered 429"),
        (302, b"", "registry answered 302"),
    ],
)
def test_every_refusal_is_one_line_with_the_last_answer(
    server: Server, status: int, body: bytes, says: str
) -> None:
    server.answers["/v2/a/manifests/1.0.0"] = [(status, {}, body)]
    with pytest.raises(RegistryError) as caught:
        server.registry().put_manifest("a", "1.0.0", BLOB)
    message = caught.value.message
    assert message.startswith(f"PUT /v2/a/manifests/1.0.0 at {server.host}: ")
    assert says in message and "\n" not in message
    assert "swordfish" not in f"{message}{caught.value.details}" and "Basic" not in message


def test_silence_is_unreachable_in_time(server: Server) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RegistryError, match="cannot reach the registry: .*timed out") as caught:
            server.registry(host=host, timeout=1).put_manifest("a", "1.0.0", BLOB)
        assert caught.value.kind is RegistryErrorKind.UNREACHABLE


def test_a_registry_with_tls_is_not_left_for_one_without(server: Server) -> None:
    session = server.registry(plain_http=False)._session
    with pytest.raises(RegistryError, match="which is not https"):
        session._absolute("http://elsewhere.example/token")
    assert session._absolute(f"http://{server.host}/x") == f"https://{server.host}/x"
