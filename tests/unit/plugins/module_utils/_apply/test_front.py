# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E501 - a row of a table stays on one line
"""The release modules from parameters to results: what is refused before anything changes, and whole flows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._apply.call import Outcome
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import Executor
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import (
    ContainerSpec,
    Image,
    Resources,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    EngineError,
    InvalidInput,
    StateError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._state import file_lock
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock
from ansible_collections.immutable.cutover.tests.unit.support.hosts import Host, image
from ansible_collections.immutable.cutover.tests.unit.support.shop import (
    IMAGE_ID,
    OTHER_IMAGE_ID,
)

THIRD, ROOTED, FOREIGN, LABELLED, NAMED, WORKER = (f"sha256:{digit * 64}" for digit in "345678")
ABSENT, DEMANDING = "sha256:" + "9" * 64, "sha256:" + "a" * 64


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    images: list[Image] = [
        image(IMAGE_ID),
        image(OTHER_IMAGE_ID),
        image(THIRD),
        image(ROOTED, user="0:0"),
        image(FOREIGN, architecture="s390x"),
        image(LABELLED, labels={"immutable.cutover.entrypoints": "{"}),
        image(NAMED, user="nosuch"),
        image(DEMANDING, labels={"immutable.cutover.env-required": "A,DB,PORT"}),
        image(WORKER, labels={"immutable.cutover.entrypoints": '{"worker": ["work"]}'}),
    ]
    made = Host(tmp_path, monkeypatch, *images)
    yield made
    made.rig.close()


# (id, what is asked, what the message begins with, what else it says)
Ask = Callable[[Host], tuple[dict[str, Any], str]]
REFUSALS: list[tuple[str, Ask, str, str]] = [
    (
        "B13",
        lambda host: ({**host.spec("1"), "image": "shop:1.0"}, ""),
        "image: image must be pinned name@sha256:",
        "found string 'shop:1.0'",
    ),
    (
        "B14",
        lambda host: ({**host.spec("1"), "image": "shop@sha256:12"}, ""),
        "image: bad digest",
        "found string 'shop@sha256:12'",
    ),
    (
        "B15",
        lambda host: (host.spec("1", ABSENT), ""),
        f"image {ABSENT} not on host and no registry set",
        "bake, load or pull shop first",
    ),
    ("B16", lambda host: (host.spec("1", FOREIGN), ""), "image: image is s390x, host ", FOREIGN),
    (
        "B31",
        lambda host: (host.spec("1", web={"resources": {"cpus": 900}}), ""),
        "processes.web.resources.cpus: must not be above the host's",
        "found 900",
    ),
    (
        "B32",
        lambda host: (host.spec("1", NAMED), ""),
        "image: its user 'nosuch' must be numeric, whether its /etc/passwd has it or not",
        "config.user",
    ),
    (
        "B33-unnamed",
        lambda host: (host.spec("1", WORKER), ""),
        "processes.web.command: is required: the image names commands only for worker",
        "found nothing",
    ),
    (
        "B02",
        lambda host: ({}, ""),
        "spec: is empty; it needs at least app, image, processes and load_balancers",
        "found mapping",
    ),
    (
        "B39",
        lambda host: (host.spec("1", network="nosuch"), ""),
        "network: network not found on this host; have cutover",
        "found string 'nosuch'",
    ),
    (
        "B51",
        lambda host: (host.spec("1", ROOTED), ""),
        "image: must run as a non-root user",
        "config.user",
    ),
    (
        "B61",
        lambda host: (host.spec("1"), "previous"),
        "no previous release of shop is kept on this host",
        "nothing to roll back to",
    ),
    (
        "B61-named",
        lambda host: (host.spec("1"), "1.9"),
        "release '1.9' of shop is not kept on this host; kept: none",
        "",
    ),
    (
        "B05-balancer",
        lambda host: (host.spec("1", load_balancers=[{"sockt": "/x"}]), ""),
        "load_balancers[0].sockt: is an unknown option; did you mean socket?",
        "found string 'sockt'",
    ),
    (
        "expect",
        lambda host: (host.spec("1", web={"readiness": {"expect": "a =="}}), ""),
        "processes.web.readiness.expect: not a JMESPath expression",
        "found string 'a =='",
    ),
    (
        "entrypoints",
        lambda host: (host.spec("1", LABELLED), ""),
        f"image {LABELLED}: label immutable.cutover.entrypoints is not JSON",
        "",
    ),
    ("B03", lambda host: ([], ""), "spec: top level must be a mapping", "found list"),  # type: ignore[list-item, return-value]
]


@pytest.mark.parametrize(
    ("ask", "begins", "says"), [pytest.param(*row[1:], id=row[0]) for row in REFUSALS]
)
@pytest.mark.parametrize("call", ["plan", "apply"])
def test_refused_before_anything_changes(
    host: Host, call: str, ask: Ask, begins: str, says: str
) -> None:
    before = host.traces()
    with pytest.raises(CutoverError) as caught:
        getattr(host, call)(*ask(host))
    assert caught.value.message.startswith(begins), caught.value.message
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert host.traces() == before


@pytest.mark.parametrize("call", ["plan", "apply"])
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "A"),
        ({"env": {"A": "1"}}, "DB"),
        ({"env": {"A": "1", "DB_FILES": "/run/db"}}, "DB"),
    ],
)
def test_b06_a_variable_that_the_image_requires_is_refused_by_name(
    host: Host, call: str, given: dict[str, Any], missing: str
) -> None:
    before = host.traces()
    with pytest.raises(InvalidInput) as caught:
        getattr(host, call)(host.spec("1", DEMANDING, **given))
    said = "is required by the image (config.env_required); set it in env or secrets, found nothing"
    assert caught.value.message == f"env.{missing}: {said}"
    assert host.traces() == before


@pytest.mark.parametrize("way", ["value", "file", "secret"])
def test_a_variable_that_the_image_requires_may_be_a_secret(
    host: Host, tmp_path: Path, way: str
) -> None:
    secret = tmp_path / "db"
    secret.write_text("s3cret", encoding="utf-8")
    digest = hashlib.sha256(b"s3cret").hexdigest()
    given: dict[str, dict[str, Any]] = {
        "value": {"env": {"A": "1", "DB": "x"}},
        "file": {"env": {"A": "", "DB_FILE": "/run/db"}},
        "secret": {"env": {"A": "1"}, "secrets": {"DB": {"source": str(secret), "sha256": digest}}},
    }
    assert host.plan(host.spec("1", DEMANDING, **given[way]))["needed"]


def test_what_ran_without_a_variable_may_come_back_without_it(host: Host) -> None:
    host.apply(host.spec("1"))
    host.apply(host.spec("2", OTHER_IMAGE_ID))
    demands = {"immutable.cutover.env-required": "A"}
    host.engine._images[IMAGE_ID] = image(IMAGE_ID, labels=demands)
    assert host.plan(host.spec("2", OTHER_IMAGE_ID), "previous")["version"] == "1"


@pytest.mark.parametrize("call", ["plan", "apply"])
def test_b33_a_command_that_is_not_in_the_image_is_refused(host: Host, call: str) -> None:
    host.engine.programs = {"serve"}
    before = host.traces()
    with pytest.raises(InvalidInput) as caught:
        getattr(host, call)(host.spec("1", web={"command": ["sevre", "--fast"]}))
    said = f"processes.web.command: command not found in image {IMAGE_ID}, or not executable there"
    assert caught.value.message == f"{said}, found string 'sevre'"
    assert host.traces() == before


def test_b33_the_image_is_looked_into_only_for_a_new_release_with_a_command(host: Host) -> None:
    spec = host.spec("1", web={"command": ["serve"]})
    host.plan(host.spec("1"))
    assert host.engine.looks == 0
    host.plan(spec)
    assert host.engine.looks == 1
    host.apply(spec)
    assert host.engine.looks == 2
    host.apply(spec)
    host.plan(spec)
    host.plan({**spec, "version": "1.1"})
    assert host.engine.looks == 2
    host.plan(host.spec("2", OTHER_IMAGE_ID, web={"command": ["serve"]}))
    assert host.engine.looks == 3


def test_a_secret_that_is_not_on_the_host_is_refused_before_anything_changes(host: Host) -> None:
    secret = {"DB": {"source": str(host.state_dir / "nosuch"), "sha256": "0" * 64}}
    before = host.traces()
    with pytest.raises(InvalidInput, match=r"secrets\.DB\.source: must be a file on this host"):
        host.apply(host.spec("1", secrets=secret))
    assert host.traces() == before


def test_a_process_that_still_runs_must_stay_in_the_spec(host: Host) -> None:
    host.apply(host.spec("1"))
    spec = host.spec("2")
    spec["processes"] = {"api": spec["processes"]["web"]}
    with pytest.raises(InvalidInput, match="processes: must keep web: shop-web-.* still runs"):
        host.plan(spec)


def test_b67_a_held_lease_is_an_answer_with_its_holder(host: Host) -> None:
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    lease.acquire(Holder("other", "bob", "ctl2", "7:9"), 600)
    answer = host.apply(host.spec("1"))
    assert (answer["status"], answer["changed"], answer["epoch"]) == ("waiting", False, 1)
    assert answer["message"].startswith("shop: lease held by bob, run other, host ctl2, for ")
    assert answer["holder"]["process"] == "7:9"
    assert host.engine.calls == []
    assert host.apply(host.spec("1"), take_over=1)["status"] == "done"


@pytest.mark.parametrize("name", ["lease.json", "releases/index.json"])
@pytest.mark.parametrize("content", ["", '{"schema": 1, "comp', '{"schema": 4}'])
def test_cr_13_b68_state_that_cannot_be_trusted_is_refused_with_its_path(
    host: Host, name: str, content: str
) -> None:
    host.apply(host.spec("1"))
    path = host.state_dir / "apps" / "shop" / name
    path.write_text(content)
    before = host.traces()
    with pytest.raises(StateError) as caught:
        host.apply(host.spec("2", OTHER_IMAGE_ID))
    assert caught.value.message.startswith(f"{path}: ")
    assert host.traces() == before


def test_deploy_plan_again_and_apply_again(host: Host) -> None:
    spec = host.spec("1", web={"replicas": 2})
    planned = host.plan(spec)
    assert (planned["changed"], planned["needed"]) == (False, True)
    assert planned["capacity"] == {"before": {"web": 0}, "lowest": {"web": 0}, "after": {"web": 2}}
    assert planned["before"] == {}
    assert host.engine.calls == []
    done = host.apply(spec)
    assert (done["status"], done["changed"], done["version"]) == ("done", True, "1")
    assert [item["state"] for item in done["after"]["web"]] == ["serving", "serving"]
    shown = [item["name"] for item in planned["after"]["web"]]
    assert [item["name"] for item in done["after"]["web"]] == shown
    assert host.plan(spec)["needed"] is False
    again = host.apply(spec)
    assert (again["status"], again["changed"], again["actions"]) == ("done", False, [])


def without_addresses(processes: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    rows = {name: [dict(row) for row in rows] for name, rows in processes.items()}
    for row in (row for group in rows.values() for row in group):
        del row["address"]
    return rows


# (id, what runs before, what happens to it, what is wanted)
CHANGES: list[tuple[str, list[Ask], str, Ask]] = [
    ("deploy", [], "", lambda host: (host.spec("1", web={"replicas": 2}), "")),
    (
        "replace",
        [lambda host: (host.spec("1", web={"replicas": 2}), "")],
        "",
        lambda host: (host.spec("2", OTHER_IMAGE_ID, web={"replicas": 2}), ""),
    ),
    (
        "more",
        [lambda host: (host.spec("1"), "")],
        "",
        lambda host: (host.spec("1", web={"replicas": 3}), ""),
    ),
    (
        "fewer",
        [lambda host: (host.spec("1", web={"replicas": 3}), "")],
        "",
        lambda host: (host.spec("1"), ""),
    ),
    (
        "other version of the same release",
        [lambda host: (host.spec("1"), "")],
        "",
        lambda host: (host.spec("1.1", web={"replicas": 2}), ""),
    ),
    (
        "back",
        [lambda host: (host.spec("1"), ""), lambda host: (host.spec("2", OTHER_IMAGE_ID), "")],
        "",
        lambda host: (host.spec("2", OTHER_IMAGE_ID, web={"replicas": 2}), "previous"),
    ),
    (
        "dead",
        [lambda host: (host.spec("1"), "")],
        "crash",
        lambda host: (host.spec("1"), ""),
    ),
    (
        "gone",
        [lambda host: (host.spec("1"), "")],
        "remove",
        lambda host: (host.spec("2", OTHER_IMAGE_ID), ""),
    ),
    ("nothing", [lambda host: (host.spec("1"), "")], "", lambda host: (host.spec("1"), "")),
]


@pytest.mark.parametrize(
    ("before", "event", "wanted"), [pytest.param(*row[1:], id=row[0]) for row in CHANGES]
)
def test_check_mode_shows_what_the_real_run_shows_after(
    host: Host, before: list[Ask], event: str, wanted: Ask
) -> None:
    for ask in before:
        assert host.apply(*ask(host))["status"] == "done"
    for container in host.engine.containers({}) if event else ():
        host.engine.crash(container.name)
        if event == "remove":
            host.engine.remove(container.id)
    planned = host.plan(*wanted(host))
    done = host.apply(*wanted(host))
    assert done["status"] == "done"
    assert planned["before"] == done["before"]
    assert without_addresses(planned["after"]) == without_addresses(done["after"])
    for row in planned["after"]["web"]:
        known = [old for old in planned["before"].get("web", []) if old["name"] == row["name"]]
        stayed = known and event == ""
        assert row["address"] == (known[0]["address"] if stayed else ""), (
            "an address that nobody can know is not made up"
        )


def test_the_lease_is_given_back_when_done_and_when_failed(host: Host) -> None:
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    host.apply(host.spec("1"))
    assert lease.read().holder is None
    host.engine.fail("start", error=EngineError("no space"))
    assert host.apply(host.spec("2", OTHER_IMAGE_ID))["status"] == "failed"
    assert lease.read().holder is None


def test_a_failure_that_is_undone_next_keeps_the_lease(host: Host) -> None:
    host.apply(host.spec("1"))
    failing = host.spec("2", OTHER_IMAGE_ID, web={"readiness": {"path": "/never", "timeout": 1}})
    failed = host.apply(failing, undo_follows=True)
    assert failed["status"] == "failed"
    assert failed["failed_step"]["verb"] == "ready"
    assert failed["error_details"]["probe_history"]
    lease = Lease(str(host.state_dir), "shop", host.rig.clock)
    assert lease.read().holder is not None
    undone = host.apply(failing, "undo", epoch=failed["epoch"])
    assert (undone["status"], undone["version"]) == ("done", "1")
    assert host.serving() == [("serving", IMAGE_ID)]
    assert lease.read().holder is None


def test_undo_of_the_first_deployment_leaves_nothing(host: Host) -> None:
    failing = host.spec("1", web={"readiness": {"path": "/never", "timeout": 1}})
    failed = host.apply(failing, undo_follows=True)
    undone = host.apply(failing, "undo", epoch=failed["epoch"])
    assert (undone["status"], undone["after"], host.serving()) == ("done", {}, [])
    assert host.engine.containers({}) == ()


def test_a_failed_call_gives_its_failure_although_the_lease_is_just_being_looked_at(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run that stands in line has the lock for a moment, just when a failed run gives the lease back."""
    work, threads = Executor.work, []

    def contended(self: Executor, seconds: float) -> Outcome:
        outcome = work(self, seconds)
        locked, lock = threading.Event(), str(host.state_dir / "apps" / "shop" / "lock")

        def hold() -> None:
            with file_lock(lock, shared=False, clock=FakeClock()):
                locked.set()
                threading.Event().wait(0.2)

        threads.append(threading.Thread(target=hold))
        threads[0].start()
        assert locked.wait(10)
        return outcome

    monkeypatch.setattr(Executor, "work", contended)
    host.engine.fail("start", error=EngineError("no space"))
    assert host.apply(host.spec("1"))["error"] == "no space"
    threads[0].join()


def test_back_to_the_previous_release_with_its_configuration(host: Host) -> None:
    host.apply(host.spec("1", env={"COLOUR": "blue"}))
    host.apply(host.spec("2", OTHER_IMAGE_ID, env={"COLOUR": "red"}))
    back = host.apply(host.spec("2", OTHER_IMAGE_ID, web={"replicas": 2}), "previous")
    assert (back["status"], back["version"]) == ("done", "1")
    assert host.serving() == [("serving", IMAGE_ID)] * 2, (
        "the release of then at the scale of today"
    )
    specs = [stored.spec.env["COLOUR"] for stored in host.engine._containers.values()]
    assert specs == ["blue", "blue"]


@pytest.mark.parametrize("named", ["1", IMAGE_ID, f"shop@{IMAGE_ID}"])
def test_back_to_a_named_release(host: Host, named: str) -> None:
    for version, image_id in (("1", IMAGE_ID), ("2", OTHER_IMAGE_ID), ("3", THIRD)):
        host.apply(host.spec(version, image_id))
    assert host.apply(host.spec("3", THIRD), named)["version"] == "1"
    assert host.serving() == [("serving", IMAGE_ID)]


def test_what_is_beyond_retain_goes_with_its_image_and_secrets(host: Host) -> None:
    folder = host.state_dir / "apps" / "shop" / "secrets"
    folder.mkdir(parents=True)

    def secret(name: str) -> dict[str, Any]:
        (folder / name).write_text(name)
        return {"DB": {"source": str(folder / name), "sha256": name[-1] * 64}}

    outside = host.state_dir.parent / "not-ours"
    outside.write_text("x")
    secrets = {
        IMAGE_ID: {**secret("DB-1"), "KEY": {"source": str(outside), "sha256": "0" * 64}},
        OTHER_IMAGE_ID: secret("DB-2"),
        THIRD: secret("DB-2"),
    }
    for version, (image_id, given) in enumerate(secrets.items(), start=1):
        host.apply(host.spec(str(version), image_id, secrets=given, retain=2))
    assert host.engine.image(IMAGE_ID) is None
    assert host.engine.image(OTHER_IMAGE_ID) is not None
    assert sorted(path.name for path in folder.iterdir()) == ["DB-2"]
    assert outside.exists(), "a file that is not ours is never removed"


def test_the_journal_of_a_run_has_a_first_and_a_last_word(host: Host) -> None:
    rows = host.apply(host.spec("1"))["journal"]
    steps = [(row["step"], row["outcome"]) for row in rows]
    assert steps[:2] == [("run", "begin"), ("start", "begin")]
    assert steps[-2:] == [("record", "ok"), ("run", "done")]
    assert {row["version"] for row in rows} == {"1"}
    assert rows[0]["detail"]["image"].endswith(IMAGE_ID)
    assert rows[0]["detail"]["holder"]["user"] == "eve"
    assert rows[0]["detail"]["from"] == {}


def test_a_call_that_is_over_hands_on_what_the_next_one_needs(host: Host) -> None:
    host.apply(host.spec("1"))
    name = host.apply(host.spec("1"))["after"]["web"][0]["name"]
    host.balancer.work(name, 1)
    spec = host.spec("2", OTHER_IMAGE_ID)
    first = host.apply(spec, seconds=0.8)
    assert first["status"] == "more"
    assert set(first["resume"]) == {
        "began",
        "settled",
        "checked",
        "pending",
        "counts",
        "windows",
        "prepared",
    }
    assert list(first["resume"]["began"]) == [f"await:{name}"]
    host.balancer.work(name, 0)
    last = host.apply(spec, resume=first["resume"], epoch=first["epoch"])
    assert (last["status"], host.serving()) == ("done", [("serving", OTHER_IMAGE_ID)])
    assert not any(row["step"] == "confirm" for row in last["journal"]), (
        "what was confirmed stays confirmed"
    )


def test_what_is_not_ours_is_never_touched(host: Host) -> None:
    labels = {"immutable.cutover.app": "blog", "immutable.cutover.process": "web"}
    for name, carried in (("theirs", {}), ("blog-web-01234567-1", labels)):
        host.engine.add(ContainerSpec(name, IMAGE_ID, "cutover", carried, {}, Resources(1, 1, 1)))
        host.balancer.register(name, "10.9.9.9", 80)
    host.apply(host.spec("1"))
    host.apply(host.spec("2", OTHER_IMAGE_ID))
    assert {"theirs", "blog-web-01234567-1"} <= {item.name for item in host.engine.containers({})}
    assert {"theirs", "blog-web-01234567-1"} <= {item.name for item in host.balancer.targets()}
    assert all("shop" in name for _verb, name in host.engine.calls)


def test_the_first_call_returns_the_plan_and_no_later_one(host: Host) -> None:
    wanted = host.spec("1")
    planned = host.plan(wanted)["lines"]
    result = host.apply(wanted, seconds=0)
    assert (result["status"], result["lines"]) == ("more", planned)
    again = host.apply(wanted, epoch=result["epoch"], resume=result["resume"])
    assert (again["status"], again["lines"]) == ("done", [])


def test_a_first_call_with_nothing_to_do_takes_no_lease(host: Host) -> None:
    host.apply(host.spec("1"))
    before = host.traces()
    result = host.apply(host.spec("1"))
    assert (result["status"], result["changed"], result["needed"]) == ("done", False, False)
    assert host.traces() == before


@pytest.mark.parametrize("call", ["plan", "apply"])
def test_ro_17_nothing_is_started_on_a_full_disk(host: Host, call: str) -> None:
    host.apply(host.spec("1", web={"replicas": 2}))
    host.engine.free = 63 << 20
    before = host.traces()
    with pytest.raises(EngineError) as caught:
        getattr(host, call)(host.spec("2", OTHER_IMAGE_ID, web={"replicas": 2}))
    said = "/memory: 63 MB free, starting 2 replicas needs 64 MB; nothing was changed. Make room"
    assert caught.value.message.startswith(said)
    assert host.traces() == before
    assert host.plan(host.spec("1"))["needed"], "what starts nothing needs no room"
    host.engine.free = 64 << 20
    assert host.apply(host.spec("2", OTHER_IMAGE_ID))["status"] == "done"


@pytest.mark.parametrize("verb", ["ready", "await"])
def test_a_wait_over_several_calls_is_told_with_its_whole_time(host: Host, verb: str) -> None:
    host.apply(host.spec("1"))
    web: dict[str, Any] = {"drain": {"timeout": 4}}
    if verb == "ready":
        web = {"readiness": {"path": "/never", "timeout": 4}}
    host.balancer.work(host.rig.world().replicas[0].name, 1)
    spec = host.spec("2", OTHER_IMAGE_ID, web=web)
    result = host.apply(spec, seconds=2)
    while result["status"] == "more":
        result = host.apply(spec, seconds=2, resume=result["resume"], epoch=result["epoch"])
    assert result["failed_step"]["verb"] == verb
    assert " 4 s" in result["error"], result["error"]


def test_who_waited_for_a_run_that_did_the_same_leaves_the_line(host: Host) -> None:
    spec, lease = host.spec("1"), Lease(str(host.state_dir), "shop", SystemClock())
    lease.acquire(Holder("run-0"), 60)
    waits: dict[str, Any] = {"holder": {"run": "run-2"}, "waits": 60}
    assert host.apply(spec, **waits)["status"] == "waiting"
    assert [place.holder.run for place in lease.line()] == ["run-2"]
    assert host.apply(spec, holder={"run": "run-0"})["status"] == "done"
    assert host.apply(spec, **waits)["changed"] is False
    assert lease.line() == ()
