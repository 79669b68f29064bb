
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* the pace of a limiter, which it learns from refusals; inside of limit/ */


#ifndef _NGX_HTTP_RETRY_CHAIN_LIMIT_PACE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_LIMIT_PACE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_limit.h"


/* another worker may have been here a moment later */

#define ngx_http_retry_chain_limit_passed(now, since)                         \
    ((now) > (since) ? (now) - (since) : 0)

/* patience below which refusals are not believed */

#define NGX_HTTP_RETRY_CHAIN_LIMIT_TRUST  50000

#define ngx_http_retry_chain_limit_doubted(limit, conf)                       \
    ((conf)->trial                                                            \
     && (limit)->patience < NGX_HTTP_RETRY_CHAIN_LIMIT_TRUST)


/* the pace while that many wait, 0: none */
ngx_uint_t ngx_http_retry_chain_limit_pace(
    const ngx_http_retry_chain_limit_t *limit, ngx_uint_t waiting,
    uint64_t now);

/* the time between two calls at it */
uint64_t ngx_http_retry_chain_limit_pace_interval(
    const ngx_http_retry_chain_limit_t *limit, ngx_uint_t waiting,
    uint64_t now);

/* 1 if no more calls may be under way */
ngx_uint_t ngx_http_retry_chain_limit_pace_full(
    const ngx_http_retry_chain_limit_t *limit, ngx_uint_t in_flight,
    uint64_t now);

/* a call has been accepted while so many were under way */
void ngx_http_retry_chain_limit_pace_count(ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t in_flight, uint64_t now);

/* a block begins, that many calls were under way */
void ngx_http_retry_chain_limit_pace_learn(ngx_http_retry_chain_limit_t *limit,
    ngx_uint_t in_flight, uint64_t now);

/* refusals follow the calls: the line takes its time */
void ngx_http_retry_chain_limit_pace_slow(ngx_http_retry_chain_limit_t *limit,
    uint64_t now);

/* they do not */
void ngx_http_retry_chain_limit_pace_forget(
    ngx_http_retry_chain_limit_t *limit, ngx_uint_t waiting);

/* the line goes on after a block that taught nothing */
void ngx_http_retry_chain_limit_pace_begin(
    ngx_http_retry_chain_limit_t *limit);

/* nobody waits any more */
void ngx_http_retry_chain_limit_pace_end(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf);


#endif /* _NGX_HTTP_RETRY_CHAIN_LIMIT_PACE_H_INCLUDED_ */
