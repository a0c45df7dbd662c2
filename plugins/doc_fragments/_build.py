# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of modules that bake recipes that run something; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """Secrets of builds, and what builds."""

    DOCUMENTATION = r"""
options:
  secrets:
    description:
      - Files on the host with the secrets that builds need, by the names that recipes give them in C(secrets).
      - A step sees each as C(/run/secrets/NAME), readable by root. Neither the value nor the path is in the image or a
        result, and an image in which a value is found is refused.
    type: dict
    default: {}
"""

    BACKEND = r"""
options:
  backend:
    description:
      - V(auto) assembles what only adds files, without an engine, and uses an engine for what runs something.
      - V(run) and V(dockerfile) put the same files into an image on the engine, by a container or by the engine's
        builder, and take them from there. The digest is the same. This is for comparison, and refused for recipes
        that run something and for bases.
    type: str
    choices: [auto, run, dockerfile]
    default: auto
"""
