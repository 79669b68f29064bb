
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What a worker has under way: runs that wait and attempts in flight.  Each
 * worker writes to a desk of its own, without a lock; a sum leaves out desks
 * whose workers are gone, so a killed worker leaves nothing behind.  The next
 * worker clears and takes such a desk.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_DESK_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_DESK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct ngx_http_retry_chain_desk_s  ngx_http_retry_chain_desk_t;

struct ngx_http_retry_chain_desk_s {
    ngx_http_retry_chain_desk_t     *next;
    volatile ngx_pid_t               pid;       /* 0: free */
    ngx_atomic_t                     waiting;   /* runs of the zone */
    volatile uint32_t                cells[1];  /* by node, and one for all */
};                                              /* that have none */


typedef struct {
    ngx_http_retry_chain_desk_t     *desks;
    ngx_uint_t                       count;
    ngx_uint_t                       cells;     /* of a desk */
} ngx_http_retry_chain_desks_t;


/* makes desks until there are so many; NGX_ERROR if there is no memory */
ngx_int_t ngx_http_retry_chain_desk_make_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_desks_t *desks, ngx_uint_t count);

/* an empty desk for a worker that begins, or NULL */
ngx_http_retry_chain_desk_t *ngx_http_retry_chain_desk_take_locked(
    ngx_slab_pool_t *shpool, ngx_http_retry_chain_desks_t *desks,
    ngx_pid_t pid);

/* 1 if the worker of the desk is there */
ngx_uint_t ngx_http_retry_chain_desk_alive(ngx_http_retry_chain_desk_t *desk);

/* the sum of a cell over all workers that are there, 0 of the last one */
ngx_uint_t ngx_http_retry_chain_desk_sum(ngx_http_retry_chain_desks_t *desks,
    ngx_uint_t cell);

/* likewise of the runs that wait */
ngx_uint_t ngx_http_retry_chain_desk_waiting(
    ngx_http_retry_chain_desks_t *desks);


#endif /* _NGX_HTTP_RETRY_CHAIN_DESK_H_INCLUDED_ */
