
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The way of a request, from room to room:
 *
 *   conf/       directives become a plan, plan/, or a state machine does,
 *               machine/; merge.c joins levels
 *   run/        handler.c swaps the content handler of a request whose location
 *               has a plan; run.c has its body read and makes the attempts;
 *               schedule.c says where the next one goes, asks limits.c whether
 *               limit/ admits it, and has it wait, on a timer or in queue.c
 *   attempt/    an attempt is a clone of the request, a subrequest: attempt.c
 *   run/        its reply stops in filter.c; plan/ has the verdict
 *   attempt/    relay.c feeds the reply to the filters of the main request, or
 *               drops it
 *   run/        a discarded attempt ends in run.c, upstream_states.c keeps what
 *               is told of it, and schedule.c goes on; the last one ends in
 *               finish.c
 *   log/        log.c counts it in zone/, trail.c and variables.c tell it
 *   status/     shows what zone/ has
 *
 * Here is the configuration, which all rooms share that know a request.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_compat.h"
#include "ngx_http_retry_chain_plan.h"
#include "ngx_http_retry_chain_target.h"


typedef struct {
    ngx_http_retry_chain_targets_t   targets;

    /* locations to look up in postconfiguration */
    ngx_array_t                      checks;

    /* variables to evaluate before the first attempt */
    ngx_uint_t                       early[3];
    ngx_uint_t                       nearly;

    ngx_array_t                      zones;        /* of ngx_shm_zone_t * */
    ngx_array_t                      chains;       /* of pointers to them */
    ngx_uint_t                       max_waiting;  /* the most configured */

    unsigned                         enabled:1;    /* some level has a plan */
    unsigned                         headers:1;    /* clients get a trail */
} ngx_http_retry_chain_main_conf_t;


/* what a worker notes about a plan */

typedef struct {
    ngx_uint_t                       rotation; /* of runs that rotate */
    unsigned                         same:1;   /* warnings given */
    unsigned                         capped:1;
} ngx_http_retry_chain_notes_t;


typedef struct {
    ngx_array_t                     *steps;        /* NULL: inherited */
    ngx_http_retry_chain_plan_t     *machine;      /* that they are of */
    ngx_msec_t                       sleep;        /* the most it can wait */
    ngx_array_t                     *rules;
    ngx_http_retry_chain_codes_t    *success;
    ngx_http_retry_chain_codes_t    *stop;
    ngx_uint_t                       non_idempotent;
    ngx_msec_t                       timeout;      /* 0: off */
    ngx_uint_t                       log_level;
    ngx_shm_zone_t                  *zone;
    ngx_http_retry_chain_retry_after_conf_t    *retry_after;
    ngx_http_retry_chain_budget_conf_t  *budget;
    ngx_uint_t                       limited;
    ngx_uint_t                       max_waiting;
    ngx_uint_t                       rotate;
    ngx_flag_t                       dry_run;
    ngx_array_t                     *json;         /* rules; NULL: inherited */
    size_t                           json_buffer;
    ngx_flag_t                       error_json;
    ngx_str_t                        header;       /* empty: off */

    ngx_http_retry_chain_plan_t     *plan;         /* NULL: no chain here */
    ngx_http_retry_chain_notes_t    *notes;

    unsigned                         off:1;
    unsigned                         rules_off:1;
    unsigned                         json_off:1;
    unsigned                         timeout_set:1;
    unsigned                         own:1;        /* named in the location */
} ngx_http_retry_chain_loc_conf_t;


extern ngx_module_t  ngx_http_retry_chain_module;


#endif /* _NGX_HTTP_RETRY_CHAIN_H_INCLUDED_ */
