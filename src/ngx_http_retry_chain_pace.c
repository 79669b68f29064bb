
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_pace.h"


#define NGX_HTTP_RETRY_CHAIN_SECOND  1000000


static ngx_uint_t ngx_http_retry_chain_phase_read(
    ngx_http_retry_chain_slot_t *slot, ngx_http_retry_chain_phase_t *phase);
static ngx_int_t ngx_http_retry_chain_phase_write(
    ngx_http_retry_chain_slot_t *slot, ngx_uint_t number,
    const ngx_http_retry_chain_phase_t *phase);
static uint64_t ngx_http_retry_chain_phase_clock(
    const ngx_http_retry_chain_phase_t *phase, uint64_t now);
static uint64_t ngx_http_retry_chain_phase_time(
    const ngx_http_retry_chain_phase_t *phase, uint64_t ticket);
static void ngx_http_retry_chain_phase_expect(
    ngx_http_retry_chain_slot_t *slot, ngx_http_retry_chain_phase_t *phase,
    uint64_t now);
static void ngx_http_retry_chain_phase_default(
    ngx_http_retry_chain_slot_t *slot, const ngx_http_retry_chain_pace_t *pace,
    ngx_http_retry_chain_phase_t *phase);
static void ngx_http_retry_chain_phase_after(
    const ngx_http_retry_chain_pace_t *pace,
    ngx_http_retry_chain_phase_t *phase);
static ngx_uint_t ngx_http_retry_chain_phase_over(
    ngx_http_retry_chain_slot_t *slot, const ngx_http_retry_chain_pace_t *pace,
    const ngx_http_retry_chain_phase_t *phase, uint64_t now);
static uint64_t ngx_http_retry_chain_pace_interval(ngx_uint_t rate);


#define ngx_http_retry_chain_pace_slack(pace)                                 \
    ((uint64_t) ((pace)->burst - 1) * NGX_HTTP_RETRY_CHAIN_CALL)


/*
 * A phase is copied and its number is compared afterwards: it can be written
 * over only after another one has become current.
 */

static ngx_uint_t
ngx_http_retry_chain_phase_read(ngx_http_retry_chain_slot_t *slot,
    ngx_http_retry_chain_phase_t *phase)
{
    ngx_atomic_uint_t  number;

    do {
        number = slot->current;
        ngx_memory_barrier();

        *phase = slot->phases[number % NGX_HTTP_RETRY_CHAIN_PHASES];

        ngx_memory_barrier();
    } while (number != slot->current);

    return number;
}


/* NGX_DECLINED if phase "number" is not the current one any more */

static ngx_int_t
ngx_http_retry_chain_phase_write(ngx_http_retry_chain_slot_t *slot,
    ngx_uint_t number, const ngx_http_retry_chain_phase_t *phase)
{
    ngx_atomic_uint_t  next;

    do {
        next = ngx_atomic_fetch_add(&slot->claimed, 1) + 1;

    } while (next % NGX_HTTP_RETRY_CHAIN_PHASES
             == number % NGX_HTTP_RETRY_CHAIN_PHASES);

    slot->phases[next % NGX_HTTP_RETRY_CHAIN_PHASES] = *phase;

    ngx_memory_barrier();

    return ngx_atomic_cmp_set(&slot->current, number, next) ? NGX_OK
                                                            : NGX_DECLINED;
}


static uint64_t
ngx_http_retry_chain_phase_clock(const ngx_http_retry_chain_phase_t *phase,
    uint64_t now)
{
    uint64_t  passed;

    if (now <= phase->start || phase->interval == 0) {
        return phase->ticket;
    }

    /* a phase may last, but not for more than 142 years */

    passed = ngx_min(now - phase->start, (uint64_t) 1 << 52);

    return phase->ticket
           + passed * NGX_HTTP_RETRY_CHAIN_CALL / phase->interval;
}


/* rounded up, so that the clock has reached the ticket then */

static uint64_t
ngx_http_retry_chain_phase_time(const ngx_http_retry_chain_phase_t *phase,
    uint64_t ticket)
{
    uint64_t  left;

    if (phase->kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
        return 0;
    }

    if (ticket <= phase->ticket) {
        return phase->start;
    }

    left = ticket - phase->ticket;

    if (left > NGX_HTTP_RETRY_CHAIN_NEVER / phase->interval) {
        return NGX_HTTP_RETRY_CHAIN_NEVER;
    }

    return phase->start + (left * phase->interval
                           + NGX_HTTP_RETRY_CHAIN_CALL - 1)
                          / NGX_HTTP_RETRY_CHAIN_CALL;
}


/*
 * Calls behind a probe wait for it, but they will not go at its pace if it is
 * accepted, which is what a run that decides about a wait has to expect.
 */

static void
ngx_http_retry_chain_phase_expect(ngx_http_retry_chain_slot_t *slot,
    ngx_http_retry_chain_phase_t *phase, uint64_t now)
{
    ngx_uint_t  rate;

    rate = slot->learned.rate;

    if (phase->kind != NGX_HTTP_RETRY_CHAIN_PHASE_PROBE || rate == 0) {
        return;
    }

    /* the time of the probe has passed at its own pace */

    phase->ticket = ngx_http_retry_chain_phase_clock(phase, now);
    phase->start = ngx_max(phase->start, now);
    phase->interval = ngx_http_retry_chain_pace_interval(rate);
}


/* what a slot that is under no limit does: sets kind and interval */

static void
ngx_http_retry_chain_phase_default(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace,
    ngx_http_retry_chain_phase_t *phase)
{
    ngx_uint_t  rate;

    rate = pace->rate;

    if (pace->automatic) {
        rate = slot->learned.rate;
    }

    phase->kind = rate ? NGX_HTTP_RETRY_CHAIN_PHASE_PACED
                       : NGX_HTTP_RETRY_CHAIN_PHASE_FREE;
    phase->interval = ngx_http_retry_chain_pace_interval(rate);
}


/* what comes after a limit: sets kind and interval */

static void
ngx_http_retry_chain_phase_after(const ngx_http_retry_chain_pace_t *pace,
    ngx_http_retry_chain_phase_t *phase)
{
    if (pace->rate) {
        phase->kind = NGX_HTTP_RETRY_CHAIN_PHASE_PACED;
        phase->interval = ngx_http_retry_chain_pace_interval(pace->rate);

    } else {
        phase->kind = NGX_HTTP_RETRY_CHAIN_PHASE_PROBE;
        phase->interval = (uint64_t) ngx_max(pace->spacing, 1) * 1000;
    }
}


/* without a rate the pace after a limit lasts until nobody waits any more */

static ngx_uint_t
ngx_http_retry_chain_phase_over(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace,
    const ngx_http_retry_chain_phase_t *phase, uint64_t now)
{
    return phase->kind == NGX_HTTP_RETRY_CHAIN_PHASE_PACED
           && pace->rate == 0
           && (!pace->automatic || slot->learned.rate == 0)
           && slot->tail + NGX_HTTP_RETRY_CHAIN_CALL
              <= ngx_http_retry_chain_phase_clock(phase, now);
}


/* rounded up: never faster than asked for */

static uint64_t
ngx_http_retry_chain_pace_interval(ngx_uint_t rate)
{
    uint64_t  unit;

    if (rate == 0) {
        return 0;
    }

    unit = (uint64_t) NGX_HTTP_RETRY_CHAIN_SECOND * 1000;

    return (unit + rate - 1) / rate;
}


void
ngx_http_retry_chain_pace_init(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now)
{
    ngx_uint_t                    number;
    ngx_http_retry_chain_phase_t  phase, old;

    do {
        number = ngx_http_retry_chain_phase_read(slot, &old);

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
            ngx_http_retry_chain_phase_default(slot, pace, &phase);

            phase.start = now;
            phase.ticket = slot->tail;

        } else if (old.limit > now
                   || old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE)
        {
            /* a limit stays, it says only what comes after it */

            ngx_http_retry_chain_phase_after(pace, &phase);

            phase.start = ngx_max(old.start, now);
            phase.ticket = ngx_http_retry_chain_phase_clock(&old, now);

        } else {
            ngx_http_retry_chain_phase_default(slot, pace, &phase);

            if (phase.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {

                /* when nobody waits any more */
                return;
            }

            phase.start = now;
            phase.ticket = ngx_http_retry_chain_phase_clock(&old, now);
        }

        if (old.kind == phase.kind && old.interval == phase.interval) {
            return;
        }

        phase.limit = old.limit;

    } while (ngx_http_retry_chain_phase_write(slot, number, &phase) != NGX_OK);
}


uint64_t
ngx_http_retry_chain_pace_peek(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now)
{
    uint64_t                      slack, tail;
    ngx_http_retry_chain_phase_t  phase;

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    if (phase.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE
        || ngx_http_retry_chain_phase_over(slot, pace, &phase, now))
    {
        return now;
    }

    ngx_http_retry_chain_phase_expect(slot, &phase, now);

    slack = ngx_http_retry_chain_pace_slack(pace);
    tail = slot->tail;
    tail = tail > slack ? tail - slack : 0;

    return ngx_max(now, ngx_http_retry_chain_phase_time(&phase, tail));
}


ngx_uint_t
ngx_http_retry_chain_pace_left(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now)
{
    uint64_t                      clock, tail;
    ngx_http_retry_chain_phase_t  phase;

    if (pace->rate == 0) {
        return 0;
    }

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    clock = ngx_http_retry_chain_phase_clock(&phase, now)
            + ngx_http_retry_chain_pace_slack(pace);
    tail = ngx_max(slot->tail, clock - ngx_http_retry_chain_pace_slack(pace));

    return tail > clock ? 0 : (clock - tail) / NGX_HTTP_RETRY_CHAIN_CALL + 1;
}


uint64_t
ngx_http_retry_chain_pace_reserve(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now,
    ngx_http_retry_chain_ticket_t *ticket)
{
    uint64_t                      clock, slack, next;
    ngx_uint_t                    number;
    ngx_atomic_uint_t             tail;
    ngx_http_retry_chain_phase_t  phase;

    slack = ngx_http_retry_chain_pace_slack(pace);

    for ( ;; ) {
        number = ngx_http_retry_chain_phase_read(slot, &phase);

        if (ngx_http_retry_chain_phase_over(slot, pace, &phase, now)) {
            ngx_memzero(&phase, sizeof(ngx_http_retry_chain_phase_t));
            (void) ngx_http_retry_chain_phase_write(slot, number, &phase);
            continue;
        }

        if (phase.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
            ngx_memzero(ticket, sizeof(ngx_http_retry_chain_ticket_t));
            return now;
        }

        clock = ngx_http_retry_chain_phase_clock(&phase, now);
        tail = slot->tail;
        next = clock;

        if (phase.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE) {

            /* a burst does not come back, one goes at a time */

            next += slack;
        }

        next = ngx_max(tail, next) + NGX_HTTP_RETRY_CHAIN_CALL;

        if (ngx_atomic_cmp_set(&slot->tail, tail, next)) {
            break;
        }
    }

    ticket->ticket = tail > slack ? tail - slack : 0;
    ticket->ticket = ngx_max(ticket->ticket, clock);
    ticket->tail = next;
    ticket->before = tail;

    ngx_http_retry_chain_phase_expect(slot, &phase, now);

    return ngx_max(now, ngx_http_retry_chain_phase_time(&phase,
                                                        ticket->ticket));
}


uint64_t
ngx_http_retry_chain_pace_due(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now)
{
    ngx_http_retry_chain_phase_t  phase;

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    ngx_http_retry_chain_phase_expect(slot, &phase, now);

    return ngx_max(now, ngx_http_retry_chain_phase_time(&phase,
                                                        ticket->ticket));
}


uint64_t
ngx_http_retry_chain_pace_gate(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now)
{
    ngx_http_retry_chain_phase_t  phase;

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    return ngx_max(now, ngx_http_retry_chain_phase_time(&phase,
                                                        ticket->ticket));
}


ngx_int_t
ngx_http_retry_chain_pace_cancel(ngx_http_retry_chain_slot_t *slot,
    ngx_http_retry_chain_ticket_t *ticket)
{
    ngx_atomic_uint_t  tail;

    tail = ticket->tail;
    ticket->tail = 0;

    if (tail == 0 || ngx_atomic_cmp_set(&slot->tail, tail, ticket->before)) {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


void
ngx_http_retry_chain_pace_charge(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, ngx_uint_t calls, uint64_t now)
{
    ngx_http_retry_chain_ticket_t  ticket;

    while (calls--) {
        (void) ngx_http_retry_chain_pace_reserve(slot, pace, now, &ticket);
    }
}


ngx_int_t
ngx_http_retry_chain_pace_limit(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now, uint64_t until)
{
    uint64_t                      least, next;
    ngx_uint_t                    number, fresh;
    ngx_atomic_uint_t             tail;
    ngx_http_retry_chain_phase_t  phase, old;

    until = ngx_max(until, now);

    do {
        number = ngx_http_retry_chain_phase_read(slot, &old);

        fresh = (old.limit <= now);

        if (!fresh && old.limit >= until) {
            return NGX_DECLINED;
        }

        ngx_http_retry_chain_phase_after(pace, &phase);

        phase.start = until;
        phase.limit = until;

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
            phase.ticket = slot->tail;

        } else {
            phase.ticket = ngx_http_retry_chain_phase_clock(&old, now);
        }

        tail = slot->tail;

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE
            && tail > phase.ticket)
        {
            /* those who wait are whole calls before the tail: the next one */

            next = (tail - phase.ticket) % NGX_HTTP_RETRY_CHAIN_CALL;

            if (next == 0 && now >= old.start) {

                /* the last probe has gone */

                next = NGX_HTTP_RETRY_CHAIN_CALL;
            }

            phase.ticket += next;
        }

        /* nothing is left of a burst, the first call after it goes alone */

        least = phase.ticket + ngx_http_retry_chain_pace_slack(pace);

        do {
            tail = slot->tail;
        } while (tail < least
                 && !ngx_atomic_cmp_set(&slot->tail, tail, least));

    } while (ngx_http_retry_chain_phase_write(slot, number, &phase) != NGX_OK);

    if (fresh) {
        ngx_http_retry_chain_learn_limit(&slot->learned, now, until - now);
    }

    return NGX_OK;
}


ngx_msec_t
ngx_http_retry_chain_pace_refused(ngx_http_retry_chain_slot_t *slot,
    ngx_msec_t first, ngx_msec_t max)
{
    ngx_msec_t         delay;
    ngx_atomic_uint_t  n;

    n = ngx_atomic_fetch_add(&slot->refused, 1);

    for (delay = first; n && delay < max; n--) {
        delay *= 2;
    }

    return ngx_min(delay, max);
}


ngx_int_t
ngx_http_retry_chain_pace_accepted(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now, uint64_t sent)
{
    uint64_t                      clock;
    ngx_uint_t                    number, rate, waits;
    ngx_http_retry_chain_phase_t  phase, old;

    number = ngx_http_retry_chain_phase_read(slot, &old);

    if (sent < old.limit) {

        /* it was under way when the limit fell */

        return NGX_DECLINED;
    }

    if (slot->refused) {
        slot->refused = 0;
    }

    ngx_http_retry_chain_learn_accepted(&slot->learned, now, sent);

    if (pace->rate || old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
        return NGX_DECLINED;
    }

    clock = ngx_http_retry_chain_phase_clock(&old, now);
    rate = slot->learned.rate;

    /* the last ticket is not due yet */

    waits = slot->tail > clock + NGX_HTTP_RETRY_CHAIN_CALL
                         + ngx_http_retry_chain_pace_slack(pace);

    if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE) {

        /* the way is free, others may follow */

        phase.ticket = ngx_max(clock, old.ticket + NGX_HTTP_RETRY_CHAIN_CALL);
        phase.interval = rate ? ngx_http_retry_chain_pace_interval(rate)
                              : old.interval;

    } else if (rate) {

        if (!ngx_http_retry_chain_learn_grow(&slot->learned, now, waits)) {
            return NGX_DECLINED;
        }

        phase.ticket = clock;
        phase.interval = ngx_http_retry_chain_pace_interval(
                                                         slot->learned.rate);

    } else {

        /* nothing is known, and others wait: twice as fast */

        if (!waits || sent < old.start || old.interval < 2) {
            return NGX_DECLINED;
        }

        phase.ticket = clock;
        phase.interval = old.interval / 2;
    }

    phase.start = now;
    phase.limit = old.limit;
    phase.kind = NGX_HTTP_RETRY_CHAIN_PHASE_PACED;

    return ngx_http_retry_chain_phase_write(slot, number, &phase);
}


ngx_uint_t
ngx_http_retry_chain_pace_probing(ngx_http_retry_chain_slot_t *slot,
    uint64_t now)
{
    ngx_http_retry_chain_phase_t  phase;

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    return phase.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE
           && phase.start <= now;
}


uint64_t
ngx_http_retry_chain_pace_limited(ngx_http_retry_chain_slot_t *slot,
    uint64_t now)
{
    ngx_http_retry_chain_phase_t  phase;

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    return phase.limit > now ? phase.limit : 0;
}


ngx_uint_t
ngx_http_retry_chain_pace_rate(ngx_http_retry_chain_slot_t *slot)
{
    ngx_http_retry_chain_phase_t  phase;

    (void) ngx_http_retry_chain_phase_read(slot, &phase);

    if (phase.kind != NGX_HTTP_RETRY_CHAIN_PHASE_PACED) {
        return slot->learned.rate;
    }

    return ((uint64_t) NGX_HTTP_RETRY_CHAIN_SECOND * 1000 + phase.interval - 1)
           / phase.interval;
}
