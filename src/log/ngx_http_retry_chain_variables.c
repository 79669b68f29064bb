
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The $retry_chain_* variables.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_log.h"


/* the longest item of a list besides a step's name: a time or a reason */

#define NGX_HTTP_RETRY_CHAIN_ITEM_LEN  (NGX_TIME_T_LEN + 4 + 2)


typedef u_char *(*ngx_http_retry_chain_item_pt)(u_char *p,
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);


static ngx_int_t ngx_http_retry_chain_variable_upstream(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_attempt(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_attempts(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_list(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_result(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_trail(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_limited(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_retry_chain_variable_rate(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_http_retry_chain_step_t *ngx_http_retry_chain_variable_step(
    ngx_http_request_t *r, ngx_http_retry_chain_plan_t *plan);
static ngx_http_retry_chain_attempt_t *ngx_http_retry_chain_variable_at(
    ngx_http_request_t *r);
static ngx_http_retry_chain_run_t *ngx_http_retry_chain_variable_run(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_variable_thousandths(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, uint64_t n);
static ngx_int_t ngx_http_retry_chain_variable_set(ngx_http_variable_value_t *v,
    u_char *data, size_t len);
static u_char *ngx_http_retry_chain_item_step(u_char *p,
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);
static u_char *ngx_http_retry_chain_item_status(u_char *p,
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);
static u_char *ngx_http_retry_chain_item_wait(u_char *p,
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);
static u_char *ngx_http_retry_chain_item_reason(u_char *p,
    ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);


static ngx_http_variable_t  ngx_http_retry_chain_vars[] = {

    { ngx_string("retry_chain_upstream"), NULL,
      ngx_http_retry_chain_variable_upstream, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_attempt"), NULL,
      ngx_http_retry_chain_variable_attempt, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_attempts"), NULL,
      ngx_http_retry_chain_variable_attempts, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_steps"), NULL,
      ngx_http_retry_chain_variable_list,
      (uintptr_t) ngx_http_retry_chain_item_step,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_statuses"), NULL,
      ngx_http_retry_chain_variable_list,
      (uintptr_t) ngx_http_retry_chain_item_status,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_waits"), NULL,
      ngx_http_retry_chain_variable_list,
      (uintptr_t) ngx_http_retry_chain_item_wait,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_reason"), NULL,
      ngx_http_retry_chain_variable_list,
      (uintptr_t) ngx_http_retry_chain_item_reason,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_limited_until"), NULL,
      ngx_http_retry_chain_variable_limited, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_rate"), NULL,
      ngx_http_retry_chain_variable_rate, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_result"), NULL,
      ngx_http_retry_chain_variable_result, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_time"), NULL,
      ngx_http_retry_chain_variable_time, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("retry_chain_trail"), NULL,
      ngx_http_retry_chain_variable_trail, 0,
      NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_retry_chain_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_retry_chain_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/*
 * The step of the attempt that the request belongs to; on the main request,
 * the step of the attempt that it is being answered by.  Elsewhere, as in a
 * request that runs plainly, the first step of the location.
 */

static ngx_int_t
ngx_http_retry_chain_variable_upstream(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_uint_t                        i;
    ngx_http_retry_chain_plan_t      *plan;
    ngx_http_retry_chain_step_t      *step;
    ngx_http_retry_chain_loc_conf_t  *rclcf;

    rclcf = ngx_http_get_module_loc_conf(r, ngx_http_retry_chain_module);

    plan = rclcf->plan;
    step = ngx_http_retry_chain_variable_step(r, plan);

    /* a request that runs plainly does not go to an @location */

    for (i = 0; step == NULL && plan && i < plan->nsteps; i++) {
        if (!plan->steps[i].location) {
            step = &plan->steps[i];
        }
    }

    if (step == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_retry_chain_variable_set(v, step->name.data,
                                             step->name.len);
}


/*
 * NULL in a location that has a chain but runs plainly: reached by a redirect,
 * it goes on with the step of the last attempt, but not with an @location.
 */

static ngx_http_retry_chain_step_t *
ngx_http_retry_chain_variable_step(ngx_http_request_t *r,
    ngx_http_retry_chain_plan_t *plan)
{
    ngx_http_core_loc_conf_t        *clcf;
    ngx_http_retry_chain_run_t      *run;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_attempt_t  *at;

    at = ngx_http_retry_chain_variable_at(r);

    if (at == NULL) {
        run = ngx_http_retry_chain_run_get(r);

        if (run == NULL || run->attempt == NULL || run->plan != plan) {
            return NULL;
        }

        step = run->attempt->step;

        return step->location && run->left ? NULL : step;
    }

    run = at->data;
    run->used = 1;
    step = at->step;

    if (plan == NULL || (plan == run->plan && !step->location)) {
        return step;
    }

    /* an @location may inherit the chain, and so may where it rewrites to */

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (plan == run->plan
        && clcf->name.len == step->name.len
        && ngx_strncmp(clcf->name.data, step->name.data, step->name.len) == 0)
    {
        return step;
    }

    return NULL;
}


static ngx_int_t
ngx_http_retry_chain_variable_attempt(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                           *p;
    ngx_uint_t                        n;
    ngx_http_retry_chain_run_t       *run;
    ngx_http_retry_chain_loc_conf_t  *rclcf;

    run = ngx_http_retry_chain_variable_run(r);

    if (run) {
        n = ngx_http_retry_chain_run_attempts(run);

    } else {
        rclcf = ngx_http_get_module_loc_conf(r, ngx_http_retry_chain_module);

        if (rclcf->plan == NULL) {
            v->not_found = 1;
            return NGX_OK;
        }

        n = 1;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_variable_set(v, p,
                                             ngx_sprintf(p, "%ui", n) - p);
}


static ngx_int_t
ngx_http_retry_chain_variable_attempts(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    u_char                      *p;
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_variable_run(r);

    if (run == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_variable_set(v, p,
               ngx_sprintf(p, "%ui", ngx_http_retry_chain_run_attempts(run))
               - p);
}


/* lists are joined as in $upstream_status */

static ngx_int_t
ngx_http_retry_chain_variable_list(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_retry_chain_item_pt item = (ngx_http_retry_chain_item_pt) data;

    u_char                                 *p, *list;
    size_t                                  len;
    ngx_uint_t                              i;
    ngx_http_retry_chain_run_t             *run;
    ngx_http_retry_chain_step_t            *step;
    ngx_http_retry_chain_attempt_record_t  *record;

    run = ngx_http_retry_chain_variable_run(r);

    if (run == NULL || run->records.nelts == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    len = 0;
    record = run->records.elts;

    for (i = 0; i < run->records.nelts; i++) {
        step = ngx_http_retry_chain_run_record_step(run, &record[i]);
        len += step->name.len + NGX_HTTP_RETRY_CHAIN_ITEM_LEN;
    }

    list = ngx_pnalloc(r->pool, len);
    if (list == NULL) {
        return NGX_ERROR;
    }

    p = list;

    for (i = 0; i < run->records.nelts; i++) {

        if (i) {
            *p++ = ',';
            *p++ = ' ';
        }

        p = item(p, run, &record[i]);
    }

    return ngx_http_retry_chain_variable_set(v, list, p - list);
}


static u_char *
ngx_http_retry_chain_item_step(u_char *p, ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    ngx_str_t  *name;

    name = &ngx_http_retry_chain_run_record_step(run, record)->name;

    return ngx_cpymem(p, name->data, name->len);
}


static u_char *
ngx_http_retry_chain_item_status(u_char *p, ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    if (record->outcome.status == 0) {
        *p++ = '-';
        return p;
    }

    return ngx_sprintf(p, "%ui", (ngx_uint_t) record->outcome.status);
}


static u_char *
ngx_http_retry_chain_item_wait(u_char *p, ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    return ngx_sprintf(p, "%T.%03M", (time_t) (record->wait / 1000),
                       (ngx_msec_t) record->wait % 1000);
}


static u_char *
ngx_http_retry_chain_item_reason(u_char *p, ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    ngx_str_t  *name;

    name = &ngx_http_retry_chain_reason_names[record->reason];

    return ngx_cpymem(p, name->data, name->len);
}


/* the time of the epoch at which the first upstream is free, if none is now */

static ngx_int_t
ngx_http_retry_chain_variable_limited(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    uint64_t                     ms;
    ngx_time_t                  *tp;
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_variable_run(r);
    ms = run ? ngx_http_retry_chain_limits_soonest(run) : 0;

    if (ms == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    tp = ngx_timeofday();
    ms += (uint64_t) tp->sec * 1000 + tp->msec;

    return ngx_http_retry_chain_variable_thousandths(r, v, ms);
}


/* calls a second that the upstream of the last attempt may take */

static ngx_int_t
ngx_http_retry_chain_variable_rate(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_uint_t                   rate;
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_variable_run(r);
    rate = run ? ngx_http_retry_chain_limits_rate(run) : 0;

    if (rate == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_retry_chain_variable_thousandths(r, v, rate);
}


static ngx_int_t
ngx_http_retry_chain_variable_result(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                   *name;
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    if (run == NULL || run->state == NGX_HTTP_RETRY_CHAIN_RUN_READY) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        ngx_http_retry_chain_passthrough_note(run);
    }

    name = ngx_http_retry_chain_run_result(run);

    if (name == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_retry_chain_variable_set(v, name->data, name->len);
}


static ngx_int_t
ngx_http_retry_chain_variable_time(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_variable_run(r);

    if (run == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_retry_chain_variable_thousandths(r, v,
                                        ngx_http_retry_chain_run_time(run));
}


static ngx_int_t
ngx_http_retry_chain_variable_trail(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                    text;
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_variable_run(r);

    if (run == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (ngx_http_retry_chain_trail(run, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_variable_set(v, text.data, text.len);
}


/* a cache update in the background is a child of the attempt */

static ngx_http_retry_chain_attempt_t *
ngx_http_retry_chain_variable_at(ngx_http_request_t *r)
{
    ngx_http_retry_chain_attempt_t  *at;

    while (r != r->main) {
        at = ngx_http_retry_chain_attempt_get(r);

        if (at) {
            return at;
        }

        r = r->parent;
    }

    return NULL;
}


/* the run, if it has begun */

static ngx_http_retry_chain_run_t *
ngx_http_retry_chain_variable_run(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t  *run;

    run = ngx_http_retry_chain_run_get(r);

    if (run == NULL
        || run->state == NGX_HTTP_RETRY_CHAIN_RUN_READY
        || (run->state == NGX_HTTP_RETRY_CHAIN_RUN_DONE
            && run->verdict.result == NGX_HTTP_RETRY_CHAIN_BYPASSED))
    {
        return NULL;
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        ngx_http_retry_chain_passthrough_note(run);
    }

    return run;
}


static ngx_int_t
ngx_http_retry_chain_variable_thousandths(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uint64_t n)
{
    u_char  *p;

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN + 4);
    if (p == NULL) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_variable_set(v, p,
                          ngx_sprintf(p, "%uL.%03uL", n / 1000, n % 1000) - p);
}


static ngx_int_t
ngx_http_retry_chain_variable_set(ngx_http_variable_value_t *v, u_char *data,
    size_t len)
{
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = data;
    v->len = len;

    return NGX_OK;
}
