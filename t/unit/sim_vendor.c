
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* how vendors answer */


#include <ngx_config.h>
#include <ngx_core.h>
#include "sim.h"


void
sim_ask(const sim_vendor_t *vendor, sim_state_t *state, uint64_t now,
    uint32_t hash, ngx_uint_t calls, sim_reply_t *reply)
{
    double      rate;
    uint64_t    left;

    reply->status = 200;
    reply->hint = 0;
    reply->reset = 0;

    left = 0;

    if (vendor->remain) {
        reply->remaining = vendor->lies ? 0 : 4987;
        reply->reset = vendor->lies ? 30 * SECOND : 3400 * SECOND;
    }

    if (vendor->outage && now >= 21 * SECOND - vendor->outage
        && now < 21 * SECOND)
    {
        reply->status = 503;
        reply->hint = vendor->retry_after;
        return;
    }

    if (vendor->endpoint && hash % 101 < 10) {
        reply->status = vendor->down ? 503 : 429;
        reply->hint = vendor->retry_after;
        return;
    }

    /* of a run the same calls are refused, whatever the column is */

    if (vendor->random
        && (hash >> 8 * calls & 0xff) * 100 + hash % 100
           < vendor->random * 25600)
    {
        reply->status = 429;
        reply->hint = vendor->hint == SIM_HINT_TRUE ? SECOND
                                                  : vendor->retry_after;
        return;
    }

    if (vendor->cold && state->calls++ == 0) {
        reply->status = 429;
        reply->hint = vendor->retry_after;
        return;
    }

    switch (vendor->kind) {

    case SIM_FREE:
        return;

    case SIM_BUCKET:
        rate = vendor->rate;

        if (vendor->third && now >= 15 * SECOND && now < 45 * SECOND) {
            rate /= 3;
        }

        state->tokens += (now - state->filled) / 1e6 * rate;
        state->tokens = ngx_min(state->tokens, vendor->burst);
        state->filled = now;

        if (now < state->blocked) {
            if (vendor->renewed) {
                state->blocked = now + vendor->block;
            }

            left = state->blocked - now;
            break;
        }

        if (state->tokens >= 1) {
            state->tokens -= 1;
            return;
        }

        left = (1 - state->tokens) / rate * SECOND;

        if (vendor->block) {
            state->blocked = now + vendor->block;
            left = vendor->block;
        }

        break;

    case SIM_WINDOW:
        if (now / vendor->period != state->window) {
            state->window = now / vendor->period;
            state->used = 0;
        }

        left = vendor->period - now % vendor->period;

        if (vendor->remain) {
            reply->remaining = vendor->burst
                             - ngx_min(state->used + 1, vendor->burst);
            reply->reset = (left + SECOND - 1) / SECOND * SECOND;
        }

        if (state->used < vendor->burst) {
            state->used++;
            return;
        }
        break;

    case SIM_SLIDING:
        if (state->used < vendor->burst
            || state->log[(state->used - vendor->burst) % SIM_LOG]
               + vendor->period <= now)
        {
            state->log[state->used++ % SIM_LOG] = now;
            return;
        }

        left = state->log[(state->used - vendor->burst) % SIM_LOG]
               + vendor->period - now;
        break;

    default: /* SIM_CONNS */

        if (state->conns < vendor->burst) {
            state->conns++;
            return;
        }

        left = SECOND;
    }

    reply->status = 429;

    switch (vendor->hint) {

    case SIM_HINT_FIXED:
        reply->hint = vendor->retry_after;
        break;

    case SIM_HINT_TRUE:
        reply->hint = (left + SECOND - 1) / SECOND * SECOND;
        break;

    default: /* SIM_HINT_NONE, SIM_HINT_ZERO */
        break;
    }
}
