
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs whose plan leaves nothing to decide: one attempt, whatever it gives, and
 * no time limit or limiter.  There is nothing to discard, so the location's own
 * handler answers on the main request, exactly as without a chain; what has
 * come of it is read from the request.  So is a dry run, whose log tells what
 * the plan would have made of it; limiters are read, not written.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_zone.h"


static void ngx_http_retry_chain_passthrough_foresee(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_passthrough_room(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_verdict_t *verdict);
static ngx_http_upstream_state_t *ngx_http_retry_chain_passthrough_state(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_passthrough_decide(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_outcome_t *outcome);
static void ngx_http_retry_chain_passthrough_dry(
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);
static ngx_uint_t ngx_http_retry_chain_passthrough_elsewhere(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_passthrough_first(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_passthrough_end(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_passthrough_finish(
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

    if (run->plan->zone) {
        ngx_http_retry_chain_passthrough_foresee(run);
    }
}


/* where the first attempt of a dry run would be made, and when */

static void
ngx_http_retry_chain_passthrough_foresee(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_zone_t        *zone;
    ngx_http_retry_chain_limits_t       limits;
    ngx_http_retry_chain_verdict_t     *verdict;
    const ngx_http_retry_chain_plan_t  *plan;

    plan = run->plan;
    zone = plan->zone;

    if (plan->budget.window) {
        ngx_http_retry_chain_budget_deposit(&zone->sh->foreseen, &plan->budget,
                                            ngx_current_msec);
    }

    verdict = ngx_pcalloc(run->request->pool,
                          sizeof(ngx_http_retry_chain_verdict_t));
    if (verdict == NULL) {
        return;
    }

    ngx_http_retry_chain_limits_survey(run, &limits);

    ngx_http_retry_chain_pick(plan, &run->place, &limits, 0,
                              ngx_http_retry_chain_run_left(run), verdict);

    ngx_http_retry_chain_run_stats_skips(run, &limits, verdict);
    ngx_http_retry_chain_passthrough_room(run, verdict);

    run->foreseen = verdict;
}


/* those that wait for real are all that is known of a line */

static void
ngx_http_retry_chain_passthrough_room(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_verdict_t *verdict)
{
    if (!verdict->retry || verdict->delay == 0
        || ngx_http_retry_chain_queue_room(run))
    {
        return;
    }

    verdict->retry = 0;
    verdict->same = 0;
    verdict->result = NGX_HTTP_RETRY_CHAIN_OVERFLOW;
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

    state = ngx_http_retry_chain_passthrough_state(run);

    if (state && state->header_time != (ngx_msec_t) -1) {
        record->time = (uint32_t) state->header_time;
    }

    if (rc == NGX_DONE) {
        run->verdict.retry = 0;
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_ABORTED;

    } else {
        ngx_http_retry_chain_passthrough_decide(run, &outcome);
    }

    record->states = run->first_state;
    record->end = NGX_MAX_UINT32_VALUE;
    ngx_http_retry_chain_run_record_next(run, record);

    run->result = run->plan->dry ? NGX_HTTP_RETRY_CHAIN_DRY_RUN
                                 : run->verdict.result;
}


/* what the plan makes of the first attempt */

static void
ngx_http_retry_chain_passthrough_decide(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_http_retry_chain_limits_t    limits;
    ngx_http_retry_chain_outcome_t   response;

    response = *outcome;

    if (outcome->cached) {
        ngx_http_retry_chain_outcome_states(run->request, run->first_state,
                                          &response);
    }

    ngx_memzero(&run->place, sizeof(ngx_http_retry_chain_place_t));

    run->place.used = 1;
    run->place.visits = 1;
    run->place.tries = 1;

    ngx_http_retry_chain_schedule_safety(run->request, outcome);
    ngx_http_retry_chain_limits_survey(run, &limits);
    ngx_http_retry_chain_limits_foresee(run, &response, &limits);

    (void) ngx_http_retry_chain_decide(run->plan, &run->place, &limits, outcome,
                                       NULL,
                                       ngx_http_retry_chain_run_left(run),
                                       0, &run->verdict);
}


/* what the plan would have done, as far as one reply tells */

static void
ngx_http_retry_chain_passthrough_dry(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    char                               *what;
    ngx_log_t                          *log;
    ngx_uint_t                          level, status;
    ngx_http_retry_chain_zone_t        *zone;
    ngx_http_retry_chain_verdict_t     *verdict;
    const ngx_http_retry_chain_plan_t  *plan;

    plan = run->plan;
    zone = plan->zone;
    verdict = &run->verdict;
    level = run->conf->log_level;
    log = run->request->connection->log;

    if (ngx_http_retry_chain_passthrough_elsewhere(run)) {
        ngx_http_retry_chain_passthrough_first(run);
        return;
    }

    ngx_http_retry_chain_passthrough_room(run, verdict);

    if (verdict->retry && plan->budget.window
        && ngx_http_retry_chain_budget_withdraw(&zone->sh->foreseen,
                                                &plan->budget,
                                                ngx_current_msec)
           != NGX_OK)
    {
        verdict->retry = 0;
        verdict->same = 0;
        verdict->result = NGX_HTTP_RETRY_CHAIN_BUDGET;
    }

    ngx_http_retry_chain_run_record_next(run, record);

    what = ngx_http_retry_chain_outcome_name(&record->outcome);
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


/* the first step would not have been called now: its reply tells nothing */

static ngx_uint_t
ngx_http_retry_chain_passthrough_elsewhere(ngx_http_retry_chain_run_t *run)
{
    return run->foreseen
           && (!run->foreseen->retry || run->foreseen->step
               || run->foreseen->delay);
}


static void
ngx_http_retry_chain_passthrough_first(ngx_http_retry_chain_run_t *run)
{
    ngx_log_t                       *log;
    ngx_uint_t                       level;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_verdict_t  *first;

    first = run->foreseen;
    step = run->plan->steps;
    level = run->conf->log_level;
    log = run->request->connection->log;

    if (!first->retry) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: \"%V\" would not be called, would "
                      "end: %V", &step->name,
                      &ngx_http_retry_chain_result_names[first->result]);

    } else if (first->delay) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: \"%V\" would not be called, would "
                      "wait %M ms for \"%V\"", &step->name, first->delay,
                      &step[first->step].name);

    } else {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: \"%V\" would not be called, would "
                      "begin at \"%V\"", &step->name,
                      &step[first->step].name);
    }
}


/* the LOG phase: the client has been answered, status and bytes are known */

ngx_int_t
ngx_http_retry_chain_passthrough_log_handler(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    if (r != r->main || run == NULL) {
        return NGX_OK;
    }

    if (run->plan->zone == NULL
        && run->state != NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH)
    {
        return NGX_OK;
    }

    ngx_http_retry_chain_passthrough_end(run);

    return NGX_OK;
}


static void
ngx_http_retry_chain_passthrough_end(ngx_http_retry_chain_run_t *run)
{
    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        ngx_http_retry_chain_passthrough_finish(run);
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_DONE && run->plan->zone) {
        ngx_http_retry_chain_run_stats_run(run);
    }
}


static void
ngx_http_retry_chain_passthrough_finish(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_passthrough_note(run);

    run->end = ngx_current_msec;
    ngx_http_retry_chain_run_set_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);

    if (run->plan->dry) {

        if (run->records.nelts) {
            ngx_http_retry_chain_passthrough_dry(run, run->records.elts);
        }

        return;
    }

    if (run->records.nelts && run->result != NGX_HTTP_RETRY_CHAIN_ABORTED) {
        ngx_http_retry_chain_run_log_attempt(run, run->records.elts);
    }

    ngx_http_retry_chain_run_log_end(run);
}
