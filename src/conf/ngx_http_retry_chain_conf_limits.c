
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Directives about limits of upstreams.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"


#define NGX_HTTP_RETRY_CHAIN_SEEN_MAX      0x01
#define NGX_HTTP_RETRY_CHAIN_SEEN_CAP      0x02
#define NGX_HTTP_RETRY_CHAIN_SEEN_DEFAULT  0x04
#define NGX_HTTP_RETRY_CHAIN_SEEN_SCOPE    0x08
#define NGX_HTTP_RETRY_CHAIN_SEEN_MIN      0x10
#define NGX_HTTP_RETRY_CHAIN_SEEN_WINDOW   0x20


static ngx_int_t ngx_http_retry_chain_conf_retry_after_param(void *data,
    ngx_uint_t mask, ngx_str_t *value);
static ngx_int_t ngx_http_retry_chain_conf_budget_param(void *data,
    ngx_uint_t mask, ngx_str_t *value);


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_ratelimit_params[] = {
    { ngx_string("max="), NGX_HTTP_RETRY_CHAIN_SEEN_MAX },
    { ngx_string("cap="), NGX_HTTP_RETRY_CHAIN_SEEN_CAP },
    { ngx_string("default="), NGX_HTTP_RETRY_CHAIN_SEEN_DEFAULT },
    { ngx_string("scope="), NGX_HTTP_RETRY_CHAIN_SEEN_SCOPE },
    { ngx_null_string, 0 }
};


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_budget_params[] = {
    { ngx_string("min="), NGX_HTTP_RETRY_CHAIN_SEEN_MIN },
    { ngx_string("window="), NGX_HTTP_RETRY_CHAIN_SEEN_WINDOW },
    { ngx_null_string, 0 }
};


char *
ngx_http_retry_chain_conf_retry_after(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_str_t                     *value;
    ngx_http_retry_chain_retry_after_conf_t  *retry_after;

    if (rclcf->retry_after) {
        return "is duplicate";
    }

    retry_after = ngx_palloc(cf->pool,
                             sizeof(ngx_http_retry_chain_retry_after_conf_t));
    if (retry_after == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_http_retry_chain_retry_after_conf_init(retry_after);

    rclcf->retry_after = retry_after;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            return "\"off\" must stand alone";
        }

        retry_after->off = 1;
        return NGX_CONF_OK;
    }

    return ngx_http_retry_chain_conf_params(cf,
                                  ngx_strcmp(value[1].data, "on") == 0 ? 2 : 1,
                                  ngx_http_retry_chain_ratelimit_params,
                                  ngx_http_retry_chain_conf_retry_after_param,
                                  retry_after);
}


static ngx_int_t
ngx_http_retry_chain_conf_retry_after_param(void *data, ngx_uint_t mask,
    ngx_str_t *value)
{
    ngx_http_retry_chain_retry_after_conf_t *retry_after = data;

    ngx_int_t  rc;

    switch (mask) {

    case NGX_HTTP_RETRY_CHAIN_SEEN_MAX:
        return ngx_http_retry_chain_parse_msec(value, &retry_after->max);

    case NGX_HTTP_RETRY_CHAIN_SEEN_CAP:
        rc = ngx_http_retry_chain_parse_msec(value, &retry_after->cap);
        return retry_after->cap ? rc : NGX_DECLINED;

    case NGX_HTTP_RETRY_CHAIN_SEEN_DEFAULT:
        rc = ngx_http_retry_chain_parse_msec(value, &retry_after->spacing);
        return retry_after->spacing ? rc : NGX_DECLINED;

    default: /* NGX_HTTP_RETRY_CHAIN_SEEN_SCOPE */
        retry_after->chain = (value->len == 5
                              && ngx_strncmp(value->data, "chain", 5) == 0);

        return retry_after->chain
               || (value->len == 4 && ngx_strncmp(value->data, "step", 4) == 0)
               ? NGX_OK : NGX_DECLINED;
    }
}


char *
ngx_http_retry_chain_conf_max_waiting(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_int_t                          n;
    ngx_str_t                         *value;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    if (rclcf->max_waiting != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    n = ngx_atoi(value[1].data, value[1].len);

    if (n == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid number \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    rclcf->max_waiting = n;

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);

    rcmcf->max_waiting = ngx_max(rcmcf->max_waiting, (ngx_uint_t) n);

    return NGX_CONF_OK;
}


/* the defaults are those of Linkerd, and of Finagle before it */

char *
ngx_http_retry_chain_conf_budget(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_int_t                            n;
    ngx_str_t                           *value, s;
    ngx_http_retry_chain_budget_conf_t  *budget;

    if (rclcf->budget) {
        return "is duplicate";
    }

    budget = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_budget_conf_t));
    if (budget == NULL) {
        return NGX_CONF_ERROR;
    }

    rclcf->budget = budget;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2) {
            return "\"off\" must stand alone";
        }

        return NGX_CONF_OK;
    }

    s = value[1];

    if (s.len > 1 && s.data[s.len - 1] == '%') {
        s.len--;
    }

    n = ngx_atoi(s.data, s.len);

    if (n == NGX_ERROR || n > 1000) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid value \"%V\", a percentage from 0 to 1000 "
                           "is expected", &value[1]);
        return NGX_CONF_ERROR;
    }

    budget->percent = n;
    budget->rate = 10000;
    budget->window = 10000;

    return ngx_http_retry_chain_conf_params(cf, 2,
                                       ngx_http_retry_chain_budget_params,
                                       ngx_http_retry_chain_conf_budget_param,
                                       budget);
}


static ngx_int_t
ngx_http_retry_chain_conf_budget_param(void *data, ngx_uint_t mask,
    ngx_str_t *value)
{
    ngx_http_retry_chain_budget_conf_t *budget = data;

    ngx_int_t  rc;

    if (mask == NGX_HTTP_RETRY_CHAIN_SEEN_MIN) {

        if (value->len == 1 && value->data[0] == '0') {
            budget->rate = 0;
            return NGX_OK;
        }

        return ngx_http_retry_chain_parse_rate(value, &budget->rate);
    }

    rc = ngx_http_retry_chain_parse_msec(value, &budget->window);

    return budget->window < 100 ? NGX_DECLINED : rc;
}
