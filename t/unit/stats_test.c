
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* counters and histograms: every observation has its bucket, sums add up */


#include <pthread.h>
#include "tap.h"
#include "ngx_http_retry_chain_stats.h"


#define THREADS  4
#define TIMES    50000


static void test_buckets(void);
static void test_outcomes(void);
static void test_attempts(void);
static void test_runs(void);
static void test_threads(void);

static void *work(void *data);
static uint64_t total(ngx_atomic_t *counters, ngx_uint_t n);


static ngx_http_retry_chain_step_stats_t   step;
static ngx_http_retry_chain_chain_stats_t  chain;


int
main(void)
{
    test_buckets();
    test_outcomes();
    test_attempts();
    test_runs();
    test_threads();

    return done_testing();
}


static void
test_buckets(void)
{
    ngx_msec_t                     bound;
    ngx_uint_t                     i, wrong;
    ngx_http_retry_chain_times_t   times;

    wrong = 0;

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_BUCKETS - 1; i++) {
        bound = ngx_http_retry_chain_bounds[i];

        wrong += i && bound <= ngx_http_retry_chain_bounds[i - 1];

        ngx_memzero(&times, sizeof(times));
        ngx_http_retry_chain_stats_time(&times, bound);
        ngx_http_retry_chain_stats_time(&times, bound + 1);

        wrong += times.buckets[i] != 1 || times.buckets[i + 1] != 1;
        wrong += times.sum != 2 * bound + 1;
    }

    is_int(wrong, 0, "a bound belongs to its bucket, what is above does not");

    ngx_memzero(&times, sizeof(times));
    ngx_http_retry_chain_stats_time(&times, 0);
    ngx_http_retry_chain_stats_time(&times, 1);
    is_int(times.buckets[0], 2, "no time is in the first one");

    ngx_http_retry_chain_stats_time(&times, (ngx_msec_t) 1 << 40);
    is_int(times.buckets[NGX_HTTP_RETRY_CHAIN_BUCKETS - 1], 1,
           "any long time in the last one");
    is_int(times.sum, ((int64_t) 1 << 40) + 1, "the sum");
}


static void
test_outcomes(void)
{
    ngx_uint_t                       i, status, wrong;
    ngx_http_retry_chain_outcome_t   outcome;

    ngx_memzero(&step, sizeof(step));
    ngx_memzero(&outcome, sizeof(outcome));

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;

    for (status = 0; status < 1000; status++) {
        outcome.status = status;
        ngx_http_retry_chain_stats_outcome(&step, &outcome, status);
    }

    wrong = 0;

    for (i = NGX_HTTP_RETRY_CHAIN_CLASS_2XX;
         i <= NGX_HTTP_RETRY_CHAIN_CLASS_3XX;
         i++)
    {
        wrong += step.replies[i] != 100;
    }

    is_int(wrong, 0, "classes of replies");
    is_int(step.replies[NGX_HTTP_RETRY_CHAIN_CLASS_429], 1, "429");
    is_int(step.replies[NGX_HTTP_RETRY_CHAIN_CLASS_4XX], 99, "is no 4xx");
    is_int(total(step.replies, NGX_HTTP_RETRY_CHAIN_CLASSES), 1000,
           "each status has one");

    for (i = 0; i < 16; i++) {
        outcome.outcome = i;
        ngx_http_retry_chain_stats_outcome(&step, &outcome, 1);
    }

    is_int(step.attempts, 1016, "attempts");
    is_int(total(step.replies, NGX_HTTP_RETRY_CHAIN_CLASSES)
           + total(step.failures, NGX_HTTP_RETRY_CHAIN_FAILURES), 1016,
           "each outcome has a counter");
    is_int(step.failures[NGX_HTTP_RETRY_CHAIN_FAILURE_ERROR], 1, "error");
    is_int(step.failures[NGX_HTTP_RETRY_CHAIN_FAILURE_TIMEOUT], 1, "timeout");
    is_int(step.failures[NGX_HTTP_RETRY_CHAIN_FAILURE_INVALID_HEADER], 1,
           "invalid header");
    is_int(total(step.time.buckets, NGX_HTTP_RETRY_CHAIN_BUCKETS), 1001,
           "times of replies only");

    outcome.outcome = 0;
    outcome.cached = 1;
    ngx_http_retry_chain_stats_outcome(&step, &outcome, 1);

    is_int(step.replies[NGX_HTTP_RETRY_CHAIN_CLASS_CACHED], 1,
           "a cached reply without a call");
    is_int(total(step.time.buckets, NGX_HTTP_RETRY_CHAIN_BUCKETS), 1001,
           "has no time");

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
    ngx_http_retry_chain_stats_outcome(&step, &outcome, 1);

    is_int(step.failures[NGX_HTTP_RETRY_CHAIN_FAILURE_ERROR], 2,
           "after a call that one counts");
}


static void
test_attempts(void)
{
    ngx_uint_t  i;

    ngx_memzero(&chain, sizeof(chain));

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_REASONS; i++) {
        ngx_http_retry_chain_stats_attempt(&chain, i, i, 10 * i);
    }

    is_int(chain.attempts, 5, "attempts of a chain");
    is_int(chain.retries, 4, "but for the first one they are retries");
    is_int(total(chain.reasons, NGX_HTTP_RETRY_CHAIN_REASONS), 5,
           "each has a reason");
    is_int(total(chain.delay.buckets, NGX_HTTP_RETRY_CHAIN_BUCKETS), 4,
           "those that had one to wait have a delay");
    is_int(chain.delay.sum, 100, "the sum");
}


static void
test_runs(void)
{
    ngx_uint_t  i;

    ngx_memzero(&chain, sizeof(chain));

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_RESULTS; i++) {
        ngx_http_retry_chain_stats_run(&chain, i, 0);
        ngx_http_retry_chain_stats_run(&chain, i, 1);
        ngx_http_retry_chain_stats_run(&chain, i, 2);
    }

    is_int(total(chain.runs, NGX_HTTP_RETRY_CHAIN_RESULTS),
           3 * NGX_HTTP_RETRY_CHAIN_RESULTS, "runs");
    is_int(chain.retry_success, 1, "a success that a retry has made");
}


static void
test_threads(void)
{
    ngx_uint_t  i;
    pthread_t   threads[THREADS];

    ngx_memzero(&step, sizeof(step));
    ngx_memzero(&chain, sizeof(chain));

    for (i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, work, (void *) i);
    }

    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }

    is_int(total(chain.runs, NGX_HTTP_RETRY_CHAIN_RESULTS), THREADS * TIMES,
           "runs of %d threads", THREADS);
    is_int(chain.attempts, THREADS * TIMES, "attempts");
    is_int(step.attempts, THREADS * TIMES, "of the step");
    is_int(total(step.replies, NGX_HTTP_RETRY_CHAIN_CLASSES), THREADS * TIMES,
           "replies");
    is_int(total(step.time.buckets, NGX_HTTP_RETRY_CHAIN_BUCKETS),
           THREADS * TIMES, "times");
}


static void *
work(void *data)
{
    ngx_uint_t                       i;
    ngx_http_retry_chain_outcome_t   outcome;

    ngx_memzero(&outcome, sizeof(outcome));

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;

    for (i = 0; i < TIMES; i++) {
        outcome.status = 200 + i % 300;

        ngx_http_retry_chain_stats_attempt(&chain, i % 2, i % 5, i);
        ngx_http_retry_chain_stats_outcome(&step, &outcome, i);
        ngx_http_retry_chain_stats_run(&chain, i % 11, i % 3);
    }

    return data;
}


static uint64_t
total(ngx_atomic_t *counters, ngx_uint_t n)
{
    uint64_t    sum;
    ngx_uint_t  i;

    for (i = 0, sum = 0; i < n; i++) {
        sum += counters[i];
    }

    return sum;
}
