
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * SHA-256, as in FIPS 180-4: nginx has it only if it is built with OpenSSL.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_SHA256_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_SHA256_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_HTTP_RETRY_CHAIN_SHA256_LEN  32


void ngx_http_retry_chain_sha256(u_char *digest, const u_char *data,
    size_t len);


#endif /* _NGX_HTTP_RETRY_CHAIN_SHA256_H_INCLUDED_ */
