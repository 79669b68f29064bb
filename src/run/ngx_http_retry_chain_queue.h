
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs that wait for their tickets.  Each worker has a queue of its own for
 * each upstream, in the order of tickets and with one timer for all: a run that
 * waits costs neither a timer nor time.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_QUEUE_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_QUEUE_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/* the run has a ticket; it is woken when that is due, or too late for it */
void ngx_http_retry_chain_queue_add(ngx_http_retry_chain_run_t *run);

/* the run waits, in the queue or not: it counts */
void ngx_http_retry_chain_queue_count(ngx_http_retry_chain_run_t *run);

/* 1 if another run may wait */
ngx_uint_t ngx_http_retry_chain_queue_room(ngx_http_retry_chain_run_t *run);

/* the run does not wait any more */
void ngx_http_retry_chain_queue_leave(ngx_http_retry_chain_run_t *run);

/* likewise, but it has no use for its ticket: it gets the last of the line */
void ngx_http_retry_chain_queue_quit(ngx_http_retry_chain_run_t *run);

/* the limiter has been moved: its line is looked at soon */
void ngx_http_retry_chain_queue_update(ngx_http_retry_chain_queue_t *queue);


#endif /* _NGX_HTTP_RETRY_CHAIN_QUEUE_H_INCLUDED_ */
