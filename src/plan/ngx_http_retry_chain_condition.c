
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_condition.h"


#define NGX_HTTP_RETRY_CHAIN_ERROR_LEN  32


typedef enum {
    NGX_HTTP_RETRY_CHAIN_VALUE_MISSING = 0,
    NGX_HTTP_RETRY_CHAIN_VALUE_PENDING,
    NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER,
    NGX_HTTP_RETRY_CHAIN_VALUE_STRING,
    NGX_HTTP_RETRY_CHAIN_VALUE_BOOLEAN,
    NGX_HTTP_RETRY_CHAIN_VALUE_NULL,
    NGX_HTTP_RETRY_CHAIN_VALUE_OTHER               /* an object or an array */
} ngx_http_retry_chain_value_e;


typedef struct {
    ngx_http_retry_chain_value_e        type;
    double                              number;
    ngx_str_t                           text;
    u_char                              buf[NGX_HTTP_RETRY_CHAIN_ERROR_LEN];
} ngx_http_retry_chain_value_t;


static ngx_int_t ngx_http_retry_chain_condition_list(
    const ngx_http_retry_chain_condition_t *cond,
    const ngx_http_retry_chain_reply_t *reply);
static void ngx_http_retry_chain_condition_value(
    const ngx_http_retry_chain_operand_t *operand,
    const ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_value_t *value);
static void ngx_http_retry_chain_condition_json(
    const ngx_http_retry_chain_operand_t *operand,
    const ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_value_t *value);
static ngx_uint_t ngx_http_retry_chain_condition_is(
    const ngx_http_retry_chain_condition_t *cond,
    ngx_http_retry_chain_value_t *value);
static ngx_uint_t ngx_http_retry_chain_condition_compare(
    const ngx_http_retry_chain_condition_t *cond,
    ngx_http_retry_chain_value_t *left, ngx_http_retry_chain_value_t *right);
static ngx_uint_t ngx_http_retry_chain_condition_relation(
    ngx_http_retry_chain_relation_e relation, ngx_int_t order);
static ngx_int_t ngx_http_retry_chain_condition_strings(ngx_str_t *left,
    ngx_str_t *right);
static ngx_uint_t ngx_http_retry_chain_condition_matches(ngx_str_t *text,
    ngx_str_t *pattern);
static ngx_int_t ngx_http_retry_chain_condition_digits(u_char **pos,
    u_char *last, ngx_uint_t n, u_char delimiter);
static ngx_int_t ngx_http_retry_chain_condition_zone(u_char **pos,
    u_char *last, ngx_int_t *seconds);


static ngx_str_t  ngx_http_retry_chain_causes[] = {
    ngx_string("the upstream could not be reached"),
    ngx_string("the upstream has timed out"),
    ngx_string("the upstream has sent an invalid reply"),
    ngx_string("the reply has a status of an error")
};


ngx_int_t
ngx_http_retry_chain_condition_test(
    const ngx_http_retry_chain_condition_t *cond,
    const ngx_http_retry_chain_reply_t *reply)
{
    ngx_uint_t                    holds;
    ngx_http_retry_chain_value_t  left, right;

    if (cond->type <= NGX_HTTP_RETRY_CHAIN_CONDITION_NOT) {
        return ngx_http_retry_chain_condition_list(cond, reply);
    }

    ngx_http_retry_chain_condition_value(&cond->left, reply, &left);

    if (left.type == NGX_HTTP_RETRY_CHAIN_VALUE_PENDING) {
        return NGX_AGAIN;
    }

    if (cond->type >= NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT) {
        holds = ngx_http_retry_chain_condition_is(cond, &left);
        return holds ? NGX_OK : NGX_DECLINED;
    }

    if (left.type == NGX_HTTP_RETRY_CHAIN_VALUE_MISSING) {
        return NGX_DECLINED;
    }

    ngx_http_retry_chain_condition_value(&cond->right, reply, &right);

    if (right.type == NGX_HTTP_RETRY_CHAIN_VALUE_PENDING) {
        return NGX_AGAIN;
    }

    holds = ngx_http_retry_chain_condition_compare(cond, &left, &right);

    return holds ? NGX_OK : NGX_DECLINED;
}


/* what decides without a body is preferred to what needs it */

static ngx_int_t
ngx_http_retry_chain_condition_list(
    const ngx_http_retry_chain_condition_t *cond,
    const ngx_http_retry_chain_reply_t *reply)
{
    ngx_int_t   rc, stop, result;
    ngx_uint_t  i;

    if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_NOT) {
        rc = ngx_http_retry_chain_condition_test(cond->list[0], reply);

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        return rc == NGX_OK ? NGX_DECLINED : NGX_OK;
    }

    if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_AND) {
        stop = NGX_DECLINED;
        result = NGX_OK;

    } else {
        stop = NGX_OK;
        result = NGX_DECLINED;
    }

    for (i = 0; i < cond->nlist; i++) {
        rc = ngx_http_retry_chain_condition_test(cond->list[i], reply);

        if (rc == stop) {
            return rc;
        }

        if (rc == NGX_AGAIN) {
            result = NGX_AGAIN;
        }
    }

    return result;
}


static void
ngx_http_retry_chain_condition_value(
    const ngx_http_retry_chain_operand_t *operand,
    const ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_value_t *value)
{
    ngx_str_t  name;

    value->type = NGX_HTTP_RETRY_CHAIN_VALUE_MISSING;
    value->number = 0;
    ngx_str_null(&value->text);

    switch (operand->type) {

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT:
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_OTHER;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER;
        value->number = (double) reply->status;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER:
        name = operand->text;

        if (reply->lookup
            && reply->lookup(reply->data, &name, &value->text) == NGX_OK)
        {
            value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
        }

        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_BODY:
        ngx_http_retry_chain_condition_json(operand, reply, value);
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
        ngx_http_retry_chain_condition_error(reply, value->buf, &value->text);
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
        value->text = ngx_http_retry_chain_causes[
                      reply->outcome == NGX_HTTP_RETRY_CHAIN_ERROR ? 0
                      : reply->outcome == NGX_HTTP_RETRY_CHAIN_TIMEOUT ? 1
                      : reply->outcome == NGX_HTTP_RETRY_CHAIN_INVALID_HEADER
                        ? 2 : 3];
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER;
        value->number = operand->number;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_STRING:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
        value->text = operand->text;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN:
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_BOOLEAN;
        value->number = operand->number;
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_OPERAND_NULL */
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_NULL;
        break;
    }
}


/*
 * The whole body is a string, too: as a function has it that hands on the text
 * of a vendor's reply.
 */

static void
ngx_http_retry_chain_condition_json(
    const ngx_http_retry_chain_operand_t *operand,
    const ngx_http_retry_chain_reply_t *reply,
    ngx_http_retry_chain_value_t *value)
{
    cJSON  *json;

    if (reply->pending) {
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_PENDING;
        return;
    }

    json = ngx_http_retry_chain_json_lookup(reply->json, &operand->path);

    if (json == NULL) {

        if (operand->path.nkeys == 0 && reply->body.len) {
            value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
            value->text = reply->body;
        }

        return;
    }

    if (cJSON_IsNumber(json)) {
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER;
        value->number = json->valuedouble;

    } else if (cJSON_IsString(json)) {
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
        value->text.data = (u_char *) json->valuestring;
        value->text.len = ngx_strlen(json->valuestring);

    } else if (cJSON_IsBool(json)) {
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_BOOLEAN;
        value->number = cJSON_IsTrue(json) ? 1 : 0;

    } else if (cJSON_IsNull(json)) {
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_NULL;

    } else {
        value->type = NGX_HTTP_RETRY_CHAIN_VALUE_OTHER;

        if (operand->path.nkeys == 0 && reply->body.len) {
            value->type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
            value->text = reply->body;
        }
    }
}


static ngx_uint_t
ngx_http_retry_chain_condition_is(const ngx_http_retry_chain_condition_t *cond,
    ngx_http_retry_chain_value_t *value)
{
    int64_t     time;
    ngx_uint_t  is;

    switch (cond->type) {

    case NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT:
        is = value->type != NGX_HTTP_RETRY_CHAIN_VALUE_MISSING;
        break;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_IS_NULL:
        is = value->type == NGX_HTTP_RETRY_CHAIN_VALUE_NULL;
        break;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_IS_NUMERIC:
        is = value->type == NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER;
        break;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_IS_STRING:
        is = value->type == NGX_HTTP_RETRY_CHAIN_VALUE_STRING;
        break;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_IS_BOOLEAN:
        is = value->type == NGX_HTTP_RETRY_CHAIN_VALUE_BOOLEAN;
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_CONDITION_IS_TIMESTAMP */
        is = value->type == NGX_HTTP_RETRY_CHAIN_VALUE_STRING
             && ngx_http_retry_chain_condition_time(&value->text, &time)
                == NGX_OK;
        break;
    }

    /* of what is missing, nothing but its absence can be said */

    if (value->type == NGX_HTTP_RETRY_CHAIN_VALUE_MISSING
        && cond->type != NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT)
    {
        return 0;
    }

    return is == (cond->right.number != 0);
}


static ngx_uint_t
ngx_http_retry_chain_condition_compare(
    const ngx_http_retry_chain_condition_t *cond,
    ngx_http_retry_chain_value_t *left, ngx_http_retry_chain_value_t *right)
{
    int64_t                       x, y;
    ngx_int_t                     order;
    ngx_http_retry_chain_value_e  type;

    static ngx_http_retry_chain_value_e  types[] = {
        NGX_HTTP_RETRY_CHAIN_VALUE_STRING,
        NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER,
        NGX_HTTP_RETRY_CHAIN_VALUE_BOOLEAN,
        NGX_HTTP_RETRY_CHAIN_VALUE_STRING
    };

    if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_ANY) {
        type = left->type;

    } else if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES) {
        type = NGX_HTTP_RETRY_CHAIN_VALUE_STRING;

    } else {
        type = types[cond->type - NGX_HTTP_RETRY_CHAIN_CONDITION_STRING];
    }

    if (left->type != type || right->type != type) {
        return 0;
    }

    switch (cond->type) {

    case NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES:
        return ngx_http_retry_chain_condition_matches(&left->text,
                                                      &right->text);

    case NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP:

        if (ngx_http_retry_chain_condition_time(&left->text, &x) != NGX_OK
            || ngx_http_retry_chain_condition_time(&right->text, &y) != NGX_OK)
        {
            return 0;
        }

        order = (x > y) - (x < y);
        break;

    default:

        switch (type) {

        case NGX_HTTP_RETRY_CHAIN_VALUE_STRING:
            order = ngx_http_retry_chain_condition_strings(&left->text,
                                                           &right->text);
            break;

        case NGX_HTTP_RETRY_CHAIN_VALUE_NUMBER:
        case NGX_HTTP_RETRY_CHAIN_VALUE_BOOLEAN:
            order = (left->number > right->number)
                    - (left->number < right->number);
            break;

        case NGX_HTTP_RETRY_CHAIN_VALUE_NULL:
            order = 0;
            break;

        default:
            return 0;
        }
    }

    return ngx_http_retry_chain_condition_relation(cond->relation, order);
}


static ngx_uint_t
ngx_http_retry_chain_condition_relation(
    ngx_http_retry_chain_relation_e relation, ngx_int_t order)
{
    switch (relation) {

    case NGX_HTTP_RETRY_CHAIN_EQUAL:
        return order == 0;

    case NGX_HTTP_RETRY_CHAIN_LESS:
        return order < 0;

    case NGX_HTTP_RETRY_CHAIN_LESS_EQUAL:
        return order <= 0;

    case NGX_HTTP_RETRY_CHAIN_GREATER:
        return order > 0;

    default: /* NGX_HTTP_RETRY_CHAIN_GREATER_EQUAL */
        return order >= 0;
    }
}


static ngx_int_t
ngx_http_retry_chain_condition_strings(ngx_str_t *left, ngx_str_t *right)
{
    ngx_int_t  rc;

    rc = ngx_memcmp(left->data, right->data, ngx_min(left->len, right->len));

    if (rc == 0) {
        rc = (left->len > right->len) - (left->len < right->len);
    }

    return rc;
}


/* "*" is any bytes, a backslash makes what follows it plain */

static ngx_uint_t
ngx_http_retry_chain_condition_matches(ngx_str_t *text, ngx_str_t *pattern)
{
    size_t  t, p, star, mark;
    u_char  ch;

    t = 0;
    p = 0;
    star = (size_t) -1;
    mark = 0;

    while (t < text->len || p < pattern->len) {

        if (p < pattern->len && pattern->data[p] == '*') {
            star = ++p;
            mark = t;
            continue;
        }

        if (p < pattern->len && t < text->len) {
            ch = pattern->data[p];

            if (ch == '\\' && p + 1 < pattern->len) {
                ch = pattern->data[p + 1];
            }

            if (ch == text->data[t]) {
                p += (pattern->data[p] == '\\' && p + 1 < pattern->len) ? 2 : 1;
                t++;
                continue;
            }
        }

        /* the last star takes one more */

        if (star == (size_t) -1 || mark == text->len) {
            return 0;
        }

        t = ++mark;
        p = star;
    }

    return 1;
}


ngx_uint_t
ngx_http_retry_chain_condition_body(
    const ngx_http_retry_chain_condition_t *cond)
{
    ngx_uint_t  i;

    for (i = 0; i < cond->nlist; i++) {
        if (ngx_http_retry_chain_condition_body(cond->list[i])) {
            return 1;
        }
    }

    return cond->left.type == NGX_HTTP_RETRY_CHAIN_OPERAND_BODY
           || cond->right.type == NGX_HTTP_RETRY_CHAIN_OPERAND_BODY;
}


void
ngx_http_retry_chain_condition_error(const ngx_http_retry_chain_reply_t *reply,
    u_char *buf, ngx_str_t *name)
{
    switch (reply->outcome) {

    case NGX_HTTP_RETRY_CHAIN_REPLY:
        name->data = buf;
        name->len = ngx_snprintf(buf, NGX_HTTP_RETRY_CHAIN_ERROR_LEN,
                                 "States.Http.StatusCode.%ui", reply->status)
                    - buf;
        return;

    case NGX_HTTP_RETRY_CHAIN_TIMEOUT:
        ngx_str_set(name, "States.Timeout");
        return;

    default:
        break;
    }

    if (reply->http) {
        ngx_str_set(name, "States.Http.Socket");

    } else if (reply->outcome == NGX_HTTP_RETRY_CHAIN_ERROR) {
        ngx_str_set(name, "Lambda.SdkClientException");

    } else {
        ngx_str_set(name, "Lambda.ServiceException");
    }
}


ngx_int_t
ngx_http_retry_chain_condition_time(ngx_str_t *text, int64_t *time)
{
    u_char     *p, *last;
    int64_t     days, nano, unit;
    ngx_int_t   year, month, day, hour, min, sec, zone, leap;

    static u_char     lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
                                    31 };
    static ngx_int_t  before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273,
                                   304, 334 };

    p = text->data;
    last = p + text->len;

    year = ngx_http_retry_chain_condition_digits(&p, last, 4, '-');
    month = ngx_http_retry_chain_condition_digits(&p, last, 2, '-');
    day = ngx_http_retry_chain_condition_digits(&p, last, 2, 'T');
    hour = ngx_http_retry_chain_condition_digits(&p, last, 2, ':');
    min = ngx_http_retry_chain_condition_digits(&p, last, 2, ':');
    sec = ngx_http_retry_chain_condition_digits(&p, last, 2, '\0');

    /* years whose times fit 64 bits */

    if (year < 1700 || year > 2200 || month < 1 || month > 12 || day < 1
        || hour < 0 || hour > 23 || min < 0 || min > 59 || sec < 0 || sec > 60)
    {
        return NGX_DECLINED;
    }

    leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    if (day > lengths[month - 1] + (month == 2 && leap)) {
        return NGX_DECLINED;
    }

    nano = 0;

    if (p < last && *p == '.') {
        unit = 100000000;

        if (++p == last || *p < '0' || *p > '9') {
            return NGX_DECLINED;
        }

        while (p < last && *p >= '0' && *p <= '9') {
            nano += (*p++ - '0') * unit;
            unit /= 10;
        }
    }

    if (ngx_http_retry_chain_condition_zone(&p, last, &zone) != NGX_OK) {
        return NGX_DECLINED;
    }

    /* days of whole years since 1970, then of whole months */

    days = (int64_t) (year - 1970) * 365;
    days += (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 - 477;
    days += before[month - 1] + (month > 2 && leap) + day - 1;

    *time = ((days * 24 + hour) * 60 + min) * 60 + sec - zone;
    *time = *time * 1000000000 + nano;

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_condition_digits(u_char **pos, u_char *last, ngx_uint_t n,
    u_char delimiter)
{
    ngx_int_t  value;

    if ((size_t) (last - *pos) < n) {
        *pos = last;
        return NGX_ERROR;
    }

    value = ngx_atoi(*pos, n);
    *pos += n;

    if (delimiter == '\0' || value == NGX_ERROR) {
        return value;
    }

    if (*pos == last || **pos != delimiter) {
        *pos = last;
        return NGX_ERROR;
    }

    (*pos)++;

    return value;
}


static ngx_int_t
ngx_http_retry_chain_condition_zone(u_char **pos, u_char *last,
    ngx_int_t *seconds)
{
    u_char      sign;
    ngx_int_t   hour, min;

    *seconds = 0;

    if (*pos == last) {
        return NGX_DECLINED;
    }

    sign = *(*pos)++;

    if (sign == 'Z') {
        return *pos == last ? NGX_OK : NGX_DECLINED;
    }

    if (sign != '+' && sign != '-') {
        return NGX_DECLINED;
    }

    hour = ngx_http_retry_chain_condition_digits(pos, last, 2, ':');
    min = ngx_http_retry_chain_condition_digits(pos, last, 2, '\0');

    if (*pos != last || hour < 0 || hour > 23 || min < 0 || min > 59) {
        return NGX_DECLINED;
    }

    *seconds = (hour * 60 + min) * 60;

    if (sign == '-') {
        *seconds = -*seconds;
    }

    return NGX_OK;
}
