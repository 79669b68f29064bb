
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#ifndef _SCRIPT_H_INCLUDED_
#define _SCRIPT_H_INCLUDED_


/*
 * A run through a plan with scripted replies, and what it did.
 *
 * Replies are a status, e (connection failed), t (timeout) or i (invalid
 * reply); 200{...} has a body, without blanks, 200[name=value] a header.  The
 * trace has the steps, +ms of waits, ~ms of backoff, "?" where the body was
 * asked for, and how the run ends; "..." if the replies end before it.
 */


#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_policy.h"


typedef struct {
    char                            *pos;          /* of the replies */
    char                             header[64];
    cJSON                           *json;

    ngx_http_retry_chain_outcome_t   outcome;
    ngx_http_retry_chain_reply_t     reply;
} script_t;


static char  script_trace[4096];


static inline void script_say(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));


static inline void
script_say(const char *fmt, ...)
{
    size_t   len;
    va_list  args;

    len = strlen(script_trace);

    va_start(args, fmt);
    vsnprintf(script_trace + len, sizeof(script_trace) - len, fmt, args);
    va_end(args);
}


static inline ngx_int_t
script_lookup(void *data, ngx_str_t *name, ngx_str_t *value)
{
    script_t *script = data;

    size_t  len;

    len = strcspn(script->header, "=");

    if (script->header[len] == '\0' || name->len != len
        || ngx_strncasecmp(name->data, (u_char *) script->header, len) != 0)
    {
        return NGX_DECLINED;
    }

    value->data = (u_char *) script->header + len + 1;
    value->len = strlen(script->header + len + 1);

    return NGX_OK;
}


static inline int
script_reply(script_t *script)
{
    char  *p;

    p = script->pos + strspn(script->pos, " ");

    if (*p == '\0') {
        return 0;
    }

    script->pos = p + strcspn(p, " ");

    if (*script->pos) {
        *script->pos++ = '\0';
    }

    ngx_memzero(&script->outcome, sizeof(script->outcome));
    ngx_memzero(&script->reply, sizeof(script->reply));

    script->outcome.idempotent = 1;
    script->outcome.sent = 1;
    script->header[0] = '\0';

    switch (*p) {

    case 'e':
        script->outcome.outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
        return 1;

    case 't':
        script->outcome.outcome = NGX_HTTP_RETRY_CHAIN_TIMEOUT;
        return 1;

    case 'i':
        script->outcome.outcome = NGX_HTTP_RETRY_CHAIN_INVALID_HEADER;
        return 1;

    default:
        break;
    }

    script->outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    script->outcome.status = strtoul(p, &p, 10);

    script->reply.lookup = script_lookup;
    script->reply.data = script;
    script->reply.pending = 1;

    if (*p == '[') {
        snprintf(script->header, sizeof(script->header), "%s", p + 1);
        script->header[strcspn(script->header, "]")] = '\0';

    } else if (*p == '{') {
        script->json = cJSON_Parse(p);
    }

    return 1;
}


/* changes the replies */

static inline void
script_run(ngx_http_retry_chain_plan_t *plan, char *replies)
{
    script_t                         script;
    ngx_int_t                        rc;
    ngx_msec_int_t                   left;
    ngx_http_retry_chain_limits_t      limits;
    ngx_http_retry_chain_place_t     place;
    ngx_http_retry_chain_verdict_t   verdict;

    static const char  *results[] = {
        "success", "exhausted", "stopped", "unsafe", "deadline", "limited"
    };

    ngx_memzero(&script, sizeof(script));
    ngx_memzero(&place, sizeof(place));
    ngx_memzero(&limits, sizeof(limits));
    ngx_memzero(&verdict, sizeof(verdict));

    script.pos = replies;
    script_trace[0] = '\0';

    left = plan->timeout ? (ngx_msec_int_t) plan->timeout
                         : (ngx_msec_int_t) NGX_MAX_INT_T_VALUE;

    ngx_http_retry_chain_pick(plan, &place, &limits, plan->wait, left,
                              &verdict);

    while (verdict.retry) {

        if (verdict.delay) {
            script_say("%c%u ", verdict.same ? '~' : '+',
                       (unsigned) verdict.delay);
            left -= (ngx_msec_int_t) verdict.delay;
        }

        ngx_http_retry_chain_place_move(&place, &verdict);

        script_say("%s ", (char *) plan->steps[place.step].name.data);

        if (!script_reply(&script)) {
            script_say("...");
            return;
        }

        rc = ngx_http_retry_chain_decide(plan, &place, &limits, &script.outcome,
                                         &script.reply, left, 0xffffffff,
                                         &verdict);

        if (rc == NGX_AGAIN) {
            script_say("? ");

            script.reply.pending = 0;
            script.reply.json = script.json;

            rc = ngx_http_retry_chain_decide(plan, &place, &limits,
                                             &script.outcome, &script.reply,
                                             left, 0xffffffff, &verdict);
        }

        cJSON_Delete(script.json);
        script.json = NULL;

        if (rc != NGX_OK) {
            script_say("error");
            return;
        }
    }

    if (verdict.fail) {
        script_say("-> fail %s",
                   (char *) plan->states[verdict.step].error.data);

    } else {
        script_say("-> %s", results[verdict.result]);
    }
}


#endif /* _SCRIPT_H_INCLUDED_ */
