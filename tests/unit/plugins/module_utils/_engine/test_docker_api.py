# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client against a unix socket that answers what the test says."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_api import (
    ApiRefused,
    DockerApi,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_errors import (
    engine_errors,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError

Serve = Callable[[bytes], list[bytes]]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "engine.sock"))
        found.listen()
        found.settimeout(5)
        yield found


@pytest.fixture
def serve(listener: socket.socket) -> Serve:
    """Answer one request with these bytes; the list returned gets what was asked."""

    def start(answer: bytes) -> list[bytes]:
        asked: list[bytes] = []

        def one() -> None:
            connection, _peer = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)

        threading.Thread(target=one, daemon=True).start()
        return asked

    return start


@pytest.fixture
def api(tmp_path: Path) -> DockerApi:
    return DockerApi(f"unix://{tmp_path}/engine.sock", "1.41", 1)


def answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_a_list_asks_for_all_with_filters_as_json(api: DockerApi, serve: Serve) -> None:
    asked = serve(answer("200 OK", b'[{"Id": "a"}]'))
    assert api.containers({"label": ["x=1"]}) == [{"Id": "a"}]
    assert asked[0].startswith(
        b"GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A+%5B%22x%3D1%22%5D%7D HTTP/1.1\r\n"
    )


def test_a_name_cannot_reach_another_path(api: DockerApi, serve: Serve) -> None:
    asked = serve(answer("200 OK", b"{}"))
    api.inspect_container("a?force=1#x y")
    assert asked[0].startswith(b"GET /v1.41/containers/a%3Fforce%3D1%23x%20y/json HTTP/1.1")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "No such container: a"}', "No such container: a"),
        (b"plain words\n", "plain words"),
        (b"", "Not Found"),
        (b"[1]", "[1]"),
    ],
)
def test_a_refusal_carries_the_engines_words(
    api: DockerApi, serve: Serve, body: bytes, words: str
) -> None:
    serve(answer("404 Not Found", body))
    with pytest.raises(ApiRefused) as caught:
        api.start("a")
    assert (caught.value.status, caught.value.answer) == (404, words)


def test_the_newest_api_version_is_in_the_headers(api: DockerApi, serve: Serve) -> None:
    serve(answer("200 OK", b"OK", "Api-Version: 1.44"))
    assert api.ping() == "1.44"


def frame(stream: int, text: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (frame(1, b"out\n") + frame(2, b"err\n"), b"out\nerr\n"),
        (b"from a terminal\n", b"from a terminal\n"),
        (frame(1, b"cut")[:-1], b"cu"),
        (b"", b""),
    ],
)
def test_frames_are_taken_off_a_log(api: DockerApi, serve: Serve, raw: bytes, text: bytes) -> None:
    serve(answer("200 OK", raw))
    assert api.logs("a", 20) == text


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", "unreachable"),
        (b"not http\r\n\r\n", "unreachable"),
        (answer("200 OK", b"not json"), "unreachable"),
        (answer("200 OK", b"[")[:-1], "unreachable"),
        (
            answer("409 Conflict", b'{"message": "is already in use by container x"}'),
            "name_conflict",
        ),
        (answer("500 No", b'{"message": "no space left on device"}'), "no_space"),
    ],
)
def test_whatever_comes_back_is_an_engine_error(
    api: DockerApi, serve: Serve, sent: bytes, kind: str
) -> None:
    serve(sent)
    with pytest.raises(EngineError) as caught, engine_errors("look", "unix:///x"):
        api.containers()
    assert caught.value.details["kind"] == kind, caught.value.message


def test_no_answer_ends_in_time(api: DockerApi, listener: socket.socket) -> None:
    with pytest.raises(TimeoutError):
        api.version()


def test_an_answer_that_is_not_json_is_no_answer(api: DockerApi, serve: Serve) -> None:
    serve(answer("200 OK", b"<html>"))
    with pytest.raises(http.client.HTTPException, match="/version: the answer is not JSON"):
        api.version()
