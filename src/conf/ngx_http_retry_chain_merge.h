
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Makes the plan of each level from what is configured there and above.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_MERGE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_MERGE_H_INCLUDED_


#include "ngx_http_retry_chain.h"


char *ngx_http_retry_chain_merge_conf(ngx_conf_t *cf, void *parent,
    void *child);

/* looks up the @locations of all plans; called in postconfiguration */
ngx_int_t ngx_http_retry_chain_merge_check(ngx_conf_t *cf,
    ngx_http_retry_chain_main_conf_t *rcmcf);


#endif /* _NGX_HTTP_RETRY_CHAIN_MERGE_H_INCLUDED_ */
