
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _SLOT_H_INCLUDED_
#define _SLOT_H_INCLUDED_


/* one limiter and its pace, and the calls of a test on them */


#include "tap.h"
#include "ngx_http_retry_chain_limiter.h"


#define MSEC     ((uint64_t) 1000)
#define SECOND   ((uint64_t) 1000000)
#define NOW      (1000 * SECOND)


static ngx_http_retry_chain_limiter_t  limiter;
static ngx_http_retry_chain_limiter_conf_t  pace;


static inline uint64_t
reserve(uint64_t now, ngx_http_retry_chain_ticket_t *ticket)
{
    return ngx_http_retry_chain_limiter_reserve(&limiter, &pace, now, ticket);
}


static inline uint64_t
due(ngx_http_retry_chain_ticket_t *ticket, uint64_t now)
{
    return ngx_http_retry_chain_limiter_due(&limiter, ticket, now);
}


static inline uint64_t
gate(ngx_http_retry_chain_ticket_t *ticket, uint64_t now)
{
    return ngx_http_retry_chain_limiter_gate(&limiter, ticket, now);
}


static inline ngx_int_t
limit(uint64_t now, uint64_t until)
{
    return ngx_http_retry_chain_limiter_limit(&limiter, &pace, now, until);
}


static inline ngx_int_t
accepted(uint64_t now, uint64_t sent)
{
    return ngx_http_retry_chain_limiter_accepted(&limiter, &pace, now, sent);
}


#endif /* _SLOT_H_INCLUDED_ */
