
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What the attempt whose reply is the answer hands over to the main request:
 * headers, flags, variables and upstream state.  All of it stays in the pool
 * of the attempt, which therefore has to live as long as the main request.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RELAY_HEADERS_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RELAY_HEADERS_H_INCLUDED_


#include "ngx_http_retry_chain_attempt.h"


/* the header lines of the reply; NGX_ERROR if there is no memory */
ngx_int_t ngx_http_retry_chain_relay_headers(ngx_http_request_t *r,
    ngx_http_request_t *sr);

/* status, length, type and flags of a reply whose header is relayed */
void ngx_http_retry_chain_relay_reply(ngx_http_request_t *r,
    ngx_http_request_t *sr);

/* trailers, which come with the end of the body */
ngx_int_t ngx_http_retry_chain_relay_trailers(ngx_http_request_t *r,
    ngx_http_request_t *sr);

/* $upstream_*, $proxy_host and the variables that the attempt has evaluated */
void ngx_http_retry_chain_relay_state(ngx_http_request_t *r,
    ngx_http_request_t *sr, ngx_http_retry_chain_target_t *target);


#endif /* _NGX_HTTP_RETRY_CHAIN_RELAY_HEADERS_H_INCLUDED_ */
