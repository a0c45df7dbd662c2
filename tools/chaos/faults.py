# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What can happen to a run, to the load balancer and to the engine, and what may be lost by it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tools.chaos import check
from tools.chaos.engine import OwnEngine
from tools.chaos.process import Process, eventually
from tools.chaos.remote import Remote
from tools.chaos.rig import NotReached, Playing, Site

CONTROLLER, FAMILY, EVERYTHING = 0, 1, 99
"""How deep a kill goes: ansible-playbook itself, its worker processes as well, or also what works on the target."""
NOTHING = "nothing"
"""No request may fail."""
MEANWHILE = "meanwhile"
"""Only requests that were under way while the load balancer was away may fail."""
UNTIL_NEXT = "until the next run"
"""The replicas themselves die: requests may fail until the next run has ended, none after it."""


@dataclass(frozen=True)
class Scene:
    """What a fault acts on."""

    run: Playing
    site: Site
    engine: OwnEngine | None
    pause: float
    hang: float
    remote: Remote | None = None


@dataclass(frozen=True)
class Later:
    """What has to be done after a while, while the next run is on."""

    seconds: float
    act: Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """One fault. C(lives): the run goes on by itself, so whoever comes next stands in line behind it."""

    name: str
    what: str
    inject: Callable[[Scene], Later | None]
    lives: bool = False
    loses: str = NOTHING
    own_engine: bool = False
    """Whether it needs an engine that may be disturbed."""
    over_ssh: bool = False
    """Whether the run has to reach the host by ssh, from a controller of its own."""
    in_module: bool = False
    """Whether it needs a module that works on the target."""
    undoes: bool = False
    """Whether the run may fail by it and then go back by itself."""


def _kill(deepest: int) -> Callable[[Scene], None]:
    return lambda scene: scene.run.kill(deepest)


def _signal(number: int, *, group: bool) -> Callable[[Scene], None]:
    def send(scene: Scene) -> None:
        scene.run.last_words = scene.run.tree()
        if scene.run.ended:
            return
        (os.killpg if group else os.kill)(scene.run.pid, number)

    return send


def _await_module(scene: Scene) -> None:
    """Between two calls there is none for a moment."""
    deadline = time.monotonic() + 5
    while scene.run.module() is None:
        if time.monotonic() > deadline:
            raise NotReached("no module runs")
        time.sleep(0.01)


def _kill_module(scene: Scene) -> None:
    _await_module(scene)
    scene.run.kill_module()


def _lose_connection(scene: Scene) -> None:
    """Take away the processes between the controller and what works on the target, which goes on."""
    scene.run.last_words = scene.run.tree()
    for process in scene.run.last_words:
        if process.depth == FAMILY:
            process.send(signal.SIGKILL)


def _pause(scene: Scene) -> Later:
    stopped = {process.pid: process for process in scene.run.stop_all()}
    stopped |= {process.pid: process for process in scene.run.stop_all()}  # forked in between
    return Later(scene.pause, lambda: _continue(list(stopped.values())))


def _continue(stopped: list[Process]) -> None:
    for process in stopped:
        process.resume()


def _reload(scene: Scene) -> None:
    scene.site.docker("kill", "--signal", "USR2", scene.site.sample.balancer)


def _restart_balancer(scene: Scene) -> None:
    scene.site.docker("restart", "--time", "5", scene.site.sample.balancer)
    await_balancer(scene.site)


def await_balancer(site: Site) -> None:
    """Wait until HAProxy answers."""
    eventually(lambda: _answers(site), 120)


def _answers(site: Site) -> bool:
    try:
        return bool(check.targets(site))
    except (OSError, IndexError):
        return False


def _pull_cable(scene: Scene) -> Later:
    """The host cannot be reached; what works on it goes on, and whoever waits for it is not told."""
    remote = _remote(scene)
    # What holds the dead connections on the host ends when it has something to say, and that may be later.
    sessions = {process.pid for process in scene.run.sessions()}
    scene.run.last_words = [item for item in scene.run.tree() if item.pid not in sessions]
    remote.cable.pull()
    return Later(scene.hang, remote.cable.plug)


def _cut_connection(scene: Scene) -> None:
    _await_module(scene)
    scene.run.last_words = scene.run.tree()
    for session in scene.run.sessions():
        session.send(signal.SIGKILL)


def _remote(scene: Scene) -> Remote:
    assert scene.remote is not None, "this fault is only for a run over ssh"
    return scene.remote


def _engine(scene: Scene) -> OwnEngine:
    assert scene.engine is not None, "this fault is only for an engine of the harness's own"
    return scene.engine


def _restart_engine(scene: Scene) -> None:
    _engine(scene).restart()
    await_balancer(scene.site)  # the engine starts it again


def _hang_engine(scene: Scene) -> Later:
    engine = _engine(scene)
    engine.suspend()
    return Later(scene.hang, engine.resume)


_FAULTS = (
    Fault(
        "kill", "SIGKILL of ansible-playbook; its workers and the module go on", _kill(CONTROLLER)
    ),
    Fault(
        "kill_workers",
        "SIGKILL of ansible-playbook and its workers; the module goes on",
        _kill(FAMILY),
    ),
    Fault("kill_all", "SIGKILL of ansible-playbook, its workers and the module", _kill(EVERYTHING)),
    Fault("term", "SIGTERM of ansible-playbook", _signal(signal.SIGTERM, group=False)),
    Fault(
        "int",
        "SIGINT of its process group, as Ctrl-C in a terminal",
        _signal(signal.SIGINT, group=True),
    ),
    Fault("kill_module", "SIGKILL of the module on the target", _kill_module, in_module=True),
    Fault(
        "pause",
        "SIGSTOP of everything, SIGCONT after --pause seconds; the next run does not wait",
        _pause,
        lives=True,
    ),
    Fault(
        "lb_reload", "HAProxy reloaded (SIGUSR2 of its master)", _reload, lives=True, undoes=True
    ),
    Fault(
        "lb_restart",
        "HAProxy's container restarted",
        _restart_balancer,
        lives=True,
        undoes=True,
        loses=MEANWHILE,
    ),
    Fault(
        "engine_restart",
        "dockerd restarted without live-restore: replicas and HAProxy die with it",
        _restart_engine,
        lives=True,
        undoes=True,
        loses=UNTIL_NEXT,
        own_engine=True,
    ),
    Fault(
        "engine_hangs",
        "dockerd answers nothing for --hang seconds",
        _hang_engine,
        lives=True,
        undoes=True,
        own_engine=True,
    ),
    Fault(
        "connection_lost",
        "the connection to the host is gone (Ansible's worker killed); the module goes on",
        _lose_connection,
    ),
    Fault(
        "host_unreachable",
        "over ssh: no packet comes through between controller and host for --hang seconds",
        _pull_cable,
        lives=True,
        over_ssh=True,
    ),
    Fault(
        "connection_cut",
        "over ssh: the host's end of the connection is killed; the module goes on",
        _cut_connection,
        over_ssh=True,
        in_module=True,
    ),
)
FAULTS = {fault.name: fault for fault in _FAULTS}
