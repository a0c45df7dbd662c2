# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every run that got the lease has a first and a last word in the journal, and a person can read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Outcome
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import Executor
from ansible_collections.immutable.cutover.plugins.module_utils._apply.journal_front import (
    journal_info,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    EngineError,
    Fenced,
    InvalidInput,
    Repeated,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
    yield made
    made.rig.close()


def history(host: Host, **asked: Any) -> list[dict[str, Any]]:
    params = {
        "app": "shop",
        "state_dir": str(host.state_dir),
        "run": None,
        "release": None,
        "last": 10,
        "show": False,
        **asked,
    }
    runs: list[dict[str, Any]] = journal_info(params, host.rig.clock)["runs"]
    return runs


def outcomes(host: Host) -> list[tuple[str, str]]:
    return [(run["run"], run["outcome"]) for run in history(host)]


def by(run: str) -> dict[str, Any]:
    return {"holder": {"run": run, "user": "eve"}}


NEVER = {"readiness": {"path": "/never", "timeout": 1}}


def test_from_where_to_where_by_whom(host: Host) -> None:
    host.apply(host.spec("1"), **by("r1"))
    host.apply(host.spec("2", OTHER_IMAGE_ID), **by("r2"))
    host.apply(host.spec("2", OTHER_IMAGE_ID), "previous", **by("r3"))
    first, second, third = history(host)
    assert (first["kind"], first["version"], first["before"]) == ("replace", "1", {})
    assert (second["version"], second["before"]["version"]) == ("2", "1")
    assert (third["kind"], third["version"], third["outcome"]) == ("rollback", "1", "done")
    assert second["holder"]["user"] == "eve"
    assert second["image_id"] == OTHER_IMAGE_ID


def test_a_failed_run_says_at_which_step_and_why(host: Host) -> None:
    host.apply(host.spec("1", web=NEVER), **by("r1"))
    (run,) = history(host)
    assert (run["outcome"], run["rolled_back"]) == ("failed", False)
    assert run["message"].startswith("ready failed: shop-web-")


def test_a_run_that_was_rolled_back_has_failed(host: Host) -> None:
    host.apply(host.spec("1"), **by("r1"))
    failing = host.spec("2", OTHER_IMAGE_ID, web=NEVER)
    failed = host.apply(failing, undo_follows=True, **by("r2"))
    assert outcomes(host)[-1] == ("r2", "under way")
    host.apply(failing, "undo", epoch=failed["epoch"], undoes="never ready", **by("r2"))
    run = history(host)[-1]
    assert (run["run"], run["outcome"], run["rolled_back"]) == ("r2", "failed", True)
    assert (run["version"], run["message"]) == ("2", "never ready")


def test_going_back_that_fails_too_is_told(host: Host) -> None:
    host.apply(host.spec("1"), **by("r1"))
    failing = host.spec("2", OTHER_IMAGE_ID, web=NEVER)
    failed = host.apply(failing, undo_follows=True, **by("r2"))
    host.engine.fail("stop", error=EngineError("engine is gone"))
    host.apply(failing, "undo", epoch=failed["epoch"], undoes="never ready", **by("r2"))
    run = history(host)[-1]
    assert (run["outcome"], run["rolled_back"]) == ("failed", False)
    assert run["message"].startswith("never ready; going back failed too: ")
    assert "engine is gone" in run["message"]


def test_cr_08_a_run_that_died_gets_its_last_word_from_the_next(host: Host) -> None:
    spec = host.spec("1")
    host.apply(spec, seconds=0, **by("dead"))
    assert outcomes(host) == [("dead", "under way")]
    host.apply(spec, take_over=1, **by("next"))
    assert outcomes(host) == [("dead", "interrupted"), ("next", "done")]
    row = next(row for row in _rows(host) if row["outcome"] == "interrupted")
    assert (row["epoch"], row["run"]) == (1, "dead")
    host.apply(host.spec("2", OTHER_IMAGE_ID), **by("third"))
    assert [row["outcome"] for row in _rows(host) if row["run"] == "dead"].count("interrupted") == 1


def _rows(host: Host) -> list[dict[str, Any]]:
    params = {"app": "shop", "state_dir": str(host.state_dir), "run": None, "release": None}
    rows: list[dict[str, Any]] = journal_info(
        {**params, "last": 10, "show": False}, host.rig.clock
    )["rows"]
    return rows


def test_cr_03_a_run_that_lost_its_lease_says_so_itself(host: Host) -> None:
    spec = host.spec("1")
    first = host.apply(spec, seconds=0, **by("late"))
    host.apply(spec, take_over=1, **by("next"))
    with pytest.raises(Fenced):
        host.apply(spec, epoch=first["epoch"], resume=first["resume"], **by("late"))
    assert outcomes(host) == [("late", "fenced"), ("next", "done")]


@pytest.mark.parametrize("given_back", [False, True])
def test_cr_05_a_call_that_was_made_again_leaves_the_last_word_to_the_later_one(
    host: Host, monkeypatch: pytest.MonkeyPatch, given_back: bool
) -> None:
    """The connection of the first call is lost while it works, and Ansible makes it again."""
    spec, work = host.spec("1"), Executor.work
    calls = []

    def and_again(executor: Executor, seconds: float) -> Outcome:
        calls.append(executor)
        if len(calls) == 1:
            host.apply(spec, seconds=10 if given_back else 0, **by("r1"))
        return work(executor, seconds)

    monkeypatch.setattr(Executor, "work", and_again)
    if given_back:
        with pytest.raises(Repeated):
            host.apply(spec, **by("r1"))
    else:
        first = host.apply(spec, **by("r1"))
        assert first["error"].startswith("fenced: epoch 1, a later call of the same run")
    lease = Lease(str(host.state_dir), "shop", host.rig.clock).read()
    assert (lease.holder is None) is given_back
    assert outcomes(host) == [("r1", "done" if given_back else "under way")]


def test_what_fails_outside_of_any_step_gives_the_lease_back_and_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_arguments: object, look: bool = False) -> tuple[str, ...]:
        if look:
            return ()
        raise StateError("index.json: is damaged")

    host.apply(host.spec("1"), **by("r1"))
    monkeypatch.setattr(host.engine, "sweep_secrets", damaged)
    with pytest.raises(StateError):
        host.apply(host.spec("2", OTHER_IMAGE_ID), **by("r2"))
    assert outcomes(host)[-1] == ("r2", "failed")
    assert Lease(str(host.state_dir), "shop", host.rig.clock).read().holder is None


def test_cr_13_a_journal_of_a_newer_schema_is_refused_before_anything_changes(host: Host) -> None:
    host.apply(host.spec("1"))
    path = host.state_dir / "apps" / "shop" / "journal.jsonl"
    path.write_text(path.read_text().replace('"schema":1', '"schema":2'))
    before = host.traces()
    with pytest.raises(StateError, match=r"journal\.jsonl: a row has schema 2") as caught:
        host.apply(host.spec("2", OTHER_IMAGE_ID))
    assert str(path) in caught.value.message
    assert host.traces() == before


def test_a_run_that_has_nothing_to_do_is_not_noted(host: Host) -> None:
    host.apply(host.spec("1"), **by("r1"))
    host.apply(host.spec("1"), **by("r2"))
    assert outcomes(host) == [("r1", "done")]


def test_a_run_under_way_is_told_by_the_lease(host: Host) -> None:
    host.apply(host.spec("1"), seconds=0, **by("r1"))
    assert outcomes(host) == [("r1", "under way")]
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    lease.acquire(Holder("other"), 60, take_over=1)
    assert outcomes(host) == [("r1", "no end recorded")]


@pytest.mark.parametrize("last", [0, 1001])
def test_how_many_runs_may_be_asked_for(host: Host, last: int) -> None:
    with pytest.raises(InvalidInput, match=r"last: must be a whole number, 1-1000, found"):
        history(host, last=last)
