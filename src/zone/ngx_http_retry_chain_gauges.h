
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What a worker has under way: runs that wait and attempts in flight.  Each
 * worker writes to gauges of its own, without a lock; a sum leaves out those
 * whose worker is gone, so a killed worker leaves nothing behind.  The next
 * worker that begins clears them, before others can get their pids.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_GAUGES_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_GAUGES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct ngx_http_retry_chain_gauges_s  ngx_http_retry_chain_gauges_t;

struct ngx_http_retry_chain_gauges_s {
    ngx_http_retry_chain_gauges_t   *next;
    volatile ngx_pid_t               pid;       /* 0: free */
    ngx_uint_t                       generation;  /* of its configuration */
    ngx_atomic_t                     waiting;   /* runs of the zone */
    volatile uint32_t                values[1]; /* by node, and one for all */
};                                              /* that have none */


typedef struct {
    ngx_http_retry_chain_gauges_t   *workers;
    ngx_uint_t                       values;    /* of each */
} ngx_http_retry_chain_workers_t;


/* makes gauges until so many are free; NGX_ERROR if there is no memory */
ngx_int_t ngx_http_retry_chain_gauges_make_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_workers_t *workers, ngx_uint_t n);

/* empty gauges for a worker that begins, or NULL */
ngx_http_retry_chain_gauges_t *ngx_http_retry_chain_gauges_take_locked(
    ngx_slab_pool_t *shpool, ngx_http_retry_chain_workers_t *workers,
    ngx_pid_t pid);

/* 1 if the worker of the gauges is there */
ngx_uint_t ngx_http_retry_chain_gauges_alive(
    ngx_http_retry_chain_gauges_t *gauges);

/* the sum of a gauge over all workers that are there, 0 of the last one */
ngx_uint_t ngx_http_retry_chain_gauges_sum(
    ngx_http_retry_chain_workers_t *workers, ngx_uint_t gauge);

/* likewise of the runs that wait */
ngx_uint_t ngx_http_retry_chain_gauges_waiting(
    ngx_http_retry_chain_workers_t *workers);


#endif /* _NGX_HTTP_RETRY_CHAIN_GAUGES_H_INCLUDED_ */
