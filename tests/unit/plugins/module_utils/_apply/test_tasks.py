# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One-off tasks from parameters to results: once for a release, whatever dies; no way back across what is unsafe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply import (
    front,
    task_front,
    task_runner,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_front import run_tasks
from ansible_collections.immutable.cutover.plugins.module_utils._apply.task_records import (
    REMEMBERED,
    TaskRecords,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    Fenced,
    InvalidInput,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._release import names
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

MIGRATE: dict[str, Any] = {"command": ["migrate", "--all"]}
CONTRACT: dict[str, Any] = {"command": ["drop"], "when": "after", "rollback_safe": False}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path, monkeypatch, image(IMAGE_ID), image(OTHER_IMAGE_ID))
    monkeypatch.setattr(task_runner, "LOOK", 0.01)
    made.engine.started_at = ago(0)
    yield made
    made.rig.close()


def ago(seconds: float) -> str:
    """Return the engine's time stamp of so long ago."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - seconds))


def call(host: Host, spec: Any, when: str = "before_traffic", **more: Any) -> dict[str, Any]:
    """Make one call of task_run that ends at once, unless told otherwise."""
    turn = {"seconds": 0.05, **more.pop("turn", {})}
    options = {"when": when, "command": [], "timeout": 300, **more}
    return run_tasks({**host.params(spec, **turn), **options}, check=False)


def the_task(host: Host) -> str:
    """Return the name of the one task that is there."""
    (found,) = host.engine.containers({names.TASK: ""})
    return found.name


def the_failed(error: CutoverError) -> dict[str, Any]:
    """Return what is told of the one task that failed."""
    found: Any = error.details["tasks"]
    (told,) = found
    return dict(told)


def free(host: Host) -> bool:
    return Lease(str(host.state_dir), "shop", FakeClock()).read().holder is None


def ran(host: Host, spec: Any, when: str = "before_traffic") -> dict[str, Any]:
    """Run one task to its end."""
    first = call(host, spec, when)
    assert first["status"] == "more", first
    host.engine.crash(the_task(host), 0, "all done")
    return call(host, spec, when, turn={"epoch": first["epoch"], "resume": first["resume"]})


def test_it_runs_once_for_a_release_and_says_what_it_logged(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    ended = ran(host, spec)
    assert (ended["status"], ended["changed"]) == ("done", True)
    (told,) = ended["tasks"]
    assert 0 <= told.pop("seconds") <= time.time() - told.pop("began") < 60
    assert told == {
        "name": "migrate",
        "release": ended["release"],
        "when": "before_traffic",
        "outcome": "ok",
        "exit_code": 0,
        "message": "",
        "log": ["all done"],
    }
    assert host.engine.containers({}) == () and free(host)
    before = host.traces()
    again = call(host, spec)
    assert (again["changed"], again["needed"], host.traces()) == (False, False, before)
    other = call(host, host.spec("2", OTHER_IMAGE_ID, tasks={"migrate": MIGRATE}))
    assert other["status"] == "more"


def test_they_run_in_the_order_of_their_names_one_after_the_other(host: Host) -> None:
    spec = host.spec("1", tasks={"b-fill": MIGRATE, "a-make": MIGRATE, "later": CONTRACT})
    first = call(host, spec)
    assert "-a-make-" in the_task(host)
    host.engine.crash(the_task(host), 0)
    second = call(host, spec, turn={"epoch": first["epoch"], "resume": first["resume"]})
    assert second["actions"] == ["run task a-make"]
    assert "-b-fill-" in the_task(host)
    host.engine.crash(the_task(host), 0)
    third = call(host, spec, turn={"epoch": first["epoch"], "resume": second["resume"]})
    assert third["status"] == "done"
    started = [name for kind, name in host.engine.calls if kind == "start"]
    assert len(started) == 2 and started == sorted(started)


def test_check_mode_says_what_would_run_and_runs_nothing(host: Host) -> None:
    spec, before = host.spec("1", tasks={"migrate": MIGRATE}), host.traces()
    options = {"when": "before_traffic", "command": [], "timeout": 300}
    plan = run_tasks({**host.params(spec), **options}, check=True)
    assert (plan["changed"], plan["needed"]) == (False, True)
    (line,) = plan["lines"]
    assert line == f"run task migrate (before_traffic) in the image of release {plan['release']}"
    assert host.traces() == before


def test_ot_01_one_that_fails_is_removed_and_runs_again_the_next_time(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    first = call(host, spec)
    host.engine.crash(the_task(host), 3, "no such table: orders")
    with pytest.raises(
        CutoverError, match="ended with code 3; its log ends with: no such"
    ) as failed:
        call(host, spec, turn={"epoch": first["epoch"], "resume": first["resume"]})
    assert "nothing was replaced" in failed.value.message
    assert failed.value.details["exit_code"] == 3
    assert failed.value.details["log"] == ["no such table: orders"]
    told = the_failed(failed.value)
    assert (told["outcome"], told["exit_code"]) == ("failed", 3)
    assert (
        told["message"]
        == "task migrate ended with code 3; its log ends with: no such table: orders"
    )
    found = failed.value.details["journal"]
    assert isinstance(found, list) and found[-1]["outcome"] == "failed"
    assert host.engine.containers({}) == () and free(host)
    rows = host.rig_rows()
    assert [(row["step"], row["outcome"]) for row in rows] == [
        ("run", "begin"),
        ("task", "begin"),
        ("task", "failed"),
        ("run", "failed"),
    ]
    assert ran(host, spec)["status"] == "done"


def test_ot_01_one_that_hangs_is_stopped_when_its_time_is_over(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": {**MIGRATE, "timeout": 1}})
    with pytest.raises(CutoverError, match="task migrate did not end within 1 s and was stopped"):
        call(host, spec, turn={"seconds": 5})
    assert host.engine.containers({}) == () and free(host)
    assert "stop" in [kind for kind, _name in host.engine.calls]


def test_ot_01_what_a_killed_run_left_is_waited_for_and_not_run_twice(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    call(host, spec)
    name = the_task(host)
    taken = {"holder": {"run": "run-2"}, "take_over": 1}
    second = call(host, spec, turn=taken)
    assert (second["status"], the_task(host)) == ("more", name)
    host.engine.crash(name, 0)
    ended = call(host, spec, turn={**taken, "epoch": second["epoch"], "resume": second["resume"]})
    assert ended["status"] == "done"
    assert [kind for kind, _name in host.engine.calls].count("start") == 1


def test_ot_01_one_whose_time_was_over_while_no_run_was_there_is_stopped_by_the_next(
    host: Host,
) -> None:
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    host.engine.started_at = ago(299)
    call(host, spec)
    taken: dict[str, Any] = {"holder": {"run": "run-2"}, "take_over": 1, "seconds": 5}
    with pytest.raises(CutoverError, match="task migrate did not end within 300 s") as failed:
        call(host, spec, turn=taken)
    told = the_failed(failed.value)
    assert told["seconds"] >= 299
    assert host.engine.containers({}) == () and free(host)


def test_ot_01_its_own_run_does_not_look_at_the_wall_clock(host: Host) -> None:
    """A clock that is set forward, or an engine's that is wrong, ends no task early."""
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    host.engine.started_at = ago(4000)
    first = call(host, spec)
    again = call(host, spec, turn={"epoch": first["epoch"], "resume": first["resume"]})
    assert again["status"] == "more"


@pytest.mark.parametrize(("began", "goes"), [(400, True), (200, False)])
def test_ot_01_a_release_without_tasks_stops_one_whose_time_is_over(
    host: Host, began: float, goes: bool
) -> None:
    host.engine.started_at = ago(began)
    first = call(host, host.spec("1", tasks={"migrate": MIGRATE}))
    name, other = the_task(host), host.spec("2", OTHER_IMAGE_ID)
    left = f"remove {name}, a task whose time is over"
    host.apply(other, take_over=1)
    assert (not host.engine.containers({names.TASK: ""})) is goes
    host.engine.started_at = ago(0)
    assert (left in host.plan(other)["lines"]) is False
    assert TaskRecords(str(host.state_dir), "shop").done(first["release"]) == frozenset()


def test_ot_01_one_of_another_release_is_waited_for_first(host: Host) -> None:
    old = host.spec("1", tasks={"migrate": MIGRATE})
    new = host.spec("2", OTHER_IMAGE_ID, tasks={"migrate": MIGRATE})
    first = call(host, old)
    name = the_task(host)
    taken: dict[str, Any] = {"holder": {"run": "run-2"}, "take_over": 1}
    second = call(host, new, turn=taken)
    assert "waiting for task migrate" in second["progress"][0]
    assert the_task(host) == name
    host.engine.crash(name, 0)
    taken |= {"epoch": second["epoch"], "resume": second["resume"]}
    call(host, new, turn=taken)
    assert the_task(host) != name
    assert TaskRecords(str(host.state_dir), "shop").done(first["release"]) == {"migrate"}


def test_ot_02_of_two_runs_one_waits_for_the_lease(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    assert call(host, spec)["status"] == "more"
    other = call(host, spec, turn={"holder": {"run": "run-2"}, "waits": 60})
    assert other["status"] == "waiting"
    assert len(host.engine.containers({})) == 1


def test_ot_02_who_finds_it_done_leaves_the_line(host: Host) -> None:
    spec, second = host.spec("1", tasks={"migrate": MIGRATE}), {"holder": {"run": "run-2"}}
    first = call(host, spec)
    assert call(host, spec, turn={**second, "waits": 60})["status"] == "waiting"
    host.engine.crash(the_task(host), 0)
    call(host, spec, turn={"epoch": first["epoch"], "resume": first["resume"]})
    assert call(host, spec, turn={**second, "waits": 60})["status"] == "done"
    assert Lease(str(host.state_dir), "shop", SystemClock()).line() == ()
    assert host.apply(spec)["status"] == "done"


def test_ot_02_a_run_that_lost_its_lease_starts_nothing(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": MIGRATE})
    first = call(host, spec)
    host.engine.crash(the_task(host), 0)
    Lease(str(host.state_dir), "shop", FakeClock()).acquire(Holder("thief"), 60, take_over=1)
    with pytest.raises(Fenced):
        call(host, spec, turn={"epoch": first["epoch"], "resume": first["resume"]})
    assert TaskRecords(str(host.state_dir), "shop").done(first["release"]) == frozenset()
    assert not free(host)


def test_ot_02_what_ended_after_the_lease_was_lost_is_left_to_who_has_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, lease = (
        host.spec("1", tasks={"migrate": MIGRATE}),
        Lease(str(host.state_dir), "shop", SystemClock()),
    )
    first = call(host, spec)
    host.engine.crash(the_task(host), 0)

    def steals(container_id: str, tail: int) -> str:
        lease.acquire(Holder("thief"), 60, take_over=first["epoch"])
        return ""

    monkeypatch.setattr(host.engine, "logs", steals)
    with pytest.raises(Fenced):
        call(host, spec, turn={"epoch": first["epoch"], "resume": first["resume"]})
    assert the_task(host)
    assert TaskRecords(str(host.state_dir), "shop").done(first["release"]) == frozenset()


def test_ot_03_it_gets_what_a_replica_gets_and_no_port(host: Host) -> None:
    task = {**MIGRATE, "resources": {"memory": "512m", "cpus": 0.5, "pids": 32}}
    call(host, host.spec("1", tasks={"migrate": task}))
    stored = host.engine._containers[host.engine.inspect(the_task(host)).id].spec  # type: ignore[union-attr]  # it is there
    assert (stored.image_id, stored.command, stored.network) == (
        IMAGE_ID,
        ("migrate", "--all"),
        "cutover",
    )
    assert dict(stored.env) == {"LOG_LEVEL": "info"}
    assert (stored.publish, stored.restarts) == (None, False)
    assert names.PORT not in stored.labels and names.PROCESS not in stored.labels
    assert (stored.resources.memory, stored.resources.pids) == (512 * 1024 * 1024, 32)


def test_ot_04_what_comes_after_waits_until_nothing_older_is_left(host: Host) -> None:
    tasks = {"drop": CONTRACT}
    old, new = host.spec("1"), host.spec("2", OTHER_IMAGE_ID, tasks=tasks)
    host.apply(old)
    waits = call(host, new, "after")
    assert (waits["status"], waits["changed"], waits["needed"]) == ("done", False, False)
    assert "wait until release" in waits["lines"][0]
    host.apply(new)
    assert ran(host, new, "after")["tasks"][0]["name"] == "drop"


def test_ot_04_a_replica_that_was_left_keeps_it_waiting(host: Host) -> None:
    new = host.spec("2", OTHER_IMAGE_ID, tasks={"drop": CONTRACT})
    host.apply(host.spec("1"))
    stray = next(iter(host.engine._containers.values())).spec
    host.apply(new)
    host.engine.add(stray)
    waits = call(host, new, "after")
    assert waits["lines"] == [f"tasks after traffic wait: {stray.name} still there"]
    assert not host.engine.containers({names.TASK: ""})


def test_a_rollback_across_what_is_not_safe_is_refused_unless_told(host: Host) -> None:
    old, new = host.spec("1"), host.spec("2", OTHER_IMAGE_ID, tasks={"drop": CONTRACT})
    host.apply(old)
    host.apply(new)
    ran(host, new, "after")
    before = host.traces()
    for to in ("previous", "1"):
        with pytest.raises(CutoverError, match=r"release 2 \([0-9a-f]{8}\) is not rollback_safe"):
            host.apply(new, to)
    assert host.traces() == before
    told = run(host, new, "previous", rollback_unsafe=True)
    assert {found for _phase, found in host.serving()} == {IMAGE_ID}, told


def run(host: Host, spec: Any, to: str, **options: Any) -> dict[str, Any]:
    """Apply with more options of the module."""
    return front.apply_release({**host.params(spec, to), **options})


def test_a_rollback_before_it_ran_is_not(host: Host) -> None:
    tasks = {"drop": CONTRACT, "migrate": MIGRATE}
    old, new = host.spec("1"), host.spec("2", OTHER_IMAGE_ID, tasks=tasks)
    host.apply(old)
    ran(host, new)
    host.apply(new)
    host.apply(new, "previous")
    assert {found for _phase, found in host.serving()} == {IMAGE_ID}


def test_on_another_host_of_the_fleet_it_is_taken_to_have_run(host: Host) -> None:
    old, new = host.spec("1"), host.spec("2", OTHER_IMAGE_ID, tasks={"drop": CONTRACT})
    host.apply(old)
    host.apply(new)
    with pytest.raises(CutoverError, match="is not rollback_safe"):
        host.apply(new, "previous")


def test_what_was_begun_is_not_undone_across_it_either(host: Host) -> None:
    task = {"command": ["drop"], "rollback_safe": False, "contract": True}
    old, new = host.spec("1"), host.spec("2", OTHER_IMAGE_ID, tasks={"drop": task})
    host.apply(old)
    ran(host, new)
    host.engine.fail("start")
    failed = host.apply(new, undo_follows=True)
    assert (failed["status"], failed["worth_undoing"], free(host)) == ("failed", True, False)
    with pytest.raises(CutoverError, match="is not rollback_safe"):
        host.apply(new, "undo", epoch=failed["epoch"])
    assert free(host), "the run that cannot go back has ended"
    for to in ("undo", "abort", "recover"):
        with pytest.raises(CutoverError, match="is not rollback_safe"):
            host.apply(new, to)
    assert host.apply(new, "finish")["status"] == "done"


def test_a_command_runs_in_the_image_that_runs_as_often_as_it_is_asked(host: Host) -> None:
    host.apply(host.spec("1"))
    wanted = host.spec("2", OTHER_IMAGE_ID)
    for number in ("a", "b"):
        turn: dict[str, Any] = {"holder": {"run": number}}
        first = call(host, wanted, "", command=["report"], turn=turn)
        found = host.engine.inspect(the_task(host))
        assert found is not None and found.image_id == IMAGE_ID
        assert free(host), "nobody is kept from deploying"
        assert host.apply(host.spec("1"))["changed"] is False
        host.engine.crash(found.name, 0, f"report {number}")
        ended = call(host, wanted, "", command=["report"], turn={**turn, "resume": first["resume"]})
        (told,) = ended["tasks"]
        assert (told["name"], told["when"], told["outcome"]) == ("adhoc", "adhoc", "ok")
        assert (told["release"], told["log"]) == (ended["release"], [f"report {number}"])
    assert len(host.engine.containers({})) == 1, "its replica"


def test_a_command_needs_a_release_that_runs(host: Host) -> None:
    with pytest.raises(CutoverError, match="no release of shop runs on this host"):
        call(host, host.spec("1"), "", command=["report"])
    with pytest.raises(InvalidInput, match="when: must be before_traffic or after, or command"):
        call(host, host.spec("1"), "")


@pytest.mark.parametrize("missing", ["program", "network", "cpus"])
def test_what_the_host_does_not_have_is_refused_before_anything_starts(
    host: Host, missing: str
) -> None:
    task: dict[str, Any] = dict(MIGRATE)
    more: dict[str, Any] = {}
    if missing == "program":
        host.engine.programs = set()
    elif missing == "network":
        more["network"] = "elsewhere"
    else:
        task["resources"] = {"cpus": 900}
    before = host.traces()
    with pytest.raises(
        InvalidInput, match="tasks.migrate.command|network|tasks.migrate.resources.cpus"
    ):
        call(host, host.spec("1", tasks={"migrate": task}, **more))
    assert host.traces() == before


def test_what_nobody_comes_back_for_is_removed_by_the_next_release(host: Host) -> None:
    spec = host.spec("1", tasks={"migrate": {**MIGRATE, "timeout": 1}})
    first = call(host, spec)
    host.engine.crash(the_task(host), 0)
    # The engine in memory says that everything was started on the first of January.
    plan = host.plan(host.spec("2", OTHER_IMAGE_ID))
    assert plan["needed"]
    host.apply(host.spec("2", OTHER_IMAGE_ID), take_over=1)
    assert not host.engine.containers({names.TASK: ""})
    assert TaskRecords(str(host.state_dir), "shop").done(first["release"]) == {"migrate"}


def test_only_the_last_releases_are_remembered(tmp_path: Path) -> None:
    records = TaskRecords(str(tmp_path), "shop")
    for number in range(REMEMBERED + 5):
        records.note(f"{number:08x}", "migrate")
    assert records.done(f"{4:08x}") == frozenset()
    assert records.done(f"{5:08x}") == {"migrate"}
    (tmp_path / "apps/shop/tasks.json").write_text('{"schema": 1, "done": {"a": 1}}')
    with pytest.raises(StateError, match="tasks.json: is damaged"):
        records.done("00000005")


HELD: dict[str, Any] = {"type": "blue_green", "approval": True}


def third(host: Host, while_held: str) -> dict[str, Any]:
    """Have release 2 wait for approval; return the spec of a third one with a task before its traffic."""
    assert host.apply(host.spec("1", IMAGE_ID, strategy=HELD))["status"] == "done"
    second = host.spec("2", OTHER_IMAGE_ID, strategy=HELD)
    assert host.apply(second)["status"] == "held"
    strategy = {**HELD, "while_held": while_held}
    return host.spec("3", IMAGE_ID, env={"N": "3"}, strategy=strategy, tasks={"migrate": MIGRATE})


def test_ro_18_nothing_runs_beside_a_release_at_a_gate_that_is_not_waited_for(host: Host) -> None:
    spec = third(host, "refuse")
    before = host.traces()
    with pytest.raises(CutoverError, match="is held at gate approval: promote or abort it first"):
        call(host, spec)
    assert host.traces() == before


def test_ro_18_a_task_waits_as_its_release_does(host: Host) -> None:
    spec = third(host, "wait")
    before = host.traces()
    answer = call(host, spec, turn={"waits": 60.0})
    assert (answer["status"], host.traces()) == ("waiting", before)
    assert host.apply(spec, "abort")["status"] == "done"
    assert ran(host, spec)["status"] == "done"


def test_ro_18_a_task_comes_after_the_abort(host: Host) -> None:
    spec = third(host, "abort")
    assert call(host, spec)["status"] == "abort_first"
    assert host.engine.containers({names.TASK: ""}) == ()
    assert host.apply(spec, "abort")["status"] == "done"
    assert ran(host, spec)["status"] == "done"


def test_ro_18_a_release_that_came_to_its_gate_meanwhile_counts_too(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = third(host, "refuse")
    monkeypatch.setattr(task_front, "_before_it", lambda _work, _turn: {})
    assert call(host, spec)["status"] == "again"
    assert host.engine.containers({names.TASK: ""}) == ()
