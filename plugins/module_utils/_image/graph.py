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
    """Return every image that stands on nothing with all that stands on it, by names and versions; or a base with that.

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
    unknown = [Node(ref, None, False, False) for ref in children if ref not in nodes]
    bases = [*(node for node in nodes.values() if _is_base(node, children)), *unknown]
    roots = [node for node in bases if not (node.record and node.record.base)]
    chosen = [node for node in (bases if base else roots) if _named(node, base)]
    if base and not chosen:
        known = ", ".join(sorted({node.tag for node in bases})) or "none"
        raise InvalidInput("base", base, f"must be a base that is known here ({known})")
    return [_tree(node, children) for node in sorted(chosen, key=_order)]


def _is_base(node: Node, children: t.Mapping[str, list[Node]]) -> bool:
    """Tell whether something stands on an image, or is meant to."""
    if node.reference in children or node.record is None:
        return True
    return node.record.kind != "app" or not node.record.base


def _tree(node: Node, children: t.Mapping[str, list[Node]]) -> dict[str, t.Any]:
    below = sorted(children.get(node.reference, []), key=_order)
    return {**node.to_mapping(), "images": [_tree(child, children) for child in below]}


def _nodes(output: t.Sequence[BakeRecord], host: t.Sequence[BakeRecord]) -> dict[str, Node]:
    in_output = {record.reference: record for record in output}
    on_host = {record.reference: record for record in host}
    return {
        ref: Node(ref, record, ref in in_output, ref in on_host)
        for ref, record in {**on_host, **in_output}.items()
    }


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
    return [line for base in bases for line in (_line(base), *_lines_below(base))]


def _lines_below(image: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    last = len(image["images"])
    for number, child in enumerate(image["images"], 1):
        yield ("└── " if number == last else "├── ") + _line(child)
        for line in _lines_below(child):
            yield ("    " if number == last else "│   ") + line


def _line(image: t.Mapping[str, t.Any]) -> str:
    digest = image["reference"].partition("@")[2]
    places = [place for place in ("output", "host") if image[place]]
    return f"{image['tag']} {digest[:19]} ({', '.join(places) or 'not here'})"
