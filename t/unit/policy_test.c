
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include "tap.h"
#include "ngx_http_retry_chain_policy.h"


#define NO_DEADLINE  ((ngx_msec_int_t) NGX_MAX_INT_T_VALUE)


static void test_backoff(void);
static void test_backoff_random(void);
static void test_rules(void);
static void test_safety(void);
static void test_deadline(void);
static void test_runs(void);

static void make_plan(void);
static void reply(ngx_uint_t status);
static void failure(ngx_uint_t outcome);
static void decide(ngx_msec_int_t left);
static void add_codes(ngx_http_retry_chain_codes_t *codes, char *text);


static ngx_http_retry_chain_plan_t     plan;
static ngx_http_retry_chain_step_t     steps[NGX_HTTP_RETRY_CHAIN_MAX_STEPS];
static ngx_http_retry_chain_rule_t     rules[NGX_HTTP_RETRY_CHAIN_MAX_RULES];
static ngx_http_retry_chain_place_t    place;
static ngx_http_retry_chain_outcome_t  outcome;
static ngx_http_retry_chain_verdict_t  verdict;
static ngx_http_retry_chain_limits_t     limits;


int
main(void)
{
    test_backoff();
    test_backoff_random();
    test_rules();
    test_safety();
    test_deadline();
    test_runs();

    return done_testing();
}


static void
test_backoff(void)
{
    ngx_uint_t                   k;
    ngx_http_retry_chain_rule_t  rule;

    static ngx_msec_t  seed[] = { 2000, 4000, 8000, 16000, 32000, 60000 };
    static ngx_msec_t  small[] = { 1, 1, 2, 3, 5, 7, 11 };

    ngx_memzero(&rule, sizeof(rule));

    rule.interval = 2000;
    rule.rate = 2000;
    rule.max = 60000;

    for (k = 1; k <= 6; k++) {
        is_int(ngx_http_retry_chain_backoff(&rule, k, 0), seed[k - 1],
               "2 s, rate 2, at most 60 s: retry %d", (int) k);
    }

    rule.interval = 1;
    rule.rate = 1500;

    for (k = 1; k <= 7; k++) {
        is_int(ngx_http_retry_chain_backoff(&rule, k, 0), small[k - 1],
               "1 ms, rate 1.5: retry %d", (int) k);
    }

    rule.interval = 300;
    rule.rate = 1000;

    is_int(ngx_http_retry_chain_backoff(&rule, 99, 0), 300, "rate 1 is fixed");

    rule.interval = 0;
    rule.rate = 1000000;

    is_int(ngx_http_retry_chain_backoff(&rule, 99, 0), 0, "nothing stays it");

    rule.interval = 1000;
    rule.max = 500;

    is_int(ngx_http_retry_chain_backoff(&rule, 1, 0), 500,
           "the first delay is capped, too");

    rule.interval = NGX_HTTP_RETRY_CHAIN_MAX_TIME;
    rule.max = NGX_HTTP_RETRY_CHAIN_MAX_TIME;

    is_int(ngx_http_retry_chain_backoff(&rule, 100, 0),
           NGX_HTTP_RETRY_CHAIN_MAX_TIME, "the largest values do not wrap");

    rule.interval = 1000;
    rule.max = 60000;
    rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_FULL;

    is_int(ngx_http_retry_chain_backoff(&rule, 1, 0), 0, "full jitter from 0");
    is_int(ngx_http_retry_chain_backoff(&rule, 1, 0xffffffff), 1000,
           "full jitter up to the delay");

    rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_EQUAL;

    is_int(ngx_http_retry_chain_backoff(&rule, 1, 0), 500,
           "equal jitter from one half");
    is_int(ngx_http_retry_chain_backoff(&rule, 1, 0xffffffff), 1000,
           "equal jitter up to the delay");
}


/* properties that hold for any rule that can be configured */

static void
test_backoff_random(void)
{
    uint32_t                     random;
    ngx_uint_t                   i, k, bad;
    ngx_msec_t                   delay, last, plain;
    ngx_http_retry_chain_rule_t  rule;

    ngx_memzero(&rule, sizeof(rule));
    bad = 0;

    for (i = 0; i < 20000; i++) {
        rule.interval = noise() % (NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1);
        rule.max = noise() % (NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1);
        rule.rate = 1000 + noise() % 999001;

        if (noise() % 2) {
            rule.interval %= 5000;
            rule.rate = 1000 + noise() % 3000;
        }

        last = 0;

        for (k = 1; k <= 20; k++) {
            random = noise();

            rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_NONE;
            plain = ngx_http_retry_chain_backoff(&rule, k, random);

            bad += plain > rule.max || plain < last;
            last = plain;

            rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_FULL;
            delay = ngx_http_retry_chain_backoff(&rule, k, random);

            bad += delay > plain;

            rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_EQUAL;
            delay = ngx_http_retry_chain_backoff(&rule, k, random);

            bad += delay > plain || delay < plain / 2;
        }
    }

    is_int(bad, 0, "400000 delays: never above the cap, never falling, "
           "jitter within its bounds");
}


/*
 * The example of the States Language: errors A, B, C, B; one retrier for A and
 * B with two retries, one for C
 */

static void
test_rules(void)
{
    ngx_uint_t  i;

    static ngx_uint_t  status[] = { 501, 502, 503, 502 };
    static ngx_msec_t  wait[] = { 1000, 2000, 5000 };

    make_plan();

    plan.nsteps = 2;
    plan.nrules = 2;

    rules[0].outcomes = NGX_HTTP_RETRY_CHAIN_REPLY;
    add_codes(&rules[0].codes, "501");
    add_codes(&rules[0].codes, "502");
    rules[0].attempts = 3;
    rules[0].interval = 1000;

    rules[1].outcomes = NGX_HTTP_RETRY_CHAIN_REPLY;
    add_codes(&rules[1].codes, "503");
    rules[1].attempts = 3;
    rules[1].interval = 5000;

    for (i = 0; i < 3; i++) {
        reply(status[i]);
        decide(NO_DEADLINE);

        ok(verdict.retry && verdict.same, "retry %d is on the same step",
           (int) i + 1);
        is_int(verdict.delay, wait[i], "its delay");

        ngx_http_retry_chain_place_move(&place, &verdict);
    }

    reply(status[3]);
    decide(NO_DEADLINE);

    ok(verdict.retry && !verdict.same,
       "the fourth error finds the first rule exhausted");

    ngx_http_retry_chain_place_move(&place, &verdict);

    is_int(place.step, 1, "the next step");
    is_int(place.tries, 1, "counts its own tries");
    is_int(place.retries[0] + place.retries[1], 0, "and the rules', too");

    reply(404);
    decide(NO_DEADLINE);

    ok(!verdict.retry, "no rule, no step");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_EXHAUSTED, "is the end");

    failure(NGX_HTTP_RETRY_CHAIN_ERROR);
    decide(NO_DEADLINE);

    ok(!verdict.retry, "a rule for replies is none for errors");

    rules[1].any = 1;
    reply(404);
    decide(NO_DEADLINE);

    ok(verdict.retry && verdict.rule == 1, "any status");

    steps[1].attempts = 1;
    decide(NO_DEADLINE);

    ok(!verdict.retry, "attempts= of the step is a cap");
}


static void
test_safety(void)
{
    ngx_uint_t  i, j;

    static ngx_uint_t  statuses[] = { 429, 500, 502, 503, 504, 404 };
    static ngx_uint_t  outcomes[] = {
        NGX_HTTP_RETRY_CHAIN_ERROR,
        NGX_HTTP_RETRY_CHAIN_TIMEOUT,
        NGX_HTTP_RETRY_CHAIN_INVALID_HEADER
    };

    for (i = 0; i < 3; i++) {
        make_plan();
        plan.non_idempotent = i;

        for (j = 0; j < 6; j++) {
            reply(statuses[j]);
            outcome.idempotent = 0;
            decide(NO_DEADLINE);

            is_int(verdict.retry,
                   i == NGX_HTTP_RETRY_CHAIN_UNSAFE_ON
                   || (i == NGX_HTTP_RETRY_CHAIN_UNSAFE_SAFE && j == 0),
                   "mode %d, POST, status %d", (int) i, (int) statuses[j]);

            if (!verdict.retry) {
                is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_UNSAFE, "why");
            }

            outcome.cached = 1;
            decide(NO_DEADLINE);

            is_int(verdict.retry, i == NGX_HTTP_RETRY_CHAIN_UNSAFE_ON,
                   "from a cache, after a call");

            outcome.keyed = 1;
            decide(NO_DEADLINE);

            is_int(verdict.retry, i != NGX_HTTP_RETRY_CHAIN_UNSAFE_OFF,
                   "with a key");

            outcome.idempotent = 1;
            outcome.keyed = 0;
            decide(NO_DEADLINE);

            ok(verdict.retry, "GET always is");
        }

        for (j = 0; j < 3; j++) {
            failure(outcomes[j]);
            outcome.idempotent = 0;
            decide(NO_DEADLINE);

            is_int(verdict.retry, i == NGX_HTTP_RETRY_CHAIN_UNSAFE_ON,
                   "mode %d, POST was sent, outcome %d", (int) i, (int) j);

            outcome.sent = 0;
            decide(NO_DEADLINE);

            is_int(verdict.retry, i != NGX_HTTP_RETRY_CHAIN_UNSAFE_OFF,
                   "mode %d, POST was not sent, outcome %d", (int) i, (int) j);
        }
    }
}


static void
test_deadline(void)
{
    make_plan();

    steps[1].wait = 5000;
    reply(503);

    decide(5001);
    ok(verdict.retry && verdict.delay == 5000, "a wait that ends in time");

    decide(5000);
    ok(!verdict.retry, "a wait that does not is not begun");
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_DEADLINE, "why");

    steps[1].wait = 0;
    decide(0);
    ok(!verdict.retry, "nothing starts at the deadline");

    decide(-10);
    ok(!verdict.retry, "nor after it");

    plan.nrules = 1;
    rules[0].outcomes = NGX_HTTP_RETRY_CHAIN_REPLY;
    rules[0].any = 1;
    rules[0].attempts = 3;
    rules[0].interval = 2000;

    decide(1000);
    ok(verdict.retry && !verdict.same && verdict.delay == 0,
       "if a backoff does not fit, the next step may");

    steps[1].wait = 1500;
    decide(1000);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_DEADLINE,
       "or not");

    reply(200);
    decide(-10);
    ok(!verdict.retry && verdict.result == NGX_HTTP_RETRY_CHAIN_SUCCESS,
       "a late success is one");

    add_codes(&plan.stop, "404");
    reply(404);
    decide(NO_DEADLINE);
    is_int(verdict.result, NGX_HTTP_RETRY_CHAIN_STOPPED, "a final failure");
}


/* any plan, any outcomes: a run ends within what the plan allows */

static void
test_runs(void)
{
    ngx_uint_t  i, j, n, bad, unfinished;

    bad = 0;
    unfinished = 0;

    for (i = 0; i < 20000; i++) {
        make_plan();

        plan.nsteps = 1 + noise() % NGX_HTTP_RETRY_CHAIN_MAX_STEPS;
        plan.nrules = noise() % 4;

        for (j = 0; j < plan.nsteps; j++) {
            steps[j].attempts = noise() % 4;
            steps[j].wait = noise() % 1000;
        }

        for (j = 0; j < plan.nrules; j++) {
            rules[j].outcomes = 1 + noise() % 15;
            rules[j].any = noise() % 2;
            rules[j].attempts = 1 + noise() % 4;
            rules[j].interval = noise() % 1000;
            rules[j].jitter = noise() % 3;
        }

        (void) ngx_http_retry_chain_plan_init(&plan);

        for (n = 1; n <= plan.attempts; n++) {
            reply(400 + noise() % 200);
            outcome.outcome = 1 << noise() % 4;

            decide(NO_DEADLINE);

            if (!verdict.retry) {
                bad += verdict.result != NGX_HTTP_RETRY_CHAIN_EXHAUSTED;
                break;
            }

            bad += verdict.delay > 60000;

            ngx_http_retry_chain_place_move(&place, &verdict);

            bad += place.step >= plan.nsteps;
        }

        unfinished += n > plan.attempts;
    }

    is_int(bad, 0, "20000 runs stay within their plans");
    is_int(unfinished, 0, "and end after the attempts that it counts");
}


static void
make_plan(void)
{
    ngx_uint_t  i;

    ngx_memzero(&plan, sizeof(plan));
    ngx_memzero(steps, sizeof(steps));
    ngx_memzero(rules, sizeof(rules));
    ngx_memzero(&place, sizeof(place));

    plan.steps = steps;
    plan.nsteps = 2;
    plan.rules = rules;

    add_codes(&plan.success, "2xx");
    add_codes(&plan.success, "3xx");

    for (i = 0; i < NGX_HTTP_RETRY_CHAIN_MAX_RULES; i++) {
        rules[i].attempts = 1;
        rules[i].rate = 2000;
        rules[i].max = 60000;
    }

    ngx_memzero(&limits, sizeof(limits));

    plan.retry_after.max = 60000;

    place.tries = 1;
    place.used = 1;
    place.visits = 1;
}


static void
reply(ngx_uint_t status)
{
    ngx_memzero(&outcome, sizeof(outcome));

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome.status = status;
    outcome.idempotent = 1;
    outcome.sent = 1;
}


static void
failure(ngx_uint_t what)
{
    reply(502);
    outcome.outcome = what;
}


static void
decide(ngx_msec_int_t left)
{
    (void) ngx_http_retry_chain_decide(&plan, &place, &limits, &outcome, NULL,
                                       left, noise(), &verdict);
}


static void
add_codes(ngx_http_retry_chain_codes_t *codes, char *text)
{
    ngx_str_t  str;

    str.data = (u_char *) text;
    str.len = ngx_strlen(text);

    (void) ngx_http_retry_chain_codes_add(codes, &str);
}
