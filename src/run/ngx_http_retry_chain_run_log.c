
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The attempts of a run, and the lines about them in the error log.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_json.h"
#include "ngx_http_retry_chain_run.h"


ngx_str_t  ngx_http_retry_chain_result_names[] = {
    ngx_string("success"),
    ngx_string("exhausted"),
    ngx_string("stopped"),
    ngx_string("unsafe"),
    ngx_string("deadline"),
    ngx_string("limited"),
    ngx_string("budget"),
    ngx_string("overflow"),
    ngx_string("aborted"),
    ngx_string("bypassed"),
    ngx_string("dry_run"),

    /* verdicts that are no result */

    ngx_string("next"),
    ngx_string("again")
};


ngx_str_t  ngx_http_retry_chain_reason_names[] = {
    ngx_string("first"),
    ngx_string("step"),
    ngx_string("backoff"),
    ngx_string("retry_after"),
    ngx_string("rate")
};


ngx_http_retry_chain_attempt_record_t *
ngx_http_retry_chain_run_record(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    ngx_uint_t                              n;
    ngx_array_t                            *states;
    ngx_http_retry_chain_attempt_record_t  *record;

    run->recorded = 1;

    if (run->records.elts == NULL) {

        /* all that a usual plan needs in one piece */

        n = ngx_min(run->plan->attempts, NGX_HTTP_RETRY_CHAIN_MAX_STEPS);

        if (ngx_array_init(&run->records, run->request->pool, n,
                           sizeof(ngx_http_retry_chain_attempt_record_t))
            != NGX_OK)
        {
            return NULL;
        }
    }

    record = ngx_array_push(&run->records);

    if (record) {
        record->step = at->step - run->plan->steps;
        record->wait = (uint32_t) run->wait;
        record->time = (uint32_t) (ngx_current_msec - run->attempt_start);
        record->outcome = at->outcome;
        ngx_http_retry_chain_outcome_upstream(at, &record->response);
        record->reason = run->reason;
        record->next = NGX_HTTP_RETRY_CHAIN_ABORTED;
        record->states = at->states;

        states = at->request->upstream_states;
        record->end = states ? states->nelts : 0;
    }

    return record;
}


ngx_uint_t
ngx_http_retry_chain_run_upstream_states(ngx_http_retry_chain_run_t *run,
    ngx_uint_t first, ngx_uint_t end, ngx_http_upstream_state_t **state)
{
    ngx_array_t  *states;

    states = run->request->upstream_states;

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT
        || run->state == NGX_HTTP_RETRY_CHAIN_RUN_WAIT)
    {
        states = run->attempt ? run->attempt->request->upstream_states
                              : run->states;
    }

    return ngx_http_retry_chain_outcome_tries(states, first, end, state);
}


size_t
ngx_http_retry_chain_run_address(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record, u_char *buf, size_t len)
{
    u_char                     *p, *last;
    size_t                      n;
    ngx_uint_t                  i, states;
    ngx_http_upstream_state_t  *state;

    states = ngx_http_retry_chain_run_upstream_states(run, record->states,
                                                      record->end, &state);

    p = buf;
    last = buf + len;

    for (i = 0; i < states; i++) {

        if (i) {
            p = ngx_cpymem(p, ", ", ngx_min(last - p, 2));
        }

        n = state[i].peer->len;
        p = ngx_cpymem(p, state[i].peer->data, ngx_min((size_t) (last - p), n));
    }

    return p - buf;
}


off_t
ngx_http_retry_chain_run_bytes(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    off_t                       bytes;
    ngx_uint_t                  i, n;
    ngx_http_upstream_state_t  *state;

    n = ngx_http_retry_chain_run_upstream_states(run, record->states,
                                                 record->end, &state);

    for (i = 0, bytes = 0; i < n; i++) {
        bytes += state[i].bytes_received;
    }

    return bytes;
}


void
ngx_http_retry_chain_run_log_attempt(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    char                            *what;
    ngx_log_t                       *log;
    ngx_str_t                       *rule;
    ngx_uint_t                       level, status;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;

    if (!verdict->retry && verdict->result == NGX_HTTP_RETRY_CHAIN_SUCCESS) {
        return;
    }

    level = run->conf->log_level;
    log = run->request->connection->log;

    what = ngx_http_retry_chain_outcome_name(&record->outcome);
    status = record->outcome.status;

    rule = ngx_http_retry_chain_run_rule(run, &record->outcome);
    step = ngx_http_retry_chain_run_record_step(run, record);

    if (verdict->retry) {
        ngx_log_error(level, log, 0,
                      "retry chain attempt %ui/%ui to \"%V\" failed: "
                      "%s %ui%s%V, retrying in %M ms",
                      run->records.nelts, run->plan->attempts,
                      &step->name, what, status,
                      rule->len ? " with " : "", rule, verdict->delay);
        return;
    }

    ngx_log_error(level, log, 0,
                  "retry chain attempt %ui/%ui to \"%V\" failed: %s %ui%s%V, "
                  "no other attempt: %V",
                  run->records.nelts, run->plan->attempts, &step->name,
                  what, status, rule->len ? " with " : "", rule,
                  &ngx_http_retry_chain_result_names[verdict->result]);
}


ngx_str_t *
ngx_http_retry_chain_run_rule(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome)
{
    static ngx_str_t  none = ngx_null_string;

    return outcome->json ? &run->plan->json[outcome->json - 1].text : &none;
}


void
ngx_http_retry_chain_run_log_end(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t  n, level;

    n = run->records.nelts;

    /* a run that went well at once is not worth a line, a dry run has one */

    if ((run->verdict.result == NGX_HTTP_RETRY_CHAIN_SUCCESS && n < 2)
        || run->plan->dry)
    {
        return;
    }

    level = run->conf->log_level;

    if (run->verdict.result == NGX_HTTP_RETRY_CHAIN_ABORTED) {
        level = NGX_LOG_INFO;
    }

    ngx_log_error(level, run->request->connection->log, 0,
                  "retry chain ended: %V, %ui attempt%s in %M ms",
                  &ngx_http_retry_chain_result_names[run->verdict.result], n,
                  n == 1 ? "" : "s", run->end - run->start);
}


/* retries that go nowhere else are a mistake that is hard to see */

void
ngx_http_retry_chain_run_log_same(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                              i;
    ngx_http_retry_chain_step_t            *step, *first;
    ngx_http_retry_chain_attempt_record_t  *record;

    if (run->used || run->conf->notes->same) {
        return;
    }

    first = NULL;
    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {

        step = ngx_http_retry_chain_run_record_step(run, &record[i]);

        if (step->location || step == first) {
            continue;
        }

        if (first == NULL) {
            first = step;
            continue;
        }

        run->conf->notes->same = 1;

        ngx_log_error(NGX_LOG_WARN, run->request->connection->log, 0,
                      "retry chain tried \"%V\" and \"%V\", but the location "
                      "does not use $retry_chain_upstream: "
                      "both went the same way",
                      &first->name, &step->name);
        return;
    }
}


/* one that answers by itself has a result as far as it has got */

ngx_str_t *
ngx_http_retry_chain_run_result(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_result_e  result;

    if (run->state != NGX_HTTP_RETRY_CHAIN_RUN_DONE
        && (run->state != NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH
            || run->records.nelts == 0)
        && (run->attempt == NULL || !run->attempt->relayed))
    {
        return NULL;
    }

    result = run->plan->dry && run->state != NGX_HTTP_RETRY_CHAIN_RUN_DONE
             ? NGX_HTTP_RETRY_CHAIN_DRY_RUN : run->verdict.result;

    return &ngx_http_retry_chain_result_names[result];
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


ngx_msec_int_t
ngx_http_retry_chain_run_left(ngx_http_retry_chain_run_t *run)
{
    if (run->plan->timeout == 0) {
        return NGX_MAX_INT_T_VALUE;
    }

    return (ngx_msec_int_t) (run->start + run->plan->timeout
                             - ngx_current_msec);
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

    if ((run->attempt && !run->recorded)
        || (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH && n == 0))
    {
        n++;
    }

    return n;
}


void
ngx_http_retry_chain_run_timer(ngx_http_retry_chain_run_t *run,
    ngx_msec_t timer)
{
    if (run->event.timer_set) {
        ngx_del_timer(&run->event);
    }

    ngx_add_timer(&run->event, timer);
}


void
ngx_http_retry_chain_run_calm(ngx_http_retry_chain_run_t *run)
{
    if (run->event.timer_set) {
        ngx_del_timer(&run->event);
    }

    if (run->event.posted) {
        ngx_delete_posted_event(&run->event);
    }
}
