
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Texts as they are in a configuration.  The input is eaten byte by byte, zeros
 * follow its end.
 */


#include "codes.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_codes(input_t *in);
static void fuzz_msec(input_t *in);
static void fuzz_rate(input_t *in);

static void rest(input_t *in, ngx_str_t *text);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t  in;

    in.pos = data;
    in.last = data + size;

    switch (number(&in, 3)) {

    case 0:
        fuzz_codes(&in);
        break;

    case 1:
        fuzz_msec(&in);
        break;

    default:
        fuzz_rate(&in);
        break;
    }

    return 0;
}


static void
fuzz_codes(input_t *in)
{
    ngx_int_t                     rc;
    ngx_str_t                     text;
    ngx_uint_t                    i, n, old, now;
    ngx_http_retry_chain_codes_t  before, codes;

    make_codes(in, &codes);
    before = codes;

    rest(in, &text);
    rc = ngx_http_retry_chain_codes_add(&codes, &text);
    free(text.data);

    must(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc == NGX_DECLINED) {
        must(memcmp(&before, &codes, sizeof(codes)) == 0);
        return;
    }

    must(text.len == 3 || text.len == 7);

    n = 0;

    for (i = 0; i < 1024; i++) {
        old = ngx_http_retry_chain_codes_test(&before, i);
        now = ngx_http_retry_chain_codes_test(&codes, i);

        must(now || !old);
        must(!now || (i >= 100 && i <= 599));

        n += now;
    }

    must(n);
}


static void
fuzz_msec(input_t *in)
{
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_msec_t  msec;

    rest(in, &text);
    msec = NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1;

    rc = ngx_http_retry_chain_parse_msec(&text, &msec);
    free(text.data);

    if (rc == NGX_OK) {
        must(text.len);
        must(msec <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        return;
    }

    must(rc == NGX_DECLINED);
    must(msec == NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1);
}


static void
fuzz_rate(input_t *in)
{
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_uint_t  rate;

    rest(in, &text);
    rate = 0;

    rc = ngx_http_retry_chain_parse_rate(&text, &rate);
    free(text.data);

    if (rc == NGX_OK) {
        must(text.len >= sizeof("1r/s") - 1);
        must(rate >= NGX_HTTP_RETRY_CHAIN_MIN_PACE);
        must(rate <= NGX_HTTP_RETRY_CHAIN_MAX_PACE);
        return;
    }

    must(rc == NGX_DECLINED);
    must(rate == 0);
}


/* in memory of its own, where one byte too far is seen */

static void
rest(input_t *in, ngx_str_t *text)
{
    text->len = in->last - in->pos;
    text->data = malloc(text->len ? text->len : 1);

    must(text->data);

    if (text->len) {
        ngx_memcpy(text->data, in->pos, text->len);
    }

    in->pos = in->last;
}
