# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy rules about an image's origin, name and configuration; private, no stability promised."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Found,
    ImageUnderCheck,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import LABEL
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import (
    ENVIRONMENT_WORDS,
    version_problem,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import FOREIGN
from ansible_collections.immutable.cutover.plugins.module_utils._image.secret_scan import (
    known_secret,
    url_password,
)

_BASE_DIGEST = "org.opencontainers.image.base.digest"
_VERSION = "org.opencontainers.image.version"
_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
_USER = re.compile(r"\A([0-9]+)(?::[0-9]+)?\Z")
SECRET_NAME = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET|KEY", re.IGNORECASE)
_FILE_NAME = re.compile(r"_(?:FILE|PATH|DIR)\Z", re.IGNORECASE)
_PROXY = re.compile(r"\A(?:https?|ftp|all|no)_proxy\Z", re.IGNORECASE)
_TRUST = frozenset(
    [
        *(
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
        ),
        *("NODE_EXTRA_CA_CERTS", "PIP_CERT", "PIP_TRUSTED_HOST", "AWS_CA_BUNDLE"),
    ]
)
_HISTORY_PROXY = re.compile(r"\b(?:https?|ftp|all)_proxy=\S", re.IGNORECASE)
_HISTORY_SECRET = re.compile(
    r"\b([A-Za-z0-9_]*(?:PASSWORD|PASSWD|TOKEN|SECRET|API_?KEY)[A-Za-z0-9_]*)=(?!\$|\s|/run/secrets/)\S",
    re.IGNORECASE,
)
_HISTORY_TRUST = re.compile(
    r"update-ca-certificates|--trusted-host|/usr/local/share/ca-certificates"
)


def base_by_digest(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P1: what an image stands on is named by digest, and is really below it."""
    named = check.image.labels.get(_BASE_DIGEST, "")
    baked = check.baked
    if baked is None:
        if not _DIGEST.match(named):
            yield Found(f"label {_BASE_DIGEST} names no digest: what it was built on is unknown")
        return
    if not baked.recipe.base:
        return
    record, base = baked.base_record, check.base
    if record is None or base is None:
        yield Found(f"base {baked.recipe.base} is not in the output folder")
        return
    if check.image.diff_ids[: len(base.layers)] != base.diff_ids:
        yield Found(f"its first layers are not those of its base {baked.recipe.base}")
    if named != record.manifest_digest:
        yield Found(f"label {_BASE_DIGEST} is {named or 'missing'}, not its base's digest")
    if baked.lock is not None and (
        baked.lock.base is None or baked.lock.base.ref != baked.recipe.base
    ):
        yield Found(f"the lock names another base than the recipe: {baked.recipe.base}")


def version_is_fixed(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P2: a version never moves, and names no environment."""
    names = list(check.tags) or [check.name]
    if check.baked is not None:
        names = [check.baked.record.tag]
    label = check.image.labels.get(_VERSION, "")
    for name in names:
        repository, tag = split_tag(name)
        if not tag and not label:
            yield Found(f"{name} has no version, neither a tag nor the label {_VERSION}")
        for version in {tag, label} - {""}:
            if problem := version_problem(version):
                yield Found(f"{repository}: version {version}: {problem}")
        words = ENVIRONMENT_WORDS & set(repository.lower().split("/"))
        if words:
            yield Found(f"{repository}: '{min(words)}' is an environment: one image is for all")


def split_tag(name: str) -> tuple[str, str]:
    """Return repository and tag of a human name; either digest is no tag."""
    name = name.partition("@")[0]
    head, slash, last = name.rpartition("/")
    last, _colon, tag = last.partition(":")
    if last == "sha256":
        return name, ""
    return f"{head}{slash}{last}", tag


def user_is_numeric(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P4: never root, and a number, so that a host can see that without looking into the image."""
    user = str(check.image.run_config.get("User") or "")
    if not user and check.kind == "base":
        yield Found("no user is set: what is built on this base must set one", note=True)
    elif not user:
        yield Found("no user is set, so it runs as root")
    elif (match := _USER.match(user)) is None:
        yield Found(f"user {user!r} is a name; only a number can be checked from outside")
    elif int(match.group(1)) == 0:
        yield Found(f"user {user!r} is root")


def env_without_secrets(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P7, the part about the environment: no value under a name that promises a secret."""
    for name, value in sorted(check.image.env.items()):
        names_a_file = _FILE_NAME.search(name) and value.startswith("/")
        if value and SECRET_NAME.search(name) and not names_a_file:
            yield Found(f"environment variable {name} has a value in the image")


def within_budget(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P10: an image that starts quickly on a new host is small."""
    limit, size = check.policy.max_size, check.image.size
    if size > limit:
        yield Found(f"{_mebibytes(size)} in all layers, policy.max_size allows {_mebibytes(limit)}")
    layers = len(check.image.layers)
    if layers > check.policy.max_layers:
        yield Found(f"{layers} layers, policy.max_layers allows {check.policy.max_layers}")


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def required_without_default(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P12: what has to come from outside has no value in the image, not even its base's."""
    names = set(check.image.labels.get(f"{LABEL}env-required", "").split(",")) - {""}
    if check.baked is not None:
        names |= set(check.baked.recipe.config.env_required)
    for name in sorted(names & set(check.image.env)):
        yield Found(f"environment variable {name} is required from outside but has a value")


def config_is_neutral(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P13, the part about configuration and history: no trace of where it was built."""
    for name, value in sorted(check.image.env.items()):
        if value and _PROXY.match(name):
            yield Found(f"environment variable {name}: a proxy belongs to the host")
        elif value and name.upper() in _TRUST:
            yield Found(f"environment variable {name}: trust belongs to the host")
        elif known_secret(value) or url_password(value):
            yield Found(f"environment variable {name} holds a credential")
    for text in ("Cmd", "Entrypoint", "Labels", "Healthcheck"):
        value = json.dumps(check.image.run_config.get(text))
        if known_secret(value) or url_password(value):
            yield Found(f"configuration {text} holds a credential")
    own = 0 if check.kind == FOREIGN or check.base is None else len(check.base.history)
    for number, command in enumerate(check.image.history[own:], own + 1):
        yield from _history(number, command)


def _history(number: int, command: str) -> t.Iterator[Found]:
    if _HISTORY_PROXY.search(command):
        yield Found(f"history step {number} was given a proxy")
    if match := _HISTORY_SECRET.search(command):
        yield Found(f"history step {number} shows the value of {match.group(1)}")
    elif known_secret(command) or url_password(command):
        yield Found(f"history step {number} holds a credential")
    if _HISTORY_TRUST.search(command):
        yield Found(f"history step {number} changed which CA is trusted")
