
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include "tap.h"
#include "ngx_http_retry_chain_plan.h"


typedef struct {
    char        *text;
    ngx_int_t    rc;
    ngx_uint_t   first;      /* the set has these and nothing else */
    ngx_uint_t   last;
} code_case_t;


typedef struct {
    char        *text;
    ngx_int_t    rc;
    ngx_msec_t   msec;
} msec_case_t;


static code_case_t  codes[] = {
    { "404", NGX_OK, 404, 404 },
    { "100", NGX_OK, 100, 100 },
    { "599", NGX_OK, 599, 599 },
    { "2xx", NGX_OK, 200, 299 },
    { "1xx", NGX_OK, 100, 199 },
    { "5xx", NGX_OK, 500, 599 },
    { "500-503", NGX_OK, 500, 503 },
    { "100-599", NGX_OK, 100, 599 },
    { "429-429", NGX_OK, 429, 429 },
    { "", NGX_DECLINED, 0, 0 },
    { "099", NGX_DECLINED, 0, 0 },
    { "600", NGX_DECLINED, 0, 0 },
    { "20", NGX_DECLINED, 0, 0 },
    { "2000", NGX_DECLINED, 0, 0 },
    { "0xx", NGX_DECLINED, 0, 0 },
    { "6xx", NGX_DECLINED, 0, 0 },
    { "xxx", NGX_DECLINED, 0, 0 },
    { "20x", NGX_DECLINED, 0, 0 },
    { "503-500", NGX_DECLINED, 0, 0 },
    { "500-600", NGX_DECLINED, 0, 0 },
    { "500-", NGX_DECLINED, 0, 0 },
    { "500_503", NGX_DECLINED, 0, 0 },
    { "-200", NGX_DECLINED, 0, 0 },
    { NULL, 0, 0, 0 }
};


static msec_case_t  times[] = {
    { "0", NGX_OK, 0 },
    { "5", NGX_OK, 5000 },
    { "5s", NGX_OK, 5000 },
    { "250ms", NGX_OK, 250 },
    { "1m30s", NGX_OK, 90000 },
    { "24d", NGX_OK, NGX_HTTP_RETRY_CHAIN_MAX_TIME },
    { "25d", NGX_DECLINED, 0 },
    { "", NGX_DECLINED, 0 },
    { "-1", NGX_DECLINED, 0 },
    { "5x", NGX_DECLINED, 0 },
    { "1.5s", NGX_DECLINED, 0 },
    { "99999999999999999999s", NGX_DECLINED, 0 },
    { NULL, 0, 0 }
};


static void test_codes(void);
static void test_times(void);
static void test_attempts(void);
static void set(ngx_str_t *str, char *text);


int
main(void)
{
    test_codes();
    test_times();
    test_attempts();

    return done_testing();
}


static void
test_codes(void)
{
    ngx_int_t                      rc;
    ngx_str_t                      text;
    ngx_uint_t                     i, status, wrong;
    ngx_http_retry_chain_codes_t   before, set1;

    for (i = 0; codes[i].text; i++) {
        ngx_memzero(&set1, sizeof(set1));
        before = set1;

        set(&text, codes[i].text);

        rc = ngx_http_retry_chain_codes_add(&set1, &text);
        is_int(rc, codes[i].rc, "\"%s\"", codes[i].text);

        if (rc != NGX_OK) {
            ok(memcmp(&before, &set1, sizeof(set1)) == 0,
               "\"%s\" leaves the set alone", codes[i].text);
            continue;
        }

        wrong = 0;

        for (status = 0; status < 1100; status++) {
            wrong += ngx_http_retry_chain_codes_test(&set1, status)
                     != (status >= codes[i].first && status <= codes[i].last);
        }

        is_int(wrong, 0, "\"%s\" is what it says", codes[i].text);
    }
}


static void
test_times(void)
{
    ngx_int_t    rc;
    ngx_str_t    text;
    ngx_uint_t   i;
    ngx_msec_t   msec;

    for (i = 0; times[i].text; i++) {
        msec = 12345;
        set(&text, times[i].text);

        rc = ngx_http_retry_chain_parse_msec(&text, &msec);
        is_int(rc, times[i].rc, "\"%s\"", times[i].text);
        is_int(msec, rc == NGX_OK ? times[i].msec : 12345, "\"%s\" is read",
               times[i].text);
    }
}


static void
test_attempts(void)
{
    ngx_http_retry_chain_plan_t  plan;
    ngx_http_retry_chain_rule_t  rules[2];
    ngx_http_retry_chain_step_t  steps[3];

    ngx_memzero(&plan, sizeof(plan));
    ngx_memzero(rules, sizeof(rules));
    ngx_memzero(steps, sizeof(steps));

    plan.steps = steps;
    plan.nsteps = 3;
    plan.rules = rules;

    is_int(ngx_http_retry_chain_plan_init(&plan), NGX_OK, "three steps");
    is_int(plan.attempts, 3, "make three attempts");

    steps[1].attempts = 5;

    is_int(ngx_http_retry_chain_plan_init(&plan), NGX_OK, "attempts=5");
    is_int(plan.attempts, 7, "without rules are made at once");

    plan.nrules = 2;
    rules[0].attempts = 3;
    rules[1].attempts = 2;

    is_int(ngx_http_retry_chain_plan_init(&plan), NGX_OK, "two rules");
    is_int(plan.attempts, 12, "allow 1 + 2 + 1 attempts for each step");

    steps[1].attempts = 2;

    is_int(ngx_http_retry_chain_plan_init(&plan), NGX_OK, "attempts=2");
    is_int(plan.attempts, 10, "with rules is a cap");

    steps[1].attempts = 0;
    rules[0].attempts = 32;
    rules[1].attempts = 2;

    is_int(ngx_http_retry_chain_plan_init(&plan), NGX_OK, "99 attempts");

    steps[0].attempts = 0;
    rules[0].attempts = 33;

    is_int(ngx_http_retry_chain_plan_init(&plan), NGX_DECLINED,
           "more than 100 attempts");
    is_int(plan.attempts, 102, "are counted all the same");
}


static void
set(ngx_str_t *str, char *text)
{
    str->data = (u_char *) text;
    str->len = ngx_strlen(text);
}
