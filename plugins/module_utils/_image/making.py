# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How what must be run is run; only what bakes imports this. Private, no stability promised."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._image.build_plan import BACKENDS
from ansible_collections.immutable.cutover.plugins.module_utils._image.files import FileInput

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import Blob


@dataclass(frozen=True)
class Builder:
    """Where something can be built: an engine, the store for what every build needs, and the files of secrets."""

    engine_host: str
    store: str
    secrets: t.Mapping[str, str]
    backend: str = BACKENDS[0]


@dataclass(frozen=True)
class Start:
    """The image that a build begins with: its configuration, and its layers in the layout."""

    config: t.Mapping[str, t.Any]
    layers: tuple[Blob, ...]


@dataclass(frozen=True)
class Making:
    """How what must be run is run. C(origins) finds the image below a stage of a Dockerfile."""

    builder: Builder
    files: tuple[FileInput, ...]
    origins: t.Callable[[str], Start]
