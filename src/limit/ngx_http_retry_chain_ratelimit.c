
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_ratelimit.h"


/* numbers saturate where a thousand of them still fits 63 bits */
#define NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_NUMBER  1000000000000000ull

/* the end of the year 9999, the last one that HTTP can write */
#define NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_DATE    253402300799ll

/* X-RateLimit-Reset above these is a time of the epoch, below it is a delay */
#define NGX_HTTP_RETRY_CHAIN_RATELIMIT_EPOCH       1000000000ull
#define NGX_HTTP_RETRY_CHAIN_RATELIMIT_EPOCH_MSEC  1000000000000ull


/* what a vendor says of one of its limits */

typedef struct {
    uint64_t                            remaining; /* 0 if not counted */
    uint64_t                            reset;     /* milliseconds */

    unsigned                            counted:1; /* remaining is given */
    unsigned                            timed:1;   /* reset is given */
} ngx_http_retry_chain_ratelimit_limit_t;


static ngx_int_t ngx_http_retry_chain_ratelimit_learn(
    ngx_http_retry_chain_ratelimit_t *ratelimit,
    ngx_http_retry_chain_ratelimit_e source,
    const ngx_http_retry_chain_ratelimit_limit_t *limit, ngx_uint_t refused,
    ngx_msec_t cap);
static void ngx_http_retry_chain_ratelimit_retry_after(const ngx_str_t *field,
    time_t now, ngx_http_retry_chain_ratelimit_limit_t *limit);
static ngx_uint_t ngx_http_retry_chain_ratelimit_is_date(const ngx_str_t *text);
static void ngx_http_retry_chain_ratelimit_ratelimit(const ngx_str_t *field,
    ngx_http_retry_chain_ratelimit_limit_t *limit);
static u_char *ngx_http_retry_chain_ratelimit_member(u_char *p, u_char *last,
    ngx_http_retry_chain_ratelimit_limit_t *item,
    ngx_http_retry_chain_ratelimit_limit_t *dict);
static u_char *ngx_http_retry_chain_ratelimit_pair(u_char *p, u_char *last,
    ngx_str_t *key, ngx_str_t *value);
static u_char *ngx_http_retry_chain_ratelimit_item(u_char *p, u_char *last);
static u_char *ngx_http_retry_chain_ratelimit_string(u_char *p, u_char *last);
static u_char *ngx_http_retry_chain_ratelimit_token(u_char *p, u_char *last,
    u_char other);
static void ngx_http_retry_chain_ratelimit_note(
    ngx_http_retry_chain_ratelimit_limit_t *limit, const ngx_str_t *names,
    const ngx_str_t *key, const ngx_str_t *value);
static ngx_uint_t ngx_http_retry_chain_ratelimit_binds(
    const ngx_http_retry_chain_ratelimit_limit_t *limit,
    const ngx_http_retry_chain_ratelimit_limit_t *other);
static void ngx_http_retry_chain_ratelimit_x_ratelimit(
    const ngx_http_retry_chain_ratelimit_fields_t *fields, time_t now,
    ngx_http_retry_chain_ratelimit_limit_t *limit);
static ngx_int_t ngx_http_retry_chain_ratelimit_reset(const ngx_str_t *field,
    time_t now, uint64_t *reset);
static ngx_int_t ngx_http_retry_chain_ratelimit_until(uint64_t when, time_t now,
    uint64_t *delay);
static ngx_int_t ngx_http_retry_chain_ratelimit_number(const ngx_str_t *text,
    uint64_t *number);
static u_char *ngx_http_retry_chain_ratelimit_digits(u_char *p, u_char *last,
    uint64_t *number);
static ngx_int_t ngx_http_retry_chain_ratelimit_trim(const ngx_str_t *field,
    ngx_str_t *text);
static u_char *ngx_http_retry_chain_ratelimit_blanks(u_char *p, u_char *last);


/* remaining and reset: parameters in draft 10, keys in draft 07 */

static ngx_str_t  ngx_http_retry_chain_ratelimit_params[] = {
    ngx_string("r"),
    ngx_string("t")
};

static ngx_str_t  ngx_http_retry_chain_ratelimit_keys[] = {
    ngx_string("remaining"),
    ngx_string("reset")
};


void
ngx_http_retry_chain_ratelimit_parse(
    const ngx_http_retry_chain_ratelimit_fields_t *fields, ngx_uint_t status,
    time_t now, ngx_msec_t cap, ngx_http_retry_chain_ratelimit_t *ratelimit)
{
    ngx_int_t                               rc;
    ngx_uint_t                              refused;
    ngx_http_retry_chain_ratelimit_limit_t  limit;

    ngx_memzero(ratelimit, sizeof(ngx_http_retry_chain_ratelimit_t));

    if (cap == 0 || cap > NGX_HTTP_RETRY_CHAIN_MAX_TIME) {
        cap = NGX_HTTP_RETRY_CHAIN_MAX_TIME;
    }

    refused = (status == 429 || status == 503);

    if (refused) {
        ngx_http_retry_chain_ratelimit_retry_after(&fields->retry_after, now,
                                                   &limit);

        (void) ngx_http_retry_chain_ratelimit_learn(
                 ratelimit, NGX_HTTP_RETRY_CHAIN_RATELIMIT_RETRY_AFTER, &limit,
                 refused, cap);
    }

    ngx_http_retry_chain_ratelimit_ratelimit(&fields->ratelimit, &limit);

    rc = ngx_http_retry_chain_ratelimit_learn(
              ratelimit, NGX_HTTP_RETRY_CHAIN_RATELIMIT_FIELD, &limit, refused,
              cap);
    if (rc == NGX_OK) {
        return;
    }

    ngx_http_retry_chain_ratelimit_x_ratelimit(fields, now, &limit);

    (void) ngx_http_retry_chain_ratelimit_learn(ratelimit,
                                         NGX_HTTP_RETRY_CHAIN_RATELIMIT_X,
                                         &limit, refused, cap);
}


/* NGX_DECLINED if the limit says nothing with this reply */

static ngx_int_t
ngx_http_retry_chain_ratelimit_learn(
    ngx_http_retry_chain_ratelimit_t *ratelimit,
    ngx_http_retry_chain_ratelimit_e source,
    const ngx_http_retry_chain_ratelimit_limit_t *limit, ngx_uint_t refused,
    ngx_msec_t cap)
{
    if (!limit->timed || !(limit->counted || refused)) {
        return NGX_DECLINED;
    }

    if (limit->counted) {
        ratelimit->known = 1;
        ratelimit->remaining = ngx_min(
               limit->remaining, NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_REMAINING);
        ratelimit->reset = ngx_min(limit->reset, cap);
    }

    if (!ratelimit->limited && (limit->remaining == 0 || refused)) {
        ratelimit->source = source;
        ratelimit->delay = ngx_min(limit->reset, cap);
        ratelimit->limited = 1;
        ratelimit->capped = (limit->reset > cap);
    }

    return NGX_OK;
}


static void
ngx_http_retry_chain_ratelimit_retry_after(const ngx_str_t *field, time_t now,
    ngx_http_retry_chain_ratelimit_limit_t *limit)
{
    time_t     date;
    uint64_t   seconds;
    ngx_str_t  text;

    ngx_memzero(limit, sizeof(ngx_http_retry_chain_ratelimit_limit_t));

    if (ngx_http_retry_chain_ratelimit_trim(field, &text) != NGX_OK) {
        return;
    }

    if (ngx_http_retry_chain_ratelimit_number(&text, &seconds) == NGX_OK) {
        limit->timed = 1;
        limit->reset = seconds * 1000;
        return;
    }

    if (!ngx_http_retry_chain_ratelimit_is_date(&text)) {
        return;
    }

    date = ngx_parse_http_time(text.data, text.len);

    if (date == NGX_ERROR) {
        return;
    }

    limit->timed = 1;

    /*
     * what is over means now; years before 1970 are below 0, or wrap where
     * ngx_uint_t has 32 bits and time_t has more
     */

    if (date > 0 && (int64_t) date <= NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_DATE) {
        (void) ngx_http_retry_chain_ratelimit_until((uint64_t) date * 1000, now,
                                                    &limit->reset);
    }
}


/*
 * the three forms of RFC 9110, section 5.6.7, as far as ngx_parse_http_time()
 * does not look: the zone, and that nothing else is there
 */

static ngx_uint_t
ngx_http_retry_chain_ratelimit_is_date(const ngx_str_t *text)
{
    size_t   len;
    u_char  *p, *last;

    p = text->data;
    last = p + text->len;

    while (p < last && *p != ',') {
        p++;
    }

    if (p == last) {
        return text->len == sizeof("Sun Nov  6 08:49:37 1994") - 1
               && last[-5] == ' ';
    }

    len = last - p;

    if ((len == sizeof(", 06 Nov 1994 08:49:37 GMT") - 1 && p[4] == ' ')
        || (len == sizeof(", 06-Nov-94 08:49:37 GMT") - 1 && p[4] == '-'))
    {
        return ngx_memcmp(last - 4, " GMT", 4) == 0;
    }

    return 0;
}


/*
 * a list of items with parameters (draft 10), a dictionary (draft 07) or both,
 * if two layers of a vendor added a line each; if one member is malformed, the
 * field is not used (draft 10, section 7; RFC 9651, section 4.2)
 */

static void
ngx_http_retry_chain_ratelimit_ratelimit(const ngx_str_t *field,
    ngx_http_retry_chain_ratelimit_limit_t *limit)
{
    u_char                                  *p, *last;
    ngx_str_t                                text;
    ngx_http_retry_chain_ratelimit_limit_t   dict, item;

    ngx_memzero(limit, sizeof(ngx_http_retry_chain_ratelimit_limit_t));
    ngx_memzero(&dict, sizeof(ngx_http_retry_chain_ratelimit_limit_t));

    if (ngx_http_retry_chain_ratelimit_trim(field, &text) != NGX_OK) {
        return;
    }

    p = text.data;
    last = p + text.len;

    for ( ;; ) {
        ngx_memzero(&item, sizeof(ngx_http_retry_chain_ratelimit_limit_t));

        p = ngx_http_retry_chain_ratelimit_member(p, last, &item, &dict);

        if (p == NULL) {
            ngx_memzero(limit, sizeof(ngx_http_retry_chain_ratelimit_limit_t));
            return;
        }

        if (ngx_http_retry_chain_ratelimit_binds(&item, limit)) {
            *limit = item;
        }

        if (p == last) {
            break;
        }

        p = ngx_http_retry_chain_ratelimit_blanks(p + 1, last);
    }

    if (ngx_http_retry_chain_ratelimit_binds(&dict, limit)) {
        *limit = dict;
    }
}


/* returns the end or the comma after the member, NULL if it is malformed */

static u_char *
ngx_http_retry_chain_ratelimit_member(u_char *p, u_char *last,
    ngx_http_retry_chain_ratelimit_limit_t *item,
    ngx_http_retry_chain_ratelimit_limit_t *dict)
{
    ngx_str_t   key, value;
    ngx_uint_t  named;

    named = 0;

    if (p < last && *p == '"') {
        p = ngx_http_retry_chain_ratelimit_string(p, last);

    } else {
        p = ngx_http_retry_chain_ratelimit_pair(p, last, &key, &value);

        if (p && value.data) {
            ngx_http_retry_chain_ratelimit_note(
                      dict, ngx_http_retry_chain_ratelimit_keys, &key, &value);
            named = 1;
        }
    }

    while (p) {
        p = ngx_http_retry_chain_ratelimit_blanks(p, last);

        if (p == last || *p == ',') {
            return p;
        }

        if (*p != ';') {
            return NULL;
        }

        p = ngx_http_retry_chain_ratelimit_blanks(p + 1, last);
        p = ngx_http_retry_chain_ratelimit_pair(p, last, &key, &value);

        /* draft 07 has no parameters and ignores them */

        if (p && !named) {
            ngx_http_retry_chain_ratelimit_note(
                    item, ngx_http_retry_chain_ratelimit_params, &key, &value);
        }
    }

    return NULL;
}


/* key or key=value; data of the value is NULL if there is none */

static u_char *
ngx_http_retry_chain_ratelimit_pair(u_char *p, u_char *last, ngx_str_t *key,
    ngx_str_t *value)
{
    ngx_str_null(value);

    key->data = p;
    p = ngx_http_retry_chain_ratelimit_token(p, last, '\0');

    if (p == NULL) {
        return NULL;
    }

    key->len = p - key->data;

    if (p < last && *p == '=') {
        value->data = ++p;
        p = ngx_http_retry_chain_ratelimit_item(p, last);

        if (p) {
            value->len = p - value->data;
        }
    }

    return p;
}


/*
 * a bare item, RFC 9651, section 3.3: only integers are looked at later, so
 * all that is not quoted is one kind
 */

static u_char *
ngx_http_retry_chain_ratelimit_item(u_char *p, u_char *last)
{
    if (last - p > 1 && p[0] == '%' && p[1] == '"') {
        p++;
    }

    if (p < last && *p == '"') {
        return ngx_http_retry_chain_ratelimit_string(p, last);
    }

    /* base64 may end with "=" */

    return ngx_http_retry_chain_ratelimit_token(p, last, '=');
}


static u_char *
ngx_http_retry_chain_ratelimit_string(u_char *p, u_char *last)
{
    for (p++; p < last; p++) {

        if (*p == '"') {
            return p + 1;
        }

        if (*p == '\\') {
            p++;

            if (p == last || (*p != '"' && *p != '\\')) {
                return NULL;
            }
        }

        if (*p < 0x20 || *p > 0x7e) {
            return NULL;
        }
    }

    return NULL;
}


/* at least one visible character that is no delimiter, unless it is "other" */

static u_char *
ngx_http_retry_chain_ratelimit_token(u_char *p, u_char *last, u_char other)
{
    u_char  *start;

    for (start = p; p < last; p++) {

        if (*p <= 0x20 || *p >= 0x7f || *p == '"' || *p == ',' || *p == ';'
            || (*p == '=' && *p != other))
        {
            break;
        }
    }

    return (p > start) ? p : NULL;
}


/* the last of repeated keys counts, also if it is no integer */

static void
ngx_http_retry_chain_ratelimit_note(
    ngx_http_retry_chain_ratelimit_limit_t *limit, const ngx_str_t *names,
    const ngx_str_t *key, const ngx_str_t *value)
{
    uint64_t    n;
    ngx_uint_t  i, valid;

    for (i = 0; i < 2; i++) {
        if (key->len == names[i].len
            && ngx_memcmp(key->data, names[i].data, key->len) == 0)
        {
            break;
        }
    }

    if (i == 2) {
        return;
    }

    valid = (ngx_http_retry_chain_ratelimit_number(value, &n) == NGX_OK);
    n = valid ? ngx_min(n, NGX_MAX_INT32_VALUE) : 0;

    if (i == 0) {
        limit->counted = valid;
        limit->remaining = n;

    } else {
        limit->timed = valid;
        limit->reset = n * 1000;
    }
}


/*
 * whether the limit is harder than the other: what is used up before what is
 * not, then what lasts longest or allows the fewest calls per second
 */

static ngx_uint_t
ngx_http_retry_chain_ratelimit_binds(
    const ngx_http_retry_chain_ratelimit_limit_t *limit,
    const ngx_http_retry_chain_ratelimit_limit_t *other)
{
    if (!limit->timed || !other->timed) {
        return limit->timed;
    }

    if (limit->counted != other->counted) {
        return limit->counted;
    }

    if (limit->remaining == 0 && other->remaining == 0) {
        return limit->reset > other->reset;
    }

    if (limit->remaining == 0 || other->remaining == 0) {
        return limit->remaining == 0;
    }

    /* whole seconds: a product of two 31-bit numbers */

    return limit->remaining * (other->reset / 1000)
           < other->remaining * (limit->reset / 1000);
}


static void
ngx_http_retry_chain_ratelimit_x_ratelimit(
    const ngx_http_retry_chain_ratelimit_fields_t *fields, time_t now,
    ngx_http_retry_chain_ratelimit_limit_t *limit)
{
    ngx_str_t   text;
    ngx_uint_t  negative;

    ngx_memzero(limit, sizeof(ngx_http_retry_chain_ratelimit_limit_t));

    limit->timed = (ngx_http_retry_chain_ratelimit_reset(&fields->reset, now,
                                                         &limit->reset)
                    == NGX_OK);

    if (ngx_http_retry_chain_ratelimit_trim(&fields->remaining, &text)
        != NGX_OK)
    {
        return;
    }

    /* some count on below 0 */

    negative = (text.data[0] == '-');

    text.data += negative;
    text.len -= negative;

    limit->counted = (ngx_http_retry_chain_ratelimit_number(&text,
                                                            &limit->remaining)
                      == NGX_OK);

    if (!limit->counted || negative) {
        limit->remaining = 0;
    }
}


/*
 * milliseconds or seconds of the epoch or seconds from now, told by their size,
 * also with a fraction; a time that is over is of a window that is over
 */

static ngx_int_t
ngx_http_retry_chain_ratelimit_reset(const ngx_str_t *field, time_t now,
    uint64_t *reset)
{
    u_char     *p, *last;
    uint64_t    n, unit, more;
    ngx_str_t   text;

    if (ngx_http_retry_chain_ratelimit_trim(field, &text) != NGX_OK) {
        return NGX_DECLINED;
    }

    last = text.data + text.len;
    p = ngx_http_retry_chain_ratelimit_digits(text.data, last, &n);

    n *= 1000;

    /* thousandths, rounded up */

    if (p && last - p > 1 && *p == '.') {
        more = 0;

        for (p++, unit = 100; p < last; p++, unit /= 10) {

            if (*p < '0' || *p > '9') {
                return NGX_DECLINED;
            }

            n += (*p - '0') * unit;
            more |= (unit == 0 && *p != '0');
        }

        n += more;
    }

    if (p != last) {
        return NGX_DECLINED;
    }

    if (n > NGX_HTTP_RETRY_CHAIN_RATELIMIT_EPOCH_MSEC * 1000) {
        return ngx_http_retry_chain_ratelimit_until((n + 999) / 1000, now,
                                                    reset);
    }

    if (n > NGX_HTTP_RETRY_CHAIN_RATELIMIT_EPOCH * 1000) {
        return ngx_http_retry_chain_ratelimit_until(n, now, reset);
    }

    *reset = n;

    return NGX_OK;
}


/* both in milliseconds; NGX_DECLINED if "when" is over */

static ngx_int_t
ngx_http_retry_chain_ratelimit_until(uint64_t when, time_t now, uint64_t *delay)
{
    uint64_t  start;

    start = (now > 0) ? (uint64_t) now : 0;
    start = ngx_min(start, NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_NUMBER) * 1000;

    if (when < start) {
        return NGX_DECLINED;
    }

    *delay = when - start;

    return NGX_OK;
}


/* nothing but digits, at least one */

static ngx_int_t
ngx_http_retry_chain_ratelimit_number(const ngx_str_t *text, uint64_t *number)
{
    u_char  *last;

    if (text->len == 0) {
        return NGX_DECLINED;
    }

    last = text->data + text->len;

    return ngx_http_retry_chain_ratelimit_digits(text->data, last, number)
           == last
           ? NGX_OK : NGX_DECLINED;
}


/* NULL if there are none */

static u_char *
ngx_http_retry_chain_ratelimit_digits(u_char *p, u_char *last, uint64_t *number)
{
    u_char    *start;
    uint64_t   n;

    start = p;
    n = 0;

    while (p < last && *p >= '0' && *p <= '9') {
        n = n * 10 + (*p++ - '0');
        n = ngx_min(n, NGX_HTTP_RETRY_CHAIN_RATELIMIT_MAX_NUMBER);
    }

    *number = n;

    return (p > start) ? p : NULL;
}


/* NGX_DECLINED if nothing but blanks is there */

static ngx_int_t
ngx_http_retry_chain_ratelimit_trim(const ngx_str_t *field, ngx_str_t *text)
{
    u_char  *p, *last;

    if (field->data == NULL) {
        return NGX_DECLINED;
    }

    last = field->data + field->len;
    p = ngx_http_retry_chain_ratelimit_blanks(field->data, last);

    while (last > p && (last[-1] == ' ' || last[-1] == '\t')) {
        last--;
    }

    text->data = p;
    text->len = last - p;

    return text->len ? NGX_OK : NGX_DECLINED;
}


static u_char *
ngx_http_retry_chain_ratelimit_blanks(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    return p;
}
