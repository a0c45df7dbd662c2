# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking for real: images of the distribution's packages are clean, one made by hand on an engine is not."""

from __future__ import annotations

import io
import json
import pathlib
import re
import shutil
import subprocess
import tarfile
import typing as t

import docker
import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image import check
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe_policy import RULE_IDS
from tests.integration.pytest.test_bake import HOST, ROOT, Kitchen

NAME = "icheck/foreign"
KEY = b"-----BEGIN RSA " + b"PRIVATE KEY-----\n" + b"MIIEpAIBAAKCAQEA" * 8 + b"\n"
CANARY = "f8Kq2ZpL9vXwT4rBn7Yc"


def member(path: str, data: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file for a tar archive."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a root file system as a tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def run(**changes: t.Any) -> dict[str, t.Any]:
    """Check as the module does."""
    params = {
        "recipes": [],
        "images": [],
        "fail_on": list(RULE_IDS),
        "concurrency": 2,
        "engine": {},
        "output": "",
        **changes,
    }
    return check.check_images(params)


def refused(**changes: t.Any) -> CutoverError:
    """Return the error of a check that must fail."""
    with pytest.raises(CutoverError) as error:
        run(**changes)
    return error.value


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Kitchen:
    """Return a folder where the base, HAProxy and the sample app were baked from nothing."""
    made = Kitchen(tmp_path_factory.mktemp("check"))
    recipes = [made.base, haproxy(made)]
    made.lock(*recipes)
    baked = made.bake(*recipes)
    app = made.app(baked["images"][0]["reference"])
    made.lock(app)
    made.bake(app)
    return made


def haproxy(kitchen: Kitchen) -> str:
    """Return the collection's recipe of HAProxy, in a folder of its own."""
    path = kitchen.root / "haproxy/bake.yml"
    if not path.exists():
        path.parent.mkdir()
        shutil.copy(ROOT / "roles/bake/files/recipes/haproxy/bake.yml", path)
    return str(path)


def recipes(kitchen: Kitchen) -> list[str]:
    """Return every recipe of the folder."""
    return [kitchen.base, haproxy(kitchen), kitchen.app("")]


@pytest.fixture(scope="module")
def foreign() -> t.Iterator[str]:
    """Return the name of an image on the engine that breaks the rules, made by import and commit."""
    client = docker.DockerClient(HOST, timeout=120)
    _clean(client)
    layer = archive(
        member("usr/bin/rootme", b"#!/bin/sh\n", 0o4755),
        member("app/.env", f"DB_PASSWORD={CANARY}\n".encode()),
        member("app/tls.pem", KEY),
        member("usr/local/share/ca-certificates/site.crt", b"a CA"),
        member("app/run.log", b"started\n"),
    )
    changes = ["ENV API_TOKEN=hunter2", "ENV http_proxy=http://proxy.internal:3128", "USER root"]
    client.api.import_image_from_data(layer, repository=NAME, tag="latest", changes=changes)
    # What is removed in a later layer is still in the earlier one.
    container = client.containers.create(f"{NAME}:latest", ["/nothing"], name="icheck-foreign")
    container.put_archive("/", archive(member("etc/added.conf", b"access_log /srv/a.log;\n")))
    container.commit(NAME, "latest", message="apt-get install something", changes='CMD ["/x"]')
    container.remove()
    yield f"{NAME}:latest"
    _clean(client)
    client.close()


def _clean(client: docker.DockerClient) -> None:
    for container in client.containers.list(all=True, filters={"name": "icheck-foreign"}):
        container.remove(force=True)
    for image in client.images.list(NAME, all=True):
        client.images.remove(image.id, force=True)


EXPECTED = {
    "P1": "names no digest",
    "P2": "version latest",
    "P3": "no lock: 0 packages",
    "P4": "user 'root' is a name",
    "P5": "/usr/bin/rootme is setuid",
    "P6": "/app/tls.pem line 1: a private key",
    "P7": "environment variable API_TOKEN",
    "P9": "/app/run.log is a log file",
    "P13": "environment variable http_proxy",
}


def test_what_the_collection_bakes_is_clean(kitchen: Kitchen) -> None:
    store = str(kitchen.root / "store")
    result = run(recipes=recipes(kitchen), output=str(kitchen.root / "output"), store=store)
    assert result["changed"] is False
    assert [image["passed"] for image in result["images"]] == [True] * 3
    left = [
        (found["rule"], found["level"]) for image in result["images"] for found in image["findings"]
    ]
    assert set(left) == {("P4", "note"), ("P11", "note")}


def test_what_is_in_the_image_is_compared_with_the_lock(kitchen: Kitchen) -> None:
    path = pathlib.Path(kitchen.app("")).with_suffix(".lock")
    before = path.read_text()
    locked = json.loads(before)
    wheel = locked["python"][0]
    wheel["version"] = "0.0.1"
    path.write_text(json.dumps(locked))
    try:
        error = refused(recipes=[kitchen.app("")], output=str(kitchen.root / "output"))
    finally:
        path.write_text(before)
    lines = error.message.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["P3", "P3"]
    assert f"wheel {wheel['name']} is locked as 0.0.1 but is " in lines[1]


def test_a_denied_licence_of_the_real_packages(kitchen: Kitchen, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(pathlib.Path(kitchen.app("")).parent, folder)
    path = folder / "bake.yml"
    recipe = yaml.safe_load(path.read_text())
    recipe["policy"] = {"licences": {"deny": ["BSD-3-Clause"]}}
    path.write_text(yaml.safe_dump(recipe))
    error = refused(recipes=[str(path)], output=str(kitchen.root / "output"))
    assert re.search(
        r"^P11 icbake/shop:1.0.0: wheel click is under BSD-3-Clause", error.message, re.M
    )
    # The recipe's other policy changed nothing of what it names.
    assert "P3 " not in error.message


def test_our_own_image_from_its_archive_is_known_again(kitchen: Kitchen) -> None:
    done = kitchen.bake(kitchen.app(""), archive=True)
    saved = done["images"][0]["record"]["archive"]
    result = run(images=[{"archive": saved}], fail_on=["P1", "P2", "P4", "P5", "P6", "P7", "P13"])
    assert result["images"][0]["image_id"] == done["images"][0]["image_id"]


def test_a_foreign_image_of_the_engine(foreign: str, tmp_path: pathlib.Path) -> None:
    error = refused(images=[{"image": foreign}])
    by_rule: dict[str, list[str]] = {}
    for line in error.message.splitlines():
        by_rule.setdefault(line.split(" ")[0], []).append(line)
    for rule, words in EXPECTED.items():
        assert any(words in line for line in by_rule[rule]), (rule, by_rule.get(rule))
    assert any("/etc/added.conf logs to a file" in line for line in by_rule["P9"])
    assert any("site.crt is a CA of the site" in line for line in by_rule["P13"])
    assert "factor III Config" in by_rule["P6"][0] and "factor XI Logs" in by_rule["P9"][0]
    for secret in (CANARY, "hunter2", "MIIEpAIBAAKCAQEA"):
        assert secret not in error.message
        assert secret not in json.dumps(error.details["images"])


def test_the_same_image_saved_to_a_file_gives_the_same_findings(
    foreign: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "foreign.tar"
    subprocess.run(["docker", "save", "-o", str(path), foreign], check=True)
    subprocess.run(["gzip", "-k", str(path)], check=True)
    from_engine = refused(images=[{"image": foreign}]).message
    assert refused(images=[{"archive": str(path)}]).message == from_engine
    assert refused(images=[{"archive": f"{path}.gz"}]).message == from_engine


def test_waivers_let_a_foreign_image_through(foreign: str) -> None:
    image = t.cast(
        "list[dict[str, t.Any]]", refused(images=[{"image": foreign}]).details["images"]
    )[0]
    waivers = [
        {
            "rule": found["rule"],
            "reason": "known",
            "expires": "2999-12-31",
            **({"sha256": found["sha256"]} if found["sha256"] else {}),
        }
        for found in image["findings"]
        if found["level"] == "failure"
    ]
    result = run(images=[{"image": foreign, "policy": {"waivers": waivers}}])
    assert result["images"][0]["passed"] is True
    assert {found["level"] for found in result["images"][0]["findings"]} == {"waived"}


def test_an_image_the_engine_does_not_have() -> None:
    error = refused(images=[{"image": "icheck/nothing:1.0.0"}])
    assert error.message.endswith("has no image icheck/nothing:1.0.0")
