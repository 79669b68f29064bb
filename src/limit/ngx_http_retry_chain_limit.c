
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_limit.h"
#include "ngx_http_retry_chain_limit_pace.h"


/*
 * Clocks differ by up to 200 parts in a million, which fills a bucket in time:
 * an interval is longer by one part in so many
 */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_DRIFT  1000

/* timers fire late, up to this the line loses no time by it */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_LATE   10000

/* after this a reply to a call of another worker is noticed */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_LOOK   10000

/* at first: two calls that are accepted in spite of refusals make it short */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_PATIENCE                                   \
    (NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND / 4)

/* refusals that have doubled it to more than this are no accident */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_PROVEN                                     \
    NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND


static ngx_http_retry_chain_limit_reason_e ngx_http_retry_chain_limit_shut(
    const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now,
    uint64_t *when);
static ngx_uint_t ngx_http_retry_chain_limit_tries(
    const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now);
static uint64_t ngx_http_retry_chain_limit_free(
    const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf);
static uint64_t ngx_http_retry_chain_limit_interval(
    const ngx_http_retry_chain_limit_conf_t *conf);


void
ngx_http_retry_chain_limit_init(ngx_http_retry_chain_limit_t *limit,
    uint64_t now)
{
    ngx_memzero(limit, sizeof(ngx_http_retry_chain_limit_t));

    limit->since = now;
    limit->half = now;

    /* the first call comes after none that was refused */

    limit->calls = 1;

    limit->patience = NGX_HTTP_RETRY_CHAIN_LIMIT_PATIENCE;
}


ngx_http_retry_chain_limit_reason_e
ngx_http_retry_chain_limit_admit(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now,
    ngx_http_retry_chain_limit_call_t *call, uint64_t *when)
{
    uint64_t                             interval, late;
    ngx_http_retry_chain_limit_reason_e  reason;

    reason = ngx_http_retry_chain_limit_reason(limit, conf, run, now, when);

    if (reason != NGX_HTTP_RETRY_CHAIN_LIMIT_GO) {
        return reason;
    }

    ngx_memzero(call, sizeof(ngx_http_retry_chain_limit_call_t));

    call->sent = now;
    call->in_flight = run->in_flight + 1;
    call->again = run->again;
    call->number = ++limit->calls;

    if (now < limit->refused_until && !limit->tested) {
        call->test = 1;
        limit->tested = 1;
    }

    if (now < limit->blocked) {
        call->trial = 1;
        limit->try_at = now + limit->patience;

    } else if (limit->half_open) {
        call->probe = 1;
        limit->probed = now;
    }

    late = ngx_http_retry_chain_limit_passed(now, run->arrived);
    late = now - ngx_min(late, NGX_HTTP_RETRY_CHAIN_LIMIT_LATE);

    limit->tat = ngx_max(limit->tat, late)
                 + ngx_http_retry_chain_limit_interval(conf);

    interval = ngx_http_retry_chain_limit_pace_interval(limit, run->waiting,
                                                        now);
    limit->paced = ngx_max(limit->paced + interval, late);

    return NGX_HTTP_RETRY_CHAIN_LIMIT_GO;
}


ngx_http_retry_chain_limit_reason_e
ngx_http_retry_chain_limit_reason(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now, uint64_t *when)
{
    uint64_t                             free, pace, next, tick;
    ngx_http_retry_chain_limit_reason_e  reason;

    tick = now + NGX_HTTP_RETRY_CHAIN_LIMIT_TICK;

    reason = ngx_http_retry_chain_limit_shut(limit, conf, run, now, when);

    if (reason != NGX_HTTP_RETRY_CHAIN_LIMIT_GO) {
        *when = ngx_min(*when, tick);
        return reason;
    }

    free = ngx_http_retry_chain_limit_free(limit, conf);
    pace = ngx_http_retry_chain_limit_pace_interval(limit, run->waiting, now);
    next = now + NGX_HTTP_RETRY_CHAIN_LIMIT_LOOK;

    if (!run->first) {

        /* whoever is first will have gone at the next free time */

        if (pace) {
            next = ngx_max(next, limit->paced + 2 * pace);
        }

        if (conf->rate) {
            next = ngx_max(next,
                           free + ngx_http_retry_chain_limit_interval(conf));
        }

        *when = ngx_min(next, tick);
        return NGX_HTTP_RETRY_CHAIN_LIMIT_LINE;
    }

    if (conf->max_conns && run->in_flight >= conf->max_conns) {
        *when = next;
        return NGX_HTTP_RETRY_CHAIN_LIMIT_CONNS;
    }

    if (now < free) {
        *when = ngx_min(free, tick);
        return NGX_HTTP_RETRY_CHAIN_LIMIT_RATE;
    }

    /* a trial is to find out whether what was learned is true */

    if (now < limit->blocked) {
        return NGX_HTTP_RETRY_CHAIN_LIMIT_GO;
    }

    if (ngx_http_retry_chain_limit_pace_full(limit, run->in_flight, now)) {
        *when = next;
        return NGX_HTTP_RETRY_CHAIN_LIMIT_FLIGHT;
    }

    if (pace && now < limit->paced + pace) {
        *when = ngx_min(limit->paced + pace, tick);
        return NGX_HTTP_RETRY_CHAIN_LIMIT_PACE;
    }

    return NGX_HTTP_RETRY_CHAIN_LIMIT_GO;
}


/* blocked or half-open */

static ngx_http_retry_chain_limit_reason_e
ngx_http_retry_chain_limit_shut(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now, uint64_t *when)
{
    uint64_t  took;

    if (now < limit->blocked) {
        *when = limit->blocked;

        if (ngx_http_retry_chain_limit_tries(limit, conf, run, now)) {

            if (now >= limit->try_at) {
                return NGX_HTTP_RETRY_CHAIN_LIMIT_GO;
            }

            *when = ngx_min(limit->blocked, limit->try_at);
        }

        return NGX_HTTP_RETRY_CHAIN_LIMIT_BLOCKED;
    }

    /*
     * An answer may take its time, a refusal would have come; or the worker is
     * gone
     */

    if (limit->half_open && limit->probed) {
        took = ngx_min(2 * limit->refused_took, conf->spacing);

        if (now < limit->probed + took) {
            *when = ngx_min(limit->probed + took,
                            now + NGX_HTTP_RETRY_CHAIN_LIMIT_LOOK);
            return NGX_HTTP_RETRY_CHAIN_LIMIT_HALF_OPEN;
        }
    }

    return NGX_HTTP_RETRY_CHAIN_LIMIT_GO;
}


/*
 * A run that a block would cost its deadline, or those in line theirs, may try
 * a call: so a refusal that was not about the upstream is found out.  Whatever
 * is no refusal is asked again in any case.
 */

static ngx_uint_t
ngx_http_retry_chain_limit_tries(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now)
{
    uint64_t  half, wait;

    if (limit->by != 429) {
        return 1;
    }

    if (!conf->trial) {
        return 0;
    }

    half = conf->max;

    if (run->deadline) {

        if (limit->blocked > run->deadline) {
            return 1;
        }

        half = (run->deadline - run->arrived) / 2;
    }

    if (ngx_http_retry_chain_limit_passed(now, run->arrived)
        >= ngx_min(half, conf->max))
    {
        return 1;
    }

    wait = limit->blocked - now
           + run->waiting * ngx_http_retry_chain_limit_pace_interval(limit,
                                                         run->waiting, now);

    return run->waiting && wait >= half;
}


uint64_t
ngx_http_retry_chain_limit_estimate(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now, uint64_t *least)
{
    uint64_t                             time, interval, pace, when;
    ngx_uint_t                           proven;
    ngx_http_retry_chain_limit_run_t     first;
    ngx_http_retry_chain_limit_reason_e  reason;

    /* as if it was the only one, and behind the others then */

    first = *run;
    first.first = 1;

    reason = ngx_http_retry_chain_limit_reason(limit, conf, &first, now, &when);

    time = now + (reason != NGX_HTTP_RETRY_CHAIN_LIMIT_GO || run->waiting);

    proven = limit->patience > NGX_HTTP_RETRY_CHAIN_LIMIT_PROVEN;

    if (now < limit->blocked) {
        when = limit->blocked;

        if (limit->by != 429
            || (conf->trial && run->deadline && when > run->deadline
                && (run->waiting == 0 || !proven)))
        {
            /* it may be found out that the block is none */

            when = ngx_min(when, limit->try_at);
        }

        time = ngx_max(time, when);
    }

    interval = ngx_http_retry_chain_limit_interval(conf);
    pace = ngx_http_retry_chain_limit_pace_interval(limit, run->waiting, now);

    time = ngx_max(time, ngx_http_retry_chain_limit_free(limit, conf));

    if (pace) {
        time = ngx_max(time, limit->paced + pace);
    }

    *least = time + run->waiting * interval;
    time += run->waiting * ngx_max(interval, pace);

    if (proven) {
        *least = time;
    }

    return time;
}


ngx_uint_t
ngx_http_retry_chain_limit_left(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, uint64_t now)
{
    uint64_t  interval, used;

    interval = ngx_http_retry_chain_limit_interval(conf);

    if (interval == 0) {
        return 0;
    }

    used = ngx_http_retry_chain_limit_passed(limit->tat, now);
    used = (used + interval - 1) / interval;

    return conf->burst - ngx_min(used, conf->burst);
}


void
ngx_http_retry_chain_limit_cancel(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call)
{
    limit->tat -= ngx_min(limit->tat,
                          ngx_http_retry_chain_limit_interval(conf));

    if (call->trial) {
        limit->try_at = call->sent;
    }

    ngx_http_retry_chain_limit_done(limit, call);
}


void
ngx_http_retry_chain_limit_charge(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, ngx_uint_t calls,
    uint64_t now)
{
    if (calls) {
        limit->tat = ngx_max(limit->tat, now)
                     + calls * ngx_http_retry_chain_limit_interval(conf);
    }
}


void
ngx_http_retry_chain_limit_state(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, uint64_t now,
    ngx_http_retry_chain_limit_state_t *state)
{
    ngx_memzero(state, sizeof(ngx_http_retry_chain_limit_state_t));

    if (now < limit->blocked) {
        state->blocked = limit->blocked;

        if (limit->by != 429 || conf->trial) {
            state->trial = ngx_max(now, limit->try_at);
        }
    }

    state->rate = ngx_http_retry_chain_limit_pace(limit, 0, now);
    state->since = limit->since;
    state->by = limit->by;
    state->half_open = !state->blocked && limit->half_open;
    state->doubted = ngx_http_retry_chain_limit_doubted(limit, conf);
}


/* from then on one call of the burst is left */

static uint64_t
ngx_http_retry_chain_limit_free(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf)
{
    uint64_t  slack;

    if (conf->rate == 0) {
        return 0;
    }

    slack = (conf->burst - 1) * ngx_http_retry_chain_limit_interval(conf);

    return ngx_http_retry_chain_limit_passed(limit->tat, slack);
}


static uint64_t
ngx_http_retry_chain_limit_interval(
    const ngx_http_retry_chain_limit_conf_t *conf)
{
    uint64_t  time;

    if (conf->rate == 0) {
        return 0;
    }

    time = NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND * 1000;
    time += time / NGX_HTTP_RETRY_CHAIN_LIMIT_DRIFT;

    return (time + conf->rate - 1) / conf->rate;
}
