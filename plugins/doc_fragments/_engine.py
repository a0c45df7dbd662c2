# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that name the container engine; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """The engine on the host that the module runs on."""

    DOCUMENTATION = r"""
options:
  engine:
    description:
      - The container engine of the host that the module runs on. Docker Engine must be 20.10 or newer.
      - It is reached by its unix socket only. A remote engine is driven on its own host, by a play that runs there.
    type: dict
    default: {}
    suboptions:
      driver:
        description: What kind of engine it is.
        type: str
        choices: [docker]
        default: docker
      host:
        description: The engine's socket, as C(unix://) and an absolute path.
        type: str
        default: unix:///var/run/docker.sock
      timeout:
        description: Seconds the engine may take for one answer. Waiting for a container to stop is not part of it.
        type: int
        default: 60
requirements:
  - docker (Python library on the host; Debian C(python3-docker))
"""
