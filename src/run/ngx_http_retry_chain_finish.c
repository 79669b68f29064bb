
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The end of a run and what the client gets of it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static ngx_int_t ngx_http_retry_chain_finish_end(
    ngx_http_retry_chain_run_t *run, ngx_int_t rc);
static ngx_int_t ngx_http_retry_chain_finish_pages(ngx_http_request_t *r,
    ngx_http_request_t *sr);
static void ngx_http_retry_chain_finish_redirect(
    ngx_http_retry_chain_run_t *run);


/* the last attempt has ended, with or without a reply: so does the request */

void
ngx_http_retry_chain_finish_request(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                        rc;
    ngx_connection_t                *c;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    c = r->connection;
    at = run->attempt;
    rc = at->rc;

    if (c->error
        || (at->relayed && rc == NGX_HTTP_REQUEST_TIME_OUT)
        || rc == NGX_HTTP_CLIENT_CLOSED_REQUEST)
    {
        run->verdict.result = NGX_HTTP_RETRY_CHAIN_ABORTED;
    }

    ngx_http_retry_chain_finish(run, run->verdict.result);

    if (at->relayed) {

        if ((rc == NGX_OK || rc == NGX_AGAIN) && !at->complete) {
            rc = ngx_http_retry_chain_finish_end(run, rc);
        }

        if ((r->postponed || r->buffered) && c->data == r) {

            /* subrequests of its filters have woken it already, for nothing */

            (void) ngx_http_post_request(r, NULL);
        }

        ngx_http_finalize_request(r, rc);
        return;
    }

    if (run->verdict.fail) {
        rc = ngx_http_retry_chain_limits_retry_after(run, r);

        if (rc == NGX_OK) {
            rc = ngx_http_retry_chain_error_body_fail(run);
        }

        ngx_http_finalize_request(r, rc);
        return;
    }

    if (ngx_http_retry_chain_relay_headers(r, at->request) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    if (at->redirected) {
        ngx_http_retry_chain_finish_redirect(run);
        return;
    }

    if (ngx_http_retry_chain_limits_retry_after(run, r) != NGX_OK
        || (at->step->location
            && ngx_http_retry_chain_finish_pages(r, at->request) != NGX_OK))
    {
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_finalize_request(r,
                              ngx_http_retry_chain_error_body_error(run, rc));
}


static ngx_int_t
ngx_http_retry_chain_finish_pages(ngx_http_request_t *r, ngx_http_request_t *sr)
{
    void                      **loc_conf;
    ngx_http_core_loc_conf_t   *clcf, *step, *copy;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    step = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);

    if (step->error_pages == NULL || step->error_pages == clcf->error_pages) {
        return NGX_OK;
    }

    loc_conf = ngx_palloc(r->pool, sizeof(void *) * ngx_http_max_module);
    copy = ngx_palloc(r->pool, sizeof(ngx_http_core_loc_conf_t));

    if (loc_conf == NULL || copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(loc_conf, r->loc_conf, sizeof(void *) * ngx_http_max_module);

    *copy = *clcf;
    copy->error_pages = step->error_pages;
    copy->recursive_error_pages = step->recursive_error_pages;

    loc_conf[ngx_http_core_module.ctx_index] = copy;
    r->loc_conf = loc_conf;

    return NGX_OK;
}


/* a reply has ended well, as far as the upstream says, but without an end */

static ngx_int_t
ngx_http_retry_chain_finish_end(ngx_http_retry_chain_run_t *run, ngx_int_t rc)
{
    ngx_http_request_t  *r, *sr;

    r = run->request;
    sr = run->attempt->request;

    if (r->header_only || r->http_version < NGX_HTTP_VERSION_10
        || r->connection->error)
    {
        return rc;
    }

    /* before 1.23 an empty cached or static reply came without an end */

    if (sr->headers_out.content_length_n == 0) {
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

#if (NGX_HTTP_CACHE)

    if (sr->cached && sr->cache
        && sr->cache->length == (off_t) sr->cache->body_start)
    {
        return ngx_http_send_special(r, NGX_HTTP_LAST);
    }

#endif

    /* it has been cut short and has to look like it */

    r->keepalive = 0;

    return rc;
}


/* the main request goes where its attempt has been sent */

static void
ngx_http_retry_chain_finish_redirect(ngx_http_retry_chain_run_t *run)
{
    ngx_str_t                        args;
    ngx_http_request_t              *r, *sr;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;
    sr = at->request;

    r->method = sr->method;
    r->method_name = sr->method_name;

    if (sr->err_status) {
        r->err_status = sr->err_status;
    }

    if (at->named.len) {
        r->uri = sr->uri;
        r->args = sr->args;
        r->exten = sr->exten;
        r->valid_unparsed_uri = sr->valid_unparsed_uri;

        (void) ngx_http_named_location(r, &at->named);

    } else {
        args = sr->args;
        (void) ngx_http_internal_redirect(r, &sr->uri, &args);
    }

    ngx_http_finalize_request(r, NGX_DONE);
}


/* the one end of a run, whatever it was */

void
ngx_http_retry_chain_finish(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_result_e result)
{
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;

    run->verdict.result = result;
    run->end = ngx_current_msec;

    ngx_http_retry_chain_run_untimer(run);

    if (at) {

        if (!run->recorded) {
            at->outcome.outcome = 0;
            at->outcome.status = NGX_HTTP_CLIENT_CLOSED_REQUEST;
            (void) ngx_http_retry_chain_run_record(run, at);

            if (run->queue) {
                ngx_http_retry_chain_limits_outcome(run, at);
            }
        }

        if (!at->relayed) {
            ngx_http_retry_chain_relay_state(r, at->request, run->target);
        }

    } else if (run->states) {
        r->upstream_states = run->states;
    }

    ngx_http_retry_chain_run_set_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);

    if (run->start == 0) {

        /* it has not begun */

        return;
    }

    ngx_http_retry_chain_run_log_same(run);
    ngx_http_retry_chain_run_log_end(run);
}
