
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* where a run goes when upstreams are limited */


#include "tap.h"
#include "ngx_http_retry_chain_policy.h"


#define NO_DEADLINE  ((ngx_msec_int_t) NGX_MAX_INT_T_VALUE)

#define FIRST        NGX_HTTP_RETRY_CHAIN_REASON_FIRST
#define STEP         NGX_HTTP_RETRY_CHAIN_REASON_STEP
#define BACKOFF      NGX_HTTP_RETRY_CHAIN_REASON_BACKOFF
#define HINT         NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER
#define SLOT         NGX_HTTP_RETRY_CHAIN_REASON_RATE

#define EXHAUSTED    NGX_HTTP_RETRY_CHAIN_EXHAUSTED
#define DEADLINE     NGX_HTTP_RETRY_CHAIN_DEADLINE
#define LIMITED      NGX_HTTP_RETRY_CHAIN_LIMITED


static void test_first(void);
static void test_left(void);
static void test_limited(void);
static void test_hints(void);
static void test_deadline(void);
static void test_positions(void);
static void test_rotation(void);
static void test_same(void);

static void make_ways(ngx_uint_t n, ngx_msec_t first, ngx_msec_t second,
    ngx_msec_t third);
static void move(void);
static void decide(ngx_msec_int_t left);
static void pick(ngx_msec_int_t left);
static void is_sent(ngx_uint_t step, ngx_msec_t delay, ngx_uint_t reason,
    const char *name);
static void is_end(ngx_uint_t result, const char *name);


static ngx_http_retry_chain_plan_t     plan;
static ngx_http_retry_chain_step_t     steps[NGX_HTTP_RETRY_CHAIN_MAX_STEPS];
static ngx_http_retry_chain_rule_t     rules[1];
static ngx_http_retry_chain_place_t    place;
static ngx_http_retry_chain_outcome_t  outcome;
static ngx_http_retry_chain_verdict_t  verdict;
static ngx_http_retry_chain_limits_t     limits;


int
main(void)
{
    test_first();
    test_left();
    test_limited();
    test_hints();
    test_deadline();
    test_positions();
    test_rotation();
    test_same();

    return done_testing();
}


/* an upstream that is limited is left out for a while, not used up */

static void
test_first(void)
{
    make_ways(3, 0, 0, 0);
    pick(NO_DEADLINE);
    is_sent(0, 0, FIRST, "the first of three that are free");

    limits.delay[0] = 500;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "the first that is free");

    move();

    ok(place.used == 2 && place.step == 1 && place.visits == 1
       && place.tries == 1,
       "only the one that is tried is used");

    decide(NO_DEADLINE);
    is_sent(2, 0, STEP, "the one that is limited is skipped again");

    limits.delay[0] = 0;
    decide(NO_DEADLINE);
    is_sent(0, 0, STEP, "when it is free, the run comes back to it");

    move();

    limits.delay[2] = 1;
    decide(NO_DEADLINE);
    is_sent(2, 1, SLOT, "one is left, and is limited");

    move();
    decide(NO_DEADLINE);
    is_end(EXHAUSTED, "none is left");
}


/* a burst that is full is not refilled, so one with more left goes first */

static void
test_left(void)
{
    make_ways(3, 0, 0, 0);

    limits.left[0] = 5;
    limits.left[1] = 7;
    limits.left[2] = 7;
    pick(NO_DEADLINE);
    is_sent(0, 0, FIRST, "two calls more are no reason");

    limits.left[2] = 8;
    pick(NO_DEADLINE);
    is_sent(2, 0, FIRST, "three are");

    limits.left[1] = 8;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "of two with as many the first");

    limits.left[2] = 10;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "and of two with about as many");

    limits.delay[1] = 1;
    pick(NO_DEADLINE);
    is_sent(2, 0, FIRST, "a limited one has none");

    place.first = 1;
    limits.delay[1] = 0;
    limits.left[0] = 9;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "by turns, too");

    limits.left[0] = 11;
    pick(NO_DEADLINE);
    is_sent(0, 0, FIRST, "if it is not far behind");

    limits.left[1] = 0;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "one without a burst goes in its turn");

    limits.delay[0] = limits.delay[1] = limits.delay[2] = 100;
    limits.delay[1] = 99;
    pick(NO_DEADLINE);
    is_sent(1, 99, SLOT, "without a free one it does not matter");
}


static void
test_limited(void)
{
    make_ways(3, 900, 300, 700);
    pick(NO_DEADLINE);
    is_sent(1, 300, SLOT, "wait: for the one that is free first");

    limits.delay[2] = 300;
    pick(NO_DEADLINE);
    is_sent(1, 300, SLOT, "of two equal ones the first");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "next: the one that is free first, at once");

    limits.blocked = 7;
    plan.retry_after.max = 100;
    pick(NO_DEADLINE);
    is_sent(1, 0, FIRST, "next: whatever a hint has said");

    make_ways(3, 0, 300, 200);
    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT;
    steps[1].wait = 50;
    pick(NO_DEADLINE);
    move();
    decide(NO_DEADLINE);
    is_sent(2, 50, STEP, "next: after the wait of its position");

    decide(50);
    is_end(DEADLINE, "next: a wait that is too long");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL;
    decide(NO_DEADLINE);
    is_end(LIMITED, "fail: all that are left are limited");

    limits.delay[2] = 50;
    decide(NO_DEADLINE);
    is_sent(2, 50, STEP, "fail: but not after the wait of the position");

    make_ways(3, 1, 1, 1);
    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL;
    pick(NO_DEADLINE);
    is_end(LIMITED, "fail: all are limited");
}


static void
test_hints(void)
{
    make_ways(3, 60001, 60002, 60003);
    limits.blocked = 1;
    pick(NO_DEADLINE);
    is_sent(1, 60002, SLOT, "a limiter is waited for, a longer hint is not");

    limits.blocked = 7;
    pick(NO_DEADLINE);
    is_end(LIMITED, "nor are three of them");

    limits.delay[2] = 60000;
    pick(NO_DEADLINE);
    is_sent(2, 60000, HINT, "a hint of just max is");

    limits.delay[0] = 0;
    pick(NO_DEADLINE);
    is_sent(0, 0, FIRST, "what is free needs no wait");

    make_ways(2, 0, 200, 0);
    plan.retry_after.max = 100;
    limits.blocked = 2;
    steps[1].wait = 200;
    pick(NO_DEADLINE);
    move();
    decide(NO_DEADLINE);
    is_sent(1, 200, STEP, "a hint is over after the wait of the position");

    steps[1].wait = 199;
    decide(NO_DEADLINE);
    is_end(LIMITED, "or it is not");
}


static void
test_deadline(void)
{
    make_ways(2, 800, 500, 0);
    pick(501);
    is_sent(1, 500, SLOT, "a limiter that comes in time");

    pick(500);
    is_end(LIMITED, "a limiter that does not");

    limits.blocked = 2;
    pick(501);
    is_sent(1, 500, HINT, "a hint that ends in time");

    pick(500);
    is_end(LIMITED, "a hint that does not");

    pick(0);
    is_end(LIMITED, "all are limited at the deadline");

    plan.margin = 20;
    pick(520);
    is_end(LIMITED, "a hard deadline needs time for the attempt");

    pick(521);
    is_sent(1, 500, HINT, "so much of it");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT;
    pick(1);
    is_sent(1, 0, FIRST, "it is for those who wait");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT;
    limits.delay[0] = 0;
    pick(1);
    is_sent(0, 0, FIRST, "the last millisecond");

    pick(0);
    is_end(DEADLINE, "one is free at the deadline");

    pick(-1);
    is_end(DEADLINE, "or after it");
}


/* the n-th visit waits what the n-th step says, whichever it goes to */

static void
test_positions(void)
{
    make_ways(3, 0, 40, 0);

    steps[0].wait = 10;
    steps[1].wait = 20;
    steps[2].wait = 30;

    pick(NO_DEADLINE);
    is_sent(0, 0, FIRST, "nothing is waited for at first");
    move();
    decide(NO_DEADLINE);
    is_sent(2, 20, STEP, "the second position is the third step");
    move();
    decide(NO_DEADLINE);
    is_sent(1, 40, SLOT, "the third is the second step, with its limiter");

    limits.delay[1] = 30;
    decide(NO_DEADLINE);
    is_sent(1, 30, STEP, "or with the wait of the position");
    move();

    is_int(ngx_http_retry_chain_place_wait(&plan, &place), 0,
           "there is no fourth");
}


static void
test_rotation(void)
{
    ngx_uint_t  i, k, wrong;

    make_ways(3, 0, 0, 0);

    /* four with an address, two locations */

    plan.nsteps = 6;
    steps[4].location = 1;
    steps[5].location = 1;

    wrong = 0;

    for (i = 0; i < 8; i++) {
        ngx_memzero(&place, sizeof(place));
        place.first = i;

        for (k = 0; k < 6; k++) {
            pick(NO_DEADLINE);
            wrong += !verdict.retry
                     || verdict.step != (k < 4 ? (i + k) % 4 : k);
            move();
        }

        pick(NO_DEADLINE);
        wrong += verdict.retry;
    }

    is_int(wrong, 0, "steps take turns, locations stay at the end");

    ngx_memzero(&place, sizeof(place));
    place.first = 2;
    limits.delay[2] = 10;
    pick(NO_DEADLINE);
    is_sent(3, 0, FIRST, "a limited one loses its turn");

    limits.delay[3] = limits.delay[0] = limits.delay[1] = 10;
    pick(NO_DEADLINE);
    is_sent(4, 0, FIRST, "a location is the last resort");

    limits.delay[4] = limits.delay[5] = 10;
    pick(NO_DEADLINE);
    is_sent(2, 10, SLOT, "of equal ones the one whose turn it is");

    make_ways(2, 0, 0, 0);
    steps[0].location = 1;
    place.first = 1;
    pick(NO_DEADLINE);
    is_sent(0, 0, FIRST, "steps behind a location keep their places");
}


/* a rule on an upstream that is limited waits for the later of both */

static void
test_same(void)
{
    make_ways(2, 300, 0, 0);

    plan.nrules = 1;
    rules[0].outcomes = NGX_HTTP_RETRY_CHAIN_REPLY;
    rules[0].any = 1;
    rules[0].attempts = 3;
    rules[0].interval = 200;
    rules[0].max = 200;

    place.used = place.visits = place.tries = 1;

    decide(NO_DEADLINE);
    ok(verdict.same, "the same step, when it is free again");
    is_sent(0, 300, SLOT, "later than the backoff");

    limits.blocked = 1;
    decide(301);
    is_sent(0, 300, HINT, "because of a hint");

    decide(300);
    is_sent(1, 0, STEP, "not in time: the next one");

    plan.margin = 20;
    decide(320);
    is_sent(1, 0, STEP, "nor before a hard deadline");

    decide(321);
    is_sent(0, 300, HINT, "or just so");

    limits.delay[0] = 200;
    decide(NO_DEADLINE);
    is_sent(0, 200, BACKOFF, "a backoff as long as that");

    limits.delay[0] = 60001;
    decide(NO_DEADLINE);
    is_sent(1, 0, STEP, "a hint longer than max: the next one");

    limits.blocked = 0;
    decide(NO_DEADLINE);
    is_sent(0, 60001, SLOT, "a limiter has no max");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL;
    decide(NO_DEADLINE);
    is_sent(1, 0, STEP, "fail: the next one");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT;
    decide(NO_DEADLINE);
    is_sent(0, 200, BACKOFF, "next: the backoff only");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT;
    plan.nrules = 0;
    steps[0].attempts = 2;
    decide(NO_DEADLINE);
    ok(verdict.same, "attempts= without a rule");
    is_sent(0, 60001, SLOT, "waits for the limiter");

    place.used = 3;
    decide(60001);
    is_end(LIMITED, "in time only, if no other step is left");

    limits.delay[0] = 0;
    decide(0);
    is_end(DEADLINE, "what is free is too late for another reason");

    limits.delay[0] = 60001;
    limits.blocked = 1;
    decide(NO_DEADLINE);
    is_end(LIMITED, "a hint that is too long");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL;
    limits.blocked = 0;
    decide(NO_DEADLINE);
    is_end(LIMITED, "fail, and no other step is left");

    place.tries = 2;
    decide(NO_DEADLINE);
    is_end(EXHAUSTED, "no try is left");

    plan.limited = NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT;
    place.tries = 1;

    outcome.idempotent = 0;
    decide(NO_DEADLINE);
    is_end(NGX_HTTP_RETRY_CHAIN_UNSAFE, "what is not safe is not repeated");
}


/*
 * a run that has not been anywhere yet, and the first three limits of its plan;
 * a failure is a 503
 */

static void
make_ways(ngx_uint_t n, ngx_msec_t first, ngx_msec_t second, ngx_msec_t third)
{
    ngx_memzero(&plan, sizeof(plan));
    ngx_memzero(steps, sizeof(steps));
    ngx_memzero(rules, sizeof(rules));
    ngx_memzero(&place, sizeof(place));
    ngx_memzero(&limits, sizeof(limits));
    ngx_memzero(&outcome, sizeof(outcome));

    plan.steps = steps;
    plan.nsteps = n;
    plan.rules = rules;
    plan.retry_after.max = 60000;

    limits.delay[0] = first;
    limits.delay[1] = second;
    limits.delay[2] = third;

    outcome.outcome = NGX_HTTP_RETRY_CHAIN_REPLY;
    outcome.status = 503;
    outcome.idempotent = 1;
    outcome.sent = 1;
}


static void
move(void)
{
    ngx_http_retry_chain_place_move(&place, &verdict);
}


/* what was there before must not matter */

static void
decide(ngx_msec_int_t left)
{
    memset(&verdict, 0xff, sizeof(verdict));

    (void) ngx_http_retry_chain_decide(&plan, &place, &limits, &outcome, NULL,
                                       left, 0, &verdict);
}


static void
pick(ngx_msec_int_t left)
{
    memset(&verdict, 0xff, sizeof(verdict));

    ngx_http_retry_chain_pick(&plan, &place, &limits,
                              ngx_http_retry_chain_place_wait(&plan, &place),
                              left, &verdict);
}


static void
is_sent(ngx_uint_t step, ngx_msec_t delay, ngx_uint_t reason, const char *name)
{
    ok(verdict.retry && verdict.step == step && verdict.delay == delay
       && verdict.reason == reason,
       "%s: step %d, delay %d, reason %d", name, (int) step, (int) delay,
       (int) reason);
}


static void
is_end(ngx_uint_t result, const char *name)
{
    ok(!verdict.retry && !verdict.same && verdict.delay == 0
       && verdict.result == result,
       "%s: result %d", name, (int) result);
}
