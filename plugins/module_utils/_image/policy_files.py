# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy rules about privileges, secrets and trust in an image's files; private, no stability promised."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import sha256_bytes
from ansible_collections.immutable.cutover.plugins.module_utils._image.finding import (
    Found,
    ImageUnderCheck,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.policy_config import (
    config_is_neutral,
    env_without_secrets,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.secret_scan import (
    looks_random,
    scan,
    url_password,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.tar_layer import Node

# What the essential and required packages of Debian bring, merged /usr or not.
_ESSENTIAL_SETID = frozenset(
    f"{folder}{name}"
    for folder in ("bin/", "sbin/", "usr/bin/", "usr/sbin/")
    for name in (
        *("su", "mount", "umount", "newgrp", "chfn", "chsh", "gpasswd", "passwd"),
        *("chage", "expiry", "wall", "write", "write.ul", "bsd-write", "unix_chkpwd"),
    )
)
_CREDENTIAL_FILES = (
    *(".netrc", ".pgpass", ".my.cnf", ".pypirc", ".git-credentials", ".dockercfg", ".htpasswd"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "ssh_host_*_key", "*.p12", "*.pfx", "*.jks"),
    *("*.keystore", "*.ppk", "*.kdbx", "credentials.json", "service-account*.json", "*.key"),
)
_CREDENTIAL_PATHS = (
    *("*.aws/credentials", "*.docker/config.json", "*.kube/config", "etc/apt/auth.conf"),
    *("etc/apt/auth.conf.d/*", "etc/ssl/private/*", "run/secrets/*"),
)
_DOTENV = re.compile(r"(?:\A|/)\.env(?:\.(?!example\Z|sample\Z|template\Z|dist\Z)[^/]+)?\Z")
_PACKAGE_TOOL_FILES = re.compile(
    r"\A(?:etc/pip\.conf|.*/?\.?(?:config/)?pip/pip\.conf|.*/?\.npmrc)\Z"
)
_PROXY_FILES = re.compile(
    r"\A(?:etc/environment|etc/profile(?:\.d/.+)?|etc/apt/apt\.conf(?:\.d/.+)?|etc/wgetrc|.*/?\.(?:wgetrc|curlrc"
    r"|bashrc|profile|gitconfig)|etc/gitconfig)\Z"
)
_PROXY_LINE = re.compile(
    rb"^(?!\s*(?:#|//))[^\n]*?(?:\b(?:https?|ftp|all)_?proxy\b\s*[=\s]\s*\S|::proxy\b|^\s*proxy\s*[=\s]\s*\S)",
    re.IGNORECASE | re.MULTILINE,
)
_NPM_TOKEN = re.compile(rb"_(?:authToken|auth|password)\s*=\s*[^$\s]")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/cert.pem",
)
_SMALL = 1 << 20


def no_new_privileges(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P5: nothing in the image makes its caller more than it is, beyond what the base may have."""
    for node in sorted(check.image.nodes.values(), key=lambda node: node.path):
        kind = _privilege(node)
        if not kind:
            continue
        if check.base is not None:
            # Its base was judged by itself; its own layers bring none, not even under a known name.
            if node.layer >= check.own_from:
                yield Found(f"/{node.path} {kind}, which its base does not have", f"/{node.path}")
        elif node.path not in _ESSENTIAL_SETID or node.capability:
            yield Found(f"/{node.path} {kind}", f"/{node.path}")


def _privilege(node: Node) -> str:
    if not node.is_file:
        return ""
    if node.mode & 0o6000:
        name = "setuid" if node.mode & 0o4000 else "setgid"
        return f"is {name} (mode {node.mode:04o})"
    return "has a file capability" if node.capability else ""


def no_secrets(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P6: no secret in any layer; what a later layer removes is still sent with the image."""
    package_files = hash(frozenset(check.distribution.items()))
    for layer in check.image.layers:
        key = (layer.digest, package_files)
        if key not in check.scans:
            files = [node for node in layer.nodes.values() if node.size]
            check.scans[key] = tuple(found for node in files for found in _secrets(check, node))
        for found in check.scans[key]:
            hidden = check.where(layer.nodes[found.path.strip("/")])
            yield Found(f"{hidden} {found.what}", found.path, found.sha256)


def _secrets(check: ImageUnderCheck, node: Node) -> t.Iterator[Found]:
    # What the distribution brought unchanged is public, as the keys that libgnutls tests itself with.
    if check.untouched(node):
        return
    hits = list(scan(check.image.layers[node.layer].chunks(node), node.path))
    digest = check.image.sha256(node) if hits else ""
    for hit in hits:
        yield Found(f"line {hit.line}: {hit.kind}", f"/{node.path}", digest)


def no_credentials(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P7: no file and no variable whose very name promises a secret."""
    yield from env_without_secrets(check)
    for node in check.every_file():
        kind = _credential(node.path) if node.size else ""
        if kind and not check.untouched(node):
            yield Found(f"{check.where(node)} is {kind}", f"/{node.path}", check.image.sha256(node))


def _credential(path: str) -> str:
    name = path.rpartition("/")[2]
    if _DOTENV.search(path):
        return "a file of environment variables; they come from outside"
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in _CREDENTIAL_FILES):
        return "a file for credentials or a private key"
    if any(fnmatch.fnmatchcase(path, pattern) for pattern in _CREDENTIAL_PATHS):
        return "a file for credentials or a private key"
    return ""


def neutral(check: ImageUnderCheck) -> t.Iterator[Found]:
    """P13: no CA, proxy or token of wherever it was built, in configuration, history or files."""
    yield from config_is_neutral(check)
    for node in check.every_file():
        ask = _trace(node.path, check) if 0 < node.size <= _SMALL else None
        if ask is None or check.untouched(node):
            continue
        what = ask(check.image.data(node))
        if what:
            digest = check.image.sha256(node)
            yield Found(f"{check.where(node)} {what}", f"/{node.path}", digest)
    yield from _bundles(check)


def _trace(path: str, check: ImageUnderCheck) -> t.Callable[[bytes], str] | None:
    """Return what to ask the content of this file; most files are asked nothing."""
    if _PACKAGE_TOOL_FILES.match(path):
        return _package_tool
    if _PROXY_FILES.match(path):
        return lambda data: "sets a proxy" if _PROXY_LINE.search(data) else ""
    if path.startswith(("usr/local/share/ca-certificates/", "etc/pki/ca-trust/source/anchors/")):
        return lambda data: "is a CA of the site"
    if path.startswith("usr/share/ca-certificates/") and path not in check.deb_paths:
        return lambda data: "is a CA that no package brought"
    return None


def _package_tool(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    if url_password(text) or _NPM_TOKEN.search(data) or any(map(looks_random, data.split())):
        return "holds the credentials of a package index"
    if re.search(r"^\s*(?:proxy|cert|cafile|trusted-host)\s*=\s*\S", text, re.MULTILINE):
        return "sets a proxy or a CA for a package tool"
    return ""


def _bundles(check: ImageUnderCheck) -> t.Iterator[Found]:
    """Compare the bundle every program trusts with the certificates that packages brought."""
    known: set[str] = set()
    for node in check.image.files_below("usr/share/ca-certificates"):
        if node.is_file and node.path in check.deb_paths:
            known |= _fingerprints(check.image.data(node, _SMALL))
    bundles = {check.image.real_path(path) for path in _BUNDLES} if known else set()
    for path in sorted(bundle for bundle in bundles if bundle):
        extra = len(_fingerprints(check.image.read(path) or b"") - known)
        if extra:
            yield Found(f"/{path} trusts {extra} certificates that no package brought", f"/{path}")
    yield from _certifi(check)


def _certifi(check: ImageUnderCheck) -> t.Iterator[Found]:
    """Look at the bundle Python programs ask, where a site's CA is put next."""
    for dist in check.image.installed_python():
        for path, digest in check.image.recorded(dist).items():
            node = check.image.nodes.get(path) if path.endswith("certifi/cacert.pem") else None
            if node is not None and digest not in ("", check.image.sha256(node)):
                yield Found(f"/{path} trusts others than its wheel brought", f"/{path}")


def _fingerprints(data: bytes) -> set[str]:
    return {sha256_bytes(b"".join(found.split())) for found in _CERTIFICATE.findall(data)}
