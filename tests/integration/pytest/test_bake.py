# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Baking for real: the distribution's packages, real wheels, a real engine."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import typing as t
import urllib.request

import docker
import jinja2
import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import front
from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
    EngineImages,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    read_record,
    resolve_image,
)
from tests.integration.pytest.build_kitchen import module_params

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOST = "unix:///var/run/docker.sock"
BASE, APP = "icbake/base", "icbake/shop"


@dataclasses.dataclass(frozen=True)
class Kitchen:
    """A folder to bake in."""

    root: pathlib.Path

    def params(self, *recipes: str, **changes: t.Any) -> dict[str, t.Any]:
        """Return the options of a module."""
        return module_params(self.root, recipes, **changes)

    def lock(self, *recipes: str, **changes: t.Any) -> dict[str, t.Any]:
        """Lock as the module does."""
        return front.lock_images(self.params(*recipes, **changes), check=False)

    def bake(self, *recipes: str, **changes: t.Any) -> dict[str, t.Any]:
        """Bake as the module does."""
        check = changes.pop("check", False)
        return front.bake_images(self.params(*recipes, **changes), check=check)

    @property
    def base(self) -> str:
        """Return the recipe of the base, under a name of these tests."""
        path = self.root / "base/bake.yml"
        if not path.exists():
            path.parent.mkdir()
            text = (ROOT / "roles/bake/files/recipes/base/bake.yml").read_text()
            path.write_text(text.replace("base/py311", BASE))
        return str(path)

    def app(self, base: str, version: str = "1.0.0") -> str:
        """Return the recipe of the sample app, rendered as the role does, with its own context."""
        folder = self.root / f"shop-{version}"
        if not folder.exists():
            shutil.copytree(ROOT / "examples/shop", folder)
            template = jinja2.Template((folder / "bake.yml.j2").read_text())
            images = {"base/py311": {"reference": base}}
            text = template.render(bake_images=images, recipe={"version": version, "context": "."})
            (folder / "bake.yml").write_text(text.replace("shop/web", APP))
        return str(folder / "bake.yml")

    def blobs(self) -> dict[str, int]:
        """Return name and size of everything in the layout."""
        folder = self.root / "output/blobs/sha256"
        return {path.name: path.stat().st_size for path in folder.iterdir()}


def record(result: dict[str, t.Any], index: int = 0) -> BakeRecord:
    """Return the record of one baked image."""
    return BakeRecord.from_mapping(result["images"][index]["record"], "result")


@pytest.fixture(scope="module")
def client() -> t.Iterator[docker.DockerClient]:
    """Return the engine; remove what these tests left on it."""
    engine = docker.DockerClient(HOST, timeout=120)
    _clean(engine)
    yield engine
    _clean(engine)
    engine.close()


def _clean(engine: docker.DockerClient) -> None:
    for container in engine.containers.list(all=True, filters={"name": "icbake-"}):
        container.remove(force=True)
    for network in engine.networks.list(names=["icbake-net"]):
        network.remove()
    for name in (APP, BASE):
        for image in engine.images.list(name):
            engine.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    """Return a folder where the base and the app were locked and baked, from nothing."""
    made = Kitchen(tmp_path_factory.mktemp("first"))
    # A time of their own, so that no other image on the engine shares a layer with these.
    made.lock(made.base, epoch=1_600_000_001)
    base = made.bake(made.base)
    app = made.app(base["images"][0]["reference"])
    made.lock(app)
    made.bake(app)
    return made


@pytest.fixture(scope="module")
def base(kitchen: Kitchen) -> BakeRecord:
    """Return the record of the base."""
    return record(kitchen.bake(kitchen.base))


@pytest.fixture(scope="module")
def app(kitchen: Kitchen, base: BakeRecord) -> BakeRecord:
    """Return the record of the app."""
    return record(kitchen.bake(kitchen.app(base.reference)))


@pytest.fixture(scope="module")
def loaded(kitchen: Kitchen, client: docker.DockerClient, app: BakeRecord) -> BakeRecord:
    """Return the record of the app, which the engine has."""
    kitchen.bake(kitchen.app(app.base), load=True)
    return app


def test_locking_again_gives_the_same_bytes(kitchen: Kitchen, base: BakeRecord) -> None:
    recipes = [kitchen.base, kitchen.app(base.reference)]
    kept = kitchen.lock(*recipes)
    assert (kept["changed"], kept["actions"], kept["diff"]) == (False, [], [])
    again = kitchen.lock(*recipes, upgrade=True)
    assert not again["changed"], again["actions"]
    for text in again["after"].values():
        assert "://" not in text
        assert str(kitchen.root) not in text
    locked = json.loads(again["after"][str(kitchen.root / "base/bake.lock")])
    names = {deb["name"] for deb in locked["apt"]}
    assert {"python3", "libc6", "dpkg", "base-files"} <= names
    assert "apt" not in names
    assert all(
        len(deb["sha256"]) == 64 and deb["path"].startswith("pool/") for deb in locked["apt"]
    )


def test_baking_again_changes_nothing(kitchen: Kitchen, base: BakeRecord, app: BakeRecord) -> None:
    before = kitchen.blobs()
    again = kitchen.bake(kitchen.base, kitchen.app(base.reference))
    assert (again["changed"], again["actions"]) == (False, [])
    assert [record(again, 0), record(again, 1)] == [base, app]
    assert kitchen.blobs() == before
    assert base.size < 150_000_000


def test_another_folder_without_a_network_gives_the_same_digests(
    kitchen: Kitchen,
    base: BakeRecord,
    app: BakeRecord,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = Kitchen(tmp_path / "a" / "longer" / "path")
    second.root.mkdir(parents=True)
    for name in ("base/bake.lock", "shop-1.0.0/bake.lock"):
        recipe = second.base if name.startswith("base") else second.app(base.reference)
        shutil.copy(kitchen.root / name, pathlib.Path(recipe).parent / "bake.lock")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    store = str(kitchen.root / "store")
    old_mask = os.umask(0o077)
    try:
        again_base = record(second.bake(second.base, store=store))
        assert again_base.layers == base.layers
        again_app = record(second.bake(second.app(base.reference), store=store))
    finally:
        os.umask(old_mask)
    assert (again_base.image_id, again_base.manifest_digest) == (
        base.image_id,
        base.manifest_digest,
    )
    assert (again_app.image_id, again_app.manifest_digest) == (app.image_id, app.manifest_digest)
    assert second.blobs() == kitchen.blobs()


def test_the_engine_gives_the_image_the_id_we_computed(
    kitchen: Kitchen, client: docker.DockerClient, loaded: BakeRecord
) -> None:
    image = client.images.get(loaded.image_id)
    assert image.id == loaded.image_id
    assert image.tags == [f"{APP}:1.0.0"]
    assert image.labels["immutable.cutover.recipe-hash"] == loaded.recipe_hash
    state = str(kitchen.root / "state")
    has = EngineImages(HOST).has
    for digest in (loaded.image_id, loaded.manifest_digest):
        assert resolve_image(f"{APP}@{digest}", state, has) == loaded.image_id
    path = kitchen.root / "state/images" / f"{loaded.image_id.partition(':')[2]}.json"
    assert read_record(str(path)) == loaded
    assert path.stat().st_mode & 0o777 == 0o600
    again = kitchen.bake(kitchen.app(loaded.base), load=True)
    assert (again["changed"], again["actions"]) == (False, [])


def test_what_is_loaded_is_known_without_the_engine_until_it_is_gone(
    kitchen: Kitchen,
    client: docker.DockerClient,
    loaded: BakeRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = kitchen.app(loaded.base)
    with monkeypatch.context() as patch:
        patch.setattr(front, "_engine", lambda params: pytest.fail("the engine was asked"))
        again = kitchen.bake(recipe, load=True)
    assert (again["changed"], again["actions"]) == (False, [])
    assert again["before"] == again["after"]
    assert again["after"][f"{APP}:1.0.0"]["loaded"]
    client.images.remove(f"{APP}:1.0.0", noprune=True)
    assert kitchen.bake(recipe, load=True)["actions"] != []
    client.images.get(loaded.image_id).tag(f"{APP}", "other")
    client.images.remove(f"{APP}:1.0.0", noprune=True)
    assert kitchen.bake(recipe, load=True)["actions"] == [f"tag {APP}:1.0.0"]
    client.images.remove(f"{APP}:other", noprune=True)
    assert kitchen.bake(recipe, load=True)["actions"] == []


def test_the_app_runs_without_root_on_a_read_only_root(
    client: docker.DockerClient, loaded: BakeRecord
) -> None:
    network = client.networks.create("icbake-net")
    container = client.containers.run(
        loaded.image_id,
        name="icbake-shop",
        network="icbake-net",
        environment={"PORT": "8080"},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": ""},
        detach=True,
    )
    try:
        container.reload()
        address = container.attrs["NetworkSettings"]["Networks"]["icbake-net"]["IPAddress"]
        assert _get(f"http://{address}:8080/readyz")["version"] == "1.0.0"
        assert container.exec_run(["id", "-u"]).output.strip() == b"10001"
        code, output = container.exec_run(["touch", "/app/x"])
        assert code != 0 and b"Read-only file system" in output
        code, output = container.exec_run(["uvicorn", "--version"])
        assert code == 0 and b"uvicorn" in output
        container.stop(timeout=20)
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)
        network.remove()


def _get(url: str, attempts: int = 100) -> dict[str, t.Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    last: OSError | None = None
    for _attempt in range(attempts):
        try:
            with opener.open(url, timeout=5) as answer:
                return t.cast("dict[str, t.Any]", json.loads(answer.read()))
        except OSError as error:
            last = error
            SystemClock().sleep(0.1)
    raise AssertionError(f"{url}: {last}")


def test_the_images_own_python_sees_what_was_locked(
    kitchen: Kitchen, client: docker.DockerClient, loaded: BakeRecord
) -> None:
    code = "import importlib.metadata as m; print({d.name: d.version for d in m.distributions()})"
    printed = client.containers.run(
        loaded.image_id,
        ["python", "-c", code],
        name="icbake-look",
        network_mode="none",
        remove=True,
    )
    locked = json.loads((kitchen.root / "shop-1.0.0/bake.lock").read_text())["python"]
    assert locked
    for wheel in locked:
        assert f"'{wheel['name']}': '{wheel['version']}'" in printed.decode()


def test_only_missing_layers_are_sent_and_all_of_them_if_need_be(
    kitchen: Kitchen, client: docker.DockerClient, base: BakeRecord, app: BakeRecord
) -> None:
    engine, layout = EngineImages(HOST), Output(str(kitchen.root / "output")).layout
    _clean(client)
    assert engine.load(layout, app) == 3
    _clean(client)
    assert engine.load(layout, base) == 1
    assert engine.load(layout, app) == 2
    assert engine.has(app.image_id)


def test_the_archive_is_what_docker_load_reads(
    kitchen: Kitchen, client: docker.DockerClient, app: BakeRecord
) -> None:
    recipe = kitchen.app(app.base)
    archived = record(kitchen.bake(recipe, archive=True))
    _clean(client)
    with open(archived.archive, "rb") as stream:
        (image,) = client.images.load(stream)
    assert image.id == app.image_id


def test_what_is_on_the_engine_is_listed(
    kitchen: Kitchen, client: docker.DockerClient, base: BakeRecord, app: BakeRecord
) -> None:
    kitchen.bake(kitchen.base, kitchen.app(base.reference), load=True)
    params = {
        "name": APP,
        "engine": {},
        "state_dir": str(kitchen.root / "state"),
        "graph": False,
        "base": "",
        "output": str(kitchen.root / "output"),
    }
    listed = front.list_images(params)
    (image,) = listed["images"]
    assert image["image_id"] == app.image_id
    assert (image["version"], image["kind"]) == ("1.0.0", "app")
    assert image["recipe_hash"] == app.recipe_hash
    assert [item["reference"] for item in listed["records"]] == [app.reference]
    assert {BASE, APP} <= {
        item["name"] for item in front.list_images({**params, "name": ""})["images"]
    }


@pytest.mark.parametrize("load", [True, False], ids=["on-the-engine", "in-the-output"])
def test_a_version_never_changes(
    kitchen: Kitchen, client: docker.DockerClient, loaded: BakeRecord, load: bool
) -> None:
    kitchen.bake(kitchen.app(loaded.base), load=True)
    other = Kitchen(kitchen.root / f"other-{load}")
    other.root.mkdir()
    recipe = other.app(loaded.base)
    with open(pathlib.Path(recipe).parent / "src/shop/app.py", "a", encoding="utf-8") as stream:
        stream.write("\n# changed\n")
    output = str(kitchen.root / "output")
    other.lock(recipe, output=output)
    with pytest.raises(CutoverError, match="bump the version"):
        other.bake(recipe, output=output, load=load)
    assert client.images.get(f"{APP}:1.0.0").id == loaded.image_id


@pytest.mark.parametrize(
    ("kind", "part", "says"),
    [
        pytest.param("base", "apt", "hash mismatch: expected " + "0" * 64, id="B43-package"),
        pytest.param("app", "python", "hash mismatch: expected " + "0" * 64, id="B43-wheel"),
    ],
)
def test_an_input_that_is_not_what_was_locked_is_refused(
    kitchen: Kitchen, base: BakeRecord, tmp_path: pathlib.Path, kind: str, part: str, says: str
) -> None:
    spoilt = Kitchen(tmp_path)
    recipe = spoilt.base if kind == "base" else spoilt.app(base.reference)
    source = kitchen.base if kind == "base" else kitchen.app(base.reference)
    locked = json.loads(pathlib.Path(source).with_suffix(".lock").read_text())
    locked[part][0]["sha256"] = "0" * 64
    pathlib.Path(recipe).with_suffix(".lock").write_text(json.dumps(locked))
    output = tmp_path / "output"
    shutil.copytree(kitchen.root / "output", output, copy_function=os.link)
    own = output / "records/icbake" / ("base" if kind == "base" else "shop")
    shutil.rmtree(own)
    with pytest.raises(CutoverError, match=says):
        spoilt.bake(recipe, store=str(kitchen.root / "store"))
    assert not list(own.glob("*.json"))
    assert not (kitchen.root / "store/sha256" / ("0" * 64)).exists()
