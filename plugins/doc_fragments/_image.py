# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the image modules; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """Recipes, and where what is baked from them is kept."""

    DOCUMENTATION = r"""
options:
  recipes:
    description:
      - Recipe files, worked on side by side. A recipe's lock is the file beside it that ends in C(.lock) in the
        place of C(.yml).
      - Every recipe is validated whole; each mistake is one line that names file, option path, what is allowed and
        what was found.
    type: list
    elements: path
    required: true
  output:
    description:
      - Folder with everything that was baked, an OCI image layout with one record for each name and version.
      - An app's base is looked up here.
    type: path
    default: ~/.cache/immutable-cutover/images
  concurrency:
    description: How many recipes are worked on at the same time, V(1) to V(16).
    type: int
    default: 2
"""
