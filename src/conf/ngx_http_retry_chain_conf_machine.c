
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * retry_chain_machine: the steps of a state machine.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"
#include "ngx_http_retry_chain_machine.h"


static ngx_int_t ngx_http_retry_chain_conf_fail(void *data, ngx_uint_t mask,
    ngx_str_t *value);
static ngx_int_t ngx_http_retry_chain_conf_text(ngx_conf_t *cf,
    ngx_str_t *name, ngx_str_t *text);
static ngx_int_t ngx_http_retry_chain_conf_read(ngx_conf_t *cf,
    ngx_file_t *file, ngx_str_t *text);


static ngx_http_retry_chain_param_t  ngx_http_retry_chain_machine_params[] = {
    { ngx_string("fail="), 0x01 },
    { ngx_null_string, 0 }
};


char *
ngx_http_retry_chain_conf_machine(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_retry_chain_loc_conf_t *rclcf = conf;

    ngx_int_t                               rc;
    ngx_str_t                              *value, *warning, name, text;
    ngx_uint_t                              i;
    ngx_http_retry_chain_plan_t            *plan;
    ngx_http_retry_chain_step_t            *step;
    ngx_http_retry_chain_main_conf_t       *rcmcf;
    ngx_http_retry_chain_machine_result_t   result;
    ngx_http_retry_chain_machine_options_t  options;

    if (rclcf->machine) {
        return "is duplicate";
    }

    if (rclcf->steps || rclcf->off) {
        return "is used together with \"retry_chain\"";
    }

    value = cf->args->elts;

    ngx_memzero(&options, sizeof(ngx_http_retry_chain_machine_options_t));

    options.file = cf->conf_file->file.name;
    options.line = cf->conf_file->line;
    options.fail_status = NGX_HTTP_BAD_GATEWAY;

    if (ngx_http_retry_chain_conf_params(cf, 2,
                                       ngx_http_retry_chain_machine_params,
                                       ngx_http_retry_chain_conf_fail, &options)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    name = value[1];

    if (ngx_http_retry_chain_conf_text(cf, &name, &text) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    plan = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_plan_t));
    if (plan == NULL) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_http_retry_chain_machine_compile(cf->pool, &text, &options, plan,
                                              &result);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "machine \"%V\": %V", &name,
                           &result.error);
    }

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    warning = result.warnings.elts;

    for (i = 0; i < result.warnings.nelts; i++) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "machine \"%V\": %V", &name,
                           &warning[i]);
    }

    rclcf->steps = ngx_array_create(cf->pool, plan->nsteps,
                                    sizeof(ngx_http_retry_chain_step_t));
    if (rclcf->steps == NULL) {
        return NGX_CONF_ERROR;
    }

    step = plan->steps;

    for (i = 0; i < plan->nsteps; i++) {
        step[i].limit.burst = 1;

        if (ngx_http_retry_chain_conf_step(cf, rclcf, &step[i].name, &step[i])
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    rclcf->machine = plan;
    rclcf->sleep = result.sleep;
    rclcf->own = (cf->cmd_type & (NGX_HTTP_LOC_CONF|NGX_HTTP_LIF_CONF)) != 0;

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);
    rcmcf->enabled = 1;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_retry_chain_conf_fail(void *data, ngx_uint_t mask, ngx_str_t *value)
{
    ngx_http_retry_chain_machine_options_t *options = data;

    ngx_int_t  n;

    n = ngx_atoi(value->data, value->len);

    if (n < 200 || n > 599) {
        return NGX_DECLINED;
    }

    options->fail_status = n;

    return NGX_OK;
}


/* sets the full name, too; an error has been logged */

static ngx_int_t
ngx_http_retry_chain_conf_text(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *text)
{
    ngx_int_t   rc;
    ngx_file_t  file;

    if (ngx_conf_full_name(cf->cycle, name, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = *name;
    file.log = cf->log;

    /* a pipe is not waited for */

    file.fd = ngx_open_file(name->data, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                            NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", name);
        return NGX_ERROR;
    }

    rc = ngx_http_retry_chain_conf_read(cf, &file, text);

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", name);
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_conf_read(ngx_conf_t *cf, ngx_file_t *file,
    ngx_str_t *text)
{
    off_t    size;
    ssize_t  n;

    if (ngx_fd_info(file->fd, &file->info) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", &file->name);
        return NGX_ERROR;
    }

    if (!ngx_is_file(&file->info)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" is not a file",
                           &file->name);
        return NGX_ERROR;
    }

    size = ngx_file_size(&file->info);

    if (size > NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "machine \"%V\" is larger than %d bytes",
                           &file->name, NGX_HTTP_RETRY_CHAIN_MACHINE_SIZE);
        return NGX_ERROR;
    }

    text->len = (size_t) size;
    text->data = ngx_pnalloc(cf->pool, ngx_max(text->len, 1));

    if (text->data == NULL) {
        return NGX_ERROR;
    }

    n = ngx_read_file(file, text->data, text->len, 0);

    if (n != (ssize_t) text->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, n == NGX_ERROR ? ngx_errno : 0,
                           ngx_read_file_n " \"%V\" failed", &file->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}
