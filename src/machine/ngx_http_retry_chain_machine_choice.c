
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The rules of a Choice as conditions.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_int_t ngx_http_retry_chain_machine_branch(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_machine_choose(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *input, ngx_uint_t top,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_machine_combine(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_machine_compare(
    ngx_http_retry_chain_machine_t *m, cJSON *json, cJSON *value,
    ngx_http_retry_chain_term_t *input, ngx_uint_t path,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_machine_variable(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_operand_t *operand);
static ngx_int_t ngx_http_retry_chain_machine_comparator(const char *name,
    ngx_http_retry_chain_condition_t *cond, ngx_uint_t *path);
static ngx_int_t ngx_http_retry_chain_machine_literal(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_condition_t *cond);
static void ngx_http_retry_chain_machine_never(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
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
    cJSON                             *list, *item;
    ngx_int_t                          rc;
    ngx_http_retry_chain_state_t      *state;
    ngx_http_retry_chain_condition_t  *cond;

    state = &node->state;

    state->branches = ngx_pcalloc(m->pool, (node->nlinks - 1)
                                      * sizeof(ngx_http_retry_chain_branch_t));
    if (state->branches == NULL) {
        return NGX_ERROR;
    }

    list = cJSON_GetObjectItemCaseSensitive(node->json, "Choices");

    for (item = list->child; item; item = item->next) {

        cond = ngx_http_retry_chain_machine_condition(m, NULL,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_AND);
        if (cond == NULL) {
            return NGX_ERROR;
        }

        rc = node->jsonata
             ? ngx_http_retry_chain_machine_branch(m, item, input, cond)
             : ngx_http_retry_chain_machine_choose(m, item, input, 1, cond);

        if (rc != NGX_OK) {
            return rc;
        }

        state->branches[state->nbranches++].condition = cond;
    }

    return NGX_OK;
}


/* a rule in JSONata */

static ngx_int_t
ngx_http_retry_chain_machine_branch(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond)
{
    cJSON      *item;
    ngx_str_t   inner;

    if (ngx_http_retry_chain_machine_check_fields(m, json,
                                           NGX_HTTP_RETRY_CHAIN_IN_CHOICES, 1)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    item = cJSON_GetObjectItemCaseSensitive(json, "Condition");

    if (item == NULL) {
        return ngx_http_retry_chain_machine_error(m, json, "Condition",
                                                  "is missing");
    }

    if (cJSON_IsBool(item)) {

        /* an empty list: all of it holds, but not one of it */

        cond->type = cJSON_IsTrue(item) ? NGX_HTTP_RETRY_CHAIN_CONDITION_AND
                                        : NGX_HTTP_RETRY_CHAIN_CONDITION_OR;
        return NGX_OK;
    }

    if (!cJSON_IsString(item)
        || !ngx_http_retry_chain_machine_expression(item->valuestring, &inner))
    {
        return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                  "must be a string with "
                                                  "\"{%% ... %%}\"");
    }

    return ngx_http_retry_chain_machine_jsonata(m, item, &inner, input, cond);
}


static ngx_int_t
ngx_http_retry_chain_machine_choose(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *input, ngx_uint_t top,
    ngx_http_retry_chain_condition_t *cond)
{
    cJSON       *item, *value;
    ngx_uint_t   path;
    const char  *name;

    if (!cJSON_IsObject(json)) {
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                                  "must be an object");
    }

    value = NULL;
    path = 0;

    for (item = json->child; item; item = item->next) {
        name = item->string;

        if (ngx_strcmp(name, "Variable") == 0
            || ngx_strcmp(name, "Comment") == 0
            || (top && ngx_strcmp(name, "Next") == 0))
        {
            continue;
        }

        if (top && ngx_strcmp(name, "Assign") == 0) {
            ngx_http_retry_chain_machine_warn(m, item, NULL,
                                              "has no effect, variables are "
                                              "not known here");
            continue;
        }

        if (ngx_strcmp(name, "Next") == 0) {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                "only the rule around all has "
                                                "a Next");
        }

        if (ngx_http_retry_chain_machine_comparator(name, cond, &path)
            != NGX_OK)
        {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                      "unknown field");
        }

        if (value) {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                "a rule has one comparison, "
                                                "this is another one");
        }

        value = item;
    }

    if (value == NULL) {
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                                  "the comparison is missing");
    }

    if (cond->type > NGX_HTTP_RETRY_CHAIN_CONDITION_NOT) {
        return ngx_http_retry_chain_machine_compare(m, json, value, input,
                                                    path, cond);
    }

    if (cJSON_GetObjectItemCaseSensitive(json, "Variable")) {
        return ngx_http_retry_chain_machine_error(m, json, "Variable",
                                                "has no place beside And, Or "
                                                "and Not");
    }

    return ngx_http_retry_chain_machine_combine(m, value, input, cond);
}


static ngx_int_t
ngx_http_retry_chain_machine_combine(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond)
{
    cJSON                             *item;
    ngx_uint_t                         not;
    ngx_http_retry_chain_condition_t  *inner;

    not = cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_NOT;

    if (!not && (!cJSON_IsArray(json) || json->child == NULL)) {
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                                  "must be an array that is "
                                                  "not empty");
    }

    for (item = not ? json : json->child; item; item = item->next) {

        inner = ngx_http_retry_chain_machine_condition(m, cond,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_AND);

        if (inner == NULL
            || ngx_http_retry_chain_machine_choose(m, item, input, 0, inner)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (not) {
            break;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_compare(ngx_http_retry_chain_machine_t *m,
    cJSON *json, cJSON *value, ngx_http_retry_chain_term_t *input,
    ngx_uint_t path, ngx_http_retry_chain_condition_t *cond)
{
    cJSON      *variable;
    ngx_int_t   rc;

    variable = cJSON_GetObjectItemCaseSensitive(json, "Variable");

    if (variable == NULL) {
        return ngx_http_retry_chain_machine_error(m, json, "Variable",
                                                  "is missing");
    }

    if (ngx_http_retry_chain_machine_variable(m, variable, input, &cond->left)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = path ? ngx_http_retry_chain_machine_variable(m, value, input,
                                                      &cond->right)
              : ngx_http_retry_chain_machine_literal(m, value, cond);

    if (rc == NGX_OK) {
        ngx_http_retry_chain_machine_never(m, json, cond);
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_machine_variable(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_operand_t *operand)
{
    ngx_http_retry_chain_term_t       *term;
    ngx_http_retry_chain_json_path_t   path;

    if (ngx_http_retry_chain_machine_path(m, json, &path) != NGX_OK) {
        return NGX_ERROR;
    }

    term = ngx_http_retry_chain_machine_lookup(m, input, path.keys, path.nkeys);

    if (term == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_machine_operand(m, json, term, operand);
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
    cJSON *json, ngx_http_retry_chain_condition_t *cond)
{
    int64_t                          time;
    ngx_http_retry_chain_operand_t  *right;

    switch (cond->type) {

    case NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC:

        if (!cJSON_IsNumber(json)) {
            return ngx_http_retry_chain_machine_error(m, json, NULL,
                                                      "must be a number");
        }

        break;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_STRING:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP:

        if (!cJSON_IsString(json)) {
            return ngx_http_retry_chain_machine_error(m, json, NULL,
                                                      "must be a string");
        }

        break;

    default: /* Boolean, Is... */

        if (!cJSON_IsBool(json)) {
            return ngx_http_retry_chain_machine_error(m, json, NULL,
                                                      "must be true or false");
        }
    }

    right = &cond->right;

    if (ngx_http_retry_chain_machine_value(m, json, right) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES
        && right->text.len > NGX_HTTP_RETRY_CHAIN_MAX_PATTERN)
    {
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                             "a pattern has at most %d bytes",
                                             NGX_HTTP_RETRY_CHAIN_MAX_PATTERN);
    }

    if (cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP
        && ngx_http_retry_chain_condition_time(&right->text, &time) != NGX_OK)
    {
        return ngx_http_retry_chain_machine_error(m, json, NULL,
                                              "must be a time as in RFC 3339");
    }

    return NGX_OK;
}


/* a status is a number, a header is a string */

static void
ngx_http_retry_chain_machine_never(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_condition_t *cond)
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

    ngx_http_retry_chain_machine_warn(m, json, NULL, "is never true, %s",
                                      is);
}


/* lists grow by doubling */

ngx_http_retry_chain_condition_t *
ngx_http_retry_chain_machine_condition(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_condition_t *list,
    ngx_http_retry_chain_condition_e type)
{
    ngx_uint_t                          n;
    ngx_http_retry_chain_condition_t   *cond, **larger;

    cond = ngx_pcalloc(m->pool, sizeof(ngx_http_retry_chain_condition_t));
    if (cond == NULL) {
        return NULL;
    }

    cond->type = type;

    if (list == NULL) {
        return cond;
    }

    n = list->nlist;

    if ((n & (n - 1)) == 0) {

        larger = ngx_palloc(m->pool, (n ? 2 * n : 1)
                                 * sizeof(ngx_http_retry_chain_condition_t *));
        if (larger == NULL) {
            return NULL;
        }

        if (n) {
            ngx_memcpy(larger, list->list,
                       n * sizeof(ngx_http_retry_chain_condition_t *));
        }

        list->list = larger;
    }

    list->list[list->nlist++] = cond;

    return cond;
}
