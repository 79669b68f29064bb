
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_int_t ngx_http_retry_chain_machine_reply(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand);
static ngx_int_t ngx_http_retry_chain_machine_keys(
    ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys,
    ngx_http_retry_chain_json_path_t *path);
static ngx_int_t ngx_http_retry_chain_machine_constant(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_operand_t *operand);
static ngx_uint_t ngx_http_retry_chain_machine_is(
    const ngx_http_retry_chain_json_path_t *path, ngx_uint_t i,
    const char *name);


ngx_int_t
ngx_http_retry_chain_machine_operand(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand)
{
    const char  *reason;

    switch (term->type) {

    case NGX_HTTP_RETRY_CHAIN_TERM_REPLY:
    case NGX_HTTP_RETRY_CHAIN_TERM_ERROR:
        return ngx_http_retry_chain_machine_reply(m, at, term, operand);

    case NGX_HTTP_RETRY_CHAIN_TERM_OBJECT:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_TERM_ABSENT:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT;
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
        return ngx_http_retry_chain_machine_constant(m, term->json, operand);

    case NGX_HTTP_RETRY_CHAIN_TERM_INPUT:
        reason = "is of the input of the execution, which is not known here";
        break;

    case NGX_HTTP_RETRY_CHAIN_TERM_STALE:
        reason = "is of an earlier Task, and only the last reply is known";
        break;

    case NGX_HTTP_RETRY_CHAIN_TERM_CONFLICT:
        reason = "is not the same on each way to this state";
        break;

    default: /* NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN */
        reason = "is not known here";
        break;
    }

    return ngx_http_retry_chain_machine_error(m, at, "%s", reason);
}


static ngx_int_t
ngx_http_retry_chain_machine_reply(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand)
{
    ngx_uint_t                         n;
    ngx_http_retry_chain_json_path_t  *path;

    path = &term->path;
    n = path->nkeys;

    operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;

    if (n == 0) {
        return NGX_OK;
    }

    operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT;

    if (term->type == NGX_HTTP_RETRY_CHAIN_TERM_ERROR) {

        if (n == 1 && ngx_http_retry_chain_machine_is(path, 0, "Error")) {
            operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR;

        } else if (n == 1
                   && ngx_http_retry_chain_machine_is(path, 0, "Cause"))
        {
            operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE;
        }

        return NGX_OK;
    }

    if (ngx_http_retry_chain_machine_is(path, 0, term->http ? "StatusCode"
                                                            : "statusCode"))
    {
        if (n == 1) {
            operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS;
        }

        return NGX_OK;
    }

    if (ngx_http_retry_chain_machine_is(path, 0, term->http ? "ResponseBody"
                                                            : "body"))
    {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_BODY;

        return ngx_http_retry_chain_machine_keys(m, &path->keys[1], n - 1,
                                                 &operand->path);
    }

    if (ngx_http_retry_chain_machine_is(path, 0, term->http ? "Headers"
                                                            : "headers"))
    {
        if (n == 1) {
            operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
            return NGX_OK;
        }

        /* those of http:invoke are lists */

        if (path->keys[1].indexed || n > 3
            || (n == 3 && !(term->http && path->keys[2].indexed
                            && path->keys[2].index == 0)))
        {
            return NGX_OK;
        }

        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER;

        ngx_http_retry_chain_machine_copy(m,
                                     (const char *) path->keys[1].name.data,
                                     &operand->text);

        return operand->text.data ? NGX_OK : NGX_ERROR;
    }

    return ngx_http_retry_chain_machine_error(m, at,
                                              "is no part of a reply, which "
                                              "has %s",
                                              term->http
                                              ? "StatusCode, Headers and "
                                                "ResponseBody"
                                              : "statusCode, headers and body");
}


/* a path that lives as long as the plan */

static ngx_int_t
ngx_http_retry_chain_machine_keys(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys,
    ngx_http_retry_chain_json_path_t *path)
{
    ngx_uint_t  i;

    path->nkeys = nkeys;

    if (nkeys == 0) {
        return NGX_OK;
    }

    path->keys = ngx_palloc(m->pool,
                            nkeys * sizeof(ngx_http_retry_chain_json_key_t));
    if (path->keys == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < nkeys; i++) {
        path->keys[i] = keys[i];

        if (keys[i].indexed) {
            continue;
        }

        ngx_http_retry_chain_machine_copy(m, (const char *) keys[i].name.data,
                                          &path->keys[i].name);
        if (path->keys[i].name.data == NULL) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_constant(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_operand_t *operand)
{
    if (cJSON_IsNumber(json)) {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER;
        operand->number = json->valuedouble;

    } else if (cJSON_IsBool(json)) {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
        operand->number = cJSON_IsTrue(json) ? 1 : 0;

    } else if (cJSON_IsNull(json)) {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NULL;

    } else if (cJSON_IsString(json)) {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_STRING;

        ngx_http_retry_chain_machine_copy(m, json->valuestring,
                                          &operand->text);

        return operand->text.data ? NGX_OK : NGX_ERROR;

    } else {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_retry_chain_machine_is(const ngx_http_retry_chain_json_path_t *path,
    ngx_uint_t i, const char *name)
{
    return !path->keys[i].indexed
           && ngx_strcmp(path->keys[i].name.data, name) == 0;
}
