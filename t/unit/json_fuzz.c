
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * JSON texts, paths and rules of unknown origin.  The input is a path and a
 * value, each behind its length, and a text.
 */


#include "fuzz.h"
#include "tap.h"
#include "ngx_http_retry_chain_json.h"


#define MAX_TEXT  4096


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(ngx_http_retry_chain_json_path_t *path, ngx_str_t *text);
static ngx_uint_t depth(cJSON *json);
static void take(input_t *in, size_t len, ngx_str_t *text);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON                             *json, *found;
    double                             value;
    input_t                            in;
    ngx_int_t                          rc, parsed;
    ngx_str_t                          args[2], text;
    ngx_uint_t                         nargs;
    ngx_pool_t                        *pool;
    ngx_http_retry_chain_json_rule_t   rule;
    ngx_http_retry_chain_json_error_t  err;

    in.pos = data;
    in.last = data + size;

    (void) tap_pool();

    pool = ngx_create_pool(1024, tap_pool()->log);
    must(pool);

    nargs = 1 + number(&in, 2);

    take(&in, number(&in, 64), &args[0]);
    take(&in, number(&in, 16), &args[1]);
    take(&in, in.last - in.pos, &text);

    json = NULL;
    err.reason = NULL;

    parsed = ngx_http_retry_chain_json_parse(&text, MAX_TEXT, &json, &err);

    must(parsed == NGX_OK || parsed == NGX_DECLINED);
    must((parsed == NGX_OK) == (json != NULL));
    must(parsed == NGX_OK || (err.reason && err.offset <= text.len));
    must(parsed != NGX_OK || text.len <= MAX_TEXT);
    must(parsed != NGX_OK
         || depth(json) <= NGX_HTTP_RETRY_CHAIN_JSON_DEPTH);

    rc = ngx_http_retry_chain_json_rule(pool, args, nargs, &rule, &err);

    must(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc == NGX_DECLINED) {
        must(err.reason && err.offset <= args[0].len);

    } else {
        check_path(&rule.path, &args[0]);
    }

    if (rc == NGX_OK && parsed == NGX_OK) {
        found = ngx_http_retry_chain_json_lookup(json, &rule.path);
        rc = ngx_http_retry_chain_json_match(&rule, 1, json);

        must(rc == 0 || rc == NGX_DECLINED);
        must(rc == NGX_DECLINED || found);
        must(nargs == 2 || (rc == 0) == (found != NULL));

        if (rc == 0 && nargs == 2 && cJSON_IsNumber(found)) {
            must(ngx_http_retry_chain_json_number(&args[1], &value)
                 == NGX_OK);
            must(value == found->valuedouble);
        }
    }

    cJSON_Delete(json);
    ngx_destroy_pool(pool);

    free(args[0].data);
    free(args[1].data);
    free(text.data);

    return 0;
}


static void
check_path(ngx_http_retry_chain_json_path_t *path, ngx_str_t *text)
{
    size_t      sum;
    ngx_uint_t  i;

    sum = 1;

    must(text->len && text->data[0] == '$');
    must(path->nkeys <= 64);

    for (i = 0; i < path->nkeys; i++) {

        if (path->keys[i].indexed) {
            must(path->keys[i].index <= 999999);
            sum += 3;
            continue;
        }

        must(path->keys[i].name.data[path->keys[i].name.len] == '\0');
        must(strlen((char *) path->keys[i].name.data)
             == path->keys[i].name.len);

        sum += path->keys[i].name.len + 1;
    }

    must(sum <= text->len);
}


static ngx_uint_t
depth(cJSON *json)
{
    cJSON       *item;
    ngx_uint_t   n, max;

    max = 0;

    for (item = json->child; item; item = item->next) {
        n = depth(item);
        max = ngx_max(max, n);
    }

    return max + (cJSON_IsArray(json) || cJSON_IsObject(json) ? 1 : 0);
}


/* in memory of its own, where one byte too far is seen */

static void
take(input_t *in, size_t len, ngx_str_t *text)
{
    text->len = ngx_min(len, (size_t) (in->last - in->pos));
    text->data = malloc(text->len ? text->len : 1);

    must(text->data);

    if (text->len) {
        ngx_memcpy(text->data, in->pos, text->len);
    }

    in->pos += text->len;
}
