
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs whose plan leaves nothing to decide: one attempt, whatever it gives, and
 * no time limit or limiter.  There is nothing to discard, so the location's own
 * handler answers on the main request, exactly as without a chain; what has
 * come of it is read from the request.  So are dry runs.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static ngx_http_upstream_state_t *ngx_http_retry_chain_passthrough_state(
    ngx_http_retry_chain_run_t *run);


ngx_uint_t
ngx_http_retry_chain_passthrough_plan(const ngx_http_retry_chain_plan_t *plan)
{
    if (plan->dry) {
        return 1;
    }

    return plan->attempts == 1
           && plan->queues == NULL
           && plan->states == NULL
           && !plan->body
           && !plan->hard
           && plan->steps[0].timeout == 0
           && !plan->steps[0].location;
}


void
ngx_http_retry_chain_passthrough_begin(ngx_http_retry_chain_run_t *run)
{
    ngx_array_t  *states;

    states = run->request->upstream_states;

    run->first_state = states ? states->nelts : 0;
    run->start = ngx_current_msec;
    run->attempt_start = run->start;

    ngx_http_retry_chain_run_set_state(run,
                                       NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH);

    if (run->plan->dry) {
        ngx_http_retry_chain_dry_run_begin(run);

    } else {
        ngx_http_retry_chain_place_move(&run->place, &run->verdict);
    }
}


void
ngx_http_retry_chain_passthrough_note(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                               rc;
    ngx_http_upstream_state_t              *state;
    ngx_http_retry_chain_outcome_t          outcome;
    ngx_http_retry_chain_attempt_record_t  *record;

    rc = ngx_http_retry_chain_outcome_request(run->request, run->first_state,
                                              run->target != NULL, &outcome);
    if (rc == NGX_AGAIN) {
        return;
    }

    if (run->records.nelts == 0) {

        if (ngx_array_init(&run->records, run->request->pool, 1,
                           sizeof(ngx_http_retry_chain_attempt_record_t))
            != NGX_OK)
        {
            return;
        }

        record = ngx_array_push(&run->records);
        ngx_memzero(record, sizeof(ngx_http_retry_chain_attempt_record_t));
    }

    record = run->records.elts;

    record->step = 0;
    record->outcome = outcome;
    record->time = (uint32_t) (ngx_current_msec - run->start);
    record->states = run->first_state;
    record->end = NGX_MAX_UINT32_VALUE;

    state = ngx_http_retry_chain_passthrough_state(run);

    if (state && state->header_time != (ngx_msec_t) -1) {
        record->time = (uint32_t) state->header_time;
    }

    ngx_http_retry_chain_schedule_safety(run->request, &outcome);

    if (run->plan->dry && (run->place.visits == 0 || run->recorded)) {

        /* what the plan makes of it is known */

    } else if (rc == NGX_DONE) {
        run->verdict.retry = 0;
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_ABORTED;

    } else if (run->plan->dry) {
        ngx_http_retry_chain_dry_run_judge(run, &outcome);

    } else {
        ngx_http_retry_chain_schedule_decide(run, &outcome, NULL);
    }

    ngx_http_retry_chain_run_record_next(run, record);
}


/* the last server that has been tried, NULL if there was none */

static ngx_http_upstream_state_t *
ngx_http_retry_chain_passthrough_state(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                  n;
    ngx_http_upstream_state_t  *state;

    n = ngx_http_retry_chain_run_upstream_states(run, run->first_state,
                                                 NGX_MAX_INT_T_VALUE, &state);

    return n ? &state[n - 1] : NULL;
}


void
ngx_http_retry_chain_passthrough_finish(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_passthrough_note(run);

    if (run->plan->dry) {
        ngx_http_retry_chain_dry_run_end(run);
        return;
    }

    if (run->records.nelts == 0) {
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_ABORTED;

    } else if (run->verdict.result != NGX_HTTP_RETRY_CHAIN_ABORTED) {
        ngx_http_retry_chain_run_log_attempt(run, run->records.elts);
    }

    ngx_http_retry_chain_finish(run, run->verdict.result);
}
