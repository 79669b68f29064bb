
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The transitions of a plan that was made of a machine: what follows a reply
 * or a failure, through Choices and Waits, up to the next Task or the end.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_TRANSITION_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_TRANSITION_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_condition.h"
#include "ngx_http_retry_chain_plan.h"


typedef struct {
    ngx_uint_t                          state;     /* Task, end or END */
    ngx_msec_t                          wait;      /* on the way to it */
} ngx_http_retry_chain_transition_t;


/* whether an outcome is an error, which Retry and Catch are about */
ngx_uint_t ngx_http_retry_chain_transition_failed(
    const ngx_http_retry_chain_plan_t *plan, ngx_uint_t step,
    ngx_uint_t outcome, ngx_uint_t status);

/*
 * Where the reply of a step leads to when there is no retry on it.  NGX_AGAIN:
 * it depends on the body.  "reply" is completed with what the step knows.
 */
ngx_int_t ngx_http_retry_chain_transition(
    const ngx_http_retry_chain_plan_t *plan, ngx_uint_t step,
    ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_transition_t *walk);


#endif /* _NGX_HTTP_RETRY_CHAIN_TRANSITION_H_INCLUDED_ */
