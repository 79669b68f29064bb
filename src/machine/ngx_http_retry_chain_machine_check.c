
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


#define NGX_HTTP_RETRY_CHAIN_MAX_FIELDS  512

/* characters */

#define NGX_HTTP_RETRY_CHAIN_STATE_NAME  80

#define NGX_HTTP_RETRY_CHAIN_NODE_ALL    0x3f
#define NGX_HTTP_RETRY_CHAIN_NODE_GOES                                        \
    (NGX_HTTP_RETRY_CHAIN_NODE_PASS|NGX_HTTP_RETRY_CHAIN_NODE_TASK            \
     |NGX_HTTP_RETRY_CHAIN_NODE_WAIT)
#define NGX_HTTP_RETRY_CHAIN_NODE_DATA                                        \
    (NGX_HTTP_RETRY_CHAIN_NODE_ALL & ~NGX_HTTP_RETRY_CHAIN_NODE_FAIL)


typedef struct {
    const char     *name;
    ngx_uint_t      types;
    const char     *refused;      /* why */
    const char     *ignored;      /* why */
    unsigned        jsonpath:1;   /* only there */
    unsigned        jsonata:1;
} ngx_http_retry_chain_known_t;


static ngx_int_t ngx_http_retry_chain_machine_check_json(
    ngx_http_retry_chain_machine_t *m, ngx_str_t *text);
static ngx_int_t ngx_http_retry_chain_machine_check_tree(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json);
static ngx_int_t ngx_http_retry_chain_machine_check_top(
    ngx_http_retry_chain_machine_t *m);
static ngx_int_t ngx_http_retry_chain_machine_check_language(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_uint_t *jsonata);
static ngx_int_t ngx_http_retry_chain_machine_check_node(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_check_type(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_check_fields(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);


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


static ngx_http_retry_chain_known_t  ngx_http_retry_chain_fields[] = {

    { "Type", NGX_HTTP_RETRY_CHAIN_NODE_ALL, NULL, NULL, 0, 0 },
    { "Comment", NGX_HTTP_RETRY_CHAIN_NODE_ALL, NULL, NULL, 0, 0 },
    { "QueryLanguage", NGX_HTTP_RETRY_CHAIN_NODE_ALL, NULL, NULL, 0, 0 },

    { "Next", NGX_HTTP_RETRY_CHAIN_NODE_GOES, NULL, NULL, 0, 0 },
    { "End", NGX_HTTP_RETRY_CHAIN_NODE_GOES, NULL, NULL, 0, 0 },

    { "InputPath", NGX_HTTP_RETRY_CHAIN_NODE_DATA, NULL, NULL, 1, 0 },
    { "OutputPath", NGX_HTTP_RETRY_CHAIN_NODE_DATA, NULL, NULL, 1, 0 },
    { "Output", NGX_HTTP_RETRY_CHAIN_NODE_DATA, NULL, NULL, 0, 1 },

    { "Assign", NGX_HTTP_RETRY_CHAIN_NODE_GOES
                |NGX_HTTP_RETRY_CHAIN_NODE_CHOICE, NULL,
      "has no effect, variables are not known here", 0, 0 },

    { "ResultPath", NGX_HTTP_RETRY_CHAIN_NODE_PASS
                    |NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 1, 0 },
    { "Parameters", NGX_HTTP_RETRY_CHAIN_NODE_PASS
                    |NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 1, 0 },

    { "Result", NGX_HTTP_RETRY_CHAIN_NODE_PASS, NULL, NULL, 1, 0 },

    { "Resource", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 0, 0 },
    { "Arguments", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 0, 1 },
    { "ResultSelector", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 1, 0 },
    { "Retry", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 0, 0 },
    { "Catch", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 0, 0 },
    { "TimeoutSeconds", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL, NULL, 0, 0 },
    { "TimeoutSecondsPath", NGX_HTTP_RETRY_CHAIN_NODE_TASK,
      ngx_http_retry_chain_later, NULL, 1, 0 },
    { "HeartbeatSeconds", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL,
      "has no effect, an upstream has no heartbeat", 0, 0 },
    { "HeartbeatSecondsPath", NGX_HTTP_RETRY_CHAIN_NODE_TASK,
      ngx_http_retry_chain_later, NULL, 1, 0 },
    { "Credentials", NGX_HTTP_RETRY_CHAIN_NODE_TASK, NULL,
      "has no effect", 0, 0 },

    { "Choices", NGX_HTTP_RETRY_CHAIN_NODE_CHOICE, NULL, NULL, 0, 0 },
    { "Default", NGX_HTTP_RETRY_CHAIN_NODE_CHOICE, NULL, NULL, 0, 0 },

    { "Seconds", NGX_HTTP_RETRY_CHAIN_NODE_WAIT, NULL, NULL, 0, 0 },
    { "SecondsPath", NGX_HTTP_RETRY_CHAIN_NODE_WAIT,
      ngx_http_retry_chain_later, NULL, 1, 0 },
    { "Timestamp", NGX_HTTP_RETRY_CHAIN_NODE_WAIT,
      "is not supported, a run waits only for a number of seconds", NULL, 0,
      0 },
    { "TimestampPath", NGX_HTTP_RETRY_CHAIN_NODE_WAIT,
      ngx_http_retry_chain_later, NULL, 1, 0 },

    { "Error", NGX_HTTP_RETRY_CHAIN_NODE_FAIL, NULL, NULL, 0, 0 },
    { "Cause", NGX_HTTP_RETRY_CHAIN_NODE_FAIL, NULL, NULL, 0, 0 },
    { "ErrorPath", NGX_HTTP_RETRY_CHAIN_NODE_FAIL,
      ngx_http_retry_chain_later, NULL, 1, 0 },
    { "CausePath", NGX_HTTP_RETRY_CHAIN_NODE_FAIL,
      ngx_http_retry_chain_later, NULL, 1, 0 },

    { NULL, 0, NULL, NULL, 0, 0 }
};


static const char  *ngx_http_retry_chain_top[] = {
    "Comment", "StartAt", "States", "Version", "TimeoutSeconds",
    "QueryLanguage", NULL
};


ngx_int_t
ngx_http_retry_chain_machine_check_text(ngx_http_retry_chain_machine_t *m,
    ngx_str_t *text)
{
    size_t   i;
    u_char  *p, *last;

    if (text->len > NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE) {
        return ngx_http_retry_chain_machine_error(m, &m->root,
                                         "%uz bytes, at most %d are allowed",
                                         text->len,
                                         NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE);
    }

    for (i = 0; i < text->len; i++) {

        if (text->data[i] == '\0'
            || (text->data[i] == '\\' && text->len - i >= 6
                && ngx_memcmp(&text->data[i], "\\u0000", 6) == 0))
        {
            return ngx_http_retry_chain_machine_error(m, &m->root, "zero byte");
        }

        i += text->data[i] == '\\';
    }

    p = text->data;
    last = p + text->len;

    while (p < last) {

        if (*p < 0x80) {
            p++;
            continue;
        }

        if (ngx_utf8_decode(&p, last - p) > 0x10ffff) {
            return ngx_http_retry_chain_machine_error(m, &m->root,
                                                      "invalid UTF-8");
        }
    }

    return ngx_http_retry_chain_machine_check_json(m, text);
}


static ngx_int_t
ngx_http_retry_chain_machine_check_json(ngx_http_retry_chain_machine_t *m,
    ngx_str_t *text)
{
    size_t                             i;
    ngx_uint_t                         line;
    ngx_http_retry_chain_json_error_t  err;

    if (ngx_http_retry_chain_json_parse(text,
                                        NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE,
                                        &m->json, &err)
        == NGX_OK)
    {
        return ngx_http_retry_chain_machine_check_tree(m, &m->root, m->json);
    }

    line = 1;

    for (i = 0; i < err.offset && i < text->len; i++) {
        line += text->data[i] == '\n';
    }

    return ngx_http_retry_chain_machine_error(m, &m->root, "%s in line %ui",
                                              err.reason, line);
}


/* cJSON finds only the first of two keys */

static ngx_int_t
ngx_http_retry_chain_machine_check_tree(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json)
{
    cJSON                      *item, *other;
    ngx_int_t                   rc;
    ngx_uint_t                  n;
    ngx_http_retry_chain_at_t   place;

    n = 0;

    for (item = json->child; item; item = item->next) {

        ngx_http_retry_chain_machine_at(&place, at, item->string, n++);

        if (cJSON_IsObject(json)) {

            if (n > NGX_HTTP_RETRY_CHAIN_MAX_FIELDS) {
                return ngx_http_retry_chain_machine_error(m, at,
                                              "more than %d fields",
                                              NGX_HTTP_RETRY_CHAIN_MAX_FIELDS);
            }

            for (other = json->child; other != item; other = other->next) {
                if (ngx_strcmp(other->string, item->string) == 0) {
                    return ngx_http_retry_chain_machine_error(m, &place,
                                                              "duplicate key");
                }
            }
        }

        if (cJSON_IsNumber(item)
            && !(item->valuedouble > -1e300 && item->valuedouble < 1e300))
        {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                "the number is too large");
        }

        rc = ngx_http_retry_chain_machine_check_tree(m, &place, item);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_check_states(ngx_http_retry_chain_machine_t *m)
{
    cJSON                        *states, *item;
    ngx_int_t                     rc;
    ngx_uint_t                    n;
    ngx_http_retry_chain_node_t  *node;

    rc = ngx_http_retry_chain_machine_check_top(m);

    if (rc != NGX_OK) {
        return rc;
    }

    states = ngx_http_retry_chain_machine_get(m->json, "States");

    n = cJSON_GetArraySize(states);

    if (n > NGX_HTTP_RETRY_CHAIN_MAX_STATES) {
        return ngx_http_retry_chain_machine_error(m, &m->states,
                                              "%ui states, at most %d are "
                                              "allowed", n,
                                              NGX_HTTP_RETRY_CHAIN_MAX_STATES);
    }

    m->nodes = ngx_pcalloc(m->temp, n * sizeof(ngx_http_retry_chain_node_t));
    if (m->nodes == NULL) {
        return NGX_ERROR;
    }

    for (item = states->child; item; item = item->next) {
        node = &m->nodes[m->nnodes++];

        node->name = item->string;
        node->json = item;

        ngx_http_retry_chain_machine_at(&node->at, &m->states, node->name, 0);

        rc = ngx_http_retry_chain_machine_check_node(m, node);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_check_top(ngx_http_retry_chain_machine_t *m)
{
    cJSON                       *item;
    ngx_int_t                    rc;
    ngx_uint_t                   i, seconds, jsonata;
    const char                  *text;

    if (!cJSON_IsObject(m->json)) {
        return ngx_http_retry_chain_machine_error(m, &m->root,
                                                  "must be an object");
    }

    for (item = m->json->child; item; item = item->next) {

        for (i = 0; ngx_http_retry_chain_top[i]; i++) {
            if (ngx_strcmp(ngx_http_retry_chain_top[i], item->string) == 0) {
                break;
            }
        }

        if (ngx_http_retry_chain_top[i] == NULL) {
            return ngx_http_retry_chain_machine_wrong(m, &m->root,
                                                      item->string,
                                                      "unknown field");
        }
    }

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, &m->root, m->json, "Comment",
                                             &text);
    if (rc != NGX_OK) {
        return rc;
    }

    text = "1.0";

    rc = ngx_http_retry_chain_machine_string(m, &m->root, m->json, "Version",
                                             &text);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_strcmp(text, "1.0") != 0) {
        return ngx_http_retry_chain_machine_wrong(m, &m->root, "Version",
                                                  "must be \"1.0\"");
    }

    jsonata = 0;

    rc = ngx_http_retry_chain_machine_check_language(m, &m->root, m->json,
                                                     &jsonata);
    if (rc != NGX_OK) {
        return rc;
    }

    m->jsonata = jsonata;
    seconds = 0;

    rc = ngx_http_retry_chain_machine_integer(m, &m->root, m->json,
                                              "TimeoutSeconds", 1,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &seconds);
    if (rc != NGX_OK) {
        return rc;
    }

    m->timeout = ngx_http_retry_chain_machine_msec(m, &m->root,
                                                   "TimeoutSeconds", seconds);

    item = ngx_http_retry_chain_machine_get(m->json, "States");

    if (item == NULL) {
        return ngx_http_retry_chain_machine_error(m, &m->states, "is missing");
    }

    if (!cJSON_IsObject(item) || item->child == NULL) {
        return ngx_http_retry_chain_machine_error(m, &m->states,
                                                  "must be an object with "
                                                  "states");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_check_language(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json, ngx_uint_t *jsonata)
{
    ngx_int_t    rc;
    const char  *text;

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, at, json, "QueryLanguage",
                                             &text);

    if (rc != NGX_OK || text == NULL) {
        return rc;
    }

    *jsonata = ngx_strcmp(text, "JSONata") == 0;

    if (!*jsonata && ngx_strcmp(text, "JSONPath") != 0) {
        return ngx_http_retry_chain_machine_wrong(m, at, "QueryLanguage",
                                          "must be \"JSONPath\" or "
                                          "\"JSONata\"");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_check_node(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t    rc;
    ngx_str_t    name;
    ngx_uint_t   i, jsonata;
    const char  *text;

    name.data = (u_char *) node->name;
    name.len = ngx_strlen(node->name);

    if (ngx_utf8_length(name.data, name.len) > NGX_HTTP_RETRY_CHAIN_STATE_NAME
        || name.len == 0)
    {
        return ngx_http_retry_chain_machine_error(m, &node->at,
                                            "a name has 1 to %d characters",
                                            NGX_HTTP_RETRY_CHAIN_STATE_NAME);
    }

    for (i = 0; i < name.len; i++) {
        if (name.data[i] < ' ') {
            return ngx_http_retry_chain_machine_error(m, &node->at,
                                                      "control character in "
                                                      "the name");
        }
    }

    if (!cJSON_IsObject(node->json)) {
        return ngx_http_retry_chain_machine_error(m, &node->at,
                                                  "must be an object");
    }

    jsonata = m->jsonata;

    rc = ngx_http_retry_chain_machine_check_language(m, &node->at, node->json,
                                                     &jsonata);
    if (rc != NGX_OK) {
        return rc;
    }

    node->jsonata = jsonata;

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, &node->at, node->json,
                                             "Comment", &text);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_retry_chain_machine_check_type(m, node);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_retry_chain_machine_copy(m, node->name, &node->state.name);
    if (node->state.name.data == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_machine_check_fields(m, node);
}


static ngx_int_t
ngx_http_retry_chain_machine_check_type(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t    rc;
    ngx_uint_t   i;
    const char  *text;

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, &node->at, node->json, "Type",
                                             &text);
    if (rc != NGX_OK) {
        return rc;
    }

    if (text == NULL) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at, "Type",
                                                  "is missing");
    }

    for (i = 0; ngx_http_retry_chain_types[i].name; i++) {

        if (ngx_strcmp(ngx_http_retry_chain_types[i].name, text) == 0) {
            node->type = ngx_http_retry_chain_types[i].type;
            node->state.type = ngx_http_retry_chain_types[i].kind;
            return NGX_OK;
        }
    }

    if (ngx_strcmp(text, "Parallel") == 0 || ngx_strcmp(text, "Map") == 0) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at, "Type",
                                            "Parallel and Map are not "
                                            "supported, a request has one "
                                            "reply");
    }

    return ngx_http_retry_chain_machine_wrong(m, &node->at, "Type",
                                              "unknown type of state");
}


static ngx_int_t
ngx_http_retry_chain_machine_check_fields(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                         *item;
    ngx_http_retry_chain_at_t      at;
    ngx_http_retry_chain_known_t  *known;

    for (item = node->json->child; item; item = item->next) {

        ngx_http_retry_chain_machine_at(&at, &node->at, item->string, 0);

        known = ngx_http_retry_chain_fields;

        while (known->name && ngx_strcmp(known->name, item->string) != 0) {
            known++;
        }

        if (known->name == NULL) {
            return ngx_http_retry_chain_machine_error(m, &at, "unknown field");
        }

        if (!(known->types & node->type)) {
            return ngx_http_retry_chain_machine_error(m, &at,
                                                "a state of this type has no "
                                                "such field");
        }

        if (known->refused) {
            return ngx_http_retry_chain_machine_error(m, &at, "%s",
                                                      known->refused);
        }

        if (node->jsonata ? known->jsonpath : known->jsonata) {
            return ngx_http_retry_chain_machine_error(m, &at,
                                                "only a state in %s has this "
                                                "field",
                                                node->jsonata ? "JSONPath"
                                                              : "JSONata");
        }

        if (known->ignored) {
            ngx_http_retry_chain_machine_warn(m, &at, "%s", known->ignored);
        }
    }

    return NGX_OK;
}
