-- Copyright (c) 2026, the immutable.cutover authors
-- SPDX-License-Identifier: GPL-3.0-or-later
-- Keep a request until its backend has a server again, for at most so many seconds; then it goes on as it would have.

local STEP = 25 -- milliseconds between two looks

local function leaving(txn)
    local answer = txn.f:stopping()
    return answer == true or answer == 1
end

local function hold(txn, backend, seconds)
    local left = tonumber(seconds) * 1000
    -- A worker that leaves after a reload counts no servers although it has them.
    while left > 0 and txn.f:nbsrv(backend) == 0 and not leaving(txn) do
        core.msleep(STEP)
        left = left - STEP
    end
end

core.register_action("hold_request", { "http-req" }, hold, 2)
