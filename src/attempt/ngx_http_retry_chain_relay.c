
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The reply of an attempt is fed to the top of the main request's filters,
 * which then work exactly once and as if it had proxied itself, or it is
 * discarded.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


/* a discarded body up to this size is read to its end */

#define NGX_HTTP_RETRY_CHAIN_DISCARD_SIZE  65536


static ngx_int_t ngx_http_retry_chain_relay_call(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);
static ngx_uint_t ngx_http_retry_chain_relay_cached(ngx_http_request_t *r);


ngx_int_t
ngx_http_retry_chain_relay_header(ngx_http_retry_chain_attempt_t *at)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r, *sr;

    sr = at->request;
    r = sr->main;

    at->relayed = 1;
    ngx_http_retry_chain_attempt_set_state(at,
                                       NGX_HTTP_RETRY_CHAIN_ATTEMPT_RELAYING);

    if (ngx_http_retry_chain_relay_headers(r, sr) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_retry_chain_relay_reply(r, sr);

    rc = ngx_http_retry_chain_relay_call(at, NULL);

    sr->header_sent = 1;
    sr->header_only = r->header_only;

    if (sr->upstream && !sr->upstream->buffering && !r->header_only
        && !ngx_http_retry_chain_relay_cached(r))
    {

        /* what the upstream does to its own request after the header */

        r->limit_rate = 0;
        r->limit_rate_set = 1;
    }

    return rc;
}


static ngx_uint_t
ngx_http_retry_chain_relay_cached(ngx_http_request_t *r)
{
#if (NGX_HTTP_CACHE)
    return r->cached;
#else
    return 0;
#endif
}


ngx_int_t
ngx_http_retry_chain_relay_body(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    ngx_buf_t           *b;
    ngx_chain_t         *cl;
    ngx_http_request_t  *r, *sr;

    sr = at->request;
    r = sr->main;

    for (cl = in; cl; cl = cl->next) {
        b = cl->buf;

        if (!b->last_in_chain) {
            continue;
        }

        /* the end of the clone's output is the end of the reply */

        at->complete = 1;

        b->last_buf = 1;

        if (b->sync) {
            b->sync = 0;
            b->last_in_chain = 0;
        }

        if (ngx_http_retry_chain_relay_trailers(r, sr) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return ngx_http_retry_chain_relay_call(at, in);
}


/*
 * While the filters of the main request run, it is the active request of the
 * connection, else the postpone filter would hold its output back.  At other
 * times the attempt is, so that write events go to its upstream.  If a filter
 * has made a subrequest, that one is active now, and the attempt waits as the
 * main request would have done.
 *
 * Both are one request to operations with files, too: while the upstream of the
 * attempt writes in a thread, filters must not start another one, and while
 * they read in a thread, the upstream must not.
 */

static ngx_int_t
ngx_http_retry_chain_relay_call(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    ngx_int_t            rc;
    ngx_uint_t           writing;
    ngx_connection_t    *c;
    ngx_http_request_t  *r, *sr;

    sr = at->request;
    r = sr->main;
    c = r->connection;

    writing = (sr->aio && !at->aio);

    if (writing) {
        r->aio = 1;
    }

    if (c->data == sr) {
        c->data = r;
    }

    rc = sr->header_sent ? ngx_http_output_filter(r, in)
                         : ngx_http_send_header(r);

    /* an answer of a filter instead may be another request by now */

    if (c->data == r && !r->filter_finalize) {
        c->data = sr;
    }

    if (writing) {
        r->aio = 0;

    } else {
        at->aio = r->aio;
        sr->aio = r->aio;
    }

    return rc;
}


ngx_int_t
ngx_http_retry_chain_discard_header(ngx_http_retry_chain_attempt_t *at)
{
    off_t                 length;
    ngx_http_request_t   *sr;
    ngx_http_upstream_t  *u;

    sr = at->request;
    u = sr->upstream;

    ngx_http_retry_chain_attempt_set_state(at,
                                     NGX_HTTP_RETRY_CHAIN_ATTEMPT_DISCARDING);

    sr->header_sent = 1;

    if (u) {
        u->store = 0;
    }

    length = sr->headers_out.content_length_n;

    /* nothing is won by reading a body if the connection cannot be kept */

    if (length > NGX_HTTP_RETRY_CHAIN_DISCARD_SIZE
        || (u && u->headers_in.connection_close && sr->method != NGX_HTTP_HEAD))
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_discard_body(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    at->discarded += ngx_http_retry_chain_discard(in);

    return at->discarded > NGX_HTTP_RETRY_CHAIN_DISCARD_SIZE ? NGX_DONE
                                                             : NGX_OK;
}


off_t
ngx_http_retry_chain_discard(ngx_chain_t *in)
{
    off_t       size;
    ngx_buf_t  *b;

    for (size = 0; in; in = in->next) {
        b = in->buf;

        size += ngx_buf_size(b);

        b->pos = b->last;

        if (b->in_file) {
            b->file_pos = b->file_last;
        }
    }

    return size;
}
