
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include "ngx_http_retry_chain_zone.h"


static ngx_int_t ngx_http_retry_chain_zone_check(ngx_conf_t *cf,
    ngx_str_t *name, size_t size);
static ngx_http_retry_chain_way_t *ngx_http_retry_chain_zone_way(
    ngx_conf_t *cf, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_step_t *step);
static ngx_int_t ngx_http_retry_chain_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_retry_chain_zone_nodes(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_find(
    ngx_http_retry_chain_zone_t *zone, ngx_str_t *name);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_node(
    ngx_log_t *log, ngx_http_retry_chain_zone_t *zone, ngx_str_t *name);
static ngx_http_retry_chain_node_t *ngx_http_retry_chain_zone_evict(
    ngx_http_retry_chain_zone_t *zone);
static ngx_uint_t ngx_http_retry_chain_zone_uses(
    ngx_http_retry_chain_zone_t *zone, ngx_http_retry_chain_node_t *node);


ngx_shm_zone_t *
ngx_http_retry_chain_zone_add(ngx_conf_t *cf, ngx_str_t *name, size_t size,
    void *tag)
{
    ngx_shm_zone_t               *shm_zone;
    ngx_http_retry_chain_zone_t  *zone;

    shm_zone = ngx_shared_memory_add(cf, name, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    if (size && ngx_http_retry_chain_zone_check(cf, name, size) != NGX_OK) {
        return NULL;
    }

    if (shm_zone->data) {
        return shm_zone;
    }

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_zone_t));
    if (zone == NULL) {
        return NULL;
    }

    if (ngx_array_init(&zone->ways, cf->pool, 4,
                       sizeof(ngx_http_retry_chain_way_t *))
        != NGX_OK)
    {
        return NULL;
    }

    zone->name = *name;

    shm_zone->init = ngx_http_retry_chain_zone_init;
    shm_zone->data = zone;

    return shm_zone;
}


/* nginx would start with an empty zone of the new size */

static ngx_int_t
ngx_http_retry_chain_zone_check(ngx_conf_t *cf, ngx_str_t *name, size_t size)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_shm_zone_t   *old;

    if (ngx_is_init_cycle(cf->cycle->old_cycle)) {
        return NGX_OK;
    }

    part = &cf->cycle->old_cycle->shared_memory.part;
    old = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NGX_OK;
            }

            part = part->next;
            old = part->elts;
            i = 0;
        }

        if (old[i].shm.name.len != name->len
            || ngx_strncmp(old[i].shm.name.data, name->data, name->len) != 0)
        {
            continue;
        }

        if (old[i].shm.size != size) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "the size of zone \"%V\" is %uz while it is "
                               "%uz in the running configuration: it cannot be "
                               "changed by a reload, use another name",
                               name, size, old[i].shm.size);
            return NGX_ERROR;
        }

        return NGX_OK;
    }
}


ngx_int_t
ngx_http_retry_chain_zone_use(ngx_conf_t *cf, ngx_shm_zone_t *shm_zone,
    ngx_http_retry_chain_plan_t *plan)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_zone_t  *zone;

    plan->ways = ngx_palloc(cf->pool, plan->nsteps
                                      * sizeof(ngx_http_retry_chain_way_t *));
    if (plan->ways == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < plan->nsteps; i++) {
        plan->ways[i] = ngx_http_retry_chain_zone_way(cf, shm_zone->data,
                                                      &plan->steps[i]);
        if (plan->ways[i] == NULL) {
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


static ngx_http_retry_chain_way_t *
ngx_http_retry_chain_zone_way(ngx_conf_t *cf, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_step_t *step)
{
    ngx_uint_t                     i;
    ngx_http_retry_chain_way_t    *way, **ways;
    ngx_http_retry_chain_step_t   *other;

    ways = zone->ways.elts;

    for (i = 0; i < zone->ways.nelts; i++) {
        other = ways[i]->step;

        if (other->name.len != step->name.len
            || ngx_strncmp(other->name.data, step->name.data, step->name.len)
               != 0)
        {
            continue;
        }

        if (other->pace.rate != step->pace.rate
            || other->pace.burst != step->pace.burst
            || other->pace.automatic != step->pace.automatic)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "step \"%V\" in %V:%ui has another \"rate\" or "
                          "\"burst\" than in %V:%ui, with the same zone "
                          "\"%V\"",
                          &step->name, &step->file, step->line, &other->file,
                          other->line, &zone->name);
            return NULL;
        }

        return ways[i];
    }

    way = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_way_t));
    if (way == NULL) {
        return NULL;
    }

    ways = ngx_array_push(&zone->ways);
    if (ways == NULL) {
        return NULL;
    }

    *ways = way;

    way->step = step;
    ngx_queue_init(&way->parked);
    ngx_queue_init(&way->late);

    return way;
}


static ngx_int_t
ngx_http_retry_chain_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    size_t                        len;
    ngx_int_t                     rc;
    ngx_http_retry_chain_zone_t  *zone, *old;

    zone = shm_zone->data;
    old = data;

    zone->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old) {
        zone->sh = old->sh;
        zone->old = old;

    } else if (shm_zone->shm.exists) {
        zone->sh = zone->shpool->data;

    } else {
        zone->sh = ngx_slab_calloc(zone->shpool,
                                   sizeof(ngx_http_retry_chain_shared_t));
        if (zone->sh == NULL) {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "zone \"%V\" is too small", &zone->name);
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
    }

    ngx_shmtx_lock(&zone->shpool->mutex);

    rc = ngx_http_retry_chain_zone_nodes(shm_zone->shm.log, zone);

    ngx_shmtx_unlock(&zone->shpool->mutex);

    zone->old = NULL;

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_zone_nodes(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone)
{
    uint64_t                       now;
    ngx_uint_t                     i;
    ngx_http_retry_chain_way_t   **ways;
    ngx_http_retry_chain_node_t   *node;

    ways = zone->ways.elts;

    /* those that are there first, so that none of them is evicted */

    for (i = 0; i < zone->ways.nelts; i++) {
        ways[i]->node = ngx_http_retry_chain_zone_find(zone,
                                                       &ways[i]->step->name);
    }

    for (i = 0; i < zone->ways.nelts; i++) {
        node = ways[i]->node;

        if (node == NULL) {
            node = ngx_http_retry_chain_zone_node(log, zone,
                                                  &ways[i]->step->name);
            if (node == NULL) {
                return NGX_ERROR;
            }

            ways[i]->node = node;
        }

        ways[i]->slot = &node->slot;

        now = ngx_http_retry_chain_zone_now();

        ngx_http_retry_chain_pace_init(&node->slot, &ways[i]->step->pace, now);
    }

    return NGX_OK;
}


static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_find(ngx_http_retry_chain_zone_t *zone,
    ngx_str_t *name)
{
    ngx_http_retry_chain_node_t  *node;

    for (node = zone->sh->nodes; node; node = node->next) {
        if (node->name.len == name->len
            && ngx_memcmp(node->name.data, name->data, name->len) == 0)
        {
            return node;
        }
    }

    return NULL;
}


static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_node(ngx_log_t *log,
    ngx_http_retry_chain_zone_t *zone, ngx_str_t *name)
{
    u_char                       *data;
    ngx_http_retry_chain_node_t  *node;

    for ( ;; ) {
        data = ngx_slab_alloc_locked(zone->shpool, name->len);
        node = ngx_slab_calloc_locked(zone->shpool,
                                      sizeof(ngx_http_retry_chain_node_t));
        if (data && node) {
            break;
        }

        if (data) {
            ngx_slab_free_locked(zone->shpool, data);
        }

        if (node) {
            ngx_slab_free_locked(zone->shpool, node);
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
                          "zone \"%V\" is full, forgot step \"%V\" that was "
                          "not used longest", &zone->name, &node->name);
        }

        ngx_slab_free_locked(zone->shpool, node->name.data);
        ngx_slab_free_locked(zone->shpool, node);
    }

    ngx_memcpy(data, name->data, name->len);

    node->name.len = name->len;
    node->name.data = data;
    node->used = ngx_current_msec;

    node->next = zone->sh->nodes;
    zone->sh->nodes = node;

    return node;
}


/*
 * Takes the one that was not used longest out of the list, but none of this
 * configuration or of the one before it, which goes on if this one fails.
 * Workers of even older ones may still write to it: they harm nothing but the
 * figures of who gets the memory, it is used for slots only.
 */

static ngx_http_retry_chain_node_t *
ngx_http_retry_chain_zone_evict(ngx_http_retry_chain_zone_t *zone)
{
    ngx_http_retry_chain_node_t  **p, **oldest, *node;

    oldest = NULL;

    for (p = &zone->sh->nodes; *p; p = &(*p)->next) {

        if (ngx_http_retry_chain_zone_uses(zone, *p)
            || (zone->old && ngx_http_retry_chain_zone_uses(zone->old, *p)))
        {
            continue;
        }

        if (oldest == NULL || (*p)->used < (*oldest)->used) {
            oldest = p;
        }
    }

    if (oldest == NULL) {
        return NULL;
    }

    node = *oldest;
    *oldest = node->next;

    return node;
}


static ngx_uint_t
ngx_http_retry_chain_zone_uses(ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_way_t  **ways;

    ways = zone->ways.elts;

    for (i = 0; i < zone->ways.nelts; i++) {
        if (ways[i]->node == node) {
            return 1;
        }
    }

    return 0;
}


void
ngx_http_retry_chain_zone_begin(ngx_http_retry_chain_zone_t *zone)
{
    ngx_atomic_uint_t  n;

    *ngx_http_retry_chain_zone_gauge(zone) = 0;
    zone->sh->pids[ngx_process_slot] = ngx_pid;

    do {
        n = zone->sh->processes;

    } while (n <= (ngx_atomic_uint_t) ngx_process_slot
             && !ngx_atomic_cmp_set(&zone->sh->processes, n,
                                    ngx_process_slot + 1));
}


ngx_atomic_t *
ngx_http_retry_chain_zone_gauge(ngx_http_retry_chain_zone_t *zone)
{
    return &zone->sh->waiting[ngx_process_slot];
}


ngx_uint_t
ngx_http_retry_chain_zone_place(ngx_http_retry_chain_zone_t *zone,
    ngx_uint_t most)
{
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < zone->sh->processes; i++) {
        n += zone->sh->waiting[i];
    }

    if (n < most) {
        return 1;
    }

    /* a worker of an old configuration may have been killed, too */

    n = 0;

    for (i = 0; i < zone->sh->processes; i++) {

        if (zone->sh->waiting[i]
            && kill(zone->sh->pids[i], 0) == -1 && ngx_errno == NGX_ESRCH)
        {
            zone->sh->waiting[i] = 0;
        }

        n += zone->sh->waiting[i];
    }

    return n < most;
}
