
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* Header lines, of requests and of answers. */


#ifndef _NGX_HTTP_RETRY_CHAIN_HEADER_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_HEADER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* a place in a list of lines; zeroed, it is before the first one */

typedef struct {
    ngx_list_part_t                 *part;
    ngx_uint_t                       i;
} ngx_http_retry_chain_header_t;


/* the next line with the name, in any case; NULL if there is none */
ngx_table_elt_t *ngx_http_retry_chain_header_next(ngx_list_t *headers,
    ngx_str_t *name, ngx_http_retry_chain_header_t *pos);

/* a new line of the answer, without a value; NULL if there is no memory */
ngx_table_elt_t *ngx_http_retry_chain_header_add(ngx_http_request_t *r,
    ngx_str_t *name);


#endif /* _NGX_HTTP_RETRY_CHAIN_HEADER_H_INCLUDED_ */
