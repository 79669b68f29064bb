
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The retry budget: a share of the requests of the last "window", and a rate on
 * top of it, may be retries.  Requests and retries are counted when they begin,
 * so that those who wait do not use it up, unlike a limit of concurrency
 * (Envoy's retry_budget).  Finagle and Linkerd count in the same way.
 *
 * The counters lie in memory that all workers share; they are moved without a
 * lock and may be off by a few at the turn of a tenth of the window.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_BUDGET_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_BUDGET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS  10


typedef struct {
    ngx_atomic_t                        number;   /* of the tenth since 0 */
    ngx_atomic_t                        requests;
    ngx_atomic_t                        retries;
} ngx_http_retry_chain_budget_part_t;


typedef struct {
    ngx_http_retry_chain_budget_part_t  parts[
                                         NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS];
} ngx_http_retry_chain_budget_t;


typedef struct {
    ngx_uint_t                          percent;  /* of requests */
    ngx_uint_t                          rate;     /* 1000 is 1 retry a second */
    ngx_msec_t                          window;   /* 0: no budget */
} ngx_http_retry_chain_budget_conf_t;


/* a request has come; "now" is milliseconds of a monotonic clock */
void ngx_http_retry_chain_budget_deposit(ngx_http_retry_chain_budget_t *budget,
    const ngx_http_retry_chain_budget_conf_t *conf, ngx_msec_t now);

/* NGX_OK if a retry may be made, which counts it, or NGX_DECLINED */
ngx_int_t ngx_http_retry_chain_budget_withdraw(
    ngx_http_retry_chain_budget_t *budget,
    const ngx_http_retry_chain_budget_conf_t *conf, ngx_msec_t now);


#endif /* _NGX_HTTP_RETRY_CHAIN_BUDGET_H_INCLUDED_ */
