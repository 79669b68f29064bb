
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What replies say about a limiter: blocks, and whether they are believed.
 *
 * A refusal opens the time that it names.  One call that is sent in that time,
 * after the refused one, is evidence: if it is accepted although as many calls
 * are under way, patience, the time between trial calls during blocks, becomes
 * a quarter; if it is refused it doubles.  When it has become short refusals do
 * not follow the calls, and block nothing.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_limit.h"
#include "ngx_http_retry_chain_limit_pace.h"


#define SECOND  NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND

#define NGX_HTTP_RETRY_CHAIN_LIMIT_MIN_PATIENCE  1000
#define NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_PATIENCE  (60 * SECOND)

/* no trial before that, or half of what the refusal names */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_RESPITE       (SECOND / 4)

/* what was guessed is remembered for that long, and not longer */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_GUESS     (60 * SECOND)


static void ngx_http_retry_chain_limit_disproved(
    ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, ngx_uint_t waiting,
    uint64_t now);
static void ngx_http_retry_chain_limit_weigh(
    ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, uint64_t delay,
    uint64_t now);
static uint64_t ngx_http_retry_chain_limit_guess(
    ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, uint64_t now);
static void ngx_http_retry_chain_limit_block(
    ngx_http_retry_chain_limit_t *limit, ngx_uint_t by, uint64_t delay,
    uint64_t now);


void
ngx_http_retry_chain_limit_done(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_call_t *call)
{
    if (call->probe && call->sent == limit->probed) {
        limit->probed = 0;
    }
}


void
ngx_http_retry_chain_limit_accepted(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, ngx_uint_t waiting,
    uint64_t now)
{
    ngx_http_retry_chain_limit_done(limit, call);
    ngx_http_retry_chain_limit_pace_count(limit, call->in_flight, now);

    if (call->trial && now < limit->blocked) {
        limit->blocked = now;
        limit->since = now;
        limit->half_open = 1;
    }

    if (call->in_flight >= limit->refused_flight
        && (call->test || (call->number > limit->refused
                           && call->sent < limit->refused_until)))
    {
        ngx_http_retry_chain_limit_disproved(limit, conf, call, waiting, now);
    }

    if (call->sent < limit->blocked && !call->trial) {
        return;
    }

    limit->accepted++;

    if (!waiting) {
        ngx_http_retry_chain_limit_pace_end(limit, conf);

    } else if (limit->half_open && limit->base == 0) {
        ngx_http_retry_chain_limit_pace_begin(limit);
    }

    limit->half_open = 0;
}


/* a call has been accepted in spite of a refusal */

static void
ngx_http_retry_chain_limit_disproved(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, ngx_uint_t waiting,
    uint64_t now)
{
    ngx_uint_t  doubted;

    doubted = ngx_http_retry_chain_limit_doubted(limit, conf);

    limit->patience = ngx_max(limit->patience / 4,
                              NGX_HTTP_RETRY_CHAIN_LIMIT_MIN_PATIENCE);

    limit->refused_until = ngx_min(limit->refused_until, call->sent);
    limit->drain /= 2;

    if (call->trial) {
        limit->guess /= 2;
    }

    if (!ngx_http_retry_chain_limit_doubted(limit, conf)) {

        if (call->trial) {
            ngx_http_retry_chain_limit_pace_forget(limit, waiting);
        }

        return;
    }

    if (!doubted || call->trial) {
        ngx_http_retry_chain_limit_pace_forget(limit, waiting);
        limit->since = now;
    }

    limit->blocked = ngx_min(limit->blocked, now);
    limit->half_open = 0;
}


ngx_int_t
ngx_http_retry_chain_limit_refused(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, uint64_t delay, uint64_t now)
{
    ngx_uint_t  fresh;

    fresh = now >= limit->blocked;

    ngx_http_retry_chain_limit_done(limit, call);
    ngx_http_retry_chain_limit_weigh(limit, conf, call, delay, now);

    if (call->trial) {
        limit->try_at = now + limit->patience;
    }

    if (ngx_http_retry_chain_limit_doubted(limit, conf)) {
        return NGX_DECLINED;
    }

    if (!fresh) {

        /* without a time it says what is known already */

        if (delay) {
            ngx_http_retry_chain_limit_block(limit, 429,
                                             ngx_min(delay, conf->cap), now);
        }

        return NGX_DECLINED;
    }

    if (delay == 0) {
        delay = ngx_http_retry_chain_limit_guess(limit, conf, now);
    }

    delay = ngx_min(delay, conf->cap);

    limit->try_at = ngx_max(limit->try_at,
                            now + ngx_min(delay / 2,
                                          NGX_HTTP_RETRY_CHAIN_LIMIT_RESPITE));

    ngx_http_retry_chain_limit_pace_learn(limit, call->in_flight, now);
    ngx_http_retry_chain_limit_block(limit, 429, delay, now);

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_limit_away(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, ngx_uint_t status,
    uint64_t delay, uint64_t now)
{
    uint64_t    again;
    ngx_uint_t  fresh;

    fresh = now >= limit->blocked;

    if (delay == 0) {
        delay = conf->spacing;
    }

    ngx_http_retry_chain_limit_weigh(limit, conf, call, delay, now);

    if (ngx_http_retry_chain_limit_doubted(limit, conf)) {
        return NGX_DECLINED;
    }

    if (fresh || call->trial) {
        again = ngx_max(limit->patience, SECOND);
        limit->try_at = now + ngx_min(again, conf->max);
    }

    ngx_http_retry_chain_limit_block(limit, status, ngx_min(delay, conf->cap),
                                     now);

    return fresh ? NGX_OK : NGX_DECLINED;
}


static void
ngx_http_retry_chain_limit_weigh(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, uint64_t delay, uint64_t now)
{
    ngx_uint_t  follows;

    follows = call->test || call->number == limit->refused + 1;

    /* one that names no time speaks of a second */

    delay = delay ? ngx_min(delay, conf->cap) : SECOND;

    limit->refused = call->number;
    limit->refused_until = ngx_max(limit->refused_until, now + delay);
    limit->refused_took = ngx_http_retry_chain_limit_passed(now, call->sent);
    limit->refused_flight = follows ? ngx_min(limit->refused_flight,
                                              call->in_flight)
                                    : call->in_flight;
    limit->tested = 0;

    /* what others have refused, too, says something about the request */

    if (!follows || call->again) {
        return;
    }

    /* calls that were under way together are one refusal, if it is believed */

    if (call->sent < limit->doubled
        && !ngx_http_retry_chain_limit_doubted(limit, conf))
    {
        return;
    }

    limit->patience = ngx_min(limit->patience * 2,
                              NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_PATIENCE);
    limit->doubled = now;

    if (!ngx_http_retry_chain_limit_doubted(limit, conf)) {
        ngx_http_retry_chain_limit_pace_slow(limit, now);
    }
}


/*
 * One spacing more each time the last one did not suffice; what did is tried
 * first for a while.
 */

static uint64_t
ngx_http_retry_chain_limit_guess(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, uint64_t now)
{
    uint64_t  time;

    if (ngx_http_retry_chain_limit_passed(now, limit->guessed)
        >= NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_GUESS)
    {
        limit->guess = 0;
    }

    if (limit->half_open || limit->guess == 0) {
        limit->guess++;
    }

    time = ngx_min(limit->guess * conf->spacing,
                   NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_GUESS);
    limit->guessed = now + time;

    return time;
}


static void
ngx_http_retry_chain_limit_block(ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t by, uint64_t delay, uint64_t now)
{
    if (now >= limit->blocked) {
        limit->since = now;
    }

    if (now + delay > limit->blocked) {
        limit->blocked = now + delay;
        limit->by = by;
    }

    limit->half_open = 1;
    limit->probed = 0;
}
