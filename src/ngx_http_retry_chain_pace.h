
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The slot of a way out: when it may be called again.  Slots lie in memory
 * that all workers share and are moved by compare-and-swap, without a lock: a
 * worker that is killed at any moment leaves a usable slot.
 *
 * Every call takes a ticket, a point on the slot's own clock.  The clock runs
 * at the pace that the way out allows, one CALL in each interval, and stands
 * still while it is limited.  So tickets keep the order in which they were
 * taken, by whatever worker, and neither a hint nor another pace has to touch
 * them.  How the clock runs is a phase: a few words that are never written
 * again once they are current.
 *
 * The tickets are those of GCRA (the generic cell rate algorithm of ITU-T
 * I.371): "tail" is its theoretical arrival time.  A burst of N is N calls back
 * to back.
 *
 * All times are microseconds of a monotonic clock, rates are in thousandths of
 * a call a second.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_PACE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_PACE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_learn.h"


/* one call in the units of tickets */

#define NGX_HTTP_RETRY_CHAIN_CALL      1000

#define NGX_HTTP_RETRY_CHAIN_PHASES    32

#define NGX_HTTP_RETRY_CHAIN_MAX_BURST 1000000

/* a time that does not come */

#define NGX_HTTP_RETRY_CHAIN_NEVER     ((uint64_t) 1 << 62)


typedef enum {
    NGX_HTTP_RETRY_CHAIN_PHASE_FREE = 0,   /* calls go at once */
    NGX_HTTP_RETRY_CHAIN_PHASE_PACED,
    NGX_HTTP_RETRY_CHAIN_PHASE_PROBE       /* one call at a time */
} ngx_http_retry_chain_phase_e;


typedef struct {
    uint64_t                            start;    /* the clock stands before */
    uint64_t                            ticket;   /* what it says at start */
    uint64_t                            interval; /* of a call */
    uint64_t                            kind;
    uint64_t                            limit;    /* end of the last one */
} ngx_http_retry_chain_phase_t;


typedef struct {
    ngx_atomic_t                        tail;     /* behind the last ticket */
    ngx_atomic_t                        current;  /* number of the phase */
    ngx_atomic_t                        claimed;  /* last number given out */
    ngx_atomic_t                        refused;  /* in a row, without a hint */
    ngx_http_retry_chain_learned_t      learned;
    ngx_http_retry_chain_phase_t      phases[NGX_HTTP_RETRY_CHAIN_PHASES];
} ngx_http_retry_chain_slot_t;


/* how a way out is configured */

typedef struct {
    ngx_uint_t                          rate;     /* 0: none or learned */
    ngx_uint_t                          burst;    /* at least 1 */
    ngx_msec_t                          spacing;  /* after a limit, in ms */
    unsigned                            automatic:1;
} ngx_http_retry_chain_pace_t;


typedef struct {
    uint64_t                            ticket;
    uint64_t                            tail;     /* as it was made, 0: none */
    uint64_t                            before;
} ngx_http_retry_chain_ticket_t;


/* a new slot, or one whose configuration has changed; learned values stay */
void ngx_http_retry_chain_pace_init(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now);

/* when a call could be made if it was reserved now; nothing is changed */
uint64_t ngx_http_retry_chain_pace_peek(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now);

/* calls that may still go back to back; 0 if there is no configured rate */
ngx_uint_t ngx_http_retry_chain_pace_left(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now);

/* takes a ticket and returns the time at which it is due, as it looks now */
uint64_t ngx_http_retry_chain_pace_reserve(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now,
    ngx_http_retry_chain_ticket_t *ticket);

/* when a ticket is due, as it looks now; it may be later than before */
uint64_t ngx_http_retry_chain_pace_due(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now);

/*
 * Whether a call with the ticket may be made now, at the returned time or
 * later.  It may be later than the ticket is due, while a probe is under way.
 */
uint64_t ngx_http_retry_chain_pace_gate(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_ticket_t *ticket, uint64_t now);

/* NGX_DECLINED if others have reserved since, then it is forfeited */
ngx_int_t ngx_http_retry_chain_pace_cancel(ngx_http_retry_chain_slot_t *slot,
    ngx_http_retry_chain_ticket_t *ticket);

/* so many calls have been made without a ticket */
void ngx_http_retry_chain_pace_charge(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, ngx_uint_t calls, uint64_t now);

/*
 * The way out says that it takes no call before "until".  NGX_OK if that is
 * news, NGX_DECLINED if the slot is limited for as long already.
 */
ngx_int_t ngx_http_retry_chain_pace_limit(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now, uint64_t until);

/*
 * The delay in ms after a refusal without a hint: "first" doubled for each one
 * in a row, at most "max"
 */
ngx_msec_t ngx_http_retry_chain_pace_refused(ngx_http_retry_chain_slot_t *slot,
    ngx_msec_t first, ngx_msec_t max);

/*
 * A call that was sent at "sent" has been accepted.  NGX_OK if calls may go
 * earlier now than it was said before, NGX_DECLINED if nothing has changed.
 */
ngx_int_t ngx_http_retry_chain_pace_accepted(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace, uint64_t now, uint64_t sent);

/* 1 while it is not known whether a limit has ended */
ngx_uint_t ngx_http_retry_chain_pace_probing(
    ngx_http_retry_chain_slot_t *slot, uint64_t now);

/* the end of the limit that the slot is under, 0 if it is under none */
uint64_t ngx_http_retry_chain_pace_limited(ngx_http_retry_chain_slot_t *slot,
    uint64_t now);

/* the pace of the slot, 0 if it has none */
ngx_uint_t ngx_http_retry_chain_pace_rate(ngx_http_retry_chain_slot_t *slot);


#endif /* _NGX_HTTP_RETRY_CHAIN_PACE_H_INCLUDED_ */
