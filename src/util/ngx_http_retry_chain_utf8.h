
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Texts of strangers, for readers that take UTF-8 only.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_UTF8_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_UTF8_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* the longest text that comes of so many bytes */
#define ngx_http_retry_chain_utf8_len(len)  (3 * (len))

/*
 * Copies a text so that it is UTF-8: each byte that belongs to no character,
 * and each zero byte, becomes U+FFFD.  Returns the end of the copy.
 */
u_char *ngx_http_retry_chain_utf8_copy(u_char *dst, const u_char *src,
    size_t len);


#endif /* _NGX_HTTP_RETRY_CHAIN_UTF8_H_INCLUDED_ */
