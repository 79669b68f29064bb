
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A reply whose body decides is held back until its end.  That is done with
 * JSON only, as RFC 8259 (application/json) and RFC 6839 (+json) name it, and
 * not if it is encoded, a part, or larger than a configured size.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_attempt.h"


/* memory for a body of unknown length begins with this */

#define NGX_HTTP_RETRY_CHAIN_BODY_BUFFER_SIZE  4096


static ngx_uint_t ngx_http_retry_chain_body_buffer_json(ngx_str_t *type);
static ngx_int_t ngx_http_retry_chain_body_buffer_room(
    ngx_http_retry_chain_attempt_t *at, size_t size);
static ngx_int_t ngx_http_retry_chain_body_buffer_read(u_char *p, size_t size,
    ngx_buf_t *b);
static void ngx_http_retry_chain_body_buffer_direct(ngx_file_t *file,
    ngx_uint_t on);


ngx_uint_t
ngx_http_retry_chain_body_buffer_wanted(ngx_http_request_t *sr, size_t max)
{
    ngx_http_headers_out_t  *headers;

    headers = &sr->headers_out;

    if (sr->header_only
        || sr->method == NGX_HTTP_HEAD
        || headers->status < NGX_HTTP_OK
        || headers->status == NGX_HTTP_NO_CONTENT
        || headers->status == NGX_HTTP_PARTIAL_CONTENT
        || headers->status == NGX_HTTP_NOT_MODIFIED)
    {
        return 0;
    }

    if (headers->content_length_n == 0
        || headers->content_length_n > (off_t) max)
    {
        return 0;
    }

#if (NGX_HTTP_CACHE)

    /* before 1.23 an empty cached reply came without an end */

    if (sr->cached && sr->cache
        && sr->cache->length == (off_t) sr->cache->body_start)
    {
        return 0;
    }

#endif

    if (headers->content_encoding && headers->content_encoding->value.len) {
        return 0;
    }

    return ngx_http_retry_chain_body_buffer_json(&headers->content_type);
}


static ngx_uint_t
ngx_http_retry_chain_body_buffer_json(ngx_str_t *type)
{
    u_char  *p, *last;
    size_t   len;

    p = type->data;
    last = ngx_strlchr(p, p + type->len, ';');

    if (last == NULL) {
        last = p + type->len;
    }

    while (last > p && (last[-1] == ' ' || last[-1] == '\t')) {
        last--;
    }

    len = last - p;

    if (len == sizeof("application/json") - 1
        && ngx_strncasecmp(p, (u_char *) "application/json", len) == 0)
    {
        return 1;
    }

    return len > sizeof("+json") - 1
           && ngx_strncasecmp(last - (sizeof("+json") - 1), (u_char *) "+json",
                              sizeof("+json") - 1)
              == 0;
}


ngx_int_t
ngx_http_retry_chain_body_buffer_start(ngx_http_retry_chain_attempt_t *at,
    size_t max)
{
    off_t                                length;
    ngx_http_retry_chain_body_buffer_t  *buffer;

    buffer = ngx_pcalloc(at->pool, sizeof(ngx_http_retry_chain_body_buffer_t));
    if (buffer == NULL) {
        return NGX_ERROR;
    }

    buffer->max = max;
    at->buffer = buffer;

    length = at->request->headers_out.content_length_n;

    if (length <= 0) {
        length = ngx_min(max, NGX_HTTP_RETRY_CHAIN_BODY_BUFFER_SIZE);
    }

    return ngx_http_retry_chain_body_buffer_room(at, (size_t) length);
}


/* there is room for so many bytes more */

static ngx_int_t
ngx_http_retry_chain_body_buffer_room(ngx_http_retry_chain_attempt_t *at,
    size_t size)
{
    u_char                              *p;
    ngx_http_retry_chain_body_buffer_t  *buffer;

    buffer = at->buffer;
    size += buffer->body.len;

    if (size <= buffer->size) {
        return NGX_OK;
    }

    size = ngx_min(ngx_max(size, buffer->size * 2), buffer->max);

    p = ngx_palloc(at->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    if (buffer->body.len) {
        ngx_memcpy(p, buffer->body.data, buffer->body.len);
        (void) ngx_pfree(at->pool, buffer->body.data);
    }

    buffer->body.data = p;
    buffer->size = size;

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_body_buffer_add(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t **in)
{
    off_t                                size;
    ngx_buf_t                           *b;
    ngx_chain_t                         *cl;
    ngx_http_retry_chain_body_buffer_t  *buffer;

    buffer = at->buffer;

    for (cl = *in; cl; cl = cl->next) {
        b = cl->buf;
        size = ngx_buf_special(b) ? 0 : ngx_buf_size(b);

        if (size > (off_t) (buffer->max - buffer->body.len)) {
            *in = cl;
            return NGX_DECLINED;
        }

        if (size) {
            if (ngx_http_retry_chain_body_buffer_room(at, (size_t) size)
                != NGX_OK
                || ngx_http_retry_chain_body_buffer_read(
                       buffer->body.data + buffer->body.len, (size_t) size, b)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }

            buffer->body.len += (size_t) size;
        }

        if (b->last_buf || b->last_in_chain) {
            buffer->last = 1;
        }
    }

    *in = NULL;

    /* the verdict is in time for the cache, which takes a body at its end */

    return buffer->last
           || (off_t) buffer->body.len
              == at->request->headers_out.content_length_n
           ? NGX_OK : NGX_AGAIN;
}


/* what is taken is consumed */

static ngx_int_t
ngx_http_retry_chain_body_buffer_read(u_char *p, size_t size, ngx_buf_t *b)
{
    ssize_t  n;

    if (ngx_buf_in_memory(b)) {
        ngx_memcpy(p, b->pos, size);

    } else {
        ngx_http_retry_chain_body_buffer_direct(b->file, 0);

        n = ngx_read_file(b->file, p, size, b->file_pos);

        ngx_http_retry_chain_body_buffer_direct(b->file, 1);

        if (n != (ssize_t) size) {
            return NGX_ERROR;
        }
    }

    b->pos = b->last;

    if (b->in_file) {
        b->file_pos = b->file_last;
    }

    return NGX_OK;
}


/* direct I/O wants memory, place and size to be aligned */

static void
ngx_http_retry_chain_body_buffer_direct(ngx_file_t *file, ngx_uint_t on)
{
#if (NGX_HAVE_ALIGNED_DIRECTIO)

    if (!file->directio) {
        return;
    }

    if ((on ? ngx_directio_on(file->fd) : ngx_directio_off(file->fd))
        == NGX_FILE_ERROR)
    {
        ngx_log_error(NGX_LOG_ALERT, file->log, ngx_errno, "%s \"%V\" failed",
                      on ? ngx_directio_on_n : ngx_directio_off_n,
                      &file->name);
    }

#endif
}


ngx_chain_t *
ngx_http_retry_chain_body_buffer_chain(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in)
{
    ngx_buf_t                           *b;
    ngx_chain_t                         *cl;
    ngx_http_retry_chain_body_buffer_t  *buffer;

    buffer = at->buffer;

    if (buffer->body.len == 0 && !buffer->last) {
        return in;
    }

    cl = ngx_alloc_chain_link(at->pool);
    b = ngx_calloc_buf(at->pool);

    if (cl == NULL || b == NULL) {
        return NULL;
    }

    if (buffer->body.len) {
        b->start = buffer->body.data;
        b->pos = b->start;
        b->last = b->start + buffer->body.len;
        b->end = b->start + buffer->size;
        b->temporary = 1;
        b->flush = !buffer->last;

    } else {
        b->sync = 1;
    }

    b->last_in_chain = buffer->last;

    cl->buf = b;
    cl->next = in;

    return cl;
}
