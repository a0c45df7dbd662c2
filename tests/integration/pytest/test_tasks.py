# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""OT: one-off tasks of a release, by the playbooks: real containers that write into a database, under load.

The database is this process: it takes what a task writes, once for each release.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tools.chaos import check
from tools.chaos.rig import Release, Site, own_site
from tools.loadgen import Load
from tools.sample import ROOT, rows

SCHEMA = json.loads((ROOT / "docs" / "run-receipt.schema.json").read_text(encoding="utf-8"))
PATIENT = ("--timeout", "60", "--connect-timeout", "30")
MIGRATE = """
import os, sys, time, urllib.request
request = urllib.request.Request(sys.argv[1] + os.environ["GREETING"], method="POST")
urllib.request.urlopen(request)
print("secret is", open("/run/secrets/DATABASE_URL").read() if sys.argv[3:] else "not asked for")
time.sleep(float(sys.argv[2]))
print("migrated to", os.environ["GREETING"], flush=True)
"""


class Database:
    """A table of one unique column, behind HTTP at an address that containers reach."""

    def __init__(self, address: str) -> None:
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        self._rows.execute("CREATE TABLE ran (release TEXT PRIMARY KEY)")
        self._lock = threading.Lock()
        self.refused = 0
        database = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802 - the name is the library's
                self.send_response(database.insert(self.path.strip("/")))
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def insert(self, release: str) -> int:
        """Insert a row and return an HTTP status: 409 where it is there."""
        with self._lock:
            try:
                self._rows.execute("INSERT INTO ran VALUES (?)", (release,))
            except sqlite3.IntegrityError:
                self.refused += 1
                return 409
            return 200

    def ran(self, release: Release) -> bool:
        """Whether the task of this release has written."""
        with self._lock:
            found = self._rows.execute("SELECT 1 FROM ran WHERE release = ?", (release.mark,))
            return found.fetchone() is not None

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with own_site("tasks") as made:
        made.deploy(
            made.release(surge=2)
        )  # the network has an address of the host as soon as somebody is in it
        yield made


@pytest.fixture(scope="module")
def database(site: Site) -> Iterator[Database]:
    shown = json.loads(site.docker("network", "inspect", site.sample.network))
    made = Database(str(ip_network(shown[0]["IPAM"]["Config"][0]["Subnet"])[1]))
    yield made
    made.close()


@pytest.fixture
def old(site: Site) -> Iterator[Release]:
    """A release without tasks that runs; a test that failed leaves nothing under way."""
    yield site.deploy(site.release(surge=2))
    site.tidy()


@contextlib.contextmanager
def loaded(site: Site) -> Iterator[None]:
    """Load meanwhile, of which nothing is lost."""
    with Load(
        site.sample.url, mix={"keepalive": 20, "new": 10, "slow": 1}, options=PATIENT
    ) as load:
        yield
        books = load.stop()
    assert (books.failed_by_outcome, books.planned) == ({}, books.accounted)


def migration(database: Database, seconds: float = 0, **options: Any) -> dict[str, Any]:
    """Return a task that writes and then takes so long."""
    return {"command": ["python", "-c", MIGRATE, database.url, str(seconds)], **options}


def tasks(site: Site, *shown: str) -> list[str]:
    """Return the containers of tasks that are there."""
    label = f"label=immutable.cutover.app={site.app}"
    words = ("--filter", label, "--filter", "label=immutable.cutover.task", *shown)
    return site.docker("ps", "-aq", *words).split()


def received(path: Path) -> dict[str, Any]:
    """Return a receipt, valid by its schema, and take it away; empty where there is none."""
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    jsonschema.validate(found, SCHEMA)
    return found


def clean(site: Site) -> None:
    assert tasks(site) == []
    assert site.lease()["holder"] is None


def seen(site: Site) -> list[tuple[str, str]]:
    return [(item.id, item.name) for item in check.containers(site)]


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            {"command": ["python", "-c", "print('no table orders'); raise SystemExit(7)"]},
            "task migrate ended with code 7; its log ends with: no table orders; nothing was replaced",
        ),
        (
            {"command": ["python", "-c", "import time; time.sleep(600)"], "timeout": 2},
            "task migrate did not end within 2 s and was stopped",
        ),
        (
            {"command": ["/no/such/program"]},
            "tasks.migrate.command: command not found in image",
        ),
        (
            {"command": ["python", "-c", "x = ['x' * 10**7 for _ in range(10**4)]"], "resources": {"memory": "64m"}},
            "out of memory",
        ),
    ],
    ids=["fails", "hangs", "is-not-there", "grows"],
)  # fmt: skip
def test_ot_01_a_migration_that_fails_keeps_the_cutover_from_starting(
    site: Site, database: Database, old: Release, task: dict[str, Any], says: str
) -> None:
    release = site.release(release_tasks={"migrate": task})
    before = seen(site)
    with loaded(site):
        ended = site.play("replace", release, "-e", f"release_receipt={site.folder / 'ot01.json'}")
    assert ended.code == 2
    assert says in ended.text, ended.text
    told = received(site.folder / "ot01.json")
    if "not found in image" not in says:
        assert told["status"] == "failed" and told["tasks"][0]["message"] in told["msg"]
        assert [row["outcome"] for row in told["tasks"]] == ["failed"]
    else:
        assert told == {}, "refused before anything began"
    assert seen(site) == before
    clean(site)
    check.unchanged(site, old)


def test_ot_01_a_run_killed_in_a_migration_is_gone_on_with_and_it_runs_once(
    site: Site, database: Database, old: Release
) -> None:
    release = site.release(surge=2, release_tasks={"migrate": migration(database, 6)})
    with loaded(site):
        run = site.start("replace", release)
        run.until(lambda _run: database.ran(release))
        run.kill(99)
        left = tasks(site)
        assert len(left) == 1
        again = site.play("replace", release)
        assert again.code == 0, again.text
    assert database.refused == 0
    check.converged(site, release)
    clean(site)
    check.unchanged(site, release)


def test_ot_02_of_runs_that_race_one_runs_it(site: Site, database: Database, old: Release) -> None:
    release = site.release(surge=2, release_tasks={"migrate": migration(database, 2)})
    with loaded(site):
        runs = [site.start("replace", release) for _number in range(3)]
        ended = [run.end() for run in runs]
    assert [item.code for item in ended] == [0, 0, 0], "\n".join(item.text for item in ended)
    assert database.ran(release) and database.refused == 0
    check.converged(site, release)
    clean(site)


def test_ot_02_one_host_runs_it_for_all_whatever_the_limit(
    site: Site, database: Database, old: Release
) -> None:
    release = site.release(surge=2, release_tasks={"migrate": migration(database)})
    inventory = site.folder / "fleet.yml"
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: here for name in ("h1", "h2", "h3")}
    inventory.write_text(json.dumps({"fleet": {"hosts": hosts}}))
    options = ("-i", str(inventory), "-e", "cutover_hosts=fleet", "-e", "cutover_serial=100%")
    limited = site.play("replace", release, *options, "--limit", "h3")
    assert limited.code == 0, limited.text
    assert re.search(r"changed: \[h3 -> h1\(?", limited.text), limited.text
    ended = site.play("replace", release, *options)
    assert ended.code == 0, ended.text
    (shown,) = re.findall(r"TASK \[.*once for all hosts.*\n([^*]*)\n\n", ended.text)
    assert shown == "ok: [h1]"
    assert database.ran(release) and database.refused == 0
    clean(site)


def test_ot_03_it_runs_in_the_new_image_hardened_and_behind_no_load_balancer(
    site: Site, database: Database, old: Release
) -> None:
    task = migration(database, 4)
    task["command"].append("secret")
    release = site.release(surge=2, secret=True, release_tasks={"migrate": task})
    run = site.start("replace", release)
    run.until(lambda _run: database.ran(release))
    (found,) = json.loads(site.docker("inspect", *tasks(site)))
    host, config = found["HostConfig"], found["Config"]
    wanted = json.loads(release.spec.read_text())["release_image"].partition("@")[2]
    assert found["Image"] == wanted
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["PidsLimit"] == 128
    assert "no-new-privileges" in "".join(host["SecurityOpt"])
    assert config["User"] not in ("", "0", "root")
    assert (host["PortBindings"] or {}, host["RestartPolicy"]["Name"]) == ({}, "no")
    assert list(found["NetworkSettings"]["Networks"]) == [site.sample.network]
    assert config["Env"].count(f"GREETING={release.mark}") == 1
    assert not any(word.startswith("PORT=") for word in config["Env"])
    assert {target.rsplit("-", 2)[0] for target in check.targets(site)} == {f"{site.app}-web"}
    ended = run.end()
    assert ended.code == 0, ended.text
    secret = site.secret.read_text()
    assert secret not in ended.text + site.journal.read_text()
    check.converged(site, release)
    clean(site)


def test_ot_04_what_the_old_cannot_do_without_comes_after_it_and_bars_the_way_back(
    site: Site, database: Database, old: Release
) -> None:
    drop: dict[str, Any] = {"when": "after", "rollback_safe": False}
    refused = site.release(release_tasks={"drop": {**migration(database), "rollback_safe": False}})
    ended = site.play("replace", refused)
    assert ended.code == 2
    assert "tasks.drop.when: must be after, because rollback_safe is false" in ended.text, (
        ended.text
    )
    release = site.release(surge=2, release_tasks={"drop": migration(database, **drop)})
    planned = site.play("replace", release, "--check")
    assert (planned.code, database.ran(release)) == (0, False), planned.text
    with loaded(site):
        ended = site.play("replace", release, "-e", f"release_receipt={site.folder / 'ot04.json'}")
        assert ended.code == 0, ended.text
        receipt = received(site.folder / "ot04.json")
        (task,) = receipt["tasks"]
        assert (task["name"], task["when"], task["outcome"]) == ("drop", "after", "ok")
        assert task["host"] == receipt["host"] and task["release"] == receipt["release"]
        assert task["log"][-1] == f"migrated to {release.mark}"
        assert task["began"] >= receipt["journal"][-1]["time"], "after traffic"
        steps = [row["step"] for row in rows(site.journal)]
        assert steps[-1 - steps[::-1].index("task") :].count("destroy") == 0, (
            "the old was gone before"
        )
        assert database.ran(release)
        barred = site.play("rollback", release)
        assert barred.code == 2
        assert "is not rollback_safe" in barred.text, barred.text
        check.converged(site, release)
        told = site.play("rollback", release, "-e", '{"release_rollback_unsafe": true}')
        assert told.code == 0, told.text
    check.converged(site, old)
    clean(site)


def test_ot_04_it_waits_for_a_host_that_this_run_does_not_touch(
    site: Site, database: Database, old: Release, tmp_path: Path
) -> None:
    """The other host is this machine with a state folder of its own, which still knows the old release."""
    shutil.copytree(site.state, tmp_path / "state")
    tasks = tmp_path / "state/apps" / site.app / "tasks.json"
    before = tasks.read_bytes() if tasks.exists() else None
    python = tmp_path / "python"
    bind = f"mount --bind {tmp_path / 'state'} {site.state}"
    python.write_text(
        f'#!/bin/sh\nexec unshare -m sh -c \'{bind} && exec {sys.executable} "$@"\' sh "$@"\n'
    )
    python.chmod(0o755)
    hosts = {
        name: {"ansible_connection": "local", "ansible_python_interpreter": str(found)}
        for name, found in (("h1", sys.executable), ("h2", python))
    }
    inventory = site.folder / "two.yml"
    inventory.write_text(json.dumps({"fleet": {"hosts": hosts}}))
    options = ("-i", str(inventory), "-e", "cutover_hosts=fleet")
    release = site.release(surge=2, release_tasks={"drop": migration(database, when="after")})
    first = site.play("replace", release, *options, "--limit", "h1")
    assert (first.code, database.ran(release)) == (0, False), first.text
    second = site.play("replace", release, *options, "--limit", "h2")
    assert (second.code, database.ran(release)) == (0, True), second.text
    assert (tasks.read_bytes() if tasks.exists() else None) == before, "the other host noted it too"
    clean(site)


def test_a_command_runs_in_the_image_that_runs(site: Site, old: Release) -> None:
    command = ["python", "-c", "import os; print('greeting', os.environ['GREETING'])"]
    options = ("-e", json.dumps({"task_command": command}))
    before = seen(site)
    for _number in range(2):
        ended = site.play("run_task", site.release(), *options)
        assert ended.code == 0, ended.text
        assert f"greeting {old.mark}" in ended.text
    failed = site.play("run_task", old, "-e", json.dumps({"task_command": ["python", "-c", "1/0"]}))
    assert failed.code == 2
    assert "ZeroDivisionError" in failed.text, failed.text
    assert seen(site) == before
    clean(site)
