# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The role `engine` starts an engine of its own beside the one that runs here, and clean tidies that one up.

The second engine has its own socket, data and no bridge, so the first one is not touched; clean would take every object
of the project from the engine it is given, so it gets this one.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import docker
import pytest

from tools import clean
from tools.made import Made
from tools.sample import environment

ROOT = Path(__file__).resolve().parents[3]
THEIRS = {"immutable.cutover.app": "blog", "immutable.cutover.network": "1"}
MINE = {"immutable.cutover.app": "shop", "immutable.cutover.network": "1"}


@dataclass(frozen=True)
class Play:
    """How a run of the playbook went."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        found = re.search(r"changed=(\d+)", self.output)
        assert found is not None, self.output
        return int(found.group(1))


def play(variables: dict[str, object], *options: str) -> Play:
    """Run the playbook as a user would, lines unwrapped."""
    program = Path(sys.executable).parent / "ansible-playbook"
    command = [str(program), "immutable.cutover.engine", "-e", json.dumps(variables), *options]
    settings = environment() | {
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    return Play(done.returncode, done.stdout + done.stderr)


@dataclass(frozen=True)
class OwnEngine:
    """The second engine's place."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def pid_file(self) -> Path:
        return self.folder / "state" / "dockerd.pid"

    @property
    def variables(self) -> dict[str, object]:
        return {
            "engine_socket": str(self.socket),
            "engine_state_dir": str(self.folder / "state"),
            "engine_daemon_options": [
                f"--data-root={self.folder / 'data'}",
                f"--exec-root={self.folder / 'exec'}",
                "--bridge=none",
                "--iptables=false",
            ],
        }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    engine = OwnEngine(tmp_path_factory.mktemp("engine"))
    yield engine
    pid = clean.our_engine(engine.pid_file)
    if pid is not None:
        with closing(docker.DockerClient(base_url=f"unix://{engine.socket}")) as client:
            client.containers.prune()
            client.networks.prune()  # a bridge outlives its engine
        assert clean.stop_engine(pid)
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        mount_point = line.split()[1]
        if mount_point.startswith(f"{engine.folder}/"):  # a namespace it held on to
            subprocess.run(["umount", mount_point], check=True)


@pytest.fixture(scope="module")
def started(own: OwnEngine) -> Play:
    """The run that started the second engine."""
    return play(own.variables)


def test_check_mode_says_what_it_would_do_and_starts_nothing(own: OwnEngine) -> None:
    result = play(own.variables, "--check")
    assert result.code == 0, result.output
    assert f"engine would be started on {own.socket}" in result.output
    assert not own.socket.exists()
    assert not own.pid_file.exists()


def test_starts_an_engine_where_none_answers(own: OwnEngine, started: Play) -> None:
    assert started.code == 0, started.output
    assert "engine started, " in started.output
    assert clean.our_engine(own.pid_file) is not None
    assert own.pid_file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("options", [(), ("--check",)], ids=["real", "check"])
def test_leaves_an_engine_that_answers_as_it_is(
    own: OwnEngine, started: Play, options: tuple[str, ...]
) -> None:
    before = clean.our_engine(own.pid_file)
    result = play(own.variables, *options)
    assert (result.code, result.changed) == (0, 0), result.output
    assert f"on {own.socket}" in result.output
    assert "engine already running, " in result.output
    assert clean.our_engine(own.pid_file) == before


def test_an_engine_that_is_too_old_is_refused(own: OwnEngine, started: Play) -> None:
    result = play(own.variables | {"engine_minimum_version": "99.1"})
    assert result.code == 2
    assert re.search(rf"docker >= 99\.1 needed, found [0-9.]+\S* on {own.socket}", result.output), (
        result.output
    )
    assert result.changed == 0


def test_a_user_who_may_not_open_the_socket_is_named(own: OwnEngine, started: Play) -> None:
    who = {
        "ansible_become": True,
        "ansible_become_method": "su",
        "ansible_become_user": "nobody",
        "ansible_become_flags": "-s /bin/sh",
        "ansible_python_interpreter": "/usr/bin/python3",
        "engine_socket": "/var/run/docker.sock",
    }
    result = play(who)
    assert result.code == 2
    assert "user nobody may not open /var/run/docker.sock" in result.output, result.output
    assert result.changed == 0


def test_an_engine_that_does_not_come_up_fails_with_its_log(tmp_path: Path) -> None:
    broken = OwnEngine(tmp_path)
    options = {"engine_daemon_options": ["--no-such-option"], "engine_start_timeout": 2}
    result = play(broken.variables | options)
    assert result.code == 2
    assert f"no engine answers on {broken.socket} after 2 s" in result.output
    assert "unknown flag: --no-such-option" in result.output


def empty_layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    return buffer.getvalue()


@dataclass(frozen=True)
class Objects:
    """The names of everything in an engine, by kind."""

    containers: frozenset[str]
    networks: frozenset[str]
    volumes: frozenset[str]
    images: frozenset[str]


def objects(client: docker.DockerClient) -> Objects:
    return Objects(
        frozenset(item.name for item in client.containers.list(all=True)),
        frozenset(item.name for item in client.networks.list()),
        frozenset(item.name for item in client.volumes.list()),
        frozenset(tag for item in client.images.list() for tag in item.tags),
    )


def test_clean_takes_ours_and_nothing_else_then_stops_the_engine(
    own: OwnEngine, started: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, kept = tmp_path / "var/lib/immutable-cutover/apps/shop", tmp_path / "kept"
    records = tmp_path / "var/lib/immutable-cutover/images"
    for folder in (state, kept, records):
        folder.mkdir(parents=True)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own.socket}")
    monkeypatch.setattr(clean, "SYSTEM", tmp_path)
    monkeypatch.setattr(clean, "PID_FILE", own.pid_file)
    pid = clean.our_engine(own.pid_file)
    assert pid is not None
    with closing(docker.DockerClient(base_url=f"unix://{own.socket}")) as client:
        untouched = objects(client).networks
        label = "LABEL immutable.cutover.name=shop/web"
        for name in ("theirs", "mine", "shared"):
            changes = [label, f"LABEL number={name}"]
            client.api.import_image_from_data(
                empty_layer(), repository=name, tag="1", changes=changes
            )
        for name, labels, subnet in (
            ("theirs", THEIRS, "10.213.77.0/28"),
            ("shop-net", MINE, "10.213.77.16/28"),
        ):
            # A subnet of its own: the two engines choose from the same pool.
            pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)])
            client.networks.create(name, driver="bridge", internal=True, ipam=pool, labels=labels)
        for name, image, labels in (
            ("theirs", "theirs:1", THEIRS),
            ("their-shop", "theirs:1", MINE),  # a real app that has a name of the demo
            ("their-use", "shared:1", {}),
            ("mine", "mine:1", MINE),
        ):
            client.containers.create(image, "x", name=name, labels=labels, network_mode="none")
        baked = {str(client.images.get(f"{name}:1").id) for name in ("mine", "shared")}
        made = Made(frozenset({"shop"}), images=frozenset(baked), engine=pid)
        shared = str(client.images.get("shared:1").id)
        for image in baked:
            (records / f"{image.removeprefix('sha256:')}.json").touch()

        assert clean.clean_host(replace(made, engine=pid + 1)) == []
        assert clean.our_engine(own.pid_file) == pid, "an engine that this checkout did not start"
        assert clean.clean_host(made) == []

    assert clean.our_engine(own.pid_file) is None
    assert not own.pid_file.parent.exists()
    assert not state.exists()
    assert kept.exists()
    assert [path.stem for path in records.iterdir()] == [shared.removeprefix("sha256:")]
    assert play(own.variables).code == 0
    with closing(docker.DockerClient(base_url=f"unix://{own.socket}")) as client:
        theirs = frozenset({"theirs", "their-shop", "their-use"})
        networks, images = untouched | {"theirs"}, frozenset({"theirs:1", "shared:1"})
        assert objects(client) == Objects(theirs, networks, frozenset(), images)
