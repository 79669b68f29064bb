
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
                   "retry chain attempt done: %i, state:%d, buffered:%xd, "
                   "error:%d", rc, at->state, sr->buffered, c->error);

    if (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE) {
        return rc;
    }

    if (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_ANSWERED && rc <= NGX_OK) {

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

    at->rc = rc;

    if (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_HEADER) {
        ngx_http_retry_chain_outcome_end(at);

    } else if (at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_BUFFERING
               && !c->error && rc != NGX_HTTP_CLIENT_CLOSED_REQUEST)
    {
        ngx_http_retry_chain_outcome_broken(at);
    }

    ngx_http_retry_chain_attempt_set_state(at,
                                           NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE);

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

    if (sr->loc_conf != r->loc_conf) {

        /* it has been sent to another location */

        (void) ngx_http_retry_chain_attempt_quiet(sr);
    }

    if (c->data == sr) {
        c->data = r;
    }

    (void) ngx_http_post_request(r, &at->posted);

    return NGX_OK;
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

    if (at == NULL || at->relayed
        || at->state == NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE)
    {
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
