
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


#define NGX_HTTP_RETRY_CHAIN_TARGET_LEN  140


static ngx_int_t ngx_http_retry_chain_machine_function(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, cJSON *args);
static ngx_int_t ngx_http_retry_chain_machine_function_name(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, const char *text);
static ngx_int_t ngx_http_retry_chain_machine_http(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, cJSON *args);
static ngx_int_t ngx_http_retry_chain_machine_connection(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *up, cJSON *args, const char *name);
static ngx_int_t ngx_http_retry_chain_machine_endpoint(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *up, cJSON *args);
static ngx_int_t ngx_http_retry_chain_machine_args(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, cJSON *args, const char **names);
static ngx_uint_t ngx_http_retry_chain_machine_whole(
    ngx_http_retry_chain_node_t *node, cJSON *item);
static ngx_int_t ngx_http_retry_chain_machine_target(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, size_t len, const char *others);


static const char  *ngx_http_retry_chain_function_args[] = {
    "FunctionName", "Payload", "InvocationType", "ClientContext", "LogType",
    "Qualifier", NULL
};


static const char  *ngx_http_retry_chain_http_args[] = {
    "ApiEndpoint", "Method", "Authentication", "InvocationConfig", "Headers",
    "QueryParameters", "RequestBody", "Transform", NULL
};


ngx_int_t
ngx_http_retry_chain_machine_resource(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    size_t                      len;
    cJSON                      *args;
    ngx_int_t                   rc;
    const char                 *text, *name;
    ngx_http_retry_chain_at_t   at;

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, &node->at, node->json,
                                             "Resource", &text);
    if (rc != NGX_OK) {
        return rc;
    }

    if (text == NULL) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at, "Resource",
                                                  "is missing");
    }

    name = node->jsonata ? "Arguments" : "Parameters";
    args = ngx_http_retry_chain_machine_get(node->json, name);

    if (args && !cJSON_IsObject(args)) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at, name,
                                                  "must be an object");
    }

    ngx_http_retry_chain_machine_at(&at, &node->at, name, 0);

    /* the name of the partition: aws, aws-cn, aws-us-gov */

    len = sizeof("arn:aws") - 1;

    if (ngx_strncmp(text, "arn:aws", len) == 0) {

        while ((text[len] >= 'a' && text[len] <= 'z') || text[len] == '-') {
            len++;
        }

        if (ngx_strcmp(&text[len], ":states:::lambda:invoke") == 0) {
            return ngx_http_retry_chain_machine_function(m, node, &at, args);
        }

        if (ngx_strcmp(&text[len], ":states:::http:invoke") == 0) {
            return ngx_http_retry_chain_machine_http(m, node, &at, args);
        }

        if (ngx_strncmp(&text[len], ":lambda:", 8) == 0
            && ngx_strstr(text, ":function:"))
        {
            if (args) {
                ngx_http_retry_chain_machine_warn(m, &at,
                                              "has no effect, a step gets the "
                                              "client's own request");
            }

            ngx_http_retry_chain_machine_at(&at, &node->at, "Resource", 0);

            node->direct = 1;

            return ngx_http_retry_chain_machine_function_name(m, node, &at,
                                                              text);
        }

        if (ngx_strstr(text, ".waitForTaskToken")
            || ngx_strstr(text, ".sync"))
        {
            return ngx_http_retry_chain_machine_wrong(m, &node->at, "Resource",
                                                "is not supported, the result "
                                                "of a step is its reply");
        }
    }

    return ngx_http_retry_chain_machine_wrong(m, &node->at, "Resource",
                                        "is not supported, a step is "
                                        "lambda:invoke, http:invoke or a "
                                        "function");
}


static ngx_int_t
ngx_http_retry_chain_machine_function(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    cJSON *args)
{
    cJSON                      *type;
    ngx_int_t                   rc;
    const char                 *text;
    ngx_http_retry_chain_at_t   place;

    if (args == NULL) {
        return ngx_http_retry_chain_machine_error(m, at, "is missing");
    }

    rc = ngx_http_retry_chain_machine_args(m, node, at, args,
                                           ngx_http_retry_chain_function_args);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_retry_chain_machine_get(args, "FunctionName.$")) {
        return ngx_http_retry_chain_machine_wrong(m, at, "FunctionName.$",
                                            "must be the name of a function, "
                                            "which names an upstream");
    }

    type = ngx_http_retry_chain_machine_get(args, "InvocationType");

    if (type && (!cJSON_IsString(type)
                 || ngx_strcmp(type->valuestring, "RequestResponse") != 0))
    {
        return ngx_http_retry_chain_machine_wrong(m, at, "InvocationType",
                                            "must be \"RequestResponse\", a "
                                            "step waits for its reply");
    }

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, at, args, "FunctionName",
                                             &text);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_retry_chain_machine_at(&place, at, "FunctionName", 0);

    if (text == NULL) {
        return ngx_http_retry_chain_machine_error(m, &place, "is missing");
    }

    return ngx_http_retry_chain_machine_function_name(m, node, &place, text);
}


/* NAME[:qualifier], or the same at the end of an ARN that may be masked */

static ngx_int_t
ngx_http_retry_chain_machine_function_name(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    const char *text)
{
    size_t       len;
    ngx_int_t    rc;
    const char  *name, *qualifier;

    name = ngx_strstr(text, ":function:");
    name = name ? name + sizeof(":function:") - 1 : text;

    len = 0;

    while (name[len] && name[len] != ':') {
        len++;
    }

    qualifier = name[len] ? &name[len + 1] : "$LATEST";

    if (*qualifier && ngx_strchr(qualifier, ':') == NULL) {
        rc = ngx_http_retry_chain_machine_target(m, node, name, len, "-_");

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_http_retry_chain_machine_error(m, at,
                                              "is neither the name nor the ARN "
                                              "of a function");
}


static ngx_int_t
ngx_http_retry_chain_machine_http(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    cJSON *args)
{
    ngx_int_t  rc;

    node->state.http = 1;

    if (args == NULL) {
        return ngx_http_retry_chain_machine_error(m, at, "is missing");
    }

    rc = ngx_http_retry_chain_machine_args(m, node, at, args,
                                           ngx_http_retry_chain_http_args);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_retry_chain_machine_connection(m, node, at, args,
                                                 "Authentication");

    if (rc == NGX_OK && node->target.len == 0) {
        rc = ngx_http_retry_chain_machine_connection(m, node, at, args,
                                                     "InvocationConfig");
    }

    if (rc == NGX_OK && node->target.len == 0) {
        rc = ngx_http_retry_chain_machine_endpoint(m, node, at, args);
    }

    return rc;
}


/* arn:aws:events:REGION:ACCOUNT:connection/NAME/ID */

static ngx_int_t
ngx_http_retry_chain_machine_connection(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *up,
    cJSON *args, const char *name)
{
    size_t                      len;
    cJSON                      *json;
    ngx_int_t                   rc;
    const char                 *text;
    ngx_http_retry_chain_at_t   at;

    json = ngx_http_retry_chain_machine_get(args, name);

    if (json == NULL) {
        return NGX_OK;
    }

    ngx_http_retry_chain_machine_at(&at, up, name, 0);

    if (!cJSON_IsObject(json)) {
        return ngx_http_retry_chain_machine_error(m, &at, "must be an object");
    }

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, &at, json, "ConnectionArn",
                                             &text);
    if (rc != NGX_OK || text == NULL) {
        return rc;
    }

    text = ngx_strstr(text, ":connection/");

    if (text) {
        text += sizeof(":connection/") - 1;
        len = 0;

        while (text[len] && text[len] != '/') {
            len++;
        }

        rc = ngx_http_retry_chain_machine_target(m, node, text, len, "-_.");

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    return ngx_http_retry_chain_machine_wrong(m, &at, "ConnectionArn",
                                              "is not the ARN of a connection");
}


static ngx_int_t
ngx_http_retry_chain_machine_endpoint(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *up,
    cJSON *args)
{
    size_t       len;
    ngx_int_t    rc;
    const char  *text;

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, up, args, "ApiEndpoint",
                                             &text);
    if (rc != NGX_OK) {
        return rc;
    }

    if (text == NULL) {
        return ngx_http_retry_chain_machine_error(m, up,
                                            "must have a ConnectionArn or an "
                                            "ApiEndpoint, which names an "
                                            "upstream");
    }

    if (ngx_strncmp(text, "https://", 8) == 0) {
        text += 8;

    } else if (ngx_strncmp(text, "http://", 7) == 0) {
        text += 7;
    }

    len = 0;

    while (text[len] && text[len] != '/' && text[len] != '?') {
        len++;
    }

    rc = ngx_http_retry_chain_machine_target(m, node, text, len, "-.:");

    if (rc != NGX_DECLINED) {
        return rc;
    }

    return ngx_http_retry_chain_machine_wrong(m, up, "ApiEndpoint",
                                              "is not a URL with a host");
}


/* what would make another request is told to have no effect */

static ngx_int_t
ngx_http_retry_chain_machine_args(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    cJSON *args, const char **names)
{
    size_t                      len;
    cJSON                      *item;
    ngx_uint_t                  i;
    ngx_http_retry_chain_at_t   place;

    for (item = args->child; item; item = item->next) {

        len = ngx_strlen(item->string);

        if (!node->jsonata && len > 2
            && ngx_strcmp(&item->string[len - 2], ".$") == 0)
        {
            len -= 2;
        }

        for (i = 0; names[i]; i++) {
            if (ngx_strlen(names[i]) == len
                && ngx_strncmp(names[i], item->string, len) == 0)
            {
                break;
            }
        }

        ngx_http_retry_chain_machine_at(&place, at, item->string, 0);

        if (names[i] == NULL) {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                      "unknown field");
        }

        if (i == 0 || ngx_strncmp(item->string, "Authentication", len) == 0
            || ngx_strncmp(item->string, "InvocationType", len) == 0
            || ngx_strncmp(item->string, "InvocationConfig", len) == 0
            || (ngx_strncmp(item->string, "Payload", len) == 0
                && ngx_http_retry_chain_machine_whole(node, item)))
        {
            continue;
        }

        ngx_http_retry_chain_machine_warn(m, &place,
                                          "has no effect, a step gets the "
                                          "client's own request");
    }

    return NGX_OK;
}


/* a Payload that is all of the input */

static ngx_uint_t
ngx_http_retry_chain_machine_whole(ngx_http_retry_chain_node_t *node,
    cJSON *item)
{
    ngx_str_t  inner;

    if (!cJSON_IsString(item)) {
        return 0;
    }

    if (!node->jsonata) {
        return ngx_strcmp(item->string, "Payload.$") == 0
               && ngx_strcmp(item->valuestring, "$") == 0;
    }

    return ngx_http_retry_chain_machine_expression(item->valuestring, &inner)
           && inner.len == sizeof("$states.input") - 1
           && ngx_strncmp(inner.data, "$states.input", inner.len) == 0;
}


/* letters, digits and "others"; NGX_DECLINED if there is another character */

static ngx_int_t
ngx_http_retry_chain_machine_target(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name, size_t len,
    const char *others)
{
    char    ch;
    size_t  i;

    if (len == 0 || len > NGX_HTTP_RETRY_CHAIN_TARGET_LEN) {
        return NGX_DECLINED;
    }

    for (i = 0; i < len; i++) {
        ch = name[i];

        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
              || (ch >= '0' && ch <= '9') || ngx_strchr(others, ch)))
        {
            return NGX_DECLINED;
        }
    }

    node->target.data = ngx_pnalloc(m->pool, len + 1);
    if (node->target.data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(node->target.data, name, len) = '\0';
    node->target.len = len;

    return NGX_OK;
}
