
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_policy.h"


static ngx_uint_t ngx_http_retry_chain_repeatable(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_outcome_t *outcome);
static ngx_int_t ngx_http_retry_chain_match(
    const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_outcome_t *outcome);


void
ngx_http_retry_chain_decide(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_int_t left,
    uint32_t random, ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_int_t                     n;
    ngx_uint_t                    again;
    ngx_http_retry_chain_rule_t  *rule;
    ngx_http_retry_chain_step_t  *step;

    ngx_memzero(verdict, sizeof(ngx_http_retry_chain_verdict_t));

    if (outcome->outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {

        if (ngx_http_retry_chain_codes_test(&plan->success, outcome->status)) {
            verdict->result = NGX_HTTP_RETRY_CHAIN_SUCCESS;
            return;
        }

        if (ngx_http_retry_chain_codes_test(&plan->stop, outcome->status)) {
            verdict->result = NGX_HTTP_RETRY_CHAIN_STOPPED;
            return;
        }
    }

    step = &plan->steps[place->step];
    verdict->result = NGX_HTTP_RETRY_CHAIN_EXHAUSTED;
    again = 0;

    /* the same step */

    if (plan->nrules == 0) {

        if (place->tries < step->attempts) {
            verdict->same = 1;
            again = 1;
        }

    } else if (step->attempts == 0 || place->tries < step->attempts) {

        n = ngx_http_retry_chain_match(plan, outcome);

        if (n != NGX_DECLINED) {
            rule = &plan->rules[n];

            if ((ngx_uint_t) place->retries[n] + 1 < rule->attempts) {
                verdict->same = 1;
                verdict->rule = n;
                verdict->delay = ngx_http_retry_chain_backoff(rule,
                                                  place->retries[n] + 1,
                                                  random);
                again = 1;
            }
        }
    }

    if (again && (ngx_msec_int_t) verdict->delay >= left) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
        verdict->same = 0;
        verdict->delay = 0;
        again = 0;
    }

    /* the next one */

    if (!again && place->step + 1 < plan->nsteps) {
        verdict->delay = plan->steps[place->step + 1].wait;

        if ((ngx_msec_int_t) verdict->delay >= left) {
            verdict->result = NGX_HTTP_RETRY_CHAIN_DEADLINE;
            verdict->delay = 0;
            return;
        }

        again = 1;
    }

    if (!again) {
        return;
    }

    if (!ngx_http_retry_chain_repeatable(plan, outcome)) {
        verdict->result = NGX_HTTP_RETRY_CHAIN_UNSAFE;
        verdict->same = 0;
        verdict->delay = 0;
        return;
    }

    verdict->retry = 1;
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
           && outcome->status == 429;
}


static ngx_int_t
ngx_http_retry_chain_match(const ngx_http_retry_chain_plan_t *plan,
    const ngx_http_retry_chain_outcome_t *outcome)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_rule_t  *rule;

    for (i = 0; i < plan->nrules; i++) {
        rule = &plan->rules[i];

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

    place->step++;
    place->tries = 1;
    ngx_memzero(place->retries, sizeof(place->retries));
}
