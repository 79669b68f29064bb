
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Follows the data through the machine without running it: what matters is
 * only where the reply of the last Task, or the error that was caught, lies.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_int_t ngx_http_retry_chain_machine_flow_task(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_flow_catch(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_uint_t link, cJSON *json, ngx_http_retry_chain_term_t *past);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_flow_pass(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_flow_made(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *json, ngx_http_retry_chain_term_t *made);
static ngx_int_t ngx_http_retry_chain_machine_unused(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, const char *reason);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_output(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_scope_t *scope, ngx_http_retry_chain_term_t *data);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_select(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, ngx_http_retry_chain_term_t *data);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_place(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *past, ngx_http_retry_chain_term_t *result);
static ngx_int_t ngx_http_retry_chain_machine_hand_on(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t link,
    ngx_http_retry_chain_term_t *data);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_template(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_scope_t *scope);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_template_add(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    cJSON *json, ngx_http_retry_chain_scope_t *scope);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_intrinsic(
    ngx_http_retry_chain_machine_t *m, const char *text,
    ngx_http_retry_chain_term_t *input);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_follow(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *input);


ngx_int_t
ngx_http_retry_chain_machine_flow(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t                     i;
    ngx_http_retry_chain_term_t   *data;
    ngx_http_retry_chain_scope_t   scope;

    static const char  *names[] = { "InputPath", "OutputPath", "Output" };

    switch (node->type) {

    case NGX_HTTP_RETRY_CHAIN_NODE_TASK:
        return ngx_http_retry_chain_machine_flow_task(m, node);

    case NGX_HTTP_RETRY_CHAIN_NODE_FAIL:
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_NODE_SUCCEED:

        for (i = 0; i < 3; i++) {
            if (ngx_http_retry_chain_machine_unused(m, node, names[i],
                                           "has no effect, the answer is the "
                                           "last reply")
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_NODE_PASS:
        data = ngx_http_retry_chain_machine_flow_pass(m, node);
        break;

    default: /* Choice, Wait */
        data = ngx_http_retry_chain_machine_select(m, node, "InputPath",
                                                   node->input);

        if (data == NULL
            || (node->type == NGX_HTTP_RETRY_CHAIN_NODE_CHOICE
                && ngx_http_retry_chain_machine_choice(m, node, data)
                   != NGX_OK))
        {
            return NGX_ERROR;
        }

        ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

        scope.jsonata = node->jsonata;
        scope.input = data;

        data = ngx_http_retry_chain_machine_output(m, node, &scope, data);
        break;
    }

    for (i = 0; i < node->nlinks; i++) {
        if (ngx_http_retry_chain_machine_hand_on(m, node->links[i], data)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_flow_task(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                         *json;
    ngx_uint_t                     i;
    ngx_http_retry_chain_term_t   *past, *result;
    ngx_http_retry_chain_scope_t   scope;

    if (ngx_http_retry_chain_machine_unused(m, node, "InputPath",
                                            NGX_HTTP_RETRY_CHAIN_OWN_REQUEST)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    past = ngx_http_retry_chain_machine_stale(m, node->input);
    if (past == NULL) {
        return NGX_ERROR;
    }

    result = m->results[node->state.http ? NGX_HTTP_RETRY_CHAIN_RESULT_HTTP
                        : node->direct ? NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION
                        : NGX_HTTP_RETRY_CHAIN_RESULT_LAMBDA];

    ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

    scope.jsonata = node->jsonata;
    scope.input = node->jsonata ? past : result;
    scope.result = result;

    json = cJSON_GetObjectItemCaseSensitive(node->json, "ResultSelector");

    if (json) {

        if (ngx_http_retry_chain_machine_is(m, json, cJSON_Object) != NGX_OK) {
            return NGX_ERROR;
        }

        result = ngx_http_retry_chain_machine_template(m, json, &scope);
    }

    result = ngx_http_retry_chain_machine_place(m, node->json, past, result);
    result = ngx_http_retry_chain_machine_output(m, node, &scope, result);

    if (ngx_http_retry_chain_machine_hand_on(m, node->links[0], result)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    json = cJSON_GetObjectItemCaseSensitive(node->json, "Catch");
    json = json ? json->child : NULL;

    for (i = 1; json; json = json->next) {
        if (ngx_http_retry_chain_machine_flow_catch(m, node, node->links[i++],
                                                    json, past)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_flow_catch(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_uint_t link, cJSON *json,
    ngx_http_retry_chain_term_t *past)
{
    cJSON                         *output;
    ngx_http_retry_chain_term_t   *data;
    ngx_http_retry_chain_scope_t   scope;

    data = m->results[NGX_HTTP_RETRY_CHAIN_RESULT_ERROR];
    output = cJSON_GetObjectItemCaseSensitive(json, "Output");

    if (output) {
        scope.jsonata = node->jsonata;
        scope.input = past;
        scope.result = NULL;
        scope.error = data;

        data = ngx_http_retry_chain_machine_template(m, output, &scope);

    } else {
        data = ngx_http_retry_chain_machine_place(m, json, past, data);
    }

    return ngx_http_retry_chain_machine_hand_on(m, link, data);
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_flow_pass(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                         *json, *made, *path;
    ngx_http_retry_chain_term_t   *data;
    ngx_http_retry_chain_scope_t   scope;

    json = node->json;

    data = ngx_http_retry_chain_machine_select(m, node, "InputPath",
                                               node->input);
    if (data == NULL) {
        return NULL;
    }

    ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

    scope.jsonata = node->jsonata;
    scope.input = data;

    made = cJSON_GetObjectItemCaseSensitive(json, "Result");

    if (made) {
        data = ngx_http_retry_chain_machine_constant(m, made);

    } else {
        made = cJSON_GetObjectItemCaseSensitive(json, node->jsonata
                                                      ? "Output"
                                                      : "Parameters");
        if (made) {
            data = ngx_http_retry_chain_machine_template(m, made, &scope);
        }
    }

    data = ngx_http_retry_chain_machine_place(m, json, node->input, data);

    if (data == NULL) {
        return NULL;
    }

    path = cJSON_GetObjectItemCaseSensitive(json, "ResultPath");

    if (made && !cJSON_IsNull(path)
        && ngx_http_retry_chain_machine_flow_made(m, node, made, data)
           != NGX_OK)
    {
        return NULL;
    }

    return ngx_http_retry_chain_machine_select(m, node, "OutputPath", data);
}


/*
 * Data of its own would be the answer of a machine, here the reply is.  It may
 * stand beside the reply.
 */

static ngx_int_t
ngx_http_retry_chain_machine_flow_made(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *json,
    ngx_http_retry_chain_term_t *made)
{
    if (!node->after) {
        ngx_http_retry_chain_machine_warn(m, json, NULL,
                                          NGX_HTTP_RETRY_CHAIN_OWN_REQUEST);
        return NGX_OK;
    }

    if (ngx_http_retry_chain_machine_has(m, made)
        == NGX_HTTP_RETRY_CHAIN_HAS_REPLY
        || !(ngx_http_retry_chain_machine_has(m, node->input)
             & NGX_HTTP_RETRY_CHAIN_HAS_REPLY))
    {
        return NGX_OK;
    }

    return ngx_http_retry_chain_machine_error(m, json, NULL,
                   "would change the answer, which is the last reply as it is");
}


/* a selection that is not all */

static ngx_int_t
ngx_http_retry_chain_machine_unused(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name, const char *reason)
{
    cJSON  *json;

    json = cJSON_GetObjectItemCaseSensitive(node->json, name);

    if (json == NULL
        || (cJSON_IsString(json) && ngx_strcmp(json->valuestring, "$") == 0))
    {
        return NGX_OK;
    }

    if (!node->jsonata
        && ngx_http_retry_chain_machine_select(m, node, name, node->input)
           == NULL)
    {
        return NGX_ERROR;
    }

    ngx_http_retry_chain_machine_warn(m, json, NULL, "%s", reason);

    return NGX_OK;
}


/* Output or OutputPath */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_output(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_scope_t *scope,
    ngx_http_retry_chain_term_t *data)
{
    cJSON  *json;

    json = cJSON_GetObjectItemCaseSensitive(node->json, "Output");

    if (json && data) {
        return ngx_http_retry_chain_machine_template(m, json, scope);
    }

    return ngx_http_retry_chain_machine_select(m, node, "OutputPath", data);
}


/* InputPath or OutputPath */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_select(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name,
    ngx_http_retry_chain_term_t *data)
{
    cJSON  *json;

    json = cJSON_GetObjectItemCaseSensitive(node->json, name);

    if (json == NULL || data == NULL) {
        return data;
    }

    if (cJSON_IsNull(json)) {
        return ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
    }

    return ngx_http_retry_chain_machine_follow(m, json, data);
}


/* ResultPath */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_place(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *past,
    ngx_http_retry_chain_term_t *result)
{
    cJSON                             *field;
    ngx_uint_t                         i;
    ngx_http_retry_chain_json_path_t   path;

    field = cJSON_GetObjectItemCaseSensitive(json, "ResultPath");

    if (field == NULL || result == NULL) {
        return result;
    }

    if (cJSON_IsNull(field)) {
        return past;
    }

    if (ngx_http_retry_chain_machine_path(m, field, &path) != NGX_OK) {
        return NULL;
    }

    for (i = 0; i < path.nkeys; i++) {
        if (path.keys[i].indexed) {
            (void) ngx_http_retry_chain_machine_error(m, field, NULL,
                                                   "must be a path of names");
            return NULL;
        }
    }

    return ngx_http_retry_chain_machine_overlay(m, past, path.keys, path.nkeys,
                                                result);
}


static ngx_int_t
ngx_http_retry_chain_machine_hand_on(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t link, ngx_http_retry_chain_term_t *data)
{
    ngx_http_retry_chain_node_t  *node;

    if (data == NULL) {
        return NGX_ERROR;
    }

    if (link == NGX_HTTP_RETRY_CHAIN_END) {
        return NGX_OK;
    }

    node = &m->nodes[link];

    node->input = node->input
                  ? ngx_http_retry_chain_machine_merge(m, node->input, data)
                  : data;

    return node->input ? NGX_OK : NGX_ERROR;
}


/* Parameters, ResultSelector, Output: JSON in which some texts are paths */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_template(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_scope_t *scope)
{
    cJSON                        *item;
    ngx_str_t                     inner;
    ngx_http_retry_chain_term_t  *object;

    if (cJSON_IsObject(json)) {
        object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);

        for (item = json->child; item && object; item = item->next) {
            object = ngx_http_retry_chain_machine_template_add(m, object, item,
                                                               scope);
        }

        return object;
    }

    if (scope->jsonata && cJSON_IsString(json)
        && ngx_http_retry_chain_machine_expression(json->valuestring, &inner))
    {
        return ngx_http_retry_chain_machine_evaluate(m, &inner, scope);
    }

    /* what an array has in it is not followed */

    if (cJSON_IsArray(json)) {
        return &m->unknown;
    }

    return ngx_http_retry_chain_machine_constant(m, json);
}


/* "name.$" has a path or a function as its value */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_template_add(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *object, cJSON *json,
    ngx_http_retry_chain_scope_t *scope)
{
    char                         *name;
    size_t                        len;
    ngx_http_retry_chain_term_t  *term;

    len = ngx_strlen(json->string);

    if (scope->jsonata || len <= 2
        || ngx_strcmp(&json->string[len - 2], ".$") != 0)
    {
        term = ngx_http_retry_chain_machine_template(m, json, scope);

        return ngx_http_retry_chain_machine_add(m, object, json->string, term);
    }

    name = ngx_pnalloc(m->temp, len);
    if (name == NULL) {
        return NULL;
    }

    (void) ngx_cpystrn((u_char *) name, (u_char *) json->string, len - 1);

    if (cJSON_IsString(json)
        && ngx_strncmp(json->valuestring, "States.", 7) == 0)
    {
        term = ngx_http_retry_chain_machine_intrinsic(m, json->valuestring,
                                                      scope->input);

    } else {
        term = ngx_http_retry_chain_machine_follow(m, json, scope->input);
    }

    return ngx_http_retry_chain_machine_add(m, object, name, term);
}


/*
 * The text of a body and the JSON in it are the same here; what other functions
 * make is not known.
 */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_intrinsic(ngx_http_retry_chain_machine_t *m,
    const char *text, ngx_http_retry_chain_term_t *input)
{
    size_t                             len, prefix;
    ngx_int_t                          rc;
    ngx_str_t                          argument;
    ngx_http_retry_chain_json_path_t   path;
    ngx_http_retry_chain_json_error_t  err;

    len = ngx_strlen(text);
    prefix = sizeof("States.StringToJson(") - 1;

    if (len <= prefix || text[len - 1] != ')'
        || ngx_strncmp(text, "States.StringToJson(", prefix) != 0)
    {
        return &m->unknown;
    }

    argument.data = (u_char *) text + prefix;
    argument.len = len - prefix - 1;

    rc = ngx_http_retry_chain_json_path(m->pool, &argument, &path, &err);

    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? &m->unknown : NULL;
    }

    return ngx_http_retry_chain_machine_lookup(m, input, path.keys, path.nkeys);
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_follow(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *input)
{
    ngx_http_retry_chain_json_path_t  path;

    /* the context object */

    if (cJSON_IsString(json) && ngx_strncmp(json->valuestring, "$$", 2) == 0) {
        return &m->unknown;
    }

    if (ngx_http_retry_chain_machine_path(m, json, &path) != NGX_OK) {
        return NULL;
    }

    return ngx_http_retry_chain_machine_lookup(m, input, path.keys, path.nkeys);
}


ngx_int_t
ngx_http_retry_chain_machine_path(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_json_path_t *path)
{
    ngx_int_t                          rc;
    ngx_str_t                          text;
    ngx_http_retry_chain_json_error_t  err;

    if (!cJSON_IsString(json)) {
        (void) ngx_http_retry_chain_machine_error(m, json, NULL,
                                              "must be a string with a path");
        return NGX_ERROR;
    }

    text.data = (u_char *) json->valuestring;
    text.len = ngx_strlen(json->valuestring);

    rc = ngx_http_retry_chain_json_path(m->pool, &text, path, &err);

    if (rc == NGX_DECLINED) {
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                            "invalid path, %s after %uz bytes",
                                            err.reason, err.offset);
    }

    return rc;
}
