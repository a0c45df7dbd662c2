# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The role load_balancer on a real engine: idempotent, keeps targets, survives its own restart."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import targets
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    write_host_record,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    LoadBalancer,
)
from tests.integration.pytest.haproxy_rig import eventually
from tools.made import note_run
from tools.sample import free_port

docker = pytest.importorskip("docker")
CLOCK = SystemClock()
ROOT = Path(__file__).resolve().parents[3]
APP = """
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 1s
frontend app
    bind :8080
    http-request return status 200 content-type text/plain string {name}
"""
PLAY = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Run the load balancer",
                "ansible.builtin.include_role": {"name": "immutable.cutover.load_balancer"},
            }
        ],
    }
]


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """An image with Debian's HAProxy, made from this distribution's packages."""
    client = docker.from_env()
    tag = "cutover-test/haproxy:2.6"
    try:
        yield str(client.images.get(tag).id)
        return
    except docker.errors.ImageNotFound:
        pass
    with tempfile.TemporaryDirectory() as directory:
        tar = f"{directory}/root.tar"
        command = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--include=haproxy",
            "bookworm",
            tar,
        ]
        subprocess.run(command, check=True, timeout=300)
        subprocess.run(["docker", "import", tar, tag], check=True, stdout=subprocess.DEVNULL)
    yield str(client.images.get(tag).id)


class Site:
    """What the role makes, under names of its own."""

    def __init__(self, directory: Path, image: str) -> None:
        self.client = docker.from_env()
        self.name = f"cutover-test-{secrets.token_hex(4)}"
        note_run(self.name)
        self.dir = directory
        self.image = image
        self.port = free_port()
        self.apps: list[Any] = []
        self.variables: dict[str, Any] = {
            "load_balancer_name": self.name,
            "load_balancer_image": image,
            "load_balancer_network": self.name,
            "load_balancer_dir": str(directory / "cfg"),
            "load_balancer_socket_dir": str(directory / "run"),
            "load_balancer_backends": [{"name": "shop", "bind": f"127.0.0.1:{self.port}"}],
        }

    def play(self, *options: str, **variables: Any) -> dict[str, int]:
        """Run the role and return the numbers of the recap."""
        book = self.dir / "play.yml"
        book.write_text(json.dumps(PLAY))
        given = {**self.variables, **variables, "ansible_python_interpreter": sys.executable}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ansible.cli.playbook", "-i", "localhost,", "-c", "local"),
                *("-e", json.dumps(given), str(book), *options),
            ],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
                "ANSIBLE_HOME": str(self.dir / "home"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
                "ANSIBLE_FORCE_COLOR": "0",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        recap = done.stdout.rpartition("localhost")[2]
        numbers = dict(word.split("=") for word in recap.split() if "=" in word)
        assert numbers, done.stdout + done.stderr
        self.said = done.stdout
        return {key: int(value) for key, value in numbers.items()}

    def container(self) -> Any:
        return self.client.containers.get(self.name)

    def lb(self) -> LoadBalancer:
        options = {
            "socket": str(self.dir / "run" / "admin.sock"),
            "master_socket": str(self.dir / "run" / "master.sock"),
            "backend": "shop",
            "config": str(self.dir / "cfg" / "haproxy.cfg"),
            "container": self.name,
        }
        return factory.connect(options, CLOCK)

    def app(self, name: str) -> str:
        """Run a container that answers with its name; return its address."""
        config = self.dir / f"{name}.cfg"
        config.write_text(APP.format(name=name))
        made = self.client.containers.run(
            self.image,
            ["/usr/sbin/haproxy", "-db", "-f", "/app.cfg"],
            name=f"{self.name}-{name}",
            network=self.name,
            volumes={str(config): {"bind": "/app.cfg", "mode": "ro"}},
            detach=True,
        )
        self.apps.append(made)
        made.reload()
        return str(made.attrs["NetworkSettings"]["Networks"][self.name]["IPAddress"])

    def up(self, name: str) -> None:
        lb = self.lb()
        targets.register_standby(lb, name, self.app(name), 8080)
        targets.await_healthy(lb, name, 10, CLOCK)
        targets.activate(lb, name)

    def get(self, timeout: float = 5, port: int = 0, headers: dict[str, str] | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            connection.request("GET", "/", headers=headers or {})
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def serves(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get() in ("one", "two", "four")
        return False

    def clean(self) -> None:
        for app in self.apps:
            app.remove(force=True)
        for left in self.client.containers.list(all=True, filters={"name": self.name}):
            left.remove(force=True)
        for network in self.client.networks.list(names=[self.name]):
            network.remove()
        shutil.rmtree(self.dir / "cfg", ignore_errors=True)


def low_port() -> int:
    """A free port that only root may bind."""
    for port in range(700, 1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port below 1024 is free")


@pytest.fixture()
def site(tmp_path: Path, image: str) -> Iterator[Site]:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.geteuid() and str(parent) not in ("/", "/tmp"):
            parent.chmod(0o755)
    made = Site(tmp_path, image)
    try:
        yield made
    finally:
        made.clean()


def test_the_role_makes_keeps_and_removes_a_load_balancer(site: Site) -> None:
    predicted = site.play("--check", "--diff")
    assert predicted["failed"] == 0 and predicted["changed"] >= 1
    assert site.client.containers.list(all=True, filters={"name": site.name}) == []
    assert site.play()["failed"] == 0
    assert site.play()["changed"] == 0
    container = site.container()
    hardening = container.attrs["HostConfig"]
    assert hardening["CapDrop"] == ["ALL"] and hardening["ReadonlyRootfs"] is True
    assert container.attrs["Config"]["User"] == "10002:10002"
    # The engine's own proxy is in nobody's way: it was seen to die while HAProxy ran.
    assert hardening["NetworkMode"] == "host" and not hardening["PortBindings"]
    for name in ("admin.sock", "master.sock"):  # SE-24
        found = (site.dir / "run" / name).stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o660 and found.st_gid == 10002
    assert stat.S_IMODE((site.dir / "run").stat().st_mode) == 0o770
    assert "stats socket /run/" in (site.dir / "cfg" / "haproxy.cfg").read_text()

    # Targets survive a run of the role, a reload by it, and a restart of the container.
    for name in ("one", "two", "three"):
        site.up(name)
    targets.start_drain(site.lb(), "three")
    site.lb().persist()
    text = (site.dir / "cfg" / "haproxy.cfg").read_text()
    assert site.play()["changed"] == 0
    assert (site.dir / "cfg" / "haproxy.cfg").read_text() == text
    assert {site.get() for _again in range(8)} == {"one", "two"}

    site.up("four")  # not persisted: the role's reload must keep it all the same
    changed = site.play(load_balancer_max_connections=1500)
    assert changed["changed"] == 1 and changed["failed"] == 0
    assert site.container().id == container.id
    admins = {target.name: target.admin for target in site.lb().targets()}
    assert admins == {
        "one": Admin.ACTIVE,
        "two": Admin.ACTIVE,
        "three": Admin.MAINTENANCE,
        "four": Admin.ACTIVE,
    }
    assert site.play(load_balancer_max_connections=1500)["changed"] == 0

    site.container().restart(timeout=3)
    eventually(site.serves, 10)
    after = {target.name: target.admin for target in site.lb().targets()}
    assert after == admins
    assert {site.get() for _again in range(12)} == {"one", "two", "four"}
    assert site.lb().persisted()

    assert site.play(load_balancer_state="absent")["failed"] == 0
    assert site.play(load_balancer_state="absent")["changed"] == 0
    assert not (site.dir / "cfg").exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"load_balancer_image": ""}, "load_balancer_image and load_balancer_backends"),
        ({"load_balancer_backends": []}, "load_balancer_image and load_balancer_backends"),
        ({"load_balancer_backends": [{"name": "a b", "bind": "127.0.0.1:1"}]}, "must be given"),
        ({"load_balancer_backends": [{"name": "a", "bind": "somewhere"}]}, "bind[0]"),
        pytest.param(
            {"load_balancer_backends": [{"name": "a", "bind": f"127.0.0.{n}:1"} for n in (1, 2)]},
            "each backend with a name of its own",
            id="B10",
        ),
        pytest.param(
            {
                "load_balancer_backends": [
                    {"name": "web", "bind": "127.0.0.1:8080"},
                    {"name": "other", "bind": "127.0.0.1:80"},
                    {"name": "api", "bind": "127.0.0.1:8080"},
                ]
            },
            "load_balancer_backends: 127.0.0.1:8080 claimed by web and api",
            id="B11",
        ),
        (
            {
                "load_balancer_backends": [
                    {"name": "a", "bind": "127.0.0.1:1", "options": ["nonsense"]}
                ]
            },
            "unknown keyword 'nonsense'",
        ),
    ],
)
def test_bad_variables_start_nothing(site: Site, variables: dict[str, Any], said: str) -> None:
    assert site.play(**variables)["failed"] == 1
    assert said in site.said
    assert site.client.containers.list(all=True, filters={"name": site.name}) == []
    assert not (site.dir / "cfg" / "haproxy.cfg").exists()


def test_without_backends_it_says_what_must_be_given(site: Site) -> None:
    del site.variables["load_balancer_backends"]
    assert site.play()["failed"] == 1
    assert "load_balancer_image and load_balancer_backends must be given" in site.said
    assert not (site.dir / "cfg").exists()


def test_b13_an_image_by_digest_is_found_in_the_state_folder_it_is_told(site: Site) -> None:
    manifest = f"sha256:{'2' * 64}"
    image_id = site.client.images.get(site.image).id
    known = BakeRecord(
        name="cutover/haproxy",
        version="2.6.0",
        kind="app",
        arch="amd64",
        image_id=image_id,
        manifest_digest=manifest,
        recipe_hash="4" * 64,
        base="",
        epoch=1,
        size=0,
        layers=(),
    )
    state = str(site.dir / "state")
    write_host_record(state, known)
    given = {"load_balancer_state_dir": state}
    assert site.play(load_balancer_image=known.tag, **given)["failed"] == 1
    assert f"a tag is never what runs; {known.tag} is now {known.reference}" in site.said
    assert site.play(load_balancer_image=known.reference, **given)["failed"] == 0
    assert site.container().image.id == image_id


def test_another_port_is_a_reload(site: Site) -> None:
    assert site.play()["failed"] == 0
    site.up("one")
    container, first = site.container(), site.port
    assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "always"
    container.update(restart_policy={"Name": "unless-stopped"})  # as earlier versions made it
    site.port = free_port()
    binds = (("shop", first), ("more", site.port))
    backends = [{"name": name, "bind": f"127.0.0.1:{port}"} for name, port in binds]
    assert site.play(load_balancer_backends=backends)["failed"] == 0
    assert site.container().id == container.id
    assert site.container().attrs["HostConfig"]["RestartPolicy"]["Name"] == "always"
    assert "No server is available" in site.get()
    site.port = first
    assert site.get() == "one"


def test_a_port_below_1024_is_bound_by_a_master_that_can_do_nothing_else(site: Site) -> None:
    assert site.play()["failed"] == 0
    before, site.port = site.container().id, low_port()
    backends = [{"name": "shop", "bind": f"127.0.0.1:{site.port}"}]
    assert site.play(load_balancer_backends=backends)["failed"] == 0
    container = site.container()
    assert container.id != before
    assert sorted(container.attrs["HostConfig"]["CapAdd"]) == [
        "NET_BIND_SERVICE",
        "SETGID",
        "SETUID",
    ]
    owners = {row[0] for row in container.top(ps_args="-o uid,pid")["Processes"]}
    assert owners == {"0", "10002"}
    site.up("one")
    assert site.get() == "one"
    assert site.play(load_balancer_backends=backends)["changed"] == 0
    changed = site.play(load_balancer_backends=backends, load_balancer_max_connections=1500)
    assert (changed["failed"], changed["changed"]) == (0, 1)
    assert site.get() == "one"


def test_b11_a_port_that_is_taken_leaves_nothing_behind(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)):
        assert site.play()["failed"] == 1
    said = " ".join(site.said.split())
    assert f"cannot bind socket (Address already in use) for [127.0.0.1:{site.port}]" in said, said
    assert site.client.containers.list(all=True, filters={"name": site.name}) == []


def test_a_container_of_somebody_else_is_left_alone(site: Site) -> None:
    stranger = site.client.containers.create(site.image, ["/bin/true"], name=site.name)
    assert site.play()["failed"] == 1
    assert "is not one of ours" in site.said
    assert site.container().id == stranger.id


def test_requests_wait_for_a_target_or_get_the_page(site: Site) -> None:
    """What is held is answered by the first target that comes; what is not held gets the page."""
    backend = {
        "name": "shop",
        "bind": f"127.0.0.1:{site.port}",
        "maintenance_page": "<p>Back soon</p>",
    }
    assert site.play(load_balancer_backends=[backend])["failed"] == 0
    assert site.get() == "<p>Back soon</p>"
    held = [{**backend, "hold_requests": 20}]
    assert (changed := site.play(load_balancer_backends=held))["failed"] == 0, changed
    assert site.play(load_balancer_backends=held)["changed"] == 0
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(site.get, 30) for _request in range(4)]
        site.up("one")
        assert {answer.result() for answer in answers} == {"one"}
    # A connection that is kept over a reload is answered by the worker that leaves: it holds nothing back.
    kept = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    kept.request("GET", "/")
    assert kept.getresponse().read() == b"one"
    changed = site.play(load_balancer_backends=held, load_balancer_max_connections=1500)
    assert (changed["failed"], changed["changed"]) == (0, 1)
    kept.request("GET", "/")
    assert kept.getresponse().read() == b"one"
    kept.close()
    targets.start_drain(site.lb(), "one")
    short = [{**backend, "hold_requests": 1, "maintenance_page": "<p>Later</p>"}]
    assert site.play(load_balancer_backends=short)["failed"] == 0
    assert site.get() == "<p>Later</p>"


def test_who_asks_gets_what_is_previewed_and_nobody_else(site: Site) -> None:
    """By header, cookie and listener; over a reload and a restart, and the role leaves it as it is."""
    shown = free_port()
    preview = {"header": "X-New", "cookie": "new", "value": "yes", "bind": f"127.0.0.1:{shown}"}
    backend = {
        "name": "shop",
        "bind": f"127.0.0.1:{site.port}",
        "balance": "roundrobin",
        "preview": preview,
    }
    asked = [{"X-New": "yes"}, {"Cookie": "a=b; new=yes"}]
    plain = [{}, {"X-New": "no"}, {"Cookie": "new=no"}]

    def answers() -> tuple[set[str], set[str]]:
        who_asks = {site.get(headers=headers) for headers in asked} | {site.get(port=shown)}
        return who_asks, {site.get(headers=headers) for headers in plain}

    assert site.play(load_balancer_backends=[backend])["failed"] == 0
    site.up("one")
    assert answers() == ({"one"}, {"one"}), "with nothing to preview all are balanced alike"
    lb = site.lb()
    targets.register_standby(lb, "two", site.app("two"), 8080)
    targets.await_healthy(lb, "two", 10, CLOCK)
    targets.offer(lb, "two", lambda other: False)
    lb.persist()
    assert answers() == ({"two"}, {"one"})
    assert site.play(load_balancer_backends=[backend])["changed"] == 0
    changed = site.play(load_balancer_backends=[backend], load_balancer_max_connections=1500)
    assert (changed["failed"], changed["changed"]) == (0, 1)
    # After a reload what is in standby is in maintenance, until the next run puts that right.
    assert answers() == ({"one"}, {"one"})
    lb.set_state("two", Admin.STANDBY)
    targets.await_healthy(lb, "two", 10, CLOCK)
    assert answers() == ({"two"}, {"one"})
    targets.start_drain(lb, "two")
    assert answers() == ({"one"}, {"one"})


@pytest.mark.parametrize(
    ("preview", "balance"),
    [
        ({"value": "1"}, "first"),
        ({"header": "X New"}, "first"),
        ({"header": "X-New", "value": "1\n use_backend x"}, "first"),
        ({"header": "X-New"}, "leastconn"),
    ],
)
def test_b_what_cannot_be_asked_with_is_refused(
    site: Site, preview: dict[str, str], balance: str
) -> None:
    bind = f"127.0.0.1:{site.port}"
    backend = {"name": "shop", "bind": bind, "preview": preview, "balance": balance}
    assert site.play(load_balancer_backends=[backend])["failed"] == 1
    said = (
        "load_balancer_backends.shop.preview: needs a balance other than leastconn, at least one of"
    )
    assert said in " ".join(site.said.split())
    assert site.client.containers.list(all=True, filters={"name": site.name}) == []


@pytest.mark.parametrize("option", [{"hold_requests": 301}, {"maintenance_page": "x" * 12001}])
def test_b_what_cannot_be_held_or_shown_is_refused(site: Site, option: dict[str, Any]) -> None:
    backend = {"name": "shop", "bind": f"127.0.0.1:{site.port}", **option}
    assert site.play(load_balancer_backends=[backend])["failed"] == 1
    assert "load_balancer_backends.shop: hold_requests must be 0-300 seconds" in " ".join(
        site.said.split()
    )
    assert site.client.containers.list(all=True, filters={"name": site.name}) == []
