
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A dry run: the location's own handler answers, and the log tells what the
 * plan would have made of the reply.  It runs the functions of a run on copies:
 * of limiters, of the budget, and of the counters.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static void ngx_http_retry_chain_dry_run_log(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);
static void ngx_http_retry_chain_dry_run_log_first(
    ngx_http_retry_chain_run_t *run);


void
ngx_http_retry_chain_dry_run_begin(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;

    if (ngx_http_retry_chain_limits_copy(run) != NGX_OK) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_ABORTED;
        return;
    }

    ngx_http_retry_chain_schedule_choose(run);

    if (!verdict->retry) {
        return;
    }

    ngx_http_retry_chain_run_stats_dry(run, 0);

    /* if the first step would not be called now, its reply tells nothing */

    if (verdict->step == 0 && !ngx_http_retry_chain_schedule_queues(run)) {
        ngx_http_retry_chain_place_move(&run->place, verdict);
    }
}


void
ngx_http_retry_chain_dry_run_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_http_retry_chain_attempt_t  at;

    run->recorded = 1;

    ngx_memzero(&at, sizeof(ngx_http_retry_chain_attempt_t));

    at.request = run->request;
    at.step = run->plan->steps;
    at.states = run->first_state;
    at.outcome = *outcome;

    ngx_http_retry_chain_limits_outcome(run, &at);
    ngx_http_retry_chain_schedule_decide(run, outcome, NULL);

    if (run->verdict.retry) {
        ngx_http_retry_chain_run_stats_dry(run, 1);
    }
}


void
ngx_http_retry_chain_dry_run_end(ngx_http_retry_chain_run_t *run)
{
    if (run->records.nelts == 0) {

        /* there was no answer to look at */

        run->verdict.retry = 0;
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_ABORTED;

    } else if (run->place.visits) {
        ngx_http_retry_chain_dry_run_log(run, run->records.elts);

    } else {
        ngx_http_retry_chain_dry_run_log_first(run);
    }

    ngx_http_retry_chain_run_stats_dry_end(run);

    ngx_http_retry_chain_finish(run, NGX_HTTP_RETRY_CHAIN_DRY_RUN);
}


static void
ngx_http_retry_chain_dry_run_log(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    char                            *what;
    ngx_log_t                       *log;
    ngx_uint_t                       level, status;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;
    level = run->conf->log_level;
    log = run->request->connection->log;

    what = ngx_http_retry_chain_outcome_name(&record->outcome);
    status = record->outcome.status;

    if (verdict->retry) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: %s %ui, would retry at \"%V\" in "
                      "%M ms", what, status,
                      &run->plan->steps[verdict->step].name, verdict->delay);

    } else if (verdict->result != NGX_HTTP_RETRY_CHAIN_SUCCESS) {
        ngx_log_error(level, log, 0,
                      "retry chain dry run: %s %ui, would end: %V",
                      what, status,
                      &ngx_http_retry_chain_result_names[verdict->result]);
    }
}


static void
ngx_http_retry_chain_dry_run_log_first(ngx_http_retry_chain_run_t *run)
{
    ngx_log_t                       *log;
    ngx_uint_t                       level;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_verdict_t  *first;

    first = &run->verdict;
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
