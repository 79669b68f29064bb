
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Makes the plan of each level from what is configured there and above.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_conf.h"
#include "ngx_http_retry_chain_zone.h"


typedef struct {
    ngx_http_core_srv_conf_t            *cscf;
    ngx_http_retry_chain_step_t         *step;
} ngx_http_retry_chain_check_t;


static ngx_int_t ngx_http_retry_chain_merge_plan(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf);
static void ngx_http_retry_chain_merge_machine(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf, ngx_http_retry_chain_plan_t *plan);
static ngx_int_t ngx_http_retry_chain_merge_zone(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf);
static ngx_int_t ngx_http_retry_chain_merge_chain(ngx_conf_t *cf,
    ngx_http_retry_chain_plan_t *plan);
static ngx_int_t ngx_http_retry_chain_merge_name(ngx_conf_t *cf,
    ngx_uint_t inherited, ngx_str_t *name);
static ngx_int_t ngx_http_retry_chain_merge_locations(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf);


char *
ngx_http_retry_chain_merge_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_retry_chain_loc_conf_t *prev = parent;
    ngx_http_retry_chain_loc_conf_t *conf = child;

    ngx_uint_t                    same;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_retry_chain_step_t  *step;

    same = (conf->steps == NULL
            && conf->rules == NULL
            && conf->success == NULL
            && conf->stop == NULL
            && conf->non_idempotent == NGX_CONF_UNSET_UINT
            && conf->zone == NULL
            && conf->retry_after == NULL
            && conf->budget == NULL
            && conf->dry_run == NGX_CONF_UNSET
            && conf->json == NULL
            && conf->limited == NGX_CONF_UNSET_UINT
            && conf->max_waiting == NGX_CONF_UNSET_UINT
            && conf->rotate == NGX_CONF_UNSET_UINT
            && !conf->timeout_set);

    if (conf->machine && conf->steps
        && (conf->rules || conf->success || conf->stop || conf->json))
    {
        step = conf->steps->elts;

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%s\" has no effect together with "
                      "\"retry_chain_machine\" in %V:%ui",
                      conf->rules ? "retry_chain_retry"
                      : conf->success ? "retry_chain_success"
                      : conf->stop ? "retry_chain_stop" : "retry_chain_json",
                      &step->file, step->line);
        return NGX_CONF_ERROR;
    }

    if (conf->steps == NULL) {
        clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

        conf->steps = prev->steps;
        conf->machine = prev->machine;
        conf->sleep = prev->sleep;
        conf->off = prev->off;
        conf->own = prev->own && clcf->noname;
    }

    if (conf->rules == NULL) {
        conf->rules = prev->rules;
    }

    if (conf->success == NULL) {
        conf->success = prev->success;
    }

    if (conf->stop == NULL) {
        conf->stop = prev->stop;
    }

    if (conf->zone == NULL) {
        conf->zone = prev->zone;
    }

    if (conf->retry_after == NULL) {
        conf->retry_after = prev->retry_after;
    }

    if (conf->budget == NULL) {
        conf->budget = prev->budget;
    }

    if (conf->json == NULL) {
        conf->json = prev->json;
    }

    if (conf->limited == NGX_CONF_UNSET_UINT) {
        conf->limited = prev->limited;
    }

    ngx_conf_merge_size_value(conf->json_buffer, prev->json_buffer, 65536);
    ngx_conf_merge_value(conf->error_json, prev->error_json, 0);

    if (conf->header.data == NULL) {
        conf->header = prev->header;
    }

    ngx_conf_merge_value(conf->dry_run, prev->dry_run, 0);

    ngx_conf_merge_uint_value(conf->max_waiting, prev->max_waiting,
                              NGX_CONF_UNSET_UINT);
    ngx_conf_merge_uint_value(conf->rotate, prev->rotate, 0);
    ngx_conf_merge_uint_value(conf->non_idempotent, prev->non_idempotent,
                              NGX_HTTP_RETRY_CHAIN_UNSAFE_SAFE);
    ngx_conf_merge_uint_value(conf->log_level, prev->log_level, NGX_LOG_WARN);

    if (!conf->timeout_set) {
        conf->timeout = prev->timeout;
        conf->timeout_set = prev->timeout_set;
    }

    if (conf->steps == NULL || conf->off) {
        return NGX_CONF_OK;
    }

    if (same && prev->plan) {
        conf->plan = prev->plan;
        conf->notes = prev->notes;

    } else {

        if (ngx_http_retry_chain_merge_plan(cf, conf) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        conf->plan->chain = ngx_pcalloc(cf->pool,
                                        sizeof(ngx_http_retry_chain_chain_t));
        if (conf->plan->chain == NULL) {
            return NGX_CONF_ERROR;
        }

        conf->plan->chain->plan = conf->plan;

        if (ngx_http_retry_chain_merge_name(cf, same, &conf->plan->chain->name)
            != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        if (same) {

            /* that of the http level, for all servers that inherit it */

            prev->plan = conf->plan;
            prev->notes = conf->notes;
        }
    }

    /* a level that only hands it down may leave it incomplete */

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (!conf->own && clcf->handler == NULL) {
        return NGX_CONF_OK;
    }

    if (ngx_http_retry_chain_merge_zone(cf, conf) != NGX_OK
        || ngx_http_retry_chain_merge_chain(cf, conf->plan) != NGX_OK
        || ngx_http_retry_chain_merge_locations(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_retry_chain_merge_plan(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf)
{
    ngx_str_t                     s;
    ngx_http_retry_chain_plan_t  *plan;

    plan = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_plan_t));
    if (plan == NULL) {
        return NGX_ERROR;
    }

    conf->notes = ngx_pcalloc(cf->pool, sizeof(ngx_http_retry_chain_notes_t));
    if (conf->notes == NULL) {
        return NGX_ERROR;
    }

    plan->nsteps = conf->steps->nelts;

    plan->steps = ngx_palloc(cf->pool, plan->nsteps
                                       * sizeof(ngx_http_retry_chain_step_t));
    if (plan->steps == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(plan->steps, conf->steps->elts,
               plan->nsteps * sizeof(ngx_http_retry_chain_step_t));

    if (conf->rules) {
        plan->rules = conf->rules->elts;
        plan->nrules = conf->rules->nelts;
    }

    if (conf->json) {
        plan->json = conf->json->elts;
        plan->njson = conf->json->nelts;
        plan->body = (plan->njson != 0);
    }

    if (conf->success) {
        plan->success = *conf->success;

    } else {
        ngx_str_set(&s, "200-399");
        (void) ngx_http_retry_chain_codes_add(&plan->success, &s);
    }

    if (conf->stop) {
        plan->stop = *conf->stop;

    } else {
        ngx_str_set(&s, "412");
        (void) ngx_http_retry_chain_codes_add(&plan->stop, &s);
        ngx_str_set(&s, "416");
        (void) ngx_http_retry_chain_codes_add(&plan->stop, &s);
    }

    plan->non_idempotent = conf->non_idempotent;
    plan->timeout = conf->timeout_set ? conf->timeout : 60000;
    plan->hard = conf->timeout_set && conf->timeout;

    plan->limited = conf->limited == NGX_CONF_UNSET_UINT
                    ? NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT : conf->limited;
    plan->max_waiting = conf->max_waiting;
    plan->rotate = conf->rotate;
    plan->dry = conf->dry_run;

    if (conf->budget) {
        plan->budget = *conf->budget;
    }

    if (conf->retry_after) {
        plan->retry_after = *conf->retry_after;

    } else {
        ngx_http_retry_chain_retry_after_conf_init(&plan->retry_after);
    }

    if (conf->machine) {
        ngx_http_retry_chain_merge_machine(cf, conf, plan);
    }

    if (ngx_http_retry_chain_plan_init(plan) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "the chain that starts with \"%V\" in %V:%ui could make "
                      "%ui attempts, at most %d are allowed",
                      &plan->steps[0].name, &plan->steps[0].file,
                      plan->steps[0].line, plan->attempts,
                      NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
        return NGX_ERROR;
    }

    conf->plan = plan;

    return NGX_OK;
}


/* what a machine says itself; of limits the shorter one */

static void
ngx_http_retry_chain_merge_machine(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf, ngx_http_retry_chain_plan_t *plan)
{
    ngx_http_retry_chain_plan_t  *machine;

    machine = conf->machine;

    plan->states = machine->states;
    plan->nstates = machine->nstates;
    plan->rules = machine->rules;
    plan->nrules = machine->nrules;
    plan->wait = machine->wait;
    plan->attempts = machine->attempts;
    plan->fail_status = machine->fail_status;

    plan->body = machine->body;
    plan->json = NULL;
    plan->njson = 0;
    plan->rotate = 0;

    if (machine->hard) {
        ngx_http_retry_chain_plan_limit(plan, machine->timeout);
    }

    if (plan->timeout && conf->sleep > plan->timeout) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "the machine in %V:%ui can wait for %M ms in all, but "
                      "its runs end after %M ms",
                      &plan->steps[0].file, plan->steps[0].line, conf->sleep,
                      plan->timeout);
    }
}


/* what acts on limiters has no use without them */

static ngx_int_t
ngx_http_retry_chain_merge_zone(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_step_t  *step;

    if (conf->zone) {
        return conf->plan->queues
               ? NGX_OK
               : ngx_http_retry_chain_zone_use(cf, conf->zone, conf->plan);
    }

    step = conf->plan->steps;

    for (i = 0; i < conf->plan->nsteps; i++) {

        if (step[i].limit.rate || step[i].limit.automatic) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"rate\" of step \"%V\" in %V:%ui needs "
                          "\"retry_chain_zone\"",
                          &step[i].name, &step[i].file, step[i].line);
            return NGX_ERROR;
        }
    }

    if (conf->limited != NGX_CONF_UNSET_UINT || conf->plan->budget.window) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%s\" for the chain that starts with \"%V\" in %V:%ui "
                      "needs \"retry_chain_zone\"",
                      conf->plan->budget.window ? "retry_chain_budget"
                                                : "retry_chain_limited",
                      &step->name, &step->file, step->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* a chain that acts somewhere is listed, with a name that no other one has */

static ngx_int_t
ngx_http_retry_chain_merge_chain(ngx_conf_t *cf,
    ngx_http_retry_chain_plan_t *plan)
{
    u_char                             *p;
    ngx_str_t                           name;
    ngx_uint_t                          i, n;
    ngx_http_retry_chain_chain_t       *chain, **chains;
    ngx_http_retry_chain_main_conf_t   *rcmcf;

    chain = plan->chain;

    if (chain->listed) {
        return NGX_OK;
    }

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);

    if (rcmcf->chains.elts == NULL
        && ngx_array_init(&rcmcf->chains, cf->pool, 4,
                          sizeof(ngx_http_retry_chain_chain_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    name = chain->name;
    chains = rcmcf->chains.elts;

    for (i = 0, n = 1; i < rcmcf->chains.nelts; i++) {

        if (chains[i]->name.len != chain->name.len
            || ngx_memcmp(chains[i]->name.data, chain->name.data,
                          chain->name.len)
               != 0)
        {
            continue;
        }

        p = ngx_pnalloc(cf->pool, name.len + 1 + NGX_INT_T_LEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        chain->name.data = p;
        chain->name.len = ngx_sprintf(p, "%V %ui", &name, ++n) - p;

        /* the new one may be that of another, too */

        i = (ngx_uint_t) -1;
    }

    chains = ngx_array_push(&rcmcf->chains);
    if (chains == NULL) {
        return NGX_ERROR;
    }

    *chains = chain;
    chain->listed = 1;

    return plan->zone ? ngx_http_retry_chain_zone_chain(chain) : NGX_OK;
}


/* the place of a plan as it is written there: server and location */

static ngx_int_t
ngx_http_retry_chain_merge_name(ngx_conf_t *cf, ngx_uint_t inherited,
    ngx_str_t *name)
{
    char                      *kind, *inner;
    u_char                    *p;
    ngx_str_t                  server;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (inherited) {
        ngx_str_set(name, "http");
        return NGX_OK;
    }

    server = cscf->server_name;

    if (server.len == 0) {
        ngx_str_set(&server, "server");
    }

    kind = clcf->name.len ? " " : "";
    inner = "";

    if (clcf->exact_match) {
        kind = " = ";

    } else if (clcf->noregex) {
        kind = " ^~ ";
    }

#if (NGX_PCRE)
    if (clcf->regex) {
        kind = " ~ ";
    }
#endif

    if (clcf->noname) {
        inner = clcf->lmt_excpt ? " limit_except" : " if";
    }

    p = ngx_pnalloc(cf->pool, server.len + clcf->name.len
                              + sizeof(" ^~  limit_except"));
    if (p == NULL) {
        return NGX_ERROR;
    }

    name->data = p;
    name->len = ngx_sprintf(p, "%V%s%V%s", &server, kind, &clcf->name, inner)
                - p;

    return NGX_OK;
}


/* named locations are known only after merging, so they are noted here */

static ngx_int_t
ngx_http_retry_chain_merge_locations(ngx_conf_t *cf,
    ngx_http_retry_chain_loc_conf_t *conf)
{
    ngx_uint_t                         i;
    ngx_http_retry_chain_check_t      *check;
    ngx_http_retry_chain_main_conf_t  *rcmcf;

    rcmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_retry_chain_module);

    for (i = 0; i < conf->plan->nsteps; i++) {

        if (!conf->plan->steps[i].location) {
            continue;
        }

        if (rcmcf->checks.elts == NULL
            && ngx_array_init(&rcmcf->checks, cf->temp_pool, 4,
                              sizeof(ngx_http_retry_chain_check_t))
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        check = ngx_array_push(&rcmcf->checks);
        if (check == NULL) {
            return NGX_ERROR;
        }

        check->cscf = ngx_http_conf_get_module_srv_conf(cf,
                                                        ngx_http_core_module);
        check->step = &conf->plan->steps[i];
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_merge_check(ngx_conf_t *cf,
    ngx_http_retry_chain_main_conf_t *rcmcf)
{
    ngx_str_t                      *name;
    ngx_uint_t                      i;
    ngx_http_retry_chain_named_t  **named;
    ngx_http_retry_chain_check_t   *check;

    check = rcmcf->checks.elts;

    for (i = 0; i < rcmcf->checks.nelts; i++) {

        name = &check[i].step->name;

        for (named = check[i].cscf->named_locations; named && *named; named++) {

            if ((*named)->name.len == name->len
                && ngx_strncmp((*named)->name.data, name->data, name->len) == 0)
            {
                break;
            }
        }

        if (named == NULL || *named == NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "unknown step \"%V\" in %V:%ui, there is no such "
                          "location in server \"%V\" in %s:%ui",
                          name, &check[i].step->file, check[i].step->line,
                          &check[i].cscf->server_name,
                          check[i].cscf->file_name, check[i].cscf->line);
            return NGX_ERROR;
        }
    }

    ngx_memzero(&rcmcf->checks, sizeof(ngx_array_t));

    return NGX_OK;
}
