# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images need of a registry, by digest; private, no stability promised."""

from __future__ import annotations

import hashlib
import json
import typing as t
import urllib.parse

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    RegistryError,
    RegistryErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    CHUNK,
    canonical_json,
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.oci import (
    INDEX_TYPE,
    MANIFEST_TYPE,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    RegistryOptions,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_session import (
    Session,
)

Descriptor = dict[str, t.Any]
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
_ACCEPT = ", ".join((MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_LIST_TYPE))
_LARGEST_MANIFEST = 4 << 20
_BINARY = {"Content-Type": "application/octet-stream"}


class Registry:
    """A registry; a repository is a name in it, without the host."""

    def __init__(self, options: RegistryOptions) -> None:
        self.host = options.host
        self._session = Session(options)

    def head_manifest(self, repository: str, reference: str) -> str | None:
        """Return the digest a tag or digest stands for; None if it is not there."""
        url = _manifest(repository, reference)
        answer = self._session.request(
            "HEAD", url, scope=repository, headers={"Accept": _ACCEPT}, accept=(200, 404)
        )
        answer.close()
        if answer.status_code == 404:
            return None
        digest = answer.headers.get("Docker-Content-Digest")
        return digest or "sha256:" + sha256_bytes(self.get_manifest(repository, reference))

    def get_manifest(self, repository: str, reference: str) -> bytes:
        """Return a manifest or index; one asked for by digest is what that digest says."""
        url = _manifest(repository, reference)
        answer = self._session.request("GET", url, scope=repository, headers={"Accept": _ACCEPT})
        data = b""
        for chunk in self._session.chunks(answer, url, CHUNK):
            data += chunk
            if len(data) > _LARGEST_MANIFEST:
                raise self._wrong(url, f"sends a manifest of more than {_LARGEST_MANIFEST} bytes")
        if ":" in reference:
            self._require(url, reference, "sha256:" + sha256_bytes(data))
        return data

    def put_manifest(
        self, repository: str, reference: str, data: bytes, media_type: str = MANIFEST_TYPE
    ) -> bool:
        """Write a manifest under a digest or tag; return whether the registry lists what refers to another manifest."""
        url = _manifest(repository, reference)
        answer = self._session.request(
            "PUT",
            url,
            scope=repository,
            headers={"Content-Type": media_type},
            data=data,
            accept=(200, 201, 202),
        )
        answer.close()
        wanted = "sha256:" + sha256_bytes(data)
        self._require(url, wanted, answer.headers.get("Docker-Content-Digest", wanted))
        return "OCI-Subject" in answer.headers

    def head_blob(self, repository: str, digest: str) -> bool:
        """Tell whether a repository has a blob."""
        url = _blob(repository, digest)
        answer = self._session.request("HEAD", url, scope=repository, accept=(200, 404))
        answer.close()
        return answer.status_code == 200

    def mount_blob(self, repository: str, digest: str, source: str) -> str:
        """Let a repository share another one's blob; return where to upload it if that is not possible."""
        query = urllib.parse.urlencode({"mount": digest, "from": source})
        return self._begin(repository, f"?{query}", (201, 202))

    def upload_blob(
        self, repository: str, digest: str, content: bytes | str, location: str = ""
    ) -> None:
        """Upload bytes, or the file at a path without reading it into memory."""
        location = location or self._begin(repository, "", (202,))
        parts = urllib.parse.urlsplit(location)
        query = "&".join(filter(None, (parts.query, urllib.parse.urlencode({"digest": digest}))))
        self._session.request(
            "PUT",
            parts._replace(query=query).geturl(),
            scope=repository,
            headers=_BINARY if content else {**_BINARY, "Content-Length": "0"},
            data=content,
            accept=(201, 202, 204),
        ).close()

    def get_blob(self, repository: str, digest: str, size: int) -> t.Iterator[bytes]:
        """Return a blob in pieces; after the last one it was what its digest says, or there is an error."""
        url = _blob(repository, digest)
        answer = self._session.request("GET", url, scope=repository)
        seen, found = 0, hashlib.sha256()
        for chunk in self._session.chunks(answer, url, CHUNK):
            seen += len(chunk)
            if seen > size:
                raise self._wrong(url, f"sends more than the {size} bytes the manifest says")
            found.update(chunk)
            yield chunk
        self._require(url, digest, "sha256:" + found.hexdigest())

    def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """Return what refers to a manifest: from the registry's list, or where it has none from the fallback tag."""
        url = f"/v2/{repository}/referrers/{digest}"
        answer = self._session.request("GET", url, scope=repository, accept=(200, 404, 405))
        index = answer.headers.get("Content-Type", "").startswith(INDEX_TYPE)
        data = b"".join(self._session.chunks(answer, url, CHUNK))
        if answer.status_code == 200 and index:
            return self._descriptors(url, data)
        return self._fallback(repository, digest)

    def add_to_fallback(self, repository: str, subject: str, referrer: Descriptor) -> None:
        """Write a referrer into the tag that stands for the list a registry does not keep."""
        known = self._fallback(repository, subject)
        if any(item.get("digest") == referrer["digest"] for item in known):
            return
        manifests = sorted([*known, referrer], key=lambda item: str(item["digest"]))
        index = {"manifests": manifests, "mediaType": INDEX_TYPE, "schemaVersion": 2}
        self.put_manifest(repository, fallback_tag(subject), canonical_json(index), INDEX_TYPE)

    def _fallback(self, repository: str, subject: str) -> list[Descriptor]:
        tag = fallback_tag(subject)
        try:
            data = self.get_manifest(repository, tag)
        except RegistryError as error:
            if error.kind is RegistryErrorKind.NOT_FOUND:
                return []
            raise
        return self._descriptors(_manifest(repository, tag), data)

    def _descriptors(self, url: str, data: bytes) -> list[Descriptor]:
        try:
            found = json.loads(data)["manifests"] or []
            if all(isinstance(item["digest"], str) for item in found):
                return t.cast("list[Descriptor]", found)
        except (ValueError, KeyError, TypeError):
            pass
        raise self._wrong(url, "sends something that is no index")

    def _begin(self, repository: str, query: str, accept: t.Collection[int]) -> str:
        url = f"/v2/{repository}/blobs/uploads/{query}"
        answer = self._session.request(
            "POST",
            url,
            scope=repository,
            headers={"Content-Length": "0"},
            accept=accept,
        )
        answer.close()
        if answer.status_code == 201:
            return ""
        location = answer.headers.get("Location", "")
        if not location:
            raise self._wrong(url, "does not say where to upload to")
        return location

    def _require(self, url: str, wanted: str, found: str) -> None:
        if wanted != found:
            raise RegistryError(
                RegistryErrorKind.DIGEST_MISMATCH,
                f"{urllib.parse.urlsplit(url).path} at {self.host}: digest mismatch: expected {wanted} got {found}",
                expected=wanted,
                found=found,
            )

    def _wrong(self, url: str, what: str) -> RegistryError:
        path = urllib.parse.urlsplit(url).path
        return RegistryError(
            RegistryErrorKind.REFUSED, f"{path} at {self.host}: the registry {what}"
        )


def fallback_tag(digest: str) -> str:
    """Return the tag under which the referrers of a manifest are listed."""
    return digest.replace(":", "-")


def _manifest(repository: str, reference: str) -> str:
    return f"/v2/{repository}/manifests/{reference}"


def _blob(repository: str, digest: str) -> str:
    return f"/v2/{repository}/blobs/{digest}"
