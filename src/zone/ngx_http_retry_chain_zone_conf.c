
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Zones while the configuration is read.
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


static ngx_shm_zone_t *ngx_http_retry_chain_zone_running(ngx_conf_t *cf,
    ngx_str_t *name, void *tag);
static ngx_http_retry_chain_zone_t *ngx_http_retry_chain_zone_new(
    ngx_conf_t *cf, ngx_str_t *name);
static ngx_http_retry_chain_queue_t *ngx_http_retry_chain_zone_queue(
    ngx_conf_t *cf, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_step_t *step);
static size_t ngx_http_retry_chain_zone_need(ngx_http_retry_chain_zone_t *zone,
    size_t size);
static size_t ngx_http_retry_chain_zone_chunk(size_t size);


ngx_shm_zone_t *
ngx_http_retry_chain_zone_add(ngx_conf_t *cf, ngx_str_t *name, size_t size,
    void *tag)
{
    ngx_shm_zone_t               *shm_zone, *old;
    ngx_http_retry_chain_zone_t  *zone;

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    zone = shm_zone->data;

    if (zone == NULL) {
        zone = ngx_http_retry_chain_zone_new(cf, name);
        if (zone == NULL) {
            return NULL;
        }

        shm_zone->init = ngx_http_retry_chain_zone_init;
        shm_zone->data = zone;
    }

    if (size) {
        zone->file = cf->conf_file->file.name;
        zone->line = cf->conf_file->line;

        /* nginx gives it new memory if the size is another one */

        old = ngx_http_retry_chain_zone_running(cf, name, tag);

        zone->old = old && old->shm.size != size ? old->data : NULL;
    }

    return shm_zone;
}


static ngx_http_retry_chain_zone_t *
ngx_http_retry_chain_zone_new(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_http_retry_chain_zone_t  *zone;

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_zone_t));
    if (zone == NULL) {
        return NULL;
    }

    if (ngx_array_init(&zone->queues, cf->pool, 4,
                       sizeof(ngx_http_retry_chain_queue_t *))
        != NGX_OK
        || ngx_array_init(&zone->chains, cf->pool, 4,
                          sizeof(ngx_http_retry_chain_chain_t *))
           != NGX_OK)
    {
        return NULL;
    }

    zone->name = *name;
    zone->cycle = cf->cycle;
    zone->history = NGX_CONF_UNSET_UINT;
    zone->query = NGX_CONF_UNSET_UINT;

    return zone;
}


static ngx_shm_zone_t *
ngx_http_retry_chain_zone_running(ngx_conf_t *cf, ngx_str_t *name, void *tag)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_shm_zone_t   *shm_zone;

    if (ngx_is_init_cycle(cf->cycle->old_cycle)) {
        return NULL;
    }

    part = &cf->cycle->old_cycle->shared_memory.part;
    shm_zone = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            shm_zone = part->elts;
            i = 0;
        }

        if (shm_zone[i].tag == tag
            && shm_zone[i].shm.name.len == name->len
            && ngx_strncmp(shm_zone[i].shm.name.data, name->data, name->len)
               == 0)
        {
            return &shm_zone[i];
        }
    }
}


ngx_int_t
ngx_http_retry_chain_zone_use(ngx_conf_t *cf, ngx_shm_zone_t *shm_zone,
    ngx_http_retry_chain_plan_t *plan)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_zone_t  *zone;

    plan->queues = ngx_palloc(cf->pool, plan->nsteps
                                      * sizeof(ngx_http_retry_chain_queue_t *));
    if (plan->queues == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < plan->nsteps; i++) {
        plan->queues[i] = ngx_http_retry_chain_zone_queue(cf, shm_zone->data,
                                                          &plan->steps[i]);
        if (plan->queues[i] == NULL) {
            return NGX_ERROR;
        }
    }

    zone = shm_zone->data;

    if (plan->budget.window) {

        if (zone->window && zone->window != plan->budget.window) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "the budget of the chain that starts with \"%V\" in "
                          "%V:%ui has another \"window\" than others with "
                          "zone \"%V\"",
                          &plan->steps[0].name, &plan->steps[0].file,
                          plan->steps[0].line, &zone->name);
            return NGX_ERROR;
        }

        zone->window = plan->budget.window;
    }

    plan->zone = zone;

    return NGX_OK;
}


static ngx_http_retry_chain_queue_t *
ngx_http_retry_chain_zone_queue(ngx_conf_t *cf,
    ngx_http_retry_chain_zone_t *zone, ngx_http_retry_chain_step_t *step)
{
    ngx_uint_t                      i;
    ngx_http_retry_chain_step_t    *other;
    ngx_http_retry_chain_queue_t   *queue, **queues;

    queues = zone->queues.elts;

    for (i = 0; i < zone->queues.nelts; i++) {
        other = queues[i]->step;

        if (other->name.len != step->name.len
            || ngx_strncmp(other->name.data, step->name.data, step->name.len)
               != 0)
        {
            continue;
        }

        if (other->limit.rate != step->limit.rate
            || other->limit.burst != step->limit.burst
            || other->limit.automatic != step->limit.automatic)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "step \"%V\" in %V:%ui has another \"rate\" or "
                          "\"burst\" than in %V:%ui, with the same zone "
                          "\"%V\"",
                          &step->name, &step->file, step->line, &other->file,
                          other->line, &zone->name);
            return NULL;
        }

        return queues[i];
    }

    queue = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_queue_t));
    if (queue == NULL) {
        return NULL;
    }

    queues = ngx_array_push(&zone->queues);
    if (queues == NULL) {
        return NULL;
    }

    *queues = queue;

    queue->step = step;
    ngx_queue_init(&queue->runs);
    ngx_queue_init(&queue->late);

    return queue;
}


ngx_int_t
ngx_http_retry_chain_zone_chain(ngx_http_retry_chain_chain_t *chain)
{
    ngx_http_retry_chain_chain_t  **p;

    chain->zone = chain->plan->zone;

    p = ngx_array_push(&chain->zone->chains);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *p = chain;

    return NGX_OK;
}


/*
 * Unless it is said, the history takes a third of the zone at the most.  There
 * is a gauges for each worker, and another one after a reload, but an eighth of
 * the zone is enough for them; with more of them a worker makes its own.
 */

void
ngx_http_retry_chain_zone_layout(ngx_http_retry_chain_zone_t *zone,
    size_t size, ngx_http_retry_chain_layout_t *layout)
{
    ngx_uint_t        n;
    ngx_core_conf_t  *ccf;

    n = zone->history;

    if (n == NGX_CONF_UNSET_UINT) {
        n = size / 3 / sizeof(ngx_http_retry_chain_history_entry_t);
        n = n * NGX_HTTP_RETRY_CHAIN_KEPT / (NGX_HTTP_RETRY_CHAIN_KEPT + 2);
        n = ngx_min(n, NGX_HTTP_RETRY_CHAIN_HISTORY);
    }

    layout->history = n;
    layout->kept = ngx_min(ngx_max(n / NGX_HTTP_RETRY_CHAIN_KEPT,
                                   NGX_HTTP_RETRY_CHAIN_MIN_KEPT),
                           NGX_HTTP_RETRY_CHAIN_MAX_KEPT);

    layout->values = ngx_min(size / sizeof(ngx_http_retry_chain_any_node_t),
                             NGX_HTTP_RETRY_CHAIN_MAX_GAUGES);

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    n = size / NGX_HTTP_RETRY_CHAIN_WORKERS / 2
        / (sizeof(ngx_http_retry_chain_gauges_t)
           + layout->values * sizeof(uint32_t));

    layout->workers = ngx_min((ngx_uint_t) ngx_max(ccf->worker_processes, 1),
                              n);
}


ngx_int_t
ngx_http_retry_chain_zone_fits(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone, size_t size)
{
    size_t                         more;
    ngx_http_retry_chain_layout_t  layout;

    if (ngx_http_retry_chain_zone_need(zone, size) <= zone->sh->room) {
        return NGX_OK;
    }

    /* the allocator takes a part of it, and maybe a page at once */

    more = ngx_pagesize;

    while (ngx_http_retry_chain_zone_need(zone, size + more) + more / 64
           + ngx_pagesize > zone->sh->room + more)
    {
        more += ngx_pagesize;
    }

    ngx_http_retry_chain_zone_layout(zone, size, &layout);

    ngx_log_error(NGX_LOG_EMERG, log, 0,
                  "zone \"%V\" is too small for %ui steps, %ui chains and a "
                  "history of %ui: it has %uzk and needs %uzk in %V:%ui",
                  &zone->name, zone->queues.nelts, zone->chains.nelts,
                  layout.history, size / 1024, (size + more) / 1024,
                  &zone->file, zone->line);

    return NGX_ERROR;
}


static size_t
ngx_http_retry_chain_zone_need(ngx_http_retry_chain_zone_t *zone, size_t size)
{
    size_t                           need, node;
    ngx_uint_t                       i;
    ngx_http_retry_chain_queue_t   **queues;
    ngx_http_retry_chain_chain_t   **chains;
    ngx_http_retry_chain_layout_t    layout;

    ngx_http_retry_chain_zone_layout(zone, size, &layout);

    need = 2 * layout.workers
           * ngx_http_retry_chain_zone_chunk(
                                       sizeof(ngx_http_retry_chain_gauges_t)
                                       + layout.values * sizeof(uint32_t));
    need = ngx_align(need, ngx_pagesize);

    if (layout.history) {
        need += (layout.history + 2 * layout.kept)
                * sizeof(ngx_http_retry_chain_history_entry_t);
        need = ngx_align(need, ngx_pagesize);
    }

    node = sizeof(ngx_http_retry_chain_any_node_t);

    queues = zone->queues.elts;

    for (i = 0; i < zone->queues.nelts; i++) {
        need += ngx_http_retry_chain_zone_chunk(node
                                                + queues[i]->step->name.len);
    }

    chains = zone->chains.elts;

    for (i = 0; i < zone->chains.nelts; i++) {
        need += ngx_http_retry_chain_zone_chunk(node + chains[i]->name.len);
    }

    return ngx_align(need, ngx_pagesize);
}


/* what the allocator takes */

static size_t
ngx_http_retry_chain_zone_chunk(size_t size)
{
    size_t  n;

    if (size > ngx_pagesize / 2) {
        return ngx_align(size, ngx_pagesize);
    }

    for (n = ngx_pagesize / 2; n / 2 >= size; n /= 2) { /* void */ }

    return n;
}
