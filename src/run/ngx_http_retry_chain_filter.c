
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The filters at the very top of both chains: the reply of an attempt goes no
 * further here.  Its header, or its body if that decides, gets the verdict; it
 * is relayed, or discarded.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


/* a discarded body is read for this long, or for as long as the wait is */

#define NGX_HTTP_RETRY_CHAIN_DISCARD_TIME  100


static ngx_int_t ngx_http_retry_chain_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
#if (NGX_HTTP_RETRY_CHAIN_EARLY_HINTS)
static ngx_int_t ngx_http_retry_chain_early_hints_filter(ngx_http_request_t *r);
#endif
static ngx_int_t ngx_http_retry_chain_filter_verdict(
    ngx_http_retry_chain_run_t *run, ngx_str_t *body);
static ngx_int_t ngx_http_retry_chain_filter_buffer(
    ngx_http_retry_chain_run_t *run, ngx_chain_t *in);
static void ngx_http_retry_chain_filter_answered(
    ngx_http_retry_chain_run_t *run, ngx_int_t rc);
static ngx_uint_t ngx_http_retry_chain_filter_child(ngx_http_request_t *r);
static void ngx_http_retry_chain_filter_cut(ngx_http_retry_chain_run_t *run);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;
#if (NGX_HTTP_RETRY_CHAIN_EARLY_HINTS)
static ngx_http_output_header_filter_pt  ngx_http_next_early_hints_filter;
#endif


static ngx_int_t
ngx_http_retry_chain_header_filter(ngx_http_request_t *r)
{
    ngx_http_retry_chain_attempt_t  *at;

    if (r == r->main) {
        return ngx_http_next_header_filter(r);
    }

    at = ngx_http_retry_chain_attempt_get(r);

    if (at == NULL) {
        return ngx_http_retry_chain_filter_child(r)
               ? NGX_OK : ngx_http_next_header_filter(r);
    }

    if (at->state != NGX_HTTP_RETRY_CHAIN_ATTEMPT_HEADER) {
        ngx_log_error(NGX_LOG_ALERT, r->connection->log, 0,
                      "retry chain attempt sent a second header");
        return NGX_ERROR;
    }

    at->expired = 0;

    ngx_http_retry_chain_outcome_header(at);

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "retry chain header: %ui, upstream:%d",
                   r->headers_out.status, r->upstream != NULL);

    switch (ngx_http_retry_chain_filter_verdict(at->data, NULL)) {

    case NGX_OK:
        return ngx_http_retry_chain_relay_header(at);

    case NGX_AGAIN:
        ngx_http_retry_chain_attempt_set_state(at,
                                      NGX_HTTP_RETRY_CHAIN_ATTEMPT_BUFFERING);
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

        if (ngx_http_retry_chain_filter_child(r)) {
            (void) ngx_http_retry_chain_discard(in);
            return NGX_OK;
        }

        return ngx_http_next_body_filter(r, in);
    }

    switch (at->state) {

    case NGX_HTTP_RETRY_CHAIN_ATTEMPT_BUFFERING:
        return ngx_http_retry_chain_filter_buffer(at->data, in);

    case NGX_HTTP_RETRY_CHAIN_ATTEMPT_RELAYING:
        return ngx_http_retry_chain_relay_body(at, in);

    case NGX_HTTP_RETRY_CHAIN_ATTEMPT_ANSWERED:
        (void) ngx_http_retry_chain_discard(in);
        return NGX_OK;

    default:

        if (ngx_http_retry_chain_discard_body(at, in) == NGX_DONE) {
            ngx_http_retry_chain_filter_cut(at->data);
        }

        return NGX_OK;
    }
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
 * The header of a reply has come, or "body", which it was held back for: until
 * then timeouts go on, nothing has been relayed.  NGX_OK: relay the reply;
 * NGX_DECLINED: discard it; NGX_AGAIN: hold it back.
 */

static ngx_int_t
ngx_http_retry_chain_filter_verdict(ngx_http_retry_chain_run_t *run,
    ngx_str_t *body)
{
    ngx_http_retry_chain_attempt_t  *at;

    at = run->attempt;

    if (run->plan->body && at->buffer == NULL
        && ngx_http_retry_chain_body_buffer_wanted(at->request,
                                                   run->conf->json_buffer)
        && ngx_http_retry_chain_schedule_pending(run, at)
        && ngx_http_retry_chain_body_buffer_start(at, run->conf->json_buffer)
           == NGX_OK)
    {
        return NGX_AGAIN;
    }

    ngx_http_retry_chain_run_untimer(run);
    ngx_http_retry_chain_schedule_judge(run, at, body);

    if (!run->verdict.retry && !run->verdict.fail) {

        (void) ngx_http_retry_chain_limits_retry_after(run, at->request);

        ngx_http_retry_chain_relay_state(run->request, at->request,
                                         run->target);
        return NGX_OK;
    }

    ngx_http_retry_chain_run_timer(run, ngx_max(run->verdict.delay,
                                           NGX_HTTP_RETRY_CHAIN_DISCARD_TIME));

    if (at->request->read_event_handler == ngx_http_request_empty_handler) {

        /* an attempt may ignore that the client is gone, a wait does not */

        (void) ngx_http_retry_chain_schedule_watch(at->request);
    }

    return NGX_DECLINED;
}


/* until the verdict on a reply that is held back has fallen, nothing is sent */

static ngx_int_t
ngx_http_retry_chain_filter_buffer(ngx_http_retry_chain_run_t *run,
    ngx_chain_t *in)
{
    ngx_int_t                        rc;
    ngx_http_request_t              *sr;
    ngx_http_retry_chain_attempt_t  *at;

    at = run->attempt;
    sr = at->request;

    rc = ngx_http_retry_chain_body_buffer_add(at, &in);

    if (rc == NGX_AGAIN || rc == NGX_ERROR) {
        return rc == NGX_AGAIN ? NGX_OK : NGX_ERROR;
    }

    if (ngx_http_retry_chain_filter_verdict(run, rc == NGX_OK
                                                 ? &at->buffer->body : NULL)
        != NGX_OK)
    {
        if (ngx_http_retry_chain_discard_header(at) != NGX_OK
            && !at->buffer->last)
        {
            ngx_http_retry_chain_filter_cut(run);
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
        (void) ngx_http_retry_chain_discard(in);
        ngx_http_retry_chain_filter_answered(run, rc);
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
ngx_http_retry_chain_filter_answered(ngx_http_retry_chain_run_t *run,
    ngx_int_t rc)
{
    ngx_http_upstream_t             *u;
    ngx_http_retry_chain_attempt_t  *at;

    at = run->attempt;
    u = at->request->upstream;

    ngx_http_retry_chain_attempt_set_state(at,
                                       NGX_HTTP_RETRY_CHAIN_ATTEMPT_ANSWERED);
    at->answer = rc;
    at->complete = run->request->header_only;

    if (u == NULL || u->peer.connection == NULL) {
        return;
    }

    if (u->buffering && (rc == NGX_OK || rc == NGX_AGAIN)) {
        u->pipe->downstream_error = 1;

    } else {
        ngx_http_retry_chain_filter_cut(run);
    }
}


/* a subrequest that was made by the handler of an attempt that is discarded */

static ngx_uint_t
ngx_http_retry_chain_filter_child(ngx_http_request_t *r)
{
    ngx_http_retry_chain_attempt_t  *at;

    for (r = r->parent; r && r != r->main; r = r->parent) {
        at = ngx_http_retry_chain_attempt_get(r);

        if (at) {
            return at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DISCARDING
                   || (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE
                       && !at->relayed);
        }
    }

    return 0;
}


/* the rest of the body is dropped, but not within the upstream's handler */

static void
ngx_http_retry_chain_filter_cut(ngx_http_retry_chain_run_t *run)
{
    if (!run->event.posted) {
        ngx_post_event(&run->event, &ngx_posted_events);
    }
}


void
ngx_http_retry_chain_filter_init(void)
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
