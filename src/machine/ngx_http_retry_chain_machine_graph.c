
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The transitions of the states, which are sorted by them.
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
    ngx_http_retry_chain_machine_t *m, cJSON *json, const char *name,
    ngx_uint_t *link);
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
    ngx_uint_t  i, *stack;

    for (i = 0; i < m->nnodes; i++) {
        if (ngx_http_retry_chain_machine_links(m, &m->nodes[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    if (ngx_http_retry_chain_machine_find(m, m->json, "StartAt", &m->start)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    m->order = ngx_palloc(m->temp, m->nnodes * sizeof(ngx_uint_t));
    stack = ngx_palloc(m->temp, m->nnodes * sizeof(ngx_uint_t));

    if (m->order == NULL || stack == NULL) {
        return NGX_ERROR;
    }

    m->norder = m->nnodes;

    if (ngx_http_retry_chain_machine_visit(m, m->start, stack, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < m->nnodes; i++) {

        if (m->nodes[i].mark == 0) {
            return ngx_http_retry_chain_machine_error(m, m->nodes[i].json, NULL,
                                                "nothing leads to this state");
        }
    }

    m->norder = m->nnodes;

    return ngx_http_retry_chain_machine_prefix(m);
}


static ngx_int_t
ngx_http_retry_chain_machine_links(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON       *json;
    ngx_uint_t   n;

    json = node->json;

    n = 1;
    n += cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "Choices"));
    n += cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "Catch"));

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

        if (cJSON_GetObjectItemCaseSensitive(json, "Default") == NULL) {
            ngx_http_retry_chain_machine_warn(m, json, NULL,
                                          "no Default, the reply at hand is "
                                          "the answer when nothing matches");

        } else if (ngx_http_retry_chain_machine_find(m, json, "Default",
                                                     node->links)
                   != NGX_OK)
        {
            return NGX_ERROR;
        }

        return ngx_http_retry_chain_machine_list(m, node, "Choices", 0);

    default: /* Pass, Task, Wait */

        if (ngx_http_retry_chain_machine_next(m, node) != NGX_OK) {
            return NGX_ERROR;
        }

        return ngx_http_retry_chain_machine_list(m, node, "Catch", 1);
    }
}


static ngx_int_t
ngx_http_retry_chain_machine_list(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const char *name, ngx_uint_t optional)
{
    cJSON  *list, *item;

    if (optional
        && cJSON_GetObjectItemCaseSensitive(node->json, name) == NULL)
    {
        return NGX_OK;
    }

    list = ngx_http_retry_chain_machine_get(m, node->json, name,
                                            optional
                                            ? cJSON_Array
                                            : NGX_HTTP_RETRY_CHAIN_LIST);
    if (list == NULL) {
        return NGX_ERROR;
    }

    for (item = list->child; item; item = item->next) {

        if (ngx_http_retry_chain_machine_is(m, item, cJSON_Object) != NGX_OK
            || ngx_http_retry_chain_machine_find(m, item, "Next",
                                                 &node->links[node->nlinks++])
               != NGX_OK)
        {
            return NGX_ERROR;
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

    next = cJSON_GetObjectItemCaseSensitive(node->json, "Next") != NULL;
    end = cJSON_GetObjectItemCaseSensitive(node->json, "End");

    if (end
        && ngx_http_retry_chain_machine_is(m, end, NGX_HTTP_RETRY_CHAIN_BOOL)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (next == (ngx_uint_t) cJSON_IsTrue(end)) {
        return ngx_http_retry_chain_machine_error(m, node->json, NULL,
                                     "must have either Next or \"End\": true");
    }

    return next ? ngx_http_retry_chain_machine_find(m, node->json, "Next",
                                                    node->links)
                : NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_find(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, ngx_uint_t *link)
{
    ngx_uint_t   i;
    const char  *text;

    text = ngx_http_retry_chain_machine_string(m, json, name, NULL);

    if (text == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < m->nnodes; i++) {

        if (ngx_strcmp(m->nodes[i].json->string, text) == 0) {
            *link = i;
            return NGX_OK;
        }
    }

    return ngx_http_retry_chain_machine_error(m, json, name,
                                              "there is no such state");
}


/* depth first, so that a state is put before all that follow it */

static ngx_int_t
ngx_http_retry_chain_machine_visit(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t i, ngx_uint_t *stack, ngx_uint_t depth)
{
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

        if (ngx_http_retry_chain_machine_visit(m, link, stack, depth)
            != NGX_OK)
        {
            return NGX_ERROR;
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
        p = ngx_slprintf(p, last, "\"%s\", ", m->nodes[stack[i]].json->string);
    }

    if (i < depth) {
        p = ngx_slprintf(p, last, "..., ");
    }

    return ngx_http_retry_chain_machine_error(m,
                                    m->nodes[stack[depth - 1]].json, NULL,
                                    "leads back, and a run never goes back: "
                                    "%*s\"%s\"", (size_t) (p - buf), buf,
                                    m->nodes[to].json->string);
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

    node = &m->nodes[m->start];

    for (link = m->start; link != NGX_HTTP_RETRY_CHAIN_END;
         link = node->links[0])
    {
        node = &m->nodes[link];

        if (node->type == NGX_HTTP_RETRY_CHAIN_NODE_TASK) {
            return NGX_OK;
        }

        if (node->type == NGX_HTTP_RETRY_CHAIN_NODE_CHOICE) {
            return ngx_http_retry_chain_machine_error(m, node->json, NULL,
                    "a Choice before the first Task has no reply to choose by");
        }

        node->after = 0;
    }

    return ngx_http_retry_chain_machine_error(m, node->json, NULL,
                                      "the machine ends before its first Task");
}
