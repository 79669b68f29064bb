
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs that wait for their tickets.  Each worker has a line of its own for each
 * way out, in the order of tickets and with one timer for all: a parked run
 * costs neither a timer nor time.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_PARK_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_PARK_H_INCLUDED_


#include "ngx_http_retry_chain_record.h"


/* the run has a ticket; it is woken when that is due, or too late for it */
void ngx_http_retry_chain_park(ngx_http_retry_chain_run_t *run);

/* the run waits, parked or not: it counts */
void ngx_http_retry_chain_park_count(ngx_http_retry_chain_run_t *run);

/* 1 if another run may wait */
ngx_uint_t ngx_http_retry_chain_park_place(ngx_http_retry_chain_run_t *run);

/* the run does not wait any more */
void ngx_http_retry_chain_park_leave(ngx_http_retry_chain_run_t *run);

/* likewise, but it has no use for its ticket: it gets the last of the line */
void ngx_http_retry_chain_park_quit(ngx_http_retry_chain_run_t *run);

/* the slot has been moved: its line is looked at soon */
void ngx_http_retry_chain_park_update(ngx_http_retry_chain_way_t *way);


#endif /* _NGX_HTTP_RETRY_CHAIN_PARK_H_INCLUDED_ */
