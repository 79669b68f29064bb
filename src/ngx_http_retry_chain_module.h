
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The configuration, shared by all rooms that know a request.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_MODULE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_MODULE_H_INCLUDED_


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

    unsigned                         enabled:1;    /* some level has a plan */
} ngx_http_retry_chain_main_conf_t;


typedef struct {
    ngx_array_t                     *steps;        /* NULL: inherited */
    ngx_array_t                     *rules;
    ngx_http_retry_chain_codes_t    *success;
    ngx_http_retry_chain_codes_t    *stop;
    ngx_uint_t                       non_idempotent;
    ngx_msec_t                       timeout;      /* 0: off */
    ngx_uint_t                       log_level;

    ngx_http_retry_chain_plan_t     *plan;         /* NULL: no chain here */
    ngx_uint_t                      *warned;       /* per worker, once */

    unsigned                         off:1;
    unsigned                         rules_off:1;
    unsigned                         timeout_set:1;
    unsigned                         own:1;        /* named in the location */
} ngx_http_retry_chain_loc_conf_t;


extern ngx_module_t  ngx_http_retry_chain_module;


#endif /* _NGX_HTTP_RETRY_CHAIN_MODULE_H_INCLUDED_ */
