
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A run and the limiters of its upstreams: when they are free, what is
 * reserved, and what a reply says about them.  Without a zone that acts within
 * the run.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_LIMITS_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_LIMITS_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* when each upstream of the plan is free */
void ngx_http_retry_chain_limits_survey(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_limits_t *limits);

/* takes a ticket for an attempt at the step; returns the ms until it is due */
ngx_msec_t ngx_http_retry_chain_limits_reserve(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step);

/* the ms until the ticket of the run lets it pass, at the least */
ngx_msec_t ngx_http_retry_chain_limits_gate(ngx_http_retry_chain_run_t *run);

/* the ticket is not needed */
void ngx_http_retry_chain_limits_release(ngx_http_retry_chain_run_t *run);

/*
 * An attempt has an outcome: its calls are charged, and a hint or an accepted
 * call moves the limiter.  Runs that wait there may be due earlier.
 */
void ngx_http_retry_chain_limits_outcome(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at);

/* what a hint in the reply of a dry run would make of the limits */
void ngx_http_retry_chain_limits_foresee(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome,
    ngx_http_retry_chain_limits_t *limits);

/* the ms until some upstream is free, 0 if one is not limited now */
ngx_msec_t ngx_http_retry_chain_limits_soonest(ngx_http_retry_chain_run_t *run);

/* the pace of the upstream where the run is, 0 if it has none */
ngx_uint_t ngx_http_retry_chain_limits_rate(ngx_http_retry_chain_run_t *run);

/*
 * If a run fails and all upstreams are limited, Retry-After among the headers
 * of the request becomes the time when the first one is free; NGX_ERROR if
 * there is no memory.
 */
ngx_int_t ngx_http_retry_chain_limits_retry_after(
    ngx_http_retry_chain_run_t *run, ngx_http_request_t *r);


#endif /* _NGX_HTTP_RETRY_CHAIN_LIMITS_H_INCLUDED_ */
