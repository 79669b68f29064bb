
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


void
ngx_http_retry_chain_attempt_abort(ngx_http_retry_chain_attempt_t *at)
{
    ngx_connection_t     *c, *pc;
    ngx_http_request_t   *sr, *r;
    ngx_http_upstream_t  *u;

    sr = at->request;
    r = sr->main;
    c = sr->connection;
    u = sr->upstream;

    at->expired = 1;

#if (NGX_HTTP_CACHE)

    if (sr->cache && sr->cache->waiting) {

        /* for the lock of a cache entry */

        if (sr->cache->wait_event.timer_set) {
            ngx_del_timer(&sr->cache->wait_event);
        }

        sr->cache->waiting = 0;
        r->blocked--;

        ngx_http_finalize_request(sr, NGX_HTTP_GATEWAY_TIME_OUT);
        ngx_http_run_posted_requests(c);
        return;
    }

#endif

    if (r->blocked || sr->aio || u == NULL || u->cleanup == NULL) {
        return;
    }

    if (u->peer.connection) {

        /*
         * whatever the upstream is being waited for, connect, handshake, header
         * or body, is told that its timer has expired; posted requests are
         * run there, so nothing of the attempt may be touched afterwards
         */

        pc = u->peer.connection;

        u->peer.tries = 0;

        pc->read->delayed = 0;
        pc->write->delayed = 0;
        pc->read->timedout = 1;
        pc->write->timedout = 1;

        pc->read->handler(pc->read);

        return;
    }

    /* a name is being resolved */

    r->count++;
    (*u->cleanup)(sr);

    ngx_http_finalize_request(sr, NGX_HTTP_GATEWAY_TIME_OUT);
    ngx_http_run_posted_requests(c);
}


void
ngx_http_retry_chain_attempt_cut(ngx_http_retry_chain_attempt_t *at)
{
    ngx_connection_t     *c;
    ngx_http_request_t   *sr, *r;
    ngx_http_upstream_t  *u;

    sr = at->request;
    r = sr->main;
    c = sr->connection;
    u = sr->upstream;

    if (r->blocked || sr->aio || u == NULL || u->cleanup == NULL) {
        return;
    }

    r->count++;
    (*u->cleanup)(sr);

    ngx_http_finalize_request(sr, NGX_OK);
    ngx_http_run_posted_requests(c);
}
