
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
#include "ngx_http_retry_chain_response.h"


typedef struct ngx_http_retry_chain_attempt_s  ngx_http_retry_chain_attempt_t;

/* below: a reply that is held back */
typedef struct ngx_http_retry_chain_body_buffer_s
    ngx_http_retry_chain_body_buffer_t;


typedef enum {
    NGX_HTTP_RETRY_CHAIN_ATTEMPT_HEADER = 0,    /* nothing has come */
    NGX_HTTP_RETRY_CHAIN_ATTEMPT_BUFFERING,     /* the reply is held back */
    NGX_HTTP_RETRY_CHAIN_ATTEMPT_RELAYING,      /* it is the answer */
    NGX_HTTP_RETRY_CHAIN_ATTEMPT_ANSWERED,      /* its header was all of that */
    NGX_HTTP_RETRY_CHAIN_ATTEMPT_DISCARDING,
    NGX_HTTP_RETRY_CHAIN_ATTEMPT_DONE
} ngx_http_retry_chain_attempt_state_e;


struct ngx_http_retry_chain_attempt_s {
    ngx_http_request_t                  *request;   /* the clone */
    ngx_pool_t                          *pool;      /* holds this, too */
    ngx_http_retry_chain_step_t         *step;
    ngx_http_handler_pt                  handler;   /* the location's own */

    ngx_http_retry_chain_attempt_state_e
                                         state;

    void                                *data;      /* the run */
    ngx_http_retry_chain_body_buffer_t  *buffer;    /* or NULL */

    ngx_http_cleanup_t                  *cleanup;   /* of main, before it */

    /* of the upstream, if the request body is in a file */
    ngx_int_t                          (*reinit)(ngx_http_request_t *sr);

    ngx_http_post_subrequest_t           ps;
    ngx_http_post_subrequest_t           update;    /* of a stale reply */
    ngx_http_posted_request_t            posted;    /* of the main request */

    ngx_http_retry_chain_outcome_t       outcome;
    ngx_int_t                            rc;        /* the attempt ended with */
    ngx_int_t                            answer;    /* if answered */
    ngx_uint_t                           states;    /* first of its own */
    off_t                                discarded; /* bytes */
    ngx_str_t                            named;     /* redirect to @location */

    unsigned                             proxied:1; /* by nginx's own handler */
    unsigned                             watched:1; /* of response.h */
    unsigned                             relayed:1; /* the header is */
    unsigned                             expired:1; /* aborted by a timeout */
    unsigned                             redirected:1;
    unsigned                             replaced:1; /* by a filter */
    unsigned                             complete:1; /* end of the body seen */
    unsigned                             aio:1;     /* of the main request */
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

/* ends an attempt that has been redirected, so that the main request follows */
ngx_int_t ngx_http_retry_chain_attempt_phase_handler(ngx_http_request_t *sr);


/* the one place that changes the state */

static ngx_inline void
ngx_http_retry_chain_attempt_set_state(ngx_http_retry_chain_attempt_t *at,
    ngx_http_retry_chain_attempt_state_e state)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, at->request->connection->log, 0,
                   "retry chain attempt state: %d -> %d", at->state, state);

    at->state = state;
}


/* attempt_content.c */

ngx_int_t ngx_http_retry_chain_attempt_content_handler(ngx_http_request_t *sr);

/* an attempt of an @location has found its content handler */
void ngx_http_retry_chain_attempt_locate_handler(ngx_http_request_t *sr,
    ngx_uint_t proxied);

/* at->update is called when the update that its cache has begun has ended */
void ngx_http_retry_chain_attempt_update(ngx_http_retry_chain_attempt_t *at);


/* outcome.c: what nginx knows of an attempt, as an outcome */

/* the header of the reply has come */
void ngx_http_retry_chain_outcome_header(ngx_http_retry_chain_attempt_t *at);

/* the attempt has ended without one; its code may become another one */
void ngx_http_retry_chain_outcome_end(ngx_http_retry_chain_attempt_t *at);

/* it has ended before the end of a reply that was held back */
void ngx_http_retry_chain_outcome_broken(ngx_http_retry_chain_attempt_t *at);

/*
 * The request has been answered by the location's own handler, its states begin
 * with "first".  NGX_AGAIN: it is not known yet; NGX_DONE: the client has left,
 * or the request could not be read.
 */
ngx_int_t ngx_http_retry_chain_outcome_request(ngx_http_request_t *r,
    ngx_uint_t first, ngx_uint_t proxied,
    ngx_http_retry_chain_outcome_t *outcome);

/* what the upstream said at the last try since state "first"; 0: none yet */
void ngx_http_retry_chain_outcome_states(ngx_http_request_t *r,
    ngx_uint_t first, ngx_http_retry_chain_outcome_t *outcome);

/*
 * The upstream states from "first" to before "end", after one separator and
 * before the next one: how many, and the first of them.  "states" may be NULL.
 */
ngx_uint_t ngx_http_retry_chain_outcome_tries(ngx_array_t *states,
    ngx_uint_t first, ngx_uint_t end, ngx_http_upstream_state_t **state);


/* what the upstream itself has said, 0 if a cache answered without a call */

static ngx_inline void
ngx_http_retry_chain_outcome_upstream(ngx_http_retry_chain_attempt_t *at,
    ngx_http_retry_chain_outcome_t *response)
{
    if (!at->outcome.cached) {
        *response = at->outcome;
        return;
    }

    ngx_http_retry_chain_outcome_states(at->request, at->states, response);

    response->cached = 1;
}


/* relay.c: the reply of an attempt goes to the main request, or nowhere */

/* feeds the header of the reply to the filters of the main request */
ngx_int_t ngx_http_retry_chain_relay_header(ngx_http_retry_chain_attempt_t *at);

/* likewise a part of the body, the end of which is that of the reply */
ngx_int_t ngx_http_retry_chain_relay_body(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in);

/* NGX_ERROR if the body is not worth reading, the upstream is to be ended */
ngx_int_t ngx_http_retry_chain_discard_header(
    ngx_http_retry_chain_attempt_t *at);

/* drops a part of the body; NGX_DONE if it was more than is worth reading */
ngx_int_t ngx_http_retry_chain_discard_body(ngx_http_retry_chain_attempt_t *at,
    ngx_chain_t *in);

/* marks buffers as sent; the size of what was in them */
off_t ngx_http_retry_chain_discard(ngx_chain_t *in);


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
