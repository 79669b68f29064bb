
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What of JSONata conditions on a reply are usually made of: paths, strings,
 * numbers, true, false and null, compared with = != < <= > >= and in [...],
 * joined by "and", "or", $not(), $exists() and parentheses.  Elsewhere only a
 * path alone is understood.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


typedef struct {
    ngx_http_retry_chain_machine_t     *m;
    cJSON                              *json;
    ngx_http_retry_chain_scope_t        scope;

    u_char                             *start;
    u_char                             *pos;
    u_char                             *last;
    ngx_uint_t                          depth;
} ngx_http_retry_chain_jsonata_t;


static ngx_int_t ngx_http_retry_chain_jsonata_list(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_condition_e type,
    ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_jsonata_primary(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_condition_t *cond);
static void ngx_http_retry_chain_jsonata_is(
    ngx_http_retry_chain_condition_t *cond,
    ngx_http_retry_chain_condition_e type);
static ngx_int_t ngx_http_retry_chain_jsonata_compare(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_jsonata_in(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_jsonata_differ(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_condition_t *cond);
static ngx_int_t ngx_http_retry_chain_jsonata_operand(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_operand_t *operand);
static ngx_int_t ngx_http_retry_chain_jsonata_number(
    ngx_http_retry_chain_jsonata_t *j, double *number);
static ngx_int_t ngx_http_retry_chain_jsonata_string(
    ngx_http_retry_chain_jsonata_t *j, ngx_str_t *text);
static ngx_uint_t ngx_http_retry_chain_jsonata_token(
    ngx_http_retry_chain_jsonata_t *j, const char *token);
static ngx_int_t ngx_http_retry_chain_jsonata_expect(
    ngx_http_retry_chain_jsonata_t *j, const char *token);
static ngx_int_t ngx_http_retry_chain_jsonata_error(
    ngx_http_retry_chain_jsonata_t *j, const char *reason);
static ngx_int_t ngx_http_retry_chain_jsonata_reference(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_term_t **term);
static ngx_int_t ngx_http_retry_chain_jsonata_key(
    ngx_http_retry_chain_jsonata_t *j, ngx_http_retry_chain_json_key_t *key);
static u_char *ngx_http_retry_chain_jsonata_blanks(u_char *p, u_char *last);
static ngx_uint_t ngx_http_retry_chain_jsonata_named(u_char ch);


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

    while (last > p && ngx_strchr(" \t\r\n", last[-1])) {
        last--;
    }

    inner->data = p;
    inner->len = last - p;

    return 1;
}


ngx_int_t
ngx_http_retry_chain_machine_jsonata(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_str_t *inner, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_http_retry_chain_jsonata_t  j;

    ngx_memzero(&j, sizeof(ngx_http_retry_chain_jsonata_t));

    j.m = m;
    j.json = json;
    j.scope.input = input;
    j.start = inner->data;
    j.pos = inner->data;
    j.last = inner->data + inner->len;

    if (ngx_http_retry_chain_jsonata_list(&j, NGX_HTTP_RETRY_CHAIN_CONDITION_OR,
                                          cond)
        != NGX_OK)
    {
        return NGX_ERROR;
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
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_int_t                          rc;
    ngx_uint_t                         or;
    ngx_http_retry_chain_condition_t  *item;

    or = type == NGX_HTTP_RETRY_CHAIN_CONDITION_OR;
    cond->type = type;

    do {
        item = ngx_http_retry_chain_machine_condition(j->m, cond, type);

        if (item == NULL) {
            return NGX_ERROR;
        }

        rc = or ? ngx_http_retry_chain_jsonata_list(j,
                                     NGX_HTTP_RETRY_CHAIN_CONDITION_AND, item)
                : ngx_http_retry_chain_jsonata_primary(j, item);

        if (rc != NGX_OK) {
            return rc;
        }

    } while (ngx_http_retry_chain_jsonata_token(j, or ? "or" : "and"));

    /* a list of one is that one */

    if (cond->nlist == 1) {
        *cond = *item;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_primary(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_uint_t  negated;

    negated = ngx_http_retry_chain_jsonata_token(j, "$not");

    if (negated) {
        cond->type = NGX_HTTP_RETRY_CHAIN_CONDITION_NOT;
        cond = ngx_http_retry_chain_machine_condition(j->m, cond, cond->type);

        if (cond == NULL
            || ngx_http_retry_chain_jsonata_expect(j, "(") != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (negated || ngx_http_retry_chain_jsonata_token(j, "(")) {

        if (++j->depth > NGX_HTTP_RETRY_CHAIN_JSON_DEPTH) {
            return ngx_http_retry_chain_jsonata_error(j, "nested too deeply");
        }

        if (ngx_http_retry_chain_jsonata_list(j,
                                       NGX_HTTP_RETRY_CHAIN_CONDITION_OR, cond)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        j->depth--;

        return ngx_http_retry_chain_jsonata_expect(j, ")");
    }

    if (!ngx_http_retry_chain_jsonata_token(j, "$exists")) {
        return ngx_http_retry_chain_jsonata_compare(j, cond);
    }

    ngx_http_retry_chain_jsonata_is(cond,
                                   NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT);

    if (ngx_http_retry_chain_jsonata_expect(j, "(") != NGX_OK
        || ngx_http_retry_chain_jsonata_operand(j, &cond->left) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_jsonata_expect(j, ")");
}


/* what is to be true */

static void
ngx_http_retry_chain_jsonata_is(ngx_http_retry_chain_condition_t *cond,
    ngx_http_retry_chain_condition_e type)
{
    cond->type = type;
    cond->right.type = NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN;
    cond->right.number = 1;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_compare(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_uint_t  i, differ;

    /* in the order of the relations, of two the longer one is last */

    static const char  *tokens[] = { "=", "<", "<=", ">", ">=" };

    cond->type = NGX_HTTP_RETRY_CHAIN_CONDITION_ANY;

    if (ngx_http_retry_chain_jsonata_operand(j, &cond->left) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_http_retry_chain_jsonata_token(j, "in")) {
        return ngx_http_retry_chain_jsonata_in(j, cond);
    }

    differ = ngx_http_retry_chain_jsonata_token(j, "!=");

    for (i = differ ? 1 : 5; i; i--) {
        if (differ || ngx_http_retry_chain_jsonata_token(j, tokens[i - 1])) {
            break;
        }
    }

    if (i == 0) {
        ngx_http_retry_chain_jsonata_is(cond, cond->type);
        return NGX_OK;
    }

    cond->relation = i - 1;

    if (ngx_http_retry_chain_jsonata_operand(j, &cond->right) != NGX_OK) {
        return NGX_ERROR;
    }

    return differ ? ngx_http_retry_chain_jsonata_differ(j, cond) : NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_in(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_http_retry_chain_operand_t     left;
    ngx_http_retry_chain_condition_t  *item;

    left = cond->left;

    ngx_memzero(cond, sizeof(ngx_http_retry_chain_condition_t));

    cond->type = NGX_HTTP_RETRY_CHAIN_CONDITION_OR;

    if (ngx_http_retry_chain_jsonata_expect(j, "[") != NGX_OK) {
        return NGX_ERROR;
    }

    do {
        item = ngx_http_retry_chain_machine_condition(j->m, cond,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_ANY);
        if (item == NULL) {
            return NGX_ERROR;
        }

        item->left = left;

        if (ngx_http_retry_chain_jsonata_operand(j, &item->right) != NGX_OK) {
            return NGX_ERROR;
        }

    } while (ngx_http_retry_chain_jsonata_token(j, ","));

    return ngx_http_retry_chain_jsonata_expect(j, "]");
}


/* what is missing neither equals nor differs */

static ngx_int_t
ngx_http_retry_chain_jsonata_differ(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_condition_t *cond)
{
    ngx_uint_t                         i;
    ngx_http_retry_chain_condition_t   equal, *item;

    equal = *cond;

    ngx_memzero(cond, sizeof(ngx_http_retry_chain_condition_t));

    cond->type = NGX_HTTP_RETRY_CHAIN_CONDITION_AND;

    item = ngx_http_retry_chain_machine_condition(j->m, cond,
                                          NGX_HTTP_RETRY_CHAIN_CONDITION_NOT);
    if (item == NULL) {
        return NGX_ERROR;
    }

    item = ngx_http_retry_chain_machine_condition(j->m, item, equal.type);
    if (item == NULL) {
        return NGX_ERROR;
    }

    *item = equal;

    for (i = 0; i < 2; i++) {
        item = ngx_http_retry_chain_machine_condition(j->m, cond,
                                   NGX_HTTP_RETRY_CHAIN_CONDITION_IS_PRESENT);
        if (item == NULL) {
            return NGX_ERROR;
        }

        ngx_http_retry_chain_jsonata_is(item, item->type);
        item->left = i ? equal.right : equal.left;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_operand(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_operand_t *operand)
{
    u_char                       *p;
    ngx_int_t                     rc;
    ngx_uint_t                    i;
    ngx_http_retry_chain_term_t  *term;

    static const char  *words[] = { "false", "true", "null" };

    for (i = 0; i < 3; i++) {

        if (ngx_http_retry_chain_jsonata_token(j, words[i])) {
            operand->type = i < 2 ? NGX_HTTP_RETRY_CHAIN_OPERAND_BOOLEAN
                                  : NGX_HTTP_RETRY_CHAIN_OPERAND_NULL;
            operand->number = i == 1;
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
        operand->type = NGX_HTTP_RETRY_CHAIN_OPERAND_NUMBER;
        return ngx_http_retry_chain_jsonata_number(j, &operand->number);
    }

    rc = ngx_http_retry_chain_jsonata_reference(j, &term);

    if (rc == NGX_DECLINED) {
        j->pos = p;
        return ngx_http_retry_chain_jsonata_error(j,
                          "a path from $states.input or a constant expected");
    }

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_retry_chain_machine_operand(j->m, j->json, term, operand);
}


static ngx_int_t
ngx_http_retry_chain_jsonata_number(ngx_http_retry_chain_jsonata_t *j,
    double *number)
{
    u_char     *p;
    ngx_str_t   text;

    p = j->pos + 1;

    while (p < j->last && (ngx_http_retry_chain_jsonata_named(*p) || *p == '.'))
    {
        p++;
    }

    text.data = j->pos;
    text.len = p - j->pos;

    if (ngx_http_retry_chain_json_number(&text, number) != NGX_OK) {
        return ngx_http_retry_chain_jsonata_error(j, "invalid number");
    }

    j->pos = p;

    return NGX_OK;
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

        if (*p == '\\'
            && (++p == j->last || !ngx_strchr("\"'\\/", *p)))
        {
            return ngx_http_retry_chain_jsonata_error(j, "unknown escape");
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

    if (ngx_http_retry_chain_jsonata_named((u_char) token[len - 1])
        && p < j->last && ngx_http_retry_chain_jsonata_named(*p))
    {
        return 0;
    }

    j->pos = p;

    return 1;
}


static ngx_int_t
ngx_http_retry_chain_jsonata_expect(ngx_http_retry_chain_jsonata_t *j,
    const char *token)
{
    char  reason[] = "\"?\" expected";

    if (ngx_http_retry_chain_jsonata_token(j, token)) {
        return NGX_OK;
    }

    reason[1] = token[0];

    return ngx_http_retry_chain_jsonata_error(j, reason);
}


static ngx_int_t
ngx_http_retry_chain_jsonata_error(ngx_http_retry_chain_jsonata_t *j,
    const char *reason)
{
    return ngx_http_retry_chain_machine_error(j->m, j->json, NULL,
                                         "not supported, %s after %uz bytes",
                                         reason, (size_t) (j->pos - j->start));
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_evaluate(ngx_http_retry_chain_machine_t *m,
    ngx_str_t *inner, ngx_http_retry_chain_scope_t *scope)
{
    ngx_int_t                        rc;
    ngx_http_retry_chain_term_t     *term;
    ngx_http_retry_chain_jsonata_t   j;

    ngx_memzero(&j, sizeof(ngx_http_retry_chain_jsonata_t));

    j.m = m;
    j.scope = *scope;
    j.pos = inner->data;
    j.last = inner->data + inner->len;

    rc = ngx_http_retry_chain_jsonata_reference(&j, &term);

    if (rc == NGX_ERROR) {
        return NULL;
    }

    return rc == NGX_OK && j.pos == j.last ? term : &m->unknown;
}


/* the term of a path; NGX_DECLINED, without an error, if it is none */

static ngx_int_t
ngx_http_retry_chain_jsonata_reference(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_term_t **term)
{
    ngx_int_t                        rc;
    ngx_uint_t                       i, n;
    ngx_http_retry_chain_json_key_t  keys[NGX_HTTP_RETRY_CHAIN_JSON_DEPTH];

    static const char  *names[] = { "input", "result", "errorOutput",
                                    "context", NULL };

    if (!ngx_http_retry_chain_jsonata_token(j, "$states")) {
        return NGX_DECLINED;
    }

    for (n = 0; j->pos < j->last && (*j->pos == '.' || *j->pos == '['); n++) {

        if (n == NGX_HTTP_RETRY_CHAIN_JSON_DEPTH) {
            return NGX_DECLINED;
        }

        rc = ngx_http_retry_chain_jsonata_key(j, &keys[n]);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    if (n == 0 || keys[0].indexed) {
        return NGX_DECLINED;
    }

    for (i = 0; names[i]; i++) {
        if (ngx_strcmp(keys[0].name.data, names[i]) == 0) {
            break;
        }
    }

    if (names[i] == NULL) {
        return NGX_DECLINED;
    }

    *term = i == 0 ? j->scope.input : i == 1 ? j->scope.result
            : i == 2 ? j->scope.error : NULL;

    *term = *term ? ngx_http_retry_chain_machine_lookup(j->m, *term, &keys[1],
                                                        n - 1)
                  : &j->m->unknown;

    return *term ? NGX_OK : NGX_ERROR;
}


/* .name, ."name", .`name` or [n] */

static ngx_int_t
ngx_http_retry_chain_jsonata_key(ngx_http_retry_chain_jsonata_t *j,
    ngx_http_retry_chain_json_key_t *key)
{
    u_char  *p, *start, quote;

    ngx_memzero(key, sizeof(ngx_http_retry_chain_json_key_t));

    p = j->pos + 1;
    start = p;

    if (*j->pos == '[') {

        while (p < j->last && *p >= '0' && *p <= '9') {
            p++;
        }

        if (p == start || p - start > 6 || p == j->last || *p != ']') {
            return NGX_DECLINED;
        }

        key->index = ngx_atoi(start, p - start);
        key->indexed = 1;
        j->pos = p + 1;

        return NGX_OK;
    }

    quote = p < j->last && (*p == '"' || *p == '`') ? *p : '\0';

    if (quote) {
        start = ++p;

        while (p < j->last && *p != quote && *p != '\\') {
            p++;
        }

        if (p == j->last || *p == '\\') {
            return NGX_DECLINED;
        }

        j->pos = p + 1;

    } else {

        while (p < j->last && ngx_http_retry_chain_jsonata_named(*p)) {
            p++;
        }

        if (p == start) {
            return NGX_DECLINED;
        }

        j->pos = p;
    }

    key->name.len = p - start;
    key->name.data = ngx_pnalloc(j->m->pool, key->name.len + 1);
    if (key->name.data == NULL) {
        return NGX_ERROR;
    }

    *ngx_cpymem(key->name.data, start, key->name.len) = '\0';

    return NGX_OK;
}


static u_char *
ngx_http_retry_chain_jsonata_blanks(u_char *p, u_char *last)
{
    while (p < last && ngx_strchr(" \t\r\n", *p)) {
        p++;
    }

    return p;
}


static ngx_uint_t
ngx_http_retry_chain_jsonata_named(u_char ch)
{
    return ngx_http_retry_chain_machine_alnum(ch) || ch == '_' || ch >= 0x80;
}
