# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""The first bake of a checkout takes the sample's tags from images of ours, and nothing else from anybody."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import LABEL
from tools import sample

OURS = {sample.BAKED_FROM: "0" * 64}


class AnEngine:
    """The images of an engine, by tag, with their labels."""

    def __init__(self, **images: Any) -> None:
        self.rows = [
            {"Id": "sha256:1", "RepoTags": tags, "Labels": labels}
            for tags, labels in images.values()
        ]
        self.removed: list[str] = []

    def images(self) -> list[dict[str, Any]]:
        return self.rows

    def remove_image(self, tag: str, force: bool, noprune: bool) -> None:
        assert force and noprune
        self.removed.append(tag)


def test_only_the_tags_that_are_baked_are_taken_from_another_checkout() -> None:
    engine = AnEngine(
        ours=(["shop/web:1.0.0", "other/name:1"], OURS),
        base=(["base/py311:1.0.0"], OURS),
        another_version=(["shop/web:2.0.0", "base/py311:1.0.1"], OURS),
        theirs=(["registry.example/shop/web:1.0.0", "db:1"], None),
        untagged=(None, None),
    )
    sample.drop_sample_tags(engine)
    assert engine.removed == ["base/py311:1.0.0", "shop/web:1.0.0"]


@pytest.mark.parametrize("labels", [None, {}, {"immutable.cutover.app": "shop"}])
def test_an_image_that_the_collection_has_not_baked_is_refused(labels: Any) -> None:
    engine = AnEngine(ours=(["base/py311:1.0.0"], OURS), theirs=(["shop/web:1.1.0"], labels))
    with pytest.raises(sample.SampleFailed, match=r"^shop/web:1\.1\.0: .* another tag$"):
        sample.drop_sample_tags(engine)
    assert engine.removed == []


def test_these_are_the_tags_that_are_baked() -> None:
    recipes = sorted((sample.ROOT / "roles/bake/files/recipes").glob("*/bake.yml"))
    shipped = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in recipes]
    (play,) = yaml.safe_load((sample.PLAYS / "bake_sample.yml").read_text(encoding="utf-8"))
    (role,) = (task["vars"] for task in play["tasks"] if "bake_templates" in task.get("vars", {}))
    versions = [item["vars"]["version"] for item in role["bake_templates"]]
    tags = [f"{recipe['name']}:{recipe['version']}" for recipe in shipped]
    assert tuple(tags + [f"shop/web:{version}" for version in versions]) == sample.SAMPLE_TAGS
    assert f"{LABEL}recipe-hash" == sample.BAKED_FROM
