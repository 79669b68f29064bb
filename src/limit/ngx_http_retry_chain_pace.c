
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_pace.h"


static ngx_msec_t ngx_http_retry_chain_pace_doubled(ngx_atomic_uint_t n,
    ngx_msec_t first, ngx_msec_t max);


#define ngx_http_retry_chain_pace_slack(pace)                                 \
    ((uint64_t) ((pace)->burst - 1) * NGX_HTTP_RETRY_CHAIN_CALL)


void
ngx_http_retry_chain_pace_init(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now)
{
    ngx_uint_t                    number;
    ngx_http_retry_chain_phase_t  phase, old;

    do {
        number = ngx_http_retry_chain_phase_read(slot, &old);

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
            ngx_http_retry_chain_phase_default(slot, pace, &phase, now);

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
            ngx_http_retry_chain_phase_default(slot, pace, &phase, now);

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
    return ngx_http_retry_chain_pace_doubled(
                                     ngx_atomic_fetch_add(&slot->refused, 1),
                                     first, max);
}


ngx_msec_t
ngx_http_retry_chain_pace_refusal(ngx_http_retry_chain_slot_t *slot,
    ngx_msec_t first, ngx_msec_t max)
{
    return ngx_http_retry_chain_pace_doubled(slot->refused, first, max);
}


static ngx_msec_t
ngx_http_retry_chain_pace_doubled(ngx_atomic_uint_t n, ngx_msec_t first,
    ngx_msec_t max)
{
    ngx_msec_t  delay;

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
    rate = ngx_http_retry_chain_learn_pace(&slot->learned, now);

    /* the last ticket is not due yet */

    waits = slot->tail > clock + NGX_HTTP_RETRY_CHAIN_CALL
                         + ngx_http_retry_chain_pace_slack(pace);

    if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE) {

        /* the way is free, others may follow */

        phase.ticket = ngx_max(clock, old.ticket + NGX_HTTP_RETRY_CHAIN_CALL);
        phase.interval = rate ? ngx_http_retry_chain_phase_interval(rate)
                              : old.interval;

    } else if (rate) {

        /* a bound says nothing about what is learned */

        if (rate != slot->learned.rate
            || !ngx_http_retry_chain_learn_grow(&slot->learned, now, waits))
        {
            return NGX_DECLINED;
        }

        phase.ticket = clock;
        rate = ngx_http_retry_chain_learn_pace(&slot->learned, now);
        phase.interval = ngx_http_retry_chain_phase_interval(rate);

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


ngx_int_t
ngx_http_retry_chain_pace_told(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now, uint64_t sent,
    ngx_uint_t remaining, uint64_t reset)
{
    uint64_t                      clock;
    ngx_uint_t                    number, waits;
    ngx_http_retry_chain_phase_t  phase, old;

    if (!pace->automatic) {
        return NGX_DECLINED;
    }

    number = ngx_http_retry_chain_phase_read(slot, &old);

    if (sent < old.limit || old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_PROBE) {
        return NGX_DECLINED;
    }

    clock = ngx_http_retry_chain_phase_clock(&old, now);
    waits = 0;

    if (old.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
        clock = slot->tail;

    } else {
        waits = slot->tail > clock + NGX_HTTP_RETRY_CHAIN_CALL
                             + ngx_http_retry_chain_pace_slack(pace);
    }

    /* whole seconds, rounded up; calls sent since then count, too */

    reset -= ngx_min(reset / 2, NGX_HTTP_RETRY_CHAIN_PHASE_SECOND / 2);
    reset += now - ngx_min(sent, now);

    ngx_http_retry_chain_learn_remaining(&slot->learned, now, remaining, reset,
                                         waits);

    ngx_http_retry_chain_phase_default(slot, pace, &phase, now);

    if (phase.kind == old.kind && phase.interval / 16 == old.interval / 16) {
        return NGX_DECLINED;
    }

    if (phase.kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE
        && !ngx_http_retry_chain_phase_over(slot, pace, &old, now))
    {
        return NGX_DECLINED;
    }

    phase.start = now;
    phase.ticket = clock;
    phase.limit = old.limit;

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

    return ((uint64_t) NGX_HTTP_RETRY_CHAIN_PHASE_SECOND * 1000
            + phase.interval - 1)
           / phase.interval;
}
