
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What an upstream may do, learned from when it refuses.  Additive increase and
 * multiplicative decrease as in the adaptive mode of the AWS SDKs, but shared
 * by all workers, and around an estimate of the limit instead of a fixed share
 * of the last pace: a vendor with a bucket of B calls that is refilled at rate
 * R refuses after B + R * t calls, so two limits after different times tell R.
 *
 * Times are microseconds, rates thousandths of a call a second.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_LEARN_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_LEARN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* rates: 1 call in 1000 s to 100,000 calls a second */

#define NGX_HTTP_RETRY_CHAIN_MIN_PACE  1
#define NGX_HTTP_RETRY_CHAIN_MAX_PACE  100000000


/* what is known of an upstream: accepted calls since the last limit ended */

typedef struct {
    ngx_atomic_t                        since;    /* 0: none yet */
    ngx_atomic_t                        calls;
    ngx_atomic_t                        mark;     /* a moment ago, and */
    ngx_atomic_t                        marked;   /* the calls until then */
    ngx_atomic_t                        last_calls;  /* at the last limit */
    ngx_atomic_t                        last_time;
    ngx_atomic_t                        rate;     /* learned, 0: unknown */
    ngx_atomic_t                        ceiling;  /* where the limit was */
    ngx_atomic_t                        pressed;  /* time at the ceiling */
    ngx_atomic_t                        grown;    /* when last looked at */
    ngx_atomic_t                        quota;    /* most calls left, seen */
    ngx_atomic_t                        ends;     /* the time that it is for */
    ngx_atomic_t                        bound;    /* of the pace, 0: none */
} ngx_http_retry_chain_learned_t;


/* a call that was sent at "sent" has been accepted */
void ngx_http_retry_chain_learn_accepted(
    ngx_http_retry_chain_learned_t *learned, uint64_t now, uint64_t sent);

/* a limit has begun that will last for "block" */
void ngx_http_retry_chain_learn_limit(ngx_http_retry_chain_learned_t *learned,
    uint64_t now, uint64_t block);

/* 1 if the pace has been raised; "pressed": requests wait because of it */
ngx_uint_t ngx_http_retry_chain_learn_grow(
    ngx_http_retry_chain_learned_t *learned, uint64_t now, ngx_uint_t pressed);

/*
 * "remaining" calls are left for "time".  Half of what a window offers may go
 * as it comes.  The rest is spread over what is left of the window, if more
 * come or wait ("pressed") than that is for.
 */
void ngx_http_retry_chain_learn_remaining(
    ngx_http_retry_chain_learned_t *learned, uint64_t now,
    ngx_uint_t remaining, uint64_t time, ngx_uint_t pressed);

/* the pace that is known, within the bound; 0: none */
ngx_uint_t ngx_http_retry_chain_learn_pace(
    ngx_http_retry_chain_learned_t *learned, uint64_t now);

/*
 * The limit of an upstream that has refused after "calls" in "time" and is
 * blocked for "block".  "last_calls" and "last_time" are those of the limit
 * before, 0 if there was none or it is no guide any more.
 */
ngx_uint_t ngx_http_retry_chain_learn_estimate(uint64_t calls, uint64_t time,
    uint64_t block, uint64_t last_calls, uint64_t last_time);


#endif /* _NGX_HTTP_RETRY_CHAIN_LEARN_H_INCLUDED_ */
