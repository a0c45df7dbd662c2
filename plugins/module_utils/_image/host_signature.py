# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature of an image beside its record on a host; private, no stability promised."""

from __future__ import annotations

import os

from ansible_collections.immutable.cutover.plugins.module_utils._image.canonical import (
    write_atomic,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.record import images_dir

SIGNATURE_TYPE = "application/vnd.dsse.envelope.v1+json"


def host_signature_path(state_dir: str, image_id: str) -> str:
    """Return where a host keeps the signature of an image; not C(.json), so that it is not taken for a record."""
    return os.path.join(images_dir(state_dir), image_id.partition(":")[2] + ".dsse")


def read_host_signature(state_dir: str, image_id: str) -> bytes:
    """Return the signature of an image; empty if there is none."""
    try:
        with open(host_signature_path(state_dir, image_id), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return b""


def write_host_signature(state_dir: str, image_id: str, data: bytes) -> None:
    """Replace the signature of an image, whose record is there."""
    write_atomic(host_signature_path(state_dir, image_id), data, 0o600)
