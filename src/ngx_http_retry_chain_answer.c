
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_answer.h"
#include "ngx_http_retry_chain_lend.h"


static void ngx_http_retry_chain_answer_redirect(
    ngx_http_retry_chain_run_t *run);


/* the last attempt has ended, with or without a reply: so does the request */

void
ngx_http_retry_chain_answer(ngx_http_retry_chain_run_t *run)
{
    ngx_int_t                        rc;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;
    rc = at->rc;

    ngx_http_retry_chain_answer_finish(run, (r->connection->error
                                          || rc == NGX_HTTP_REQUEST_TIME_OUT
                                          || rc
                                             == NGX_HTTP_CLIENT_CLOSED_REQUEST)
                                         ? NGX_HTTP_RETRY_CHAIN_ABORTED
                                         : run->verdict.result);

    if (at->relaying) {

        if (r->http_version >= NGX_HTTP_VERSION_10
            && (rc == NGX_OK || rc == NGX_AGAIN)
            && !at->complete && !r->header_only)
        {
            if (r->headers_out.content_length_n == 0) {

                /* before 1.23 an empty cached reply came without an end */

                rc = ngx_http_send_special(r, NGX_HTTP_LAST);

            } else {

                /* the reply has been cut short and has to look like it */

                r->keepalive = 0;
            }
        }

        ngx_http_finalize_request(r, rc);
        return;
    }

    if (ngx_http_retry_chain_lend_headers(r, at->request) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    if (at->redirected) {
        ngx_http_retry_chain_answer_redirect(run);
        return;
    }

    ngx_http_finalize_request(r, rc);
}


/* the main request goes where its attempt has been sent */

static void
ngx_http_retry_chain_answer_redirect(ngx_http_retry_chain_run_t *run)
{
    ngx_str_t                        args;
    ngx_http_request_t              *r, *sr;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;
    sr = at->request;

    r->method = sr->method;
    r->method_name = sr->method_name;

    if (sr->headers_out.content_type.len) {
        r->headers_out.content_type = sr->headers_out.content_type;
        r->headers_out.content_type_len = sr->headers_out.content_type_len;
        r->headers_out.content_type_lowcase =
                                          sr->headers_out.content_type_lowcase;
        r->headers_out.charset = sr->headers_out.charset;
    }

    if (sr->limit_rate_set) {
        r->limit_rate = sr->limit_rate;
        r->limit_rate_set = 1;
    }

    if (sr->err_status) {
        r->err_status = sr->err_status;
    }

    if (at->named.len) {
        (void) ngx_http_named_location(r, &at->named);

    } else {
        args = sr->args;
        (void) ngx_http_internal_redirect(r, &sr->uri, &args);
    }

    ngx_http_finalize_request(r, NGX_DONE);
}


/* the one end of a run, whatever it was */

void
ngx_http_retry_chain_answer_finish(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_result_e result)
{
    ngx_uint_t                       i, level;
    ngx_http_request_t              *r;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;

    if (run->late && result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED) {
        result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
    }

    run->result = result;
    run->end = ngx_current_msec;

    ngx_http_retry_chain_record_untimer(run);

    if (at) {

        if (!run->recorded) {
            at->outcome.outcome = 0;
            at->outcome.status = NGX_HTTP_CLIENT_CLOSED_REQUEST;
            (void) ngx_http_retry_chain_record_add(run, at);
        }

        if (!at->relaying) {
            ngx_http_retry_chain_lend_state(r, at->request, run->target);
        }

    } else {
        r->upstream_states = run->states;
    }

    ngx_http_retry_chain_record_state(run, NGX_HTTP_RETRY_CHAIN_RUN_DONE);

    ngx_http_retry_chain_record_warn(run);

    /* a run that went well at once is not worth a line */

    if (result == NGX_HTTP_RETRY_CHAIN_SUCCESS && run->records.nelts < 2) {
        return;
    }

    level = run->conf->log_level;

    if (result == NGX_HTTP_RETRY_CHAIN_ABORTED) {
        level = NGX_LOG_INFO;
    }

    i = run->records.nelts;

    ngx_log_error(level, r->connection->log, 0,
                  "retry chain ended: %V, %ui attempt%s in %M ms",
                  &ngx_http_retry_chain_result_names[result], i,
                  i == 1 ? "" : "s", run->end - run->start);
}
