
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_budget.h"


static ngx_http_retry_chain_budget_part_t *ngx_http_retry_chain_budget_part(
    ngx_http_retry_chain_budget_t *budget, ngx_msec_t number);
static ngx_msec_t ngx_http_retry_chain_budget_number(
    const ngx_http_retry_chain_budget_conf_t *conf, ngx_msec_t now);


void
ngx_http_retry_chain_budget_deposit(ngx_http_retry_chain_budget_t *budget,
    const ngx_http_retry_chain_budget_conf_t *conf, ngx_msec_t now)
{
    ngx_http_retry_chain_budget_part_t  *part;

    part = ngx_http_retry_chain_budget_part(budget,
                              ngx_http_retry_chain_budget_number(conf, now));

    (void) ngx_atomic_fetch_add(&part->requests, 1);
}


ngx_int_t
ngx_http_retry_chain_budget_withdraw(ngx_http_retry_chain_budget_t *budget,
    const ngx_http_retry_chain_budget_conf_t *conf, ngx_msec_t now)
{
    uint64_t                             requests, retries, most;
    ngx_uint_t                           i;
    ngx_msec_t                           number, age;
    ngx_http_retry_chain_budget_part_t  *part;

    number = ngx_http_retry_chain_budget_number(conf, now);

    requests = 0;
    retries = 0;

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS; i++) {
        part = &budget->parts[i];
        age = number - part->number;

        if (age < NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS) {
            requests += part->requests;
            retries += part->retries;
        }
    }

    most = requests * conf->percent / 100
           + (uint64_t) conf->rate * conf->window / 1000000;

    if (retries >= most) {
        return NGX_DECLINED;
    }

    part = ngx_http_retry_chain_budget_part(budget, number);

    (void) ngx_atomic_fetch_add(&part->retries, 1);

    return NGX_OK;
}


static ngx_msec_t
ngx_http_retry_chain_budget_number(
    const ngx_http_retry_chain_budget_conf_t *conf, ngx_msec_t now)
{
    return now / ngx_max(conf->window / NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS, 1);
}


/* who comes first in a new tenth empties what was counted ten of them before */

static ngx_http_retry_chain_budget_part_t *
ngx_http_retry_chain_budget_part(ngx_http_retry_chain_budget_t *budget,
    ngx_msec_t number)
{
    ngx_atomic_uint_t                    old;
    ngx_http_retry_chain_budget_part_t  *part;

    part = &budget->parts[number % NGX_HTTP_RETRY_CHAIN_BUDGET_PARTS];
    old = part->number;

    if (old != number && ngx_atomic_cmp_set(&part->number, old, number)) {
        part->requests = 0;
        part->retries = 0;
    }

    return part;
}
