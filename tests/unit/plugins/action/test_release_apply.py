# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side: which calls are made with what, what is told meanwhile, and what comes out."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import (
    AnsibleActionFail,
    AnsibleAuthenticationFailure,
    AnsibleConnectionFailure,
)
from ansible.playbook.task import Task

from ansible_collections.immutable.cutover.plugins.action import release_apply
from ansible_collections.immutable.cutover.plugins.action.release_apply import (
    ActionModule,
    _gather,
    _holder,
    _process_identity,
)
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock
from ansible_collections.immutable.cutover.tests.unit.support.processes import ended_process

Answer = dict[str, Any]
SPEC = {"app": "shop"}


class Scripted(ActionModule):
    """The action with a module that gives prepared answers, in order."""

    answers: list[Answer]
    calls: list[dict[str, Any]]
    said: list[str]
    known: list[int]
    """How much was said before each call."""

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> Answer:
        turn = dict(module_args.get("turn") or {})
        self.calls.append({**module_args, "turn": turn, "module": module_name})
        self.known.append(len(self.said))
        if "raises" in self.answers[0]:
            raise self.answers.pop(0)["raises"]
        return {"invocation": {"module_args": "not for anybody"}, **self.answers.pop(0)}


Run = Callable[..., tuple[Answer, Scripted]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    clock = FakeClock()
    monkeypatch.setattr(release_apply, "SystemClock", lambda: clock)

    def make(
        *answers: Answer,
        check: bool = False,
        variables: Any = None,
        said: list[str] | None = None,
        **options: Any,
    ) -> Any:
        arguments = {"spec": SPEC, **options}
        task = Task()
        task.action, task.args, task.check_mode = release_apply.MODULE, arguments, check
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
        action = Scripted(task, connection, None, None, None, None)
        action.answers, action.calls, action.known = list(answers), [], []
        action.said = [] if said is None else said
        action._display = SimpleNamespace(display=action.said.append)
        action.clock = clock
        result = action.run(None, {"inventory_hostname": "h1", **(variables or {})})
        assert action.answers == [], "an answer that nobody asked for"
        return result, action

    return make


def answer(status: str = "done", **more: Any) -> Answer:
    return {
        "status": status,
        "changed": True,
        "app": "shop",
        "release": "0123abcd",
        "version": "2",
        "epoch": 4,
        "actions": [f"act {status}"],
        "progress": ["web 1/2 replaced"],
        "before": {"web": "old"},
        "after": {"web": "new"},
        "journal": [{"step": status}],
        "resume": {"began": {"await:x": 1.5}},
        **more,
    }


def failed(verb: str = "ready", **more: Any) -> Answer:
    step = {"verb": verb, "replica": "shop-web-0123abcd-1"}
    options = {"error": "never ready", "failed_step": step, "worth_undoing": True, **more}
    return answer("failed", **options)


def waiting(
    epoch: int = 3, process: str = "", host: str = "", expires_in: float = 9, **more: Any
) -> Answer:
    return {
        **more,
        "status": "waiting",
        "changed": False,
        "message": "shop: lease held by bob",
        "epoch": epoch,
        "holder": {"run": "other", "process": process, "host": host},
        "expires_in": expires_in,
    }


def test_what_a_workflow_gets(run: Run) -> None:
    after = {"web": [{"state": "serving"}, {"state": "dead"}]}
    result, _action = run(answer(after=after, image="shop@sha256:1", image_id="sha256:1"))
    left = result["ansible_stats"]
    mine = {
        "app": "shop",
        "release": "0123abcd",
        "version": "2",
        "image": "shop@sha256:1",
        "image_id": "sha256:1",
        "status": "done",
        "changed": True,
        "rolled_back": False,
        "seconds": 0.0,
        "replicas": {"web": 1},
        "message": "",
    }
    assert left["data"] == {"immutable_cutover": {"schema": 1, **mine, "hosts": {"h1": mine}}}
    assert (left["per_host"], left["aggregate"]) == (False, True)


def test_what_a_workflow_gets_of_a_run_that_was_rolled_back(run: Run) -> None:
    result, _action = run(failed(after={}), answer("done", after={"web": [{"state": "serving"}]}))
    left = result["ansible_stats"]["data"]["immutable_cutover"]
    assert (left["status"], left["rolled_back"], left["replicas"]) == ("failed", True, {"web": 1})
    assert left["message"] == result["msg"]


BUSY = {"kind": "drain_timeout"}
# (id, verb, error_details, undoes, what the message says)
NEXT: list[tuple[str, str, dict[str, Any], bool, str]] = [
    ("drain-timeout", "await", BUSY, False, "what is busy goes on draining and running; run the"),
    ("comes-up", "ready", {}, False, "what came up is left as it is; run replace again to go on"),
    ("destroy", "destroy", {}, False, "what was done stays; run the same playbook again to go on"),
    ("log", "ready", {"log": ["a", "boom: why", " "]}, True, "; its log ends with: boom: why. "),
]


@pytest.mark.parametrize(
    ("verb", "details", "stops", "says"), [pytest.param(*entry[1:], id=entry[0]) for entry in NEXT]
)
def test_a_failure_says_what_is_left_and_what_to_do_next(
    run: Run, verb: str, details: dict[str, Any], stops: bool, says: str
) -> None:
    spec = {**SPEC, "strategy": {"on_failure": "stop"}}
    result, _action = run(failed(verb, error_details=details, worth_undoing=stops), spec=spec)
    assert says in result["msg"], result["msg"]


def test_a_run_that_has_failed_ends_as_it_did(run: Run) -> None:
    ended = {"msg": "ready failed: why", "failed": False, "status": "failed", "changed": True}
    result, action = run(
        turn={"ended": {**ended, "failed_when_result": False, "ansible_stats": {}}}
    )
    assert result == {**ended, "failed": True}
    assert action.calls == []


def test_done_at_once(run: Run) -> None:
    result, action = run(answer())
    assert (result["status"], result["changed"], result.get("failed")) == ("done", True, None)
    assert result["diff"] == {"before": {"web": "old"}, "after": {"web": "new"}}
    assert {"resume", "progress", "invocation"} & set(result) == set()
    call = action.calls[0]
    assert (call["module"], call["to"], call["spec"]) == (
        "immutable.cutover.release_apply",
        "",
        SPEC,
    )
    turn = call["turn"]
    assert (turn["epoch"], turn["ttl"], turn["undo_follows"], turn.get("take_over")) == (
        0,
        60,
        True,
        None,
    )
    assert turn["holder"]["host"] == socket.gethostname()


def test_more_is_gone_on_with_and_gathered(run: Run) -> None:
    more = answer("more", before={"web": "first"})
    result, action = run(more, answer("more", changed=False), answer("done", changed=False))
    assert [call["turn"].get("resume") for call in action.calls] == [
        None,
        more["resume"],
        more["resume"],
    ]
    assert [call["turn"]["epoch"] for call in action.calls] == [0, 4, 4]
    seconds = [call["turn"]["seconds"] for call in action.calls]
    assert seconds == [6, 8, 8]
    assert len({call["turn"]["holder"]["run"] for call in action.calls}) == 1
    assert (result["before"], result["after"], result["changed"]) == (
        {"web": "first"},
        {"web": "new"},
        True,
    )
    assert result["actions"] == ["act more", "act more", "act done"]
    assert result["journal"] == [{"step": "more"}, {"step": "more"}, {"step": "done"}]
    assert action.said == ["[h1] web 1/2 replaced"] * 2


def test_the_plan_is_shown_before_the_first_progress_and_kept(run: Run) -> None:
    plan = ["release x", "  1. b1: start"]
    result, action = run(answer("more", lines=plan), answer("done", lines=[]))
    assert action.said == ["[h1] release x", "[h1]   1. b1: start", "[h1] web 1/2 replaced"]
    assert result["lines"] == plan


@pytest.mark.parametrize("to", ["recover", "finish", "undo"])
def test_cr_08_a_recovery_is_shown_before_any_of_it_is_done(run: Run, to: str) -> None:
    plan = ["undo release x: back to y", "  1. b1: destroy"]
    planned = {"changed": False, "needed": True, "lines": plan, "before": {}, "after": {}}
    result, action = run(planned, answer("more", lines=plan), answer("done", lines=[]), to=to)
    assert [call["turn"].get("plan", False) for call in action.calls] == [True, False, False]
    assert {call["to"] for call in action.calls} == {to}
    assert action.known == [0, 2, 3]
    told = [f"[h1] {line}" for line in plan]
    assert action.said == [*told, "[h1] web 1/2 replaced"], "and once"
    assert (result["status"], result["lines"]) == ("done", plan)


def test_a_recovery_that_another_run_has_made_another_is_shown_again(run: Run) -> None:
    planned = {"needed": True, "lines": ["undo release x"]}
    _result, action = run(planned, answer(lines=["put y in order"]), to="recover")
    assert action.said == ["[h1] undo release x", "[h1] put y in order"]


def test_a_recovery_that_is_refused_does_nothing(run: Run) -> None:
    refused = {"failed": True, "msg": "release x of shop waits at gate approval"}
    result, action = run(refused, to="recover")
    assert (result["failed"], result["status"], len(action.calls)) == (True, "failed", 1)


def test_no_call_works_longer_than_leaves_time_to_say_so_every_ten_seconds(run: Run) -> None:
    _result, action = run(*[answer("more")] * 6, answer())
    assert max(call["turn"]["seconds"] for call in action.calls) == 8


def test_a_dead_holder_is_taken_over_from_at_once(run: Run) -> None:
    process = ended_process()
    result, action = run(waiting(7, process, socket.gethostname()), answer())
    assert result["status"] == "done"
    assert action.calls[1]["turn"]["take_over"] == 7
    assert action.clock.sleeps == []
    assert action.said == ["[h1] shop: lease held by bob; that process is dead, taking over"]


def test_a_living_holder_is_waited_for(run: Run) -> None:
    alive = _process_identity(os.getpid())
    result, action = run(
        waiting(7, alive, socket.gethostname()),
        waiting(7, "1:1", "elsewhere"),
        answer(),
        lease={"wait": 60},
    )
    assert result["status"] == "done"
    assert [call["turn"].get("take_over") for call in action.calls] == [None, 0, 0]
    assert action.clock.sleeps == [2, 2]
    assert action.said == ["[h1] waiting: shop: lease held by bob"] * 2


def test_ro_10_what_another_run_has_changed_meanwhile_is_decided_again_without_a_wait(
    run: Run,
) -> None:
    again = {"status": "again", "changed": False, "message": "another run of shop came in between"}
    result, action = run(again, answer(), lease={"wait": 0})
    assert (result["status"], len(action.calls)) == ("done", 2)
    assert action.calls[0] == action.calls[1]
    assert action.clock.sleeps == []
    assert action.said[0] == "[h1] another run of shop came in between"


def test_a_dead_run_in_line_is_passed_over_at_once(run: Run) -> None:
    dead, here = ended_process(), socket.gethostname()
    places = [
        {"run": "gone", "process": dead, "host": here},
        {"run": "alive", "process": _process_identity(os.getpid()), "host": here},
    ]
    result, action = run(waiting(ahead=places), waiting(ahead=places[1:]), answer())
    assert result["status"] == "done"
    assert [call["turn"].get("gone") for call in action.calls] == [None, ["gone"], []]
    assert action.clock.sleeps == [2]
    assert action.said[0].endswith("; dead and passed over: gone")


def test_it_says_how_long_it_will_go_on_asking(run: Run) -> None:
    _result, action = run(waiting(), waiting(), answer(), lease={"wait": 60})
    assert [call["turn"]["waits"] for call in action.calls] == [60, 60, 58]


def test_b67_without_a_wait_it_is_refused_at_once(run: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="lease held by bob; nothing was changed"):
        run(waiting(), lease={"wait": 0})


def test_b67_it_gives_up_after_its_wait_and_says_who_holds_it(run: Run) -> None:
    with pytest.raises(
        AnsibleActionFail, match="lease held by bob; gave up after 5 s, nothing was changed"
    ):
        run(*[waiting()] * 4, lease={"wait": 5})


def test_a_failure_while_coming_up_is_undone_under_the_same_lease(run: Run) -> None:
    result, action = run(failed(), answer("done", release="old1", journal=[{"step": "undo"}]))
    assert [call["to"] for call in action.calls] == ["", "undo"]
    turns = [call["turn"] for call in action.calls]
    assert [turn["undo_follows"] for turn in turns] == [True, False]
    assert [turn["epoch"] for turn in turns] == [0, 4]
    assert turns[0]["holder"] == turns[1]["holder"]
    assert [turn["undoes"] for turn in turns] == ["", "ready failed: never ready"]
    assert "resume" not in turns[1], "the waits of the undo have their whole time"
    assert (result["failed"], result["rolled_back"]) == (True, True)
    assert result["journal"] == [{"step": "failed"}, {"step": "undo"}]
    assert result["actions"] == ["act failed", "act done"]
    assert result["msg"] == (
        "ready failed: never ready; rolled back: release old1 serves again. "
        "Next: see error_details and the playbook history"
    )
    assert result["failed_step"]["verb"] == "ready"
    assert action.said[0].startswith("[h1] ready failed: never ready; going back to the last")


def test_undoing_the_first_deployment_says_that_nothing_is_left(run: Run) -> None:
    result, _action = run(failed(), answer("done", after={}))
    assert "; rolled back: nothing of it is left. Next: " in result["msg"]
    assert result["after"] == {}


def test_an_undo_that_fails_too_is_told(run: Run) -> None:
    result, _action = run(failed(), failed("start", error="no space"))
    assert (result["failed"], result["rolled_back"]) == (True, False)
    assert (
        "going back failed too: start failed: no space; run the same playbook again"
        in result["msg"]
    )


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"worth_undoing": False, "verb": "await"}, {}),
        ({}, {"spec": {**SPEC, "strategy": {"on_failure": "stop"}}}),
    ],
)
def test_what_is_not_undone(run: Run, options: dict[str, Any], given: dict[str, Any]) -> None:
    result, action = run(failed(**options), **given)
    assert (result["failed"], "rolled_back" in result, len(action.calls)) == (True, False, 1)
    assert action.calls[0]["turn"]["undo_follows"] is (not given)


def test_a_module_that_fails_itself_loses_nothing_that_was_done_before(run: Run) -> None:
    result, action = run(answer("more"), {"failed": True, "msg": "fenced: run epoch 4"})
    assert (result["failed"], result["status"], result["changed"]) == (True, "failed", True)
    assert result["msg"] == "fenced: run epoch 4. Next: the playbook status shows who deploys now"
    assert result["actions"] == ["act more"]
    assert len(action.calls) == 2, "a lost lease is not undone"


def test_a_failure_without_a_step_is_told_as_it_is(run: Run) -> None:
    result, _action = run(failed(failed_step={}, worth_undoing=False, error="docker: refused"))
    assert result["msg"] == "docker: refused"


def test_an_orphan_makes_no_call(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_apply, "_controller", lambda: 1 if os.getppid() != 1 else 2)
    with pytest.raises(
        AnsibleActionFail, match="controller process is gone; this worker changes nothing"
    ):
        run()


@pytest.mark.parametrize(
    ("check", "failure", "told"),
    [
        (False, AnsibleConnectionFailure, 1),
        (False, AnsibleAuthenticationFailure, 0),
        (True, AnsibleConnectionFailure, 0),
    ],
)
def test_cr_05_a_lost_host_is_unreachable_and_what_that_means_is_told(
    run: Run, check: bool, failure: type[Exception], told: int
) -> None:
    said: list[str] = []
    with pytest.raises(failure, match="timed out"):
        run({"raises": failure("timed out")}, check=check, said=said)
    assert len(said) == told
    assert all("[h1] the host cannot be reached any more" in line for line in said)


def test_check_mode_plans_and_shows(run: Run) -> None:
    planned = {
        "changed": False, "needed": True, "lines": ["release x", "  1. b1: start"], "before": {}, "after": {"web": 1},
    }  # fmt: skip
    result, action = run(planned, check=True)
    assert (result["changed"], result["status"]) == (True, "planned")
    assert result["diff"] == [
        {"prepared": "release x\n  1. b1: start\n"},
        {"before": {}, "after": {"web": 1}},
    ]
    assert action.calls[0]["turn"] == {"plan": True}
    assert action.said == ["[h1] release x", "[h1]   1. b1: start"]


def test_check_mode_hands_a_refusal_on(run: Run) -> None:
    refused = {"failed": True, "msg": "app: is required"}
    assert run(refused, check=True)[0]["msg"] == "app: is required"


def test_gather_keeps_the_first_before_and_the_last_after() -> None:
    total: Answer = {"changed": False, "actions": [], "journal": []}
    _gather(total, answer("more", before={"n": 1}, after={"n": 2}, changed=False))
    _gather(total, answer("done", before={"n": 2}, after={"n": 3}, changed=False))
    assert (total["before"], total["after"], total["changed"]) == ({"n": 1}, {"n": 3}, False)
    assert total["status"] == "done"


def test_the_job_has_a_link_where_awx_says_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWX_HOST", "https://awx.example/")
    assert _holder({"awx_job_id": 12}, 1)["url"] == "https://awx.example/#/jobs/playbook/12"
    assert _holder({}, 1)["url"] == ""
    monkeypatch.delenv("AWX_HOST")
    assert _holder({"awx_job_id": 12}, 1)["url"] == ""


def test_the_holder_names_job_and_user_where_awx_says_them() -> None:
    plain, awx = (
        _holder({}, os.getpid()),
        _holder({"awx_job_id": 12, "awx_user_name": "ann"}, os.getpid()),
    )
    tower = _holder({"tower_job_id": 13, "tower_user_name": "tom"}, os.getpid())
    assert (plain["job"], plain["process"]) == ("", _process_identity(os.getpid()))
    assert plain["user"]
    assert (awx["job"], awx["user"]) == ("12", "ann")
    assert (tower["job"], tower["user"]) == ("13", "tom")
    assert len({plain["run"], awx["run"], tower["run"]}) == 3


def gate(status: str, kind: str, seconds: float = 0) -> Answer:
    return answer(status, hold={"gate": kind, "kind": kind, "seconds": seconds})


def test_held_ends_well_and_says_how_to_go_on(run: Run) -> None:
    rows = [
        {"release": release, "state": state, "address": f"10.0.0.{number}:80"}
        for number, (release, state) in enumerate(
            [("0123abcd", "standby"), ("0123abcd", "serving"), ("old", "standby")]
        )
    ]
    result, action = run({**gate("held", "approval"), "after": {"web": rows}})
    assert (result["status"], result.get("failed")) == ("held", None)
    assert action.said[-1] == "[h1] its replicas without traffic: 10.0.0.0:80"
    assert action.said[-2] == (
        "[h1] release 0123abcd is held at gate approval; run the playbook promote to go on, or abort to go back"
    )


def test_what_was_replaced_is_waited_for_without_the_lease_and_taken_away(run: Run) -> None:
    result, action = run(
        {**gate("delayed", "delay", 20), "resume": {"settled": ["b1"]}},
        answer(actions=["destroy a1"]),
    )
    assert (result["status"], result["changed"]) == ("done", True)
    assert result["actions"] == ["act delayed", "destroy a1"]
    assert result["journal"] == [{"step": "delayed"}, {"step": "done"}]
    told = [line for line in action.said if "is kept for" in line]
    assert len(told) == 3, "at least every 10 seconds"
    assert action.clock.monotonic() >= 20
    turns = [call["turn"] for call in action.calls]
    assert [turn["retires"] for turn in turns] == ["", "0123abcd"]
    assert turns[1]["epoch"] == 0, "the lease is taken anew"
    assert turns[1]["resume"] == {"settled": ["b1"]}, "and nobody is waited for again"


def test_another_run_that_has_the_lease_takes_away_what_was_replaced(run: Run) -> None:
    result, action = run(gate("delayed", "delay", 1), waiting())
    assert (result["status"], result.get("failed"), result["changed"]) == ("done", None, True)
    assert action.said[-1] == (
        "[h1] shop: lease held by bob; that run takes away what 0123abcd replaced"
    )


def test_a_failure_to_take_it_away_fails_and_is_not_undone(run: Run) -> None:
    result, action = run(gate("delayed", "delay", 1), failed("destroy", worth_undoing=True))
    assert result["failed"] and result["msg"].startswith("destroy failed: never ready. Next: ")
    assert len(action.calls) == 2


def test_a_held_release_is_aborted_first(run: Run) -> None:
    held = {
        "changed": False,
        "status": "abort_first",
        "held": {"release": "a1", "held": "approval"},
    }
    result, action = run(held, answer(actions=["destroy a1"]), answer(actions=["start b1"]))
    assert [call.get("to") for call in action.calls] == ["", "abort", ""]
    assert [call.get("approved") for call in action.calls] == [None, "a1", None]
    assert result["actions"] == ["destroy a1", "start b1"]
    assert "[h1] release a1 is held at gate approval: it is aborted first" in action.said


def test_a_release_that_was_left_half_way_is_aborted_first(run: Run) -> None:
    left = {"changed": False, "status": "abort_first", "held": {"release": "a1", "held": ""}}
    _result, action = run(left, answer(), answer())
    assert [call.get("to") for call in action.calls] == ["", "abort", ""]
    holders = [call["turn"]["holder"]["run"] for call in action.calls]
    assert len(set(holders)) == 1, "it keeps the lease in between"
    assert "[h1] release a1 was left half way, with traffic: it is aborted first" in action.said


def test_ro_10_what_another_run_has_held_since_is_aborted_by_its_own_name(run: Run) -> None:
    first, second = (
        {"changed": False, "status": "abort_first", "held": {"release": name, "held": "approval"}}
        for name in ("a1", "a2")
    )
    result, action = run(first, answer(changed=False), second, answer(), answer())
    assert result["status"] == "done"
    assert [call.get("approved") for call in action.calls] == [None, "a1", None, "a2", None]


HELD = {
    "changed": False,
    "status": "waiting",
    "message": "release a1, held at gate approval: promote or abort it",
    "epoch": 0,
    "expires_in": 900.0,
}


def test_a_new_release_waits_for_a_held_one(run: Run) -> None:
    result, action = run(HELD, HELD, answer())
    assert (result["status"], len(action.calls)) == ("done", 3)
    assert action.said.count(f"[h1] waiting: {HELD['message']}") == 2


def test_a_new_release_waits_for_a_held_one_as_long_as_for_the_lease(run: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="promote or abort it; gave up after 3 s, nothing"):
        run(HELD, HELD, HELD, lease={"wait": 3})


def test_where_the_abort_fails_nothing_new_begins(run: Run) -> None:
    held = {
        "changed": False,
        "status": "abort_first",
        "held": {"release": "a1", "held": "approval"},
    }
    result, action = run(held, failed("await", worth_undoing=False))
    assert (result["failed"], len(action.calls)) == (True, 2)
