# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe of an image, validated whole; private, no stability promised."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_kinds import (
    BUILD_KEYS,
    NO_BUILD,
    Build,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    canonical_json,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.modes import is_mode
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import (
    NO_POLICY,
    Policy,
    read_policy,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    Known,
    is_repository,
    nothing_known,
    parse_reference,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.validate import (
    ENV_NAME,
    NAME,
    NAME_RULE,
    Problems,
    Reader,
    inside,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.yaml_file import load_yaml

FORMAT = 1
RESERVED_LABELS = ("immutable.cutover.", "org.opencontainers.image.")
ENVIRONMENT_WORDS = frozenset(
    [
        *("latest", "stable", "current", "dev", "devel", "develop", "development"),
        *("test", "testing", "qa", "uat", "acceptance", "stage", "staging"),
        *("preprod", "prod", "production", "live"),
    ]
)
_NUMBER = r"(?:0|[1-9][0-9]*)"
_SEMVER = re.compile(rf"\A{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\Z")
_SIGNAL = r"SIG[A-Z]+[0-9+]*"
_DEFAULT_MODE = "u=rwX,go=rX"
# Where the files are and how the image is judged: neither changes what is baked, so neither makes a version another.
_NOT_BAKED = frozenset({"context", "policy"})
_DEFAULT_EXCLUDE = ("__pycache__", "*.pyc", ".git", ".DS_Store")


@dataclass(frozen=True)
class FileRule:
    """Which files of the context go where."""

    src: str
    dest: str
    mode: str
    exclude: tuple[str, ...]


@dataclass(frozen=True)
class PythonInput:
    """What is resolved to locked wheels."""

    requirements: str
    version: str


@dataclass(frozen=True)
class ImageConfig:
    """How a container of the image starts when nobody says otherwise."""

    user: str = ""
    workdir: str = ""
    expose: tuple[str, ...] = ()
    stop_signal: str = ""
    env: tuple[tuple[str, str], ...] = ()
    env_required: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A valid recipe; content is what its checksum covers."""

    path: str
    context: str
    kind: str
    name: str
    version: str
    base: str
    suite: str
    apt: tuple[str, ...]
    python: PythonInput | None
    files: tuple[FileRule, ...]
    config: ImageConfig
    entrypoints: tuple[tuple[str, tuple[str, ...]], ...]
    content: t.Mapping[str, t.Any]
    policy: Policy = NO_POLICY
    build: Build = NO_BUILD

    @property
    def baked_content(self) -> dict[str, t.Any]:
        """Return what decides what is baked, as plain data."""
        return {key: value for key, value in self.content.items() if key not in _NOT_BAKED}

    @property
    def tag(self) -> str:
        """Return the human name of what is baked."""
        return f"{self.name}:{self.version}"

    @property
    def lock_path(self) -> str:
        """Return the lock file: beside the recipe, with its name."""
        return os.path.splitext(self.path)[0] + ".lock"


def load_recipe(path: str, known: Known = nothing_known) -> Recipe:
    """Read and validate a recipe; every mistake is one line of the error. C(known): the images a base may be."""
    data = load_yaml(path, "recipe")
    problems = Problems(path, known)
    reader = Reader(data, "", problems)
    recipe = _read(path, reader, problems)
    reader.finish()
    problems.raise_any()
    return recipe


def recipe_checksum(recipe: Recipe) -> str:
    """Return what the lock is bound to: the recipe's meaning, not its spelling or place."""
    return "sha256:" + sha256_bytes(canonical_json(recipe.baked_content))


def requirements_path(recipe: Recipe) -> str:
    """Return the requirements file, which must be a plain file inside the context."""
    if recipe.python is None:
        raise CutoverError(f"{recipe.path}: recipe has no python part")
    path = os.path.join(recipe.context, recipe.python.requirements)
    if os.path.islink(path) or not os.path.isfile(path):
        raise InvalidInput("python.requirements", path, "is not a plain file inside the context")
    return path


def _read(path: str, reader: Reader, problems: Problems) -> Recipe:
    if reader.raw("bake") != FORMAT or isinstance(reader.raw("bake"), bool):
        reader.bad("bake", f"must be {FORMAT}, the recipe format this collection knows")
    kind = reader.one_of("kind", ("base", "app"))
    folder = os.path.dirname(os.path.abspath(path))
    context = os.path.normpath(os.path.join(folder, reader.text("context", ".")))
    config, allow_root = _read_config(reader, kind, problems)
    build = _read_build(reader, context, allow_root, problems)
    base, suite, apt = _read_origin(reader, kind, build, problems)
    return Recipe(
        path=os.path.abspath(path),
        context=context,
        kind=kind,
        name=_read_name(reader, problems),
        version=_read_version(reader),
        base=base,
        suite=suite,
        apt=apt,
        python=_read_python(reader, kind, problems),
        files=_read_files(reader, problems),
        config=config,
        entrypoints=_read_entrypoints(reader, problems),
        content=reader.data,
        policy=_read_policy(reader, problems),
        build=build,
    )


def _read_build(reader: Reader, context: str, allow_root: bool, problems: Problems) -> Build:
    if not [key for key in BUILD_KEYS if reader.has(key)]:
        return NO_BUILD
    from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_build import (
        read_build,
    )

    return read_build(reader, context, allow_root, problems)


def _read_policy(reader: Reader, problems: Problems) -> Policy:
    return (
        read_policy(reader.raw("policy"), "policy", problems) if reader.has("policy") else NO_POLICY
    )


def _read_name(reader: Reader, problems: Problems) -> str:
    name = reader.text("name", rule=NAME_RULE)
    for part in name.split("/") if name else ():
        if len(part) > 63:
            problems.add("name", name, "a part is longer than 63")
        elif part.lower() in ENVIRONMENT_WORDS:
            problems.add(
                "name", name, f"'{part}' is an environment: one image is for all environments"
            )
    if name and ":" in name:
        problems.add("name", name, "must be a repository without a tag; the tag is version")
    elif name and not is_repository(name):
        problems.add("name", name, f"each part {NAME_RULE} in lower case")
    return name


def _read_version(reader: Reader) -> str:
    version = reader.text("version", rule="must be a quoted SemVer like 1.4.2")
    if not version:
        return version
    if problem := version_problem(version):
        reader.bad("version", problem)
    return version


def version_problem(version: str) -> str:
    """Return why this cannot be the version of an image, or an empty string."""
    words = set(re.split(r"[.-]", version.lower())) & ENVIRONMENT_WORDS
    if words:
        return f"unpinned version '{min(words)}': must be a SemVer like 1.4.2"
    if not _SEMVER.match(version):
        return "must be a SemVer like 1.4.2, no range and no build metadata"
    return ""


def _read_origin(
    reader: Reader, kind: str, build: Build, problems: Problems
) -> tuple[str, str, tuple[str, ...]]:
    base, suite = "", ""
    apt = reader.texts(
        "apt",
        r"[a-z0-9][a-z0-9+.-]+(?:=[A-Za-z0-9][A-Za-z0-9.+:~-]*)?",
        "unpinned version or bad name: must be package or package=version",
    )
    if kind == "app":
        if apt:
            reader.bad("apt", "only kind: base installs OS packages")
        if reader.has("bootstrap"):
            reader.bad("bootstrap", "only kind: base is bootstrapped")
        base = _read_base(reader, build, problems)
    elif kind == "base":
        if reader.has("dockerfile"):
            reader.bad("dockerfile", "only kind: app is built from a Dockerfile")
        if reader.has("base"):
            for key in [key for key in ("bootstrap", "apt") if reader.has(key)]:
                reader.bad(key, "cannot be used with base: it belongs into the base below")
            base = _read_base(reader, build, problems)
        else:
            part = Reader(reader.raw("bootstrap"), "bootstrap", problems)
            suite = part.text(
                "suite", None, r"[a-z][a-z0-9-]{1,30}", "must be a suite, as bookworm"
            )
            part.finish()
    return base, suite, apt


def _read_base(reader: Reader, build: Build, problems: Problems) -> str:
    if not reader.has("dockerfile"):
        base = reader.text("base", rule="must be pinned name@sha256:<64 hex>")
        return _pinned_base(base, problems) if base else ""
    for key in ("base", "files"):
        if reader.has(key):
            reader.bad(key, "the Dockerfile says it: FROM and COPY")
    return build.docker.content.base if build.docker else ""


def _pinned_base(base: str, problems: Problems) -> str:
    try:
        return str(parse_reference(base, "base", problems.known))
    except InvalidInput as error:
        problems.note(error)
        return base


def _read_python(reader: Reader, kind: str, problems: Problems) -> PythonInput | None:
    if not reader.has("python"):
        return None
    if kind == "base":
        reader.bad("python", "only kind: app installs wheels; a base takes python3 from apt")
    part = Reader(reader.raw("python"), "python", problems)
    requirements = part.text("requirements")
    version = part.text("version", "3.11", r"3\.[0-9]{1,2}", "must be a quoted version like '3.11'")
    part.finish()
    if requirements:
        inside("python.requirements", requirements, problems)
    return PythonInput(requirements, version)


def _read_files(reader: Reader, problems: Problems) -> tuple[FileRule, ...]:
    value = reader.raw("files")
    if value is None and not reader.has("files"):
        return ()
    if not isinstance(value, list):
        reader.bad("files", "must be a list of {src, dest, mode}")
        return ()
    return tuple(_read_file(item, f"files[{n}]", problems) for n, item in enumerate(value))


def _read_file(item: object, path: str, problems: Problems) -> FileRule:
    part = Reader(item, path, problems)
    src = part.text("src")
    dest = part.text("dest", None, r"/[^:]*", "must be an absolute path")
    if src:
        inside(f"{path}.src", src, problems)
    if ".." in dest.split("/"):
        part.bad("dest", "must be an absolute path without ..")
    mode = part.raw("mode") if part.has("mode") else _DEFAULT_MODE
    if not isinstance(mode, str) or not is_mode(mode):
        part.bad("mode", "must be a quoted mode like '0644' or u=rwX,go=rX")
    exclude = part.texts("exclude") if part.has("exclude") else _DEFAULT_EXCLUDE
    part.finish()
    return FileRule(src, dest, str(mode), exclude)


def _read_config(reader: Reader, kind: str, problems: Problems) -> tuple[ImageConfig, bool]:
    """Return the configuration, and whether its user may be root."""
    part = Reader(reader.raw("config") if reader.has("config") else {}, "config", problems)
    allow_root = part.flag("allow_root")
    by_dockerfile = reader.has("dockerfile")
    for key in part.data if by_dockerfile else ():
        if key not in ("allow_root", "env_required"):
            part.bad(key, "the Dockerfile says it")
    config = ImageConfig(
        user="" if by_dockerfile else _read_user(part, kind, allow_root),
        workdir=part.text("workdir", "", r"/[^:]*", "must be an absolute path"),
        expose=_read_ports(part, problems),
        stop_signal=part.text("stop_signal", "", _SIGNAL, "must be a signal name, as SIGTERM"),
        env=part.pairs("env"),
        env_required=part.texts("env_required"),
        entrypoint=part.texts("entrypoint"),
        cmd=part.texts("cmd"),
        labels=part.pairs("labels"),
    )
    for name in [name for name, _value in config.env] + list(config.env_required):
        if not ENV_NAME.match(name):
            problems.add("config.env", name, "env name must match [A-Za-z_][A-Za-z0-9_]*")
    for name in sorted({name for name, _value in config.env} & set(config.env_required)):
        problems.add(f"config.env.{name}", name, "is required from outside: it has no default here")
    for label, _value in config.labels:
        if label.startswith(RESERVED_LABELS):
            problems.add(f"config.labels.{label}", label, "label prefix is reserved")
    if by_dockerfile:
        part.asked.update(part.data)
    part.finish()
    return config, allow_root


def _read_user(part: Reader, kind: str, allowed: bool) -> str:
    if not part.has("user"):
        if kind == "app" and not allowed:
            part.bad("user", "final user would be root: set a numeric user or allow_root: true")
        return ""
    user = part.raw("user")
    if not isinstance(user, str) or not re.fullmatch(r"[0-9]{1,9}(:[0-9]{1,9})?", user):
        part.bad("user", "must be a quoted numeric user, as '10001' or '10001:10001'")
        return ""
    if int(user.partition(":")[0]) == 0 and not allowed:
        part.bad("user", "final user is root: set another numeric user or allow_root: true")
    return user


def _read_ports(part: Reader, problems: Problems) -> tuple[str, ...]:
    value = part.raw("expose") if part.has("expose") else []
    if not isinstance(value, list):
        part.bad("expose", "must be a list of ports")
        return ()
    for index, port in enumerate(value):
        if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
            problems.add(f"config.expose[{index}]", port, "port must be an integer 1-65535")
    return tuple(f"{port}/tcp" for port in value)


def _read_entrypoints(
    reader: Reader, problems: Problems
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not reader.has("entrypoints"):
        return ()
    part = Reader(reader.raw("entrypoints"), "entrypoints", problems)
    found: list[tuple[str, tuple[str, ...]]] = []
    for name in part.data:
        if not isinstance(name, str) or not NAME.match(name):
            problems.add("entrypoints", name, f"process name {NAME_RULE}")
            continue
        command = part.texts(name)
        if not command:
            part.bad(name, "must be a list of words, the command and its arguments")
        found.append((name, command))
    return tuple(sorted(found))
