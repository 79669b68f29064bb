
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <stdlib.h>

#include "tap.h"
#include "ngx_http_retry_chain_ratelimit.h"
#include "ngx_http_retry_chain_plan.h"


#define NOW       1700000000           /* Tue, 14 Nov 2023 22:13:20 GMT */
#define MAX_TIME  ((long long) NGX_HTTP_RETRY_CHAIN_MAX_TIME)
#define MAX_LEFT  NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_REMAINING
#define NO        (-1)

#define RETRY_AFTER  NGX_HTTP_RETRY_CHAIN_RATELIMIT_RETRY_AFTER
#define RATELIMIT    NGX_HTTP_RETRY_CHAIN_RATELIMIT_FIELD
#define X_RATELIMIT  NGX_HTTP_RETRY_CHAIN_RATELIMIT_X
#define NONE         NGX_HTTP_RETRY_CHAIN_RATELIMIT_NONE


typedef struct {
    char        *text;
    long long    delay;      /* on 429, NO: not limited */
} retry_after_case_t;


typedef struct {
    char        *text;
    long long    remaining;  /* NO: not known */
    long long    reset;
    long long    ok;         /* delay on 200, NO: not limited */
    long long    refused;    /* delay on 429 */
} limit_case_t;


typedef struct {
    char        *remaining;
    char        *reset;
    limit_case_t expected;
} x_case_t;


typedef struct {
    char        *retry_after;
    char        *ratelimit;
    char        *remaining;
    char        *reset;
    ngx_uint_t   status;
    ngx_uint_t   source;
    long long    delay;
    long long    left;
} mixed_case_t;


typedef struct {
    ngx_msec_t   cap;
    char        *seconds;
    long long    delay;
    ngx_uint_t   capped;
} cap_case_t;


static retry_after_case_t  retry_afters[] = {
    { "0", 0 },
    { "1", 1000 },
    { "120", 120000 },
    { "007", 7000 },
    { " 5", 5000 },
    { "5 ", 5000 },
    { "\t 5 \t", 5000 },
    { "2073599", MAX_TIME - 1000 },
    { "2073600", MAX_TIME },
    { "2073601", MAX_TIME },
    { "2147483648", MAX_TIME },
    { "4294967297", MAX_TIME },
    { "18446744073709552", MAX_TIME },
    { "9223372036854775808", MAX_TIME },
    { "18446744073709551617", MAX_TIME },
    { "99999999999999999999999999999999999999999999", MAX_TIME },

    { "", NO },
    { " ", NO },
    { "-1", NO },
    { "+1", NO },
    { "1.5", NO },
    { "1.", NO },
    { "1s", NO },
    { "1 2", NO },
    { "1, 2", NO },
    { "1e3", NO },
    { "0x10", NO },
    { "\"5\"", NO },
    { "soon", NO },

    { "Tue, 14 Nov 2023 22:13:50 GMT", 30000 },
    { "  Tue, 14 Nov 2023 22:13:50 GMT\t", 30000 },
    { "Tuesday, 14-Nov-23 22:13:50 GMT", 30000 },
    { "Tue Nov 14 22:13:50 2023", 30000 },
    { "Fri, 01 Dec 2023 00:00:00 GMT", 1388800000 },
    { "Friday, 01-Dec-23 00:00:00 GMT", 1388800000 },
    { "Fri Dec  1 00:00:00 2023", 1388800000 },
    { "Fri Dec 01 00:00:00 2023", 1388800000 },
    { "Wed, 22 Nov 2023 00:00:00 GMT", 611200000 },
    { "Wednesday, 22-Nov-23 00:00:00 GMT", 611200000 },

    { "Tue, 14 Nov 2023 22:13:21 GMT", 1000 },
    { "Tue, 14 Nov 2023 22:13:20 GMT", 0 },
    { "Tue, 14 Nov 2023 22:13:19 GMT", 0 },
    { "Tuesday, 14-Nov-23 22:13:19 GMT", 0 },
    { "Tue Nov 14 22:13:19 2023", 0 },
    { "Sun, 06 Nov 1994 08:49:37 GMT", 0 },
    { "Sunday, 06-Nov-94 08:49:37 GMT", 0 },
    { "Sun Nov  6 08:49:37 1994", 0 },
    { "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
    { "Mon, 01 Jan 1900 00:00:00 GMT", 0 },
    { "Sat, 01 Jan 0000 00:00:00 GMT", 0 },
    { "Tue, 29 Feb 0000 23:59:59 GMT", 0 },
    { "Fri, 31 Dec 9999 23:59:59 GMT", MAX_TIME },
    { "Thu, 29 Feb 2024 00:00:00 GMT", MAX_TIME },
    { "Sunday, 31-Dec-69 23:59:59 GMT", MAX_TIME },

    { "Tue, 14 Nov 2023 22:13:50", NO },
    { "Tue, 14 Nov 2023 22:13:50 UTC", NO },
    { "Tue, 14 Nov 2023 22:13:50 gmt", NO },
    { "Tue, 14 Nov 2023 22:13:50 +0200", NO },
    { "Tue, 14 Nov 2023 22:13:50 GMT+1", NO },
    { "Tue, 14 Nov 2023 22:13:50.5 GMT", NO },
    { "Tue, 14 Nov 2023 22:13:5 GMT", NO },
    { "Tue, 14 Nov 2023 22:60:00 GMT", NO },
    { "Tue, 14 Nov 2023 24:00:00 GMT", NO },
    { "Tue, 14 Nov 2023 22:13:61 GMT", NO },
    { "Tue, 14 Nov 23 22:13:50 GMT", NO },
    { "Tue, 14 Nov -023 22:13:50 GMT", NO },
    { "Tue, 31 Nov 2023 22:13:50 GMT", NO },
    { "Wed, 29 Feb 2023 00:00:00 GMT", NO },
    { "Tue, 14 Xxx 2023 22:13:50 GMT", NO },
    { "Tue,14 Nov 2023 22:13:50 GMT", NO },
    { "Tue,  4 Nov 2023 22:13:50 GMT", NO },
    { "Tue,14 Nov 2023 22:13:50  GMT", NO },
    { "Tue 14 Nov 2023 22:13:50 GMT", NO },
    { "Tuesday, 14-Nov-2023 22:13:50 GMT", NO },
    { "Tuesday, 14-Nov-23 22:13:50 X GMT", NO },
    { "Tue Nov 14 22:13:50 2023 GMT", NO },
    { "Tue Nov 4 22:13:50 2023", NO },
    { "Tue Nov 4 22:13:50 20234", NO },
    { "Tue Nov 14 22:13:50 202", NO },
    { "2023-11-14T22:13:50Z", NO },
    { ", 14 Nov 2023 22:13:50", NO },
    { ",", NO },
    { ", ", NO },
    { "                         ", NO },
    { "xxxxxxxxxxxxxxxxxxxxxxxx", NO },
    { "xxx                     ", NO },
    { NULL, 0 }
};


static limit_case_t  ratelimits[] = {

    /* draft 10 */

    { "\"default\";r=50;t=30", 50, 30000, NO, 30000 },
    { "\"default\";r=0;t=30", 0, 30000, 30000, 30000 },
    { "\"default\";t=30;r=0", 0, 30000, 30000, 30000 },
    { "\"default\"; r=99; t=60", 99, 60000, NO, 60000 },
    { " \"default\" ;r=1\t;\tt=7 ", 1, 7000, NO, 7000 },
    { "\"default\";r=0;t=0", 0, 0, 0, 0 },
    { "\"default\";r=00;t=010", 0, 10000, 10000, 10000 },
    { "\"\";r=0;t=1", 0, 1000, 1000, 1000 },
    { "\" ~\";r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"a\\\"b\\\\;r=9,c\";r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"default\";r=999;pk=:dHJpYWwxMjEzMjM=:", NO, NO, NO, NO },
    { "\"default\";r=300000000;t=60;pk=:QXBwLTk5OQ==:",
      300000000, 60000, NO, 60000 },
    { "\"a\";q=5;w=60;r=0;acme-x=\"a;t=9\";t=1;ok;z=?1;d=@1700000000;e=1.5",
      0, 1000, 1000, 1000 },
    { "\"a\";x=%\"f%c3%bc;t=9\";r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"a\";R=5;T=5;r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"a\";rr=5;tt=5;r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"a\";remaining=5;reset=5;r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"a\";r=5;r=0;t=9;t=1", 0, 1000, 1000, 1000 },
    { "quota;r=0;t=1", 0, 1000, 1000, 1000 },
    { "quota;t=1", NO, NO, NO, 1000 },

    { "\"default\"", NO, NO, NO, NO },
    { "\"default\";r=0", NO, NO, NO, NO },
    { "\"default\";r;t", NO, NO, NO, NO },
    { "\"default\";t=5", NO, NO, NO, 5000 },
    { "\"default\";r;t=5", NO, NO, NO, 5000 },
    { "\"default\";r=-1;t=5", NO, NO, NO, 5000 },
    { "\"default\";r=0.5;t=5", NO, NO, NO, 5000 },
    { "\"default\";r=\"0\";t=5", NO, NO, NO, 5000 },
    { "\"default\";r=0;r=x;t=5", NO, NO, NO, 5000 },
    { "\"default\";r=0;t=-5", NO, NO, NO, NO },
    { "\"default\";r=0;t=1.5", NO, NO, NO, NO },
    { "\"default\";r=0;t=\"5\"", NO, NO, NO, NO },
    { "\"default\";r=0;t=5;t", NO, NO, NO, NO },

    { "\"default\";r=2147483647;t=1", MAX_LEFT, 1000, NO, 1000 },
    { "\"default\";r=2147483648;t=1", MAX_LEFT, 1000, NO, 1000 },
    { "\"default\";r=18446744073709551616;t=1", MAX_LEFT, 1000, NO, 1000 },
    { "\"default\";r=1;t=2073601", 1, MAX_TIME, NO, MAX_TIME },
    { "\"default\";r=0;t=18446744073709551616", 0, MAX_TIME, MAX_TIME,
      MAX_TIME },

    /* what binds of several */

    { "\"a\";r=0;t=5, \"b\";r=0;t=7, \"c\";r=0;t=6", 0, 7000, 7000, 7000 },
    { "\"a\";r=5;t=50,\"b\";r=0;t=1", 0, 1000, 1000, 1000 },
    { "\"b\";r=0;t=1,\"a\";r=5;t=50", 0, 1000, 1000, 1000 },
    { "\"a\";r=0;t=0,\"b\";r=1;t=50", 0, 0, 0, 0 },
    { "\"b\";r=1;t=50,\"a\";r=0;t=0", 0, 0, 0, 0 },
    { "\"a\";r=10;t=1,\"b\";r=100;t=60", 100, 60000, NO, 60000 },
    { "\"b\";r=100;t=60,\"a\";r=10;t=1", 100, 60000, NO, 60000 },
    { "\"a\";r=10;t=0,\"b\";r=100;t=1", 100, 1000, NO, 1000 },
    { "\"b\";r=100;t=1,\"a\";r=10;t=0", 100, 1000, NO, 1000 },
    { "\"a\";r=1;t=10,\"b\";r=2;t=20", 1, 10000, NO, 10000 },
    { "\"a\";r=5000;t=2592000,\"b\";r=6;t=3600", 6, 3600000, NO, 3600000 },
    { "\"a\";r=2147483647;t=2147483647,\"b\";r=2147483646;t=2147483647",
      MAX_LEFT - 1, MAX_TIME, NO, MAX_TIME },
    { "\"a\";r=4294967296;t=1,\"b\";r=1;t=4294967296", 1, MAX_TIME, NO,
      MAX_TIME },
    { "\"a\";r=0,\"b\";r=5;t=9", 5, 9000, NO, 9000 },
    { "\"b\";r=5;t=9,\"a\";r=0", 5, 9000, NO, 9000 },
    { "\"a\";t=60,\"b\";r=5;t=9", 5, 9000, NO, 9000 },
    { "\"b\";r=5;t=9 , \"a\";t=60", 5, 9000, NO, 9000 },
    { "\"a\";t=5,\"b\";t=9,\"c\";t=6", NO, NO, NO, 9000 },
    { "\"a\";r=x;t=60,\"b\";r=0;t=9", 0, 9000, 9000, 9000 },

    /* draft 07 */

    { "limit=100, remaining=0, reset=30", 0, 30000, 30000, 30000 },
    { "limit=100,remaining=50,reset=5", 50, 5000, NO, 5000 },
    { "reset=5 ,\tremaining=50 , limit=100", 50, 5000, NO, 5000 },
    { "limit=100;w=60, remaining=0;r=1;t=1, reset=30;x", 0, 30000, 30000,
      30000 },
    { "limit=100;r=0;t=60, remaining=5, reset=9", 5, 9000, NO, 9000 },
    { "remaining=9, remaining=0, reset=1, reset=2", 0, 2000, 2000, 2000 },
    { "limit=100, reset=30", NO, NO, NO, 30000 },
    { "limit=100, remaining=0", NO, NO, NO, NO },
    { "remaining=-1, reset=5", NO, NO, NO, 5000 },
    { "remaining=\"0\", reset=5", NO, NO, NO, 5000 },
    { "remaining=0, reset=1.5", NO, NO, NO, NO },
    { "r=0, t=5", NO, NO, NO, NO },
    { "limit=9, remaining=5, reset=5, \"a\";r=0;t=1", 0, 1000, 1000, 1000 },
    { "limit=9, remaining=0, reset=5, \"a\";r=9;t=1", 0, 5000, 5000, 5000 },

    /* one malformed member spoils the field */

    { "", NO, NO, NO, NO },
    { " ", NO, NO, NO, NO },
    { ",", NO, NO, NO, NO },
    { ";", NO, NO, NO, NO },
    { "=", NO, NO, NO, NO },
    { "\"", NO, NO, NO, NO },
    { "\"a", NO, NO, NO, NO },
    { "\"a\\", NO, NO, NO, NO },
    { "\"a\\\"", NO, NO, NO, NO },
    { "\"a\\;r=0;t=5", NO, NO, NO, NO },
    { "\"b\";r=0;t=5,\"a\\", NO, NO, NO, NO },
    { "\"a\\x\";r=0;t=5", NO, NO, NO, NO },
    { "\"a\1\";r=0;t=5", NO, NO, NO, NO },
    { "\"a\xc3\xbc\";r=0;t=5", NO, NO, NO, NO },
    { "\"a\x7f\";r=0;t=5", NO, NO, NO, NO },
    { "a\x7f;r=0;t=5", NO, NO, NO, NO },
    { "\"a\"b;r=0;t=5", NO, NO, NO, NO },
    { "\"a\"=1;r=0;t=5", NO, NO, NO, NO },
    { "\"a\" \"b\";r=0;t=5", NO, NO, NO, NO },
    { "\"a\";r=0;t=5,", NO, NO, NO, NO },
    { ",\"a\";r=0;t=5", NO, NO, NO, NO },
    { "\"a\";r=0;t=5,,\"b\"", NO, NO, NO, NO },
    { "\"a\";r=0;t=5;", NO, NO, NO, NO },
    { "\"a\";r=0;;t=5", NO, NO, NO, NO },
    { "\"a\";r=;t=5", NO, NO, NO, NO },
    { "\"a\";=0;t=5", NO, NO, NO, NO },
    { "\"a\";r=0 0;t=5", NO, NO, NO, NO },
    { "\"a\";r = 0;t=5", NO, NO, NO, NO },
    { "\"a\";r=0;t=5;x=\"", NO, NO, NO, NO },
    { "\"a\";r=0;t=5;x=%", 0, 5000, 5000, 5000 },
    { "\"a\";r=0;t=5;x=%\"", NO, NO, NO, NO },
    { "\"a\";r=0;t=5;\"x\"", NO, NO, NO, NO },
    { "\"a\";r=0;t=5, \"b\" x", NO, NO, NO, NO },
    { "limit=100 remaining=0 reset=30", NO, NO, NO, NO },
    { "limit=100; remaining=0; reset=30", NO, NO, NO, NO },
    { "limit=100, remaining=0, reset=", NO, NO, NO, NO },
    { "100", NO, NO, NO, NO },
    { NULL, 0, 0, 0, 0 }
};


static x_case_t  x_ratelimits[] = {
    { "0", "30", { "", 0, 30000, 30000, 30000 } },
    { "5", "30", { "", 5, 30000, NO, 30000 } },
    { " 5\t", "\t30 ", { "", 5, 30000, NO, 30000 } },
    { "-1", "30", { "", 0, 30000, 30000, 30000 } },
    { "-0", "30", { "", 0, 30000, 30000, 30000 } },
    { "-99999999999999999999", "30", { "", 0, 30000, 30000, 30000 } },
    { "2147483648", "30", { "", MAX_LEFT, 30000, NO, 30000 } },
    { "99999999999999999999", "30", { "", MAX_LEFT, 30000, NO, 30000 } },

    { NULL, "30", { "", NO, NO, NO, 30000 } },
    { "", "30", { "", NO, NO, NO, 30000 } },
    { "-", "30", { "", NO, NO, NO, 30000 } },
    { "--1", "30", { "", NO, NO, NO, 30000 } },
    { "- 1", "30", { "", NO, NO, NO, 30000 } },
    { "+1", "30", { "", NO, NO, NO, 30000 } },
    { "0.5", "30", { "", NO, NO, NO, 30000 } },
    { "0, 5", "30", { "", NO, NO, NO, 30000 } },
    { "none", "30", { "", NO, NO, NO, 30000 } },

    { "0", NULL, { "", NO, NO, NO, NO } },
    { "5", NULL, { "", NO, NO, NO, NO } },
    { "0", "", { "", NO, NO, NO, NO } },
    { "0", "-1", { "", NO, NO, NO, NO } },
    { "0", "+1", { "", NO, NO, NO, NO } },
    { "0", "30s", { "", NO, NO, NO, NO } },
    { "0", "1m", { "", NO, NO, NO, NO } },
    { "0", "30, 60", { "", NO, NO, NO, NO } },
    { "0", "30.", { "", NO, NO, NO, NO } },
    { "0", ".5", { "", NO, NO, NO, NO } },
    { "0", ".", { "", NO, NO, NO, NO } },
    { "0", "1.2.3", { "", NO, NO, NO, NO } },
    { "0", "1.x", { "", NO, NO, NO, NO } },
    { "0", "1.-5", { "", NO, NO, NO, NO } },
    { "0", "1e3", { "", NO, NO, NO, NO } },
    { "0", "Tue, 14 Nov 2023 22:13:50 GMT", { "", NO, NO, NO, NO } },

    /* seconds from now */

    { "0", "0", { "", 0, 0, 0, 0 } },
    { "0", "0.0", { "", 0, 0, 0, 0 } },
    { "0", "1.5", { "", 0, 1500, 1500, 1500 } },
    { "0", "0.001", { "", 0, 1, 1, 1 } },
    { "0", "0.0001", { "", 0, 1, 1, 1 } },
    { "0", "0.0010", { "", 0, 1, 1, 1 } },
    { "0", "0.00101", { "", 0, 2, 2, 2 } },
    { "0", "0.9999", { "", 0, 1000, 1000, 1000 } },
    { "0", "0.00000000000000000000000000000000000001", { "", 0, 1, 1, 1 } },
    { "0", "2073600", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { "0", "999999999", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { "0", "1000000000", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },

    /* seconds of the epoch */

    { "0", "1000000001", { "", NO, NO, NO, NO } },
    { "0", "1699999999", { "", NO, NO, NO, NO } },
    { "5", "1699999999", { "", NO, NO, NO, NO } },
    { "0", "1699999999.9999", { "", 0, 0, 0, 0 } },
    { "0", "1700000000", { "", 0, 0, 0, 0 } },
    { "0", "1700000030", { "", 0, 30000, 30000, 30000 } },
    { "7", "1700000030", { "", 7, 30000, NO, 30000 } },
    { "0", "1700000030.1234", { "", 0, 30124, 30124, 30124 } },
    { "0", "1702073600", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { "0", "999999999999", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { "0", "1000000000000", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },

    /* milliseconds of the epoch */

    { "0", "1000000000001", { "", NO, NO, NO, NO } },
    { "0", "1699999999999", { "", NO, NO, NO, NO } },
    { "0", "1700000000000", { "", 0, 0, 0, 0 } },
    { "0", "1700000000001", { "", 0, 1, 1, 1 } },
    { "0", "1700000030250", { "", 0, 30250, 30250, 30250 } },
    { "0", "1700000030250.1", { "", 0, 30251, 30251, 30251 } },
    { "0", "1700000030250.001", { "", 0, 30251, 30251, 30251 } },
    { "0", "1700000030250.0001", { "", 0, 30251, 30251, 30251 } },
    { "0", "1700000030250.000", { "", 0, 30250, 30250, 30250 } },
    { "0", "999999999999999", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { "0", "18446744073709551616", { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { "0", "99999999999999999999999999999.9999",
      { "", 0, MAX_TIME, MAX_TIME, MAX_TIME } },
    { NULL, NULL, { NULL, NO, NO, NO, NO } }
};


static mixed_case_t  mixed[] = {
    { NULL, NULL, NULL, NULL, 429, NONE, NO, NO },
    { "5", NULL, NULL, NULL, 429, RETRY_AFTER, 5000, NO },
    { "5", NULL, NULL, NULL, 503, RETRY_AFTER, 5000, NO },
    { "5", NULL, NULL, NULL, 200, NONE, NO, NO },
    { "5", NULL, NULL, NULL, 301, NONE, NO, NO },
    { "5", NULL, NULL, NULL, 413, NONE, NO, NO },
    { "5", NULL, NULL, NULL, 500, NONE, NO, NO },
    { "5", NULL, NULL, NULL, 502, NONE, NO, NO },
    { "5", NULL, NULL, NULL, 0, NONE, NO, NO },

    /* shorter, longer or now, it wins; what is known stays known */

    { "5", "\"a\";r=0;t=9", "0", "7", 429, RETRY_AFTER, 5000, 0 },
    { "9", "\"a\";r=3;t=5", "0", "7", 429, RETRY_AFTER, 9000, 3 },
    { "0", "\"a\";r=0;t=5", "0", "7", 503, RETRY_AFTER, 0, 0 },
    { "5", NULL, "4", "7", 429, RETRY_AFTER, 5000, 4 },
    { "5", "junk;", "4", "7", 429, RETRY_AFTER, 5000, 4 },
    { "5", "\"a\";t=9", "4", "7", 429, RETRY_AFTER, 5000, NO },
    { "5", "\"a\";t=9", "4", "7", 200, NONE, NO, 4 },
    { "Sun, 06 Nov 1994 08:49:37 GMT", "\"a\";r=0;t=5", NULL, NULL, 429,
      RETRY_AFTER, 0, 0 },

    { "soon", "\"a\";r=2;t=9", "0", "7", 429, RATELIMIT, 9000, 2 },
    { "-1", NULL, "2", "7", 429, X_RATELIMIT, 7000, 2 },
    { "5", "\"a\";r=0;t=9", "0", "7", 200, RATELIMIT, 9000, 0 },
    { "5", NULL, "0", "7", 200, X_RATELIMIT, 7000, 0 },

    { NULL, "\"a\";r=2;t=9", "0", "7", 429, RATELIMIT, 9000, 2 },
    { NULL, "\"a\";r=2;t=9", "0", "7", 200, NONE, NO, 2 },
    { NULL, "\"a\";r=0;t=9", "5", "7", 200, RATELIMIT, 9000, 0 },
    { NULL, "\"a\";r=0", "5", "7", 429, X_RATELIMIT, 7000, 5 },
    { NULL, "\"a\";r=0", "0", "7", 200, X_RATELIMIT, 7000, 0 },
    { NULL, "\"a\";t=9", "0", "7", 200, X_RATELIMIT, 7000, 0 },
    { NULL, "\"a\";r=0", NULL, "7", 200, NONE, NO, NO },
    { NULL, "\"a\";t=9", "0", NULL, 200, NONE, NO, NO },
    { NULL, "\"a\";t=9", "0", "7", 429, RATELIMIT, 9000, NO },
    { NULL, "\"a\";r=0;t=9;", "5", "7", 200, NONE, NO, 5 },
    { NULL, "", "0", "7", 200, X_RATELIMIT, 7000, 0 },

    /* nothing remains, whatever the status */

    { NULL, "\"a\";r=0;t=9", NULL, NULL, 301, RATELIMIT, 9000, 0 },
    { NULL, "\"a\";r=0;t=9", NULL, NULL, 404, RATELIMIT, 9000, 0 },
    { NULL, "\"a\";r=0;t=9", NULL, NULL, 500, RATELIMIT, 9000, 0 },
    { NULL, NULL, "0", "7", 404, X_RATELIMIT, 7000, 0 },
    { NULL, NULL, "1", "7", 503, X_RATELIMIT, 7000, 1 },
    { NULL, NULL, "1", "7", 500, NONE, NO, 1 },
    { NULL, NULL, NULL, "7", 503, X_RATELIMIT, 7000, NO },
    { NULL, NULL, NULL, "7", 403, NONE, NO, NO },
    { NULL, NULL, NULL, "1699999999", 429, NONE, NO, NO },
    { "5", NULL, "0", "1699999999", 429, RETRY_AFTER, 5000, NO },
    { NULL, NULL, NULL, NULL, 0, 0, 0, 0 }
};


static cap_case_t  caps[] = {
    { 1, "0", 0, 0 },
    { 1, "1", 1, 1 },
    { 4999, "5", 4999, 1 },
    { 5000, "5", 5000, 0 },
    { 5001, "5", 5000, 0 },
    { 0, "5", 5000, 0 },
    { 0, "2073600", MAX_TIME, 0 },
    { 0, "2073601", MAX_TIME, 1 },
    { MAX_TIME, "2073600", MAX_TIME, 0 },
    { MAX_TIME, "2073601", MAX_TIME, 1 },
    { MAX_TIME + 1, "2073601", MAX_TIME, 1 },
    { (ngx_msec_t) -1, "2073601", MAX_TIME, 1 },
    { (ngx_msec_t) -1, "99999999999999999999", MAX_TIME, 1 },
    { 0, NULL, 0, 0 }
};


static void test_retry_after(void);
static void test_ratelimit(void);
static void test_x_ratelimit(void);
static void test_mixed(void);
static void test_caps(void);
static void test_clock(void);
static void check_limit(limit_case_t *c, ngx_uint_t source, char *text);

static void make(char *retry_after, char *ratelimit, char *remaining,
    char *reset);
static void parse(ngx_uint_t status);
static void set(ngx_str_t *str, char *text);


static ngx_http_retry_chain_ratelimit_fields_t  fields;
static ngx_http_retry_chain_ratelimit_t         hint;


int
main(void)
{
    test_retry_after();
    test_ratelimit();
    test_x_ratelimit();
    test_mixed();
    test_caps();
    test_clock();

    make(NULL, NULL, NULL, NULL);

    return done_testing();
}


static void
test_retry_after(void)
{
    retry_after_case_t  *c;

    for (c = retry_afters; c->text; c++) {
        make(c->text, NULL, NULL, NULL);
        parse(429);

        is_int(hint.limited ? (long long) hint.delay : NO, c->delay,
               "Retry-After: %s", c->text);
        ok(hint.source == (c->delay == NO ? NONE : RETRY_AFTER)
           && !hint.known,
           "its source");
    }
}


static void
test_ratelimit(void)
{
    limit_case_t  *c;

    for (c = ratelimits; c->text; c++) {
        make(NULL, c->text, NULL, NULL);
        check_limit(c, RATELIMIT, c->text);
    }
}


static void
test_x_ratelimit(void)
{
    char       text[128];
    x_case_t  *c;

    for (c = x_ratelimits; c->expected.text; c++) {
        make(NULL, NULL, c->remaining, c->reset);

        snprintf(text, sizeof(text), "%s / %s",
                 c->remaining ? c->remaining : "none",
                 c->reset ? c->reset : "none");

        check_limit(&c->expected, X_RATELIMIT, text);
    }
}


static void
check_limit(limit_case_t *c, ngx_uint_t source, char *text)
{
    static ngx_uint_t  statuses[] = { 200, 429, 503 };

    long long   delay;
    ngx_uint_t  i;

    for (i = 0; i < 3; i++) {
        parse(statuses[i]);
        delay = (i == 0) ? c->ok : c->refused;

        is_int(hint.limited ? (long long) hint.delay : NO, delay,
               "delay of \"%s\", status %d", text, (int) statuses[i]);
        is_int(hint.source, delay == NO ? NONE : source, "its source");
        is_int(hint.known ? (long long) hint.remaining : NO, c->remaining,
               "what remains");
        is_int(hint.known ? (long long) hint.reset : NO, c->reset,
               "and for how long");
    }
}


static void
test_mixed(void)
{
    int            n;
    mixed_case_t  *c;

    for (c = mixed, n = 1; c->status || c->source || c->delay; c++, n++) {
        make(c->retry_after, c->ratelimit, c->remaining, c->reset);
        parse(c->status);

        is_int(hint.source, c->source, "mixed %d, source", n);
        is_int(hint.limited ? (long long) hint.delay : NO, c->delay,
               "mixed %d, delay", n);
        is_int(hint.known ? (long long) hint.remaining : NO, c->left,
               "mixed %d, remaining", n);
    }
}


static void
test_caps(void)
{
    cap_case_t  *c;

    for (c = caps; c->seconds; c++) {
        make(c->seconds, NULL, NULL, NULL);
        ngx_http_retry_chain_ratelimit_parse(&fields, 429, NOW, c->cap, &hint);

        is_int(hint.delay, c->delay, "%s s, cap %llu ms", c->seconds,
               (unsigned long long) c->cap);
        is_int(hint.capped, c->capped, "was it cut");

        make(NULL, NULL, "0", c->seconds);
        ngx_http_retry_chain_ratelimit_parse(&fields, 200, NOW, c->cap, &hint);

        if (ngx_strlen(c->seconds) < 10) {
            is_int(hint.delay, c->delay, "so is X-RateLimit-Reset");
            is_int(hint.capped, c->capped, "was it cut");
        }

        is_int(hint.reset, c->delay, "and what is known");
    }

    make("5", "\"a\";r=7;t=60", NULL, NULL);
    ngx_http_retry_chain_ratelimit_parse(&fields, 429, NOW, 10000, &hint);

    ok(hint.delay == 5000 && hint.reset == 10000 && !hint.capped,
       "only the delay is told as cut");
}


/* dates on clocks that are off */

static void
test_clock(void)
{
    ngx_uint_t  i;

    static time_t  early[] = { 0, -1, -1700000000,
                               -NGX_MAX_TIME_T_VALUE - 1 };
    static time_t  late[] = { 1800000000, NGX_MAX_TIME_T_VALUE - 1,
                              NGX_MAX_TIME_T_VALUE };

    for (i = 0; i < 4; i++) {
        make("Tue, 14 Nov 2023 22:13:50 GMT", NULL, NULL, NULL);
        ngx_http_retry_chain_ratelimit_parse(&fields, 429, early[i], 0, &hint);

        ok(hint.limited && hint.delay == MAX_TIME && hint.capped,
           "a date, the clock says %lld", (long long) early[i]);

        make(NULL, NULL, "0", "1700000000");
        ngx_http_retry_chain_ratelimit_parse(&fields, 200, early[i], 0, &hint);

        ok(hint.limited && hint.delay == MAX_TIME && hint.capped,
           "a time of the epoch");

        make("1", NULL, NULL, NULL);
        ngx_http_retry_chain_ratelimit_parse(&fields, 429, early[i], 0, &hint);

        is_int(hint.delay, 1000, "seconds need no clock");
    }

    for (i = 0; i < 3; i++) {
        make("Tue, 14 Nov 2023 22:13:50 GMT", NULL, NULL, NULL);
        ngx_http_retry_chain_ratelimit_parse(&fields, 429, late[i], 0, &hint);

        ok(hint.limited && hint.delay == 0, "a date, the clock says %lld",
           (long long) late[i]);

        make(NULL, NULL, "0", "1700000000000");
        ngx_http_retry_chain_ratelimit_parse(&fields, 429, late[i], 0, &hint);

        ok(!hint.limited && !hint.known, "a time of the epoch");

        make("1", NULL, NULL, NULL);
        ngx_http_retry_chain_ratelimit_parse(&fields, 429, late[i], 0, &hint);

        is_int(hint.delay, 1000, "seconds need no clock");
    }
}


static void
make(char *retry_after, char *ratelimit, char *remaining, char *reset)
{
    set(&fields.retry_after, retry_after);
    set(&fields.ratelimit, ratelimit);
    set(&fields.remaining, remaining);
    set(&fields.reset, reset);
}


/* what was there before must not matter */

static void
parse(ngx_uint_t status)
{
    memset(&hint, 0xff, sizeof(hint));
    ngx_http_retry_chain_ratelimit_parse(&fields, status, NOW, 0, &hint);
}


/* in memory of its own, where one byte too far is seen */

static void
set(ngx_str_t *str, char *text)
{
    free(str->data);
    ngx_str_null(str);

    if (text) {
        str->len = ngx_strlen(text);
        str->data = malloc(str->len ? str->len : 1);

        if (str->data == NULL) {
            abort();
        }

        ngx_memcpy(str->data, text, str->len);
    }
}
