
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_direct.h"
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_slots.h"
#include "ngx_http_retry_chain_turn.h"


static ngx_http_upstream_state_t *ngx_http_retry_chain_direct_state(
    ngx_http_retry_chain_run_t *run);
static ngx_int_t ngx_http_retry_chain_direct_outcome(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_outcome_t *outcome);
static void ngx_http_retry_chain_direct_decide(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_outcome_t *outcome);
static void ngx_http_retry_chain_direct_dry(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_record_t *record);


ngx_uint_t
ngx_http_retry_chain_direct_plan(ngx_http_retry_chain_plan_t *plan)
{
    if (plan->dry) {
        return 1;
    }

    return plan->attempts == 1
           && plan->ways == NULL
           && plan->states == NULL
           && !plan->body
           && !plan->hard
           && plan->steps[0].timeout == 0
           && !plan->steps[0].location;
}


void
ngx_http_retry_chain_direct_begin(ngx_http_retry_chain_run_t *run)
{
    ngx_array_t  *states;

    states = run->request->upstream_states;

    run->first_state = states ? states->nelts : 0;
    run->start = ngx_current_msec;
    run->attempt_start = run->start;

    ngx_http_retry_chain_record_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DIRECT);
}


/*
 * The last server that has been tried, NULL if there was none.  What comes
 * behind a separator belongs to where the request has been redirected.
 */

static ngx_http_upstream_state_t *
ngx_http_retry_chain_direct_state(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                  i;
    ngx_array_t                *states;
    ngx_http_upstream_state_t  *state, *last;

    states = run->request->upstream_states;
    last = NULL;

    if (states == NULL) {
        return NULL;
    }

    state = states->elts;

    /* a separator stands before it if others were tried before the run */

    i = run->first_state;

    if (i && i < states->nelts && state[i].peer == NULL) {
        i++;
    }

    while (i < states->nelts && state[i].peer) {
        last = &state[i++];
    }

    return last;
}


/* NGX_AGAIN if it is not known yet */

static ngx_int_t
ngx_http_retry_chain_direct_outcome(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_uint_t                  status;
    ngx_http_request_t         *r;
    ngx_http_upstream_state_t  *state;

    r = run->request;
    state = ngx_http_retry_chain_direct_state(run);
    status = r->headers_out.status;

    ngx_memzero(outcome, sizeof(ngx_http_retry_chain_outcome_t));

    if (r->connection->error || status == NGX_HTTP_CLIENT_CLOSED_REQUEST) {

        /* left without an answer, or before its end */

        outcome->status = state && state->status
                          ? state->status : NGX_HTTP_CLIENT_CLOSED_REQUEST;
        return NGX_DONE;
    }

    outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome->sent = 1;

#if (NGX_HTTP_CACHE)
    if (r->cached) {
        state = NULL;
    }
#endif

    if (state) {
        status = state->status;

        if (status && state->header_time == (ngx_msec_t) -1) {

            outcome->outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
            outcome->sent = state->bytes_sent != 0;

            if (status == NGX_HTTP_GATEWAY_TIME_OUT) {
                outcome->outcome = NGX_HTTP_RETRY_CHAIN_TIMEOUT;

            } else if (state->bytes_received) {
                outcome->outcome = NGX_HTTP_RETRY_CHAIN_INVALID_HEADER;
            }
        }

    } else if (run->target && r->upstream == NULL && status) {

        /* the request itself could not be read */

        outcome->outcome = 0;
        outcome->status = status;
        return NGX_DONE;
    }

    outcome->status = status;

    return status ? NGX_OK : NGX_AGAIN;
}


void
ngx_http_retry_chain_direct_note(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                        rc;
    ngx_http_upstream_state_t       *state;
    ngx_http_retry_chain_record_t   *record;
    ngx_http_retry_chain_outcome_t   outcome;

    rc = ngx_http_retry_chain_direct_outcome(run, &outcome);

    if (rc == NGX_AGAIN) {
        return;
    }

    if (run->records.nelts == 0) {

        if (ngx_array_init(&run->records, run->request->pool, 1,
                           sizeof(ngx_http_retry_chain_record_t))
            != NGX_OK)
        {
            return;
        }

        record = ngx_array_push(&run->records);
        ngx_memzero(record, sizeof(ngx_http_retry_chain_record_t));
    }

    record = run->records.elts;

    record->step = &run->plan->steps[0];
    record->outcome = outcome;
    record->time = ngx_current_msec - run->start;

    state = ngx_http_retry_chain_direct_state(run);

    if (state && state->header_time != (ngx_msec_t) -1) {
        record->time = state->header_time;
    }

    if (rc == NGX_DONE) {
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_ABORTED;

    } else {
        ngx_http_retry_chain_direct_decide(run, &outcome);
    }

    run->result = run->plan->dry ? NGX_HTTP_RETRY_CHAIN_DRY_RUN
                                 : run->verdict.result;
}


/* what the plan makes of the first attempt */

static void
ngx_http_retry_chain_direct_decide(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_http_retry_chain_ways_t  ways;

    ngx_memzero(&run->place, sizeof(ngx_http_retry_chain_place_t));

    run->place.used = 1;
    run->place.visits = 1;
    run->place.tries = 1;

    ngx_http_retry_chain_turn_safety(run->request, outcome);
    ngx_http_retry_chain_slots_survey(run, &ways);
    ngx_http_retry_chain_slots_foresee(run, outcome, &ways);

    (void) ngx_http_retry_chain_decide(run->plan, &run->place, &ways, outcome,
                                       NULL,
                                       ngx_http_retry_chain_record_left(run),
                                       0, &run->verdict);
}


static void
ngx_http_retry_chain_direct_dry(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_record_t *record)
{
    char                            *what;
    ngx_log_t                       *log;
    ngx_uint_t                       level, status;
    ngx_http_retry_chain_ways_t      ways;
    ngx_http_retry_chain_plan_t     *plan;
    ngx_http_retry_chain_verdict_t  *verdict;

    plan = run->plan;
    verdict = &run->verdict;
    level = run->conf->log_level;
    log = run->request->connection->log;

    ngx_http_retry_chain_slots_survey(run, &ways);

    if (ways.delay[0]) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: \"%V\" would not be called for "
                      "%M ms", &plan->steps[0].name, ways.delay[0]);
    }

    what = ngx_http_retry_chain_record_outcome(&record->outcome);
    status = record->outcome.status;

    if (verdict->retry) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: %s %ui, would retry at \"%V\" in "
                      "%M ms", what, status,
                      &plan->steps[verdict->step].name, verdict->delay);

    } else if (verdict->result != NGX_HTTP_RETRY_CHAIN_SUCCESS) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: %s %ui, would end: %V",
                      what, status,
                      &ngx_http_retry_chain_result_names[verdict->result]);
    }
}


ngx_int_t
ngx_http_retry_chain_direct_log_handler(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    if (r != r->main || run == NULL
        || run->state != NGX_HTTP_RETRY_CHAIN_RUN_DIRECT)
    {
        return NGX_OK;
    }

    ngx_http_retry_chain_direct_note(run);

    run->end = ngx_current_msec;
    ngx_http_retry_chain_record_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);

    if (run->plan->dry) {

        if (run->records.nelts) {
            ngx_http_retry_chain_direct_dry(run, run->records.elts);
        }

        return NGX_OK;
    }

    if (run->records.nelts && run->result != NGX_HTTP_RETRY_CHAIN_ABORTED) {
        ngx_http_retry_chain_record_log(run, run->records.elts);
    }

    ngx_http_retry_chain_record_end(run);

    return NGX_OK;
}
