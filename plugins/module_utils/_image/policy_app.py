# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy rules about how an app was put together and where it logs to; private, no stability promised."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Found,
    ImageUnderCheck,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import FOREIGN
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import Node
from ansible_collections.immutable.cutover.plugins.module_utils._image.wheel_layer import SITE

_PACKAGE_STATE = re.compile(
    r"\A(?:var/lib/dpkg/.+|var/lib/apt/.+|var/cache/apt/.+|lib/apk/db/.+|var/lib/rpm/.+)\Z"
)
_CACHE = re.compile(
    r"\A(?:var/lib/apt/lists/.+Packages.*|var/cache/apt/(?:archives/.+\.deb|.+\.bin)"
    r"|(?:root|home/[^/]+)/\.(?:cache/(?:pip|uv|pypoetry|yarn)|npm)/.+|var/cache/apk/.+)\Z"
)
_TOOL = re.compile(
    r"\b(?:apt-get|apt|aptitude|apk|yum|dnf|microdnf|dpkg|pip3?|uv pip|npm|yarn|gem)\s+(?:-\S+\s+)*"
    r"(?:install|add|upgrade|dist-upgrade|update|ci|-i)\b"
)
_LOG_FILE = re.compile(r"(?:\A|/)(?:var/log/.+|[^/]+\.log(?:\.[0-9]+)?(?:\.gz)?)\Z")
_CONFIG_FILE = re.compile(r"\.(?:conf|cfg|cnf|ini|ya?ml|json|toml|properties|xml)\Z")
_CODE_FILE = re.compile(r"\.py\Z")
_VENDOR = re.compile(r"(?:\A|/)(?:site-packages|dist-packages|node_modules|lib/python[0-9.]+)/")
_HANDLER_CALL = re.compile(r"\b(?:(?:Timed)?Rotating|Watched)?FileHandler\s*\(")
_HANDLER_NAME = re.compile(
    r"\b(?:(?:Timed)?Rotating|Watched)?FileHandler\b|\bRollingFileAppender\b"
)
_DIRECTIVE = re.compile(
    r"\b(?:access_?log|error_?log|log_?file|access-?logfile|error-?logfile|CustomLog|ErrorLog|logfile)[\"']?"
    r"\s*[=:\s]\s*[\"']?(/[^\s;,\"']+)",
    re.IGNORECASE,
)
_LOG_PATH = re.compile(r"(?<![\w.])(/[\w.-]+(?:/[\w.-]+)*\.log)\b")
_NOT_A_FILE = re.compile(
    r"\A/(?:dev/(?:std(?:out|err)|fd/[0-9]+|null|log)|proc/(?:1|self)/fd/[0-9]+)\Z"
)
_COMMENT = re.compile(r"^\s*(?:#|//|;|<!--).*$", re.MULTILINE)
_SMALL = 1 << 20


def no_package_manager(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P8: an app adds files and locked wheels; whatever a package manager leaves is somebody else's work."""
    for node in check.every_file(own=check.kind == "app"):
        if _CACHE.match(node.path):
            yield Found(f"{check.where(node)} was left by a package manager", f"/{node.path}")
    if check.kind == FOREIGN:
        for number, command in enumerate(check.image.history, 1):
            if match := _TOOL.search(command):
                yield Found(f"history step {number} ran a package manager: {match.group()}")
    elif check.kind == "app":
        yield from _app_state(check)


def _app_state(check: ImageUnderCheck) -> t.Iterator[Found]:
    for layer in check.image.layers[check.own_from :]:
        for path in sorted({*layer.nodes, *layer.whiteouts}):
            if _PACKAGE_STATE.match(path) and not _CACHE.match(path):
                what = f"/{path} is the state of a package manager, changed by the app"
                yield Found(what, f"/{path}")
    for dist in check.image.installed_python():
        node = check.image.nodes[f"{dist.folder}/METADATA"]
        what = _not_by_the_bake(check, dist.folder) if node.layer >= check.own_from else ""
        if what:
            yield Found(f"/{dist.folder} {what}", f"/{dist.folder}")
    own_history = check.image.history[len(check.base.history) if check.base else 0 :]
    for command in own_history:
        if match := _TOOL.search(command):
            yield Found(f"a history step ran a package manager: {match.group()}")


def _not_by_the_bake(check: ImageUnderCheck, folder: str) -> str:
    """Return what is wrong with a Python distribution of the app; empty if the bake unpacked its wheel."""
    site = SITE.strip("/") + "/"
    if not folder.startswith(site):
        return "" if _is_vendored(check, folder) else "is not in the wheels layer"
    if "/" in folder[len(site) :]:
        # Within another distribution, which brought it.
        return ""
    installer = (check.image.read(f"{folder}/INSTALLER", _SMALL) or b"nobody").decode(
        "utf-8", "replace"
    )
    name = installer.strip()[:40]
    return "" if name == "immutable.cutover" else f"was installed by {name}, not by the bake"


def _is_vendored(check: ImageUnderCheck, folder: str) -> bool:
    """Tell whether a file rule of the recipe put it there: then its content is locked, and P3 sees it."""
    lock = check.baked.lock if check.baked else None
    return lock is not None and any(item.path == f"/{folder}/METADATA" for item in lock.files)


def logs_to_stdout(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P9: an app writes its log to stdout and knows nothing of files, rotation or shipping."""
    yield from _start(check)
    for node in check.every_file(own=True):
        if not node.size or check.untouched(node):
            continue
        if _LOG_FILE.search(node.path):
            yield Found(f"{check.where(node)} is a log file", f"/{node.path}")
        elif node.size <= _SMALL and not _VENDOR.search(node.path):
            what = _logging(node, check)
            if what:
                yield Found(f"{check.where(node)} {what}", f"/{node.path}")


def _logging(node: Node, check: ImageUnderCheck) -> str:
    config, code = _CONFIG_FILE.search(node.path), _CODE_FILE.search(node.path)
    if not config and not code:
        return ""
    text = _COMMENT.sub("", check.image.data(node).decode("utf-8", "replace"))
    if code:
        return "logs to a file: FileHandler" if _HANDLER_CALL.search(text) else ""
    if _HANDLER_NAME.search(text):
        return "logs to a file: FileHandler"
    target = log_target(text)
    return f"logs to a file: {target}" if target else ""


def log_target(text: str) -> str:
    """Return the first file a text names as the place for a log; empty if there is none."""
    for pattern in (_DIRECTIVE, _LOG_PATH):
        for match in pattern.finditer(text):
            if not _NOT_A_FILE.match(match.group(1)):
                return match.group(1)
    return ""


def _start(check: ImageUnderCheck) -> t.Iterator[Found]:
    config = check.image.run_config
    command = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    if target := log_target(" ".join(str(word) for word in command)):
        yield Found(f"its command logs to a file: {target}")
    for name, value in sorted(check.image.env.items()):
        if target := log_target(f"{name}={value}"):
            yield Found(f"environment variable {name} names a log file: {target}")
