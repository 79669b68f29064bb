
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * An attempt: one cloned subrequest of the main request, sent to one step, and
 * the outcome that it had.  It lives in a pool of its own.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_ATTEMPT_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_ATTEMPT_H_INCLUDED_


#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_policy.h"
#include "ngx_http_retry_chain_said.h"


typedef struct ngx_http_retry_chain_attempt_s  ngx_http_retry_chain_attempt_t;

/* of body_buffer.h: a reply that is held back */
typedef struct ngx_http_retry_chain_body_buffer_s
    ngx_http_retry_chain_body_buffer_t;

/*
 * NGX_OK: relay the reply; NGX_DECLINED: discard it; NGX_AGAIN: hold it back,
 * and ask again with its body, or with NULL if that is too large.
 */
typedef ngx_int_t (*ngx_http_retry_chain_judge_pt)(
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body);

/* the update of a stale reply, the request "r", has ended */
typedef void (*ngx_http_retry_chain_updated_pt)(
    ngx_http_retry_chain_attempt_t *at, ngx_http_request_t *r);


struct ngx_http_retry_chain_attempt_s {
    ngx_http_request_t                  *request;   /* the clone */
    ngx_pool_t                          *pool;      /* holds this, too */
    ngx_http_retry_chain_step_t         *step;
    ngx_http_handler_pt                  handler;   /* the location's own */

    void                                *data;      /* the run */
    ngx_http_retry_chain_judge_pt        judge;     /* asked for the verdict */
    ngx_http_retry_chain_updated_pt      updated;
    ngx_http_retry_chain_body_buffer_t  *buffer;    /* or NULL */
    ngx_event_t                         *cut;       /* fired to cut a body */

    ngx_http_cleanup_t                  *cleanup;   /* of main, before it */

    /* of the upstream, if the request body is in a file */
    ngx_int_t                          (*reinit)(ngx_http_request_t *sr);

    ngx_http_post_subrequest_t           ps;
    ngx_http_post_subrequest_t           update;
    ngx_http_posted_request_t            posted;    /* of the main request */

    ngx_http_retry_chain_outcome_t       outcome;
    ngx_int_t                            rc;        /* the attempt ended with */
    ngx_int_t                            answer;    /* with "answered" */
    ngx_uint_t                           states;    /* first of its own */
    off_t                                discarded; /* bytes */
    ngx_str_t                            named;     /* redirect to @location */

    unsigned                             proxied:1; /* by nginx's own handler */
    unsigned                             judged:1;  /* the header was seen */
    unsigned                             buffering:1;
    unsigned                             relaying:1;
    unsigned                             discarding:1;
    unsigned                             expired:1; /* aborted by a timeout */
    unsigned                             redirected:1;
    unsigned                             replaced:1; /* by a filter */
    unsigned                             complete:1; /* end of the body seen */
    unsigned                             answered:1; /* by a header alone */
    unsigned                             aio:1;     /* of the main request */
    unsigned                             done:1;
    unsigned                             error:1;   /* c->error at the end */
};


/*
 * Makes the clone; it runs when nginx runs posted requests.  "states" are the
 * upstream states of earlier attempts, or NULL.  If the handler is one of
 * nginx's own, "proxied", it begins with the module contexts of the main
 * request, in whose place it acts.  When the attempt has ended, the main
 * request is posted.  NULL if there is no memory, with nothing changed.
 */
ngx_http_retry_chain_attempt_t *ngx_http_retry_chain_attempt_start(
    ngx_http_request_t *r, ngx_http_handler_pt handler,
    ngx_http_retry_chain_step_t *step, ngx_array_t *states,
    ngx_uint_t proxied);

/*
 * Ends a running attempt from a timer as if the upstream had timed out.  The
 * attempt may be gone afterwards.  One that is busy with a file, or that has
 * another handler than nginx's own, ends by itself.
 */
void ngx_http_retry_chain_attempt_abort(ngx_http_retry_chain_attempt_t *at);

/* drops what is left of a discarded reply, with its connection; likewise */
void ngx_http_retry_chain_attempt_cut(ngx_http_retry_chain_attempt_t *at);

/*
 * Frees the attempt if nothing can refer to it any more, NGX_AGAIN if it has
 * to live as long as the main request.
 */
ngx_int_t ngx_http_retry_chain_attempt_free(ngx_http_retry_chain_attempt_t *at);

/* the pool of an attempt that nothing refers to; its cleanups are run */
void ngx_http_retry_chain_attempt_pool_free(ngx_pool_t *pool);

/* at the end of a worker */
void ngx_http_retry_chain_attempt_exit(ngx_cycle_t *cycle);

/* the attempt whose clone "r" is, or NULL */
#define ngx_http_retry_chain_attempt_get(r)                                   \
    (((r)->post_subrequest                                                    \
      && (r)->post_subrequest->handler == ngx_http_retry_chain_attempt_done)  \
     ? (r)->post_subrequest->data : NULL)

ngx_int_t ngx_http_retry_chain_attempt_done(ngx_http_request_t *sr, void *data,
    ngx_int_t rc);

/* notes it in the outcome if a cache has answered */
void ngx_http_retry_chain_attempt_cached(ngx_http_retry_chain_attempt_t *at);

/* what the upstream said, 0 if a cache has answered without a call */
void ngx_http_retry_chain_attempt_said(ngx_http_retry_chain_attempt_t *at,
    ngx_http_retry_chain_outcome_t *said);

ngx_int_t ngx_http_retry_chain_attempt_content_handler(ngx_http_request_t *sr);

/* an attempt of an @location has found its content handler */
void ngx_http_retry_chain_attempt_locate_handler(ngx_http_request_t *sr,
    ngx_uint_t proxied);

/* follows the update that the cache of the attempt has begun */
void ngx_http_retry_chain_attempt_update(ngx_http_retry_chain_attempt_t *at);

/* ends an attempt that has been redirected, so that the main request follows */
ngx_int_t ngx_http_retry_chain_attempt_phase_handler(ngx_http_request_t *sr);


/* relay.c */

/* called in postconfiguration */
void ngx_http_retry_chain_relay_init(void);


/* relay_headers.c */

/* the header lines of the reply; NGX_ERROR if there is no memory */
ngx_int_t ngx_http_retry_chain_relay_headers(ngx_http_request_t *r,
    ngx_http_request_t *sr);

/* status, length, type and flags of a reply whose header is relayed */
void ngx_http_retry_chain_relay_reply(ngx_http_request_t *r,
    ngx_http_request_t *sr);

/* trailers, which come with the end of the body */
ngx_int_t ngx_http_retry_chain_relay_trailers(ngx_http_request_t *r,
    ngx_http_request_t *sr);

/* $upstream_*, $proxy_host and the variables that the attempt has evaluated */
void ngx_http_retry_chain_relay_state(ngx_http_request_t *r,
    ngx_http_request_t *sr, ngx_http_retry_chain_target_t *target);


/* body_buffer.c */

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


#endif /* _NGX_HTTP_RETRY_CHAIN_ATTEMPT_H_INCLUDED_ */
