
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What an upstream said, whatever the client gets.  A cache may answer in its
 * place, without a call or after one: when the header of a stale reply, or of
 * one that is fresh again, is seen, nginx has forgotten that of the upstream.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RESPONSE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RESPONSE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* notes the upstream that a handler has just made, and what is forgotten */
void ngx_http_retry_chain_response_watch(ngx_http_request_t *r);

/* the noted one, whatever the request was redirected to; or NULL */
ngx_http_upstream_t *ngx_http_retry_chain_response_upstream(
    ngx_http_request_t *r);

/* 1 if a cache has answered */
ngx_uint_t ngx_http_retry_chain_response_cached(ngx_http_request_t *r);

/* the header lines of the upstream's last reply */
ngx_list_part_t *ngx_http_retry_chain_response_headers(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RETRY_CHAIN_RESPONSE_H_INCLUDED_ */
