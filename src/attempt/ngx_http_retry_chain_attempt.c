
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


/* holds the clone and its upstream without a second block */

#define NGX_HTTP_RETRY_CHAIN_POOL_SIZE  8192

/* pools that a worker keeps for the next attempts */

#define NGX_HTTP_RETRY_CHAIN_POOLS      64


static ngx_pool_t *ngx_http_retry_chain_attempt_pool(ngx_log_t *log);
static ngx_int_t ngx_http_retry_chain_attempt_clone(
    ngx_http_retry_chain_attempt_t *at, ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_attempt_quiet(ngx_http_request_t *sr);
static void ngx_http_retry_chain_attempt_locate(ngx_http_request_t *sr);
static void ngx_http_retry_chain_attempt_broken(
    ngx_http_retry_chain_attempt_t *at);
static void ngx_http_retry_chain_attempt_judge(
    ngx_http_retry_chain_attempt_t *at);
static ngx_uint_t ngx_http_retry_chain_attempt_sent(
    ngx_http_retry_chain_attempt_t *at);


static ngx_pool_t  *ngx_http_retry_chain_free_pools[NGX_HTTP_RETRY_CHAIN_POOLS];
static ngx_uint_t   ngx_http_retry_chain_nfree;


ngx_http_retry_chain_attempt_t *
ngx_http_retry_chain_attempt_start(ngx_http_request_t *r,
    ngx_http_handler_pt handler, ngx_http_retry_chain_step_t *step,
    ngx_array_t *states, ngx_uint_t proxied)
{
    size_t                           len;
#if (NGX_PCRE)
    int                             *captures;
#endif
    ngx_pool_t                      *pool;
    ngx_http_request_t              *sr;
    ngx_http_core_main_conf_t       *cmcf;
    ngx_http_retry_chain_attempt_t  *at;

    pool = ngx_http_retry_chain_attempt_pool(r->connection->log);
    if (pool == NULL) {
        return NULL;
    }

    at = ngx_pcalloc(pool, sizeof(ngx_http_retry_chain_attempt_t));
    if (at == NULL) {
        goto failed;
    }

    at->pool = pool;
    at->step = step;
    at->handler = handler;
    at->proxied = proxied;
    at->cleanup = r->cleanup;
    at->ps.handler = ngx_http_retry_chain_attempt_done;
    at->ps.data = at;

    if (ngx_http_retry_chain_attempt_clone(at, r) != NGX_OK) {
        goto failed;
    }

    sr = at->request;

    /*
     * variables of its own: a value cached by one attempt, say a key of the
     * upstream from a map, is no use to the next one
     */

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    len = cmcf->variables.nelts * sizeof(ngx_http_variable_value_t);

    sr->variables = ngx_palloc(pool, len);

    if (sr->variables == NULL
        || ngx_http_retry_chain_attempt_quiet(sr) != NGX_OK)
    {
        /* the clone is posted and counted already, it has to end by itself */
        at->rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        sr->variables = r->variables;

    } else {
        ngx_memcpy(sr->variables, r->variables, len);
    }

#if (NGX_PCRE)

    /* a copy, so that the main request need not make a new, empty one */

    if (sr->captures) {
        len = cmcf->ncaptures * sizeof(int);

        captures = ngx_palloc(pool, len);

        if (captures == NULL) {
            at->rc = NGX_HTTP_INTERNAL_SERVER_ERROR;

        } else {
            ngx_memcpy(captures, sr->captures, len);
            sr->captures = captures;
            sr->realloc_captures = 0;
        }
    }

#endif

    if (proxied) {
        ngx_memcpy(sr->ctx, r->ctx, sizeof(void *) * ngx_http_max_module);
    }

    ngx_http_retry_chain_compat_copy(sr, r);

    sr->request_length = r->request_length;
    sr->limit_rate = r->limit_rate;
    sr->limit_rate_after = r->limit_rate_after;
    sr->limit_rate_set = r->limit_rate_set;
    sr->limit_rate_after_set = r->limit_rate_after_set;

    /* these decide whether the URI is escaped again, and what variables say */

    sr->internal = r->internal;
    sr->quoted_uri = r->quoted_uri;
    sr->pipeline = r->pipeline;

    if (!step->location) {
        sr->err_status = r->err_status;
    }

    sr->upstream_states = states;
    at->states = states ? states->nelts : 0;

    sr->content_handler = ngx_http_retry_chain_attempt_content_handler;

    if (step->location || at->rc) {
        sr->write_event_handler = ngx_http_retry_chain_attempt_locate;
    }

    return at;

failed:

    ngx_http_retry_chain_attempt_pool_free(pool);

    return NULL;
}


static ngx_pool_t *
ngx_http_retry_chain_attempt_pool(ngx_log_t *log)
{
    ngx_pool_t  *pool;

    if (ngx_http_retry_chain_nfree == 0) {
        return ngx_create_pool(NGX_HTTP_RETRY_CHAIN_POOL_SIZE, log);
    }

    pool = ngx_http_retry_chain_free_pools[--ngx_http_retry_chain_nfree];
    pool->log = log;

    return pool;
}


/*
 * Every request needs a pool for its first attempt: some are kept, which saves
 * a tenth of what a chain costs.
 */

void
ngx_http_retry_chain_attempt_pool_free(ngx_pool_t *pool)
{
    ngx_pool_cleanup_t  *cln;

    if (pool->d.next
        || ngx_http_retry_chain_nfree == NGX_HTTP_RETRY_CHAIN_POOLS)
    {
        ngx_destroy_pool(pool);
        return;
    }

    for (cln = pool->cleanup; cln; cln = cln->next) {
        if (cln->handler) {
            cln->handler(cln->data);
        }
    }

    pool->cleanup = NULL;

    ngx_reset_pool(pool);

    pool->log = ngx_cycle->log;

    ngx_http_retry_chain_free_pools[ngx_http_retry_chain_nfree++] = pool;
}


void
ngx_http_retry_chain_attempt_exit(ngx_cycle_t *cycle)
{
    while (ngx_http_retry_chain_nfree) {
        ngx_destroy_pool(
            ngx_http_retry_chain_free_pools[--ngx_http_retry_chain_nfree]);
    }
}


/*
 * The main request lends its "pool" field, so that the clone lies in the pool
 * of the attempt.  The clone is active but not among the postponed requests:
 * output of the main request is not held back on its account.
 */

static ngx_int_t
ngx_http_retry_chain_attempt_clone(ngx_http_retry_chain_attempt_t *at,
    ngx_http_request_t *r)
{
    void                           *active;
    ngx_int_t                       rc;
    ngx_uint_t                      count;
#if (NGX_PCRE)
    ngx_uint_t                      realloc_captures;
#endif
    ngx_pool_t                     *pool;
    ngx_connection_t               *c;
    ngx_http_request_t             *sr;
    ngx_http_postponed_request_t  **p;

    c = r->connection;

    active = c->data;
    count = r->count;
    pool = r->pool;
#if (NGX_PCRE)
    realloc_captures = r->realloc_captures;
#endif

    r->pool = at->pool;

    rc = ngx_http_subrequest(r, &r->uri, &r->args, &sr, &at->ps,
                             NGX_HTTP_SUBREQUEST_CLONE);

    r->pool = pool;
#if (NGX_PCRE)
    r->realloc_captures = realloc_captures;
#endif

    for (p = &r->postponed; *p; p = &(*p)->next) {

        if ((*p)->request && (*p)->request->post_subrequest == &at->ps) {
            *p = (*p)->next;
            break;
        }
    }

    if (rc != NGX_OK) {
        c->data = active;
        r->count = count;
        return NGX_ERROR;
    }

    if (active == r) {
        c->data = sr;
    }

    at->request = sr;

    return NGX_OK;
}


/* with log_subrequest on, the main request is logged, not its attempts */

static ngx_int_t
ngx_http_retry_chain_attempt_quiet(ngx_http_request_t *sr)
{
    void                      **loc_conf;
    ngx_http_core_loc_conf_t   *clcf, *quiet;

    clcf = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);

    if (!clcf->log_subrequest) {
        return NGX_OK;
    }

    loc_conf = ngx_palloc(sr->pool, sizeof(void *) * ngx_http_max_module);
    if (loc_conf == NULL) {
        return NGX_ERROR;
    }

    quiet = ngx_palloc(sr->pool, sizeof(ngx_http_core_loc_conf_t));
    if (quiet == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(loc_conf, sr->loc_conf, sizeof(void *) * ngx_http_max_module);

    *quiet = *clcf;
    quiet->log_subrequest = 0;

    loc_conf[ngx_http_core_module.ctx_index] = quiet;
    sr->loc_conf = loc_conf;

    return NGX_OK;
}


/* the write event handler of an attempt that does not start with its content */

static void
ngx_http_retry_chain_attempt_locate(ngx_http_request_t *sr)
{
    ngx_http_retry_chain_attempt_t  *at;

    at = ngx_http_retry_chain_attempt_get(sr);

    sr->write_event_handler = ngx_http_request_empty_handler;

    if (at->rc) {
        ngx_http_finalize_request(sr, at->rc);
        return;
    }

    (void) ngx_http_named_location(sr, &at->step->name);

    ngx_http_finalize_request(sr, NGX_DONE);
}


/*
 * Called by nginx whenever the clone is finalized with anything but NGX_DONE
 * and NGX_DECLINED.  It notes what happened and lets the clone end quietly, as
 * a background request: it starts nothing and leaves the main request to act
 * when its turn among the posted requests comes.
 */

ngx_int_t
ngx_http_retry_chain_attempt_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc)
{
    ngx_http_retry_chain_attempt_t *at = data;

    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = sr->main;
    c = sr->connection;

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "retry chain attempt done: %i, relaying:%d, buffered:%xd, "
                   "error:%d", rc, at->relaying, sr->buffered, c->error);

    if (at->done) {
        return rc;
    }

    if (at->answered && rc <= NGX_OK) {

        /* whatever became of a body that nobody wanted */

        rc = at->answer;
    }

    if (r->filter_finalize && rc == NGX_ERROR) {

        /* a filter has answered already, the request ends here */

        at->replaced = 1;

        return rc;
    }

    if ((rc == NGX_OK || rc == NGX_AGAIN)
        && (sr->buffered || sr->postponed) && !c->error)
    {
        return rc;
    }

    at->done = 1;
    at->rc = rc;

    if (!at->judged) {
        ngx_http_retry_chain_attempt_judge(at);
        ngx_http_retry_chain_attempt_cached(at);

    } else if (at->buffering && !at->answered && !c->error
               && rc != NGX_HTTP_CLIENT_CLOSED_REQUEST)
    {
        ngx_http_retry_chain_attempt_broken(at);
    }

    at->error = c->error;
    c->error = 0;

    if (sr->upstream && sr->upstream->cleanup) {

        /* ended from elsewhere: nothing else will end the upstream in time */

        r->count++;
        (*sr->upstream->cleanup)(sr);
    }

    sr->background = 1;
    sr->read_event_handler = ngx_http_request_empty_handler;
    sr->write_event_handler = ngx_http_request_empty_handler;

    (void) ngx_http_retry_chain_attempt_quiet(sr);

    if (c->data == sr) {
        c->data = r;
    }

    (void) ngx_http_post_request(r, &at->posted);

    return NGX_OK;
}


/* a reply that was held back has no end: nothing of it has been sent */

static void
ngx_http_retry_chain_attempt_broken(ngx_http_retry_chain_attempt_t *at)
{
    at->rc = at->expired ? NGX_HTTP_GATEWAY_TIME_OUT : NGX_HTTP_BAD_GATEWAY;

    at->outcome.outcome = at->expired ? NGX_HTTP_RETRY_CHAIN_TIMEOUT
                                      : NGX_HTTP_RETRY_CHAIN_ERROR;
    at->outcome.status = at->rc;
}


/* an attempt that ended without a header has a code only */

static void
ngx_http_retry_chain_attempt_judge(ngx_http_retry_chain_attempt_t *at)
{
    ngx_int_t                        rc;
    ngx_uint_t                       i;
    ngx_array_t                     *states;
    ngx_http_upstream_t             *u;
    ngx_http_upstream_state_t       *state;
    ngx_http_retry_chain_outcome_t  *outcome;

    rc = at->rc;
    u = at->request->upstream;
    outcome = &at->outcome;

    if (at->expired && rc != NGX_HTTP_CLIENT_CLOSED_REQUEST
        && rc != NGX_HTTP_REQUEST_TIME_OUT && rc != NGX_ERROR)
    {
        rc = NGX_HTTP_GATEWAY_TIME_OUT;
        at->rc = rc;
    }

    outcome->outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome->status = rc > 0 ? rc : 0;
    outcome->sent = 1;

    if (at->redirected) {
        outcome->status = u ? u->headers_in.status_n : NGX_HTTP_OK;
        return;
    }

    if (u && u->headers_in.x_accel_redirect
        && u->state && u->state->header_time != (ngx_msec_t) -1
        && !(u->conf->ignore_headers & NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT))
    {
        /* the upstream has answered, it is the redirect that failed here */

        outcome->status = u->headers_in.status_n;
        return;
    }

    if (u == NULL || (!at->expired && (ngx_int_t) u->headers_in.status_n == rc))
    {
        return;
    }

    switch (rc) {

    case NGX_HTTP_GATEWAY_TIME_OUT:
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_TIMEOUT;
        break;

    case NGX_HTTP_BAD_GATEWAY:
    case NGX_HTTP_INTERNAL_SERVER_ERROR:
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
        break;

    default:
        return;
    }

    outcome->sent = ngx_http_retry_chain_attempt_sent(at);

    states = at->request->upstream_states;

    if (outcome->outcome == NGX_HTTP_RETRY_CHAIN_TIMEOUT || states == NULL) {
        return;
    }

    /* something was received, but it was no header */

    state = states->elts;
    i = states->nelts;

    if (i > at->states && state[i - 1].bytes_received) {
        outcome->outcome = NGX_HTTP_RETRY_CHAIN_INVALID_HEADER;
    }
}


/*
 * 0 if no byte of the request has left in any try of the attempt: neither a
 * refused nor a slow connect, nor a failed TLS handshake.
 */

static ngx_uint_t
ngx_http_retry_chain_attempt_sent(ngx_http_retry_chain_attempt_t *at)
{
    ngx_uint_t                  i;
    ngx_array_t                *states;
    ngx_http_upstream_state_t  *state;

    states = at->request->upstream_states;

    if (states == NULL) {
        return 0;
    }

    state = states->elts;

    for (i = at->states; i < states->nelts; i++) {
        if (state[i].bytes_sent) {
            return 1;
        }
    }

    return 0;
}


void
ngx_http_retry_chain_attempt_cached(ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_retry_chain_outcome_t  said;

    if (!ngx_http_retry_chain_said_cached(at->request)) {
        return;
    }

    at->outcome.cached = 1;

    ngx_http_retry_chain_attempt_said(at, &said);

    at->outcome.sent = said.outcome == NGX_HTTP_RETRY_CHAIN_REPLY
                       ? said.status != NGX_HTTP_TOO_MANY_REQUESTS
                       : ngx_http_retry_chain_attempt_sent(at);

#if (NGX_HTTP_CACHE)
    if (at->request->cache->background) {
        ngx_http_retry_chain_attempt_update(at);
    }
#endif
}


void
ngx_http_retry_chain_attempt_said(ngx_http_retry_chain_attempt_t *at,
    ngx_http_retry_chain_outcome_t *said)
{
    if (!at->outcome.cached) {
        *said = at->outcome;
        return;
    }

    ngx_http_retry_chain_said_outcome(at->request, at->states, said);

    said->cached = 1;
}


ngx_int_t
ngx_http_retry_chain_attempt_free(ngx_http_retry_chain_attempt_t *at)
{
    ngx_http_request_t         *r;
    ngx_http_cleanup_t         *cln;
    ngx_http_posted_request_t  *pr;

    r = at->request->main;

    /* what the handler of the clone has put there may point to the pool */

    for (cln = r->cleanup; cln && cln != at->cleanup; cln = cln->next) {
        if (cln->handler) {
            return NGX_AGAIN;
        }
    }

    /* a background cache update is a child of the clone and counted on main */

    if (r->count > 1 || r->blocked) {
        return NGX_AGAIN;
    }

    for (pr = r->posted_requests; pr; pr = pr->next) {
        if (pr->request != r || pr == &at->posted) {
            return NGX_AGAIN;
        }
    }

    ngx_http_retry_chain_attempt_pool_free(at->pool);

    return NGX_OK;
}


/*
 * Runs in the rewrite phases.  A clone starts in the content phase, so it
 * comes here only when something, X-Accel-Redirect as a rule, redirects it.
 * The access phase does not run for subrequests: the redirect has to be made
 * by the main request.  In an @location it may do as it likes until something
 * has been proxied.
 */

ngx_int_t
ngx_http_retry_chain_attempt_phase_handler(ngx_http_request_t *sr)
{
    ngx_http_core_loc_conf_t        *clcf;
    ngx_http_core_main_conf_t       *cmcf;
    ngx_http_retry_chain_attempt_t  *at;

    if (sr == sr->main) {
        return NGX_DECLINED;
    }

    at = ngx_http_retry_chain_attempt_get(sr);

    if (at == NULL || at->done || at->relaying) {
        return NGX_DECLINED;
    }

    if (at->step->location && sr->upstream == NULL) {
        return ngx_http_retry_chain_attempt_quiet(sr) == NGX_OK
               ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cmcf = ngx_http_get_module_main_conf(sr, ngx_http_core_module);

    if (sr->phase_handler >= (ngx_int_t)
                             cmcf->phase_engine.location_rewrite_index)
    {
        clcf = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);
        at->named = clcf->name;
    }

    at->redirected = 1;

    return NGX_OK;
}
