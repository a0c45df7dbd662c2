# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of image_load: send each host the layers it lacks, over the connection it has anyway."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from ansible_collections.immutable.cutover.plugins.module_utils._argspec import failure
from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    InvalidInput,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.docker_archive import (
    docker_archive,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import (
    DEFAULT_OUTPUT,
    Output,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.pull_front import (
    image_references,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    attachments,
    payload,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    SIGNATURE_TYPE,
)

MODULE = "immutable.cutover.image_load"


@dataclass(frozen=True)
class _Wanted:
    """One image, and what travels with it."""

    reference: str
    record: BakeRecord
    signature: str


class _HostFailed(Exception):
    """The module on the host failed; carries its answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(str(answer.get("msg", "")))
        self.answer = answer


class ActionModule(ActionBase):
    """Make sure that the engine of a host has images the controller has."""

    _VALID_ARGS = frozenset(("images", "output", "state_dir", "engine"))
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the task."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            return self._ensure(variables)
        except CutoverError as error:
            return {**failure(error), "failed": True}
        except _HostFailed as error:
            return error.answer

    def _ensure(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = self._task.args.get("images")
        if not isinstance(given, list):
            raise InvalidInput("images", given, "must be a list of name@sha256:...")
        output = Output(str(self._task.args.get("output") or DEFAULT_OUTPUT))
        wanted = [_wanted(output, str(reference)) for reference in image_references(given)]
        found = self._module(variables, wanted, look=True)["found"]
        sent = [
            self._ensure_one(variables, output, item, state)
            for item, state in zip(wanted, found, strict=True)
        ]
        return _result(wanted, found, sent)

    def _ensure_one(
        self,
        variables: dict[str, Any],
        output: Output,
        wanted: _Wanted,
        state: Mapping[str, Any],
    ) -> dict[str, int]:
        """Bring one image to the host; return how much was sent."""
        total = {"layers": 0, "bytes": 0}
        if self._task.check_mode or (state["loaded"] and state["recorded"]):
            return total
        if state["loaded"]:
            self._module(variables, [wanted])
            return total
        known = set(state["layers"])
        for omit in (known, set()) if known else (known,):
            layers = {layer.digest for layer in wanted.record.layers} - omit
            path, size = self._send(docker_archive(output.layout, wanted.record, omit))
            total = {"layers": total["layers"] + len(layers), "bytes": total["bytes"] + size}
            if not self._module(variables, [wanted], archive=path, whole=not omit)["refused"]:
                break
        return total

    def _send(self, archive: Iterator[bytes]) -> tuple[str, int]:
        shell = self._connection._shell
        folder = shell.tmpdir or self._make_tmp_path()
        remote = shell.join_path(folder, "image.tar")
        with tempfile.NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP, suffix=".tar") as stream:
            for chunk in archive:
                stream.write(chunk)
            stream.flush()
            size = os.fstat(stream.fileno()).st_size
            self._transfer_file(stream.name, remote)
        self._fixup_perms2((folder, remote), execute=False)
        return remote, size

    def _module(
        self, variables: dict[str, Any], wanted: list[_Wanted], **turn: Any
    ) -> dict[str, Any]:
        host = {
            key: self._task.args[key] for key in ("state_dir", "engine") if key in self._task.args
        }
        records = [replace(item.record, layout="", archive="") for item in wanted]
        arguments = {
            **host,
            "images": [item.reference for item in wanted],
            "turn": {
                "look": False,
                **turn,
                "records": [record.to_mapping() for record in records],
                "signatures": [item.signature for item in wanted],
            },
        }
        answer: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=arguments, task_vars=variables
        )
        answer.pop("invocation", None)
        if answer.get("failed"):
            raise _HostFailed(answer)
        return answer


def _wanted(output: Output, reference: str) -> _Wanted:
    record = output.find_reference(reference, "image")
    signed = [a for a in attachments(output, record) if a.artifact_type == SIGNATURE_TYPE]
    text = payload(output, signed[0]).decode("utf-8") if signed else ""
    return _Wanted(reference, record, text)


def _result(
    wanted: list[_Wanted], found: list[dict[str, Any]], sent: list[dict[str, int]]
) -> dict[str, Any]:
    actions = [
        f"{verb} {item.record.tag}"
        for item, state in zip(wanted, found, strict=True)
        for key, verb in (("loaded", "load"), ("recorded", "record"))
        if not state[key]
    ]
    before = {
        item.reference: {"loaded": state["loaded"], "recorded": state["recorded"]}
        for item, state in zip(wanted, found, strict=True)
    }
    after = {item.reference: {"loaded": True, "recorded": True} for item in wanted}
    return {
        "changed": before != after,
        "images": [
            {
                "reference": item.reference,
                "changed": before[item.reference] != after[item.reference],
                "image_id": item.record.image_id,
                "manifest_digest": item.record.manifest_digest,
                "layers_sent": amount["layers"],
                "bytes_sent": amount["bytes"],
            }
            for item, amount in zip(wanted, sent, strict=True)
        ],
        "before": before,
        "after": after,
        "actions": actions,
        "diff": {"before": before, "after": after},
    }
