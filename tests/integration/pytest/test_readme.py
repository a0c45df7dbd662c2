# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What README and docs/other-hosts.md tell to do for an app of one's own, done as it stands there.

Under a name, with a port and in a home folder of the test's own. The other host is this machine, too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.made import checkout, note_run
from tools.sample import ROOT, bake, environment, free_port

NAME = f"readme-{checkout()}"
HOME = ROOT / "build" / "readme"
"""Inside the folder that tells `make clean` what was baked."""
HOST_RECORDS = Path("/var/lib/immutable-cutover/images")
BASES = ("base/py311", "cutover/haproxy")


def ours(text: str) -> str:
    """Give what README calls hello the name of this test; the folder in the repository keeps its own."""
    return re.sub(r"(?<!examples/)\bhello\b", NAME, text)


def blocks(path: str = "README.md", title: str = "Your own app") -> dict[str, list[str]]:
    """Return the code blocks of a section, by their language."""
    text = (ROOT / path).read_text(encoding="utf-8")
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for language, content in re.findall(r"```(\w+)\n(.*?)\n *```", section, re.DOTALL):
        found.setdefault(language, []).append(content)
    return found


def rollback() -> str:
    """Return the command that goes back to a named release, from the table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.search(
        r"`(ansible-playbook immutable\.cutover\.rollback [^`]*)`[^|]*`(-e [^`]*)`", text
    )
    assert row is not None
    return " ".join(row.groups())


class Reader:
    """Somebody who does what README says, in a home folder of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / NAME
        self.spec = self.folder / f"{NAME}.yml"
        self.port = free_port()
        self.digests: dict[str, str] = {}

    def run(self, commands: str) -> str:
        """Run the commands in the clone, and note the digests that are printed."""
        variables = environment() | {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            ["bash", "-euc", ours(commands)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        self.digests |= dict(re.findall(r"([a-z0-9/-]+)@(sha256:[0-9a-f]{64})", done.stdout))
        return done.stdout

    def on_this_host(self, command: str) -> str:
        """Have a command use the inventory of README in place of the clone's."""
        return f"export ANSIBLE_INVENTORY={self.folder}/hosts.yml\n{command}"

    def paste(self, path: Path) -> None:
        """Put the digests that were printed into a file."""
        text = path.read_text(encoding="utf-8")
        for name, digest in self.digests.items():
            text = text.replace(f"{name}@sha256:...", f"{name}@{digest}")
        path.write_text(text, encoding="utf-8")

    def edit(self, **changes: Any) -> None:
        """Change variables of the spec."""
        spec = yaml.safe_load(self.spec.read_text(encoding="utf-8"))
        self.spec.write_text(yaml.safe_dump(spec | changes), encoding="utf-8")

    def apart(self) -> None:
        """Keep away from a load balancer that somebody else has on this machine."""
        balancer = {"load_balancer_name": f"{NAME}-lb", "load_balancer_network": f"{NAME}-net"}
        spec = yaml.safe_load(self.spec.read_text(encoding="utf-8"))
        (backend,) = spec["load_balancer_backends"]
        self.edit(
            **balancer,
            release_network=f"{NAME}-net",
            release_load_balancers=[
                {**spec["release_load_balancers"][0], "name": balancer["load_balancer_name"]}
            ],
            load_balancer_backends=[{**backend, "bind": f"127.0.0.1:{self.port}"}],
        )

    def answer(self) -> str:
        """Return what a client gets."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=30) as response:
            return str(response.read().decode().strip())


def remove() -> None:
    """Remove what has the test's name, also from a run that was killed."""
    names = ["docker", "ps", "--all", "--quiet", "--filter", f"name=^{NAME}-"]
    found = subprocess.run(names, capture_output=True, text=True, check=True).stdout.split()
    for command in (
        ["docker", "rm", "--force", *found],
        ["docker", "network", "rm", f"{NAME}-net"],
        ["docker", "rmi", "--no-prune", f"{NAME}/web:1.0.0", f"{NAME}/web:1.2.0"],
    ):
        subprocess.run(command, capture_output=True, check=False)
    records = HOME.glob(f"**/records/{NAME}/**/*.json")
    images = [json.loads(path.read_text(encoding="utf-8"))["image_id"] for path in records]
    for path in (
        str(HOME),
        *(str(path) for image in images for path in HOST_RECORDS.glob(f"{image[7:]}.*")),
        f"/var/lib/immutable-cutover/apps/{NAME}",
        f"/etc/immutable-cutover/{NAME}-lb",
        f"/run/immutable-cutover/{NAME}-lb",
        f"/etc/tmpfiles.d/immutable-cutover-{NAME}-lb.conf",
    ):
        subprocess.run(["rm", "-rf", path], check=True)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    bake()  # what `make demo` has left when README's commands are run
    note_run(NAME)
    remove()
    HOME.mkdir(parents=True)
    signatures = set(HOST_RECORDS.glob("*.dsse"))
    yield Reader(HOME)
    remove()
    for path in set(HOST_RECORDS.glob("*.dsse")) - signatures:
        path.unlink()  # of the bases, which everybody has


def test_the_example_is_what_readme_shows() -> None:
    texts = [
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples/hello").glob("*.yml"))
    ]
    assert [f"---\n{block}\n" for block in blocks()["yaml"]] == texts


def test_your_own_app_runs_is_replaced_and_goes_back_by_version(reader: Reader) -> None:
    found = blocks()
    first, second = found["console"]
    bake_app, balance, replace, curl = second.splitlines()
    assert curl.split()[:1] == ["curl"]  # answer() below is that
    reader.run(first)
    assert set(BASES) <= set(reader.digests)
    (reader.home / NAME / "hello.yml").rename(reader.spec)
    for path in (reader.folder / "bake.yml", reader.spec):
        path.write_text(ours(path.read_text(encoding="utf-8")), encoding="utf-8")
        reader.paste(path)
    reader.run(reader.on_this_host(bake_app))
    reader.paste(reader.spec)
    reader.apart()
    reader.run(reader.on_this_host(balance))
    reader.run(reader.on_this_host(replace))
    assert reader.answer() == NAME

    reader.edit(release_env={"GREETING": "good evening"}, release_version="1.1.0")
    reader.run(reader.on_this_host(replace))
    assert reader.answer() == "good evening"
    reader.run(reader.on_this_host(rollback()))
    assert reader.answer() == NAME


def test_a_new_version_reaches_a_host_that_only_runs_it(reader: Reader) -> None:
    (text,) = blocks("docs/other-hosts.md", "The inventory")["yaml"]
    inventory = yaml.safe_load(text)
    web = inventory["all"]["children"]["web"]
    assert web["vars"].pop("ansible_python_interpreter") == "/usr/bin/python3"
    # The same machine, so without ssh; what a host of the collection gets from Debian is in the virtual environment.
    this = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "engine_install_sdk": False,
    }
    web["hosts"] = {"web1": {**web["hosts"]["web1"], **this}}
    (reader.folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    first, second = blocks("docs/other-hosts.md", "Bake here, run there")["console"]
    setting = first.splitlines()[0]
    bake_app, *there = second.splitlines()
    reader.run(first)

    app = reader.folder / "app.py"
    app.write_text(app.read_text(encoding="utf-8").replace("{os.environ", "1.2.0 {os.environ"))
    recipe = reader.folder / "bake.yml"
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("version: 1.0.0", "version: 1.2.0"), encoding="utf-8")
    reader.run(f"{setting}\n{bake_app} -e bake_lock=always")
    image = f"{NAME}/web@{reader.digests[f'{NAME}/web']}"
    reader.edit(release_image=image, release_version="1.2.0")
    assert f"load {NAME}/web:1.2.0" in reader.run("\n".join([setting, *there]))
    assert reader.answer() == "1.2.0 good evening"
    loaded = reader.run(f"{setting}\n{there[0]}")
    assert "- unchanged" in loaded and "changed=0" in loaded


def test_an_image_is_signed_and_another_key_is_refused(reader: Reader) -> None:
    path = blocks("docs/bake.md", "The path")
    key, *bakes, release = (textwrap.dedent(block) for block in path["console"])
    (verify,) = (yaml.safe_load(block) for block in path["yaml"])
    for commands in (key, *bakes):
        reader.run(commands)
    reader.edit(**verify)
    reader.run(release)
    assert reader.answer() == "1.2.0 good evening"
    other = key.replace("bake.p", "other.p")
    reader.run(other)
    reader.edit(release_verify_keys=["~/keys/other.pub"], release_env={"GREETING": "never"})
    said = reader.run(f"! {release.splitlines()[-1]}")
    assert "is not signed by a key of verify_keys" in said
    assert reader.answer() == "1.2.0 good evening"


def test_a_base_that_was_edited_gets_its_new_version(reader: Reader) -> None:
    *copy, bake_bases = blocks()["console"][0].splitlines()
    if not reader.folder.exists():
        reader.run("\n".join(copy))
    recipe = reader.folder / "bases/base/bake.yml"
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(text.replace("version: 1.0.0", "version: 1.0.1"), encoding="utf-8")
    said = reader.run(f"{bake_bases} -e bake_lock=always --tags lock")
    assert "lock base/py311:1.0.1: recipe" in said
