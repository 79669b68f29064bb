
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* texts of strangers become UTF-8 */


#include "tap.h"
#include "ngx_http_retry_chain_utf8.h"


#define NONE  "\xef\xbf\xbd"


static void test_copy(const char *text, const char *expected, const char *name);
static void test_random(void);
static ngx_uint_t valid(u_char *p, u_char *last);


int
main(void)
{
    test_copy("", "", "nothing");
    test_copy("abc \x7f\x01\n", "abc \x7f\x01\n", "ASCII");
    test_copy("\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf", "two bytes");
    test_copy("\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf", "three");
    test_copy("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
              "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "four");
    test_copy("\xc0\xaf\xc1\xbf", NONE NONE NONE NONE, "too long by one");
    test_copy("\xe0\x9f\xbf", NONE NONE NONE, "by two");
    test_copy("\xf0\x8f\xbf\xbf", NONE NONE NONE NONE, "by three");
    test_copy("\xed\xa0\x80\xed\xbf\xbf", NONE NONE NONE NONE NONE NONE,
              "surrogates");
    test_copy("\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80",
              "what is beside them");
    test_copy("\xf4\x90\x80\x80", NONE NONE NONE NONE, "above the last one");
    test_copy("\xf5\xfe\xff\x80", NONE NONE NONE NONE, "no beginning");
    test_copy("a\xc3", "a" NONE, "cut after one");
    test_copy("a\xe2\x82", "a" NONE NONE, "after two");
    test_copy("a\xe2\x82z", "a" NONE NONE "z", "with something behind it");
    test_copy("a\xc3\xc3\xa4z", "a" NONE "\xc3\xa4z", "the rest is kept");

    test_random();

    return done_testing();
}


static void
test_copy(const char *text, const char *expected, const char *name)
{
    u_char     buf[64];
    ngx_str_t  got;

    got.data = buf;
    got.len = ngx_http_retry_chain_utf8_copy(buf, (const u_char *) text,
                                             strlen(text))
              - buf;

    is_str(&got, expected, "%s", name);
}


/* whatever comes, it is valid and has room */

static void
test_random(void)
{
    u_char      text[16], buf[ngx_http_retry_chain_utf8_len(sizeof(text))];
    u_char     *last;
    uint32_t    seed;
    ngx_uint_t  i, k, len, wrong, zeroes;

    seed = 1;
    wrong = 0;

    for (i = 0; i < 200000; i++) {

        for (k = 0; k < sizeof(text); k++) {
            seed = seed * 1103515245 + 12345;
            text[k] = (u_char) (seed >> 16);

            if (i % 2 && k) {
                text[k] = 0x80 | (text[k] & 0x3f);
            }
        }

        len = i % (sizeof(text) + 1);
        last = ngx_http_retry_chain_utf8_copy(buf, text, len);

        for (zeroes = 0, k = 0; k < (ngx_uint_t) (last - buf); k++) {
            zeroes += buf[k] == 0;
        }

        wrong += zeroes || last > buf + 3 * len || !valid(buf, last);
    }

    is_int(wrong, 0, "any bytes");
}


/* by another queue: nginx's own decoder takes all but surrogates */

static ngx_uint_t
valid(u_char *p, u_char *last)
{
    uint32_t  c;

    while (p < last) {

        if (*p < 0x80) {
            p++;
            continue;
        }

        c = ngx_utf8_decode(&p, last - p);

        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
            return 0;
        }
    }

    return 1;
}
