
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_target.h"


typedef struct {
    char        *module;
    ngx_str_t    pass;         /* directive that sets the handler */
    ngx_str_t    buffering;    /* directive that buffers request bodies */
    unsigned     streaming:1;
    unsigned     bodiless:1;   /* drops request bodies unread */
} ngx_http_retry_chain_target_name_t;


static ngx_module_t *ngx_http_retry_chain_target_module(ngx_conf_t *cf,
    char *name);
static ngx_command_t *ngx_http_retry_chain_target_command(ngx_module_t *module,
    ngx_str_t *name);
static ngx_int_t ngx_http_retry_chain_target_probe(ngx_conf_t *cf,
    ngx_module_t *module, ngx_command_t *cmd, ngx_http_handler_pt *handler);


static ngx_http_retry_chain_target_name_t
    ngx_http_retry_chain_target_names[] = {

    { "ngx_http_proxy_module", ngx_string("proxy_pass"),
      ngx_string("proxy_request_buffering"), 0, 0 },

    { "ngx_http_fastcgi_module", ngx_string("fastcgi_pass"),
      ngx_string("fastcgi_request_buffering"), 0, 0 },

    { "ngx_http_uwsgi_module", ngx_string("uwsgi_pass"),
      ngx_string("uwsgi_request_buffering"), 0, 0 },

    { "ngx_http_scgi_module", ngx_string("scgi_pass"),
      ngx_string("scgi_request_buffering"), 0, 0 },

    { "ngx_http_grpc_module", ngx_string("grpc_pass"),
      ngx_null_string, 1, 0 },

    { "ngx_http_memcached_module", ngx_string("memcached_pass"),
      ngx_null_string, 0, 1 },

    { NULL, ngx_null_string, ngx_null_string, 0, 0 }
};


static ngx_str_t  ngx_http_retry_chain_slice = ngx_string("slice");


ngx_http_retry_chain_target_t *
ngx_http_retry_chain_target_find(ngx_http_retry_chain_targets_t *targets,
    ngx_http_handler_pt handler)
{
    ngx_uint_t                      i;
    ngx_http_retry_chain_target_t  *target;

    target = targets->targets.elts;

    for (i = 0; i < targets->targets.nelts; i++) {
        if (target[i].handler == handler) {
            return &target[i];
        }
    }

    return NULL;
}


ngx_uint_t
ngx_http_retry_chain_target_streams(ngx_http_retry_chain_targets_t *targets,
    ngx_http_retry_chain_target_t *target, ngx_http_request_t *r,
    ngx_uint_t single)
{
    u_char  *conf;
    size_t   size;

    if (targets->slice) {
        conf = r->loc_conf[targets->slice_index];
        size = *(size_t *) (conf + targets->slice_offset);

        if (size) {
            return 1;
        }
    }

    if (target->streaming) {
        return single;
    }

    if (r->headers_in.content_length_n <= 0 && !r->headers_in.chunked) {
        return 0;
    }

    if (target->bodiless) {
        return single;
    }

    return ngx_http_retry_chain_target_unbuffered(target, r);
}


ngx_uint_t
ngx_http_retry_chain_target_unbuffered(ngx_http_retry_chain_target_t *target,
    ngx_http_request_t *r)
{
    u_char  *conf;

    if (target->buffering_offset == 0) {
        return target->streaming || target->bodiless;
    }

    conf = r->loc_conf[target->ctx_index];

    return !*(ngx_flag_t *) (conf + target->buffering_offset);
}


ngx_int_t
ngx_http_retry_chain_targets_init(ngx_conf_t *cf,
    ngx_http_retry_chain_targets_t *targets)
{
    ngx_module_t                        *module;
    ngx_command_t                       *cmd;
    ngx_http_handler_pt                  handler;
    ngx_http_retry_chain_target_t       *target;
    ngx_http_retry_chain_target_name_t  *name;

    if (ngx_array_init(&targets->targets, cf->pool, 6,
                       sizeof(ngx_http_retry_chain_target_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (name = ngx_http_retry_chain_target_names; name->module; name++) {

        module = ngx_http_retry_chain_target_module(cf, name->module);
        if (module == NULL) {
            continue;
        }

        cmd = ngx_http_retry_chain_target_command(module, &name->pass);
        if (cmd == NULL) {
            continue;
        }

        if (ngx_http_retry_chain_target_probe(cf, module, cmd, &handler)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        target = ngx_array_push(&targets->targets);
        if (target == NULL) {
            return NGX_ERROR;
        }

        target->handler = handler;
        target->ctx_index = module->ctx_index;
        target->buffering_offset = 0;
        target->streaming = name->streaming;
        target->bodiless = name->bodiless;

        if (name->buffering.len) {
            cmd = ngx_http_retry_chain_target_command(module, &name->buffering);

            if (cmd) {
                target->buffering_offset = cmd->offset;
            }
        }
    }

    module = ngx_http_retry_chain_target_module(cf,
                                                "ngx_http_slice_filter_module");
    if (module) {
        cmd = ngx_http_retry_chain_target_command(module,
                                                  &ngx_http_retry_chain_slice);
        if (cmd) {
            targets->slice = 1;
            targets->slice_index = module->ctx_index;
            targets->slice_offset = cmd->offset;
        }
    }

    return NGX_OK;
}


static ngx_module_t *
ngx_http_retry_chain_target_module(ngx_conf_t *cf, char *name)
{
    ngx_uint_t  i;

    for (i = 0; cf->cycle->modules[i]; i++) {
        if (ngx_strcmp(cf->cycle->modules[i]->name, name) == 0) {
            return cf->cycle->modules[i];
        }
    }

    return NULL;
}


static ngx_command_t *
ngx_http_retry_chain_target_command(ngx_module_t *module, ngx_str_t *name)
{
    ngx_command_t  *cmd;

    for (cmd = module->commands; cmd && cmd->name.len; cmd++) {
        if (cmd->name.len == name->len
            && ngx_strncmp(cmd->name.data, name->data, name->len) == 0)
        {
            return cmd;
        }
    }

    return NULL;
}


/*
 * Runs "cmd $host;" in a location that exists for the time of the call only.
 * A variable keeps the directive from adding an upstream; the variables that
 * it has asked for are forgotten again, $memcached_key may not exist.
 */

static ngx_int_t
ngx_http_retry_chain_target_probe(ngx_conf_t *cf, ngx_module_t *module,
    ngx_command_t *cmd, ngx_http_handler_pt *handler)
{
    char                       *rv;
    void                       *conf;
    ngx_str_t                  *value;
    ngx_uint_t                  n;
    ngx_conf_t                  save;
    ngx_http_module_t          *ctx;
    ngx_http_conf_ctx_t        *scratch;
    ngx_http_core_loc_conf_t   *clcf;
    ngx_http_core_main_conf_t  *cmcf;

    ctx = module->ctx;

    conf = ctx->create_loc_conf(cf);
    if (conf == NULL) {
        return NGX_ERROR;
    }

    clcf = ngx_pcalloc(cf->temp_pool, sizeof(ngx_http_core_loc_conf_t));
    if (clcf == NULL) {
        return NGX_ERROR;
    }

    scratch = ngx_palloc(cf->temp_pool, sizeof(ngx_http_conf_ctx_t));
    if (scratch == NULL) {
        return NGX_ERROR;
    }

    *scratch = *(ngx_http_conf_ctx_t *) cf->ctx;

    scratch->loc_conf = ngx_pcalloc(cf->temp_pool,
                                    sizeof(void *) * ngx_http_max_module);
    if (scratch->loc_conf == NULL) {
        return NGX_ERROR;
    }

    scratch->loc_conf[ngx_http_core_module.ctx_index] = clcf;
    scratch->loc_conf[module->ctx_index] = conf;

    save = *cf;

    cf->ctx = scratch;

    cf->args = ngx_array_create(cf->pool, 2, sizeof(ngx_str_t));
    if (cf->args == NULL) {
        *cf = save;
        return NGX_ERROR;
    }

    value = ngx_array_push_n(cf->args, 2);
    if (value == NULL) {
        *cf = save;
        return NGX_ERROR;
    }

    value[0] = cmd->name;

    ngx_str_set(&value[1], "$host");

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    n = cmcf->variables.nelts;

    rv = cmd->set(cf, cmd, conf);

    cmcf->variables.nelts = n;
    *cf = save;

    if (rv != NGX_CONF_OK || clcf->handler == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "retry_chain could not learn the handler of \"%V\"",
                      &cmd->name);
        return NGX_ERROR;
    }

    *handler = clcf->handler;

    return NGX_OK;
}
