
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_limit.h"
#include "ngx_http_retry_chain_limit_pace.h"


#define NGX_HTTP_RETRY_CHAIN_LIMIT_HALF                                       \
    (30 * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND)

/*
 * The line is drained in this time, so that no run waits for longer: a pace
 * that is too low by mistake costs nobody a deadline.  It doubles when the
 * upstream refuses that, up to MAX_DRAIN: a line as long as a deadline of 10 s
 * allows adds 4 % to the pace then.
 */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_DRAIN                                      \
    (3 * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND)

#define NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_DRAIN                                  \
    (240 * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND)

/* a longer drain is halved each time this has passed without a refusal */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_EASE                                       \
    (10 * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND)

/* so many calls between two refusals say what the pace is */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_ENOUGH  10


static ngx_uint_t ngx_http_retry_chain_limit_pace_best(
    const ngx_http_retry_chain_limit_t *limit);
static uint64_t ngx_http_retry_chain_limit_pace_drain(
    const ngx_http_retry_chain_limit_t *limit, uint64_t now);


ngx_uint_t
ngx_http_retry_chain_limit_pace(const ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t waiting, uint64_t now)
{
    uint64_t  pace, bound;

    pace = 0;

    if (limit->base) {
        pace = (uint64_t) waiting * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND * 1000
               / ngx_http_retry_chain_limit_pace_drain(limit, now);
        pace += limit->base;
    }

    /* half of a window goes as it comes, the rest is spread */

    if (now < limit->ends && limit->left <= limit->quota / 2) {
        bound = (uint64_t) limit->left * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND
                * 1000 / (limit->ends - now);
        bound = ngx_max(bound, 1);

        pace = pace ? ngx_min(pace, bound) : bound;
    }

    return ngx_min(pace, NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_RATE);
}


uint64_t
ngx_http_retry_chain_limit_pace_interval(
    const ngx_http_retry_chain_limit_t *limit, ngx_uint_t waiting, uint64_t now)
{
    ngx_uint_t  pace;

    pace = ngx_http_retry_chain_limit_pace(limit, waiting, now);

    return pace ? NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND * 1000 / pace : 0;
}


/*
 * The most at once that has been accepted in this and the last half minute;
 * twice that when there was no block for as long as the line takes.
 */

ngx_uint_t
ngx_http_retry_chain_limit_pace_full(const ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t in_flight, uint64_t now)
{
    uint64_t  most, time, drain;

    if (!limit->pressed || !limit->crowded) {
        return 0;
    }

    time = ngx_http_retry_chain_limit_passed(now, limit->blocked);
    time = ngx_min(time, 2 * NGX_HTTP_RETRY_CHAIN_LIMIT_HALF);

    drain = ngx_http_retry_chain_limit_pace_drain(limit, limit->blocked);
    drain = ngx_min(drain, NGX_HTTP_RETRY_CHAIN_LIMIT_HALF);

    most = ngx_max(limit->most[0], limit->most[1]);
    most += most * time / drain;

    return in_flight >= ngx_max(most, 1);
}


void
ngx_http_retry_chain_limit_pace_count(ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t in_flight, uint64_t now)
{
    uint64_t     passed, n;
    ngx_uint_t  *count;

    passed = ngx_http_retry_chain_limit_passed(now, limit->half);

    if (passed >= NGX_HTTP_RETRY_CHAIN_LIMIT_HALF) {
        n = passed < 2 * NGX_HTTP_RETRY_CHAIN_LIMIT_HALF;

        limit->best[1] = n ? limit->best[0] : 0;
        limit->most[1] = n ? limit->most[0] : 0;
        limit->best[0] = 0;
        limit->most[0] = 0;
        limit->half = now;
    }

    if (limit->first == 0) {
        limit->first = now;
        limit->second = now;
    }

    passed = ngx_http_retry_chain_limit_passed(now, limit->second)
             / NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND;

    if (passed) {
        limit->best[0] = ngx_max(limit->best[0], limit->sum);

        for (n = ngx_min(passed, NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN); n; n--) {
            limit->second += NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND;
            passed--;

            count = &limit->counts[limit->second
                                   / NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND
                                   % NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN];
            limit->sum -= *count;
            *count = 0;
        }

        /* all are empty */

        limit->second += passed * NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND;
    }

    limit->counts[limit->second / NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND
                  % NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN]++;
    limit->sum++;

    limit->most[0] = ngx_max(limit->most[0], in_flight);
}


/* calls a second in the best ten seconds of the last minute */

static ngx_uint_t
ngx_http_retry_chain_limit_pace_best(const ngx_http_retry_chain_limit_t *limit)
{
    uint64_t    time;
    ngx_uint_t  best;

    best = ngx_max(limit->best[0], limit->best[1]);
    best = ngx_max(best, limit->sum);

    /* at the beginning there are fewer seconds */

    time = (limit->second - limit->first) / NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND
           + 1;

    best = (uint64_t) best * 1000
           / ngx_min(time, NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN);

    return ngx_min(best, NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_RATE);
}


void
ngx_http_retry_chain_limit_pace_learn(ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t in_flight, uint64_t now)
{
    limit->crowded = in_flight > ngx_max(limit->most[0], limit->most[1]);

    if (limit->pressed) {

        if (limit->accepted < NGX_HTTP_RETRY_CHAIN_LIMIT_ENOUGH) {
            return;
        }

        ngx_http_retry_chain_limit_pace_slow(limit, now);
    }

    /* a burst is in it, and it was too much */

    limit->base = ngx_http_retry_chain_limit_pace_best(limit) * 9 / 10;
    limit->accepted = 0;
    limit->learned = 1;
    limit->pressed = 1;
}


void
ngx_http_retry_chain_limit_pace_slow(ngx_http_retry_chain_limit_t *limit,
    uint64_t now)
{
    limit->drain = 2 * ngx_http_retry_chain_limit_pace_drain(limit, now);
    limit->drain = ngx_min(limit->drain, NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_DRAIN);
    limit->slowed = now;
}


void
ngx_http_retry_chain_limit_pace_forget(ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t waiting)
{
    limit->base = waiting ? ngx_http_retry_chain_limit_pace_best(limit) : 0;
    limit->accepted = 0;
    limit->learned = 0;
    limit->pressed = 0;
}


void
ngx_http_retry_chain_limit_pace_begin(ngx_http_retry_chain_limit_t *limit)
{
    limit->base = ngx_http_retry_chain_limit_pace_best(limit);
    limit->learned = 0;
}


void
ngx_http_retry_chain_limit_pace_end(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf)
{
    if (!conf->automatic || !limit->learned) {
        limit->base = 0;
    }

    limit->accepted = 0;
    limit->pressed = 0;
}


static uint64_t
ngx_http_retry_chain_limit_pace_drain(const ngx_http_retry_chain_limit_t *limit,
    uint64_t now)
{
    uint64_t  n;

    n = ngx_http_retry_chain_limit_passed(now, limit->slowed)
        / NGX_HTTP_RETRY_CHAIN_LIMIT_EASE;

    return ngx_max(limit->drain >> ngx_min(n, 63),
                   NGX_HTTP_RETRY_CHAIN_LIMIT_DRAIN);
}


void
ngx_http_retry_chain_limit_told(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, ngx_uint_t remaining,
    uint64_t reset, uint64_t now)
{
    /* nobody waits for calls that are spread over an hour */

    if (!conf->automatic || reset > 2 * NGX_HTTP_RETRY_CHAIN_LIMIT_HALF) {
        return;
    }

    if (now >= limit->ends || remaining > limit->quota) {
        limit->quota = remaining;
    }

    limit->left = remaining;
    limit->ends = now + reset;
}
