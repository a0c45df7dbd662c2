# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's registry on a free port of the loopback, with a password and an own authority, and what was asked of it."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import pathlib
import re
import shutil
import subprocess
import typing as t

import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.immutable.cutover.plugins.module_utils._clock import SystemClock
from tools.sample import free_port

USER, PASSWORD = "ci", "swordfish-of-these-tests"
_SALT = "$2b$04$abcdefghijklmnopqrstuu"
_REQUEST = re.compile(r'"(?P<method>[A-Z]+) (?P<path>/v2/\S*) HTTP/1\.1" (?P<status>[0-9]{3})')


class Request(t.NamedTuple):
    """One line of the registry's access log."""

    method: str
    path: str
    status: int


@dataclasses.dataclass
class RegistryRig:
    """A registry of its own; its data is beside its configuration."""

    root: pathlib.Path
    plain: bool = False
    port: int = 0
    realm: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> pathlib.Path:
        """Return the file with everything it says."""
        return self.root / "log"

    @property
    def blobs(self) -> pathlib.Path:
        """Return where it keeps every blob, by digest."""
        return self.root / "data/docker/registry/v2/blobs/sha256"

    def options(self, **changes: t.Any) -> dict[str, t.Any]:
        """Return the option C(registry) of a module."""
        if self.plain:
            return {"host": self.host, "plain_http": True, **changes}
        given = {"username": USER, "password": PASSWORD, "ca_file": str(self.root / "ca.pem")}
        return {"host": self.host, **given, **changes}

    def start(self, trusted: bool = True) -> None:
        """Start it, and wait until it answers, whether or not its certificate is a good one."""
        binary = shutil.which("docker-registry")
        assert binary, "docker-registry is missing: make test-packages"
        self.port = self.port or free_port()
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.plain and not (self.root / "ca.pem").exists():
            write_certificates(self.root)
        config = self.root / "config.yml"
        config.write_text(yaml.safe_dump(self._config()))
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [binary, "serve", str(config)], stdout=stream, stderr=stream, cwd=self.root
            )
        clock = SystemClock()
        deadline = clock.monotonic() + 30
        while not self._answers(trusted):
            assert self.process.poll() is None, self.log.read_text()
            assert clock.monotonic() < deadline, self.log.read_text()
            clock.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def asked(self, skip: int = 0) -> list[Request]:
        """Return every request that it answered, without the first few."""
        found = _REQUEST.finditer(self.log.read_text())
        every = [Request(m["method"], m["path"], int(m["status"])) for m in found]
        return every[skip:]

    def blob(self, digest: str) -> pathlib.Path:
        """Return the file of one blob."""
        name = digest.partition(":")[2]
        return self.blobs / name[:2] / name / "data"

    def _answers(self, trusted: bool) -> bool:
        session = requests.Session()
        session.trust_env = False
        try:
            scheme = "http" if self.plain else "https"
            verify: t.Any = str(self.root / "ca.pem") if trusted and not self.plain else False
            answer = session.get(f"{scheme}://{self.host}/", verify=verify, timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code < 500

    def _config(self) -> dict[str, t.Any]:
        config: dict[str, t.Any] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.root / "data")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.host},
        }
        if not self.plain:
            passwords = self.root / "htpasswd"
            passwords.write_text(f"{USER}:{_bcrypt(PASSWORD)}\n")
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
            if self.realm:
                config["auth"] = {
                    "token": {
                        "realm": self.realm,
                        "service": "tests",
                        "issuer": "tests",
                        "rootcertbundle": str(self.root / "ca.pem"),
                    }
                }
            config["http"]["tls"] = {
                "certificate": str(self.root / "server.pem"),
                "key": str(self.root / "server.key"),
            }
        return config


def write_certificates(folder: pathlib.Path, host: str = "127.0.0.1", days: int = 1) -> None:
    """Write an authority, and a server certificate it signed; negative days are in the past."""
    now = datetime.datetime.now(datetime.UTC)
    first, last = sorted([now - datetime.timedelta(days=3), now + datetime.timedelta(days=days)])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tests {folder.name}")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _bcrypt(password: str) -> str:
    """Return the only kind of hash the registry takes; Python's own crypt is gone in 3.13, Debian always has perl's."""
    argv = ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, _SALT]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
