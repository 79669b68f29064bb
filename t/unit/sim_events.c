
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <stdio.h>
#include <stdlib.h>

#include "sim_events.h"


#define MAX_EVENTS  131072


static int sim_before(const sim_event_t *a, const sim_event_t *b);


/* a heap; those of the same time in the order in which they came */

static sim_event_t  events[MAX_EVENTS];
static ngx_uint_t   nevents;
static uint32_t     numbers;

static uint64_t     seed;


void
sim_events(uint32_t s)
{
    nevents = 0;
    numbers = 0;
    seed = 88172645463325252ull + s * 7919;
}


void
sim_event(uint64_t time, ngx_uint_t kind, ngx_uint_t worker, ngx_uint_t index,
    ngx_uint_t generation)
{
    ngx_uint_t   i;
    sim_event_t  event;

    if (nevents == MAX_EVENTS) {
        fprintf(stderr, "sim: too many events\n");
        abort();
    }

    event.time = time;
    event.number = numbers++;
    event.kind = kind;
    event.worker = worker;
    event.index = index;
    event.generation = generation;

    for (i = nevents++; i && sim_before(&event, &events[(i - 1) / 2]);
         i = (i - 1) / 2)
    {
        events[i] = events[(i - 1) / 2];
    }

    events[i] = event;
}


ngx_int_t
sim_next(sim_event_t *event)
{
    ngx_uint_t   i, k;
    sim_event_t  last;

    if (nevents == 0) {
        return NGX_DONE;
    }

    *event = events[0];
    last = events[--nevents];

    for (i = 0; (k = 2 * i + 1) < nevents; i = k) {

        if (k + 1 < nevents && sim_before(&events[k + 1], &events[k])) {
            k++;
        }

        if (!sim_before(&events[k], &last)) {
            break;
        }

        events[i] = events[k];
    }

    events[i] = last;

    return NGX_OK;
}


static int
sim_before(const sim_event_t *a, const sim_event_t *b)
{
    return a->time != b->time ? a->time < b->time : a->number < b->number;
}


uint32_t
sim_noise(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return seed >> 32;
}


double
sim_share(void)
{
    return sim_noise() / 4294967296.0;
}
