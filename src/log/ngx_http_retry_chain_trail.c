
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_log.h"
#include "ngx_http_retry_chain_header.h"
#include "ngx_http_retry_chain_json_writer.h"


/* of all servers of an attempt */

#define NGX_HTTP_RETRY_CHAIN_TRAIL_ADDRESS  512


static void ngx_http_retry_chain_trail_attempt(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_json_writer_t *writer,
    cJSON *attempts, ngx_http_retry_chain_attempt_record_t *record);
static ngx_int_t ngx_http_retry_chain_trail_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_trail_short(
    ngx_http_retry_chain_run_t *run, ngx_str_t *text);
static u_char *ngx_http_retry_chain_trail_step(u_char *p,
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


ngx_int_t
ngx_http_retry_chain_trail(ngx_http_retry_chain_run_t *run, ngx_str_t *text)
{
    cJSON                                  *attempts;
    ngx_str_t                              *result;
    ngx_uint_t                              i;
    ngx_http_retry_chain_json_writer_t      writer;
    ngx_http_retry_chain_attempt_record_t  *record;

    ngx_http_retry_chain_json_writer_init(&writer, run->request->pool);

    result = ngx_http_retry_chain_run_result(run);

    if (result) {
        ngx_http_retry_chain_json_writer_string(&writer, writer.root, "result",
                                                result->data, result->len);
    }

    ngx_http_retry_chain_json_writer_thousandths(&writer, writer.root, "time",
                                        ngx_http_retry_chain_run_time(run));

    attempts = ngx_http_retry_chain_json_writer_array(&writer, writer.root,
                                                      "attempts");

    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {
        ngx_http_retry_chain_trail_attempt(run, &writer, attempts, &record[i]);
    }

    return ngx_http_retry_chain_json_writer_print(&writer, text);
}


static void
ngx_http_retry_chain_trail_attempt(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_json_writer_t *writer, cJSON *attempts,
    ngx_http_retry_chain_attempt_record_t *record)
{
    char       *what;
    cJSON      *item;
    u_char      address[NGX_HTTP_RETRY_CHAIN_TRAIL_ADDRESS];
    size_t      len;
    ngx_str_t  *name, *rule;

    item = ngx_http_retry_chain_json_writer_object(writer, attempts, NULL);

    name = &ngx_http_retry_chain_run_record_step(run, record)->name;
    ngx_http_retry_chain_json_writer_string(writer, item, "step", name->data,
                                            name->len);

    len = ngx_http_retry_chain_run_address(run, record, address,
                                           sizeof(address));
    ngx_http_retry_chain_json_writer_string(writer, item, "address", address,
                                            len);

    what = ngx_http_retry_chain_outcome_name(&record->outcome);
    ngx_http_retry_chain_json_writer_string(writer, item, "outcome",
                                            (u_char *) what, ngx_strlen(what));

    ngx_http_retry_chain_json_writer_number(writer, item, "status",
                                            record->outcome.status);
    rule = ngx_http_retry_chain_run_rule(run, &record->outcome);

    if (rule->len) {
        ngx_http_retry_chain_json_writer_string(writer, item, "json",
                                                rule->data, rule->len);
    }

    ngx_http_retry_chain_json_writer_number(writer, item, "bytes",
                             ngx_http_retry_chain_run_bytes(run, record));
    ngx_http_retry_chain_json_writer_thousandths(writer, item, "wait",
                                                 record->wait);

    name = &ngx_http_retry_chain_reason_names[record->reason];
    ngx_http_retry_chain_json_writer_string(writer, item, "reason", name->data,
                                            name->len);

    ngx_http_retry_chain_json_writer_thousandths(writer, item, "time",
                                                 record->time);

    name = &ngx_http_retry_chain_result_names[record->next];
    ngx_http_retry_chain_json_writer_string(writer, item, "verdict", name->data,
                                            name->len);
}


void
ngx_http_retry_chain_trail_init(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_retry_chain_trail_filter;
}


/* error pages may come from elsewhere: what counts is where the run was */

static ngx_int_t
ngx_http_retry_chain_trail_filter(ngx_http_request_t *r)
{
    ngx_str_t                    text;
    ngx_table_elt_t             *h;
    ngx_http_retry_chain_run_t  *run;

    if (r != r->main) {
        return ngx_http_next_header_filter(r);
    }

    run = ngx_http_retry_chain_run_get(r);

    if (run == NULL || run->conf == NULL || run->conf->header.len == 0
        || run->state == NGX_HTTP_RETRY_CHAIN_RUN_READY)
    {
        return ngx_http_next_header_filter(r);
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        ngx_http_retry_chain_passthrough_note(run);
    }

    if (ngx_http_retry_chain_trail_short(run, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    h = ngx_http_retry_chain_header_add(r, &run->conf->header);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->value = text;

    return ngx_http_next_header_filter(r);
}


/* "one 429, two 200 after 5.000; success" */

static ngx_int_t
ngx_http_retry_chain_trail_short(ngx_http_retry_chain_run_t *run,
    ngx_str_t *text)
{
    u_char                                 *p;
    size_t                                  len;
    ngx_str_t                              *result;
    ngx_uint_t                              i;
    ngx_http_retry_chain_step_t            *step;
    ngx_http_retry_chain_attempt_record_t  *record;

    record = run->records.elts;
    len = sizeof("; exhausted");

    for (i = 0; i < run->records.nelts; i++) {
        step = ngx_http_retry_chain_run_record_step(run, &record[i]);
        len += step->name.len + sizeof(", 429 invalid header after .")
               + NGX_TIME_T_LEN + 3;
    }

    p = ngx_pnalloc(run->request->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;

    for (i = 0; i < run->records.nelts; i++) {

        if (i) {
            *p++ = ',';
            *p++ = ' ';
        }

        p = ngx_http_retry_chain_trail_step(p, run, &record[i]);
    }

    result = ngx_http_retry_chain_run_result(run);

    if (result) {
        p = ngx_sprintf(p, "%s%V", i ? "; " : "", result);
    }

    text->len = p - text->data;

    return NGX_OK;
}


static u_char *
ngx_http_retry_chain_trail_step(u_char *p, ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    u_char       c;
    ngx_str_t   *name;
    ngx_uint_t   i;

    name = &ngx_http_retry_chain_run_record_step(run, record)->name;

    for (i = 0; i < name->len; i++) {
        c = name->data[i];

        /* a configuration may have anything in quotes */

        *p++ = (c > ' ' && c < 0x7f) ? c : '?';
    }

    if (record->outcome.status) {
        p = ngx_sprintf(p, " %ui", (ngx_uint_t) record->outcome.status);
    }

    if (record->outcome.outcome != NGX_HTTP_RETRY_CHAIN_REPLY) {
        p = ngx_sprintf(p, " %s",
                        ngx_http_retry_chain_outcome_name(&record->outcome));
    }

    if (record->wait) {
        p = ngx_sprintf(p, " after %T.%03M", (time_t) (record->wait / 1000),
                        (ngx_msec_t) record->wait % 1000);
    }

    return p;
}
