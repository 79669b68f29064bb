
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Where a run goes next: to an attempt, into a wait for one, or to its end.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_SCHEDULE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_SCHEDULE_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* the first attempt */
void ngx_http_retry_chain_schedule_first(ngx_http_retry_chain_run_t *run);

/* the verdict on an attempt; what it needs for the next one is reserved */
void ngx_http_retry_chain_schedule_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body);

/* 1 if what becomes of the reply depends on its body */
ngx_uint_t ngx_http_retry_chain_schedule_pending(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_attempt_t *at);

/* the attempt has been discarded */
void ngx_http_retry_chain_schedule_next(ngx_http_retry_chain_run_t *run);

/* a wait is over */
void ngx_http_retry_chain_schedule_wake(ngx_http_retry_chain_run_t *run);

/* whether the request may be repeated */
void ngx_http_retry_chain_schedule_safety(ngx_http_request_t *r,
    ngx_http_retry_chain_outcome_t *outcome);

/* a client that goes away, or has gone, ends the request "r" */
ngx_int_t ngx_http_retry_chain_schedule_watch(ngx_http_request_t *r);


#endif /* _NGX_HTTP_RETRY_CHAIN_SCHEDULE_H_INCLUDED_ */
