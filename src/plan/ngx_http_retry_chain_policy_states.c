
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_policy.h"
#include "ngx_http_retry_chain_transition.h"


static ngx_uint_t ngx_http_retry_chain_pick_onward(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits, ngx_uint_t step,
    ngx_msec_t *wait);


ngx_int_t
ngx_http_retry_chain_decide_failed(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_outcome_t *outcome)
{
    return ngx_http_retry_chain_transition_failed(plan, place->step,
                                                  outcome->outcome,
                                                  outcome->status)
           ? NGX_OK : NGX_DECLINED;
}


/* where a run goes when the same step is not tried again */

ngx_int_t
ngx_http_retry_chain_decide_states(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_outcome_t *outcome,
    const ngx_http_retry_chain_reply_t *reply, ngx_msec_int_t left,
    ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_http_retry_chain_reply_t         known;
    ngx_http_retry_chain_transition_t    walk;
    const ngx_http_retry_chain_state_t  *state;

    if (reply) {
        known = *reply;

    } else {
        ngx_memzero(&known, sizeof(ngx_http_retry_chain_reply_t));
    }

    known.outcome = outcome->outcome;
    known.status = outcome->status;

    if (ngx_http_retry_chain_transition(plan, place->step, &known, &walk)
        == NGX_AGAIN)
    {
        return NGX_AGAIN;
    }

    verdict->reason = NGX_HTTP_RETRY_CHAIN_REASON_FIRST;
    verdict->result = NGX_HTTP_RETRY_CHAIN_EXHAUSTED;

    if (walk.state != NGX_HTTP_RETRY_CHAIN_END) {
        state = &plan->states[walk.state];

        if (state->type == NGX_HTTP_RETRY_CHAIN_STATE_TASK) {
            verdict->step = state->step;

            ngx_http_retry_chain_pick_states(plan, place, limits, walk.wait,
                                             left, verdict);
            return NGX_OK;
        }

        if (state->type == NGX_HTTP_RETRY_CHAIN_STATE_FAIL) {
            verdict->fail = 1;
            verdict->step = walk.state;
            return NGX_OK;
        }
    }

    if (outcome->outcome == NGX_HTTP_RETRY_CHAIN_REPLY
        && outcome->status >= 200 && outcome->status < 400)
    {
        verdict->result = NGX_HTTP_RETRY_CHAIN_SUCCESS;
    }

    return NGX_OK;
}


void
ngx_http_retry_chain_pick_states(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits, ngx_msec_t wait,
    ngx_msec_int_t left, ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_uint_t  step, used;

    step = verdict->step;
    used = (place->used >> step) & 1;

    verdict->retry = 0;
    verdict->same = 0;
    verdict->delay = 0;
    verdict->reason = place->visits || plan->wait
                      ? NGX_HTTP_RETRY_CHAIN_REASON_STEP
                      : NGX_HTTP_RETRY_CHAIN_REASON_FIRST;
    verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;

    if (used || (limits->delay[step] > wait
                 && plan->limited != NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT))
    {
        if (plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT) {
            step = ngx_http_retry_chain_pick_onward(plan, place, limits, step,
                                                    &wait);

        } else {
            step = NGX_HTTP_RETRY_CHAIN_MAX_STEPS;
        }

        if (step == NGX_HTTP_RETRY_CHAIN_MAX_STEPS) {

            if (plan->limited != NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT) {
                verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;
            }

            return;
        }

        if (limits->delay[step] > wait) {
            wait = limits->delay[step];
            left -= plan->margin;
            verdict->reason = ngx_http_retry_chain_reason(limits, step);
            verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;

        } else if (wait) {
            verdict->reason = NGX_HTTP_RETRY_CHAIN_REASON_STEP;
        }
    }

    if (left < 0 || wait >= (ngx_msec_t) left) {
        return;
    }

    verdict->retry = 1;
    verdict->step = step;
    verdict->delay = wait;
}


/*
 * A step that is limited would answer 429, so a run may go on to where that
 * leads: to the first step that is free after the waits on the way to it, or to
 * the one that is free first.
 */

static ngx_uint_t
ngx_http_retry_chain_pick_onward(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits, ngx_uint_t step,
    ngx_msec_t *wait)
{
    ngx_msec_t                           passed, least;
    ngx_uint_t                           best;
    ngx_http_retry_chain_reply_t         reply;
    ngx_http_retry_chain_transition_t    walk;
    const ngx_http_retry_chain_state_t  *state;

    best = NGX_HTTP_RETRY_CHAIN_MAX_STEPS;
    passed = *wait;
    least = 0;

    for ( ;; ) {

        if (!(place->used & ((uint32_t) 1 << step))) {

            if (limits->delay[step] <= passed) {
                *wait = passed;
                return step;
            }

            if (ngx_http_retry_chain_waits(plan, limits, step)
                && (best == NGX_HTTP_RETRY_CHAIN_MAX_STEPS
                    || limits->delay[step] < least))
            {
                best = step;
                least = limits->delay[step];
                *wait = passed;
            }
        }

        ngx_memzero(&reply, sizeof(ngx_http_retry_chain_reply_t));

        reply.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
        reply.status = 429;

        (void) ngx_http_retry_chain_transition(plan, step, &reply, &walk);

        if (walk.state == NGX_HTTP_RETRY_CHAIN_END) {
            return best;
        }

        state = &plan->states[walk.state];

        if (state->type != NGX_HTTP_RETRY_CHAIN_STATE_TASK) {
            return best;
        }

        step = state->step;
        passed = ngx_min(passed + walk.wait, NGX_HTTP_RETRY_CHAIN_MAX_TIME);
    }
}
