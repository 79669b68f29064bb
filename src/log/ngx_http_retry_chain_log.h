
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What is told of a run afterwards.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_LOG_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_LOG_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* called in preconfiguration */
ngx_int_t ngx_http_retry_chain_add_variables(ngx_conf_t *cf);

ngx_int_t ngx_http_retry_chain_log_handler(ngx_http_request_t *r);

/* the way that a run has gone: one JSON object, as far as it has got */
ngx_int_t ngx_http_retry_chain_trail(ngx_http_retry_chain_run_t *run,
    ngx_str_t *text);

/* the header filter of retry_chain_header; above those of the relay */
void ngx_http_retry_chain_trail_init(void);


#endif /* _NGX_HTTP_RETRY_CHAIN_LOG_H_INCLUDED_ */
