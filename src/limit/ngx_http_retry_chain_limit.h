
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What an upstream may be sent: when the next call may be made, and what a
 * reply says about it.  A limiter is a plain struct in memory that all workers
 * share; whoever calls these functions holds its mutex.
 *
 * Runs that wait stand in lines that are the caller's, one of each worker, and
 * own nothing here: whoever leaves, or is killed, leaves nothing behind.  The
 * caller says what is true now: how many wait, how many calls are under way,
 * and whether somebody else is before this run.
 *
 * All times are microseconds of a monotonic clock, which may differ a little
 * between workers; rates are in thousandths of a call a second.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_LIMIT_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_LIMIT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND    ((uint64_t) 1000000)

/* 1 call in 1000 s to 100,000 calls a second */
#define NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_RATE  100000000

/* the head of a line looks again at least this often */
#define NGX_HTTP_RETRY_CHAIN_LIMIT_TICK      100000

/* seconds of which accepted calls are added up */
#define NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN      10


/* why a call has to wait */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_LIMIT_GO = 0,
    NGX_HTTP_RETRY_CHAIN_LIMIT_LINE,       /* somebody else is first */
    NGX_HTTP_RETRY_CHAIN_LIMIT_BLOCKED,    /* by a reply, until a time */
    NGX_HTTP_RETRY_CHAIN_LIMIT_HALF_OPEN,  /* is the block over? */
    NGX_HTTP_RETRY_CHAIN_LIMIT_CONNS,      /* as configured */
    NGX_HTTP_RETRY_CHAIN_LIMIT_RATE,       /* as configured */
    NGX_HTTP_RETRY_CHAIN_LIMIT_FLIGHT,     /* calls at once, as learned */
    NGX_HTTP_RETRY_CHAIN_LIMIT_PACE        /* as learned */
} ngx_http_retry_chain_limit_reason_e;


/* how an upstream is configured */

typedef struct {
    ngx_uint_t                          rate;      /* 0: none */
    ngx_uint_t                          burst;     /* at least 1 */
    ngx_uint_t                          max_conns; /* 0: any */
    uint64_t                            cap;       /* of what a reply says */
    uint64_t                            max;       /* of a run's wait */
    uint64_t                            spacing;   /* if no time is named */
    unsigned                            automatic:1;
    unsigned                            trial:1;   /* calls during a block */
} ngx_http_retry_chain_limit_conf_t;


/* a run that asks, and what its caller knows of now */

typedef struct {
    uint64_t                            arrived;
    uint64_t                            deadline;  /* 0: none */
    ngx_uint_t                          waiting;   /* all, without this one */
    ngx_uint_t                          in_flight; /* calls of all workers */
    unsigned                            first:1;   /* nobody is before it */
    unsigned                            again:1;   /* refused by another one */
} ngx_http_retry_chain_limit_run_t;


/* a call that was let go, kept by the caller until it ends */

typedef struct {
    uint64_t                            sent;
    ngx_uint_t                          number;
    ngx_uint_t                          in_flight; /* with this one */
    unsigned                            again:1;
    unsigned                            trial:1;   /* during a block */
    unsigned                            probe:1;   /* half-open */
    unsigned                            test:1;    /* after a refusal */
} ngx_http_retry_chain_limit_call_t;


typedef struct {

    /* the configured rate: theoretical arrival time of GCRA */

    uint64_t                            tat;

    /* what a reply said, and its status */

    uint64_t                            blocked;
    uint64_t                            since;
    ngx_uint_t                          by;
    uint64_t                            try_at;    /* a call during a block */

    /* a block has ended: one call goes, when it was sent; 0: none has */

    unsigned                            half_open:1;
    uint64_t                            probed;

    /* blocks without a time: how many spacings, the end of the last one */

    ngx_uint_t                          guess;
    uint64_t                            guessed;

    /*
     * Are refusals believed?  The time between calls during blocks, and when
     * it was doubled; the last call that was refused: its number, until when,
     * how many were under way, how long the reply took; one call after it is
     * a test.
     */

    uint64_t                            patience;
    uint64_t                            doubled;
    uint64_t                            refused_until;
    uint64_t                            refused_took;
    ngx_uint_t                          refused;
    ngx_uint_t                          refused_flight;
    ngx_uint_t                          calls;
    unsigned                            tested:1;

    /*
     * The pace after a refusal: a rate that was accepted, and what drains the
     * line in some time; when that time was made longer; the last call.
     */

    ngx_uint_t                          base;
    uint64_t                            drain;
    uint64_t                            slowed;
    uint64_t                            paced;
    ngx_uint_t                          accepted;  /* since the last block */
    unsigned                            learned:1; /* the rate, by refusals */
    unsigned                            pressed:1; /* since then runs wait */
    unsigned                            crowded:1; /* it was too many at once */

    /* accepted calls: of seconds, the best and the most at once */

    uint64_t                            first;
    uint64_t                            second;
    uint64_t                            half;      /* of a minute, its start */
    ngx_uint_t                          counts[NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN];
    ngx_uint_t                          sum;
    ngx_uint_t                          best[2];
    ngx_uint_t                          most[2];

    /* what the upstream says about a window, for "automatic" */

    ngx_uint_t                          quota;     /* most that was left */
    ngx_uint_t                          left;
    uint64_t                            ends;
} ngx_http_retry_chain_limit_t;


/* for views */

typedef struct {
    ngx_uint_t                          rate;      /* learned, 0: none */
    uint64_t                            blocked;   /* until, 0: not */
    uint64_t                            trial;     /* the next one, 0: none */
    uint64_t                            since;     /* it is blocked or not */
    ngx_uint_t                          by;
    unsigned                            half_open:1;
    unsigned                            doubted:1;
} ngx_http_retry_chain_limit_state_t;


void ngx_http_retry_chain_limit_init(ngx_http_retry_chain_limit_t *limit,
    uint64_t now);

/*
 * May a run make its call now?  If so the call is counted, if not "when" is
 * the time to ask again; a reply to another call may be a reason before that.
 */
ngx_http_retry_chain_limit_reason_e ngx_http_retry_chain_limit_admit(
    ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now,
    ngx_http_retry_chain_limit_call_t *call, uint64_t *when);

/* the same, but nothing is changed: why a call would wait */
ngx_http_retry_chain_limit_reason_e ngx_http_retry_chain_limit_reason(
    const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now, uint64_t *when);

/*
 * When a run that is last in line could make its call, as it looks now, "now"
 * if at once: to choose between upstreams.  "least" is for the deadline: it
 * will not be earlier than that, unless what was learned turns out wrong.
 */
uint64_t ngx_http_retry_chain_limit_estimate(
    const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_run_t *run, uint64_t now,
    uint64_t *least);

/* calls that may still go back to back; 0 if there is no configured rate */
ngx_uint_t ngx_http_retry_chain_limit_left(
    const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, uint64_t now);

/* a call that was not made after all */
void ngx_http_retry_chain_limit_cancel(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call);

/* so many calls have been made that nobody asked for */
void ngx_http_retry_chain_limit_charge(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, ngx_uint_t calls,
    uint64_t now);

void ngx_http_retry_chain_limit_state(const ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, uint64_t now,
    ngx_http_retry_chain_limit_state_t *state);


/*
 * What has become of a call: one of the next three.  "waiting" is how many
 * runs are in lines.
 */

/* there was no reply, or one that says nothing */
void ngx_http_retry_chain_limit_done(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_call_t *call);

void ngx_http_retry_chain_limit_accepted(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, ngx_uint_t waiting,
    uint64_t now);

/*
 * A refusal that names "delay", 0: no time.  NGX_OK if a block begins, then
 * those who wait choose again.
 */
ngx_int_t ngx_http_retry_chain_limit_refused(
    ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, uint64_t delay,
    uint64_t now);


/*
 * And, after that, another reply that says that the upstream is away for
 * "delay": a 503, or a success after which nothing remains.  It is asked again
 * sooner, and nothing is learned.
 */
ngx_int_t ngx_http_retry_chain_limit_away(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf,
    const ngx_http_retry_chain_limit_call_t *call, ngx_uint_t status,
    uint64_t delay, uint64_t now);

/* a reply says that "remaining" calls are left for "reset" */
void ngx_http_retry_chain_limit_told(ngx_http_retry_chain_limit_t *limit,
    const ngx_http_retry_chain_limit_conf_t *conf, ngx_uint_t remaining,
    uint64_t reset, uint64_t now);


#endif /* _NGX_HTTP_RETRY_CHAIN_LIMIT_H_INCLUDED_ */
