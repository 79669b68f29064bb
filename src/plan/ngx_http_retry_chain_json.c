
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_json.h"


#define NGX_HTTP_RETRY_CHAIN_JSON_KEYS    64
#define NGX_HTTP_RETRY_CHAIN_JSON_INDEX   6       /* digits */
#define NGX_HTTP_RETRY_CHAIN_JSON_NUMBER  63      /* characters, as in cJSON */


static const char *ngx_http_retry_chain_json_scan(ngx_str_t *text,
    size_t *offset);
static const char *ngx_http_retry_chain_json_key(
    ngx_http_retry_chain_json_key_t *key, u_char **pos, u_char *last,
    u_char **dst);
static const char *ngx_http_retry_chain_json_dotted(
    ngx_http_retry_chain_json_key_t *key, u_char **pos, u_char *last,
    u_char **dst);
static const char *ngx_http_retry_chain_json_quoted(
    ngx_http_retry_chain_json_key_t *key, u_char **pos, u_char *last,
    u_char **dst);
static const char *ngx_http_retry_chain_json_indexed(
    ngx_http_retry_chain_json_key_t *key, u_char **pos, u_char *last);
static u_char *ngx_http_retry_chain_json_digits(u_char *p, u_char *last);
static ngx_uint_t ngx_http_retry_chain_json_equal(
    const ngx_http_retry_chain_json_value_t *value, cJSON *json);


ngx_int_t
ngx_http_retry_chain_json_parse(ngx_str_t *text, size_t max, cJSON **json,
    ngx_http_retry_chain_json_error_t *err)
{
    const char  *end, *p, *last;

    err->offset = 0;

    if (text->len > max) {
        err->reason = "too large";
        return NGX_DECLINED;
    }

    err->reason = ngx_http_retry_chain_json_scan(text, &err->offset);

    if (err->reason) {
        return NGX_DECLINED;
    }

    p = (const char *) text->data;
    last = p + text->len;
    end = p;

    *json = cJSON_ParseWithLengthOpts(p, text->len, &end, 0);

    err->offset = end - p;

    if (*json == NULL) {
        err->reason = "invalid JSON";
        return NGX_DECLINED;
    }

    while (end < last && (*end == ' ' || *end == '\t' || *end == '\n'
                          || *end == '\r'))
    {
        end++;
    }

    if (end == last) {
        return NGX_OK;
    }

    err->offset = end - p;
    err->reason = "bytes after the end of the JSON";

    cJSON_Delete(*json);
    *json = NULL;

    return NGX_DECLINED;
}


/*
 * What cJSON takes for white space, or finds too late: before 1.7.18 it looks
 * behind a text that ends in an open object.
 */

static const char *
ngx_http_retry_chain_json_scan(ngx_str_t *text, size_t *offset)
{
    u_char      ch;
    size_t      i;
    ngx_uint_t  depth, quoted;

    depth = 0;
    quoted = 0;

    for (i = 0; i < text->len; i++) {
        ch = text->data[i];

        *offset = i;

        if (ch < ' ' && (quoted || (ch != '\t' && ch != '\n' && ch != '\r'))) {
            return "control character";
        }

        if (quoted) {

            if (ch == '\\') {
                i++;

                if (i < text->len && text->data[i] < ' ') {
                    return "control character";
                }

            } else if (ch == '"') {
                quoted = 0;
            }

            continue;
        }

        switch (ch) {

        case '"':
            quoted = 1;
            break;

        case '{':
        case '[':
            if (++depth > NGX_HTTP_RETRY_CHAIN_JSON_DEPTH) {
                return "nested too deeply";
            }

            break;

        case '}':
        case ']':
            if (depth-- == 0) {
                return "invalid JSON";
            }

            break;

        default:
            break;
        }
    }

    *offset = text->len;

    return depth || quoted ? "unexpected end" : NULL;
}


ngx_int_t
ngx_http_retry_chain_json_path(ngx_pool_t *pool, ngx_str_t *text,
    ngx_http_retry_chain_json_path_t *path,
    ngx_http_retry_chain_json_error_t *err)
{
    u_char                           *p, *last, *dst;
    size_t                            n;
    ngx_http_retry_chain_json_key_t  *key;

    err->offset = 0;

    if (text->len == 0 || text->data[0] != '$') {
        err->reason = "a path begins with \"$\"";
        return NGX_DECLINED;
    }

    last = text->data + text->len;

    /* each key begins with a dot or a bracket, and takes a zero instead */

    n = 0;

    for (p = text->data + 1; p < last; p++) {
        n += (*p == '.' || *p == '[');
    }

    n = ngx_min(n, NGX_HTTP_RETRY_CHAIN_JSON_KEYS);

    path->nkeys = 0;
    path->keys = NULL;

    if (text->len == 1) {
        return NGX_OK;
    }

    path->keys = ngx_pcalloc(pool, (n + 1)
                                   * sizeof(ngx_http_retry_chain_json_key_t));
    dst = ngx_pnalloc(pool, text->len);

    if (path->keys == NULL || dst == NULL) {
        return NGX_ERROR;
    }

    p = text->data + 1;

    while (p < last) {
        key = &path->keys[path->nkeys];

        err->reason = path->nkeys++ == NGX_HTTP_RETRY_CHAIN_JSON_KEYS
                      ? "the path is too long"
                      : ngx_http_retry_chain_json_key(key, &p, last, &dst);

        if (err->reason) {
            err->offset = p - text->data;
            return NGX_DECLINED;
        }
    }

    return NGX_OK;
}


static const char *
ngx_http_retry_chain_json_key(ngx_http_retry_chain_json_key_t *key,
    u_char **pos, u_char *last, u_char **dst)
{
    u_char      *p;
    const char  *reason;

    p = (*pos)++;

    if (*p == '.') {
        return ngx_http_retry_chain_json_dotted(key, pos, last, dst);
    }

    if (*p != '[') {
        *pos = p;
        return "\".\" or \"[\" expected";
    }

    if (*pos < last && (**pos == '\'' || **pos == '"')) {
        reason = ngx_http_retry_chain_json_quoted(key, pos, last, dst);

    } else {
        reason = ngx_http_retry_chain_json_indexed(key, pos, last);
    }

    if (reason) {
        return reason;
    }

    if (*pos == last || **pos != ']') {
        return "\"]\" expected";
    }

    (*pos)++;

    return NULL;
}


static const char *
ngx_http_retry_chain_json_dotted(ngx_http_retry_chain_json_key_t *key,
    u_char **pos, u_char *last, u_char **dst)
{
    u_char  *p, ch;

    p = *pos;

    key->name.data = *dst;

    while (*pos < last && **pos != '.' && **pos != '[') {
        ch = **pos;

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-'
              || ch == '$' || ch >= 0x80))
        {
            return "unexpected character";
        }

        *(*dst)++ = ch;
        (*pos)++;
    }

    if (*pos == p) {
        return "a name expected";
    }

    key->name.len = *pos - p;

    *(*dst)++ = '\0';

    return NULL;
}


static const char *
ngx_http_retry_chain_json_quoted(ngx_http_retry_chain_json_key_t *key,
    u_char **pos, u_char *last, u_char **dst)
{
    u_char  *p, quote;

    quote = *(*pos)++;

    key->name.data = *dst;

    for (p = *pos; p < last && *p != quote; p++) {

        if (*p == '\\' && ++p == last) {
            break;
        }

        if (*p < ' ') {
            *pos = p;
            return "control character";
        }

        *(*dst)++ = *p;
    }

    *pos = p;

    if (p >= last) {
        *pos = last;
        return "the closing quote is missing";
    }

    (*pos)++;

    key->name.len = *dst - key->name.data;

    *(*dst)++ = '\0';

    return NULL;
}


static const char *
ngx_http_retry_chain_json_indexed(ngx_http_retry_chain_json_key_t *key,
    u_char **pos, u_char *last)
{
    u_char  *p;

    p = *pos;

    *pos = ngx_http_retry_chain_json_digits(p, last);

    if (*pos == p) {
        return "a number or a quoted name expected";
    }

    if (*pos - p > NGX_HTTP_RETRY_CHAIN_JSON_INDEX) {
        return "the number is too large";
    }

    key->index = ngx_atoi(p, *pos - p);
    key->indexed = 1;

    return NULL;
}


cJSON *
ngx_http_retry_chain_json_lookup(cJSON *json,
    const ngx_http_retry_chain_json_path_t *path)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_json_key_t  *key;

    for (i = 0; i < path->nkeys && json; i++) {
        key = &path->keys[i];

        if (key->indexed) {
            json = cJSON_IsArray(json)
                   ? cJSON_GetArrayItem(json, (int) key->index) : NULL;

        } else {
            json = cJSON_IsObject(json)
                   ? cJSON_GetObjectItemCaseSensitive(json,
                                                (const char *) key->name.data)
                   : NULL;
        }
    }

    return json;
}


ngx_int_t
ngx_http_retry_chain_json_number(ngx_str_t *text, double *number)
{
    u_char  *p, *q, *last, buf[NGX_HTTP_RETRY_CHAIN_JSON_NUMBER + 1];

    if (text->len > NGX_HTTP_RETRY_CHAIN_JSON_NUMBER) {
        return NGX_DECLINED;
    }

    p = text->data;
    last = p + text->len;

    if (p < last && *p == '-') {
        p++;
    }

    q = ngx_http_retry_chain_json_digits(p, last);

    if (q == p || (*p == '0' && q > p + 1)) {
        return NGX_DECLINED;
    }

    p = q;

    if (p < last && *p == '.') {
        q = ngx_http_retry_chain_json_digits(p + 1, last);

        if (q == p + 1) {
            return NGX_DECLINED;
        }

        p = q;
    }

    if (p < last && (*p == 'e' || *p == 'E')) {
        p++;

        if (p < last && (*p == '+' || *p == '-')) {
            p++;
        }

        q = ngx_http_retry_chain_json_digits(p, last);

        if (q == p) {
            return NGX_DECLINED;
        }

        p = q;
    }

    if (p != last) {
        return NGX_DECLINED;
    }

    *ngx_cpymem(buf, text->data, text->len) = '\0';

    *number = strtod((char *) buf, NULL);

    return NGX_OK;
}


static u_char *
ngx_http_retry_chain_json_digits(u_char *p, u_char *last)
{
    while (p < last && *p >= '0' && *p <= '9') {
        p++;
    }

    return p;
}


ngx_int_t
ngx_http_retry_chain_json_rule(ngx_pool_t *pool, ngx_str_t *args,
    ngx_uint_t nargs, ngx_http_retry_chain_json_rule_t *rule,
    ngx_http_retry_chain_json_error_t *err)
{
    ngx_int_t                           rc;
    ngx_uint_t                          i;
    ngx_http_retry_chain_json_value_t  *value;

    rc = ngx_http_retry_chain_json_path(pool, &args[0], &rule->path, err);

    if (rc != NGX_OK) {
        return rc;
    }

    rule->text = args[0];
    rule->values = NULL;
    rule->nvalues = nargs - 1;

    if (nargs == 1) {
        return NGX_OK;
    }

    rule->values = ngx_pcalloc(pool, rule->nvalues
                                  * sizeof(ngx_http_retry_chain_json_value_t));
    if (rule->values == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < rule->nvalues; i++) {
        value = &rule->values[i];

        value->text = args[i + 1];
        value->numeric = ngx_http_retry_chain_json_number(&value->text,
                                                          &value->number)
                         == NGX_OK;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_json_match(const ngx_http_retry_chain_json_rule_t *rules,
    ngx_uint_t nrules, cJSON *json)
{
    cJSON       *found;
    ngx_uint_t   i, n;

    for (i = 0; i < nrules; i++) {

        found = ngx_http_retry_chain_json_lookup(json, &rules[i].path);

        if (found == NULL) {
            continue;
        }

        if (rules[i].nvalues == 0) {
            return (ngx_int_t) i;
        }

        for (n = 0; n < rules[i].nvalues; n++) {
            if (ngx_http_retry_chain_json_equal(&rules[i].values[n], found)) {
                return (ngx_int_t) i;
            }
        }
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_http_retry_chain_json_equal(const ngx_http_retry_chain_json_value_t *value,
    cJSON *json)
{
    ngx_str_t  text;

    if (cJSON_IsNumber(json)) {
        return value->numeric && value->number == json->valuedouble;
    }

    if (cJSON_IsString(json)) {
        text.data = (u_char *) json->valuestring;

    } else if (cJSON_IsTrue(json)) {
        text.data = (u_char *) "true";

    } else if (cJSON_IsFalse(json)) {
        text.data = (u_char *) "false";

    } else if (cJSON_IsNull(json)) {
        text.data = (u_char *) "null";

    } else {
        return 0;
    }

    text.len = ngx_strlen(text.data);

    return text.len == value->text.len
           && ngx_memcmp(text.data, value->text.data, text.len) == 0;
}
