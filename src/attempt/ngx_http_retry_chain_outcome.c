
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What nginx knows of an attempt, as an outcome: its header, the code that it
 * ended with, the upstream states, and what a cache has had to do with it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


static void ngx_http_retry_chain_outcome_cached(
    ngx_http_retry_chain_attempt_t *at);
static void ngx_http_retry_chain_outcome_error(ngx_http_request_t *r,
    ngx_uint_t first, ngx_uint_t timeout,
    ngx_http_retry_chain_outcome_t *outcome);
static ngx_uint_t ngx_http_retry_chain_outcome_sent(ngx_http_request_t *r,
    ngx_uint_t first);
static ngx_http_upstream_state_t *ngx_http_retry_chain_outcome_state(
    ngx_http_request_t *r, ngx_uint_t first);


void
ngx_http_retry_chain_outcome_header(ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_request_t              *sr;
    ngx_http_retry_chain_outcome_t  *outcome;

    sr = at->request;
    outcome = &at->outcome;

    outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome->status = sr->headers_out.status;
    outcome->sent = 1;

    if (sr->err_status && sr->upstream) {

        /* the page of an error: its own status was replaced already */

        outcome->status = sr->upstream->headers_in.status_n;
    }

    if (outcome->status == 0 && sr->http_version == NGX_HTTP_VERSION_9) {

        /* a reply without a header */

        outcome->status = NGX_HTTP_OK;
    }

    ngx_http_retry_chain_outcome_cached(at);
}


void
ngx_http_retry_chain_outcome_end(ngx_http_retry_chain_attempt_t *at)
{
    ngx_int_t                        rc;
    ngx_http_request_t              *sr;
    ngx_http_upstream_t             *u;
    ngx_http_retry_chain_outcome_t  *outcome;

    sr = at->request;
    u = sr->upstream;
    outcome = &at->outcome;

    if (at->expired && at->rc != NGX_HTTP_CLIENT_CLOSED_REQUEST
        && at->rc != NGX_HTTP_REQUEST_TIME_OUT && at->rc != NGX_ERROR)
    {
        at->rc = NGX_HTTP_GATEWAY_TIME_OUT;
    }

    rc = at->rc;

    outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome->status = rc > 0 ? rc : 0;
    outcome->sent = 1;

    if (at->redirected) {
        outcome->status = u ? u->headers_in.status_n : NGX_HTTP_OK;

    } else if (u && u->headers_in.x_accel_redirect
               && u->state && u->state->header_time != (ngx_msec_t) -1
               && !(u->conf->ignore_headers
                    & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT))
    {
        /* the upstream has answered, it is the redirect that failed here */

        outcome->status = u->headers_in.status_n;

    } else if (u && (at->expired || (ngx_int_t) u->headers_in.status_n != rc)
               && (rc == NGX_HTTP_GATEWAY_TIME_OUT
                   || rc == NGX_HTTP_BAD_GATEWAY
                   || rc == NGX_HTTP_INTERNAL_SERVER_ERROR))
    {
        ngx_http_retry_chain_outcome_error(sr, at->states,
                                           rc == NGX_HTTP_GATEWAY_TIME_OUT,
                                           outcome);
    }

    ngx_http_retry_chain_outcome_cached(at);
}


/* nothing of the reply has been sent */

void
ngx_http_retry_chain_outcome_broken(ngx_http_retry_chain_attempt_t *at)
{
    at->rc = at->expired ? NGX_HTTP_GATEWAY_TIME_OUT : NGX_HTTP_BAD_GATEWAY;

    at->outcome.outcome = at->expired ? NGX_HTTP_RETRY_CHAIN_TIMEOUT
                                      : NGX_HTTP_RETRY_CHAIN_ERROR;
    at->outcome.status = at->rc;
}


/* whether the request may be repeated depends on the call that was made */

static void
ngx_http_retry_chain_outcome_cached(ngx_http_retry_chain_attempt_t *at)
{
#if (NGX_HTTP_CACHE)

    ngx_http_request_t              *sr;
    ngx_http_retry_chain_outcome_t   response;

    sr = at->request;

    if ((!at->watched
         && (sr->upstream == NULL || sr->upstream->cache_status == 0))
        || !ngx_http_retry_chain_response_cached(sr))
    {
        return;
    }

    at->outcome.cached = 1;

    ngx_http_retry_chain_outcome_upstream(at, &response);

    at->outcome.sent = response.sent
                       && response.status != NGX_HTTP_TOO_MANY_REQUESTS;

    /* a redirect has forgotten the cache */

    if (sr->cache && sr->cache->background) {
        ngx_http_retry_chain_attempt_update(at);
    }

#endif
}


ngx_int_t
ngx_http_retry_chain_outcome_request(ngx_http_request_t *r, ngx_uint_t first,
    ngx_uint_t proxied, ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_uint_t                       status;
    ngx_http_upstream_t             *u;
    ngx_http_upstream_state_t       *state;
    ngx_http_retry_chain_outcome_t   response;

    u = ngx_http_retry_chain_response_upstream(r);
    state = ngx_http_retry_chain_outcome_state(r, first);
    status = r->headers_out.status;

    ngx_memzero(outcome, sizeof(ngx_http_retry_chain_outcome_t));

    if (r->connection->error || status == NGX_HTTP_CLIENT_CLOSED_REQUEST) {

        /* left without an answer, or before its end */

        outcome->status = state && state->status
                          ? state->status : NGX_HTTP_CLIENT_CLOSED_REQUEST;
        return NGX_DONE;
    }

    ngx_http_retry_chain_outcome_states(r, first, &response);

    if (ngx_http_retry_chain_response_cached(r)) {

        /* what the client gets of it may be a 304, or a page */

        if (u->headers_in.status_n) {
            status = u->headers_in.status_n;
        }

        outcome->cached = 1;
        outcome->sent = response.sent
                        && response.status != NGX_HTTP_TOO_MANY_REQUESTS;

    } else if (state) {
        *outcome = response;
        return response.outcome ? NGX_OK : NGX_AGAIN;

    } else if (proxied && u == NULL && status) {

        /* the request itself could not be read */

        outcome->status = status;
        return NGX_DONE;

    } else {
        outcome->sent = 1;
    }

    outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome->status = status;

    return status ? NGX_OK : NGX_AGAIN;
}


void
ngx_http_retry_chain_outcome_states(ngx_http_request_t *r, ngx_uint_t first,
    ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_http_upstream_state_t  *state;

    ngx_memzero(outcome, sizeof(ngx_http_retry_chain_outcome_t));

    state = ngx_http_retry_chain_outcome_state(r, first);

    if (state == NULL || state->status == 0) {
        return;
    }

    outcome->status = state->status;

    if (state->header_time != (ngx_msec_t) -1) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
        outcome->sent = 1;
        return;
    }

    ngx_http_retry_chain_outcome_error(r, first,
                                   state->status == NGX_HTTP_GATEWAY_TIME_OUT,
                                   outcome);
}


/* there is no reply, or what came was no header */

static void
ngx_http_retry_chain_outcome_error(ngx_http_request_t *r, ngx_uint_t first,
    ngx_uint_t timeout, ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_http_upstream_state_t  *state;

    state = ngx_http_retry_chain_outcome_state(r, first);

    if (timeout) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_TIMEOUT;

    } else if (state && state->bytes_received) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_INVALID_HEADER;

    } else {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
    }

    outcome->sent = ngx_http_retry_chain_outcome_sent(r, first);
}


/*
 * 0 if no byte of the request has left in any try: neither a refused nor a slow
 * connect, nor a failed TLS handshake.
 */

static ngx_uint_t
ngx_http_retry_chain_outcome_sent(ngx_http_request_t *r, ngx_uint_t first)
{
    ngx_uint_t                  i, n;
    ngx_http_upstream_state_t  *state;

    n = ngx_http_retry_chain_outcome_tries(r->upstream_states, first,
                                           NGX_MAX_INT_T_VALUE, &state);

    for (i = 0; i < n; i++) {
        if (state[i].bytes_sent) {
            return 1;
        }
    }

    return 0;
}


/* the last try since state "first", or NULL */

static ngx_http_upstream_state_t *
ngx_http_retry_chain_outcome_state(ngx_http_request_t *r, ngx_uint_t first)
{
    ngx_uint_t                  n;
    ngx_http_upstream_state_t  *state;

    n = ngx_http_retry_chain_outcome_tries(r->upstream_states, first,
                                           NGX_MAX_INT_T_VALUE, &state);

    return n ? &state[n - 1] : NULL;
}


ngx_uint_t
ngx_http_retry_chain_outcome_tries(ngx_array_t *states, ngx_uint_t first,
    ngx_uint_t end, ngx_http_upstream_state_t **state)
{
    ngx_uint_t                  i;
    ngx_http_upstream_state_t  *all;

    if (states == NULL) {
        return 0;
    }

    end = ngx_min(end, states->nelts);

    if (first >= end) {
        return 0;
    }

    all = states->elts;

    first += (all[first].peer == NULL);

    for (i = first; i < end && all[i].peer; i++) {
        /* void */
    }

    *state = &all[first];

    return i - first;
}
