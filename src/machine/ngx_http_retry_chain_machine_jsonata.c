
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What of JSONata conditions on a reply are usually made of: paths, strings,
 * numbers, true, false and null, compared with = != < <= > >= and in [...],
 * joined by "and", "or", $not(), $exists() and parentheses.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


typedef struct {
    ngx_http_retry_chain_machine_t     *m;
    const ngx_http_retry_chain_at_t    *at;
    ngx_http_retry_chain_scope_t        scope;

    u_char                             *start;
    u_char                             *pos;
    u_char                             *last;
    ngx_uint_t                          depth;
} ngx_http_retry_chain_jsonata_t;


static ngx_int_t ngx_http_retry_chain_jsonata_list(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_condition_e type,
    ngx_http_retry_chain_condition_t **cond);
static ngx_int_t ngx_http_retry_chain_jsonata_primary(
    ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **cond);
static ngx_int_t ngx_http_retry_chain_jsonata_group(
    ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **cond);
static ngx_int_t ngx_http_retry_chain_jsonata_compare(
    ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **condp);
static ngx_int_t ngx_http_retry_chain_jsonata_in(
    ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_operand_t *operand,
    ngx_http_retry_chain_condition_t **condp);
static ngx_int_t ngx_http_retry_chain_jsonata_differ(
    ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **condp);
static ngx_int_t ngx_http_retry_chain_jsonata_operand(
    ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_operand_t *operand);
static ngx_int_t ngx_http_retry_chain_jsonata_string(
    ngx_http_retry_chain_jsonata_t *j, ngx_str_t *text);
static ngx_uint_t ngx_http_retry_chain_jsonata_token(
    ngx_http_retry_chain_jsonata_t *j, const char *token);
static ngx_int_t ngx_http_retry_chain_jsonata_error(
    ngx_http_retry_chain_jsonata_t *j, const char *reason);
static u_char *ngx_http_retry_chain_jsonata_blanks(u_char *p, u_char *last);


ngx_uint_t
ngx_http_retry_chain_machine_expression(const char *text, ngx_str_t *inner)
{
    size_t   len;
    u_char  *p, *last;

    len = ngx_strlen(text);

    if (len < 4 || ngx_strncmp(text, "{%", 2) != 0
        || ngx_strcmp(&text[len - 2], "%}") != 0)
    {
        return 0;
    }

    last = (u_char *) text + len - 2;
    p = ngx_http_retry_chain_jsonata_blanks((u_char *) text + 2, last);

    while (last > p && (last[-1] == ' ' || last[-1] == '\n'
                        || last[-1] == '\t' || last[-1] == '\r'))
    {
        last--;
    }

    inner->data = p;
    inner->len = last - p;

    return 1;
}


ngx_int_t
ngx_http_retry_chain_machine_jsonata(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, ngx_str_t *text,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t **cond)
{
    ngx_int_t                       rc;
    ngx_http_retry_chain_jsonata_t  j;

    ngx_memzero(&j, sizeof(ngx_http_retry_chain_jsonata_t));

    j.m = m;
    j.at = at;
    j.scope.input = input;
    j.scope.jsonata = 1;
    j.start = text->data;
    j.pos = text->data;
    j.last = text->data + text->len;

    rc = ngx_http_retry_chain_jsonata_list(&j,
                                           NGX_HTTP_RETRY_CHAIN_CONDITION_OR,
                                           cond);
    if (rc != NGX_OK) {
        return rc;
    }

    j.pos = ngx_http_retry_chain_jsonata_blanks(j.pos, j.last);

    if (j.pos != j.last) {
        return ngx_http_retry_chain_jsonata_error(&j, "unexpected characters");
    }

    return NGX_OK;
}


/* "or" binds weaker than "and" */

static ngx_int_t
ngx_http_retry_chain_jsonata_list(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_e type,
    ngx_http_retry_chain_condition_t **cond)
{
    ngx_int_t                          rc;
    ngx_uint_t                         or;
    ngx_http_retry_chain_condition_t  *list, *item;

    or = type == NGX_HTTP_RETRY_CHAIN_CONDITION_OR;
    list = NULL;
    item = NULL;

    for ( ;; ) {

        rc = or ? ngx_http_retry_chain_jsonata_list(j,
                                           NGX_HTTP_RETRY_CHAIN_CONDITION_AND,
                                           &item)
                : ngx_http_retry_chain_jsonata_primary(j, &item);

        if (rc != NGX_OK) {
            return rc;
        }

        if (list
            && ngx_http_retry_chain_machine_list_add(j->m, list, item)
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (!ngx_http_retry_chain_jsonata_token(j, or ? "or" : "and")) {
            *cond = list ? list : item;
            return NGX_OK;
        }

        if (list) {
            continue;
        }

        list = ngx_http_retry_chain_machine_condition(j->m, type);

        if (list == NULL
            || ngx_http_retry_chain_machine_list_add(j->m, list, item)
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }
}


static ngx_int_t
ngx_http_retry_chain_jsonata_primary(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **cond)
{
    ngx_int_t                          rc;
    ngx_http_retry_chain_condition_t  *inner;

    inner = NULL;

    if (ngx_http_retry_chain_jsonata_token(j, "(")) {
        return ngx_http_retry_chain_jsonata_group(j, cond);
    }

    if (ngx_http_retry_chain_jsonata_token(j, "$not")) {

        if (!ngx_http_retry_chain_jsonata_token(j, "(")) {
            return ngx_http_retry_chain_jsonata_error(j, "\"(\" expected");
        }

        rc = ngx_http_retry_chain_jsonata_group(j, &inner);

        if (rc != NGX_OK) {
            return rc;
        }

        *cond = ngx_http_retry_chain_machine_condition(j->m,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_NOT);
        if (*cond == NULL) {
            return NGX_ERROR;
        }

        return ngx_http_retry_chain_machine_list_add(j->m, *cond, inner);
    }

    if (!ngx_http_retry_chain_jsonata_token(j, "$exists")) {
        return ngx_http_retry_chain_jsonata_compare(j, cond);
    }

    if (!ngx_http_retry_chain_jsonata_token(j, "(")) {
        return ngx_http_retry_chain_jsonata_error(j, "\"(\" expected");
    }

    *cond = ngx_http_retry_chain_machine_condition(j->m,
                                   NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT);
    if (*cond == NULL) {
        return NGX_ERROR;
    }

    (*cond)->right.type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
    (*cond)->right.number = 1;

    rc = ngx_http_retry_chain_jsonata_operand(j, &(*cond)->left);

    if (rc == NGX_OK && !ngx_http_retry_chain_jsonata_token(j, ")")) {
        return ngx_http_retry_chain_jsonata_error(j, "\")\" expected");
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_group(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **cond)
{
    ngx_int_t  rc;

    if (++j->depth > NGX_HTTP_RETRY_CHAIN_JSON_DEPTH) {
        return ngx_http_retry_chain_jsonata_error(j, "nested too deeply");
    }

    rc = ngx_http_retry_chain_jsonata_list(j,
                                           NGX_HTTP_RETRY_CHAIN_CONDITION_OR,
                                           cond);
    j->depth--;

    if (rc == NGX_OK && !ngx_http_retry_chain_jsonata_token(j, ")")) {
        return ngx_http_retry_chain_jsonata_error(j, "\")\" expected");
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_compare(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **condp)
{
    ngx_int_t                          rc;
    ngx_uint_t                         i;
    ngx_http_retry_chain_condition_t  *cond;

    static struct {
        const char                       *token;
        ngx_http_retry_chain_relation_e   relation;
    } relations[] = {
        { "!=", NGX_HTTP_RETRY_CHAIN_EQUAL },
        { "=", NGX_HTTP_RETRY_CHAIN_EQUAL },
        { "<=", NGX_HTTP_RETRY_CHAIN_LESS_EQUAL },
        { "<", NGX_HTTP_RETRY_CHAIN_LESS },
        { ">=", NGX_HTTP_RETRY_CHAIN_GREATER_EQUAL },
        { ">", NGX_HTTP_RETRY_CHAIN_GREATER },
        { NULL, NGX_HTTP_RETRY_CHAIN_EQUAL }
    };

    cond = ngx_http_retry_chain_machine_condition(j->m,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_ANY);
    if (cond == NULL) {
        return NGX_ERROR;
    }

    *condp = cond;

    rc = ngx_http_retry_chain_jsonata_operand(j, &cond->left);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_retry_chain_jsonata_token(j, "in")) {
        return ngx_http_retry_chain_jsonata_in(j, &cond->left, condp);
    }

    for (i = 0; relations[i].token; i++) {
        if (ngx_http_retry_chain_jsonata_token(j, relations[i].token)) {
            break;
        }
    }

    if (relations[i].token == NULL) {

        /* a value alone is to be true */

        cond->right.type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
        cond->right.number = 1;

        return NGX_OK;
    }

    cond->relation = relations[i].relation;

    rc = ngx_http_retry_chain_jsonata_operand(j, &cond->right);

    if (rc != NGX_OK || i != 0) {
        return rc;
    }

    return ngx_http_retry_chain_jsonata_differ(j, condp);
}


static ngx_int_t
ngx_http_retry_chain_jsonata_in(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_operand_t *operand,
    ngx_http_retry_chain_condition_t **condp)
{
    ngx_int_t                          rc;
    ngx_http_retry_chain_condition_t  *list, *cond;

    list = ngx_http_retry_chain_machine_condition(j->m,
                                           NGX_HTTP_RETRY_CHAIN_CONDITION_OR);
    if (list == NULL) {
        return NGX_ERROR;
    }

    *condp = list;

    if (!ngx_http_retry_chain_jsonata_token(j, "[")) {
        return ngx_http_retry_chain_jsonata_error(j, "\"[\" expected");
    }

    do {
        cond = ngx_http_retry_chain_machine_condition(j->m,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_ANY);
        if (cond == NULL) {
            return NGX_ERROR;
        }

        cond->left = *operand;

        rc = ngx_http_retry_chain_jsonata_operand(j, &cond->right);

        if (rc != NGX_OK) {
            return rc;
        }

        if (ngx_http_retry_chain_machine_list_add(j->m, list, cond)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

    } while (ngx_http_retry_chain_jsonata_token(j, ","));

    if (!ngx_http_retry_chain_jsonata_token(j, "]")) {
        return ngx_http_retry_chain_jsonata_error(j, "\"]\" expected");
    }

    return NGX_OK;
}


/* what is missing neither equals nor differs */

static ngx_int_t
ngx_http_retry_chain_jsonata_differ(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t **condp)
{
    ngx_uint_t                         i;
    ngx_http_retry_chain_condition_t  *equal, *not, *all, *is;

    equal = *condp;

    all = ngx_http_retry_chain_machine_condition(j->m,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_AND);
    not = ngx_http_retry_chain_machine_condition(j->m,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_NOT);

    if (all == NULL || not == NULL
        || ngx_http_retry_chain_machine_list_add(j->m, not, equal) != NGX_OK
        || ngx_http_retry_chain_machine_list_add(j->m, all, not) != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < 2; i++) {
        is = ngx_http_retry_chain_machine_condition(j->m,
                                   NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT);

        if (is == NULL
            || ngx_http_retry_chain_machine_list_add(j->m, all, is) != NGX_OK)
        {
            return NGX_ERROR;
        }

        is->left = i ? equal->right : equal->left;
        is->right.type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
        is->right.number = 1;
    }

    *condp = all;

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_operand(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_operand_t *operand)
{
    u_char                       *p;
    ngx_int_t                     rc;
    ngx_str_t                     text;
    ngx_uint_t                    i;
    ngx_http_retry_chain_term_t  *term;

    static const char  *words[] = { "false", "true", "null" };

    for (i = 0; i < 3; i++) {

        if (ngx_http_retry_chain_jsonata_token(j, words[i])) {
            operand->type = i < 2 ? NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN
                                  : NGX_HTTP_RETRY_CHAIN_OPERAND_NULL;
            operand->number = i == 1 ? 1 : 0;
            return NGX_OK;
        }
    }

    j->pos = ngx_http_retry_chain_jsonata_blanks(j->pos, j->last);
    p = j->pos;

    if (p == j->last) {
        return ngx_http_retry_chain_jsonata_error(j, "a value expected");
    }

    if (*p == '"' || *p == '\'') {
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_STRING;
        return ngx_http_retry_chain_jsonata_string(j, &operand->text);
    }

    if (*p == '-' || (*p >= '0' && *p <= '9')) {

        while (p < j->last && (ngx_http_retry_chain_machine_named(*p)
                               || *p == '.' || p == j->pos))
        {
            p++;
        }

        text.data = j->pos;
        text.len = p - j->pos;

        if (ngx_http_retry_chain_json_number(&text, &operand->number)
            != NGX_OK)
        {
            return ngx_http_retry_chain_jsonata_error(j, "invalid number");
        }

        j->pos = p;
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER;

        return NGX_OK;
    }

    rc = ngx_http_retry_chain_machine_reference(j->m, &j->pos, j->last,
                                                &j->scope, &term);
    if (rc == NGX_DECLINED) {
        return ngx_http_retry_chain_jsonata_error(j,
                                            "a path from $states.input or a "
                                            "constant expected");
    }

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_retry_chain_machine_operand(j->m, j->at, term, operand);
}


static ngx_int_t
ngx_http_retry_chain_jsonata_string(ngx_http_retry_chain_jsonata_t *j,
    ngx_str_t *text)
{
    u_char  *p, *dst, quote;

    quote = *j->pos++;

    text->data = ngx_pnalloc(j->m->pool, j->last - j->pos + 1);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    dst = text->data;

    for (p = j->pos; p < j->last && *p != quote; p++) {

        if (*p == '\\') {

            if (++p == j->last || (*p != '"' && *p != '\'' && *p != '\\'
                                   && *p != '/'))
            {
                return ngx_http_retry_chain_jsonata_error(j,
                                                          "unknown escape");
            }
        }

        *dst++ = *p;
    }

    if (p == j->last) {
        return ngx_http_retry_chain_jsonata_error(j,
                                              "the closing quote is missing");
    }

    j->pos = p + 1;
    text->len = dst - text->data;

    return NGX_OK;
}


/* takes the token if it is there; a word must end there, too */

static ngx_uint_t
ngx_http_retry_chain_jsonata_token(ngx_http_retry_chain_jsonata_t *j,
    const char *token)
{
    size_t   len;
    u_char  *p;

    j->pos = ngx_http_retry_chain_jsonata_blanks(j->pos, j->last);

    p = j->pos;
    len = ngx_strlen(token);

    if ((size_t) (j->last - p) < len || ngx_strncmp(p, token, len) != 0) {
        return 0;
    }

    p += len;

    if (ngx_http_retry_chain_machine_named((u_char) token[len - 1])
        && p < j->last && ngx_http_retry_chain_machine_named(*p))
    {
        return 0;
    }

    j->pos = p;

    return 1;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_error(ngx_http_retry_chain_jsonata_t *j,
    const char *reason)
{
    return ngx_http_retry_chain_machine_error(j->m, j->at,
                                              "not supported, %s after %uz "
                                              "bytes", reason,
                                              (size_t) (j->pos - j->start));
}


static u_char *
ngx_http_retry_chain_jsonata_blanks(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
        p++;
    }

    return p;
}


ngx_uint_t
ngx_http_retry_chain_machine_named(u_char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
           || (ch >= '0' && ch <= '9') || ch == '_' || ch >= 0x80;
}
