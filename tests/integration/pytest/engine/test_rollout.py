# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""Rows of docs/faults.md about whole rollouts: real containers, a real HAProxy, load through all of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    Fenced,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import Admin
from tests.integration.pytest.engine.rollout_rig import (
    BOOTS_SLOWLY,
    PATHS,
    Capacity,
    Rollouts,
    beside,
    journalled,
)
from tests.integration.pytest.haproxy_rig import Haproxy, eventually


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    made = Haproxy(tmp_path, more=PATHS)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def app(
    engine: Any, run_id: str, image: str, network: str, secrets_dir: Path, haproxy: Haproxy
) -> Rollouts:
    secrets_dir.mkdir(mode=0o700)
    return Rollouts(run_id, image, network, secrets_dir, haproxy)


def containers(app: Rollouts, engine: Any) -> list[str]:
    return sorted(item.id for item in engine.containers({"immutable.cutover.app": app.app}))


# A new release that is no good.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"command": ["/bin/sh", "-c", "echo no config; exit 3"]}, "its process ended", id="ro_01"),
        pytest.param({"command": ["/bin/sh", "-c", "sleep 2; exit 3"]}, "its process ended", id="ro_01_later"),
        pytest.param({"readiness": {"path": "/nothing", "timeout": 2}}, ":8080/nothing: not ready within 2 s; last answer: ", id="ro_02"),
        pytest.param({"command": BOOTS_SLOWLY, "readiness": {"path": "/readyz", "timeout": 1}}, "not ready within 1 s; last answer: ", id="ro_06"),
    ],
)  # fmt: skip
def test_ro_01_ro_02_ro_06_what_never_gets_ready_is_undone_and_the_old_untouched(
    app: Rollouts, engine: Any, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    app.deploy(app.spec("1"))
    before = containers(app, engine)
    config = app.haproxy.config.read_bytes()
    with app.load(tmp_path / "load") as load:
        answer = app.run(app.spec("2", **change), undo=True)
        result = load.stop()
    assert answer["status"] == "failed" and said in answer["error"], answer["error"]
    assert "log" in answer["error_details"], answer
    assert containers(app, engine) == before
    assert app.haproxy.config.read_bytes() == config
    assert {row["step"] for row in app.journal if row["version"] == "2"} & {"register"} == set()
    assert result.planned == result.accounted and result.failed == 0, result.failed_by_outcome


def test_ro_06_a_boot_just_within_its_time_passes(app: Rollouts) -> None:
    readiness = {"path": "/readyz", "timeout": 20}
    app.deploy(app.spec("1", command=BOOTS_SLOWLY, readiness=readiness))
    assert app.up() == 2


def warmed(app: Rollouts, mark: str, takes: str, ratio: float, timeout: int) -> dict[str, Any]:
    """A release that is compared with what runs, and answers as slowly as it says."""
    warm_up = {"requests": ["/cgi-bin/page"], "max_p95_ratio": ratio}
    readiness = {"path": "/readyz", "interval": 1, "successes": 1, "timeout": timeout}
    spec = app.spec(mark, 1, warm_up=warm_up, readiness=readiness)
    return {**spec, "env": {"MARK": mark, "PAGE_TAKES": takes}}


def test_ro_06_a_new_release_that_answers_much_slower_gets_no_traffic(
    app: Rollouts, engine: Any, tmp_path: Path
) -> None:
    app.deploy(app.spec("1", 1))
    before, config = containers(app, engine), app.haproxy.config.read_bytes()
    with app.load(tmp_path / "load") as load:
        answer = app.run(warmed(app, "2", "0.5", 1.5, 15), undo=True)
        result = load.stop()
    assert answer["status"] == "failed" and answer["failed_step"]["verb"] == "warm", answer
    said = "p95 of the warm-up requests at most 1.5 times that of what runs: not within "
    assert said in answer["error"], answer["error"]
    assert containers(app, engine) == before
    assert app.haproxy.config.read_bytes() == config
    assert {row["step"] for row in app.journal if row["version"] == "2"} & {"register"} == set()
    assert result.planned == result.accounted and result.failed == 0, result.failed_by_outcome
    (running,) = [item.name for item in app.seen(app.spec("1", 1)).replicas]

    app.deploy(warmed(app, "3", "0", 20, 90))
    rows = [row for row in app.journal if (row["step"], row["version"]) == ("warm", "3")]
    assert (rows[-1]["outcome"], rows[-1]["detail"]["compared_with"]) == ("ok", running)
    assert app.versions(app.spec("3", 1)) == [("3", "serving")]


def test_ro_07_again_changes_nothing_and_another_image_rolls_out(
    app: Rollouts, engine: Any, make_image: Callable[..., str]
) -> None:
    app.deploy(app.spec("1"))
    before = containers(app, engine)
    again = app.run(app.spec("1"))
    assert (again["changed"], again["actions"]) == (False, [])
    assert containers(app, engine) == before
    # Under the same name and version: what runs is told by the image's ID, not by what it is called.
    command = 'CMD ["/bin/sh", "-c", "exec httpd -f -p ${PORT:-8080} -h /www"]'
    app.image = make_image("other", "USER 10001", command)
    assert app.run(app.spec("1"))["changed"]
    assert not set(containers(app, engine)) & set(before)
    assert app.haproxy.get()[1] == "other"


# Capacity.


def test_ro_08_two_older_generations_serve_and_capacity_holds(
    app: Rollouts, tmp_path: Path
) -> None:
    app.deploy(app.spec("1"))
    app.add(app.spec("2"))
    app.add(app.spec("3"))
    assert app.up() == 6
    with app.load(tmp_path / "load") as load, Capacity(app) as capacity:
        app.deploy(app.spec("4"))
        result = load.stop()
    assert capacity.lowest >= 2
    assert app.versions(app.spec("4")) == [("4", "serving")] * 2
    assert result.planned == result.accounted and result.failed == 0, result.failed_by_outcome


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable"),
    [(1, 1, 0), (1, 0, 1), (3, 1, 0), (3, 3, 0), (3, 0, 1), (5, 2, 1), (5, 5, 0)],
)
def test_ro_09_the_floor_holds_for_every_batch_and_order(
    app: Rollouts, replicas: int, surge: int, unavailable: int
) -> None:
    strategy = {"max_surge": surge, "max_unavailable": unavailable}
    app.deploy(app.spec("1", replicas, strategy=strategy))
    earlier = len(app.journal)
    with Capacity(app) as capacity:
        app.deploy(app.spec("2", replicas, strategy=strategy))
    assert capacity.lowest >= replicas - unavailable
    assert max(capacity.samples) <= replicas + surge
    assert app.versions(app.spec("2")) == [("2", "serving")] * replicas
    done = [row["step"] for row in app.journal[earlier:] if row["outcome"] == "ok"]
    if not (surge and unavailable):  # with both, some of each begin together
        assert (done.index("start") < done.index("drain")) == (surge > 0)
    assert done.count("destroy") == replicas


def test_ro_09_a_naive_order_falls_below_the_floor(app: Rollouts, engine: Any) -> None:
    """The control: what looks at capacity does see it fall."""
    spec = app.spec("1", 3)
    app.deploy(spec)
    with Capacity(app) as capacity:
        subprocess.run(["docker", "kill", *containers(app, engine)[:2]], check=True)
        eventually(lambda: min(capacity.samples, default=3) < 3)


# Runs that meet.


def test_ro_10_a_second_deployment_takes_over_and_the_first_is_fenced(
    app: Rollouts, tmp_path: Path
) -> None:
    app.deploy(app.spec("1"))
    first = app.spec("2", command=BOOTS_SLOWLY)
    with app.load(tmp_path / "load") as load:
        begun = app.call(first, seconds=0.2)
        assert begun["status"] == "more"
        app.run(app.spec("3"), take_over=begun["epoch"])
        with pytest.raises(Fenced, match=f"fenced: run epoch {begun['epoch']}, current epoch"):
            app.call(
                first,
                epoch=begun["epoch"],
                resume=begun["resume"],
                holder={"run": "run-1", "user": "test"},
            )
        result = load.stop()
    assert app.versions(first) == [("3", "serving")] * 2
    assert result.planned == result.accounted and result.failed == 0, result.failed_by_outcome


def test_cr_06_of_two_runs_one_proceeds_and_the_other_is_told_by_whom(app: Rollouts) -> None:
    app.deploy(app.spec("1"))
    first = app.call(app.spec("2", command=BOOTS_SLOWLY), seconds=0.2)
    assert first["status"] == "more"
    before = app.versions(app.spec("3"))
    other = {"run": "other", "user": "eve", "host": "far"}
    second = app.call(app.spec("3"), holder=other)
    assert second["status"] == "waiting" and not second["changed"]
    assert "lease held by test, run run-1" in second["message"], second["message"]
    assert "renewed" in second["message"] and second["epoch"] == first["epoch"]
    assert app.versions(app.spec("3")) == before
    spec = app.spec("2", command=BOOTS_SLOWLY)
    done = app.call(spec, epoch=first["epoch"], resume=first["resume"])
    assert done["status"] == "done"
    assert app.call(app.spec("3"), holder=other)["status"] == "done"
    assert app.versions(app.spec("3")) == [("3", "serving")] * 2


def test_cr_06_many_at_once_end_with_one_release(app: Rollouts) -> None:
    """Whoever is refused asks again, as the action plugin does; nothing else keeps them apart."""
    app.deploy(app.spec("0"))

    def one(mark: str) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        holder = {"run": f"run-{mark}", "user": mark}
        answer = app.call(app.spec(mark), holder=holder)
        while answer["status"] in ("waiting", "again", "more") and time.monotonic() < deadline:
            time.sleep(0.05)
            resumed: dict[str, Any] = (
                answer if answer["status"] == "more" else {"epoch": 0, "resume": {}}
            )
            turn: dict[str, Any] = {"epoch": resumed["epoch"], "resume": resumed["resume"]}
            answer = app.call(app.spec(mark), holder=holder, **turn)
        return answer

    runs = [beside(partial(one, mark)) for mark in "abcd"]
    assert [run.result(150)["status"] for run in runs] == ["done"] * 4
    recorded = [row for row in app.journal if row["step"] == "record"]
    assert sorted(row["version"] for row in recorded) == ["0", "a", "b", "c", "d"]
    last = recorded[-1]["version"]
    assert app.versions(app.spec(last)) == [(last, "serving")] * 2
    epochs = [row["epoch"] for row in app.journal]
    assert epochs == sorted(epochs)


# Requests that take long.


def test_ro_16_a_drain_shorter_than_the_longest_request_is_refused(app: Rollouts) -> None:
    with pytest.raises(InvalidInput, match=r"drain.timeout: must not be below longest_request 30"):
        app.run(app.spec("1", drain={"timeout": 10, "longest_request": 30}))
    assert app.journal == []


def test_ro_16_a_request_longer_than_the_drain_fails_the_run_and_is_answered(
    app: Rollouts,
) -> None:
    app.deploy(app.spec("1", drain={"timeout": 1}))
    with app.haproxy.slow(30, 2) as answers:
        eventually(lambda: app.busy() == 2)
        late = app.run(app.spec("2", drain={"timeout": 1}))
        assert late["status"] == "failed" and late["failed_step"]["verb"] == "await", late
        assert "in flight" in late["error"] and "nothing was cut" in late["error"]
        assert ("1", "standby") in app.versions(app.spec("2"))
    assert answers == [(200, "slow")] * 2
    app.deploy(app.spec("2", drain={"timeout": 1}))
    assert app.versions(app.spec("2")) == [("2", "serving")] * 2


def test_ro_16_forced_the_cut_is_counted(app: Rollouts) -> None:
    force = {"timeout": 1, "on_timeout": "force"}
    app.deploy(app.spec("1", drain=force))
    with app.haproxy.slow(100, 2) as answers:
        eventually(lambda: app.busy() == 2)
        app.deploy(app.spec("2", drain=force))
    assert {status for status, _body in answers} != {200}
    forced = [row["detail"] for row in app.journal if row["detail"].get("forced")]
    assert forced and all("in flight" in detail["cut"] for detail in forced), forced


# The load balancer misbehaves in the middle of a rollout.


@pytest.mark.parametrize(
    ("step", "outcome"),
    [("register", "ok"), ("activate", "ok"), ("drain", "ok"), ("deregister", "ok")],
)
def test_lb_05_lb_06_a_reload_after_a_step_loses_nothing(
    app: Rollouts, tmp_path: Path, step: str, outcome: str
) -> None:
    app.deploy(app.spec("1"))
    spec = app.spec("2", strategy={"max_surge": 1})
    with app.load(tmp_path / "load") as load:
        moment = journalled(app, step, outcome)
        run = beside(lambda: app.run(spec))
        eventually(moment)
        app.haproxy.reload()
        answer = run.result(240)
        if answer["status"] != "done":  # it may notice the reload, and stop
            app.deploy(spec)
        result = load.stop()
    assert app.versions(spec) == [("2", "serving")] * 2
    assert app.run(spec)["changed"] is False
    assert result.planned == result.accounted and result.failed == 0, result.failed_by_outcome


def test_lb_10_with_one_of_two_balancers_gone_nothing_is_destroyed(
    app: Rollouts, engine: Any, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    second = Haproxy(tmp_path / "second", more=PATHS)
    second.start()
    try:
        both = [app.balancer(), app.balancer(second)]
        app.deploy({**app.spec("1"), "load_balancers": both})
        before = containers(app, engine)
        wanted = {**app.spec("2"), "load_balancers": both}
        moment = journalled(app, "activate", "ok")
        run = beside(lambda: app.run(wanted))
        eventually(moment)
        second.kill()
        with pytest.raises(CutoverError, match="second/admin.sock"):
            answer = run.result(240)
            raise CutoverError(answer["error"])
        assert set(before) <= set(containers(app, engine))
        assert all(engine.inspect(found).running for found in before)
        with pytest.raises(CutoverError, match="second/admin.sock"):
            app.run(wanted)
        assert set(before) <= set(containers(app, engine))
        second.start()
        app.deploy(wanted)
        assert app.versions(wanted) == [("2", "serving")] * 2
        assert not set(containers(app, engine)) & set(before)
    finally:
        second.kill()


def test_cr_05_a_balancer_that_hangs_fails_the_run_and_the_next_one_converges(
    app: Rollouts, engine: Any
) -> None:
    app.deploy(app.spec("1"))
    before = containers(app, engine)
    spec = app.spec("2", command=BOOTS_SLOWLY)
    moment = journalled(app, "ready", "begin")
    run = beside(lambda: app.run(spec))
    eventually(moment)
    app.haproxy.pause()
    try:
        with pytest.raises(CutoverError, match="no answer to|refused"):
            answer = run.result(240)
            raise CutoverError(answer["error"])
    finally:
        app.haproxy.resume()
    assert set(before) <= set(containers(app, engine))
    app.deploy(spec)
    assert app.versions(spec) == [("2", "serving")] * 2


def test_cr_12_a_clock_that_jumps_ends_no_wait(
    app: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wall clock goes an hour ahead and back in the middle of a boot; waits go by the monotonic one."""
    from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock

    app.deploy(app.spec("1"))
    jumps = iter([3600.0, -3600.0, 0.0] * 10_000)
    plain = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: plain(self) + next(jumps))
    answer = app.run(app.spec("2", command=BOOTS_SLOWLY))
    assert answer["status"] == "done", answer
    assert app.versions(app.spec("2")) == [("2", "serving")] * 2


def test_a_replica_that_drains_is_in_no_rotation(app: Rollouts) -> None:
    """The rig's own eye: what HAProxy calls up is what it sends requests to."""
    app.deploy(app.spec("1"))
    assert app.up() == 2
    driver = app.haproxy.driver()
    driver.set_state(driver.targets()[0].name, Admin.DRAINING)
    assert app.up() == 1
