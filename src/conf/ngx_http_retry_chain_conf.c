
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"


/* parameters seen on a line */

#define NGX_HTTP_RETRY_CHAIN_SEEN_WAIT      0x01
#define NGX_HTTP_RETRY_CHAIN_SEEN_TIMEOUT   0x02
#define NGX_HTTP_RETRY_CHAIN_SEEN_ATTEMPTS  0x04
#define NGX_HTTP_RETRY_CHAIN_SEEN_INTERVAL  0x08
#define NGX_HTTP_RETRY_CHAIN_SEEN_RATE      0x10
#define NGX_HTTP_RETRY_CHAIN_SEEN_MAX       0x20
#define NGX_HTTP_RETRY_CHAIN_SEEN_JITTER    0x40
#define NGX_HTTP_RETRY_CHAIN_SEEN_BURST     0x80


/* rates are between 1 and 1000, in thousandths */

#define NGX_HTTP_RETRY_CHAIN_MIN_RATE       1000
#define NGX_HTTP_RETRY_CHAIN_MAX_RATE       1000000


static ngx_int_t ngx_http_retry_chain_conf_condition(
    ngx_http_retry_chain_rule_t *rule, ngx_str_t *text);
static ngx_int_t ngx_http_retry_chain_conf_rule_param(
    ngx_http_retry_chain_rule_t *rule, ngx_uint_t mask, ngx_str_t *value);
static ngx_int_t ngx_http_retry_chain_conf_rate(ngx_str_t *value,
    ngx_http_retry_chain_limiter_conf_t *pace);
static ngx_int_t ngx_http_retry_chain_conf_attempts(ngx_str_t *value,
    ngx_uint_t *attempts);


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_step_params[] = {
    { ngx_string("wait="), NGX_HTTP_RETRY_CHAIN_SEEN_WAIT },
    { ngx_string("timeout="), NGX_HTTP_RETRY_CHAIN_SEEN_TIMEOUT },
    { ngx_string("attempts="), NGX_HTTP_RETRY_CHAIN_SEEN_ATTEMPTS },
    { ngx_string("rate="), NGX_HTTP_RETRY_CHAIN_SEEN_RATE },
    { ngx_string("burst="), NGX_HTTP_RETRY_CHAIN_SEEN_BURST },
    { ngx_null_string, 0 }
};


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_rule_params[] = {
    { ngx_string("attempts="), NGX_HTTP_RETRY_CHAIN_SEEN_ATTEMPTS },
    { ngx_string("interval="), NGX_HTTP_RETRY_CHAIN_SEEN_INTERVAL },
    { ngx_string("rate="), NGX_HTTP_RETRY_CHAIN_SEEN_RATE },
    { ngx_string("max="), NGX_HTTP_RETRY_CHAIN_SEEN_MAX },
    { ngx_string("jitter="), NGX_HTTP_RETRY_CHAIN_SEEN_JITTER },
    { ngx_null_string, 0 }
};


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_jitters[] = {
    { ngx_string("none"), NGX_HTTP_RETRY_CHAIN_JITTER_NONE },
    { ngx_string("full"), NGX_HTTP_RETRY_CHAIN_JITTER_FULL },
    { ngx_string("equal"), NGX_HTTP_RETRY_CHAIN_JITTER_EQUAL },
    { ngx_null_string, 0 }
};


char *
ngx_http_retry_chain_conf_steps(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_int_t                          n, rc;
    ngx_str_t                         *value, s;
    ngx_uint_t                         i, mask, nsteps, seen;
    ngx_http_retry_chain_step_t        params;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    value = cf->args->elts;

    if (rclcf->off) {
        return "is used together with \"off\"";
    }

    if (rclcf->machine) {
        return "is used together with \"retry_chain_machine\"";
    }

    if (rclcf->steps == NULL) {
        rclcf->steps = ngx_array_create(cf->pool, 3,
                                        sizeof(ngx_http_retry_chain_step_t));
        if (rclcf->steps == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2 || rclcf->steps->nelts) {
            return "\"off\" must stand alone";
        }

        rclcf->off = 1;
        return NGX_CONF_OK;
    }

    ngx_memzero(&params, sizeof(ngx_http_retry_chain_step_t));
    params.limit.burst = 1;

    seen = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        mask = ngx_http_retry_chain_conf_param(cf,
                                               ngx_http_retry_chain_step_params,
                                               &value[i], &s, &seen);

        switch (mask) {

        case 0:
            if (ngx_strcmp(value[i].data, "off") == 0) {
                return "\"off\" must stand alone";
            }

            if (ngx_strlchr(value[i].data, value[i].data + value[i].len, '=')) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid parameter \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }

            rc = NGX_OK;
            break;

        case NGX_HTTP_RETRY_CHAIN_SEEN_WAIT:
            rc = ngx_http_retry_chain_parse_msec(&s, &params.wait);
            break;

        case NGX_HTTP_RETRY_CHAIN_SEEN_TIMEOUT:
            if (s.len == 3 && ngx_strncmp(s.data, "off", 3) == 0) {
                rc = NGX_OK;
                break;
            }

            rc = ngx_http_retry_chain_parse_msec(&s, &params.timeout);

            if (rc == NGX_OK && params.timeout == 0) {
                rc = NGX_DECLINED;
            }

            break;

        case NGX_HTTP_RETRY_CHAIN_SEEN_ATTEMPTS:
            rc = ngx_http_retry_chain_conf_attempts(&s, &params.attempts);
            break;

        case NGX_HTTP_RETRY_CHAIN_SEEN_RATE:
            rc = ngx_http_retry_chain_conf_rate(&s, &params.limit);
            break;

        case NGX_HTTP_RETRY_CHAIN_SEEN_BURST:
            n = ngx_atoi(s.data, s.len);
            rc = n >= 1 && n <= NGX_HTTP_RETRY_CHAIN_MAX_BURST ? NGX_OK
                                                               : NGX_DECLINED;
            params.limit.burst = n;
            break;

        default: /* logged */
            return NGX_CONF_ERROR;
        }

        if (rc != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if ((seen & NGX_HTTP_RETRY_CHAIN_SEEN_BURST)
        && params.limit.rate == 0 && !params.limit.automatic)
    {
        return "\"burst\" needs \"rate\"";
    }

    nsteps = rclcf->steps->nelts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strlchr(value[i].data, value[i].data + value[i].len, '=')) {
            continue;
        }

        if (ngx_http_retry_chain_conf_step(cf, rclcf, &value[i], &params)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    if (rclcf->steps->nelts == nsteps) {
        return "has no step";
    }

    rclcf->own = (cf->cmd_type & (NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF)) != 0;

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);
    rcmcf->enabled = 1;

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_http_retry_chain_conf_param(ngx_conf_t *cf,
    ngx_http_retry_chain_param_t *params, ngx_str_t *arg, ngx_str_t *value,
    ngx_uint_t *seen)
{
    ngx_http_retry_chain_param_t  *p;

    for (p = params; p->name.len; p++) {

        if (arg->len < p->name.len
            || ngx_strncmp(arg->data, p->name.data, p->name.len) != 0)
        {
            continue;
        }

        if (*seen & p->mask) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\"", arg);
            return NGX_CONF_UNSET_UINT;
        }

        *seen |= p->mask;

        value->data = arg->data + p->name.len;
        value->len = arg->len - p->name.len;

        return p->mask;
    }

    return 0;
}


char *
ngx_http_retry_chain_conf_params(ngx_conf_t *cf, ngx_uint_t i,
    ngx_http_retry_chain_param_t *params,
    ngx_http_retry_chain_param_pt handler, void *data)
{
    ngx_str_t   *arg, value;
    ngx_uint_t   mask, seen;

    arg = cf->args->elts;

    for (seen = 0; i < cf->args->nelts; i++) {

        mask = ngx_http_retry_chain_conf_param(cf, params, &arg[i], &value,
                                               &seen);

        if (mask == NGX_CONF_UNSET_UINT) {
            return NGX_CONF_ERROR;
        }

        if (mask == 0 || handler(data, mask, &value) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &arg[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_retry_chain_conf_step(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *rclcf, ngx_str_t *name,
    ngx_http_retry_chain_step_t *params)
{
    ngx_url_t                     u;
    ngx_http_retry_chain_step_t  *step;

    if (rclcf->steps->nelts == NGX_HTTP_RETRY_CHAIN_MAX_STEPS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many steps at \"%V\", at most %d are allowed",
                           name, NGX_HTTP_RETRY_CHAIN_MAX_STEPS);
        return NGX_ERROR;
    }

    step = ngx_array_push(rclcf->steps);
    if (step == NULL) {
        return NGX_ERROR;
    }

    *step = *params;

    step->name = *name;
    step->file = cf->conf_file->file.name;
    step->line = cf->conf_file->line;

    if (name->len > 1 && name->data[0] == '@') {
        step->location = 1;
        return NGX_OK;
    }

    if (name->len == 0
        || name->data[0] == '@'
        || ngx_strlchr(name->data, name->data + name->len, '$')
        || ngx_strstr(name->data, "://"))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid step \"%V\", the name of an upstream, "
                           "an address with a port or an @location "
                           "is expected", name);
        return NGX_ERROR;
    }

    /*
     * a registered upstream is found by the name in $retry_chain_upstream at
     * run time without a resolver; with no default port a name without one
     * has to be a group
     */

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *name;
    u.no_resolve = 1;

    if (ngx_http_upstream_add(cf, &u, 0) == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_conf_rate(ngx_str_t *value,
    ngx_http_retry_chain_limiter_conf_t *pace)
{
    if (value->len == 3 && ngx_strncmp(value->data, "off", 3) == 0) {
        return NGX_OK;
    }

    if (value->len == 4 && ngx_strncmp(value->data, "auto", 4) == 0) {
        pace->automatic = 1;
        return NGX_OK;
    }

    return ngx_http_retry_chain_parse_rate(value, &pace->rate);
}


static ngx_int_t
ngx_http_retry_chain_conf_attempts(ngx_str_t *value, ngx_uint_t *attempts)
{
    ngx_int_t  n;

    n = ngx_atoi(value->data, value->len);

    if (n < 1 || n > NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS) {
        return NGX_DECLINED;
    }

    *attempts = n;

    return NGX_OK;
}


char *
ngx_http_retry_chain_conf_codes(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t                      *value;
    ngx_uint_t                      i, j;
    ngx_http_retry_chain_codes_t  **codes;

    codes = (ngx_http_retry_chain_codes_t **) (p + cmd->offset);

    if (*codes) {
        return "is duplicate";
    }

    *codes = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_codes_t));
    if (*codes == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    if (cmd->offset == offsetof(ngx_http_retry_chain_loc_conf_t, stop)
        && cf->args->nelts == 2
        && ngx_strcmp(value[1].data, "off") == 0)
    {
        return NGX_CONF_OK;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        for (j = 1; j < i; j++) {
            if (value[i].len == value[j].len
                && ngx_strncmp(value[i].data, value[j].data, value[i].len) == 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate value \"%V\"", &value[i]);
                return NGX_CONF_ERROR;
            }
        }

        if (ngx_http_retry_chain_codes_add(*codes, &value[i]) != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid value \"%V\", a code from 100 to 599, "
                               "a class like \"5xx\" or a range like "
                               "\"500-503\" is expected", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_retry_chain_conf_rule(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_int_t                     rc;
    ngx_str_t                    *value, s;
    ngx_uint_t                    i, mask, seen;
    ngx_http_retry_chain_rule_t  *rule;

    if (rclcf->rules_off) {
        return "is used together with \"off\"";
    }

    if (rclcf->rules == NULL) {
        rclcf->rules = ngx_array_create(cf->pool, 2,
                                        sizeof(ngx_http_retry_chain_rule_t));
        if (rclcf->rules == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {

        if (cf->args->nelts > 2 || rclcf->rules->nelts) {
            return "\"off\" must stand alone";
        }

        rclcf->rules_off = 1;
        return NGX_CONF_OK;
    }

    if (rclcf->rules->nelts == NGX_HTTP_RETRY_CHAIN_MAX_RULES) {
        return "is repeated too often";
    }

    rule = ngx_array_push(rclcf->rules);
    if (rule == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(rule, sizeof(ngx_http_retry_chain_rule_t));

    rule->attempts = 3;
    rule->interval = 1000;
    rule->rate = 2000;
    rule->max = 60000;

    seen = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        mask = ngx_http_retry_chain_conf_param(cf,
                                               ngx_http_retry_chain_rule_params,
                                               &value[i], &s, &seen);

        if (mask == NGX_CONF_UNSET_UINT) {
            return NGX_CONF_ERROR;
        }

        rc = mask ? ngx_http_retry_chain_conf_rule_param(rule, mask, &s)
                  : ngx_http_retry_chain_conf_condition(rule, &value[i]);

        if (rc == NGX_BUSY) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate condition \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rc != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if (rule->outcomes == 0) {
        return "has no condition";
    }

    return NGX_CONF_OK;
}


/* NGX_BUSY says that the rule has the condition already */

static ngx_int_t
ngx_http_retry_chain_conf_condition(ngx_http_retry_chain_rule_t *rule,
    ngx_str_t *text)
{
    ngx_str_t                       code;
    ngx_http_retry_chain_param_t   *p;
    ngx_http_retry_chain_codes_t    codes;

    static ngx_http_retry_chain_param_t  outcomes[] = {
        { ngx_string("error"), NGX_HTTP_RETRY_CHAIN_ERROR },
        { ngx_string("timeout"), NGX_HTTP_RETRY_CHAIN_TIMEOUT },
        { ngx_string("invalid_header"), NGX_HTTP_RETRY_CHAIN_INVALID_HEADER },
        { ngx_null_string, 0 }
    };

    for (p = outcomes; p->name.len; p++) {

        if (text->len == p->name.len
            && ngx_strncmp(text->data, p->name.data, text->len) == 0)
        {
            if (rule->outcomes & p->mask) {
                return NGX_BUSY;
            }

            rule->outcomes |= p->mask;
            return NGX_OK;
        }
    }

    if (text->len == 6 && ngx_strncmp(text->data, "status", 6) == 0) {

        if (rule->any) {
            return NGX_BUSY;
        }

        rule->any = 1;
        rule->outcomes |= NGX_HTTP_RETRY_CHAIN_REPLY;
        return NGX_OK;
    }

    if (text->len < 5 || ngx_strncmp(text->data, "http_", 5) != 0) {
        return NGX_DECLINED;
    }

    code.data = text->data + 5;
    code.len = text->len - 5;

    codes = rule->codes;

    if (ngx_http_retry_chain_codes_add(&rule->codes, &code) != NGX_OK) {
        return NGX_DECLINED;
    }

    if (ngx_memcmp(&codes, &rule->codes, sizeof(codes)) == 0) {
        return NGX_BUSY;
    }

    rule->outcomes |= NGX_HTTP_RETRY_CHAIN_REPLY;

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_conf_rule_param(ngx_http_retry_chain_rule_t *rule,
    ngx_uint_t mask, ngx_str_t *value)
{
    ngx_int_t                      n;
    ngx_http_retry_chain_param_t  *p;

    switch (mask) {

    case NGX_HTTP_RETRY_CHAIN_SEEN_ATTEMPTS:
        return ngx_http_retry_chain_conf_attempts(value, &rule->attempts);

    case NGX_HTTP_RETRY_CHAIN_SEEN_INTERVAL:
        return ngx_http_retry_chain_parse_msec(value, &rule->interval);

    case NGX_HTTP_RETRY_CHAIN_SEEN_MAX:
        return ngx_http_retry_chain_parse_msec(value, &rule->max);

    case NGX_HTTP_RETRY_CHAIN_SEEN_RATE:
        n = ngx_atofp(value->data, value->len, 3);

        if (n < NGX_HTTP_RETRY_CHAIN_MIN_RATE
            || n > NGX_HTTP_RETRY_CHAIN_MAX_RATE)
        {
            return NGX_DECLINED;
        }

        rule->rate = n;
        return NGX_OK;

    default: /* NGX_HTTP_RETRY_CHAIN_SEEN_JITTER */

        for (p = ngx_http_retry_chain_jitters; p->name.len; p++) {

            if (value->len == p->name.len
                && ngx_strncmp(value->data, p->name.data, value->len) == 0)
            {
                rule->jitter = p->mask;
                return NGX_OK;
            }
        }

        return NGX_DECLINED;
    }
}


char *
ngx_http_retry_chain_conf_timeout(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_str_t  *value;

    if (rclcf->timeout_set) {
        return "is duplicate";
    }

    rclcf->timeout_set = 1;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        rclcf->timeout = 0;
        return NGX_CONF_OK;
    }

    if (ngx_http_retry_chain_parse_msec(&value[1], &rclcf->timeout) != NGX_OK
        || rclcf->timeout == 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid value \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
