
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The bodies of answers that nobody has sent: a Fail of a machine, and errors
 * of the module or of nginx with retry_chain_error_json.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_ERROR_BODY_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_ERROR_BODY_H_INCLUDED_


#include "ngx_http_retry_chain_run.h"


/*
 * Answers with {"statusCode":502,"error":"...","attempts":[...]}, and returns
 * what the main request is to be finalized with: "rc" where that is for nginx
 * to answer, with its own page or an error_page.
 */
ngx_int_t ngx_http_retry_chain_error_body_error(ngx_http_retry_chain_run_t *run,
    ngx_int_t rc);

/* answers with {"Error":"...","Cause":"..."} of the Fail of the verdict */
ngx_int_t ngx_http_retry_chain_error_body_fail(ngx_http_retry_chain_run_t *run);


#endif /* _NGX_HTTP_RETRY_CHAIN_ERROR_BODY_H_INCLUDED_ */
