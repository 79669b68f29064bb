
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What a reply says about when its vendor may be called again: Retry-After
 * (RFC 9110, section 10.2.3), RateLimit (draft-ietf-httpapi-ratelimit-headers,
 * the list of draft 10 and the dictionary of draft 07) and X-RateLimit-*, of
 * which no standard knows.  What is malformed counts as absent.
 *
 * Retry-After wins over RateLimit, RateLimit over X-RateLimit-*.  Retry-After
 * limits on 429 and 503 only, the others on any status if nothing remains, and
 * on 429 and 503 whatever remains.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RATELIMIT_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RATELIMIT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* the longest time that is dealt with: 24 days, fits 31 bits */
#define NGX_HTTP_RETRY_CHAIN_MAX_TIME  ((ngx_msec_t) 24 * 86400 * 1000)

/* more calls left than this are this many */
#define NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_REMAINING  0x7fffffff


typedef enum {
    NGX_HTTP_RETRY_CHAIN_RATELIMIT_NONE = 0,
    NGX_HTTP_RETRY_CHAIN_RATELIMIT_RETRY_AFTER,
    NGX_HTTP_RETRY_CHAIN_RATELIMIT_FIELD,
    NGX_HTTP_RETRY_CHAIN_RATELIMIT_X
} ngx_http_retry_chain_ratelimit_e;


/*
 * values of header lines, data is NULL if there is none; several lines of
 * RateLimit are one list if joined with commas, of the others the first counts
 */

typedef struct {
    ngx_str_t                           retry_after;
    ngx_str_t                           ratelimit;
    ngx_str_t                           remaining; /* [X-]RateLimit-Remaining */
    ngx_str_t                           reset;     /* [X-]RateLimit-Reset */
} ngx_http_retry_chain_ratelimit_fields_t;


typedef struct {
    ngx_http_retry_chain_ratelimit_e    source;    /* of delay */
    ngx_msec_t                          delay;     /* if limited; 0: now */

    ngx_uint_t                          remaining; /* calls left, if known */
    ngx_msec_t                          reset;     /* for this long, may be 0 */

    unsigned                            limited:1; /* no call before delay */
    unsigned                            known:1;   /* remaining and reset are */
    unsigned                            capped:1;  /* delay was cut to cap */
} ngx_http_retry_chain_ratelimit_t;


/*
 * "now" is the time of the epoch in seconds, "cap" the longest delay and reset
 * in milliseconds; 0 and all above MAX_TIME are MAX_TIME.
 */
void ngx_http_retry_chain_ratelimit_parse(
    const ngx_http_retry_chain_ratelimit_fields_t *fields, ngx_uint_t status,
    time_t now, ngx_msec_t cap, ngx_http_retry_chain_ratelimit_t *ratelimit);


#endif /* _NGX_HTTP_RETRY_CHAIN_RATELIMIT_H_INCLUDED_ */
