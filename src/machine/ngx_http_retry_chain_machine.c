
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The passes of the compiler, its messages, and the values of fields.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine.h"
#include "ngx_http_retry_chain_machine_parts.h"


#define NGX_HTTP_RETRY_CHAIN_MESSAGE       1024
#define NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS  50

/*
 * Data may double with each state, so what is spent on it is limited: a byte
 * of memory costs 1, and so does a look at a field.
 */

#define NGX_HTTP_RETRY_CHAIN_MACHINE_FUEL  2000000

/* a name in a message has at most so many bytes */

#define NGX_HTTP_RETRY_CHAIN_NAME          80


static ngx_int_t ngx_http_retry_chain_machine_build(
    ngx_http_retry_chain_machine_t *m);
static void ngx_http_retry_chain_machine_message(
    ngx_http_retry_chain_machine_t *m, ngx_str_t *message, cJSON *json,
    const char *name, const char *fmt, va_list args);
static u_char *ngx_http_retry_chain_machine_where(
    ngx_http_retry_chain_machine_t *m, u_char *p, u_char *last, cJSON *json);
static ngx_uint_t ngx_http_retry_chain_machine_way(cJSON *up, cJSON *json,
    cJSON **queue);
static u_char *ngx_http_retry_chain_machine_name(u_char *p, u_char *last,
    const char *name);


ngx_int_t
ngx_http_retry_chain_machine_compile(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_retry_chain_machine_options_t *options,
    ngx_http_retry_chain_plan_t *plan,
    ngx_http_retry_chain_machine_result_t *result)
{
    ngx_int_t                       rc;
    ngx_uint_t                      more;
    ngx_http_retry_chain_machine_t  m;

    ngx_memzero(&m, sizeof(ngx_http_retry_chain_machine_t));
    ngx_memzero(result, sizeof(ngx_http_retry_chain_machine_result_t));

    if (ngx_array_init(&result->warnings, pool, 4, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    m.temp = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, pool->log);
    if (m.temp == NULL) {
        return NGX_ERROR;
    }

    m.pool = pool;
    m.options = options;
    m.plan = plan;
    m.result = result;
    m.fuel = NGX_HTTP_RETRY_CHAIN_MACHINE_FUEL;

    rc = ngx_http_retry_chain_machine_check_text(&m, text);

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_build(&m);
    }

    if (m.nwarnings > NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS) {
        more = m.nwarnings - NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS;
        m.nwarnings = 0;

        ngx_http_retry_chain_machine_warn(&m, m.json, NULL,
                                          "%ui more warnings", more);
    }

    cJSON_Delete(m.json);
    ngx_destroy_pool(m.temp);

    if (m.failed) {
        return NGX_ERROR;
    }

    return rc != NGX_OK && result->error.len ? NGX_DECLINED : rc;
}


static ngx_int_t
ngx_http_retry_chain_machine_build(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_node_t  *node;

    if (ngx_http_retry_chain_machine_check_states(m) != NGX_OK
        || ngx_http_retry_chain_machine_graph(m) != NGX_OK
        || ngx_http_retry_chain_machine_terms(m) != NGX_OK)
    {
        return NGX_ERROR;
    }

    m->nodes[m->start].input = &m->input;

    for (i = 0; i < m->norder; i++) {
        node = &m->nodes[m->order[i]];

        if (ngx_http_retry_chain_machine_state(m, node) != NGX_OK
            || ngx_http_retry_chain_machine_flow(m, node) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (m->fuel == 0) {
        return ngx_http_retry_chain_machine_error(m, m->json, NULL,
                                                  "the data is too complex");
    }

    return ngx_http_retry_chain_machine_emit(m);
}


ngx_int_t
ngx_http_retry_chain_machine_error(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);

    ngx_http_retry_chain_machine_message(m, &m->result->error, json, name, fmt,
                                         args);
    va_end(args);

    return NGX_ERROR;
}


void
ngx_http_retry_chain_machine_warn(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, const char *fmt, ...)
{
    va_list     args;
    ngx_str_t  *message;

    m->nwarnings++;

    if (m->nwarnings > NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS) {
        return;
    }

    message = ngx_array_push(&m->result->warnings);

    if (message == NULL) {
        m->failed = 1;
        return;
    }

    ngx_str_null(message);

    va_start(args, fmt);

    ngx_http_retry_chain_machine_message(m, message, json, name, fmt, args);

    va_end(args);
}


static void
ngx_http_retry_chain_machine_message(ngx_http_retry_chain_machine_t *m,
    ngx_str_t *message, cJSON *json, const char *name, const char *fmt,
    va_list args)
{
    u_char  *p, *last, buf[NGX_HTTP_RETRY_CHAIN_MESSAGE];

    last = buf + sizeof(buf);

    p = ngx_vslprintf(buf, last, fmt, args);
    p = ngx_slprintf(p, last, " at \"$");
    p = ngx_http_retry_chain_machine_where(m, p, last, json);

    if (name) {
        p = ngx_http_retry_chain_machine_name(p, last, name);
    }

    p = ngx_slprintf(p, last, "\"");

    message->data = ngx_pnalloc(m->pool, p - buf);
    if (message->data == NULL) {
        m->failed = 1;
        return;
    }

    ngx_memcpy(message->data, buf, p - buf);
    message->len = p - buf;
}


/* an item does not know its path, and only messages ask for it */

static u_char *
ngx_http_retry_chain_machine_where(ngx_http_retry_chain_machine_t *m,
    u_char *p, u_char *last, cJSON *json)
{
    cJSON       *up, *item, *queue[NGX_HTTP_RETRY_CHAIN_JSON_DEPTH];
    ngx_uint_t   i, n, index;

    if (json == m->json) {
        return p;
    }

    n = ngx_http_retry_chain_machine_way(m->json, json, queue);
    up = m->json;

    for (i = 0; i < n; i++) {

        if (cJSON_IsObject(up)) {
            p = ngx_http_retry_chain_machine_name(p, last, queue[i]->string);

        } else {
            index = 0;

            for (item = up->child; item != queue[i]; item = item->next) {
                index++;
            }

            p = ngx_slprintf(p, last, "[%ui]", index);
        }

        up = queue[i];
    }

    return p;
}


/* the length of the way down to what is below, 0 if it is not there */

static ngx_uint_t
ngx_http_retry_chain_machine_way(cJSON *up, cJSON *json, cJSON **queue)
{
    cJSON       *item;
    ngx_uint_t   n;

    for (item = up->child; item; item = item->next) {
        queue[0] = item;

        if (item == json) {
            return 1;
        }

        n = ngx_http_retry_chain_machine_way(item, json, queue + 1);

        if (n) {
            return n + 1;
        }
    }

    return 0;
}


/* fit to be logged, whatever it is */

static u_char *
ngx_http_retry_chain_machine_name(u_char *p, u_char *last, const char *name)
{
    u_char      ch;
    ngx_uint_t  i, plain;

    plain = name[0] != '\0';

    for (i = 0; name[i]; i++) {
        ch = name[i];

        if (!ngx_http_retry_chain_machine_alnum(ch) && ch != '_' && ch != '$') {
            plain = 0;
        }
    }

    p = ngx_slprintf(p, last, plain ? "." : "['");

    for (i = 0; name[i]; i++) {
        ch = name[i];

        if (i >= NGX_HTTP_RETRY_CHAIN_NAME && (ch & 0xc0) != 0x80) {
            p = ngx_slprintf(p, last, "...");
            break;
        }

        if (ch < ' ' || ch == 0x7f) {
            p = ngx_slprintf(p, last, "\\x%02xd", ch);

        } else if (ch == '\'' || ch == '\\') {
            p = ngx_slprintf(p, last, "\\%c", ch);

        } else {
            p = ngx_slprintf(p, last, "%c", ch);
        }
    }

    return plain ? p : ngx_slprintf(p, last, "']");
}


ngx_int_t
ngx_http_retry_chain_machine_is(ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_uint_t types)
{
    const char  *what;

    if (((ngx_uint_t) json->type & types)
        && (types != NGX_HTTP_RETRY_CHAIN_LIST || json->child))
    {
        return NGX_OK;
    }

    switch (types) {

    case cJSON_Object:
        what = "an object";
        break;

    case cJSON_Array:
        what = "an array";
        break;

    case NGX_HTTP_RETRY_CHAIN_LIST:
        what = "an array that is not empty";
        break;

    case cJSON_String:
        what = "a string";
        break;

    case cJSON_Number:
        what = "a number";
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_BOOL */
        what = "true or false";
        break;
    }

    return ngx_http_retry_chain_machine_error(m, json, NULL, "must be %s",
                                              what);
}


cJSON *
ngx_http_retry_chain_machine_get(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, ngx_uint_t types)
{
    cJSON  *field;

    field = cJSON_GetObjectItemCaseSensitive(json, name);

    if (field == NULL) {
        (void) ngx_http_retry_chain_machine_error(m, json, name, "is missing");
        return NULL;
    }

    return ngx_http_retry_chain_machine_is(m, field, types) == NGX_OK ? field
                                                                      : NULL;
}


const char *
ngx_http_retry_chain_machine_string(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, const char *absent)
{
    cJSON  *field;

    if (absent && cJSON_GetObjectItemCaseSensitive(json, name) == NULL) {
        return absent;
    }

    field = ngx_http_retry_chain_machine_get(m, json, name, cJSON_String);

    return field ? field->valuestring : NULL;
}


ngx_int_t
ngx_http_retry_chain_machine_integer(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, ngx_uint_t min, ngx_uint_t max,
    ngx_uint_t *value)
{
    double   number;
    cJSON   *field;

    field = cJSON_GetObjectItemCaseSensitive(json, name);

    if (field == NULL) {
        return NGX_OK;
    }

    number = cJSON_IsNumber(field) ? field->valuedouble : -1;

    if (!(number >= (double) min && number <= (double) max)
        || (double) (ngx_uint_t) number != number)
    {
        return ngx_http_retry_chain_machine_error(m, json, name,
                                           "must be an integer from %ui to %ui",
                                           min, max);
    }

    *value = (ngx_uint_t) number;

    return NGX_OK;
}


/* clamped to what nginx can hold */

ngx_int_t
ngx_http_retry_chain_machine_seconds(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, ngx_uint_t min, ngx_uint_t max,
    ngx_msec_t *value)
{
    ngx_uint_t  seconds, most;

    if (cJSON_GetObjectItemCaseSensitive(json, name) == NULL) {
        return NGX_OK;
    }

    seconds = 0;
    most = NGX_HTTP_RETRY_CHAIN_MAX_TIME / 1000;

    if (ngx_http_retry_chain_machine_integer(m, json, name, min, max, &seconds)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (seconds > most) {
        ngx_http_retry_chain_machine_warn(m, json, name,
                                          "%ui s is reduced to %ui s", seconds,
                                          most);
        seconds = most;
    }

    *value = (ngx_msec_t) seconds * 1000;

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_copy(ngx_http_retry_chain_machine_t *m,
    const char *text, ngx_str_t *copy)
{
    copy->len = ngx_strlen(text);
    copy->data = ngx_pnalloc(m->pool, copy->len + 1);

    if (copy->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy->data, text, copy->len + 1);

    return NGX_OK;
}


ngx_uint_t
ngx_http_retry_chain_machine_alnum(u_char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z')
           || (ch >= 'A' && ch <= 'Z');
}
