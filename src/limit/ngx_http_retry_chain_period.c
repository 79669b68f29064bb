
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_period.h"


/*
 * A period is copied and its number is compared afterwards: it can be written
 * over only after another one has become current.
 */

ngx_uint_t
ngx_http_retry_chain_period_read(ngx_http_retry_chain_limiter_t *limiter,
    ngx_http_retry_chain_period_t *period)
{
    ngx_atomic_uint_t  number;

    do {
        number = limiter->current;
        ngx_memory_barrier();

        *period = limiter->periods[number % NGX_HTTP_RETRY_CHAIN_PERIODS];

        ngx_memory_barrier();
    } while (number != limiter->current);

    return number;
}


/* NGX_DECLINED if period "number" is not the current one any more */

ngx_int_t
ngx_http_retry_chain_period_write(ngx_http_retry_chain_limiter_t *limiter,
    ngx_uint_t number, const ngx_http_retry_chain_period_t *period)
{
    ngx_atomic_uint_t  next;

    do {
        next = ngx_atomic_fetch_add(&limiter->claimed, 1) + 1;

    } while (next % NGX_HTTP_RETRY_CHAIN_PERIODS
             == number % NGX_HTTP_RETRY_CHAIN_PERIODS);

    limiter->periods[next % NGX_HTTP_RETRY_CHAIN_PERIODS] = *period;

    ngx_memory_barrier();

    return ngx_atomic_cmp_set(&limiter->current, number, next) ? NGX_OK
                                                            : NGX_DECLINED;
}


uint64_t
ngx_http_retry_chain_period_clock(const ngx_http_retry_chain_period_t *period,
    uint64_t now)
{
    uint64_t  passed;

    if (now <= period->start || period->interval == 0) {
        return period->ticket;
    }

    /* a period may last, but not for more than 142 years */

    passed = ngx_min(now - period->start, (uint64_t) 1 << 52);

    return period->ticket
           + passed * NGX_HTTP_RETRY_CHAIN_CALL / period->interval;
}


/* rounded up, so that the clock has reached the ticket then */

uint64_t
ngx_http_retry_chain_period_time(const ngx_http_retry_chain_period_t *period,
    uint64_t ticket)
{
    uint64_t  left;

    if (period->kind == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
        return 0;
    }

    if (ticket <= period->ticket) {
        return period->start;
    }

    left = ticket - period->ticket;

    if (left > NGX_HTTP_RETRY_CHAIN_NEVER / period->interval) {
        return NGX_HTTP_RETRY_CHAIN_NEVER;
    }

    return period->start + (left * period->interval
                           + NGX_HTTP_RETRY_CHAIN_CALL - 1)
                          / NGX_HTTP_RETRY_CHAIN_CALL;
}


/*
 * Half-open, calls behind the first one wait for it, but they will not go at
 * its pace if it is accepted, which is what a run that decides about a wait has
 * to expect.
 */

void
ngx_http_retry_chain_period_expect(ngx_http_retry_chain_limiter_t *limiter,
    ngx_http_retry_chain_period_t *period, uint64_t now)
{
    ngx_uint_t  rate;

    rate = ngx_http_retry_chain_learn_pace(&limiter->learned, now);

    if (period->kind != NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN || rate == 0) {
        return;
    }

    /* the time of that call has passed at its own pace */

    period->ticket = ngx_http_retry_chain_period_clock(period, now);
    period->start = ngx_max(period->start, now);
    period->interval = ngx_http_retry_chain_period_interval(rate);
}


/* what a limiter that is under no limit does: sets kind and interval */

void
ngx_http_retry_chain_period_default(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace,
    ngx_http_retry_chain_period_t *period, uint64_t now)
{
    ngx_uint_t  rate;

    rate = pace->rate;

    if (pace->automatic) {
        rate = ngx_http_retry_chain_learn_pace(&limiter->learned, now);
    }

    period->kind = rate ? NGX_HTTP_RETRY_CHAIN_PERIOD_PACED
                       : NGX_HTTP_RETRY_CHAIN_PERIOD_FREE;
    period->interval = ngx_http_retry_chain_period_interval(rate);
}


/* what comes after a limit: sets kind and interval */

void
ngx_http_retry_chain_period_after(
    const ngx_http_retry_chain_limiter_conf_t *pace,
    ngx_http_retry_chain_period_t *period)
{
    if (pace->rate) {
        period->kind = NGX_HTTP_RETRY_CHAIN_PERIOD_PACED;
        period->interval = ngx_http_retry_chain_period_interval(pace->rate);

    } else {
        period->kind = NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN;
        period->interval = (uint64_t) ngx_max(pace->spacing, 1) * 1000;
    }
}


/* without a rate the pace after a limit lasts until nobody waits any more */

ngx_uint_t
ngx_http_retry_chain_period_over(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace,
    const ngx_http_retry_chain_period_t *period, uint64_t now)
{
    return period->kind == NGX_HTTP_RETRY_CHAIN_PERIOD_PACED
           && pace->rate == 0
           && (!pace->automatic
               || ngx_http_retry_chain_learn_pace(&limiter->learned, now) == 0)
           && limiter->tail + NGX_HTTP_RETRY_CHAIN_CALL
              <= ngx_http_retry_chain_period_clock(period, now);
}


/* rounded up: never faster than asked for */

uint64_t
ngx_http_retry_chain_period_interval(ngx_uint_t rate)
{
    uint64_t  unit;

    if (rate == 0) {
        return 0;
    }

    unit = (uint64_t) NGX_HTTP_RETRY_CHAIN_PERIOD_SECOND * 1000;

    return (unit + rate - 1) / rate;
}
