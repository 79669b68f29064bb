
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * How the clock of a limiter runs: the words that are written anew when a limit
 * falls, when it has ended and when the pace is another.
 *
 * All times are microseconds of a monotonic clock, rates are in thousandths of
 * a call a second.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_PERIOD_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_PERIOD_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_learn.h"


#define NGX_HTTP_RETRY_CHAIN_PERIOD_SECOND  1000000

/* one call in the units of tickets */

#define NGX_HTTP_RETRY_CHAIN_CALL      1000

#define NGX_HTTP_RETRY_CHAIN_PERIODS    32

/* a time that does not come */

#define NGX_HTTP_RETRY_CHAIN_NEVER     ((uint64_t) 1 << 62)


typedef enum {
    NGX_HTTP_RETRY_CHAIN_PERIOD_FREE = 0,   /* calls go at once */
    NGX_HTTP_RETRY_CHAIN_PERIOD_PACED,
    NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN       /* one call at a time */
} ngx_http_retry_chain_period_e;


typedef struct {
    uint64_t                            start;    /* the clock stands before */
    uint64_t                            ticket;   /* what it says at start */
    uint64_t                            interval; /* of a call */
    uint64_t                            kind;
    uint64_t                            limit;    /* end of the last one */
} ngx_http_retry_chain_period_t;


typedef struct {
    ngx_atomic_t                        tail;     /* behind the last ticket */
    ngx_atomic_t                        current;  /* number of the period */
    ngx_atomic_t                        claimed;  /* last number given out */
    ngx_atomic_t                        refused;  /* in a row, no time */
    ngx_http_retry_chain_learned_t      learned;
    ngx_http_retry_chain_period_t       periods[NGX_HTTP_RETRY_CHAIN_PERIODS];
} ngx_http_retry_chain_limiter_t;


/* how an upstream is configured */

typedef struct {
    ngx_uint_t                          rate;     /* 0: none or learned */
    ngx_uint_t                          burst;    /* at least 1 */
    ngx_msec_t                          spacing;  /* ms, that of a plan */
    unsigned                            automatic:1;
} ngx_http_retry_chain_limiter_conf_t;


/* copies the current period and returns its number */
ngx_uint_t ngx_http_retry_chain_period_read(
    ngx_http_retry_chain_limiter_t *limiter,
    ngx_http_retry_chain_period_t *period);

/* NGX_DECLINED if period "number" is not the current one any more */
ngx_int_t ngx_http_retry_chain_period_write(
    ngx_http_retry_chain_limiter_t *limiter, ngx_uint_t number,
    const ngx_http_retry_chain_period_t *period);

/* what the clock says */
uint64_t ngx_http_retry_chain_period_clock(
    const ngx_http_retry_chain_period_t *period, uint64_t now);

/* when it says that, rounded up; 0 if calls go at once */
uint64_t ngx_http_retry_chain_period_time(
    const ngx_http_retry_chain_period_t *period, uint64_t ticket);

/*
 * Changes a copy to what a run that decides about a wait has to expect: calls
 * behind a half-open one wait for it, but will not go at its pace if it is
 * accepted.
 */
void ngx_http_retry_chain_period_expect(ngx_http_retry_chain_limiter_t *limiter,
    ngx_http_retry_chain_period_t *period, uint64_t now);

/* sets kind and interval: what a limiter does that is under no limit */
void ngx_http_retry_chain_period_default(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace,
    ngx_http_retry_chain_period_t *period, uint64_t now);

/* sets kind and interval: what comes after a limit */
void ngx_http_retry_chain_period_after(
    const ngx_http_retry_chain_limiter_conf_t *pace,
    ngx_http_retry_chain_period_t *period);

/* 1 if a pace that came after a limit has ended: nobody waits any more */
ngx_uint_t ngx_http_retry_chain_period_over(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace,
    const ngx_http_retry_chain_period_t *period, uint64_t now);

/* microseconds of a call, rounded up: never faster than asked for */
uint64_t ngx_http_retry_chain_period_interval(ngx_uint_t rate);


#endif /* _NGX_HTTP_RETRY_CHAIN_PERIOD_H_INCLUDED_ */
