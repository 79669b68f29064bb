
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"
#include "ngx_http_retry_chain_policy.h"


#define NGX_HTTP_RETRY_CHAIN_MAX_RATE  1000000    /* 1000.0 */

#define NGX_HTTP_RETRY_CHAIN_OF_BOTH   0x03
#define NGX_HTTP_RETRY_CHAIN_OF_CALL   0x01       /* of a function */
#define NGX_HTTP_RETRY_CHAIN_OF_HTTP   0x02       /* of http:invoke */

#define NGX_HTTP_RETRY_CHAIN_BROKEN                                           \
    (NGX_HTTP_RETRY_CHAIN_ERROR|NGX_HTTP_RETRY_CHAIN_TIMEOUT                  \
     |NGX_HTTP_RETRY_CHAIN_INVALID_HEADER)


static ngx_int_t ngx_http_retry_chain_machine_timeouts(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_retry(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_retrier(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_retrier_t *retrier);
static ngx_int_t ngx_http_retry_chain_machine_rate(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, ngx_uint_t *rate);
static ngx_int_t ngx_http_retry_chain_machine_jitter(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, ngx_http_retry_chain_rule_t *rule);
static ngx_int_t ngx_http_retry_chain_machine_catch(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
static ngx_int_t ngx_http_retry_chain_machine_fields(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, const char **names);
static ngx_int_t ngx_http_retry_chain_machine_errors(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *up, cJSON *json,
    ngx_http_retry_chain_catch_t *match);
static ngx_int_t ngx_http_retry_chain_machine_error_name(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    const ngx_http_retry_chain_at_t *at, const char *name,
    ngx_http_retry_chain_catch_t *match);


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


static const char  *ngx_http_retry_chain_retry_fields[] = {
    "ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate",
    "MaxDelaySeconds", "JitterStrategy", "Comment", NULL
};


static const char  *ngx_http_retry_chain_catch_fields[] = {
    "ErrorEquals", "Next", "ResultPath", "Comment", "Assign", "Output", NULL
};


ngx_int_t
ngx_http_retry_chain_machine_task(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t  rc;

    rc = ngx_http_retry_chain_machine_resource(m, node);

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_timeouts(m, node);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_retry(m, node);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_catch(m, node);
    }

    return rc;
}


static ngx_int_t
ngx_http_retry_chain_machine_timeouts(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t   rc;
    ngx_uint_t  seconds, heartbeat;

    seconds = 0;
    heartbeat = 0;

    rc = ngx_http_retry_chain_machine_integer(m, &node->at, node->json,
                                              "TimeoutSeconds", 1,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &seconds);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_retry_chain_machine_integer(m, &node->at, node->json,
                                              "HeartbeatSeconds", 1,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &heartbeat);
    if (rc != NGX_OK) {
        return rc;
    }

    if (seconds && heartbeat >= seconds) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at,
                                                  "HeartbeatSeconds",
                                                  "must be smaller than "
                                                  "TimeoutSeconds");
    }

    node->timeout = ngx_http_retry_chain_machine_msec(m, &node->at,
                                                      "TimeoutSeconds",
                                                      seconds);
    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_retry(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                           *list, *item;
    ngx_int_t                        rc;
    ngx_uint_t                       i;
    ngx_http_retry_chain_at_t        at, place;
    ngx_http_retry_chain_retrier_t   retrier, *added;

    list = ngx_http_retry_chain_machine_get(node->json, "Retry");

    if (list == NULL) {
        return NGX_OK;
    }

    ngx_http_retry_chain_machine_at(&at, &node->at, "Retry", 0);

    if (!cJSON_IsArray(list)) {
        return ngx_http_retry_chain_machine_error(m, &at, "must be an array");
    }

    if (cJSON_GetArraySize(list) > NGX_HTTP_RETRY_CHAIN_MAX_RULES) {
        return ngx_http_retry_chain_machine_error(m, &at,
                                              "at most %d retriers are allowed",
                                              NGX_HTTP_RETRY_CHAIN_MAX_RULES);
    }

    if (ngx_array_init(&node->retriers, m->temp, 4,
                       sizeof(ngx_http_retry_chain_retrier_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    i = 0;

    for (item = list->child; item; item = item->next) {

        ngx_http_retry_chain_machine_at(&place, &at, NULL, i);
        ngx_memzero(&retrier, sizeof(ngx_http_retry_chain_retrier_t));

        retrier.index = i++;

        rc = ngx_http_retry_chain_machine_retrier(m, node, &place, item,
                                                  &retrier);
        if (rc != NGX_OK) {
            return rc;
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
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_retrier_t *retrier)
{
    ngx_int_t                      rc;
    ngx_uint_t                     interval, max;
    ngx_http_retry_chain_rule_t   *rule;
    ngx_http_retry_chain_catch_t   match;

    rule = &retrier->rule;

    interval = 1;
    max = 0;
    retrier->asked = 3;
    rule->rate = 2000;
    ngx_memzero(&match, sizeof(ngx_http_retry_chain_catch_t));

    rc = ngx_http_retry_chain_machine_fields(m, at, json,
                                           ngx_http_retry_chain_retry_fields);
    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_errors(m, node, at, json, &match);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_integer(m, at, json,
                                              "IntervalSeconds", 1,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &interval);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_integer(m, at, json,
                                              "MaxAttempts", 0,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &retrier->asked);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_integer(m, at, json,
                                                  "MaxDelaySeconds", 1,
                                                  31622400, &max);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_rate(m, at, json, &rule->rate);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_retry_chain_machine_jitter(m, at, json, rule);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    rule->outcomes = match.outcomes;
    rule->codes = match.codes;
    rule->any = match.any;

    rule->interval = ngx_http_retry_chain_machine_msec(m, at,
                                                 "IntervalSeconds", interval);
    rule->max = max ? ngx_http_retry_chain_machine_msec(m, at,
                                                        "MaxDelaySeconds", max)
                    : NGX_HTTP_RETRY_CHAIN_MAX_TIME;

    if (max || retrier->asked == 0 || rule->outcomes == 0
        || rule->interval == rule->max)
    {
        return NGX_OK;
    }

    max = ngx_min(retrier->asked, NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);

    if (ngx_http_retry_chain_backoff(rule, max, 0xffffffff) == rule->max) {
        ngx_http_retry_chain_machine_warn(m, at,
                                         "delays grow over %M s and are "
                                         "reduced to that", rule->max / 1000);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_rate(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json, ngx_uint_t *rate)
{
    double                      number;
    cJSON                      *field;
    ngx_http_retry_chain_at_t   at;

    field = ngx_http_retry_chain_machine_get(json, "BackoffRate");

    if (field == NULL) {
        return NGX_OK;
    }

    ngx_http_retry_chain_machine_at(&at, up, "BackoffRate", 0);

    if (!cJSON_IsNumber(field) || field->valuedouble < 1) {
        return ngx_http_retry_chain_machine_error(m, &at,
                                              "must be a number from 1.0 on");
    }

    number = field->valuedouble * 1000;

    if (number > NGX_HTTP_RETRY_CHAIN_MAX_RATE) {
        *rate = NGX_HTTP_RETRY_CHAIN_MAX_RATE;

    } else {
        *rate = (ngx_uint_t) (number + 0.5);

        if (number - (double) *rate < 0.000001
            && (double) *rate - number < 0.000001)
        {
            return NGX_OK;
        }
    }

    ngx_http_retry_chain_machine_warn(m, &at, "is taken as %ui.%03ui",
                                      *rate / 1000, *rate % 1000);

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_jitter(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json,
    ngx_http_retry_chain_rule_t *rule)
{
    ngx_int_t    rc;
    const char  *text;

    text = "NONE";

    rc = ngx_http_retry_chain_machine_string(m, up, json, "JitterStrategy",
                                             &text);
    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_strcmp(text, "FULL") == 0) {
        rule->jitter = NGX_HTTP_RETRY_CHAIN_JITTER_FULL;

    } else if (ngx_strcmp(text, "NONE") != 0) {
        return ngx_http_retry_chain_machine_wrong(m, up, "JitterStrategy",
                                                  "must be \"FULL\" or "
                                                  "\"NONE\"");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_catch(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    cJSON                         *item;
    ngx_int_t                      rc;
    ngx_uint_t                     i;
    ngx_http_retry_chain_at_t      at, place;
    ngx_http_retry_chain_state_t  *state;

    state = &node->state;

    state->ncatches = node->nlinks - 1;

    if (state->ncatches == 0) {
        return NGX_OK;
    }

    state->catches = ngx_pcalloc(m->pool, state->ncatches
                                       * sizeof(ngx_http_retry_chain_catch_t));
    if (state->catches == NULL) {
        return NGX_ERROR;
    }

    ngx_http_retry_chain_machine_at(&at, &node->at, "Catch", 0);

    item = ngx_http_retry_chain_machine_get(node->json, "Catch")->child;

    for (i = 0; i < state->ncatches; i++, item = item->next) {

        ngx_http_retry_chain_machine_at(&place, &at, NULL, i);

        rc = ngx_http_retry_chain_machine_fields(m, &place, item,
                                           ngx_http_retry_chain_catch_fields);
        if (rc != NGX_OK) {
            return rc;
        }

        rc = ngx_http_retry_chain_machine_errors(m, node, &place, item,
                                                 &state->catches[i]);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_fields(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, cJSON *json, const char **names)
{
    cJSON       *item;
    ngx_int_t    rc;
    ngx_uint_t   i;
    const char  *text;

    if (!cJSON_IsObject(json)) {
        return ngx_http_retry_chain_machine_error(m, up, "must be an object");
    }

    for (item = json->child; item; item = item->next) {

        for (i = 0; names[i] && ngx_strcmp(names[i], item->string) != 0; i++) {
            /* void */
        }

        if (names[i] == NULL) {
            return ngx_http_retry_chain_machine_wrong(m, up, item->string,
                                                      "unknown field");
        }

        if (ngx_strcmp(item->string, "Comment") == 0) {
            rc = ngx_http_retry_chain_machine_string(m, up, json, "Comment",
                                                     &text);
            if (rc != NGX_OK) {
                return rc;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_errors(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *up,
    cJSON *json, ngx_http_retry_chain_catch_t *match)
{
    cJSON                      *list, *item;
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    ngx_http_retry_chain_at_t   at, place;

    list = ngx_http_retry_chain_machine_get(json, "ErrorEquals");

    ngx_http_retry_chain_machine_at(&at, up, "ErrorEquals", 0);

    if (list == NULL) {
        return ngx_http_retry_chain_machine_error(m, &at, "is missing");
    }

    if (!cJSON_IsArray(list) || list->child == NULL) {
        return ngx_http_retry_chain_machine_error(m, &at,
                                                  "must be an array that is "
                                                  "not empty");
    }

    i = 0;

    for (item = list->child; item; item = item->next) {

        ngx_http_retry_chain_machine_at(&place, &at, NULL, i++);

        if (!cJSON_IsString(item)) {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                      "must be a string");
        }

        if (ngx_strcmp(item->valuestring, "States.ALL") == 0
            && (list->child->next || json->next))
        {
            return ngx_http_retry_chain_machine_error(m, &place,
                                                "States.ALL must stand alone, "
                                                "and in the last one");
        }

        rc = ngx_http_retry_chain_machine_error_name(m, node, &place,
                                                     item->valuestring, match);
        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_retry_chain_machine_error_name(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, const ngx_http_retry_chain_at_t *at,
    const char *name, ngx_http_retry_chain_catch_t *match)
{
    size_t      len;
    ngx_str_t   code;
    ngx_uint_t  i, of, outcomes;

    of = node->state.http ? NGX_HTTP_RETRY_CHAIN_OF_HTTP
                          : NGX_HTTP_RETRY_CHAIN_OF_CALL;

    for (i = 0; ngx_http_retry_chain_errors[i].name; i++) {

        if (ngx_strcmp(ngx_http_retry_chain_errors[i].name, name) != 0) {
            continue;
        }

        if (!(ngx_http_retry_chain_errors[i].of & of)) {
            ngx_http_retry_chain_machine_warn(m, at,
                                          "never matches, it is no error of %s",
                                          node->state.http ? "http:invoke"
                                                           : "a function");
            return NGX_OK;
        }

        outcomes = ngx_http_retry_chain_errors[i].outcomes;

        if (!node->state.http) {
            outcomes &= ~(ngx_uint_t) NGX_HTTP_RETRY_CHAIN_REPLY;
        }

        if (outcomes & NGX_HTTP_RETRY_CHAIN_REPLY) {
            match->any = 1;
        }

        match->outcomes |= outcomes;

        return NGX_OK;
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
            return NGX_OK;
        }
    }

    ngx_http_retry_chain_machine_warn(m, at,
                                      "never matches, no attempt ends with "
                                      "this error");

    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_wait(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t   rc;
    ngx_uint_t  seconds;

    if (ngx_http_retry_chain_machine_get(node->json, "Seconds") == NULL) {
        return ngx_http_retry_chain_machine_wrong(m, &node->at, "Seconds",
                                                  "is missing");
    }

    seconds = 0;

    rc = ngx_http_retry_chain_machine_integer(m, &node->at, node->json,
                                              "Seconds", 0,
                                              NGX_HTTP_RETRY_CHAIN_MACHINE_MAX,
                                              &seconds);
    if (rc != NGX_OK) {
        return rc;
    }

    node->state.wait = ngx_http_retry_chain_machine_msec(m, &node->at,
                                                         "Seconds", seconds);
    return NGX_OK;
}


ngx_int_t
ngx_http_retry_chain_machine_fail(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node)
{
    ngx_int_t    rc;
    ngx_str_t    inner;
    ngx_uint_t   i;
    const char  *text;

    static const char  *names[] = { "Error", "Cause" };

    for (i = 0; i < 2; i++) {
        text = "";

        rc = ngx_http_retry_chain_machine_string(m, &node->at, node->json,
                                                 names[i], &text);
        if (rc != NGX_OK) {
            return rc;
        }

        if (node->jsonata
            && ngx_http_retry_chain_machine_expression(text, &inner))
        {
            return ngx_http_retry_chain_machine_wrong(m, &node->at, names[i],
                                              "must be plain text, it is sent "
                                              "as it is");
        }

        ngx_http_retry_chain_machine_copy(m, text,
                                          i ? &node->state.cause
                                            : &node->state.error);
    }

    if (node->state.error.data == NULL || node->state.cause.data == NULL) {
        return NGX_ERROR;
    }

    return NGX_OK;
}
