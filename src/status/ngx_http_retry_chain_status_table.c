
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What is shown of zones, steps and chains, a row each.  Names are part of the
 * interface: README lists them, a name that has been released stays.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_status.h"
#include "ngx_http_retry_chain_run.h"


static ngx_str_t  ngx_http_retry_chain_status_classes[] = {
    ngx_string("1xx"),
    ngx_string("2xx"),
    ngx_string("3xx"),
    ngx_string("4xx"),
    ngx_string("5xx"),
    ngx_string("429"),
    ngx_string("cached")
};


static ngx_str_t  ngx_http_retry_chain_status_failures[] = {
    ngx_string("error"),
    ngx_string("timeout"),
    ngx_string("invalid_header"),
    ngx_string("aborted")
};


/* as results; how a run that would have gone on would have ended is unknown */

static ngx_str_t  ngx_http_retry_chain_status_dry[] = {
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
    ngx_string("unknown")
};


ngx_http_retry_chain_status_row_t  ngx_http_retry_chain_status_table[] = {

    { NGX_HTTP_RETRY_CHAIN_STATUS_ZONE, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_zone_t, waiting),
      1, NULL, NULL,
      "waiting", NULL,
      "Runs that wait.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_ZONE, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_zone_t, lost),
      1, NULL, NULL,
      "lost", "history_lost",
      "Runs that are missing in the history.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_step_t, stats.attempts),
      1, NULL, NULL,
      "attempts", "attempts",
      "Attempts that have an outcome.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_step_t, stats.replies),
      NGX_HTTP_RETRY_CHAIN_CLASSES,
      ngx_http_retry_chain_status_classes, "class",
      "replies", "replies",
      "Replies by class, 429 and those of a cache apart.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_step_t, stats.failures),
      NGX_HTTP_RETRY_CHAIN_FAILURES,
      ngx_http_retry_chain_status_failures, "kind",
      "failures", "failures",
      "Attempts without a reply.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_step_t, stats.limit_replies),
      1, NULL, NULL,
      "limit_replies", "limit_replies",
      "Replies that said when the next call may be made.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_step_t, stats.bytes),
      1, NULL, NULL,
      "bytes", "received_bytes",
      "Bytes received, of runs that have ended.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_TIMES,
      offsetof(ngx_http_retry_chain_status_step_t, stats.time),
      1, NULL, NULL,
      "time", "header_seconds",
      "Time from the start of an attempt to the header of its reply.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, in_flight),
      1, NULL, NULL,
      "in_flight", "attempts_in_flight",
      "Attempts under way.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, limited),
      1, NULL, NULL,
      "limited", "limited_seconds",
      "Time until the last limit of the upstream ends, 0 if it has ended.",
      1, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, until),
      1, NULL, NULL,
      "limited_until", NULL,
      "When it ends.",
      1, 1, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, wait),
      1, NULL, NULL,
      "wait", "wait_seconds",
      "Time that a call which is decided on now would wait for its limiter.",
      1, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, half_open),
      1, NULL, NULL,
      "half_open", "half_open",
      "1 while one call finds out whether a limit has ended.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, refused),
      1, NULL, NULL,
      "refused", "refused_in_a_row",
      "Refusals that named no time since the last success.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_step_t, rate),
      1, NULL, NULL,
      "rate", "rate_calls_per_second",
      "Calls a second that the upstream may take, configured or learned.",
      1, 1, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_STEP, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_step_t, stats.dry),
      1, NULL, NULL,
      "attempts", "dry_run_attempts",
      "Attempts that dry runs would have made.",
      0, 0, 0, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_chain_t, steps),
      1, NULL, NULL,
      NULL, "steps",
      "Steps of the chain.",
      0, 0, 0, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.runs),
      NGX_HTTP_RETRY_CHAIN_RESULTS - 1,
      ngx_http_retry_chain_result_names, "result",
      "runs", "runs",
      "Runs by result.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.attempts),
      1, NULL, NULL,
      "attempts", NULL,
      "Attempts.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.reasons),
      NGX_HTTP_RETRY_CHAIN_REASONS, ngx_http_retry_chain_reason_names, "reason",
      "reasons", "chain_attempts",
      "Attempts by what they waited for.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.retries),
      1, NULL, NULL,
      "retries", "retries",
      "Attempts after the first one of a run.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.retry_success),
      1, NULL, NULL,
      "retry_success", "retry_success",
      "Runs that a retry has made a success.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.skips),
      1, NULL, NULL,
      "skips", "skips",
      "Limited steps that runs have passed over.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_TIMES,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.delay),
      1, NULL, NULL,
      "delay", "delay_seconds",
      "Waits before attempts that had a reason to wait.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_TIMES,
      offsetof(ngx_http_retry_chain_status_chain_t, stats.duration),
      1, NULL, NULL,
      "duration", "run_duration_seconds",
      "Time from the first attempt of a run to its end.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      offsetof(ngx_http_retry_chain_status_chain_t, waiting),
      1, NULL, NULL,
      "waiting", "waiting",
      "Runs that wait.",
      0, 0, 1, 0 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, dry.runs),
      NGX_HTTP_RETRY_CHAIN_RESULTS,
      ngx_http_retry_chain_status_dry, "result",
      "runs", "dry_run_runs",
      "Dry runs by the result that they would have had.",
      0, 0, 1, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, dry.attempts),
      1, NULL, NULL,
      "attempts", NULL,
      "Attempts.",
      0, 0, 1, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, dry.reasons),
      NGX_HTTP_RETRY_CHAIN_REASONS, ngx_http_retry_chain_reason_names, "reason",
      "reasons", "dry_run_chain_attempts",
      "Attempts that dry runs would have made, by what they would have "
      "waited for.",
      0, 0, 1, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, dry.retries),
      1, NULL, NULL,
      "retries", "dry_run_retries",
      "First retries that dry runs would have made.",
      0, 0, 1, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER,
      offsetof(ngx_http_retry_chain_status_chain_t, dry.skips),
      1, NULL, NULL,
      "skips", "dry_run_skips",
      "Limited steps that dry runs would have passed over.",
      0, 0, 1, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, NGX_HTTP_RETRY_CHAIN_STATUS_TIMES,
      offsetof(ngx_http_retry_chain_status_chain_t, dry.delay),
      1, NULL, NULL,
      "delay", "dry_run_delay_seconds",
      "Waits before attempts that dry runs would have made.",
      0, 0, 1, 1 },

    { NGX_HTTP_RETRY_CHAIN_STATUS_ZONE, NGX_HTTP_RETRY_CHAIN_STATUS_GAUGE,
      0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0 }
};
