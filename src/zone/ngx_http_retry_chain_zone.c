
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_retry_chain_zone.h"


/* of every so many runs one is kept longer, of failed and of slow ones each */

#define NGX_HTTP_RETRY_CHAIN_KEPT      8
#define NGX_HTTP_RETRY_CHAIN_MIN_KEPT  4
#define NGX_HTTP_RETRY_CHAIN_MAX_KEPT  64

/* the part of the zone for workers that are made in advance */

#define NGX_HTTP_RETRY_CHAIN_WORKERS      8

/* the most nodes whose attempts in flight or runs that wait are known */

#define NGX_HTTP_RETRY_CHAIN_MAX_GAUGES  512


static ngx_int_t ngx_http_retry_chain_zone_create(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone, size_t size);
static ngx_int_t ngx_http_retry_chain_zone_history(
    ngx_http_retry_chain_zone_t *zone, size_t size);
static void ngx_http_retry_chain_zone_workers(ngx_http_retry_chain_zone_t *zone,
    size_t size);
static ngx_int_t ngx_http_retry_chain_zone_nodes(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_find(
    ngx_http_retry_chain_zone_t *zone, ngx_str_t *name, ngx_uint_t chain);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_node(
    ngx_log_t *log, ngx_http_retry_chain_zone_t *zone, ngx_str_t *name,
    ngx_uint_t chain);
static uint32_t ngx_http_retry_chain_zone_gauge(
    ngx_http_retry_chain_zone_t *zone);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_evict(
    ngx_http_retry_chain_zone_t *zone);
static ngx_uint_t ngx_http_retry_chain_zone_held(
    ngx_http_retry_chain_zone_t *zone, ngx_http_retry_chain_node_t *node);
static ngx_uint_t ngx_http_retry_chain_zone_uses(
    ngx_http_retry_chain_zone_t *zone, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_zone_enter(
    ngx_http_retry_chain_zone_t *zone);


ngx_int_t
ngx_http_retry_chain_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_int_t                     rc;
    ngx_log_t                    *log;
    ngx_http_retry_chain_zone_t  *zone, *old;

    zone = shm_zone->data;
    old = data;
    log = shm_zone->shm.log;

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old) {
        zone->sh = old->sh;
        zone->old = old;
        zone->generation = old->generation + 1;

    } else if (shm_zone->shm.exists) {
        zone->sh = zone->shpool->data;

    } else if (ngx_http_retry_chain_zone_create(log, zone, shm_zone->shm.size)
               != NGX_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, log, 0, "zone \"%V\" is too small",
                      &zone->name);
        return NGX_ERROR;
    }

    if (zone->history != NGX_CONF_UNSET_UINT
        && zone->history != zone->sh->history)
    {
        ngx_log_error(NGX_LOG_EMERG, log, 0,
                      "the \"history\" of zone \"%V\" is %ui while it is %ui "
                      "in the running configuration: it cannot be changed by a "
                      "reload, use another name",
                      &zone->name, zone->history, zone->sh->history);
        return NGX_ERROR;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    rc = ngx_http_retry_chain_zone_nodes(log, zone);

    ngx_http_retry_chain_zone_workers(zone, shm_zone->shm.size);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    zone->old = NULL;

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_zone_create(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone, size_t size)
{
    size_t  len;

    zone->sh = ngx_slab_calloc(zone->shpool,
                               sizeof(ngx_http_retry_chain_shared_t));
    if (zone->sh == NULL) {
        return NGX_ERROR;
    }

    zone->shpool->data = zone->sh;

    len = sizeof(" in retry_chain_zone \"\"") + zone->name.len;

    zone->shpool->log_ctx = ngx_slab_alloc(zone->shpool, len);
    if (zone->shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(zone->shpool->log_ctx, " in retry_chain_zone \"%V\"%Z",
                &zone->name);

    zone->shpool->log_nomem = 0;

    zone->sh->workers.values = ngx_min(
                                size / sizeof(ngx_http_retry_chain_any_node_t),
                                NGX_HTTP_RETRY_CHAIN_MAX_GAUGES);

    return ngx_http_retry_chain_zone_history(zone, size);
}


/* unless it is response, the history takes a third of the zone at the most */

static ngx_int_t
ngx_http_retry_chain_zone_history(ngx_http_retry_chain_zone_t *zone,
    size_t size)
{
    ngx_uint_t                             n, kept;
    ngx_http_retry_chain_history_entry_t  *entry;

    n = zone->history;

    if (n == NGX_CONF_UNSET_UINT) {
        n = size / 3 / sizeof(ngx_http_retry_chain_history_entry_t);
        n = n * NGX_HTTP_RETRY_CHAIN_KEPT / (NGX_HTTP_RETRY_CHAIN_KEPT + 2);
        n = ngx_min(n, NGX_HTTP_RETRY_CHAIN_HISTORY);
    }

    zone->sh->history = n;

    if (n == 0) {
        return NGX_OK;
    }

    kept = ngx_min(ngx_max(n / NGX_HTTP_RETRY_CHAIN_KEPT,
                           NGX_HTTP_RETRY_CHAIN_MIN_KEPT),
                   NGX_HTTP_RETRY_CHAIN_MAX_KEPT);

    entry = ngx_slab_calloc(zone->shpool,
                            (n + 2 * kept)
                            * sizeof(ngx_http_retry_chain_history_entry_t));
    if (entry == NULL) {
        return NGX_ERROR;
    }

    zone->sh->recent.entries = entry;
    zone->sh->recent.size = n;

    zone->sh->failed.entries = entry + n;
    zone->sh->failed.size = kept;

    zone->sh->slow.entries = entry + n + kept;
    zone->sh->slow.size = kept;

    return NGX_OK;
}


/*
 * Two for each worker, so that none is missing after a reload, but an eighth of
 * the zone at the most; with more of them a worker makes its own.
 */

static void
ngx_http_retry_chain_zone_workers(ngx_http_retry_chain_zone_t *zone,
    size_t size)
{
    ngx_uint_t        n, most;
    ngx_core_conf_t  *ccf;

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    n = 2 * ngx_max(ccf->worker_processes, 1);
    most = size / NGX_HTTP_RETRY_CHAIN_WORKERS
           / (sizeof(ngx_http_retry_chain_gauges_t)
              + zone->sh->workers.values * sizeof(uint32_t));

    (void) ngx_http_retry_chain_gauges_make_locked(zone->shpool,
                                                   &zone->sh->workers,
                                                   ngx_min(n, most));
}


static ngx_int_t
ngx_http_retry_chain_zone_nodes(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone)
{
    ngx_uint_t                       i;
    ngx_http_retry_chain_queue_t   **queues;
    ngx_http_retry_chain_chain_t   **chains;

    queues = zone->queues.elts;
    chains = zone->chains.elts;

    /* those that are there first, so that none of them is evicted */

    for (i = 0; i < zone->queues.nelts; i++) {
        queues[i]->node = (ngx_http_retry_chain_limiter_node_t *)
            ngx_http_retry_chain_zone_find(zone, &queues[i]->step->name, 0);
    }

    for (i = 0; i < zone->chains.nelts; i++) {
        chains[i]->node = (ngx_http_retry_chain_chain_node_t *)
            ngx_http_retry_chain_zone_find(zone, &chains[i]->name, 1);
    }

    for (i = 0; i < zone->queues.nelts; i++) {

        if (queues[i]->node == NULL) {
            queues[i]->node = (ngx_http_retry_chain_limiter_node_t *)
                ngx_http_retry_chain_zone_node(log, zone,
                                               &queues[i]->step->name, 0);
            if (queues[i]->node == NULL) {
                return NGX_ERROR;
            }
        }

        queues[i]->limiter = &queues[i]->node->limiter;
    }

    for (i = 0; i < zone->chains.nelts; i++) {

        if (chains[i]->node == NULL) {
            chains[i]->node = (ngx_http_retry_chain_chain_node_t *)
                ngx_http_retry_chain_zone_node(log, zone, &chains[i]->name, 1);
            if (chains[i]->node == NULL) {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_find(ngx_http_retry_chain_zone_t *zone,
    ngx_str_t *name, ngx_uint_t chain)
{
    ngx_http_retry_chain_node_t  *node;

    for (node = zone->sh->nodes; node; node = node->next) {
        if (node->chain == chain
            && node->name.len == name->len
            && ngx_memcmp(node->name.data, name->data, name->len) == 0)
        {
            return node;
        }
    }

    return NULL;
}


static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_node(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone, ngx_str_t *name, ngx_uint_t chain)
{
    size_t                        size;
    ngx_http_retry_chain_node_t  *node;

    /* the name lies behind it: up to 300 bytes cost nothing */

    size = sizeof(ngx_http_retry_chain_any_node_t);

    for ( ;; ) {
        node = ngx_slab_calloc_locked(zone->shpool, size + name->len);

        if (node) {
            break;
        }

        node = ngx_http_retry_chain_zone_evict(zone);

        if (node == NULL) {
            ngx_log_error(NGX_LOG_EMERG, log, 0,
                          "zone \"%V\" is too small", &zone->name);
            return NULL;
        }

        if (!zone->evicted) {
            zone->evicted = 1;

            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "zone \"%V\" is full, forgot %s \"%V\" that was "
                          "not used longest", &zone->name,
                          node->chain ? "chain" : "step", &node->name);
        }

        ngx_slab_free_locked(zone->shpool, node);
    }

    node->name.len = name->len;
    node->name.data = (u_char *) node + size;
    ngx_memcpy(node->name.data, name->data, name->len);

    node->used = ngx_current_msec;
    node->first = zone->generation;
    node->last = zone->generation;
    node->chain = chain;
    node->id = ++zone->sh->ids;
    node->gauge = ngx_http_retry_chain_zone_gauge(zone);

    node->next = zone->sh->nodes;
    zone->sh->nodes = node;

    return node;
}


/* the first gauge that no other node has, or the one for all the rest */

static uint32_t
ngx_http_retry_chain_zone_gauge(ngx_http_retry_chain_zone_t *zone)
{
    uint32_t                      gauge;
    ngx_http_retry_chain_node_t  *node;

    for (gauge = 0; gauge < zone->sh->workers.values; gauge++) {

        for (node = zone->sh->nodes; node; node = node->next) {
            if (node->gauge == gauge) {
                break;
            }
        }

        if (node == NULL) {
            break;
        }
    }

    return gauge;
}


/*
 * Takes the one that was not used longest out of the list.  Workers that have
 * not begun yet are not seen: if their configuration is not the running one any
 * more, they are not to begin.
 */

static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_evict(ngx_http_retry_chain_zone_t *zone)
{
    ngx_http_retry_chain_node_t  **p, **oldest, *node;

    if (zone->sh->unseen || zone->old == NULL) {
        return NULL;
    }

    oldest = NULL;

    for (p = &zone->sh->nodes; *p; p = &(*p)->next) {

        if (oldest && (*p)->used >= (*oldest)->used) {
            continue;
        }

        if (!ngx_http_retry_chain_zone_held(zone, *p)) {
            oldest = p;
        }
    }

    if (oldest == NULL) {
        return NULL;
    }

    zone->sh->oldest = zone->old->generation;

    node = *oldest;
    *oldest = node->next;

    return node;
}


/*
 * This configuration has it, or the one before it, which goes on if this one
 * fails, or some worker that is still there
 */

static ngx_uint_t
ngx_http_retry_chain_zone_held(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_node_t *node)
{
    ngx_http_retry_chain_gauges_t  *gauges;

    if (ngx_http_retry_chain_zone_uses(zone, node)
        || ngx_http_retry_chain_zone_uses(zone->old, node))
    {
        return 1;
    }

    for (gauges = zone->sh->workers.workers; gauges; gauges = gauges->next) {

        if (gauges->generation >= node->first
            && gauges->generation <= node->last
            && ngx_http_retry_chain_gauges_alive(gauges))
        {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_retry_chain_zone_uses(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t                      i;
    ngx_http_retry_chain_queue_t  **queues;
    ngx_http_retry_chain_chain_t  **chains;

    queues = zone->queues.elts;

    for (i = 0; i < zone->queues.nelts; i++) {
        if (queues[i]->node && &queues[i]->node->node == node) {
            return 1;
        }
    }

    chains = zone->chains.elts;

    for (i = 0; i < zone->chains.nelts; i++) {
        if (chains[i]->node && &chains[i]->node->node == node) {
            return 1;
        }
    }

    return 0;
}


ngx_int_t
ngx_http_retry_chain_zone_begin(ngx_http_retry_chain_zone_t *zone,
    ngx_cycle_t *cycle)
{
    ngx_int_t  rc;

    ngx_shmtx_lock(&zone->shpool->mutex);

    rc = ngx_http_retry_chain_zone_enter(zone);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    if (rc == NGX_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0,
                      "zone \"%V\" has no memory for a worker that is late",
                      &zone->name);
        return NGX_ERROR;
    }

    if (zone->gauges) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                  "zone \"%V\" is full, what this worker has under way is "
                  "not known to others", &zone->name);

    zone->gauges = ngx_pcalloc(cycle->pool,
                               sizeof(ngx_http_retry_chain_gauges_t)
                               + zone->sh->workers.values * sizeof(uint32_t));

    return zone->gauges ? NGX_OK : NGX_ERROR;
}


/* the nodes are those of the worker from now on, until its gauges is left */

static ngx_int_t
ngx_http_retry_chain_zone_enter(ngx_http_retry_chain_zone_t *zone)
{
    ngx_uint_t                       i;
    ngx_http_retry_chain_node_t     *node;
    ngx_http_retry_chain_queue_t   **queues;
    ngx_http_retry_chain_chain_t   **chains;
    ngx_http_retry_chain_shared_t   *sh;

    sh = zone->sh;

    if (zone->generation < sh->oldest) {
        return NGX_ERROR;
    }

    zone->gauges = ngx_http_retry_chain_gauges_take_locked(zone->shpool,
                                                           &sh->workers,
                                                           ngx_pid);
    if (zone->gauges) {
        zone->gauges->generation = zone->generation;

    } else {
        sh->unseen = 1;
    }

    sh->generation = ngx_max(sh->generation, zone->generation);

    queues = zone->queues.elts;

    for (i = 0; i < zone->queues.nelts; i++) {
        node = &queues[i]->node->node;
        node->last = ngx_max(node->last, zone->generation);

        if (zone->generation == sh->generation) {
            ngx_http_retry_chain_limiter_init(queues[i]->limiter,
                                              &queues[i]->step->limit,
                                              ngx_http_retry_chain_zone_now());
        }
    }

    chains = zone->chains.elts;

    for (i = 0; i < zone->chains.nelts; i++) {
        node = &chains[i]->node->node;
        node->last = ngx_max(node->last, zone->generation);
        node->used = ngx_current_msec;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_http_retry_chain_zone_place(ngx_http_retry_chain_zone_t *zone,
    ngx_uint_t most)
{
    ngx_uint_t                      n;
    ngx_http_retry_chain_gauges_t  *gauges;

    n = 0;

    for (gauges = zone->sh->workers.workers; gauges; gauges = gauges->next) {
        n += gauges->waiting;
    }

    if (n < most) {
        return 1;
    }

    /* a worker may have been killed */

    return ngx_http_retry_chain_gauges_waiting(&zone->sh->workers) < most;
}


void
ngx_http_retry_chain_zone_wait(ngx_http_retry_chain_chain_t *chain)
{
    chain->zone->gauges->waiting++;
    chain->zone->gauges->values[chain->node->node.gauge]++;
}


void
ngx_http_retry_chain_zone_leave(ngx_http_retry_chain_chain_t *chain)
{
    chain->zone->gauges->waiting--;
    chain->zone->gauges->values[chain->node->node.gauge]--;
}
