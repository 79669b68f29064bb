
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What a condition asks for: a part of the reply or of an error, or a constant.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_int_t ngx_http_retry_chain_machine_reply(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand);
static ngx_int_t ngx_http_retry_chain_machine_body(
    ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_json_path_t *from,
    ngx_http_retry_chain_json_path_t *path);


ngx_int_t
ngx_http_retry_chain_machine_operand(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand)
{
    const char  *reason;

    switch (term->type) {

    case NGX_HTTP_RETRY_CHAIN_TERM_REPLY:
    case NGX_HTTP_RETRY_CHAIN_TERM_ERROR:
        return ngx_http_retry_chain_machine_reply(m, json, term, operand);

    case NGX_HTTP_RETRY_CHAIN_TERM_OBJECT:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_TERM_ABSENT:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT;
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
        return ngx_http_retry_chain_machine_value(m, term->json, operand);

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

    return ngx_http_retry_chain_machine_error(m, json, NULL, "%s", reason);
}


static ngx_int_t
ngx_http_retry_chain_machine_reply(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand)
{
    ngx_uint_t                         i, n;
    const char                       **names;
    ngx_http_retry_chain_json_key_t   *keys;

    static const char  *error[] = { "Error", "Cause", NULL };
    static const char  *lambda[] = { "statusCode", "headers", "body", NULL };
    static const char  *http[] = { "StatusCode", "Headers", "ResponseBody",
                                   NULL };

    keys = term->path.keys;
    n = term->path.nkeys;

    operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;

    if (n == 0) {
        return NGX_OK;
    }

    operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT;

    names = term->type == NGX_HTTP_RETRY_CHAIN_TERM_ERROR ? error
            : term->http ? http : lambda;

    for (i = 0; names[i]; i++) {
        if (!keys[0].indexed && ngx_strcmp(keys[0].name.data, names[i]) == 0) {
            break;
        }
    }

    if (names == error) {

        if (n == 1 && names[i]) {
            operand->type = i ? NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE
                              : NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR;
        }

        return NGX_OK;
    }

    switch (i) {

    case 0: /* status */

        if (n == 1) {
            operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS;
        }

        return NGX_OK;

    case 1: /* headers */

        if (n == 1) {
            operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
            return NGX_OK;
        }

        /* those of http:invoke are lists */

        if (keys[1].indexed || n > 3
            || (n == 3 && !(term->http && keys[2].indexed
                            && keys[2].index == 0)))
        {
            return NGX_OK;
        }

        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER;

        return ngx_http_retry_chain_machine_copy(m,
                                            (const char *) keys[1].name.data,
                                            &operand->text);

    case 2: /* body */
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_BODY;

        return ngx_http_retry_chain_machine_body(m, &term->path,
                                                 &operand->path);

    default:
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                              "is no part of a reply, which "
                                              "has %s, %s and %s", names[0],
                                              names[1], names[2]);
    }
}


/* the path in the body, which lives as long as the plan */

static ngx_int_t
ngx_http_retry_chain_machine_body(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_json_path_t *from,
    ngx_http_retry_chain_json_path_t *path)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_json_key_t  *key;

    path->nkeys = from->nkeys - 1;

    if (path->nkeys == 0) {
        return NGX_OK;
    }

    path->keys = ngx_palloc(m->pool, path->nkeys
                                    * sizeof(ngx_http_retry_chain_json_key_t));
    if (path->keys == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < path->nkeys; i++) {
        key = &path->keys[i];

        *key = from->keys[i + 1];

        if (!key->indexed
            && ngx_http_retry_chain_machine_copy(m,
                                                 (const char *) key->name.data,
                                                 &key->name)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_value(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_operand_t *operand)
{
    switch (json->type & 0xff) {

    case cJSON_Number:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER;
        operand->number = json->valuedouble;
        return NGX_OK;

    case cJSON_False:
    case cJSON_True:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
        operand->number = cJSON_IsTrue(json);
        return NGX_OK;

    case cJSON_NULL:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NULL;
        return NGX_OK;

    case cJSON_String:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_STRING;
        return ngx_http_retry_chain_machine_copy(m, json->valuestring,
                                                 &operand->text);

    default: /* cJSON_Array, cJSON_Object */
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
        return NGX_OK;
    }
}
