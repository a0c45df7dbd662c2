# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from the controller to a host by Ansible's own connection, into a real engine."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import docker
import pytest

from ansible_collections.immutable.cutover.plugins.module_utils._image.docker_archive import (
    docker_archive,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.engine_images import (
    EngineImages,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import (
    BakeRecord,
    read_host_records,
    resolve_image,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import attach
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    SIGNATURE_TYPE,
    read_host_signature,
)
from tests.integration.pytest.registry_world import (
    APP,
    HOST,
    Kitchen,
    make_kitchen,
    remove_images,
)

ROOT = pathlib.Path(__file__).resolve().parents[3]
COMPARED = ("changed", "before", "after", "actions")


@dataclasses.dataclass(frozen=True)
class Site:
    """A controller with baked images, and a host that has none."""

    kitchen: Kitchen
    temporary: pathlib.Path

    def load(self, *images: str, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
        """Run the module on the host, and return what it returned."""
        arguments = {
            "images": list(images),
            "output": str(self.kitchen.root / "output"),
            "state_dir": str(self.kitchen.state_dir),
            **changes,
        }
        command = [
            os.path.join(os.path.dirname(sys.executable), "ansible"),
            *("host,", "--inventory=host,", "--connection=local"),
            *("--module-name=immutable.cutover.image_load", f"--args={json.dumps(arguments)}"),
            f"--extra-vars=ansible_python_interpreter={sys.executable}",
            *(["--check"] if check else []),
        ]
        env = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible/collections"),
            "ANSIBLE_HOME": str(self.temporary),
            "ANSIBLE_REMOTE_TEMP": str(self.temporary / "remote"),
            "ANSIBLE_LOAD_CALLBACK_PLUGINS": "false",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        }
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        status, arrow, answer = done.stdout.partition("=> ")
        assert arrow, done.stdout + done.stderr
        return {**json.loads(answer), "failed": "FAILED" in status}


@pytest.fixture
def client() -> t.Iterator[docker.DockerClient]:
    """Return the engine, without images of these tests before and after."""
    engine = docker.DockerClient(HOST, timeout=120)
    remove_images(engine)
    yield engine
    remove_images(engine)
    engine.close()


@pytest.fixture
def site(tmp_path: pathlib.Path, client: docker.DockerClient) -> Site:
    """Return a controller with a baked base and app."""
    root = tmp_path / "kitchen"
    root.mkdir()
    return Site(make_kitchen(root), tmp_path / "ansible")


def app(site: Site) -> BakeRecord:
    """Return what was baked as version 1.0.0."""
    record = site.kitchen.output.find(APP, "1.0.0")
    assert record is not None
    return record


def test_a_host_gets_what_it_lacks_and_nothing_twice(
    site: Site, client: docker.DockerClient
) -> None:
    record, kitchen = app(site), site.kitchen
    checked = site.load(record.reference, check=True)
    assert not client.images.list(APP) and not kitchen.state_dir.exists()
    done = site.load(record.reference)
    assert [checked[key] for key in COMPARED] == [done[key] for key in COMPARED]
    assert done["actions"] == [f"load {APP}:1.0.0", f"record {APP}:1.0.0"]
    assert done["images"][0]["layers_sent"] == 3
    assert client.images.get(record.image_id).id == record.image_id
    has = EngineImages(HOST).has
    for digest in (record.manifest_digest, record.image_id):
        assert resolve_image(f"{APP}@{digest}", str(kitchen.state_dir), has) == record.image_id
    (found,), _unreadable = read_host_records(str(kitchen.state_dir))
    assert found == dataclasses.replace(record, layout="")
    again = site.load(record.reference)
    assert (again["changed"], again["actions"], again["images"][0]["bytes_sent"]) == (False, [], 0)
    second = kitchen.write_app("second\n", "1.0.1")
    (image,) = site.load(second.reference)["images"]
    assert image["layers_sent"] == 1
    assert image["bytes_sent"] < 100_000 < record.size
    said = client.containers.run(
        second.image_id,
        ["/bin/sh", "-c", "read line < /app/app.py; echo $line"],
        network_mode="none",
        remove=True,
    )
    assert said == b"second\n"
    assert not list((site.temporary / "remote").glob("*/*"))


def test_a_signature_comes_along_and_later_too(site: Site) -> None:
    record, kitchen = app(site), site.kitchen
    site.load(record.reference)
    attach(kitchen.output, record, SIGNATURE_TYPE, SIGNATURE_TYPE, b'{"signed": 1}')
    later = site.load(record.reference)
    assert later["actions"] == [f"record {APP}:1.0.0"]
    assert read_host_signature(str(kitchen.state_dir), record.image_id) == b'{"signed": 1}'
    assert not site.load(record.reference)["changed"]


def test_a_thin_archive_that_is_refused_is_not_the_end(
    site: Site, client: docker.DockerClient, tmp_path: pathlib.Path
) -> None:
    """The engine itself refuses an archive whose missing layers it lacks, and takes the whole one."""
    record = app(site)
    engine, layout = EngineImages(HOST), site.kitchen.output.layout
    thin = tmp_path / "thin.tar"
    with thin.open("wb") as stream:
        for chunk in docker_archive(layout, record, {record.layers[0].digest}):
            stream.write(chunk)
    with thin.open("rb") as stream:
        assert not engine.load_archive(stream, record)
    assert not client.images.list(APP)
    assert engine.load_archive(docker_archive(layout, record), record, must=True)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        pytest.param(f"{APP}:1.0.0", "must be pinned", id="B13-tag"),
        pytest.param(f"{APP}@sha256:" + "0" * 64, "is not in ", id="absent"),
    ],
)
def test_what_is_not_baked_here_is_refused(site: Site, image: str, says: str) -> None:
    failed = site.load(app(site).reference, image)
    assert failed["failed"] and says in failed["msg"]
    assert not site.kitchen.state_dir.exists()


def test_an_engine_that_cannot_be_reached_is_named(site: Site) -> None:
    failed = site.load(app(site).reference, engine={"host": "unix:///nowhere.sock"})
    assert failed["failed"] and "unix:///nowhere.sock" in failed["msg"]
    assert not site.kitchen.state_dir.exists()
