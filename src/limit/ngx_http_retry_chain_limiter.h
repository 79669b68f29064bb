
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The limiter of an upstream: when it may be called again.  Limiters lie in
 * memory that all workers share and are moved by compare-and-swap, without a
 * lock: a worker that is killed at any moment leaves a usable limiter.
 *
 * Every call takes a ticket, a point on the limiter's own clock.  The clock
 * runs at the pace that the upstream allows, one CALL in each interval, and
 * stands still while it is limited.  So tickets keep the order in which they
 * were taken, by whatever worker, and neither a limit nor another pace has to
 * touch them.  How the clock runs is a period: a few words that are never
 * written again once they are current.
 *
 * The tickets are those of GCRA (the generic cell rate algorithm of ITU-T
 * I.371): "tail" is its theoretical arrival time.  A burst of N is N calls back
 * to back.
 *
 * All times are microseconds of a monotonic clock, rates are in thousandths of
 * a call a second.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_LIMITER_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_LIMITER_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_period.h"


#define NGX_HTTP_RETRY_CHAIN_MAX_BURST 1000000


typedef struct {
    uint64_t                            ticket;
    uint64_t                            tail;     /* as it was made, 0: none */
    uint64_t                            before;
} ngx_http_retry_chain_ticket_t;


/* a new limiter, or one whose configuration has changed; learned values stay */
void ngx_http_retry_chain_limiter_init(ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now);

/* a copy that no other process writes to, as the limiter is now */
void ngx_http_retry_chain_limiter_copy(ngx_http_retry_chain_limiter_t *to,
    ngx_http_retry_chain_limiter_t *from);

/* when a call could be made if it was reserved now; nothing is changed */
uint64_t ngx_http_retry_chain_limiter_peek(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now);

/* calls that may still go back to back; 0 if there is no configured rate */
ngx_uint_t ngx_http_retry_chain_limiter_left(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now);

/* takes a ticket and returns the time at which it is due, as it looks now */
uint64_t ngx_http_retry_chain_limiter_reserve(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    ngx_http_retry_chain_ticket_t *ticket);

/* when a ticket is due, as it looks now; it may be later than before */
uint64_t ngx_http_retry_chain_limiter_due(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now);

/*
 * Whether a call with the ticket may be made now, at the returned time or
 * later.  It may be later than the ticket is due, while half-open.
 */
uint64_t ngx_http_retry_chain_limiter_gate(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now);

/* NGX_DECLINED if others have reserved since, then it is forfeited */
ngx_int_t ngx_http_retry_chain_limiter_cancel(
    ngx_http_retry_chain_limiter_t *limiter,
    ngx_http_retry_chain_ticket_t *ticket);

/* so many calls have been made without a ticket */
void ngx_http_retry_chain_limiter_charge(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, ngx_uint_t calls,
    uint64_t now);

/*
 * The upstream says that it takes no call before "until".  NGX_OK if that is
 * news, NGX_DECLINED if the limiter is limited for as long already.
 */
ngx_int_t ngx_http_retry_chain_limiter_limit(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    uint64_t until);

/*
 * The delay in ms after a refusal without a time: "first" doubled for each one
 * in a row, at most "max"
 */
ngx_msec_t ngx_http_retry_chain_limiter_refused(
    ngx_http_retry_chain_limiter_t *limiter, ngx_msec_t first, ngx_msec_t max);

/*
 * A call that was sent at "sent" has been accepted.  NGX_OK if calls may go
 * earlier now than it was said before, NGX_DECLINED if nothing has changed.
 */
ngx_int_t ngx_http_retry_chain_limiter_accepted(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    uint64_t sent);

/*
 * The reply to a call that was sent at "sent" says that "remaining" calls, at
 * least one, are left for "reset" microseconds.  NGX_OK if calls may go at
 * other times now than it was said before.
 */
ngx_int_t ngx_http_retry_chain_limiter_told(
    ngx_http_retry_chain_limiter_t *limiter,
    const ngx_http_retry_chain_limiter_conf_t *pace, uint64_t now,
    uint64_t sent, ngx_uint_t remaining, uint64_t reset);

/* 1 while it is not known whether a limit has ended */
ngx_uint_t ngx_http_retry_chain_limiter_half_open(
    ngx_http_retry_chain_limiter_t *limiter, uint64_t now);

/* the end of the limit that the limiter is under, 0 if it is under none */
uint64_t ngx_http_retry_chain_limiter_limited(
    ngx_http_retry_chain_limiter_t *limiter, uint64_t now);

/* the pace of the limiter, 0 if it has none */
ngx_uint_t ngx_http_retry_chain_limiter_rate(
    ngx_http_retry_chain_limiter_t *limiter);


#endif /* _NGX_HTTP_RETRY_CHAIN_LIMITER_H_INCLUDED_ */
