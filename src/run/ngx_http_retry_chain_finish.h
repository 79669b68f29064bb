
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The end of a run and what the client gets of it.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_FINISH_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_FINISH_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/*
 * The last attempt has ended, with or without a reply: so does the request.
 * Called from the write handler of the main request, which may be gone
 * afterwards.
 */
void ngx_http_retry_chain_finish_request(ngx_http_retry_chain_run_t *run);

/* the one end of a run, whatever it was; the request goes on */
void ngx_http_retry_chain_finish(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_result_e result);


#endif /* _NGX_HTTP_RETRY_CHAIN_FINISH_H_INCLUDED_ */
