
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
#include "ngx_http_retry_chain_sha256.h"


#define NGX_HTTP_RETRY_CHAIN_DIGEST_LEN                                       \
    ngx_base64_encoded_length(NGX_HTTP_RETRY_CHAIN_SHA256_LEN)

#define NGX_HTTP_RETRY_CHAIN_POLICY                                           \
    "default-src 'none'; script-src 'sha256-%*s'; style-src 'sha256-%*s'; "   \
    "img-src data:; connect-src 'self'; base-uri 'none'; "                    \
    "form-action 'none'; frame-ancestors 'none'; "                            \
    "require-trusted-types-for 'script'; trusted-types 'none'"


static void ngx_http_retry_chain_html_digest(u_char *to, const char *begin,
    const char *end);


static const u_char  ngx_http_retry_chain_error_body[] = {
#include "ngx_http_retry_chain_status.html.h"
    0
};


static struct {
    ngx_str_t  name;
    ngx_str_t  value;
} ngx_http_retry_chain_html_headers[] = {
    { ngx_string("Referrer-Policy"), ngx_string("no-referrer") },
    { ngx_string("X-Frame-Options"), ngx_string("DENY") },
    { ngx_string("Cross-Origin-Opener-Policy"), ngx_string("same-origin") },
    { ngx_string("Cross-Origin-Resource-Policy"), ngx_string("same-origin") },
    { ngx_null_string, ngx_null_string }
};


static ngx_str_t  ngx_http_retry_chain_html_policy =
    ngx_string("Content-Security-Policy");


ngx_chain_t *
ngx_http_retry_chain_status_html(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status)
{
    ngx_buf_t                         *b;
    ngx_uint_t                         i;
    ngx_chain_t                       *cl;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    rcmcf = ngx_http_get_module_main_conf(r, ngx_http_retry_chain_module);

    if (ngx_http_retry_chain_status_header(r,
                                           &ngx_http_retry_chain_html_policy,
                                           &rcmcf->policy)
        != NGX_OK)
    {
        return NULL;
    }

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

    b->pos = (u_char *) ngx_http_retry_chain_error_body;
    b->last = b->pos + sizeof(ngx_http_retry_chain_error_body) - 1;
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    return cl;
}


ngx_int_t
ngx_http_retry_chain_status_html_init(ngx_conf_t *cf)
{
    size_t                             len;
    u_char                            *p;
    u_char                             script[NGX_HTTP_RETRY_CHAIN_DIGEST_LEN];
    u_char                             style[NGX_HTTP_RETRY_CHAIN_DIGEST_LEN];
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);

    if (rcmcf->policy.len) {
        return NGX_OK;
    }

    ngx_http_retry_chain_html_digest(script, "<script>", "</script>");
    ngx_http_retry_chain_html_digest(style, "<style>", "</style>");

    len = sizeof(NGX_HTTP_RETRY_CHAIN_POLICY) - 1 + sizeof(script)
          + sizeof(style);

    p = ngx_pnalloc(cf->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rcmcf->policy.data = p;
    rcmcf->policy.len = ngx_snprintf(p, len, NGX_HTTP_RETRY_CHAIN_POLICY,
                                     sizeof(script), script,
                                     sizeof(style), style)
                        - p;

    return NGX_OK;
}


/* of what stands between the two, that the page has once */

static void
ngx_http_retry_chain_html_digest(u_char *to, const char *begin,
    const char *end)
{
    u_char     *p, *last;
    u_char      digest[NGX_HTTP_RETRY_CHAIN_SHA256_LEN];
    ngx_str_t   encoded, sum;

    p = (u_char *) ngx_strstr(ngx_http_retry_chain_error_body, begin)
        + ngx_strlen(begin);
    last = (u_char *) ngx_strstr(p, end);

    ngx_http_retry_chain_sha256(digest, p, last - p);

    sum.data = digest;
    sum.len = sizeof(digest);
    encoded.data = to;

    ngx_encode_base64(&encoded, &sum);
}
