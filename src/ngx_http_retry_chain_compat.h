
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What differs between nginx 1.22 and 1.31; no other file asks for a version.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_COMPAT_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_COMPAT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* since 1.23.0 header lines of one name are linked by a "next" field */

#if (nginx_version >= 1023000)
#define NGX_HTTP_RETRY_CHAIN_LINKED_HEADERS  1
#else
#define NGX_HTTP_RETRY_CHAIN_LINKED_HEADERS  0
#endif

/* since 1.29.0 nginx passes on 103 (Early Hints) */

#if (nginx_version >= 1029000)
#define NGX_HTTP_RETRY_CHAIN_EARLY_HINTS  1
#else
#define NGX_HTTP_RETRY_CHAIN_EARLY_HINTS  0
#endif


#endif /* _NGX_HTTP_RETRY_CHAIN_COMPAT_H_INCLUDED_ */
