
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What outlives a discarded attempt: the upstream states, which seed the next
 * one so that $upstream_addr and the like show all of them.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_UPSTREAM_STATES_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_UPSTREAM_STATES_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/*
 * Copies the states of the run's attempt to the pool of the main request and
 * frees the attempt, at once or with the main request.  NGX_ERROR if there is
 * no memory.
 */
ngx_int_t ngx_http_retry_chain_upstream_states_keep(
    ngx_http_retry_chain_run_t *run);


#endif /* _NGX_HTTP_RETRY_CHAIN_UPSTREAM_STATES_H_INCLUDED_ */
