# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of opening images that somebody else built."""

from __future__ import annotations

import gzip
import hashlib
import json
import pathlib
import typing as t

import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import foreign as subject

if t.TYPE_CHECKING:
    from tests.unit.plugins.module_utils._image.conftest import Craft, Member


def digest(data: bytes) -> str:
    """Return the hash of these bytes."""
    return hashlib.sha256(data).hexdigest()


def config_of(*layers: bytes) -> bytes:
    """Return the configuration of an image of these layers."""
    diff_ids = [f"sha256:{digest(layer)}" for layer in layers]
    return json.dumps({"config": {"User": "7"}, "rootfs": {"diff_ids": diff_ids}}).encode()


def two_layers(craft: Craft) -> tuple[bytes, bytes]:
    """Return the layers of an image."""
    first = craft.tar(craft.file("a", b"1"), craft.file("b", b"1"))
    return first, craft.tar(craft.file("a", b"2"), craft.file(".wh.b"))


def saved(craft: Craft, tags: list[str] | None, **changes: t.Any) -> bytes:
    """Return what an old docker save writes, with one layer that is there twice as a link."""
    first, second = two_layers(craft)
    config = changes.get("config", config_of(first, second, first))
    manifest = [
        {
            "Config": "c.json",
            "RepoTags": tags,
            "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
        }
    ]
    members: list[Member] = [
        craft.file("c.json", config),
        craft.file("1/layer.tar", first),
        craft.file("2/layer.tar", changes.get("second", second)),
        changes.get("third", craft.link("3/layer.tar", "../1/layer.tar")),
        craft.file("manifest.json", json.dumps(changes.get("manifest", manifest)).encode()),
    ]
    return craft.tar(*members)


class Layout:
    """Writes an OCI layout."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)

    def blob(self, data: bytes) -> str:
        """Add a blob and return its digest."""
        (self.root / "blobs/sha256" / digest(data)).write_bytes(data)
        return f"sha256:{digest(data)}"

    def json(self, value: object) -> str:
        """Add a JSON blob."""
        return self.blob(json.dumps(value).encode())

    def image(self, craft: Craft, pack: t.Callable[[bytes], bytes] = gzip.compress) -> str:
        """Add an image and return the digest of its manifest."""
        layers = two_layers(craft)
        config = self.blob(config_of(*layers))
        described = [{"digest": self.blob(pack(layer))} for layer in layers]
        return self.json({"config": {"digest": config}, "layers": described})

    def index(self, *items: dict[str, t.Any]) -> str:
        """Write the index of the layout."""
        (self.root / "index.json").write_text(json.dumps({"manifests": list(items)}))
        (self.root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return str(self.root)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_archive_of_docker_save(
    craft: Craft, tmp_path: pathlib.Path, pack: t.Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "saved.tar"
    path.write_bytes(pack(saved(craft, ["shop:1.0.0", "shop:x"])))
    before = sorted(tmp_path.rglob("*"))
    with subject.open_archive(str(path)) as (image,):
        assert (image.contents.name, image.tags) == ("shop:1.0.0", ("shop:1.0.0", "shop:x"))
        assert image.contents.read("a") == b"1"
        assert image.contents.read("b") == b"1"
        assert image.contents.run_config == {"User": "7"}
        assert len(image.contents.layers) == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_without_a_tag_is_named_by_its_id(craft: Craft, tmp_path: pathlib.Path) -> None:
    (tmp_path / "saved.tar").write_bytes(saved(craft, None))
    with subject.open_archive(str(tmp_path / "saved.tar")) as (image,):
        assert image.contents.name == image.image_id
        assert image.image_id.startswith("sha256:")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"second": b"no tar" * 200}, "shop:1: layer 2: not a tar archive"),
        ({"config": b"["}, "c.json: not JSON"),
        ({"config": b"[]"}, "c.json: must be a mapping"),
        ({"config": b'{"rootfs": {"diff_ids": []}}'}, "not those the configuration names"),
        ({"manifest": {}}, "manifest.json: must be a list"),
        ({"manifest": [{}]}, "manifest.json: incomplete"),
        ({"manifest": []}, "holds no image"),
    ],
)
def test_what_is_not_an_image_is_an_error(
    craft: Craft, tmp_path: pathlib.Path, changes: dict[str, t.Any], says: str
) -> None:
    (tmp_path / "saved.tar").write_bytes(saved(craft, ["shop:1"], **changes))
    with (
        pytest.raises(CutoverError, match=says),
        subject.open_archive(str(tmp_path / "saved.tar")),
    ):
        pass


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd", "3/layer.tar", "../../x"])
def test_se15_a_layer_that_is_a_link_out_of_the_archive(
    craft: Craft, tmp_path: pathlib.Path, target: str
) -> None:
    data = saved(craft, ["shop:1"], third=craft.link("3/layer.tar", target))
    (tmp_path / "saved.tar").write_bytes(data)
    with (
        pytest.raises(CutoverError, match="leads out of the image|3/layer.tar is missing"),
        subject.open_archive(str(tmp_path / "saved.tar")),
    ):
        pass


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("in_tar", [False, True], ids=["folder", "tar"])
def test_an_oci_layout(
    craft: Craft, tmp_path: pathlib.Path, pack: t.Callable[[bytes], bytes], in_tar: bool
) -> None:
    layout = Layout(tmp_path / "oci")
    names = {"org.opencontainers.image.ref.name": "shop:1.0.0"}
    path = layout.index({"digest": layout.image(craft, pack), "annotations": names})
    if in_tar:
        files = [item for item in layout.root.rglob("*") if item.is_file()]
        members = [craft.file(str(f.relative_to(layout.root)), f.read_bytes()) for f in files]
        path = str(tmp_path / "oci.tar")
        pathlib.Path(path).write_bytes(craft.tar(*members))
    with subject.open_layout(path) as (image,):
        assert (image.contents.name, image.tags) == ("shop:1.0.0", ("shop:1.0.0",))
        assert (image.contents.read("a"), image.contents.read("b")) == (b"2", None)


def test_an_index_of_indexes_with_attestations(craft: Craft, tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "oci")
    manifest = layout.image(craft)
    attestation = {"digest": layout.json({}), "platform": {"os": "unknown"}}
    inner = layout.json({"manifests": [{"digest": manifest}, attestation]})
    names = {"io.containerd.image.name": "r/shop:2.0.0"}
    path = layout.index({"digest": inner, "annotations": names}, {"digest": manifest})
    with subject.open_layout(path) as images:
        assert [image.tags for image in images] == [("r/shop:2.0.0",), ()]


def test_an_index_within_itself_is_refused(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "oci")
    found = layout.json({"manifests": []})
    for _depth in range(5):
        found = layout.json({"manifests": [{"digest": found}]})
    with (
        pytest.raises(CutoverError, match="an index in an index in an index"),
        subject.open_layout(layout.index({"digest": found})),
    ):
        pass


def test_a_blob_that_is_not_what_its_name_says(craft: Craft, tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "oci")
    manifest = layout.image(craft)
    path = layout.index({"digest": manifest})
    blob = layout.root / "blobs/sha256" / manifest.partition(":")[2]
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(CutoverError, match="is not what its name says"), subject.open_layout(path):
        pass


@pytest.mark.parametrize("named", ["../../../etc/passwd", "sha256:" + "a" * 63, None])
def test_se15_a_digest_is_a_digest(tmp_path: pathlib.Path, named: str | None) -> None:
    layout = Layout(tmp_path / "oci")
    path = layout.index({"digest": named})
    with pytest.raises(CutoverError, match="bad digest in a manifest"), subject.open_layout(path):
        pass


def test_se15_a_blob_that_is_a_link_out_of_the_layout(tmp_path: pathlib.Path) -> None:
    layout = Layout(tmp_path / "oci")
    (tmp_path / "secret").write_text("{}")
    name = digest(b"{}")
    (layout.root / "blobs/sha256" / name).symlink_to(tmp_path / "secret")
    path = layout.index({"digest": f"sha256:{name}"})
    with pytest.raises(CutoverError, match="leads out of the layout"), subject.open_layout(path):
        pass


def test_what_is_not_there_is_an_error(tmp_path: pathlib.Path) -> None:
    with (
        pytest.raises(CutoverError, match="images.archive: cannot be read"),
        subject.open_archive(str(tmp_path / "missing.tar")),
    ):
        pass
    with (
        pytest.raises(CutoverError, match="neither manifest.json nor index.json"),
        subject.open_layout(str(tmp_path)),
    ):
        pass


def test_what_an_engine_sends_is_read(craft: Craft) -> None:
    data = saved(craft, ["shop:1.0.0"])
    pieces = iter([data[:1000], data[1000:]])
    with subject.open_engine(lambda reference: pieces, "shop:1.0.0") as (image,):
        assert image.contents.read("a") == b"1"
