
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What the header lines of a reply say about the time of the next call.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static void ngx_http_retry_chain_limits_fields(ngx_http_request_t *r,
    ngx_http_retry_chain_ratelimit_fields_t *fields);
static void ngx_http_retry_chain_limits_join(ngx_pool_t *pool, ngx_str_t *list,
    ngx_str_t *value);


void
ngx_http_retry_chain_limits_parse(ngx_http_retry_chain_run_t *run,
    ngx_http_request_t *r, ngx_uint_t status,
    ngx_http_retry_chain_ratelimit_t *ratelimit)
{
    ngx_http_retry_chain_ratelimit_fields_t  fields;

    ngx_memzero(ratelimit, sizeof(ngx_http_retry_chain_ratelimit_t));

    if (run->plan->retry_after.off) {
        return;
    }

    ngx_http_retry_chain_limits_fields(r, &fields);

    ngx_http_retry_chain_ratelimit_parse(&fields, status, ngx_time(),
                                         run->plan->retry_after.cap, ratelimit);
}


/* the lines as the vendor has sent them, hidden ones, too */

static void
ngx_http_retry_chain_limits_fields(ngx_http_request_t *r,
    ngx_http_retry_chain_ratelimit_fields_t *fields)
{
    ngx_str_t        *value;
    ngx_uint_t        i, j;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static struct {
        ngx_str_t  name;
        size_t     offset;
    } names[] = {
        { ngx_string("retry-after"),
          offsetof(ngx_http_retry_chain_ratelimit_fields_t, retry_after) },
        { ngx_string("ratelimit"),
          offsetof(ngx_http_retry_chain_ratelimit_fields_t, ratelimit) },
        { ngx_string("x-ratelimit-remaining"),
          offsetof(ngx_http_retry_chain_ratelimit_fields_t, remaining) },
        { ngx_string("x-ratelimit-reset"),
          offsetof(ngx_http_retry_chain_ratelimit_fields_t, reset) },
        { ngx_string("ratelimit-remaining"),
          offsetof(ngx_http_retry_chain_ratelimit_fields_t, remaining) },
        { ngx_string("ratelimit-reset"),
          offsetof(ngx_http_retry_chain_ratelimit_fields_t, reset) },
        { ngx_null_string, 0 }
    };

    ngx_memzero(fields, sizeof(ngx_http_retry_chain_ratelimit_fields_t));

    part = ngx_http_retry_chain_response_headers(r);
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (j = 0; names[j].name.len; j++) {

            if (h[i].key.len != names[j].name.len
                || ngx_strncmp(h[i].lowcase_key, names[j].name.data,
                               names[j].name.len)
                   != 0)
            {
                continue;
            }

            value = (ngx_str_t *) ((u_char *) fields + names[j].offset);

            if (value->data == NULL) {
                *value = h[i].value;

            } else if (value == &fields->ratelimit) {
                ngx_http_retry_chain_limits_join(r->pool, value, &h[i].value);
            }

            break;
        }
    }
}


/* several lines are one list, RFC 9110, section 5.3 */

static void
ngx_http_retry_chain_limits_join(ngx_pool_t *pool, ngx_str_t *list,
    ngx_str_t *value)
{
    u_char  *p, *joined;

    joined = ngx_pnalloc(pool, list->len + 1 + value->len);
    if (joined == NULL) {
        return;
    }

    p = ngx_cpymem(joined, list->data, list->len);
    *p++ = ',';
    p = ngx_cpymem(p, value->data, value->len);

    list->data = joined;
    list->len = p - joined;
}
