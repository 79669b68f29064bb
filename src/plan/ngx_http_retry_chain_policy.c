
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_policy.h"
#include "ngx_http_retry_chain_json.h"


/*
 * A burst is refilled only where something is missing, so a step that has so
 * many calls more left than the ones before it is taken first.
 */

#define NGX_HTTP_RETRY_CHAIN_PREFERENCE  2


static ngx_int_t ngx_http_retry_chain_decide_json(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_verdict_t *verdict);
static ngx_int_t ngx_http_retry_chain_decide_same(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_int_t left,
    uint32_t random, ngx_http_retry_chain_verdict_t *verdict);
static ngx_uint_t ngx_http_retry_chain_turns(
    const ngx_http_retry_chain_plan_t *plan);
static ngx_uint_t ngx_http_retry_chain_place_step(
    const ngx_http_retry_chain_place_t *place, ngx_uint_t turns, ngx_uint_t k);
static ngx_uint_t ngx_http_retry_chain_repeatable(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_outcome_t *outcome);
static ngx_int_t ngx_http_retry_chain_match(
    const ngx_http_retry_chain_rule_t *rules, ngx_uint_t nrules,
    const ngx_http_retry_chain_outcome_t *outcome);


ngx_int_t
ngx_http_retry_chain_decide(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_outcome_t *outcome,
    const ngx_http_retry_chain_reply_t *reply, ngx_msec_int_t left,
    uint32_t random, ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_int_t   rc;
    ngx_uint_t  json;

    ngx_memzero(verdict, sizeof(ngx_http_retry_chain_verdict_t));

    rc = NGX_OK;

    if (plan->states) {
        rc = ngx_http_retry_chain_decide_failed(plan, place, outcome);

    } else if (outcome->outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {

        if (ngx_http_retry_chain_codes_test(&plan->success, outcome->status)) {

            if (plan->njson == 0) {
                return NGX_OK;
            }

            rc = ngx_http_retry_chain_decide_json(plan, reply, verdict);

            if (rc != NGX_OK) {
                return rc == NGX_DECLINED ? NGX_OK : rc;
            }

        } else if (ngx_http_retry_chain_codes_test(&plan->stop,
                                                   outcome->status))
        {
            verdict->result = NGX_HTTP_RETRY_CHAIN_STOPPED;
            return NGX_OK;
        }
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_decide_same(plan, place, limits, outcome,
                                              left, random, verdict);
    }

    if (rc != NGX_OK) {

        if (plan->states == NULL) {
            ngx_http_retry_chain_pick(plan, place, limits,
                                  ngx_http_retry_chain_place_wait(plan, place),
                                  left, verdict);

        } else if (ngx_http_retry_chain_decide_states(plan, place, limits,
                                                      outcome, reply, left,
                                                      verdict)
                   != NGX_OK)
        {
            return NGX_AGAIN;
        }

        if (verdict->result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED) {

            if (rc == NGX_BUSY) {
                verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;

            } else if (rc == NGX_ABORT) {
                verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;
            }
        }
    }

    if (!verdict->retry || ngx_http_retry_chain_repeatable(plan, outcome)) {
        return NGX_OK;
    }

    json = verdict->json;

    ngx_memzero(verdict, sizeof(ngx_http_retry_chain_verdict_t));

    verdict->result = NGX_HTTP_RETRY_CHAIN_UNSAFE;
    verdict->json = json;

    return NGX_OK;
}


/* NGX_OK: a failure, NGX_DECLINED: none */

static ngx_int_t
ngx_http_retry_chain_decide_json(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_int_t  n;

    if (reply && reply->pending) {
        return NGX_AGAIN;
    }

    if (reply == NULL || reply->json == NULL) {
        return NGX_DECLINED;
    }

    n = ngx_http_retry_chain_json_match(plan->json, plan->njson, reply->json);

    if (n == NGX_DECLINED) {
        return NGX_DECLINED;
    }

    verdict->json = n + 1;

    return NGX_OK;
}


/*
 * There would be another try, but not in time: NGX_BUSY, or while the upstream
 * is limited: NGX_ABORT
 */

static ngx_int_t
ngx_http_retry_chain_decide_same(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_int_t left,
    uint32_t random, ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_int_t                     n;
    ngx_uint_t                    limit;
    ngx_msec_t                    delay, limiter;
    ngx_uint_t                    nrules;
    ngx_http_retry_chain_rule_t  *rule, *rules;

    limit = plan->steps[place->step].attempts;
    rules = plan->rules;
    nrules = plan->nrules;
    delay = 0;
    n = 0;

    if (plan->states) {
        n = (ngx_int_t) plan->steps[place->step].state;
        rules += plan->states[n].rule;
        nrules = plan->states[n].nrules;
        n = 0;
    }

    if (nrules == 0) {

        if (place->tries >= limit) {
            return NGX_DECLINED;
        }

    } else {

        if (limit && place->tries >= limit) {
            return NGX_DECLINED;
        }

        n = ngx_http_retry_chain_match(rules, nrules, outcome);

        if (n == NGX_DECLINED) {
            return NGX_DECLINED;
        }

        rule = &rules[n];

        if ((ngx_uint_t) place->retries[n] + 1 >= rule->attempts) {
            return NGX_DECLINED;
        }

        delay = ngx_http_retry_chain_backoff(rule, place->retries[n] + 1,
                                             random);
    }

    verdict->reason = NGX_HTTP_RETRY_CHAIN_REASON_BACKOFF;

    limiter = limits->delay[place->step];

    if (limiter > delay && plan->limited != NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT) {

        if (plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL
            || !ngx_http_retry_chain_waits(plan, limits, place->step))
        {
            return NGX_ABORT;
        }

        delay = limiter;
        left -= plan->margin;
        verdict->reason = ngx_http_retry_chain_reason(limits, place->step);
    }

    if (left < 0 || delay >= (ngx_msec_t) left) {
        return verdict->reason == NGX_HTTP_RETRY_CHAIN_REASON_BACKOFF
               ? NGX_BUSY : NGX_ABORT;
    }

    verdict->retry = 1;
    verdict->same = 1;
    verdict->step = place->step;
    verdict->rule = n;
    verdict->delay = delay;

    return NGX_OK;
}


ngx_uint_t
ngx_http_retry_chain_place_first(const ngx_http_retry_chain_plan_t *plan,
    ngx_uint_t n)
{
    ngx_uint_t  turns;

    turns = ngx_http_retry_chain_turns(plan);

    return turns ? n % turns : 0;
}


static ngx_uint_t
ngx_http_retry_chain_turns(const ngx_http_retry_chain_plan_t *plan)
{
    ngx_uint_t  n;

    for (n = 0; n < plan->nsteps && !plan->steps[n].location; n++) {
        /* void */
    }

    return n;
}


/* the "k"-th step in the order of a run, with "turns" of its plan */

static ngx_uint_t
ngx_http_retry_chain_place_step(const ngx_http_retry_chain_place_t *place,
    ngx_uint_t turns, ngx_uint_t k)
{
    return k < turns ? (place->first + k) % turns : k;
}


ngx_uint_t
ngx_http_retry_chain_skips(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_uint_t  i, k, turns, skips;

    if (!verdict->retry || verdict->same
        || verdict->reason == NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER
        || verdict->reason == NGX_HTTP_RETRY_CHAIN_REASON_RATE)
    {
        /* a run that waits for a limited step has passed over none */

        return 0;
    }

    turns = ngx_http_retry_chain_turns(plan);
    skips = 0;

    for (k = 0; k < plan->nsteps; k++) {

        i = ngx_http_retry_chain_place_step(place, turns, k);

        if (i == verdict->step) {
            break;
        }

        if (!(place->used & ((uint32_t) 1 << i))
            && limits->delay[i] > verdict->delay)
        {
            skips++;
        }
    }

    return skips;
}


void
ngx_http_retry_chain_pick(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_limits_t *limits, ngx_msec_t wait,
    ngx_msec_int_t left, ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_uint_t  i, k, turns, best, limited, free;

    if (plan->states) {
        ngx_http_retry_chain_pick_states(plan, place, limits, wait, left,
                                         verdict);
        return;
    }

    verdict->retry = 0;
    verdict->same = 0;
    verdict->delay = 0;
    verdict->reason = place->visits ? NGX_HTTP_RETRY_CHAIN_REASON_STEP
                                    : NGX_HTTP_RETRY_CHAIN_REASON_FIRST;
    verdict->result = NGX_HTTP_RETRY_CHAIN_EXHAUSTED;

    turns = ngx_http_retry_chain_turns(plan);

    best = NGX_HTTP_RETRY_CHAIN_MAX_STEPS;
    limited = 0;
    free = 0;

    for (k = 0; k < plan->nsteps; k++) {

        i = ngx_http_retry_chain_place_step(place, turns, k);

        if (place->used & ((uint32_t) 1 << i)) {
            continue;
        }

        if (limits->delay[i] <= wait) {

            if (!free
                || (limits->left[best]
                    && limits->left[i] > limits->left[best]
                                       + NGX_HTTP_RETRY_CHAIN_PREFERENCE))
            {
                best = i;
            }

            limited = 0;
            free = 1;

            if (limits->left[best] == 0) {
                break;
            }

            continue;
        }

        if (free) {
            continue;
        }

        limited = 1;

        if ((best == NGX_HTTP_RETRY_CHAIN_MAX_STEPS
             || limits->delay[i] < limits->delay[best])
            && (plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT
                || ngx_http_retry_chain_waits(plan, limits, i)))
        {
            best = i;
        }
    }

    if (limited) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_LIMITED;

        if (plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL) {
            return;
        }
    }

    if (best == NGX_HTTP_RETRY_CHAIN_MAX_STEPS) {
        return;
    }

    if (limited && plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT) {
        wait = limits->delay[best];
        left -= plan->margin;
        verdict->reason = ngx_http_retry_chain_reason(limits, best);

    } else {
        verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
    }

    if (left < 0 || wait >= (ngx_msec_t) left) {
        return;
    }

    verdict->retry = 1;
    verdict->step = best;
    verdict->delay = wait;
}


ngx_uint_t
ngx_http_retry_chain_pick_same(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_limits_t *limits, ngx_msec_int_t left,
    ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_msec_t  limiter;

    limiter = limits->delay[verdict->step];

    verdict->delay = 0;

    if (limiter == 0 || plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT) {
        return left > 0;
    }

    left -= plan->margin;

    if (plan->limited == NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL
        || !ngx_http_retry_chain_waits(plan, limits, verdict->step)
        || left < 0 || limiter >= (ngx_msec_t) left)
    {
        return 0;
    }

    verdict->delay = limiter;
    verdict->reason = ngx_http_retry_chain_reason(limits, verdict->step);

    return 1;
}


ngx_uint_t
ngx_http_retry_chain_waits(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_limits_t *limits, ngx_uint_t step)
{
    return !(limits->blocked & ((uint32_t) 1 << step))
           || limits->delay[step] <= plan->retry_after.max;
}


ngx_http_retry_chain_reason_e
ngx_http_retry_chain_reason(const ngx_http_retry_chain_limits_t *limits,
    ngx_uint_t step)
{
    return limits->blocked & ((uint32_t) 1 << step)
           ? NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER
           : NGX_HTTP_RETRY_CHAIN_REASON_RATE;
}


ngx_msec_t
ngx_http_retry_chain_place_wait(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place)
{
    if (place->visits == 0 || place->visits >= plan->nsteps) {
        return 0;
    }

    return plan->steps[place->visits].wait;
}


static ngx_uint_t
ngx_http_retry_chain_repeatable(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_outcome_t *outcome)
{
    if (outcome->idempotent
        || plan->non_idempotent == NGX_HTTP_RETRY_CHAIN_UNSAFE_ON)
    {
        return 1;
    }

    if (plan->non_idempotent == NGX_HTTP_RETRY_CHAIN_UNSAFE_OFF) {
        return 0;
    }

    if (outcome->keyed || !outcome->sent) {
        return 1;
    }

    /* RFC 6585, section 4: the request was refused, not applied */

    return outcome->outcome == NGX_HTTP_RETRY_CHAIN_REPLY
           && outcome->status == 429
           && !outcome->cached;
}


static ngx_int_t
ngx_http_retry_chain_match(const ngx_http_retry_chain_rule_t *rules,
    ngx_uint_t nrules, const ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_uint_t                          i;
    const ngx_http_retry_chain_rule_t  *rule;

    for (i = 0; i < nrules; i++) {
        rule = &rules[i];

        if (!(rule->outcomes & outcome->outcome)) {
            continue;
        }

        if (outcome->outcome != NGX_HTTP_RETRY_CHAIN_REPLY
            || rule->any
            || ngx_http_retry_chain_codes_test(&rule->codes, outcome->status))
        {
            return i;
        }
    }

    return NGX_DECLINED;
}


ngx_msec_t
ngx_http_retry_chain_backoff(const ngx_http_retry_chain_rule_t *rule,
    ngx_uint_t k, uint32_t random)
{
    uint64_t  delay, half, max;

    /*
     * in microseconds, so that small delays grow, too; the limits of the
     * configuration keep every product within 64 bits
     */

    max = (uint64_t) rule->max * 1000;
    delay = ngx_min((uint64_t) rule->interval * 1000, max);

    while (--k && delay < max && delay && rule->rate > 1000) {
        delay = delay * rule->rate / 1000;
    }

    delay = ngx_min(delay, max) / 1000;

    switch (rule->jitter) {

    case NGX_HTTP_RETRY_CHAIN_JITTER_FULL:
        delay = (delay + 1) * random >> 32;
        break;

    case NGX_HTTP_RETRY_CHAIN_JITTER_EQUAL:
        half = delay - delay / 2;
        delay = delay / 2 + ((half + 1) * random >> 32);
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_JITTER_NONE */
        break;
    }

    return delay;
}


void
ngx_http_retry_chain_place_move(ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_verdict_t *verdict)
{
    if (verdict->same) {
        place->tries++;
        place->retries[verdict->rule]++;
        return;
    }

    place->step = verdict->step;
    place->used |= (uint32_t) 1 << verdict->step;
    place->visits++;
    place->tries = 1;
    ngx_memzero(place->retries, sizeof(place->retries));
}
