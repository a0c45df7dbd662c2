# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps and a play, applied to a container that has no network; private, no stability promised."""

from __future__ import annotations

import os
import shlex
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._image import (
    build_python,
    build_secrets,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_container import (
    BuildEngine,
    Command,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_files import (
    INPUTS,
    PLAY,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_steps import Play, Step
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import (
    find_tool,
    without_network,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe

INPUTS_PLACE = "/run/bake/inputs"
_LAYERS_PLACE = "/run/bake/layers"
_EXTRACT = (
    "import os, sys, tarfile\n"
    "with tarfile.open(sys.argv[1]) as archive:\n"
    "    for member in archive:\n"
    # Never through a link, nor into the other names of a hard-linked file.
    "        if not member.isdir() and os.path.lexists('/' + member.name):\n"
    "            os.unlink('/' + member.name)\n"
    # It was written by us, and Python 3.11.2 knows no filter yet.
    "    archive.extraction_filter = lambda member, path: member\n"
    "    archive.extractall('/', numeric_owner=True)"
)
# The container stands in for a machine that is reached by ssh: the last word is what that would run there.
_SSH = """#!/bin/sh
for word; do last=$word; done
exec {docker} --host {host} exec --interactive --user 0 --workdir / {container} /bin/sh -c "$last"
"""
_CONFIG = """[defaults]
remote_tmp = /tmp/.ansible
host_key_checking = false
retry_files_enabled = false
nocows = true
interpreter_python = {python}
roles_path = {play}/roles
collections_path = {play}/collections
local_tmp = {folder}/local
home = {folder}/home
[connection]
pipelining = true
[ssh_connection]
ssh_executable = {folder}/enter
ssh_args =
transfer_method = piped
"""


@dataclass(frozen=True)
class BuildFolder:
    """Where the copies of a build's inputs are on the host."""

    staged: str
    work: str
    secrets: t.Mapping[str, str]


def run_build(
    engine: BuildEngine,
    recipe: Recipe,
    image_id: str,
    folder: BuildFolder,
    python: str,
    epoch: int,
) -> str:
    """Run the steps of a recipe, then its play, in one container; return what that gave as an image."""
    container = engine.start(image_id, _mounts(folder, python))
    env = {"PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": str(epoch)}
    for number, step in enumerate(recipe.build.steps):
        engine.run(container, _command(recipe, number, step, env))
    if recipe.build.play is not None:
        _apply_play(engine, recipe, recipe.build.play, container, folder)
    return engine.commit(container)


def extract_layer(engine: BuildEngine, image_id: str, layer: str, python: str, tag: str) -> str:
    """Put the content of a written layer into a container with its own Python, and return that as an image."""
    place = f"{_LAYERS_PLACE}/{os.path.basename(layer)}"
    container = engine.start(image_id, {build_python.PLACE: python, place: layer})
    words = tuple(build_python.command("-c", _EXTRACT, place))
    engine.run(container, Command(f"{tag}: unpacking a layer", words, {}))
    return engine.commit(container)


def _mounts(folder: BuildFolder, python: str) -> dict[str, str]:
    mounts = {build_python.PLACE: python}
    inputs = os.path.join(folder.staged, INPUTS)
    if os.path.isdir(inputs):
        mounts[INPUTS_PLACE] = inputs
    for name, path in folder.secrets.items():
        mounts[f"{build_secrets.PLACE}/{name}"] = path
    return mounts


def _command(recipe: Recipe, number: int, step: Step, env: t.Mapping[str, str]) -> Command:
    return Command(
        what=f"{recipe.tag}: run[{number}] {step.command[0]}",
        words=step.command,
        env={**env, **dict(step.env)},
        user=step.user,
        workdir=step.workdir,
        timeout=step.timeout,
    )


def _apply_play(
    engine: BuildEngine, recipe: Recipe, play: Play, container: str, folder: BuildFolder
) -> None:
    """Apply a play from outside: only the shell and what the play calls are of the image."""
    staged, work = os.path.join(folder.staged, PLAY), folder.work
    docker = find_tool("docker", "Docker's command line")
    enter = _SSH.format(
        docker=shlex.quote(docker), host=shlex.quote(engine.images.host), container=container
    )
    _write(os.path.join(work, "enter"), enter, 0o700)
    python = build_python.INTERPRETER
    config = _CONFIG.format(python=python, play=staged, folder=work)
    _write(os.path.join(work, "ansible.cfg"), config, 0o600)
    _write(os.path.join(work, "inventory"), "[image]\nimage ansible_connection=ssh\n", 0o600)
    # Ansible's own variables would change what a play does from one host to the next.
    kept = {key: value for key, value in os.environ.items() if _is_neutral(key)}
    # The play itself has no network either: it could fetch for the container.
    offline = without_network(f"{recipe.tag}: play {play.playbook}")
    engine.watch(
        [
            *offline,
            find_tool("ansible-playbook", "ansible-core, on the host that bakes"),
            f"--inventory={work}/inventory",
            os.path.join(staged, os.path.basename(play.playbook)),
        ],
        f"{recipe.tag}: play {play.playbook}",
        play.timeout,
        env={
            **kept,
            "ANSIBLE_CONFIG": os.path.join(work, "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_ASYNC_DIR": "/tmp/.ansible_async",
            "LC_ALL": "C.UTF-8",
        },
        cwd=staged,
    )


def _is_neutral(key: str) -> bool:
    return not key.startswith("ANSIBLE_") and not key.lower().endswith("_proxy")


def _write(path: str, text: str, mode: int) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, mode)
