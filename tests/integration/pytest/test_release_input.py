# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""What the role `release` refuses before it looks at any engine, through Ansible: one line, and nothing is changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(sys.executable).parent / "ansible-playbook"
VALUE = "s3cret-of-the-shop"
NO_FILE = "must be a file on the controller that can be read"


class Controller:
    """A folder with a secret in it, and what `replace` is given."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.secret = folder / "token"
        self.secret.write_text(VALUE, encoding="utf-8")
        self._spec = folder / "spec.json"

    def replace(self, *options: str, **more: Any) -> tuple[int, str]:
        """Run the playbook; return how it ended and what it said, lines unwrapped."""
        spec = {
            "release_app": "shop",
            "release_image": f"shop@sha256:{'0' * 64}",
            "release_processes": {"web": {"port": 8080}},
            "release_load_balancers": [{"backend": "shop"}],
            "release_state_dir": str(self.state),
            "release_engine": {"host": f"unix://{self.state}/no-engine.sock"},
            **more,
        }
        self._spec.write_text(json.dumps(spec), encoding="utf-8")
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "NO_COLOR": "1",
        }
        command = [str(PROGRAM), "immutable.cutover.replace", "-e", f"@{self._spec}", *options]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        pytest.param(
            VALUE,
            "release_secrets.TOKEN: must be a mapping with file, a path on the controller, "
            "found something that is not shown",
            id="B37-inline",
        ),
        pytest.param(
            {"file": "{secret}", "mode": "0444"},
            "release_secrets.TOKEN.mode: is an unknown option; known: file, found string 'mode'",
            id="B05-mode",
        ),
        pytest.param(
            {"file": "{secret}.gone"},
            f"release_secrets.TOKEN.file: {NO_FILE}, found string '{{secret}}.gone'",
            id="B01-gone",
        ),
        pytest.param(
            {"file": VALUE},
            f"release_secrets.TOKEN.file: {NO_FILE}, found something that is not shown",
            id="B37-file",
        ),
    ],
)
@pytest.mark.parametrize("options", [(), ("--check",), ("-vvv",)], ids=["real", "check", "vvv"])
def test_what_is_no_secret_file_is_refused(
    controller: Controller, options: tuple[str, ...], secret: object, says: str
) -> None:
    given = json.loads(json.dumps(secret).replace("{secret}", str(controller.secret)))
    code, text = controller.replace(*options, release_secrets={"TOKEN": given})
    assert code == 2, text
    assert f'"msg": "{says.format(secret=controller.secret)}"' in text
    assert VALUE not in text
    assert not controller.state.exists()


@pytest.mark.parametrize("options", [(), ("--check",)], ids=["real", "check"])
def test_b05_a_bad_lease_is_refused_before_a_secret_is_placed(
    controller: Controller, options: tuple[str, ...]
) -> None:
    secrets = {"TOKEN": {"file": str(controller.secret)}}
    code, text = controller.replace(*options, release_secrets=secrets, release_lease={"tll": 300})
    assert code == 2, text
    said = "lease.tll: is an unknown option; did you mean ttl?, found string 'tll'"
    assert re.search(rf'"msg": "{re.escape(said)}"', text), text
    assert VALUE not in text
    assert not controller.state.exists()
