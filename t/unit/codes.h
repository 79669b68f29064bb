
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _CODES_H_INCLUDED_
#define _CODES_H_INCLUDED_


/* sets of status codes, for fuzz targets */


#include "fuzz.h"
#include "ngx_http_retry_chain_plan.h"


/* one range, as codes_add() would leave it */

static inline void
make_codes(input_t *in, ngx_http_retry_chain_codes_t *codes)
{
    u_char      buf[sizeof("100-599")];
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_uint_t  from, to;

    ngx_memzero(codes, sizeof(*codes));

    if (number(in, 4) == 0) {
        return;
    }

    from = 100 + number(in, 500);
    to = from + number(in, 600 - from);

    snprintf((char *) buf, sizeof(buf), "%u-%u", (unsigned) from,
             (unsigned) to);

    text.data = buf;
    text.len = sizeof("100-599") - 1;

    rc = ngx_http_retry_chain_codes_add(codes, &text);

    must(rc == NGX_OK);
    must(ngx_http_retry_chain_codes_test(codes, from));
    must(ngx_http_retry_chain_codes_test(codes, to));
    must(!ngx_http_retry_chain_codes_test(codes, from - 1));
    must(!ngx_http_retry_chain_codes_test(codes, to + 1));
}


#endif /* _CODES_H_INCLUDED_ */
