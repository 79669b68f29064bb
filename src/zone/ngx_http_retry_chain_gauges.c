
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_gauges.h"


static ngx_http_retry_chain_gauges_t *ngx_http_retry_chain_gauges_add_locked(
    ngx_slab_pool_t *shpool, ngx_http_retry_chain_workers_t *workers);


ngx_int_t
ngx_http_retry_chain_gauges_make_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_workers_t *workers, ngx_uint_t n)
{
    ngx_http_retry_chain_gauges_t  *gauges;

    for (gauges = workers->workers; gauges && n; gauges = gauges->next) {

        if (!ngx_http_retry_chain_gauges_alive(gauges)) {
            n--;
        }
    }

    while (n--) {

        if (ngx_http_retry_chain_gauges_add_locked(shpool, workers) == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_retry_chain_gauges_t *
ngx_http_retry_chain_gauges_add_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_workers_t *workers)
{
    ngx_http_retry_chain_gauges_t  *gauges;

    gauges = ngx_slab_calloc_locked(shpool,
                                    sizeof(ngx_http_retry_chain_gauges_t)
                                    + workers->values * sizeof(uint32_t));
    if (gauges == NULL) {
        return NULL;
    }

    gauges->next = workers->workers;

    /* others walk the list without the lock */

    ngx_memory_barrier();

    workers->workers = gauges;

    return gauges;
}


ngx_http_retry_chain_gauges_t *
ngx_http_retry_chain_gauges_take_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_workers_t *workers, ngx_pid_t pid)
{
    ngx_uint_t                      i;
    ngx_http_retry_chain_gauges_t  *gauges, *other;

    gauges = NULL;

    for (other = workers->workers; other; other = other->next) {

        if (other->pid == pid || !ngx_http_retry_chain_gauges_alive(other)) {
            other->pid = 0;
            gauges = other;
        }
    }

    if (gauges == NULL) {
        gauges = ngx_http_retry_chain_gauges_add_locked(shpool, workers);
        if (gauges == NULL) {
            return NULL;
        }
    }

    gauges->waiting = 0;

    for (i = 0; i <= workers->values; i++) {
        gauges->values[i] = 0;
    }

    ngx_memory_barrier();

    gauges->pid = pid;

    return gauges;
}


/*
 * All workers of a master are in its process group.  A stranger that has got
 * the pid of a worker that was killed is not.
 */

ngx_uint_t
ngx_http_retry_chain_gauges_alive(ngx_http_retry_chain_gauges_t *gauges)
{
    ngx_pid_t  pid, group;

    pid = gauges->pid;

    if (pid == 0) {
        return 0;
    }

    group = getpgid(pid);

    return group == -1 ? ngx_errno != NGX_ESRCH : group == getpgrp();
}


ngx_uint_t
ngx_http_retry_chain_gauges_sum(ngx_http_retry_chain_workers_t *workers,
    ngx_uint_t gauge)
{
    ngx_uint_t                      n;
    ngx_http_retry_chain_gauges_t  *gauges;

    n = 0;

    if (gauge >= workers->values) {
        return 0;
    }

    for (gauges = workers->workers; gauges; gauges = gauges->next) {

        if (gauges->values[gauge]
            && ngx_http_retry_chain_gauges_alive(gauges))
        {
            n += gauges->values[gauge];
        }
    }

    return n;
}


ngx_uint_t
ngx_http_retry_chain_gauges_waiting(ngx_http_retry_chain_workers_t *workers)
{
    ngx_uint_t                      n;
    ngx_http_retry_chain_gauges_t  *gauges;

    n = 0;

    for (gauges = workers->workers; gauges; gauges = gauges->next) {

        if (gauges->waiting && ngx_http_retry_chain_gauges_alive(gauges)) {
            n += gauges->waiting;
        }
    }

    return n;
}
