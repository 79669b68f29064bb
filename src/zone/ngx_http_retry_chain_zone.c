
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_retry_chain_zone.h"


static ngx_int_t ngx_http_retry_chain_zone_create(
    ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_layout_t *layout);
static ngx_int_t ngx_http_retry_chain_zone_history(
    ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_layout_t *layout);
static ngx_int_t ngx_http_retry_chain_zone_nodes(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_find(
    ngx_http_retry_chain_zone_t *zone, ngx_str_t *name, ngx_uint_t chain);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_node(
    ngx_log_t *log, ngx_http_retry_chain_zone_t *zone, ngx_str_t *name,
    ngx_uint_t chain);
static void *ngx_http_retry_chain_zone_spare(
    ngx_http_retry_chain_zone_t *zone, size_t size);
static void ngx_http_retry_chain_zone_spare_cleanup(void *data);
static void ngx_http_retry_chain_zone_move(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_node_t *node);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_named(
    ngx_http_retry_chain_zone_t *zone, ngx_str_t *name, ngx_uint_t chain);
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
    ngx_int_t                       rc;
    ngx_log_t                      *log;
    ngx_http_retry_chain_zone_t    *zone;
    ngx_http_retry_chain_layout_t   layout;

    zone = shm_zone->data;
    log = shm_zone->shm.log;

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (data) {
        zone->old = data;
        zone->sh = zone->old->sh;

        if (zone->history != NGX_CONF_UNSET_UINT
            && zone->history != zone->sh->history)
        {
            ngx_log_error(NGX_LOG_EMERG, log, 0,
                          "the \"history\" of zone \"%V\" is %ui while it is "
                          "%ui in the running configuration: change the size, "
                          "too, or use another name in %V:%ui",
                          &zone->name, zone->history, zone->sh->history,
                          &zone->file, zone->line);
            return NGX_ERROR;
        }

        if (ngx_http_retry_chain_zone_fits(log, zone, shm_zone->shm.size)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

    } else if (shm_zone->shm.exists) {
        zone->sh = zone->shpool->data;
    }

    ngx_http_retry_chain_zone_layout(zone, shm_zone->shm.size, &layout);

    if (zone->sh == NULL
        && (ngx_http_retry_chain_zone_create(zone, &layout) != NGX_OK
            || ngx_http_retry_chain_zone_fits(log, zone, shm_zone->shm.size)
               != NGX_OK
            || ngx_http_retry_chain_zone_history(zone, &layout) != NGX_OK))
    {
        return NGX_ERROR;
    }

    if (zone->old) {
        zone->generation = zone->old->generation + 1;
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    /* without memory for it, a worker that begins makes its own */

    (void) ngx_http_retry_chain_gauges_make_locked(zone->shpool,
                                                   &zone->sh->workers,
                                                   layout.workers);

    rc = ngx_http_retry_chain_zone_nodes(log, zone);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    zone->old = NULL;

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_zone_create(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_layout_t *layout)
{
    size_t                          len;
    ngx_http_retry_chain_shared_t  *sh;

    sh = ngx_slab_calloc(zone->shpool, sizeof(ngx_http_retry_chain_shared_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    zone->sh = sh;
    zone->shpool->data = sh;

    len = sizeof(" in retry_chain_zone \"\"") + zone->name.len;

    zone->shpool->log_ctx = ngx_slab_alloc(zone->shpool, len);
    if (zone->shpool->log_ctx == NULL) {
        return NGX_ERROR;
    }

    ngx_sprintf(zone->shpool->log_ctx, " in retry_chain_zone \"%V\"%Z",
                &zone->name);

    zone->shpool->log_nomem = 0;

    sh->workers.values = layout->values;
    sh->room = zone->shpool->pfree * ngx_pagesize;

    if (zone->old) {

        /* it had another size */

        sh->ids = zone->old->sh->ids;
        sh->runs = zone->old->sh->runs;
        sh->rotation = zone->old->sh->rotation;
        sh->budget = zone->old->sh->budget;
        sh->dry = zone->old->sh->dry;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_zone_history(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_layout_t *layout)
{
    ngx_uint_t                             n, kept;
    ngx_http_retry_chain_history_entry_t  *entry;

    n = layout->history;
    kept = layout->kept;

    zone->sh->history = n;

    if (n == 0) {
        return NGX_OK;
    }

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

        ngx_http_retry_chain_zone_move(zone, &queues[i]->node->node);
    }

    for (i = 0; i < zone->chains.nelts; i++) {

        if (chains[i]->node == NULL) {
            chains[i]->node = (ngx_http_retry_chain_chain_node_t *)
                ngx_http_retry_chain_zone_node(log, zone, &chains[i]->name, 1);
            if (chains[i]->node == NULL) {
                return NGX_ERROR;
            }
        }

        ngx_http_retry_chain_zone_move(zone, &chains[i]->node->node);
    }

    if (zone->spares) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "zone \"%V\" is full of what is in use, %ui steps and "
                      "chains have other memory until the next reload",
                      &zone->name, zone->spares);
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
    ngx_http_retry_chain_node_t  *node, *oldest;

    size = sizeof(ngx_http_retry_chain_any_node_t);

    for ( ;; ) {
        node = ngx_slab_calloc_locked(zone->shpool, size + name->len);

        if (node) {
            node->gauge = ngx_http_retry_chain_zone_gauge(zone);
            node->next = zone->sh->nodes;
            zone->sh->nodes = node;
            break;
        }

        oldest = ngx_http_retry_chain_zone_evict(zone);

        if (oldest == NULL) {
            node = ngx_http_retry_chain_zone_spare(zone, size + name->len);
            if (node == NULL) {
                return NULL;
            }

            node->gauge = zone->sh->workers.values;
            break;
        }

        if (!zone->evicted) {
            zone->evicted = 1;

            ngx_log_error(NGX_LOG_WARN, log, 0,
                          "zone \"%V\" is full, forgot %s \"%V\" that was "
                          "not used longest", &zone->name,
                          oldest->chain ? "chain" : "step", &oldest->name);
        }

        ngx_slab_free_locked(zone->shpool, oldest);
    }

    node->name.len = name->len;
    node->name.data = (u_char *) node + size;
    ngx_memcpy(node->name.data, name->data, name->len);

    node->used = ngx_current_msec;
    node->first = zone->generation;
    node->last = zone->generation;
    node->chain = chain;
    node->id = ++zone->sh->ids;

    return node;
}


/*
 * Memory that workers of this configuration share, as long as it lasts.  The
 * configuration alone has room, but not yet: workers of others are there.
 */

static void *
ngx_http_retry_chain_zone_spare(ngx_http_retry_chain_zone_t *zone, size_t size)
{
    ngx_shm_t           *shm;
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(zone->cycle->pool, sizeof(ngx_shm_t));
    if (cln == NULL) {
        return NULL;
    }

    shm = cln->data;

    ngx_memzero(shm, sizeof(ngx_shm_t));

    shm->size = size;
    shm->name = zone->name;
    shm->log = zone->cycle->log;

    if (ngx_shm_alloc(shm) != NGX_OK) {
        return NULL;
    }

    cln->handler = ngx_http_retry_chain_zone_spare_cleanup;

    zone->spares++;

    return shm->addr;
}


static void
ngx_http_retry_chain_zone_spare_cleanup(void *data)
{
    ngx_shm_free(data);
}


/*
 * Where the running configuration has it elsewhere, because there was no room
 * or in a zone of another size, what is known goes along.  The node is used by
 * nobody yet.
 */

static void
ngx_http_retry_chain_zone_move(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_node_t *node)
{
    ngx_http_retry_chain_node_t  *old;

    if (zone->old == NULL) {
        return;
    }

    old = ngx_http_retry_chain_zone_named(zone->old, &node->name, node->chain);

    if (old == NULL || old == node) {
        return;
    }

    node->id = old->id;
    node->used = old->used;

    ngx_memcpy(node + 1, old + 1, sizeof(ngx_http_retry_chain_any_node_t)
                                  - sizeof(ngx_http_retry_chain_node_t));
}


static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_named(ngx_http_retry_chain_zone_t *zone,
    ngx_str_t *name, ngx_uint_t chain)
{
    ngx_uint_t                       i, n;
    ngx_http_retry_chain_node_t     *node;
    ngx_http_retry_chain_queue_t   **queues;
    ngx_http_retry_chain_chain_t   **chains;

    queues = zone->queues.elts;
    chains = zone->chains.elts;

    n = chain ? zone->chains.nelts : zone->queues.nelts;

    for (i = 0; i < n; i++) {
        node = chain ? &chains[i]->node->node : &queues[i]->node->node;

        if (node->name.len == name->len
            && ngx_memcmp(node->name.data, name->data, name->len) == 0)
        {
            return node;
        }
    }

    return NULL;
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
 * Takes the one that was not used longest out of the list.  A worker that has
 * not begun yet is not seen here; if even its configuration is older than the
 * running one, it may find nothing left and must not begin any more.
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
