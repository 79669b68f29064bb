
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Shared memory: by zone and name, the limiters and counters of steps and the
 * counters of chains; recent runs, and how many wait.  What is named lies in
 * nodes, which are found while the configuration is read, but it may still be
 * refused: only workers that begin write to them.  At run time nothing is
 * allocated and no lock is taken.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_ZONE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_ZONE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_retry_chain_plan.h"
#include "ngx_http_retry_chain_stats.h"
#include "ngx_http_retry_chain_gauges.h"
#include "ngx_http_retry_chain_history.h"


#define NGX_HTTP_RETRY_CHAIN_HISTORY      256
#define NGX_HTTP_RETRY_CHAIN_MAX_HISTORY  4096


typedef struct ngx_http_retry_chain_node_s  ngx_http_retry_chain_node_t;

struct ngx_http_retry_chain_node_s {
    ngx_http_retry_chain_node_t     *next;
    ngx_atomic_t                     used;      /* last time, ms */
    ngx_str_t                        name;      /* of the step or chain */
    uint32_t                         id;        /* never used again */
    uint32_t                         gauge;     /* of workers */

    /* of configurations that have it */
    ngx_uint_t                       first;
    ngx_uint_t                       last;

    ngx_uint_t                       chain;     /* unsigned  chain:1; */
};


typedef struct {
    ngx_http_retry_chain_node_t             node;
    ngx_http_retry_chain_limiter_t          limiter;
    ngx_http_retry_chain_step_stats_t       stats;
} ngx_http_retry_chain_limiter_node_t;


typedef struct {
    ngx_http_retry_chain_node_t             node;
    ngx_http_retry_chain_chain_stats_t      stats;
    ngx_http_retry_chain_chain_stats_t      dry;        /* of dry runs */
} ngx_http_retry_chain_chain_node_t;


/* one of them may take the memory of any other */

typedef union {
    ngx_http_retry_chain_limiter_node_t     step;
    ngx_http_retry_chain_chain_node_t       chain;
} ngx_http_retry_chain_any_node_t;


typedef struct {
    ngx_http_retry_chain_node_t      *nodes;
    uint32_t                          ids;      /* given to nodes so far */
    size_t                            room;     /* for all but this */

    ngx_uint_t                        generation; /* the youngest that began */
    ngx_uint_t                        oldest;   /* that may still begin */
    ngx_uint_t                        unseen;   /* unsigned  unseen:1; */

    ngx_http_retry_chain_budget_t     budget;
    ngx_http_retry_chain_budget_t     dry;      /* of dry runs */
    ngx_atomic_t                      rotation; /* of runs that rotate */

    ngx_http_retry_chain_workers_t    workers;

    ngx_uint_t                        history;  /* as configured */
    ngx_atomic_t                      runs;     /* numbers of entries */
    ngx_http_retry_chain_history_t    recent;
    ngx_http_retry_chain_history_t    failed;
    ngx_http_retry_chain_history_t    slow;
} ngx_http_retry_chain_shared_t;


/* the limiter of an upstream, with the runs of this worker that wait for it */

struct ngx_http_retry_chain_queue_s {
    ngx_http_retry_chain_limiter_t       *limiter;
    ngx_http_retry_chain_limiter_node_t  *node;
    ngx_http_retry_chain_step_t       *step;    /* the first of that name */

    ngx_queue_t                      runs;    /* by ticket */
    ngx_queue_t                      late;      /* beyond their deadline */
    uint64_t                         limited;   /* as it was seen last */
    ngx_event_t                      event;
};


typedef struct ngx_http_retry_chain_zone_s  ngx_http_retry_chain_zone_t;


/* a place of the configuration that has a plan of its own */

struct ngx_http_retry_chain_chain_s {
    ngx_str_t                           name;
    const ngx_http_retry_chain_plan_t  *plan;
    ngx_http_retry_chain_zone_t        *zone;   /* NULL: none */
    ngx_http_retry_chain_chain_node_t  *node;   /* in the zone */
    unsigned                            listed:1;
};


struct ngx_http_retry_chain_zone_s {
    ngx_str_t                        name;
    ngx_str_t                        file;      /* where the size is said */
    ngx_uint_t                       line;
    ngx_cycle_t                     *cycle;
    ngx_http_retry_chain_zone_t     *old;       /* while it is replaced */
    ngx_http_retry_chain_shared_t   *sh;
    ngx_slab_pool_t                 *shpool;
    ngx_uint_t                       generation;  /* of configurations */
    ngx_http_retry_chain_gauges_t   *gauges;    /* of this worker */
    ngx_array_t                      queues;    /* of pointers to queues */
    ngx_array_t                      chains;    /* of pointers to chains */
    ngx_msec_t                       window;    /* of the budget */
    ngx_uint_t                       history;   /* NGX_CONF_UNSET_UINT */
    ngx_uint_t                       query;     /* likewise; URIs have it */
    ngx_uint_t                       spares;    /* nodes outside of it */
    unsigned                         evicted:1;
};


/* what a zone of some size has beside nodes */

typedef struct {
    ngx_uint_t                       values;    /* of a gauges */
    ngx_uint_t                       workers;   /* for one configuration */
    ngx_uint_t                       history;   /* the last runs */
    ngx_uint_t                       kept;      /* failed and slow ones each */
} ngx_http_retry_chain_layout_t;


/*
 * The zone of that name.  "size" is 0 where the directive gives none.  NULL
 * after an error, which has been logged.
 */
ngx_shm_zone_t *ngx_http_retry_chain_zone_add(ngx_conf_t *cf, ngx_str_t *name,
    size_t size, void *tag);

/* the clock of limiters, us: that of timers, the same for all workers */
#define ngx_http_retry_chain_zone_now()  ((uint64_t) ngx_current_msec * 1000)

/* the queues of the steps of a plan; called when levels are merged */
ngx_int_t ngx_http_retry_chain_zone_use(ngx_conf_t *cf,
    ngx_shm_zone_t *shm_zone, ngx_http_retry_chain_plan_t *plan);

/* the chain of such a plan, with the name that it keeps */
ngx_int_t ngx_http_retry_chain_zone_chain(ngx_http_retry_chain_chain_t *chain);

void ngx_http_retry_chain_zone_layout(ngx_http_retry_chain_zone_t *zone,
    size_t size, ngx_http_retry_chain_layout_t *layout);

/* whether the configuration has room in a zone of that size; logged */
ngx_int_t ngx_http_retry_chain_zone_fits(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone, size_t size);

/* called by nginx for a zone of the new configuration */
ngx_int_t ngx_http_retry_chain_zone_init(ngx_shm_zone_t *shm_zone, void *data);

/* a worker begins; NGX_ERROR if there is nothing left for it */
ngx_int_t ngx_http_retry_chain_zone_begin(ngx_http_retry_chain_zone_t *zone,
    ngx_cycle_t *cycle);

/* 1 if fewer than so many runs of all workers wait */
ngx_uint_t ngx_http_retry_chain_zone_place(ngx_http_retry_chain_zone_t *zone,
    ngx_uint_t most);

/* a run of the chain waits, or does not wait any more */
void ngx_http_retry_chain_zone_wait(ngx_http_retry_chain_chain_t *chain);
void ngx_http_retry_chain_zone_leave(ngx_http_retry_chain_chain_t *chain);


#endif /* _NGX_HTTP_RETRY_CHAIN_ZONE_H_INCLUDED_ */
