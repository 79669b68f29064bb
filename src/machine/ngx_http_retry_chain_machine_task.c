
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What a state does: the timeout, Retry and Catch of a Task, the time of a
 * Wait, the texts of a Fail.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"
#include "ngx_http_retry_chain_policy.h"


#define NGX_HTTP_RETRY_CHAIN_MAX_RATE  1000000    /* 1000.0 */

/* MaxDelaySeconds, a year of 366 days, as in the States Language */

#define NGX_HTTP_RETRY_CHAIN_MAX_DELAY  (366 * 24 * 60 * 60)

#define NGX_HTTP_RETRY_CHAIN_OF_BOTH   0x03
#define NGX_HTTP_RETRY_CHAIN_OF_CALL   0x01       /* of a function */
#define NGX_HTTP_RETRY_CHAIN_OF_HTTP   0x02       /* of http:invoke */

#define NGX_HTTP_RETRY_CHAIN_BROKEN                                           \
    (NGX_HTTP_RETRY_CHAIN_ERROR|NGX_HTTP_RETRY_CHAIN_TIMEOUT                  \
     |NGX_HTTP_RETRY_CHAIN_INVALID_HEADER)


static ngx_int_t ngx_http_retry_chain_machine_task(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_retry(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_retrier(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_retrier_t *retrier);
static ngx_int_t ngx_http_retry_chain_machine_rate(
    ngx_http_retry_chain_machine_t *m, cJSON *json, ngx_uint_t *rate);
static ngx_int_t ngx_http_retry_chain_machine_jitter(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_jitter_e *jitter);
static ngx_int_t ngx_http_retry_chain_machine_catch(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_errors(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *json, ngx_http_retry_chain_catch_t *match);
static void ngx_http_retry_chain_machine_error_name(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    cJSON *json, ngx_http_retry_chain_catch_t *match);
static ngx_int_t ngx_http_retry_chain_machine_wait(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_fail(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);


static struct {
    const char  *name;
    ngx_uint_t   outcomes;
    ngx_uint_t   of;
} ngx_http_retry_chain_errors[] = {
    { "States.ALL", NGX_HTTP_RETRY_CHAIN_BROKEN|NGX_HTTP_RETRY_CHAIN_REPLY,
      NGX_HTTP_RETRY_CHAIN_OF_BOTH },
    { "States.TaskFailed", NGX_HTTP_RETRY_CHAIN_ERROR
                           |NGX_HTTP_RETRY_CHAIN_INVALID_HEADER
                           |NGX_HTTP_RETRY_CHAIN_REPLY,
      NGX_HTTP_RETRY_CHAIN_OF_BOTH },
    { "States.Timeout", NGX_HTTP_RETRY_CHAIN_TIMEOUT,
      NGX_HTTP_RETRY_CHAIN_OF_BOTH },
    { "States.Http.Socket", NGX_HTTP_RETRY_CHAIN_BROKEN,
      NGX_HTTP_RETRY_CHAIN_OF_HTTP },
    { "Lambda.SdkClientException", NGX_HTTP_RETRY_CHAIN_ERROR
                                   |NGX_HTTP_RETRY_CHAIN_TIMEOUT,
      NGX_HTTP_RETRY_CHAIN_OF_CALL },
    { "Lambda.TooManyRequestsException", NGX_HTTP_RETRY_CHAIN_ERROR,
      NGX_HTTP_RETRY_CHAIN_OF_CALL },
    { "Lambda.ClientExecutionTimeoutException", NGX_HTTP_RETRY_CHAIN_TIMEOUT,
      NGX_HTTP_RETRY_CHAIN_OF_CALL },
    { "Lambda.Unknown", NGX_HTTP_RETRY_CHAIN_TIMEOUT
                        |NGX_HTTP_RETRY_CHAIN_INVALID_HEADER,
      NGX_HTTP_RETRY_CHAIN_OF_CALL },
    { "Lambda.ServiceException", NGX_HTTP_RETRY_CHAIN_INVALID_HEADER,
      NGX_HTTP_RETRY_CHAIN_OF_CALL },
    { "Lambda.AWSLambdaException", NGX_HTTP_RETRY_CHAIN_INVALID_HEADER,
      NGX_HTTP_RETRY_CHAIN_OF_CALL },
    { NULL, 0, 0 }
};


ngx_int_t
ngx_http_retry_chain_machine_state(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    switch (node->type) {

    case NGX_HTTP_RETRY_CHAIN_NODE_TASK:
        return ngx_http_retry_chain_machine_task(m, node);

    case NGX_HTTP_RETRY_CHAIN_NODE_WAIT:
        return ngx_http_retry_chain_machine_wait(m, node);

    case NGX_HTTP_RETRY_CHAIN_NODE_FAIL:
        return ngx_http_retry_chain_machine_fail(m, node);

    default:
        return NGX_OK;
    }
}


static ngx_int_t
ngx_http_retry_chain_machine_task(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON       *json, *timeout;
    ngx_uint_t   heartbeat;

    json = node->json;
    heartbeat = 0;

    if (ngx_http_retry_chain_machine_resource(m, node) != NGX_OK
        || ngx_http_retry_chain_machine_seconds(m, json, "TimeoutSeconds", 1,
                                           NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                           &node->timeout)
           != NGX_OK
        || ngx_http_retry_chain_machine_integer(m, json, "HeartbeatSeconds", 1,
                                           NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                           &heartbeat)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    timeout = cJSON_GetObjectItemCaseSensitive(json, "TimeoutSeconds");

    if (timeout && (double) heartbeat >= timeout->valuedouble) {
        return ngx_http_retry_chain_machine_error(m, json, "HeartbeatSeconds",
                                         "must be smaller than TimeoutSeconds");
    }

    if (ngx_http_retry_chain_machine_retry(m, node) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_machine_catch(m, node);
}


static ngx_int_t
ngx_http_retry_chain_machine_retry(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                           *list, *item;
    ngx_http_retry_chain_retrier_t   retrier, *added;

    list = cJSON_GetObjectItemCaseSensitive(node->json, "Retry");

    if (list == NULL) {
        return NGX_OK;
    }

    if (ngx_http_retry_chain_machine_is(m, list, cJSON_Array) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cJSON_GetArraySize(list) > NGX_HTTP_RETRY_CHAIN_MAX_RULES) {
        return ngx_http_retry_chain_machine_error(m, list, NULL,
                                              "at most %d retriers are allowed",
                                              NGX_HTTP_RETRY_CHAIN_MAX_RULES);
    }

    if (ngx_array_init(&node->retriers, m->temp, 4,
                       sizeof(ngx_http_retry_chain_retrier_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (item = list->child; item; item = item->next) {

        ngx_memzero(&retrier, sizeof(ngx_http_retry_chain_retrier_t));

        retrier.json = item;

        if (ngx_http_retry_chain_machine_retrier(m, node, &retrier) != NGX_OK) {
            return NGX_ERROR;
        }

        /* one that can never match is not needed */

        if (retrier.rule.outcomes == 0) {
            continue;
        }

        added = ngx_array_push(&node->retriers);
        if (added == NULL) {
            return NGX_ERROR;
        }

        *added = retrier;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_retrier(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_retrier_t *retrier)
{
    cJSON                         *json;
    ngx_uint_t                     last;
    ngx_http_retry_chain_rule_t   *rule;
    ngx_http_retry_chain_catch_t   match;

    json = retrier->json;
    rule = &retrier->rule;

    /* the defaults of the States Language */

    retrier->asked = 3;
    rule->interval = 1000;
    rule->rate = 2000;
    rule->max = NGX_HTTP_RETRY_CHAIN_MAX_TIME;

    ngx_memzero(&match, sizeof(ngx_http_retry_chain_catch_t));

    if (ngx_http_retry_chain_machine_check_fields(m, json,
                                                 NGX_HTTP_RETRY_CHAIN_IN_RETRY,
                                                 node->jsonata)
        != NGX_OK
        || ngx_http_retry_chain_machine_errors(m, node, json, &match) != NGX_OK
        || ngx_http_retry_chain_machine_seconds(m, json, "IntervalSeconds", 1,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &rule->interval)
           != NGX_OK
        || ngx_http_retry_chain_machine_integer(m, json, "MaxAttempts", 0,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &retrier->asked)
           != NGX_OK
        || ngx_http_retry_chain_machine_seconds(m, json, "MaxDelaySeconds", 1,
                                              NGX_HTTP_RETRY_CHAIN_MAX_DELAY,
                                              &rule->max)
           != NGX_OK
        || ngx_http_retry_chain_machine_rate(m, json, &rule->rate) != NGX_OK
        || ngx_http_retry_chain_machine_jitter(m, json, &rule->jitter)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rule->outcomes = match.outcomes;
    rule->codes = match.codes;
    rule->any = match.any;

    if (cJSON_GetObjectItemCaseSensitive(json, "MaxDelaySeconds")
        || retrier->asked == 0 || rule->outcomes == 0
        || rule->interval == rule->max)
    {
        return NGX_OK;
    }

    last = ngx_min(retrier->asked, NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);

    if (ngx_http_retry_chain_backoff(rule, last, 0xffffffff) == rule->max) {
        ngx_http_retry_chain_machine_warn(m, json, NULL,
                               "delays grow over %M s and are reduced to that",
                               rule->max / 1000);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_rate(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_uint_t *rate)
{
    double   number;
    cJSON   *field;

    field = cJSON_GetObjectItemCaseSensitive(json, "BackoffRate");

    if (field == NULL) {
        return NGX_OK;
    }

    if (!cJSON_IsNumber(field) || field->valuedouble < 1) {
        return ngx_http_retry_chain_machine_error(m, field, NULL,
                                              "must be a number from 1.0 on");
    }

    number = field->valuedouble * 1000;

    if (number > NGX_HTTP_RETRY_CHAIN_MAX_RATE) {
        *rate = NGX_HTTP_RETRY_CHAIN_MAX_RATE;

    } else {
        *rate = (ngx_uint_t) (number + 0.5);

        /* 1.1 is no sum of powers of two, but is meant to be 1100 */

        if (number - (double) *rate < 0.000001
            && (double) *rate - number < 0.000001)
        {
            return NGX_OK;
        }
    }

    ngx_http_retry_chain_machine_warn(m, field, NULL, "is taken as %ui.%03ui",
                                      *rate / 1000, *rate % 1000);
    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_jitter(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_jitter_e *jitter)
{
    const char  *text;

    text = ngx_http_retry_chain_machine_string(m, json, "JitterStrategy",
                                               "NONE");
    if (text == NULL) {
        return NGX_ERROR;
    }

    if (ngx_strcmp(text, "FULL") == 0) {
        *jitter = NGX_HTTP_RETRY_CHAIN_JITTER_FULL;

    } else if (ngx_strcmp(text, "NONE") != 0) {
        return ngx_http_retry_chain_machine_error(m, json, "JitterStrategy",
                                               "must be \"FULL\" or \"NONE\"");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_catch(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                         *list, *item;
    ngx_http_retry_chain_state_t  *state;

    list = cJSON_GetObjectItemCaseSensitive(node->json, "Catch");

    if (list == NULL) {
        return NGX_OK;
    }

    state = &node->state;

    state->catches = ngx_pcalloc(m->pool, (node->nlinks - 1)
                                       * sizeof(ngx_http_retry_chain_catch_t));
    if (state->catches == NULL) {
        return NGX_ERROR;
    }

    for (item = list->child; item; item = item->next) {

        if (ngx_http_retry_chain_machine_check_fields(m, item,
                                                 NGX_HTTP_RETRY_CHAIN_IN_CATCH,
                                                 node->jsonata)
            != NGX_OK
            || ngx_http_retry_chain_machine_errors(m, node, item,
                                            &state->catches[state->ncatches++])
               != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_errors(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *json,
    ngx_http_retry_chain_catch_t *match)
{
    cJSON  *list, *item;

    list = ngx_http_retry_chain_machine_get(m, json, "ErrorEquals",
                                            NGX_HTTP_RETRY_CHAIN_LIST);
    if (list == NULL) {
        return NGX_ERROR;
    }

    for (item = list->child; item; item = item->next) {

        if (ngx_http_retry_chain_machine_is(m, item, cJSON_String) != NGX_OK) {
            return NGX_ERROR;
        }

        if (ngx_strcmp(item->valuestring, "States.ALL") == 0
            && (list->child->next || json->next))
        {
            return ngx_http_retry_chain_machine_error(m, item, NULL,
                            "States.ALL must stand alone, and in the last one");
        }

        ngx_http_retry_chain_machine_error_name(m, node, item, match);
    }

    return NGX_OK;
}


/* adds what has this name; one that never matches is told, and ignored */

static void
ngx_http_retry_chain_machine_error_name(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, cJSON *json,
    ngx_http_retry_chain_catch_t *match)
{
    size_t       len;
    ngx_str_t    code;
    ngx_uint_t   i, of, outcomes;
    const char  *name;

    name = json->valuestring;
    of = node->state.http ? NGX_HTTP_RETRY_CHAIN_OF_HTTP
                          : NGX_HTTP_RETRY_CHAIN_OF_CALL;

    for (i = 0; ngx_http_retry_chain_errors[i].name; i++) {

        if (ngx_strcmp(ngx_http_retry_chain_errors[i].name, name) != 0) {
            continue;
        }

        if (!(ngx_http_retry_chain_errors[i].of & of)) {
            ngx_http_retry_chain_machine_warn(m, json, NULL,
                                         "never matches, it is no error of %s",
                                         node->state.http ? "http:invoke"
                                                          : "a function");
            return;
        }

        outcomes = ngx_http_retry_chain_errors[i].outcomes;

        /* to a function, each reply is a result */

        if (!node->state.http) {
            outcomes &= ~(ngx_uint_t) NGX_HTTP_RETRY_CHAIN_REPLY;
        }

        if (outcomes & NGX_HTTP_RETRY_CHAIN_REPLY) {
            match->any = 1;
        }

        match->outcomes |= outcomes;

        return;
    }

    len = sizeof("States.Http.StatusCode.") - 1;

    if (node->state.http
        && ngx_strncmp(name, "States.Http.StatusCode.", len) == 0)
    {
        code.data = (u_char *) name + len;
        code.len = ngx_strlen(code.data);

        if (code.len == 3 && (code.data[0] == '4' || code.data[0] == '5')
            && ngx_http_retry_chain_codes_add(&match->codes, &code) == NGX_OK)
        {
            match->outcomes |= NGX_HTTP_RETRY_CHAIN_REPLY;
            return;
        }
    }

    ngx_http_retry_chain_machine_warn(m, json, NULL,
                              "never matches, no attempt ends with this error");
}


static ngx_int_t
ngx_http_retry_chain_machine_wait(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    if (ngx_http_retry_chain_machine_get(m, node->json, "Seconds",
                                         NGX_HTTP_RETRY_CHAIN_ANY)
        == NULL)
    {
        return NGX_ERROR;
    }

    return ngx_http_retry_chain_machine_seconds(m, node->json, "Seconds", 0,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &node->state.wait);
}


static ngx_int_t
ngx_http_retry_chain_machine_fail(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_str_t    inner;
    ngx_uint_t   i;
    const char  *text;

    static const char  *names[] = { "Error", "Cause" };

    for (i = 0; i < 2; i++) {
        text = ngx_http_retry_chain_machine_string(m, node->json, names[i], "");

        if (text == NULL) {
            return NGX_ERROR;
        }

        if (node->jsonata
            && ngx_http_retry_chain_machine_expression(text, &inner))
        {
            return ngx_http_retry_chain_machine_error(m, node->json, names[i],
                                     "must be plain text, it is sent as it is");
        }

        if (ngx_http_retry_chain_machine_copy(m, text,
                                              i ? &node->state.cause
                                                : &node->state.error)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
