
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A run from its first attempt to the end of the last one: the events that
 * drive it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


/* when an attempt could not be aborted, this is tried again */

#define NGX_HTTP_RETRY_CHAIN_ABORT_TIME    100


static void ngx_http_retry_chain_run_write_handler(ngx_http_request_t *r);
static void ngx_http_retry_chain_run_event_handler(ngx_event_t *ev);

static ngx_int_t ngx_http_retry_chain_run_updated(ngx_http_request_t *r,
    void *data, ngx_int_t rc);
static void ngx_http_retry_chain_run_ended(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_cleanup(void *data);
static void ngx_http_retry_chain_run_pool_cleanup(void *data);


ngx_http_retry_chain_run_t *
ngx_http_retry_chain_run_create(ngx_http_request_t *r)
{
    ngx_http_cleanup_t          *hcln;
    ngx_pool_cleanup_t          *cln;
    ngx_http_retry_chain_run_t  *run;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_retry_chain_run_t));
    if (cln == NULL) {
        return NULL;
    }

    hcln = ngx_http_cleanup_add(r, 0);
    if (hcln == NULL) {
        return NULL;
    }

    run = cln->data;
    ngx_memzero(run, sizeof(ngx_http_retry_chain_run_t));

    cln->handler = ngx_http_retry_chain_run_pool_cleanup;

    hcln->handler = ngx_http_retry_chain_run_cleanup;
    hcln->data = run;

    run->request = r;
    run->event.handler = ngx_http_retry_chain_run_event_handler;
    run->event.data = run;
    run->event.log = r->connection->log;

    ngx_http_set_ctx(r, run, ngx_http_retry_chain_module);

    return run;
}


/* internal redirects and error pages clear the contexts of modules */

ngx_http_retry_chain_run_t *
ngx_http_retry_chain_run_get(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t          *cln;
    ngx_http_retry_chain_run_t  *run;

    r = r->main;

    run = ngx_http_get_module_ctx(r, ngx_http_retry_chain_module);

    if (run == NULL && (r->internal || r->filter_finalize)) {

        for (cln = r->pool->cleanup; cln; cln = cln->next) {

            if (cln->handler == ngx_http_retry_chain_run_pool_cleanup) {
                run = cln->data;
                break;
            }
        }
    }

    return run;
}


void
ngx_http_retry_chain_run_begin(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    run->start = ngx_current_msec;

    /* what the request has been proxied to on its way here */

    run->states = r->upstream_states;

    r->write_event_handler = ngx_http_retry_chain_run_write_handler;

    ngx_http_retry_chain_schedule_first(run);
}


/*
 * The main request is posted when an attempt has ended; it is also run when a
 * subrequest made by its filters or a file operation of theirs has ended.
 */

static void
ngx_http_retry_chain_run_write_handler(ngx_http_request_t *r)
{
    ngx_connection_t                *c;
    ngx_http_request_t              *sr;
    ngx_http_retry_chain_run_t      *run;
    ngx_http_retry_chain_attempt_t  *at;

    c = r->connection;
    run = ngx_http_retry_chain_run_get(r);

    if (run->state != NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT) {
        return;
    }

    at = run->attempt;

    if (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE) {
        ngx_http_retry_chain_run_ended(run);
        return;
    }

    if (!at->relayed) {
        return;
    }

    sr = at->request;

    if (c->data == r) {
        c->data = sr;
    }

    if (at->aio && !r->aio) {
        at->aio = 0;
        sr->aio = 0;
    }

    sr->write_event_handler(sr);
}


static void
ngx_http_retry_chain_run_event_handler(ngx_event_t *ev)
{
    ngx_connection_t                *c;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_run_t      *run;
    ngx_http_retry_chain_attempt_t  *at;

    run = ev->data;
    r = run->request;
    c = r->connection;

    ev->timedout = 0;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "retry chain event, state:%d", run->state);

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_WAIT) {
        ngx_http_retry_chain_schedule_wake(run);
        ngx_http_run_posted_requests(c);
        return;
    }

    at = run->attempt;

    if (run->state != NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT
        || at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_RELAYING
        || at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE)
    {
        return;
    }

    /* armed first: the attempt, the run and all may be gone after the call */

    ngx_http_retry_chain_run_timer(run, NGX_HTTP_RETRY_CHAIN_ABORT_TIME);

    if (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DISCARDING
        || at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_ANSWERED)
    {
        ngx_http_retry_chain_attempt_cut(at);
        return;
    }

    if (run->plan->hard && ngx_http_retry_chain_run_left(run) <= 0) {
        run->late = 1;
    }

    ngx_http_retry_chain_attempt_abort(at);
}


void
ngx_http_retry_chain_run_attempt(ngx_http_retry_chain_run_t *run)
{
    ngx_msec_t                       timer;
    ngx_msec_int_t                   left;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;

    step = &run->plan->steps[run->place.step];

    at = ngx_http_retry_chain_attempt_start(r, run->handler, step, run->states,
                                            run->target != NULL);

    if (at == NULL) {
        ngx_http_retry_chain_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    at->data = run;
    at->update.handler = ngx_http_retry_chain_run_updated;
    at->update.data = at;

    r->read_event_handler = ngx_http_block_reading;

    run->attempt = at;
    run->attempt_start = ngx_current_msec;
    run->recorded = 0;

    if (run->plan->zone) {
        ngx_http_retry_chain_run_stats_start(run);
    }

    ngx_http_retry_chain_run_set_state(run, NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT);

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "retry chain attempt %ui/%ui to \"%V\"",
                   run->records.nelts + 1, run->plan->attempts, &step->name);

    timer = step->timeout;

    if (run->plan->hard) {
        left = ngx_http_retry_chain_run_left(run);

        if (timer == 0 || left < (ngx_msec_int_t) timer) {
            timer = ngx_max(left, 1);
        }
    }

    if (timer) {
        ngx_http_retry_chain_run_timer(run, timer);
    }
}


/* the update of a stale reply has ended; the run may have, too, but is there */

static ngx_int_t
ngx_http_retry_chain_run_updated(ngx_http_request_t *r, void *data,
    ngx_int_t rc)
{
    ngx_http_retry_chain_attempt_t *at = data;

    /* an error page ends it once more */

    r->post_subrequest = NULL;

    ngx_http_retry_chain_limits_updated(at->data, at, r);

    return rc;
}


/* in the main request's own write handler: the attempt has ended */

static void
ngx_http_retry_chain_run_ended(ngx_http_retry_chain_run_t *run)
{
    ngx_connection_t                *c;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    c = r->connection;
    at = run->attempt;

    ngx_http_retry_chain_run_untimer(run);
    ngx_http_retry_chain_run_stats_stop(run);

    if (at->error) {
        c->error = 1;
    }

    if (at->relayed) {
        ngx_http_retry_chain_finish_request(run);
        return;
    }

    if (c->error
        || at->rc == NGX_HTTP_CLIENT_CLOSED_REQUEST
        || (at->rc == NGX_ERROR && !run->recorded))
    {
        ngx_http_retry_chain_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        ngx_http_finalize_request(r, at->rc);
        return;
    }

    if (!run->recorded) {
        ngx_http_retry_chain_schedule_judge(run, at, NULL);
    }

    if (!run->verdict.retry) {
        ngx_http_retry_chain_finish_request(run);
        return;
    }

    ngx_http_retry_chain_schedule_next(run);
}


/* the request ends: in the log phase all has to be in place */

static void
ngx_http_retry_chain_run_cleanup(void *data)
{
    ngx_http_retry_chain_run_t *run = data;

    ngx_http_retry_chain_result_e  result;

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        return;
    }

    result = NGX_HTTP_RETRY_CHAIN_ABORTED;

    ngx_http_retry_chain_run_stats_stop(run);
    ngx_http_retry_chain_queue_quit(run);

    if (run->attempt) {

        /* a 412 or 416 made of the reply that was being relayed */

        if (run->attempt->replaced && !run->request->connection->error) {
            result = run->verdict.result;
        }

        /* one that waits for a thread may still end, but nobody waits */

        ngx_http_retry_chain_attempt_set_state(run->attempt,
                                           NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE);
    }

    switch (run->state) {

    case NGX_HTTP_RETRY_CHAIN_RUN_BODY:
    case NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT:
    case NGX_HTTP_RETRY_CHAIN_RUN_WAIT:
        ngx_http_retry_chain_finish(run, result);
        break;

    default:
        ngx_http_retry_chain_run_untimer(run);
        break;
    }

    /* of an attempt that will not be made */

    ngx_http_retry_chain_limits_release(run);
}


static void
ngx_http_retry_chain_run_pool_cleanup(void *data)
{
    ngx_http_retry_chain_run_t *run = data;

    ngx_http_retry_chain_run_untimer(run);

    if (run->attempt) {
        ngx_http_retry_chain_attempt_pool_free(run->attempt->pool);
    }
}
