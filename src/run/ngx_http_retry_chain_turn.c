
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_turn.h"
#include "ngx_http_retry_chain_answer.h"
#include "ngx_http_retry_chain_header.h"
#include "ngx_http_retry_chain_json.h"
#include "ngx_http_retry_chain_keep.h"
#include "ngx_http_retry_chain_page.h"
#include "ngx_http_retry_chain_park.h"
#include "ngx_http_retry_chain_slots.h"
#include "ngx_http_retry_chain_tally.h"
#include "ngx_http_retry_chain_zone.h"


static void ngx_http_retry_chain_turn_read(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body);
static void ngx_http_retry_chain_turn_decide(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome,
    ngx_http_retry_chain_reply_t *reply);
static ngx_int_t ngx_http_retry_chain_turn_header(void *data, ngx_str_t *name,
    ngx_str_t *value);
static ngx_uint_t ngx_http_retry_chain_turn_parks(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_turn_reserve(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_turn_follow(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_turn_wait(ngx_http_retry_chain_run_t *run,
    ngx_msec_t delay);
static void ngx_http_retry_chain_turn_start(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_turn_end(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_turn_fail(ngx_http_retry_chain_run_t *run);
static ngx_uint_t ngx_http_retry_chain_turn_keyed(ngx_http_request_t *r);


/* nothing is known of ways out: they are free */

static ngx_http_retry_chain_ways_t  ngx_http_retry_chain_turn_free;


void
ngx_http_retry_chain_turn_first(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                    i, n;
    ngx_http_retry_chain_ways_t   ways;
    ngx_http_retry_chain_plan_t  *plan;
    ngx_http_retry_chain_zone_t  *zone;

    plan = run->plan;
    zone = plan->zone;

    if (plan->budget.window) {
        ngx_http_retry_chain_budget_deposit(&zone->sh->budget, &plan->budget,
                                            ngx_current_msec);
    }

    if (plan->rotate) {

        n = ngx_http_retry_chain_addresses(plan);

        i = zone ? ngx_atomic_fetch_add(&zone->sh->turn, 1)
                 : run->conf->notes->turn++;

        run->place.first = n ? i % n : 0;
    }

    run->decided = ngx_current_msec;

    if (plan->ways == NULL && plan->wait == 0) {

        /* nothing is known of the ways out, the deadline has just been set */

        run->verdict.retry = 1;
        run->verdict.step = run->place.first;

    } else {
        ngx_http_retry_chain_slots_survey(run, &ways);

        ngx_http_retry_chain_pick(plan, &run->place, &ways, plan->wait,
                                  ngx_http_retry_chain_record_left(run),
                                  &run->verdict);

        ngx_http_retry_chain_tally_skips(run, &ways, &run->verdict);
        ngx_http_retry_chain_turn_reserve(run);

        run->due = ngx_current_msec + run->verdict.delay;
    }

    ngx_http_retry_chain_turn_follow(run);
}


ngx_uint_t
ngx_http_retry_chain_turn_pending(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_retry_chain_ways_t     ways;
    ngx_http_retry_chain_reply_t    reply;
    ngx_http_retry_chain_verdict_t  verdict;

    ngx_http_retry_chain_turn_safety(run->request, &at->outcome);
    ngx_http_retry_chain_slots_survey(run, &ways);

    ngx_memzero(&reply, sizeof(ngx_http_retry_chain_reply_t));

    reply.lookup = ngx_http_retry_chain_turn_header;
    reply.data = at->request;
    reply.pending = 1;

    return ngx_http_retry_chain_decide(run->plan, &run->place, &ways,
                                       &at->outcome, &reply,
                                       ngx_http_retry_chain_record_left(run),
                                       0, &verdict)
           == NGX_AGAIN;
}


void
ngx_http_retry_chain_turn_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body)
{
    ngx_http_retry_chain_record_t  *record;

    ngx_http_retry_chain_turn_safety(run->request, &at->outcome);

    record = ngx_http_retry_chain_record_add(run, at);

    ngx_http_retry_chain_slots_outcome(run, at);

    if (run->plan->body || run->plan->states) {
        ngx_http_retry_chain_turn_read(run, at, body);

    } else {
        ngx_http_retry_chain_turn_decide(run, &at->outcome, NULL);
    }

    if (record) {
        ngx_http_retry_chain_record_next(run, record);

        if (run->plan->zone) {
            ngx_http_retry_chain_tally_attempts(run);
        }

        ngx_http_retry_chain_record_log(run, record);
        return;
    }

    /* no memory for another attempt either */

    ngx_http_retry_chain_slots_release(run);

    run->verdict.retry = 0;
    run->verdict.result = NGX_HTTP_RETRY_CHAIN_EXHAUSTED;
}


/* the verdict on a reply that has to be looked into */

static void
ngx_http_retry_chain_turn_read(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body)
{
    ngx_http_retry_chain_reply_t       reply;
    ngx_http_retry_chain_json_error_t  err;

    ngx_memzero(&reply, sizeof(ngx_http_retry_chain_reply_t));

    reply.lookup = ngx_http_retry_chain_turn_header;
    reply.data = at->request;

    if (body) {
        reply.body = *body;

        /* what is no JSON is relayed as it is */

        (void) ngx_http_retry_chain_json_parse(body, body->len, &reply.json,
                                               &err);
    }

    ngx_http_retry_chain_turn_decide(run, &at->outcome, &reply);

    cJSON_Delete(reply.json);
}


void
ngx_http_retry_chain_turn_safety(ngx_http_request_t *r,
    ngx_http_retry_chain_outcome_t *outcome)
{
    outcome->idempotent = (r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD
                                        |NGX_HTTP_PUT|NGX_HTTP_DELETE
                                        |NGX_HTTP_OPTIONS|NGX_HTTP_TRACE))
                          != 0;

    if (!outcome->idempotent) {
        outcome->keyed = ngx_http_retry_chain_turn_keyed(r);
    }
}


static void
ngx_http_retry_chain_turn_decide(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome,
    ngx_http_retry_chain_reply_t *reply)
{
    uint32_t                         noise;
    ngx_http_retry_chain_ways_t      seen, *ways;
    ngx_http_retry_chain_zone_t     *zone;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;
    noise = 0;

    if (run->plan->nrules) {
        noise = (uint32_t) ngx_random() << 16 ^ (uint32_t) ngx_random();
    }

    run->decided = ngx_current_msec;
    run->wait = 0;

    ways = &ngx_http_retry_chain_turn_free;

    if (run->plan->ways || run->told) {
        ways = &seen;
        ngx_http_retry_chain_slots_survey(run, ways);
    }

    (void) ngx_http_retry_chain_decide(run->plan, &run->place, ways, outcome,
                                       reply,
                                       ngx_http_retry_chain_record_left(run),
                                       noise, verdict);

    if (run->late && verdict->result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
    }

    if (run->plan->ways) {
        ngx_http_retry_chain_tally_skips(run, ways, verdict);
    }

    ngx_http_retry_chain_turn_reserve(run);

    zone = run->plan->zone;

    if (verdict->retry && run->plan->budget.window
        && ngx_http_retry_chain_budget_withdraw(&zone->sh->budget,
                                                &run->plan->budget,
                                                ngx_current_msec)
           != NGX_OK)
    {
        ngx_http_retry_chain_slots_release(run);

        verdict->retry = 0;
        verdict->same = 0;
        verdict->result = NGX_HTTP_RETRY_CHAIN_BUDGET;
    }

    run->due = ngx_current_msec + verdict->delay;
}


/* a header of a reply, for conditions; the first of several */

static ngx_int_t
ngx_http_retry_chain_turn_header(void *data, ngx_str_t *name, ngx_str_t *value)
{
    ngx_http_request_t *sr = data;

    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   at;

    ngx_memzero(&at, sizeof(ngx_http_retry_chain_header_t));

    if (name->len == sizeof("content-type") - 1
        && ngx_strncasecmp(name->data, (u_char *) "content-type", name->len)
           == 0)
    {
        *value = sr->headers_out.content_type;
        return value->len ? NGX_OK : NGX_DECLINED;
    }

    h = ngx_http_retry_chain_header_next(&sr->headers_out.headers, name, &at);

    if (h == NULL) {
        return NGX_DECLINED;
    }

    *value = h->value;

    return NGX_OK;
}


/* the run waits in the line of a way out, not just for a time */

static ngx_uint_t
ngx_http_retry_chain_turn_parks(ngx_http_retry_chain_run_t *run)
{
    return run->plan->ways
           && (run->verdict.reason == NGX_HTTP_RETRY_CHAIN_REASON_HINT
               || run->verdict.reason == NGX_HTTP_RETRY_CHAIN_REASON_SLOT);
}


/*
 * A slot is reserved together with the verdict, but not for a time that a wait
 * or a backoff leaves unused: until then others may go.
 */

static void
ngx_http_retry_chain_turn_reserve(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                       parks;
    ngx_msec_t                       delay;
    ngx_msec_int_t                   left;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;

    if (!verdict->retry) {
        return;
    }

    parks = ngx_http_retry_chain_turn_parks(run);

    if (verdict->delay && !parks) {

        if (!ngx_http_retry_chain_park_place(run)) {
            verdict->result = NGX_HTTP_RETRY_CHAIN_OVERFLOW;
            verdict->retry = 0;
        }

        return;
    }

    delay = ngx_http_retry_chain_slots_reserve(run, verdict->step);

    if (run->plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT) {
        return;
    }

    if (delay && !parks) {

        /* another worker was faster */

        verdict->reason = NGX_HTTP_RETRY_CHAIN_REASON_SLOT;
    }

    verdict->delay = delay;

    if (delay == 0) {
        return;
    }

    left = ngx_http_retry_chain_record_left(run) - run->plan->margin;

    if (left < 0 || delay >= (ngx_msec_t) left) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;

    } else if (run->plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;

    } else if (!ngx_http_retry_chain_park_place(run)) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_OVERFLOW;

    } else {
        return;
    }

    ngx_http_retry_chain_slots_release(run);
    verdict->retry = 0;
}


void
ngx_http_retry_chain_turn_next(ngx_http_retry_chain_run_t *run)
{
    if (ngx_http_retry_chain_keep(run) != NGX_OK) {
        ngx_http_retry_chain_turn_fail(run);
        return;
    }

    ngx_http_retry_chain_turn_follow(run);
}


static void
ngx_http_retry_chain_turn_follow(ngx_http_retry_chain_run_t *run)
{
    ngx_msec_int_t  delay;

    if (!run->verdict.retry) {
        ngx_http_retry_chain_turn_end(run);
        return;
    }

    run->reason = run->verdict.reason;

    if (run->way) {

        if (run->plan->limited != NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT
            && ngx_http_retry_chain_slots_gate(run))
        {
            ngx_http_retry_chain_turn_wait(run, 0);
            return;
        }

        ngx_http_retry_chain_turn_start(run);
        return;
    }

    delay = (ngx_msec_int_t) (run->due - ngx_current_msec);

    if (run->verdict.delay && delay > 0) {
        ngx_http_retry_chain_turn_wait(run, delay);
        return;
    }

    ngx_http_retry_chain_turn_wake(run);
}


/* without a delay the run waits for its ticket */

static void
ngx_http_retry_chain_turn_wait(ngx_http_retry_chain_run_t *run,
    ngx_msec_t delay)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = run->request;
    c = r->connection;

    ngx_http_retry_chain_record_state(run, NGX_HTTP_RETRY_CHAIN_RUN_WAIT);

    c->log->action = "waiting for the next attempt";

    if (ngx_http_retry_chain_turn_watch(r) != NGX_OK) {
        ngx_http_retry_chain_turn_fail(run);
        return;
    }

    ngx_http_retry_chain_park_count(run);

    if (delay) {
        run->wait = run->verdict.delay;
        ngx_http_retry_chain_record_timer(run, delay);
        return;
    }

    run->wake = ngx_http_retry_chain_turn_wake;

    ngx_http_retry_chain_park(run);
}


void
ngx_http_retry_chain_turn_wake(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_ways_t      ways;
    ngx_http_retry_chain_plan_t     *plan;
    ngx_http_retry_chain_verdict_t  *verdict;

    plan = run->plan;
    verdict = &run->verdict;

    ngx_http_retry_chain_park_leave(run);

    if (plan->ways == NULL || (run->way && !run->missed)) {
        ngx_http_retry_chain_turn_start(run);
        return;
    }

    /* other ways may be free now, or this one is limited */

    run->missed = 0;

    ngx_http_retry_chain_slots_release(run);
    ngx_http_retry_chain_slots_survey(run, &ways);

    if (!verdict->same
        || !ngx_http_retry_chain_pick_same(plan, &ways,
                                      ngx_http_retry_chain_record_left(run),
                                      verdict))
    {
        ngx_http_retry_chain_pick(plan, &run->place, &ways, 0,
                                  ngx_http_retry_chain_record_left(run),
                                  verdict);

        ngx_http_retry_chain_tally_skips(run, &ways, verdict);
    }

    ngx_http_retry_chain_turn_reserve(run);
    ngx_http_retry_chain_turn_follow(run);
}


static void
ngx_http_retry_chain_turn_start(ngx_http_retry_chain_run_t *run)
{
    if (ngx_http_retry_chain_turn_parks(run)) {
        run->wait = ngx_current_msec - run->decided;
    }

    ngx_http_retry_chain_place_move(&run->place, &run->verdict);

    run->go(run);
}


/*
 * The run ends without a reply: there was none, or it has been given up for an
 * attempt that cannot be made now.
 */

static void
ngx_http_retry_chain_turn_end(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                       rc;
    ngx_http_request_t             *r;
    ngx_http_retry_chain_record_t  *last;

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

    if (ngx_http_retry_chain_slots_retry_after(run, r) != NGX_OK) {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_retry_chain_answer_finish(run, run->verdict.result);
    ngx_http_finalize_request(r, ngx_http_retry_chain_page_error(run, rc));
}


static void
ngx_http_retry_chain_turn_fail(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_slots_release(run);
    ngx_http_retry_chain_answer_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
    ngx_http_finalize_request(run->request, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


/* a client that goes away, or has gone, ends the request */

ngx_int_t
ngx_http_retry_chain_turn_watch(ngx_http_request_t *r)
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
ngx_http_retry_chain_turn_keyed(ngx_http_request_t *r)
{
    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   at;

    static ngx_str_t  name = ngx_string("Idempotency-Key");

    ngx_memzero(&at, sizeof(ngx_http_retry_chain_header_t));

    h = ngx_http_retry_chain_header_next(&r->headers_in.headers, &name, &at);

    return h && h->value.len;
}
