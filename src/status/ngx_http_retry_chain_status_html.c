
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The page for people.  It is the same for every request: what it shows comes
 * from the JSON view of its own location.  A browser runs what stands in it and
 * nothing else, since the policy has the digests of its style and script.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_status.h"
#include "ngx_http_retry_chain_status.html.h"


static struct {
    ngx_str_t  name;
    ngx_str_t  value;
} ngx_http_retry_chain_html_headers[] = {
    { ngx_string("Content-Security-Policy"),
      ngx_string("default-src 'none'; "
                 "script-src 'sha256-" NGX_HTTP_RETRY_CHAIN_STATUS_SCRIPT "'; "
                 "style-src 'sha256-" NGX_HTTP_RETRY_CHAIN_STATUS_STYLE "'; "
                 "img-src data:; connect-src 'self'; base-uri 'none'; "
                 "form-action 'none'; frame-ancestors 'none'; "
                 "require-trusted-types-for 'script'; "
                 "trusted-types 'none'") },
    { ngx_string("Referrer-Policy"), ngx_string("no-referrer") },
    { ngx_string("X-Frame-Options"), ngx_string("DENY") },
    { ngx_string("Cross-Origin-Opener-Policy"), ngx_string("same-origin") },
    { ngx_string("Cross-Origin-Resource-Policy"), ngx_string("same-origin") },
    { ngx_null_string, ngx_null_string }
};


ngx_chain_t *
ngx_http_retry_chain_status_html(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status)
{
    ngx_buf_t    *b;
    ngx_uint_t    i;
    ngx_chain_t  *cl;

    for (i = 0; ngx_http_retry_chain_html_headers[i].name.len; i++) {

        if (ngx_http_retry_chain_status_header(r,
                                   &ngx_http_retry_chain_html_headers[i].name,
                                   &ngx_http_retry_chain_html_headers[i].value)
            != NGX_OK)
        {
            return NULL;
        }
    }

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->pos = (u_char *) ngx_http_retry_chain_status_page;
    b->last = b->pos + sizeof(ngx_http_retry_chain_status_page);
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    return cl;
}
