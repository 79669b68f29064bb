
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A run and the limiters of its upstreams: when they are free, what is
 * reserved, and what a reply says about them.  Without a zone that acts within
 * the run.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_header.h"


static ngx_http_retry_chain_limiter_t *ngx_http_retry_chain_limits_of(
    ngx_http_retry_chain_run_t *run, ngx_uint_t step);
static void ngx_http_retry_chain_limits_reply(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_http_request_t *r,
    ngx_uint_t status, uint64_t sent);
static void ngx_http_retry_chain_limits_accepted(
    ngx_http_retry_chain_run_t *run, ngx_uint_t step,
    ngx_http_retry_chain_ratelimit_t *ratelimit, uint64_t sent);
static ngx_uint_t ngx_http_retry_chain_limits_calls(
    ngx_http_retry_chain_attempt_t *at,
    ngx_http_retry_chain_outcome_t *response);
static void ngx_http_retry_chain_limits_apply(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_uint_t status,
    ngx_http_retry_chain_ratelimit_t *ratelimit);
static void ngx_http_retry_chain_limits_block(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step, ngx_msec_t delay);
static ngx_msec_t ngx_http_retry_chain_limits_msec(uint64_t time, uint64_t now);


/* the limiter of a step, or its copy */

static ngx_http_retry_chain_limiter_t *
ngx_http_retry_chain_limits_of(ngx_http_retry_chain_run_t *run, ngx_uint_t step)
{
    return run->copies ? &run->copies[step] : run->plan->queues[step]->limiter;
}


ngx_int_t
ngx_http_retry_chain_limits_copy(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                       i;
    ngx_http_retry_chain_limiter_t  *copies;

    if (run->plan->queues == NULL) {
        return NGX_OK;
    }

    copies = ngx_palloc(run->request->pool,
                        run->plan->nsteps
                        * sizeof(ngx_http_retry_chain_limiter_t));
    if (copies == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < run->plan->nsteps; i++) {
        ngx_http_retry_chain_limiter_copy(&copies[i],
                                          run->plan->queues[i]->limiter);
    }

    run->copies = copies;

    return NGX_OK;
}


void
ngx_http_retry_chain_limits_survey(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_limits_t *limits)
{
    uint64_t                                    now;
    ngx_uint_t                                  i;
    ngx_http_retry_chain_limiter_t             *limiter;
    const ngx_http_retry_chain_plan_t          *plan;
    const ngx_http_retry_chain_limiter_conf_t  *conf;

    plan = run->plan;

    ngx_memzero(limits, sizeof(ngx_http_retry_chain_limits_t));

    if (plan->queues == NULL && run->told == NULL) {
        return;
    }

    now = ngx_http_retry_chain_zone_now();

    for (i = 0; i < plan->nsteps; i++) {

        if (plan->queues) {
            limiter = ngx_http_retry_chain_limits_of(run, i);
            conf = &plan->queues[i]->step->limit;

            limits->delay[i] = ngx_http_retry_chain_limits_msec(
                         ngx_http_retry_chain_limiter_peek(limiter, conf, now),
                         now);

            limits->left[i] = ngx_http_retry_chain_limiter_left(limiter, conf,
                                                                now);

            if (limits->delay[i]
                && ngx_http_retry_chain_limiter_limited(limiter, now))
            {
                limits->blocked |= (uint32_t) 1 << i;

                if (limits->delay[i] == plan->retry_after.max + 1) {

                    /* a millisecond was added to what was said */

                    limits->delay[i]--;
                }
            }

        } else if (run->told) {
            limits->delay[i] = ngx_http_retry_chain_limits_msec(run->told[i],
                                                                now);

            if (limits->delay[i]) {
                limits->blocked |= (uint32_t) 1 << i;
            }
        }
    }
}


ngx_msec_t
ngx_http_retry_chain_limits_reserve(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step)
{
    uint64_t                       now, due;
    ngx_http_retry_chain_queue_t  *queue;

    if (run->plan->queues == NULL) {
        return 0;
    }

    queue = run->plan->queues[step];
    now = ngx_http_retry_chain_zone_now();

    run->queue = queue;
    run->limiter = ngx_http_retry_chain_limits_of(run, step);

    due = ngx_http_retry_chain_limiter_reserve(run->limiter,
                                               &queue->step->limit, now,
                                               &run->ticket);

    if (run->copies == NULL) {
        queue->node->node.used = ngx_current_msec;
    }

    return ngx_http_retry_chain_limits_msec(due, now);
}


ngx_msec_t
ngx_http_retry_chain_limits_gate(ngx_http_retry_chain_run_t *run)
{
    uint64_t  now;

    now = ngx_http_retry_chain_zone_now();

    if (run->ticket.tail == 0) {

        /* it could go at once, but a limit may have fallen since then */

        (void) ngx_http_retry_chain_limiter_reserve(run->limiter,
                                                    &run->queue->step->limit,
                                                    now, &run->ticket);
    }

    return ngx_http_retry_chain_limits_msec(
           ngx_http_retry_chain_limiter_gate(run->limiter, &run->ticket, now),
           now);
}


void
ngx_http_retry_chain_limits_release(ngx_http_retry_chain_run_t *run)
{
    if (run->queue) {
        (void) ngx_http_retry_chain_limiter_cancel(run->limiter, &run->ticket);
        run->queue = NULL;
    }
}


void
ngx_http_retry_chain_limits_outcome(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    ngx_uint_t                       calls;
    ngx_http_retry_chain_queue_t    *queue;
    ngx_http_retry_chain_outcome_t   response;

    ngx_http_retry_chain_outcome_upstream(at, &response);

    if (run->plan->queues == NULL
        && response.status != NGX_HTTP_TOO_MANY_REQUESTS
        && response.status != NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        /* other replies say something for those who come later */
        return;
    }

    queue = run->queue;

    if (queue == NULL && run->plan->retry_after.off) {
        return;
    }

    calls = ngx_http_retry_chain_limits_calls(at, &response);

    if (calls == 0) {

        /* a cached reply, a page of nginx, or nobody was reached */

        ngx_http_retry_chain_limits_release(run);
        return;
    }

    if (queue) {
        run->queue = NULL;
        ngx_http_retry_chain_limiter_charge(run->limiter, &queue->step->limit,
                                            calls - 1,
                                            ngx_http_retry_chain_zone_now());
    }

    if (response.outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {
        ngx_http_retry_chain_limits_reply(run, at, at->request, response.status,
                                          (uint64_t) run->attempt_start * 1000);
    }
}


void
ngx_http_retry_chain_limits_updated(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_http_request_t *r)
{
    ngx_http_upstream_t             *u;
    ngx_http_retry_chain_outcome_t   response;

    if (run->plan->queues == NULL) {
        return;
    }

    ngx_http_retry_chain_outcome_states(r, 0, &response);

    if (response.outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {
        u = ngx_http_retry_chain_response_upstream(r);

        ngx_http_retry_chain_limits_reply(run, at, r, response.status,
                                          (uint64_t) u->start_time * 1000);
    }
}


/* the upstream has replied to a call that was sent at "sent" */

static void
ngx_http_retry_chain_limits_reply(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_http_request_t *r,
    ngx_uint_t status, uint64_t sent)
{
    ngx_http_retry_chain_ratelimit_t  ratelimit;

    ngx_http_retry_chain_limits_parse(run, r, status, &ratelimit);

    if (run->plan->queues
        && status != 429 && !(status == 503 && ratelimit.limited))
    {
        ngx_http_retry_chain_limits_accepted(run, at->step - run->plan->steps,
                                             &ratelimit, sent);
    }

    ngx_http_retry_chain_limits_apply(run, at, status, &ratelimit);
}


static void
ngx_http_retry_chain_limits_accepted(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step, ngx_http_retry_chain_ratelimit_t *ratelimit, uint64_t sent)
{
    uint64_t                         now;
    ngx_int_t                        rc, told;
    ngx_http_retry_chain_queue_t    *queue;
    ngx_http_retry_chain_limiter_t  *limiter;

    queue = run->plan->queues[step];
    limiter = ngx_http_retry_chain_limits_of(run, step);
    now = ngx_http_retry_chain_zone_now();
    told = NGX_DECLINED;

    rc = ngx_http_retry_chain_limiter_accepted(limiter, &queue->step->limit,
                                               now, sent);

    if (ratelimit->known && ratelimit->remaining && !ratelimit->limited) {
        told = ngx_http_retry_chain_limiter_told(
                     limiter, &queue->step->limit, now, sent,
                     ratelimit->remaining, (uint64_t) ratelimit->reset * 1000);
    }

    if ((rc == NGX_OK || told == NGX_OK) && run->copies == NULL) {
        ngx_http_retry_chain_queue_update(queue);
    }
}


/* upstream may have tried several peers, or a cached connection in vain */

static ngx_uint_t
ngx_http_retry_chain_limits_calls(ngx_http_retry_chain_attempt_t *at,
    ngx_http_retry_chain_outcome_t *response)
{
    ngx_uint_t                  i, n, tries;
    ngx_http_upstream_state_t  *state;

    n = 0;

#if (NGX_HTTP_CACHE)
    if (at->request->cache && at->request->cache->background) {

        /* an update of the stale reply goes there */

        n = 1;
    }
#endif

    if (at->request->upstream == NULL) {
        return n;
    }

    tries = ngx_http_retry_chain_outcome_tries(at->request->upstream_states,
                                               at->states, NGX_MAX_INT_T_VALUE,
                                               &state);

    for (i = 0; i < tries; i++) {
        if (state[i].bytes_sent || state[i].bytes_received) {
            n++;
        }
    }

    if (n == 0 && response->outcome == NGX_HTTP_RETRY_CHAIN_REPLY
        && at->request->upstream->peer.connection)
    {
        /* the bytes of a call that goes on are counted at its end */

        n = 1;
    }

    return n;
}


static void
ngx_http_retry_chain_limits_apply(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_uint_t status,
    ngx_http_retry_chain_ratelimit_t *ratelimit)
{
    ngx_uint_t                          i, step;
    ngx_http_retry_chain_limiter_t     *limiter;
    const ngx_http_retry_chain_plan_t  *plan;

    plan = run->plan;
    step = at->step - plan->steps;

    if (plan->retry_after.off) {
        return;
    }

    if (ratelimit->capped && !run->conf->notes->capped && !plan->dry) {
        run->conf->notes->capped = 1;

        ngx_log_error(NGX_LOG_WARN, run->request->connection->log, 0,
                      "retry chain cut what \"%V\" said about the time of the "
                      "next call to %M ms", &at->step->name, ratelimit->delay);
    }

    if (!ratelimit->limited) {

        if (status != 429 || plan->queues == NULL) {
            return;
        }

        ratelimit->limited = 1;
        limiter = ngx_http_retry_chain_limits_of(run, step);

        /* those that were under way when the limit fell are none in a row */

        if (ngx_http_retry_chain_limiter_limited(
                                     limiter, ngx_http_retry_chain_zone_now()))
        {
            return;
        }

        ratelimit->delay = ngx_http_retry_chain_limiter_refused(
                    limiter, plan->retry_after.spacing, plan->retry_after.max);
    }

    if (ratelimit->delay == 0) {
        return;
    }

    if (plan->queues && !plan->dry
        && ratelimit->source != NGX_HTTP_RETRY_CHAIN_RATELIMIT_NONE)
    {
        ngx_http_retry_chain_stats_add(
                                &plan->queues[step]->node->stats.limit_replies,
                                1);
    }

    /* the time of this turn of the event loop is too early for a promise */

    ngx_time_update();

    for (i = 0; i < plan->nsteps; i++) {
        if (i == step || plan->retry_after.chain) {
            ngx_http_retry_chain_limits_block(run, i, ratelimit->delay);
        }
    }
}


static void
ngx_http_retry_chain_limits_block(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step, ngx_msec_t delay)
{
    uint64_t                         now, until;
    ngx_http_retry_chain_queue_t    *queue;
    ngx_http_retry_chain_limiter_t  *limiter;

    now = ngx_http_retry_chain_zone_now();
    until = now + (uint64_t) delay * 1000;

    if (run->plan->queues) {
        queue = run->plan->queues[step];

        /* a part of a millisecond has passed already */

        until += 1000;

        limiter = ngx_http_retry_chain_limits_of(run, step);

        if (ngx_http_retry_chain_limiter_limit(limiter,
                                               &run->plan->steps[step].limit,
                                               now, until)
            == NGX_OK
            && run->copies == NULL)
        {
            ngx_http_retry_chain_queue_update(queue);
        }

        return;
    }

    if (run->told == NULL) {
        run->told = ngx_pcalloc(run->request->pool,
                                run->plan->nsteps * sizeof(uint64_t));
        if (run->told == NULL) {
            return;
        }
    }

    run->told[step] = ngx_max(run->told[step], until);
}


ngx_msec_t
ngx_http_retry_chain_limits_soonest(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                       i;
    ngx_msec_t                       soonest;
    ngx_http_retry_chain_limits_t    limits;
    ngx_http_retry_chain_limiter_t  *copies;

    /* as it is, not as it would be by a dry run */

    copies = run->copies;
    run->copies = NULL;

    ngx_http_retry_chain_limits_survey(run, &limits);

    run->copies = copies;

    soonest = limits.delay[0];

    for (i = 1; i < run->plan->nsteps; i++) {
        soonest = ngx_min(soonest, limits.delay[i]);
    }

    return soonest;
}


ngx_uint_t
ngx_http_retry_chain_limits_rate(ngx_http_retry_chain_run_t *run)
{
    if (run->plan->queues == NULL) {
        return 0;
    }

    return ngx_http_retry_chain_limiter_rate(
                                   run->plan->queues[run->place.step]->limiter);
}


ngx_int_t
ngx_http_retry_chain_limits_retry_after(ngx_http_retry_chain_run_t *run,
    ngx_http_request_t *r)
{
    u_char                         *p;
    ngx_msec_t                      soonest;
    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   pos;

    static ngx_str_t  name = ngx_string("Retry-After");

    if (run->plan->queues == NULL) {

        /* the vendor's own word, if it has said one, is all that is known */

        return NGX_OK;
    }

    switch (run->verdict.result) {

    case NGX_HTTP_RETRY_CHAIN_SUCCESS:
    case NGX_HTTP_RETRY_CHAIN_STOPPED:
    case NGX_HTTP_RETRY_CHAIN_ABORTED:
        return NGX_OK;

    default:
        break;
    }

    soonest = ngx_http_retry_chain_limits_soonest(run);

    if (soonest == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&pos, sizeof(ngx_http_retry_chain_header_t));

    while ((h = ngx_http_retry_chain_header_next(&r->headers_out.headers, &name,
                                                 &pos)))
    {
        h->hash = 0;
    }

    h = ngx_http_retry_chain_header_add(r, &name);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /* up to the next second, but for the millisecond that waits are longer */

    h->value.data = p;
    h->value.len = ngx_sprintf(p, "%T",
                               (time_t) ngx_max((soonest + 998) / 1000, 1))
                   - p;

    return NGX_OK;
}


static ngx_msec_t
ngx_http_retry_chain_limits_msec(uint64_t time, uint64_t now)
{
    if (time <= now) {
        return 0;
    }

    time = (time - now + 999) / 1000;

    return ngx_min(time, NGX_HTTP_RETRY_CHAIN_MAX_TIME);
}
