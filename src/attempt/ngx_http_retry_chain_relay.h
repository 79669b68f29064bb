
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The filters at the very top of both chains: the reply of an attempt goes no
 * further here.  It is discarded, or fed to the top of the main request's
 * filters, which then work exactly once and as if it had proxied itself.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RELAY_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RELAY_H_INCLUDED_


#include "ngx_http_retry_chain.h"


/* called in postconfiguration */
void ngx_http_retry_chain_relay_init(void);


#endif /* _NGX_HTTP_RETRY_CHAIN_RELAY_H_INCLUDED_ */
