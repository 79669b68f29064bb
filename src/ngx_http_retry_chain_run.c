
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_lend.h"


/* a discarded body is read for this long, or for as long as the wait is */

#define NGX_HTTP_RETRY_CHAIN_DISCARD_TIME  100

/* when an attempt could not be aborted, this is tried again */

#define NGX_HTTP_RETRY_CHAIN_ABORT_TIME    100


static ngx_http_retry_chain_run_t *ngx_http_retry_chain_run_create(
    ngx_http_request_t *r);
static ngx_uint_t ngx_http_retry_chain_run_bypass(
    ngx_http_retry_chain_main_conf_t *rcmcf,
    ngx_http_retry_chain_target_t *target, ngx_http_retry_chain_plan_t *plan,
    ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_run_handler(ngx_http_request_t *r);
static void ngx_http_retry_chain_run_body_handler(ngx_http_request_t *r);
static void ngx_http_retry_chain_run_write_handler(ngx_http_request_t *r);
static void ngx_http_retry_chain_run_event_handler(ngx_event_t *ev);

static void ngx_http_retry_chain_run_attempt(ngx_http_retry_chain_run_t *run);
static ngx_int_t ngx_http_retry_chain_run_header(
    ngx_http_retry_chain_attempt_t *at);
static void ngx_http_retry_chain_run_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at);
static ngx_http_retry_chain_record_t *ngx_http_retry_chain_run_record(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_attempt_t *at);
static void ngx_http_retry_chain_run_ended(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_next(ngx_http_retry_chain_run_t *run);
static ngx_int_t ngx_http_retry_chain_run_keep(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at);
static void ngx_http_retry_chain_run_wait(ngx_http_retry_chain_run_t *run,
    ngx_msec_t delay);
static void ngx_http_retry_chain_run_answer(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_redirect(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_finish(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_result_e result);
static void ngx_http_retry_chain_run_warn(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_log(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_record_t *record);
static void ngx_http_retry_chain_run_state(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_state_e state);
static void ngx_http_retry_chain_run_timer(ngx_http_retry_chain_run_t *run,
    ngx_msec_t timer);
static void ngx_http_retry_chain_run_untimer(ngx_http_retry_chain_run_t *run);
static ngx_msec_int_t ngx_http_retry_chain_run_left(
    ngx_http_retry_chain_run_t *run);
static ngx_uint_t ngx_http_retry_chain_run_keyed(ngx_http_request_t *r);
static void ngx_http_retry_chain_run_cleanup(void *data);
static void ngx_http_retry_chain_run_free_pool(void *data);
static void ngx_http_retry_chain_run_pool_cleanup(void *data);


ngx_str_t  ngx_http_retry_chain_result_names[] = {
    ngx_string("success"),
    ngx_string("exhausted"),
    ngx_string("stopped"),
    ngx_string("unsafe"),
    ngx_string("deadline"),
    ngx_string("aborted"),
    ngx_string("bypassed")
};


/*
 * Handlers of a phase run in reverse order of registration, so this one comes
 * before try_files and mirror.  It changes nothing but the content handler:
 * they do their work on the main request as ever, once.
 */

ngx_int_t
ngx_http_retry_chain_run_phase_handler(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t        *run;
    ngx_http_retry_chain_target_t     *target;
    ngx_http_retry_chain_loc_conf_t   *rclcf;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    if (r != r->main || r->content_handler == NULL || r->post_action) {
        return NGX_DECLINED;
    }

    rclcf = ngx_http_get_module_loc_conf(r, ngx_http_retry_chain_module);

    if (rclcf->plan == NULL) {
        return NGX_DECLINED;
    }

    rcmcf = ngx_http_get_module_main_conf(r, ngx_http_retry_chain_module);

    target = ngx_http_retry_chain_target_find(&rcmcf->targets,
                                              r->content_handler);

    if (target == NULL && !rclcf->own) {
        return NGX_DECLINED;
    }

    run = ngx_http_retry_chain_run_get(r);

    if (run == NULL) {
        run = ngx_http_retry_chain_run_create(r);
        if (run == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

    } else if (run->state != NGX_HTTP_RETRY_CHAIN_RUN_READY) {

        /* one run per client request */

        return NGX_DECLINED;
    }

    run->conf = rclcf;
    run->plan = rclcf->plan;
    run->target = target;

    if (ngx_http_retry_chain_run_bypass(rcmcf, target, rclcf->plan, r)) {
        run->result = NGX_HTTP_RETRY_CHAIN_BYPASSED;
        ngx_http_retry_chain_run_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);
        return NGX_DECLINED;
    }

    run->handler = r->content_handler;
    r->content_handler = ngx_http_retry_chain_run_handler;

    return NGX_DECLINED;
}


static ngx_http_retry_chain_run_t *
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


/* requests that can not be repeated, or not through a subrequest, run plainly */

static ngx_uint_t
ngx_http_retry_chain_run_bypass(ngx_http_retry_chain_main_conf_t *rcmcf,
    ngx_http_retry_chain_target_t *target, ngx_http_retry_chain_plan_t *plan,
    ngx_http_request_t *r)
{
    ngx_table_elt_t  *upgrade;

    upgrade = r->headers_in.upgrade;

    if (upgrade
        && (upgrade->value.len != 3
            || ngx_strncasecmp(upgrade->value.data, (u_char *) "h2c", 3) != 0))
    {
        return 1;
    }

    if (r->method_name.len == 7
        && ngx_strncmp(r->method_name.data, "CONNECT", 7) == 0)
    {
        return 1;
    }

    return target
           && ngx_http_retry_chain_target_streams(&rcmcf->targets, target, r,
                                                  plan->attempts == 1);
}


static ngx_int_t
ngx_http_retry_chain_run_handler(ngx_http_request_t *r)
{
    ngx_int_t                          rc;
    ngx_http_retry_chain_run_t        *run;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    run = ngx_http_retry_chain_run_get(r->main);

    if (r != r->main) {

        /* a clone made by another module */

        return run->handler(r);
    }

    if (ngx_array_init(&run->records, r->pool, 2,
                       sizeof(ngx_http_retry_chain_record_t))
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rcmcf = ngx_http_get_module_main_conf(r, ngx_http_retry_chain_module);

    if (rcmcf->request_id != NGX_ERROR
        && ngx_http_get_indexed_variable(r, rcmcf->request_id) == NULL)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_retry_chain_run_state(run, NGX_HTTP_RETRY_CHAIN_RUN_BODY);

    /* attempts and a later redirect send the same body again */

    r->preserve_body = 1;

    rc = ngx_http_read_client_request_body(r,
                                        ngx_http_retry_chain_run_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        run->result = NGX_HTTP_RETRY_CHAIN_ABORTED;
        ngx_http_retry_chain_run_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);
        return rc;
    }

    return NGX_DONE;
}


static void
ngx_http_retry_chain_run_body_handler(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    run->start = ngx_current_msec;

    r->write_event_handler = ngx_http_retry_chain_run_write_handler;

    ngx_http_retry_chain_run_attempt(run);
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

    if (at->done) {
        ngx_http_retry_chain_run_ended(run);
        return;
    }

    if (!at->relaying) {
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
        ngx_http_retry_chain_run_attempt(run);
        ngx_http_run_posted_requests(c);
        return;
    }

    at = run->attempt;

    if (run->state != NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT
        || at->done || at->relaying)
    {
        return;
    }

    /* armed first: the attempt, the run and all may be gone after the call */

    ngx_http_retry_chain_run_timer(run, NGX_HTTP_RETRY_CHAIN_ABORT_TIME);

    if (at->discarding) {
        (void) ngx_http_retry_chain_attempt_cut(at);
        return;
    }

    if (run->plan->hard && ngx_http_retry_chain_run_left(run) <= 0) {
        run->late = 1;
    }

    (void) ngx_http_retry_chain_attempt_abort(at);
}


static void
ngx_http_retry_chain_run_attempt(ngx_http_retry_chain_run_t *run)
{
    ngx_msec_t                       timer;
    ngx_msec_int_t                   left;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;

    if (run->records.nelts == 0) {
        run->place.tries = 1;
    }

    step = &run->plan->steps[run->place.step];

    at = ngx_http_retry_chain_attempt_start(r, run->handler, step, run->states,
                                            run->target != NULL);

    if (at == NULL) {
        ngx_http_retry_chain_run_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    at->data = run;
    at->header = ngx_http_retry_chain_run_header;
    at->cut = &run->event;

    r->read_event_handler = ngx_http_block_reading;

    run->attempt = at;
    run->attempt_start = ngx_current_msec;
    run->recorded = 0;

    ngx_http_retry_chain_run_state(run, NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT);

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


/* called by the header filter when the header of a reply has come */

static ngx_int_t
ngx_http_retry_chain_run_header(ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_retry_chain_run_t  *run;

    run = at->data;

    ngx_http_retry_chain_run_untimer(run);
    ngx_http_retry_chain_run_judge(run, at);

    if (!run->verdict.retry) {
        ngx_http_retry_chain_lend_state(run->request, at->request, run->target);
        return NGX_OK;
    }

    ngx_http_retry_chain_run_timer(run, ngx_max(run->verdict.delay,
                                           NGX_HTTP_RETRY_CHAIN_DISCARD_TIME));
    return NGX_DECLINED;
}


static void
ngx_http_retry_chain_run_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    uint32_t                         noise;
    ngx_msec_int_t                   left;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_record_t   *record;
    ngx_http_retry_chain_outcome_t  *outcome;

    r = run->request;
    outcome = &at->outcome;

    outcome->idempotent = (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD
                                        |NGX_HTTP_PUT|NGX_HTTP_DELETE
                                        |NGX_HTTP_OPTIONS|NGX_HTTP_TRACE))
                          != 0;

    if (!outcome->idempotent) {
        outcome->keyed = ngx_http_retry_chain_run_keyed(r);
    }

    left = ngx_http_retry_chain_run_left(run);
    noise = (uint32_t) ngx_random() << 16 ^ (uint32_t) ngx_random();

    ngx_http_retry_chain_decide(run->plan, &run->place, outcome, left, noise,
                                &run->verdict);

    record = ngx_http_retry_chain_run_record(run, at);

    if (record) {
        ngx_http_retry_chain_run_log(run, record);

    } else {

        /* no memory for another attempt either */

        run->verdict.retry = 0;
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_EXHAUSTED;
    }

    if (run->verdict.retry) {
        ngx_http_retry_chain_place_move(&run->place, &run->verdict);

        run->wait = run->verdict.delay;
        run->waited_backoff = run->verdict.same;
        run->due = ngx_current_msec + run->verdict.delay;
    }
}


static ngx_http_retry_chain_record_t *
ngx_http_retry_chain_run_record(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_retry_chain_record_t  *record;

    run->recorded = 1;

    record = ngx_array_push(&run->records);

    if (record) {
        record->step = at->step;
        record->wait = run->wait;
        record->time = ngx_current_msec - run->attempt_start;
        record->outcome = at->outcome;
        record->backoff = run->waited_backoff;
    }

    return record;
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

    if (at->error) {
        c->error = 1;
    }

    if (at->relaying) {
        ngx_http_retry_chain_run_answer(run);
        return;
    }

    if (c->error
        || at->rc == NGX_HTTP_CLIENT_CLOSED_REQUEST
        || at->rc == NGX_HTTP_REQUEST_TIME_OUT
        || (at->rc == NGX_ERROR && !at->discarding))
    {
        ngx_http_retry_chain_run_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        ngx_http_finalize_request(r, at->rc);
        return;
    }

    if (!at->discarding) {
        ngx_http_retry_chain_run_judge(run, at);

        if (!run->verdict.retry) {
            ngx_http_retry_chain_run_answer(run);
            return;
        }
    }

    ngx_http_retry_chain_run_next(run);
}


static void
ngx_http_retry_chain_run_next(ngx_http_retry_chain_run_t *run)
{
    ngx_msec_int_t                   delay;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;

    if (ngx_http_retry_chain_run_keep(run, at) != NGX_OK) {
        ngx_http_retry_chain_run_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    delay = (ngx_msec_int_t) (run->due - ngx_current_msec);

    if (delay > 0) {
        ngx_http_retry_chain_run_wait(run, delay);
        return;
    }

    ngx_http_retry_chain_run_attempt(run);
}


/*
 * What has to outlive a discarded attempt: the upstream states, which seed the
 * next one so that $upstream_addr and the like show all of them.
 */

static ngx_int_t
ngx_http_retry_chain_run_keep(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    ngx_str_t                  *peer;
    ngx_uint_t                  i;
    ngx_array_t                *states;
    ngx_pool_cleanup_t         *cln;
    ngx_http_request_t         *r;
    ngx_http_upstream_state_t  *state;

    r = run->request;
    states = at->request->upstream_states;

    if (states && run->states == NULL) {
        run->states = ngx_array_create(r->pool, states->nelts + 2,
                                       sizeof(ngx_http_upstream_state_t));
        if (run->states == NULL) {
            return NGX_ERROR;
        }

        state = ngx_array_push_n(run->states, states->nelts);
        if (state == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(state, states->elts, states->nelts * states->size);
    }

    if (run->states) {
        state = run->states->elts;

        for (i = at->states; i < run->states->nelts; i++) {

            if (state[i].peer == NULL) {
                continue;
            }

            peer = ngx_palloc(r->pool, sizeof(ngx_str_t));
            if (peer == NULL) {
                return NGX_ERROR;
            }

            peer->len = state[i].peer->len;
            peer->data = ngx_pstrdup(r->pool, state[i].peer);
            if (peer->data == NULL) {
                return NGX_ERROR;
            }

            state[i].peer = peer;
        }
    }

    if (ngx_http_retry_chain_attempt_free(at) != NGX_OK) {

        cln = ngx_pool_cleanup_add(r->pool, 0);
        if (cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_retry_chain_run_free_pool;
        cln->data = at->pool;
    }

    run->attempt = NULL;

    return NGX_OK;
}


static void
ngx_http_retry_chain_run_wait(ngx_http_retry_chain_run_t *run, ngx_msec_t delay)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = run->request;
    c = r->connection;

    ngx_http_retry_chain_run_state(run, NGX_HTTP_RETRY_CHAIN_RUN_WAIT);

    c->log->action = "waiting for the next attempt";

    r->read_event_handler = ngx_http_test_reading;

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_http_retry_chain_run_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_http_retry_chain_run_timer(run, delay);
}


/* the last attempt has ended, with or without a reply: so does the request */

static void
ngx_http_retry_chain_run_answer(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                        rc;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;
    rc = at->rc;

    ngx_http_retry_chain_run_finish(run, (r->connection->error
                                          || rc == NGX_HTTP_REQUEST_TIME_OUT
                                          || rc
                                             == NGX_HTTP_CLIENT_CLOSED_REQUEST)
                                         ? NGX_HTTP_RETRY_CHAIN_ABORTED
                                         : run->verdict.result);

    if (at->relaying) {

        if (r->http_version >= NGX_HTTP_VERSION_10
            && (rc == NGX_OK || rc == NGX_AGAIN)
            && !at->complete && !r->header_only)
        {
            if (r->headers_out.content_length_n == 0) {

                /* before 1.23 an empty cached reply came without an end */

                rc = ngx_http_send_special(r, NGX_HTTP_LAST);

            } else {

                /* the reply has been cut short and has to look like it */

                r->keepalive = 0;
            }
        }

        ngx_http_finalize_request(r, rc);
        return;
    }

    if (ngx_http_retry_chain_lend_headers(r, at->request) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    if (at->redirected) {
        ngx_http_retry_chain_run_redirect(run);
        return;
    }

    ngx_http_finalize_request(r, rc);
}


/* the main request goes where its attempt has been sent */

static void
ngx_http_retry_chain_run_redirect(ngx_http_retry_chain_run_t *run)
{
    ngx_str_t                        args;
    ngx_http_request_t              *r, *sr;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;
    sr = at->request;

    r->method = sr->method;
    r->method_name = sr->method_name;

    if (sr->headers_out.content_type.len) {
        r->headers_out.content_type = sr->headers_out.content_type;
        r->headers_out.content_type_len = sr->headers_out.content_type_len;
        r->headers_out.content_type_lowcase =
                                          sr->headers_out.content_type_lowcase;
        r->headers_out.charset = sr->headers_out.charset;
    }

    if (sr->limit_rate_set) {
        r->limit_rate = sr->limit_rate;
        r->limit_rate_set = 1;
    }

    if (sr->err_status) {
        r->err_status = sr->err_status;
    }

    if (at->named.len) {
        (void) ngx_http_named_location(r, &at->named);

    } else {
        args = sr->args;
        (void) ngx_http_internal_redirect(r, &sr->uri, &args);
    }

    ngx_http_finalize_request(r, NGX_DONE);
}


/* the one end of a run, whatever it was */

static void
ngx_http_retry_chain_run_finish(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_result_e result)
{
    ngx_uint_t                       i, level;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;

    if (run->late && result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED) {
        result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
    }

    run->result = result;
    run->end = ngx_current_msec;

    ngx_http_retry_chain_run_untimer(run);

    if (at) {

        if (!run->recorded) {
            at->outcome.outcome = 0;
            at->outcome.status = NGX_HTTP_CLIENT_CLOSED_REQUEST;
            (void) ngx_http_retry_chain_run_record(run, at);
        }

        ngx_http_retry_chain_lend_state(r, at->request, run->target);

    } else {
        r->upstream_states = run->states;
    }

    ngx_http_retry_chain_run_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);

    ngx_http_retry_chain_run_warn(run);

    /* a run that went well at once is not worth a line */

    if (result == NGX_HTTP_RETRY_CHAIN_SUCCESS && run->records.nelts < 2) {
        return;
    }

    level = run->conf->log_level;

    if (result == NGX_HTTP_RETRY_CHAIN_ABORTED) {
        level = NGX_LOG_INFO;
    }

    i = run->records.nelts;

    ngx_log_error(level, r->connection->log, 0,
                  "retry chain ended: %V, %ui attempt%s in %M ms",
                  &ngx_http_retry_chain_result_names[result], i,
                  i == 1 ? "" : "s", run->end - run->start);
}


/* retries that go nowhere else are a mistake that is hard to see */

static void
ngx_http_retry_chain_run_warn(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                      i;
    ngx_http_retry_chain_step_t    *first;
    ngx_http_retry_chain_record_t  *record;

    if (run->used || *run->conf->warned) {
        return;
    }

    first = NULL;
    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {

        if (record[i].step->location || record[i].step == first) {
            continue;
        }

        if (first == NULL) {
            first = record[i].step;
            continue;
        }

        *run->conf->warned = 1;

        ngx_log_error(NGX_LOG_WARN, run->request->connection->log, 0,
                      "retry chain tried \"%V\" and \"%V\", but the location "
                      "does not use $retry_chain_upstream: "
                      "both went the same way",
                      &first->name, &record[i].step->name);
        return;
    }
}


static void
ngx_http_retry_chain_run_log(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_record_t *record)
{
    char                            *what;
    ngx_log_t                       *log;
    ngx_uint_t                       level;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;

    if (!verdict->retry && verdict->result == NGX_HTTP_RETRY_CHAIN_SUCCESS) {
        return;
    }

    level = run->conf->log_level;
    log = run->request->connection->log;

    what = ngx_http_retry_chain_outcome_name(&record->outcome);

    if (verdict->retry) {
        ngx_log_error(level, log, 0,
                      "retry chain attempt %ui/%ui to \"%V\" failed: %s %ui, "
                      "retrying in %M ms",
                      run->records.nelts, run->plan->attempts,
                      &record->step->name, what, record->outcome.status,
                      verdict->delay);
        return;
    }

    ngx_log_error(level, log, 0,
                  "retry chain attempt %ui/%ui to \"%V\" failed: %s %ui, "
                  "no other attempt: %V",
                  run->records.nelts, run->plan->attempts, &record->step->name,
                  what, record->outcome.status,
                  &ngx_http_retry_chain_result_names[verdict->result]);
}


static void
ngx_http_retry_chain_run_state(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_state_e state)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, run->request->connection->log, 0,
                   "retry chain state: %d -> %d", run->state, state);

    run->state = state;
}


static void
ngx_http_retry_chain_run_timer(ngx_http_retry_chain_run_t *run,
    ngx_msec_t timer)
{
    if (run->event.timer_set) {
        ngx_del_timer(&run->event);
    }

    ngx_add_timer(&run->event, timer);
}


static void
ngx_http_retry_chain_run_untimer(ngx_http_retry_chain_run_t *run)
{
    if (run->event.timer_set) {
        ngx_del_timer(&run->event);
    }

    if (run->event.posted) {
        ngx_delete_posted_event(&run->event);
    }
}


/* milliseconds to the deadline */

static ngx_msec_int_t
ngx_http_retry_chain_run_left(ngx_http_retry_chain_run_t *run)
{
    if (run->plan->timeout == 0) {
        return NGX_MAX_INT_T_VALUE;
    }

    return (ngx_msec_int_t) (run->start + run->plan->timeout
                             - ngx_current_msec);
}


static ngx_uint_t
ngx_http_retry_chain_run_keyed(ngx_http_request_t *r)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return 0;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("idempotency-key") - 1
            && ngx_strncmp(h[i].lowcase_key, "idempotency-key",
                           sizeof("idempotency-key") - 1)
               == 0)
        {
            return h[i].value.len != 0;
        }
    }
}


char *
ngx_http_retry_chain_outcome_name(ngx_http_retry_chain_outcome_t *outcome)
{
    switch (outcome->outcome) {

    case NGX_HTTP_RETRY_CHAIN_REPLY:
        return "status";

    case NGX_HTTP_RETRY_CHAIN_ERROR:
        return "error";

    case NGX_HTTP_RETRY_CHAIN_TIMEOUT:
        return "timeout";

    case NGX_HTTP_RETRY_CHAIN_INVALID_HEADER:
        return "invalid header";

    default:
        return "aborted";
    }
}


ngx_msec_t
ngx_http_retry_chain_run_time(ngx_http_retry_chain_run_t *run)
{
    if (run->start == 0) {

        /* the body has not been read */

        return 0;
    }

    return (run->state == NGX_HTTP_RETRY_CHAIN_RUN_DONE ? run->end
                                                        : ngx_current_msec)
           - run->start;
}


ngx_uint_t
ngx_http_retry_chain_run_attempts(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t  n;

    n = run->records.nelts;

    if (run->attempt && !run->recorded) {
        n++;
    }

    return n;
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


/* the request ends: in the log phase all has to be in place */

static void
ngx_http_retry_chain_run_cleanup(void *data)
{
    ngx_http_retry_chain_run_t *run = data;

    switch (run->state) {

    case NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT:
    case NGX_HTTP_RETRY_CHAIN_RUN_WAIT:
        ngx_http_retry_chain_run_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        break;

    default:
        ngx_http_retry_chain_run_untimer(run);
        break;
    }
}


static void
ngx_http_retry_chain_run_free_pool(void *data)
{
    ngx_destroy_pool(data);
}


static void
ngx_http_retry_chain_run_pool_cleanup(void *data)
{
    ngx_http_retry_chain_run_t *run = data;

    ngx_http_retry_chain_run_untimer(run);

    if (run->attempt) {
        ngx_destroy_pool(run->attempt->pool);
    }
}
