
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _LIMIT_H_INCLUDED_
#define _LIMIT_H_INCLUDED_


/* one limiter, its configuration, and a run that is first in line */


#include "tap.h"
#include "ngx_http_retry_chain_limit.h"
#include "ngx_http_retry_chain_limit_pace.h"


#define MSEC      ((uint64_t) 1000)
#define SECOND    ((uint64_t) 1000000)
#define NOW       (1000 * SECOND)

#define GO        NGX_HTTP_RETRY_CHAIN_LIMIT_GO
#define LINE      NGX_HTTP_RETRY_CHAIN_LIMIT_LINE
#define BLOCKED   NGX_HTTP_RETRY_CHAIN_LIMIT_BLOCKED
#define HALF_OPEN NGX_HTTP_RETRY_CHAIN_LIMIT_HALF_OPEN
#define CONNS     NGX_HTTP_RETRY_CHAIN_LIMIT_CONNS
#define RATE      NGX_HTTP_RETRY_CHAIN_LIMIT_RATE
#define FLIGHT    NGX_HTTP_RETRY_CHAIN_LIMIT_FLIGHT
#define PACE      NGX_HTTP_RETRY_CHAIN_LIMIT_PACE


typedef ngx_http_retry_chain_limit_call_t  call_t;


static ngx_http_retry_chain_limit_t        limit;
static ngx_http_retry_chain_limit_conf_t   conf;
static ngx_http_retry_chain_limit_run_t    run;

static uint64_t                            now;
static uint64_t                            when;


static inline void
make(ngx_uint_t rate, ngx_uint_t burst)
{
    memset(&conf, 0, sizeof(conf));
    memset(&run, 0, sizeof(run));

    conf.rate = rate;
    conf.burst = burst;
    conf.cap = 3600 * SECOND;
    conf.max = 10 * SECOND;
    conf.spacing = SECOND;
    conf.trial = 1;

    now = NOW;

    run.arrived = now;
    run.first = 1;

    ngx_http_retry_chain_limit_init(&limit, now);
}


static inline ngx_uint_t
admit(call_t *call)
{
    return ngx_http_retry_chain_limit_admit(&limit, &conf, &run, now, call,
                                            &when);
}


/* a run that has just come */

static inline ngx_uint_t
fresh(call_t *call)
{
    run.arrived = now;

    return admit(call);
}


static inline void
accepted(const call_t *call, ngx_uint_t waiting)
{
    ngx_http_retry_chain_limit_accepted(&limit, &conf, call, waiting, now);
}


static inline ngx_int_t
refused(const call_t *call, uint64_t delay)
{
    return ngx_http_retry_chain_limit_refused(&limit, &conf, call, delay, now);
}


static inline ngx_int_t
away(const call_t *call, ngx_uint_t status, uint64_t delay)
{
    return ngx_http_retry_chain_limit_away(&limit, &conf, call, status, delay,
                                           now);
}


static inline ngx_uint_t
pace(ngx_uint_t waiting)
{
    return ngx_http_retry_chain_limit_pace(&limit, waiting, now);
}


/* calls that are accepted, one after the other */

static inline void
serve(ngx_uint_t calls, uint64_t interval, ngx_uint_t waiting)
{
    call_t  call;

    while (calls--) {
        now += interval;

        memset(&call, 0, sizeof(call));
        call.sent = now;
        call.in_flight = 1;

        accepted(&call, waiting);
    }
}


static inline void
refuse(uint64_t delay)
{
    call_t  call;

    memset(&call, 0, sizeof(call));

    call.sent = now;
    call.in_flight = 1;
    call.number = ++limit.calls + 1;
    limit.calls = call.number;

    (void) refused(&call, delay);
}


#endif /* _LIMIT_H_INCLUDED_ */
