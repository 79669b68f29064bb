
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Fields of any bytes, fields of what such fields are made of, lists of limits
 * with a known binding one, and dates with a known distance.  The input is
 * eaten byte by byte, zeros follow its end.
 */


#include <time.h>

#include "fuzz.h"
#include "ngx_http_retry_chain_ratelimit.h"
#include "ngx_http_retry_chain_plan.h"


#define MAX_LEFT  NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_REMAINING
#define MAX_TEXT  512


typedef struct {
    u_char                          data[MAX_TEXT];
    size_t                          len;
    ngx_uint_t                      absent;
} text_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_fields(input_t *in);
static void fuzz_list(input_t *in);
static void fuzz_date(input_t *in);

static void check_hint(ngx_uint_t status, ngx_msec_t cap,
    const ngx_http_retry_chain_ratelimit_t *hint);
static void check_others(text_t *texts, ngx_uint_t status, time_t now,
    ngx_msec_t cap, const ngx_http_retry_chain_ratelimit_t *hint);
static ngx_uint_t same(const ngx_http_retry_chain_ratelimit_t *one,
    const ngx_http_retry_chain_ratelimit_t *two);

static void parse(const text_t *texts, const char *tail, ngx_uint_t status,
    time_t now, ngx_msec_t cap, ngx_http_retry_chain_ratelimit_t *hint);
static void make_text(input_t *in, text_t *text, ngx_uint_t raw);
static void add(text_t *text, const void *data, size_t len);
static ngx_uint_t make_status(input_t *in);
static time_t make_now(input_t *in);
static ngx_msec_t make_cap(input_t *in);


/* half of the choices are among the first 16 */

static const char  *pieces[] = {
    "0", "1", "9", ",", ";", "=", "\"", " ", ";r=", ";t=",
    "\"a\"", "remaining=", "reset=", ", ", "-", ".",
    "1700000000", "1700000000000", "999999999", "1000000001", "2147483648",
    "18446744073709551616", "99999999999999999999", "000", "\t", "\\",
    ":YQ==:", "%\"", "?1", "@", "limit=", ";pk=",
    "Tue, 14 Nov 2023 22:13:50 GMT", "Tuesday, 14-Nov-23 22:13:50 GMT",
    "Tue Nov 14 22:13:50 2023", "Tue, ", "14", " Nov ", "-Nov-", "2023",
    " 22:13:50", " GMT", "Feb", "29", "0000", "9999", ":", "\xc3"
};

#define PIECES  (sizeof(pieces) / sizeof(pieces[0]))


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t  in;

    in.pos = data;
    in.last = data + size;

    switch (number(&in, 4)) {

    case 0:
        fuzz_list(&in);
        break;

    case 1:
        fuzz_date(&in);
        break;

    default:
        fuzz_fields(&in);
        break;
    }

    return 0;
}


static void
fuzz_fields(input_t *in)
{
    time_t                            now;
    text_t                            texts[4];
    ngx_uint_t                        i, mask, raw, status;
    ngx_msec_t                        cap;
    ngx_http_retry_chain_ratelimit_t  hint, again;

    status = make_status(in);
    now = make_now(in);
    cap = make_cap(in);
    mask = number(in, 16);
    raw = number(in, 2);

    for (i = 0; i < 4; i++) {
        texts[i].len = 0;
        texts[i].absent = !(mask & (1 << i));

        if (!texts[i].absent) {
            make_text(in, &texts[i], raw);
        }
    }

    memset(&hint, 0xff, sizeof(hint));
    parse(texts, "", status, now, cap, &hint);
    check_hint(status, cap, &hint);

    /* what follows the values does not matter, nor what the hint was */

    memset(&again, 0, sizeof(again));
    parse(texts, "0", status, now, cap, &again);
    must(same(&hint, &again));

    parse(texts, ";r=0;t=9", status, now, cap, &again);
    must(same(&hint, &again));

    parse(texts, " GMT", status, now, cap, &again);
    must(same(&hint, &again));

    check_others(texts, status, now, cap, &hint);
}


/* what wins wins whatever else is there; a cap does nothing but cut */

static void
check_others(text_t *texts, ngx_uint_t status, time_t now, ngx_msec_t cap,
    const ngx_http_retry_chain_ratelimit_t *hint)
{
    ngx_http_retry_chain_ratelimit_t  other;

    parse(texts, "", status, now, 0, &other);

    must(other.source == hint->source);
    must(other.known == hint->known);
    must(other.remaining == hint->remaining);

    if (cap && cap < NGX_HTTP_RETRY_CHAIN_MAX_TIME) {
        must(hint->delay == ngx_min(other.delay, cap));
        must(hint->reset == ngx_min(other.reset, cap));
        must(!hint->capped == !(other.delay > cap || other.capped));
    }

    switch (hint->source) {

    case NGX_HTTP_RETRY_CHAIN_RATELIMIT_RETRY_AFTER:
        texts[1].absent = 1;
        texts[2].absent = 1;
        texts[3].absent = 1;
        break;

    case NGX_HTTP_RETRY_CHAIN_RATELIMIT_FIELD:
        texts[2].absent = 1;
        texts[3].absent = 1;

        /* fall through */

    case NGX_HTTP_RETRY_CHAIN_RATELIMIT_X:
        must(status == 429 || status == 503
             || (hint->known && hint->remaining == 0
                 && hint->reset == hint->delay));

        texts[0].absent = 1;
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_RATELIMIT_NONE */
        return;
    }

    parse(texts, "", status, now, cap, &other);

    must(other.source == hint->source);
    must(other.delay == hint->delay);
    must(other.capped == hint->capped);
}


/* the binding one of well-formed limits, found in another way */

static void
fuzz_list(input_t *in)
{
    int                               n;
    char                              buf[64];
    text_t                            texts[4];
    uint64_t                          r, t, best_r, best_t;
    ngx_uint_t                        i, count, status;
    ngx_http_retry_chain_ratelimit_t  hint;

    memset(texts, 0, sizeof(texts));
    texts[0].absent = texts[2].absent = texts[3].absent = 1;

    status = make_status(in);
    count = 1 + number(in, 6);
    best_r = best_t = 0;

    for (i = 0; i < count; i++) {
        r = number(in, 2) ? number(in, 4) : number(in, MAX_LEFT);
        t = number(in, 2) ? number(in, 4) : number(in, 0x7fffffff);

        n = snprintf(buf, sizeof(buf), "%s\"%u\";%s=%u;%s=%u", i ? "," : "",
                     (unsigned) i, i & 1 ? "r" : "t",
                     (unsigned) (i & 1 ? r : t), i & 1 ? "t" : "r",
                     (unsigned) (i & 1 ? t : r));
        add(&texts[1], buf, n);

        if (i == 0
            || (r == 0 && (best_r || t > best_t))
            || (r && best_r && r * best_t < best_r * t))
        {
            best_r = r;
            best_t = t;
        }
    }

    parse(texts, "", status, 0, 0, &hint);
    check_hint(status, 0, &hint);

    best_t = ngx_min(best_t * 1000, NGX_HTTP_RETRY_CHAIN_MAX_TIME);

    must(hint.known);
    must(hint.remaining == best_r);
    must(hint.reset == best_t);
    must(hint.limited == (status == 429 || status == 503 || best_r == 0));
    must(!hint.limited || hint.delay == best_t);
}


static void
fuzz_date(input_t *in)
{
    static const char  *forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y"
    };

    char                              buf[64];
    text_t                            texts[4];
    time_t                            now, date;
    uint64_t                          delay;
    struct tm                         tm;
    ngx_uint_t                        form;
    ngx_http_retry_chain_ratelimit_t  hint;

    memset(texts, 0, sizeof(texts));
    texts[1].absent = texts[2].absent = texts[3].absent = 1;

    form = number(in, 3);

    /* a year of two digits is one from 1970 to 2069 */

    date = number(in, form == 1 ? 3155760000u : 0xffffffff);
    now = number(in, 2) ? date - (time_t) number(in, 0x400000)
                        : (time_t) number(in, 0xffffffff);

    must(gmtime_r(&date, &tm));
    add(&texts[0], buf, strftime(buf, sizeof(buf), forms[form], &tm));

    parse(texts, "", 503, now, 0, &hint);
    check_hint(503, 0, &hint);

    now = ngx_max(now, 0);
    delay = date > now ? (uint64_t) (date - now) * 1000 : 0;

    must(hint.source == NGX_HTTP_RETRY_CHAIN_RATELIMIT_RETRY_AFTER);
    must(hint.delay == ngx_min(delay, NGX_HTTP_RETRY_CHAIN_MAX_TIME));
    must(hint.capped == (delay > NGX_HTTP_RETRY_CHAIN_MAX_TIME));
}


static void
check_hint(ngx_uint_t status, ngx_msec_t cap,
    const ngx_http_retry_chain_ratelimit_t *hint)
{
    if (cap == 0 || cap > NGX_HTTP_RETRY_CHAIN_MAX_TIME) {
        cap = NGX_HTTP_RETRY_CHAIN_MAX_TIME;
    }

    must(hint->source <= NGX_HTTP_RETRY_CHAIN_RATELIMIT_X);
    must(
        hint->limited == (hint->source != NGX_HTTP_RETRY_CHAIN_RATELIMIT_NONE));
    must(hint->delay <= cap);
    must(hint->reset <= cap);
    must(hint->remaining <= MAX_LEFT);
    must(hint->limited || hint->delay == 0);
    must(hint->known || (hint->remaining == 0 && hint->reset == 0));
    must(!hint->capped || (hint->limited && hint->delay == cap));

    if (status != 429 && status != 503) {
        must(hint->source != NGX_HTTP_RETRY_CHAIN_RATELIMIT_RETRY_AFTER);
        must(hint->limited == (hint->known && hint->remaining == 0));

    } else {
        must(hint->limited || !hint->known);
    }
}


static ngx_uint_t
same(const ngx_http_retry_chain_ratelimit_t *one,
    const ngx_http_retry_chain_ratelimit_t *two)
{
    return one->source == two->source
           && one->delay == two->delay
           && one->remaining == two->remaining
           && one->reset == two->reset
           && one->limited == two->limited
           && one->known == two->known
           && one->capped == two->capped;
}


/* in memory of their own, where one byte behind the tail is seen */

static void
parse(const text_t *texts, const char *tail, ngx_uint_t status, time_t now,
    ngx_msec_t cap, ngx_http_retry_chain_ratelimit_t *hint)
{
    size_t                                    len;
    ngx_str_t                                 strs[4];
    ngx_uint_t                                i;
    ngx_http_retry_chain_ratelimit_fields_t   fields;

    len = strlen(tail);

    for (i = 0; i < 4; i++) {
        ngx_str_null(&strs[i]);

        if (texts[i].absent) {
            continue;
        }

        strs[i].len = texts[i].len;
        strs[i].data = malloc(strs[i].len + len ? strs[i].len + len : 1);

        must(strs[i].data);

        ngx_memcpy(strs[i].data, texts[i].data, texts[i].len);
        ngx_memcpy(strs[i].data + strs[i].len, tail, len);
    }

    fields.retry_after = strs[0];
    fields.ratelimit = strs[1];
    fields.remaining = strs[2];
    fields.reset = strs[3];

    ngx_http_retry_chain_ratelimit_parse(&fields, status, now, cap, hint);

    for (i = 0; i < 4; i++) {
        must(strs[i].data == NULL
             || memcmp(strs[i].data, texts[i].data, texts[i].len) == 0);

        free(strs[i].data);
    }
}


static void
make_text(input_t *in, text_t *text, ngx_uint_t raw)
{
    u_char       ch;
    const char  *piece;
    ngx_uint_t   n;

    for (n = number(in, 64); n && in->pos < in->last; n--) {

        if (raw) {
            ch = number(in, 256);
            add(text, &ch, 1);
            continue;
        }

        piece = pieces[number(in, number(in, 2) ? 16 : PIECES)];
        add(text, piece, strlen(piece));
    }
}


/* what does not fit is left out */

static void
add(text_t *text, const void *data, size_t len)
{
    if (len <= MAX_TEXT - text->len) {
        ngx_memcpy(text->data + text->len, data, len);
        text->len += len;
    }
}


static ngx_uint_t
make_status(input_t *in)
{
    switch (number(in, 4)) {

    case 0:
        return 200;

    case 1:
        return 503;

    case 2:
        return number(in, 1000);

    default:
        return 429;
    }
}


static time_t
make_now(input_t *in)
{
    switch (number(in, 6)) {

    case 0:
        return 0;

    case 1:
        return NGX_MAX_TIME_T_VALUE - (time_t) number(in, 2);

    case 2:
        return -NGX_MAX_TIME_T_VALUE - 1 + (time_t) number(in, 2);

    case 3:
        return number(in, 0xffffffff);

    default:
        return 1700000000 + (time_t) number(in, 60);
    }
}


static ngx_msec_t
make_cap(input_t *in)
{
    switch (number(in, 4)) {

    case 0:
        return 0;

    case 1:
        return number(in, 100000);

    case 2:
        return NGX_HTTP_RETRY_CHAIN_MAX_TIME - 1 + number(in, 3);

    default:
        return (ngx_msec_t) -1 - number(in, 2);
    }
}
