
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Targets are the content handlers of nginx's own *_pass directives.  Their
 * addresses are not exported, so each directive is run once on a scratch
 * location while the configuration is read, and the handler that it leaves
 * there is remembered.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_TARGET_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_TARGET_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


typedef struct {
    ngx_http_handler_pt             handler;
    ngx_uint_t                      ctx_index;     /* of the module */

    /* in the module's location conf; 0 if there is no such directive */
    ngx_uint_t                      buffering_offset;

    unsigned                        streaming:1;   /* never buffers a body */
    unsigned                        bodiless:1;    /* drops bodies unread */
} ngx_http_retry_chain_target_t;


typedef struct {
    ngx_array_t                     targets;
                                        /* of ngx_http_retry_chain_target_t */

    /* the slice module, if there is one */
    ngx_uint_t                      slice_index;
    ngx_uint_t                      slice_offset;
    unsigned                        slice:1;
} ngx_http_retry_chain_targets_t;


/* called in postconfiguration, before variables are initialized */
ngx_int_t ngx_http_retry_chain_targets_init(ngx_conf_t *cf,
    ngx_http_retry_chain_targets_t *targets);

/* NULL if the handler is not a target's */
ngx_http_retry_chain_target_t *ngx_http_retry_chain_target_find(
    ngx_http_retry_chain_targets_t *targets, ngx_http_handler_pt handler);

/*
 * 1 if the request would be sent on while its body is still being read, or is
 * cut in slices: neither can be given to an attempt.  "single" says that the
 * plan has one attempt only, so that nothing is lost by not taking part.
 */
ngx_uint_t ngx_http_retry_chain_target_streams(
    ngx_http_retry_chain_targets_t *targets,
    ngx_http_retry_chain_target_t *target, ngx_http_request_t *r,
    ngx_uint_t single);

/* 1 if the handler does not wait for the end of the request body */
ngx_uint_t ngx_http_retry_chain_target_unbuffered(
    ngx_http_retry_chain_target_t *target, ngx_http_request_t *r);


#endif /* _NGX_HTTP_RETRY_CHAIN_TARGET_H_INCLUDED_ */
