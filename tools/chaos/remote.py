# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
"""A controller on the other end of a cable: ansible-playbook in a network of its own, which reaches the host by ssh.

The controller is what is moved away, not the host: its network namespace has nothing but one end of a cable. So modules
run where engine, load balancer and replicas are, and only what goes between controller and host is lost with the cable.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tools.chaos.process import Process, eventually, name_of, tree
from tools.sample import free_port

SESSION = 1
"""How deep below the listening sshd a session is; what is below a session works on the target."""
PATIENCE = 30.0
NETWORK = (198 << 24) + (18 << 16)
"""198.18.0.0/15, which is set aside for test beds."""
PROGRAMS = ("sshd", "ssh-keygen", "ip", "nsenter", "unshare")
OPTIONS = (
    "ControlMaster=no",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=3",
    "ServerAliveInterval=1",
    "ServerAliveCountMax=3",
)
"""As somebody would set them who wants to know of a host that is gone, only shorter."""


class NoCable(Exception):
    """No controller can be moved away on this machine; the text says why."""


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoCable(f"{' '.join(words)}: {done.stderr.strip()}")


class Cable:
    """What is between a controller and the host: a network namespace, and a pair of interfaces."""

    def __init__(self, name: str) -> None:
        digest = hashlib.sha256(name.encode())
        # Two checkouts on one machine get different ones; the name of an interface has 15 characters.
        self.controller = f"ctl-{digest.hexdigest()[:8]}"
        self._here = f"host-{digest.hexdigest()[:8]}"
        base = NETWORK + 4 * (int.from_bytes(digest.digest()[:4]) % (1 << 15))
        self.host, self._there = (_address(base + number) for number in (1, 2))

    def lay(self) -> None:
        """Connect controller and host; raises NoCable when that is not possible here."""
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise NoCable(f"not on this machine: {', '.join(missing)}")
        self.remove()
        _run("ip", "netns", "add", self.controller)
        inside = ("ip", "-n", self.controller)
        _run("ip", "link", "add", self._here, "type", "veth", "peer", "name", self.controller)
        _run("ip", "link", "set", self.controller, "netns", self.controller)
        _run("ip", "address", "add", f"{self.host}/30", "dev", self._here)
        _run(*inside, "address", "add", f"{self._there}/30", "dev", self.controller)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "link", "set", self.controller, "up")
        self.plug()

    def pull(self) -> None:
        """From now on no packet comes through, and nobody is told."""
        _run("ip", "link", "set", self._here, "down")

    def plug(self) -> None:
        """Let packets through again."""
        _run("ip", "link", "set", self._here, "up")

    def remove(self) -> None:
        """Leave nothing of it; both interfaces go with one."""
        for words in (("link", "del", self._here), ("netns", "del", self.controller)):
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(["ip", *words], capture_output=True, check=False)

    def enter(self) -> list[str]:
        """Return the words before a command that is to run on the controller, under a host name of its own."""
        named = ["sh", "-c", f'hostname {self.controller} && exec "$@"', "sh"]
        return ["nsenter", f"--net=/run/netns/{self.controller}", "unshare", "--uts", *named]


def _address(number: int) -> str:
    return ".".join(str(byte) for byte in number.to_bytes(4))


@dataclass(frozen=True)
class Keys:
    """The keys of host and controller, below one folder that is nobody else's."""

    folder: Path

    @property
    def host(self) -> Path:
        """The host's private key."""
        return self.folder / "host"

    @property
    def client(self) -> Path:
        """The controller's private key."""
        return self.folder / "client"

    @property
    def allowed(self) -> Path:
        """Whom the host lets in."""
        return self.folder / "authorized_keys"

    def make(self) -> None:
        """Make them anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        for key in (self.host, self.client):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "chaos", "-f", str(key))
        shutil.copy(self.client.with_suffix(".pub"), self.allowed)
        self.allowed.chmod(0o600)


class Door:
    """An sshd for one run, so that what works on the target for it is what is below this sshd."""

    def __init__(
        self, cable: Cable, keys: Keys, folder: Path, variables: Mapping[str, str]
    ) -> None:
        self._cable = cable
        self._keys = keys
        self._folder = folder
        self._port = free_port()
        folder.mkdir(parents=True)
        self._log = folder / "sshd.log"
        config = folder / "sshd_config"
        config.write_text(self._config(variables), encoding="utf-8")
        # Where sshd shuts in what is not logged in.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = str(shutil.which("sshd"))  # it starts itself again, and wants to know from where
        self._process = subprocess.Popen(
            [sshd, "-D", "-f", str(config), "-E", str(self._log)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(self._listens, PATIENCE)

    def _config(self, variables: Mapping[str, str]) -> str:
        """Return its configuration; the variables are what the host itself has in its environment."""
        lines = [f"ListenAddress {self._cable.host}:{self._port}", f"HostKey {self._keys.host}"]
        lines += [f"AuthorizedKeysFile {self._keys.allowed}", "AuthenticationMethods publickey"]
        lines += ["PermitRootLogin prohibit-password", "UsePAM no", "UseDNS no", "PidFile none"]
        lines += ["Subsystem sftp internal-sftp"]
        if variables:
            lines.append(
                "SetEnv " + " ".join(f'{key}="{value}"' for key, value in variables.items())
            )
        return "\n".join(lines) + "\n"

    def _listens(self) -> bool:
        said = self._log.read_text(errors="replace") if self._log.exists() else ""
        if self._process.poll() is not None:
            raise NoCable(f"sshd does not start: {said[-1500:]}")
        return "Server listening on" in said

    def inventory(self, hosts: Path) -> Path:
        """Write the inventory of a file with the one host C(local), reached through this door."""
        known = self._folder / "known_hosts"
        public = self._keys.host.with_suffix(".pub").read_text(encoding="utf-8")
        known.write_text(f"[{self._cable.host}]:{self._port} {public}", encoding="utf-8")
        options = [*OPTIONS, f"UserKnownHostsFile={known}"]
        variables = {
            "ansible_connection": "ssh",
            "ansible_host": self._cable.host,
            "ansible_port": self._port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._keys.client),
            # Nothing of whoever runs this: no configuration, no agent.
            "ansible_ssh_args": "-F none -o " + " -o ".join(options),
        }
        folder = self._folder / "inventory"
        shutil.copytree(hosts, folder)
        path = folder / "over_ssh.yml"  # read after hosts.yml, so it counts
        path.write_text(json.dumps({"all": {"hosts": {"local": variables}}}), encoding="utf-8")
        return folder

    def tree(self) -> list[Process]:
        """Return its sessions, as deep as the module of a local connection, and what is below them; nearest first."""
        found = [process for process in tree(self._process.pid) if process.depth >= SESSION]
        return [replace(process, depth=process.depth + 1) for process in found]

    def sessions(self) -> list[Process]:
        """Return the processes of sshd that hold its sessions."""
        return [process for process in self.tree() if name_of(process.pid) == "sshd"]

    def working(self) -> list[Process]:
        """Return what its sessions have started, nearest first."""
        return [process for process in self.tree() if name_of(process.pid) != "sshd"]

    def close(self) -> None:
        """End it and its sessions."""
        for session in self.sessions():
            session.send(signal.SIGKILL)
        self._process.terminate()
        self._process.wait(PATIENCE)


class Remote:
    """Cable and keys for the runs of one site."""

    def __init__(self, name: str, folder: Path) -> None:
        self.cable = Cable(name)
        self._folder = folder
        self._keys = Keys(folder / "keys")
        self._count = 0

    def start(self) -> None:
        """Make both."""
        self._end_stale()
        shutil.rmtree(self._folder, ignore_errors=True)
        self.cable.lay()
        self._keys.make()

    def door(self, variables: Mapping[str, str]) -> Door:
        """Open a door for one run."""
        self._count += 1
        return Door(self.cable, self._keys, self._folder / f"run-{self._count}", variables)

    def stop(self) -> None:
        """Leave nothing."""
        self._end_stale()
        self.cable.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_stale(self) -> None:
        """End every sshd whose configuration is in this folder, also of a run of the harness that was killed."""
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
                if f"{self._folder}/".encode() in words and name_of(int(entry)) == "sshd":
                    os.kill(int(entry), signal.SIGTERM)


@contextlib.contextmanager
def remote(name: str, folder: Path) -> Iterator[Remote]:
    """Have it for as long as it is needed."""
    made = Remote(name, folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
