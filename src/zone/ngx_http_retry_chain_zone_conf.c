
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


static ngx_int_t ngx_http_retry_chain_zone_check(ngx_conf_t *cf,
    ngx_str_t *name, size_t size);
static ngx_http_retry_chain_queue_t *ngx_http_retry_chain_zone_queue(
    ngx_conf_t *cf, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_step_t *step);


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
