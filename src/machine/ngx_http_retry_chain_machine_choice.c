
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The rules of a Choice as conditions, and what these ask for.
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
static ngx_int_t ngx_http_retry_chain_machine_value(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_operand_t *operand);


/* in the order of the types of conditions */

static const char  *ngx_http_retry_chain_comparisons[] = {
    "And", "Or", "Not", "String", "Numeric", "Boolean", "Timestamp", "",
    "StringMatches", "IsPresent", "IsNull", "IsNumeric", "IsString",
    "IsBoolean", "IsTimestamp", NULL
};


/* in their order */

static const char  *ngx_http_retry_chain_relations[] = {
    "Equals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals",
    NULL
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

    item = ngx_http_retry_chain_machine_get(m, json, "Condition",
                                            NGX_HTTP_RETRY_CHAIN_ANY);
    if (item == NULL) {
        return NGX_ERROR;
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
                                       "must be a string with \"{%% ... %%}\"");
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

    if (ngx_http_retry_chain_machine_is(m, json, cJSON_Object) != NGX_OK) {
        return NGX_ERROR;
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
                                           NGX_HTTP_RETRY_CHAIN_NO_VARIABLES);
            continue;
        }

        if (ngx_strcmp(name, "Next") == 0) {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                                         "only the rule around all has a Next");
        }

        if (ngx_http_retry_chain_machine_comparator(name, cond, &path)
            != NGX_OK)
        {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                                                      "unknown field");
        }

        if (value) {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                              "a rule has one comparison, this is another one");
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
                                         "has no place beside And, Or and Not");
    }

    return ngx_http_retry_chain_machine_combine(m, value, input, cond);
}


static ngx_int_t
ngx_http_retry_chain_machine_combine(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond)
{
    cJSON                             *item;
    ngx_uint_t                         alone;
    ngx_http_retry_chain_condition_t  *inner;

    alone = cond->type == NGX_HTTP_RETRY_CHAIN_CONDITION_NOT;

    if (!alone
        && ngx_http_retry_chain_machine_is(m, json, NGX_HTTP_RETRY_CHAIN_LIST)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (item = alone ? json : json->child; item; item = item->next) {

        inner = ngx_http_retry_chain_machine_condition(m, cond,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_AND);

        if (inner == NULL
            || ngx_http_retry_chain_machine_choose(m, item, input, 0, inner)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (alone) {
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

    variable = ngx_http_retry_chain_machine_get(m, json, "Variable",
                                                NGX_HTTP_RETRY_CHAIN_ANY);

    if (variable == NULL
        || ngx_http_retry_chain_machine_variable(m, variable, input,
                                                 &cond->left)
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
    const char  *kind, *rest;

    for (i = 0; ngx_http_retry_chain_comparisons[i]; i++) {
        kind = ngx_http_retry_chain_comparisons[i];
        len = ngx_strlen(kind);

        if (len == 0 || ngx_strncmp(name, kind, len) != 0) {
            continue;
        }

        cond->type = i;

        if (i < NGX_HTTP_RETRY_CHAIN_CONDITION_STRING
            || i > NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP)
        {
            if (name[len] == '\0') {
                return NGX_OK;
            }

            continue;
        }

        for (k = 0; ngx_http_retry_chain_relations[k]; k++) {

            rest = ngx_http_retry_chain_relations[k];

            if (ngx_strncmp(&name[len], rest, ngx_strlen(rest)) != 0) {
                continue;
            }

            rest = &name[len + ngx_strlen(rest)];
            *path = ngx_strcmp(rest, "Path") == 0;

            if (*rest == '\0' || *path) {
                cond->relation = k;
                return k && i == NGX_HTTP_RETRY_CHAIN_CONDITION_BOOLEAN
                       ? NGX_DECLINED : NGX_OK;
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
    ngx_uint_t                       types;
    ngx_http_retry_chain_operand_t  *right;

    switch (cond->type) {

    case NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC:
        types = cJSON_Number;
        break;

    case NGX_HTTP_RETRY_CHAIN_CONDITION_STRING:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES:
    case NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP:
        types = cJSON_String;
        break;

    default: /* Boolean, Is... */
        types = NGX_HTTP_RETRY_CHAIN_BOOL;
        break;
    }

    right = &cond->right;

    if (ngx_http_retry_chain_machine_is(m, json, types) != NGX_OK
        || ngx_http_retry_chain_machine_value(m, json, right) != NGX_OK)
    {
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
    ngx_uint_t   types, text;

    text = 1 << NGX_HTTP_RETRY_CHAIN_CONDITION_STRING
           | 1 << NGX_HTTP_RETRY_CHAIN_CONDITION_MATCHES
           | 1 << NGX_HTTP_RETRY_CHAIN_CONDITION_TIMESTAMP;

    switch (cond->left.type) {

    case NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS:
        is = "a status is a number";
        types = 1 << NGX_HTTP_RETRY_CHAIN_CONDITION_NUMERIC;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER:
        is = "a header is a string";
        types = text;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR:
    case NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE:
        is = "Error and Cause are strings";
        types = text;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT:
        is = "this is an object";
        types = 0;
        break;

    case NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT:
        is = "there is no such value";
        types = 0;
        break;

    default:
        return;
    }

    if (cond->type < NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT
        && !(types & 1 << cond->type))
    {
        ngx_http_retry_chain_machine_warn(m, json, NULL, "is never true, %s",
                                          is);
    }
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


ngx_int_t
ngx_http_retry_chain_machine_operand(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand)
{
    switch (term->type) {

    case NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN:
        return ngx_http_retry_chain_machine_error(m, json, NULL, "%s",
                                                  term->reason);

    case NGX_HTTP_RETRY_CHAIN_TERM_OPERAND:
        *operand = term->operand;
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
        return ngx_http_retry_chain_machine_value(m, term->json, operand);

    default:
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT;
        return NGX_OK;
    }
}


static ngx_int_t
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
