
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _FUZZ_H_INCLUDED_
#define _FUZZ_H_INCLUDED_


/* what fuzz targets share: the input is eaten byte by byte, zeros follow it */


#include <stdio.h>
#include <stdlib.h>

#include <ngx_config.h>
#include <ngx_core.h>


#define must(cond)                                                           \
    if (!(cond)) {                                                           \
        fprintf(stderr, "%s:%d: must be: %s\n", __FILE__, __LINE__, #cond);  \
        abort();                                                             \
    }


typedef struct {
    const u_char                   *pos;
    const u_char                   *last;
} input_t;


/* below limit; takes as many bytes as limit has */

static inline uint64_t
number(input_t *in, uint64_t limit)
{
    uint64_t  n, max;

    n = 0;

    for (max = limit - 1; max; max >>= 8) {
        n = n << 8 | (in->pos < in->last ? *in->pos++ : 0);
    }

    return n % limit;
}


#endif /* _FUZZ_H_INCLUDED_ */
