# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of release_apply: short module calls in a loop, with progress in between.

Nothing depends on one long connection, and a controller that dies leaves at most one call's worth of work,
whose steps are refused as soon as another run took the lease.
"""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import (
    AnsibleActionFail,
    AnsibleAuthenticationFailure,
    AnsibleConnectionFailure,
)
from ansible.plugins.action import ActionBase

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._process import (
    identity as _process_identity,
)
from ansible_collections.immutable.cutover.plugins.module_utils._process import is_dead as _is_dead
from ansible_collections.immutable.cutover.plugins.plugin_utils._artifact import stats
from ansible_collections.immutable.cutover.plugins.plugin_utils._lease_given import (
    RECOVERS,
    lease_given,
)
from ansible_collections.immutable.cutover.plugins.plugin_utils._next import (
    LOST,
    log_end,
    what_next,
)

MODULE = "immutable.cutover.release_apply"
FIRST_TURN, LONGEST_TURN = 6.0, 8.0
"""Seconds. Starting a call takes a second or so, in which no wait goes on; with it, none is longer than the 10 s within
which progress is promised.
"""
LEASE_POLL = 2.0
TOLD_EVERY = 8.0
GO_ON = "run the playbook promote to go on, or abort to go back"
NOT_OF_THE_END = ("failed_when_result", "ansible_stats")


class ActionModule(ActionBase):
    """Bring a release about, or go back to the one before it."""

    _VALID_ARGS = frozenset(
        ("spec", "to", "approved", "rollback_unsafe", "state_dir", "engine", "lease", "turn")
    )
    _requires_connection = True
    _shown: Sequence[str] = ()

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        self._name = str(variables.get("inventory_hostname", ""))
        ended = (self._task.args.get("turn") or {}).get("ended")
        if ended:
            kept = {key: value for key, value in ended.items() if key not in NOT_OF_THE_END}
            return {**kept, "failed": True}
        self._clock = SystemClock()
        began = self._clock.monotonic()
        self._lease, refused = lease_given(self._task.args)
        work = self._check if self._task.check_mode else self._apply
        result = refused or work(variables)
        advice = what_next(result) if result.get("failed") else ""
        if advice:
            result["msg"] = f"{result['msg']}. Next: {advice}"
        result["seconds"] = round(self._clock.monotonic() - began, 3)
        spec = self._task.args.get("spec")
        app = str(spec.get("app", "")) if isinstance(spec, Mapping) else ""
        result["ansible_stats"] = stats(self._name, {"app": app, **result}, result["seconds"])
        return result

    def _apply(self, variables: dict[str, Any]) -> dict[str, Any]:
        self._controller = _controller()
        self._holder = _holder(variables, self._controller)
        self._settled: list[str] = []
        undoes = self._undoes()
        if self._recovers() and (refused := self._shows_first(variables)):
            return refused
        first = self._loop(variables, self._task.args.get("to") or "", undoes)
        while first["status"] == "abort_first":
            first = self._abort_first(variables, first, undoes)
        if first.get("failed") and undoes and first.get("worth_undoing"):
            return self._undo(variables, first)
        if first["status"] == "held":
            gate = first["hold"]["gate"]
            self._say(f"release {first['release']} is held at gate {gate}; {GO_ON}")
            self._say(f"its replicas without traffic: {_without_traffic(first)}")
        return self._retire(variables, first) if first["status"] == "delayed" else first

    def _recovers(self) -> bool:
        return self._task.args.get("to") in RECOVERS

    def _shows_first(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Say what a recovery will do before it does any of it; return the result where that is refused."""
        plan = self._module(MODULE, {**self._arguments(), "turn": {"plan": True}}, variables)
        if plan.get("failed"):
            return {**plan, "status": "failed"}
        self._shown = plan["lines"]
        for line in self._shown:
            self._say(line)
        return {}

    def _abort_first(
        self, variables: dict[str, Any], first: dict[str, Any], undoes: bool
    ) -> dict[str, Any]:
        """Take away the other release that waits at a gate, and only then begin with this one."""
        held = first["held"]
        self._say(abort_first(held))
        aborted = self._loop(variables, "abort", False, gives_up=held["release"])
        if aborted.get("failed"):
            return aborted
        return _joined(aborted, self._loop(variables, "", undoes))

    def _retire(self, variables: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
        """Wait, without the lease, as long as what was replaced is kept; then take it away."""
        release, total = first["release"], first
        while total["status"] == "delayed":
            self._keep(release, float(total["hold"]["seconds"]))
            last = self._loop(variables, "", False, retires=release)
            total = last if last.get("failed") and "before" not in last else _joined(total, last)
        return {**total, "diff": _diff(total)}

    def _keep(self, release: str, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            self._refuse_orphan()
            self._say(
                f"release {release} has taken over; what it replaced is kept for {left:.0f} s more, "
                "the playbook rollback goes back to it at once"
            )
            self._clock.sleep(min(TOLD_EVERY, left))

    def _check(self, variables: dict[str, Any]) -> dict[str, Any]:
        arguments = {**self._arguments(), "turn": {"plan": True}}
        plan = self._module(MODULE, arguments, variables)
        if plan.get("failed"):
            return {**plan, "status": "failed"}
        for line in plan["lines"]:
            self._say(line)
        prepared = "\n".join(plan["lines"]) + "\n"
        return {
            **plan,
            "changed": plan["needed"],
            "status": "planned",
            "diff": [{"prepared": prepared}, _diff(plan)],
        }

    def _undoes(self) -> bool:
        spec = self._task.args.get("spec")
        strategy = spec.get("strategy") if isinstance(spec, Mapping) else None
        chosen = strategy.get("on_failure") if isinstance(strategy, Mapping) else None
        return (chosen or "rollback") == "rollback"

    def _undo(self, variables: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
        self._say(f"{first['msg']}; going back to the last completed release")
        undone = self._loop(
            variables, "undo", False, epoch=first.get("epoch", 0), undoes=first["msg"]
        )
        first["journal"] = first.get("journal", []) + undone.get("journal", [])
        first["actions"] = first.get("actions", []) + undone.get("actions", [])
        first["rolled_back"] = not undone.get("failed", False)
        first["after"] = undone.get("after", first.get("after"))
        first["diff"] = _diff(first)
        how = (
            f"release {undone.get('release')} serves again"
            if undone.get("after")
            else "nothing of it is left"
        )
        if undone.get("failed"):
            how = (
                f"going back failed too: {undone.get('msg')}; run the same playbook again to go on"
            )
        first["msg"] = f"{first['msg']}; rolled back: {how}"
        return first

    def _loop(
        self,
        variables: dict[str, Any],
        to: str,
        undo_follows: bool,
        epoch: int = 0,
        retires: str = "",
        undoes: str = "",
        gives_up: str = "",
    ) -> dict[str, Any]:
        """Call the module until it is done or failed; gather what it did."""
        chosen = {"to": to, **({"approved": gives_up} if gives_up else {})}
        turn: dict[str, Any] = {
            "holder": self._holder,
            "ttl": self._lease.ttl,
            "seconds": FIRST_TURN,
            "epoch": epoch,
            "undo_follows": undo_follows,
            "retires": retires,
            "undoes": undoes,
            "waits": 0 if retires else self._lease.wait,
        }
        if retires:
            turn["resume"] = {"settled": self._settled}
        total: dict[str, Any] = {"changed": False, "actions": [], "journal": []}
        give_up = self._clock.monotonic() + self._lease.wait
        while True:
            self._refuse_orphan()
            answer = self._turn(chosen, turn, variables)
            if answer.get("failed"):
                return {**total, **answer, "status": "failed"}
            if answer["status"] == "abort_first":
                return answer
            if answer["status"] == "waiting" and retires:
                self._say(f"{answer['message']}; that run takes away what {retires} replaced")
                return {**total, "status": "done"}
            if answer["status"] == "waiting":
                turn.update(self._stand_in_line(answer, give_up))
                continue
            _gather(total, answer)
            for line in self._unshown(answer):
                self._say(line)
            for line in answer["progress"] if answer["status"] == "more" else []:
                self._say(line)
            if answer["status"] != "more":
                return self._finished(total)
            turn.update(
                resume=answer["resume"],
                epoch=answer["epoch"],
                seconds=min(LONGEST_TURN, turn["seconds"] + 2),
            )

    def _unshown(self, answer: Mapping[str, Any]) -> list[str]:
        """Return the plan that a first turn was made by, unless it is what was shown before."""
        lines = answer.get("lines") or []
        return [] if lines == self._shown else lines

    def _finished(self, total: dict[str, Any]) -> dict[str, Any]:
        total["diff"] = _diff(total)
        self._settled = (total.pop("resume", None) or {}).get("settled", [])
        total.pop("progress", None)
        if total["status"] == "failed":
            verb = (total.get("failed_step") or {}).get("verb")
            total["failed"] = True
            said = f"{verb} failed: {total['error']}" if verb else total["error"]
            total["msg"] = said + log_end(total)
        return total

    def _stand_in_line(self, answer: Mapping[str, Any], give_up: float) -> dict[str, Any]:
        """Wait for the lease, or return at once which holder and which of those in line are seen to be dead."""
        left = give_up - self._clock.monotonic()
        dead = _is_dead(answer.get("holder") or {})
        gone = [place["run"] for place in answer.get("ahead") or [] if _is_dead(place)]
        if dead:
            self._say(f"{answer['message']}; that process is dead, taking over")
        elif gone:
            self._say(f"{answer['message']}; dead and passed over: {', '.join(gone)}")
        elif left <= 0:
            wait = self._lease.wait
            waited = f"gave up after {wait} s, " if wait else ""
            raise AnsibleActionFail(f"{answer['message']}; {waited}nothing was changed")
        else:
            self._say(f"waiting: {answer['message']}")
            self._clock.sleep(min(LEASE_POLL, max(0.2, float(answer["expires_in"]))))
        return {
            "take_over": int(answer["epoch"]) if dead else 0,
            "gone": gone,
            "waits": max(0.0, left),
        }

    def _refuse_orphan(self) -> None:
        """Stop when the ansible-playbook this worker belongs to was killed."""
        if self._controller not in (os.getppid(), os.getpid()):
            raise AnsibleActionFail(
                "the controller process is gone; this worker changes nothing more"
            )

    def _arguments(self) -> dict[str, Any]:
        wanted = ("spec", "to", "approved", "rollback_unsafe", "state_dir", "engine")
        return {key: self._task.args[key] for key in wanted if key in self._task.args}

    def _turn(
        self, chosen: Mapping[str, str], turn: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        return self._module(MODULE, {**self._arguments(), **chosen, "turn": turn}, variables)

    def _module(
        self, name: str, arguments: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        """Call a module, and once more where it decided on what another run has changed since."""
        while (answer := self._call_once(name, arguments, variables)).get("status") == "again":
            self._say(answer["message"])
            self._refuse_orphan()
        return answer

    def _call_once(
        self, name: str, arguments: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name=name, module_args=arguments, task_vars=variables
            )
        except AnsibleConnectionFailure as failure:
            self._lost(failure)
            raise
        answer.pop("invocation", None)
        return answer

    def _lost(self, failure: AnsibleConnectionFailure) -> None:
        """Say what it means: Ansible ends the host as unreachable, and no task or handler of ours comes after that."""
        if not (self._task.check_mode or isinstance(failure, AnsibleAuthenticationFailure)):
            self._say(LOST)

    def _say(self, line: str) -> None:
        self._display.display(f"[{self._name}] {line}")


def abort_first(held: Mapping[str, Any]) -> str:
    """Say which other release is taken away first, and why."""
    how = f"is held at gate {held['held']}" if held["held"] else "was left half way, with traffic"
    return f"release {held['release']} {how}: it is aborted first"


def _without_traffic(result: Mapping[str, Any]) -> str:
    """Return where somebody can look at what waits at a gate, from the host."""
    replicas = [item for rows in result["after"].values() for item in rows]
    found = [
        item["address"]
        for item in replicas
        if (item["release"], item["state"]) == (result["release"], "standby")
    ]
    return ", ".join(found) or "none"


def _joined(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return one result for two runs of the module's loop."""
    sums = {key: first.get(key, []) + then.get(key, []) for key in ("actions", "journal", "lines")}
    before = first.get("before") or then.get("before", {})
    changed = bool(first.get("changed") or then.get("changed"))
    after = then.get("after") or first.get("after", {})
    joined = {**first, **then, **sums, "before": before, "after": after, "changed": changed}
    return {**joined, "diff": _diff(joined)}


def _gather(total: dict[str, Any], answer: Mapping[str, Any]) -> None:
    before = total.get("before", answer["before"])
    actions, journal = total["actions"] + answer["actions"], total["journal"] + answer["journal"]
    changed = total["changed"] or answer["changed"]
    lines = total.get("lines") or answer.get("lines", [])
    total.update(answer)
    total.update(before=before, actions=actions, journal=journal, changed=changed, lines=lines)


def _diff(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"before": result.get("before", {}), "after": result.get("after", {})}


def _holder(variables: Mapping[str, Any], controller: int) -> dict[str, str]:
    job = variables.get("awx_job_id") or variables.get("tower_job_id") or ""
    user = variables.get("awx_user_name") or variables.get("tower_user_name") or getpass.getuser()
    return {
        "run": uuid.uuid4().hex[:12],
        "user": str(user),
        "host": socket.gethostname(),
        "process": _process_identity(controller),
        "job": str(job),
        "url": _job_url(job),
    }


def _job_url(job: object) -> str:
    """Return where AWX shows the job; it tells its jobs its own address."""
    base = os.environ.get("AWX_HOST", "")
    return f"{base.rstrip('/')}/#/jobs/playbook/{job}" if base and job else ""


def _controller() -> int:
    """Return the pid of the ansible-playbook that forked this worker, even if it was killed since."""
    parent = multiprocessing.parent_process()
    return os.getpid() if parent is None or parent.pid is None else parent.pid
