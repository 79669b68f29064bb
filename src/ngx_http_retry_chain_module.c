
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"
#include "ngx_http_retry_chain_policy.h"
#include "ngx_http_retry_chain_attempt.h"
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_status.h"
#include "ngx_http_retry_chain_log.h"
#include "ngx_http_retry_chain_zone.h"


#define NGX_HTTP_RETRY_CHAIN_LEVELS                                           \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF


static void *ngx_http_retry_chain_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_retry_chain_create_loc_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_retry_chain_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_retry_chain_add_handler(ngx_conf_t *cf,
    ngx_uint_t phase, ngx_http_handler_pt handler);
static ngx_int_t ngx_http_retry_chain_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_retry_chain_init_process(ngx_cycle_t *cycle);
static void ngx_http_retry_chain_early(ngx_conf_t *cf,
    ngx_http_retry_chain_main_conf_t *rcmcf);


static ngx_str_t  ngx_http_retry_chain_early_names[] = {
    ngx_string("request_id"),
    ngx_string("realip_remote_addr"),
    ngx_string("realip_remote_port"),
    ngx_null_string
};


static ngx_conf_enum_t  ngx_http_retry_chain_non_idempotent[] = {
    { ngx_string("safe"), NGX_HTTP_RETRY_CHAIN_UNSAFE_SAFE },
    { ngx_string("on"), NGX_HTTP_RETRY_CHAIN_UNSAFE_ON },
    { ngx_string("off"), NGX_HTTP_RETRY_CHAIN_UNSAFE_OFF },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_retry_chain_limiteds[] = {
    { ngx_string("wait"), NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT },
    { ngx_string("next"), NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT },
    { ngx_string("fail"), NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_retry_chain_starts[] = {
    { ngx_string("first"), 0 },
    { ngx_string("rotate"), 1 },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_retry_chain_log_levels[] = {
    { ngx_string("info"), NGX_LOG_INFO },
    { ngx_string("notice"), NGX_LOG_NOTICE },
    { ngx_string("warn"), NGX_LOG_WARN },
    { ngx_string("error"), NGX_LOG_ERR },
    { ngx_null_string, 0 }
};


static ngx_conf_post_t  ngx_http_retry_chain_json_buffer = {
    ngx_http_retry_chain_conf_json_buffer
};


static ngx_command_t  ngx_http_retry_chain_commands[] = {

    { ngx_string("retry_chain"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_steps,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_machine"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE12,
      ngx_http_retry_chain_conf_machine,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_success"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_codes,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, success),
      NULL },

    { ngx_string("retry_chain_stop"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_codes,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, stop),
      NULL },

    { ngx_string("retry_chain_retry"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_rule,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_non_idempotent"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, non_idempotent),
      &ngx_http_retry_chain_non_idempotent },

    { ngx_string("retry_chain_timeout"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_http_retry_chain_conf_timeout,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_log_level"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, log_level),
      &ngx_http_retry_chain_log_levels },

    { ngx_string("retry_chain_start"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, rotate),
      &ngx_http_retry_chain_starts },

    { ngx_string("retry_chain_zone"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_zone,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_retry_after"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_retry_after,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_limited"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, limited),
      &ngx_http_retry_chain_limiteds },

    { ngx_string("retry_chain_max_waiting"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_http_retry_chain_conf_max_waiting,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_budget"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_budget,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_dry_run"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, dry_run),
      NULL },

    { ngx_string("retry_chain_json"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_1MORE,
      ngx_http_retry_chain_conf_json,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_header"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_http_retry_chain_conf_header,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("retry_chain_json_buffer"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, json_buffer),
      &ngx_http_retry_chain_json_buffer },

    { ngx_string("retry_chain_error_json"),
      NGX_HTTP_RETRY_CHAIN_LEVELS|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_retry_chain_loc_conf_t, error_json),
      NULL },

    { ngx_string("retry_chain_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_retry_chain_status_conf,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_retry_chain_module_ctx = {
    ngx_http_retry_chain_add_variables,        /* preconfiguration */
    ngx_http_retry_chain_postconfiguration,    /* postconfiguration */

    ngx_http_retry_chain_create_main_conf,     /* create main configuration */
    NULL,                                      /* init main configuration */

    NULL,                                      /* create server configuration */
    NULL,                                      /* merge server configuration */

    ngx_http_retry_chain_create_loc_conf,      /* create location conf */
    ngx_http_retry_chain_merge_conf            /* merge location conf */
};


ngx_module_t  ngx_http_retry_chain_module = {
    NGX_MODULE_V1,
    &ngx_http_retry_chain_module_ctx,          /* module context */
    ngx_http_retry_chain_commands,             /* module directives */
    NGX_HTTP_MODULE,                           /* module type */
    NULL,                                      /* init master */
    ngx_http_retry_chain_init_module,          /* init module */
    ngx_http_retry_chain_init_process,         /* init process */
    NULL,                                      /* init thread */
    NULL,                                      /* exit thread */
    ngx_http_retry_chain_attempt_exit,         /* exit process */
    NULL,                                      /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_retry_chain_create_main_conf(ngx_conf_t *cf)
{
    /*
     * set by ngx_pcalloc():
     *
     *     conf->targets = { 0 };
     *     conf->checks = { 0 };
     *     conf->zones = { 0 };
     *     conf->chains = { 0 };
     *     conf->enabled = 0;
     */

    return ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_main_conf_t));
}


static void *
ngx_http_retry_chain_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_retry_chain_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->steps = NULL;
     *     conf->machine = NULL;
     *     conf->rules = NULL;
     *     conf->success = NULL;
     *     conf->stop = NULL;
     *     conf->timeout = 0;
     *     conf->plan = NULL;
     *     conf->notes = NULL;
     *     conf->zone = NULL;
     *     conf->retry_after = NULL;
     *     conf->budget = NULL;
     *     conf->json = NULL;
     *     conf->header = { 0, NULL };
     */

    conf->non_idempotent = NGX_CONF_UNSET_UINT;
    conf->log_level = NGX_CONF_UNSET_UINT;
    conf->limited = NGX_CONF_UNSET_UINT;
    conf->max_waiting = NGX_CONF_UNSET_UINT;
    conf->rotate = NGX_CONF_UNSET_UINT;
    conf->dry_run = NGX_CONF_UNSET;
    conf->json_buffer = NGX_CONF_UNSET_SIZE;
    conf->error_json = NGX_CONF_UNSET;

    return conf;
}


/* a configuration without a chain is left alone: no handlers, no filters */

static ngx_int_t
ngx_http_retry_chain_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);

    if (!rcmcf->enabled) {
        return NGX_OK;
    }

    if (ngx_http_retry_chain_merge_check(cf, rcmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_retry_chain_targets_init(cf, &rcmcf->targets) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_retry_chain_early(cf, rcmcf);

    if (ngx_http_retry_chain_add_handler(cf, NGX_HTTP_SERVER_REWRITE_PHASE,
                                   ngx_http_retry_chain_attempt_phase_handler)
        != NGX_OK
        || ngx_http_retry_chain_add_handler(cf, NGX_HTTP_REWRITE_PHASE,
                                   ngx_http_retry_chain_attempt_phase_handler)
           != NGX_OK
        || ngx_http_retry_chain_add_handler(cf, NGX_HTTP_PRECONTENT_PHASE,
                                   ngx_http_retry_chain_phase_handler)
           != NGX_OK
        || ngx_http_retry_chain_add_handler(cf, NGX_HTTP_LOG_PHASE,
                                   ngx_http_retry_chain_log_handler)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_retry_chain_filter_init();

    if (rcmcf->headers) {
        ngx_http_retry_chain_trail_init();
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_add_handler(ngx_conf_t *cf, ngx_uint_t phase,
    ngx_http_handler_pt handler)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}


/*
 * $request_id is random, and the realip module finds what it has kept through
 * the pool of the request only, once an internal redirect has cleared contexts:
 * where the configuration uses such a variable, it has to be evaluated on the
 * main request before attempts get their own variables.
 */

static void
ngx_http_retry_chain_early(ngx_conf_t *cf,
    ngx_http_retry_chain_main_conf_t *rcmcf)
{
    ngx_str_t                  *name;
    ngx_uint_t                  i;
    ngx_http_variable_t        *v;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        for (name = ngx_http_retry_chain_early_names; name->len; name++) {

            if (v[i].name.len == name->len
                && ngx_strncmp(v[i].name.data, name->data, name->len) == 0)
            {
                rcmcf->early[rcmcf->nearly++] = i;
            }
        }
    }
}


/* a request that waits keeps its connection */

static ngx_int_t
ngx_http_retry_chain_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t                         connections;
    ngx_core_conf_t                   *ccf;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    rcmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                                ngx_http_retry_chain_module);

    if (rcmcf == NULL) {
        return NGX_OK;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    connections = cycle->connection_n * ngx_max(ccf->worker_processes, 1);

    if (rcmcf->max_waiting >= connections) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "\"retry_chain_max_waiting\" is %ui, but the workers "
                      "have %ui connections: increase \"worker_connections\"",
                      rcmcf->max_waiting, connections);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                          i;
    ngx_shm_zone_t                    **zones;
    ngx_http_retry_chain_main_conf_t   *rcmcf;

    rcmcf = ngx_http_cycle_get_module_main_conf(cycle,
                                                ngx_http_retry_chain_module);

    /* the cache manager and the cache loader have no requests */

    if (rcmcf == NULL || ngx_process == NGX_PROCESS_HELPER) {
        return NGX_OK;
    }

    zones = rcmcf->zones.elts;

    for (i = 0; i < rcmcf->zones.nelts; i++) {

        if (ngx_http_retry_chain_zone_begin(zones[i]->data, cycle) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
