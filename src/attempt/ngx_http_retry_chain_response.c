
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_response.h"


typedef struct {
    ngx_http_request_t   *request;
    ngx_http_upstream_t  *upstream;
    ngx_list_t            forgotten;   /* header lines */

    ngx_int_t           (*reinit_request)(ngx_http_request_t *r);
} ngx_http_retry_chain_response_t;


static ngx_int_t ngx_http_retry_chain_response_reinit(ngx_http_request_t *r);
static ngx_http_retry_chain_response_t *ngx_http_retry_chain_response_get(
    ngx_http_request_t *r);
static void ngx_http_retry_chain_response_cleanup(void *data);


void
ngx_http_retry_chain_response_watch(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_upstream_t          *u;
    ngx_http_retry_chain_response_t  *response;

    u = r->upstream;

    if (u == NULL) {
        return;
    }

    cln = ngx_pool_cleanup_add(r->pool,
                               sizeof(ngx_http_retry_chain_response_t));
    if (cln == NULL) {
        return;
    }

    response = cln->data;
    ngx_memzero(response, sizeof(ngx_http_retry_chain_response_t));

    cln->handler = ngx_http_retry_chain_response_cleanup;

    response->request = r;
    response->upstream = u;
    response->reinit_request = u->reinit_request;

    u->reinit_request = ngx_http_retry_chain_response_reinit;
}


/* nginx calls this when it is done with a reply that is not relayed */

static ngx_int_t
ngx_http_retry_chain_response_reinit(ngx_http_request_t *r)
{
    ngx_http_retry_chain_response_t  *response;

    response = ngx_http_retry_chain_response_get(r);

    response->forgotten = response->upstream->headers_in.headers;

    return response->reinit_request(r);
}


static ngx_http_retry_chain_response_t *
ngx_http_retry_chain_response_get(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_retry_chain_response_t  *response;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_retry_chain_response_cleanup) {
            response = cln->data;

            /* an update in the background has the pool of its parent */

            if (response->request == r) {
                return response;
            }
        }
    }

    return NULL;
}


ngx_http_upstream_t *
ngx_http_retry_chain_response_upstream(ngx_http_request_t *r)
{
    ngx_http_retry_chain_response_t  *response;

    response = ngx_http_retry_chain_response_get(r);

    return response ? response->upstream : r->upstream;
}


ngx_uint_t
ngx_http_retry_chain_response_cached(ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)

    ngx_http_upstream_t  *u;

    u = ngx_http_retry_chain_response_upstream(r);

    if (u == NULL) {
        return 0;
    }

    switch (u->cache_status) {

    case NGX_HTTP_CACHE_STALE:
    case NGX_HTTP_CACHE_UPDATING:
    case NGX_HTTP_CACHE_REVALIDATED:
    case NGX_HTTP_CACHE_HIT:
        return 1;
    }

#endif

    return 0;
}


ngx_list_part_t *
ngx_http_retry_chain_response_headers(ngx_http_request_t *r)
{
    ngx_http_retry_chain_response_t  *response;

    static ngx_list_part_t  none;

    response = ngx_http_retry_chain_response_get(r);

    if (ngx_http_retry_chain_response_cached(r)) {
        return response ? &response->forgotten.part : &none;
    }

    return response ? &response->upstream->headers_in.headers.part
                : &r->upstream->headers_in.headers.part;
}


/* it marks the memory only */

static void
ngx_http_retry_chain_response_cleanup(void *data)
{
    /* void */
}
