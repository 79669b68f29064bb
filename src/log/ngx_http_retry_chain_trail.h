
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The way that a run has gone: JSON for logs, a short form for clients.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_TRAIL_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_TRAIL_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* one JSON object, as far as the run has got */
ngx_int_t ngx_http_retry_chain_trail(ngx_http_retry_chain_run_t *run,
    ngx_str_t *text);

/* the header filter of retry_chain_header; above those of relay.c */
void ngx_http_retry_chain_trail_init(void);


#endif /* _NGX_HTTP_RETRY_CHAIN_TRAIL_H_INCLUDED_ */
