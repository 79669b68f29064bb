
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Directive handlers.  Errors are logged here, at emerg level with
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


#endif /* _NGX_HTTP_RETRY_CHAIN_CONF_H_INCLUDED_ */
