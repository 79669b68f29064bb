
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The way in: which requests take part in a chain.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_HANDLER_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_HANDLER_H_INCLUDED_


#include "ngx_http_retry_chain.h"


/* the PRECONTENT phase */
ngx_int_t ngx_http_retry_chain_phase_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RETRY_CHAIN_HANDLER_H_INCLUDED_ */
