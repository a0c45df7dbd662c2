# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from ansible_collections.immutable.cutover.plugins.module_utils._apply.replicas import (
    await_end,
    stop_replica,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine import secrets
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import SecretFile
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import (
    NETWORK_LABEL,
    DockerEngine,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_look import (
    LABEL as LOOK,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker_look import (
    LEFT_OVER,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError
from ansible_collections.immutable.cutover.plugins.module_utils._wait import Verdict, wait_until
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

SLEEP = ("/bin/sleep", "600")
CANARY = "c4n4ry-v4lue-of-a-secret"
UID = 10001


def ours(engine: DockerEngine, run_id: str) -> list[str]:
    return [found.name for found in engine.containers({"immutable.cutover.app": run_id})]


def run_in(api: Any, container_id: str, *command: str, user: str = "") -> str:
    created = api.exec_create(container_id, list(command), user=user)
    return str(api.exec_start(created["Id"]).decode())


def secret(tmp_path: Path, name: str = "DATABASE_URL") -> SecretFile:
    source = tmp_path / f"source-{name}"
    source.write_text(CANARY)
    source.chmod(0o400)
    return SecretFile(name, str(source))


# What it is created with.


def test_se_03_hardening_is_what_every_container_gets(engine: Any, api: Any, spec: Any) -> None:
    started = engine.start(spec("hard", command=SLEEP, stop_signal="SIGINT"))
    found = api.inspect_container(started.id)
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/tmp": "rw,noexec,nosuid,nodev,size=64m"}
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == 64
    assert (host["Memory"], host["MemorySwap"]) == (64 << 20, 64 << 20)
    assert host["NanoCpus"] == 500_000_000
    assert host["Init"] is True
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert host["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "10m", "max-file": "3"},
    }
    assert found["Config"]["User"] == str(UID)
    assert found["Config"]["StopSignal"] == "SIGINT"
    assert found["Config"]["Hostname"] == started.name


def test_se_02_it_reaches_nothing_of_the_host(engine: Any, api: Any, spec: Any) -> None:
    found = api.inspect_container(engine.start(spec("reach", command=SLEEP)).id)
    host = found["HostConfig"]
    assert host["Privileged"] is False
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert host["IpcMode"] == "private"
    assert not host["Devices"]
    assert not host["PortBindings"]
    assert not host["PublishAllPorts"]
    assert found["Mounts"] == []
    assert list(found["NetworkSettings"]["Networks"]) == [host["NetworkMode"]]


def test_se_03_the_kernel_agrees(engine: Any, api: Any, spec: Any) -> None:
    started = engine.start(spec("kernel", command=SLEEP))
    status = run_in(api, started.id, "cat", "/proc/1/status")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert run_in(api, started.id, "id", "-u").strip() == str(UID)
    assert "Read-only file system" in run_in(api, started.id, "touch", "/x")
    assert run_in(api, started.id, "touch", "/tmp/x") == ""


def test_it_gets_environment_command_labels_and_an_address(
    engine: Any, api: Any, spec: Any
) -> None:
    wanted = spec("env", command=SLEEP, env={"PORT": "9000", "GREETING": "a=b c\nd"})
    started = engine.start(wanted)
    assert started.running
    assert dict(wanted.labels).items() <= started.labels.items()
    assert started.image_id == wanted.image_id
    assert ipaddress.ip_address(started.address)
    assert started.started_at.startswith("20")
    assert api.inspect_container(started.id)["Config"]["Env"][:2] == [
        "GREETING=a=b c\nd",
        "PORT=9000",
    ]
    listed = engine.containers({"immutable.cutover.app": "", **wanted.labels})
    assert [(row.id, row.state, row.address) for row in listed] == [
        (started.id, "running", started.address)
    ]
    assert engine.containers({"immutable.cutover.app": "no such app"}) == ()


@pytest.mark.parametrize("user", ["", "0", "0:0", "root", "root:root", "nobody"])
def test_b51_root_or_a_user_that_may_be_root_is_refused(
    engine: Any, spec: Any, make_image: Any, run_id: str, user: str
) -> None:
    changes = [f"USER {user}"] if user else []
    image = make_image(
        f"user-{user.replace(':', '-') or 'none'}", *changes, 'CMD ["/bin/sleep", "9"]'
    )
    with pytest.raises(EngineError, match="set a numeric"):
        engine.start(spec("root", image_id=image))
    assert ours(engine, run_id) == []


# Secrets.


def test_se_07_a_secret_is_a_file_only_its_user_can_read(
    engine: Any, api: Any, spec: Any, secrets_dir: Path, tmp_path: Path
) -> None:
    started = engine.start(spec("secret", command=SLEEP, secrets=(secret(tmp_path),)))
    path = "/run/secrets/DATABASE_URL"
    assert run_in(api, started.id, "stat", "-c", "%a %u", path).strip() == f"400 {UID}"
    assert run_in(api, started.id, "cat", path) == CANARY
    denied = run_in(api, started.id, "cat", path, user="12345")
    assert "Permission denied" in denied and CANARY not in denied
    assert "Read-only" in run_in(api, started.id, "touch", "/run/secrets/other")
    (copy,) = secrets_dir.glob("*/DATABASE_URL")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    for directory in (copy.parent, secrets_dir):
        assert (stat.S_IMODE(directory.stat().st_mode), directory.stat().st_uid) == (0o700, 0)


def test_se_06_a_secret_is_nowhere_else(engine: Any, api: Any, spec: Any, tmp_path: Path) -> None:
    started = engine.start(spec("nowhere", command=SLEEP, secrets=(secret(tmp_path),)))
    assert CANARY not in str(api.inspect_container(started.id))
    assert CANARY not in str(api.containers(all=True))
    assert CANARY not in run_in(api, started.id, "cat", "/proc/1/cmdline", "/proc/1/environ")
    assert CANARY not in repr(started)


def test_remove_takes_the_secrets_along(
    engine: Any, spec: Any, secrets_dir: Path, tmp_path: Path
) -> None:
    wanted = (secret(tmp_path, "A"), secret(tmp_path, "B"))
    one = engine.start(spec("s1", command=SLEEP, secrets=wanted))
    two = engine.start(spec("s2", command=SLEEP, secrets=wanted))
    engine.stop(one.id, "SIGTERM", 5)
    assert len(list(secrets_dir.iterdir())) == 2
    assert engine.remove(one.id) is True
    (left,) = secrets_dir.iterdir()
    assert left.name.startswith(two.name)
    assert engine.remove(one.id) is False


def test_copies_that_no_container_mounts_are_swept(
    engine: Any, spec: Any, secrets_dir: Path, tmp_path: Path
) -> None:
    started = engine.start(spec("swept", command=SLEEP, secrets=(secret(tmp_path),)))
    (kept,) = secrets_dir.iterdir()
    left_over = secrets_dir / "shop-web-1.0badc0de"
    left_over.mkdir()
    (left_over / "X").write_text(CANARY)
    assert secrets.sweep(str(secrets_dir), engine.secret_sources()) == (left_over.name,)
    assert list(secrets_dir.iterdir()) == [kept]
    assert engine.inspect(started.id).running


def test_remove_does_not_delete_a_folder_that_is_not_ours(
    engine: Any, api: Any, spec: Any, image: str, run_id: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    (precious / "X").write_text("keep")
    mounts = [{"Type": "bind", "Source": str(precious / "X"), "Target": "/run/secrets/X"}]
    body = {
        "Image": image,
        "Labels": {"immutable.cutover.app": run_id},
        "HostConfig": {"Mounts": mounts, "NetworkMode": "none"},
    }
    created = api.create_container_from_config(body, f"{run_id}-fake")
    assert engine.remove(created["Id"])
    assert (precious / "X").read_text() == "keep"


@pytest.mark.parametrize("kind", ["missing", "directory", "symlink", "large"])
def test_a_bad_secret_source_starts_nothing_and_leaves_nothing(
    engine: Any, spec: Any, run_id: str, secrets_dir: Path, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "bad"
    if kind == "directory":
        source.mkdir()
    elif kind == "symlink":
        source.symlink_to("/etc/shadow")
    elif kind == "large":
        source.write_bytes(b"x" * (2 << 20))
    good = secret(tmp_path, "GOOD")
    with pytest.raises(EngineError, match=str(source) if kind != "large" else "larger than 1 MB"):
        engine.start(spec("bad", secrets=(good, SecretFile("BAD", str(source)))))
    assert ours(engine, run_id) == []
    assert list(secrets_dir.iterdir()) == []


def test_se_25_a_secrets_folder_others_can_enter_is_refused(
    engine: Any, spec: Any, secrets_dir: Path, tmp_path: Path
) -> None:
    secrets_dir.mkdir(mode=0o755)
    secrets_dir.chmod(0o755)
    with pytest.raises(EngineError, match="mode 0700"):
        engine.start(spec("open", secrets=(secret(tmp_path),)))
    assert list(secrets_dir.iterdir()) == []


# Addresses and networks.


def test_a_restart_keeps_the_address(engine: Any, api: Any, spec: Any) -> None:
    one = engine.start(spec("keep1", command=SLEEP))
    api.stop(one.id, timeout=1)
    others = [engine.start(spec(f"keep-o{number}", command=SLEEP)) for number in range(3)]
    assert one.address not in [other.address for other in others]
    api.start(one.id)
    assert engine.inspect(one.id).address == one.address


def test_the_engine_itself_never_hands_out_a_fixed_address(
    engine: Any, api: Any, spec: Any, network: str, image: str, run_id: str
) -> None:
    pool = api.inspect_network(network)["IPAM"]["Config"][0]
    subnet, dynamic = ipaddress.ip_network(pool["Subnet"]), ipaddress.ip_network(pool["IPRange"])
    assert dynamic.prefixlen == subnet.prefixlen + 1
    started = engine.start(spec("fixed", command=SLEEP))
    assert ipaddress.ip_address(started.address) in subnet
    assert ipaddress.ip_address(started.address) not in dynamic
    body = {"Image": image, "Cmd": ["sleep", "9"], "HostConfig": {"NetworkMode": network}}
    foreign = api.create_container_from_config(body, f"{run_id}-foreign")["Id"]
    api.start(foreign)
    assert ipaddress.ip_address(engine.inspect(foreign).address) in dynamic


def test_eight_starts_at_once_get_eight_addresses(engine: Any, spec: Any, run_id: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(engine.start, [spec(f"p{n}", command=SLEEP) for n in range(8)]))
    assert len({found.address for found in started}) == 8
    assert all(found.running for found in started)
    assert len(ours(engine, run_id)) == 8


def test_an_address_taken_meanwhile_is_not_the_end(
    engine: Any, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = engine.start(spec("taken1", command=SLEEP))
    # Another process that does not see the first one and, with the same key, picks its address.
    blind = DockerEngine()
    monkeypatch.setattr(DockerEngine, "_used_addresses", lambda self, network: set())
    from ansible_collections.immutable.cutover.plugins.module_utils._engine import docker

    real = docker.pick_address
    monkeypatch.setattr(
        docker, "pick_address", lambda free, used, key: real(free, used, first.name)
    )
    second = blind.start(spec("taken2", command=SLEEP))
    assert second.running
    assert second.address != first.address


def test_on_a_foreign_network_the_engine_chooses_the_address(
    engine: Any, api: Any, spec: Any, run_id: str
) -> None:
    name = f"{run_id}-foreign-net"
    api.create_network(name)
    try:
        assert engine.ensure_network(name) is False
        started = engine.start(spec("foreign", network=name, command=SLEEP))
        assert ipaddress.ip_address(started.address)
        engine.stop(started.id, "SIGTERM", 1)
        engine.remove(started.id)
    finally:
        api.remove_network(name)


def test_a_network_is_made_once_even_by_six_at_once(api: Any, run_id: str) -> None:
    name = f"{run_id}-race"
    barrier = threading.Barrier(6)

    def make(_number: int) -> bool:
        engine = DockerEngine()
        engine.networks()
        barrier.wait()
        return engine.ensure_network(name)

    try:
        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(make, range(6)))
        (found,) = api.networks(names=[name])
        assert made.count(True) <= 1
        assert found["Labels"] == {NETWORK_LABEL: "1"}
        assert DockerEngine().ensure_network(name) is False
    finally:
        for row in api.networks(names=[name]):
            api.remove_network(row["Id"])
    leftovers = [row["Name"] for row in api.networks() if row["Name"].startswith(f"{name}-subnet")]
    assert leftovers == []


# Failing.


def failing_specs(spec: Any) -> dict[str, Any]:
    return {
        "create": spec("fail", tmpfs=("relative",)),
        "start": spec("fail", tmpfs=("/proc/x",)),
        "network": spec("fail", network="no-such-network"),
        "image": spec("fail", image_id="sha256:" + "0" * 64),
    }


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("create", "must be absolute"),
        ("start", "error mounting"),
        ("network", "no-such-network"),
        ("image", "is not on this host"),
    ],
)
def test_a_failed_start_leaves_nothing_behind(
    engine: Any, spec: Any, run_id: str, secrets_dir: Path, tmp_path: Path, kind: str, says: str
) -> None:
    wanted = replace(failing_specs(spec)[kind], secrets=(secret(tmp_path),))
    with pytest.raises(EngineError) as caught:
        engine.start(wanted)
    assert says in caught.value.message, caught.value.message
    assert "\n" not in caught.value.message
    assert ours(engine, run_id) == []
    assert not secrets_dir.exists() or list(secrets_dir.iterdir()) == []


def test_a_name_in_use_is_refused_and_its_owner_keeps_its_secrets(
    engine: Any, api: Any, spec: Any, secrets_dir: Path, tmp_path: Path
) -> None:
    wanted = spec("name", command=SLEEP, secrets=(secret(tmp_path),))
    owner = engine.start(wanted)
    with pytest.raises(EngineError, match="the name is in use") as caught:
        engine.start(wanted)
    assert caught.value.details["kind"] == "name_conflict"
    assert run_in(api, owner.id, "cat", "/run/secrets/DATABASE_URL") == CANARY
    assert len(list(secrets_dir.iterdir())) == 1


def test_cr_10_of_four_starts_with_one_name_one_wins(engine: Any, spec: Any, run_id: str) -> None:
    def start(_number: int) -> str:
        try:
            return str(DockerEngine().start(spec("one", command=SLEEP)).id)
        except EngineError as error:
            return str(error.details["kind"])

    with ThreadPoolExecutor(4) as pool:
        outcome = sorted(pool.map(start, range(4)))
    assert outcome.count("name_conflict") == 3, outcome
    assert len(ours(engine, run_id)) == 1


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("unix:///nowhere/docker.sock", "unreachable"),
        ("unix:///etc/hostname", "unreachable"),
    ],
)
def test_an_engine_that_is_not_there_is_named(host: str, kind: str) -> None:
    with pytest.raises(EngineError) as caught:
        DockerEngine(host).version()
    assert caught.value.details["kind"] == kind, caught.value.message
    assert host in caught.value.message


def test_b55_no_permission_is_said_as_such() -> None:
    code = (
        "import os\n"
        "from ansible_collections.immutable.cutover.plugins.module_utils._engine.docker import DockerEngine\n"
        "from ansible_collections.immutable.cutover.plugins.module_utils._errors import EngineError\n"
        "DockerEngine().version()\n"
        "os.setgroups([]); os.setuid(65534)\n"
        "try:\n    DockerEngine().version()\n"
        "except EngineError as error:\n    print(error.details['kind'], error.message)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert "permission_denied" in done.stdout, done.stdout + done.stderr
    assert "/var/run/docker.sock" in done.stdout


def test_an_engine_that_never_answers_is_a_timeout(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(EngineError, match="did not answer in time"):
            DockerEngine(f"unix://{path}", timeout=1).version()


# Ending.


def trap_is_set(engine: Any, container: str) -> None:
    """Wait until it says so: a signal that comes before is nobody's."""
    wait_until(
        lambda: Verdict("set" in engine.logs(container, 5), None, "no output yet"),
        what="the trap",
        timeout=60,
        interval=0.1,
        clock=SystemClock(),
    )


def test_stop_returns_the_exit_code_and_never_restarts(engine: Any, spec: Any) -> None:
    started = engine.start(
        spec("stop", command=("/bin/sh", "-c", "trap 'exit 3' TERM; echo set; sleep 600 & wait"))
    )
    trap_is_set(engine, started.id)
    assert engine.stop(started.id, "SIGTERM", 10) == 3
    time.sleep(0.5)
    assert engine.inspect(started.id).state == "exited"
    assert engine.stop(started.id, "SIGTERM", 10) == 3, "stopping again is no change"


def test_stop_with_another_signal_than_the_containers_own(engine: Any, spec: Any) -> None:
    command = ("/bin/sh", "-c", "trap 'exit 4' USR1; echo set; sleep 600 & wait")
    started = engine.start(spec("usr1", command=command))
    trap_is_set(engine, started.id)
    assert engine.stop(started.id, "SIGUSR1", 10) == 4
    time.sleep(0.5)
    assert engine.inspect(started.id).state == "exited"


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGUSR1"])
def test_one_that_is_asked_to_stop_ends_in_its_own_time_and_stays_ended(
    engine: Any, spec: Any, signal: str
) -> None:
    slow = f"trap 'sleep 1; exit 7' {signal[3:]}; echo set; sleep 600 & wait; sleep 600"
    started = engine.start(spec(f"asked{signal[3:].lower()}", command=("/bin/sh", "-c", slow)))
    trap_is_set(engine, started.id)
    engine.ask_to_stop(started.id, signal)
    assert engine.inspect(started.id).running, "nobody waits for it"
    await_end(engine, started.id, lambda: 60.0, SystemClock())
    time.sleep(0.5)
    assert (engine.inspect(started.id).state, engine.inspect(started.id).exit_code) == ("exited", 7)
    engine.ask_to_stop(started.id, signal)
    assert stop_replica(engine, started.id, signal=signal, grace_period=0)["exit_code"] == 7
    with pytest.raises(EngineError, match="it is gone"):
        engine.ask_to_stop(started.id, signal)


def test_ro_15_what_ignores_the_signal_is_killed_after_the_grace_period(
    engine: Any, spec: Any
) -> None:
    deaf = ("/bin/sh", "-c", "trap '' TERM; echo set; sleep 600")
    started = engine.start(spec("deaf", command=deaf))
    trap_is_set(engine, started.id)
    begin = time.monotonic()
    assert engine.stop(started.id, "SIGTERM", 1) == 137
    assert time.monotonic() - begin > 0.9, "not before its time"


def test_ro_15_with_an_init_a_process_without_handlers_ends_at_once(engine: Any, spec: Any) -> None:
    started = engine.start(spec("init", command=SLEEP))
    assert engine.stop(started.id, "SIGTERM", 60) == 143, "of the signal, and not 137 at the end"


def test_what_is_not_ours_is_neither_stopped_nor_removed(
    engine: Any, api: Any, image: str, run_id: str
) -> None:
    body = {"Image": image, "Cmd": ["sleep", "60"], "HostConfig": {"NetworkMode": "none"}}
    assert engine.image(image).labels, "its image has labels of ours, and they do not make it ours"
    foreign = api.create_container_from_config(body, f"{run_id}-theirs")["Id"]
    api.start(foreign)
    for verb in (
        lambda: engine.ask_to_stop(foreign, "SIGTERM"),
        lambda: engine.stop(foreign, "SIGTERM", 1),
        lambda: engine.remove(foreign),
    ):
        with pytest.raises(EngineError, match="not ours"):
            verb()
    assert engine.inspect(foreign).running


def test_a_running_container_is_not_removed(engine: Any, spec: Any) -> None:
    started = engine.start(spec("busy", command=SLEEP))
    with pytest.raises(EngineError):
        engine.remove(started.id)
    assert engine.inspect(started.id).running


def test_what_is_gone_is_gone(engine: Any) -> None:
    nobody = "f" * 64
    assert engine.inspect(nobody) is None
    assert engine.remove(nobody) is False
    with pytest.raises(EngineError) as caught:
        engine.stop(nobody, "SIGTERM", 1)
    assert caught.value.details["kind"] == "not_found"


def test_out_of_memory_is_told(engine: Any, api: Any, spec: Any) -> None:
    from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Resources

    eat = ("/bin/sh", "-c", "x=xxxxxxxx; while true; do x=$x$x; done")
    limits = Resources(memory=6 << 20, cpus=1, pids=16)
    started = engine.start(spec("oom", command=eat, resources=limits))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = engine.inspect(started.id)
        # The kernel kills first, and the engine tells both a moment later, one after the other.
        if found.error and found.exit_code is not None:
            break
        time.sleep(0.05)
    assert "out of memory" in found.error
    assert found.exit_code == 137


def test_logs_are_the_last_lines_of_both_streams(engine: Any, spec: Any) -> None:
    command = (
        "/bin/sh",
        "-c",
        "for n in 1 2 3 4; do echo line $n; done; sleep 0.3; echo oops >&2; exec sleep 60",
    )
    started = engine.start(spec("logs", command=command))
    deadline = time.monotonic() + 60
    while "oops" not in engine.logs(started.id, 10) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert engine.logs(started.id, 2).splitlines() == ["line 4", "oops"]


# Images.


def test_images_by_id_tag_and_label(engine: Any, image: str, run_id: str) -> None:
    found = engine.image(image)
    assert found.user == str(UID)
    assert found.tags == (f"{run_id}:app",)
    assert found.labels == {"immutable.cutover.test": "1"}
    assert found.architecture and found.size > 1 << 20
    assert engine.image(f"{run_id}:app") == found
    assert engine.image("sha256:" + "0" * 64) is None
    assert engine.image(f"{run_id}:none") is None
    assert found in engine.images({"immutable.cutover.test": "1"})
    assert found in engine.images({"immutable.cutover.test": ""})
    assert engine.images({"immutable.cutover.test": "2"}) == ()


def test_an_image_in_use_is_not_removed(
    engine: Any, spec: Any, make_image: Any, api: Any, run_id: str
) -> None:
    image = make_image("in-use", f"USER {UID}", 'CMD ["/bin/sleep", "600"]')
    api.tag(image, run_id, "second-tag")
    started = engine.start(spec("user", image_id=image))
    engine.stop(started.id, "SIGTERM", 1)
    with pytest.raises(EngineError, match="used by"):
        engine.remove_image(image)
    engine.remove(started.id)
    assert engine.remove_image(image) is True
    assert engine.remove_image(image) is False


def test_the_version_is_what_the_engine_says(engine: Any, api: Any) -> None:
    assert engine.version() == api.version()["Version"]


def test_b54_an_old_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.sock"
    answer = (
        b"HTTP/1.1 200 OK\r\nApi-Version: 1.40\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
    )
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()

        def serve() -> None:
            connection, _address = old.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(EngineError, match=r"docker >= 20\.10 needed, found API 1\.40"):
            DockerEngine(f"unix://{path}").version()
        server.join()


def test_b33_programs_are_looked_up_as_the_engine_would_start_them(
    engine: DockerEngine, api: Any, make_image: Any
) -> None:
    plain = make_image("look", f"USER {UID}", "WORKDIR /bin", "ENV PATH=/www:/bin")
    programs = ["sh", "/bin/httpd", "./sleep", "nosuch", "/bin/nosuch", "tag", "/www", "../bin/ls"]
    before = {row["Id"] for row in api.containers(all=True)}
    assert engine.missing_programs(plain, programs, "") == ("nosuch", "/bin/nosuch", "tag", "/www")
    assert engine.missing_programs(plain, ["sh"], "/www:/usr/bin") == ("sh",)
    entered = make_image("entered", f"USER {UID}", 'ENTRYPOINT ["/bin/sh"]')
    assert engine.missing_programs(entered, ["anything"], "") == ()
    left = {row["Id"] for row in api.containers(all=True, filters={"label": [LOOK]})}
    assert left <= before, "nothing made for the look is left"


def test_b33_what_a_killed_look_left_is_removed(
    engine: DockerEngine, api: Any, image: str, run_id: str
) -> None:
    body = {
        "Image": image,
        "Cmd": ["x"],
        "Labels": {LOOK: "1"},
        "HostConfig": {"NetworkMode": "none"},
    }
    left = api.create_container_from_config(body, f"{run_id}-left-look")["Id"]
    DockerEngine().missing_programs(image, ["sh"], "")
    assert api.inspect_container(left), "it may still be in use"
    later = FakeClock(time.time() + LEFT_OVER + 5)
    DockerEngine(clock=later).missing_programs(image, ["sh"], "")
    with pytest.raises(NotFound):
        api.inspect_container(left)
