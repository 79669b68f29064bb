
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The upstream of a Task: the function or the host that it names.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


/* the longest FunctionName that Lambda takes */

#define NGX_HTTP_RETRY_CHAIN_TARGET_LEN  140


static ngx_int_t ngx_http_retry_chain_machine_lambda(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *args);
static ngx_int_t ngx_http_retry_chain_machine_function(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *json, const char *name);
static ngx_int_t ngx_http_retry_chain_machine_http(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *args);
static ngx_int_t ngx_http_retry_chain_machine_connection(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *args, const char *name);
static ngx_int_t ngx_http_retry_chain_machine_endpoint(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *args);
static ngx_int_t ngx_http_retry_chain_machine_target(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, const char *ends, const char *others);


ngx_int_t
ngx_http_retry_chain_machine_resource(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    size_t       len;
    cJSON       *json, *args;
    const char  *text, *rest, *name;

    json = node->json;
    text = ngx_http_retry_chain_machine_string(m, json, "Resource", NULL);

    if (text == NULL) {
        return NGX_ERROR;
    }

    name = node->jsonata ? "Arguments" : "Parameters";
    args = cJSON_GetObjectItemCaseSensitive(json, name);

    if (args
        && ngx_http_retry_chain_machine_is(m, args, cJSON_Object) != NGX_OK)
    {
        return NGX_ERROR;
    }

    len = sizeof("arn:aws") - 1;
    rest = "";

    if (ngx_strncmp(text, "arn:aws", len) == 0) {

        /* the rest of the partition: aws, aws-cn, aws-us-gov */

        rest = text + len;

        while ((*rest >= 'a' && *rest <= 'z') || *rest == '-') {
            rest++;
        }
    }

    if (ngx_strcmp(rest, ":states:::lambda:invoke") == 0
        || ngx_strcmp(rest, ":states:::http:invoke") == 0)
    {
        node->state.http = ngx_strcmp(rest, ":states:::http:invoke") == 0;

        args = ngx_http_retry_chain_machine_get(m, json, name, cJSON_Object);

        if (args == NULL
            || ngx_http_retry_chain_machine_check_fields(m, args,
                                             node->state.http
                                             ? NGX_HTTP_RETRY_CHAIN_IN_HTTP
                                             : NGX_HTTP_RETRY_CHAIN_IN_LAMBDA,
                                             node->jsonata)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        return node->state.http
               ? ngx_http_retry_chain_machine_http(m, node, args)
               : ngx_http_retry_chain_machine_lambda(m, node, args);
    }

    if (ngx_strncmp(rest, ":lambda:", sizeof(":lambda:") - 1) == 0
        && ngx_strstr(rest, ":function:"))
    {
        if (args) {
            ngx_http_retry_chain_machine_warn(m, args, NULL,
                                            NGX_HTTP_RETRY_CHAIN_OWN_REQUEST);
        }

        node->direct = 1;

        return ngx_http_retry_chain_machine_function(m, node, json, "Resource");
    }

    if (ngx_strstr(rest, ".waitForTaskToken") || ngx_strstr(rest, ".sync")) {
        return ngx_http_retry_chain_machine_error(m, json, "Resource",
                         "is not supported, the result of a step is its reply");
    }

    return ngx_http_retry_chain_machine_error(m, json, "Resource",
        "is not supported, a step is lambda:invoke, http:invoke or a function");
}


static ngx_int_t
ngx_http_retry_chain_machine_lambda(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *args)
{
    cJSON  *type;

    if (cJSON_GetObjectItemCaseSensitive(args, "FunctionName.$")) {
        return ngx_http_retry_chain_machine_error(m, args, "FunctionName.$",
                     "must be the name of a function, which names an upstream");
    }

    type = cJSON_GetObjectItemCaseSensitive(args, "InvocationType");

    if (type && (!cJSON_IsString(type)
                 || ngx_strcmp(type->valuestring, "RequestResponse") != 0))
    {
        return ngx_http_retry_chain_machine_error(m, type, NULL,
                     "must be \"RequestResponse\", a step waits for its reply");
    }

    return ngx_http_retry_chain_machine_function(m, node, args, "FunctionName");
}


/* NAME[:qualifier], or the same at the end of an ARN that may be masked */

static ngx_int_t
ngx_http_retry_chain_machine_function(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *json, const char *name)
{
    ngx_int_t    rc;
    const char  *text, *arn, *qualifier;

    text = ngx_http_retry_chain_machine_string(m, json, name, NULL);

    if (text == NULL) {
        return NGX_ERROR;
    }

    arn = ngx_strstr(text, ":function:");

    if (arn) {
        text = arn + sizeof(":function:") - 1;
    }

    qualifier = ngx_strchr(text, ':');

    if (qualifier == NULL
        || (qualifier[1] && ngx_strchr(&qualifier[1], ':') == NULL))
    {
        rc = ngx_http_retry_chain_machine_target(m, node, text, ":", "-_");

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_http_retry_chain_machine_error(m, json, name,
                               "is neither the name nor the ARN of a function");
}


static ngx_int_t
ngx_http_retry_chain_machine_http(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *args)
{
    ngx_int_t  rc;

    rc = ngx_http_retry_chain_machine_connection(m, node, args,
                                                 "Authentication");

    if (rc == NGX_OK && node->target.len == 0) {
        rc = ngx_http_retry_chain_machine_connection(m, node, args,
                                                     "InvocationConfig");
    }

    if (rc == NGX_OK && node->target.len == 0) {
        rc = ngx_http_retry_chain_machine_endpoint(m, node, args);
    }

    return rc;
}


/* arn:aws:events:REGION:ACCOUNT:connection/NAME/ID */

static ngx_int_t
ngx_http_retry_chain_machine_connection(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *args, const char *name)
{
    cJSON       *json;
    ngx_int_t    rc;
    const char  *text;

    json = cJSON_GetObjectItemCaseSensitive(args, name);

    if (json == NULL) {
        return NGX_OK;
    }

    if (ngx_http_retry_chain_machine_is(m, json, cJSON_Object) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cJSON_GetObjectItemCaseSensitive(json, "ConnectionArn") == NULL) {
        return NGX_OK;
    }

    text = ngx_http_retry_chain_machine_string(m, json, "ConnectionArn", NULL);

    if (text == NULL) {
        return NGX_ERROR;
    }

    text = ngx_strstr(text, ":connection/");

    if (text) {
        text += sizeof(":connection/") - 1;

        rc = ngx_http_retry_chain_machine_target(m, node, text, "/", "-_.");

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_http_retry_chain_machine_error(m, json, "ConnectionArn",
                                              "is not the ARN of a connection");
}


static ngx_int_t
ngx_http_retry_chain_machine_endpoint(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *args)
{
    ngx_int_t    rc;
    const char  *text;

    if (cJSON_GetObjectItemCaseSensitive(args, "ApiEndpoint") == NULL) {
        return ngx_http_retry_chain_machine_error(m, args, NULL,
                                                  "must have a ConnectionArn "
                                                  "or an ApiEndpoint, which "
                                                  "names an upstream");
    }

    text = ngx_http_retry_chain_machine_string(m, args, "ApiEndpoint", NULL);

    if (text == NULL) {
        return NGX_ERROR;
    }

    if (ngx_strncmp(text, "https://", 8) == 0) {
        text += 8;

    } else if (ngx_strncmp(text, "http://", 7) == 0) {
        text += 7;
    }

    rc = ngx_http_retry_chain_machine_target(m, node, text, "/?", "-.:");

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_retry_chain_machine_error(m, args, "ApiEndpoint",
                                              "is not a URL with a host");
}


/*
 * Letters, digits and "others" up to one of "ends"; NGX_DECLINED, without an
 * error, if there is another character.
 */

static ngx_int_t
ngx_http_retry_chain_machine_target(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name, const char *ends,
    const char *others)
{
    size_t  len;

    for (len = 0; name[len] && !ngx_strchr(ends, name[len]); len++) {

        if (!ngx_http_retry_chain_machine_alnum(name[len])
            && !ngx_strchr(others, name[len]))
        {
            return NGX_DECLINED;
        }
    }

    if (len == 0 || len > NGX_HTTP_RETRY_CHAIN_TARGET_LEN) {
        return NGX_DECLINED;
    }

    node->target.data = ngx_pnalloc(m->pool, len + 1);
    if (node->target.data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(node->target.data, name, len) = '\0';
    node->target.len = len;

    return NGX_OK;
}
