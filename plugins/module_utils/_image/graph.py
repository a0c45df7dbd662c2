# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands on which base, from the records alone; private, no stability promised."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import InvalidInput
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord


@dataclass(frozen=True)
class Node:
    """One image of the graph; record is None if only its descendants are known."""

    reference: str
    record: BakeRecord | None
    output: bool
    host: bool

    @property
    def tag(self) -> str:
        """Return the human name; without a record it is not known."""
        return self.record.tag if self.record else self.reference.partition("@")[0]

    def to_mapping(self) -> dict[str, t.Any]:
        """Return the image as plain data."""
        return {
            "reference": self.reference,
            "tag": self.tag,
            "image_id": self.record.image_id if self.record else "",
            "output": self.output,
            "host": self.host,
        }


def graph(
    output: t.Sequence[BakeRecord], host: t.Sequence[BakeRecord], base: str = ""
) -> list[dict[str, t.Any]]:
    """Return every base with what stands on it, in the order of names and versions; or of one base only.

    A base is named by its repository, by C(name:version) or by C(name@sha256:...) with either digest.
    """
    nodes = _nodes(output, host)
    by_digest = {f"{n.record.name}@{n.record.image_id}": n for n in nodes.values() if n.record}
    children: dict[str, list[Node]] = {}
    for node in nodes.values():
        wanted = node.record.base if node.record else ""
        if wanted:
            parent = nodes.get(wanted) or by_digest.get(wanted)
            children.setdefault(parent.reference if parent else wanted, []).append(node)
    roots = [node for node in nodes.values() if not (node.record and node.record.base)]
    roots += [Node(ref, None, False, False) for ref in children if ref not in nodes]
    chosen = [node for node in roots if _named(node, base)]
    if base and not chosen:
        known = ", ".join(sorted({node.tag for node in roots})) or "none"
        raise InvalidInput("base", base, f"must be a base that is known here ({known})")
    return [
        {**node.to_mapping(), "images": [n.to_mapping() for n in _sorted(children, node)]}
        for node in sorted(chosen, key=_order)
    ]


def _nodes(output: t.Sequence[BakeRecord], host: t.Sequence[BakeRecord]) -> dict[str, Node]:
    in_output = {record.reference: record for record in output}
    on_host = {record.reference: record for record in host}
    return {
        ref: Node(ref, record, ref in in_output, ref in on_host)
        for ref, record in {**on_host, **in_output}.items()
    }


def _sorted(children: t.Mapping[str, list[Node]], node: Node) -> list[Node]:
    return sorted(children.get(node.reference, []), key=_order)


def _order(node: Node) -> tuple[str, list[tuple[int, str]], str]:
    version = node.record.version if node.record else ""
    parts = [(int(p) if p.isdigit() else -1, p) for p in re.split(r"[.-]", version)]
    return node.tag.partition(":")[0], parts, node.reference


def _named(node: Node, base: str) -> bool:
    names = {"", node.reference, node.tag, node.reference.partition("@")[0]}
    if node.record:
        names.add(f"{node.record.name}@{node.record.image_id}")
    return base in names


def lines(bases: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return the graph for a person to read."""
    found = []
    for base in bases:
        found.append(_line(base))
        for number, image in enumerate(base["images"], 1):
            branch = "└── " if number == len(base["images"]) else "├── "
            found.append(branch + _line(image))
    return found


def _line(image: t.Mapping[str, t.Any]) -> str:
    digest = image["reference"].partition("@")[2]
    places = [place for place in ("output", "host") if image[place]]
    return f"{image['tag']} {digest[:19]} ({', '.join(places) or 'not here'})"
