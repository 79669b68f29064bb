
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A run: one client request going through a plan, attempt by attempt.  It lies
 * in the pool of the main request and holds one reference to it.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RUN_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RUN_H_INCLUDED_


#include "ngx_http_retry_chain_module.h"
#include "ngx_http_retry_chain_policy.h"
#include "ngx_http_retry_chain_attempt.h"


typedef enum {
    NGX_HTTP_RETRY_CHAIN_RUN_READY = 0,    /* content handler is swapped */
    NGX_HTTP_RETRY_CHAIN_RUN_BODY,         /* request body is being read */
    NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT,
    NGX_HTTP_RETRY_CHAIN_RUN_WAIT,
    NGX_HTTP_RETRY_CHAIN_RUN_DONE
} ngx_http_retry_chain_state_e;


/* what is kept of an attempt that has ended */

typedef struct {
    ngx_http_retry_chain_step_t        *step;
    ngx_msec_t                          wait;     /* before it */
    ngx_msec_t                          time;     /* to its verdict */
    ngx_http_retry_chain_outcome_t      outcome;
    unsigned                            backoff:1;  /* why it waited */
} ngx_http_retry_chain_record_t;


typedef struct {
    ngx_http_request_t                 *request;  /* the main one */
    ngx_http_retry_chain_loc_conf_t    *conf;
    ngx_http_retry_chain_plan_t        *plan;
    ngx_http_retry_chain_target_t      *target;   /* NULL: another handler */
    ngx_http_handler_pt                 handler;  /* the location's own */

    ngx_http_retry_chain_state_e        state;
    ngx_http_retry_chain_result_e       result;   /* if done */

    ngx_http_retry_chain_place_t        place;
    ngx_http_retry_chain_verdict_t      verdict;  /* on the last attempt */
    ngx_http_retry_chain_attempt_t     *attempt;  /* current or relayed one */

    ngx_array_t                         records;
                                     /* of ngx_http_retry_chain_record_t */
    ngx_array_t                        *states;   /* of earlier attempts */

    /* fires at the end of a wait, a timeout or a discarded body's time */
    ngx_event_t                         event;

    ngx_msec_t                          start;
    ngx_msec_t                          end;
    ngx_msec_t                          attempt_start;
    ngx_msec_t                          wait;     /* before the attempt */
    ngx_msec_t                          due;      /* start of the next one */

    unsigned                            recorded:1;   /* the attempt is */
    unsigned                            waited_backoff:1;
    unsigned                            late:1;   /* deadline cut an attempt */
    unsigned                            used:1;   /* $retry_chain_upstream */
} ngx_http_retry_chain_run_t;


/* the PRECONTENT phase */
ngx_int_t ngx_http_retry_chain_run_phase_handler(ngx_http_request_t *r);

/* the run of the main request, or NULL */
ngx_http_retry_chain_run_t *ngx_http_retry_chain_run_get(ngx_http_request_t *r);

/* attempts begun so far */
ngx_uint_t ngx_http_retry_chain_run_attempts(ngx_http_retry_chain_run_t *run);

/* milliseconds from the start to now, or to the end */
ngx_msec_t ngx_http_retry_chain_run_time(ngx_http_retry_chain_run_t *run);

/* "status", "error", "timeout", "invalid header" or "aborted" */
char *ngx_http_retry_chain_outcome_name(
    ngx_http_retry_chain_outcome_t *outcome);

extern ngx_str_t  ngx_http_retry_chain_result_names[];


#endif /* _NGX_HTTP_RETRY_CHAIN_RUN_H_INCLUDED_ */
