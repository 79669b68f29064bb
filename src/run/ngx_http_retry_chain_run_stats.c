
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What is counted in the zone while a run goes on.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static ngx_http_retry_chain_chain_stats_t *ngx_http_retry_chain_run_stats_chain(
    ngx_http_retry_chain_run_t *run);


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
    ngx_uint_t  skips;

    skips = ngx_http_retry_chain_skips(run->plan, &run->place, limits, verdict);

    if (skips) {
        ngx_http_retry_chain_stats_add(
                     &ngx_http_retry_chain_run_stats_chain(run)->skips, skips);
    }
}


/* dry runs have counters of their own */

static ngx_http_retry_chain_chain_stats_t *
ngx_http_retry_chain_run_stats_chain(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_chain_node_t  *node;

    node = run->plan->chain->node;

    return run->plan->dry ? &node->dry : &node->stats;
}


void
ngx_http_retry_chain_run_stats_attempts(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_queue_t           *queue;
    ngx_http_retry_chain_attempt_record_t  *record;

    record = run->records.elts;

    while (run->counted < run->records.nelts) {

        queue = run->plan->queues[record[run->counted].step];

        ngx_http_retry_chain_stats_attempt(&run->plan->chain->node->stats,
                                           run->counted,
                                           record[run->counted].reason,
                                           record[run->counted].wait);

        ngx_http_retry_chain_stats_outcome(&queue->node->stats,
                                           &record[run->counted].response,
                                           record[run->counted].time);
        run->counted++;
    }
}


void
ngx_http_retry_chain_run_stats_dry(ngx_http_retry_chain_run_t *run,
    ngx_uint_t n)
{
    ngx_http_retry_chain_verdict_t  *verdict;

    if (run->plan->zone == NULL) {
        return;
    }

    verdict = &run->verdict;

    ngx_http_retry_chain_stats_attempt(
                                     ngx_http_retry_chain_run_stats_chain(run),
                                     n, verdict->reason, verdict->delay);

    ngx_http_retry_chain_stats_add(
                     &run->plan->queues[verdict->step]->node->stats.dry, 1);
}


/* a run that would have gone on may have ended in any way: as a dry run */

void
ngx_http_retry_chain_run_stats_dry_end(ngx_http_retry_chain_run_t *run)
{
    if (run->plan->zone) {
        ngx_http_retry_chain_stats_run(
                                     ngx_http_retry_chain_run_stats_chain(run),
                                     run->verdict.retry
                                     ? NGX_HTTP_RETRY_CHAIN_DRY_RUN
                                     : run->verdict.result, 0);
    }
}
