
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_status.h"
#include "ngx_http_retry_chain_header.h"


typedef struct {
    ngx_str_t                     format;    /* as in ?format= */
    ngx_str_t                     type;      /* as in Accept */
    ngx_str_t                     content_type;
    ngx_http_retry_chain_view_pt  view;
    ngx_uint_t                    constant;  /* needs no snapshot */
} ngx_http_retry_chain_format_t;


static ngx_int_t ngx_http_retry_chain_status_handler(ngx_http_request_t *r);
static ngx_http_retry_chain_format_t *ngx_http_retry_chain_status_format(
    ngx_http_request_t *r);
static ngx_http_retry_chain_format_t *ngx_http_retry_chain_status_negotiate(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_status_send(ngx_http_request_t *r,
    ngx_http_retry_chain_format_t *format, ngx_chain_t *out);

static ngx_uint_t ngx_http_retry_chain_status_runs(ngx_http_request_t *r);
static void ngx_http_retry_chain_status_zone(
    ngx_http_retry_chain_status_t *status, ngx_http_retry_chain_zone_t *zone);
static void ngx_http_retry_chain_status_step(
    ngx_http_retry_chain_status_t *status,
    ngx_http_retry_chain_status_step_t *step);
static void ngx_http_retry_chain_status_chain(
    ngx_http_retry_chain_status_chain_t *to,
    ngx_http_retry_chain_chain_t *chain);


/* the first one that a client likes as much as any other is sent */

static ngx_http_retry_chain_format_t  ngx_http_retry_chain_formats[] = {

    { ngx_string("json"),
      ngx_string("application/json"),
      ngx_string("application/json"),
      ngx_http_retry_chain_status_json, 0 },

    { ngx_string("openmetrics"),
      ngx_string("application/openmetrics-text"),
      ngx_string("application/openmetrics-text; version=1.0.0; charset=utf-8"),
      ngx_http_retry_chain_status_openmetrics, 0 },

    { ngx_string("prometheus"),
      ngx_string("text/plain"),
      ngx_string("text/plain; version=0.0.4; charset=utf-8"),
      ngx_http_retry_chain_status_prometheus, 0 },

    { ngx_string("html"),
      ngx_string("text/html"),
      ngx_string("text/html; charset=utf-8"),
      ngx_http_retry_chain_status_html, 1 },

    { ngx_null_string, ngx_null_string, ngx_null_string, NULL, 0 }
};


static struct {
    ngx_str_t                     name;
    ngx_str_t                     value;
} ngx_http_retry_chain_status_headers[] = {
    { ngx_string("Cache-Control"), ngx_string("no-store") },
    { ngx_string("X-Content-Type-Options"), ngx_string("nosniff") },
    { ngx_string("Vary"), ngx_string("Accept") },
    { ngx_null_string, ngx_null_string }
};


static ngx_str_t  ngx_http_retry_chain_status_allow = ngx_string("Allow");
static ngx_str_t  ngx_http_retry_chain_status_methods =
    ngx_string("GET, HEAD");


static ngx_int_t
ngx_http_retry_chain_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                       rc;
    ngx_chain_t                    *out;
    ngx_http_retry_chain_format_t  *format;
    ngx_http_retry_chain_status_t  *status;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_http_retry_chain_status_header(r,
                                         &ngx_http_retry_chain_status_allow,
                                         &ngx_http_retry_chain_status_methods)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    format = ngx_http_retry_chain_status_format(r);

    if (format == NULL) {
        return NGX_HTTP_BAD_REQUEST;
    }

    status = NULL;

    if (!format->constant) {
        status = ngx_http_retry_chain_status_snapshot(r);
        if (status == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    out = format->view(r, status);
    if (out == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_retry_chain_status_send(r, format, out);
}


/* NULL if the client asks for one that does not exist */

static ngx_http_retry_chain_format_t *
ngx_http_retry_chain_status_format(ngx_http_request_t *r)
{
    ngx_str_t                       value;
    ngx_http_retry_chain_format_t  *format;

    if (ngx_http_arg(r, (u_char *) "format", 6, &value) != NGX_OK) {
        return ngx_http_retry_chain_status_negotiate(r);
    }

    for (format = ngx_http_retry_chain_formats; format->view; format++) {

        if (format->format.len == value.len
            && ngx_strncmp(format->format.data, value.data, value.len) == 0)
        {
            return format;
        }
    }

    return NULL;
}


/* a client that accepts nothing of all gets what one that says nothing gets */

static ngx_http_retry_chain_format_t *
ngx_http_retry_chain_status_negotiate(ngx_http_request_t *r)
{
    ngx_uint_t                      q, specific, most;
    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   pos;
    ngx_http_retry_chain_format_t  *format, *best;

    static ngx_str_t  accept = ngx_string("Accept");

    best = ngx_http_retry_chain_formats;
    most = 0;

    for (format = ngx_http_retry_chain_formats; format->view; format++) {

        q = 0;
        specific = 0;

        ngx_memzero(&pos, sizeof(ngx_http_retry_chain_header_t));

        while ((h = ngx_http_retry_chain_header_next(&r->headers_in.headers,
                                                     &accept, &pos)))
        {
            ngx_http_retry_chain_status_accept(&h->value, &format->type,
                                               &specific, &q);
        }

        if (q > most) {
            most = q;
            best = format;
        }
    }

    return best;
}


static ngx_int_t
ngx_http_retry_chain_status_send(ngx_http_request_t *r,
    ngx_http_retry_chain_format_t *format, ngx_chain_t *out)
{
    off_t         len;
    ngx_int_t     rc;
    ngx_uint_t    i;
    ngx_chain_t  *cl;

    for (i = 0; ngx_http_retry_chain_status_headers[i].name.len; i++) {

        if (ngx_http_retry_chain_status_header(r,
                                 &ngx_http_retry_chain_status_headers[i].name,
                                 &ngx_http_retry_chain_status_headers[i].value)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    len = 0;

    for (cl = out; cl; cl = cl->next) {
        len += ngx_buf_size(cl->buf);

        if (cl->next == NULL) {
            cl->buf->last_buf = (r == r->main) ? 1 : 0;
            cl->buf->last_in_chain = 1;
        }
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = len;
    r->headers_out.content_type = format->content_type;
    r->headers_out.content_type_len = format->type.len;
    r->headers_out.content_type_lowcase = NULL;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, out);
}


ngx_int_t
ngx_http_retry_chain_status_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_http_retry_chain_header_add(r, name);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->value = *value;

    return NGX_OK;
}


/*
 * All is copied before anything is written, so that the parts of an answer
 * belong to about the same moment.
 */

ngx_http_retry_chain_status_t *
ngx_http_retry_chain_status_snapshot(ngx_http_request_t *r)
{
    ngx_uint_t                          i, n;
    ngx_time_t                         *tp;
    ngx_shm_zone_t                    **zones;
    ngx_http_retry_chain_zone_t        *zone;
    ngx_http_retry_chain_chain_t      **chains;
    ngx_http_retry_chain_status_t      *status;
    ngx_http_retry_chain_main_conf_t   *rcmcf;

    rcmcf = ngx_http_get_module_main_conf(r, ngx_http_retry_chain_module);

    zones = rcmcf->zones.elts;
    chains = rcmcf->chains.elts;

    for (i = 0, n = 0; i < rcmcf->zones.nelts; i++) {
        zone = zones[i]->data;
        n += zone->queues.nelts;
    }

    status = ngx_pcalloc(r->pool, sizeof(ngx_http_retry_chain_status_t));
    if (status == NULL) {
        return NULL;
    }

    status->zones = ngx_pcalloc(r->pool, (rcmcf->zones.nelts + 1)
                                  * sizeof(ngx_http_retry_chain_status_zone_t));
    status->steps = ngx_pcalloc(r->pool, (n + 1)
                                  * sizeof(ngx_http_retry_chain_status_step_t));
    status->chains = ngx_pcalloc(r->pool, (rcmcf->chains.nelts + 1)
                                 * sizeof(ngx_http_retry_chain_status_chain_t));

    if (status->zones == NULL || status->steps == NULL
        || status->chains == NULL)
    {
        return NULL;
    }

    tp = ngx_timeofday();

    status->time = (uint64_t) tp->sec * 1000 + tp->msec;
    status->runs = ngx_http_retry_chain_status_runs(r);
    status->left = NGX_HTTP_RETRY_CHAIN_STATUS_MAX_RUNS;

    for (i = 0; i < rcmcf->zones.nelts; i++) {
        ngx_http_retry_chain_status_zone(status, zones[i]->data);
    }

    for (i = 0; i < rcmcf->chains.nelts; i++) {
        ngx_http_retry_chain_status_chain(&status->chains[status->nchains++],
                                          chains[i]);
    }

    return status;
}


static ngx_uint_t
ngx_http_retry_chain_status_runs(ngx_http_request_t *r)
{
    ngx_int_t  n;
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) "runs", 4, &value) == NGX_OK) {
        n = ngx_atoi(value.data, value.len);

        if (n != NGX_ERROR) {
            return ngx_min(n, NGX_HTTP_RETRY_CHAIN_STATUS_MAX_RUNS);
        }
    }

    return NGX_HTTP_RETRY_CHAIN_STATUS_RUNS;
}


static void
ngx_http_retry_chain_status_zone(ngx_http_retry_chain_status_t *status,
    ngx_http_retry_chain_zone_t *zone)
{
    ngx_uint_t                            i;
    ngx_http_retry_chain_queue_t        **queues;
    ngx_http_retry_chain_shared_t        *sh;
    ngx_http_retry_chain_status_zone_t   *to;
    ngx_http_retry_chain_status_step_t   *step;

    sh = zone->sh;
    to = &status->zones[status->nzones++];

    to->zone = zone;
    to->waiting = ngx_http_retry_chain_gauges_waiting(&sh->workers);
    to->lost = sh->recent.lost;
    to->first = status->nsteps;

    queues = zone->queues.elts;

    for (i = 0; i < zone->queues.nelts; i++) {
        step = &status->steps[status->nsteps++];

        step->zone = zone;
        step->queue = queues[i];

        ngx_http_retry_chain_status_step(status, step);
    }
}


static void
ngx_http_retry_chain_status_step(ngx_http_retry_chain_status_t *status,
    ngx_http_retry_chain_status_step_t *step)
{
    uint64_t                              now, until;
    ngx_http_retry_chain_limiter_t       *limiter;
    ngx_http_retry_chain_limiter_node_t  *node;

    node = step->queue->node;
    limiter = &node->limiter;
    now = ngx_http_retry_chain_zone_now();

    step->stats = node->stats;
    step->in_flight = ngx_http_retry_chain_gauges_sum(
                                    &step->zone->sh->workers, node->node.gauge);

    until = ngx_http_retry_chain_limiter_limited(limiter, now);

    if (until > now) {
        step->limited = (until - now + 999) / 1000;
        step->until = status->time + step->limited;
    }

    until = ngx_http_retry_chain_limiter_peek(limiter,
                                              &step->queue->step->limit, now);

    if (until > now) {
        step->wait = (until - now + 999) / 1000;
    }

    step->half_open = ngx_http_retry_chain_limiter_half_open(limiter, now);
    step->refused = limiter->refused;
    step->rate = ngx_http_retry_chain_limiter_rate(limiter);
}


static void
ngx_http_retry_chain_status_chain(ngx_http_retry_chain_status_chain_t *to,
    ngx_http_retry_chain_chain_t *chain)
{
    to->chain = chain;
    to->steps = chain->plan->nsteps;

    if (chain->zone) {
        to->stats = chain->node->stats;
        to->dry = chain->node->dry;
        to->waiting = ngx_http_retry_chain_gauges_sum(&chain->zone->sh->workers,
                                                      chain->node->node.gauge);
    }
}


char *
ngx_http_retry_chain_status_conf(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler == ngx_http_retry_chain_status_handler) {
        return "is duplicate";
    }

    clcf->handler = ngx_http_retry_chain_status_handler;

    return NGX_CONF_OK;
}
