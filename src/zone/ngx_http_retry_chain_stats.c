
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_stats.h"


const ngx_msec_t  ngx_http_retry_chain_bounds[] = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000
};


void
ngx_http_retry_chain_stats_time(ngx_http_retry_chain_times_t *times,
    ngx_msec_t time)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_BUCKETS - 1; i++) {
        if (time <= ngx_http_retry_chain_bounds[i]) {
            break;
        }
    }

    ngx_http_retry_chain_stats_add(&times->buckets[i], 1);

    if (time) {
        ngx_http_retry_chain_stats_add(&times->sum, time);
    }
}


void
ngx_http_retry_chain_stats_attempt(ngx_http_retry_chain_chain_stats_t *count,
    ngx_uint_t n, ngx_http_retry_chain_reason_e reason, ngx_msec_t wait)
{
    ngx_http_retry_chain_stats_add(&count->attempts, 1);
    ngx_http_retry_chain_stats_add(&count->reasons[reason], 1);

    if (n) {
        ngx_http_retry_chain_stats_add(&count->retries, 1);
    }

    if (reason != NGX_HTTP_RETRY_CHAIN_REASON_FIRST) {
        ngx_http_retry_chain_stats_time(&count->delay, wait);
    }
}


void
ngx_http_retry_chain_stats_outcome(ngx_http_retry_chain_step_stats_t *count,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_t time)
{
    ngx_uint_t  i;

    ngx_http_retry_chain_stats_add(&count->attempts, 1);

    switch (outcome->outcome) {

    case NGX_HTTP_RETRY_CHAIN_REPLY:
        i = outcome->status == 429
            ? NGX_HTTP_RETRY_CHAIN_CLASS_429
            : ngx_min(ngx_max(outcome->status / 100, 1), 5) - 1;

        ngx_http_retry_chain_stats_add(&count->replies[i], 1);
        ngx_http_retry_chain_stats_time(&count->time, time);
        return;

    case NGX_HTTP_RETRY_CHAIN_ERROR:
        i = NGX_HTTP_RETRY_CHAIN_FAILURE_ERROR;
        break;

    case NGX_HTTP_RETRY_CHAIN_TIMEOUT:
        i = NGX_HTTP_RETRY_CHAIN_FAILURE_TIMEOUT;
        break;

    case NGX_HTTP_RETRY_CHAIN_INVALID_HEADER:
        i = NGX_HTTP_RETRY_CHAIN_FAILURE_INVALID_HEADER;
        break;

    default:

        if (outcome->cached) {
            i = NGX_HTTP_RETRY_CHAIN_CLASS_CACHED;
            ngx_http_retry_chain_stats_add(&count->replies[i], 1);
            return;
        }

        i = NGX_HTTP_RETRY_CHAIN_FAILURE_ABORTED;
    }

    ngx_http_retry_chain_stats_add(&count->failures[i], 1);
}


void
ngx_http_retry_chain_stats_run(ngx_http_retry_chain_chain_stats_t *count,
    ngx_http_retry_chain_result_e result, ngx_uint_t attempts)
{
    ngx_http_retry_chain_stats_add(&count->runs[result], 1);

    if (result == NGX_HTTP_RETRY_CHAIN_SUCCESS && attempts > 1) {
        ngx_http_retry_chain_stats_add(&count->retry_success, 1);
    }
}
