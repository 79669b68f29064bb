
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <cjson/cJSON.h>
#include "ngx_http_retry_chain_json.h"
#include "ngx_http_retry_chain_page.h"


static ngx_uint_t ngx_http_retry_chain_page_own(ngx_http_request_t *r,
    ngx_int_t rc);
static cJSON *ngx_http_retry_chain_page_attempt(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_record_t *record);
static ngx_uint_t ngx_http_retry_chain_page_text(ngx_http_request_t *r,
    cJSON *json, const char *name, ngx_str_t *text);
static ngx_int_t ngx_http_retry_chain_page_send(ngx_http_request_t *r,
    ngx_int_t status, cJSON *json);


/* by result: why there was no other attempt, or none at all */

static char  *ngx_http_retry_chain_page_causes[] = {
    "the attempt failed",
    "every way out has failed",
    "the failure is final",
    "the request cannot be repeated safely",
    "no time is left for another attempt",
    "every way out is limited",
    "the budget of retries is used up",
    "too many requests wait",
    "the request was aborted",
    "the request was not retried",
    "the request was not retried"
};


ngx_int_t
ngx_http_retry_chain_page_error(ngx_http_retry_chain_run_t *run, ngx_int_t rc)
{
    cJSON                          *json, *list, *item;
    ngx_uint_t                      i;
    ngx_http_request_t             *r;
    ngx_http_retry_chain_record_t  *record;

    r = run->request;

    if (!run->conf->error_json || !ngx_http_retry_chain_page_own(r, rc)) {
        return rc;
    }

    json = cJSON_CreateObject();

    if (cJSON_AddNumberToObject(json, "statusCode", rc) == NULL
        || cJSON_AddStringToObject(json, "error",
                                 ngx_http_retry_chain_page_causes[run->result])
           == NULL)
    {
        goto failed;
    }

    list = cJSON_AddArrayToObject(json, "attempts");
    if (list == NULL) {
        goto failed;
    }

    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {
        item = ngx_http_retry_chain_page_attempt(run, &record[i]);

        if (item == NULL || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            goto failed;
        }
    }

    return ngx_http_retry_chain_page_send(r, rc, json);

failed:

    cJSON_Delete(json);

    return rc;
}


/* an error_page is asked first, and codes of nginx's own are no answers */

static ngx_uint_t
ngx_http_retry_chain_page_own(ngx_http_request_t *r, ngx_int_t rc)
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


static cJSON *
ngx_http_retry_chain_page_attempt(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_record_t *record)
{
    cJSON                           *json;
    ngx_str_t                       *rule;
    ngx_http_retry_chain_outcome_t  *outcome;

    json = cJSON_CreateObject();
    outcome = &record->outcome;

    if (!ngx_http_retry_chain_page_text(run->request, json, "step",
                                        &record->step->name)
        || cJSON_AddNumberToObject(json, "statusCode", outcome->status) == NULL)
    {
        goto failed;
    }

    if (outcome->outcome != NGX_HTTP_RETRY_CHAIN_REPLY
        && cJSON_AddStringToObject(json, "error",
                                   ngx_http_retry_chain_record_outcome(outcome))
           == NULL)
    {
        goto failed;
    }

    rule = ngx_http_retry_chain_record_rule(run, outcome);

    if (rule->len
        && !ngx_http_retry_chain_page_text(run->request, json, "json", rule))
    {
        goto failed;
    }

    /* seconds, as in the States Language */

    if (cJSON_AddNumberToObject(json, "wait", (double) record->wait / 1000)
        == NULL
        || cJSON_AddNumberToObject(json, "time", (double) record->time / 1000)
           == NULL)
    {
        goto failed;
    }

    return json;

failed:

    cJSON_Delete(json);

    return NULL;
}


/* 0 if there is no memory */

static ngx_uint_t
ngx_http_retry_chain_page_text(ngx_http_request_t *r, cJSON *json,
    const char *name, ngx_str_t *text)
{
    u_char  *p;

    p = ngx_pnalloc(r->pool, text->len + 1);
    if (p == NULL) {
        return 0;
    }

    (void) ngx_cpystrn(p, text->data, text->len + 1);

    return cJSON_AddStringToObject(json, name, (char *) p) != NULL;
}


ngx_int_t
ngx_http_retry_chain_page_fail(ngx_http_retry_chain_run_t *run)
{
    cJSON                               *json;
    ngx_str_t                            text;
    ngx_http_request_t                  *r;
    const ngx_http_retry_chain_state_t  *state;

    r = run->request;
    state = run->verdict.fail;
    json = cJSON_CreateObject();

    text = state->error;

    if (!ngx_http_retry_chain_page_text(r, json, "Error", &text)) {
        goto failed;
    }

    text = state->cause;

    if (!ngx_http_retry_chain_page_text(r, json, "Cause", &text)) {
        goto failed;
    }

    return ngx_http_retry_chain_page_send(r, run->plan->fail_status, json);

failed:

    cJSON_Delete(json);

    return NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* takes the JSON */

static ngx_int_t
ngx_http_retry_chain_page_send(ngx_http_request_t *r, ngx_int_t status,
    cJSON *json)
{
    char         *text;
    size_t        len;
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);

    if (text == NULL) {
        return status;
    }

    len = ngx_strlen(text);
    b = ngx_create_temp_buf(r->pool, len + 1);

    if (b == NULL) {
        cJSON_free(text);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, text, len);
    *b->last++ = '\n';
    b->last_buf = 1;

    cJSON_free(text);

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
