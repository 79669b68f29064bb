
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The text format of Prometheus, version 0.0.4, and OpenMetrics 1.0.  They
 * differ in the names of counters before their suffix, and in their end.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_status.h"
#include "ngx_http_retry_chain_utf8.h"


#define NGX_HTTP_RETRY_CHAIN_PROMETHEUS_BUF  16384


typedef struct {
    ngx_pool_t                         *pool;
    ngx_chain_t                        *first;
    ngx_chain_t                       **last;
    ngx_buf_t                          *buf;
    ngx_uint_t                          open;      /* OpenMetrics */
    ngx_uint_t                          error;
    ngx_http_retry_chain_status_row_t  *row;

    /* of the samples that are being written */
    ngx_str_t                           zone;
    ngx_str_t                           object;
    u_char                             *labels;    /* of them, escaped */
    size_t                              len;
} ngx_http_retry_chain_prometheus_t;


static ngx_chain_t *ngx_http_retry_chain_prometheus(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status, ngx_uint_t open);
static void ngx_http_retry_chain_prometheus_row(
    ngx_http_retry_chain_prometheus_t *ctx,
    ngx_http_retry_chain_status_t *status);
static void ngx_http_retry_chain_prometheus_object(
    ngx_http_retry_chain_prometheus_t *ctx, ngx_str_t *zone, ngx_str_t *object,
    void *snapshot);
static void ngx_http_retry_chain_prometheus_times(
    ngx_http_retry_chain_prometheus_t *ctx,
    ngx_http_retry_chain_times_t *times);
static void ngx_http_retry_chain_prometheus_labels(
    ngx_http_retry_chain_prometheus_t *ctx);
static u_char *ngx_http_retry_chain_prometheus_escape(u_char *p,
    u_char *text, size_t len);
static void ngx_http_retry_chain_prometheus_print(
    ngx_http_retry_chain_prometheus_t *ctx, size_t len, const char *fmt, ...);


#define ngx_http_retry_chain_prometheus_value(n)                              \
    (n) / 1000, (n) % 1000


ngx_chain_t *
ngx_http_retry_chain_status_prometheus(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status)
{
    return ngx_http_retry_chain_prometheus(r, status, 0);
}


ngx_chain_t *
ngx_http_retry_chain_status_openmetrics(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status)
{
    return ngx_http_retry_chain_prometheus(r, status, 1);
}


static ngx_chain_t *
ngx_http_retry_chain_prometheus(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status, ngx_uint_t open)
{
    ngx_http_retry_chain_prometheus_t  ctx;

    ngx_memzero(&ctx, sizeof(ngx_http_retry_chain_prometheus_t));

    ctx.pool = r->pool;
    ctx.last = &ctx.first;
    ctx.open = open;

    for (ctx.row = ngx_http_retry_chain_status_table; ctx.row->n; ctx.row++) {
        if (ctx.row->metric) {
            ngx_http_retry_chain_prometheus_row(&ctx, status);
        }
    }

    ngx_http_retry_chain_prometheus_print(&ctx, 6, open ? "# EOF\n" : "");

    return ctx.error ? NULL : ctx.first;
}


/* the samples of a metric have to follow each other */

static void
ngx_http_retry_chain_prometheus_row(ngx_http_retry_chain_prometheus_t *ctx,
    ngx_http_retry_chain_status_t *status)
{
    char                               *metric, *type, *suffix;
    ngx_str_t                           none;
    ngx_uint_t                          i;
    ngx_http_retry_chain_zone_t        *zone;
    ngx_http_retry_chain_chain_t       *chain;
    ngx_http_retry_chain_status_row_t  *row;

    static char  *types[] = { "counter", "gauge", "histogram" };

    ngx_str_null(&none);

    row = ctx->row;
    metric = row->metric;
    type = types[row->type];
    suffix = row->type == NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER && !ctx->open
             ? "_total" : "";

    ngx_http_retry_chain_prometheus_print(ctx,
                     2 * ngx_strlen(metric) + ngx_strlen(row->help) + 128,
                     "# HELP nginx_retry_chain_%s%s %s\n"
                     "# TYPE nginx_retry_chain_%s%s %s\n",
                     metric, suffix, row->help, metric, suffix, type);

    switch (row->scope) {

    case NGX_HTTP_RETRY_CHAIN_STATUS_ZONE:

        for (i = 0; i < status->nzones; i++) {
            ngx_http_retry_chain_prometheus_object(ctx,
                                                &status->zones[i].zone->name,
                                                &none, &status->zones[i]);
        }

        break;

    case NGX_HTTP_RETRY_CHAIN_STATUS_STEP:

        for (i = 0; i < status->nsteps; i++) {
            ngx_http_retry_chain_prometheus_object(ctx,
                                           &status->steps[i].zone->name,
                                           &status->steps[i].queue->step->name,
                                           &status->steps[i]);
        }

        break;

    case NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN:

        for (i = 0; i < status->nchains; i++) {
            chain = status->chains[i].chain;
            zone = chain->zone;

            if (zone || !row->zoned) {
                ngx_http_retry_chain_prometheus_object(ctx,
                                                zone ? &zone->name : &none,
                                                &chain->name,
                                                &status->chains[i]);
            }
        }

        break;
    }
}


static void
ngx_http_retry_chain_prometheus_object(ngx_http_retry_chain_prometheus_t *ctx,
    ngx_str_t *zone, ngx_str_t *object, void *snapshot)
{
    char                               *suffix;
    uint64_t                           *value;
    ngx_uint_t                          i;
    ngx_http_retry_chain_status_row_t  *row;

    row = ctx->row;

    ctx->zone = *zone;
    ctx->object = *object;

    ngx_http_retry_chain_prometheus_labels(ctx);

    if (ctx->error) {
        return;
    }

    if (row->type == NGX_HTTP_RETRY_CHAIN_STATUS_TIMES) {
        ngx_http_retry_chain_prometheus_times(ctx,
                                      (ngx_http_retry_chain_times_t *)
                                      ((u_char *) snapshot + row->offset));
        return;
    }

    suffix = row->type == NGX_HTTP_RETRY_CHAIN_STATUS_COUNTER ? "_total" : "";
    value = (uint64_t *) ((u_char *) snapshot + row->offset);

    for (i = 0; i < row->n; i++) {

        if (row->optional && value[i] == 0) {
            continue;
        }

        ngx_http_retry_chain_prometheus_print(ctx, 64, "nginx_retry_chain_");
        ngx_http_retry_chain_prometheus_print(ctx, 128 + ctx->len, "%s%s{%*s",
                                              row->metric, suffix, ctx->len,
                                              ctx->labels);

        if (row->names) {
            ngx_http_retry_chain_prometheus_print(ctx, 128, ",%s=\"%V\"",
                                                  row->label, &row->names[i]);
        }

        if (row->thousandths) {
            ngx_http_retry_chain_prometheus_print(ctx, 64, "} %uL.%03uL\n",
                              ngx_http_retry_chain_prometheus_value(value[i]));

        } else {
            ngx_http_retry_chain_prometheus_print(ctx, 64, "} %uL\n",
                                                  value[i]);
        }
    }
}


static void
ngx_http_retry_chain_prometheus_times(ngx_http_retry_chain_prometheus_t *ctx,
    ngx_http_retry_chain_times_t *times)
{
    char        *metric;
    uint64_t     n, sum, bound;
    ngx_uint_t   i;

    metric = ctx->row->metric;
    n = 0;

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_BUCKETS; i++) {
        n += times->buckets[i];

        ngx_http_retry_chain_prometheus_print(ctx, 160 + ctx->len,
                                        "nginx_retry_chain_%s_bucket{%*s,le=\"",
                                        metric, ctx->len, ctx->labels);

        if (i < NGX_HTTP_RETRY_CHAIN_BUCKETS - 1) {
            bound = ngx_http_retry_chain_bounds[i];

            ngx_http_retry_chain_prometheus_print(ctx, 64,
                              bound % 1000 ? "%uL.%03uL\"} " : "%uL.%uL\"} ",
                              ngx_http_retry_chain_prometheus_value(bound));

        } else {
            ngx_http_retry_chain_prometheus_print(ctx, 64, "+Inf\"} ");
        }

        ngx_http_retry_chain_prometheus_print(ctx, 64, "%uL\n", n);
    }

    sum = times->sum;

    ngx_http_retry_chain_prometheus_print(ctx, 160 + ctx->len,
                            "nginx_retry_chain_%s_sum{%*s} %uL.%03uL\n",
                            metric, ctx->len, ctx->labels,
                            ngx_http_retry_chain_prometheus_value(sum));
    ngx_http_retry_chain_prometheus_print(ctx, 160 + ctx->len,
                            "nginx_retry_chain_%s_count{%*s} %uL\n",
                            metric, ctx->len, ctx->labels, n);
}


static void
ngx_http_retry_chain_prometheus_labels(ngx_http_retry_chain_prometheus_t *ctx)
{
    u_char  *p;
    size_t   len;

    /* a byte becomes three of UTF-8 at the most, or two with a backslash */

    len = sizeof("zone=\"\",chain=\"\"")
          + ngx_http_retry_chain_utf8_len(ctx->zone.len + ctx->object.len);

    p = ngx_pnalloc(ctx->pool, len);
    if (p == NULL) {
        ctx->error = 1;
        return;
    }

    ctx->labels = p;

    p = ngx_cpymem(p, "zone=\"", sizeof("zone=\"") - 1);
    p = ngx_http_retry_chain_prometheus_escape(p, ctx->zone.data,
                                               ctx->zone.len);
    *p++ = '"';

    if (ctx->row->scope != NGX_HTTP_RETRY_CHAIN_STATUS_ZONE) {
        p = ngx_sprintf(p, ",%s=\"",
                        ctx->row->scope == NGX_HTTP_RETRY_CHAIN_STATUS_STEP
                        ? "step" : "chain");
        p = ngx_http_retry_chain_prometheus_escape(p, ctx->object.data,
                                                   ctx->object.len);
        *p++ = '"';
    }

    ctx->len = p - ctx->labels;
}


static u_char *
ngx_http_retry_chain_prometheus_escape(u_char *p, u_char *text, size_t len)
{
    u_char  *last, *run;

    last = text + len;

    while (text < last) {

        for (run = text; run < last; run++) {
            if (*run == '\\' || *run == '"' || *run == '\n') {
                break;
            }
        }

        p = ngx_http_retry_chain_utf8_copy(p, text, run - text);

        if (run < last) {
            *p++ = '\\';
            *p++ = *run == '\n' ? 'n' : *run;
            run++;
        }

        text = run;
    }

    return p;
}


/* "len" is the most that is printed; a buffer that lacks room is left */

static void
ngx_http_retry_chain_prometheus_print(ngx_http_retry_chain_prometheus_t *ctx,
    size_t len, const char *fmt, ...)
{
    va_list       args;
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    b = ctx->buf;

    if (ctx->error) {
        return;
    }

    if (b == NULL || (size_t) (b->end - b->last) < len) {

        b = ngx_create_temp_buf(ctx->pool,
                         ngx_max(len, NGX_HTTP_RETRY_CHAIN_PROMETHEUS_BUF));
        cl = ngx_alloc_chain_link(ctx->pool);

        if (b == NULL || cl == NULL) {
            ctx->error = 1;
            return;
        }

        cl->buf = b;
        cl->next = NULL;

        *ctx->last = cl;
        ctx->last = &cl->next;
        ctx->buf = b;
    }

    va_start(args, fmt);
    b->last = ngx_vslprintf(b->last, b->end, fmt, args);
    va_end(args);
}
