
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The bodies of answers that nobody has sent: a Fail of a machine, and errors
 * of the module or of nginx with retry_chain_error_json.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_json_writer.h"


static ngx_uint_t ngx_http_retry_chain_error_body_own(ngx_http_request_t *r,
    ngx_int_t rc);
static void ngx_http_retry_chain_error_body_attempt(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_json_writer_t *writer,
    cJSON *attempts, ngx_http_retry_chain_attempt_record_t *record);
static void ngx_http_retry_chain_error_body_string(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    const ngx_str_t *text);
static ngx_int_t ngx_http_retry_chain_error_body_send(ngx_http_request_t *r,
    ngx_int_t status, ngx_http_retry_chain_json_writer_t *writer);


/* by result: why there was no other attempt, or none at all */

static ngx_str_t  ngx_http_retry_chain_error_body_causes[] = {
    ngx_string("the attempt failed"),
    ngx_string("every upstream has failed"),
    ngx_string("the failure is final"),
    ngx_string("the request cannot be repeated safely"),
    ngx_string("no time is left for another attempt"),
    ngx_string("every upstream is limited"),
    ngx_string("the budget of retries is used up"),
    ngx_string("too many requests wait"),
    ngx_string("the request was aborted"),
    ngx_string("the request was not retried"),
    ngx_string("the request was not retried")
};


ngx_int_t
ngx_http_retry_chain_error_body_error(ngx_http_retry_chain_run_t *run,
    ngx_int_t rc)
{
    cJSON                                  *attempts;
    ngx_str_t                              *cause;
    ngx_uint_t                              i;
    ngx_http_request_t                     *r;
    ngx_http_retry_chain_json_writer_t      writer;
    ngx_http_retry_chain_attempt_record_t  *record;

    r = run->request;

    if (!run->conf->error_json || !ngx_http_retry_chain_error_body_own(r, rc)) {
        return rc;
    }

    ngx_http_retry_chain_json_writer_init(&writer, r->pool);
    ngx_http_retry_chain_json_writer_number(&writer, writer.root, "statusCode",
                                            rc);

    cause = &ngx_http_retry_chain_error_body_causes[run->verdict.result];

    ngx_http_retry_chain_error_body_string(&writer, writer.root, "error",
                                           cause);

    attempts = ngx_http_retry_chain_json_writer_array(&writer, writer.root,
                                                      "attempts");

    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {
        ngx_http_retry_chain_error_body_attempt(run, &writer, attempts,
                                                &record[i]);
    }

    return ngx_http_retry_chain_error_body_send(r, rc, &writer);
}


/* an error_page is asked first, and codes of nginx's own are no answers */

static ngx_uint_t
ngx_http_retry_chain_error_body_own(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_uint_t                 i;
    ngx_http_err_page_t       *page;
    ngx_http_core_loc_conf_t  *clcf;

    if (rc < NGX_HTTP_BAD_REQUEST || rc > 599 || rc == NGX_HTTP_CLOSE
        || rc == NGX_HTTP_CLIENT_CLOSED_REQUEST || r->header_sent)
    {
        return 0;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->error_page || clcf->error_pages == NULL) {
        return 1;
    }

    page = clcf->error_pages->elts;

    for (i = 0; i < clcf->error_pages->nelts; i++) {
        if (page[i].status == rc) {
            return 0;
        }
    }

    return 1;
}


/* nothing of what a client should not see: no addresses, for one */

static void
ngx_http_retry_chain_error_body_attempt(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_json_writer_t *writer, cJSON *attempts,
    ngx_http_retry_chain_attempt_record_t *record)
{
    cJSON      *item;
    ngx_str_t  *rule, what;

    item = ngx_http_retry_chain_json_writer_object(writer, attempts, NULL);

    ngx_http_retry_chain_error_body_string(
                     writer, item, "step",
                     &ngx_http_retry_chain_run_record_step(run, record)->name);
    ngx_http_retry_chain_json_writer_number(writer, item, "statusCode",
                                            record->outcome.status);

    if (record->outcome.outcome != NGX_HTTP_RETRY_CHAIN_REPLY) {
        what.data = (u_char *)
                        ngx_http_retry_chain_outcome_name(&record->outcome);
        what.len = ngx_strlen(what.data);

        ngx_http_retry_chain_error_body_string(writer, item, "error", &what);
    }

    rule = ngx_http_retry_chain_run_rule(run, &record->outcome);

    if (rule->len) {
        ngx_http_retry_chain_error_body_string(writer, item, "json", rule);
    }

    ngx_http_retry_chain_json_writer_thousandths(writer, item, "wait",
                                                 record->wait);
    ngx_http_retry_chain_json_writer_thousandths(writer, item, "time",
                                                 record->time);
}


static void
ngx_http_retry_chain_error_body_string(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *parent, const char *key,
    const ngx_str_t *text)
{
    ngx_http_retry_chain_json_writer_string(writer, parent, key, text->data,
                                            text->len);
}


ngx_int_t
ngx_http_retry_chain_error_body_fail(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_state_t        *state;
    ngx_http_retry_chain_json_writer_t   writer;

    state = &run->plan->states[run->verdict.step];

    ngx_http_retry_chain_json_writer_init(&writer, run->request->pool);

    ngx_http_retry_chain_error_body_string(&writer, writer.root, "Error",
                                           &state->error);
    ngx_http_retry_chain_error_body_string(&writer, writer.root, "Cause",
                                           &state->cause);

    return ngx_http_retry_chain_error_body_send(run->request,
                                                run->plan->fail_status,
                                                &writer);
}


static ngx_int_t
ngx_http_retry_chain_error_body_send(ngx_http_request_t *r, ngx_int_t status,
    ngx_http_retry_chain_json_writer_t *writer)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_str_t     text;
    ngx_chain_t   out;

    if (ngx_http_retry_chain_json_writer_print(writer, &text) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b = ngx_create_temp_buf(r->pool, text.len + 1);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, text.data, text.len);
    *b->last++ = '\n';
    b->last_buf = 1;

    r->headers_out.status = status;
    r->headers_out.content_length_n = b->last - b->pos;

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.charset.len = 0;

    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);

    if (r->headers_out.content_encoding) {
        r->headers_out.content_encoding->hash = 0;
        r->headers_out.content_encoding = NULL;
    }

    r->err_status = status;

    if (status == NGX_HTTP_INTERNAL_SERVER_ERROR) {

        /* as nginx does: nobody knows what has gone wrong */

        r->keepalive = 0;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}
