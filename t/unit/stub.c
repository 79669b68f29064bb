
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* what the core files of nginx need beside themselves in a unit test */


#include <stdlib.h>
#include "tap.h"


volatile ngx_cycle_t  *ngx_cycle;

static ngx_log_t    stub_log;
static ngx_pool_t  *stub_pool;


ngx_pool_t *
tap_pool(void)
{
    if (stub_pool == NULL) {
        ngx_pagesize = 4096;
        stub_pool = ngx_create_pool(4096, &stub_log);
    }

    return stub_pool;
}


void
tap_free_pool(void)
{
    if (stub_pool) {
        ngx_destroy_pool(stub_pool);
        stub_pool = NULL;
    }
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
}


void *
ngx_slab_calloc_locked(ngx_slab_pool_t *pool, size_t size)
{
    return calloc(1, size);
}
