
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What it costs to record a run of one attempt: its counters, its times and its
 * entry; alone, and with as many others at the same counters as there are
 * processors: t/bench/reserve.sh
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include "ngx_http_retry_chain_stats.h"
#include "ngx_http_retry_chain_history.h"


#define RUNS     2000000
#define THREADS  64
#define RECENT   256
#define SLOW     32


static ngx_http_retry_chain_chain_stats_t  chain;
static ngx_http_retry_chain_step_stats_t   step;
static ngx_http_retry_chain_history_t         recent, slow;
static ngx_http_retry_chain_history_entry_t   entries[RECENT + SLOW];


static uint64_t
now_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void *
record(void *data)
{
    ngx_uint_t                         i;
    ngx_http_retry_chain_outcome_t     outcome;
    ngx_http_retry_chain_history_run_t   run;

    static u_char  uri[] = "/v1/orders/4711/positions";
    static u_char  address[] = "10.0.0.1:3128";

    ngx_memzero(&outcome, sizeof(outcome));

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome.status = 200;

    for (i = 0; i < RUNS; i++) {

        ngx_http_retry_chain_stats_attempt(&chain, 0,
                                           NGX_HTTP_RETRY_CHAIN_REASON_FIRST,
                                           0);
        ngx_http_retry_chain_stats_outcome(&step, &outcome, i % 16);
        ngx_http_retry_chain_stats_run(&chain, NGX_HTTP_RETRY_CHAIN_SUCCESS, 1);
        ngx_http_retry_chain_stats_time(&chain.duration, i % 16);
        ngx_http_retry_chain_stats_add(&step.bytes, 500);

        ngx_memzero(&run, offsetof(ngx_http_retry_chain_history_run_t, tries));

        run.number = i;
        run.time = 1000000 + i / 20;
        run.duration = (uint32_t) (i % 16);
        run.kept = 1;
        run.uri = ngx_http_retry_chain_history_text(&run, uri, sizeof(uri) - 1,
                                                NGX_HTTP_RETRY_CHAIN_URI_LEN);
        run.tries[0].address = ngx_http_retry_chain_history_text(&run, address,
                                             sizeof(address) - 1,
                                             NGX_HTTP_RETRY_CHAIN_ADDRESS_LEN);

        ngx_http_retry_chain_history_write(&recent, &run, *(ngx_pid_t *) data);
        ngx_http_retry_chain_history_slow(&slow, &run, 3600000,
                                          *(ngx_pid_t *) data);
    }

    return NULL;
}


int
main(int argc, char **argv)
{
    long        n;
    uint64_t    start;
    ngx_uint_t  i;
    ngx_pid_t   pids[THREADS];
    pthread_t   threads[THREADS];

    recent.entries = entries;
    recent.size = RECENT;
    slow.entries = entries + RECENT;
    slow.size = SLOW;

    /* the writers of a ring tell each other by these */

    for (i = 0; i < THREADS; i++) {
        pids[i] = i ? getppid() : getpid();
    }

    start = now_ns();
    record(&pids[0]);

    printf("recording of a run: %.0f ns\n", (double) (now_ns() - start) / RUNS);

    n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n > THREADS ? THREADS : n;

    start = now_ns();

    for (i = 0; i < (ngx_uint_t) n; i++) {
        if (pthread_create(&threads[i], NULL, record, &pids[i]) != 0) {
            return 1;
        }
    }

    for (i = 0; i < (ngx_uint_t) n; i++) {
        (void) pthread_join(threads[i], NULL);
    }

    printf("recording of a run, %ld at a time: %.0f ns each\n", n,
           (double) (now_ns() - start) / RUNS);

    return 0;
}
