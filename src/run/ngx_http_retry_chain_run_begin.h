
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A run: one client request going through a plan, attempt by attempt.  It lies
 * in the pool of the main request and holds one reference to it.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RUN_BEGIN_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RUN_BEGIN_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* NULL if there is no memory */
ngx_http_retry_chain_run_t *ngx_http_retry_chain_run_create(
    ngx_http_request_t *r);

/* the run of the main request, or NULL */
ngx_http_retry_chain_run_t *ngx_http_retry_chain_run_get(ngx_http_request_t *r);

/* makes the first attempt, once the request body has been read */
void ngx_http_retry_chain_run_begin(ngx_http_request_t *r);

/* makes an attempt at the step where the run is; the request may be gone then */
void ngx_http_retry_chain_run_attempt(ngx_http_retry_chain_run_t *run);


#endif /* _NGX_HTTP_RETRY_CHAIN_RUN_BEGIN_H_INCLUDED_ */
