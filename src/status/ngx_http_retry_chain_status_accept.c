
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_status.h"


static void ngx_http_retry_chain_status_range(u_char *p, u_char *last,
    ngx_str_t *type, ngx_uint_t *specific, ngx_uint_t *q);
static ngx_uint_t ngx_http_retry_chain_status_quality(u_char *p, u_char *last);
static u_char *ngx_http_retry_chain_status_until(u_char *p, u_char *last,
    u_char c);
static void ngx_http_retry_chain_status_trim(u_char **p, u_char **last);


/* RFC 9110, section 12.5.1; parameters other than "q" are not looked at */

void
ngx_http_retry_chain_status_accept(ngx_str_t *accept, ngx_str_t *type,
    ngx_uint_t *specific, ngx_uint_t *q)
{
    u_char  *p, *end, *last;

    p = accept->data;
    last = p + accept->len;

    while (p < last) {
        end = ngx_http_retry_chain_status_until(p, last, ',');
        ngx_http_retry_chain_status_range(p, end, type, specific, q);
        p = end + 1;
    }
}


static void
ngx_http_retry_chain_status_range(u_char *p, u_char *last, ngx_str_t *type,
    ngx_uint_t *specific, ngx_uint_t *q)
{
    size_t       len, major;
    u_char      *end, *params;
    ngx_uint_t   n;

    params = ngx_http_retry_chain_status_until(p, last, ';');
    end = params;

    ngx_http_retry_chain_status_trim(&p, &end);

    len = end - p;
    major = ngx_http_retry_chain_status_until(type->data,
                                              type->data + type->len, '/')
            - type->data;

    if (len == type->len && ngx_strncasecmp(p, type->data, len) == 0) {
        n = 3;

    } else if (len == major + 2 && end[-1] == '*'
               && ngx_strncasecmp(p, type->data, major + 1) == 0)
    {
        n = 2;

    } else if (len == 3 && ngx_strncmp(p, "*/*", 3) == 0) {
        n = 1;

    } else {
        return;
    }

    if (n > *specific) {
        *specific = n;
        *q = ngx_http_retry_chain_status_quality(params, last);
    }
}


/* 0 to 1000; what is malformed is 1000 */

static ngx_uint_t
ngx_http_retry_chain_status_quality(u_char *p, u_char *last)
{
    u_char      *begin, *end;
    ngx_int_t    n;

    while (p < last) {
        begin = p + 1;
        end = ngx_http_retry_chain_status_until(begin, last, ';');
        p = end;

        ngx_http_retry_chain_status_trim(&begin, &end);

        if (end - begin < 3 || (begin[0] | 0x20) != 'q' || begin[1] != '=') {
            continue;
        }

        n = ngx_atofp(begin + 2, end - begin - 2, 3);

        return (n == NGX_ERROR || n > 1000) ? 1000 : n;
    }

    return 1000;
}


static u_char *
ngx_http_retry_chain_status_until(u_char *p, u_char *last, u_char c)
{
    while (p < last && *p != c) {
        p++;
    }

    return p;
}


static void
ngx_http_retry_chain_status_trim(u_char **p, u_char **last)
{
    while (*p < *last && (**p == ' ' || **p == '\t')) {
        ++*p;
    }

    while (*p < *last && ((*last)[-1] == ' ' || (*last)[-1] == '\t')) {
        --*last;
    }
}
