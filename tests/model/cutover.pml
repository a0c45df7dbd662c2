// Copyright (c) 2026, the immutable.cutover authors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// The protocol of a cutover, small enough to look at every interleaving of it. `make model` checks it with spin.
//
// N old replicas serve; N new ones shall. A run goes from the old to the new, or back. Any run can be taken over from
// at any moment (a kill, a pause, a lease that ended), and what it had under way may still land later: its tracks go on
// as long as nothing stops them. The load balancer does what it was told some time later. Clients send all the time.
//
// The decisions are those of the strategy rolling. The other strategies take the same steps, behind the same checks at the
// moment of acting, in another order; their decisions are in the state machine of test_planner_machine.py, not here.
//
// The five rules, each of which can be left out to see that it is needed:
//   READY     only what is ready gets traffic          (-DNO_READY)
//   CAP       enough others serve, in the load balancer's own view, when something is drained   (-DNO_CAP)
//   DRAINCHK  taken out and destroyed only with nothing in flight                               (-DNO_DRAINCHK)
//   VIEW      that zero counts only once the load balancer routes nothing there                 (-DNO_VIEW)
//   FENCE     under the lock of the lease, a step looks, finds its epoch current, and acts      (-DNO_FENCE)
//
// What must hold in every state: no request reaches a replica that is not ready (WRONG_ROUTE), capacity stays at or above
// the floor (CAPACITY), nothing with work in flight is destroyed (CUT), nothing is destroyed that may still be routed to
// (ROUTED), no run is stuck (STUCK), and once a run is done exactly its release is there, for good (LEFTOVER).
//
// What it assumes, because HAProxy is so: a load balancer shows at once what it was told (`told`), and shows as well what
// it does (`does`). A stop that was asked for is delivered when the lock is free again. Replicas do not die by themselves:
// the state machine of test_planner_machine.py has those faults, on the real code.

// What is what, each `file: function` below plugins/module_utils/ (a test holds these names against the code):
//   look       _apply/observe.py: observe
//   decide     _release/rolling.py: decide, _cleanups, _ups   _release/tracks.py: retire
//   START      _apply/step_runner.py: _start       _apply/replicas.py: start_replica
//   REGISTER   _apply/step_runner.py: _register    _apply/targets.py: register_standby
//   READY      _apply/step_runner.py: _ready       _apply/targets.py: await_healthy
//   ACTIVATE   _apply/step_runner.py: _activate    _apply/targets.py: activate
//   DRAIN      _apply/step_runner.py: _drain       _apply/targets.py: start_drain
//   CAP        _apply/step_runner.py: _drain_now   _release/rolling.py: _process
//   DRAINCHK   _apply/targets.py: await_drained    _load_balancer/haproxy.py: _refuse_busy
//   VIEW       _apply/targets.py: refuse_routed    _load_balancer/haproxy.py: _confirmed
//   DEREGISTER _apply/removal.py: deregister       _apply/targets.py: deregister
//   DESTROY    _apply/removal.py: destroy, _refuse_registered   _apply/replicas.py: stop_replica
//   FENCE      _lease.py: guard                    epoch: _lease.py: acquire
//   Track      _apply/executor.py: _track          done: _apply/executor.py: _status

#ifndef N
#define N 3            /* replicas of each release */
#endif
#ifndef KILLS
#define KILLS 1        /* how often a run is taken over from, at most */
#endif
#ifndef SURGE
#define SURGE 1        /* max_surge */
#endif
#ifndef UNAVAILABLE
#define UNAVAILABLE 0  /* max_unavailable */
#endif
#ifndef TRACKS
#define TRACKS 2       /* steps that a run has under way at a time */
#endif

#define REPLICAS (2 * N)
#define FLOOR (N - UNAVAILABLE)
#define RELEASE(r) ((r) / N)
#define OLD 0
#define NEW 1

// A replica: its container on the engine, and its target at the load balancer.
#define NONE 0
#define BOOTS 1
#define IS_READY 2
#define ABSENT 0
#define IDLE 1         /* standby or draining: one state in HAProxy, and for the planner (Phase.STANDBY) */
#define ACTIVE 2
byte container[REPLICAS];
byte told[REPLICAS];   /* what was asked for: srv_admin_state of HAProxy, Target.admin */
byte does[REPLICAS];   /* where it routes: lags behind */
bit work[REPLICAS];    /* a request is in flight */

// Two controllers, who take turns: the one that holds the lease, and the one before it, which may not know that yet.
byte epoch;            /* _lease.py, lease.json */
byte mine[2];          /* the epoch each has */
bit goal[2];           /* the release each wants */
bit over[2];           /* it was fenced, and ends */
byte kills;
bit done;              /* a run has found nothing left to do, and noted its release */

// Steps under way. LOOKED is added between looking and acting where the lock does not join them (NO_FENCE).
#define START 1
#define REGISTER 2
#define ACTIVATE 3
#define DRAIN 4
#define DEREGISTER 5
#define DESTROY 6
#define LOOKED 8
byte verb[2 * TRACKS];
byte which[2 * TRACKS];
#define CONTROLLER(t) ((t) / TRACKS)

hidden byte i, c, step, exist, waits;
hidden short room, serving;
hidden byte wanted, lowest, can;

#define SERVES(r) (container[r] == IS_READY && told[r] == ACTIVE && does[r] == ACTIVE)   /* Phase.SERVING */

// What a rule asks for; without the rule, nothing.
#ifdef NO_READY
#define READY(r) (container[r] != NONE)
#else
#define READY(r) (container[r] == IS_READY)   /* step_runner._ready, targets.await_healthy and activate */
#endif
#ifdef NO_CAP
#define CAP_TO_PLAN(n) true
#define CAP_TO_ACT(n) true
#else
#define CAP_TO_PLAN(n) (room >= (n))          /* rolling._process: room */
#define CAP_TO_ACT(n) (serving - (n) >= FLOOR) /* step_runner._drain_now, once more under the lock */
#endif
#ifdef NO_DRAINCHK
#define DRAINCHK(r) true
#else
#define DRAINCHK(r) (!work[r])                /* targets.await_drained; HaproxyLoadBalancer._refuse_busy */
#endif
#ifdef NO_VIEW
#define VIEW(r) true
#else
#define VIEW(r) (does[r] == told[r])          /* HaproxyLoadBalancer._confirmed; targets._DrainWait.refuse_routed */
#endif

// observe.observe: counts what serves, what exists, and what room that leaves to the run of controller `me`.
inline look(me) {
    serving = 0; exist = 0; room = 0 - FLOOR;
    for (i : 0 .. REPLICAS - 1) {
        if
        :: SERVES(i) -> serving++; room++
        :: else
        fi;
        if
        :: container[i] != NONE && (RELEASE(i) == goal[me] || SERVES(i)) -> exist++
        :: else
        fi
    }
}

// Whether another track of this controller is busy with the replica (Executor._running).
inline busy(me, r) {
    can = true;
    for (i : me * TRACKS .. me * TRACKS + TRACKS - 1) {
        if
        :: verb[i] != 0 && which[i] == r -> can = false
        :: else
        fi
    }
}

// Whether no replica of the same release and lower number is in the state that is asked for: the planner goes in order.
inline first_missing(r) {
    lowest = true;
    for (i : RELEASE(r) * N .. RELEASE(r) * N + N - 1) {
        if
        :: i < r && container[i] == NONE && told[i] == ABSENT && does[i] == ABSENT -> lowest = false
        :: else
        fi
    }
}

// planner.decide / rolling.decide: the step that controller `me` may begin for replica `r` now, or 0.
inline decide(me, r) {
    step = 0;
    look(me);
    wanted = (RELEASE(r) == goal[me]);
    if
    :: wanted && container[r] == NONE && told[r] == ABSENT && does[r] == ABSENT ->      /* rolling._ups */
        first_missing(r);
        if
        :: lowest && exist < N + SURGE -> step = START
        :: else
        fi
    :: wanted && READY(r) && told[r] == ABSENT && does[r] == ABSENT -> step = REGISTER
    :: wanted && READY(r) && told[r] == IDLE -> step = ACTIVATE
    :: !wanted && SERVES(r) && CAP_TO_PLAN(1) -> step = DRAIN                             /* drains */
    :: !wanted && told[r] == ACTIVE && !SERVES(r) && CAP_TO_PLAN(0) -> step = DRAIN       /* tracks.retire */
    :: !wanted && told[r] == IDLE && VIEW(r) && DRAINCHK(r) && CAP_TO_PLAN(0) -> step = DEREGISTER
    :: !wanted && container[r] != NONE && told[r] == ABSENT && VIEW(r) && CAP_TO_PLAN(0) -> step = DESTROY
    :: else
    fi
}

// Each step of step_runner.StepRunner looks at its own precondition again when it acts.
inline holds(r, what) {
    look(0);
    can = false;
    if
    :: what == START -> can = (container[r] == NONE)                                      /* replicas.start_replica */
    :: what == REGISTER -> can = (READY(r) && told[r] == ABSENT && does[r] == ABSENT)     /* targets.register_standby */
    :: what == ACTIVATE -> can = (READY(r) && told[r] == IDLE)                            /* targets.activate */
    :: what == DRAIN && SERVES(r) -> can = CAP_TO_ACT(1)                                  /* _drain_now: routed */
    :: what == DRAIN && !SERVES(r) -> can = (told[r] == ACTIVE && CAP_TO_ACT(0))
    :: what == DEREGISTER -> can = (told[r] == IDLE && VIEW(r) && DRAINCHK(r))            /* targets.deregister */
    :: what == DESTROY -> can = (container[r] != NONE && told[r] == ABSENT && VIEW(r))    /* _refuse_registered */
    :: else
    fi
}

inline act(r, what) {
    if
    :: what == START -> container[r] = BOOTS
    :: what == REGISTER -> told[r] = IDLE
    :: what == ACTIVATE -> told[r] = ACTIVE
    :: what == DRAIN -> told[r] = IDLE
    :: what == DEREGISTER -> told[r] = ABSENT
    :: what == DESTROY ->
        assert(!work[r]);              /* CUT */
        assert(does[r] != ACTIVE);     /* ROUTED */
        container[r] = NONE
    fi
}

inline drop(t) {
    verb[t] = 0;
    which[t] = 0
}

// One of the threads of Executor.work: chooses a step by what it sees, and acts on it some time later.
active [2 * TRACKS] proctype Track() {
end:
    do
    :: atomic {
        verb[_pid] == 0 && mine[CONTROLLER(_pid)] != 0 && !over[CONTROLLER(_pid)] && !done ->
        if
        :: which[_pid] = 0
        :: which[_pid] = 1
#if N > 1
        :: which[_pid] = 2
        :: which[_pid] = 3
#endif
#if N > 2
        :: which[_pid] = 4
        :: which[_pid] = 5
#endif
        fi;
        d_step {
            busy(CONTROLLER(_pid), which[_pid]);
            step = 0;
            if
            :: can -> decide(CONTROLLER(_pid), which[_pid])
            :: else
            fi;
            verb[_pid] = step;
            if
            :: step == 0 -> which[_pid] = 0
            :: else
            fi;
            step = 0; can = 0; wanted = 0; lowest = 0; room = 0; serving = 0; exist = 0; i = 0
        }
    }
#ifdef NO_FENCE
    :: d_step {
        verb[_pid] != 0 && verb[_pid] < LOOKED ->
        holds(which[_pid], verb[_pid]);
        if
        :: can -> verb[_pid] = verb[_pid] + LOOKED
        :: else -> drop(_pid)
        fi;
        can = 0; room = 0; serving = 0; exist = 0; i = 0
    }
    :: d_step {
        verb[_pid] > LOOKED -> act(which[_pid], verb[_pid] - LOOKED); drop(_pid)
    }
#else
    :: d_step {                                       /* Lease.guard */
        verb[_pid] != 0 ->
        if
        :: mine[CONTROLLER(_pid)] != epoch -> over[CONTROLLER(_pid)] = 1      /* Fenced */
        :: else ->
            holds(which[_pid], verb[_pid]);
            if
            :: can -> act(which[_pid], verb[_pid])
            :: else
            fi
        fi;
        drop(_pid);
        can = 0; room = 0; serving = 0; exist = 0; i = 0
    }
#endif
    od
}

inline request(r) {
    assert(container[r] == IS_READY);                 /* WRONG_ROUTE */
    work[r] = 1
}

// The load balancer, the engine and the clients, for each replica.
active [REPLICAS] proctype Around() {
    byte r = _pid - 2 * TRACKS;
end:
    do
    :: d_step { container[r] == BOOTS -> container[r] = IS_READY }
    :: d_step {
        told[r] != does[r] ->
        does[r] = told[r];
        serving = 0;
        for (i : 0 .. REPLICAS - 1) {
            if
            :: does[i] == ACTIVE && container[i] == IS_READY -> serving++
            :: else
            fi
        }
        assert(serving >= FLOOR);                     /* CAPACITY */
        serving = 0; i = 0;
        if
        :: does[r] == ACTIVE -> request(r)
        :: else
        fi
    }
    // Clients send all the time. As long as it is told to be active nobody asks whether it works on something: it does.
    :: d_step { does[r] == ACTIVE && !work[r] -> request(r) }
    :: d_step { work[r] && !(told[r] == ACTIVE && does[r] == ACTIVE) -> work[r] = 0 }
    od
}

inline exact(me) {
    can = true;
    for (i : 0 .. REPLICAS - 1) {
        if
        :: RELEASE(i) == goal[me] && !SERVES(i) -> can = false
        :: RELEASE(i) != goal[me] && (container[i] != NONE || told[i] != ABSENT || does[i] != ABSENT) -> can = false
        :: else
        fi
    }
}

// Lease.acquire: another run comes, for the same release or to go back; and a run that has nothing left to do is done.
active proctype Lease() {
    bit want;
    byte r;
    d_step {
        for (i : 0 .. N - 1) {
            container[i] = IS_READY; told[i] = ACTIVE; does[i] = ACTIVE; work[i] = 1
        }
        i = 0; epoch = 1; mine[1] = 1; goal[1] = NEW
    }
end:
    do
    :: atomic {
        kills < KILLS && !done ->
        if
        :: want = OLD
        :: want = NEW
        fi;
        d_step {
            kills++;
            epoch++;
            c = epoch % 2;
            for (i : c * TRACKS .. c * TRACKS + TRACKS - 1) {
                drop(i)
            }
            mine[c] = epoch; goal[c] = want; over[c] = 0;
            want = 0; c = 0; i = 0
        }
    }
    :: d_step {                                       /* Executor._status, Deployment._finish */
        !done ->
        exact(epoch % 2);
        for (i : (epoch % 2) * TRACKS .. (epoch % 2) * TRACKS + TRACKS - 1) {
            if
            :: verb[i] != 0 -> can = false
            :: else
            fi
        }
        done = can;
#ifdef REACH
        assert(!done || kills < KILLS || goal[epoch % 2] == OLD); /* END */
#endif
        can = 0; i = 0
    }
    :: d_step {
        done -> exact(epoch % 2); assert(can); can = 0; i = 0           /* LEFTOVER */
    }
    :: d_step {                                       /* STUCK: all is quiet, and the run sees nothing to do */
        !done ->
        exact(epoch % 2);
        for (i : 0 .. REPLICAS - 1) {
            if
            :: container[i] == BOOTS || told[i] != does[i] || (work[i] && told[i] != ACTIVE) -> can = true
            :: else
            fi
        }
        for (i : (epoch % 2) * TRACKS .. (epoch % 2) * TRACKS + TRACKS - 1) {
            if
            :: verb[i] != 0 -> can = true
            :: else
            fi
        }
        if
        :: !can ->
            for (r : 0 .. REPLICAS - 1) {
                decide(epoch % 2, r);
                if
                :: step != 0 -> waits = 1
                :: else
                fi;
            }
            assert(waits)
        :: else
        fi;
        can = 0; waits = 0; r = 0; i = 0; step = 0; wanted = 0; lowest = 0; room = 0; serving = 0; exist = 0
    }
    od
}
