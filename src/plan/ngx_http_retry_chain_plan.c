
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_plan.h"


#define NGX_HTTP_RETRY_CHAIN_FIRST_CODE  100
#define NGX_HTTP_RETRY_CHAIN_LAST_CODE   599


static ngx_int_t ngx_http_retry_chain_parse_code(u_char *p);


ngx_int_t
ngx_http_retry_chain_codes_add(ngx_http_retry_chain_codes_t *codes,
    ngx_str_t *text)
{
    u_char     *p;
    ngx_int_t   from, to, i;

    p = text->data;

    if (text->len == 3 && p[1] == 'x' && p[2] == 'x') {

        if (p[0] < '1' || p[0] > '5') {
            return NGX_DECLINED;
        }

        from = (p[0] - '0') * 100;
        to = from + 99;

    } else if (text->len == 3) {
        from = ngx_http_retry_chain_parse_code(p);
        to = from;

    } else if (text->len == 7 && p[3] == '-') {
        from = ngx_http_retry_chain_parse_code(p);
        to = ngx_http_retry_chain_parse_code(p + 4);

    } else {
        return NGX_DECLINED;
    }

    if (from == NGX_ERROR || to == NGX_ERROR || from > to) {
        return NGX_DECLINED;
    }

    for (i = from - NGX_HTTP_RETRY_CHAIN_FIRST_CODE;
         i <= to - NGX_HTTP_RETRY_CHAIN_FIRST_CODE;
         i++)
    {
        codes->bits[i / 32] |= (uint32_t) 1 << (i % 32);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_parse_code(u_char *p)
{
    ngx_int_t  code;

    code = ngx_atoi(p, 3);

    if (code < NGX_HTTP_RETRY_CHAIN_FIRST_CODE
        || code > NGX_HTTP_RETRY_CHAIN_LAST_CODE)
    {
        return NGX_ERROR;
    }

    return code;
}


ngx_uint_t
ngx_http_retry_chain_codes_test(const ngx_http_retry_chain_codes_t *codes,
    ngx_uint_t status)
{
    if (status < NGX_HTTP_RETRY_CHAIN_FIRST_CODE
        || status > NGX_HTTP_RETRY_CHAIN_LAST_CODE)
    {
        return 0;
    }

    status -= NGX_HTTP_RETRY_CHAIN_FIRST_CODE;

    return (codes->bits[status / 32] >> (status % 32)) & 1;
}


ngx_int_t
ngx_http_retry_chain_parse_msec(ngx_str_t *text, ngx_msec_t *msec)
{
    ngx_int_t  n;

    if (text->len == 0) {
        return NGX_DECLINED;
    }

    n = ngx_parse_time(text, 0);

    if (n == NGX_ERROR || (ngx_msec_t) n > NGX_HTTP_RETRY_CHAIN_MAX_TIME) {
        return NGX_DECLINED;
    }

    *msec = n;

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_parse_rate(ngx_str_t *text, ngx_uint_t *rate)
{
    u_char     *unit;
    ngx_int_t   n;

    if (text->len < sizeof("1r/s") - 1) {
        return NGX_DECLINED;
    }

    unit = text->data + text->len - 3;

    n = ngx_atofp(text->data, text->len - 3, 3);

    if (n == NGX_ERROR || n > NGX_HTTP_RETRY_CHAIN_MAX_PACE) {
        return NGX_DECLINED;
    }

    if (ngx_strncmp(unit, "r/m", 3) == 0) {
        n /= 60;

    } else if (ngx_strncmp(unit, "r/s", 3) != 0) {
        return NGX_DECLINED;
    }

    if (n < NGX_HTTP_RETRY_CHAIN_MIN_PACE) {
        return NGX_DECLINED;
    }

    *rate = n;

    return NGX_OK;
}


void
ngx_http_retry_chain_retry_after_conf_init(
    ngx_http_retry_chain_retry_after_conf_t *retry_after)
{
    retry_after->max = 60000;
    retry_after->cap = 3600000;
    retry_after->spacing = 1000;
    retry_after->off = 0;
    retry_after->chain = 0;
}


void
ngx_http_retry_chain_plan_limit(ngx_http_retry_chain_plan_t *plan,
    ngx_msec_t timeout)
{
    if (!plan->hard || timeout < plan->timeout) {
        plan->timeout = timeout;
    }

    plan->hard = 1;
}


ngx_int_t
ngx_http_retry_chain_plan_init(ngx_http_retry_chain_plan_t *plan)
{
    ngx_uint_t                    i, n, visit;
    ngx_http_retry_chain_step_t  *step;

    visit = 1;

    for (i = 0; i < plan->nrules; i++) {
        visit += plan->rules[i].attempts - 1;
    }

    /* a hard deadline cuts an attempt: there is no use in waiting until then */

    plan->margin = plan->hard ? ngx_min(plan->timeout / 20, 100) : 0;

    for (i = 0; i < plan->nsteps; i++) {
        plan->steps[i].limit.spacing = plan->retry_after.spacing;
    }

    if (plan->states) {

        /* the attempts of a machine depend on its transitions */

        return NGX_OK;
    }

    plan->attempts = 0;

    for (i = 0; i < plan->nsteps; i++) {
        step = &plan->steps[i];

        n = visit;

        if (step->attempts && (plan->nrules == 0 || step->attempts < visit)) {
            n = step->attempts;
        }

        plan->attempts += n;
    }

    if (plan->attempts > NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}
