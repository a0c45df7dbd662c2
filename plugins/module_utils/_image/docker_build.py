# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile, built by the engine's own classic builder without a network; private, no stability promised.

That builder knows no secrets. A step that wants one is run by us, in a container between two parts of the build.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import typing as t
import uuid
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
    CONTEXT,
    IGNORE_FILE,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.build_steps import (
    BUILD_TIMEOUT,
    DockerBuild,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.dockerfile import (
    Instruction,
    Stage,
    argument_defaults,
    command_of,
    render,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.layers import (
    new_member,
    path_order,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.process import find_tool
from ansible_collections.immutable.cutover.plugins.module_utils._image.run_build import BuildFolder
from ansible_collections.immutable.cutover.plugins.module_utils._image.work_folder import (
    work_folder,
)

NAME = "immutable-cutover-build"
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True)
class DockerInputs:
    """What the build of a Dockerfile is given; origins are the images on the engine that stand for each FROM."""

    tag: str
    docker: DockerBuild
    origins: t.Mapping[str, str]
    folder: BuildFolder
    python: str
    epoch: int


def build_dockerfile(engine: BuildEngine, inputs: DockerInputs) -> str:
    """Build every stage and return the ID of the last one's image."""
    images: dict[str, str] = {}
    image = ""
    for number, stage in enumerate(inputs.docker.content.stages):
        origin = images.get(stage.origin.lower()) or inputs.origins[stage.origin]
        image = _StageBuild(engine, inputs, images, origin).build(stage)
        images[str(number)] = image
        if stage.name:
            images[stage.name] = image
    return image


class _StageBuild:
    """One stage, in parts: a part ends where a step wants a secret."""

    def __init__(
        self, engine: BuildEngine, inputs: DockerInputs, images: t.Mapping[str, str], origin: str
    ) -> None:
        self.engine, self.inputs, self.images = engine, inputs, images
        self.image = origin
        self.done: list[Instruction] = []
        self.restore: list[tuple[str, str]] = []

    def build(self, stage: Stage) -> str:
        """Build all parts."""
        part: list[Instruction] = []
        for step in stage.steps:
            if step.secrets:
                self._build_part(part)
                self._run(step)
                part = []
            else:
                part.append(step)
        self._build_part(part)
        return self.image

    def _build_part(self, part: t.Sequence[Instruction]) -> None:
        lines = [("FROM", self.image), *self.restore]
        lines += [("ARG", step.rest) for step in self.done if step.name == "ARG"]
        lines += [(step.name, self._words(step)) for step in part]
        if part or self.restore:
            self.image = self._build(render(lines), [*self.done, *part])
        self.restore = []
        self.done += part

    def _words(self, step: Instruction) -> str:
        """Return the rest of an instruction as the classic builder is given it."""
        flags = []
        for key, value in step.flags:
            if key == "from":
                flags.append(f"--from={self.images[value.lower()]}")
            elif key == "chown":
                flags.append(f"--chown={value}")
        return " ".join([*flags, step.rest])

    def _build(self, dockerfile: bytes, steps: t.Sequence[Instruction]) -> str:
        inputs, engine = self.inputs, self.engine
        given = dict(inputs.docker.args)
        declared = {step.rest.partition("=")[0] for step in steps if step.name == "ARG"}
        tag = f"{NAME}:{uuid.uuid4().hex}"
        name = f".{uuid.uuid4().hex}.Dockerfile"
        work = inputs.folder.work
        with tempfile.TemporaryFile(dir=work) as context:
            _write_context(context, inputs, dockerfile, name)
            arguments = [f"{key}={given[key]}" for key in sorted(declared & set(given))]
            what = f"{inputs.tag}: {inputs.docker.path}"
            _call(engine, context, tag, name, work, arguments, what, inputs.docker.timeout)
        return str((engine.images.inspect(tag) or {})["Id"])

    def _run(self, step: Instruction) -> None:
        """Run a step that wants secrets, in a container that has them as files in memory's place."""
        engine, inputs = self.engine, self.inputs
        before = engine.config(self.image)
        mounts = {build_python.PLACE: inputs.python}
        for name in step.secrets:
            mounts[f"{build_secrets.PLACE}/{name}"] = inputs.folder.secrets[name]
        container = engine.start(self.image, mounts)
        command = Command(
            what=f"{inputs.tag}: {inputs.docker.path}:{step.line} {step.rest}"[:200],
            words=tuple(command_of(step, before.get("Shell") or _SHELL)),
            env=argument_defaults(self.done, dict(inputs.docker.args)),
            user=before.get("User") or "0",
            workdir=before.get("WorkingDir") or "/",
            timeout=inputs.docker.timeout,
        )
        engine.run(container, command)
        self.image = engine.commit(container)
        self._restore(before)

    def _restore(self, before: t.Mapping[str, t.Any]) -> None:
        """Give back what the container that ran a step had to have otherwise."""
        self.restore = [("ENTRYPOINT", json.dumps(before.get("Entrypoint") or []))]
        if before.get("Shell"):
            self.restore.append(("SHELL", json.dumps(before["Shell"])))
        command = ("CMD", json.dumps(before.get("Cmd") or []))
        if any(step.name == "CMD" for step in self.done):
            self.restore.append(command)
            return
        # A CMD in the same part would survive a later ENTRYPOINT, what is inherited does not.
        self.restore.append(command)
        self._build_part([])


def _write_context(stream: t.IO[bytes], inputs: DockerInputs, dockerfile: bytes, name: str) -> None:
    """Write the context: what was locked, and a Dockerfile that no COPY finds."""
    top = os.path.join(inputs.folder.staged, CONTEXT)
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(_tree(top), key=path_order):
            source = os.path.join(top, path)
            state = os.stat(source)
            if os.path.isdir(source):
                tar.addfile(new_member(path, tarfile.DIRTYPE, 0o755, 0, inputs.epoch))
                continue
            mode = state.st_mode & 0o777
            with open(source, "rb") as content:
                member = new_member(path, tarfile.REGTYPE, mode, state.st_size, inputs.epoch)
                tar.addfile(member, content)
        _add_hidden(tar, dockerfile, name)
    stream.seek(0)


def _add_hidden(tar: tarfile.TarFile, dockerfile: bytes, name: str) -> None:
    ignored = f"{IGNORE_FILE}\n{name}\n".encode()
    for path, data in ((name, dockerfile), (IGNORE_FILE, ignored)):
        tar.addfile(new_member(path, tarfile.REGTYPE, 0o644, len(data), 0), io.BytesIO(data))


def add_layer(engine: BuildEngine, image: str, layer: str, tag: str) -> str:
    """Have the builder unpack a written layer onto an image, and return the ID of what it gives."""
    made, name = f"{NAME}:{uuid.uuid4().hex}", f".{uuid.uuid4().hex}.Dockerfile"
    with (
        work_folder("bake-build-") as work,
        tempfile.TemporaryFile(dir=work) as context,
    ):
        with (
            open(layer, "rb") as source,
            tarfile.open(fileobj=context, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            size = os.fstat(source.fileno()).st_size
            tar.addfile(new_member("layer.tar", tarfile.REGTYPE, 0o644, size, 0), source)
            # COPY would give every folder on the way to root; ADD unpacks an archive as it is.
            _add_hidden(tar, render([("FROM", image), ("ADD", "layer.tar /")]), name)
        context.seek(0)
        _call(engine, context, made, name, work, (), f"{tag}: unpacking a layer", BUILD_TIMEOUT)
    return str((engine.images.inspect(made) or {})["Id"])


def _call(
    engine: BuildEngine,
    context: t.IO[bytes],
    tag: str,
    name: str,
    work: str,
    arguments: t.Iterable[str],
    what: str,
    timeout: int,
) -> None:
    """Call the builder."""
    engine.made.append(tag)
    engine.watch(
        [
            find_tool("docker", "Docker's command line"),
            # Not the caller's own configuration, which may name a proxy for every build.
            *("--config", os.path.join(work, "docker"), "--host", engine.images.host),
            *("build", "--network=none", "--no-cache", "--rm", "--force-rm", "--quiet"),
            *(f"--build-arg={argument}" for argument in arguments),
            *("--file", name, "--tag", tag, "-"),
        ],
        what,
        timeout,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        stdin=context,
        begin="Step 1/",
    )


def _tree(top: str) -> t.Iterator[str]:
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            yield os.path.relpath(os.path.join(folder, name), top)
