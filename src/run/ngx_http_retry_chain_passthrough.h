
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs whose plan leaves nothing to decide: one attempt, whatever it gives, and
 * no time limit or limiter.  There is nothing to discard, so the location's own
 * handler answers on the main request, exactly as without a chain; what has
 * come of it is read from the request.  So is a dry run, whose log tells what
 * the plan would have made of it; limiters are read, not written.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_PASSTHROUGH_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_PASSTHROUGH_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* 1 if the plan leaves nothing to decide */
ngx_uint_t ngx_http_retry_chain_passthrough_plan(
    ngx_http_retry_chain_plan_t *plan);

/* the handler of the location is about to run */
void ngx_http_retry_chain_passthrough_begin(ngx_http_retry_chain_run_t *run);

/* notes the outcome, as far as it is known by now */
void ngx_http_retry_chain_passthrough_note(ngx_http_retry_chain_run_t *run);

/* the LOG phase */
ngx_int_t ngx_http_retry_chain_passthrough_log_handler(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RETRY_CHAIN_PASSTHROUGH_H_INCLUDED_ */
