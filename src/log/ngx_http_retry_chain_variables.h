
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_VARIABLES_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_VARIABLES_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* called in preconfiguration */
ngx_int_t ngx_http_retry_chain_add_variables(ngx_conf_t *cf);


#endif /* _NGX_HTTP_RETRY_CHAIN_VARIABLES_H_INCLUDED_ */
