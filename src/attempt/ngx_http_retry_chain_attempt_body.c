
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


static ngx_int_t ngx_http_retry_chain_attempt_body_handler(
    ngx_http_request_t *sr);
static ngx_int_t ngx_http_retry_chain_attempt_body_reinit(
    ngx_http_request_t *sr);


void
ngx_http_retry_chain_attempt_body(ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_request_t  *sr;

    sr = at->request;

    if (sr->request_body == NULL || sr->request_body->temp_file == NULL) {
        return;
    }

    at->handler = sr->content_handler;
    sr->content_handler = ngx_http_retry_chain_attempt_body_handler;
}


/*
 * One of nginx's own handlers sets the upstream up and starts it in one go.
 * It does not start while a file operation is under way, so between the two
 * the upstream can be changed: its very first connection may fail at once.
 */

static ngx_int_t
ngx_http_retry_chain_attempt_body_handler(ngx_http_request_t *sr)
{
    ngx_int_t                        rc;
    ngx_http_retry_chain_attempt_t  *at;

    at = ngx_http_retry_chain_attempt_get(sr);

    /* clones of it, as for a cache update, are no attempts */

    sr->content_handler = at->handler;

    sr->aio = 1;

    rc = at->handler(sr);

    sr->aio = 0;

    if (rc == NGX_DONE) {
        at->reinit = sr->upstream->reinit_request;
        sr->upstream->reinit_request = ngx_http_retry_chain_attempt_body_reinit;

        ngx_http_upstream_init(sr);
    }

    return rc;
}


/*
 * Called before the request is sent to another server.  A buffer with a part
 * of the file that has not been sent is forgotten by nginx, which lends a new
 * one to main requests only: have it allocate one.
 */

static ngx_int_t
ngx_http_retry_chain_attempt_body_reinit(ngx_http_request_t *sr)
{
    ngx_http_upstream_t             *u;
    ngx_http_retry_chain_attempt_t  *at;

    at = ngx_http_retry_chain_attempt_get(sr);
    u = sr->upstream;

    if (u->output.free == NULL) {
        u->output.allocated = 0;
    }

    return at->reinit(sr);
}
