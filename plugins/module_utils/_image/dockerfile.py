# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile as a list of instructions, and what of it is refused; private, no stability promised.

The engine's own builder reads it later. What is read here is only what must be known before anything runs: where it
comes from, who it ends as, and what would be fetched, stored or depend on more than the context.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    HIDDEN,
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    parse_reference,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.secret_scan import (
    known_secret,
    url_password,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.validate import (
    ENV_NAME,
    NAME,
    NAME_RULE,
    Problems,
)

_KNOWN = frozenset(
    [
        *("FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "WORKDIR", "USER", "EXPOSE", "LABEL"),
        *("CMD", "ENTRYPOINT", "STOPSIGNAL", "SHELL"),
    ]
)
_REFUSED = {
    "HEALTHCHECK": "readiness is of the spec that releases the image, nothing else looks at a replica: remove it",
    "MAINTAINER": "is deprecated: use LABEL",
    "ONBUILD": "would run in the build of another image: remove it",
    "VOLUME": "a replica keeps nothing: remove it",
}
SECRET_NAME = re.compile(r"PASS|TOKEN|SECRET|KEY", re.IGNORECASE)
_FILE_NAME = re.compile(r"_(?:FILE|PATH|DIR)\Z", re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t]*\Z")
_HEREDOC = re.compile(r"<<-?[\"']?[A-Za-z_]")
_FLAG = re.compile(r"--([a-z]+)(?:=(\S*))?(?:\s+|\Z)")
_REMOTE = re.compile(r"\A\[?\s*\"?(?:[a-z][a-z0-9+.-]*://|git@)|\.git(?:#|\s|\Z)", re.IGNORECASE)
_USER = re.compile(r"\A[0-9]{1,9}(?::[0-9]{1,9})?\Z")
_PROC = re.compile(r"\A/(?:proc|sys|dev)(?:/|\Z)")
_FLAGS = {"COPY": ("from", "chown"), "ADD": ("chown",), "RUN": ("mount", "network"), "FROM": ()}


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined; secrets are the names of the files it wants to see."""

    line: int
    name: str
    flags: tuple[tuple[str, str], ...]
    rest: str

    @property
    def text(self) -> str:
        """Return the instruction as one line."""
        flags = [f"--{key}={value}" for key, value in self.flags]
        return " ".join([self.name, *flags, self.rest]).rstrip()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that a step sees."""
        mounts = [_mount(value) for key, value in self.flags if key == "mount"]
        return tuple(mount.get("id", "") for mount in mounts)


@dataclass(frozen=True)
class Stage:
    """What one FROM begins."""

    origin: str
    name: str
    steps: tuple[Instruction, ...]


@dataclass(frozen=True)
class Dockerfile:
    """A Dockerfile that may be built."""

    stages: tuple[Stage, ...]

    @property
    def base(self) -> str:
        """Return the image that the last stage stands on."""
        return self.origins[-1]

    @property
    def origins(self) -> tuple[str, ...]:
        """Return the image below each stage, stages that stand on stages followed down."""
        found: dict[str, str] = {}
        origins = []
        for number, stage in enumerate(self.stages):
            origin = found.get(stage.origin.lower(), stage.origin)
            origins.append(origin)
            found[str(number)] = origin
            if stage.name:
                found[stage.name] = origin
        return tuple(origins)


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile as the classic builder joins their lines."""
    found: list[Instruction] = []
    joined, start = "", 0
    for number, raw in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        line = raw.strip(" \t")
        if not line or line.startswith("#"):
            if not joined:
                _refuse_directive(number, line)
            continue
        start = start if joined else number
        continued = _CONTINUED.search(raw)
        joined += raw[: continued.start()] if continued else raw
        if not continued:
            found.append(_instruction(start, joined.strip(" \t")))
            joined = ""
    if joined:
        found.append(_instruction(start, joined.strip(" \t")))
    return found


def _refuse_directive(number: int, line: str) -> None:
    match = re.match(r"#\s*escape\s*=\s*(\S)", line, re.IGNORECASE)
    if match and match.group(1) != "\\":
        raise InvalidInput(f"line {number}", line, "the escape character must be a backslash")


def _instruction(line: int, text: str) -> Instruction:
    word, _space, rest = text.replace("\t", " ").partition(" ")
    name, rest = word.upper(), rest.strip()
    flags: list[tuple[str, str]] = []
    while name in _FLAGS and (match := _FLAG.match(rest)):
        flags.append((match.group(1), match.group(2) or ""))
        rest = rest[match.end() :]
    return Instruction(line, name, tuple(flags), rest)


def read_dockerfile(
    text: str, where: str, problems: Problems, secrets: t.Collection[str], allow_root: bool
) -> Dockerfile | None:
    """Return a Dockerfile if all of it may be built; what may not is noted line by line."""
    reader = _Reader(where, problems, secrets)
    try:
        instructions = parse(text)
    except InvalidInput as error:
        problems.add(f"{where}:{error.path.removeprefix('line ')}", text[:40], error.allowed)
        return None
    before = len(problems.found)
    for instruction in instructions:
        reader.take(instruction)
    if not reader.stages:
        problems.add(where, text.strip()[:40], "has no FROM")
        return None
    dockerfile = Dockerfile(tuple(reader.finished()))
    reader.check_user(allow_root)
    return dockerfile if len(problems.found) == before else None


class _Reader:
    """Takes one instruction after the other, and notes what is wrong with each."""

    def __init__(self, where: str, problems: Problems, secrets: t.Collection[str]) -> None:
        self.where, self.problems, self.secrets = where, problems, secrets
        self.stages: list[tuple[str, str, int]] = []
        self.steps: list[list[Instruction]] = []
        self.names: set[str] = set()
        self.users: dict[str, Instruction | None] = {}

    def bad(self, step: Instruction, allowed: str, value: object = None) -> None:
        """Note a mistake."""
        shown = step.text if value is None else value
        self.problems.add(f"{self.where}:{step.line}", shown, allowed)

    def take(self, step: Instruction) -> None:
        """Check one instruction and remember it."""
        odd = next((c for c in step.text if not c.isprintable()), "")
        if odd:
            self.bad(step, f"control character U+{ord(odd):04X}")
        elif step.name in _REFUSED:
            self.bad(step, f"{step.name} {_REFUSED[step.name]}")
        elif step.name not in _KNOWN:
            close = difflib.get_close_matches(step.name, sorted(_KNOWN), 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            self.bad(step, f"unknown instruction{hint}")
        elif known_secret(step.rest) or url_password(step.rest):
            self.bad(step, "holds a credential; use secrets:", HIDDEN)
        elif step.name != "FROM" and not self.stages:
            self.bad(step, "must come after FROM, which takes no argument")
        elif self._flags_are_known(step):
            getattr(self, f"_take_{step.name.lower()}", self._keep)(step)

    def _flags_are_known(self, step: Instruction) -> bool:
        for flag, _value in step.flags:
            if flag not in _FLAGS[step.name]:
                known = ", ".join(f"--{name}" for name in _FLAGS[step.name]) or "no flag"
                self.bad(step, f"--{flag} is not supported; {step.name} takes {known}")
                return False
        return True

    def _keep(self, step: Instruction) -> None:
        self.steps[-1].append(step)

    def _take_from(self, step: Instruction) -> None:
        words = step.rest.split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            self.bad(step, "must be FROM name@sha256:<64 hex>, or FROM ... AS stage")
            words = words[:1]
        origin, name = words[0] if words else "", words[2].lower() if len(words) == 3 else ""
        if origin.lower() not in self.names:
            try:
                parse_reference(origin, f"{self.where}:{step.line}", self.problems.known)
            except InvalidInput as error:
                self.bad(step, f"FROM must be pinned: {error.allowed}")
        if name and (not NAME.match(name) or name.isdigit() or name in self.names):
            self.bad(step, f"stage must be a name of its own, {NAME_RULE}")
        self.users[str(len(self.stages))] = self.users.get(origin.lower())
        self.stages.append((origin, name, step.line))
        self.steps.append([])
        self.names.add(name or str(len(self.stages) - 1))

    def _take_run(self, step: Instruction) -> None:
        for flag, value in step.flags:
            if flag == "network" and value != "none":
                self.bad(step, "--network must be none: no step has a network")
            elif flag == "mount":
                self._check_mount(step, value)
        if _HEREDOC.search(step.rest):
            self.bad(step, "a here-document needs BuildKit: COPY a script and run it")
        self._keep(step)

    def _check_mount(self, step: Instruction, value: str) -> None:
        mount = _mount(value)
        odd = set(mount) - {"type", "id", "required"}
        if mount.get("type") != "secret" or odd:
            self.bad(step, "--mount must be type=secret,id=NAME; the file is /run/secrets/NAME")
        elif mount.get("id") not in self.secrets:
            known = ", ".join(sorted(self.secrets)) or "none"
            self.bad(step, f"--mount: id must be one of secrets: in the recipe, which has {known}")

    def _take_copy(self, step: Instruction) -> None:
        for flag, value in step.flags:
            if flag == "from" and value.lower() not in self._stage_words():
                self.bad(step, "--from must be an earlier stage: name an image by FROM ... AS")
        if _HEREDOC.search(step.rest):
            self.bad(step, "a here-document needs BuildKit: COPY a file of the context")
        self._keep(step)

    def _stage_words(self) -> set[str]:
        names = {name for _origin, name, _line in self.stages[:-1] if name}
        return names | {str(number) for number in range(len(self.stages) - 1)}

    def _take_add(self, step: Instruction) -> None:
        if _REMOTE.search(step.rest):
            self.bad(step, "remote ADD refused: put the file into the context, where it is locked")
        self._keep(step)

    def _take_arg(self, step: Instruction) -> None:
        name = step.rest.partition("=")[0]
        if not ENV_NAME.match(name):
            self.bad(step, "must be ARG NAME or ARG NAME=default")
        elif SECRET_NAME.search(name):
            rule = "build args are stored in the image history: use RUN --mount=type=secret"
            self.bad(step, rule, HIDDEN if "=" in step.rest else None)
        self._keep(step)

    def _take_env(self, step: Instruction) -> None:
        for name, value in env_pairs(step.rest):
            if is_secret_env(name, value):
                self.bad(step, f"ENV {name} looks like a secret: it would be in the image", HIDDEN)
        self._keep(step)

    def _take_workdir(self, step: Instruction) -> None:
        if _PROC.match(step.rest):
            self.bad(step, "WORKDIR must not be below /proc, /sys or /dev")
        self._keep(step)

    def _take_user(self, step: Instruction) -> None:
        number = str(len(self.stages) - 1)
        self.users[number] = step
        name = self.stages[-1][1]
        if name:
            self.users[name] = step
        self._keep(step)

    def finished(self) -> t.Iterator[Stage]:
        """Yield the stages."""
        for (origin, name, _line), steps in zip(self.stages, self.steps, strict=True):
            yield Stage(origin, name, tuple(steps))

    def check_user(self, allow_root: bool) -> None:
        """Refuse a last user that is root, or that is not seen to be another without running anything."""
        user = self.users.get(str(len(self.stages) - 1))
        if allow_root:
            return
        if user is None:
            line = self.stages[-1][2]
            rule = "final user would be root: add USER with a number, or set config.allow_root"
            self.problems.add(f"{self.where}:{line}", self.stages[-1][0], rule)
        elif not _USER.match(user.rest):
            self.bad(user, "final user must be a number, as 10001 or 10001:10001")
        elif int(user.rest.partition(":")[0]) == 0:
            self.bad(user, "final user is root: set another number or config.allow_root")


def _mount(value: str) -> dict[str, str]:
    parts = [part.partition("=") for part in value.split(",")]
    return {key: item for key, _equals, item in parts}


def env_pairs(rest: str) -> list[tuple[str, str]]:
    """Return names and values of an ENV; of a value with variables as it is written."""
    try:
        words = shlex.split(rest)
    except ValueError:
        words = rest.split()
    if words and "=" not in words[0]:
        return [(words[0], " ".join(words[1:]))]
    return [(name, value) for name, _equals, value in (word.partition("=") for word in words)]


def is_secret_env(name: str, value: str) -> bool:
    """Tell whether a variable of the image looks like a secret, by its name or its value."""
    names_a_file = _FILE_NAME.search(name) and value.startswith("/")
    if value and SECRET_NAME.search(name) and not names_a_file:
        return True
    return bool(known_secret(value) or url_password(value))


def argument_defaults(steps: t.Iterable[Instruction], given: t.Mapping[str, str]) -> dict[str, str]:
    """Return the build arguments that are declared so far, with the values they have."""
    found: dict[str, str] = {}
    for step in steps:
        if step.name == "ARG":
            name, equals, default = step.rest.partition("=")
            if name in given:
                found[name] = given[name]
            elif equals:
                found[name] = "".join(shlex.split(default))
    return found


def command_of(step: Instruction, shell: t.Sequence[str]) -> list[str]:
    """Return the words that a RUN starts: its own list, or the shell with its text."""
    if step.rest.startswith("["):
        try:
            words = json.loads(step.rest)
        except ValueError:
            words = None
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            return list(words)
    return [*shell, step.rest]


def render(lines: t.Sequence[tuple[str, str]]) -> bytes:
    """Write instructions as a Dockerfile, and make sure that a reader finds these and no others in it."""
    text = "".join(f"{name} {rest}\n" for name, rest in lines)
    found = [(step.name, step.text.partition(" ")[2]) for step in parse(text)]
    if found != [(name, rest.strip()) for name, rest in lines]:
        raise CutoverError(
            "the Dockerfile cannot be written so that its instructions stay the same"
        )
    return text.encode()
