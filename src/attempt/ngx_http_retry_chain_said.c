
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_said.h"


typedef struct {
    ngx_http_request_t   *request;
    ngx_http_upstream_t  *upstream;
    ngx_list_t            forgotten;   /* header lines */

    ngx_int_t           (*reinit_request)(ngx_http_request_t *r);
} ngx_http_retry_chain_said_t;


static ngx_int_t ngx_http_retry_chain_said_reinit(ngx_http_request_t *r);
static ngx_http_retry_chain_said_t *ngx_http_retry_chain_said_get(
    ngx_http_request_t *r);
static void ngx_http_retry_chain_said_cleanup(void *data);


void
ngx_http_retry_chain_said_watch(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_upstream_t          *u;
    ngx_http_retry_chain_said_t  *said;

    u = r->upstream;

    if (u == NULL) {
        return;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_retry_chain_said_t));
    if (cln == NULL) {
        return;
    }

    said = cln->data;
    ngx_memzero(said, sizeof(ngx_http_retry_chain_said_t));

    cln->handler = ngx_http_retry_chain_said_cleanup;

    said->request = r;
    said->upstream = u;
    said->reinit_request = u->reinit_request;

    u->reinit_request = ngx_http_retry_chain_said_reinit;
}


/* nginx calls this when it is done with a reply that is not relayed */

static ngx_int_t
ngx_http_retry_chain_said_reinit(ngx_http_request_t *r)
{
    ngx_http_retry_chain_said_t  *said;

    said = ngx_http_retry_chain_said_get(r);

    said->forgotten = said->upstream->headers_in.headers;

    return said->reinit_request(r);
}


static ngx_http_retry_chain_said_t *
ngx_http_retry_chain_said_get(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t           *cln;
    ngx_http_retry_chain_said_t  *said;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_retry_chain_said_cleanup) {
            said = cln->data;

            /* an update in the background has the pool of its parent */

            if (said->request == r) {
                return said;
            }
        }
    }

    return NULL;
}


ngx_http_upstream_t *
ngx_http_retry_chain_said_upstream(ngx_http_request_t *r)
{
    ngx_http_retry_chain_said_t  *said;

    said = ngx_http_retry_chain_said_get(r);

    return said ? said->upstream : r->upstream;
}


ngx_uint_t
ngx_http_retry_chain_said_cached(ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)

    ngx_http_upstream_t  *u;

    u = ngx_http_retry_chain_said_upstream(r);

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
ngx_http_retry_chain_said_headers(ngx_http_request_t *r)
{
    ngx_http_retry_chain_said_t  *said;

    static ngx_list_part_t  none;

    said = ngx_http_retry_chain_said_get(r);

    if (ngx_http_retry_chain_said_cached(r)) {
        return said ? &said->forgotten.part : &none;
    }

    return said ? &said->upstream->headers_in.headers.part
                : &r->upstream->headers_in.headers.part;
}


void
ngx_http_retry_chain_said_outcome(ngx_http_request_t *r, ngx_uint_t first,
    ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_uint_t                  i, n;
    ngx_http_upstream_state_t  *state;

    ngx_memzero(outcome, sizeof(ngx_http_retry_chain_outcome_t));

    n = r->upstream_states ? r->upstream_states->nelts : 0;

    if (first >= n) {
        return;
    }

    state = r->upstream_states->elts;

    /* after one separator, and before the next one */

    i = first + (state[first].peer == NULL);

    while (i < n && state[i].peer) {
        i++;
    }

    state += i - 1;

    if (state->status == 0) {
        return;
    }

    outcome->status = state->status;

    if (state->header_time != (ngx_msec_t) -1) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
        outcome->sent = 1;
        return;
    }

    outcome->sent = state->bytes_sent != 0;

    if (state->status == NGX_HTTP_GATEWAY_TIME_OUT) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_TIMEOUT;

    } else if (state->bytes_received) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_INVALID_HEADER;

    } else {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
    }
}


/* it marks the memory only */

static void
ngx_http_retry_chain_said_cleanup(void *data)
{
    /* void */
}
