
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine.h"
#include "ngx_http_retry_chain_machine_parts.h"


#define NGX_HTTP_RETRY_CHAIN_MESSAGE       1024
#define NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS  50
#define NGX_HTTP_RETRY_CHAIN_MACHINE_FUEL  2000000

/* a name in a message has at most so many bytes */

#define NGX_HTTP_RETRY_CHAIN_NAME          80


static ngx_int_t ngx_http_retry_chain_machine_build(
    ngx_http_retry_chain_machine_t *m);
static ngx_int_t ngx_http_retry_chain_machine_message(
    ngx_http_retry_chain_machine_t *m, ngx_str_t *message,
    const ngx_http_retry_chain_at_t *at, const char *fmt, va_list args);
static u_char *ngx_http_retry_chain_machine_where(u_char *p, u_char *last,
    const ngx_http_retry_chain_at_t *at);
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

    m.temp = ngx_create_pool(4096, pool->log);
    if (m.temp == NULL) {
        return NGX_ERROR;
    }

    m.pool = pool;
    m.options = options;
    m.plan = plan;
    m.result = result;
    m.fuel = NGX_HTTP_RETRY_CHAIN_MACHINE_FUEL;

    ngx_http_retry_chain_machine_at(&m.root, NULL, "$", 0);
    ngx_http_retry_chain_machine_at(&m.states, &m.root, "States", 0);

    rc = ngx_http_retry_chain_machine_check_text(&m, text);

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_build(&m);
    }

    if (m.nwarnings > NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS) {
        more = m.nwarnings - NGX_HTTP_RETRY_CHAIN_MAX_WARNINGS;
        m.nwarnings = 0;

        ngx_http_retry_chain_machine_warn(&m, &m.root, "%ui more warnings",
                                          more);
    }

    cJSON_Delete(m.json);
    ngx_destroy_pool(m.temp);

    return m.failed ? NGX_ERROR : rc;
}


static ngx_int_t
ngx_http_retry_chain_machine_build(ngx_http_retry_chain_machine_t *m)
{
    ngx_int_t                     rc;
    ngx_uint_t                    i;
    ngx_http_retry_chain_node_t  *node;

    rc = ngx_http_retry_chain_machine_check_states(m);

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_graph(m);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    m->nodes[m->start].input = ngx_http_retry_chain_machine_term(m,
                                             NGX_HTTP_RETRY_CHAIN_TERM_INPUT);
    if (m->nodes[m->start].input == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < m->norder; i++) {
        node = &m->nodes[m->order[i]];

        switch (node->type) {

        case NGX_HTTP_RETRY_CHAIN_NODE_TASK:
            rc = ngx_http_retry_chain_machine_task(m, node);
            break;

        case NGX_HTTP_RETRY_CHAIN_NODE_WAIT:
            rc = ngx_http_retry_chain_machine_wait(m, node);
            break;

        case NGX_HTTP_RETRY_CHAIN_NODE_FAIL:
            rc = ngx_http_retry_chain_machine_fail(m, node);
            break;

        default:
            break;
        }

        if (rc == NGX_OK) {
            rc = ngx_http_retry_chain_machine_flow(m, node);
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (m->fuel == 0) {
        return ngx_http_retry_chain_machine_error(m, &m->root,
                                                  "the data is too complex");
    }

    return ngx_http_retry_chain_machine_emit(m);
}


void
ngx_http_retry_chain_machine_at(ngx_http_retry_chain_at_t *at,
    const ngx_http_retry_chain_at_t *up, const char *name, ngx_uint_t index)
{
    at->up = up;
    at->name = name;
    at->index = index;
}


ngx_int_t
ngx_http_retry_chain_machine_error(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);

    if (ngx_http_retry_chain_machine_message(m, &m->result->error, at, fmt,
                                             args)
        != NGX_OK)
    {
        m->failed = 1;
    }

    va_end(args);

    return NGX_DECLINED;
}


void
ngx_http_retry_chain_machine_warn(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, const char *fmt, ...)
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

    if (ngx_http_retry_chain_machine_message(m, message, at, fmt, args)
        != NGX_OK)
    {
        m->failed = 1;
    }

    va_end(args);
}


ngx_int_t
ngx_http_retry_chain_machine_wrong(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, const char *name, const char *reason)
{
    ngx_http_retry_chain_at_t  at;

    ngx_http_retry_chain_machine_at(&at, up, name, 0);

    return ngx_http_retry_chain_machine_error(m, &at, "%s", reason);
}


static ngx_int_t
ngx_http_retry_chain_machine_message(ngx_http_retry_chain_machine_t *m,
    ngx_str_t *message, const ngx_http_retry_chain_at_t *at, const char *fmt,
    va_list args)
{
    u_char  *p, *last, buf[NGX_HTTP_RETRY_CHAIN_MESSAGE];

    last = buf + sizeof(buf);

    p = ngx_vslprintf(buf, last, fmt, args);
    p = ngx_slprintf(p, last, " at \"");
    p = ngx_http_retry_chain_machine_where(p, last, at);
    p = ngx_slprintf(p, last, "\"");

    message->data = ngx_pnalloc(m->pool, p - buf);
    if (message->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(message->data, buf, p - buf);
    message->len = p - buf;

    return NGX_OK;
}


static u_char *
ngx_http_retry_chain_machine_where(u_char *p, u_char *last,
    const ngx_http_retry_chain_at_t *at)
{
    if (at->up == NULL) {
        return ngx_slprintf(p, last, "%s", at->name);
    }

    p = ngx_http_retry_chain_machine_where(p, last, at->up);

    if (at->name == NULL) {
        return ngx_slprintf(p, last, "[%ui]", at->index);
    }

    return ngx_http_retry_chain_machine_name(p, last, at->name);
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

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9') || ch == '_' || ch == '$'))
        {
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


cJSON *
ngx_http_retry_chain_machine_get(cJSON *json, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(json, name);
}


ngx_int_t
ngx_http_retry_chain_machine_integer(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json, const char *name,
    ngx_uint_t min, ngx_uint_t max, ngx_uint_t *value)
{
    double                      number;
    cJSON                      *field;
    ngx_http_retry_chain_at_t   at;

    field = ngx_http_retry_chain_machine_get(json, name);

    if (field == NULL) {
        return NGX_OK;
    }

    ngx_http_retry_chain_machine_at(&at, up, name, 0);

    number = cJSON_IsNumber(field) ? field->valuedouble : -1;

    if (!(number >= (double) min && number <= (double) max)
        || (double) (ngx_uint_t) number != number)
    {
        return ngx_http_retry_chain_machine_error(m, &at,
                                           "must be an integer from %ui to %ui",
                                           min, max);
    }

    *value = (ngx_uint_t) number;

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_string(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json, const char *name,
    const char **value)
{
    cJSON  *field;

    field = ngx_http_retry_chain_machine_get(json, name);

    if (field == NULL) {
        return NGX_OK;
    }

    if (!cJSON_IsString(field)) {
        return ngx_http_retry_chain_machine_wrong(m, up, name,
                                                  "must be a string");
    }

    *value = field->valuestring;

    return NGX_OK;
}


ngx_msec_t
ngx_http_retry_chain_machine_msec(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, const char *name, ngx_uint_t seconds)
{
    ngx_uint_t                 max;
    ngx_http_retry_chain_at_t  at;

    max = NGX_HTTP_RETRY_CHAIN_MAX_TIME / 1000;

    if (seconds > max) {
        ngx_http_retry_chain_machine_at(&at, up, name, 0);
        ngx_http_retry_chain_machine_warn(m, &at, "%ui s is reduced to %ui s",
                                          seconds, max);
        seconds = max;
    }

    return (ngx_msec_t) seconds * 1000;
}


void
ngx_http_retry_chain_machine_copy(ngx_http_retry_chain_machine_t *m,
    const char *text, ngx_str_t *copy)
{
    copy->len = ngx_strlen(text);
    copy->data = ngx_pnalloc(m->pool, copy->len + 1);

    if (copy->data) {
        ngx_memcpy(copy->data, text, copy->len + 1);
    }
}
