
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Shared memory: the slots of ways out, by zone and name of the step, and how
 * many runs wait.  Slots are found while the configuration is read; at run time
 * nothing is allocated and no lock is taken.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_ZONE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_retry_chain_plan.h"


typedef struct ngx_http_retry_chain_node_s  ngx_http_retry_chain_node_t;

struct ngx_http_retry_chain_node_s {
    ngx_http_retry_chain_node_t     *next;
    ngx_atomic_t                     used;      /* last time, ms */
    ngx_http_retry_chain_slot_t      slot;
    ngx_str_t                        name;      /* of the step */
};


typedef struct {
    ngx_http_retry_chain_node_t     *nodes;
    ngx_http_retry_chain_budget_t    budget;
    ngx_atomic_t                     turn;      /* of runs that rotate */

    ngx_atomic_t                     processes; /* slots in use, at most */

    /* by process slot, so that those of a killed worker can be forgotten */
    ngx_atomic_t                     waiting[NGX_MAX_PROCESSES];
    ngx_pid_t                        pids[NGX_MAX_PROCESSES];
} ngx_http_retry_chain_shared_t;


/* a way out as a worker sees it, with the runs that it has parked there */

struct ngx_http_retry_chain_way_s {
    ngx_http_retry_chain_slot_t     *slot;
    ngx_http_retry_chain_node_t     *node;
    ngx_http_retry_chain_step_t     *step;      /* the first of that name */

    ngx_queue_t                      parked;    /* by ticket */
    ngx_queue_t                      late;      /* beyond their deadline */
    uint64_t                         limited;   /* as it was seen last */
    ngx_event_t                      event;
};


typedef struct ngx_http_retry_chain_zone_s  ngx_http_retry_chain_zone_t;

struct ngx_http_retry_chain_zone_s {
    ngx_str_t                        name;
    ngx_http_retry_chain_zone_t     *old;       /* while it is replaced */
    ngx_http_retry_chain_shared_t   *sh;
    ngx_slab_pool_t                 *shpool;
    ngx_array_t                      ways;      /* of pointers to ways */
    ngx_msec_t                       window;    /* of the budget */
    unsigned                         evicted:1;
};


/*
 * The zone of that name.  "size" is 0 where the directive gives none.  NULL
 * after an error, which has been logged.
 */
ngx_shm_zone_t *ngx_http_retry_chain_zone_add(ngx_conf_t *cf, ngx_str_t *name,
    size_t size, void *tag);

/* the clock of slots, microseconds: that of timers, the same for all workers */
#define ngx_http_retry_chain_zone_now()  ((uint64_t) ngx_current_msec * 1000)

/* the ways of the steps of a plan; called when levels are merged */
ngx_int_t ngx_http_retry_chain_zone_use(ngx_conf_t *cf,
    ngx_shm_zone_t *shm_zone, ngx_http_retry_chain_plan_t *plan);

/* a worker begins: what one before it in its place has left is forgotten */
void ngx_http_retry_chain_zone_begin(ngx_http_retry_chain_zone_t *zone);

/* 1 if fewer than so many runs of all workers wait */
ngx_uint_t ngx_http_retry_chain_zone_place(ngx_http_retry_chain_zone_t *zone,
    ngx_uint_t most);

/* the runs of this worker that wait */
ngx_atomic_t *ngx_http_retry_chain_zone_gauge(
    ngx_http_retry_chain_zone_t *zone);


#endif /* _NGX_HTTP_RETRY_CHAIN_ZONE_H_INCLUDED_ */
