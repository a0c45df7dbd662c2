# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy, from 2.5, through its Runtime API; private, no stability promised.

Answers are text without a status, so every change is read back. Nothing that is changed at run time
survives a restart by itself: persist() writes it into haproxy.cfg, in step and without a reload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from ansible_collections.immutable.cutover.plugins.module_utils._clock import Clock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerError,
)
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    LoadBalancerErrorKind as Kind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_config as config_text,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_file as file,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_socket as runtime,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer import (
    _haproxy_state as state,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_preview import (
    PreviewMap,
    map_name,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_sessions import (
    SessionTable,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._haproxy_work import (
    WorkCounter,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer._names import (
    checked_address,
    checked_name,
    checked_number,
    checked_port,
    joined,
)
from ansible_collections.immutable.cutover.plugins.module_utils._load_balancer.base import (
    Admin,
    Capabilities,
    Change,
    InFlight,
    LoadBalancer,
    Quality,
    Session,
    Target,
    Traffic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._shared_read import SharedRead

OLDEST = (2, 5)
# A new server counts as down, so downinter decides how soon its health is known.
CHECK = "check inter 1s fastinter 100ms downinter 100ms rise 1 fall 3"
CONFIRM = 15.0
"""Seconds until a change must show in HAProxy's own view; it does at once, but not behind a proxy of its socket."""
_WORDS = {Admin.ACTIVE: "ready", Admin.MAINTENANCE: "maint"}
# Others look at load or at the request first: leastconn spreads idle servers evenly, whatever their weights.
_BY_WEIGHT = frozenset({"roundrobin", "static-rr"})
_AT_ONCE = 64
"""Weights in one line: the longest names then fill half of the 16 KB that HAProxy reads at a time."""


class HaproxyLoadBalancer(LoadBalancer):
    """One backend of one HAProxy."""

    def __init__(
        self,
        socket: runtime.RuntimeSocket,
        backend: str,
        clock: Clock,
        *,
        master: runtime.RuntimeSocket | None = None,
        config: file.ConfigFile | None = None,
        check: str = CHECK,
        confirm: float = CONFIRM,
    ) -> None:
        self._backend = checked_name("load_balancer.backend", backend)
        self._socket = socket
        self._clock = clock
        self._config = config
        self._check = check
        self._confirm = confirm
        self._work = WorkCounter(socket, master, self._backend)
        self._sessions = SessionTable(socket, master, self._backend)
        beside = config.beside(map_name(backend)) if config else None
        self._preview = PreviewMap(socket, backend, beside, self._balance, self._fail)
        self._shared = SharedRead(self._read_servers)

    @property
    def where(self) -> str:
        """Name the backend and the socket."""
        return f"haproxy {self._socket.path} backend {self._backend}"

    def probe(self) -> Capabilities:
        """Check socket, level, version, backend, balance algorithm and the file to persist into."""
        version = state.parse_info(self._socket.ask("show info")).get("Version", "")
        if state.version_tuple(version) < OLDEST:
            self._fail(
                Kind.UNSUPPORTED,
                "del server needs HAProxy >= "
                + ".".join(map(str, OLDEST))
                + f", found {version or '?'}",
            )
        self._probe_level()
        self._probe_backend()
        if self._config is not None:
            self._in_step(self._config.read())
        balance = self._balance()
        return Capabilities(
            name="haproxy",
            version=version,
            standby=True,
            weight=True,
            health=True,
            in_flight=Quality.EXACT,
            persistence=self._config is not None,
            settle=0.05,
            shares=balance in _BY_WEIGHT,
            balance=balance,
            preview=self._preview.usable,
        )

    def _balance(self) -> str:
        """Return the balance algorithm, or nothing where HAProxy does not tell: then no share can be relied on."""
        try:
            return state.parse_balance(self._socket.ask(state.backends_stat()), self._backend)
        except (ValueError, KeyError):
            return ""

    def _probe_level(self) -> None:
        level = self._socket.ask("show cli level").strip()
        if level != "admin":
            self._fail(Kind.PERMISSION_DENIED, f"need level admin, the socket has level {level}")

    def _probe_backend(self) -> None:
        """An add without an address is always refused; how, tells whether a real one would work."""
        answer = self._socket.ask(f"add server {self._backend}/probe").strip()
        if answer.startswith("No such backend"):
            names = state.parse_names(self._socket.ask("show backend"))
            self._fail(
                Kind.BACKEND_NOT_FOUND,
                f"backend {self._backend!r} not found; have {', '.join(sorted(names)) or 'none'}",
            )
        if "dynamic load balancing" in answer:
            self._fail(
                Kind.UNSUPPORTED,
                "the backend uses a static balance algorithm; adding servers at run time needs a"
                " dynamic one (roundrobin, leastconn, first or random)",
                answer,
            )

    def targets(self) -> tuple[Target, ...]:
        """Return every server of the backend."""
        return tuple(server.target() for server in self._servers())

    def register(self, name: str, address: str, port: int) -> Change:
        """Add the server and have it checked while it gets nothing; no moment in which it could."""
        name = checked_name("name", name)
        address, port = checked_address("address", address), checked_port("port", port)
        before = self._find(name)
        if before is None:
            answer = self._socket.ask(
                f"add server {self._path(name)} {joined(address, port)} {self._check}"
            ).strip()
            if "registered" not in answer and "Already exists" not in answer:
                self._fail(Kind.UNSUPPORTED, f"cannot add server {name}", answer)
            if "registered" in answer:
                return Change(name, None, self.set_state(name, Admin.STANDBY).after)
            before = self._existing(name)
        if (before.address, before.port) != (address, port):
            self._fail(
                Kind.CONFLICT,
                f"server {name} exists with address {joined(before.address, before.port)},"
                f" not {joined(address, port)}; deregister it first",
            )
        return Change(name, before.target(), before.target())

    def set_state(self, name: str, admin: Admin) -> Change:
        """Set the state and read it back; standby and draining are one state in HAProxy."""
        name = checked_name("name", name)
        if admin is Admin.ABSENT:
            return self.deregister(name)
        before = self._existing(name)
        commands = self._commands(before, admin)
        for command in commands:
            self._change(command, name)
        after = (
            self._confirmed(name, lambda s: s.admin.as_good_as(admin), admin.value)
            if commands
            else before
        )
        return Change(name, before.target(), after.target())

    def _commands(self, server: state.Server, admin: Admin) -> list[str]:
        path = self._path(server.name)
        commands = []
        if admin is not Admin.MAINTENANCE and server.check_configured and not server.check_enabled:
            commands.append(f"enable health {path}")
        if admin is Admin.ACTIVE and server.weight == 0:
            commands.append(f"set server {path} weight {server.initial_weight or 1}")
        if not server.admin.as_good_as(admin):
            commands.append(f"set server {path} state {_WORDS.get(admin, 'drain')}")
        return commands

    def set_weight(self, name: str, weight: int) -> Change:
        """Set the weight, from 0 (which drains) to 256, and read it back."""
        name, weight = checked_name("name", name), checked_number("weight", weight, 0, 256)
        before = self._existing(name)
        if before.weight == weight:
            return Change(name, before.target(), before.target())
        self._change(f"set server {self._path(name)} weight {weight}", name)
        after = self._confirmed(name, lambda s: s.weight == weight, f"weight {weight}")
        return Change(name, before.target(), after.target())

    def set_weights(self, weights: Mapping[str, int]) -> Mapping[str, Change]:
        """Set them in one line, which HAProxy carries out before it routes many requests, and read them back."""
        before = {server.name: server for server in self._servers()}
        wanted = {
            checked_name("name", name): checked_number("weight", weight, 1, 256)
            for name, weight in weights.items()
            if name in before and before[name].weight != weight
        }
        names = list(wanted)
        for first in range(0, len(names), _AT_ONCE):
            part = names[first : first + _AT_ONCE]
            commands = [f"set server {self._path(name)} weight {wanted[name]}" for name in part]
            answer = self._socket.ask(";".join(commands)).strip()
            if answer and "No such server" not in answer:  # one may have gone since it was read
                self._fail(Kind.UNSUPPORTED, "refused to set weights", answer)
        after = self._weighed(wanted)
        return {
            name: Change(name, before[name].target(), server.target() if server else None)
            for name, server in after.items()
        }

    def _weighed(self, wanted: Mapping[str, int]) -> Mapping[str, state.Server | None]:
        """Read all servers until each has its weight or has gone."""
        deadline = self._clock.monotonic() + self._confirm
        while wanted:
            found = {server.name: server for server in self._servers()}
            off = [n for n in wanted if n in found and found[n].weight != wanted[n]]
            if not off:
                return {name: found.get(name) for name in wanted}
            if self._clock.monotonic() >= deadline:
                self._fail(Kind.STALE, f"weights were set and still are others: {', '.join(off)}")
            self._clock.sleep(0.02)
        return {}

    def traffic(self, names: Sequence[str]) -> Mapping[str, Traffic]:
        """Return the counters of the current worker."""
        answer = self._socket.ask(state.servers_stat())
        try:
            found = state.parse_traffic(answer, self._backend)
        except (ValueError, KeyError) as unreadable:
            self._fail(
                Kind.UNREACHABLE, f"cannot understand the answer ({unreadable})", answer[:200]
            )
        return {name: found[name] for name in names if name in found}

    def preview(self) -> tuple[str, ...] | None:
        """Return what the backend's map has; none where the backend has no such map, or may not use it."""
        return self._preview.names() if self._preview.usable else None

    def change_preview(self, change: Callable[[tuple[str, ...]], Iterable[str]]) -> bool:
        """Change the map at once, read it back, and its file."""
        return self._preview.change(
            lambda shown: [checked_name("name", name) for name in change(shown)]
        )

    def deregister(self, name: str) -> Change:
        """Drain, make sure that it is idle, put it into maintenance, delete it, and see it gone."""
        name = checked_name("name", name)
        before = self._find(name)
        if before is None:
            return Change(name, None, None)
        if before.admin is Admin.ACTIVE:
            self.set_state(name, Admin.DRAINING)
        self._refuse_busy(name)
        self.set_state(name, Admin.MAINTENANCE)
        self._delete(name)
        return Change(name, before.target(), None)

    def _refuse_busy(self, name: str) -> None:
        work = self.in_flight([name])[name]
        if work.total:
            shown = ", ".join(f"{part} {count}" for part, count in work.parts if count)
            self._fail(
                Kind.NOT_DRAINED,
                f"server {name} still works on {work.count}, and {work.queued} wait for it ({shown})",
            )

    def _delete(self, name: str) -> None:
        """HAProxy 2.6 refuses while it closes a pooled idle connection: try for a few seconds."""
        deadline = self._clock.monotonic() + self._confirm
        while True:
            answer = self._socket.ask(f"del server {self._path(name)}").strip()
            if self._find(name) is None:
                return
            if self._clock.monotonic() >= deadline:
                self._refuse_busy(name)
                self._fail(Kind.NOT_DRAINED, f"server {name} cannot be deleted", answer)
            self._clock.sleep(0.02)

    def in_flight(self, names: Sequence[str]) -> Mapping[str, InFlight]:
        """Return sessions and queue of each named server over current and leaving workers."""
        return self._work.count([checked_name("name", name) for name in names])

    def sessions(self, name: str) -> tuple[Session, ...]:
        """Return the sessions of a server over current and leaving workers."""
        return self._sessions.of(checked_name("name", name))

    def close(self, name: str, session: Session) -> bool:
        """Shut one session down."""
        return self._sessions.close(checked_name("name", name), session)

    def persist(self) -> bool:
        """Bring the managed part of haproxy.cfg in step with what runs; no reload."""
        if self._config is None:
            return False
        previewed = self._preview.write()
        return self._config.update(self._in_step) or previewed

    def persisted(self) -> bool:
        """Whether the managed part is in step now; true when there is no file to keep in step."""
        if self._config is None:
            return True
        text = self._config.read()
        return self._in_step(text) == text and self._preview.written()

    def _in_step(self, text: str) -> str:
        """Called under the file's lock, so that nothing older than the last writer saw is written."""
        try:
            servers = config_text.ours(self._servers(), text, self._backend)
            lines = [config_text.server_line(server, self._check) for server in servers]
            return config_text.replace_managed(text, self._backend, lines)
        except config_text.ConfigProblem as problem:
            self._fail(Kind.INVALID_CONFIG, str(problem))

    def _servers(self) -> tuple[state.Server, ...]:
        return self._shared.get()

    def _read_servers(self) -> tuple[state.Server, ...]:
        answer = self._socket.ask(f"show servers state {self._backend};{state.servers_stat()}")
        if answer.startswith("Can't find backend"):
            self._probe_backend()
        try:
            return state.parse_servers(answer, self._backend)
        except (ValueError, KeyError) as unreadable:
            self._fail(
                Kind.UNREACHABLE, f"cannot understand the answer ({unreadable})", answer[:200]
            )

    def _find(self, name: str) -> state.Server | None:
        return next((server for server in self._servers() if server.name == name), None)

    def _existing(self, name: str) -> state.Server:
        server = self._find(name)
        if server is None:
            self._fail(Kind.TARGET_NOT_FOUND, f"no server {name}")
        return server

    def _confirmed(
        self, name: str, holds: Callable[[state.Server], bool], wanted: str
    ) -> state.Server:
        """Read the server until HAProxy shows what was asked for."""
        deadline = self._clock.monotonic() + self._confirm
        while True:
            server = self._existing(name)
            if holds(server):
                return server
            if self._clock.monotonic() >= deadline:
                self._fail(
                    Kind.STALE,
                    f"server {name} was set to {wanted} and still shows {server.admin.value},"
                    f" weight {server.weight}",
                )
            self._clock.sleep(0.02)

    def _change(self, command: str, name: str) -> None:
        """Send what answers nothing when it worked."""
        answer = self._socket.ask(command).strip()
        if answer.startswith("No such server"):
            self._fail(Kind.TARGET_NOT_FOUND, f"no server {name}", answer)
        if answer:
            self._fail(Kind.UNSUPPORTED, f"refused '{command}'", answer)

    def _path(self, name: str) -> str:
        return f"{self._backend}/{name}"

    def _fail(self, kind: Kind, message: str, answer: str = "") -> NoReturn:
        raise LoadBalancerError(kind, f"{self.where}: {message}", answer, where=self.where)
