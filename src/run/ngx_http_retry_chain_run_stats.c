
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What is written into the zone about a run: counters while it goes on, and at
 * its end an entry of the history.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_zone.h"


/* one of the slowest runs is kept for this long */

#define NGX_HTTP_RETRY_CHAIN_RUN_STATS_AGE  3600000


static void ngx_http_retry_chain_run_stats_foreseen(
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_chain_stats_t *count);
static void ngx_http_retry_chain_run_stats_foreseen_attempt(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_chain_stats_t *count,
    ngx_uint_t n, ngx_http_retry_chain_verdict_t *verdict);
static void ngx_http_retry_chain_run_stats_bytes(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_stats_entry(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_run_stats_tries(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_history_run_t *entry);
static ngx_uint_t ngx_http_retry_chain_run_stats_status(ngx_http_request_t *r);

#define ngx_http_retry_chain_run_stats_queue(run, record)                     \
    (run)->plan->queues[(record)->step]


void
ngx_http_retry_chain_run_stats_start(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_zone_t   *zone;
    ngx_http_retry_chain_queue_t  *queue;

    zone = run->plan->zone;
    queue = run->plan->queues[run->place.step];

    run->in_flight = &zone->gauges->values[queue->node->node.gauge];

    ++*run->in_flight;
}


void
ngx_http_retry_chain_run_stats_skips(ngx_http_retry_chain_run_t *run,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_uint_t                           skips;
    const ngx_http_retry_chain_plan_t   *plan;
    ngx_http_retry_chain_chain_stats_t  *count;

    plan = run->plan;

    skips = ngx_http_retry_chain_skips(plan, &run->place, limits, verdict);

    if (skips) {
        count = plan->dry ? &plan->chain->node->foreseen
                          : &plan->chain->node->count;

        ngx_http_retry_chain_stats_add(&count->skips, skips);
    }
}


void
ngx_http_retry_chain_run_stats_attempts(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_queue_t           *queue;
    ngx_http_retry_chain_attempt_record_t  *record;

    record = run->records.elts;

    while (run->tallied < run->records.nelts) {

        queue = ngx_http_retry_chain_run_stats_queue(run,
                                                     &record[run->tallied]);

        ngx_http_retry_chain_stats_attempt(&run->plan->chain->node->count,
                                           run->tallied,
                                           record[run->tallied].reason,
                                           record[run->tallied].wait);

        ngx_http_retry_chain_stats_outcome(&queue->node->count,
                                           &record[run->tallied].response,
                                           record[run->tallied].time);
        run->tallied++;
    }
}


void
ngx_http_retry_chain_run_stats_run(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_chain_node_t  *node;

    node = run->plan->chain->node;
    node->node.used = ngx_current_msec;

    if (run->plan->dry) {
        ngx_http_retry_chain_run_stats_foreseen(run, &node->foreseen);

    } else {
        ngx_http_retry_chain_run_stats_attempts(run);
        ngx_http_retry_chain_run_stats_bytes(run);

        ngx_http_retry_chain_stats_run(&node->count, run->result,
                                       run->records.nelts);

        if (run->start) {
            ngx_http_retry_chain_stats_time(&node->count.duration,
                                            run->end - run->start);
        }
    }

    ngx_http_retry_chain_run_stats_entry(run);
}


/* a run that would have gone on may have ended in any queue: as a dry run */

static void
ngx_http_retry_chain_run_stats_foreseen(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_chain_stats_t *count)
{
    ngx_http_retry_chain_result_e    result;
    ngx_http_retry_chain_verdict_t  *first;

    first = run->foreseen;

    if (first == NULL || run->records.nelts == 0) {

        /* bypassed, or there was no answer to look at */

        result = run->result == NGX_HTTP_RETRY_CHAIN_BYPASSED
                 ? NGX_HTTP_RETRY_CHAIN_BYPASSED : NGX_HTTP_RETRY_CHAIN_ABORTED;

    } else if (!first->retry) {
        result = first->result;

    } else {
        ngx_http_retry_chain_run_stats_foreseen_attempt(run, count, 0, first);

        result = NGX_HTTP_RETRY_CHAIN_DRY_RUN;

        if (first->step == 0 && first->delay == 0) {

            if (run->verdict.retry) {
                ngx_http_retry_chain_run_stats_foreseen_attempt(run, count, 1,
                                                                &run->verdict);

            } else {
                result = run->verdict.result;
            }
        }
    }

    ngx_http_retry_chain_stats_run(count, result, 0);
}


static void
ngx_http_retry_chain_run_stats_foreseen_attempt(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_chain_stats_t *count, ngx_uint_t n,
    ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_http_retry_chain_queue_t  *queue;

    queue = run->plan->queues[verdict->step];

    ngx_http_retry_chain_stats_attempt(count, n, verdict->reason,
                                       verdict->delay);
    ngx_http_retry_chain_stats_add(&queue->node->count.foreseen, 1);
}


static void
ngx_http_retry_chain_run_stats_bytes(ngx_http_retry_chain_run_t *run)
{
    off_t                                   bytes;
    ngx_uint_t                              i;
    ngx_http_retry_chain_queue_t           *queue;
    ngx_http_retry_chain_attempt_record_t  *record;

    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {
        bytes = ngx_http_retry_chain_run_bytes(run, &record[i]);

        if (bytes) {
            queue = ngx_http_retry_chain_run_stats_queue(run, &record[i]);
            ngx_http_retry_chain_stats_add(&queue->node->count.bytes, bytes);
        }
    }
}


static void
ngx_http_retry_chain_run_stats_entry(ngx_http_retry_chain_run_t *run)
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
    entry.status = (uint16_t) ngx_http_retry_chain_run_stats_status(r);
    entry.result = run->result;
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

    ngx_http_retry_chain_run_stats_tries(run, &entry);

    ngx_http_retry_chain_history_write(&zone->sh->recent, &entry, ngx_pid);

    if (run->result == NGX_HTTP_RETRY_CHAIN_BYPASSED
        || run->result == NGX_HTTP_RETRY_CHAIN_DRY_RUN)
    {
        return;
    }

    if (run->result != NGX_HTTP_RETRY_CHAIN_SUCCESS) {
        ngx_http_retry_chain_history_write(&zone->sh->failed, &entry, ngx_pid);
    }

    ngx_http_retry_chain_history_slow(&zone->sh->slow, &entry,
                                      NGX_HTTP_RETRY_CHAIN_RUN_STATS_AGE,
                                      ngx_pid);
}


/* all of them, or the first ones and the last */

static void
ngx_http_retry_chain_run_stats_tries(ngx_http_retry_chain_run_t *run,
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

        queue = ngx_http_retry_chain_run_stats_queue(run, record);
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
ngx_http_retry_chain_run_stats_status(ngx_http_request_t *r)
{
    if (r->err_status) {
        return r->err_status;
    }

    return r->headers_out.status;
}
