
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What differs between nginx 1.22 and 1.31, Angie and freenginx; no other file
 * asks for a version or for one of them.
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

/* 103 (Early Hints) are passed on, in nginx since 1.29.0 */

#ifdef NGX_HTTP_EARLY_HINTS
#define NGX_HTTP_RETRY_CHAIN_EARLY_HINTS  1
#else
#define NGX_HTTP_RETRY_CHAIN_EARLY_HINTS  0
#endif

/* freenginx has a pointer to the "Age" header line */

#ifdef freenginx
#define NGX_HTTP_RETRY_CHAIN_AGE  1
#else
#define NGX_HTTP_RETRY_CHAIN_AGE  0
#endif


/* what an @location is found by; in Angie a location may have several names */

#ifdef angie_version
typedef ngx_http_core_loc_t       ngx_http_retry_chain_named_t;
#else
typedef ngx_http_core_loc_conf_t  ngx_http_retry_chain_named_t;
#endif


static ngx_inline void
ngx_http_retry_chain_compat_copy(ngx_http_request_t *sr, ngx_http_request_t *r)
{
#ifdef freenginx
    sr->start_time = r->start_time;
#else
    sr->start_sec = r->start_sec;
    sr->start_msec = r->start_msec;
#endif

#if (defined freenginx && nginx_version >= 1031000)
    sr->alias_in_uri = r->alias_in_uri;
#else
    sr->add_uri_to_alias = r->add_uri_to_alias;
#endif
}


#endif /* _NGX_HTTP_RETRY_CHAIN_COMPAT_H_INCLUDED_ */
