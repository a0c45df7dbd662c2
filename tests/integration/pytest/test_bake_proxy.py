# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Baking behind a proxy that opens TLS: nothing of its CA, its address, its user or its token is kept anywhere."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import typing as t

import docker
import pytest
import yaml

from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from tests.integration.pytest.local_archive import WheelIndex
from tests.integration.pytest.proxy_rig import InspectingProxy
from tests.unit.support.keys import write_key
from tools.sample import PLAYBOOK, ROOT, environment

ARCHIVE, INDEX = "archive.icproxy.example", "index.icproxy.example"
BASE, APP, DOCKER, PLANTED = (f"icproxy/{name}" for name in ("base", "app", "docker", "planted"))
# All that a step could keep of the place where it runs.
LOOK = "env > /etc/seen-env; cat /proc/[0-9]*/environ /etc/resolv.conf /etc/hosts > /etc/seen; true"
SOURCE = f"""Types: deb
URIs: https://{ARCHIVE}/apt
Suites: bookworm
Components: main
Trusted: yes
"""


class Site:
    """A host whose only way to its archive and its index is the proxy, and recipes that need both."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.output = Output(str(root / "output"))
        self.logs: list[str] = []
        self.proxy = InspectingProxy(root / "network", root / "served", ARCHIVE, INDEX)
        _write_archive(root / "served/apt", root / "tool")
        WheelIndex(root / "served").put("aa", "1.0")
        shutil.copytree("/etc/apt", root / "apt", symlinks=True)
        (root / "apt/sources.list.d").mkdir(exist_ok=True)
        (root / "apt/sources.list.d/icproxy.sources").write_text(SOURCE)
        (root / "apt.conf").write_text(f'Acquire::https::CaInfo "{self.proxy.authority.path}";\n')
        proxies = {"default": {"httpProxy": self.proxy.url, "httpsProxy": self.proxy.url}}
        (root / "docker").mkdir()
        (root / "docker/config.json").write_text(json.dumps({"proxies": proxies}))
        write_key(root / "key.pem")

    def recipe(self, name: str, **keys: t.Any) -> str:
        """Write a recipe and return its path."""
        folder = self.root / "recipes" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "requirements.in").write_text("aa\n")
        (folder / "app.py").write_text("print('an app')\n")
        content = {"bake": 1, "kind": "app", "name": name, "version": "1.0.0", **keys}
        (folder / "bake.yml").write_text(yaml.safe_dump(content))
        return str(folder / "bake.yml")

    def environment(self, url: str = "") -> dict[str, str]:
        """Return the environment of a controller that must use the proxy, and trusts its CA."""
        index = f"https://{INDEX}/simple/"
        kept = {k: v for k, v in environment().items() if not k.lower().endswith("_proxy")}
        return {
            **kept,
            "HTTPS_PROXY": url or self.proxy.url,
            "https_proxy": url or self.proxy.url,
            "SSL_CERT_FILE": str(self.proxy.authority.path),
            "APT_CONFIG": str(self.root / "apt.conf"),
            "DOCKER_CONFIG": str(self.root / "docker"),
            "UV_INDEX_URL": index,
            "UV_DEFAULT_INDEX": index,
            "UV_HTTP_RETRIES": "0",
            "UV_CACHE_DIR": str(self.root / "uv"),
        }

    def play(
        self, *recipes: str, url: str = "", **changes: t.Any
    ) -> subprocess.CompletedProcess[str]:
        """Take recipes through every phase, and keep all that Ansible can be made to say."""
        variables = {
            "cutover_hosts": "local",
            "bake_recipes": list(recipes),
            "bake_output": self.output.root,
            "bake_store": str(self.root / "store"),
            "bake_state_dir": str(self.root / "state"),
            "bake_apt_sources": str(self.root / "apt"),
            "bake_key": str(self.root / "key.pem"),
            **changes,
        }
        command = [str(PLAYBOOK), "-i", str(ROOT / "inventories/local"), "immutable.cutover.bake"]
        done = subprocess.run(
            [*command, "-vvvv", "-e", json.dumps(variables)],
            cwd=ROOT,
            env=self.environment(url),
            capture_output=True,
            text=True,
            check=False,
        )
        self.logs.append(done.stdout + done.stderr)
        return done

    def bake(self, *recipes: str, **changes: t.Any) -> None:
        """Take recipes through every phase; it must end well."""
        done = self.play(*recipes, **changes)
        said = done.stdout + done.stderr
        # At -vvvv the end is the recap of a run, far below what went wrong.
        assert done.returncode == 0, said[max(0, said.find("[ERROR]")) :][:1800]

    def record(self, name: str) -> BakeRecord:
        """Return what was baked."""
        found = self.output.find(name, "1.0.0")
        assert found is not None
        return found

    def kept(self) -> t.Iterator[tuple[str, bytes]]:
        """Yield all that baking leaves, by name."""
        for folder in ("output", "state", "store", "recipes"):
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file():
                    yield str(path.relative_to(self.root)), path.read_bytes()
        for number, log in enumerate(self.logs):
            yield f"log {number}", log.encode()

    def found(self, things: t.Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Return where something of the proxy is, and what."""
        return [
            (name, trace) for name, data in things for trace in self.proxy.traces if trace in data
        ]


def _write_archive(root: pathlib.Path, tree: pathlib.Path) -> None:
    """Write an archive that serves bookworm, with one package."""
    control = {"Package": "icproxy-tool", "Version": "1.0", "Architecture": "all"}
    control |= {"Maintainer": "nobody <nobody@example.org>", "Description": "a tool"}
    for path, text in {
        "DEBIAN/control": "".join(f"{key}: {value}\n" for key, value in control.items()),
        "usr/share/icproxy-tool/word": "here\n",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (root / "pool").mkdir(parents=True)
    run = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(root / "pool")]
    subprocess.run(run, check=True, capture_output=True)
    arch = _said("dpkg", "--print-architecture").strip()
    index = root / f"dists/bookworm/main/binary-{arch}/Packages"
    index.parent.mkdir(parents=True)
    index.write_text(_said("dpkg-scanpackages", "--multiversion", "pool", cwd=root))
    release = "Suite: bookworm\nCodename: bookworm\nComponents: main\n"
    (root / "dists/bookworm/Release").write_text(f"{release}Architectures: {arch}\n")


def _said(*argv: str, cwd: pathlib.Path | None = None) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd).stdout


@pytest.fixture(scope="module")
def client() -> t.Iterator[docker.DockerClient]:
    """Return the engine; remove what these tests left on it."""
    engine = docker.DockerClient("unix:///var/run/docker.sock", timeout=120)
    yield engine
    for name in (APP, DOCKER, BASE):
        for image in engine.images.list(name):
            engine.images.remove(image.id, force=True)
    engine.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, client: docker.DockerClient) -> t.Iterator[Site]:
    """Return a host where a base and apps were locked, fetched, baked, checked and described."""
    site = Site(tmp_path_factory.mktemp("proxy"))
    with site.proxy.running():
        steps = {"run": [["sh", "-c", LOOK]]}
        site.bake(
            site.recipe(
                BASE, kind="base", bootstrap={"suite": "bookworm"}, apt=["icproxy-tool"], **steps
            )
        )
        on = site.record(BASE).reference
        config = {"user": "10001"}
        files = [{"src": "app.py", "dest": "/app/"}]
        python = {"requirements": "requirements.in"}
        app = site.recipe(APP, base=on, python=python, files=files, config=config, **steps)
        built = site.recipe(DOCKER, dockerfile="Dockerfile", secrets=["word"])
        text = f"FROM {on}\nRUN {LOOK}\nRUN --mount=type=secret,id=word {LOOK}\nUSER 10001\n"
        (pathlib.Path(built).parent / "Dockerfile").write_text(text)
        (site.root / "word").write_text("a word that nobody guesses\n")
        site.bake(app)
        site.bake(built, bake_secrets={"word": str(site.root / "word")})
        yield site


def test_everything_came_through_the_proxy(site: Site) -> None:
    seen = "\n".join(site.proxy.seen)
    assert "GET /apt/pool/icproxy-tool_1.0_all.deb " in seen
    assert "GET /simple/aa/aa-1.0-py3-none-any.whl " in seen
    assert site.output.lock_of(site.record(APP)).python[0].name == "aa"


def test_nothing_of_the_proxy_is_kept_or_said(site: Site) -> None:
    kept = list(site.kept())
    assert len([name for name, _data in kept if name.startswith("output/blobs")]) > 12
    assert any(b"an app" in data for _name, data in kept), "layers can be searched"
    assert site.found(kept) == []


def test_nothing_of_the_proxy_is_on_the_engine(
    site: Site, client: docker.DockerClient, tmp_path: pathlib.Path
) -> None:
    for name in (BASE, APP, DOCKER):
        image = client.images.get(site.record(name).image_id)
        saved = tmp_path / "image.tar"
        with saved.open("wb") as stream:
            stream.writelines(image.save())
        described = json.dumps([image.attrs, image.history()]).encode()
        assert site.found([("image", saved.read_bytes()), ("description", described)]) == []


@pytest.mark.parametrize("kind", ["base", "app"])
def test_a_refused_password_is_not_said(site: Site, kind: str) -> None:
    wanted: dict[str, t.Any] = {"bootstrap": {"suite": "bookworm"}, "apt": ["icproxy-tool"]}
    if kind == "app":
        python = {"requirements": "requirements.in"}
        wanted = {"base": site.record(BASE).reference, "python": python, "config": {"user": "1"}}
    recipe = site.recipe(f"icproxy/refused-{kind}", kind=kind, **wanted)
    (pathlib.Path(recipe).parent / "requirements.in").write_text("bb\n")
    wrong = f"wrong-{site.proxy.token}"
    done = site.play(recipe, url=site.proxy.url.replace(site.proxy.token, wrong))
    assert done.returncode != 0
    assert "407" in site.proxy.seen
    assert site.proxy.token not in done.stdout + done.stderr
    assert not pathlib.Path(recipe).with_suffix(".lock").exists()


def test_p13_finds_what_is_put_into_an_image(site: Site) -> None:
    recipe = site.recipe(
        PLANTED,
        base=site.record(BASE).reference,
        files=[{"src": "ca.pem", "dest": "/usr/local/share/ca-certificates/site.crt"}],
        config={"user": "10001", "env": {"https_proxy": site.proxy.url}},
    )
    shutil.copy(site.proxy.authority.path, pathlib.Path(recipe).parent)
    done = site.play(recipe, bake_load=False)
    assert done.returncode != 0
    assert (
        f"P13 (factor III Config) {PLANTED}:1.0.0: environment variable https_proxy: a proxy"
        in done.stdout
    )
    assert "/usr/local/share/ca-certificates/site.crt is a CA of the site" in done.stdout
    assert site.proxy.token not in done.stdout + done.stderr
    record = site.record(PLANTED)
    blobs = [record.image_id, record.layers[-1].digest]
    found = site.found((digest, site.output.layout.read_bytes(digest)) for digest in blobs)
    assert {name for name, _trace in found} == set(blobs), "and so would these tests"
