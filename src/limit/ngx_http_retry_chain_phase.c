
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_phase.h"


/*
 * A phase is copied and its number is compared afterwards: it can be written
 * over only after another one has become current.
 */

ngx_uint_t
ngx_http_retry_chain_phase_read(ngx_http_retry_chain_slot_t *slot,
    ngx_http_retry_chain_phase_t *phase)
{
    ngx_atomic_uint_t  number;

    do {
        number = slot->current;
        ngx_memory_barrier();

        *phase = slot->phases[number % NGX_HTTP_RETRY_CHAIN_PHASES];

        ngx_memory_barrier();
    } while (number != slot->current);

    return number;
}


/* NGX_DECLINED if phase "number" is not the current one any more */

ngx_int_t
ngx_http_retry_chain_phase_write(ngx_http_retry_chain_slot_t *slot,
    ngx_uint_t number, const ngx_http_retry_chain_phase_t *phase)
{
    ngx_atomic_uint_t  next;

    do {
        next = ngx_atomic_fetch_add(&slot->claimed, 1) + 1;

    } while (next % NGX_HTTP_RETRY_CHAIN_PHASES
             == number % NGX_HTTP_RETRY_CHAIN_PHASES);

    slot->phases[next % NGX_HTTP_RETRY_CHAIN_PHASES] = *phase;

    ngx_memory_barrier();

    return ngx_atomic_cmp_set(&slot->current, number, next) ? NGX_OK
                                                            : NGX_DECLINED;
}


uint64_t
ngx_http_retry_chain_phase_clock(const ngx_http_retry_chain_phase_t *phase,
    uint64_t now)
{
    uint64_t  passed;

    if (now <= phase->start || phase->interval == 0) {
        return phase->ticket;
    }

    /* a phase may last, but not for more than 142 years */

    passed = ngx_min(now - phase->start, (uint64_t) 1 << 52);

    return phase->ticket
           + passed * NGX_HTTP_RETRY_CHAIN_CALL / phase->interval;
}


/* rounded up, so that the clock has reached the ticket then */

uint64_t
ngx_http_retry_chain_phase_time(const ngx_http_retry_chain_phase_t *phase,
    uint64_t ticket)
{
    uint64_t  left;

    if (phase->kind == NGX_HTTP_RETRY_CHAIN_PHASE_FREE) {
        return 0;
    }

    if (ticket <= phase->ticket) {
        return phase->start;
    }

    left = ticket - phase->ticket;

    if (left > NGX_HTTP_RETRY_CHAIN_NEVER / phase->interval) {
        return NGX_HTTP_RETRY_CHAIN_NEVER;
    }

    return phase->start + (left * phase->interval
                           + NGX_HTTP_RETRY_CHAIN_CALL - 1)
                          / NGX_HTTP_RETRY_CHAIN_CALL;
}


/*
 * Calls behind a probe wait for it, but they will not go at its pace if it is
 * accepted, which is what a run that decides about a wait has to expect.
 */

void
ngx_http_retry_chain_phase_expect(ngx_http_retry_chain_slot_t *slot,
    ngx_http_retry_chain_phase_t *phase, uint64_t now)
{
    ngx_uint_t  rate;

    rate = ngx_http_retry_chain_learn_pace(&slot->learned, now);

    if (phase->kind != NGX_HTTP_RETRY_CHAIN_PHASE_PROBE || rate == 0) {
        return;
    }

    /* the time of the probe has passed at its own pace */

    phase->ticket = ngx_http_retry_chain_phase_clock(phase, now);
    phase->start = ngx_max(phase->start, now);
    phase->interval = ngx_http_retry_chain_phase_interval(rate);
}


/* what a slot that is under no limit does: sets kind and interval */

void
ngx_http_retry_chain_phase_default(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace,
    ngx_http_retry_chain_phase_t *phase, uint64_t now)
{
    ngx_uint_t  rate;

    rate = pace->rate;

    if (pace->automatic) {
        rate = ngx_http_retry_chain_learn_pace(&slot->learned, now);
    }

    phase->kind = rate ? NGX_HTTP_RETRY_CHAIN_PHASE_PACED
                       : NGX_HTTP_RETRY_CHAIN_PHASE_FREE;
    phase->interval = ngx_http_retry_chain_phase_interval(rate);
}


/* what comes after a limit: sets kind and interval */

void
ngx_http_retry_chain_phase_after(const ngx_http_retry_chain_pace_t *pace,
    ngx_http_retry_chain_phase_t *phase)
{
    if (pace->rate) {
        phase->kind = NGX_HTTP_RETRY_CHAIN_PHASE_PACED;
        phase->interval = ngx_http_retry_chain_phase_interval(pace->rate);

    } else {
        phase->kind = NGX_HTTP_RETRY_CHAIN_PHASE_PROBE;
        phase->interval = (uint64_t) ngx_max(pace->spacing, 1) * 1000;
    }
}


/* without a rate the pace after a limit lasts until nobody waits any more */

ngx_uint_t
ngx_http_retry_chain_phase_over(ngx_http_retry_chain_slot_t *slot,
    const ngx_http_retry_chain_pace_t *pace,
    const ngx_http_retry_chain_phase_t *phase, uint64_t now)
{
    return phase->kind == NGX_HTTP_RETRY_CHAIN_PHASE_PACED
           && pace->rate == 0
           && (!pace->automatic
               || ngx_http_retry_chain_learn_pace(&slot->learned, now) == 0)
           && slot->tail + NGX_HTTP_RETRY_CHAIN_CALL
              <= ngx_http_retry_chain_phase_clock(phase, now);
}


/* rounded up: never faster than asked for */

uint64_t
ngx_http_retry_chain_phase_interval(ngx_uint_t rate)
{
    uint64_t  unit;

    if (rate == 0) {
        return 0;
    }

    unit = (uint64_t) NGX_HTTP_RETRY_CHAIN_PHASE_SECOND * 1000;

    return (unit + rate - 1) / rate;
}
