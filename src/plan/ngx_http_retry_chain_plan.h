
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The plan: what a chain is made of.  It is compiled while the configuration
 * is read, lives as long as the configuration and is never written again.
 *
 * All times are in milliseconds.  "attempts" counts all tries, the first one
 * included, as nginx's *_next_upstream_tries does.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_PLAN_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_PLAN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_budget.h"
#include "ngx_http_retry_chain_limiter.h"
#include "ngx_http_retry_chain_ratelimit.h"


#define NGX_HTTP_RETRY_CHAIN_MAX_STEPS      16
#define NGX_HTTP_RETRY_CHAIN_MAX_RULES      16
#define NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS   100


/* what an attempt gave; a rule matches a mask of these */

#define NGX_HTTP_RETRY_CHAIN_REPLY          0x01
#define NGX_HTTP_RETRY_CHAIN_ERROR          0x02
#define NGX_HTTP_RETRY_CHAIN_TIMEOUT        0x04
#define NGX_HTTP_RETRY_CHAIN_INVALID_HEADER 0x08


typedef enum {
    NGX_HTTP_RETRY_CHAIN_JITTER_NONE = 0,
    NGX_HTTP_RETRY_CHAIN_JITTER_FULL,
    NGX_HTTP_RETRY_CHAIN_JITTER_EQUAL
} ngx_http_retry_chain_jitter_e;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_UNSAFE_SAFE = 0,
    NGX_HTTP_RETRY_CHAIN_UNSAFE_ON,
    NGX_HTTP_RETRY_CHAIN_UNSAFE_OFF
} ngx_http_retry_chain_unsafe_e;


/* what a run does when no upstream is free */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT = 0,
    NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT,
    NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL
} ngx_http_retry_chain_limited_e;


/* a set of status codes, 100 to 599 */

typedef struct {
    uint32_t                            bits[16];
} ngx_http_retry_chain_codes_t;


typedef struct {
    ngx_str_t                             name;    /* as configured */

    ngx_msec_t                            wait;    /* before this position */
    ngx_msec_t                            timeout; /* 0: no limit */
    ngx_uint_t                            attempts; /* 0: not given */

    ngx_http_retry_chain_limiter_conf_t   limit;

    ngx_str_t                             file;    /* where it was configured */
    ngx_uint_t                            line;

    ngx_uint_t                            state;   /* of a machine: its Task */

    unsigned                              location:1; /* an @location */
} ngx_http_retry_chain_step_t;


typedef struct {
    ngx_uint_t                          outcomes;  /* mask */
    ngx_http_retry_chain_codes_t        codes;     /* of replies */
    ngx_uint_t                          attempts;  /* at least 1 */

    ngx_msec_t                          interval;
    ngx_msec_t                          max;
    ngx_uint_t                          rate;      /* 1000 is 1.0 */
    ngx_http_retry_chain_jitter_e       jitter;

    unsigned                            any:1;     /* any status */
} ngx_http_retry_chain_rule_t;


/* of zone.h: the runs that wait for an upstream, with its limiter */

typedef struct ngx_http_retry_chain_queue_s  ngx_http_retry_chain_queue_t;


/* likewise: the chain as it is recorded */

typedef struct ngx_http_retry_chain_chain_s  ngx_http_retry_chain_chain_t;


/* what is made of Retry-After, RateLimit and X-RateLimit-* */

typedef struct {
    ngx_msec_t                          max;       /* a run waits for it */
    ngx_msec_t                          cap;       /* an upstream is limited */
    ngx_msec_t                          spacing;   /* "default", without one */
    unsigned                            off:1;
    unsigned                            chain:1;   /* they bind all steps */
} ngx_http_retry_chain_retry_after_conf_t;


/*
 * A plan that was made of a machine has states.  They are sorted so that every
 * transition leads to a state with a higher index, or is the end of the run.
 * The steps are its Tasks in the same order.  Every Task has rules of its own,
 * and place->retries counts those of the Task that is visited.
 */

#define NGX_HTTP_RETRY_CHAIN_MAX_STATES     500
#define NGX_HTTP_RETRY_CHAIN_END            ((ngx_uint_t) -1)


/* of condition.h */

typedef struct ngx_http_retry_chain_condition_s
    ngx_http_retry_chain_condition_t;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_STATE_TASK = 0,
    NGX_HTTP_RETRY_CHAIN_STATE_CHOICE,
    NGX_HTTP_RETRY_CHAIN_STATE_WAIT,
    NGX_HTTP_RETRY_CHAIN_STATE_SUCCEED,
    NGX_HTTP_RETRY_CHAIN_STATE_FAIL
} ngx_http_retry_chain_kind_e;


typedef struct {
    ngx_uint_t                          outcomes;  /* mask */
    ngx_http_retry_chain_codes_t        codes;     /* of replies */
    ngx_uint_t                          next;      /* state */

    unsigned                            any:1;     /* any status */
} ngx_http_retry_chain_catch_t;


typedef struct {
    ngx_http_retry_chain_condition_t   *condition;
    ngx_uint_t                          next;      /* state */
} ngx_http_retry_chain_branch_t;


typedef struct {
    ngx_http_retry_chain_kind_e         type;
    ngx_str_t                           name;
    ngx_uint_t                          next;      /* of a Choice: Default */

    /* Task */

    ngx_uint_t                          step;
    ngx_uint_t                          rule;      /* its first, of the plan */
    ngx_uint_t                          nrules;
    ngx_http_retry_chain_catch_t       *catches;
    ngx_uint_t                          ncatches;

    /* Choice */

    ngx_http_retry_chain_branch_t      *branches;
    ngx_uint_t                          nbranches;

    /* Wait */

    ngx_msec_t                          wait;

    /* Fail */

    ngx_str_t                           error;
    ngx_str_t                           cause;

    unsigned                            http:1;    /* Task: http:invoke */
} ngx_http_retry_chain_state_t;


/* of json.h */

struct ngx_http_retry_chain_json_rule_s;


typedef struct {
    ngx_http_retry_chain_step_t        *steps;
    ngx_uint_t                          nsteps;    /* at least 1 */

    ngx_http_retry_chain_rule_t        *rules;
    ngx_uint_t                          nrules;

    ngx_http_retry_chain_codes_t        success;
    ngx_http_retry_chain_codes_t        stop;

    ngx_http_retry_chain_unsafe_e       non_idempotent;

    ngx_msec_t                          timeout;   /* 0: no deadline */
    ngx_msec_t                          margin;    /* for an attempt in it */
    ngx_uint_t                          attempts;  /* most that a run makes */

    ngx_http_retry_chain_retry_after_conf_t        retry_after;
    ngx_http_retry_chain_limited_e      limited;
    ngx_http_retry_chain_budget_conf_t  budget;
    ngx_uint_t                          max_waiting;

    ngx_http_retry_chain_queue_t      **queues;    /* of steps; NULL: no zone */
    void                               *zone;      /* of the queues */
    ngx_http_retry_chain_chain_t       *chain;     /* that it is of */

    ngx_http_retry_chain_state_t       *states;    /* NULL: no machine */
    ngx_uint_t                          nstates;
    ngx_msec_t                          wait;      /* before the first step */
    ngx_uint_t                          fail_status;  /* of a Fail */

    struct ngx_http_retry_chain_json_rule_s
                                       *json;      /* a success that is none */
    ngx_uint_t                          njson;

    unsigned                            hard:1;    /* timeout aborts attempts */
    unsigned                            rotate:1;  /* where a run starts */
    unsigned                            dry:1;     /* says what it would do */
    unsigned                            body:1;    /* a verdict may need it */
} ngx_http_retry_chain_plan_t;


/*
 * Adds "404", "2xx" or "500-503" to the set; NGX_DECLINED if the text is
 * neither of them or a code is below 100 or above 599.
 */
ngx_int_t ngx_http_retry_chain_codes_add(ngx_http_retry_chain_codes_t *codes,
    ngx_str_t *text);
ngx_uint_t ngx_http_retry_chain_codes_test(
    const ngx_http_retry_chain_codes_t *codes, ngx_uint_t status);

/* NGX_DECLINED if the text is not a time or is over MAX_TIME */
ngx_int_t ngx_http_retry_chain_parse_msec(ngx_str_t *text, ngx_msec_t *msec);

/*
 * "20r/s", "0.5r/s" or "30r/m" in thousandths of a call a second; NGX_DECLINED
 * if it is none or out of range
 */
ngx_int_t ngx_http_retry_chain_parse_rate(ngx_str_t *text, ngx_uint_t *rate);

/* the defaults */
void ngx_http_retry_chain_retry_after_conf_init(
    ngx_http_retry_chain_retry_after_conf_t *retry_after);

/* a hard limit of a run, if no other one is shorter */
void ngx_http_retry_chain_plan_limit(ngx_http_retry_chain_plan_t *plan,
    ngx_msec_t timeout);

/*
 * Computes the most attempts that a run may make; NGX_DECLINED if they are
 * more than MAX_ATTEMPTS, with plan->attempts set all the same.  Those of a
 * machine have been counted by its compiler.
 */
ngx_int_t ngx_http_retry_chain_plan_init(ngx_http_retry_chain_plan_t *plan);


#endif /* _NGX_HTTP_RETRY_CHAIN_PLAN_H_INCLUDED_ */
