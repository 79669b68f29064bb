
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Directive handlers and merging.  Errors are logged here, at emerg level with
 * file, line and value, and returned as NGX_CONF_ERROR.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_


#include "ngx_http_retry_chain_module.h"


char *ngx_http_retry_chain_conf_steps(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_codes(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_rule(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_retry_chain_conf_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

char *ngx_http_retry_chain_conf_merge(ngx_conf_t *cf, void *parent,
    void *child);

/* looks up the @locations of all plans; called in postconfiguration */
ngx_int_t ngx_http_retry_chain_conf_check(ngx_conf_t *cf,
    ngx_http_retry_chain_main_conf_t *rcmcf);


#endif /* _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_ */
