
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* the retry budget: shares, the minimum rate, and a window that slides */


#include <pthread.h>
#include "tap.h"
#include "ngx_http_retry_chain_budget.h"


#define THREADS  4
#define CALLS    20000


static void test_share(void);
static void test_window(void);
static void test_ends(void);
static void test_random(void);
static void test_threads(void);
static void set(ngx_uint_t percent, ngx_uint_t rate, ngx_msec_t window);
static void deposit(ngx_uint_t n, ngx_msec_t now);
static ngx_uint_t withdraw(ngx_msec_t now);
static void *hammer(void *data);


static ngx_http_retry_chain_budget_t       budget;
static ngx_http_retry_chain_budget_conf_t  conf;


int
main(void)
{
    test_share();
    test_window();
    test_ends();
    test_random();
    test_threads();

    return done_testing();
}


static void
test_share(void)
{
    set(20, 0, 10000);
    is_int(withdraw(1000000), 0, "no requests, no retries");

    deposit(100, 1000000);
    is_int(withdraw(1000000), 20, "a share of the requests");
    is_int(withdraw(1000500), 0, "and no more");

    deposit(9, 1000500);
    is_int(withdraw(1000500), 1, "of all of them together");

    set(0, 10000, 10000);
    is_int(withdraw(1000000), 100, "the minimum alone");

    set(20, 1000, 10000);
    deposit(50, 1000000);
    is_int(withdraw(1000000), 20, "both");

    set(150, 0, 10000);
    deposit(10, 1000000);
    is_int(withdraw(1000000), 15, "more retries than requests");

    set(0, 0, 10000);
    deposit(1000, 1000000);
    is_int(withdraw(1000000), 0, "none at all");
}


static void
test_window(void)
{
    set(10, 0, 10000);
    deposit(100, 1000000);
    is_int(withdraw(1000000), 10, "all at once");
    is_int(withdraw(1008999), 0, "used up nine seconds later");

    deposit(100, 1009000);
    is_int(withdraw(1009000), 10, "new requests bring new retries");
    is_int(withdraw(1011000), 0, "what is forgotten takes both with it");

    deposit(10, 1500000);
    is_int(withdraw(1500000), 1, "after a long time only what is new counts");
}


static void
test_ends(void)
{
    set(100, 0, 10000);
    deposit(3, 0);
    is_int(withdraw(0), 3, "at the beginning of time");

    set(100, 0, 10000);
    deposit(3, (ngx_msec_t) -1);
    is_int(withdraw((ngx_msec_t) -1), 3, "at its end");

    set(100, 0, 100);
    deposit(3, 1000000);
    is_int(withdraw(1000099), 3, "the smallest window");
    deposit(3, 1000200);
    is_int(withdraw(1000200), 3, "and the next one");

    set(1000, 100000000, 2073600000);
    deposit(1, 1000000);
    ok(ngx_http_retry_chain_budget_withdraw(&budget, &conf, 1000000) == NGX_OK,
       "the largest values");
}


/* never more in any nine seconds than ten seconds' requests allow */

static void
test_random(void)
{
    ngx_uint_t  i, bad, requests, retries, used;
    ngx_msec_t  now, begin;
    uint32_t    x;

    set(30, 2000, 10000);

    x = 1;
    bad = 0;
    now = 1000000;
    begin = now;
    requests = 0;
    retries = 0;

    for (i = 0; i < 200000; i++) {
        x = x * 1664525 + 1013904223;
        now += (x >> 24) % 4;

        if (now - begin >= 9000) {
            begin = now;
            requests = 0;
            retries = 0;
        }

        if (x >> 20 & 1) {
            deposit(1, now);
            requests++;
            continue;
        }

        used = ngx_http_retry_chain_budget_withdraw(&budget, &conf, now)
               == NGX_OK;
        retries += used;

        /* requests of ten seconds at most count for these nine */

        bad += retries > requests * 30 / 100 + 20 + 1500;
    }

    is_int(bad, 0, "random requests: never too many retries");
    ok(retries <= 2000, "nor at the end: %d", (int) retries);
}


static void
test_threads(void)
{
    uintptr_t   got;
    ngx_uint_t  i;
    void       *result;
    pthread_t   threads[THREADS];

    set(0, 1000000, 10000);
    deposit(1, 1000000);

    for (i = 0; i < THREADS; i++) {
        ok(pthread_create(&threads[i], NULL, hammer, NULL) == 0, "a thread");
    }

    for (got = 0, i = 0; i < THREADS; i++) {
        (void) pthread_join(threads[i], &result);
        got += (uintptr_t) result;
    }

    ok(got >= 10000 && got < 10000 + THREADS,
       "many at a time: %d retries of 10000", (int) got);
}


static void *
hammer(void *data)
{
    uintptr_t  got;
    ngx_uint_t i;

    for (got = 0, i = 0; i < CALLS; i++) {
        got += ngx_http_retry_chain_budget_withdraw(&budget, &conf, 1000000)
               == NGX_OK;
    }

    return (void *) got;
}


static void
set(ngx_uint_t percent, ngx_uint_t rate, ngx_msec_t window)
{
    ngx_memzero(&budget, sizeof(budget));

    conf.percent = percent;
    conf.rate = rate;
    conf.window = window;
}


static void
deposit(ngx_uint_t n, ngx_msec_t now)
{
    while (n--) {
        ngx_http_retry_chain_budget_deposit(&budget, &conf, now);
    }
}


/* how many may be made now */

static ngx_uint_t
withdraw(ngx_msec_t now)
{
    ngx_uint_t  n;

    for (n = 0; n < 100000; n++) {
        if (ngx_http_retry_chain_budget_withdraw(&budget, &conf, now)
            != NGX_OK)
        {
            break;
        }
    }

    return n;
}
