# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over several hosts, from task to task: what each call is given, and how the run ends."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.playbook.task import Task

from ansible_collections.immutable.cutover.plugins.action import release_part
from ansible_collections.immutable.cutover.plugins.action.release_part import ActionModule
from ansible_collections.immutable.cutover.tests.unit.support.clocks import FakeClock

Answer = dict[str, Any]
VIEW = {"host": "lb1", "epoch": 4, "settled": ["x"], "backends": []}


class Scripted(ActionModule):
    """The action with a module that gives prepared answers, in order."""

    answers: list[Answer]
    calls: list[Answer]

    def _execute_module(
        self, module_name: str, module_args: Answer, task_vars: dict[str, Any]
    ) -> Answer:
        self.calls.append(json.loads(json.dumps(module_args)))
        self._clock.sleep(float(module_args["part"].get("watch", 0)))
        if "raises" in self.answers[0]:
            raise self.answers.pop(0)["raises"]
        return {"invocation": {}, **self.answers.pop(0)}


class Play:
    """The tasks of one host's play: the run goes from each to the next."""

    def __init__(self) -> None:
        self.run: Answer = {}
        self.said: list[str] = []
        self.calls: list[Answer] = []

    def task(self, *answers: Answer, host: str = "", check: bool = False, **options: Any) -> Answer:
        task = Task()
        task.action, task.check_mode = release_part.MODULE, check
        task.args = {"spec": {"app": "shop"}, "host": host, "run": self.run, **options}
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
        action = Scripted(task, connection, None, None, None, None)
        action.answers, action.calls = list(answers), self.calls
        action._display = SimpleNamespace(display=self.said.append)
        result = action.run(None, {"inventory_hostname": "b1"})
        assert action.answers == [], "an answer that nobody asked for"
        self.run = json.loads(json.dumps(result.get("run", {})))
        return result

    def begun(self) -> Play:
        self.task({"view": {**VIEW, "epoch": 3}}, host="lb1")
        self.task(at_home())
        return self


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    clock = FakeClock()
    monkeypatch.setattr(release_part, "SystemClock", lambda: clock)
    return Play()


def at_home(status: str = "more", **more: Any) -> Answer:
    return {
        "status": status,
        "changed": True,
        "app": "shop",
        "release": "0123abcd",
        "epoch": 4,
        "lines": [],
        "actions": [f"home {status}"],
        "progress": ["web 0/1 replaced"],
        "before": {"web": "old"},
        "after": {"web": "new"},
        "journal": [],
        "resume": {"prepared": ["n"], "pending": {}},
        "handed": {"id": "0123abcd"},
        **more,
    }


def at_balancer(status: str = "more", **more: Any) -> Answer:
    return {
        "status": status,
        "changed": True,
        "busy": False,
        "actions": ["register n"],
        "progress": ["draining a"],
        "journal": [{"step": "register"}],
        "resume": {"settled": ["n"]},
        "view": VIEW,
        **more,
    }


def failed(verb: str) -> Answer:
    step = {"verb": verb, "replica": "n"}
    return {"error": "it broke", "failed_step": step, "worth_undoing": verb != "await"}


def sides(play: Play) -> list[str]:
    return [call["part"]["side"] for call in play.calls]


def test_turns_until_the_home_of_the_replicas_says_done(play: Play) -> None:
    play.begun()
    play.task(at_balancer(), host="lb1")
    result = play.task(at_home("done"))
    assert sides(play) == ["look", "host", "balancer", "host"]
    assert (result["status"], result["changed"], result["before"]) == (
        "done",
        True,
        {"web": "old"},
    )
    assert result["actions"] == ["home more", "register n", "home done"]
    assert play.run == {"status": "done"}
    look, first, balancer, last = play.calls
    assert "to" not in look
    assert [call["turn"]["epoch"] for call in (first, balancer, last)] == [0, 4, 4]
    assert first["part"]["views"][0]["epoch"] == 3
    assert (balancer["part"]["host"], balancer["part"]["release"]) == ("lb1", {"id": "0123abcd"})
    assert balancer["turn"]["resume"] == {"prepared": ["n"]}
    assert first["turn"]["ttl"] == 180
    assert last["part"]["views"] == [VIEW]
    assert len({call["turn"]["holder"]["run"] for call in play.calls}) == 1


def waits(seconds: float) -> Answer:
    """Return the answer of a canary that has to be watched for so long."""
    pending = {"pending": {"gate:2-pause-at-10": 1.0}, "prepared": []}
    return at_home(resume=pending, handed={"id": "0123abcd", "watch": seconds})


@pytest.mark.parametrize(("seconds", "watched"), [(600, [8.0] * 5), (10, [8.0, 2.0]), (0.5, [0.5])])
def test_a_canary_is_watched_where_its_figures_are(
    play: Play, seconds: float, watched: list[float]
) -> None:
    play.task({"view": VIEW}, host="lb1")
    play.task(waits(seconds))
    play.said.clear()
    play.task(*[at_balancer(progress=["8 of 100 requests failed"])] * len(watched), host="lb1")
    assert [call["part"]["watch"] for call in play.calls[2:]] == watched
    assert len(play.said) == len(watched), "somebody who waits is told"
    assert sides(play)[:2] == ["look", "host"], "and the replicas' host does not wait by itself"


def test_two_balancers_share_the_time_before_the_lease_is_renewed(play: Play) -> None:
    for host in ("lb1", "lb2"):
        play.task({"view": {**VIEW, "host": host}}, host=host)
    play.task(waits(600))
    for host in ("lb1", "lb2"):
        play.task(*[at_balancer(view={**VIEW, "host": host})] * 3, host=host)
    assert [call["part"]["watch"] for call in play.calls[3:]] == [8.0, 8.0, 4.0] * 2


def test_a_run_that_is_over_calls_nothing_more(play: Play) -> None:
    play.begun()
    play.task(at_home("done"))
    assert play.task(host="lb1") == {"changed": False, "run": {**play.run}}
    assert play.run["status"] == "done"


def test_a_balancer_that_is_busy_gets_some_more_turns_and_tells(play: Play) -> None:
    play.begun()
    play.task(*[at_balancer(busy=True)] * release_part.TURNS, host="lb1")
    assert play.said.count("[b1] draining a") == release_part.TURNS
    assert play.calls[-1]["turn"]["resume"] == {"settled": ["n"], "prepared": ["n"]}


def test_what_comes_up_and_fails_at_a_balancer_is_undone(play: Play) -> None:
    play.begun()
    play.task(at_balancer("failed", **failed("activate")), host="lb1")
    assert play.run["status"] == "more"
    play.task(at_home())
    assert "activate failed: it broke (on lb1); going back" in play.said[-1]
    undo = play.calls[-1]
    assert undo["turn"]["undoes"] == "activate failed: it broke (on lb1)"
    assert (undo["to"], undo["turn"]["undo_follows"], undo["turn"]["resume"]) == ("undo", False, {})
    play.task(at_balancer(), host="lb1")
    result = play.task(at_home("done", release="old1"))
    assert (result["failed"], result["rolled_back"]) == (True, True)
    assert result["msg"] == (
        "activate failed: it broke (on lb1); rolled back: release old1 serves again"
    )
    assert result["release"] == "0123abcd", "what was to come, as on one host"


def test_a_drain_that_does_not_end_is_not_undone(play: Play) -> None:
    play.begun()
    play.task(at_balancer("failed", **failed("await")), host="lb1")
    result = play.task({"changed": True})
    assert sides(play)[-1] == "give_back"
    assert (result["failed"], result["msg"]) == (True, "await failed: it broke (on lb1)")


def test_lb_10_a_balancer_that_cannot_begin_ends_the_run_and_the_lease_is_given_back(
    play: Play,
) -> None:
    play.begun()
    play.task({"failed": True, "msg": "no socket"}, host="lb1")
    assert play.task(host="lb2") == {"changed": False, "run": play.run}, "lb2 is left alone"
    result = play.task({"changed": True})
    assert sides(play) == ["look", "host", "balancer", "give_back"]
    assert (result["failed"], result["msg"]) == (True, "no socket")


@pytest.mark.parametrize("undoing", [False, True])
def test_cr_05_a_balancer_whose_host_is_lost_ends_the_run_and_the_lease_is_given_back(
    play: Play, undoing: bool
) -> None:
    play.begun()
    if undoing:
        play.task(at_balancer("failed", **failed("activate")), host="lb1")
        play.task(at_home())
    lost = {"raises": AnsibleConnectionFailure("timed out")}
    task = play.task(lost, host="lb1")
    assert "failed" not in task, "Ansible would take the host of the replicas for unreachable"
    result = play.task({"changed": True})
    assert sides(play)[-1] == "give_back"
    assert (result["failed"], result.get("rolled_back")) == (True, None)
    told = "host lb1 of a load balancer cannot be reached any more (timed out)"
    assert told in result["msg"] and "the lease is given back" in result["msg"]
    assert ("rolled back: going back failed too" in result["msg"]) is undoing
    assert not any("the host cannot be reached" in line for line in play.said)


def test_cr_05_a_balancer_whose_host_is_away_from_the_beginning_has_changed_nothing(
    play: Play,
) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        play.task({"raises": AnsibleConnectionFailure("refused")}, host="lb1")
    assert play.said == []


def test_cr_05_a_host_of_replicas_that_is_lost_is_told(play: Play) -> None:
    play.begun()
    play.task(at_balancer(), host="lb1")
    with pytest.raises(AnsibleConnectionFailure):
        play.task({"raises": AnsibleConnectionFailure("timed out")})
    assert play.said[-1].startswith("[b1] the host cannot be reached any more")


def test_a_balancer_that_cannot_be_looked_at_fails_before_anything(play: Play) -> None:
    result = play.task({"failed": True, "msg": "no socket"}, host="lb1")
    assert (result["failed"], sides(play)) == (True, ["look"])


def test_what_is_refused_at_home_fails_at_once(play: Play) -> None:
    play.task({"view": VIEW}, host="lb1")
    result = play.task({"failed": True, "msg": "app: bad", "path": "app"})
    assert (result["failed"], result["msg"], result["path"]) == (True, "app: bad", "app")
    assert sides(play) == ["look", "host"]


def test_the_plan_is_shown_in_check_mode(play: Play) -> None:
    play.task({"view": VIEW}, host="lb1", check=True)
    plan = {"needed": True, "lines": ["start n"], "before": {}, "after": {"web": 1}}
    result = play.task(plan, check=True)
    assert (result["changed"], result["status"], play.run) == (
        True,
        "planned",
        {"status": "planned"},
    )
    assert play.calls[-1]["turn"]["plan"] is True


@pytest.mark.parametrize("to", ["recover", "finish", "undo"])
def test_cr_08_a_recovery_is_shown_before_any_of_it_is_done(play: Play, to: str) -> None:
    plan = ["undo release x: back to y", "  1. b1: destroy"]
    play.task({"view": VIEW}, host="lb1", to=to)
    play.task({"needed": True, "lines": plan}, at_home(lines=plan), to=to)
    assert [call["turn"].get("plan", False) for call in play.calls[1:]] == [True, False]
    assert {call["to"] for call in play.calls[1:]} == {to}
    assert play.said == [f"[b1] {line}" for line in plan], "and once"
    play.task(at_balancer(), host="lb1", to=to)
    assert play.task(at_home("done"), to=to)["lines"] == plan


def test_a_recovery_that_is_refused_does_nothing(play: Play) -> None:
    play.task({"view": VIEW}, host="lb1", to="recover")
    result = play.task({"failed": True, "msg": "x waits at gate approval"}, to="recover")
    assert (result["failed"], result["status"], sides(play)) == (True, "failed", ["look", "host"])


HELD_BY_BOB = {
    "status": "waiting",
    "changed": False,
    "message": "shop: lease held by bob",
    "holder": {"run": "other", "process": "1:1", "host": "elsewhere"},
    "epoch": 3,
    "expires_in": 600,
}


def test_b67_a_recovery_names_who_has_the_lease_and_does_not_wait(play: Play) -> None:
    play.task({"view": VIEW}, host="lb1", to="recover")
    planned = {"needed": True, "lines": []}
    with pytest.raises(AnsibleActionFail, match="lease held by bob; nothing was changed"):
        play.task(planned, HELD_BY_BOB, to="recover")
    assert play.calls[-1]["turn"]["waits"] == 0
    waits: dict[str, Any] = {"to": "recover", "lease": {"wait": 60}}
    play.task(planned, HELD_BY_BOB, at_home(), **waits)
    assert play.said[-1] == "[b1] waiting: shop: lease held by bob"


def test_a_failure_at_home_is_undone_in_the_same_task(play: Play) -> None:
    play.task({"view": VIEW}, host="lb1")
    play.task(at_home("failed", **failed("ready")), at_home())
    assert [call.get("to", "") for call in play.calls] == ["", "", "undo"]
    assert play.run["undoing"] == "ready failed: it broke"


def test_going_back_that_fails_says_both(play: Play) -> None:
    play.begun()
    play.task(at_balancer("failed", **failed("activate")), host="lb1")
    play.task(at_home())
    play.task(at_balancer("failed", **failed("activate")), host="lb1")
    result = play.task({"changed": True})
    assert "going back failed too: activate failed" in result["msg"]
    assert result["msg"].endswith("run the same playbook again to go on")


def hold(gate: str, kind: str, seconds: float = 0) -> Answer:
    return {"hold": {"gate": gate, "kind": kind, "seconds": seconds}}


def test_ro_11_a_run_ends_well_at_a_gate(play: Play) -> None:
    play.begun()
    result = play.task(at_home("held", after={}, **hold("approval", "approval")))
    assert (result["status"], result.get("failed"), play.run) == ("held", None, {"status": "held"})
    assert "[b1] release 0123abcd is held at gate approval; run the playbook promote" in " ".join(
        play.said
    )
    assert play.task(host="lb1")["changed"] is False


def test_what_was_replaced_goes_later_as_a_run_of_its_own(play: Play) -> None:
    play.begun()
    play.task(at_balancer(), host="lb1")
    delayed = at_home("delayed", **hold("scale_down", "delay", 30))
    play.task(delayed, at_home(epoch=5))
    retires = play.calls[-1]
    assert (retires["turn"]["retires"], retires["turn"]["epoch"]) == ("0123abcd", 0)
    assert "kept for 30 s more" in " ".join(play.said)
    play.task(at_balancer(), host="lb1")
    assert play.calls[-1]["turn"]["epoch"] == 5
    assert play.task(at_home("done", epoch=5))["status"] == "done"


def test_what_another_run_takes_away_is_left_to_it(play: Play) -> None:
    play.begun()
    delayed = at_home("delayed", **hold("scale_down", "delay", 1))
    waiting = {"status": "waiting", "message": "bob has the lease", "changed": False}
    result = play.task(delayed, waiting)
    assert (result["status"], result.get("failed")) == ("done", None)
    assert "bob has the lease; that run takes away what 0123abcd replaced" in play.said[-1]


def test_a_failure_while_the_old_is_taken_away_is_not_undone(play: Play) -> None:
    play.begun()
    delayed = at_home("delayed", **hold("scale_down", "delay", 1))
    result = play.task(delayed, at_home("failed", **failed("ready")), {"changed": True})
    assert (result["failed"], result["msg"]) == (True, "ready failed: it broke")
    assert play.calls[-2]["turn"]["undo_follows"] is False


def test_what_is_held_is_aborted_first(play: Play) -> None:
    play.task({"view": VIEW}, host="lb1")
    held = {"status": "abort_first", "held": {"release": "old", "held": "approval"}, "handed": {}}
    play.task(held, at_home())
    assert (play.calls[-1]["to"], play.calls[-1]["approved"]) == ("abort", "old")
    play.task(at_balancer(), host="lb1")
    play.task(at_home("done"), at_home(epoch=5))
    assert ("to" in play.calls[-1], play.calls[-1]["turn"]["epoch"]) == (False, 0)
    assert play.task(at_home("done", epoch=5))["status"] == "done"


def test_a_pause_is_waited_for_in_one_task(play: Play) -> None:
    play.begun()
    waits = at_home(resume={"prepared": ["n"], "pending": {"gate:pause": 1.0}})
    play.task(*[waits] * (release_part.TURNS + 2), at_home("done"))
    assert play.run == {"status": "done"}
