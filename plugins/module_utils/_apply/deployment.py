# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the release modules do, once: validate everything, plan, work, remember; private, no stability promised."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.immutable.cutover.plugins.module_utils._apply.context import (
    Balancer,
    GroupCommit,
    Release,
    Site,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.executor import (
    BoundedClock,
    Executor,
    Outcome,
    Resume,
    Run,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.observe import observe
from ansible_collections.immutable.cutover.plugins.module_utils._apply.probes import (
    readiness_probe,
)
from ansible_collections.immutable.cutover.plugins.module_utils._apply.releases import (
    Begun,
    ReleaseRecord,
    Releases,
    images_in_use,
)
from ansible_collections.immutable.cutover.plugins.module_utils._clock import (
    Clock,
    SystemClock,
)
from ansible_collections.immutable.cutover.plugins.module_utils._engine.base import Engine, Image
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import resolve_image
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import verify_image
from ansible_collections.immutable.cutover.plugins.module_utils._journal import Journal, Row
from ansible_collections.immutable.cutover.plugins.module_utils._lease import Holder, Lease
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import factory
from ansible_collections.immutable.cutover.plugins.module_utils._release.fields import Fields
from ansible_collections.immutable.cutover.plugins.module_utils._release.names import check_name
from ansible_collections.immutable.cutover.plugins.module_utils._release.planner import plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.simulate import simulate
from ansible_collections.immutable.cutover.plugins.module_utils._release.spec import (
    AppSpec,
    LoadBalancerRef,
    parse_spec,
    to_mapping,
)
from ansible_collections.immutable.cutover.plugins.module_utils._release.steps import Plan
from ansible_collections.immutable.cutover.plugins.module_utils._release.world import World

ENTRYPOINTS = "immutable.cutover.entrypoints"
PREVIOUS = "previous"
UNDO = "undo"
_NUMERIC_USER = re.compile(r"\d{1,10}(:\d{1,10})?", re.ASCII)
DEFAULT_BALANCER = "cutover-lb"


@dataclass(frozen=True)
class Turn:
    """One call's share of a run: who runs, for how long, and what the call before handed on."""

    holder: Holder
    ttl: int
    seconds: float
    resume: Resume
    take_over: int = 0
    epoch: int = 0
    """The epoch this run has had since its first call; 0 in the first call."""
    undo_follows: bool = False
    """Keep the lease when this call fails in what is worth undoing: the same run goes on to undo it."""


class Deployment:
    """A wanted release on one host. Building it validates everything and changes nothing."""

    def __init__(
        self, value: object, to: str, state_dir: str, engine: Engine, clock: BoundedClock
    ) -> None:
        self._clock = clock
        self._state_dir = state_dir
        self._to = to
        self.epoch = 0
        wanted = parse_spec(value)
        # The drivers get the plain clock: a change they have begun is always finished and confirmed.
        self.site = Site(engine, connect_all(wanted, SystemClock()), state_dir, clock)
        engine.version()
        for balancers in self.site.balancers.values():
            for balancer in balancers:
                balancer.driver.probe()
        self.releases = Releases(state_dir, wanted.app)
        self.release = self._choose(wanted, to, engine)
        self._check_host(engine)
        self.world = observe(self.site, wanted.app)
        self._check_processes()
        self.loose_ends = self._loose_ends()

    @property
    def app(self) -> str:
        """The app's name."""
        return self.release.spec.app

    def plan(self) -> Plan:
        """Return the whole way from what is seen to what is wanted."""
        return plan(self.release.goal(), self.world)

    def check_commands(self) -> None:
        """Refuse a command that the image of a new release does not have, before anything is started (B33).

        Only for commands that the spec itself gives: those of the image were seen by whoever baked it. It costs a few
        calls of the engine, so a release that this host knows, or already runs, is not looked at again.
        """
        release, spec = self.release, self.release.spec
        known = any(replica.release == release.id for replica in self.world.replicas)
        given = {item.command[0]: item.name for item in spec.processes if item.command}
        if not given or known or self.releases.get(release.id) is not None:
            return
        path = dict(spec.env).get("PATH", "")
        for program in self.site.engine.missing_programs(release.image_id, list(given), path):
            raise InvalidInput(
                f"processes.{given[program]}.command",
                program,
                f"command not found in image {release.image_id}, or not executable there",
            )

    def expected(self, plan: Plan) -> World:
        """Return what will be seen after all steps of the plan."""
        world = self.world
        for step in plan.steps:
            world = simulate(self.release.goal(), world, step)
        return world

    def _loose_ends(self) -> tuple[str, ...]:
        """Say what a run that died has left, apart from replicas and targets; every run puts it in order."""
        found = [
            f"persist what {balancer.driver.where} has registered"
            for balancer in self._balancers()
            if not balancer.driver.persisted()
        ]
        if self.releases.completed()[-1:] != [self.release.id] and self.release.wanted_replicas:
            found.append(f"record release {self.release.id}")
        return tuple(found)

    def _balancers(self) -> list[Balancer]:
        return [balancer for group in self.site.balancers.values() for balancer in group]

    def lease_holder(self) -> Holder | None:
        """Return who has the lease now, whether alive or dead."""
        return Lease(self._state_dir, self.app, self._clock).read().holder

    def work(self, turn: Turn) -> tuple[Outcome, list[Row]]:
        """Take the lease, work for a bounded time, and when all is done note it and give the lease back."""
        self._check_secrets()
        # The lease too has the plain clock: a call that is over still gives it back.
        lease = Lease(self._state_dir, self.app, SystemClock())
        journal = Journal(self._state_dir, self.app)
        state = lease.acquire(turn.holder, turn.ttl, turn.take_over, turn.epoch)
        self.epoch = state.epoch
        run = Run(turn.holder.run, state.epoch, turn.ttl, journal, lease)
        if not turn.epoch:
            self._begin(lease)
        outcome = Executor(self.release, self.site, run, self._clock, turn.resume).work(
            turn.seconds
        )
        if outcome.status == "done":
            with lease.guard(state.epoch):
                swept = self.site.engine.sweep_secrets(self.release.secrets_dir(self._state_dir))
                pruned = self._finish()
            journal.append(self._row(run, "record", {"pruned": pruned, "swept": list(swept)}))
        undone_next = turn.undo_follows and outcome.worth_undoing
        if outcome.status == "done" or (outcome.status == "failed" and not undone_next):
            lease.release(turn.holder.run)
        return outcome, journal.written

    def _begin(self, lease: Lease) -> None:
        """Note where this run goes, and bring on disk what a run that died had changed and not yet persisted."""
        with lease.guard(self.epoch):
            if self.release.wanted_replicas and self._to != UNDO:
                self.releases.begin(Begun(self.release.id, self._to))
            for balancer in self._balancers():
                balancer.driver.persist()

    def _choose(self, wanted: AppSpec, to: str, engine: Engine) -> Release:
        if not to:
            image_id = resolve_image(
                wanted.image, self._state_dir, lambda ref: engine.image(ref) is not None
            )
            return self._release(wanted, image_id, engine)
        record = self._record(to)
        if record is None:
            return self._nothing(wanted)
        spec = restored(record, wanted, keep_scale=to != UNDO)
        return self._release(spec, record.image_id, engine)

    def _record(self, to: str) -> ReleaseRecord | None:
        completed = self.releases.completed()
        if to == UNDO:
            return self.releases.get(completed[-1]) if completed else None
        if to == PREVIOUS:
            return self.releases.previous()
        return self.releases.named(to)

    def _nothing(self, wanted: AppSpec) -> Release:
        """Return the release to go back to when there never was one: no replica at all."""
        processes = tuple(replace(process, replicas=0, max_surge=1) for process in wanted.processes)
        return Release(replace(wanted, processes=processes), "")

    def _release(self, spec: AppSpec, image_id: str, engine: Engine) -> Release:
        image = engine.image(image_id)
        if image is None:
            raise CutoverError(
                f"image {image_id} of {spec.image} is not on this host; nothing was changed"
            )
        if spec.verify == "required":
            # In every call, before it changes anything; what is verified here is the ID that containers are made of.
            verify_image(spec.image, image.id, spec.verify_keys, self._state_dir)
        _check_image(image)
        commands = _commands(image)
        for process in spec.processes:
            if commands and not process.command and process.name not in commands:
                raise InvalidInput(
                    f"processes.{process.name}.command",
                    None,
                    f"is required: the image names commands only for {', '.join(sorted(commands))}",
                )
        return Release(spec, image_id, commands)

    def _check_host(self, engine: Engine) -> None:
        networks = engine.networks()
        if self.release.spec.network not in networks:
            raise InvalidInput(
                "network",
                self.release.spec.network,
                f"network not found on this host; have {', '.join(networks)}",
            )
        if self._to:
            self._check_secrets()
        cpus = os.cpu_count() or 1
        for process in self.release.spec.processes:
            readiness_probe(process)
            if process.limits.cpus > cpus:
                raise InvalidInput(
                    f"processes.{process.name}.resources.cpus",
                    process.limits.cpus,
                    f"must not be above the host's {cpus}",
                )

    def _check_secrets(self) -> None:
        """Refuse a secret that is not there; those of a new release are placed after its plan was made."""
        for secret in self.release.spec.secrets:
            if not os.path.isfile(secret.source):
                raise InvalidInput(
                    f"secrets.{secret.name}.source", secret.source, "must be a file on this host"
                )

    def _check_processes(self) -> None:
        known = {process.name for process in self.release.spec.processes}
        for replica in self.world.replicas:
            if replica.process not in known:
                raise InvalidInput(
                    "processes",
                    sorted(known),
                    f"must keep {replica.process}: {replica.name} still runs",
                )

    def _finish(self) -> list[str]:
        if not self.release.wanted_replicas:
            self.releases.nothing_runs()
            return []
        self.releases.save(
            ReleaseRecord(
                id=self.release.id,
                version=self.release.spec.version,
                image=self.release.spec.image,
                image_id=self.release.image_id,
                spec=to_mapping(self.release.spec),
            )
        )
        self.releases.complete(self.release.id)
        return prune(self.releases, self.site.engine, self._state_dir, self.release.spec)

    def _row(self, run: Run, step: str, detail: Mapping[str, object]) -> Row:
        return Row(
            time=self._clock.now(),
            run=run.id,
            epoch=run.epoch,
            app=self.app,
            step=step,
            outcome="ok",
            release=self.release.id,
            version=self.release.spec.version,
            detail=detail,
        )


def connect_all(spec: AppSpec, clock: Clock) -> dict[str, tuple[Balancer, ...]]:
    """Return the load balancers of each process, refusing options no driver knows."""
    found: dict[str, list[Balancer]] = {}
    for index, ref in enumerate(spec.load_balancers):
        driver = factory.connect(_options(ref, f"load_balancers[{index}]"), clock)
        found.setdefault(ref.process, []).append(Balancer(driver, GroupCommit(driver)))
    return {process: tuple(balancers) for process, balancers in found.items()}


def _options(ref: LoadBalancerRef, path: str) -> dict[str, object]:
    """Return a driver's options; without a socket they are those of the role load_balancer, by name."""
    fields = Fields(dict(ref.options), path)
    name = check_name(fields.raw("name", DEFAULT_BALANCER), f"{path}.name")
    options = {
        key: fields.raw(key, option.get("default"))
        for key, option in factory.LOAD_BALANCER_SPEC.items()
    }
    fields.finish()
    if options["socket"]:
        return options
    sockets = f"/run/immutable-cutover/{name}"
    return {
        **options,
        "socket": f"{sockets}/admin.sock",
        "master_socket": f"{sockets}/master.sock",
        "config": f"/etc/immutable-cutover/{name}/haproxy.cfg",
        "container": name,
    }


def restored(record: ReleaseRecord, wanted: AppSpec, *, keep_scale: bool) -> AppSpec:
    """Return a kept release under today's load balancers and strategy; C(keep_scale): and today's replicas.

    A rollback that a person asks for is held to today's keys. What undoes a failed run restores what ran before it, and
    is held to the keys of its own time: else the first run that must verify could not be undone.
    """
    then, today = parse_spec(record.spec), to_mapping(wanted)
    flow = {key: today[key] for key in ("load_balancers", "strategy", "retain")}
    if not keep_scale:
        return parse_spec({**to_mapping(then), **flow})
    flow |= {key: today[key] for key in ("verify", "verify_keys")}
    scaled = tuple(
        replace(process, replicas=wanted_process.replicas if wanted_process else process.replicas)
        for process in then.processes
        for wanted_process in [wanted.process(process.name)]
    )
    return parse_spec({**to_mapping(replace(then, processes=scaled)), **flow})


def prune(releases: Releases, engine: Engine, state_dir: str, spec: AppSpec) -> list[str]:
    """Forget releases beyond C(retain): their records, secrets and images, unless something still uses them."""
    dropped = releases.forget(spec.retain)
    if not dropped:
        return []
    kept = releases.all()
    used_images = images_in_use(state_dir)
    used_secrets = {source for record in kept for source in _secret_sources(record.spec)}
    for record in dropped:
        for source in _secret_sources(record.spec):
            if source not in used_secrets and source.startswith(os.path.join(state_dir, "")):
                _unlink(source)
        if record.image_id not in used_images:
            _remove_image(engine, record.image_id)
    return [record.id for record in dropped]


def _remove_image(engine: Engine, image_id: str) -> None:
    if not any(item.image_id == image_id for item in engine.containers({})):
        engine.remove_image(image_id)


def _unlink(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


def _secret_sources(spec: Mapping[str, object]) -> Sequence[str]:
    return [secret.source for secret in parse_spec(spec).secrets]


def _check_image(image: Image) -> None:
    user = image.user.split(":")[0]
    if user in ("", "0", "root"):
        raise InvalidInput(
            "image", image.id, "must run as a non-root user: set config.user in its recipe"
        )
    if not _NUMERIC_USER.fullmatch(image.user):
        raise InvalidInput(
            "image",
            image.id,
            f"its user {image.user!r} must be numeric, whether its /etc/passwd has it or not: "
            "a name cannot be told from root; set config.user in its recipe",
        )
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    if image.architecture and image.architecture != machine:
        raise InvalidInput("image", image.id, f"image is {image.architecture}, host {machine}")


def _commands(image: Image) -> dict[str, tuple[str, ...]]:
    """Return the argv of each process the image itself names."""
    text = image.labels.get(ENTRYPOINTS, "{}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CutoverError(f"image {image.id}: label {ENTRYPOINTS} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CutoverError(
            f"image {image.id}: label {ENTRYPOINTS} must be a mapping of process to argv"
        )
    return {str(name): tuple(str(word) for word in argv) for name, argv in found.items()}


def describe_world(world: World) -> dict[str, list[dict[str, object]]]:
    """Return each process's replicas as plain data, for before, after and the info modules."""
    result: dict[str, list[dict[str, object]]] = {}
    for replica in sorted(world.replicas, key=lambda item: (item.process, item.name)):
        result.setdefault(replica.process, []).append(
            {
                "name": replica.name,
                "release": replica.release,
                "version": replica.version,
                "state": replica.phase.value,
                "address": f"{replica.address}:{replica.port}" if replica.address else "",
            }
        )
    return result
