
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Terms: what is known of a piece of data, and how it is taken apart and put
 * together.  A term does not change when others refer to it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


static void *ngx_http_retry_chain_machine_alloc(
    ngx_http_retry_chain_machine_t *m, size_t size);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_extend(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys);
static ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_find_field(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    const char *name);
static ngx_uint_t ngx_http_retry_chain_machine_replaces(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term);
static ngx_uint_t ngx_http_retry_chain_machine_same(
    ngx_http_retry_chain_term_t *a, ngx_http_retry_chain_term_t *b);


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


/* memory is what a hostile file could ask for most */

static void *
ngx_http_retry_chain_machine_alloc(ngx_http_retry_chain_machine_t *m,
    size_t size)
{
    m->fuel -= ngx_min(m->fuel, size);

    return ngx_pcalloc(m->temp, size);
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


/* absent if there is none */

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


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_result(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_term_t  *reply, *object;

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

    object = ngx_http_retry_chain_machine_term(m,
                                            NGX_HTTP_RETRY_CHAIN_TERM_OBJECT);

    for (i = 0; ngx_http_retry_chain_beside[i]; i++) {
        object = ngx_http_retry_chain_machine_add(m, object,
                                                ngx_http_retry_chain_beside[i],
                                                &m->unknown);
    }

    m->function = ngx_http_retry_chain_machine_add(m, object, "Payload", reply);

    return m->function;
}


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_lookup(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term, ngx_http_retry_chain_json_key_t *keys,
    ngx_uint_t nkeys)
{
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
                return &m->absent;
            }

            continue;

        case NGX_HTTP_RETRY_CHAIN_TERM_REPLY:
        case NGX_HTTP_RETRY_CHAIN_TERM_ERROR:
            return ngx_http_retry_chain_machine_extend(m, term, keys, nkeys);

        case NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT:
            path.keys = keys;
            path.nkeys = nkeys;

            return ngx_http_retry_chain_machine_constant(m,
                        ngx_http_retry_chain_json_lookup(term->json, &path));

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
        return &m->absent;
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


ngx_http_retry_chain_term_t *
ngx_http_retry_chain_machine_stale(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term)
{
    ngx_http_retry_chain_term_t   *object;
    ngx_http_retry_chain_field_t  *field;

    if (!ngx_http_retry_chain_machine_has(m, term)) {
        return term;
    }

    if (term->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT) {
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

    if (a->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT
        || b->type != NGX_HTTP_RETRY_CHAIN_TERM_OBJECT || m->fuel == 0)
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

    if (a == b) {
        return 1;
    }

    if (a->type != b->type || a->type == NGX_HTTP_RETRY_CHAIN_TERM_OBJECT
        || a->json != b->json || a->http != b->http
        || a->path.nkeys != b->path.nkeys)
    {
        return 0;
    }

    for (i = 0; i < a->path.nkeys; i++) {
        x = &a->path.keys[i];
        y = &b->path.keys[i];

        if (x->indexed != y->indexed || x->index != y->index
            || x->name.len != y->name.len
            || ngx_strncmp(x->name.data, y->name.data, x->name.len) != 0)
        {
            return 0;
        }
    }

    return 1;
}
