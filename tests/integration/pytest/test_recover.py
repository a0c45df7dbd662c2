# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The playbooks recover, history and status, receipts and what a workflow gets, with real runs that are killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tools.chaos import check
from tools.chaos.process import eventually
from tools.chaos.rig import Playing, Release, Site, own_site
from tools.sample import ROOT, rows

EVERYTHING = 99
SCHEMA = json.loads((ROOT / "docs" / "run-receipt.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A load balancer and a state folder under names of their own."""
    with own_site("recover") as made:
        yield made


@pytest.fixture
def current(site: Site) -> Iterator[Release]:
    """A release that runs."""
    try:
        yield site.deploy(patient(site, site.release(surge=2)))
    finally:
        site.tidy()


def patient(site: Site, release: Release) -> Release:
    """Give its replicas the time that they need to boot on a busy host."""
    variables = json.loads(release.spec.read_text())
    variables["release_processes"]["web"]["readiness"]["timeout"] = 60
    release.spec.write_text(json.dumps(variables))
    return release


def killed(site: Site, release: Release) -> Playing:
    """Kill a run while its replicas boot."""
    run = site.start("replace", release)
    run.until(lambda found: any(_is(row, "ready", "begin") for row in found.rows()))
    run.kill(EVERYTHING)
    return run


def _is(row: dict[str, Any], step: str, outcome: str) -> bool:
    return (row["step"], row["outcome"]) == (step, outcome)


def test_cr_01_what_a_killed_run_left_is_undone_once(site: Site, current: Release) -> None:
    dead = patient(site, site.release(surge=2, secret=True, delay=20))
    run = killed(site, dead)
    left = check.containers(site)
    assert {seen.env["GREETING"] for seen in left} == {current.mark, dead.mark}
    shown = site.play("status", dead)
    assert "the run that has the lease is dead: run recover" in shown.text, shown.text
    planned = site.play("recover", dead, "--check", "--diff")
    assert planned.code == 0 and planned.changed == 1, planned.text
    assert "deregister, destroy" in planned.text or ": destroy" in planned.text
    assert check.containers(site) == left
    ended = site.play("recover", dead)
    assert ended.code == 0, ended.text
    assert "that process is dead, taking over" in ended.text
    told = [line for line in planned.text.splitlines() if line.startswith("[") and "]" in line]
    assert told and ended.text.index(told[0]) < ended.text.index("that process is dead"), ended.text
    run.orphans_end()
    check.converged(site, current)
    again = site.play("recover", dead)
    assert (again.code, again.changed) == (0, 0), again.text
    lines = site.play("history", dead, "-e", "history_last=2").text
    assert "interrupted after" in lines and "  recover " in lines, lines


def test_cr_01_a_person_may_choose_to_finish(site: Site, current: Release) -> None:
    dead = patient(site, site.release(surge=2, delay=2))
    killed(site, dead)
    ended = site.play("recover", current, "-e", "recover_to=finish")
    assert ended.code == 0, ended.text
    check.converged(site, dead)


def test_lb_05_a_healthy_replica_that_lost_its_target_gets_it_back(
    site: Site, current: Release
) -> None:
    before = check.containers(site)
    name = before[0].name
    for command in ("set server shop/{} state maint", "shutdown sessions server shop/{}"):
        check.ask(site, command.format(name))
    eventually(lambda: "Server deleted" in check.ask(site, f"del server shop/{name}"))
    assert name not in check.targets(site)
    ended = site.play("recover", current)
    assert ended.code == 0, ended.text
    assert check.containers(site) == before
    check.converged(site, current)


def test_b67_a_living_holder_elsewhere_is_named_and_not_waited_for(
    site: Site, current: Release
) -> None:
    path = site.app_folder / "lease.json"
    mine = path.read_text()
    lease = site.lease()
    bob = {"run": "41", "user": "bob", "host": "ctl9", "process": "1:1", "job": "7", "url": ""}
    path.write_text(
        json.dumps(
            lease | {"holder": bob, "renewed": time.time(), "acquired": time.time()} | {"ttl": 600}
        )
    )
    before = check.containers(site)
    ended = site.play("recover", current)
    assert ended.code != 0
    assert "lease held by bob, run 41, host ctl9, job 7, for " in ended.text, ended.text
    assert "nothing was changed" in ended.text
    assert check.containers(site) == before
    path.write_text(mine)


def spoiled(site: Site) -> Release:
    """Make a release whose replicas never get ready."""
    release = site.release(surge=2, delay=0)
    variables = json.loads(release.spec.read_text())
    variables["release_env"]["FAIL_READY"] = "1"
    variables["release_processes"]["web"]["readiness"]["timeout"] = 3
    release.spec.write_text(json.dumps(variables))
    return release


@pytest.mark.parametrize("kind", ["replace", "failed", "rollback"])
def test_a_run_leaves_a_receipt_and_what_a_workflow_needs(
    site: Site, current: Release, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_SHOW_CUSTOM_STATS", "true")
    path, drawing = (site.folder / f"{kind}.{end}" for end in ("json", "html"))
    release = spoiled(site) if kind == "failed" else patient(site, site.release(surge=2))
    playbook = "rollback" if kind == "rollback" else "replace"
    files = ("-e", f"release_receipt={path}", "-e", f"release_timeline={drawing}")
    ended = site.play(playbook, release, *files)
    assert (ended.code == 0) is (kind != "failed"), ended.text
    receipt = json.loads(path.read_text())
    jsonschema.validate(receipt, SCHEMA)
    assert receipt["status"] == ("failed" if kind == "failed" else "done")
    assert receipt["rolled_back"] is (kind == "failed")
    assert receipt["journal"][-1]["outcome"] == receipt["status"]
    assert receipt["journal"] == [
        {key: value for key, value in row.items() if key != "schema"}
        for row in rows(site.journal)
        if row["run"] == receipt["journal"][0]["run"]
    ]
    text = drawing.read_text()
    for replica in {row["replica"] for row in receipt["journal"]} - {""}:
        assert f"<title>{replica} (" in text
    later = drawing.with_suffix(".later.html")
    shown = site.play("history", release, "-e", "history_last=1", "-e", f"history_timeline={later}")
    assert shown.code == 0, shown.text
    assert later.read_text() == text, "the same journal, the same drawing"
    stats = ended.text.partition("CUSTOM STATS")[2]
    assert "immutable_cutover" in stats and f"status: {receipt['status']}" in stats, ended.text
    if kind == "failed":
        assert "rolled_back: true" in stats
        assert {seen.env["GREETING"] for seen in check.containers(site)} == {current.mark}
        assert "Next: see error_details and the playbook history" in receipt["msg"]


def test_the_schema_itself_is_valid_and_refuses_what_is_no_receipt() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 2}, SCHEMA)


@pytest.mark.parametrize("playbook", ["history", "status"])
def test_cr_11_reading_changes_nothing_in_check_mode_either(
    site: Site, current: Release, playbook: str
) -> None:
    before = {path: path.read_bytes() for path in site.app_folder.rglob("*") if path.is_file()}
    for options in ((), ("--check", "--diff")):
        ended = site.play(playbook, current, *options)
        assert (ended.code, ended.changed) == (0, 0), ended.text
        assert f"{current.version} (" in ended.text
    after = {path: path.read_bytes() for path in site.app_folder.rglob("*") if path.is_file()}
    assert after == before
