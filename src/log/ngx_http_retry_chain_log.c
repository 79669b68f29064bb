
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The LOG phase: the client has been answered, status and bytes are known.  A
 * run that the location's own handler has answered ends here; runs with a zone
 * are counted, and get an entry of the history.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_log.h"


/* one of the slowest runs is kept for this long, ms */

#define NGX_HTTP_RETRY_CHAIN_LOG_AGE  3600000


static void ngx_http_retry_chain_log_run(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_log_bytes(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_log_entry(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_log_tries(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_history_run_t *entry);
static ngx_uint_t ngx_http_retry_chain_log_status(ngx_http_request_t *r);


ngx_int_t
ngx_http_retry_chain_log_handler(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    if (r != r->main || run == NULL) {
        return NGX_OK;
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        ngx_http_retry_chain_passthrough_finish(run);
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_DONE && run->plan->zone) {
        ngx_http_retry_chain_log_run(run);
    }

    return NGX_OK;
}


static void
ngx_http_retry_chain_log_run(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_chain_node_t  *node;

    node = run->plan->chain->node;
    node->node.used = ngx_current_msec;

    if (!run->plan->dry) {
        ngx_http_retry_chain_run_stats_attempts(run);
        ngx_http_retry_chain_log_bytes(run);

        ngx_http_retry_chain_stats_run(&node->stats, run->verdict.result,
                                       run->records.nelts);

        if (run->start) {
            ngx_http_retry_chain_stats_time(&node->stats.duration,
                                            run->end - run->start);
        }

    } else if (run->start == 0) {

        /* bypassed */

        ngx_http_retry_chain_stats_run(&node->dry, run->verdict.result, 0);
    }

    ngx_http_retry_chain_log_entry(run);
}


static void
ngx_http_retry_chain_log_bytes(ngx_http_retry_chain_run_t *run)
{
    off_t                                   bytes;
    ngx_uint_t                              i;
    ngx_http_retry_chain_queue_t           *queue;
    ngx_http_retry_chain_attempt_record_t  *record;

    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {
        bytes = ngx_http_retry_chain_run_bytes(run, &record[i]);

        if (bytes) {
            queue = run->plan->queues[record[i].step];
            ngx_http_retry_chain_stats_add(&queue->node->stats.bytes, bytes);
        }
    }
}


static void
ngx_http_retry_chain_log_entry(ngx_http_retry_chain_run_t *run)
{
    u_char                               *p;
    ngx_str_t                             uri;
    ngx_time_t                           *tp;
    ngx_http_request_t                   *r;
    ngx_http_retry_chain_zone_t          *zone;
    ngx_http_retry_chain_history_run_t    entry;

    r = run->request;
    zone = run->plan->zone;

    if (zone->sh->history == 0) {
        return;
    }

    tp = ngx_timeofday();
    uri = r->unparsed_uri;

    p = ngx_strlchr(uri.data, uri.data + uri.len, '?');

    if (p && zone->query != 1) {
        uri.len = p - uri.data;
    }

    entry.number = ngx_atomic_fetch_add(&zone->sh->runs, 1) + 1;
    entry.time = (uint64_t) tp->sec * 1000 + tp->msec;
    entry.chain = run->plan->chain->node->node.id;
    entry.duration = run->start ? (uint32_t) (run->end - run->start) : 0;
    entry.status = (uint16_t) ngx_http_retry_chain_log_status(r);
    entry.result = run->verdict.result;
    entry.len = 0;

    entry.method = ngx_http_retry_chain_history_text(
                               &entry, r->method_name.data, r->method_name.len,
                               NGX_HTTP_RETRY_CHAIN_METHOD_LEN);
    entry.host = ngx_http_retry_chain_history_text(&entry,
                                              r->headers_in.server.data,
                                              r->headers_in.server.len,
                                              NGX_HTTP_RETRY_CHAIN_HOST_LEN);
    entry.uri = ngx_http_retry_chain_history_text(&entry, uri.data, uri.len,
                                                  NGX_HTTP_RETRY_CHAIN_URI_LEN);
    entry.cut = uri.len > entry.uri;

    ngx_http_retry_chain_log_tries(run, &entry);

    ngx_http_retry_chain_history_write(&zone->sh->recent, &entry, ngx_pid);

    if (run->verdict.result == NGX_HTTP_RETRY_CHAIN_BYPASSED
        || run->verdict.result == NGX_HTTP_RETRY_CHAIN_DRY_RUN)
    {
        return;
    }

    if (run->verdict.result != NGX_HTTP_RETRY_CHAIN_SUCCESS) {
        ngx_http_retry_chain_history_write(&zone->sh->failed, &entry, ngx_pid);
    }

    ngx_http_retry_chain_history_slow(&zone->sh->slow, &entry,
                                      NGX_HTTP_RETRY_CHAIN_LOG_AGE,
                                      ngx_pid);
}


/* all of them, or the first ones and the last */

static void
ngx_http_retry_chain_log_tries(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_history_run_t *entry)
{
    u_char                                address[
                                            NGX_HTTP_RETRY_CHAIN_ADDRESS_LEN];
    size_t                                   len;
    ngx_uint_t                               i, n;
    ngx_http_retry_chain_queue_t            *queue;
    ngx_http_retry_chain_attempt_record_t   *record;
    ngx_http_retry_chain_history_attempt_t  *try;

    n = run->records.nelts;
    record = run->records.elts;

    entry->attempts = (uint16_t) n;
    entry->kept = ngx_min(n, NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS);

    for (i = 0; i < entry->kept; i++, record++) {

        if (i == NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS - 1) {
            record = run->records.elts;
            record += n - 1;
        }

        queue = run->plan->queues[record->step];
        try = &entry->tries[i];

        try->bytes = ngx_http_retry_chain_run_bytes(run, record);
        try->step = queue->node->node.id;
        try->wait = record->wait;
        try->time = record->time;
        try->status = record->outcome.status;
        try->outcome = record->outcome.outcome;
        try->reason = record->reason;
        try->next = record->next;

        len = ngx_http_retry_chain_run_address(run, record, address,
                                               sizeof(address));

        try->address = ngx_http_retry_chain_history_text(entry, address, len,
                                             NGX_HTTP_RETRY_CHAIN_ADDRESS_LEN);
    }
}


/* as $status has it */

static ngx_uint_t
ngx_http_retry_chain_log_status(ngx_http_request_t *r)
{
    if (r->err_status) {
        return r->err_status;
    }

    return r->headers_out.status;
}
