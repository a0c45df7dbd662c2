# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that name a registry; private, no stability promised."""

from __future__ import annotations


class ModuleDocFragment:
    """A registry, and where in it our images are."""

    DOCUMENTATION = r"""
options:
  registry:
    description:
      - The registry, spoken to over the OCI distribution protocol.
      - No message and no result ever contains its user name's password or a token.
    type: dict
    required: true
    suboptions:
      host:
        description: Host name or address, with C(:port) unless it is the protocol's own.
        type: str
        required: true
      username:
        description: Who asks. Needs O(registry.password).
        type: str
        default: ''
      password:
        description: Its password or access token, 4 characters at least.
        type: str
        default: ''
      auth_file:
        description:
          - A docker C(config.json) to take user name and password from, in the place of O(registry.username). Its
            entry for O(registry.host) is used, else the credential helper it names.
          - The file of the account that runs the module is not looked for unless it is named here.
        type: path
        default: ''
      ca_file:
        description: PEM file of the certificate authority that the registry's certificate is checked against, by
          default those that the host trusts.
        type: path
        default: ''
      tls_verify:
        description: Whether the registry's certificate is checked.
        type: bool
        default: true
      plain_http:
        description: Whether to speak HTTP without TLS. Only for a registry on the loopback of the same machine, unless
          O(registry.allow_http=true).
        type: bool
        default: false
      allow_http:
        description: Allow O(registry.plain_http) to another machine, where everybody in between can read the password
          and replace what is not asked for by digest.
        type: bool
        default: false
      timeout:
        description: Seconds the registry may be silent, 1 to 3600.
        type: int
        default: 60
  repository_prefix:
    description: What stands before an image's name in the registry, such as V(team) for C(team/shop/web).
    type: str
    default: ''
  concurrency:
    description: How many images are worked on at the same time, V(1) to V(16).
    type: int
    default: 2
requirements:
  - requests (Python library; comes with C(python3-docker) on Debian)
  - oras (Python library, only for a registry that wants a token in the place of a password)
"""

    # With an annotation, for ansible-test's yamllint takes any plain assignment here for a literal.
    OPTIONAL: str = DOCUMENTATION.replace(
        "    type: dict\n    required: true\n", "    type: dict\n", 1
    )
