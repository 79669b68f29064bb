
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What can be said of each object alone: its fields and the type of a state.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


/* duplicates are found by comparing each with each */

#define NGX_HTTP_RETRY_CHAIN_MAX_FIELDS  512

/* characters, as in the States Language */

#define NGX_HTTP_RETRY_CHAIN_STATE_NAME  80

/* the largest number that arithmetic does not make infinite */

#define NGX_HTTP_RETRY_CHAIN_MAX_NUMBER  1e300

#define NGX_HTTP_RETRY_CHAIN_NODE_GOES                                        \
    (NGX_HTTP_RETRY_CHAIN_NODE_PASS|NGX_HTTP_RETRY_CHAIN_NODE_TASK            \
     |NGX_HTTP_RETRY_CHAIN_NODE_WAIT)
#define NGX_HTTP_RETRY_CHAIN_NODE_DATA                                        \
    (NGX_HTTP_RETRY_CHAIN_NODES & ~NGX_HTTP_RETRY_CHAIN_NODE_FAIL)

#define NGX_HTTP_RETRY_CHAIN_IN_ARGS                                          \
    (NGX_HTTP_RETRY_CHAIN_IN_LAMBDA|NGX_HTTP_RETRY_CHAIN_IN_HTTP)


typedef enum {
    NGX_HTTP_RETRY_CHAIN_FIELD_KNOWN = 0,
    NGX_HTTP_RETRY_CHAIN_FIELD_TEXT,               /* must be a string */
    NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH,           /* only there */
    NGX_HTTP_RETRY_CHAIN_FIELD_JSONATA,
    NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED,
    NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED             /* but for a warning */
} ngx_http_retry_chain_field_e;


typedef struct {
    ngx_uint_t                          kinds;     /* of objects */
    ngx_http_retry_chain_field_e        type;
    const char                         *why;       /* refused or ignored */
    const char                         *names[6];
} ngx_http_retry_chain_known_t;


static ngx_int_t ngx_http_retry_chain_machine_check_tree(
    ngx_http_retry_chain_machine_t *m, cJSON *json);
static ngx_int_t ngx_http_retry_chain_machine_check_item(
    ngx_http_retry_chain_machine_t *m, cJSON *json, cJSON *item);
static ngx_int_t ngx_http_retry_chain_machine_check_top(
    ngx_http_retry_chain_machine_t *m);
static ngx_int_t ngx_http_retry_chain_machine_check_language(
    ngx_http_retry_chain_machine_t *m, cJSON *json, ngx_uint_t *jsonata);
static ngx_int_t ngx_http_retry_chain_machine_check_node(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_check_type(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_check_field(
    ngx_http_retry_chain_machine_t *m, cJSON *json, cJSON *item,
    ngx_uint_t kind, ngx_uint_t jsonata);
static ngx_uint_t ngx_http_retry_chain_machine_check_whole(cJSON *item,
    ngx_uint_t jsonata);


static struct {
    const char                   *name;
    ngx_uint_t                    type;
    ngx_http_retry_chain_kind_e   kind;
} ngx_http_retry_chain_types[] = {
    { "Pass", NGX_HTTP_RETRY_CHAIN_NODE_PASS,
      NGX_HTTP_RETRY_CHAIN_STATE_SUCCEED },
    { "Task", NGX_HTTP_RETRY_CHAIN_NODE_TASK,
      NGX_HTTP_RETRY_CHAIN_STATE_TASK },
    { "Choice", NGX_HTTP_RETRY_CHAIN_NODE_CHOICE,
      NGX_HTTP_RETRY_CHAIN_STATE_CHOICE },
    { "Wait", NGX_HTTP_RETRY_CHAIN_NODE_WAIT,
      NGX_HTTP_RETRY_CHAIN_STATE_WAIT },
    { "Succeed", NGX_HTTP_RETRY_CHAIN_NODE_SUCCEED,
      NGX_HTTP_RETRY_CHAIN_STATE_SUCCEED },
    { "Fail", NGX_HTTP_RETRY_CHAIN_NODE_FAIL,
      NGX_HTTP_RETRY_CHAIN_STATE_FAIL },
    { NULL, 0, NGX_HTTP_RETRY_CHAIN_STATE_TASK }
};


static const char  ngx_http_retry_chain_later[] =
    "is not supported, its value is known only when the machine runs";


/* those of type 0 are taken; a name may be known in several limits */

static ngx_http_retry_chain_known_t  ngx_http_retry_chain_known[] = {

    { NGX_HTTP_RETRY_CHAIN_NODES|NGX_HTTP_RETRY_CHAIN_IN_MACHINE
      |NGX_HTTP_RETRY_CHAIN_IN_RETRY|NGX_HTTP_RETRY_CHAIN_IN_CATCH,
      NGX_HTTP_RETRY_CHAIN_FIELD_TEXT, NULL, { "Comment" } },
    { NGX_HTTP_RETRY_CHAIN_NODES|NGX_HTTP_RETRY_CHAIN_IN_MACHINE, 0, NULL,
      { "QueryLanguage" } },
    { NGX_HTTP_RETRY_CHAIN_IN_MACHINE, 0, NULL,
      { "StartAt", "States", "Version" } },
    { NGX_HTTP_RETRY_CHAIN_NODES, 0, NULL, { "Type" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_GOES|NGX_HTTP_RETRY_CHAIN_IN_CATCH
      |NGX_HTTP_RETRY_CHAIN_IN_CHOICES, 0, NULL, { "Next" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_GOES, 0, NULL, { "End" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_DATA, NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH,
      NULL, { "InputPath", "OutputPath" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_PASS|NGX_HTTP_RETRY_CHAIN_NODE_TASK
      |NGX_HTTP_RETRY_CHAIN_IN_CATCH, NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH,
      NULL, { "ResultPath" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_PASS|NGX_HTTP_RETRY_CHAIN_NODE_TASK,
      NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH, NULL, { "Parameters" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_PASS, NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH,
      NULL, { "Result" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_TASK, NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH,
      NULL, { "ResultSelector" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_TASK, NGX_HTTP_RETRY_CHAIN_FIELD_JSONATA,
      NULL, { "Arguments" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_DATA|NGX_HTTP_RETRY_CHAIN_IN_CATCH,
      NGX_HTTP_RETRY_CHAIN_FIELD_JSONATA, NULL, { "Output" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_GOES|NGX_HTTP_RETRY_CHAIN_NODE_CHOICE
      |NGX_HTTP_RETRY_CHAIN_IN_CATCH|NGX_HTTP_RETRY_CHAIN_IN_CHOICES,
      NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED,
      NGX_HTTP_RETRY_CHAIN_NO_VARIABLES, { "Assign" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_TASK, 0, NULL,
      { "Resource", "Retry", "Catch" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_TASK|NGX_HTTP_RETRY_CHAIN_IN_MACHINE, 0, NULL,
      { "TimeoutSeconds" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_TASK, NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED,
      ngx_http_retry_chain_later,
      { "TimeoutSecondsPath", "HeartbeatSecondsPath" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_TASK, NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED,
      "has no effect, an upstream has no heartbeat", { "HeartbeatSeconds" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_TASK, NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED,
      "has no effect", { "Credentials" } },

    { NGX_HTTP_RETRY_CHAIN_IN_RETRY|NGX_HTTP_RETRY_CHAIN_IN_CATCH, 0, NULL,
      { "ErrorEquals" } },
    { NGX_HTTP_RETRY_CHAIN_IN_RETRY, 0, NULL,
      { "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds",
        "JitterStrategy" } },

    { NGX_HTTP_RETRY_CHAIN_IN_LAMBDA, 0, NULL,
      { "FunctionName", "InvocationType" } },
    { NGX_HTTP_RETRY_CHAIN_IN_LAMBDA, NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED,
      NGX_HTTP_RETRY_CHAIN_OWN_REQUEST,
      { "Payload", "ClientContext", "LogType", "Qualifier" } },
    { NGX_HTTP_RETRY_CHAIN_IN_HTTP, 0, NULL,
      { "ApiEndpoint", "Authentication", "InvocationConfig" } },
    { NGX_HTTP_RETRY_CHAIN_IN_HTTP, NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED,
      NGX_HTTP_RETRY_CHAIN_OWN_REQUEST,
      { "Method", "Headers", "QueryParameters", "RequestBody", "Transform" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_CHOICE, 0, NULL, { "Choices", "Default" } },
    { NGX_HTTP_RETRY_CHAIN_IN_CHOICES, 0, NULL, { "Condition", "Comment" } },
    { NGX_HTTP_RETRY_CHAIN_IN_CHOICES, NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED,
      "is not supported here", { "Output" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_WAIT, 0, NULL, { "Seconds" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_WAIT, NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED,
      ngx_http_retry_chain_later, { "SecondsPath", "TimestampPath" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_WAIT, NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED,
      "is not supported, a run waits only for a number of seconds",
      { "Timestamp" } },

    { NGX_HTTP_RETRY_CHAIN_NODE_FAIL, 0, NULL, { "Error", "Cause" } },
    { NGX_HTTP_RETRY_CHAIN_NODE_FAIL, NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED,
      ngx_http_retry_chain_later, { "ErrorPath", "CausePath" } },

    { 0, 0, NULL, { NULL } }
};


ngx_int_t
ngx_http_retry_chain_machine_check_text(ngx_http_retry_chain_machine_t *m,
    ngx_str_t *text)
{
    size_t                             i;
    u_char                            *p, *last;
    ngx_uint_t                         line;
    ngx_http_retry_chain_json_error_t  err;

    if (text->len > NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE) {
        return ngx_http_retry_chain_machine_error(m, NULL, NULL,
                                            "%uz bytes, at most %d are allowed",
                                            text->len,
                                            NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE);
    }

    /* names and values end with a zero */

    for (i = 0; i < text->len; i++) {

        if (text->data[i] == '\0'
            || (text->data[i] == '\\' && text->len - i >= 6
                && ngx_memcmp(&text->data[i], "\\u0000", 6) == 0))
        {
            return ngx_http_retry_chain_machine_error(m, NULL, NULL,
                                                      "zero byte");
        }

        i += text->data[i] == '\\';
    }

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {
            p++;

        } else if (ngx_utf8_decode(&p, last - p) > 0x10ffff) {
            return ngx_http_retry_chain_machine_error(m, NULL, NULL,
                                                      "invalid UTF-8");
        }
    }

    if (ngx_http_retry_chain_json_parse(text,
                                        NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE,
                                        &m->json, &err)
        == NGX_OK)
    {
        return ngx_http_retry_chain_machine_check_tree(m, m->json);
    }

    line = 1;

    for (i = 0; i < err.offset && i < text->len; i++) {
        line += text->data[i] == '\n';
    }

    return ngx_http_retry_chain_machine_error(m, NULL, NULL, "%s in line %ui",
                                              err.reason, line);
}


static ngx_int_t
ngx_http_retry_chain_machine_check_tree(ngx_http_retry_chain_machine_t *m,
    cJSON *json)
{
    cJSON       *item;
    ngx_uint_t   n;

    n = 0;

    for (item = json->child; item; item = item->next) {

        if (cJSON_IsObject(json) && n++ == NGX_HTTP_RETRY_CHAIN_MAX_FIELDS) {
            return ngx_http_retry_chain_machine_error(m, json, NULL,
                                              "more than %d fields",
                                              NGX_HTTP_RETRY_CHAIN_MAX_FIELDS);
        }

        if (ngx_http_retry_chain_machine_check_item(m, json, item) != NGX_OK
            || ngx_http_retry_chain_machine_check_tree(m, item) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* cJSON finds only the first of two keys */

static ngx_int_t
ngx_http_retry_chain_machine_check_item(ngx_http_retry_chain_machine_t *m,
    cJSON *json, cJSON *item)
{
    cJSON  *other;

    if (cJSON_IsObject(json)) {

        for (other = json->child; other != item; other = other->next) {
            if (ngx_strcmp(other->string, item->string) == 0) {
                return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                          "duplicate key");
            }
        }
    }

    if (cJSON_IsNumber(item)
        && !(item->valuedouble > -NGX_HTTP_RETRY_CHAIN_MAX_NUMBER
             && item->valuedouble < NGX_HTTP_RETRY_CHAIN_MAX_NUMBER))
    {
        return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                  "the number is too large");
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_check_states(ngx_http_retry_chain_machine_t *m)
{
    cJSON                        *states, *item;
    ngx_uint_t                    n;
    ngx_http_retry_chain_node_t  *node;

    if (ngx_http_retry_chain_machine_check_top(m) != NGX_OK) {
        return NGX_ERROR;
    }

    states = ngx_http_retry_chain_machine_get(m, m->json, "States",
                                              NGX_HTTP_RETRY_CHAIN_ANY);
    if (states == NULL) {
        return NGX_ERROR;
    }

    if (!cJSON_IsObject(states) || states->child == NULL) {
        return ngx_http_retry_chain_machine_error(m, states, NULL,
                                              "must be an object with states");
    }

    n = cJSON_GetArraySize(states);

    if (n > NGX_HTTP_RETRY_CHAIN_MAX_STATES) {
        return ngx_http_retry_chain_machine_error(m, states, NULL,
                                         "%ui states, at most %d are allowed",
                                         n, NGX_HTTP_RETRY_CHAIN_MAX_STATES);
    }

    m->nodes = ngx_pcalloc(m->temp, n * sizeof(ngx_http_retry_chain_node_t));
    if (m->nodes == NULL) {
        return NGX_ERROR;
    }

    for (item = states->child; item; item = item->next) {
        node = &m->nodes[m->nnodes++];

        node->json = item;

        if (ngx_http_retry_chain_machine_check_node(m, node) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_check_top(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t   jsonata;
    const char  *text;

    if (ngx_http_retry_chain_machine_check_fields(m, m->json,
                                           NGX_HTTP_RETRY_CHAIN_IN_MACHINE, 0)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    text = ngx_http_retry_chain_machine_string(m, m->json, "Version", "1.0");

    if (text == NULL) {
        return NGX_ERROR;
    }

    if (ngx_strcmp(text, "1.0") != 0) {
        return ngx_http_retry_chain_machine_error(m, m->json, "Version",
                                                  "must be \"1.0\"");
    }

    jsonata = 0;

    if (ngx_http_retry_chain_machine_check_language(m, m->json, &jsonata)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    m->jsonata = jsonata;

    return ngx_http_retry_chain_machine_seconds(m, m->json, "TimeoutSeconds",
                                           1, NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                           &m->timeout);
}


static ngx_int_t
ngx_http_retry_chain_machine_check_language(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_uint_t *jsonata)
{
    const char  *text;

    text = ngx_http_retry_chain_machine_string(m, json, "QueryLanguage",
                                               *jsonata ? "JSONata"
                                                        : "JSONPath");
    if (text == NULL) {
        return NGX_ERROR;
    }

    *jsonata = ngx_strcmp(text, "JSONata") == 0;

    if (!*jsonata && ngx_strcmp(text, "JSONPath") != 0) {
        return ngx_http_retry_chain_machine_error(m, json, "QueryLanguage",
                                         "must be \"JSONPath\" or \"JSONata\"");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_check_node(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    u_char      *p;
    ngx_str_t   *name;
    ngx_uint_t   jsonata;

    name = &node->state.name;

    if (ngx_http_retry_chain_machine_copy(m, node->json->string, name)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (name->len == 0
        || ngx_utf8_length(name->data, name->len)
           > NGX_HTTP_RETRY_CHAIN_STATE_NAME)
    {
        return ngx_http_retry_chain_machine_error(m, node->json, NULL,
                                              "a name has 1 to %d characters",
                                              NGX_HTTP_RETRY_CHAIN_STATE_NAME);
    }

    for (p = name->data; *p; p++) {
        if (*p < ' ') {
            return ngx_http_retry_chain_machine_error(m, node->json, NULL,
                                              "control character in the name");
        }
    }

    jsonata = m->jsonata;

    if (ngx_http_retry_chain_machine_is(m, node->json, cJSON_Object) != NGX_OK
        || ngx_http_retry_chain_machine_check_language(m, node->json, &jsonata)
           != NGX_OK
        || ngx_http_retry_chain_machine_check_type(m, node) != NGX_OK)
    {
        return NGX_ERROR;
    }

    node->jsonata = jsonata;

    return ngx_http_retry_chain_machine_check_fields(m, node->json, node->type,
                                                     jsonata);
}


static ngx_int_t
ngx_http_retry_chain_machine_check_type(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t   i;
    const char  *text;

    text = ngx_http_retry_chain_machine_string(m, node->json, "Type", NULL);

    if (text == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; ngx_http_retry_chain_types[i].name; i++) {

        if (ngx_strcmp(ngx_http_retry_chain_types[i].name, text) == 0) {
            node->type = ngx_http_retry_chain_types[i].type;
            node->state.type = ngx_http_retry_chain_types[i].kind;
            return NGX_OK;
        }
    }

    if (ngx_strcmp(text, "Parallel") == 0 || ngx_strcmp(text, "Map") == 0) {
        return ngx_http_retry_chain_machine_error(m, node->json, "Type",
                 "Parallel and Map are not supported, a request has one reply");
    }

    return ngx_http_retry_chain_machine_error(m, node->json, "Type",
                                              "unknown type of state");
}


ngx_int_t
ngx_http_retry_chain_machine_check_fields(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_uint_t kind, ngx_uint_t jsonata)
{
    cJSON  *item;

    if (ngx_http_retry_chain_machine_is(m, json, cJSON_Object) != NGX_OK) {
        return NGX_ERROR;
    }

    for (item = json->child; item; item = item->next) {
        if (ngx_http_retry_chain_machine_check_field(m, json, item, kind,
                                                     jsonata)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_check_field(ngx_http_retry_chain_machine_t *m,
    cJSON *json, cJSON *item, ngx_uint_t kind, ngx_uint_t jsonata)
{
    size_t                         len;
    ngx_uint_t                     i;
    const char                    *name, *reason;
    ngx_http_retry_chain_known_t  *known;

    name = item->string;
    len = ngx_strlen(name);

    /* "name.$" has a path as its value */

    if ((kind & NGX_HTTP_RETRY_CHAIN_IN_ARGS) && !jsonata && len > 2
        && ngx_strcmp(&name[len - 2], ".$") == 0)
    {
        len -= 2;
    }

    reason = "unknown field";

    for (known = ngx_http_retry_chain_known; known->kinds; known++) {

        for (i = 0; known->names[i]; i++) {
            if (ngx_strlen(known->names[i]) == len
                && ngx_strncmp(known->names[i], name, len) == 0)
            {
                break;
            }
        }

        if (known->names[i] == NULL) {
            continue;
        }

        if (known->kinds & kind) {
            break;
        }

        if ((known->kinds & NGX_HTTP_RETRY_CHAIN_NODES)
            && (kind & NGX_HTTP_RETRY_CHAIN_NODES))
        {
            reason = "a state of this type has no such field";
        }
    }

    if (known->kinds == 0) {
        return ngx_http_retry_chain_machine_error(m, item, NULL, "%s", reason);
    }

    switch (known->type) {

    case NGX_HTTP_RETRY_CHAIN_FIELD_TEXT:
        return ngx_http_retry_chain_machine_string(m, json, name, NULL)
               ? NGX_OK : NGX_ERROR;

    case NGX_HTTP_RETRY_CHAIN_FIELD_JSONPATH:
    case NGX_HTTP_RETRY_CHAIN_FIELD_JSONATA:

        if (jsonata == (known->type == NGX_HTTP_RETRY_CHAIN_FIELD_JSONATA)) {
            return NGX_OK;
        }

        return ngx_http_retry_chain_machine_error(m, item, NULL,
                                          "only a state in %s has this field",
                                          jsonata ? "JSONPath" : "JSONata");

    case NGX_HTTP_RETRY_CHAIN_FIELD_REFUSED:
        return ngx_http_retry_chain_machine_error(m, item, NULL, "%s",
                                                  known->why);

    case NGX_HTTP_RETRY_CHAIN_FIELD_IGNORED:

        if (!ngx_http_retry_chain_machine_check_whole(item, jsonata)) {
            ngx_http_retry_chain_machine_warn(m, item, NULL, "%s", known->why);
        }

        return NGX_OK;

    default: /* NGX_HTTP_RETRY_CHAIN_FIELD_KNOWN */
        return NGX_OK;
    }
}


/* a Payload that is all of the input is the client's own request */

static ngx_uint_t
ngx_http_retry_chain_machine_check_whole(cJSON *item, ngx_uint_t jsonata)
{
    ngx_str_t  inner;

    if (!cJSON_IsString(item)) {
        return 0;
    }

    if (!jsonata) {
        return ngx_strcmp(item->string, "Payload.$") == 0
               && ngx_strcmp(item->valuestring, "$") == 0;
    }

    return ngx_strcmp(item->string, "Payload") == 0
           && ngx_http_retry_chain_machine_expression(item->valuestring, &inner)
           && inner.len == sizeof("$states.input") - 1
           && ngx_strncmp(inner.data, "$states.input", inner.len) == 0;
}
