# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the engine still has an image, seen without asking it; private, no stability promised.

An engine on this host keeps a file for each image and removes it with the image. Where that is, it says once, after the
image was loaded. As long as the file is there and the engine's own list still gives the tag to this image, there is
nothing to load, and neither the engine nor its SDK (0.2 s to import) is needed to see it. In doubt it is asked.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    readable_json,
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    host_record_path,
)

_UNIX = "unix://"


def note_loaded(state_dir: str, record: BakeRecord, host: str, info: t.Mapping[str, t.Any]) -> None:
    """Remember where the engine keeps this image, if that is on this host and as expected."""
    folder = os.path.join(info.get("DockerRootDir", ""), "image", info.get("Driver", ""))
    evidence = {"engine": host, "folder": folder}
    if host.startswith(_UNIX) and _has(folder, record):
        write_atomic(_path(state_dir, record), readable_json(evidence), 0o600)


def still_loaded(state_dir: str, record: BakeRecord, host: str) -> bool:
    """Tell whether the engine surely has the image under its tag; False also means that it is not known."""
    try:
        with open(_path(state_dir, record), "rb") as stream:
            evidence = json.loads(stream.read())
        return evidence["engine"] == host and _has(evidence["folder"], record)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _path(state_dir: str, record: BakeRecord) -> str:
    return host_record_path(state_dir, record.image_id).removesuffix(".json") + ".engine"


def _has(folder: str, record: BakeRecord) -> bool:
    algorithm, _colon, digest = record.image_id.partition(":")
    try:
        with open(os.path.join(folder, "repositories.json"), "rb") as stream:
            tags = json.loads(stream.read())["Repositories"].get(record.name, {})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    content = os.path.join(folder, "imagedb", "content", algorithm, digest)
    return tags.get(record.tag) == record.image_id and os.path.isfile(content)
