
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"


/* names of a cycle that are told */

#define NGX_HTTP_RETRY_CHAIN_CYCLE  6


static ngx_int_t ngx_http_retry_chain_machine_links(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_list(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const char *name, ngx_uint_t empty);
static ngx_int_t ngx_http_retry_chain_machine_next(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_find(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, const char *name, ngx_uint_t *link);
static ngx_int_t ngx_http_retry_chain_machine_visit(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t i, ngx_uint_t *stack,
    ngx_uint_t depth);
static ngx_int_t ngx_http_retry_chain_machine_cycle(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t *stack, ngx_uint_t depth,
    ngx_uint_t to);
static ngx_int_t ngx_http_retry_chain_machine_prefix(
    ngx_http_retry_chain_machine_t *m);


ngx_int_t
ngx_http_retry_chain_machine_graph(ngx_http_retry_chain_machine_t *m)
{
    ngx_int_t    rc;
    ngx_uint_t   i, *stack;

    for (i = 0; i < m->nnodes; i++) {
        rc = ngx_http_retry_chain_machine_links(m, &m->nodes[i]);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    rc = ngx_http_retry_chain_machine_find(m, &m->root, m->json, "StartAt",
                                           &m->start);
    if (rc != NGX_OK) {
        return rc;
    }

    m->order = ngx_palloc(m->temp, m->nnodes * sizeof(ngx_uint_t));
    stack = ngx_palloc(m->temp, (m->nnodes + 1) * sizeof(ngx_uint_t));

    if (m->order == NULL || stack == NULL) {
        return NGX_ERROR;
    }

    m->norder = m->nnodes;

    rc = ngx_http_retry_chain_machine_visit(m, m->start, stack, 0);

    if (rc != NGX_OK) {
        return rc;
    }

    for (i = 0; i < m->nnodes; i++) {

        if (m->nodes[i].mark == 0) {
            return ngx_http_retry_chain_machine_error(m, &m->nodes[i].at,
                                                      "nothing leads to this "
                                                      "state");
        }
    }

    m->norder = m->nnodes;

    return ngx_http_retry_chain_machine_prefix(m);
}


static ngx_int_t
ngx_http_retry_chain_machine_links(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t   rc;
    ngx_uint_t  n;

    n = 1;
    n += cJSON_GetArraySize(ngx_http_retry_chain_machine_get(node->json,
                                                             "Choices"));
    n += cJSON_GetArraySize(ngx_http_retry_chain_machine_get(node->json,
                                                             "Catch"));

    node->links = ngx_palloc(m->temp, n * sizeof(ngx_uint_t));
    if (node->links == NULL) {
        return NGX_ERROR;
    }

    node->links[0] = NGX_HTTP_RETRY_CHAIN_END;
    node->nlinks = 1;

    switch (node->type) {

    case NGX_HTTP_RETRY_CHAIN_NODE_SUCCEED:
    case NGX_HTTP_RETRY_CHAIN_NODE_FAIL:
        node->nlinks = 0;
        return NGX_OK;

    case NGX_HTTP_RETRY_CHAIN_NODE_CHOICE:

        if (ngx_http_retry_chain_machine_get(node->json, "Default")) {
            rc = ngx_http_retry_chain_machine_find(m, &node->at, node->json,
                                                   "Default", &node->links[0]);
            if (rc != NGX_OK) {
                return rc;
            }

        } else {
            ngx_http_retry_chain_machine_warn(m, &node->at,
                                              "no Default, the reply at hand "
                                              "is the answer when nothing "
                                              "matches");
        }

        return ngx_http_retry_chain_machine_list(m, node, "Choices", 0);

    case NGX_HTTP_RETRY_CHAIN_NODE_TASK:
        rc = ngx_http_retry_chain_machine_next(m, node);

        if (rc != NGX_OK) {
            return rc;
        }

        return ngx_http_retry_chain_machine_list(m, node, "Catch", 1);

    default:
        return ngx_http_retry_chain_machine_next(m, node);
    }
}


static ngx_int_t
ngx_http_retry_chain_machine_list(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name, ngx_uint_t optional)
{
    cJSON                      *list, *item;
    ngx_int_t                   rc;
    ngx_http_retry_chain_at_t   at, place;

    ngx_http_retry_chain_machine_at(&at, &node->at, name, 0);

    list = ngx_http_retry_chain_machine_get(node->json, name);

    if (list == NULL) {
        return optional ? NGX_OK
                        : ngx_http_retry_chain_machine_error(m, &at,
                                                             "is missing");
    }

    if (!cJSON_IsArray(list) || (list->child == NULL && !optional)) {
        return ngx_http_retry_chain_machine_error(m, &at,
                                                  "must be an array%s",
                                                  optional ? "" : " that is "
                                                             "not empty");
    }

    for (item = list->child; item; item = item->next) {

        ngx_http_retry_chain_machine_at(&place, &at, NULL, node->nlinks - 1);

        if (!cJSON_IsObject(item)) {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                      "must be an object");
        }

        rc = ngx_http_retry_chain_machine_find(m, &place, item, "Next",
                                               &node->links[node->nlinks++]);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_next(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON       *end;
    ngx_uint_t   next;

    next = ngx_http_retry_chain_machine_get(node->json, "Next") != NULL;
    end = ngx_http_retry_chain_machine_get(node->json, "End");

    if (end && !cJSON_IsBool(end)) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at, "End",
                                                  "must be true or false");
    }

    if (next == (end && cJSON_IsTrue(end))) {
        return ngx_http_retry_chain_machine_error(m, &node->at,
                                                  "must have either Next or "
                                                  "\"End\": true");
    }

    return next ? ngx_http_retry_chain_machine_find(m, &node->at, node->json,
                                                    "Next", &node->links[0])
                : NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_find(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json, const char *name,
    ngx_uint_t *link)
{
    ngx_int_t    rc;
    ngx_uint_t   i;
    const char  *text;

    text = NULL;

    rc = ngx_http_retry_chain_machine_string(m, up, json, name, &text);

    if (rc != NGX_OK) {
        return rc;
    }

    if (text == NULL) {
        return ngx_http_retry_chain_machine_wrong(m, up, name, "is missing");
    }

    for (i = 0; i < m->nnodes; i++) {

        if (ngx_strcmp(m->nodes[i].name, text) == 0) {
            *link = i;
            return NGX_OK;
        }
    }

    return ngx_http_retry_chain_machine_wrong(m, up, name,
                                              "there is no such state");
}


/* depth first, so that a state is put before all that follow it */

static ngx_int_t
ngx_http_retry_chain_machine_visit(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t i, ngx_uint_t *stack, ngx_uint_t depth)
{
    ngx_int_t                     rc;
    ngx_uint_t                    k, n, link;
    ngx_http_retry_chain_node_t  *node;

    node = &m->nodes[i];

    node->mark = 1;
    stack[depth++] = i;

    for (k = 0; k < node->nlinks; k++) {

        /* what a Choice chooses stands before its Default, Next before Catch */

        n = node->type == NGX_HTTP_RETRY_CHAIN_NODE_CHOICE
            ? k : node->nlinks - 1 - k;

        link = node->links[n];

        if (link == NGX_HTTP_RETRY_CHAIN_END || m->nodes[link].mark == 2) {
            continue;
        }

        if (m->nodes[link].mark == 1) {
            return ngx_http_retry_chain_machine_cycle(m, stack, depth, link);
        }

        rc = ngx_http_retry_chain_machine_visit(m, link, stack, depth);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    node->mark = 2;
    m->order[--m->norder] = i;

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_cycle(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t *stack, ngx_uint_t depth, ngx_uint_t to)
{
    u_char      *p, *last, buf[1024];
    ngx_uint_t   i, n;

    i = depth;

    while (stack[--i] != to) {
        /* void */
    }

    p = buf;
    last = buf + sizeof(buf);

    for (n = 0; i < depth && n < NGX_HTTP_RETRY_CHAIN_CYCLE; i++, n++) {
        p = ngx_slprintf(p, last, "\"%s\", ", m->nodes[stack[i]].name);
    }

    if (i < depth) {
        p = ngx_slprintf(p, last, "..., ");
    }

    return ngx_http_retry_chain_machine_error(m,
                                    &m->nodes[stack[depth - 1]].at,
                                    "leads back, and a run never goes back: "
                                    "%*s\"%s\"", (size_t) (p - buf), buf,
                                    m->nodes[to].name);
}


/* up to the first Task nothing has been asked and nothing can be told */

static ngx_int_t
ngx_http_retry_chain_machine_prefix(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t                    i, link;
    ngx_http_retry_chain_node_t  *node;

    for (i = 0; i < m->nnodes; i++) {
        m->nodes[i].after = 1;
    }

    node = NULL;

    for (link = m->start; link != NGX_HTTP_RETRY_CHAIN_END;
         link = node->links[0])
    {
        node = &m->nodes[link];

        switch (node->type) {

        case NGX_HTTP_RETRY_CHAIN_NODE_TASK:
            return NGX_OK;

        case NGX_HTTP_RETRY_CHAIN_NODE_PASS:
        case NGX_HTTP_RETRY_CHAIN_NODE_WAIT:
            node->after = 0;
            continue;

        case NGX_HTTP_RETRY_CHAIN_NODE_CHOICE:
            return ngx_http_retry_chain_machine_error(m, &node->at,
                                                "a Choice before the first "
                                                "Task has no reply to choose "
                                                "by");

        default:
            break;
        }

        break;
    }

    return ngx_http_retry_chain_machine_error(m, node ? &node->at : &m->root,
                                              "the machine ends before its "
                                              "first Task");
}
