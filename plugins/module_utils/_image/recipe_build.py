# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the part of a recipe that runs something: steps, a play or a Dockerfile; private, no stability promised."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import HIDDEN
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_kinds import Build
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_steps import (
    BUILD_TIMEOUT,
    STEP_TIMEOUT,
    DockerBuild,
    Play,
    Step,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.dockerfile import (
    is_secret_env,
    read_dockerfile,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.validate import (
    ENV_NAME,
    NAME,
    NAME_RULE,
    Problems,
    Reader,
    inside,
)

_MAX_TIMEOUT = 86400
_MAX_DOCKERFILE = 1 << 20
_USER = r"[0-9]{1,9}(?::[0-9]{1,9})?"


def read_build(reader: Reader, context: str, allow_root: bool, problems: Problems) -> Build:
    """Read what a recipe runs."""
    secrets = reader.texts("secrets", NAME.pattern, NAME_RULE)
    inputs = tuple(path.rstrip("/") for path in reader.texts("inputs"))
    for number, path in enumerate(inputs):
        inside(f"inputs[{number}]", path, problems)
    build = Build(
        steps=_read_steps(reader, problems),
        play=_read_play(reader, problems),
        docker=_read_docker(reader, context, secrets, allow_root, problems),
        inputs=inputs,
        secrets=secrets,
    )
    runs = bool(build.steps or build.play or reader.has("run") or reader.has("play"))
    if reader.has("dockerfile") and (runs or reader.has("inputs")):
        reader.bad("dockerfile", "is the whole build: use it without run, play and inputs")
    for key in ("inputs", "secrets"):
        if reader.has(key) and not runs and not reader.has("dockerfile"):
            reader.bad(key, "nothing in this recipe runs anything: use it with run or play")
    return build


def _read_steps(reader: Reader, problems: Problems) -> tuple[Step, ...]:
    value = reader.raw("run")
    if not reader.has("run"):
        return ()
    if not isinstance(value, list) or not value:
        reader.bad("run", "must be a list of steps, each a list of words or {command: [...]}")
        return ()
    return tuple(_read_step(item, f"run[{n}]", problems) for n, item in enumerate(value))


def _read_step(item: object, path: str, problems: Problems) -> Step:
    part = Reader({"command": item} if isinstance(item, list) else item, path, problems)
    command = part.texts("command")
    if not command:
        part.bad("command", "must be a list of words, the command and its arguments")
    env = part.pairs("env")
    check_env(f"{path}.env", env, problems)
    step = Step(
        command=command,
        env=env,
        user=part.text("user", "0", _USER, "must be a quoted numeric user, as '10001'"),
        workdir=part.text("workdir", "/", r"/[^:]*", "must be an absolute path"),
        timeout=_read_timeout(part, STEP_TIMEOUT),
    )
    part.finish()
    return step


def check_env(path: str, env: t.Iterable[tuple[str, str]], problems: Problems) -> None:
    """Refuse names that are none, and values that look like secrets."""
    for name, value in env:
        if not ENV_NAME.match(name):
            problems.add(path, name, "env name must match [A-Za-z_][A-Za-z0-9_]*")
        elif is_secret_env(name, value):
            problems.add(f"{path}.{name}", HIDDEN, "looks like a secret: use secrets:")


def _read_play(reader: Reader, problems: Problems) -> Play | None:
    if not reader.has("play"):
        return None
    value = reader.raw("play")
    part = Reader({"playbook": value} if isinstance(value, str) else value, "play", problems)
    playbook = part.text("playbook")
    timeout = _read_timeout(part, BUILD_TIMEOUT)
    part.finish()
    if not playbook:
        return None
    inside("play.playbook", playbook, problems)
    if not os.path.dirname(playbook):
        part.bad(
            "playbook", "must be in a folder of its own, as play/site.yml: all of it is locked"
        )
    return Play(os.path.normpath(playbook), timeout)


def _read_docker(
    reader: Reader, context: str, secrets: tuple[str, ...], allow_root: bool, problems: Problems
) -> DockerBuild | None:
    if not reader.has("dockerfile"):
        return None
    value = reader.raw("dockerfile")
    part = Reader({"path": value} if isinstance(value, str) else value, "dockerfile", problems)
    path = part.text("path", "Dockerfile")
    args = part.pairs("args")
    timeout = _read_timeout(part, BUILD_TIMEOUT)
    part.finish()
    _check_args(args, problems)
    inside("dockerfile.path", path, problems)
    text = _dockerfile_text(context, path, problems)
    content = text and read_dockerfile(text, path, problems, secrets, allow_root)
    return DockerBuild(os.path.normpath(path), args, timeout, content) if content else None


def _check_args(args: t.Iterable[tuple[str, str]], problems: Problems) -> None:
    for name, value in args:
        if not ENV_NAME.match(name):
            problems.add("dockerfile.args", name, "name must match [A-Za-z_][A-Za-z0-9_]*")
        elif is_secret_env(name, value):
            rule = "build args are stored in the image history: use secrets:"
            problems.add(f"dockerfile.args.{name}", HIDDEN, rule)


def _dockerfile_text(context: str, path: str, problems: Problems) -> str:
    source = os.path.join(context, path)
    plain = os.path.isfile(source) and os.path.realpath(source) == os.path.join(
        os.path.realpath(context), os.path.normpath(path)
    )
    if not plain:
        problems.add("dockerfile.path", source, "is not a plain file inside the context")
        return ""
    try:
        with open(source, encoding="utf-8", newline="") as stream:
            text = stream.read(_MAX_DOCKERFILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        problems.add("dockerfile.path", source, f"cannot be read: {error}")
        return ""
    if not text.strip() or len(text) > _MAX_DOCKERFILE:
        problems.add("dockerfile.path", source, f"must have 1-{_MAX_DOCKERFILE} characters")
        return ""
    return text


def _read_timeout(part: Reader, default: int) -> int:
    value = part.raw("timeout")
    if not part.has("timeout"):
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_TIMEOUT:
        part.bad("timeout", f"must be seconds, an integer 1-{_MAX_TIMEOUT}")
        return default
    return value
