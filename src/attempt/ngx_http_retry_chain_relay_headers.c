
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What the attempt whose reply is the answer hands over to the main request:
 * headers, flags, variables and upstream state.  All of it stays in the pool
 * of the attempt, which therefore has to live as long as the main request.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


static ngx_int_t ngx_http_retry_chain_relay_list(ngx_list_t *to,
    ngx_list_t *from);
static ngx_int_t ngx_http_retry_chain_relay_lines(ngx_http_request_t *r,
    ngx_http_request_t *sr);
static void ngx_http_retry_chain_relay_contexts(void **to, void **from);


/* single header lines that nginx has a pointer to */

static size_t  ngx_http_retry_chain_relay_single[] = {
    offsetof(ngx_http_headers_out_t, server),
    offsetof(ngx_http_headers_out_t, date),
    offsetof(ngx_http_headers_out_t, content_length),
    offsetof(ngx_http_headers_out_t, content_encoding),
    offsetof(ngx_http_headers_out_t, location),
    offsetof(ngx_http_headers_out_t, refresh),
    offsetof(ngx_http_headers_out_t, last_modified),
    offsetof(ngx_http_headers_out_t, content_range),
    offsetof(ngx_http_headers_out_t, accept_ranges),
    offsetof(ngx_http_headers_out_t, expires),
    offsetof(ngx_http_headers_out_t, etag),
#if (NGX_HTTP_RETRY_CHAIN_AGE)
    offsetof(ngx_http_headers_out_t, age),
#endif
#if !(NGX_HTTP_RETRY_CHAIN_LINKED_HEADERS)
    offsetof(ngx_http_headers_out_t, www_authenticate),
#endif
    0
};


/* header lines that may be repeated */

static size_t  ngx_http_retry_chain_relay_multi[] = {
    offsetof(ngx_http_headers_out_t, cache_control),
    offsetof(ngx_http_headers_out_t, link),
#if (NGX_HTTP_RETRY_CHAIN_LINKED_HEADERS)
    offsetof(ngx_http_headers_out_t, www_authenticate),
#endif
    0
};


ngx_int_t
ngx_http_retry_chain_relay_headers(ngx_http_request_t *r,
    ngx_http_request_t *sr)
{
    u_char            *to, *from;
    size_t            *offset;
    ngx_table_elt_t  **line;

    if (ngx_http_retry_chain_relay_list(&r->headers_out.headers,
                                        &sr->headers_out.headers)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    to = (u_char *) &r->headers_out;
    from = (u_char *) &sr->headers_out;

    for (offset = ngx_http_retry_chain_relay_single; *offset; offset++) {

        line = (ngx_table_elt_t **) (from + *offset);

        if (*line) {
            *(ngx_table_elt_t **) (to + *offset) = *line;
        }
    }

    if (sr->headers_out.override_charset) {
        r->headers_out.override_charset = sr->headers_out.override_charset;
    }

    if (sr->headers_out.content_type.len) {
        r->headers_out.content_type = sr->headers_out.content_type;
        r->headers_out.content_type_len = sr->headers_out.content_type_len;
        r->headers_out.content_type_lowcase =
                                          sr->headers_out.content_type_lowcase;
        r->headers_out.content_type_hash = sr->headers_out.content_type_hash;
    }

    if (sr->headers_out.charset.len) {
        r->headers_out.charset = sr->headers_out.charset;
    }

    r->allow_ranges |= sr->allow_ranges;
    r->single_range |= sr->single_range;

    if (sr->limit_rate_set) {
        r->limit_rate = sr->limit_rate;
        r->limit_rate_set = 1;
    }

    if (sr->limit_rate_after_set) {
        r->limit_rate_after = sr->limit_rate_after;
        r->limit_rate_after_set = 1;
    }

    return ngx_http_retry_chain_relay_lines(r, sr);
}


/*
 * The parts of the list are taken over, not copied, so that pointers to its
 * elements hold.  Both lists have parts of the same size.
 */

static ngx_int_t
ngx_http_retry_chain_relay_list(ngx_list_t *to, ngx_list_t *from)
{
    ngx_list_part_t  *part;

    if (from->part.nelts == 0) {
        return NGX_OK;
    }

    if (to->last == &to->part && to->part.nelts == 0) {
        to->part = from->part;

        if (from->last != &from->part) {
            to->last = from->last;
        }

    } else {
        part = ngx_palloc(from->pool, sizeof(ngx_list_part_t));
        if (part == NULL) {
            return NGX_ERROR;
        }

        *part = from->part;

        to->last->next = part;
        to->last = (from->last == &from->part) ? part : from->last;
    }

    from->part.nelts = 0;
    from->part.next = NULL;
    from->last = &from->part;

    return NGX_OK;
}


#if (NGX_HTTP_RETRY_CHAIN_LINKED_HEADERS)

static ngx_int_t
ngx_http_retry_chain_relay_lines(ngx_http_request_t *r, ngx_http_request_t *sr)
{
    size_t            *offset;
    ngx_table_elt_t  **to, **from;

    for (offset = ngx_http_retry_chain_relay_multi; *offset; offset++) {

        from = (ngx_table_elt_t **) ((u_char *) &sr->headers_out + *offset);

        if (*from == NULL) {
            continue;
        }

        to = (ngx_table_elt_t **) ((u_char *) &r->headers_out + *offset);

        while (*to) {
            to = &(*to)->next;
        }

        *to = *from;
    }

    return NGX_OK;
}

#else

static ngx_int_t
ngx_http_retry_chain_relay_lines(ngx_http_request_t *r, ngx_http_request_t *sr)
{
    size_t            *offset;
    ngx_array_t       *to, *from;
    ngx_table_elt_t  **line;

    for (offset = ngx_http_retry_chain_relay_multi; *offset; offset++) {

        from = (ngx_array_t *) ((u_char *) &sr->headers_out + *offset);

        if (from->elts == NULL || from->nelts == 0) {
            continue;
        }

        to = (ngx_array_t *) ((u_char *) &r->headers_out + *offset);

        if (to->elts == NULL) {
            *to = *from;
            continue;
        }

        line = ngx_array_push_n(to, from->nelts);
        if (line == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(line, from->elts, from->nelts * from->size);
    }

    return NGX_OK;
}

#endif


void
ngx_http_retry_chain_relay_reply(ngx_http_request_t *r, ngx_http_request_t *sr)
{
    r->headers_out.status = sr->headers_out.status;
    r->headers_out.status_line = sr->headers_out.status_line;

    r->headers_out.content_length_n = sr->headers_out.content_length_n;
    r->headers_out.content_offset = sr->headers_out.content_offset;
    r->headers_out.last_modified_time = sr->headers_out.last_modified_time;

    if (sr->http_version == NGX_HTTP_VERSION_9) {

        /* what nginx makes of a reply without a header */

        r->http_version = NGX_HTTP_VERSION_9;
    }

    r->disable_not_modified = sr->disable_not_modified;

#if (NGX_HTTP_CACHE)
    r->cached = sr->cached;
#endif

    r->header_only |= sr->header_only;
    r->expect_trailers |= sr->expect_trailers;
    r->filter_need_in_memory |= sr->filter_need_in_memory;
    r->filter_need_temporary |= sr->filter_need_temporary;
    r->preserve_body |= sr->preserve_body;
}


ngx_int_t
ngx_http_retry_chain_relay_trailers(ngx_http_request_t *r,
    ngx_http_request_t *sr)
{
    return ngx_http_retry_chain_relay_list(&r->headers_out.trailers,
                                           &sr->headers_out.trailers);
}


void
ngx_http_retry_chain_relay_state(ngx_http_request_t *r, ngx_http_request_t *sr,
    ngx_http_retry_chain_target_t *target)
{
    r->upstream_states = sr->upstream_states;

    /* a cached reply is reached through both of them */

    r->upstream = sr->upstream;
#if (NGX_HTTP_CACHE)
    r->cache = sr->cache;
#endif

    if (target) {
        ngx_http_retry_chain_relay_contexts(r->ctx, sr->ctx);
    }

    /*
     * the array of the attempt has all that was evaluated before it and what
     * it has evaluated itself
     */

    r->variables = sr->variables;

#if (NGX_PCRE)

    /* so do the captures: a regex in a map may have been the last */

    r->ncaptures = sr->ncaptures;
    r->captures = sr->captures;
    r->captures_data = sr->captures_data;
    r->realloc_captures = sr->realloc_captures;

#endif
}


/* few modules have a context, so eight of the attempt are looked at together */

static void
ngx_http_retry_chain_relay_contexts(void **to, void **from)
{
    ngx_uint_t  i, n;

    for (n = ngx_http_max_module; n >= 8; n -= 8) {

        if ((uintptr_t) from[0] | (uintptr_t) from[1]
            | (uintptr_t) from[2] | (uintptr_t) from[3]
            | (uintptr_t) from[4] | (uintptr_t) from[5]
            | (uintptr_t) from[6] | (uintptr_t) from[7])
        {
            for (i = 0; i < 8; i++) {
                if (from[i] && to[i] == NULL) {
                    to[i] = from[i];
                }
            }
        }

        to += 8;
        from += 8;
    }

    for (i = 0; i < n; i++) {
        if (from[i] && to[i] == NULL) {
            to[i] = from[i];
        }
    }
}
