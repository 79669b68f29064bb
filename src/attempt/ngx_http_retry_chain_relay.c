
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The filters at the very top of both chains: the reply of an attempt goes no
 * further here.  It is discarded, or fed to the top of the main request's
 * filters, which then work exactly once and as if it had proxied itself.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


/* a discarded body up to this size is read to its end */

#define NGX_HTTP_RETRY_CHAIN_DISCARD_SIZE  65536


static ngx_int_t ngx_http_retry_chain_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
#if (NGX_HTTP_RETRY_CHAIN_EARLY_HINTS)
static ngx_int_t ngx_http_retry_chain_early_hints_filter(ngx_http_request_t *r);
#endif
static ngx_int_t ngx_http_retry_chain_relay_held(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);
static ngx_int_t ngx_http_retry_chain_relay_call(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);
static ngx_int_t ngx_http_retry_chain_relay_header(
    ngx_http_retry_chain_attempt_t *at);
static ngx_uint_t ngx_http_retry_chain_relay_cached(ngx_http_request_t *r);
static void ngx_http_retry_chain_relay_answered(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);
static ngx_int_t ngx_http_retry_chain_relay_body(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);
static ngx_int_t ngx_http_retry_chain_discard_header(
    ngx_http_retry_chain_attempt_t *at);
static ngx_uint_t ngx_http_retry_chain_discarded_child(ngx_http_request_t *r);
static off_t ngx_http_retry_chain_discard(ngx_chain_t *in);
static ngx_int_t ngx_http_retry_chain_discard_body(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;
#if (NGX_HTTP_RETRY_CHAIN_EARLY_HINTS)
static ngx_http_output_header_filter_pt  ngx_http_next_early_hints_filter;
#endif


static ngx_int_t
ngx_http_retry_chain_header_filter(ngx_http_request_t *r)
{
    ngx_http_upstream_t             *u;
    ngx_http_retry_chain_attempt_t  *at;

    if (r == r->main) {
        return ngx_http_next_header_filter(r);
    }

    at = ngx_http_retry_chain_attempt_get(r);

    if (at == NULL) {
        return ngx_http_retry_chain_discarded_child(r)
               ? NGX_OK : ngx_http_next_header_filter(r);
    }

    if (at->judged) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "retry chain attempt sent a second header");
        return NGX_ERROR;
    }

    u = r->upstream;

    at->judged = 1;
    at->expired = 0;

    at->outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    at->outcome.status = r->headers_out.status;
    at->outcome.sent = 1;

    if (r->err_status && u) {

        /* the page of an error: its own status was replaced already */

        at->outcome.status = u->headers_in.status_n;
    }

    if (at->outcome.status == 0 && r->http_version == NGX_HTTP_VERSION_9) {

        /* a reply without a header */

        at->outcome.status = NGX_HTTP_OK;
    }

    ngx_http_retry_chain_attempt_cached(at);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "retry chain header: %ui, upstream:%d",
                   r->headers_out.status, u != NULL);

    switch (at->judge(at, NULL)) {

    case NGX_OK:
        return ngx_http_retry_chain_relay_header(at);

    case NGX_AGAIN:
        at->buffering = 1;
        r->header_sent = 1;
        return NGX_OK;

    default: /* NGX_DECLINED */
        return ngx_http_retry_chain_discard_header(at);
    }
}


static ngx_int_t
ngx_http_retry_chain_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_retry_chain_attempt_t  *at;

    if (r == r->main) {
        return ngx_http_next_body_filter(r, in);
    }

    at = ngx_http_retry_chain_attempt_get(r);

    if (at == NULL) {

        if (ngx_http_retry_chain_discarded_child(r)) {
            ngx_http_retry_chain_discard(in);
            return NGX_OK;
        }

        return ngx_http_next_body_filter(r, in);
    }

    if (at->buffering) {
        return ngx_http_retry_chain_relay_held(at, in);
    }

    if (at->relaying) {
        return ngx_http_retry_chain_relay_body(at, in);
    }

    return ngx_http_retry_chain_discard_body(at, in);
}


#if (NGX_HTTP_RETRY_CHAIN_EARLY_HINTS)

/*
 * Hints come before the verdict and bind nobody, so they are passed on from any
 * attempt.  The list of lines is lent for the time of the call.  What could not
 * be written yet goes out with the next header: the upstream would try to
 * flush it through the attempt, which has no output.
 */

static ngx_int_t
ngx_http_retry_chain_early_hints_filter(ngx_http_request_t *r)
{
    ngx_int_t             rc;
    ngx_list_t            headers;
    ngx_uint_t            buffered;
    ngx_connection_t     *c;
    ngx_http_request_t   *main;

    if (r == r->main || ngx_http_retry_chain_attempt_get(r) == NULL) {
        return ngx_http_next_early_hints_filter(r);
    }

    main = r->main;
    c = r->connection;

    headers = main->headers_out.headers;
    buffered = c->buffered;

    main->headers_out.headers = r->headers_out.headers;

    if (r->headers_out.headers.last == &r->headers_out.headers.part) {
        main->headers_out.headers.last = &main->headers_out.headers.part;
    }

    if (c->data == r) {
        c->data = main;
    }

    rc = ngx_http_next_early_hints_filter(main);

    if (c->data == main) {
        c->data = r;
    }

    main->headers_out.headers = headers;
    c->buffered = buffered;

    return rc;
}

#endif


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


static ngx_int_t
ngx_http_retry_chain_relay_header(ngx_http_retry_chain_attempt_t *at)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r, *sr;

    sr = at->request;
    r = sr->main;

    at->relaying = 1;

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


/* until the verdict on a reply that is held back has fallen, nothing is sent */

static ngx_int_t
ngx_http_retry_chain_relay_held(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    ngx_int_t            rc;
    ngx_http_request_t  *sr;

    sr = at->request;

    if (at->answered) {
        ngx_http_retry_chain_discard(in);
        return NGX_OK;
    }

    rc = ngx_http_retry_chain_body_buffer_add(at, &in);

    if (rc == NGX_AGAIN || rc == NGX_ERROR) {
        return rc == NGX_AGAIN ? NGX_OK : NGX_ERROR;
    }

    at->buffering = 0;

    if (at->judge(at, rc == NGX_OK ? &at->buffer->body : NULL) != NGX_OK) {

        if (ngx_http_retry_chain_discard_header(at) != NGX_OK
            && at->cut && !at->buffer->last && !at->cut->posted)
        {
            ngx_post_event(at->cut, &ngx_posted_events);
        }

#if (NGX_HTTP_CACHE)
        if (sr->upstream) {
            sr->upstream->cacheable = 0;
        }
#endif

        at->discarded = at->buffer->body.len;

        return ngx_http_retry_chain_body_filter(sr, in);
    }

    sr->header_sent = 0;

    rc = ngx_http_retry_chain_relay_header(at);

    if (rc == NGX_ERROR && !sr->main->filter_finalize) {
        return NGX_ERROR;
    }

    if (rc == NGX_ERROR || rc > NGX_OK || sr->main->header_only) {
        at->buffering = 1;
        at->answered = 1;
        at->answer = rc;
        at->complete = sr->main->header_only;

        ngx_http_retry_chain_relay_answered(at, in);

        return NGX_OK;
    }

    in = ngx_http_retry_chain_body_buffer_chain(at, in);

    return in ? ngx_http_retry_chain_body_filter(sr, in) : NGX_ERROR;
}


/*
 * There is no body to be relayed, which comes too late for the upstream to see
 * it: after a header it goes on for a cache only, after an error it is ended.
 */

static void
ngx_http_retry_chain_relay_answered(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    ngx_http_upstream_t  *u;

    u = at->request->upstream;

    ngx_http_retry_chain_discard(in);

    if (u == NULL || u->peer.connection == NULL) {
        return;
    }

    if (u->buffering && (at->answer == NGX_OK || at->answer == NGX_AGAIN)) {
        u->pipe->downstream_error = 1;

    } else if (!at->cut->posted) {
        ngx_post_event(at->cut, &ngx_posted_events);
    }
}


static ngx_int_t
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


static ngx_int_t
ngx_http_retry_chain_discard_header(ngx_http_retry_chain_attempt_t *at)
{
    off_t                 length;
    ngx_http_request_t   *sr;
    ngx_http_upstream_t  *u;

    sr = at->request;
    u = sr->upstream;

    at->discarding = 1;
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


/* a subrequest that was made by the handler of a discarded attempt */

static ngx_uint_t
ngx_http_retry_chain_discarded_child(ngx_http_request_t *r)
{
    ngx_http_retry_chain_attempt_t  *at;

    for (r = r->parent; r && r != r->main; r = r->parent) {
        at = ngx_http_retry_chain_attempt_get(r);

        if (at) {
            return at->discarding;
        }
    }

    return 0;
}


static off_t
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


static ngx_int_t
ngx_http_retry_chain_discard_body(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    at->discarded += ngx_http_retry_chain_discard(in);

    if (at->discarded > NGX_HTTP_RETRY_CHAIN_DISCARD_SIZE
        && at->cut && !at->cut->posted)
    {
        /* not from within the upstream's read handler */

        ngx_post_event(at->cut, &ngx_posted_events);
    }

    return NGX_OK;
}


void
ngx_http_retry_chain_relay_init(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_retry_chain_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_retry_chain_body_filter;

#if (NGX_HTTP_RETRY_CHAIN_EARLY_HINTS)
    ngx_http_next_early_hints_filter = ngx_http_top_early_hints_filter;
    ngx_http_top_early_hints_filter = ngx_http_retry_chain_early_hints_filter;
#endif
}
