# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of release_part: one host's turn of a run over several hosts, and what it hands to the others.

The run itself is a value that goes from task to task: C(run) in, C(run) out. The host of the replicas has the lease and
the last word; the tasks delegated to the load balancers' hosts only add what they saw and did.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.immutable.cutover.plugins.action.release_apply import (
    FIRST_TURN,
    GO_ON,
    LONGEST_TURN,
    _controller,
    _diff,
    _holder,
    _without_traffic,
    abort_first,
)
from ansible_collections.immutable.cutover.plugins.action.release_apply import (
    ActionModule as ReleaseApply,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.plugin_utils._artifact import stats
from ansible_collections.immutable.cutover.plugins.plugin_utils._lease_given import lease_given
from ansible_collections.immutable.cutover.plugins.plugin_utils._next import lost_balancer

MODULE = "immutable.cutover.release_part"
TURNS = 3
"""How many calls a host gets before the others have theirs."""
TTLS = 3
"""How many times the ttl the lease is granted for: it is renewed only when its own host has its turn again."""
WATCH = 40.0
"""Seconds for which the load balancers' hosts watch a canary before the lease is renewed."""
STATUSES = ("more", "done", "failed", "held", "delayed")
OVER = ("done", "failed", "planned", "held")
_NOTHING: Mapping[str, Any] = {"status": "done", "changed": False, "progress": []}
_LISTS = ("actions", "journal")
_NAMED = ("app", "release", "version", "image", "image_id")


class ActionModule(ReleaseApply):
    """Do one host's part."""

    _VALID_ARGS = frozenset(
        ("spec", "to", "approved", "rollback_unsafe", "state_dir", "engine", "lease", "host", "run")
    )

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        ActionBase.run(self, tmp, task_vars)
        variables = task_vars or {}
        self._name = str(variables.get("inventory_hostname", ""))
        self._clock = SystemClock()
        self._controller = _controller()
        self._lease, refused = lease_given(self._task.args)
        if refused:
            return refused
        self._variables = variables
        self._run = dict(self._task.args.get("run") or {})
        self._run.setdefault("holder", _holder(variables, self._controller))
        self._run.setdefault("status", "more")
        self._run.setdefault("views", {})
        self._run.setdefault("resumes", {})
        self._run.setdefault("total", {"changed": False, "actions": [], "journal": []})
        host = str(self._task.args.get("host") or "")
        if self._run["status"] in OVER:
            return {"changed": False, "run": self._run}
        if host:
            return self._at_balancer(host)
        # All tasks of a host's play are of one controller.
        began = self._run.setdefault("began", self._clock.monotonic())
        result = self._at_home()
        if "status" in result:
            result["seconds"] = round(self._clock.monotonic() - began, 3)
            result["ansible_stats"] = stats(self._name, result, result["seconds"])
        return result

    # A load balancer's host.

    def _at_balancer(self, host: str) -> dict[str, Any]:
        if "epoch" not in self._run:
            answer = self._call({"side": "look", "host": host}, {})
            if answer.get("failed"):
                return answer
            self._run["views"] = {**self._run["views"], host: answer["view"]}
            return {"changed": False, "run": self._run}
        if self._run.get("broken"):
            return {"changed": False, "run": self._run}
        watched = self._clock.monotonic() + self._watches()
        for turn in itertools.count(1):
            self._refuse_orphan()
            watch = min(LONGEST_TURN, max(0.0, watched - self._clock.monotonic()))
            prepared = self._run["resumes"].get("", {}).get("prepared", [])
            resume = {**self._run["resumes"].get(host, {}), "prepared": prepared}
            release = self._run["release"]
            part = {"side": "balancer", "host": host, "release": release, "watch": watch}
            try:
                answer = self._call(part, {"resume": resume, "seconds": LONGEST_TURN})
            except AnsibleConnectionFailure as failure:
                # The host of the replicas, whose play this is, can be reached: it has the lease, and gives it back.
                answer = {"failed": True, "msg": lost_balancer(host, failure)}
            if answer.get("failed"):  # it could not even begin: nothing was changed by this call
                self._broken(answer.get("msg", "failed"), worth_undoing=False)
                break
            self._took(host, answer)
            if answer["status"] == "failed":
                self._broken(*_words(answer, host))
                break
            for line in answer["progress"] if answer["busy"] or watch else []:
                self._say(line)
            if self._clock.monotonic() >= watched and (turn >= TURNS or not answer["busy"]):
                break
        return {"changed": False, "run": self._run}

    def _lost(self, failure: AnsibleConnectionFailure) -> None:
        """Say it only of the host of the replicas; what it means of another one is the message of the run."""
        if not self._task.args.get("host"):
            super()._lost(failure)

    def _watches(self) -> float:
        """Return how many seconds this host watches the figures of a canary, before the next one has its turn."""
        watch = float(self._run["release"].get("watch", 0))
        return min(watch, WATCH) / len(self._run["views"])

    def _took(self, host: str, answer: dict[str, Any]) -> None:
        self._run["views"] = {**self._run["views"], host: answer["view"]}
        self._run["resumes"] = {**self._run["resumes"], host: answer["resume"]}
        self._gather(answer)

    # The host of the replicas.

    def _at_home(self) -> dict[str, Any]:
        if self._task.check_mode:
            return self._planned()
        if self._recovers() and "shown" not in self._run and (refused := self._shows()):
            return refused
        self._shown = self._run.get("shown", ())
        turns = 0
        while turns < TURNS:
            if self._run.get("broken") and not self._goes_back():
                return self._end_broken()
            answer = self._turn_at_home()
            turns += not _waits_at_gate(answer)
            if answer.get("status") == "abort_first":
                self._aborts_first(answer["held"])
                continue
            if "handed" not in answer or answer["status"] not in STATUSES:
                why = f"{answer.get('status')}: not where load balancers are on other hosts"
                self._broken(answer.get("msg", why), worth_undoing=False)
                return self._end_broken(answer)
            self._took_home(answer)
            if (result := self._ended(answer)) is not None:
                return result
            if answer["status"] == "more" and not self._stays(answer):
                break
        return {"changed": False, "run": self._run}

    def _shows(self) -> dict[str, Any]:
        """Say what a recovery will do before it does any of it; return the result where that is refused."""
        plan = self._plan()
        if plan.get("failed"):
            self._broken(plan["msg"], worth_undoing=False)
            return self._end_broken(plan)
        self._run["shown"] = plan["lines"]
        return {}

    def _stays(self, answer: dict[str, Any]) -> bool:
        """Whether there is more to do here; a canary's figures are on the hosts of its load balancers."""
        return not answer["handed"].get("watch") and self._own_work(answer)

    def _ended(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        """Return the result where this was the end; else note what is to be done next."""
        status = answer["status"]
        if status == "held":
            return self._held(answer)
        if status == "failed":
            self._broken(*_words(answer, ""))
        elif status == "delayed":
            self._keeps(answer)
        elif status == "done" and self._run.pop("aborting", False):
            self._begin_anew()
        elif status == "done":
            return self._over(answer)
        return None

    def _took_home(self, answer: dict[str, Any]) -> None:
        self._run["resumes"] = {**self._run["resumes"], "": answer.get("resume", {})}
        self._run["epoch"] = answer.get("epoch", 0)
        self._run["release"] = answer["handed"]
        self._gather(answer)
        for line in self._unshown(answer):
            self._say(line)
        for line in answer["progress"] if self._own_work(answer) else []:
            self._say(line)

    def _turn_at_home(self) -> dict[str, Any]:
        """Call the module; stand in line where another run has the lease."""
        give_up = self._clock.monotonic() + self._lease.wait
        place: dict[str, Any] = {"take_over": 0, "gone": [], "waits": self._lease.wait}
        while True:
            answer = self._call_at_home(place)
            if answer.get("status") != "waiting":
                return answer
            if release := self._run.get("retires"):
                self._say(f"{answer['message']}; that run takes away what {release} replaced")
                return {**_NOTHING, "handed": self._run.get("release", {})}
            place = self._stand_in_line(answer, give_up)

    def _call_at_home(self, place: Mapping[str, Any]) -> dict[str, Any]:
        self._refuse_orphan()
        turn = {
            "resume": self._run["resumes"].get("", {}),
            "seconds": FIRST_TURN,
            **place,
            "undoes": self._run.get("undoing", ""),
            "undo_follows": self._may_undo(),
            "retires": self._run.get("retires", ""),
        }
        return self._call({"side": "host", "views": self._views()}, turn)

    @staticmethod
    def _own_work(answer: dict[str, Any]) -> bool:
        """Tell whether a step of this host was under way when its time was over."""
        resume = answer.get("resume") or {}
        own = ("ready", "warm", "gate")
        return any(key.split(":")[0] in own for key in resume.get("pending", {}))

    def _plan(self) -> dict[str, Any]:
        plan = self._call({"side": "host", "views": self._views()}, {"plan": True})
        for line in plan.get("lines") or []:
            self._say(line)
        return plan

    def _planned(self) -> dict[str, Any]:
        plan = self._plan()
        if plan.get("failed"):
            return plan
        prepared = "\n".join(plan["lines"]) + "\n"
        return {
            **plan,
            "changed": plan["needed"],
            "status": "planned",
            "run": {"status": "planned"},
            "diff": [{"prepared": prepared}, _diff(plan)],
        }

    # More than one run of the module, one after the other.

    def _aborts_first(self, held: Mapping[str, Any]) -> None:
        """Take away the other release that waits at a gate, and only then begin with this one."""
        self._say(abort_first(held))
        self._run["aborting"] = held["release"]

    def _keeps(self, answer: Mapping[str, Any]) -> None:
        """Wait, without the lease, as long as what was replaced is kept; then begin to take it away."""
        self._keep(answer["release"], float(answer["hold"]["seconds"]))
        self._run["retires"] = answer["release"]
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Go on as another run, with an epoch of its own; only what has served long enough is still known."""
        self._run.pop("epoch", None)
        resumes = self._run["resumes"].items()
        self._run["resumes"] = {
            host: {"settled": resume["settled"]} for host, resume in resumes if "settled" in resume
        }

    def _may_undo(self) -> bool:
        """Whether going back is wanted when this fails: not while it goes back, or only takes something away."""
        beyond = ("undoing", "retires", "aborting")
        return self._undoes() and not any(self._run.get(key) for key in beyond)

    def _held(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """End well at a gate; somebody promotes or aborts."""
        self._say(f"release {answer['release']} is held at gate {answer['hold']['gate']}; {GO_ON}")
        self._say(f"its replicas without traffic: {_without_traffic(answer)}")
        return self._result(status="held")

    # How it ends.

    def _broken(self, message: str, worth_undoing: bool) -> None:
        """Note a failure: the first one decides what follows, one on the way back ends it."""
        if self._run.get("undoing"):
            message = (
                f"{self._run['undoing']}; rolled back: going back failed too: {message}; "
                "run the same playbook again to go on"
            )
            worth_undoing = False
        self._run["broken"] = {"message": message, "worth_undoing": worth_undoing}

    def _goes_back(self) -> bool:
        """Begin to go back, if that is wanted and helps."""
        broken = self._run["broken"]
        if not (broken["worth_undoing"] and self._may_undo()):
            return False
        del self._run["broken"]
        self._say(f"{broken['message']}; going back to the last completed release")
        self._run |= {"undoing": broken["message"], "resumes": {}}
        views = self._run["views"]
        nothing: dict[str, list[str]] = {"settled": [], "checked": []}
        self._run["views"] = {host: {**view, **nothing} for host, view in views.items()}
        return True

    def _end_broken(self, answer: dict[str, Any] | None = None) -> dict[str, Any]:
        """Give the lease back and end red."""
        broken = self._run.pop("broken")
        if "epoch" in self._run:
            told = {"release": self._run.get("release", {}), "message": broken["message"]}
            self._call({"side": "give_back", **told}, {})
        return self._result(failed=True, msg=broken["message"], extra=answer or {})

    def _over(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        undone = self._run.get("undoing")
        if not undone:
            return self._result()
        how = f"release {answer.get('release')} serves again"
        how = how if self._run["total"].get("after") else "nothing of it is left"
        return self._result(failed=True, msg=f"{undone}; rolled back: {how}", rolled_back=True)

    def _result(
        self,
        *,
        failed: bool = False,
        status: str = "done",
        extra: dict[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        status = "failed" if failed else status
        result = {**self._run["total"], **(extra or {}), **more, "status": status}
        result |= {"diff": _diff(result), "run": {"status": status}}
        for key in ("resume", "progress", "handed", "view", "busy"):
            result.pop(key, None)
        return {**result, "failed": True} if failed else result

    # Calls.

    def _call(self, part: dict[str, Any], turn: dict[str, Any]) -> dict[str, Any]:
        arguments = self._arguments()
        if self._run.get("undoing"):
            arguments["to"] = "undo"
        elif self._run.get("aborting"):
            arguments |= {"to": "abort", "approved": self._run["aborting"]}
        elif self._run.get("retires"):
            arguments["to"] = ""
        common = {
            "holder": self._run["holder"],
            "ttl": TTLS * self._lease.ttl,
            "epoch": self._run.get("epoch", 0),
        }
        if part["side"] == "look":
            arguments.pop("to", None)
        return self._module(
            MODULE, {**arguments, "part": part, "turn": {**common, **turn}}, self._variables
        )

    def _views(self) -> list[dict[str, Any]]:
        return [self._run["views"][host] for host in sorted(self._run["views"])]

    def _gather(self, answer: dict[str, Any]) -> None:
        """Add what was done; before is the first that was seen, everything else the last.

        The release is the one that was to come, also where that is undone.
        """
        total = dict(self._run["total"])
        for key in _LISTS:
            total[key] = total[key] + answer.get(key, [])
        total["changed"] = total["changed"] or answer["changed"]
        named = () if self._run.get("undoing") else _NAMED
        for key in (*named, "epoch", "after", "hold"):
            if key in answer:
                total[key] = answer[key]
        for key in ("before", "lines"):
            if answer.get(key):
                total.setdefault(key, answer[key])
        for key in ("error_details", "failed_step"):
            if key in answer:
                total[key] = answer[key]
        self._run["total"] = total


def _waits_at_gate(answer: Mapping[str, Any]) -> bool:
    """Whether nothing is to be done anywhere before a time at a gate is over."""
    pending = (answer.get("resume") or {}).get("pending", {})
    more = answer.get("status") == "more"
    return more and bool(pending) and all(key.startswith("gate:") for key in pending)


def _words(answer: dict[str, Any], host: str) -> tuple[str, bool]:
    """Return what failed, as people read it, and whether going back would help."""
    verb = (answer.get("failed_step") or {}).get("verb")
    text = f"{verb} failed: {answer['error']}" if verb else str(answer["error"])
    return (f"{text} (on {host})" if host else text), bool(answer.get("worth_undoing"))
