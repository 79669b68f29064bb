
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_limiter.h"


static ngx_msec_t ngx_http_retry_chain_limiter_doubled(ngx_atomic_uint_t n,
    ngx_msec_t first, ngx_msec_t max);


#define ngx_http_retry_chain_limiter_slack(pace)                              \
    ((uint64_t) ((pace)->burst - 1) * NGX_HTTP_RETRY_CHAIN_CALL)


void
ngx_http_retry_chain_limiter_init(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now)
{
    ngx_uint_t                     number;
    ngx_http_retry_chain_period_t  period, old;

    do {
        number = ngx_http_retry_chain_period_read(limiter, &old);

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
            ngx_http_retry_chain_period_default(limiter, pace, &period, now);

            period.start = now;
            period.ticket = limiter->tail;

        } else if (old.limit > now
                   || old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN)
        {
            /* a limit stays, it says only what comes after it */

            ngx_http_retry_chain_period_after(pace, &period);

            period.start = ngx_max(old.start, now);
            period.ticket = ngx_http_retry_chain_period_clock(&old, now);

        } else {
            ngx_http_retry_chain_period_default(limiter, pace, &period, now);

            if (period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {

                /* when nobody waits any more */
                return;
            }

            period.start = now;
            period.ticket = ngx_http_retry_chain_period_clock(&old, now);
        }

        /* what is between half-open calls is up to who was refused */

        if (old.kind == period.kind
            && (old.interval == period.interval
                || old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN))
        {
            return;
        }

        period.limit = old.limit;

    } while (ngx_http_retry_chain_period_write(limiter, number,
                                               &period) != NGX_OK);
}


void
ngx_http_retry_chain_limiter_copy(ngx_http_retry_chain_limiter_t *to,
    ngx_http_retry_chain_limiter_t *from)
{
    ngx_memzero(to, sizeof(ngx_http_retry_chain_limiter_t));

    (void) ngx_http_retry_chain_period_read(from, &to->periods[0]);

    to->tail = from->tail;
    to->refused = from->refused;
    to->learned = from->learned;
}


uint64_t
ngx_http_retry_chain_limiter_peek(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now)
{
    uint64_t                       slack, tail;
    ngx_http_retry_chain_period_t  period;

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    if (period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE
        || ngx_http_retry_chain_period_over(limiter, pace, &period, now))
    {
        return now;
    }

    ngx_http_retry_chain_period_expect(limiter, &period, now);

    slack = ngx_http_retry_chain_limiter_slack(pace);
    tail = limiter->tail;
    tail = tail > slack ? tail - slack : 0;

    return ngx_max(now, ngx_http_retry_chain_period_time(&period, tail));
}


ngx_uint_t
ngx_http_retry_chain_limiter_left(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now)
{
    uint64_t                       clock, tail;
    ngx_http_retry_chain_period_t  period;

    if (pace->rate == 0) {
        return 0;
    }

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    clock = ngx_http_retry_chain_period_clock(&period, now)
            + ngx_http_retry_chain_limiter_slack(pace);
    tail = ngx_max(limiter->tail,
                   clock - ngx_http_retry_chain_limiter_slack(pace));

    return tail > clock ? 0 : (clock - tail) / NGX_HTTP_RETRY_CHAIN_CALL + 1;
}


uint64_t
ngx_http_retry_chain_limiter_reserve(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    ngx_http_retry_chain_ticket_t *ticket)
{
    uint64_t                       clock, slack, next;
    ngx_uint_t                     number;
    ngx_atomic_uint_t              tail;
    ngx_http_retry_chain_period_t  period;

    slack = ngx_http_retry_chain_limiter_slack(pace);

    for ( ;; ) {
        number = ngx_http_retry_chain_period_read(limiter, &period);

        if (ngx_http_retry_chain_period_over(limiter, pace, &period, now)) {
            ngx_memzero(&period, sizeof(ngx_http_retry_chain_period_t));
            (void) ngx_http_retry_chain_period_write(limiter, number, &period);
            continue;
        }

        if (period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE && pace->rate) {

            /* ended by a worker whose configuration has no rate */

            ngx_http_retry_chain_limiter_init(limiter, pace, now);
            continue;
        }

        if (period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
            ngx_memzero(ticket, sizeof(ngx_http_retry_chain_ticket_t));
            return now;
        }

        clock = ngx_http_retry_chain_period_clock(&period, now);
        tail = limiter->tail;
        next = clock;

        if (period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN) {

            /* a burst does not come back, one goes at a time */

            next += slack;
        }

        next = ngx_max(tail, next) + NGX_HTTP_RETRY_CHAIN_CALL;

        if (ngx_atomic_cmp_set(&limiter->tail, tail, next)) {
            break;
        }
    }

    ticket->ticket = tail > slack ? tail - slack : 0;
    ticket->ticket = ngx_max(ticket->ticket, clock);
    ticket->tail = next;
    ticket->before = tail;

    ngx_http_retry_chain_period_expect(limiter, &period, now);

    return ngx_max(now, ngx_http_retry_chain_period_time(&period,
                                                         ticket->ticket));
}


uint64_t
ngx_http_retry_chain_limiter_due(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now)
{
    ngx_http_retry_chain_period_t  period;

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    ngx_http_retry_chain_period_expect(limiter, &period, now);

    return ngx_max(now, ngx_http_retry_chain_period_time(&period,
                                                         ticket->ticket));
}


uint64_t
ngx_http_retry_chain_limiter_gate(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now)
{
    ngx_http_retry_chain_period_t  period;

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    return ngx_max(now, ngx_http_retry_chain_period_time(&period,
                                                         ticket->ticket));
}


ngx_int_t
ngx_http_retry_chain_limiter_cancel(ngx_http_retry_chain_limiter_t *limiter,
    ngx_http_retry_chain_ticket_t *ticket)
{
    ngx_atomic_uint_t  tail;

    tail = ticket->tail;
    ticket->tail = 0;

    if (tail == 0 || ngx_atomic_cmp_set(&limiter->tail, tail, ticket->before)) {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


void
ngx_http_retry_chain_limiter_charge(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, ngx_uint_t calls,
    uint64_t now)
{
    ngx_http_retry_chain_ticket_t  ticket;

    while (calls--) {
        (void) ngx_http_retry_chain_limiter_reserve(limiter, pace, now,
                                                    &ticket);
    }
}


ngx_int_t
ngx_http_retry_chain_limiter_limit(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    uint64_t until)
{
    uint64_t                       least, next;
    ngx_uint_t                     number, fresh;
    ngx_atomic_uint_t              tail;
    ngx_http_retry_chain_period_t  period, old;

    until = ngx_max(until, now);

    do {
        number = ngx_http_retry_chain_period_read(limiter, &old);

        fresh = (old.limit <= now);

        if (!fresh && old.limit >= until) {
            return NGX_DECLINED;
        }

        ngx_http_retry_chain_period_after(pace, &period);

        period.start = until;
        period.limit = until;

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
            period.ticket = limiter->tail;

        } else {
            period.ticket = ngx_http_retry_chain_period_clock(&old, now);
        }

        tail = limiter->tail;

        if (old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN
            && tail > period.ticket)
        {
            /* those who wait are whole calls before the tail: the next one */

            next = (tail - period.ticket) % NGX_HTTP_RETRY_CHAIN_CALL;

            if (next == 0 && now >= old.start) {

                /* the last half-open call has gone */

                next = NGX_HTTP_RETRY_CHAIN_CALL;
            }

            period.ticket += next;
        }

        /* nothing is left of a burst, the first call after it goes alone */

        least = period.ticket + ngx_http_retry_chain_limiter_slack(pace);

        do {
            tail = limiter->tail;
        } while (tail < least
                 && !ngx_atomic_cmp_set(&limiter->tail, tail, least));

    } while (ngx_http_retry_chain_period_write(limiter, number,
                                               &period) != NGX_OK);

    if (fresh) {
        ngx_http_retry_chain_learn_limit(&limiter->learned, now, until - now);
    }

    return NGX_OK;
}


ngx_msec_t
ngx_http_retry_chain_limiter_refused(ngx_http_retry_chain_limiter_t *limiter,
    ngx_msec_t first, ngx_msec_t max)
{
    return ngx_http_retry_chain_limiter_doubled(
                                     ngx_atomic_fetch_add(&limiter->refused, 1),
                                     first, max);
}


static ngx_msec_t
ngx_http_retry_chain_limiter_doubled(ngx_atomic_uint_t n, ngx_msec_t first,
    ngx_msec_t max)
{
    ngx_msec_t  delay;

    for (delay = first; n && delay < max; n--) {
        delay *= 2;
    }

    return ngx_min(delay, max);
}


ngx_int_t
ngx_http_retry_chain_limiter_accepted(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    uint64_t sent)
{
    uint64_t                       clock;
    ngx_uint_t                     number, rate, waits;
    ngx_http_retry_chain_period_t  period, old;

    number = ngx_http_retry_chain_period_read(limiter, &old);

    if (sent < old.limit) {

        /* it was under way when the limit fell */

        return NGX_DECLINED;
    }

    if (limiter->refused) {
        limiter->refused = 0;
    }

    ngx_http_retry_chain_learn_accepted(&limiter->learned, now, sent);

    if (pace->rate || old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
        return NGX_DECLINED;
    }

    clock = ngx_http_retry_chain_period_clock(&old, now);
    rate = ngx_http_retry_chain_learn_pace(&limiter->learned, now);

    /* the last ticket is not due yet */

    waits = limiter->tail > clock + NGX_HTTP_RETRY_CHAIN_CALL
                         + ngx_http_retry_chain_limiter_slack(pace);

    if (old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN) {

        /* the way is free, others may follow */

        period.ticket = ngx_max(clock, old.ticket + NGX_HTTP_RETRY_CHAIN_CALL);
        period.interval = rate ? ngx_http_retry_chain_period_interval(rate)
                              : old.interval;

    } else if (rate) {

        /* a bound says nothing about what is learned */

        if (rate != limiter->learned.rate
            || !ngx_http_retry_chain_learn_grow(&limiter->learned, now, waits))
        {
            return NGX_DECLINED;
        }

        period.ticket = clock;
        rate = ngx_http_retry_chain_learn_pace(&limiter->learned, now);
        period.interval = ngx_http_retry_chain_period_interval(rate);

    } else {

        /* nothing is known, and others wait: twice as fast */

        if (!waits || sent < old.start || old.interval < 2) {
            return NGX_DECLINED;
        }

        period.ticket = clock;
        period.interval = old.interval / 2;
    }

    period.start = now;
    period.limit = old.limit;
    period.kind = NGX_HTTP_RETRY_CHAIN_PERIOD_PACED;

    return ngx_http_retry_chain_period_write(limiter, number, &period);
}


ngx_int_t
ngx_http_retry_chain_limiter_told(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    uint64_t sent, ngx_uint_t remaining, uint64_t reset)
{
    uint64_t                       clock;
    ngx_uint_t                     number, waits;
    ngx_http_retry_chain_period_t  period, old;

    if (!pace->automatic) {
        return NGX_DECLINED;
    }

    number = ngx_http_retry_chain_period_read(limiter, &old);

    if (sent < old.limit || old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN) {
        return NGX_DECLINED;
    }

    clock = ngx_http_retry_chain_period_clock(&old, now);
    waits = 0;

    if (old.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
        clock = limiter->tail;

    } else {
        waits = limiter->tail > clock + NGX_HTTP_RETRY_CHAIN_CALL
                             + ngx_http_retry_chain_limiter_slack(pace);
    }

    /* whole seconds, rounded up; calls sent since then count, too */

    reset -= ngx_min(reset / 2, NGX_HTTP_RETRY_CHAIN_PERIOD_SECOND / 2);
    reset += now - ngx_min(sent, now);

    ngx_http_retry_chain_learn_remaining(&limiter->learned, now, remaining,
                                         reset, waits);

    ngx_http_retry_chain_period_default(limiter, pace, &period, now);

    if (period.kind == old.kind && period.interval / 16 == old.interval / 16) {
        return NGX_DECLINED;
    }

    if (period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE
        && !ngx_http_retry_chain_period_over(limiter, pace, &old, now))
    {
        return NGX_DECLINED;
    }

    period.start = now;
    period.ticket = clock;
    period.limit = old.limit;

    return ngx_http_retry_chain_period_write(limiter, number, &period);
}


ngx_uint_t
ngx_http_retry_chain_limiter_half_open(ngx_http_retry_chain_limiter_t *limiter,
    uint64_t now)
{
    ngx_http_retry_chain_period_t  period;

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    return period.kind == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN
           && period.start <= now;
}


uint64_t
ngx_http_retry_chain_limiter_limited(ngx_http_retry_chain_limiter_t *limiter,
    uint64_t now)
{
    ngx_http_retry_chain_period_t  period;

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    return period.limit > now ? period.limit : 0;
}


ngx_uint_t
ngx_http_retry_chain_limiter_rate(ngx_http_retry_chain_limiter_t *limiter)
{
    ngx_http_retry_chain_period_t  period;

    (void) ngx_http_retry_chain_period_read(limiter, &period);

    if (period.kind != NGX_HTTP_RETRY_CHAIN_PERIOD_PACED) {
        return limiter->learned.rate;
    }

    return ((uint64_t) NGX_HTTP_RETRY_CHAIN_PERIOD_SECOND * 1000
            + period.interval - 1)
           / period.interval;
}
