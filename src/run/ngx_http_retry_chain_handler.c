
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The way in: which requests take part in a chain.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


static ngx_uint_t ngx_http_retry_chain_bypass(
    ngx_http_retry_chain_main_conf_t *rcmcf,
    ngx_http_retry_chain_target_t *target,
    const ngx_http_retry_chain_plan_t *plan, ngx_http_request_t *r);
static ngx_int_t ngx_http_retry_chain_content_handler(ngx_http_request_t *r);


/*
 * Handlers of a phase run in reverse order of registration, so this one comes
 * before try_files and mirror.  It changes nothing but the content handler:
 * they do their work on the main request as ever, once.
 */

ngx_int_t
ngx_http_retry_chain_phase_handler(ngx_http_request_t *r)
{
    ngx_http_retry_chain_run_t        *run;
    ngx_http_retry_chain_target_t     *target;
    ngx_http_retry_chain_loc_conf_t   *rclcf;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    if (r->content_handler == NULL || r->post_action) {
        return NGX_DECLINED;
    }

    rcmcf = ngx_http_get_module_main_conf(r, ngx_http_retry_chain_module);

    if (r != r->main) {

        /* an attempt comes here in an @location only */

        target = ngx_http_retry_chain_target_find(&rcmcf->targets,
                                                  r->content_handler);

        ngx_http_retry_chain_attempt_locate_handler(r, target != NULL);

        return NGX_DECLINED;
    }

    rclcf = ngx_http_get_module_loc_conf(r, ngx_http_retry_chain_module);

    if (rclcf->plan == NULL) {
        return NGX_DECLINED;
    }

    target = ngx_http_retry_chain_target_find(&rcmcf->targets,
                                              r->content_handler);

    if (target == NULL && !rclcf->own) {
        return NGX_DECLINED;
    }

    run = ngx_http_retry_chain_run_get(r);

    if (run == NULL) {
        run = ngx_http_retry_chain_run_create(r);
        if (run == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

    } else if (run->state != NGX_HTTP_RETRY_CHAIN_RUN_READY) {

        /* one run per client request */

        run->left = 1;

        return NGX_DECLINED;
    }

    run->conf = rclcf;
    run->plan = rclcf->plan;
    run->target = target;

    if (ngx_http_retry_chain_bypass(rcmcf, target, rclcf->plan, r)) {
        ngx_http_retry_chain_finish(run, NGX_HTTP_RETRY_CHAIN_BYPASSED);
        return NGX_DECLINED;
    }

    run->handler = r->content_handler;
    r->content_handler = ngx_http_retry_chain_content_handler;

    if (ngx_http_retry_chain_passthrough_plan(rclcf->plan)) {
        ngx_http_retry_chain_passthrough_begin(run);
    }

    return NGX_DECLINED;
}


/* requests that cannot be repeated through a subrequest run plainly */

static ngx_uint_t
ngx_http_retry_chain_bypass(ngx_http_retry_chain_main_conf_t *rcmcf,
    ngx_http_retry_chain_target_t *target,
    const ngx_http_retry_chain_plan_t *plan, ngx_http_request_t *r)
{
    ngx_table_elt_t  *upgrade;

    upgrade = r->headers_in.upgrade;

    if (upgrade
        && (upgrade->value.len != 3
            || ngx_strncasecmp(upgrade->value.data, (u_char *) "h2c", 3) != 0))
    {
        return 1;
    }

    if (r->method_name.len == 7
        && ngx_strncmp(r->method_name.data, "CONNECT", 7) == 0)
    {
        return 1;
    }

    return target
           && ngx_http_retry_chain_target_streams(&rcmcf->targets, target, r,
                                                  plan->attempts == 1);
}


static ngx_int_t
ngx_http_retry_chain_content_handler(ngx_http_request_t *r)
{
    ngx_int_t                          rc;
    ngx_uint_t                         i;
    ngx_http_retry_chain_run_t        *run;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    run = ngx_http_retry_chain_run_get(r->main);

    if (r != r->main) {

        /* a clone made by another module */

        return run->handler(r);
    }

    if (run->state == NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH) {
        rc = run->handler(r);
        ngx_http_retry_chain_response_watch(r);
        return rc;
    }

    rcmcf = ngx_http_get_module_main_conf(r, ngx_http_retry_chain_module);

    for (i = 0; i < rcmcf->nearly; i++) {
        if (ngx_http_get_indexed_variable(r, rcmcf->early[i]) == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ngx_http_retry_chain_run_set_state(run, NGX_HTTP_RETRY_CHAIN_RUN_BODY);

    /* attempts and a later redirect send the same body again */

    r->preserve_body = 1;

    if (r->headers_in.content_length_n == 0 && run->target
        && ngx_http_retry_chain_target_unbuffered(run->target, r))
    {
        /* nothing can come but the end of the stream, if it has one */

        rc = ngx_http_discard_request_body(r);

        if (rc == NGX_OK) {
            r->count++;
            ngx_http_retry_chain_run_begin(r);
        }

    } else {
        rc = ngx_http_read_client_request_body(r,
                                               ngx_http_retry_chain_run_begin);
    }

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_retry_chain_finish(run, NGX_HTTP_RETRY_CHAIN_ABORTED);
        return rc;
    }

    return NGX_DONE;
}
