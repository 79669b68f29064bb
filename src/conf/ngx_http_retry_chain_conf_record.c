
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Directives about what is recorded of runs, and who sees it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"
#include "ngx_http_retry_chain_zone.h"


#define NGX_HTTP_RETRY_CHAIN_SEEN_HISTORY  0x01
#define NGX_HTTP_RETRY_CHAIN_SEEN_QUERY    0x02


static char *ngx_http_retry_chain_conf_zone_params(ngx_conf_t *cf,
    ngx_http_retry_chain_zone_t *zone, ngx_uint_t i);


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_zone_params[] = {
    { ngx_string("history="), NGX_HTTP_RETRY_CHAIN_SEEN_HISTORY },
    { ngx_string("query="), NGX_HTTP_RETRY_CHAIN_SEEN_QUERY },
    { ngx_null_string, 0 }
};


char *
ngx_http_retry_chain_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ssize_t                             size;
    ngx_str_t                          *value;
    ngx_uint_t                          i, params;
    ngx_shm_zone_t                    **zones;
    ngx_http_retry_chain_main_conf_t   *rcmcf;

    if (rclcf->zone) {
        return "is duplicate";
    }

#if (NGX_PTR_SIZE < 8)
    return "needs a 64-bit system";
#endif

    value = cf->args->elts;
    size = 0;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid zone name \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    params = 2;

    if (cf->args->nelts > 2
        && ngx_strlchr(value[2].data, value[2].data + value[2].len, '=')
           == NULL)
    {
        params++;

        size = ngx_parse_size(&value[2]);

        if (size == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid zone size \"%V\"",
                               &value[2]);
            return NGX_CONF_ERROR;
        }

        if (size < (ssize_t) (16 * ngx_pagesize)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "zone \"%V\" is too small", &value[1]);
            return NGX_CONF_ERROR;
        }
    }

    rclcf->zone = ngx_http_retry_chain_zone_add(cf, &value[1], size,
                                                &ngx_http_retry_chain_module);
    if (rclcf->zone == NULL
        || ngx_http_retry_chain_conf_zone_params(cf, rclcf->zone->data, params)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);

    if (rcmcf->zones.elts == NULL
        && ngx_array_init(&rcmcf->zones, cf->pool, 1, sizeof(ngx_shm_zone_t *))
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    zones = rcmcf->zones.elts;

    for (i = 0; i < rcmcf->zones.nelts; i++) {
        if (zones[i] == rclcf->zone) {
            return NGX_CONF_OK;
        }
    }

    zones = ngx_array_push(&rcmcf->zones);
    if (zones == NULL) {
        return NGX_CONF_ERROR;
    }

    *zones = rclcf->zone;

    return NGX_CONF_OK;
}


/* said once, or the same everywhere */

static char *
ngx_http_retry_chain_conf_zone_params(ngx_conf_t *cf,
    ngx_http_retry_chain_zone_t *zone, ngx_uint_t i)
{
    ngx_int_t    n;
    ngx_str_t   *value, s;
    ngx_uint_t   seen, *field;

    value = cf->args->elts;

    for (seen = 0; i < cf->args->nelts; i++) {

        switch (ngx_http_retry_chain_conf_param(cf,
                                               ngx_http_retry_chain_zone_params,
                                               &value[i], &s, &seen))
        {

        case NGX_HTTP_RETRY_CHAIN_SEEN_HISTORY:
            field = &zone->history;
            n = ngx_atoi(s.data, s.len);

            if (n > NGX_HTTP_RETRY_CHAIN_MAX_HISTORY) {
                n = NGX_ERROR;
            }

            break;

        case NGX_HTTP_RETRY_CHAIN_SEEN_QUERY:
            field = &zone->query;
            n = s.len == 2 && ngx_strncmp(s.data, "on", 2) == 0 ? 1
                : s.len == 3 && ngx_strncmp(s.data, "off", 3) == 0 ? 0
                : NGX_ERROR;
            break;

        case NGX_CONF_UNSET_UINT:
            return NGX_CONF_ERROR;

        default:
            field = NULL;
            n = NGX_ERROR;
        }

        if (n == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (*field != NGX_CONF_UNSET_UINT && *field != (ngx_uint_t) n) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"%V\" conflicts with another one "
                               "of zone \"%V\"", &value[i], &zone->name);
            return NGX_CONF_ERROR;
        }

        *field = n;
    }

    return NGX_CONF_OK;
}


/* header lines by which a client finds the end of an answer */

static ngx_str_t  ngx_http_retry_chain_conf_framing[] = {
    ngx_string("Content-Length"),
    ngx_string("Transfer-Encoding"),
    ngx_string("Connection"),
    ngx_string("Trailer"),
    ngx_null_string
};


/* a name as of RFC 9110, section 5.1 */

char *
ngx_http_retry_chain_conf_header(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    u_char                             c;
    ngx_str_t                         *value, *name;
    ngx_uint_t                         i;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    if (rclcf->header.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    rclcf->header = value[1];

    if (ngx_strcmp(value[1].data, "off") == 0) {
        rclcf->header.len = 0;
        return NGX_CONF_OK;
    }

    for (i = 0; i < value[1].len; i++) {
        c = value[1].data[i];

        if (!((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
            && !(c >= '0' && c <= '9')
            && (c == '\0' || ngx_strchr("!#$%&'*+-.^_`|~", c) == NULL))
        {
            break;
        }
    }

    for (name = ngx_http_retry_chain_conf_framing; name->len; name++) {

        if (value[1].len == name->len
            && ngx_strncasecmp(value[1].data, name->data, name->len) == 0)
        {
            i = 0;
        }
    }

    if (i == 0 || i < value[1].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid header name \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);
    rcmcf->headers = 1;

    return NGX_CONF_OK;
}
