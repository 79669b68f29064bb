
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_int_t ngx_http_retry_chain_machine_branch(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t **cond);
static ngx_int_t ngx_http_retry_chain_machine_choose(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_term_t *input, ngx_uint_t top,
    ngx_http_retry_chain_condition_t **cond);
static ngx_int_t ngx_http_retry_chain_machine_combine(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_machine_compare(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, cJSON *value, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_machine_comparator(const char *name,
    ngx_http_retry_chain_condition_t *cond, ngx_uint_t *path);
static ngx_int_t ngx_http_retry_chain_machine_literal(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_condition_t *cond);
static void ngx_http_retry_chain_machine_never(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    ngx_http_retry_chain_condition_t *cond);


static struct {
    const char                        *name;
    ngx_http_retry_chain_condition_e   type;
} ngx_http_retry_chain_kinds[] = {
    { "String", NGX_HTTP_RETRY_CHAIN_CONDITION_STRING },
    { "Numeric", NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC },
    { "Boolean", NGX_HTTP_RETRY_CHAIN_CONDITION_BOOLEAN },
    { "Timestamp", NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP },
    { NULL, NGX_HTTP_RETRY_CHAIN_CONDITION_AND }
};


static struct {
    const char                        *name;
    ngx_http_retry_chain_relation_e    relation;
} ngx_http_retry_chain_relations[] = {
    { "Equals", NGX_HTTP_RETRY_CHAIN_EQUAL },
    { "LessThan", NGX_HTTP_RETRY_CHAIN_LESS },
    { "LessThanEquals", NGX_HTTP_RETRY_CHAIN_LESS_EQUAL },
    { "GreaterThan", NGX_HTTP_RETRY_CHAIN_GREATER },
    { "GreaterThanEquals", NGX_HTTP_RETRY_CHAIN_GREATER_EQUAL },
    { NULL, NGX_HTTP_RETRY_CHAIN_EQUAL }
};


static struct {
    const char                        *name;
    ngx_http_retry_chain_condition_e   type;
} ngx_http_retry_chain_tests[] = {
    { "StringMatches", NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES },
    { "IsPresent", NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT },
    { "IsNull", NGX_HTTP_RETRY_CHAIN_CONDITION_IS_NULL },
    { "IsNumeric", NGX_HTTP_RETRY_CHAIN_CONDITION_IS_NUMERIC },
    { "IsString", NGX_HTTP_RETRY_CHAIN_CONDITION_IS_STRING },
    { "IsBoolean", NGX_HTTP_RETRY_CHAIN_CONDITION_IS_BOOLEAN },
    { "IsTimestamp", NGX_HTTP_RETRY_CHAIN_CONDITION_IS_TIMESTAMP },
    { NULL, NGX_HTTP_RETRY_CHAIN_CONDITION_AND }
};


ngx_int_t
ngx_http_retry_chain_machine_choice(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_term_t *input)
{
    cJSON                          *item;
    ngx_int_t                       rc;
    ngx_uint_t                      i;
    ngx_http_retry_chain_at_t       list, at;
    ngx_http_retry_chain_branch_t  *branch;

    ngx_http_retry_chain_machine_at(&list, &node->at, "Choices", 0);

    item = ngx_http_retry_chain_machine_get(node->json, "Choices")->child;

    node->state.nbranches = node->nlinks - 1;
    node->state.branches = ngx_pcalloc(m->pool, node->state.nbranches
                                      * sizeof(ngx_http_retry_chain_branch_t));
    if (node->state.branches == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < node->state.nbranches; i++, item = item->next) {
        branch = &node->state.branches[i];

        ngx_http_retry_chain_machine_at(&at, &list, NULL, i);

        rc = ngx_http_retry_chain_machine_branch(m, node, &at, item, input,
                                                 &branch->condition);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_branch(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t **cond)
{
    cJSON                      *item;
    ngx_str_t                   inner;
    const char                 *text;
    ngx_http_retry_chain_at_t   place;

    if (!node->jsonata) {
        return ngx_http_retry_chain_machine_choose(m, at, json, input, 1,
                                                   cond);
    }

    for (item = json->child; item; item = item->next) {
        text = item->string;

        ngx_http_retry_chain_machine_at(&place, at, text, 0);

        if (ngx_strcmp(text, "Output") == 0) {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                      "is not supported here");
        }

        if (ngx_strcmp(text, "Assign") == 0) {
            ngx_http_retry_chain_machine_warn(m, &place,
                                              "has no effect, variables are "
                                              "not known here");

        } else if (ngx_strcmp(text, "Condition") != 0
                   && ngx_strcmp(text, "Next") != 0
                   && ngx_strcmp(text, "Comment") != 0)
        {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                      "unknown field");
        }
    }

    item = ngx_http_retry_chain_machine_get(json, "Condition");

    ngx_http_retry_chain_machine_at(&place, at, "Condition", 0);

    if (item == NULL) {
        return ngx_http_retry_chain_machine_error(m, &place, "is missing");
    }

    if (cJSON_IsBool(item)) {
        *cond = ngx_http_retry_chain_machine_condition(m,
                                       cJSON_IsTrue(item)
                                       ? NGX_HTTP_RETRY_CHAIN_CONDITION_AND
                                       : NGX_HTTP_RETRY_CHAIN_CONDITION_OR);
        return *cond ? NGX_OK : NGX_ERROR;
    }

    if (!cJSON_IsString(item)
        || !ngx_http_retry_chain_machine_expression(item->valuestring, &inner))
    {
        return ngx_http_retry_chain_machine_error(m, &place,
                                                  "must be a string with "
                                                  "\"{%% ... %%}\"");
    }

    return ngx_http_retry_chain_machine_jsonata(m, &place, &inner, input, cond);
}


static ngx_int_t
ngx_http_retry_chain_machine_choose(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_term_t *input, ngx_uint_t top,
    ngx_http_retry_chain_condition_t **condp)
{
    cJSON                             *item, *value;
    ngx_uint_t                         path;
    const char                        *name;
    ngx_http_retry_chain_at_t          place;
    ngx_http_retry_chain_condition_t  *cond;

    if (!cJSON_IsObject(json)) {
        return ngx_http_retry_chain_machine_error(m, at, "must be an object");
    }

    cond = ngx_http_retry_chain_machine_condition(m,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_AND);
    if (cond == NULL) {
        return NGX_ERROR;
    }

    *condp = cond;
    value = NULL;

    for (item = json->child; item; item = item->next) {
        name = item->string;

        if (ngx_strcmp(name, "Variable") == 0
            || ngx_strcmp(name, "Comment") == 0
            || (top && ngx_strcmp(name, "Next") == 0))
        {
            continue;
        }

        ngx_http_retry_chain_machine_at(&place, at, name, 0);

        if (top && ngx_strcmp(name, "Assign") == 0) {
            ngx_http_retry_chain_machine_warn(m, &place,
                                              "has no effect, variables are "
                                              "not known here");
            continue;
        }

        if (!top && ngx_strcmp(name, "Next") == 0) {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                "only the rule around all has "
                                                "a Next");
        }

        if (ngx_http_retry_chain_machine_comparator(name, cond, &path)
            != NGX_OK)
        {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                      "unknown field");
        }

        if (value) {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                "a rule has one comparison, "
                                                "this is another one");
        }

        value = item;
    }

    if (value == NULL) {
        return ngx_http_retry_chain_machine_error(m, at,
                                                  "the comparison is missing");
    }

    ngx_http_retry_chain_machine_at(&place, at, value->string, 0);

    if (cond->type <= NGX_HTTP_RETRY_CHAIN_CONDITION_NOT) {

        if (ngx_http_retry_chain_machine_get(json, "Variable")) {
            return ngx_http_retry_chain_machine_wrong(m, at, "Variable",
                                                "has no place beside And, Or "
                                                "and Not");
        }

        return ngx_http_retry_chain_machine_combine(m, &place, value, input,
                                                    cond);
    }

    return ngx_http_retry_chain_machine_compare(m, at, json, value, input,
                                                cond);
}


static ngx_int_t
ngx_http_retry_chain_machine_combine(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond)
{
    cJSON                             *item;
    ngx_int_t                          rc;
    ngx_uint_t                         n;
    ngx_http_retry_chain_at_t          place;
    ngx_http_retry_chain_condition_t  *inner;

    inner = NULL;

    if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_NOT) {
        rc = ngx_http_retry_chain_machine_choose(m, at, json, input, 0,
                                                 &inner);
        if (rc != NGX_OK) {
            return rc;
        }

        return ngx_http_retry_chain_machine_list_add(m, cond, inner);
    }

    if (!cJSON_IsArray(json) || json->child == NULL) {
        return ngx_http_retry_chain_machine_error(m, at,
                                                  "must be an array that is "
                                                  "not empty");
    }

    /* one allocation for all */

    n = cJSON_GetArraySize(json);

    cond->list = ngx_palloc(m->pool,
                            n * sizeof(ngx_http_retry_chain_condition_t *));
    if (cond->list == NULL) {
        return NGX_ERROR;
    }

    for (item = json->child; item; item = item->next) {

        ngx_http_retry_chain_machine_at(&place, at, NULL, cond->nlist);

        rc = ngx_http_retry_chain_machine_choose(m, &place, item, input, 0,
                                                 &inner);
        if (rc != NGX_OK) {
            return rc;
        }

        cond->list[cond->nlist++] = inner;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_compare(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json, cJSON *value,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond)
{
    cJSON                             *variable;
    ngx_int_t                          rc;
    ngx_uint_t                         i, n, other;
    ngx_http_retry_chain_at_t          at[2];
    ngx_http_retry_chain_term_t       *term;
    ngx_http_retry_chain_operand_t    *operand;
    ngx_http_retry_chain_json_path_t   path;

    variable = ngx_http_retry_chain_machine_get(json, "Variable");

    ngx_http_retry_chain_machine_at(&at[0], up, "Variable", 0);
    ngx_http_retry_chain_machine_at(&at[1], up, value->string, 0);

    if (variable == NULL) {
        return ngx_http_retry_chain_machine_error(m, &at[0], "is missing");
    }

    (void) ngx_http_retry_chain_machine_comparator(value->string, cond, &other);

    n = other ? 2 : 1;

    for (i = 0; i < n; i++) {
        operand = i ? &cond->right : &cond->left;

        rc = ngx_http_retry_chain_machine_path(m, &at[i], i ? value : variable,
                                               &path);
        if (rc != NGX_OK) {
            return rc;
        }

        term = ngx_http_retry_chain_machine_lookup(m, input, &path);
        if (term == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_http_retry_chain_machine_operand(m, &at[i], term, operand);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (!other) {
        rc = ngx_http_retry_chain_machine_literal(m, &at[1], value, cond);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    ngx_http_retry_chain_machine_never(m, up, cond);

    return NGX_OK;
}


/* the name in three parts: type, relation, Path */

static ngx_int_t
ngx_http_retry_chain_machine_comparator(const char *name,
    ngx_http_retry_chain_condition_t *cond, ngx_uint_t *path)
{
    size_t       len;
    ngx_uint_t   i, k;
    const char  *rest;

    static const char  *lists[] = { "And", "Or", "Not" };

    *path = 0;

    for (i = 0; i < 3; i++) {
        if (ngx_strcmp(lists[i], name) == 0) {
            cond->type = NGX_HTTP_RETRY_CHAIN_CONDITION_AND + i;
            return NGX_OK;
        }
    }

    for (i = 0; ngx_http_retry_chain_tests[i].name; i++) {
        if (ngx_strcmp(ngx_http_retry_chain_tests[i].name, name) == 0) {
            cond->type = ngx_http_retry_chain_tests[i].type;
            return NGX_OK;
        }
    }

    for (i = 0; ngx_http_retry_chain_kinds[i].name; i++) {

        len = ngx_strlen(ngx_http_retry_chain_kinds[i].name);

        if (ngx_strncmp(ngx_http_retry_chain_kinds[i].name, name, len) != 0) {
            continue;
        }

        for (k = 0; ngx_http_retry_chain_relations[k].name; k++) {

            if (k && ngx_http_retry_chain_kinds[i].type
                     == NGX_HTTP_RETRY_CHAIN_CONDITION_BOOLEAN)
            {
                break;
            }

            rest = ngx_http_retry_chain_relations[k].name;

            if (ngx_strncmp(&name[len], rest, ngx_strlen(rest)) != 0) {
                continue;
            }

            rest = &name[len + ngx_strlen(rest)];

            if (*rest == '\0' || ngx_strcmp(rest, "Path") == 0) {
                *path = *rest != '\0';
                cond->type = ngx_http_retry_chain_kinds[i].type;
                cond->relation = ngx_http_retry_chain_relations[k].relation;
                return NGX_OK;
            }
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_http_retry_chain_machine_literal(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_condition_t *cond)
{
    int64_t                          time;
    ngx_http_retry_chain_operand_t  *right;

    right = &cond->right;

    switch (cond->type) {

    case NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC:

        if (!cJSON_IsNumber(json)) {
            return ngx_http_retry_chain_machine_error(m, at,
                                                      "must be a number");
        }

        right->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER;
        right->number = json->valuedouble;

        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_STRING:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP:

        if (!cJSON_IsString(json)) {
            return ngx_http_retry_chain_machine_error(m, at,
                                                      "must be a string");
        }

        ngx_http_retry_chain_machine_copy(m, json->valuestring, &right->text);

        if (right->text.data == NULL) {
            return NGX_ERROR;
        }

        right->type = NGX_HTTP_RETRY_CHAIN_OPERAND_STRING;

        if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES
            && right->text.len > NGX_HTTP_RETRY_CHAIN_MAX_PATTERN)
        {
            return ngx_http_retry_chain_machine_error(m, at,
                                             "a pattern has at most %d bytes",
                                             NGX_HTTP_RETRY_CHAIN_MAX_PATTERN);
        }

        if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP
            && ngx_http_retry_chain_condition_time(&right->text, &time)
               != NGX_OK)
        {
            return ngx_http_retry_chain_machine_error(m, at,
                                              "must be a time as in RFC 3339");
        }

        return NGX_OK;

    default: /* Boolean, Is... */

        if (!cJSON_IsBool(json)) {
            return ngx_http_retry_chain_machine_error(m, at,
                                                      "must be true or false");
        }

        right->type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
        right->number = cJSON_IsTrue(json) ? 1 : 0;

        return NGX_OK;
    }
}


/* a status is a number, a header is a string */

static void
ngx_http_retry_chain_machine_never(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at,
    ngx_http_retry_chain_condition_t *cond)
{
    const char  *is;
    ngx_uint_t   type;

    if (cond->type >= NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT) {
        return;
    }

    switch (cond->left.type) {

    case NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS:
        is = "a status is a number";
        type = NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER:
        is = "a header is a string";
        type = NGX_HTTP_RETRY_CHAIN_CONDITION_STRING;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR:
    case NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE:
        is = "Error and Cause are strings";
        type = NGX_HTTP_RETRY_CHAIN_CONDITION_STRING;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT:
        is = "this is an object";
        type = NGX_HTTP_RETRY_CHAIN_CONDITION_AND;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT:
        is = "there is no such value";
        type = NGX_HTTP_RETRY_CHAIN_CONDITION_AND;
        break;

    default:
        return;
    }

    if (cond->type == type
        || (type == NGX_HTTP_RETRY_CHAIN_CONDITION_STRING
            && (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES
                || cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP)))
    {
        return;
    }

    ngx_http_retry_chain_machine_warn(m, at, "is never true, %s", is);
}


ngx_http_retry_chain_condition_t *
ngx_http_retry_chain_machine_condition(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_condition_e type)
{
    ngx_http_retry_chain_condition_t  *cond;

    cond = ngx_pcalloc(m->pool, sizeof(ngx_http_retry_chain_condition_t));

    if (cond) {
        cond->type = type;
    }

    return cond;
}


/* lists grow by doubling */

ngx_int_t
ngx_http_retry_chain_machine_list_add(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_condition_t *list,
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_uint_t                          n;
    ngx_http_retry_chain_condition_t  **larger;

    n = list->nlist;

    if ((n & (n - 1)) == 0) {

        larger = ngx_palloc(m->pool, (n ? 2 * n : 1)
                                 * sizeof(ngx_http_retry_chain_condition_t *));
        if (larger == NULL) {
            return NGX_ERROR;
        }

        if (n) {
            ngx_memcpy(larger, list->list,
                       n * sizeof(ngx_http_retry_chain_condition_t *));
        }

        list->list = larger;
    }

    list->list[list->nlist++] = cond;

    return NGX_OK;
}
