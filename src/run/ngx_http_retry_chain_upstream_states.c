
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What outlives a discarded attempt: the upstream states, which seed the next
 * one so that $upstream_addr and the like show all of them.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static ngx_int_t ngx_http_retry_chain_upstream_states_peer(ngx_pool_t *pool,
    ngx_http_upstream_state_t *state, ngx_uint_t n);
static void ngx_http_retry_chain_upstream_states_free_pool(void *data);


ngx_int_t
ngx_http_retry_chain_upstream_states_keep(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                       i, n;
    ngx_array_t                     *states;
    ngx_pool_cleanup_t              *cln;
    ngx_http_request_t              *r;
    ngx_http_upstream_state_t       *state;
    ngx_http_retry_chain_attempt_t  *at;

    r = run->request;
    at = run->attempt;
    states = at->request->upstream_states;

    if (states && run->states == NULL) {

        /* each attempt adds a separator and, as a rule, one state */

        n = 2 * ngx_min(run->plan->attempts, NGX_HTTP_RETRY_CHAIN_MAX_STEPS);

        run->states = ngx_array_create(r->pool, ngx_max(states->nelts, n),
                                       sizeof(ngx_http_upstream_state_t));
        if (run->states == NULL) {
            return NGX_ERROR;
        }

        state = ngx_array_push_n(run->states, states->nelts);
        if (state == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(state, states->elts, states->nelts * states->size);
    }

    if (run->states) {
        state = run->states->elts;

        for (i = at->states; i < run->states->nelts; i++) {

            if (ngx_http_retry_chain_upstream_states_peer(r->pool, state, i)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    if (ngx_http_retry_chain_attempt_free(at) != NGX_OK) {

        cln = ngx_pool_cleanup_add(r->pool, 0);
        if (cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_retry_chain_upstream_states_free_pool;
        cln->data = at->pool;
    }

    run->attempt = NULL;

    return NGX_OK;
}


/* the name of a peer; most attempts go to one that has been tried before */

static ngx_int_t
ngx_http_retry_chain_upstream_states_peer(ngx_pool_t *pool,
    ngx_http_upstream_state_t *state, ngx_uint_t n)
{
    ngx_str_t   *peer, *name;
    ngx_uint_t   i;

    name = state[n].peer;

    if (name == NULL) {
        return NGX_OK;
    }

    for (i = 0; i < n; i++) {
        peer = state[i].peer;

        if (peer && peer->len == name->len
            && ngx_memcmp(peer->data, name->data, name->len) == 0)
        {
            state[n].peer = peer;
            return NGX_OK;
        }
    }

    peer = ngx_palloc(pool, sizeof(ngx_str_t));
    if (peer == NULL) {
        return NGX_ERROR;
    }

    peer->len = name->len;
    peer->data = ngx_pstrdup(pool, name);
    if (peer->data == NULL) {
        return NGX_ERROR;
    }

    state[n].peer = peer;

    return NGX_OK;
}


static void
ngx_http_retry_chain_upstream_states_free_pool(void *data)
{
    ngx_http_retry_chain_attempt_pool_free(data);
}
