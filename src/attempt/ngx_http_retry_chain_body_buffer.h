
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A reply whose body decides is held back until its end.  That is done with
 * JSON only, as RFC 8259 (application/json) and RFC 6839 (+json) name it, and
 * not if it is encoded, a part, or larger than a configured size.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_BODY_BUFFER_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_BODY_BUFFER_H_INCLUDED_


#include "ngx_http_retry_chain_attempt.h"


struct ngx_http_retry_chain_body_buffer_s {
    ngx_str_t                          body;        /* so far */
    size_t                             size;        /* of its memory */
    size_t                             max;         /* bytes, at most */
    unsigned                           last:1;      /* the end has come */
};


/* 1 if the reply is one that may be held back; its header has come */
ngx_uint_t ngx_http_retry_chain_body_buffer_wanted(ngx_http_request_t *sr,
    size_t max);

/* begins to hold a reply back; NGX_ERROR if there is no memory */
ngx_int_t ngx_http_retry_chain_body_buffer_start(
    ngx_http_retry_chain_attempt_t *at, size_t max);

/*
 * Takes a part of the body.  NGX_AGAIN: there is more to come; NGX_OK: that was
 * all; NGX_DECLINED: it is too large, "in" is now the part that was not taken;
 * NGX_ERROR: no memory, or a file could not be read.
 */
ngx_int_t ngx_http_retry_chain_body_buffer_add(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t **in);

/* what was held back as a link before "in"; NULL if there is no memory */
ngx_chain_t *ngx_http_retry_chain_body_buffer_chain(
    ngx_http_retry_chain_attempt_t *at, ngx_chain_t *in);


#endif /* _NGX_HTTP_RETRY_CHAIN_BODY_BUFFER_H_INCLUDED_ */
