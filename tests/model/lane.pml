/* SPDX-License-Identifier: Apache-2.0
 * lane.pml - the call slot and the park protocol of one poller and GUESTS guest threads.
 *
 * Modelled: posting and replying through a slot that is reused, the guest's park (parked flag, full
 * fence, re-check, futex), the poller's sleep (asleep word, full fence, look at every lane, futex),
 * quiet lanes that are looked at only before and after sleep, kicks, and stores that a CPU holds back
 * until its next fence (one store buffer entry each, flushed at any moment): so a missing fence is found.
 * How long a guest looks before it parks is any time, none included, as the Sentry may cut it short.
 * The host may lose LOSSES wakes of guests: the poller repeats a wake until it has seen its guest awake,
 * and its sleep has an end as long as one is on its list.
 *
 * Checked: no deadlock (every guest gets ROUNDS replies and ends), a reply belongs to the call that was
 * posted last, the slot has one owner at a time.
 *
 * -DMUTANT=n seeds an error that must be found: 1 poller does not look again before it sleeps, 2 no
 * fence in the poller, 3 no fence in the guest before it reads the poller's word, 4 the guest does not
 * re-check before it parks, 5 no fence between reply and reading the parked flag, 6 a wake is sent once
 * although the poller was not asleep yet and the guest does not look again, 7 lost wakes are not repeated,
 * 8 they are repeated once, 9 the poller sleeps without an end while a guest has not been seen awake.
 */
#ifndef GUESTS
#define GUESTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef LOSSES
#define LOSSES 2
#endif

#define FREE 0
#define POSTED 1

byte slot[GUESTS];      /* state word */
byte slot_seq[GUESTS];  /* payload: which call, then its reply */
bool parked[GUESTS];
bool asleep;            /* the poller's word */
bool poller_futex;      /* the poller sits in FUTEX_WAIT on it */
bool guest_futex[GUESTS];
bool kicked[GUESTS];     /* the poller's list: woken, not seen awake since */
byte lost;
byte finished;

/* Store buffers: a pending store of each side that matters. */
bool buf_post[GUESTS];   /* guest: state = POSTED not yet visible */
bool buf_gpark[GUESTS];  /* guest: parked = true not yet visible */
bool buf_asleep;         /* poller: asleep = true not yet visible */
bool buf_reply[GUESTS];  /* poller: state = FREE not yet visible */

inline flush_guest(i) {
    atomic {
        if :: buf_post[i] -> slot[i] = POSTED; buf_post[i] = false :: else fi;
        if :: buf_gpark[i] -> parked[i] = true; buf_gpark[i] = false :: else fi;
    }
}

/* The CPU may drain its buffers at any time. */
active proctype drain() {
    byte i;
end:
    do
    :: atomic { buf_asleep -> asleep = true; buf_asleep = false }
    :: atomic { buf_post[0] -> slot[0] = POSTED; buf_post[0] = false }
    :: atomic { buf_gpark[0] -> parked[0] = true; buf_gpark[0] = false }
    :: atomic { buf_reply[0] -> slot[0] = FREE; buf_reply[0] = false }
#if GUESTS > 1
    :: atomic { buf_post[1] -> slot[1] = POSTED; buf_post[1] = false }
    :: atomic { buf_gpark[1] -> parked[1] = true; buf_gpark[1] = false }
    :: atomic { buf_reply[1] -> slot[1] = FREE; buf_reply[1] = false }
#endif
    od
}

/* Ring: read the poller's word; if asleep, FUTEX_WAKE until somebody was woken or it is awake. */
inline ring_bell(woke) {
#if MUTANT == 6
    if
    :: asleep -> atomic { if :: poller_futex -> poller_futex = false :: else fi }
    :: else
    fi
#else
    do
    :: asleep ->
        atomic {
            if
            :: poller_futex -> poller_futex = false; woke = true
            :: else -> woke = false
            fi
        }
        if :: woke -> break :: else fi
    :: else -> break
    od
#endif
}

proctype guest(byte me) {
    byte n;
    bool woke;

    for (n : 1 .. ROUNDS) {
        assert(slot[me] == FREE);
        slot_seq[me] = n;
        buf_post[me] = true;            /* store release: payload first */
#if MUTANT != 3
        flush_guest(me);                /* full fence; pairs with the poller's */
#endif
        ring_bell(woke);
        do                              /* wait for the reply */
        :: slot[me] == FREE && !buf_post[me] -> break
        :: else ->                      /* spun long enough: park */
            buf_gpark[me] = true;
            flush_guest(me);            /* full fence; pairs with the reply's */
#if MUTANT == 4
            atomic { guest_futex[me] = true }
            !guest_futex[me];
#else
            if
            :: slot[me] == FREE -> skip
            :: else ->
                atomic {                /* FUTEX_WAIT: sleeps only if the word still is POSTED */
                    if
                    :: slot[me] == POSTED -> guest_futex[me] = true
                    :: else
                    fi
                }
                !guest_futex[me];
            fi;
#endif
            parked[me] = false;
        od;
        assert(slot_seq[me] == n + 100); /* the reply to this call */
    }
    finished++;
}

/* FUTEX_WAKE of a guest, which the host may lose. */
inline wake(i) {
    if
    :: atomic { guest_futex[i] = false }
    :: atomic { lost < LOSSES && guest_futex[i] -> lost++ }
    fi
}

inline rekick(i) {
    if
    :: kicked[i] && parked[i] && slot[i] == FREE -> /* answered and still parked */
        wake(i);
#if MUTANT == 8
        kicked[i] = false
#endif
    :: kicked[i] && !(parked[i] && slot[i] == FREE) -> kicked[i] = false
    :: else
    fi
}

inline serve(i) {
    atomic { /* the copy is taken; the reply overwrites it */
        assert(slot_seq[i] < 100);
        slot_seq[i] = slot_seq[i] + 100;
    }
    buf_reply[i] = true;
#if MUTANT != 5
    atomic { if :: buf_reply[i] -> slot[i] = FREE; buf_reply[i] = false :: else fi } /* full fence */
#endif
    if
    :: parked[i] ->
#if MUTANT != 7
        kicked[i] = true;
#endif
        wake(i)
    :: else
    fi
}

#if GUESTS > 1
#define ANY_KICKED (kicked[0] || kicked[1])
#else
#define ANY_KICKED kicked[0]
#endif
#if MUTANT == 9
#define TIMER false
#else
#define TIMER ANY_KICKED
#endif

proctype poller() {
    byte i;
    bool found;

    do
    :: finished == GUESTS -> break
    :: else ->
        i = 0;                          /* a round */
        do
        :: i < GUESTS ->
            if
            :: slot[i] == POSTED && !buf_reply[i] -> serve(i)
            :: else
            fi;
            rekick(i);
            i++
        :: else -> break
        od;
        if
        :: skip                         /* spin on */
        :: finished < GUESTS ->         /* idle long enough: sleep */
            buf_asleep = true;
#if MUTANT != 2
            atomic { if :: buf_asleep -> asleep = true; buf_asleep = false :: else fi } /* full fence */
#endif
            found = false;
#if MUTANT != 1
            i = 0;
            do
            :: i < GUESTS ->
                if :: slot[i] == POSTED && !buf_reply[i] -> found = true :: else fi;
                i++
            :: else -> break
            od;
#endif
            if
            :: found || finished == GUESTS -> skip
            :: else ->
                atomic {                /* the kernel's futex check orders the buffered store */
                    if :: buf_asleep -> asleep = true; buf_asleep = false :: else fi;
                    if :: asleep -> poller_futex = true :: else fi
                }
                (!poller_futex || TIMER || finished == GUESTS);
                poller_futex = false
            fi;
            atomic { asleep = false; buf_asleep = false }
        fi
    od
}

init {
    byte i;
    atomic {
        run poller();
        for (i : 0 .. GUESTS - 1) {
            run guest(i)
        }
    }
}
