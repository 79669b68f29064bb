
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What is counted of chains and of their steps.  The counters lie in memory
 * that all workers share; each one is moved by a single atomic addition, so a
 * worker that is killed at any moment leaves all of them usable.
 *
 * A sum is never kept beside its parts: the runs of a chain are the sum of
 * their results, the observations of a histogram are the sum of its buckets.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_STATS_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_STATS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_policy.h"


#define NGX_HTTP_RETRY_CHAIN_RESULTS   (NGX_HTTP_RETRY_CHAIN_DRY_RUN + 1)
#define NGX_HTTP_RETRY_CHAIN_REASONS   (NGX_HTTP_RETRY_CHAIN_REASON_RATE + 1)

/* buckets of a histogram; the last one has no upper bound */

#define NGX_HTTP_RETRY_CHAIN_BUCKETS   16


/*
 * replies by class, those that refuse the call apart from other 4xx, and those
 * of a cache that no call was made for
 */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_CLASS_1XX = 0,
    NGX_HTTP_RETRY_CHAIN_CLASS_2XX,
    NGX_HTTP_RETRY_CHAIN_CLASS_3XX,
    NGX_HTTP_RETRY_CHAIN_CLASS_4XX,
    NGX_HTTP_RETRY_CHAIN_CLASS_5XX,
    NGX_HTTP_RETRY_CHAIN_CLASS_429,
    NGX_HTTP_RETRY_CHAIN_CLASS_CACHED
} ngx_http_retry_chain_class_e;

#define NGX_HTTP_RETRY_CHAIN_CLASSES                                          \
    (NGX_HTTP_RETRY_CHAIN_CLASS_CACHED + 1)


/* attempts without a reply */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_FAILURE_ERROR = 0,
    NGX_HTTP_RETRY_CHAIN_FAILURE_TIMEOUT,
    NGX_HTTP_RETRY_CHAIN_FAILURE_INVALID_HEADER,
    NGX_HTTP_RETRY_CHAIN_FAILURE_ABORTED
} ngx_http_retry_chain_failure_e;

#define NGX_HTTP_RETRY_CHAIN_FAILURES                                         \
    (NGX_HTTP_RETRY_CHAIN_FAILURE_ABORTED + 1)


/* a histogram of times */

typedef struct {
    ngx_atomic_t    buckets[NGX_HTTP_RETRY_CHAIN_BUCKETS];
    ngx_atomic_t    sum;       /* ms */
} ngx_http_retry_chain_times_t;


typedef struct {
    ngx_atomic_t    runs[NGX_HTTP_RETRY_CHAIN_RESULTS];
    ngx_atomic_t    attempts;
    ngx_atomic_t    retries;
    ngx_atomic_t    retry_success;   /* runs that a retry has saved */
    ngx_atomic_t    skips;           /* limited steps that were passed over */
    ngx_atomic_t    reasons[NGX_HTTP_RETRY_CHAIN_REASONS];   /* of attempts */

    ngx_http_retry_chain_times_t    delay;      /* of attempts with a reason */
    ngx_http_retry_chain_times_t    duration;   /* of runs that have begun */
} ngx_http_retry_chain_chain_stats_t;


typedef struct {
    ngx_atomic_t    attempts;
    ngx_atomic_t    replies[NGX_HTTP_RETRY_CHAIN_CLASSES];
    ngx_atomic_t    failures[NGX_HTTP_RETRY_CHAIN_FAILURES];
    ngx_atomic_t    limit_replies;   /* replies that said when */
    ngx_atomic_t    bytes;           /* received */
    ngx_atomic_t    dry;             /* attempts of dry runs */

    ngx_http_retry_chain_times_t    time;       /* to the header of a reply */
} ngx_http_retry_chain_step_stats_t;


void ngx_http_retry_chain_stats_time(ngx_http_retry_chain_times_t *times,
    ngx_msec_t time);

/* an attempt is the "n"-th of its run, from 0 */
void ngx_http_retry_chain_stats_attempt(
    ngx_http_retry_chain_chain_stats_t *count, ngx_uint_t n,
    ngx_http_retry_chain_reason_e reason, ngx_msec_t wait);

/* what the upstream said in an attempt, "time" after its start */
void ngx_http_retry_chain_stats_outcome(
    ngx_http_retry_chain_step_stats_t *count,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_t time);

/* the end of a run after so many attempts */
void ngx_http_retry_chain_stats_run(ngx_http_retry_chain_chain_stats_t *count,
    ngx_http_retry_chain_result_e result, ngx_uint_t attempts);


/* upper bounds of all buckets but the last, ms */
extern const ngx_msec_t  ngx_http_retry_chain_bounds[];


#define ngx_http_retry_chain_stats_add(counter, n)                            \
    (void) ngx_atomic_fetch_add(counter, (ngx_atomic_int_t) (n))


#endif /* _NGX_HTTP_RETRY_CHAIN_STATS_H_INCLUDED_ */
