
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_utf8.h"


static size_t ngx_http_retry_chain_utf8_char(const u_char *p, size_t len);


u_char *
ngx_http_retry_chain_utf8_copy(u_char *dst, const u_char *src, size_t len)
{
    size_t  n;

    while (len) {
        n = ngx_http_retry_chain_utf8_char(src, len);

        if (n == 0) {
            *dst++ = 0xef;
            *dst++ = 0xbf;
            *dst++ = 0xbd;
            src++;
            len--;
            continue;
        }

        dst = ngx_cpymem(dst, src, n);
        src += n;
        len -= n;
    }

    return dst;
}


/* the length of the character at "p", 0 if there is none (RFC 3629) */

static size_t
ngx_http_retry_chain_utf8_char(const u_char *p, size_t len)
{
    size_t      n, i;
    ngx_uint_t  c, least;

    c = p[0];

    if (c < 0x80) {
        return c != 0;
    }

    if (c >= 0xc2 && c <= 0xdf) {
        n = 2;
        c &= 0x1f;
        least = 0x80;

    } else if (c >= 0xe0 && c <= 0xef) {
        n = 3;
        c &= 0x0f;
        least = 0x800;

    } else if (c >= 0xf0 && c <= 0xf4) {
        n = 4;
        c &= 0x07;
        least = 0x10000;

    } else {
        return 0;
    }

    if (len < n) {
        return 0;
    }

    for (i = 1; i < n; i++) {

        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }

        c = c << 6 | (p[i] & 0x3f);
    }

    if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }

    return n;
}
