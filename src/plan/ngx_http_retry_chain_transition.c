
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_transition.h"


static ngx_int_t ngx_http_retry_chain_transition_after(
    const ngx_http_retry_chain_plan_t *plan, ngx_uint_t step,
    ngx_http_retry_chain_reply_t *reply, ngx_uint_t *next);
static ngx_int_t ngx_http_retry_chain_transition_choose(
    const ngx_http_retry_chain_state_t *state,
    const ngx_http_retry_chain_reply_t *reply, ngx_uint_t *next);


ngx_uint_t
ngx_http_retry_chain_transition_failed(const ngx_http_retry_chain_plan_t *plan,
    ngx_uint_t step, ngx_uint_t outcome, ngx_uint_t status)
{
    if (outcome != NGX_HTTP_RETRY_CHAIN_REPLY) {
        return 1;
    }

    /* to a function each reply of the vendor is a result */

    return plan->states[plan->steps[step].state].http && status >= 400;
}


ngx_int_t
ngx_http_retry_chain_transition(const ngx_http_retry_chain_plan_t *plan,
    ngx_uint_t step, ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_transition_t *walk)
{
    ngx_uint_t                           next;
    const ngx_http_retry_chain_state_t  *state;

    walk->wait = 0;
    walk->state = NGX_HTTP_RETRY_CHAIN_END;

    if (ngx_http_retry_chain_transition_after(plan, step, reply, &next)
        != NGX_OK)
    {
        return NGX_OK;
    }

    while (next != NGX_HTTP_RETRY_CHAIN_END) {
        state = &plan->states[next];

        switch (state->type) {

        case NGX_HTTP_RETRY_CHAIN_STATE_CHOICE:

            if (ngx_http_retry_chain_transition_choose(state, reply, &next)
                == NGX_AGAIN)
            {
                return NGX_AGAIN;
            }

            break;

        case NGX_HTTP_RETRY_CHAIN_STATE_WAIT:
            walk->wait = ngx_min(walk->wait + state->wait,
                                 NGX_HTTP_RETRY_CHAIN_MAX_TIME);
            next = state->next;
            break;

        default:
            walk->state = next;
            return NGX_OK;
        }
    }

    return NGX_OK;
}


/* NGX_DECLINED: an error that nothing catches ends the run */

static ngx_int_t
ngx_http_retry_chain_transition_after(const ngx_http_retry_chain_plan_t *plan,
    ngx_uint_t step, ngx_http_retry_chain_reply_t *reply, ngx_uint_t *next)
{
    ngx_uint_t                           i;
    const ngx_http_retry_chain_catch_t  *catch;
    const ngx_http_retry_chain_state_t  *state;

    state = &plan->states[plan->steps[step].state];

    reply->http = state->http;
    *next = state->next;

    if (!ngx_http_retry_chain_transition_failed(plan, step, reply->outcome,
                                                reply->status))
    {
        return NGX_OK;
    }

    for (i = 0; i < state->ncatches; i++) {
        catch = &state->catches[i];

        if (!(catch->outcomes & reply->outcome)) {
            continue;
        }

        if (reply->outcome != NGX_HTTP_RETRY_CHAIN_REPLY
            || catch->any
            || ngx_http_retry_chain_codes_test(&catch->codes, reply->status))
        {
            *next = catch->next;
            return NGX_OK;
        }
    }

    if (reply->outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {
        return NGX_DECLINED;
    }

    /* an upstream that is broken looks like a vendor that is */

    reply->status = reply->outcome == NGX_HTTP_RETRY_CHAIN_TIMEOUT ? 504 : 502;
    reply->lookup = NULL;
    reply->json = NULL;
    reply->body.len = 0;
    reply->pending = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_transition_choose(
    const ngx_http_retry_chain_state_t *state,
    const ngx_http_retry_chain_reply_t *reply, ngx_uint_t *next)
{
    ngx_int_t   rc;
    ngx_uint_t  i;

    *next = state->next;

    for (i = 0; i < state->nbranches; i++) {

        rc = ngx_http_retry_chain_condition_test(state->branches[i].condition,
                                                 reply);

        if (rc == NGX_DECLINED) {
            continue;
        }

        *next = state->branches[i].next;

        return rc;
    }

    return NGX_OK;
}
