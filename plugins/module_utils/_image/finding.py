# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a policy rule is given and what it answers; private, no stability promised."""

from __future__ import annotations

import datetime
import functools
import hashlib
import typing as t
from dataclasses import dataclass, field

from ansible_collections.immutable.cutover.plugins.module_utils._image.contents import ImageContents
from ansible_collections.immutable.cutover.plugins.module_utils._image.lock import Lock
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import (
    Policy,
    Waiver,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    FOREIGN,
    BakeRecord,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.store import Store
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import Node

# What was found in a layer, by its digest and by what the distribution says is its own: apps share their base's layers.
Scans = dict[tuple[str, int], "tuple[Found, ...]"]


@dataclass(frozen=True)
class Found:
    """What a rule found: one line that never shows a secret, and the file it is about."""

    what: str
    path: str = ""
    sha256: str = ""
    note: bool = False


@dataclass(frozen=True)
class Finding:
    """A finding of a rule on one image, waived or not."""

    rule: str
    title: str
    factor: str
    what: str
    path: str = ""
    sha256: str = ""
    note: bool = False
    waiver: Waiver | None = None
    expired: Waiver | None = None

    @property
    def fails(self) -> bool:
        """Tell whether the image must not go on because of this."""
        return not self.note and self.waiver is None

    @property
    def level(self) -> str:
        """Return the word of the result."""
        if self.note:
            return "note"
        return "failure" if self.waiver is None else "waived"

    def to_mapping(self) -> dict[str, t.Any]:
        """Return the finding as plain data."""
        waived = self.waiver
        return {
            "rule": self.rule,
            "title": self.title,
            "factor": self.factor,
            "level": self.level,
            "what": self.what,
            "path": self.path,
            "sha256": self.sha256,
            "waived_by": (
                {"reason": waived.reason, "expires": waived.expires.isoformat()} if waived else {}
            ),
        }


@dataclass(frozen=True)
class Baked:
    """What we know of an image because we baked it: its own inputs and those it stands on."""

    recipe: Recipe
    record: BakeRecord
    lock: Lock | None
    lock_problems: tuple[str, ...]
    base: ImageContents | None
    base_record: BakeRecord | None
    base_locks: tuple[Lock, ...]
    store: Store | None = None
    foreign: ImageContents | None = None
    """What somebody else built, at the bottom: what is in it is in no lock, and named by the digest alone."""


@dataclass(frozen=True)
class ImageUnderCheck:
    """One image and everything a rule may ask about it; baked is None for a foreign one."""

    image: ImageContents
    policy: Policy
    today: datetime.date
    tags: tuple[str, ...] = ()
    baked: Baked | None = None
    scans: Scans = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return what a message calls the image."""
        return self.image.name

    @property
    def kind(self) -> str:
        """Return base, app or foreign."""
        return self.baked.recipe.kind if self.baked else FOREIGN

    @property
    def base(self) -> ImageContents | None:
        """Return the image it was assembled on, if that is known."""
        return self.baked.base if self.baked else None

    @property
    def own_from(self) -> int:
        """Return the number of its first layer that is not its base's."""
        return len(self.base.layers) if self.base else 0

    def every_file(self, own: bool = False) -> t.Iterator[Node]:
        """Yield the files of every layer: what a later layer removes is still sent with the image."""
        for layer in self.image.layers[self.own_from if own else 0 :]:
            yield from (node for node in layer.nodes.values() if node.is_file)

    def visible(self, node: Node) -> bool:
        """Tell whether a process in the image would see exactly this file."""
        return self.image.nodes.get(node.path) is node

    def where(self, node: Node) -> str:
        """Return the path for a message, with the layer if nothing shows the file there any more."""
        hidden = "" if self.visible(node) else f" (hidden, but still in layer {node.layer + 1})"
        return f"/{node.path}{hidden}"

    @functools.cached_property
    def distribution(self) -> dict[str, str]:
        """Return the distribution's own hashes by path."""
        return self.image.distribution_hashes()

    @functools.cached_property
    def deb_paths(self) -> set[str]:
        """Return every path the package database owns."""
        return self.image.deb_paths()

    @functools.cached_property
    def _untouched(self) -> dict[tuple[int, str], bool]:
        return {}

    def untouched(self, node: Node) -> bool:
        """Tell whether a file is what its Debian package brought; several rules ask about each."""
        key = (node.layer, node.path)
        if key not in self._untouched:
            known = self.distribution.get(node.path)
            self._untouched[key] = known is not None and known == self._md5(node)
        return self._untouched[key]

    def _md5(self, node: Node) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.image.layers[node.layer].chunks(node):
            digest.update(chunk)
        return digest.hexdigest()
