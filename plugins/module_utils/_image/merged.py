# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file system that layers give together, by path; private, no stability promised."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

if t.TYPE_CHECKING:
    from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import Node

MAX_LINKS = 40


class LayerEntries(t.Protocol):
    """What a layer brings and what it hides."""

    @property
    def nodes(self) -> t.Mapping[str, Node]:
        """Return what is at each path."""

    @property
    def whiteouts(self) -> t.Collection[str]:
        """Return the paths that are hidden."""

    @property
    def opaque(self) -> t.Collection[str]:
        """Return the folders whose content below this layer is hidden."""


@dataclass
class _Branch:
    """A path of the merged file system and what is below it."""

    node: Node | None = None
    children: dict[str, _Branch] = field(default_factory=dict)


class MergedTree:
    """What a process sees of layers that lie on each other."""

    def __init__(self, layers: t.Iterable[LayerEntries]) -> None:
        layers = list(layers)
        implied = _implied(layers[0].nodes) if len(layers) == 1 else None
        if implied is not None:
            # Most bases are one layer, and nothing in it hides anything else: as good, and four times as fast.
            self.nodes, self._implied = dict(layers[0].nodes), implied
            return
        root = _Branch()
        for layer in layers:
            _apply(root, layer)
        every = dict(_walk(root))
        self.nodes = {path: node for path, node in every.items() if node is not None}
        # Folders that no layer mentions, only what is in them.
        self._implied = every.keys() - self.nodes.keys()

    def has(self, path: str) -> bool:
        """Tell whether there is anything at a path, links not followed."""
        return path in self.nodes or path in self._implied

    def is_folder(self, path: str) -> bool:
        """Tell whether a folder is at a path, links not followed."""
        node = self.nodes.get(path)
        return path in self._implied or not path or (node is not None and node.is_dir)

    def real_path(self, path: str) -> str | None:
        """Follow symbolic links inside the root; None if that ends nowhere."""
        rest = [part for part in path.split("/") if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while rest:
            part = rest.pop(0)
            if part == "..":
                # As the kernel does it: the root's parent is the root.
                done[-1:] = []
                continue
            path = "/".join([*done, part])
            node = self.nodes.get(path)
            if node is None and path not in self._implied:
                return None
            if node is not None and node.link:
                links += 1
                if links > MAX_LINKS:
                    return None
                if node.link.startswith("/"):
                    done = []
                rest = [p for p in node.link.split("/") if p not in ("", ".")] + rest
                continue
            done.append(part)
        return "/".join(done)

    def find(self, path: str) -> Node | None:
        """Return what is at a path, links followed."""
        real = self.real_path(path)
        return self.nodes.get(real) if real else None


def _implied(nodes: t.Mapping[str, Node]) -> set[str] | None:
    """Return the folders that one layer does not mention; None if something is below what is no folder."""
    found: set[str] = set()
    pending = {path.rpartition("/")[0] for path in nodes}
    while pending:
        folders = {folder for folder in pending if folder and folder not in found}
        if not all(folder not in nodes or nodes[folder].is_dir for folder in folders):
            return None
        found |= folders
        pending = {folder.rpartition("/")[0] for folder in folders}
    return found - nodes.keys()


def _apply(root: _Branch, layer: LayerEntries) -> None:
    # A whiteout hides what the layers below have, never what its own layer brings.
    for folder in layer.opaque:
        branch = _descend(root, folder)
        if branch is not None:
            branch.children.clear()
    for path in layer.whiteouts:
        folder, _slash, name = path.rpartition("/")
        branch = _descend(root, folder)
        if branch is not None:
            branch.children.pop(name, None)
    for path, node in layer.nodes.items():
        branch = root
        *parents, name = path.split("/")
        for part in parents:
            branch = branch.children.setdefault(part, _Branch())
            if branch.node is not None and not branch.node.is_dir:
                # A folder in the place of a link or a file replaces it.
                branch.node = None
        found = branch.children.setdefault(name, _Branch())
        if not node.is_dir:
            found.children.clear()
        found.node = node


def _descend(root: _Branch, path: str) -> _Branch | None:
    branch: _Branch | None = root
    for part in path.split("/") if path else []:
        branch = branch.children.get(part) if branch else None
    return branch


def _walk(root: _Branch) -> t.Iterator[tuple[str, Node | None]]:
    pending = [("", root)]
    while pending:
        prefix, branch = pending.pop()
        for name, child in branch.children.items():
            path = f"{prefix}{name}"
            if child.node is not None or child.children:
                yield path, child.node
            if child.children:
                pending.append((path + "/", child))
