
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The one place that decides.  Nothing here knows a request or a clock: time
 * and randomness are arguments.
 *
 * Backoff follows the Retry field of the Amazon States Language: the k-th
 * delay is min(interval * rate^(k-1), max), the first matching rule wins, its
 * counter belongs to the rule and the visit of the step, and an exhausted rule
 * does not fall to the next one.  Jitter "full" is uniform from 0 to the
 * delay, "equal" is half of it plus a uniform half.
 *
 * Safety follows RFC 9110, section 9.2.2: a proxy must not repeat a method
 * that is not idempotent unless it knows that the request was not applied.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_POLICY_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_POLICY_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_condition.h"
#include "ngx_http_retry_chain_plan.h"


typedef enum {
    NGX_HTTP_RETRY_CHAIN_SUCCESS = 0,
    NGX_HTTP_RETRY_CHAIN_EXHAUSTED,
    NGX_HTTP_RETRY_CHAIN_STOPPED,
    NGX_HTTP_RETRY_CHAIN_UNSAFE,
    NGX_HTTP_RETRY_CHAIN_DEADLINE,
    NGX_HTTP_RETRY_CHAIN_LIMITED,
    NGX_HTTP_RETRY_CHAIN_BUDGET,
    NGX_HTTP_RETRY_CHAIN_OVERFLOW,
    NGX_HTTP_RETRY_CHAIN_ABORTED,
    NGX_HTTP_RETRY_CHAIN_BYPASSED,
    NGX_HTTP_RETRY_CHAIN_DRY_RUN
} ngx_http_retry_chain_result_e;


/* what an attempt waits for */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_REASON_FIRST = 0,  /* nothing */
    NGX_HTTP_RETRY_CHAIN_REASON_STEP,       /* wait= of the position */
    NGX_HTTP_RETRY_CHAIN_REASON_BACKOFF,    /* a rule */
    NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER,       /* the vendor said when */
    NGX_HTTP_RETRY_CHAIN_REASON_RATE        /* the pace of the upstream */
} ngx_http_retry_chain_reason_e;


/* when the upstreams of a plan are free, by step */

typedef struct {
    ngx_msec_t                          delay[NGX_HTTP_RETRY_CHAIN_MAX_STEPS];
    ngx_uint_t                          left[NGX_HTTP_RETRY_CHAIN_MAX_STEPS];
                                                   /* of a burst, calls */
    uint32_t                            blocked;   /* by what a reply said */
} ngx_http_retry_chain_limits_t;


/* where a run stands; owned and zeroed by the run */

typedef struct {
    ngx_uint_t                          step;      /* index of the step */
    ngx_uint_t                          first;     /* where it has started */
    ngx_uint_t                          visits;    /* of steps */
    uint32_t                            used;      /* mask of them */
    ngx_uint_t                          tries;     /* made in this visit */
    u_char                              retries[NGX_HTTP_RETRY_CHAIN_MAX_RULES];
                                                   /* by rule, in this visit */
} ngx_http_retry_chain_place_t;


typedef struct {
    unsigned                            outcome:4;   /* bit of the mask */
    unsigned                            status:10;   /* of a reply */

    unsigned                            idempotent:1;  /* the method is */
    unsigned                            keyed:1;   /* has Idempotency-Key */
    unsigned                            sent:1;    /* vendor may have acted */
    unsigned                            cached:1;  /* by a cache */

    unsigned                            json:8;    /* 1 + index of the rule that
                                                      made a reply a failure */
} ngx_http_retry_chain_outcome_t;


typedef struct {
    unsigned                            retry:1;   /* discard, try again */
    unsigned                            same:1;    /* on the same step */
    unsigned                            fail:1;    /* answer with a Fail */
    unsigned                            json:16;   /* 1 + index of the rule
                                                      that made it a failure */

    ngx_uint_t                          step;      /* index, if retry; of the
                                                      state, if fail */
    ngx_uint_t                          rule;      /* index, if same */
    ngx_msec_t                          delay;     /* before the attempt */
    ngx_http_retry_chain_reason_e       reason;    /* of the delay */
    ngx_http_retry_chain_result_e       result;    /* if not retry */
} ngx_http_retry_chain_verdict_t;


/* delay before the k-th retry, k from 1; random is any 32-bit number */
ngx_msec_t ngx_http_retry_chain_backoff(const ngx_http_retry_chain_rule_t *rule,
    ngx_uint_t k, uint32_t random);

/*
 * "left" is the time to the deadline; NGX_MAX_INT_T_VALUE if there is none.
 * "limits" has the upstreams after the outcome.  The place is not changed.
 *
 * "reply" has what conditions may ask for, NULL if there is nothing of it; its
 * status and outcome are not looked at.  NGX_AGAIN: the verdict depends on the
 * body that is pending, and has to be asked for again.
 */
ngx_int_t ngx_http_retry_chain_decide(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_outcome_t *outcome,
    const ngx_http_retry_chain_reply_t *reply, ngx_msec_int_t left,
    uint32_t random, ngx_http_retry_chain_verdict_t *verdict);

/*
 * The step with which the "n"-th run of a rotation begins.  Steps with an
 * address take turns; an @location, and what follows it, is a last resort.
 */
ngx_uint_t ngx_http_retry_chain_place_first(
    const ngx_http_retry_chain_plan_t *plan, ngx_uint_t n);

/* how many limited steps the verdict of pick() or decide() has passed over */
ngx_uint_t ngx_http_retry_chain_skips(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_verdict_t *verdict);

/*
 * Picks a step that was not used yet: the first one that is free after "wait",
 * or the one that is free first.  Sets step, delay and reason of the verdict,
 * or its result.
 *
 * In a machine it is the step of the verdict, or one that would follow if that
 * answered 429; zeroed, the verdict has the first one.
 */
void ngx_http_retry_chain_pick(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits, ngx_msec_t wait,
    ngx_msec_int_t left, ngx_http_retry_chain_verdict_t *verdict);

/*
 * Another try at the step of the verdict, after its backoff: now, or when its
 * limiter is free.  0 if that is not in time.
 */
ngx_uint_t ngx_http_retry_chain_pick_same(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_limits_t *limits, ngx_msec_int_t left,
    ngx_http_retry_chain_verdict_t *verdict);

/* the wait that belongs to the next position of a run */
ngx_msec_t ngx_http_retry_chain_place_wait(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place);

/* moves the place to where the verdict has sent the run; counts the try */
void ngx_http_retry_chain_place_move(ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_verdict_t *verdict);


/* for the files of this room */

/* a run does not wait longer than "max" because of what a reply said */
ngx_uint_t ngx_http_retry_chain_waits(
    const ngx_http_retry_chain_plan_t   *plan,
    const ngx_http_retry_chain_limits_t *limits, ngx_uint_t step);
ngx_http_retry_chain_reason_e ngx_http_retry_chain_reason(
    const ngx_http_retry_chain_limits_t *limits, ngx_uint_t step);

/* the same for plans that have states */

/* NGX_OK if the outcome is an error, NGX_DECLINED if it is none */
ngx_int_t ngx_http_retry_chain_decide_failed(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_outcome_t *outcome);
ngx_int_t ngx_http_retry_chain_decide_states(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_outcome_t *outcome,
    const ngx_http_retry_chain_reply_t *reply, ngx_msec_int_t left,
    ngx_http_retry_chain_verdict_t *verdict);
void ngx_http_retry_chain_pick_states(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits, ngx_msec_t wait,
    ngx_msec_int_t left, ngx_http_retry_chain_verdict_t *verdict);


#endif /* _NGX_HTTP_RETRY_CHAIN_POLICY_H_INCLUDED_ */
