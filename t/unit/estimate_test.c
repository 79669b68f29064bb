
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* the arithmetic of what is learned from limits */


#include "tap.h"
#include "ngx_http_retry_chain_learn.h"


#define SECOND  ((uint64_t) 1000000)
#define MOST    NGX_HTTP_RETRY_CHAIN_MAX_PACE
#define LEAST   NGX_HTTP_RETRY_CHAIN_MIN_PACE

/* where times end */

#define END     ((uint64_t) 1 << 62)


typedef struct {
    uint64_t     calls;
    uint64_t     time;
    uint64_t     block;
    uint64_t     last_calls;
    uint64_t     last_time;
    ngx_uint_t   rate;
    const char  *name;
} estimate_case_t;


static estimate_case_t  estimates[] = {
    { 40, SECOND, 3 * SECOND, 0, 0, 20000, "the mean of 40/s and 10/s" },
    { 40, SECOND, 0, 0, 0, 40000, "no block" },
    { 900, 9 * SECOND, 91 * SECOND, 0, 0, 30000, "the mean of 100/s and 9/s" },

    /* a bucket of 20 that is filled at 20/s */

    { 60, 2 * SECOND, 2 * SECOND, 40, SECOND, 20000, "two limits, later" },
    { 40, SECOND, 2 * SECOND, 60, 2 * SECOND, 20000, "two limits, earlier" },
    { 1220, 60 * SECOND, 2 * SECOND, 30, SECOND / 2, 20000, "long and short" },

    /* what the last limit says is bounded by what this one says */

    { 60, 2 * SECOND, 2 * SECOND, 10, SECOND, 30000, "no more than taken" },
    { 60, 2 * SECOND, 2 * SECOND, 59, SECOND, 15000, "no less than that" },
    { 60, 2 * SECOND, 2 * SECOND, 99, SECOND, 15000, "fewer in more time" },
    { 60, SECOND, 2 * SECOND, 50, 2 * SECOND, 20000, "more in less time" },
    { 80, 2 * SECOND, 6 * SECOND, 1, 2 * SECOND, 20000, "the same time" },
    { 80, 2 * SECOND, 6 * SECOND, 1, 1700000, 20000, "a time that is close" },

    { 0, SECOND, SECOND, 0, 0, LEAST, "nothing" },
    { 0, 0, 0, 0, 0, LEAST, "nothing in no time" },
    { 1, 0, 0, 0, 0, MOST, "a call in no time" },
    { 1, 5000 * SECOND, 0, 0, 0, LEAST, "a call in a long time" },
    { END, 1, 0, 0, 0, MOST, "as many as possible" },
    { END, END, END, END, END, LEAST, "in as long a time" },
    { END, 1, END, 1, END, LEAST, "after as long a time" },
    { 1, END, END, END, 1, LEAST, "or before it" },
    { 0, 0, 0, 0, 0, 0, NULL }
};


static void test_estimates(void);
static void test_bounds(void);
static void test_limits(void);
static void test_grow(void);
static void test_ends(void);
static uint64_t any(void);


static ngx_http_retry_chain_learned_t  learned;


int
main(void)
{
    test_estimates();
    test_bounds();
    test_limits();
    test_grow();
    test_ends();

    return done_testing();
}


static void
test_estimates(void)
{
    estimate_case_t  *c;

    for (c = estimates; c->name; c++) {
        is_int(ngx_http_retry_chain_learn_estimate(c->calls, c->time, c->block,
                                                   c->last_calls,
                                                   c->last_time),
               c->rate, "%s", c->name);
    }
}


/* whatever the last limit was: between what was taken with and without block */

static void
test_bounds(void)
{
    uint64_t    calls, time, block;
    ngx_uint_t  i, high, low, rate, wrong;

    wrong = 0;

    for (i = 0; i < 200000; i++) {
        calls = any();
        time = any();
        block = any();

        high = ngx_http_retry_chain_learn_estimate(calls, time, 0, 0, 0);
        low = ngx_http_retry_chain_learn_estimate(calls, time + block, 0, 0, 0);
        rate = ngx_http_retry_chain_learn_estimate(calls, time, block, any(),
                                                   any());

        wrong += low < LEAST || high > MOST || rate < low || rate > high;
    }

    is_int(wrong, 0, "200000 estimates are within their bounds");
}


static void
test_limits(void)
{
    uint64_t    now;
    ngx_uint_t  i, rate;

    memset(&learned, 0, sizeof(learned));
    now = 1000 * SECOND;

    ngx_http_retry_chain_learn_limit(&learned, now, SECOND);
    is_int(learned.rate, 0, "a limit without a call tells nothing");

    ngx_http_retry_chain_learn_accepted(&learned, now + SECOND, now);
    ngx_http_retry_chain_learn_limit(&learned, now + 2 * SECOND, SECOND);
    is_int(learned.rate, 0, "nor does one after a call");

    memset(&learned, 0, sizeof(learned));

    for (i = 1; i <= 40; i++) {
        ngx_http_retry_chain_learn_accepted(&learned, now + i * SECOND / 40,
                                            now);
    }

    ngx_http_retry_chain_learn_limit(&learned, now + SECOND, 3 * SECOND);
    rate = learned.rate;

    is_int(learned.ceiling, 20000, "40 calls in 1 s, 3 s of block");
    ok(rate < 20000 && rate > 18000, "the pace is a little less");

    ngx_http_retry_chain_learn_limit(&learned, now + 4 * SECOND, SECOND);
    ok(learned.rate < rate && learned.rate > rate * 9 / 10,
       "refused again at once: a little less again");

    /* calls of more than a minute ago are forgotten by and by */

    memset(&learned, 0, sizeof(learned));

    for (i = 1; i <= 100000; i++) {
        now += SECOND / 10;
        ngx_http_retry_chain_learn_accepted(&learned, now, now);
    }

    ok(learned.calls >= 300 && learned.calls <= 601,
       "of 100000 calls in 10000 s the last %d count", (int) learned.calls);
    ok(now - learned.since <= 60 * SECOND, "those of a minute");
}


static void
test_grow(void)
{
    uint64_t    now, time;
    ngx_uint_t  i, rate, fell;

    memset(&learned, 0, sizeof(learned));
    now = 1000 * SECOND;

    is_int(ngx_http_retry_chain_learn_grow(&learned, now, 1), 0,
           "what is not known does not grow");

    learned.rate = 15000;
    learned.ceiling = 20000;

    for (i = 0; i < 10000; i++) {
        now += SECOND;
        (void) ngx_http_retry_chain_learn_grow(&learned, now, 0);
    }

    is_int(learned.rate, 15000, "nor what nobody waits for");

    rate = learned.rate;
    fell = 0;
    time = 0;

    for (i = 0; i < 5 * 60 * 100; i++) {
        now += SECOND / 100;
        (void) ngx_http_retry_chain_learn_grow(&learned, now, 1);

        fell += learned.rate < rate;
        rate = learned.rate;

        if (rate > 20000 && time == 0) {
            time = i / 100;
            ok(time >= 20, "the old limit is passed after %d s", (int) time);
        }

        if (rate > 40000) {
            time = i / 100 - time;
            break;
        }
    }

    is_int(fell, 0, "the pace grows");
    ok(rate > 40000 && time < 40, "twice the old limit %d s later", (int) time);

    for (i = 0; i < 100000; i++) {
        now += SECOND;
        (void) ngx_http_retry_chain_learn_grow(&learned, now, 1);
    }

    is_int(learned.rate, MOST, "there is an end to it");
}


/* any numbers, as they may be in memory that others write */

static void
test_ends(void)
{
    ngx_uint_t  i, wrong;

    wrong = 0;

    for (i = 0; i < 200000; i++) {
        learned.since = any();
        learned.calls = any();
        learned.last_calls = any();
        learned.last_time = any();
        learned.rate = any() % (MOST + 1);
        learned.ceiling = any() % (MOST + 1);
        learned.pressed = any();
        learned.grown = any();

        switch (noise64() % 3) {

        case 0:
            ngx_http_retry_chain_learn_limit(&learned, any(), any());
            break;

        case 1:
            ngx_http_retry_chain_learn_accepted(&learned, any(), any());
            break;

        default:
            (void) ngx_http_retry_chain_learn_grow(&learned, any(),
                                                   noise64() % 2);
        }

        wrong += learned.rate > MOST || learned.ceiling > MOST;
    }

    is_int(wrong, 0, "200000 times anything: no rate is out of range");
}


/* of every size, up to the end of times */

static uint64_t
any(void)
{
    return noise64() >> (2 + noise64() % 62);
}
