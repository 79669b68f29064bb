
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What the reservation of a limiter costs, alone and with as many others at the
 * same limiter as there are processors: t/bench/reserve.sh
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include "ngx_http_retry_chain_limiter.h"


#define CALLS    5000000
#define THREADS  64


static ngx_http_retry_chain_limiter_t  limiter;
static ngx_http_retry_chain_limiter_conf_t  pace;


static uint64_t
now_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void *
reserve(void *data)
{
    ngx_uint_t                     i;
    ngx_http_retry_chain_ticket_t  ticket;

    for (i = 0; i < CALLS; i++) {
        (void) ngx_http_retry_chain_limiter_reserve(&limiter, &pace,
                                                    1000000 + i, &ticket);
    }

    return NULL;
}


int
main(int argc, char **argv)
{
    long        n;
    uint64_t    start;
    ngx_uint_t  i;
    pthread_t   threads[THREADS];

    pace.rate = 1000000;
    pace.burst = 10;
    pace.spacing = 1000;

    ngx_http_retry_chain_limiter_init(&limiter, &pace, 1000000);

    start = now_ns();
    reserve(NULL);

    printf("reservation of a limiter: %.0f ns\n",
           (double) (now_ns() - start) / CALLS);

    n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n > THREADS ? THREADS : n;

    start = now_ns();

    for (i = 0; i < (ngx_uint_t) n; i++) {
        if (pthread_create(&threads[i], NULL, reserve, NULL) != 0) {
            return 1;
        }
    }

    for (i = 0; i < (ngx_uint_t) n; i++) {
        (void) pthread_join(threads[i], NULL);
    }

    printf("reservation of a limiter, %ld at a time: %.0f ns each\n", n,
           (double) (now_ns() - start) / CALLS);

    return 0;
}
