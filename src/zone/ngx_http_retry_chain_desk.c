
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_desk.h"


static ngx_http_retry_chain_desk_t *ngx_http_retry_chain_desk_add_locked(
    ngx_slab_pool_t *shpool, ngx_http_retry_chain_desks_t *desks);


ngx_int_t
ngx_http_retry_chain_desk_make_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_desks_t *desks, ngx_uint_t count)
{
    while (desks->count < count) {

        if (ngx_http_retry_chain_desk_add_locked(shpool, desks) == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_http_retry_chain_desk_t *
ngx_http_retry_chain_desk_add_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_desks_t *desks)
{
    ngx_http_retry_chain_desk_t  *desk;

    desk = ngx_slab_calloc_locked(shpool,
                                  sizeof(ngx_http_retry_chain_desk_t)
                                  + desks->cells * sizeof(uint32_t));
    if (desk == NULL) {
        return NULL;
    }

    desk->next = desks->desks;

    /* others walk the list without the lock */

    ngx_memory_barrier();

    desks->desks = desk;
    desks->count++;

    return desk;
}


ngx_http_retry_chain_desk_t *
ngx_http_retry_chain_desk_take_locked(ngx_slab_pool_t *shpool,
    ngx_http_retry_chain_desks_t *desks, ngx_pid_t pid)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_desk_t  *desk;

    for (desk = desks->desks; desk; desk = desk->next) {

        if (desk->pid == 0 || desk->pid == pid
            || !ngx_http_retry_chain_desk_alive(desk))
        {
            break;
        }
    }

    if (desk == NULL) {
        desk = ngx_http_retry_chain_desk_add_locked(shpool, desks);
        if (desk == NULL) {
            return NULL;
        }
    }

    desk->waiting = 0;

    for (i = 0; i <= desks->cells; i++) {
        desk->cells[i] = 0;
    }

    ngx_memory_barrier();

    desk->pid = pid;

    return desk;
}


ngx_uint_t
ngx_http_retry_chain_desk_alive(ngx_http_retry_chain_desk_t *desk)
{
    return desk->pid
           && (kill(desk->pid, 0) == 0 || ngx_errno != NGX_ESRCH);
}


ngx_uint_t
ngx_http_retry_chain_desk_sum(ngx_http_retry_chain_desks_t *desks,
    ngx_uint_t cell)
{
    ngx_uint_t                    n;
    ngx_http_retry_chain_desk_t  *desk;

    n = 0;

    if (cell >= desks->cells) {
        return 0;
    }

    for (desk = desks->desks; desk; desk = desk->next) {

        if (desk->cells[cell] && ngx_http_retry_chain_desk_alive(desk)) {
            n += desk->cells[cell];
        }
    }

    return n;
}


ngx_uint_t
ngx_http_retry_chain_desk_waiting(ngx_http_retry_chain_desks_t *desks)
{
    ngx_uint_t                    n;
    ngx_http_retry_chain_desk_t  *desk;

    n = 0;

    for (desk = desks->desks; desk; desk = desk->next) {

        if (desk->waiting && ngx_http_retry_chain_desk_alive(desk)) {
            n += desk->waiting;
        }
    }

    return n;
}
