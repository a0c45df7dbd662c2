# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the tools a bake is made with; private, no stability promised."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError

Run = t.Callable[[t.Sequence[str], t.Mapping[str, str]], str]


def run_tool(argv: t.Sequence[str], env: t.Mapping[str, str]) -> str:
    """Run a command without a shell or a terminal and return what it printed; failure says why."""
    try:
        done = subprocess.run(
            list(argv),
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CutoverError(f"cannot run {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CutoverError(
            f"{os.path.basename(argv[0])} failed with exit code {done.returncode}: {said}",
            command=" ".join(argv)[:2000],
            exit_code=done.returncode,
        )
    return done.stdout


def without_network(what: str) -> list[str]:
    """Return what to put before a command so that it has no network; where this host does not let us, refuse."""
    words = [find_tool("unshare", "util-linux"), "--net"]
    if os.geteuid() != 0:
        # In a user namespace of its own anybody may make one without a network, if the host allows those.
        words = [words[0], "--user", "--map-root-user", "--net"]
    try:
        run_tool([*words, "true"], {"LC_ALL": "C"})
    except CutoverError as error:
        raise CutoverError(
            f"{what} must have no network, and this host does not let user {os.geteuid()} take it away: bake as root "
            "of the host, or allow user namespaces",
            cause=error.message,
        ) from error
    return words


def find_tool(name: str, package: str) -> str:
    """Return the path of a command; it may be beside the Python that runs us."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    found = shutil.which(name) or (beside if os.access(beside, os.X_OK) else None)
    if found is None:
        raise CutoverError(f"{name} not found on this host: install {package}")
    return found
