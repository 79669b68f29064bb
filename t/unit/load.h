
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _LOAD_H_INCLUDED_
#define _LOAD_H_INCLUDED_


/*
 * Whole minutes of requests against vendors of several kinds, in virtual time:
 *
 *     start(20, 20, 1);            three vendors, 20 calls a second, burst 20
 *     load = 55;                   requests a second; others: see below
 *     run(10);
 *     run(50);                     "seen" has the figures of the 50 s
 */


#include <stdlib.h>
#include "tap.h"
#include "ngx_http_retry_chain_limiter.h"


#define MSEC    ((uint64_t) 1000)
#define SECOND  ((uint64_t) 1000000)
#define WAYS    3
#define QUEUE   65536                   /* a power of two */


/* a vendor's limit for one address: a bucket, or a window of fixed times */

typedef struct {
    uint64_t                       rate;      /* calls a second */
    uint64_t                       burst;
    uint64_t                       window;    /* "burst" in each, 0: bucket */
    uint64_t                       block;     /* after a refusal */
    ngx_uint_t                     renews;    /* by calls while it lasts */

    uint64_t                       tokens;    /* in millionths of a call */
    uint64_t                       filled;
    uint64_t                       began;     /* the last block */
    uint64_t                       blocked;
} vendor_t;


typedef struct {
    uint64_t                       came;
    uint64_t                       sent;
    ngx_http_retry_chain_ticket_t  ticket;
} request_t;


typedef struct {
    request_t                      requests[QUEUE];
    ngx_uint_t                     first;
    ngx_uint_t                     last;
} line_t;


/* what was seen since run() was called */

typedef struct {
    ngx_uint_t                     calls;
    ngx_uint_t                     refused;
    ngx_uint_t                     late;      /* not under way any more */
    uint64_t                       longest;   /* wait, answered or not */
} seen_t;


static void start(uint64_t rate, uint64_t burst, uint64_t n);
static void set_rate(uint64_t rate);
static void set_renews(ngx_uint_t renews);
static void run(ngx_uint_t seconds);
static ngx_uint_t soonest(uint64_t *least);
static void come(uint64_t came);
static void depart(ngx_uint_t queue);
static void reply(ngx_uint_t queue);
static void teach(ngx_uint_t queue, uint64_t sent);
static uint64_t vendor_call(vendor_t *v, uint64_t time);
static double uniform(void);
static double exponential(void);


static vendor_t                     vendors[WAYS];
static line_t                       parked[WAYS];
static line_t                       away[WAYS];
static ngx_http_retry_chain_limiter_t  limiters[WAYS];
static ngx_http_retry_chain_limiter_conf_t  pace;
static seen_t                       seen;

static double                       load;     /* requests a second */
static uint64_t                     latency;
static ngx_uint_t                   hints;    /* the vendor says for how long */
static ngx_uint_t                   teaches;  /* and how many calls are left */
static ngx_uint_t                   rotate;

static uint64_t                     now;
static uint64_t                     next;     /* request */
static ngx_uint_t                   turn;
static uint64_t                     seed;


/* vendors with a limit that was not reached yet, and limits not used yet */

static void
start(uint64_t rate, uint64_t burst, uint64_t n)
{
    ngx_uint_t  i;

    now = 1000 * SECOND;
    next = now;
    turn = 0;
    seed = n * 7919 + 88172645463325252ULL;

    load = 55;
    latency = 2 * MSEC;
    hints = 0;
    teaches = 0;
    rotate = 0;

    memset(&pace, 0, sizeof(pace));
    pace.burst = 1;
    pace.spacing = 1000;

    memset(vendors, 0, sizeof(vendors));
    memset(limiters, 0, sizeof(limiters));

    for (i = 0; i < WAYS; i++) {
        vendors[i].rate = rate;
        vendors[i].burst = burst;
        vendors[i].tokens = burst * SECOND;
        vendors[i].filled = now;
        vendors[i].block = 2 * SECOND;

        parked[i].first = parked[i].last = 0;
        away[i].first = away[i].last = 0;

        ngx_http_retry_chain_limiter_init(&limiters[i], &pace, now);
    }
}


static void
set_rate(uint64_t rate)
{
    ngx_uint_t  i;

    for (i = 0; i < WAYS; i++) {
        vendors[i].rate = rate;
    }
}


static void
set_renews(ngx_uint_t renews)
{
    ngx_uint_t  i;

    for (i = 0; i < WAYS; i++) {
        vendors[i].renews = renews;
    }
}


/*
 * Requests come at random, each takes the first way that is free, or waits for
 * the one that is free first.  A refused one tries again.
 */

static void
run(ngx_uint_t seconds)
{
    uint64_t    end, time;
    request_t  *r;
    ngx_uint_t  i, k, n;

    end = now + seconds * SECOND;

    memset(&seen, 0, sizeof(seen));

    for ( ;; ) {
        n = soonest(&time);

        if (time >= end) {
            break;
        }

        now = time;

        if (n == 2 * WAYS) {
            next += exponential() / load * SECOND;
            come(now);

        } else if (n % 2 == 0) {
            depart(n / 2);

        } else {
            reply(n / 2);
        }
    }

    now = end;

    for (i = 0; i < WAYS; i++) {
        for (k = parked[i].first; k != parked[i].last; k++) {
            r = &parked[i].requests[k % QUEUE];
            seen.longest = ngx_max(seen.longest, now - r->came);
        }
    }
}


/* of a queue: 0 a call, 1 a reply; behind all limits: a request */

static ngx_uint_t
soonest(uint64_t *least)
{
    uint64_t    time;
    request_t  *r;
    ngx_uint_t  i, k, n;

    *least = next;
    n = 2 * WAYS;

    for (i = 0; i < 2 * WAYS; i++) {
        k = i / 2;

        if (i % 2 == 0 && parked[k].first != parked[k].last) {
            r = &parked[k].requests[parked[k].first % QUEUE];
            time = ngx_http_retry_chain_limiter_gate(&limiters[k], &r->ticket,
                                                     now);

        } else if (i % 2 && away[k].first != away[k].last) {
            r = &away[k].requests[away[k].first % QUEUE];
            time = r->sent + latency;

        } else {
            continue;
        }

        if (time < *least) {
            *least = time;
            n = i;
        }
    }

    return n;
}


static void
come(uint64_t came)
{
    line_t     *line;
    uint64_t    time, least;
    request_t  *r;
    ngx_uint_t  i, k, queue;

    queue = 0;
    least = NGX_HTTP_RETRY_CHAIN_NEVER + 1;

    for (i = 0; i < WAYS; i++) {
        k = rotate ? (i + turn) % WAYS : i;
        time = ngx_http_retry_chain_limiter_peek(&limiters[k], &pace, now);

        if (time < least) {
            least = time;
            queue = k;
        }
    }

    turn++;

    line = &parked[queue];
    r = &line->requests[line->last++ % QUEUE];
    r->came = came;

    (void) ngx_http_retry_chain_limiter_reserve(&limiters[queue], &pace, now,
                                                &r->ticket);

    if (line->last - line->first == QUEUE) {
        abort();
    }
}


static void
depart(ngx_uint_t queue)
{
    request_t  *r;

    r = &away[queue].requests[away[queue].last++ % QUEUE];
    *r = parked[queue].requests[parked[queue].first++ % QUEUE];
    r->sent = now;
}


static void
reply(ngx_uint_t queue)
{
    vendor_t                        *v;
    uint64_t                         block;
    request_t                       *r;
    ngx_http_retry_chain_limiter_t  *limiter;

    r = &away[queue].requests[away[queue].first++ % QUEUE];
    v = &vendors[queue];
    limiter = &limiters[queue];

    block = vendor_call(v, now - latency / 2);

    seen.calls++;

    if (block == 0) {
        (void) ngx_http_retry_chain_limiter_accepted(limiter, &pace, now,
                                                     r->sent);

        seen.longest = ngx_max(seen.longest, now - r->came);

        if (teaches) {
            teach(queue, r->sent);
        }

        return;
    }

    seen.refused++;
    seen.late += now - latency / 2 - v->began > latency + 20 * MSEC;

    if (hints) {
        block = (block + SECOND - 1) / SECOND * SECOND;

    } else if (ngx_http_retry_chain_limiter_limited(limiter, now)) {
        block = 0;

    } else {
        block = ngx_http_retry_chain_limiter_refused(limiter, 1000,
                                                     60000) * MSEC;
    }

    if (block) {
        (void) ngx_http_retry_chain_limiter_limit(limiter, &pace, now,
                                                  now + block);
    }

    come(r->came);
}


/* RateLimit of a reply: r calls are left for t seconds */

static void
teach(ngx_uint_t queue, uint64_t sent)
{
    vendor_t                        *v;
    uint64_t                         left, reset;
    ngx_http_retry_chain_limiter_t  *limiter;

    v = &vendors[queue];
    limiter = &limiters[queue];

    left = v->tokens / SECOND;
    reset = v->window - v->filled % v->window;
    reset = (reset + SECOND - 1) / SECOND * SECOND;

    if (left == 0) {
        (void) ngx_http_retry_chain_limiter_limit(limiter, &pace, now,
                                                  now + reset);
        return;
    }

    (void) ngx_http_retry_chain_limiter_told(limiter, &pace, now, sent, left,
                                             reset);
}


/* how long the vendor blocks, 0 if it takes the call */

static uint64_t
vendor_call(vendor_t *v, uint64_t time)
{
    if (v->window) {

        if (time / v->window != v->filled / v->window) {
            v->tokens = v->burst * SECOND;
        }

    } else {
        v->tokens += (time - v->filled) * v->rate;
        v->tokens = ngx_min(v->tokens, v->burst * SECOND);
    }

    v->filled = time;

    if (time < v->blocked) {

        if (v->renews) {
            v->blocked = time + v->block;
        }

        return v->blocked - time;
    }

    if (v->tokens < SECOND) {
        v->began = time;
        v->blocked = v->window ? (time / v->window + 1) * v->window
                               : time + v->block;

        return v->blocked - time;
    }

    v->tokens -= SECOND;

    return 0;
}


static double
uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (double) (seed >> 11) / ((uint64_t) 1 << 53);
}


/* von Neumann's method: runs of falling numbers, without a logarithm */

static double
exponential(void)
{
    double      one, last, number;
    ngx_uint_t  k, n;

    for (k = 0; /* void */; k++) {
        one = uniform();
        last = one;

        for (n = 1; (number = uniform()) < last; n++) {
            last = number;
        }

        if (n % 2) {
            return k + one;
        }
    }
}


#endif /* _LOAD_H_INCLUDED_ */
