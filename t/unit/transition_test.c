
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* verdicts of a plan that has states, and what a JSON body has to do with it */


#include "tap.h"
#include "ngx_http_retry_chain_json.h"
#include "ngx_http_retry_chain_machine.h"
#include "ngx_http_retry_chain_policy.h"


#define SEED         "conf/state-machine.json"
#define MACHINE_LEN  (64 * 1024)
#define DEADLINE     60000

#define FUNCTION     "\"Type\":\"Task\","                                     \
                     "\"Resource\":\"arn:aws:lambda:r:1:function:f\""


static void test_options(void);
static void test_limited(void);
static void test_same_limited(void);
static void test_unsafe(void);
static void test_pending(void);
static void test_json(void);

static void load(const char *name);
static void compile(const char *text);
static void begin(void);
static ngx_int_t decide(ngx_uint_t status, ngx_http_retry_chain_reply_t *known,
    ngx_msec_int_t left);


static ngx_http_retry_chain_plan_t     plan;
static ngx_http_retry_chain_place_t    place;
static ngx_http_retry_chain_limits_t     limits;
static ngx_http_retry_chain_outcome_t  outcome;
static ngx_http_retry_chain_reply_t    reply;
static ngx_http_retry_chain_verdict_t  verdict;

static ngx_http_retry_chain_machine_options_t  options;


int
main(void)
{
    test_options();
    test_limited();
    test_same_limited();
    test_unsafe();
    test_pending();
    test_json();

    return done_testing();
}


static void
test_options(void)
{
    ngx_uint_t  i;

    static const char  *texts[] = {
        "{\"StartAt\":\"A\",\"States\":{\"A\":{" FUNCTION ",\"End\":true}}}",
        "{\"TimeoutSeconds\":10,\"StartAt\":\"A\",\"States\":{\"A\":"
            "{" FUNCTION ",\"End\":true}}}"
    };

    static struct {
        ngx_msec_t  deadline;
        unsigned    hard;
        ngx_uint_t  machine;
        ngx_msec_t  timeout;
        unsigned    result;
    } cases[] = {
        { 60000, 0, 0, 60000, 0 },
        { 60000, 1, 0, 60000, 1 },
        { 0, 0, 0, 0, 0 },
        { 60000, 0, 1, 10000, 1 },
        { 60000, 1, 1, 10000, 1 },
        { 5000, 1, 1, 5000, 1 },
        { 5000, 0, 1, 10000, 1 },
        { 0, 0, 1, 10000, 1 }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        options.deadline = cases[i].deadline;
        options.hard = cases[i].hard;

        compile(texts[cases[i].machine]);
        is_int(plan.timeout, cases[i].timeout, "the timeout");
        is_int(plan.hard, cases[i].result, "whether it aborts an attempt");
    }

    options.deadline = DEADLINE;
    options.hard = 0;

    is_int(plan.fail_status, 502, "the status of a Fail");

    options.fail_status = 503;
    options.line = 7;
    ngx_str_set(&options.file, "nginx.conf");

    compile(texts[0]);

    is_int(plan.fail_status, 503, "is configured");
    is_int(plan.steps[0].line, 7, "a step knows its line");
    is_str(&plan.steps[0].file, "nginx.conf", "and its file");

    options.fail_status = 0;
}


/* where a run goes when its upstream is limited */

static void
test_limited(void)
{
    ngx_uint_t  i, used;

    static struct {
        ngx_http_retry_chain_limited_e  limited;
        ngx_msec_t                      limiters[3];
        ngx_uint_t                      used;      /* steps before */
        ngx_uint_t                      blocked;
        ngx_uint_t                      step;      /* 9: none */
        ngx_msec_t                      delay;
        ngx_uint_t                      reason;
    } cases[] = {
        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 0, 0, 0 }, 0, 0,
          0, 0, NGX_HTTP_RETRY_CHAIN_REASON_FIRST },

        /* on to the next one, after the Wait before it */

        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 9000, 0, 0 }, 0, 0,
          1, 5000, NGX_HTTP_RETRY_CHAIN_REASON_STEP },
        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 9000, 5000, 0 }, 0, 0,
          1, 5000, NGX_HTTP_RETRY_CHAIN_REASON_STEP },
        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 9000, 5001, 0 }, 0, 0,
          2, 5000, NGX_HTTP_RETRY_CHAIN_REASON_STEP },

        /* none is free: the soonest */

        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 9000, 8000, 7000 }, 0, 0,
          2, 7000, NGX_HTTP_RETRY_CHAIN_REASON_RATE },
        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 6000, 8000, 7000 }, 0, 1,
          0, 6000, NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER },

        /* not for a hint that is too long */

        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 59000, 59000, 59000 }, 0, 7,
          9, 0, NGX_HTTP_RETRY_CHAIN_REASON_FIRST },

        /* it never goes back */

        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 0, 9000, 0 }, 3, 0,
          2, 0, NGX_HTTP_RETRY_CHAIN_REASON_STEP },
        { NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT, { 0, 0, 8000 }, 7, 0,
          9, 0, NGX_HTTP_RETRY_CHAIN_REASON_STEP },

        { NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT, { 9000, 0, 0 }, 0, 0,
          0, 0, NGX_HTTP_RETRY_CHAIN_REASON_FIRST },
        { NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL, { 9000, 0, 0 }, 0, 0,
          9, 0, NGX_HTTP_RETRY_CHAIN_REASON_FIRST }
    };

    load(SEED);

    plan.retry_after.max = 30000;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ngx_memzero(&place, sizeof(place));
        ngx_memzero(&limits, sizeof(limits));
        ngx_memzero(&verdict, sizeof(verdict));

        plan.limited = cases[i].limited;
        used = cases[i].used;

        place.used = used;
        place.visits = used ? 1 : 0;

        for (place.step = 0; used >> 1; used >>= 1) {
            place.step++;
        }

        verdict.step = place.step;
        limits.blocked = cases[i].blocked;
        ngx_memcpy(limits.delay, cases[i].limiters, sizeof(cases[i].limiters));

        ngx_http_retry_chain_pick(&plan, &place, &limits, 0, DEADLINE,
                                  &verdict);

        is_int(verdict.retry ? verdict.step : 9, cases[i].step,
               "limited, case %u", (unsigned) i);

        if (verdict.retry) {
            is_int(verdict.delay, cases[i].delay, "the delay");
            is_int(verdict.reason, cases[i].reason, "its reason");

        } else {
            is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_LIMITED, "limited");
        }
    }
}


/* a retry on a step that has been limited meanwhile */

static void
test_same_limited(void)
{
    load(SEED);

    plan.retry_after.max = 30000;
    begin();
    outcome.outcome = NGX_HTTP_RETRY_CHAIN_ERROR;

    (void) decide(0, NULL, DEADLINE);
    ok(verdict.retry && verdict.same && verdict.delay == 2000, "a retry");

    limits.delay[0] = 7000;

    ok(ngx_http_retry_chain_pick_same(&plan, &limits, DEADLINE, &verdict),
       "its limiter can be waited for");
    is_int(verdict.delay, 7000, "until it is free");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL;

    ok(!ngx_http_retry_chain_pick_same(&plan, &limits, DEADLINE, &verdict),
       "or not");

    ngx_http_retry_chain_pick(&plan, &place, &limits, 0, DEADLINE, &verdict);

    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_LIMITED,
       "limited");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT;
    verdict.step = 0;

    ngx_http_retry_chain_pick(&plan, &place, &limits, 0, DEADLINE, &verdict);

    ok(verdict.retry && !verdict.same && verdict.step == 1,
       "a run goes on, as after 429");
    is_int(verdict.delay, 5000, "with the Wait between");

    /* at once, before the retry */

    limits.delay[0] = 40000;
    limits.blocked = 1;

    (void) decide(0, NULL, DEADLINE);

    ok(verdict.retry && !verdict.same && verdict.step == 1,
       "a hint that is too long leads to the next step");
}


/* the reply at hand is the answer if nothing more may be sent */

static void
test_unsafe(void)
{
    load(SEED);
    begin();

    outcome.idempotent = 0;

    is_int(decide(503, NULL, DEADLINE), NGX_OK, "a POST that was sent");
    ok(!verdict.retry, "goes to no other step");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_UNSAFE, "unsafe");

    (void) decide(429, NULL, DEADLINE);
    ok(verdict.retry && verdict.step == 1, "but after 429 it does");

    (void) decide(429, NULL, 5000);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_DEADLINE,
       "in time");

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_TIMEOUT;

    (void) decide(0, NULL, DEADLINE);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_UNSAFE,
       "nor is a retry made on it");

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_ERROR;
    outcome.sent = 0;

    (void) decide(0, NULL, DEADLINE);
    ok(verdict.retry && verdict.same, "but of what was not sent");

    (void) decide(0, NULL, 1000);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_DEADLINE,
       "in time, too");

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;

    (void) decide(200, NULL, DEADLINE);
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_SUCCESS, "a success");

    (void) decide(204, NULL, -5);
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_DEADLINE,
           "204 is none for this machine");
}


/* the body is asked for only where the verdict depends on it */

static void
test_pending(void)
{
    compile("{\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Task\","
            "\"Resource\":\"arn:aws:lambda:r:1:function:f\","
            "\"Next\":\"C\"},\"C\":{\"Type\":\"Choice\",\"Choices\":["
            "{\"Variable\":\"$.statusCode\",\"NumericEquals\":429,"
            "\"Next\":\"W\"},"
            "{\"Variable\":\"$.body.error\",\"StringEquals\":\"fatal\","
            "\"Next\":\"F\"},"
            "{\"Variable\":\"$.body.error\",\"IsPresent\":true,"
            "\"Next\":\"W\"}],\"Default\":\"S\"},"
            "\"W\":{\"Type\":\"Wait\",\"Seconds\":1,\"Next\":\"B\"},"
            "\"B\":{\"Type\":\"Task\",\"Resource\":"
            "\"arn:aws:lambda:r:1:function:g\",\"End\":true},"
            "\"F\":{\"Type\":\"Fail\",\"Error\":\"Fatal\","
            "\"Cause\":\"it said so\"},"
            "\"S\":{\"Type\":\"Succeed\"}}}");

    ok(plan.body, "the plan may need a body");

    begin();
    reply.pending = 1;

    is_int(decide(429, &reply, DEADLINE), NGX_OK, "429 decides alone");
    ok(verdict.retry && verdict.delay == 1000, "on to the next step");

    is_int(decide(200, &reply, DEADLINE), NGX_AGAIN, "200 does not");

    reply.pending = 0;

    is_int(decide(200, &reply, DEADLINE), NGX_OK, "no body can be had");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_SUCCESS, "a success");

    is_int(decide(200, NULL, DEADLINE), NGX_OK, "nothing is known");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_SUCCESS, "a success, too");

    reply.json = cJSON_Parse("{\"error\":\"busy\"}");

    is_int(decide(200, &reply, DEADLINE), NGX_OK, "an error in the body");
    ok(verdict.retry && verdict.step == 1, "leads on");

    cJSON_Delete(reply.json);
    reply.json = cJSON_Parse("{\"error\":\"fatal\"}");

    is_int(decide(200, &reply, DEADLINE), NGX_OK, "a worse one");
    ok(!verdict.retry && verdict.fail, "is a Fail");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_EXHAUSTED, "no success");
    is_str(&plan.states[verdict.step].error, "Fatal", "its Error");
    is_str(&plan.states[verdict.step].cause, "it said so", "its Cause");

    cJSON_Delete(reply.json);

    ngx_memzero(&reply, sizeof(reply));
    reply.pending = 1;
    outcome.outcome = NGX_HTTP_RETRY_CHAIN_ERROR;

    is_int(decide(0, &reply, DEADLINE), NGX_OK, "a failure has no body");
}


/* retry_chain_json of a plan that directives made */

static void
test_json(void)
{
    ngx_str_t                          args[2], text;
    ngx_http_retry_chain_step_t        steps[2];
    ngx_http_retry_chain_json_rule_t   rules[2];
    ngx_http_retry_chain_json_error_t  err;

    ngx_memzero(&plan, sizeof(plan));
    ngx_memzero(steps, sizeof(steps));

    ngx_str_set(&text, "2xx");
    (void) ngx_http_retry_chain_codes_add(&plan.success, &text);

    ngx_str_set(&args[0], "$.code");
    ngx_str_set(&args[1], "429");
    (void) ngx_http_retry_chain_json_rule(tap_pool(), args, 2, &rules[0],
                                          &err);
    ngx_str_set(&args[0], "$.error");
    (void) ngx_http_retry_chain_json_rule(tap_pool(), args, 1, &rules[1],
                                          &err);

    plan.steps = steps;
    plan.nsteps = 2;
    plan.json = rules;
    plan.njson = 2;

    begin();
    reply.pending = 1;

    is_int(decide(200, &reply, DEADLINE), NGX_AGAIN, "a success may be none");
    is_int(decide(503, &reply, DEADLINE), NGX_OK, "a failure is one");
    ok(verdict.retry && verdict.json == 0, "by its status");

    is_int(decide(200, NULL, DEADLINE), NGX_OK, "without a body");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_SUCCESS, "a success");

    reply.pending = 0;

    is_int(decide(200, &reply, DEADLINE), NGX_OK, "with one that is no JSON");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_SUCCESS, "a success");

    reply.json = cJSON_Parse("{\"code\":200}");

    is_int(decide(200, &reply, DEADLINE), NGX_OK, "with other JSON");
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_SUCCESS,
       "a success");

    cJSON_Delete(reply.json);
    reply.json = cJSON_Parse("{\"error\":\"x\",\"code\":430}");

    is_int(decide(200, &reply, DEADLINE), NGX_OK, "with an error");
    ok(verdict.retry && verdict.step == 1, "a failure");
    is_int(verdict.json, 2, "by the second rule");

    outcome.idempotent = 0;

    (void) decide(200, &reply, DEADLINE);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_UNSAFE,
       "after which a POST is not sent again");
    is_int(verdict.json, 2, "the rule is told all the same");

    plan.nsteps = 1;
    outcome.idempotent = 1;

    (void) decide(200, &reply, DEADLINE);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED,
       "and is the answer of a chain that ends");

    cJSON_Delete(reply.json);
}


static void
load(const char *name)
{
    FILE    *in;
    char    *text;
    size_t   len;

    text = calloc(1, MACHINE_LEN);
    in = fopen(name, "r");

    if (!ok(in && text, "%s", name)) {
        exit(1);
    }

    len = fread(text, 1, MACHINE_LEN - 1, in);
    text[len] = '\0';
    fclose(in);

    compile(text);
    free(text);
}


static void
compile(const char *text)
{
    ngx_str_t                              str;
    ngx_http_retry_chain_machine_result_t  result;

    str.data = (u_char *) text;
    str.len = ngx_strlen(text);

    ngx_memzero(&plan, sizeof(plan));
    ngx_http_retry_chain_retry_after_conf_init(&plan.retry_after);

    is_int(ngx_http_retry_chain_machine_compile(tap_pool(), &str, &options,
                                                &plan, &result),
           NGX_OK, "the machine");
}


/* the first attempt has been made */

static void
begin(void)
{
    ngx_memzero(&place, sizeof(place));
    ngx_memzero(&limits, sizeof(limits));
    ngx_memzero(&reply, sizeof(reply));
    ngx_memzero(&outcome, sizeof(outcome));

    place.visits = 1;
    place.used = 1;
    place.tries = 1;

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome.idempotent = 1;
    outcome.sent = 1;
}


static ngx_int_t
decide(ngx_uint_t status, ngx_http_retry_chain_reply_t *known,
    ngx_msec_int_t left)
{
    outcome.status = status;

    return ngx_http_retry_chain_decide(&plan, &place, &limits, &outcome, known,
                                       left, 0, &verdict);
}
