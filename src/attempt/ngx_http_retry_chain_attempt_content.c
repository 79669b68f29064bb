
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


static ngx_int_t ngx_http_retry_chain_attempt_content_start(
    ngx_http_retry_chain_attempt_t *at);
static ngx_int_t ngx_http_retry_chain_attempt_content_reinit(
    ngx_http_request_t *sr);


/* the content handler of attempts, and of the updates of what they relay */

ngx_int_t
ngx_http_retry_chain_attempt_content_handler(ngx_http_request_t *sr)
{
    ngx_int_t                        rc;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    at = ngx_http_retry_chain_attempt_get(sr);

    for (r = sr->parent; at == NULL; r = r->parent) {

        /* a clone made by another module */

        at = ngx_http_retry_chain_attempt_get(r);
    }

    if (sr->request_body && sr->request_body->temp_file
        && at->request == sr && at->proxied)
    {
        rc = ngx_http_retry_chain_attempt_content_start(at);

    } else {
        rc = at->handler(sr);
    }

#if (NGX_HTTP_CACHE)

    /* a handler that has failed may have left an upstream without one */

    if (sr->upstream && sr->upstream->conf && sr->upstream->conf->cache) {
        at->watched = 1;
        ngx_http_retry_chain_response_watch(sr);
    }

#endif

    return rc;
}


/*
 * One of nginx's own handlers sets the upstream up and starts it in one go.
 * It does not start while a file operation is under way, so between the two
 * the upstream can be changed: its very first connection may fail at once.
 */

static ngx_int_t
ngx_http_retry_chain_attempt_content_start(ngx_http_retry_chain_attempt_t *at)
{
    ngx_int_t            rc;
    ngx_http_request_t  *sr;

    sr = at->request;

    sr->aio = 1;

    rc = at->handler(sr);

    sr->aio = 0;

    if (rc == NGX_DONE) {
        at->reinit = sr->upstream->reinit_request;
        sr->upstream->reinit_request =
                                   ngx_http_retry_chain_attempt_content_reinit;

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
ngx_http_retry_chain_attempt_content_reinit(ngx_http_request_t *sr)
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


void
ngx_http_retry_chain_attempt_locate_handler(ngx_http_request_t *sr,
    ngx_uint_t proxied)
{
    ngx_http_retry_chain_attempt_t  *at;

    at = ngx_http_retry_chain_attempt_get(sr);

    if (at && at->step->location && sr->upstream == NULL) {
        at->handler = sr->content_handler;
        at->proxied = proxied;

        sr->content_handler = ngx_http_retry_chain_attempt_content_handler;
    }
}


/* nginx has posted an update of the stale reply, it has not begun */

void
ngx_http_retry_chain_attempt_update(ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_request_t         *r;
    ngx_http_posted_request_t  *pr;

    for (pr = at->request->main->posted_requests; pr; pr = pr->next) {
        r = pr->request;

        if (r->parent == at->request && r->background) {
            r->post_subrequest = &at->update;
            r->content_handler = ngx_http_retry_chain_attempt_content_handler;

            return;
        }
    }
}
