
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_lookup_keys(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_extend(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys);
static ngx_int_t ngx_http_retry_chain_machine_add(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    const char *name, ngx_http_retry_chain_term_t *term);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_overlay_keys(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *base,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys,
    ngx_http_retry_chain_term_t *term);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_find_field(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    const char *name);
static ngx_uint_t ngx_http_retry_chain_machine_replaces(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term);
static ngx_uint_t ngx_http_retry_chain_machine_equal(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *a,
    ngx_http_retry_chain_term_t *b);
static ngx_uint_t ngx_http_retry_chain_machine_same_path(
    ngx_http_retry_chain_json_path_t *a, ngx_http_retry_chain_json_path_t *b);


/* what lambda:invoke has beside the Payload */

static const char  *ngx_http_retry_chain_beside[] = {
    "ExecutedVersion", "FunctionError", "LogResult", "SdkHttpMetadata",
    "SdkResponseMetadata", "StatusCode", NULL
};


/* what an answer is made of */

static const char  *ngx_http_retry_chain_parts[] = {
    "statusCode", "StatusCode", "headers", "Headers", "body", "ResponseBody",
    "Payload", "Error", "Cause", NULL
};


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_term(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_e type)
{
    ngx_http_retry_chain_term_t  *term;

    term = ngx_pcalloc(m->temp, sizeof(ngx_http_retry_chain_term_t));

    if (term) {
        term->type = type;
    }

    /* memory is what a hostile file could ask for most */

    m->fuel -= ngx_min(m->fuel, 100);

    return term;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_result(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_term_t  *reply, *unknown;

    reply = ngx_http_retry_chain_machine_term(m,
                                             NGX_HTTP_RETRY_CHAIN_TERM_REPLY);
    if (reply == NULL) {
        return NULL;
    }

    reply->http = node->state.http;

    if (node->state.http || node->direct) {
        return reply;
    }

    if (m->function) {
        return m->function;
    }

    m->function = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
    unknown = ngx_http_retry_chain_machine_term(m,
                                           NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN);

    if (m->function == NULL || unknown == NULL) {
        return NULL;
    }

    for (i = 0; ngx_http_retry_chain_beside[i]; i++) {
        if (ngx_http_retry_chain_machine_add(m, m->function,
                                             ngx_http_retry_chain_beside[i],
                                             unknown)
            != NGX_OK)
        {
            return NULL;
        }
    }

    if (ngx_http_retry_chain_machine_add(m, m->function, "Payload", reply)
        != NGX_OK)
    {
        return NULL;
    }

    return m->function;
}


static ngx_int_t
ngx_http_retry_chain_machine_add(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *object, const char *name,
    ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_field_t  *field;

    m->fuel -= ngx_min(m->fuel, 50);

    field = ngx_palloc(m->temp, sizeof(ngx_http_retry_chain_field_t));
    if (field == NULL) {
        return NGX_ERROR;
    }

    field->name = name;
    field->term = term;
    field->next = object->fields;

    object->fields = field;

    return NGX_OK;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_lookup(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term, ngx_http_retry_chain_json_path_t *path)
{
    return ngx_http_retry_chain_machine_lookup_keys(m, term, path->keys,
                                                    path->nkeys);
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_lookup_keys(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys)
{
    cJSON                             *json;
    ngx_http_retry_chain_term_t       *found;
    ngx_http_retry_chain_json_path_t   path;

    while (nkeys) {

        switch (term->type) {

        case NGX_HTTP_RETRY_CHAIN_TERM_OBJECT:
            found = keys[0].indexed
                    ? NULL
                    : ngx_http_retry_chain_machine_find_field(m, term,
                                           (const char *) keys[0].name.data);

            if (found) {
                term = found;
                keys++;
                nkeys--;

            } else if (term->base) {
                term = term->base;

            } else {
                return ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_ABSENT);
            }

            continue;

        case NGX_HTTP_RETRY_CHAIN_TERM_REPLY:
        case NGX_HTTP_RETRY_CHAIN_TERM_ERROR:
            return ngx_http_retry_chain_machine_extend(m, term, keys, nkeys);

        case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
            path.keys = keys;
            path.nkeys = nkeys;
            json = ngx_http_retry_chain_json_lookup(term->json, &path);

            term = ngx_http_retry_chain_machine_term(m,
                                     json ? NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT
                                          : NGX_HTTP_RETRY_CHAIN_TERM_ABSENT);
            if (term) {
                term->json = json;
            }

            return term;

        default:
            return term;
        }
    }

    return term;
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_extend(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys)
{
    ngx_http_retry_chain_term_t       *longer;
    ngx_http_retry_chain_json_path_t  *path;

    /* more cannot be asked of any document */

    if (term->path.nkeys + nkeys > 2 * NGX_HTTP_RETRY_CHAIN_JSON_DEPTH) {
        return ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_ABSENT);
    }

    longer = ngx_http_retry_chain_machine_term(m, term->type);
    if (longer == NULL) {
        return NULL;
    }

    *longer = *term;
    path = &longer->path;

    path->keys = ngx_palloc(m->temp, (path->nkeys + nkeys)
                                    * sizeof(ngx_http_retry_chain_json_key_t));
    if (path->keys == NULL) {
        return NULL;
    }

    if (path->nkeys) {
        ngx_memcpy(path->keys, term->path.keys,
                   path->nkeys * sizeof(ngx_http_retry_chain_json_key_t));
    }

    ngx_memcpy(&path->keys[path->nkeys], keys,
               nkeys * sizeof(ngx_http_retry_chain_json_key_t));

    path->nkeys += nkeys;

    return longer;
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


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_object(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *object, const char *name,
    ngx_http_retry_chain_term_t *term)
{
    if (object == NULL) {
        object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
    }

    if (object == NULL
        || (name
            && ngx_http_retry_chain_machine_add(m, object, name, term)
               != NGX_OK))
    {
        return NULL;
    }

    return object;
}


/* the base with the term at the end of a path of names */

ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_overlay(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *base, ngx_http_retry_chain_json_path_t *path,
    ngx_http_retry_chain_term_t *term)
{
    return ngx_http_retry_chain_machine_overlay_keys(m, base, path->keys,
                                                     path->nkeys, term);
}


static ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_overlay_keys(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *base, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys, ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_term_t  *object, *inner;

    if (nkeys == 0) {
        return term;
    }

    inner = ngx_http_retry_chain_machine_lookup_keys(m, base, keys, 1);
    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);

    if (inner == NULL || object == NULL) {
        return NULL;
    }

    object->base = base;

    term = ngx_http_retry_chain_machine_overlay_keys(m, inner, keys + 1,
                                                     nkeys - 1, term);

    if (term == NULL
        || ngx_http_retry_chain_machine_add(m, object,
                                            (const char *) keys[0].name.data,
                                            term)
           != NGX_OK)
    {
        return NULL;
    }

    return object;
}


/* whether a part of it is the reply or the error */

ngx_uint_t
ngx_http_retry_chain_machine_has(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_field_t  *field;

    while (term) {

        if (term->type == NGX_HTTP_RETRY_CHAIN_TERM_REPLY
            || term->type == NGX_HTTP_RETRY_CHAIN_TERM_ERROR)
        {
            return 1;
        }

        for (field = term->fields; field; field = field->next) {
            m->fuel -= m->fuel ? 1 : 0;

            if (m->fuel && ngx_http_retry_chain_machine_has(m, field->term)) {
                return 1;
            }
        }

        term = term->base;
    }

    return 0;
}


/* whether it has the reply, and no part of that has been replaced */

ngx_uint_t
ngx_http_retry_chain_machine_keeps(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    return ngx_http_retry_chain_machine_has(m, term)
           && !ngx_http_retry_chain_machine_replaces(m, term);
}


static ngx_uint_t
ngx_http_retry_chain_machine_replaces(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    ngx_uint_t                     i;
    ngx_http_retry_chain_field_t  *field;

    while (term) {

        for (field = term->fields; field && m->fuel; field = field->next) {
            m->fuel--;

            if (field->term->type != NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT) {

                if (ngx_http_retry_chain_machine_replaces(m, field->term)) {
                    return 1;
                }

                continue;
            }

            for (i = 0; ngx_http_retry_chain_parts[i]; i++) {
                if (ngx_strcmp(field->name, ngx_http_retry_chain_parts[i])
                    == 0)
                {
                    return 1;
                }
            }
        }

        term = term->base;
    }

    return 0;
}


/* what it is after another Task */

ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_stale(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_term_t   *object, *inner;
    ngx_http_retry_chain_field_t  *field;

    if (!ngx_http_retry_chain_machine_has(m, term)) {
        return term;
    }

    if (term->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT) {
        return ngx_http_retry_chain_machine_term(m,
                                             NGX_HTTP_RETRY_CHAIN_TERM_STALE);
    }

    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
    if (object == NULL) {
        return NULL;
    }

    if (term->base) {
        object->base = ngx_http_retry_chain_machine_stale(m, term->base);
        if (object->base == NULL) {
            return NULL;
        }
    }

    for (field = term->fields; field; field = field->next) {

        inner = ngx_http_retry_chain_machine_stale(m, field->term);

        if (inner == NULL
            || ngx_http_retry_chain_machine_add(m, object, field->name, inner)
               != NGX_OK)
        {
            return NULL;
        }
    }

    return object;
}


/* what is known of data that comes from either */

ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_merge(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *a, ngx_http_retry_chain_term_t *b)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_term_t      *object, *inner, *other;
    ngx_http_retry_chain_field_t     *field;
    ngx_http_retry_chain_json_key_t   key;

    if (a == b || ngx_http_retry_chain_machine_equal(m, a, b)) {
        return a;
    }

    if (a->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT
        || b->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT || m->fuel == 0)
    {
        return ngx_http_retry_chain_machine_term(m,
                                          NGX_HTTP_RETRY_CHAIN_TERM_CONFLICT);
    }

    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);
    if (object == NULL) {
        return NULL;
    }

    ngx_memzero(&key, sizeof(ngx_http_retry_chain_json_key_t));

    if (a->base || b->base) {
        object->base = a->base && b->base
                       ? ngx_http_retry_chain_machine_merge(m, a->base,
                                                            b->base)
                       : ngx_http_retry_chain_machine_term(m,
                                          NGX_HTTP_RETRY_CHAIN_TERM_CONFLICT);
        if (object->base == NULL) {
            return NULL;
        }
    }

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

            inner = ngx_http_retry_chain_machine_lookup_keys(m, other, &key,
                                                             1);
            if (inner) {
                inner = ngx_http_retry_chain_machine_merge(m, field->term,
                                                           inner);
            }

            if (inner == NULL
                || ngx_http_retry_chain_machine_add(m, object, field->name,
                                                    inner)
                   != NGX_OK)
            {
                return NULL;
            }
        }
    }

    return object;
}


static ngx_uint_t
ngx_http_retry_chain_machine_equal(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *a, ngx_http_retry_chain_term_t *b)
{
    ngx_uint_t                     n;
    ngx_http_retry_chain_term_t   *other;
    ngx_http_retry_chain_field_t  *field;

    for ( ;; ) {

        if (a == b) {
            return 1;
        }

        if (a == NULL || b == NULL || a->type != b->type || m->fuel == 0) {
            return 0;
        }

        switch (a->type) {

        case NGX_HTTP_RETRY_CHAIN_TERM_REPLY:
        case NGX_HTTP_RETRY_CHAIN_TERM_ERROR:
            return a->http == b->http
                   && ngx_http_retry_chain_machine_same_path(&a->path,
                                                             &b->path);

        case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
            return a->json == b->json;

        case NGX_HTTP_RETRY_CHAIN_TERM_OBJECT:
            break;

        default:
            return 1;
        }

        n = 0;

        for (field = b->fields; field; field = field->next) {
            n++;
        }

        for (field = a->fields; field; field = field->next) {
            other = ngx_http_retry_chain_machine_find_field(m, b, field->name);

            if (other == NULL || n-- == 0
                || !ngx_http_retry_chain_machine_equal(m, field->term, other))
            {
                return 0;
            }
        }

        if (n) {
            return 0;
        }

        a = a->base;
        b = b->base;
    }
}


static ngx_uint_t
ngx_http_retry_chain_machine_same_path(ngx_http_retry_chain_json_path_t *a,
    ngx_http_retry_chain_json_path_t *b)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_json_key_t  *x, *y;

    if (a->nkeys != b->nkeys) {
        return 0;
    }

    for (i = 0; i < a->nkeys; i++) {
        x = &a->keys[i];
        y = &b->keys[i];

        if (x->indexed != y->indexed || x->index != y->index
            || x->name.len != y->name.len
            || ngx_strncmp(x->name.data, y->name.data, x->name.len) != 0)
        {
            return 0;
        }
    }

    return 1;
}
