
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What is written into the zone about a run: counters while it goes on, and at
 * its end an entry among the recent ones.  Nothing here is called for a run
 * without a zone, but for tally_stop().
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RUN_STATS_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RUN_STATS_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* an attempt is in flight, and is no more */
void ngx_http_retry_chain_run_stats_start(ngx_http_retry_chain_run_t *run);

#define ngx_http_retry_chain_run_stats_stop(run)                              \
    if ((run)->in_flight) {                                                   \
        --*(run)->in_flight;                                                  \
        (run)->in_flight = NULL;                                              \
    }

/* the limited steps that the verdict passes over; "limits" as it saw them */
void ngx_http_retry_chain_run_stats_skips(ngx_http_retry_chain_run_t *run,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_verdict_t *verdict);

/* attempts that have been recorded since the last time */
void ngx_http_retry_chain_run_stats_attempts(ngx_http_retry_chain_run_t *run);

/* the run has ended and the client has been answered */
void ngx_http_retry_chain_run_stats_run(ngx_http_retry_chain_run_t *run);


#endif /* _NGX_HTTP_RETRY_CHAIN_RUN_STATS_H_INCLUDED_ */
