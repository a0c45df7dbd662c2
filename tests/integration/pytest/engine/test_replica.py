# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module replica as Ansible runs it: arguments on stdin, one JSON answer, a real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.factory import (
    connect,
)
from ansible_collections.immutable.cutover.plugins.modules import replica
from tests.integration.pytest.haproxy_rig import Haproxy

SERVE = ["/bin/sh", "-c", "exec httpd -f -p $PORT -h /www"]
READY = {"successes": 1, "expect": "status == 'ok'", "timeout": 20}
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def state_dir(secrets_dir: Path) -> Iterator[Path]:
    """A state folder of our own, where the engine can reach it."""
    secrets_dir.mkdir(mode=0o700)
    yield secrets_dir


@pytest.fixture
def call(state_dir: Path, run_id: str) -> Call:
    """Run the module in a process of its own."""

    def run(replicas: list[dict[str, Any]], *, check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {
            "app": run_id,
            "state_dir": str(state_dir),
            "replicas": replicas,
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            **more,
        }
        done = subprocess.run(
            [sys.executable, replica.__file__],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) is not bool(answer.get("failed")), answer
        return answer

    return run


@pytest.fixture
def item(image: str, network: str, run_id: str, engine: Any) -> Callable[..., dict[str, Any]]:
    """Describe one replica."""

    def make(name: str, **changes: Any) -> dict[str, Any]:
        values = {
            "name": f"{run_id}-{name}",
            "image": image,
            "network": network,
            "command": SERVE,
            "readiness": READY,
            "resources": {"memory": "32m", "cpus": 0.5, "pids": 32},
            "stop": {"grace_period": 3},
        }
        return values | changes

    return make


def same(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: answer[key] for key in ("changed", "before", "after", "diff", "actions")}


def test_present_and_absent_checked_done_and_repeated(
    call: Call, item: Any, engine: Any, run_id: str
) -> None:
    wanted = [item("m1"), item("m2", port=9000), item("m3")]
    labels = {"immutable.cutover.app": run_id}

    checked = call(wanted, check=True)
    assert checked["changed"] is True
    assert engine.containers(labels) == ()
    done = call(wanted)
    assert same(done) == same(checked)
    assert done["actions"] == [f"start {run_id}-m{number}" for number in (1, 2, 3)]
    assert [row["port"] for row in done["replicas"]] == [8080, 9000, 8080]
    running = engine.containers(labels)
    assert [found.id for found in running] == [row["id"] for row in done["replicas"]]
    assert [found.address for found in running] == [row["address"] for row in done["replicas"]]
    for check in (True, False):
        again = call(wanted, check=check)
        assert (again["changed"], again["actions"]) == (False, []), again
        assert again["before"] == again["after"] == done["after"]
    assert engine.containers(labels) == running

    checked = call(wanted[:2], check=True, state="absent")
    assert len(engine.containers(labels)) == 3
    done = call(wanted[:2], state="absent")
    assert same(done) == same(checked)
    assert [row["killed"] for row in done["replicas"]] == [False, False]
    assert [found.name for found in engine.containers(labels)] == [f"{run_id}-m3"]
    for check in (True, False):
        again = call(wanted[:2], check=check, state="absent")
        assert again["changed"] is False, again


def test_replicas_start_side_by_side(call: Call, item: Any, engine: Any) -> None:
    slow = ["/bin/sh", "-c", "sleep 2; exec httpd -f -p $PORT -h /www"]
    done = call([item(f"side{number}", command=slow) for number in range(4)])
    assert len(done["replicas"]) == 4
    found = [engine.inspect(row["id"]) for row in done["replicas"]]
    # One after the other, each would start when the one before has booted, 2 s after its own start.
    starts = sorted(datetime.fromisoformat(item.started_at) for item in found)
    pauses = [(after - before).total_seconds() for before, after in pairwise(starts)]
    assert len(pauses) == 3 and min(pauses) < 2, pauses


def test_ro_01_one_that_exits_is_removed_and_explained_the_other_stays(
    call: Call, item: Any, engine: Any, run_id: str, state_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "secret"
    source.write_text("s3cr3t-canary")
    says = "s=$(cat /run/secrets/X); for n in $(seq 30); do echo line $n with $s; done; exit 7"
    dies = ["/bin/sh", "-c", says]
    bad = item("bad", command=dies, secrets=[{"name": "X", "source": str(source)}])
    failed = call([item("good"), bad])
    assert failed["failed"] and failed["changed"] is True
    assert f"1 of 2 replicas failed: {run_id}-bad: " in failed["msg"], failed["msg"]
    assert "it was removed again" in failed["msg"]
    (error,) = failed["errors"]
    assert "its process ended" in failed["msg"], failed["msg"]
    # None: the engine has started it anew by then, and its first exit code is forgotten.
    assert error["exit_code"] in (7, None)
    # Which lines depends on how often the engine has started it anew.
    assert len(error["log"]) == 20
    assert all(line.endswith("with ********") for line in error["log"]), error["log"]
    # It may be gone before the first probe.
    assert error.get("probe_history") or "not ready: its process ended" in failed["msg"]
    labels = {"immutable.cutover.app": run_id}
    assert [found.name for found in engine.containers(labels)] == [f"{run_id}-good"]
    assert [row["name"] for row in failed["replicas"]] == [f"{run_id}-good"]
    assert list((state_dir / "replicas").iterdir()) == []
    assert "s3cr3t-canary" not in json.dumps(failed)


def test_ro_01_the_wait_ends_when_the_process_does(call: Call, item: Any) -> None:
    dies = ["/bin/sh", "-c", "sleep 2; exit 1"]
    readiness = {**READY, "timeout": 60}
    failed = call([item("late", command=dies, readiness=readiness)])
    assert "its process ended" in failed["msg"], failed["msg"]
    assert "not ready within 60 s" not in failed["msg"], failed["msg"]


def test_ro_02_never_ready_names_url_and_last_answer(
    call: Call, item: Any, engine: Any, run_id: str
) -> None:
    failed = call([item("never", readiness={**READY, "path": "/nothing", "timeout": 5})])
    assert ":8080/nothing: not ready within 5 s; last answer: status 404" in failed["msg"]
    assert engine.containers({"immutable.cutover.app": run_id}) == ()


def test_ro_15_a_deaf_process_is_killed_and_that_is_said(call: Call, item: Any) -> None:
    deaf = ["/bin/sh", "-c", "trap '' TERM; httpd -f -p $PORT -h /www & while true; do wait; done"]
    wanted = item("deaf", command=deaf, stop={"grace_period": 1})
    assert call([wanted])["changed"]
    (row,) = call([wanted], state="absent")["replicas"]
    assert (row["exit_code"], row["killed"]) == (137, True)
    assert "did not end within 1 s after SIGTERM" in row["cause"]


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"LOG_LEVEL": "debug"}},
        {"command": ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"]},
        {"resources": {"memory": "64m"}},
        {"port": 8081},
        {"labels": {"team": "b"}},
    ],
)
def test_a_running_replica_is_never_changed(
    call: Call, item: Any, engine: Any, run_id: str, change: dict[str, Any]
) -> None:
    call([item("same")])
    before = engine.containers({"immutable.cutover.app": run_id})
    for check in (True, False):
        failed = call([item("same", **change)], check=check)
        assert "a replica is never changed in place" in failed["msg"], failed
    assert engine.containers({"immutable.cutover.app": run_id}) == before


def test_a_changed_secret_is_a_changed_replica(call: Call, item: Any, tmp_path: Path) -> None:
    source = tmp_path / "secret"
    source.write_text("first")
    wanted = item("secret", secrets=[{"name": "X", "source": str(source)}])
    assert call([wanted])["changed"] is True
    assert call([wanted])["changed"] is False
    source.write_text("second")
    assert "never changed in place" in call([wanted])["msg"]


def test_what_a_killed_run_left_over_is_replaced(
    call: Call, item: Any, api: Any, engine: Any, run_id: str
) -> None:
    call([item("left")])
    (old,) = engine.containers({"immutable.cutover.app": run_id})
    api.stop(old.id, timeout=1)
    checked = call([item("left")], check=True)
    done = call([item("left")])
    assert same(done) == same(checked)
    assert done["actions"] == [f"remove left-over {run_id}-left", f"start {run_id}-left"]
    assert engine.inspect(old.id) is None


def test_a_strangers_container_of_that_name_is_not_touched(
    call: Call, item: Any, api: Any, image: str, run_id: str
) -> None:
    body = {"Image": image, "Cmd": ["sleep", "60"], "HostConfig": {"NetworkMode": "none"}}
    stranger = api.create_container_from_config(body, f"{run_id}-taken")["Id"]
    api.start(stranger)
    for state in ("present", "absent"):
        failed = call([item("taken")], state=state)
        assert "is not a replica of this app; it is not touched" in failed["msg"], failed
    assert api.inspect_container(stranger)["State"]["Running"]


def test_cr_10_two_processes_with_one_name_end_with_one_replica(
    call: Call, item: Any, engine: Any, run_id: str
) -> None:
    answers: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(call([item("race")])))
        for _number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(answer.get("failed") for answer in answers), answers
    (found,) = engine.containers({"immutable.cutover.app": run_id})
    assert {row["id"] for answer in answers for row in answer["replicas"]} == {found.id}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("B07-injection", {"name": "web;disable"}, "replicas[0].name: must match"),
    ("B07-traversal", {"name": "../x"}, "replicas[0].name: must match"),
    ("B08", {"name": "a" * 64}, "longer than 63"),
    ("B09", {"name": "we\u200bb"}, "U+200B at position 2"),
    ("B12-zero", {"port": 0}, "port must be an integer 1-65535"),
    ("B12-high", {"port": 65536}, "port must be an integer 1-65535"),
    ("B12-text", {"port": "80a"}, "port"),
    ("B13", {"image": "shop/web:1.0"}, "image must be pinned"),
    ("B14-63", {"image": "shop/web@sha256:" + "a" * 63}, "bad digest"),
    ("B14-md5", {"image": "shop/web@md5:" + "a" * 32}, "bad digest"),
    ("B15-id", {"image": "sha256:" + "0" * 64}, "not on host and no registry set"),
    ("B15-reference", {"image": "shop/web@sha256:" + "0" * 64}, "not on host and no registry set"),
    ("B39", {"network": "nosuchnetwork"}, "network not found on this host; have"),
    ("B35", {"env": {"A=B": "x"}}, "env name must match"),
    ("B37", {"env": {"DB_PASSWORD": "hunter2"}}, "looks like a secret"),
    ("B35-port", {"env": {"PORT": "1"}}, "is set from replicas[0].port"),
    ("B38", {"labels": {"immutable.cutover.app": "x"}}, "label prefix is reserved"),
    ("B38-newline", {"labels": {"a": "b\nc"}}, "control characters"),
    ("B30", {"resources": {"memory": "1m"}}, "memory below 6 MB"),
    ("B31", {"resources": {"cpus": 900}}, "cpus: must not be above the host's"),
    ("B24", {"readiness": {"path": "readyz"}}, "probe path must start with /"),
    ("B26", {"readiness": {"path": "http://169.254.169.254/"}}, "probe path must start with /"),
    ("B24-expect", {"readiness": {"expect": "status =="}}, "not a JMESPath expression"),
    ("B21-zero", {"readiness": {"timeout": 0}}, "must be a duration in whole seconds, 1-86400"),
    ("B21-successes", {"readiness": {"successes": 0}}, "must be an integer 1-100"),
    ("B29", {"stop": {"signal": "SIGFOO"}}, "SIGFOO"),
    ("B21-negative", {"stop": {"grace_period": -5}}, "must be a duration in whole seconds"),
    (
        "secret",
        {"secrets": [{"name": "X", "source": "/no/such/file"}]},
        "must be a file on this host",
    ),
    ("B05", {"drain_timout": 5}, "drain_timout"),
]


@pytest.mark.parametrize(("change", "says"), [pytest.param(*row[1:], id=row[0]) for row in BAD])
def test_bad_input_is_one_line_and_changes_nothing(
    call: Call, item: Any, engine: Any, run_id: str, change: dict[str, Any], says: str
) -> None:
    for check in (True, False):
        failed = call([{**item("bad"), **change}, item("fine")], check=check)
        assert failed.get("failed"), failed
        assert says in failed["msg"], failed["msg"]
        assert "\n" not in failed["msg"]
        assert "hunter2" not in failed["msg"]
    assert engine.containers({"immutable.cutover.app": run_id}) == ()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"engine": {"host": "tcp://127.0.0.1:2375"}},
            "engine.host: must be the engine's unix socket",
        ),
        (
            {"engine": {"host": "unix:///no/docker.sock"}},
            "the engine at unix:///no/docker.sock cannot be reached",
        ),
        ({"engine": {"driver": "podman"}}, "docker"),
        ({"app": "a b"}, "app: must match"),
        (
            {"load_balancers": [{"socket": "/no/such.sock", "backend": "x"}], "state": "absent"},
            "/no/such.sock",
        ),
    ],
)
def test_bad_surroundings_are_named(
    call: Call, item: Any, options: dict[str, Any], says: str
) -> None:
    failed = call([item("bad")], **options)
    assert says in failed["msg"], failed["msg"]


def test_b10_the_same_name_twice_is_refused(call: Call, item: Any) -> None:
    assert "every replica must be given once" in call([item("twice"), item("twice")])["msg"]


def test_what_a_load_balancer_still_knows_is_not_stopped(
    call: Call, item: Any, engine: Any, run_id: str, tmp_path: Path
) -> None:
    haproxy = Haproxy(tmp_path)
    haproxy.start()
    try:
        options = {"socket": str(haproxy.socket), "backend": "shop", "validate": False}
        driver = connect(options, SystemClock())
        (started,) = call([item("lb1")])["replicas"]
        call([item("lb2")])
        driver.register(started["name"], started["address"], started["port"])
        both = [item("lb2"), item("lb1")]
        for check in (True, False):
            failed = call(both, state="absent", load_balancers=[options], check=check)
            assert f"{run_id}-lb1 is still registered in" in failed["msg"], failed
            assert "nothing was stopped" in failed["msg"]
        assert all(found.running for found in engine.containers({"immutable.cutover.app": run_id}))
        driver.set_state(started["name"], Admin.MAINTENANCE)
        driver.deregister(started["name"])
        assert call(both, state="absent", load_balancers=[options])["changed"] is True
        assert engine.containers({"immutable.cutover.app": run_id}) == ()
    finally:
        haproxy.kill()
