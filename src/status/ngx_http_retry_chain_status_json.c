
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The whole snapshot as JSON; README has the schema.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_status.h"
#include "ngx_http_retry_chain_run.h"
#include "ngx_http_retry_chain_json_writer.h"


#define NGX_HTTP_RETRY_CHAIN_STATUS_VERSION  1


static void ngx_http_retry_chain_json_zone(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *zones,
    ngx_http_retry_chain_status_t *status, ngx_uint_t i);
static void ngx_http_retry_chain_json_chain(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *chains,
    ngx_http_retry_chain_status_chain_t *chain);
static void ngx_http_retry_chain_json_plan(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object,
    const ngx_http_retry_chain_plan_t *plan);
static void ngx_http_retry_chain_json_pace(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object,
    ngx_http_retry_chain_limiter_conf_t *pace);
static void ngx_http_retry_chain_json_rows(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object,
    ngx_http_retry_chain_status_scope_e scope, ngx_uint_t dry, void *snapshot);
static void ngx_http_retry_chain_json_value(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object,
    ngx_http_retry_chain_status_row_t *row, const char *key, uint64_t value);
static void ngx_http_retry_chain_json_times(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object, const char *key,
    ngx_http_retry_chain_times_t *times);
static void ngx_http_retry_chain_json_runs(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object, const char *key,
    ngx_http_retry_chain_status_t *status, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_history_t *ring);
static void ngx_http_retry_chain_json_run(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *runs,
    ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_history_run_t *entry);
static void ngx_http_retry_chain_json_attempt(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *attempts,
    ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_history_attempt_t *try, u_char *address);
static void ngx_http_retry_chain_json_name(
    ngx_http_retry_chain_json_writer_t *writer, cJSON *object, const char *key,
    ngx_str_t *name);
static ngx_str_t *ngx_http_retry_chain_json_node(
    ngx_http_retry_chain_zone_t *zone, uint32_t id);


ngx_chain_t *
ngx_http_retry_chain_status_json(ngx_http_request_t *r,
    ngx_http_retry_chain_status_t *status)
{
    cJSON                               *array;
    ngx_str_t                            text;
    ngx_buf_t                           *b;
    ngx_uint_t                           i;
    ngx_chain_t                         *cl;
    ngx_http_retry_chain_json_writer_t   writer;

    ngx_http_retry_chain_json_writer_init(&writer, r->pool);

    ngx_http_retry_chain_json_writer_number(
         &writer, writer.root, "version", NGX_HTTP_RETRY_CHAIN_STATUS_VERSION);
    ngx_http_retry_chain_json_writer_string(&writer, writer.root, "nginx",
                                            (u_char *) NGINX_VERSION,
                                            sizeof(NGINX_VERSION) - 1);
    ngx_http_retry_chain_json_writer_thousandths(&writer, writer.root, "time",
                                                 status->time);

    array = ngx_http_retry_chain_json_writer_array(&writer, writer.root,
                                                   "buckets");

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_BUCKETS - 1; i++) {
        ngx_http_retry_chain_json_writer_thousandths(
                         &writer, array, NULL, ngx_http_retry_chain_bounds[i]);
    }

    array = ngx_http_retry_chain_json_writer_array(&writer, writer.root,
                                                   "zones");

    for (i = 0; i < status->nzones; i++) {
        ngx_http_retry_chain_json_zone(&writer, array, status, i);
    }

    array = ngx_http_retry_chain_json_writer_array(&writer, writer.root,
                                                   "chains");

    for (i = 0; i < status->nchains; i++) {
        ngx_http_retry_chain_json_chain(&writer, array, &status->chains[i]);
    }

    if (ngx_http_retry_chain_json_writer_print(&writer, &text) != NGX_OK) {
        return NULL;
    }

    b = ngx_calloc_buf(r->pool);
    cl = ngx_alloc_chain_link(r->pool);

    if (b == NULL || cl == NULL) {
        return NULL;
    }

    b->pos = text.data;
    b->last = text.data + text.len;
    b->memory = 1;

    cl->buf = b;
    cl->next = NULL;

    return cl;
}


static void
ngx_http_retry_chain_json_zone(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *zones, ngx_http_retry_chain_status_t *status, ngx_uint_t i)
{
    cJSON                               *object, *steps, *step, *runs;
    ngx_uint_t                           n;
    ngx_http_retry_chain_zone_t         *zone;
    ngx_http_retry_chain_status_step_t  *s;
    ngx_http_retry_chain_status_zone_t  *z;

    z = &status->zones[i];
    zone = z->zone;

    object = ngx_http_retry_chain_json_writer_object(writer, zones, NULL);

    ngx_http_retry_chain_json_name(writer, object, "name", &zone->name);
    ngx_http_retry_chain_json_rows(writer, object,
                                   NGX_HTTP_RETRY_CHAIN_STATUS_ZONE, 0, z);
    ngx_http_retry_chain_json_writer_number(writer, object, "history",
                                            zone->sh->history);

    steps = ngx_http_retry_chain_json_writer_array(writer, object, "steps");

    for (n = 0; n < zone->queues.nelts; n++) {
        s = &status->steps[z->first + n];

        step = ngx_http_retry_chain_json_writer_object(writer, steps, NULL);

        ngx_http_retry_chain_json_name(writer, step, "name",
                                       &s->queue->step->name);
        ngx_http_retry_chain_json_pace(writer, step, &s->queue->step->limit);
        ngx_http_retry_chain_json_rows(writer, step,
                                       NGX_HTTP_RETRY_CHAIN_STATUS_STEP, 0, s);

        step = ngx_http_retry_chain_json_writer_object(writer, step, "dry_run");

        ngx_http_retry_chain_json_rows(writer, step,
                                       NGX_HTTP_RETRY_CHAIN_STATUS_STEP, 1, s);
    }

    runs = ngx_http_retry_chain_json_writer_object(writer, object, "runs");

    ngx_http_retry_chain_json_runs(writer, runs, "recent", status, zone,
                                   &zone->sh->recent);
    ngx_http_retry_chain_json_runs(writer, runs, "failed", status, zone,
                                   &zone->sh->failed);
    ngx_http_retry_chain_json_runs(writer, runs, "slow", status, zone,
                                   &zone->sh->slow);
}


static void
ngx_http_retry_chain_json_chain(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *chains, ngx_http_retry_chain_status_chain_t *chain)
{
    cJSON                        *object;
    ngx_http_retry_chain_zone_t  *zone;

    zone = chain->chain->zone;
    object = ngx_http_retry_chain_json_writer_object(writer, chains, NULL);

    ngx_http_retry_chain_json_name(writer, object, "name", &chain->chain->name);
    ngx_http_retry_chain_json_name(writer, object, "zone",
                                   zone ? &zone->name : NULL);
    ngx_http_retry_chain_json_plan(writer, object, chain->chain->plan);

    if (zone == NULL) {
        return;
    }

    ngx_http_retry_chain_json_rows(writer, object,
                                   NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, 0, chain);

    object = ngx_http_retry_chain_json_writer_object(writer, object, "dry_run");

    ngx_http_retry_chain_json_rows(writer, object,
                                   NGX_HTTP_RETRY_CHAIN_STATUS_CHAIN, 1, chain);
}


static void
ngx_http_retry_chain_json_plan(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, const ngx_http_retry_chain_plan_t *plan)
{
    cJSON                        *plan_object, *steps, *item;
    ngx_str_t                    *limited;
    ngx_uint_t                    i;
    ngx_http_retry_chain_step_t  *step;

    static ngx_str_t  limiteds[] = {
        ngx_string("wait"),
        ngx_string("next"),
        ngx_string("fail")
    };

    limited = &limiteds[plan->limited];

    plan_object = ngx_http_retry_chain_json_writer_object(writer, object,
                                                          "plan");

    ngx_http_retry_chain_json_writer_flag(writer, plan_object, "dry_run",
                                          plan->dry);
    ngx_http_retry_chain_json_writer_flag(writer, plan_object, "rotate",
                                          plan->rotate);
    ngx_http_retry_chain_json_name(writer, plan_object, "limited", limited);
    ngx_http_retry_chain_json_writer_number(writer, plan_object, "attempts",
                                            plan->attempts);
    ngx_http_retry_chain_json_writer_number(
                                        writer, plan_object, "max_waiting",
                                        ngx_http_retry_chain_queue_most(plan));

    if (plan->timeout) {
        ngx_http_retry_chain_json_writer_thousandths(writer, plan_object,
                                                     "timeout", plan->timeout);

    } else {
        ngx_http_retry_chain_json_writer_null(writer, plan_object, "timeout");
    }

    steps = ngx_http_retry_chain_json_writer_array(writer, plan_object,
                                                   "steps");

    for (i = 0; i < plan->nsteps; i++) {
        step = &plan->steps[i];

        item = ngx_http_retry_chain_json_writer_object(writer, steps, NULL);

        ngx_http_retry_chain_json_name(writer, item, "name", &step->name);
        ngx_http_retry_chain_json_writer_thousandths(writer, item, "wait",
                                                     step->wait);

        if (step->timeout) {
            ngx_http_retry_chain_json_writer_thousandths(writer, item,
                                                         "timeout",
                                                         step->timeout);

        } else {
            ngx_http_retry_chain_json_writer_null(writer, item, "timeout");
        }
    }
}


/* as configured */

static void
ngx_http_retry_chain_json_pace(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, ngx_http_retry_chain_limiter_conf_t *pace)
{
    ngx_str_t  *mode;

    static ngx_str_t  modes[] = {
        ngx_string("off"),
        ngx_string("fixed"),
        ngx_string("auto")
    };

    mode = &modes[pace->automatic ? 2 : pace->rate ? 1 : 0];

    ngx_http_retry_chain_json_name(writer, object, "pace", mode);
    ngx_http_retry_chain_json_writer_number(writer, object, "burst",
                                            pace->burst);
}


static void
ngx_http_retry_chain_json_rows(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, ngx_http_retry_chain_status_scope_e scope, ngx_uint_t dry,
    void *snapshot)
{
    cJSON                              *values;
    u_char                             *p;
    uint64_t                           *value;
    ngx_uint_t                          i;
    ngx_http_retry_chain_status_row_t  *row;

    for (row = ngx_http_retry_chain_status_table; row->n; row++) {

        if (row->scope != scope || row->dry != dry || row->key == NULL) {
            continue;
        }

        p = (u_char *) snapshot + row->offset;

        if (row->type == NGX_HTTP_RETRY_CHAIN_STATUS_TIMES) {
            ngx_http_retry_chain_json_times(writer, object, row->key,
                                            (ngx_http_retry_chain_times_t *) p);
            continue;
        }

        value = (uint64_t *) p;

        if (row->names == NULL) {
            ngx_http_retry_chain_json_value(writer, object, row, row->key,
                                            *value);
            continue;
        }

        values = ngx_http_retry_chain_json_writer_object(writer, object,
                                                         row->key);

        for (i = 0; i < row->n; i++) {
            ngx_http_retry_chain_json_value(writer, values, row,
                                            (char *) row->names[i].data,
                                            value[i]);
        }
    }
}


static void
ngx_http_retry_chain_json_value(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, ngx_http_retry_chain_status_row_t *row, const char *key,
    uint64_t value)
{
    if (row->optional && value == 0) {
        ngx_http_retry_chain_json_writer_null(writer, object, key);

    } else if (row->thousandths) {
        ngx_http_retry_chain_json_writer_thousandths(writer, object, key,
                                                     value);

    } else {
        ngx_http_retry_chain_json_writer_number(writer, object, key, value);
    }
}


static void
ngx_http_retry_chain_json_times(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, const char *key, ngx_http_retry_chain_times_t *times)
{
    cJSON       *counts;
    uint64_t     n;
    ngx_uint_t   i;

    object = ngx_http_retry_chain_json_writer_object(writer, object, key);
    counts = ngx_http_retry_chain_json_writer_array(writer, object, "counts");

    for (i = 0, n = 0; i < NGX_HTTP_RETRY_CHAIN_BUCKETS; i++) {
        n += times->buckets[i];
        ngx_http_retry_chain_json_writer_number(writer, counts, NULL,
                                                times->buckets[i]);
    }

    ngx_http_retry_chain_json_writer_number(writer, object, "count", n);
    ngx_http_retry_chain_json_writer_thousandths(writer, object, "sum",
                                                 times->sum);
}


/* latest first, as they lie in the ring; others may be written meanwhile */

static void
ngx_http_retry_chain_json_runs(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, const char *key, ngx_http_retry_chain_status_t *status,
    ngx_http_retry_chain_zone_t *zone, ngx_http_retry_chain_history_t *ring)
{
    cJSON                               *runs;
    ngx_uint_t                           i;
    ngx_http_retry_chain_history_run_t   entry;

    runs = ngx_http_retry_chain_json_writer_array(writer, object, key);

    for (i = 0; i < ring->size && i < status->runs && status->left; i++) {

        if (ngx_http_retry_chain_history_read(ring, i, &entry) == NGX_OK) {
            ngx_http_retry_chain_json_run(writer, runs, zone, &entry);
            status->left--;
        }
    }
}


static void
ngx_http_retry_chain_json_run(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *runs, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_history_run_t *entry)
{
    cJSON       *run, *attempts;
    u_char      *p;
    ngx_uint_t   i;

    run = ngx_http_retry_chain_json_writer_object(writer, runs, NULL);

    ngx_http_retry_chain_json_writer_number(writer, run, "id", entry->number);
    ngx_http_retry_chain_json_writer_thousandths(writer, run, "end",
                                                 entry->time);
    ngx_http_retry_chain_json_name(writer, run, "chain",
                         ngx_http_retry_chain_json_node(zone, entry->chain));

    p = entry->text;

    ngx_http_retry_chain_json_writer_string(writer, run, "method", p,
                                            entry->method);
    p += entry->method;
    ngx_http_retry_chain_json_writer_string(writer, run, "host", p,
                                            entry->host);
    p += entry->host;
    ngx_http_retry_chain_json_writer_string(writer, run, "uri", p, entry->uri);
    p += entry->uri;

    ngx_http_retry_chain_json_writer_flag(writer, run, "cut", entry->cut);
    ngx_http_retry_chain_json_name(writer, run, "result",
                          &ngx_http_retry_chain_result_names[entry->result]);
    ngx_http_retry_chain_json_writer_number(writer, run, "status",
                                            entry->status);
    ngx_http_retry_chain_json_writer_thousandths(writer, run, "time",
                                                 entry->duration);
    ngx_http_retry_chain_json_writer_number(writer, run, "made",
                                            entry->attempts);

    attempts = ngx_http_retry_chain_json_writer_array(writer, run, "attempts");

    for (i = 0; i < entry->kept; i++) {
        ngx_http_retry_chain_json_attempt(writer, attempts, zone,
                                          &entry->tries[i], p);
        p += entry->tries[i].address;
    }
}


/* the same names as in $retry_chain_trail */

static void
ngx_http_retry_chain_json_attempt(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *attempts, ngx_http_retry_chain_zone_t *zone,
    ngx_http_retry_chain_history_attempt_t *try, u_char *address)
{
    char                            *what;
    cJSON                           *item;
    ngx_http_retry_chain_outcome_t   outcome;

    outcome.outcome = try->outcome;
    what = ngx_http_retry_chain_outcome_name(&outcome);

    item = ngx_http_retry_chain_json_writer_object(writer, attempts, NULL);

    ngx_http_retry_chain_json_name(writer, item, "step",
                              ngx_http_retry_chain_json_node(zone, try->step));
    ngx_http_retry_chain_json_writer_string(writer, item, "address", address,
                                            try->address);
    ngx_http_retry_chain_json_writer_string(writer, item, "outcome",
                                            (u_char *) what, ngx_strlen(what));
    ngx_http_retry_chain_json_writer_number(writer, item, "status",
                                            try->status);
    ngx_http_retry_chain_json_writer_number(writer, item, "bytes", try->bytes);
    ngx_http_retry_chain_json_writer_thousandths(writer, item, "wait",
                                                 try->wait);
    ngx_http_retry_chain_json_name(writer, item, "reason",
                             &ngx_http_retry_chain_reason_names[try->reason]);
    ngx_http_retry_chain_json_writer_thousandths(writer, item, "time",
                                                 try->time);
    ngx_http_retry_chain_json_name(writer, item, "verdict",
                                 &ngx_http_retry_chain_result_names[try->next]);
}


static void
ngx_http_retry_chain_json_name(ngx_http_retry_chain_json_writer_t *writer,
    cJSON *object, const char *key, ngx_str_t *name)
{
    if (name == NULL) {
        ngx_http_retry_chain_json_writer_null(writer, object, key);
        return;
    }

    ngx_http_retry_chain_json_writer_string(writer, object, key, name->data,
                                            name->len);
}


/* NULL if it is not in this configuration */

static ngx_str_t *
ngx_http_retry_chain_json_node(ngx_http_retry_chain_zone_t *zone, uint32_t id)
{
    ngx_uint_t                      i;
    ngx_http_retry_chain_queue_t  **queues;
    ngx_http_retry_chain_chain_t  **chains;

    queues = zone->queues.elts;

    for (i = 0; i < zone->queues.nelts; i++) {
        if (queues[i]->node->node.id == id) {
            return &queues[i]->step->name;
        }
    }

    chains = zone->chains.elts;

    for (i = 0; i < zone->chains.nelts; i++) {
        if (chains[i]->node->node.id == id) {
            return &chains[i]->name;
        }
    }

    return NULL;
}
