
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Directive handlers.  An error is logged here, at emerg level with file, line
 * and value, and NGX_CONF_ERROR is returned; or a text is, which nginx logs so.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_


#include "ngx_http_retry_chain.h"


char *ngx_http_retry_chain_conf_steps(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_codes(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_rule(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_header(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_retry_after(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_max_waiting(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_budget(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_json(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_json_buffer(ngx_conf_t *cf, void *post,
    void *data);


char *ngx_http_retry_chain_conf_machine(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* for the files of this room */

typedef struct {
    ngx_str_t                        name;
    ngx_uint_t                       mask;
} ngx_http_retry_chain_param_t;

/*
 * Returns the mask of the parameter that "arg" is and its value, 0 if it is
 * none, NGX_CONF_UNSET_UINT, logged, if it was seen before on this line.
 */
ngx_uint_t ngx_http_retry_chain_conf_param(ngx_conf_t *cf,
    ngx_http_retry_chain_param_t *params, ngx_str_t *arg, ngx_str_t *value,
    ngx_uint_t *seen);

/* NGX_OK, or NGX_DECLINED if the value is invalid */
typedef ngx_int_t (*ngx_http_retry_chain_param_pt)(void *data, ngx_uint_t mask,
    ngx_str_t *value);

/* hands the arguments from the i-th on to the handler; errors are logged */
char *ngx_http_retry_chain_conf_params(ngx_conf_t *cf, ngx_uint_t i,
    ngx_http_retry_chain_param_t *params,
    ngx_http_retry_chain_param_pt handler, void *data);

/* adds a step with that name; an error has been logged */
ngx_int_t ngx_http_retry_chain_conf_step(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *rclcf, ngx_str_t *name,
    ngx_http_retry_chain_step_t *params);


/* merge.c */

char *ngx_http_retry_chain_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);

/* looks up the @locations of all plans; called in postconfiguration */
ngx_int_t ngx_http_retry_chain_merge_check(ngx_conf_t *cf,
    ngx_http_retry_chain_main_conf_t *rcmcf);


#endif /* _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_ */
