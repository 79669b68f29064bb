
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Directives about JSON.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"
#include "ngx_http_retry_chain_json.h"


/* a record has a byte for the number of a rule */

#define NGX_HTTP_RETRY_CHAIN_MAX_JSON     255

/* a body is parsed at once, into 30 times its size at worst */

#define NGX_HTTP_RETRY_CHAIN_JSON_BUFFER  (1024 * 1024)


char *
ngx_http_retry_chain_conf_json(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_int_t                           rc;
    ngx_str_t                          *value;
    ngx_http_retry_chain_json_rule_t   *rule;
    ngx_http_retry_chain_json_error_t   err;

    if (rclcf->json_off) {
        return "is used together with \"off\"";
    }

    if (rclcf->json == NULL) {
        rclcf->json = ngx_array_create(cf->pool, 1,
                                     sizeof(ngx_http_retry_chain_json_rule_t));
        if (rclcf->json == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2 || rclcf->json->nelts) {
            return "\"off\" must stand alone";
        }

        rclcf->json_off = 1;
        return NGX_CONF_OK;
    }

    if (rclcf->json->nelts == NGX_HTTP_RETRY_CHAIN_MAX_JSON) {
        return "is repeated too often";
    }

    rule = ngx_array_push(rclcf->json);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_http_retry_chain_json_rule(cf->pool, &value[1],
                                        cf->args->nelts - 1, rule, &err);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid path \"%V\": %s at character %uz",
                           &value[1], err.reason, err.offset + 1);
    }

    return rc == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}


char *
ngx_http_retry_chain_conf_json_buffer(ngx_conf_t *cf, void *post, void *data)
{
    size_t *size = data;

    if (*size == 0 || *size > NGX_HTTP_RETRY_CHAIN_JSON_BUFFER) {
        return "must be from 1 to 1m";
    }

    return NGX_CONF_OK;
}
