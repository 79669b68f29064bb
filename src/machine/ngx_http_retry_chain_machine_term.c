
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Terms: what is known of a piece of data, and how it is taken apart and put
 * together.  A term does not change once others refer to it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static void *ngx_http_retry_chain_machine_alloc(
    ngx_http_retry_chain_machine_t *m, size_t size);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_find_field(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    const char *name);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_header(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *headers,
    ngx_http_retry_chain_json_key_t *key);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_body(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *body,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys);
static ngx_uint_t ngx_http_retry_chain_machine_same(
    ngx_http_retry_chain_term_t *a, ngx_http_retry_chain_term_t *b);


/* what lambda:invoke has beside the Payload */

static const char  *ngx_http_retry_chain_beside[] = {
    "ExecutedVersion", "FunctionError", "LogResult", "SdkHttpMetadata",
    "SdkResponseMetadata", "StatusCode", NULL
};


/* what an answer is made of; HEADER: all of them, OBJECT: a reply */

static struct {
    const char                       *name;
    ngx_uint_t                        result;
    ngx_http_retry_chain_operand_e    operand;
} ngx_http_retry_chain_parts[] = {
    { "statusCode", NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION,
      NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS },
    { "headers", NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION,
      NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER },
    { "body", NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION,
      NGX_HTTP_RETRY_CHAIN_OPERAND_BODY },
    { "StatusCode", NGX_HTTP_RETRY_CHAIN_RESULT_HTTP,
      NGX_HTTP_RETRY_CHAIN_OPERAND_STATUS },
    { "Headers", NGX_HTTP_RETRY_CHAIN_RESULT_HTTP,
      NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER },
    { "ResponseBody", NGX_HTTP_RETRY_CHAIN_RESULT_HTTP,
      NGX_HTTP_RETRY_CHAIN_OPERAND_BODY },
    { "Payload", NGX_HTTP_RETRY_CHAIN_RESULT_LAMBDA,
      NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT },
    { "Error", NGX_HTTP_RETRY_CHAIN_RESULT_ERROR,
      NGX_HTTP_RETRY_CHAIN_OPERAND_ERROR },
    { "Cause", NGX_HTTP_RETRY_CHAIN_RESULT_ERROR,
      NGX_HTTP_RETRY_CHAIN_OPERAND_CAUSE },
    { NULL, 0, 0 }
};


ngx_int_t
ngx_http_retry_chain_machine_terms(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t                       i;
    ngx_http_retry_chain_term_t     *term, **results;
    ngx_http_retry_chain_operand_e   operand;

    m->input.reason = "is of the input of the execution, which is not known "
                      "here";
    m->stale.reason = "is of an earlier Task, and only the last reply is "
                      "known";
    m->unknown.reason = "is not known here";
    m->conflict.reason = "is not the same on each way to this state";

    m->absent.type = NGX_HTTP_RETRY_CHAIN_TERM_OPERAND;
    m->absent.operand.type = NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT;

    m->below = m->absent;
    m->below.reply = 1;

    m->beside[0].reply = 1;
    m->beside[0].reason = "is no part of a reply, which has statusCode, "
                          "headers and body";
    m->beside[1].reply = 1;
    m->beside[1].reason = "is no part of a reply, which has StatusCode, "
                          "Headers and ResponseBody";

    results = m->results;

    for (i = 0; i < 4; i++) {
        results[i] = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
        if (results[i] == NULL) {
            return NGX_ERROR;
        }

        results[i]->reply = i != NGX_HTTP_RETRY_CHAIN_RESULT_LAMBDA;
    }

    results[NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION]->base = &m->beside[0];
    results[NGX_HTTP_RETRY_CHAIN_RESULT_HTTP]->base = &m->beside[1];
    results[NGX_HTTP_RETRY_CHAIN_RESULT_ERROR]->base = &m->below;

    for (i = 0; ngx_http_retry_chain_parts[i].name; i++) {

        operand = ngx_http_retry_chain_parts[i].operand;

        if (operand == NGX_HTTP_RETRY_CHAIN_OPERAND_OBJECT) {
            term = results[NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION];

        } else {
            term = ngx_http_retry_chain_machine_term(m,
                              operand == NGX_HTTP_RETRY_CHAIN_OPERAND_HEADER
                              ? NGX_HTTP_RETRY_CHAIN_TERM_HEADERS
                              : NGX_HTTP_RETRY_CHAIN_TERM_OPERAND);
            if (term == NULL) {
                return NGX_ERROR;
            }

            term->operand.type = operand;
            term->reply = 1;
            term->http = ngx_http_retry_chain_parts[i].result
                         == NGX_HTTP_RETRY_CHAIN_RESULT_HTTP;
        }

        if (ngx_http_retry_chain_machine_add(m,
                              results[ngx_http_retry_chain_parts[i].result],
                              ngx_http_retry_chain_parts[i].name, term)
            == NULL)
        {
            return NGX_ERROR;
        }
    }

    for (i = 0; ngx_http_retry_chain_beside[i]; i++) {
        if (ngx_http_retry_chain_machine_add(m,
                                  results[NGX_HTTP_RETRY_CHAIN_RESULT_LAMBDA],
                                  ngx_http_retry_chain_beside[i], &m->unknown)
            == NULL)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_term(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_e type)
{
    ngx_http_retry_chain_term_t  *term;

    term = ngx_http_retry_chain_machine_alloc(m,
                                          sizeof(ngx_http_retry_chain_term_t));
    if (term) {
        term->type = type;
    }

    return term;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_constant(ngx_http_retry_chain_machine_t *m,
    cJSON *json)
{
    ngx_http_retry_chain_term_t  *term;

    if (json == NULL) {
        return &m->absent;
    }

    term = ngx_http_retry_chain_machine_term(m,
                                          NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT);
    if (term) {
        term->json = json;
    }

    return term;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_add(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *object, const char *name,
    ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_field_t  *field;

    if (object == NULL || term == NULL) {
        return NULL;
    }

    field = ngx_http_retry_chain_machine_alloc(m,
                                         sizeof(ngx_http_retry_chain_field_t));
    if (field == NULL) {
        return NULL;
    }

    field->name = name;
    field->term = term;
    field->next = object->fields;

    object->fields = field;

    return object;
}


/* memory is what a hostile file could ask for most */

static void *
ngx_http_retry_chain_machine_alloc(ngx_http_retry_chain_machine_t *m,
    size_t size)
{
    m->fuel -= ngx_min(m->fuel, size);

    return ngx_pcalloc(m->temp, size);
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_lookup(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys)
{
    ngx_http_retry_chain_term_t       *found;
    ngx_http_retry_chain_json_path_t   path;

    while (nkeys && term) {

        switch (term->type) {

        case NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN:
            return term;

        case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
            path.keys = keys;
            path.nkeys = nkeys;

            return ngx_http_retry_chain_machine_constant(m,
                        ngx_http_retry_chain_json_lookup(term->json, &path));

        case NGX_HTTP_RETRY_CHAIN_TERM_OBJECT:
            found = keys[0].indexed
                    ? NULL
                    : ngx_http_retry_chain_machine_find_field(m, term,
                                           (const char *) keys[0].name.data);

            if (found == NULL) {
                term = term->base ? term->base : &m->absent;
                continue;
            }

            term = found;
            break;

        default: /* a part of a reply, or nothing */

            if (term->operand.type == NGX_HTTP_RETRY_CHAIN_OPERAND_ABSENT) {
                return term;
            }

            if (term->operand.type == NGX_HTTP_RETRY_CHAIN_OPERAND_BODY) {
                return ngx_http_retry_chain_machine_body(m, term, keys, nkeys);
            }

            term = ngx_http_retry_chain_machine_header(m, term, keys);
            break;
        }

        keys++;
        nkeys--;
    }

    return term;
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_find_field(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *object, const char *name)
{
    ngx_http_retry_chain_field_t  *field;

    for (field = object->fields; field; field = field->next) {
        m->fuel -= m->fuel ? 1 : 0;

        if (ngx_strcmp(field->name, name) == 0) {
            return field->term;
        }
    }

    return NULL;
}


/* what is below the headers; those of http:invoke are lists */

static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_header(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *headers, ngx_http_retry_chain_json_key_t *key)
{
    ngx_uint_t                    all;
    ngx_http_retry_chain_term_t  *header;

    all = headers->type == NGX_HTTP_RETRY_CHAIN_TERM_HEADERS;

    if (all ? key->indexed
            : !(headers->list && key->indexed && key->index == 0))
    {
        return &m->below;
    }

    header = ngx_http_retry_chain_machine_term(m,
                                           NGX_HTTP_RETRY_CHAIN_TERM_OPERAND);
    if (header) {
        *header = *headers;

        header->type = NGX_HTTP_RETRY_CHAIN_TERM_OPERAND;
        header->list = all && headers->http;

        if (all) {
            header->operand.text = key->name;
        }
    }

    return header;
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_body(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *body, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys)
{
    size_t                             size;
    ngx_http_retry_chain_term_t       *longer;
    ngx_http_retry_chain_json_path_t  *path;

    size = sizeof(ngx_http_retry_chain_json_key_t);

    /* more cannot be asked of any document */

    if (body->operand.path.nkeys + nkeys >= 2 * NGX_HTTP_RETRY_CHAIN_JSON_DEPTH)
    {
        return &m->below;
    }

    longer = ngx_http_retry_chain_machine_term(m, body->type);
    if (longer == NULL) {
        return NULL;
    }

    *longer = *body;
    path = &longer->operand.path;

    path->keys = ngx_palloc(m->pool, (path->nkeys + nkeys) * size);
    if (path->keys == NULL) {
        return NULL;
    }

    if (path->nkeys) {
        ngx_memcpy(path->keys, body->operand.path.keys, path->nkeys * size);
    }

    ngx_memcpy(&path->keys[path->nkeys], keys, nkeys * size);
    path->nkeys += nkeys;

    return longer;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_overlay(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *base, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys, ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_term_t  *object, *inner;

    if (nkeys == 0) {
        return term;
    }

    inner = ngx_http_retry_chain_machine_lookup(m, base, keys, 1);
    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);

    if (inner == NULL || object == NULL) {
        return NULL;
    }

    object->base = base;

    return ngx_http_retry_chain_machine_add(m, object,
                           (const char *) keys[0].name.data,
                           ngx_http_retry_chain_machine_overlay(m, inner,
                                                 keys + 1, nkeys - 1, term));
}


ngx_uint_t
ngx_http_retry_chain_machine_has(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    ngx_uint_t                     i, mask;
    ngx_http_retry_chain_field_t  *field;

    mask = 0;

    while (term) {

        if (term->reply) {
            return mask | NGX_HTTP_RETRY_CHAIN_HAS_REPLY;
        }

        for (field = term->fields; field && m->fuel; field = field->next) {
            m->fuel--;

            if (field->term->type != NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT) {
                mask |= ngx_http_retry_chain_machine_has(m, field->term);
                continue;
            }

            for (i = 0; ngx_http_retry_chain_parts[i].name; i++) {
                if (ngx_strcmp(field->name, ngx_http_retry_chain_parts[i].name)
                    == 0)
                {
                    mask |= NGX_HTTP_RETRY_CHAIN_HAS_OTHER;
                }
            }
        }

        term = term->base;
    }

    return mask;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_stale(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_term_t   *object;
    ngx_http_retry_chain_field_t  *field;

    if (!(ngx_http_retry_chain_machine_has(m, term)
          & NGX_HTTP_RETRY_CHAIN_HAS_REPLY))
    {
        return term;
    }

    if (term->reply) {
        return &m->stale;
    }

    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);

    if (object && term->base) {
        object->base = ngx_http_retry_chain_machine_stale(m, term->base);

        if (object->base == NULL) {
            return NULL;
        }
    }

    for (field = term->fields; field && object; field = field->next) {
        object = ngx_http_retry_chain_machine_add(m, object, field->name,
                         ngx_http_retry_chain_machine_stale(m, field->term));
    }

    return object;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_merge(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *a, ngx_http_retry_chain_term_t *b)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_term_t      *object, *inner, *other;
    ngx_http_retry_chain_field_t     *field;
    ngx_http_retry_chain_json_key_t   key;

    if (ngx_http_retry_chain_machine_same(a, b)) {
        return a;
    }

    if (a->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT || a->reply
        || b->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT || b->reply
        || m->fuel == 0)
    {
        return &m->conflict;
    }

    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
    if (object == NULL) {
        return NULL;
    }

    if (a->base && b->base) {
        object->base = ngx_http_retry_chain_machine_merge(m, a->base, b->base);

        if (object->base == NULL) {
            return NULL;
        }

    } else if (a->base || b->base) {
        object->base = &m->conflict;
    }

    ngx_memzero(&key, sizeof(ngx_http_retry_chain_json_key_t));

    for (i = 0; i < 2; i++) {
        other = i ? a : b;

        for (field = i ? b->fields : a->fields; field; field = field->next) {

            if (ngx_http_retry_chain_machine_find_field(m, object,
                                                        field->name))
            {
                continue;
            }

            key.name.data = (u_char *) field->name;
            key.name.len = ngx_strlen(field->name);

            inner = ngx_http_retry_chain_machine_lookup(m, other, &key, 1);

            if (inner) {
                inner = ngx_http_retry_chain_machine_merge(m, field->term,
                                                           inner);
            }

            if (ngx_http_retry_chain_machine_add(m, object, field->name, inner)
                == NULL)
            {
                return NULL;
            }
        }
    }

    return object;
}


/* objects that are equal in all parts are not found, merge takes them apart */

static ngx_uint_t
ngx_http_retry_chain_machine_same(ngx_http_retry_chain_term_t *a,
    ngx_http_retry_chain_term_t *b)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_json_key_t  *x, *y;
    ngx_http_retry_chain_operand_t   *p, *q;

    if (a == b) {
        return 1;
    }

    p = &a->operand;
    q = &b->operand;

    if (a->type != b->type || a->type == NGX_HTTP_RETRY_CHAIN_TERM_OBJECT
        || a->reason != b->reason || a->json != b->json
        || a->reply != b->reply || a->http != b->http || a->list != b->list
        || p->type != q->type
        || p->path.nkeys != q->path.nkeys || p->text.len != q->text.len
        || (p->text.len
            && ngx_strncmp(p->text.data, q->text.data, p->text.len) != 0))
    {
        return 0;
    }

    for (i = 0; i < p->path.nkeys; i++) {
        x = &p->path.keys[i];
        y = &q->path.keys[i];

        if (x->indexed != y->indexed || x->index != y->index
            || x->name.len != y->name.len
            || ngx_strncmp(x->name.data, y->name.data, x->name.len) != 0)
        {
            return 0;
        }
    }

    return 1;
}
