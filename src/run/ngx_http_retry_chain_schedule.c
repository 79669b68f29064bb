
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Where a run goes next: to an attempt, into a wait for one, or to its end.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_header.h"
#include "ngx_http_retry_chain_json.h"


static void ngx_http_retry_chain_schedule_read(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body);
static ngx_http_retry_chain_budget_t *ngx_http_retry_chain_schedule_budget(
    ngx_http_retry_chain_run_t *run);
static ngx_int_t ngx_http_retry_chain_schedule_header(void *data,
    ngx_str_t *name, ngx_str_t *value);
static void ngx_http_retry_chain_schedule_reserve(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_schedule_follow(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_schedule_wait(ngx_http_retry_chain_run_t *run,
    ngx_msec_t delay);
static void ngx_http_retry_chain_schedule_start(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_schedule_end(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_schedule_fail(ngx_http_retry_chain_run_t *run);
static ngx_uint_t ngx_http_retry_chain_schedule_keyed(ngx_http_request_t *r);


/* nothing is known of upstreams: they are free */

static ngx_http_retry_chain_limits_t  ngx_http_retry_chain_schedule_free;


void
ngx_http_retry_chain_schedule_first(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_schedule_choose(run);
    ngx_http_retry_chain_schedule_follow(run);
}


void
ngx_http_retry_chain_schedule_choose(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                          n;
    ngx_http_retry_chain_zone_t        *zone;
    ngx_http_retry_chain_limits_t       limits;
    const ngx_http_retry_chain_plan_t  *plan;

    plan = run->plan;
    zone = plan->zone;

    if (plan->budget.window) {
        ngx_http_retry_chain_budget_deposit(
                                     ngx_http_retry_chain_schedule_budget(run),
                                     &plan->budget, ngx_current_msec);
    }

    if (plan->rotate && !plan->dry) {
        n = zone ? ngx_atomic_fetch_add(&zone->sh->rotation, 1)
                 : run->conf->notes->rotation++;

        run->place.first = ngx_http_retry_chain_place_first(plan, n);
    }

    run->decided = ngx_current_msec;

    if (plan->queues == NULL && plan->wait == 0) {

        /* nothing is known of the upstreams, the deadline has just been set */

        run->verdict.retry = 1;
        run->verdict.step = run->place.first;

    } else {
        ngx_http_retry_chain_limits_survey(run, &limits);

        ngx_http_retry_chain_pick(plan, &run->place, &limits, plan->wait,
                                  ngx_http_retry_chain_run_left(run),
                                  &run->verdict);

        ngx_http_retry_chain_run_stats_skips(run, &limits, &run->verdict);
        ngx_http_retry_chain_schedule_reserve(run);
    }
}


/* dry runs have a budget of their own */

static ngx_http_retry_chain_budget_t *
ngx_http_retry_chain_schedule_budget(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_zone_t  *zone;

    zone = run->plan->zone;

    return run->plan->dry ? &zone->sh->dry : &zone->sh->budget;
}


ngx_uint_t
ngx_http_retry_chain_schedule_pending(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_retry_chain_reply_t    reply;
    ngx_http_retry_chain_limits_t   limits;
    ngx_http_retry_chain_verdict_t  verdict;

    ngx_http_retry_chain_schedule_safety(run->request, &at->outcome);
    ngx_http_retry_chain_limits_survey(run, &limits);

    ngx_memzero(&reply, sizeof(ngx_http_retry_chain_reply_t));

    reply.lookup = ngx_http_retry_chain_schedule_header;
    reply.data = at->request;
    reply.pending = 1;

    return ngx_http_retry_chain_decide(run->plan, &run->place, &limits,
                                       &at->outcome, &reply,
                                       ngx_http_retry_chain_run_left(run),
                                       0, &verdict)
           == NGX_AGAIN;
}


void
ngx_http_retry_chain_schedule_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body)
{
    ngx_http_retry_chain_attempt_record_t  *record;

    ngx_http_retry_chain_schedule_safety(run->request, &at->outcome);

    record = ngx_http_retry_chain_run_record(run, at);

    ngx_http_retry_chain_limits_outcome(run, at);

    if (run->plan->body || run->plan->states) {
        ngx_http_retry_chain_schedule_read(run, at, body);

    } else {
        ngx_http_retry_chain_schedule_decide(run, &at->outcome, NULL);
    }

    if (record) {
        ngx_http_retry_chain_run_record_next(run, record);

        if (run->plan->zone) {
            ngx_http_retry_chain_run_stats_attempts(run);
        }

        ngx_http_retry_chain_run_log_attempt(run, record);
        return;
    }

    /* no memory for another attempt either */

    ngx_http_retry_chain_limits_release(run);

    run->verdict.retry = 0;
    run->verdict.fail = 0;
    run->verdict.result = NGX_HTTP_RETRY_CHAIN_EXHAUSTED;
}


/* the verdict on a reply that has to be looked into */

static void
ngx_http_retry_chain_schedule_read(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body)
{
    ngx_http_retry_chain_reply_t       reply;
    ngx_http_retry_chain_json_error_t  err;

    ngx_memzero(&reply, sizeof(ngx_http_retry_chain_reply_t));

    reply.lookup = ngx_http_retry_chain_schedule_header;
    reply.data = at->request;

    if (body) {
        reply.body = *body;

        /* what is no JSON is relayed as it is */

        (void) ngx_http_retry_chain_json_parse(body, body->len, &reply.json,
                                               &err);
    }

    ngx_http_retry_chain_schedule_decide(run, &at->outcome, &reply);

    cJSON_Delete(reply.json);
}


void
ngx_http_retry_chain_schedule_safety(ngx_http_request_t *r,
    ngx_http_retry_chain_outcome_t *outcome)
{
    outcome->idempotent = (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD
                                        |NGX_HTTP_PUT|NGX_HTTP_DELETE
                                        |NGX_HTTP_OPTIONS|NGX_HTTP_TRACE))
                          != 0;

    if (!outcome->idempotent) {
        outcome->keyed = ngx_http_retry_chain_schedule_keyed(r);
    }
}


void
ngx_http_retry_chain_schedule_decide(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome,
    ngx_http_retry_chain_reply_t *reply)
{
    uint32_t                         noise;
    ngx_http_retry_chain_limits_t    seen, *limits;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;
    noise = 0;

    if (run->plan->nrules) {
        noise = (uint32_t) ngx_random() << 16 ^ (uint32_t) ngx_random();
    }

    run->decided = ngx_current_msec;
    run->wait = 0;

    limits = &ngx_http_retry_chain_schedule_free;

    if (run->plan->queues || run->told) {
        limits = &seen;
        ngx_http_retry_chain_limits_survey(run, limits);
    }

    (void) ngx_http_retry_chain_decide(run->plan, &run->place, limits, outcome,
                                       reply,
                                       ngx_http_retry_chain_run_left(run),
                                       noise, verdict);

    if (run->late && verdict->result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
    }

    if (run->plan->queues) {
        ngx_http_retry_chain_run_stats_skips(run, limits, verdict);
    }

    ngx_http_retry_chain_schedule_reserve(run);

    if (verdict->retry && run->plan->budget.window
        && ngx_http_retry_chain_budget_withdraw(
                                     ngx_http_retry_chain_schedule_budget(run),
                                     &run->plan->budget, ngx_current_msec)
           != NGX_OK)
    {
        ngx_http_retry_chain_limits_release(run);

        verdict->retry = 0;
        verdict->same = 0;
        verdict->result = NGX_HTTP_RETRY_CHAIN_BUDGET;
    }
}


/* a header of a reply, for conditions; the first of several */

static ngx_int_t
ngx_http_retry_chain_schedule_header(void *data, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_http_request_t *sr = data;

    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   pos;

    ngx_memzero(&pos, sizeof(ngx_http_retry_chain_header_t));

    if (name->len == sizeof("content-type") - 1
        && ngx_strncasecmp(name->data, (u_char *) "content-type", name->len)
           == 0)
    {
        *value = sr->headers_out.content_type;
        return value->len ? NGX_OK : NGX_DECLINED;
    }

    h = ngx_http_retry_chain_header_next(&sr->headers_out.headers, name, &pos);

    if (h == NULL) {
        return NGX_DECLINED;
    }

    *value = h->value;

    return NGX_OK;
}


/* the run waits in the line of an upstream, not just for a time */

ngx_uint_t
ngx_http_retry_chain_schedule_queues(ngx_http_retry_chain_run_t *run)
{
    return run->plan->queues
           && (run->verdict.reason == NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER
               || run->verdict.reason == NGX_HTTP_RETRY_CHAIN_REASON_RATE);
}


/*
 * A call is reserved together with the verdict, but not for a time that a wait
 * or a backoff leaves unused: until then others may go.
 */

static void
ngx_http_retry_chain_schedule_reserve(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                       queues;
    ngx_msec_t                       delay;
    ngx_msec_int_t                   left;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;

    if (!verdict->retry) {
        return;
    }

    queues = ngx_http_retry_chain_schedule_queues(run);

    if (verdict->delay && !queues) {

        if (!ngx_http_retry_chain_queue_room(run)) {
            verdict->result = NGX_HTTP_RETRY_CHAIN_OVERFLOW;
            verdict->retry = 0;
        }

        return;
    }

    delay = ngx_http_retry_chain_limits_reserve(run, verdict->step);

    if (run->plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT) {
        return;
    }

    if (delay && !queues) {

        /* another worker was faster */

        verdict->reason = NGX_HTTP_RETRY_CHAIN_REASON_RATE;
    }

    verdict->delay = delay;

    if (delay == 0) {
        return;
    }

    left = ngx_http_retry_chain_run_left(run) - run->plan->margin;

    if (left < 0 || delay >= (ngx_msec_t) left) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;

    } else if (run->plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;

    } else if (!ngx_http_retry_chain_queue_room(run)) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_OVERFLOW;

    } else {
        return;
    }

    ngx_http_retry_chain_limits_release(run);
    verdict->retry = 0;
}


void
ngx_http_retry_chain_schedule_next(ngx_http_retry_chain_run_t *run)
{
    if (ngx_http_retry_chain_upstream_states_keep(run) != NGX_OK) {
        ngx_http_retry_chain_schedule_fail(run);
        return;
    }

    ngx_http_retry_chain_schedule_follow(run);
}


static void
ngx_http_retry_chain_schedule_follow(ngx_http_retry_chain_run_t *run)
{
    ngx_msec_int_t  delay;

    if (!run->verdict.retry) {
        ngx_http_retry_chain_schedule_end(run);
        return;
    }

    run->reason = run->verdict.reason;

    if (run->queue) {

        if (run->plan->limited != NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT
            && ngx_http_retry_chain_limits_gate(run))
        {
            ngx_http_retry_chain_schedule_wait(run, 0);
            return;
        }

        ngx_http_retry_chain_schedule_start(run);
        return;
    }

    delay = (ngx_msec_int_t) (run->decided + run->verdict.delay
                              - ngx_current_msec);

    if (run->verdict.delay && delay > 0) {
        ngx_http_retry_chain_schedule_wait(run, delay);
        return;
    }

    ngx_http_retry_chain_schedule_wake(run);
}


/* without a delay the run waits for its ticket */

static void
ngx_http_retry_chain_schedule_wait(ngx_http_retry_chain_run_t *run,
    ngx_msec_t delay)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = run->request;
    c = r->connection;

    ngx_http_retry_chain_run_set_state(run, NGX_HTTP_RETRY_CHAIN_RUN_WAIT);

    c->log->action = "waiting for the next attempt";

    if (ngx_http_retry_chain_schedule_watch(r) != NGX_OK) {
        ngx_http_retry_chain_schedule_fail(run);
        return;
    }

    ngx_http_retry_chain_queue_count(run);

    if (delay) {
        run->wait = run->verdict.delay;
        ngx_http_retry_chain_run_timer(run, delay);
        return;
    }

    ngx_http_retry_chain_queue_add(run);
}


void
ngx_http_retry_chain_schedule_wake(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_limits_t       limits;
    ngx_http_retry_chain_verdict_t     *verdict;
    const ngx_http_retry_chain_plan_t  *plan;

    plan = run->plan;
    verdict = &run->verdict;

    ngx_http_retry_chain_queue_leave(run);

    if (plan->queues == NULL || (run->queue && !run->missed)) {
        ngx_http_retry_chain_schedule_start(run);
        return;
    }

    /* other upstreams may be free now, or this one is limited */

    run->missed = 0;

    ngx_http_retry_chain_limits_release(run);
    ngx_http_retry_chain_limits_survey(run, &limits);

    if (!verdict->same
        || !ngx_http_retry_chain_pick_same(plan, &limits,
                                      ngx_http_retry_chain_run_left(run),
                                      verdict))
    {
        ngx_http_retry_chain_pick(plan, &run->place, &limits, 0,
                                  ngx_http_retry_chain_run_left(run),
                                  verdict);

        ngx_http_retry_chain_run_stats_skips(run, &limits, verdict);
    }

    ngx_http_retry_chain_schedule_reserve(run);
    ngx_http_retry_chain_schedule_follow(run);
}


static void
ngx_http_retry_chain_schedule_start(ngx_http_retry_chain_run_t *run)
{
    if (ngx_http_retry_chain_schedule_queues(run)) {
        run->wait = ngx_current_msec - run->decided;
    }

    ngx_http_retry_chain_place_move(&run->place, &run->verdict);

    ngx_http_retry_chain_run_attempt(run);
}


/*
 * The run ends without a reply: there was none, or it has been given up for an
 * attempt that cannot be made now.
 */

static void
ngx_http_retry_chain_schedule_end(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                               rc;
    ngx_http_request_t                     *r;
    ngx_http_retry_chain_attempt_record_t  *last;

    r = run->request;

    switch (run->verdict.result) {

    case NGX_HTTP_RETRY_CHAIN_OVERFLOW:
        rc = NGX_HTTP_SERVICE_UNAVAILABLE;
        break;

    case NGX_HTTP_RETRY_CHAIN_DEADLINE:
        rc = NGX_HTTP_GATEWAY_TIME_OUT;
        break;

    default:
        rc = NGX_HTTP_TOO_MANY_REQUESTS;
    }

    if (run->records.nelts) {
        last = run->records.elts;
        last += run->records.nelts - 1;

        rc = last->outcome.status >= NGX_HTTP_BAD_REQUEST
             ? (ngx_int_t) last->outcome.status : NGX_HTTP_BAD_GATEWAY;
    }

    if (ngx_http_retry_chain_limits_retry_after(run, r) != NGX_OK) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_retry_chain_finish(run, run->verdict.result);
    ngx_http_finalize_request(r,
                              ngx_http_retry_chain_error_body_error(run, rc));
}


static void
ngx_http_retry_chain_schedule_fail(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_limits_release(run);
    ngx_http_retry_chain_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
    ngx_http_finalize_request(run->request, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


/* a client that goes away, or has gone, ends the request */

ngx_int_t
ngx_http_retry_chain_schedule_watch(ngx_http_request_t *r)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    r->read_event_handler = ngx_http_test_reading;

    if (rev->ready) {
        ngx_post_event(rev, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(rev, 0);
}


static ngx_uint_t
ngx_http_retry_chain_schedule_keyed(ngx_http_request_t *r)
{
    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   pos;

    static ngx_str_t  name = ngx_string("Idempotency-Key");

    ngx_memzero(&pos, sizeof(ngx_http_retry_chain_header_t));

    h = ngx_http_retry_chain_header_next(&r->headers_in.headers, &name, &pos);

    return h && h->value.len;
}
