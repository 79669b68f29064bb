
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* rules of a Choice, each on a reply: does it hold? */


#include "tap.h"
#include "ngx_http_retry_chain_condition.h"
#include "ngx_http_retry_chain_machine.h"


#define HEAD  "{\"StartAt\":\"A\",\"States\":{\"A\":{\"Type\":\"Task\","      \
              "\"Resource\":\"arn:aws:lambda:r:1:function:f\","               \
              "\"Next\":\"C\"},\"S\":{\"Type\":\"Succeed\"},"                 \
              "\"C\":{\"Type\":\"Choice\",\"Default\":\"S\",\"Choices\":["
#define TAIL  "]}}}"


typedef struct {
    const char  *rule;             /* ' for " */
    ngx_uint_t   holds;            /* 1: it does, 2: the body is needed */
} case_t;


static void test_rules(void);
static void test_text(void);
static void test_times(void);
static void test_errors(void);

static ngx_http_retry_chain_condition_t *compile(const char *rule);
static ngx_int_t find_header(void *data, ngx_str_t *name, ngx_str_t *value);


static const char  body[] =
    "{\"s\":\"mango\",\"n\":7,\"f\":1.5,\"t\":true,\"o\":{\"x\":null},"
    "\"e\":\"\",\"star\":\"a*b\",\"back\":\"a\\\\b\",\"s2\":\"mango\","
    "\"m\":8,\"at\":\"2016-03-14T01:59:00Z\","
    "\"at2\":\"2016-03-14T02:59:00+01:00\",\"l\":[1,2]}";


static case_t  cases[] = {
    { "'Variable':'$.statusCode','NumericEquals':200", 1 },
    { "'Variable':'$.statusCode','NumericEquals':201", 0 },
    { "'Variable':'$.statusCode','NumericLessThan':201", 1 },
    { "'Variable':'$.statusCode','NumericLessThan':200", 0 },
    { "'Variable':'$.statusCode','NumericLessThanEquals':200", 1 },
    { "'Variable':'$.statusCode','NumericLessThanEquals':199.5", 0 },
    { "'Variable':'$.statusCode','NumericGreaterThan':199.5", 1 },
    { "'Variable':'$.statusCode','NumericGreaterThan':200", 0 },
    { "'Variable':'$.statusCode','NumericGreaterThanEquals':200", 1 },
    { "'Variable':'$.statusCode','NumericGreaterThanEquals':201", 0 },
    { "'Variable':'$.statusCode','IsNumeric':true", 1 },
    { "'Variable':'$.statusCode','IsString':false", 1 },
    { "'Variable':'$.statusCode','IsPresent':true", 1 },

    { "'Variable':'$.headers.x-kind','StringEquals':'fruit'", 1 },
    { "'Variable':'$.headers.X-Kind','StringEquals':'fruit'", 1 },
    { "'Variable':'$.headers.X-Kind','StringEquals':'Fruit'", 0 },
    { "'Variable':'$.headers.none','StringEquals':'fruit'", 0 },
    { "'Variable':'$.headers.none','IsPresent':false", 1 },
    { "'Variable':'$.headers.none','IsPresent':true", 0 },
    { "'Variable':'$.headers','IsPresent':true", 1 },

    { "'Variable':'$.body.s','StringEquals':'mango'", 3 },
    { "'Variable':'$.body.s','StringEquals':'mang'", 2 },
    { "'Variable':'$.body.s','StringEquals':'mangos'", 2 },
    { "'Variable':'$.body.s','StringLessThan':'mangos'", 3 },
    { "'Variable':'$.body.s','StringLessThan':'mango'", 2 },
    { "'Variable':'$.body.s','StringLessThanEquals':'mango'", 3 },
    { "'Variable':'$.body.s','StringLessThanEquals':'lemon'", 2 },
    { "'Variable':'$.body.s','StringGreaterThan':'lemon'", 3 },
    { "'Variable':'$.body.s','StringGreaterThan':'mango'", 2 },
    { "'Variable':'$.body.s','StringGreaterThanEquals':'mango'", 3 },
    { "'Variable':'$.body.s','StringGreaterThanEquals':'n'", 2 },
    { "'Variable':'$.body.e','StringEquals':''", 3 },
    { "'Variable':'$.body.e','StringLessThan':'a'", 3 },
    { "'Variable':'$.body.n','StringEquals':'7'", 2 },
    { "'Variable':'$.body.none','StringLessThan':'a'", 2 },
    { "'Variable':'$.body.none','StringGreaterThan':'a'", 2 },
    { "'Variable':'$.body.s','StringEqualsPath':'$.body.s2'", 3 },
    { "'Variable':'$.body.s','StringEqualsPath':'$.body.e'", 2 },
    { "'Variable':'$.body.s','StringEqualsPath':'$.body.none'", 2 },
    { "'Variable':'$.body.s','StringEqualsPath':'$.body.n'", 2 },
    { "'Variable':'$.body.s','StringGreaterThanPath':'$.body.e'", 3 },
    { "'Variable':'$.body.s','StringLessThanPath':'$.body.e'", 2 },
    { "'Variable':'$.body.s','StringLessThanEqualsPath':'$.body.s2'", 3 },
    { "'Variable':'$.body.s','StringGreaterThanEqualsPath':'$.body.s2'", 3 },

    { "'Variable':'$.body.s','StringMatches':'mango'", 3 },
    { "'Variable':'$.body.s','StringMatches':'m*o'", 3 },
    { "'Variable':'$.body.s','StringMatches':'*'", 3 },
    { "'Variable':'$.body.s','StringMatches':'*a*g*'", 3 },
    { "'Variable':'$.body.s','StringMatches':'*g*a*'", 2 },
    { "'Variable':'$.body.s','StringMatches':'m*n'", 2 },
    { "'Variable':'$.body.s','StringMatches':'mango*'", 3 },
    { "'Variable':'$.body.s','StringMatches':'mango**'", 3 },
    { "'Variable':'$.body.s','StringMatches':'ango'", 2 },
    { "'Variable':'$.body.s','StringMatches':''", 2 },
    { "'Variable':'$.body.e','StringMatches':''", 3 },
    { "'Variable':'$.body.e','StringMatches':'*'", 3 },
    { "'Variable':'$.body.star','StringMatches':'a\\\\*b'", 3 },
    { "'Variable':'$.body.star','StringMatches':'a\\\\**'", 3 },
    { "'Variable':'$.body.s','StringMatches':'m\\\\*'", 2 },
    { "'Variable':'$.body.back','StringMatches':'a\\\\\\\\b'", 3 },
    { "'Variable':'$.body.back','StringMatches':'*\\\\\\\\*'", 3 },
    { "'Variable':'$.body.star','StringMatches':'*\\\\\\\\*'", 2 },
    { "'Variable':'$.body.n','StringMatches':'*'", 2 },

    { "'Variable':'$.body.n','NumericEquals':7", 3 },
    { "'Variable':'$.body.n','NumericEquals':7.5", 2 },
    { "'Variable':'$.body.f','NumericEquals':1.5", 3 },
    { "'Variable':'$.body.s','NumericEquals':7", 2 },
    { "'Variable':'$.body.n','NumericEqualsPath':'$.body.n'", 3 },
    { "'Variable':'$.body.n','NumericLessThanPath':'$.body.m'", 3 },
    { "'Variable':'$.body.n','NumericLessThanEqualsPath':'$.body.m'", 3 },
    { "'Variable':'$.body.n','NumericGreaterThanPath':'$.body.m'", 2 },
    { "'Variable':'$.body.m','NumericGreaterThanEqualsPath':'$.body.n'", 3 },
    { "'Variable':'$.statusCode','NumericGreaterThanPath':'$.body.n'", 3 },
    { "'Variable':'$.body.n','NumericEqualsPath':'$.body.s'", 2 },

    { "'Variable':'$.body.t','BooleanEquals':true", 3 },
    { "'Variable':'$.body.t','BooleanEquals':false", 2 },
    { "'Variable':'$.body.n','BooleanEquals':true", 2 },
    { "'Variable':'$.body.t','BooleanEqualsPath':'$.body.t'", 3 },
    { "'Variable':'$.body.t','BooleanEqualsPath':'$.body.s'", 2 },

    { "'Variable':'$.body.at','TimestampEquals':'2016-03-14T01:59:00Z'", 3 },
    { "'Variable':'$.body.at','TimestampEquals':"
      "'2016-03-13T20:59:00.000-05:00'", 3 },
    { "'Variable':'$.body.at','TimestampLessThan':'2016-03-14T01:59:00.001Z'",
      3 },
    { "'Variable':'$.body.at','TimestampLessThan':'2016-03-14T01:59:00Z'", 2 },
    { "'Variable':'$.body.at','TimestampLessThanEquals':"
      "'2016-03-14T01:59:00Z'", 3 },
    { "'Variable':'$.body.at','TimestampGreaterThan':'2016-03-13T23:59:00Z'",
      3 },
    { "'Variable':'$.body.at','TimestampGreaterThanEquals':"
      "'2016-03-14T01:59:01Z'", 2 },
    { "'Variable':'$.body.at','TimestampEqualsPath':'$.body.at2'", 3 },
    { "'Variable':'$.body.at','TimestampLessThanPath':'$.body.at2'", 2 },
    { "'Variable':'$.body.at','TimestampGreaterThanPath':'$.body.at2'", 2 },
    { "'Variable':'$.body.at','TimestampLessThanEqualsPath':'$.body.at2'", 3 },
    { "'Variable':'$.body.at','TimestampGreaterThanEqualsPath':'$.body.at2'",
      3 },
    { "'Variable':'$.body.at','TimestampEqualsPath':'$.body.s'", 2 },
    { "'Variable':'$.body.s','TimestampEquals':'2016-03-14T01:59:00Z'", 2 },

    { "'Variable':'$.body.o.x','IsNull':true", 3 },
    { "'Variable':'$.body.o','IsNull':true", 2 },
    { "'Variable':'$.body.o','IsNull':false", 3 },
    { "'Variable':'$.body.none','IsNull':true", 2 },
    { "'Variable':'$.body.none','IsNull':false", 2 },
    { "'Variable':'$.body.o.x','IsPresent':true", 3 },
    { "'Variable':'$.body.o.y','IsPresent':true", 2 },
    { "'Variable':'$.body.o.y','IsPresent':false", 3 },
    { "'Variable':'$.body.n','IsNumeric':true", 3 },
    { "'Variable':'$.body.s','IsNumeric':true", 2 },
    { "'Variable':'$.body.s','IsNumeric':false", 3 },
    { "'Variable':'$.body.s','IsString':true", 3 },
    { "'Variable':'$.body.n','IsString':true", 2 },
    { "'Variable':'$.body.t','IsBoolean':true", 3 },
    { "'Variable':'$.body.s','IsBoolean':false", 3 },
    { "'Variable':'$.body.at','IsTimestamp':true", 3 },
    { "'Variable':'$.body.s','IsTimestamp':true", 2 },
    { "'Variable':'$.body.l[1]','NumericEquals':2", 3 },
    { "'Variable':'$.body.l[2]','IsPresent':true", 2 },

    { "'And':[{'Variable':'$.statusCode','NumericEquals':200},"
      "{'Variable':'$.body.n','NumericEquals':7}]", 3 },
    { "'And':[{'Variable':'$.statusCode','NumericEquals':200},"
      "{'Variable':'$.body.n','NumericEquals':8}]", 2 },
    { "'And':[{'Variable':'$.body.n','NumericEquals':7},"
      "{'Variable':'$.statusCode','NumericEquals':404}]", 0 },
    { "'Or':[{'Variable':'$.body.n','NumericEquals':8},"
      "{'Variable':'$.statusCode','NumericEquals':200}]", 1 },
    { "'Or':[{'Variable':'$.body.n','NumericEquals':8},"
      "{'Variable':'$.statusCode','NumericEquals':404}]", 2 },
    { "'Or':[{'Variable':'$.body.n','NumericEquals':7},"
      "{'Variable':'$.statusCode','NumericEquals':404}]", 3 },
    { "'Not':{'Variable':'$.statusCode','NumericEquals':200}", 0 },
    { "'Not':{'Variable':'$.body.n','NumericEquals':8}", 3 },
    { "'Not':{'Variable':'$.body.none','NumericEquals':8}", 3 },
    { "'Not':{'And':[{'Not':{'Or':[{'Variable':'$.statusCode',"
      "'NumericEquals':200}]}}]}", 1 }
};


int
main(void)
{
    test_rules();
    test_text();
    test_times();
    test_errors();

    return done_testing();
}


static void
test_rules(void)
{
    cJSON                             *json;
    size_t                             i;
    ngx_int_t                          rc;
    ngx_uint_t                         holds, needs;
    ngx_http_retry_chain_reply_t       reply;
    ngx_http_retry_chain_condition_t  *cond;

    json = cJSON_Parse(body);
    ok(json != NULL, "the body");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        holds = cases[i].holds & 1;
        needs = cases[i].holds & 2;

        cond = compile(cases[i].rule);

        if (!ok(cond != NULL, "%s", cases[i].rule)) {
            continue;
        }

        ngx_memzero(&reply, sizeof(reply));

        reply.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
        reply.status = 200;
        reply.lookup = find_header;
        reply.pending = 1;

        rc = ngx_http_retry_chain_condition_test(cond, &reply);

        if (needs) {
            is_int(rc, NGX_AGAIN, "needs the body");
            ok(ngx_http_retry_chain_condition_body(cond), "as it says");
        }

        reply.pending = 0;
        reply.json = json;

        if (!needs) {
            is_int(rc, holds ? NGX_OK : NGX_DECLINED, "needs no body");
        }

        is_int(ngx_http_retry_chain_condition_test(cond, &reply),
               holds ? NGX_OK : NGX_DECLINED, "%s",
               holds ? "holds" : "does not hold");

        /* without a body nothing of it is there */

        reply.json = NULL;

        ok(ngx_http_retry_chain_condition_test(cond, &reply) != NGX_AGAIN,
           "is known without a body");
    }

    cJSON_Delete(json);
}


/* the whole body is a string, as a function would hand it on */

static void
test_text(void)
{
    ngx_http_retry_chain_reply_t       reply;
    ngx_http_retry_chain_condition_t  *cond;

    ngx_memzero(&reply, sizeof(reply));

    reply.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    reply.status = 200;
    ngx_str_set(&reply.body, "{\"error\": \"rate limit\"}");

    cond = compile("'Variable':'$.body','StringMatches':'*rate limit*'");

    is_int(ngx_http_retry_chain_condition_test(cond, &reply), NGX_OK,
           "a text that is no JSON");

    reply.json = cJSON_Parse("{\"error\": \"rate limit\"}");

    is_int(ngx_http_retry_chain_condition_test(cond, &reply), NGX_OK,
           "the text of an object");
    is_int(ngx_http_retry_chain_condition_test(
                         compile("'Variable':'$.body','IsString':true"),
                         &reply),
           NGX_OK, "is a string");

    reply.body.len = 0;

    is_int(ngx_http_retry_chain_condition_test(cond, &reply), NGX_DECLINED,
           "if it is given");
    is_int(ngx_http_retry_chain_condition_test(
                         compile("'Variable':'$.body','IsPresent':true"),
                         &reply),
           NGX_OK, "but present");

    cJSON_Delete(reply.json);
    reply.json = NULL;

    is_int(ngx_http_retry_chain_condition_test(
                         compile("'Variable':'$.body','IsPresent':true"),
                         &reply),
           NGX_DECLINED, "unlike one that is not there");
}


static void
test_times(void)
{
    size_t     i;
    int64_t    time;
    ngx_str_t  text;

    static struct {
        const char  *text;
        int64_t      seconds;      /* -1: none */
        int64_t      nano;
    } times[] = {
        { "1970-01-01T00:00:00Z", 0, 0 },
        { "1970-01-01T00:00:01.5Z", 1, 500000000 },
        { "2000-02-29T12:00:00Z", 951825600, 0 },
        { "2016-03-14T01:59:00Z", 1457920740, 0 },
        { "2024-12-31T23:59:59.123456789Z", 1735689599, 123456789 },
        { "2024-12-31T23:59:59.1234567891Z", 1735689599, 123456789 },
        { "2100-03-01T00:00:00Z", 4107542400, 0 },
        { "2016-03-14T02:59:00+01:00", 1457920740, 0 },
        { "2016-03-13T20:29:00-05:30", 1457920740, 0 },
        { "2016-06-30T23:59:60Z", 1467331200, 0 },

        { "", -1, 0 },
        { "2016", -1, 0 },
        { "2016-03-14", -1, 0 },
        { "2016-03-14T01:59:00", -1, 0 },
        { "2016-03-14t01:59:00Z", -1, 0 },
        { "2016-03-14T01:59:00z", -1, 0 },
        { "2016-03-14 01:59:00Z", -1, 0 },
        { "2016-03-14T01:59:00ZZ", -1, 0 },
        { "2016-03-14T01:59:00.Z", -1, 0 },
        { "2016-03-14T01:59Z", -1, 0 },
        { "2016-13-14T01:59:00Z", -1, 0 },
        { "2016-00-14T01:59:00Z", -1, 0 },
        { "2016-02-30T01:59:00Z", -1, 0 },
        { "2015-02-29T01:59:00Z", -1, 0 },
        { "1900-02-29T01:59:00Z", -1, 0 },
        { "2016-03-00T01:59:00Z", -1, 0 },
        { "2016-03-14T24:00:00Z", -1, 0 },
        { "2016-03-14T23:60:00Z", -1, 0 },
        { "2016-03-14T23:00:61Z", -1, 0 },
        { "2016-03-14T23:00:00+1:00", -1, 0 },
        { "2016-03-14T23:00:00+01", -1, 0 },
        { "2016-03-14T23:00:00+24:00", -1, 0 },
        { "2016-03-14T23:00:00+01:60", -1, 0 },
        { "2016-03-14T23:00:00*01:00", -1, 0 },
        { "0001-03-14T23:00:00Z", -1, 0 },
        { "9999-03-14T23:00:00Z", -1, 0 }
    };

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        text.data = (u_char *) times[i].text;
        text.len = strlen(times[i].text);
        time = 0;

        if (times[i].seconds == -1) {
            is_int(ngx_http_retry_chain_condition_time(&text, &time),
                   NGX_DECLINED, "not \"%s\"", times[i].text);
            continue;
        }

        is_int(ngx_http_retry_chain_condition_time(&text, &time), NGX_OK,
               "%s", times[i].text);
        is_int(time, times[i].seconds * 1000000000 + times[i].nano,
               "its time");
    }
}


static void
test_errors(void)
{
    u_char                        buf[32];
    size_t                        i;
    ngx_str_t                     name;
    ngx_http_retry_chain_reply_t  reply;

    static struct {
        ngx_uint_t   outcome;
        unsigned     http;
        const char  *name;
    } errors[] = {
        { NGX_HTTP_RETRY_CHAIN_ERROR, 0, "Lambda.SdkClientException" },
        { NGX_HTTP_RETRY_CHAIN_INVALID_HEADER, 0, "Lambda.ServiceException" },
        { NGX_HTTP_RETRY_CHAIN_TIMEOUT, 0, "States.Timeout" },
        { NGX_HTTP_RETRY_CHAIN_ERROR, 1, "States.Http.Socket" },
        { NGX_HTTP_RETRY_CHAIN_INVALID_HEADER, 1, "States.Http.Socket" },
        { NGX_HTTP_RETRY_CHAIN_TIMEOUT, 1, "States.Timeout" },
        { NGX_HTTP_RETRY_CHAIN_REPLY, 1, "States.Http.StatusCode.503" }
    };

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        ngx_memzero(&reply, sizeof(reply));

        reply.outcome = errors[i].outcome;
        reply.http = errors[i].http;
        reply.status = 503;

        ngx_http_retry_chain_condition_error(&reply, buf, &name);
        is_str(&name, errors[i].name, "error %u", (unsigned) i);
    }
}


static ngx_http_retry_chain_condition_t *
compile(const char *rule)
{
    char                                    *p, machine[1024];
    ngx_str_t                                text;
    ngx_http_retry_chain_plan_t              plan;
    ngx_http_retry_chain_machine_result_t    result;
    ngx_http_retry_chain_machine_options_t   options;

    snprintf(machine, sizeof(machine), HEAD "{%s,'Next':'S'}" TAIL, rule);

    for (p = machine; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }

    text.data = (u_char *) machine;
    text.len = strlen(machine);

    ngx_memzero(&plan, sizeof(plan));
    ngx_memzero(&options, sizeof(options));

    if (ngx_http_retry_chain_machine_compile(tap_pool(), &text, &options,
                                             &plan, &result)
        != NGX_OK)
    {
        printf("# %.*s\n", (int) result.error.len, result.error.data);
        return NULL;
    }

    return plan.states[1].branches[0].condition;
}


static ngx_int_t
find_header(void *data, ngx_str_t *name, ngx_str_t *value)
{
    if (name->len != 6
        || ngx_strncasecmp(name->data, (u_char *) "x-kind", 6) != 0)
    {
        return NGX_DECLINED;
    }

    ngx_str_set(value, "fruit");

    return NGX_OK;
}
