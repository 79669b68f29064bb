
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_header.h"


ngx_table_elt_t *
ngx_http_retry_chain_header_next(ngx_list_t *headers, ngx_str_t *name,
    ngx_http_retry_chain_header_t *pos)
{
    ngx_table_elt_t  *h;

    if (pos->part == NULL) {
        pos->part = &headers->part;
    }

    for ( ;; ) {

        if (pos->i >= pos->part->nelts) {
            if (pos->part->next == NULL) {
                return NULL;
            }

            pos->part = pos->part->next;
            pos->i = 0;
            continue;
        }

        h = pos->part->elts;
        h += pos->i++;

        if (h->hash && h->key.len == name->len
            && ngx_strncasecmp(h->key.data, name->data, name->len) == 0)
        {
            return h;
        }
    }
}


ngx_table_elt_t *
ngx_http_retry_chain_header_add(ngx_http_request_t *r, ngx_str_t *name)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key = *name;

    return h;
}
