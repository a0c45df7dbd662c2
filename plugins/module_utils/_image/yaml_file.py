# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as a person wrote it, with duplicate keys refused; private, no stability promised."""

from __future__ import annotations

import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError

MAXIMUM_NODES = 100_000
"""More than any recipe has; a file of a few lines can be made to have billions by aliases."""

try:
    import yaml
except ImportError as error:
    YAML_ERROR: ImportError | None = error
else:
    YAML_ERROR = None


def load_yaml(path: str, what: str) -> dict[str, t.Any]:
    """Return the mapping in a YAML file; the message names file, line and column."""
    if YAML_ERROR is not None:
        raise CutoverError(f"reading {path} needs PyYAML: install PyYAML", cause=str(YAML_ERROR))
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except FileNotFoundError as error:
        raise CutoverError(f"{what} not found: {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CutoverError(f"{what} {path} cannot be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check_size(node, path)
            _refuse_duplicates(node, path)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        raise CutoverError(f"{where} {error.problem or 'not YAML'}") from error
    except yaml.YAMLError as error:
        raise CutoverError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise CutoverError(f"{path} is nested too deeply") from error
    if data is None:
        raise CutoverError(f"{what} {path} is empty; see the example in the documentation")
    if not isinstance(data, dict):
        kind = "list" if isinstance(data, list) else "scalar"
        raise CutoverError(f"{path}: top level must be a mapping, found {kind}")
    return data


def _check_size(node: t.Any, path: str) -> int:
    """Return how many nodes there are once every alias is written out; refuse what never ends, or is a bomb."""
    sizes: dict[int, int] = {}

    def size(current: t.Any) -> int:
        known = sizes.get(id(current))
        mark = current.start_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}"
        if known == 0:
            raise CutoverError(f"{where} an alias leads to what it is itself part of")
        if known is None:
            sizes[id(current)] = 0  # under way
            known = sizes[id(current)] = 1 + sum(map(size, _below(current)))
        if known > MAXIMUM_NODES:
            raise CutoverError(f"{where} more than {MAXIMUM_NODES} values, aliases written out")
        return known

    return size(node)


def _below(node: t.Any) -> list[t.Any]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return []


def _refuse_duplicates(node: t.Any, path: str) -> None:
    pending, seen = [node], {id(node)}
    while pending:
        current = pending.pop()
        if isinstance(current, yaml.MappingNode):
            _refuse_duplicate_keys(current, path)
        fresh = [below for below in _below(current) if id(below) not in seen]
        seen.update(map(id, fresh))
        pending.extend(fresh)


def _refuse_duplicate_keys(node: t.Any, path: str) -> None:
    seen: set[str] = set()
    for key, _value in node.value:
        if key.value in seen if isinstance(key, yaml.ScalarNode) else False:
            mark = key.start_mark
            raise CutoverError(
                f"{path}:{mark.line + 1}:{mark.column + 1} duplicate key '{key.value}'"
            )
        if isinstance(key, yaml.ScalarNode):
            seen.add(key.value)
