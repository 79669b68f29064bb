
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_int_t ngx_http_retry_chain_machine_template_field(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_scope_t *scope, const char **name,
    ngx_http_retry_chain_term_t **term);
static ngx_int_t ngx_http_retry_chain_machine_template_path(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_scope_t *scope,
    ngx_http_retry_chain_term_t **term);
static ngx_uint_t ngx_http_retry_chain_machine_intrinsic(const char *text,
    ngx_str_t *argument);
static ngx_int_t ngx_http_retry_chain_machine_reference_key(
    ngx_http_retry_chain_machine_t *m, u_char **pos, u_char *last,
    ngx_http_retry_chain_json_key_t *key);


ngx_int_t
ngx_http_retry_chain_machine_template(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_scope_t *scope, ngx_http_retry_chain_term_t **term)
{
    cJSON                         *item;
    u_char                        *p, *last;
    ngx_int_t                      rc;
    ngx_str_t                      inner;
    const char                    *name;
    ngx_http_retry_chain_at_t      place;
    ngx_http_retry_chain_term_t   *object, *value;

    if (cJSON_IsObject(json)) {
        value = NULL;
        object = ngx_http_retry_chain_machine_object(m, NULL, NULL, NULL);

        for (item = json->child; item; item = item->next) {

            ngx_http_retry_chain_machine_at(&place, at, item->string, 0);

            rc = ngx_http_retry_chain_machine_template_field(m, &place, item,
                                                             scope, &name,
                                                             &value);
            if (rc != NGX_OK) {
                return rc;
            }

            if (object) {
                object = ngx_http_retry_chain_machine_object(m, object, name,
                                                             value);
            }
        }

        *term = object;

        return object ? NGX_OK : NGX_ERROR;
    }

    if (scope->jsonata && cJSON_IsString(json)
        && ngx_http_retry_chain_machine_expression(json->valuestring, &inner))
    {
        p = inner.data;
        last = p + inner.len;

        rc = ngx_http_retry_chain_machine_reference(m, &p, last, scope, term);

        if (rc == NGX_ERROR || (rc == NGX_OK && p == last)) {
            return rc;
        }

        *term = ngx_http_retry_chain_machine_term(m,
                                           NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN);
        return *term ? NGX_OK : NGX_ERROR;
    }

    /* what an array has in it is not followed */

    *term = ngx_http_retry_chain_machine_term(m,
                                      cJSON_IsArray(json)
                                      ? NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN
                                      : NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT);
    if (*term == NULL) {
        return NGX_ERROR;
    }

    (*term)->json = json;

    return NGX_OK;
}


/* "name.$" has a path as its value */

static ngx_int_t
ngx_http_retry_chain_machine_template_field(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_scope_t *scope, const char **name,
    ngx_http_retry_chain_term_t **term)
{
    size_t   len;
    u_char  *p;

    *name = json->string;

    len = ngx_strlen(json->string);

    if (scope->jsonata || len <= 2
        || ngx_strcmp(&json->string[len - 2], ".$") != 0)
    {
        return ngx_http_retry_chain_machine_template(m, at, json, scope, term);
    }

    p = ngx_pnalloc(m->temp, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    *name = (const char *) p;

    *ngx_cpymem(p, json->string, len - 2) = '\0';

    return ngx_http_retry_chain_machine_template_path(m, at, json, scope,
                                                      term);
}


static ngx_int_t
ngx_http_retry_chain_machine_template_path(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_scope_t *scope, ngx_http_retry_chain_term_t **term)
{
    ngx_int_t                           rc;
    ngx_str_t                           text;
    ngx_uint_t                          i;
    ngx_http_retry_chain_json_path_t    path;
    ngx_http_retry_chain_json_error_t   err;

    if (!cJSON_IsString(json)) {
        return ngx_http_retry_chain_machine_error(m, at,
                                                  "must be a string with a "
                                                  "path");
    }

    /*
     * the text of a body and the JSON in it are the same here, other functions
     * and the context make what is not known
     */

    i = ngx_http_retry_chain_machine_intrinsic(json->valuestring, &text);

    if (i || ngx_strncmp(json->valuestring, "$$", 2) == 0) {

        *term = ngx_http_retry_chain_machine_term(m,
                                           NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN);
        if (*term == NULL) {
            return NGX_ERROR;
        }

        if (text.len == 0) {
            return NGX_OK;
        }

        rc = ngx_http_retry_chain_json_path(m->temp, &text, &path, &err);

        if (rc != NGX_OK) {
            return rc == NGX_DECLINED ? NGX_OK : NGX_ERROR;
        }

    } else {
        rc = ngx_http_retry_chain_machine_path(m, at, json, &path);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    *term = ngx_http_retry_chain_machine_lookup(m, scope->input, &path);

    return *term ? NGX_OK : NGX_ERROR;
}


/* States.NAME(...); the argument of States.StringToJson */

static ngx_uint_t
ngx_http_retry_chain_machine_intrinsic(const char *text, ngx_str_t *argument)
{
    size_t  len, prefix;

    ngx_str_null(argument);

    if (ngx_strncmp(text, "States.", 7) != 0) {
        return 0;
    }

    len = ngx_strlen(text);
    prefix = sizeof("States.StringToJson(") - 1;

    if (len > prefix && text[len - 1] == ')'
        && ngx_strncmp(text, "States.StringToJson(", prefix) == 0)
    {
        argument->data = (u_char *) text + prefix;
        argument->len = len - prefix - 1;
    }

    return 1;
}


ngx_int_t
ngx_http_retry_chain_machine_path(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_json_path_t *path)
{
    ngx_int_t                          rc;
    ngx_str_t                          text;
    ngx_http_retry_chain_json_error_t  err;

    if (!cJSON_IsString(json)) {
        return ngx_http_retry_chain_machine_error(m, at,
                                                  "must be a string with a "
                                                  "path");
    }

    text.data = (u_char *) json->valuestring;
    text.len = ngx_strlen(json->valuestring);

    rc = ngx_http_retry_chain_json_path(m->temp, &text, path, &err);

    if (rc == NGX_DECLINED) {
        return ngx_http_retry_chain_machine_error(m, at,
                                                  "invalid path, %s after %uz "
                                                  "bytes", err.reason,
                                                  err.offset);
    }

    return rc;
}


ngx_int_t
ngx_http_retry_chain_machine_reference(ngx_http_retry_chain_machine_t *m,
    u_char **pos, u_char *last, ngx_http_retry_chain_scope_t *scope,
    ngx_http_retry_chain_term_t **term)
{
    u_char                            *p;
    size_t                             len;
    ngx_int_t                          rc;
    ngx_uint_t                         i;
    ngx_http_retry_chain_json_key_t    keys[NGX_HTTP_RETRY_CHAIN_JSON_DEPTH];
    ngx_http_retry_chain_json_path_t   path;

    static const char  *names[] = { "input", "result", "errorOutput",
                                    "context" };

    p = *pos;
    len = sizeof("$states") - 1;

    if ((size_t) (last - p) < len || ngx_strncmp(p, "$states", len) != 0) {
        return NGX_DECLINED;
    }

    p += len;
    path.nkeys = 0;
    path.keys = keys;

    while (p < last && (*p == '.' || *p == '[')) {

        if (path.nkeys == NGX_HTTP_RETRY_CHAIN_JSON_DEPTH) {
            return NGX_DECLINED;
        }

        rc = ngx_http_retry_chain_machine_reference_key(m, &p, last,
                                                        &keys[path.nkeys++]);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (path.nkeys == 0 || keys[0].indexed) {
        return NGX_DECLINED;
    }

    for (i = 0; i < 4; i++) {
        if (ngx_strcmp(keys[0].name.data, names[i]) == 0) {
            break;
        }
    }

    *term = i == 0 ? scope->input
            : i == 1 ? scope->result
            : i == 2 ? scope->error : NULL;

    if (i == 4) {
        return NGX_DECLINED;
    }

    *pos = p;

    if (*term == NULL) {
        *term = ngx_http_retry_chain_machine_term(m,
                                           NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN);
        return *term ? NGX_OK : NGX_ERROR;
    }

    path.keys++;
    path.nkeys--;

    *term = ngx_http_retry_chain_machine_lookup(m, *term, &path);

    return *term ? NGX_OK : NGX_ERROR;
}


/* .name, ."name", .`name` or [n] */

static ngx_int_t
ngx_http_retry_chain_machine_reference_key(ngx_http_retry_chain_machine_t *m,
    u_char **pos, u_char *last, ngx_http_retry_chain_json_key_t *key)
{
    u_char  *p, *start, quote;

    ngx_memzero(key, sizeof(ngx_http_retry_chain_json_key_t));

    p = *pos + 1;
    start = p;

    if (**pos == '[') {

        while (p < last && *p >= '0' && *p <= '9') {
            p++;
        }

        if (p == start || p - start > 6 || p == last || *p != ']') {
            return NGX_DECLINED;
        }

        key->index = ngx_atoi(start, p - start);
        key->indexed = 1;
        *pos = p + 1;

        return NGX_OK;
    }

    quote = p < last && (*p == '"' || *p == '`') ? *p : '\0';

    if (quote) {
        start = ++p;

        while (p < last && *p != quote && *p != '\\') {
            p++;
        }

        if (p == last || *p == '\\') {
            return NGX_DECLINED;
        }

    } else {

        while (p < last && ngx_http_retry_chain_machine_named(*p)) {
            p++;
        }

        if (p == start) {
            return NGX_DECLINED;
        }
    }

    key->name.len = p - start;
    key->name.data = ngx_pnalloc(m->temp, key->name.len + 1);

    if (key->name.data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(key->name.data, start, key->name.len) = '\0';
    *pos = quote ? p + 1 : p;

    return NGX_OK;
}
