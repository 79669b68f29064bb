
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _SIM_H_INCLUDED_
#define _SIM_H_INCLUDED_


/*
 * A chain in front of vendors, as discrete events: requests come, go through
 * their steps, wait in the lines of workers and are sent to models of vendors.
 * What may be sent is decided by the code of limit/.
 */


#include "ngx_http_retry_chain_limit.h"


#define MSEC     ((uint64_t) 1000)
#define SECOND   ((uint64_t) 1000000)

/* for how long requests come */

#define SIM_TIME (60 * SECOND)

#define SIM_LOG  4096


typedef enum {
    SIM_FREE = 0,                  /* takes any number of calls */
    SIM_BUCKET,                    /* "rate" a second, "burst" at once */
    SIM_WINDOW,                    /* "burst" in each window of "period" */
    SIM_SLIDING,                   /* "burst" in any time of "period" */
    SIM_CONNS                      /* "burst" at once, each takes "period" */
} sim_kind_e;


/* Retry-After of a refusal */

typedef enum {
    SIM_HINT_NONE = 0,
    SIM_HINT_ZERO,
    SIM_HINT_FIXED,                /* "retry_after" */
    SIM_HINT_TRUE                  /* the time that is left, whole seconds */
} sim_hint_e;


typedef enum {
    SIM_STEADY = 0,
    SIM_BURST,                     /* 100 at once, then a tenth */
    SIM_STEPS,                     /* 0.5, 1.5, 0.5, 1.3, 0.2, 1 of the load */
    SIM_WAKE                       /* a tenth, and all of it after 20 s */
} sim_demand_e;


typedef struct {
    const char                    *name;

    sim_kind_e                     kind;
    double                         rate;
    ngx_uint_t                     burst;
    uint64_t                       period;
    uint64_t                       block;      /* that follows a refusal */
    sim_hint_e                     hint;
    uint64_t                       retry_after;

    double                         load;       /* what is called 1 */
    sim_demand_e                   demand;

    double                         random;     /* share of such refusals */
    uint64_t                       outage;     /* it ends 21 s after start */
    uint64_t                       slow;       /* answers are, after 20 s */

    unsigned                       renewed:1;  /* the block, by each call */
    unsigned                       third:1;    /* the rate, from 15 to 45 s */
    unsigned                       cold:1;     /* the first reply is a 429 */
    unsigned                       endpoint:1; /* one in ten is refused */
    unsigned                       down:1;     /* that as 503 */
    unsigned                       remain:1;   /* calls left, on all replies */
    unsigned                       lies:1;     /* they are 0 for 30 s */
    unsigned                       limits:1;   /* the rate can be known */
} sim_vendor_t;


typedef enum {
    SIM_NONE = 0,
    SIM_HINTS,
    SIM_AUTO,
    SIM_KNOWN
} sim_column_e;


typedef struct {
    const sim_vendor_t            *vendor;
    sim_column_e                   column;
    ngx_uint_t                     steps;
    double                         load;
    uint64_t                       latency;
    ngx_uint_t                     workers;
    uint32_t                       seed;
    unsigned                       rotate:1;
    unsigned                       trace:1;
} sim_t;


typedef struct {
    ngx_uint_t                     runs;
    ngx_uint_t                     answered;
    ngx_uint_t                     refused;    /* calls */
    ngx_uint_t                     longest;    /* wait in ms, p99 */
} sim_result_t;


/* one of a vendor's upstreams */

typedef struct {
    double                         tokens;
    uint64_t                       filled;
    uint64_t                       blocked;
    uint64_t                       window;
    ngx_uint_t                     used;
    uint64_t                       log[SIM_LOG];
    ngx_uint_t                     calls;
    ngx_uint_t                     conns;
} sim_state_t;


typedef struct {
    ngx_uint_t                     status;
    uint64_t                       hint;
    ngx_uint_t                     remaining;
    uint64_t                       reset;      /* 0: it does not say so */
} sim_reply_t;


/*
 * What it replies to the call after "calls" of a run whose hash is known; the
 * time since the beginning
 */
void sim_ask(const sim_vendor_t *vendor, sim_state_t *state, uint64_t now,
    uint32_t hash, ngx_uint_t calls, sim_reply_t *reply);

/* not reentrant */
void sim_run(const sim_t *sim, sim_result_t *result);


#endif /* _SIM_H_INCLUDED_ */
