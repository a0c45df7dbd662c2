# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    Fenced,
    LeaseHeld,
    Overtaken,
    Repeated,
    StateError,
    WaitTimeout,
)
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

ALICE = Holder("run-a", "alice", "ctl1", "41:7", "job 5")
BOB = Holder("run-b", "bob", "ctl2")


class Case:
    """One lease and its clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.lease = Lease(str(folder), "shop", self.clock)
        self.file = folder / "apps" / "shop" / "lease.json"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_free_lease_is_taken_renewed_and_given_back(case: Case) -> None:
    assert case.lease.read().holder is None
    taken = case.lease.acquire(ALICE, 60)
    assert (taken.epoch, taken.holder, taken.ttl) == (1, ALICE, 60)
    case.clock.elapsed = 50
    again = case.lease.acquire(ALICE, 90)
    assert (again.epoch, again.acquired, again.renewed, again.ttl) == (
        1,
        taken.acquired,
        taken.renewed + 50,
        90,
    )
    assert case.lease.read() == again
    assert case.lease.release("run-a") is True
    assert case.lease.release("run-a") is False
    assert (case.lease.read().holder, case.lease.read().epoch) == (None, 1)
    assert case.lease.acquire(BOB, 60).epoch == 2


def test_b67_the_refusal_names_the_holder(case: Case) -> None:
    case.lease.acquire(ALICE, 60)
    case.clock.elapsed = 20
    with pytest.raises(LeaseHeld) as caught:
        case.lease.acquire(BOB, 60)
    assert caught.value.message == (
        "shop: lease held by alice, run run-a, host ctl1, job job 5, for 20 s, renewed 20 s ago, expires in 40 s"
    )
    assert caught.value.details["epoch"] == 1
    assert caught.value.details["expires_in"] == 40
    assert caught.value.details["holder"] == {
        "run": "run-a", "user": "alice", "host": "ctl1", "process": "41:7", "job": "job 5", "url": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("elapsed", "free"), [(59, False), (60, False), (61, True), (-59, False), (-3600, True)]
)
def test_an_expired_lease_is_taken_over(case: Case, elapsed: float, free: bool) -> None:
    case.lease.acquire(ALICE, 60)
    case.clock.elapsed = elapsed
    if free:
        assert case.lease.acquire(BOB, 60).epoch == 2
    else:
        with pytest.raises(LeaseHeld):
            case.lease.acquire(BOB, 60)


def test_only_the_named_epoch_is_taken_over(case: Case) -> None:
    case.lease.acquire(ALICE, 60)
    for other in (0, 2, 7):
        with pytest.raises(LeaseHeld):
            case.lease.acquire(BOB, 60, take_over=other)
    assert case.lease.acquire(BOB, 60, take_over=1).epoch == 2
    with pytest.raises(LeaseHeld):
        case.lease.acquire(replace(ALICE, run="run-c"), 60, take_over=1)


def test_cr_03_a_run_that_lost_it_never_takes_it_back(case: Case) -> None:
    epoch = case.lease.acquire(ALICE, 60).epoch
    case.clock.elapsed = 120
    case.lease.acquire(BOB, 60)
    with pytest.raises(
        Fenced, match="fenced: run epoch 1, current epoch 2, held by bob, run run-b"
    ):
        case.lease.acquire(ALICE, 60, epoch=epoch)
    with pytest.raises(Fenced, match="fenced: run epoch 1, current epoch 2, held by bob"):
        case.lease.renew("run-a", 60, 1)
    case.lease.release("run-b")
    with pytest.raises(Fenced, match="fenced: run epoch 1, current epoch 2, given back since"):
        case.lease.acquire(ALICE, 60, epoch=epoch)
    with pytest.raises(Fenced):
        case.lease.renew("run-a", 60, 1)
    assert case.lease.release("run-a") is False
    assert case.lease.read().epoch == 2


def test_the_same_run_goes_on_with_its_epoch(case: Case) -> None:
    epoch = case.lease.acquire(ALICE, 60).epoch
    assert case.lease.acquire(ALICE, 60, epoch=epoch).epoch == epoch


def test_cr_05_the_last_call_of_a_run_is_the_one_that_acts(case: Case, tmp_path: Path) -> None:
    """Ansible makes a call again when the connection was lost; the first one still works on the host."""
    first, again = case.lease, Lease(str(tmp_path), "shop", case.clock)
    epoch = first.acquire(ALICE, 60).epoch
    with first.guard(epoch), pytest.raises(WaitTimeout):
        again.acquire(ALICE, 60)  # not in the middle of a step
    assert again.acquire(ALICE, 60).epoch == epoch
    for act in (first.guard(epoch).__enter__, lambda: first.renew("run-a", 60, epoch)):
        with pytest.raises(Repeated, match="epoch 1, a later call of the same run works now"):
            act()
    assert first.release("run-a") is False
    with again.guard(epoch):
        again.renew("run-a", 60, epoch)
    assert again.release("run-a") is True
    with pytest.raises(Repeated):
        first.guard(epoch).__enter__()
    assert case.lease.read().call == again.read().call != ""


def test_cr_05_a_repeated_call_is_fenced_by_another_run_as_any(case: Case, tmp_path: Path) -> None:
    epoch = case.lease.acquire(ALICE, 60).epoch
    Lease(str(tmp_path), "shop", case.clock).acquire(BOB, 60, take_over=epoch)
    with pytest.raises(Fenced, match="current epoch 2, held by bob") as caught:
        case.lease.guard(epoch).__enter__()
    assert not isinstance(caught.value, Repeated)


def test_a_lease_of_before_calls_had_names_is_read(case: Case) -> None:
    case.lease.acquire(ALICE, 60)
    data = json.loads(case.file.read_text())
    del data["call"]
    case.file.write_text(json.dumps(data))
    assert case.lease.read().call == ""
    assert case.lease.acquire(ALICE, 60, epoch=1).epoch == 1


def test_renewing_keeps_it(case: Case) -> None:
    case.lease.acquire(ALICE, 60)
    for _turn in range(5):
        case.clock.elapsed += 50
        case.lease.renew("run-a", 60, 1)
    with pytest.raises(LeaseHeld):
        case.lease.acquire(BOB, 60)


def test_cr_02_a_step_of_an_older_epoch_is_refused(case: Case) -> None:
    old = case.lease.acquire(ALICE, 60).epoch
    with case.lease.guard(old):
        pass
    new = case.lease.acquire(BOB, 60, take_over=old).epoch
    acted = []
    with pytest.raises(Fenced), case.lease.guard(old):
        acted.append(old)
    with case.lease.guard(new):
        acted.append(new)
    case.lease.release("run-b")
    with pytest.raises(Fenced), case.lease.guard(new):
        acted.append(0)
    assert acted == [new]


def test_nobody_takes_over_in_the_middle_of_a_step(case: Case) -> None:
    epoch = case.lease.acquire(ALICE, 60).epoch
    with case.lease.guard(epoch):
        with case.lease.guard(epoch):  # another thread's step
            case.lease.renew("run-a", 60, 1)
        with pytest.raises(WaitTimeout, match="a step of another run holds this lock"):
            case.lease.acquire(BOB, 60, take_over=epoch)
        with pytest.raises(WaitTimeout):
            case.lease.release("run-a")
    assert case.lease.acquire(BOB, 60, take_over=epoch).epoch == 2


def test_a_step_that_ends_lets_the_next_holder_in(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path), "shop", SystemClock())
    epoch = lease.acquire(ALICE, 60).epoch
    order: list[str] = []
    entered = threading.Event()

    def step() -> None:
        with lease.guard(epoch):
            entered.set()
            SystemClock().sleep(0.2)
            order.append("step")

    thread = threading.Thread(target=step)
    thread.start()
    assert entered.wait(10)
    lease.acquire(BOB, 60, take_over=epoch)
    order.append("taken over")
    thread.join()
    assert order == ["step", "taken over"]


def test_cr_06_of_eight_processes_exactly_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()
    start = context.Event()

    def acquire(number: int) -> None:
        start.wait()
        try:
            state = Lease(str(tmp_path), "shop", SystemClock()).acquire(Holder(f"run-{number}"), 60)
            answers.put(("got", number, state.epoch))
        except LeaseHeld as error:
            answers.put(("held", number, error.message))

    processes = [context.Process(target=acquire, args=(number,)) for number in range(8)]
    for process in processes:
        process.start()
    start.set()
    found = [answers.get(timeout=30) for _process in processes]
    for process in processes:
        process.join()
    got = [item for item in found if item[0] == "got"]
    assert [item[2] for item in got] == [1]
    assert all(f"held by run run-{got[0][1]}," in item[2] for item in found if item[0] == "held")


def test_cr_08_a_killed_holder_is_taken_over_without_any_unlocking(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    inside = context.Event()

    def hold() -> None:
        lease = Lease(str(tmp_path), "shop", SystemClock())
        with lease.guard(lease.acquire(ALICE, 60).epoch):
            inside.set()
            context.Event().wait()

    process = context.Process(target=hold)
    process.start()
    assert inside.wait(20)
    process.kill()
    process.join()
    lease = Lease(str(tmp_path), "shop", SystemClock())
    assert lease.acquire(BOB, 60, take_over=1).epoch == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"epoch": "1"},
        {"epoch": None},
        {"holder": "alice"},
        {"renewed": None},
        {"ttl": "60"},
        {"acquired": []},
    ],
)
def test_cr_13_a_damaged_lease_is_refused_and_not_guessed(
    case: Case, damage: dict[str, object]
) -> None:
    case.lease.acquire(ALICE, 60)
    content = json.dumps({**json.loads(case.file.read_text()), **damage})
    case.file.write_text(content)
    for act in (case.lease.read, lambda: case.lease.acquire(BOB, 60, take_over=1)):
        with pytest.raises(StateError, match=r"lease\.json: is damaged; nothing was changed"):
            act()
    with pytest.raises(StateError), case.lease.guard(1):
        pass
    assert case.file.read_text() == content


def test_b68_a_lease_of_a_newer_version_is_refused(case: Case) -> None:
    case.lease.acquire(ALICE, 60)
    case.file.write_text(json.dumps({**json.loads(case.file.read_text()), "schema": 4}))
    with pytest.raises(StateError, match="state schema 4, this collection knows <= 1"):
        case.lease.acquire(ALICE, 60)


def test_cr_09_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "shop").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="is not a plain folder"):
        Lease(str(tmp_path), "shop", FakeClock()).acquire(ALICE, 60)
    assert list((tmp_path / "elsewhere").iterdir()) == []


WHO = st.sampled_from([ALICE, BOB, Holder("run-c")])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["acquire", "over", "renew", "release", "wait"]), WHO),
        max_size=12,
    )
)
def test_the_epoch_only_grows_and_grows_with_every_new_holder(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, Holder]]
) -> None:
    case = Case(tmp_path_factory.mktemp("lease"))
    before = case.lease.acquire(ALICE, 60)
    for act, holder in acts:
        try:
            if act == "wait":
                case.clock.elapsed += 45
            elif act == "renew":
                case.lease.renew(holder.run, 60, before.epoch)
            elif act == "release":
                case.lease.release(holder.run)
            else:
                case.lease.acquire(holder, 60, take_over=before.epoch if act == "over" else 0)
        except (LeaseHeld, Fenced):
            assert case.lease.read() == before
        after = case.lease.read()
        changed_hands = after.holder not in (None, before.holder)
        assert after.epoch == before.epoch + changed_hands
        before = after


CAROL, DAVE = Holder("run-c", "carol"), Holder("run-d", "dave", "ctl1", "9:9")


def refused(case: Case, holder: Holder, **more: Any) -> LeaseHeld:
    with pytest.raises(LeaseHeld) as caught:
        case.lease.acquire(holder, 60, **more)
    return caught.value


def test_b67_who_waits_is_served_in_the_order_of_coming(case: Case) -> None:
    case.lease.acquire(ALICE, 600)
    for holder in (BOB, CAROL, DAVE):
        refused(case, holder, waits=900)
        case.clock.elapsed += 1
    assert [place.holder for place in case.lease.line()] == [BOB, CAROL, DAVE]
    case.lease.release("run-a")
    late = refused(case, DAVE, waits=900)
    assert late.message == (
        "shop: lease free; in line before this run: bob, run run-b, host ctl2; carol, run run-c"
    )
    assert (late.details["holder"], late.details["expires_in"]) == (None, 0)
    ahead: Any = late.details["ahead"]
    assert [place["run"] for place in ahead] == ["run-b", "run-c"]
    assert case.lease.acquire(BOB, 60).epoch == 2
    assert [place.holder for place in case.lease.line()] == [CAROL, DAVE]


def test_who_does_not_wait_neither_stands_in_line_nor_overtakes(case: Case) -> None:
    case.lease.acquire(ALICE, 600)
    refused(case, BOB, waits=900)
    case.lease.release("run-a")
    assert "in line before this run: bob" in refused(case, CAROL).message
    assert [place.holder for place in case.lease.line()] == [BOB]


@pytest.mark.parametrize(
    ("waits", "elapsed", "gone"),
    [
        pytest.param(900, 21, (), id="not-asked-again"),
        pytest.param(5, 6, (), id="its-time-is-over"),
        pytest.param(900, -3600, (), id="clock-set-back"),
        pytest.param(900, 0, ("run-b",), id="known-to-be-dead"),
    ],
)
def test_a_place_of_somebody_who_is_gone_is_given_up(
    case: Case, waits: float, elapsed: float, gone: tuple[str, ...]
) -> None:
    case.lease.acquire(ALICE, 7200)
    refused(case, BOB, waits=waits)
    case.lease.release("run-a")
    case.clock.elapsed += elapsed
    assert case.lease.acquire(CAROL, 60, gone=gone).holder == CAROL


@pytest.mark.parametrize("waits", [900, 0])
def test_ro_10_who_has_to_decide_again_gets_no_lease_and_keeps_its_place(
    case: Case, waits: float
) -> None:
    case.lease.acquire(ALICE, 600)
    for holder in (BOB, CAROL):
        refused(case, holder, waits=900)
        case.clock.elapsed += 1
    case.lease.release("run-a")
    before = case.file.read_bytes()
    with pytest.raises(Overtaken, match="another run of shop came in between: looking again"):
        case.lease.acquire(BOB, 60, waits=waits, still=lambda: False)
    assert case.file.read_bytes() == before
    expected = [BOB, CAROL] if waits else [CAROL]
    assert [place.holder for place in case.lease.line()] == expected
    assert case.lease.acquire(expected[0], 60, waits=900, still=lambda: True).epoch == 2


def test_nothing_is_left_of_the_line_when_the_last_one_had_its_turn(case: Case) -> None:
    case.lease.acquire(ALICE, 600)
    refused(case, BOB, waits=900)
    case.lease.release("run-a")
    case.lease.acquire(BOB, 60)
    assert sorted(path.name for path in case.file.parent.iterdir()) == ["lease.json", "lock"]


def test_who_has_not_got_it_gives_nothing_back_and_waits_for_no_step(case: Case) -> None:
    case.lease.acquire(ALICE, 600)
    with case.lease.guard(1):
        began = case.clock.elapsed
        assert case.lease.release("run-b") is False
        assert case.clock.elapsed == began


def test_who_has_nothing_left_to_do_leaves_the_line(case: Case) -> None:
    case.lease.leave(BOB.run)
    assert not case.file.exists()
    case.lease.acquire(ALICE, 600)
    for holder in (BOB, CAROL, DAVE):
        refused(case, holder, waits=900)
        case.clock.elapsed += 1
    case.lease.leave(CAROL.run)
    assert [place.holder for place in case.lease.line()] == [BOB, DAVE]


def test_a_takeover_keeps_to_the_line(case: Case) -> None:
    case.lease.acquire(DAVE, 600)
    refused(case, BOB, waits=900)
    held = refused(case, CAROL, take_over=1)
    assert held.message.startswith("shop: lease free; in line before this run: bob")
    assert case.lease.acquire(BOB, 60, take_over=1).epoch == 2


def test_cr_13_a_line_that_cannot_be_trusted_is_refused_with_its_path(case: Case) -> None:
    case.lease.acquire(ALICE, 600)
    path = case.file.with_name("line.json")
    path.write_text('{"schema": 4}')
    with pytest.raises(StateError, match=r"line\.json: state schema 4"):
        case.lease.acquire(BOB, 60)


def test_the_holder_is_shown_with_person_host_and_job_link() -> None:
    holder = Holder("r1", "ann", "ctl1", "1:2", "41", "https://awx.example/#/jobs/playbook/41")
    shown = "ann, run r1, host ctl1, job 41 (https://awx.example/#/jobs/playbook/41)"
    assert str(holder) == shown
