
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
    ngx_http_retry_chain_term_t *past, ngx_uint_t i);
static ngx_int_t ngx_http_retry_chain_machine_flow_pass(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_term_t **data);
static ngx_int_t ngx_http_retry_chain_machine_flow_made(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, ngx_http_retry_chain_term_t *made,
    ngx_http_retry_chain_term_t *before);
static ngx_int_t ngx_http_retry_chain_machine_unused(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, const char *reason);
static ngx_int_t ngx_http_retry_chain_machine_output(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_scope_t *scope, ngx_http_retry_chain_term_t **data);
static ngx_int_t ngx_http_retry_chain_machine_select(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, ngx_http_retry_chain_term_t **data);
static ngx_int_t ngx_http_retry_chain_machine_place(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, ngx_http_retry_chain_term_t *past,
    ngx_http_retry_chain_term_t *result, ngx_http_retry_chain_term_t **data);
static ngx_int_t ngx_http_retry_chain_machine_next_data(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t link,
    ngx_http_retry_chain_term_t *data);


ngx_int_t
ngx_http_retry_chain_machine_flow(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_http_retry_chain_term_t   *data;
    ngx_http_retry_chain_scope_t   scope;

    data = node->input;

    switch (node->type) {

    case NGX_HTTP_RETRY_CHAIN_NODE_TASK:
        return ngx_http_retry_chain_machine_flow_task(m, node);

    case NGX_HTTP_RETRY_CHAIN_NODE_FAIL:
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_NODE_SUCCEED:

        for (i = 0; i < 3; i++) {
            static const char  *names[] = { "InputPath", "OutputPath",
                                            "Output" };

            rc = ngx_http_retry_chain_machine_unused(m, node, names[i],
                                           "has no effect, the answer is the "
                                           "last reply");
            if (rc != NGX_OK) {
                return rc;
            }
        }

        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_NODE_PASS:
        rc = ngx_http_retry_chain_machine_flow_pass(m, node, &data);
        break;

    default: /* Choice, Wait */
        rc = ngx_http_retry_chain_machine_select(m, node, "InputPath", &data);

        if (rc == NGX_OK && node->type == NGX_HTTP_RETRY_CHAIN_NODE_CHOICE) {
            rc = ngx_http_retry_chain_machine_choice(m, node, data);
        }

        if (rc != NGX_OK) {
            return rc;
        }

        ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

        scope.jsonata = node->jsonata;
        scope.input = data;

        rc = ngx_http_retry_chain_machine_output(m, node, &scope, &data);
        break;
    }

    for (i = 0; i < node->nlinks && rc == NGX_OK; i++) {
        rc = ngx_http_retry_chain_machine_next_data(m, node->links[i], data);
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_machine_flow_task(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                         *json;
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_http_retry_chain_at_t      at;
    ngx_http_retry_chain_term_t   *past, *result;
    ngx_http_retry_chain_scope_t   scope;

    rc = ngx_http_retry_chain_machine_unused(m, node, "InputPath",
                                             "has no effect, a step gets the "
                                             "client's own request");
    if (rc != NGX_OK) {
        return rc;
    }

    past = ngx_http_retry_chain_machine_stale(m, node->input);
    result = ngx_http_retry_chain_machine_result(m, node);

    if (past == NULL || result == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

    scope.jsonata = node->jsonata;
    scope.input = node->jsonata ? past : result;
    scope.result = result;

    json = ngx_http_retry_chain_machine_get(node->json, "ResultSelector");

    if (json) {
        ngx_http_retry_chain_machine_at(&at, &node->at, "ResultSelector", 0);

        if (!cJSON_IsObject(json)) {
            return ngx_http_retry_chain_machine_error(m, &at,
                                                      "must be an object");
        }

        rc = ngx_http_retry_chain_machine_template(m, &at, json, &scope,
                                                   &result);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_http_retry_chain_machine_place(m, &node->at, node->json, past,
                                            result, &result);
    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_output(m, node, &scope, &result);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_next_data(m, node->links[0], result);
    }

    for (i = 1; i < node->nlinks && rc == NGX_OK; i++) {
        rc = ngx_http_retry_chain_machine_flow_catch(m, node, past, i);
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_machine_flow_catch(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_term_t *past,
    ngx_uint_t i)
{
    cJSON                         *json, *output, *path;
    ngx_int_t                      rc;
    ngx_http_retry_chain_at_t      list, at, place;
    ngx_http_retry_chain_term_t   *data;
    ngx_http_retry_chain_scope_t   scope;

    json = cJSON_GetArrayItem(ngx_http_retry_chain_machine_get(node->json,
                                                               "Catch"),
                              (int) i - 1);

    ngx_http_retry_chain_machine_at(&list, &node->at, "Catch", 0);
    ngx_http_retry_chain_machine_at(&at, &list, NULL, i - 1);

    data = ngx_http_retry_chain_machine_term(m,
                                             NGX_HTTP_RETRY_CHAIN_TERM_ERROR);
    if (data == NULL) {
        return NGX_ERROR;
    }

    output = ngx_http_retry_chain_machine_get(json, "Output");
    path = ngx_http_retry_chain_machine_get(json, "ResultPath");

    if (node->jsonata ? path : output) {
        return ngx_http_retry_chain_machine_wrong(m, &at,
                                        node->jsonata ? "ResultPath" : "Output",
                                        node->jsonata
                                        ? "only a state in JSONPath has this "
                                          "field"
                                        : "only a state in JSONata has this "
                                          "field");
    }

    if (ngx_http_retry_chain_machine_get(json, "Assign")) {
        ngx_http_retry_chain_machine_at(&place, &at, "Assign", 0);
        ngx_http_retry_chain_machine_warn(m, &place,
                                          "has no effect, variables are not "
                                          "known here");
    }

    if (output) {
        ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

        scope.jsonata = 1;
        scope.input = past;
        scope.error = data;

        ngx_http_retry_chain_machine_at(&place, &at, "Output", 0);

        rc = ngx_http_retry_chain_machine_template(m, &place, output, &scope,
                                                   &data);

    } else {
        rc = ngx_http_retry_chain_machine_place(m, &at, json, past, data,
                                                &data);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_retry_chain_machine_next_data(m, node->links[i], data);
}


static ngx_int_t
ngx_http_retry_chain_machine_flow_pass(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_term_t **data)
{
    cJSON                         *json, *path;
    ngx_int_t                      rc;
    const char                    *name;
    ngx_http_retry_chain_at_t      at;
    ngx_http_retry_chain_term_t   *input, *made;
    ngx_http_retry_chain_scope_t   scope;

    input = *data;

    rc = ngx_http_retry_chain_machine_select(m, node, "InputPath", data);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_memzero(&scope, sizeof(ngx_http_retry_chain_scope_t));

    scope.jsonata = node->jsonata;
    scope.input = *data;

    name = "Result";
    json = ngx_http_retry_chain_machine_get(node->json, "Result");
    made = NULL;

    if (json) {
        made = ngx_http_retry_chain_machine_term(m,
                                          NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT);
        if (made == NULL) {
            return NGX_ERROR;
        }

        made->json = json;

    } else {
        name = node->jsonata ? "Output" : "Parameters";
        json = ngx_http_retry_chain_machine_get(node->json, name);

        if (json) {
            ngx_http_retry_chain_machine_at(&at, &node->at, name, 0);

            rc = ngx_http_retry_chain_machine_template(m, &at, json, &scope,
                                                       &made);
            if (rc != NGX_OK) {
                return rc;
            }
        }
    }

    path = ngx_http_retry_chain_machine_get(node->json, "ResultPath");

    rc = ngx_http_retry_chain_machine_place(m, &node->at, node->json, input,
                                            made ? made : *data, data);

    if (rc == NGX_OK && made && !(path && cJSON_IsNull(path))) {
        rc = ngx_http_retry_chain_machine_flow_made(m, node, name, *data,
                                                    input);
    }

    if (rc != NGX_OK || node->jsonata) {
        return rc;
    }

    return ngx_http_retry_chain_machine_select(m, node, "OutputPath", data);
}


/*
 * Data of its own would be the answer of a machine, here the reply is.  It may
 * stand beside the reply.
 */

static ngx_int_t
ngx_http_retry_chain_machine_flow_made(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name,
    ngx_http_retry_chain_term_t *made, ngx_http_retry_chain_term_t *before)
{
    ngx_http_retry_chain_at_t  at;

    ngx_http_retry_chain_machine_at(&at, &node->at, name, 0);

    if (!node->after) {
        ngx_http_retry_chain_machine_warn(m, &at,
                                          "has no effect, a step gets the "
                                          "client's own request");
        return NGX_OK;
    }

    if (ngx_http_retry_chain_machine_keeps(m, made)
        || !ngx_http_retry_chain_machine_has(m, before))
    {
        return NGX_OK;
    }

    return ngx_http_retry_chain_machine_error(m, &at,
                                              "would change the answer, which "
                                              "is the last reply as it is");
}


/* a selection that is not all */

static ngx_int_t
ngx_http_retry_chain_machine_unused(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name, const char *reason)
{
    cJSON                        *json;
    ngx_int_t                     rc;
    ngx_http_retry_chain_at_t     at;
    ngx_http_retry_chain_term_t  *data;

    json = ngx_http_retry_chain_machine_get(node->json, name);

    if (json == NULL
        || (cJSON_IsString(json) && ngx_strcmp(json->valuestring, "$") == 0))
    {
        return NGX_OK;
    }

    if (ngx_strcmp(name, "Output") != 0) {
        data = node->input;

        rc = ngx_http_retry_chain_machine_select(m, node, name, &data);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    ngx_http_retry_chain_machine_at(&at, &node->at, name, 0);
    ngx_http_retry_chain_machine_warn(m, &at, "%s", reason);

    return NGX_OK;
}


/* Output or OutputPath */

static ngx_int_t
ngx_http_retry_chain_machine_output(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_scope_t *scope,
    ngx_http_retry_chain_term_t **data)
{
    cJSON                      *json;
    ngx_http_retry_chain_at_t   at;

    if (!node->jsonata) {
        return ngx_http_retry_chain_machine_select(m, node, "OutputPath",
                                                   data);
    }

    json = ngx_http_retry_chain_machine_get(node->json, "Output");

    if (json == NULL) {
        return NGX_OK;
    }

    ngx_http_retry_chain_machine_at(&at, &node->at, "Output", 0);

    return ngx_http_retry_chain_machine_template(m, &at, json, scope, data);
}


static ngx_int_t
ngx_http_retry_chain_machine_select(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name,
    ngx_http_retry_chain_term_t **data)
{
    cJSON                             *json;
    ngx_int_t                          rc;
    ngx_http_retry_chain_at_t          at;
    ngx_http_retry_chain_json_path_t   path;

    json = ngx_http_retry_chain_machine_get(node->json, name);

    if (json == NULL) {
        return NGX_OK;
    }

    if (cJSON_IsNull(json)) {
        *data = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
        return *data ? NGX_OK : NGX_ERROR;
    }

    ngx_http_retry_chain_machine_at(&at, &node->at, name, 0);

    if (cJSON_IsString(json)
        && ngx_strncmp(json->valuestring, "$$", 2) == 0)
    {
        *data = ngx_http_retry_chain_machine_term(m,
                                           NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN);
        return *data ? NGX_OK : NGX_ERROR;
    }

    rc = ngx_http_retry_chain_machine_path(m, &at, json, &path);

    if (rc != NGX_OK) {
        return rc;
    }

    *data = ngx_http_retry_chain_machine_lookup(m, *data, &path);

    return *data ? NGX_OK : NGX_ERROR;
}


/* ResultPath */

static ngx_int_t
ngx_http_retry_chain_machine_place(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json,
    ngx_http_retry_chain_term_t *past, ngx_http_retry_chain_term_t *result,
    ngx_http_retry_chain_term_t **data)
{
    cJSON                             *field;
    ngx_int_t                          rc;
    ngx_uint_t                         i;
    ngx_http_retry_chain_at_t          at;
    ngx_http_retry_chain_json_path_t   path;

    field = ngx_http_retry_chain_machine_get(json, "ResultPath");

    *data = result;

    if (field == NULL) {
        return NGX_OK;
    }

    if (cJSON_IsNull(field)) {
        *data = past;
        return NGX_OK;
    }

    ngx_http_retry_chain_machine_at(&at, up, "ResultPath", 0);

    rc = ngx_http_retry_chain_machine_path(m, &at, field, &path);

    if (rc != NGX_OK) {
        return rc;
    }

    for (i = 0; i < path.nkeys; i++) {
        if (path.keys[i].indexed) {
            return ngx_http_retry_chain_machine_error(m, &at,
                                                "must be a path of names");
        }
    }

    *data = ngx_http_retry_chain_machine_overlay(m, past, &path, result);

    return *data ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_retry_chain_machine_next_data(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t link, ngx_http_retry_chain_term_t *data)
{
    ngx_http_retry_chain_node_t  *node;

    if (link == NGX_HTTP_RETRY_CHAIN_END) {
        return NGX_OK;
    }

    node = &m->nodes[link];

    node->input = node->input
                  ? ngx_http_retry_chain_machine_merge(m, node->input, data)
                  : data;

    return node->input ? NGX_OK : NGX_ERROR;
}
