# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main of every module: options in, one result or one failure out; private, no stability promised.

A module names what it imports in a function, so that it is imported when its bytecode can be found. This file imports
as little as it can: what it imports itself is compiled in each call.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.immutable.cutover.plugins.module_utils._bytecode import use_cache

Work = t.Callable[[t.Mapping[str, t.Any], bool], t.Mapping[str, t.Any]]
"""From the options, and whether it is check mode, to the result."""


def run_module(load: t.Callable[[], tuple[t.Mapping[str, t.Any], Work]]) -> None:
    """Run what C(load) returns: the argument spec, and what works on the options."""
    use_cache()
    from ansible_collections.immutable.cutover.plugins.module_utils._argspec import failure
    from ansible_collections.immutable.cutover.plugins.module_utils._errors import CutoverError

    argument_spec, work = load()
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    try:
        result = work(module.params, module.check_mode)
    except CutoverError as error:
        module.fail_json(**failure(error))
    module.exit_json(**result)
