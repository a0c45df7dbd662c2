# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The sample app keeps the promises that the demo and the tests of a cutover rely on."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.loadgen import Load

SOURCE = Path(__file__).resolve().parents[3] / "examples" / "shop" / "src"
SECRET = "postgresql://shop:hunter2@db/shop"


@dataclass
class Shop:
    """A running app."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, Any]:
        """Status, JSON content and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, Any]:
        return self.request("GET", path)[:2]

    def terminate(self) -> float:
        """SIGTERM, and how long the app then took to leave with exit code 0."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        return time.monotonic() - began

    def logs(self) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        return [json.loads(line) for line in self.process.stdout]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def environment(port: int, **more: str) -> dict[str, str]:
    base = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOST": "127.0.0.1"}
    return base | {"PORT": str(port), "HOSTNAME": "shop-web-1"} | more


def command() -> list[str]:
    return [sys.executable, "-m", "shop"]


@pytest.fixture
def shop() -> Iterator[Callable[..., Shop]]:
    """Starts apps; whatever still runs at the end is killed."""
    running: list[Shop] = []

    def start(**env: str) -> Shop:
        port = free_port()
        process = subprocess.Popen(
            command(), cwd=SOURCE, env=environment(port, **env), stdout=subprocess.PIPE, text=True
        )
        running.append(Shop(process, port))
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        return running[-1]

    yield start
    for one in running:
        one.process.kill()
        one.process.wait()
        if one.process.stdout:
            one.process.stdout.close()


def test_readiness_is_not_liveness(shop: Callable[..., Shop]) -> None:
    app = shop(STARTUP_DELAY="1", APP_VERSION="7.1")
    assert app.get("/healthz") == (200, {"alive": True, "version": "7.1"})
    status, content = app.get("/readyz")
    assert (status, content["status"], content["version"]) == (503, "starting", "7.1")
    assert app.get("/")[0] == 503
    time.sleep(1.1)
    assert (app.get("/readyz")[0], app.get("/readyz")[1]["status"]) == (200, "ok")
    assert app.get("/")[0] == 200


def test_home_names_version_and_instance(shop: Callable[..., Shop]) -> None:
    status, content, headers = shop(GREETING="Hi").request("GET", "/")
    assert (status, content["greeting"], content["instance"]) == (200, "Hi", "shop-web-1")
    assert content["version"] == (SOURCE / "VERSION").read_text(encoding="utf-8").strip()
    assert headers["X-App-Version"] == content["version"]
    assert headers["X-App-Instance"] == "shop-web-1"


def test_orders_echo_digest_and_length(shop: Callable[..., Shop]) -> None:
    body = os.urandom(300_000)
    status, content, _headers = shop().request("POST", "/orders", body)
    assert (status, content["length"]) == (201, 300_000)
    assert content["sha256"] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/slow?s=61", 400),
        ("GET", "/slow?s=-1", 400),
        ("GET", "/slow?s=soon", 400),
        ("GET", "/stream?n=1001", 400),
        ("GET", "/nothing", 404),
        ("POST", "/slow", 405),
        ("GET", "/orders", 405),
    ],
)
def test_requests_out_of_bounds(
    method: str, path: str, status: int, shop: Callable[..., Shop]
) -> None:
    answer = shop().request(method, path)
    assert answer[0] == status
    assert answer[1]["error"]


def test_an_idle_app_leaves_at_once(shop: Callable[..., Shop]) -> None:
    app = shop()
    idle = http.client.HTTPConnection("127.0.0.1", app.port)
    idle.request("GET", "/")
    idle.getresponse().read()
    time.sleep(0.4)
    assert app.terminate() < 1.0, "an idle kept connection held it up"
    idle.close()


def test_sigterm_finishes_work_and_still_serves_meanwhile(shop: Callable[..., Shop]) -> None:
    app = shop()
    answers: list[tuple[int, Any]] = []
    slow = threading.Thread(target=lambda: answers.append(app.get("/slow?s=1.5")))
    slow.start()
    time.sleep(0.3)
    app.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    status, content = app.get("/readyz")
    assert (status, content["status"], content["in_flight"]) == (503, "stopping", 1)
    assert app.get("/healthz")[0] == 200
    status, _content, headers = app.request("GET", "/")
    assert (status, headers["Connection"]) == (200, "close")
    slow.join()
    assert app.process.wait(2) == 0
    assert (answers[0][0], answers[0][1]["slept"]) == (200, 1.5)
    messages = [line["message"] for line in app.logs() if line["message"] != "request"]
    assert messages == ["listening", "stopping", "stopped"]


def test_sigterm_cuts_nothing_under_mixed_load(shop: Callable[..., Shop], tmp_path: Path) -> None:
    """SIGTERM while slow requests, streams and websockets are under way: all of them end well."""
    app = shop(ACCESS_LOG="0")
    mix = {"slow": 20.0, "stream": 20.0, "websocket": 10.0, "post": 20.0}
    options = ("--slow", "1-2")
    result_of = Load(app.url, mix=mix, out=tmp_path, duration=1.5, options=options).start()
    time.sleep(1.7)
    busy = app.get("/readyz")[1]["in_flight"]
    assert busy > 10
    app.process.send_signal(signal.SIGTERM)
    result = result_of.wait()
    assert app.process.wait(10) == 0
    assert (result.failed, result.planned == result.accounted) == (0, True), result.summary


def test_drain_timeout_ends_the_wait(shop: Callable[..., Shop]) -> None:
    app = shop(DRAIN_TIMEOUT="0.5")
    with socket.create_connection(("127.0.0.1", app.port)) as client:
        client.sendall(b"GET /slow?s=30 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert 0.4 < app.terminate() < 4
    assert "drain timeout" in [line["message"] for line in app.logs()]


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"PORT": "99999"}, ["PORT='99999'"]),
        ({"PORT": "http"}, ["PORT='http'"]),
        ({"STARTUP_DELAY": "-1", "LOG_LEVEL": "loud"}, ["STARTUP_DELAY='-1'", "LOG_LEVEL='loud'"]),
        ({"ACCESS_LOG": "maybe"}, ["ACCESS_LOG='maybe'"]),
        ({"DATABASE_URL_FILE": "/nonexistent"}, ["/nonexistent: No such file or directory"]),
        ({"DATABASE_URL_REQUIRED": "1"}, ["/run/secrets/DATABASE_URL"]),
    ],
)
def test_a_wrong_environment_is_refused_at_start(env: dict[str, str], named: list[str]) -> None:
    done = subprocess.run(
        command(),
        cwd=SOURCE,
        env=environment(1, **env),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 78
    message = json.loads(done.stdout)["message"]
    assert all(text in message for text in named), message


def test_a_secret_is_used_but_never_shown(shop: Callable[..., Shop], tmp_path: Path) -> None:
    path = tmp_path / "DATABASE_URL"
    path.write_text(SECRET, encoding="utf-8")
    app = shop(DATABASE_URL_FILE=str(path), LOG_LEVEL="debug")
    pages = [app.get(route)[1] for route in ("/", "/readyz", "/healthz", "/nothing")]
    assert pages[0]["database"] == {"configured": True}
    app.terminate()
    assert SECRET not in json.dumps([pages, app.logs()])


def test_logs_are_json_lines_on_stdout(shop: Callable[..., Shop]) -> None:
    app = shop()
    app.get("/")
    app.get("/readyz")
    app.terminate()
    requests = [line for line in app.logs() if line["message"] == "request"]
    assert len(requests) == 1, "probes are not logged"
    assert (requests[0]["path"], requests[0]["status"], requests[0]["level"]) == ("/", 200, "info")
    assert requests[0]["instance"] == "shop-web-1"


def test_the_access_log_can_be_off(shop: Callable[..., Shop]) -> None:
    app = shop(ACCESS_LOG="0")
    app.get("/")
    app.terminate()
    assert [line["message"] for line in app.logs()] == ["listening", "stopping", "stopped"]


def test_faults_on_request(shop: Callable[..., Shop]) -> None:
    assert shop(FAIL_READY="1").get("/readyz")[0] == 503
    assert shop(ERROR_RATE="1").get("/")[0] == 500
    assert shop(EXIT_AFTER="0.3").process.wait(5) == 3
    flapping = shop(FLAP="0.2")
    seen: set[int] = set()
    deadline = time.monotonic() + 5
    while len(seen) < 2 and time.monotonic() < deadline:
        seen.add(flapping.get("/readyz")[0])
        time.sleep(0.03)
    assert seen == {200, 503}
    deaf = shop(IGNORE_SIGTERM="1")
    deaf.process.send_signal(signal.SIGTERM)
    time.sleep(0.8)
    assert deaf.get("/readyz")[0] == 200
