# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attest phase of one recipe: describe its image, sign what was described; private, no stability promised."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError
from ansible_collections.immutable.cutover.plugins.module_utils._image.bake import BakeInputs
from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    sha256_bytes,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.output import Output
from ansible_collections.immutable.cutover.plugins.module_utils._image.provenance import (
    PROVENANCE_TYPE,
    Source,
    provenance,
    source_of,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.recipe import Recipe
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import BakeRecord
from ansible_collections.immutable.cutover.plugins.module_utils._image.referrers import (
    LOCK_TYPE,
    Attachment,
    attach,
    attachments,
    payload,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.sbom import SBOM_TYPE, sbom
from ansible_collections.immutable.cutover.plugins.module_utils._image.signature import (
    Envelope,
    SigningKey,
    read_envelope,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.verify import (
    SIGNATURE_TYPE,
    read_host_signature,
    unsigned_envelope,
    write_host_signature,
)

_DOCUMENTS = {SBOM_TYPE: "sbom", PROVENANCE_TYPE: "provenance", LOCK_TYPE: "lock"}
_NAMES = {**_DOCUMENTS, SIGNATURE_TYPE: "signature"}


@dataclass(frozen=True)
class AttestOptions:
    """Where images are, and on which host a release looks for signatures; none if it is empty."""

    output: str
    state_dir: str = ""
    check: bool = False


@dataclass(frozen=True)
class AttestResult:
    """What attesting one image did, or would do; record is None only in check mode."""

    recipe: Recipe
    source: Source
    record: BakeRecord | None
    signers: tuple[str, ...]
    attached: tuple[Attachment, ...]
    before: t.Mapping[str, t.Any]
    after: t.Mapping[str, t.Any]
    actions: tuple[str, ...]


class Attest:
    """One image and what is said of it."""

    def __init__(self, inputs: BakeInputs, options: AttestOptions, key: SigningKey | None) -> None:
        self.inputs, self.options, self.key = inputs, options, key
        self.recipe = inputs.recipe
        self.output = Output(options.output)
        self.actions: list[str] = []

    def ensure(self) -> AttestResult:
        """Make sure that the image is described, and signed if there is a key."""
        source = source_of(self.recipe)
        record = self.output.find(self.recipe.name, self.recipe.version)
        if record is None:
            return self._not_baked(source)
        if record.recipe_hash != self.inputs.hash:
            raise CutoverError(
                f"{record.tag} was baked from other inputs than {self.recipe.path} and its lock name now: "
                "bake the new version first"
            )
        before = self._state(record)
        documents = {
            SBOM_TYPE: sbom(self.output, record),
            PROVENANCE_TYPE: provenance(self.output, record, self.recipe, source),
            LOCK_TYPE: self.inputs.lock.to_bytes(),
        }
        envelope = self._envelope(record, documents)
        for kind, document in documents.items():
            self._attach(record, kind, document)
        if envelope is not None:
            self._attach(record, SIGNATURE_TYPE, envelope.to_bytes())
            self._leave_on_host(record, envelope)
        signers = tuple(key_id for key_id, _sig in envelope.signatures) if envelope else ()
        return AttestResult(
            recipe=self.recipe,
            source=source,
            record=record,
            signers=signers,
            attached=attachments(self.output, record),
            before=before,
            after=_after(before, documents, envelope, bool(self.options.state_dir)),
            actions=tuple(self.actions),
        )

    def _not_baked(self, source: Source) -> AttestResult:
        if not self.options.check:
            raise CutoverError(f"{self.recipe.tag} is not in {self.output.root}: bake it first")
        action = f"attest {self.recipe.tag}"
        return AttestResult(self.recipe, source, None, (), (), {}, {}, (action,))

    def _envelope(self, record: BakeRecord, documents: t.Mapping[str, bytes]) -> Envelope | None:
        """Return the signed envelope; what is signed already is never signed anew, as that would change it."""
        wanted = unsigned_envelope(
            record, _digest(documents[SBOM_TYPE]), _digest(documents[PROVENANCE_TYPE])
        )
        known = self._known(record)
        fits = known is not None and known.signed_content() == wanted.signed_content()
        if self.key is None:
            if known is not None and not fits:
                raise CutoverError(
                    f"{record.tag} is signed, and the signature does not cover its bill of materials and provenance "
                    "as they are now: give key to sign it again"
                )
            return known
        if fits and known is not None:
            if self.key.public.signed(known):
                return known
            wanted = known
        return self.key.sign(wanted)

    def _known(self, record: BakeRecord) -> Envelope | None:
        for item in attachments(self.output, record):
            if item.artifact_type == SIGNATURE_TYPE:
                return read_envelope(payload(self.output, item), f"signature of {record.tag}")
        return None

    def _attach(self, record: BakeRecord, kind: str, document: bytes) -> None:
        digest = _digest(document)
        known = {item.artifact_type: item for item in attachments(self.output, record)}
        if kind not in known or known[kind].payload_digest != digest:
            verb = "sign" if kind == SIGNATURE_TYPE else f"attach {_NAMES[kind]} to"
            self.actions.append(f"{verb} {record.tag}")
        if not self.options.check:
            attach(self.output, record, kind, kind, document)

    def _leave_on_host(self, record: BakeRecord, envelope: Envelope) -> None:
        state_dir, data = self.options.state_dir, envelope.to_bytes()
        if not state_dir or read_host_signature(state_dir, record.image_id) == data:
            return
        if not self.options.check:
            write_host_signature(state_dir, record.image_id, data)
        self.actions.append(f"record the signature of {record.tag}")

    def _state(self, record: BakeRecord) -> dict[str, t.Any]:
        digests = {
            _NAMES[item.artifact_type]: item.payload_digest
            for item in attachments(self.output, record)
            if item.artifact_type in _DOCUMENTS
        }
        known = self._known(record)
        state_dir = self.options.state_dir
        on_host = read_host_signature(state_dir, record.image_id) if state_dir else b""
        return {
            **{name: digests.get(name, "") for name in _DOCUMENTS.values()},
            **_signed(known),
            "on_host": bool(known and on_host == known.to_bytes()),
        }


def _after(
    before: t.Mapping[str, t.Any],
    documents: t.Mapping[str, bytes],
    envelope: Envelope | None,
    host: bool,
) -> dict[str, t.Any]:
    return {
        **before,
        **{_NAMES[kind]: _digest(document) for kind, document in documents.items()},
        **_signed(envelope),
        "on_host": envelope is not None and host,
    }


def _signed(envelope: Envelope | None) -> dict[str, t.Any]:
    """Return what is signed and by whom; an ECDSA signature itself differs each time it is made."""
    return {
        "signed": _digest(envelope.payload) if envelope else "",
        "signers": [key_id for key_id, _sig in envelope.signatures] if envelope else [],
    }


def _digest(data: bytes) -> str:
    return "sha256:" + sha256_bytes(data)


def as_data(result: AttestResult) -> dict[str, t.Any]:
    """Return one result as a module returns it."""
    record = result.record
    return {
        "recipe": result.recipe.path,
        "changed": bool(result.actions),
        "name": result.recipe.name,
        "version": result.recipe.version,
        "reference": record.reference if record else "",
        "image_id": record.image_id if record else "",
        "source": str(result.source),
        "signed": bool(result.signers),
        "signers": list(result.signers),
        "attachments": [asdict(item) for item in result.attached],
    }
