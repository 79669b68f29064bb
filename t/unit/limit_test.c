
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include "limit.h"


static void test_rate(void);
static void test_late(void);
static void test_left(void);
static void test_conns(void);
static void test_line(void);
static void test_block(void);
static void test_half_open(void);
static void test_estimate(void);
static void test_clocks(void);


int
main(void)
{
    test_rate();
    test_late();
    test_left();
    test_conns();
    test_line();
    test_block();
    test_half_open();
    test_estimate();
    test_clocks();

    return done_testing();
}


/* GCRA, a thousandth slower than asked */

static void
test_rate(void)
{
    call_t      call, last;
    ngx_uint_t  i;

    make(0, 1);

    for (i = 0; i < 3; i++) {
        is_int(fresh(&call), GO, "without a rate all go at once");
    }

    make(10000, 3);

    for (i = 0; i < 3; i++) {
        is_int(fresh(&call), GO, "10r/s, burst 3: call %d", (int) i + 1);
    }

    is_int(fresh(&last), RATE, "not the fourth");
    is_int(when - now, 100 * MSEC, "it looks again after a tick");

    now += 100 * MSEC;
    is_int(admit(&call), RATE, "not quite yet");
    is_int(when - now, 100, "a thousandth more");

    now = when;
    is_int(admit(&call), GO, "now");

    ngx_http_retry_chain_limit_cancel(&limit, &conf, &call);
    is_int(admit(&call), GO, "a call that was not made is given back");

    ngx_http_retry_chain_limit_charge(&limit, &conf, 2, now);
    now += 299 * MSEC;
    is_int(admit(&call), RATE, "two calls that nobody asked for");
    now += 2 * MSEC;
    is_int(admit(&call), GO, "are charged");

    make(1, 1);

    (void) fresh(&call);
    now += 1000 * SECOND;
    is_int(fresh(&call), RATE, "the slowest rate");
    now += SECOND;
    is_int(fresh(&call), GO, "1001 seconds");
}


/* who waits goes late: the line loses no time, but not more than that */

static void
test_late(void)
{
    call_t      call;
    ngx_uint_t  i, n;

    make(100000, 1);

    for (i = 0, n = 0; i < 10000; i++) {
        now += MSEC + i % 3 * 100;
        n += admit(&call) == GO;
    }

    is_int(n, (now - NOW) * 100 / 1001 / MSEC + 1, "100 calls a second");

    make(100000, 1);

    (void) admit(&call);
    now += SECOND;

    for (n = 0; admit(&call) == GO; n++) { /* void */ }

    is_int(n, 1, "a second late: one call, no burst");
}


static void
test_left(void)
{
    call_t      call;
    ngx_uint_t  i, k, left, wrong;

    make(0, 1);

    is_int(ngx_http_retry_chain_limit_left(&limit, &conf, now), 0,
           "without a rate nothing is counted");

    wrong = 0;

    for (i = 0; i < 2000; i++) {
        make(1 + noise() % 100000, 1 + noise() % 20);

        for (k = 0; k < 10; k++) {
            now += noise() % (10 * SECOND);

            left = ngx_http_retry_chain_limit_left(&limit, &conf, now);
            wrong += left > conf.burst;

            while (left) {
                wrong += fresh(&call) != GO;
                left--;

                if (noise() % 8 == 0) {
                    break;
                }
            }

            if (left == 0) {
                wrong += fresh(&call) == GO;
            }
        }
    }

    is_int(wrong, 0, "so many are left, and no more");
}


static void
test_conns(void)
{
    call_t  call;

    make(0, 1);

    conf.max_conns = 2;
    run.in_flight = 1;

    is_int(fresh(&call), GO, "two at once");
    is_int(call.in_flight, 2, "it is the second");

    run.in_flight = 2;

    is_int(fresh(&call), CONNS, "not three");
    ok(when > now && when <= now + 100 * MSEC, "until a reply comes");
}


static void
test_line(void)
{
    call_t  call;

    make(0, 1);

    run.first = 0;
    is_int(fresh(&call), LINE, "somebody is before it");
    ok(when > now && when <= now + 100 * MSEC, "and will have gone soon");

    make(10000, 1);

    (void) fresh(&call);
    run.first = 0;
    is_int(fresh(&call), LINE, "the first one has to wait itself");
    is_int(when - now, 100 * MSEC, "it looks again after a tick");
}


/* what a reply says binds, up to cap */

static void
test_block(void)
{
    call_t                              call;
    ngx_http_retry_chain_limit_state_t  state;

    make(0, 1);

    refuse(2 * SECOND);

    ngx_http_retry_chain_limit_state(&limit, &conf, now, &state);

    is_int(state.blocked, now + 2 * SECOND, "a refusal blocks");
    is_int(state.by, 429, "by a 429");
    is_int(state.since, now, "since now");

    is_int(fresh(&call), BLOCKED, "a call waits");
    is_int(ngx_http_retry_chain_limit_reason(&limit, &conf, &run, now, &when),
           BLOCKED, "and that is why");

    now += 2 * SECOND - 1;
    is_int(fresh(&call), BLOCKED, "to the end");
    is_int(when - now, 1, "which is known");

    now++;
    is_int(fresh(&call), GO, "then one goes");
    is_int(call.probe, 1, "half-open");

    make(0, 1);

    conf.cap = 5 * SECOND;
    refuse(3600 * SECOND);
    now += 5 * SECOND;
    is_int(fresh(&call), GO, "no longer than cap=");

    make(0, 1);

    (void) fresh(&call);
    (void) refused(&call, 2 * SECOND);
    is_int(refused(&call, 5 * SECOND), NGX_DECLINED, "it was blocked already");
    now += 4 * SECOND;
    is_int(fresh(&call), BLOCKED, "the longest counts");
}


/* one at a time until one is accepted, or has taken its time */

static void
test_half_open(void)
{
    call_t  call, next;

    make(0, 1);

    (void) fresh(&call);
    now += 20 * MSEC;
    (void) refused(&call, SECOND);
    now += SECOND;

    is_int(fresh(&call), GO, "one goes");
    is_int(fresh(&next), HALF_OPEN, "the next one waits");

    ngx_http_retry_chain_limit_done(&limit, &call);
    is_int(fresh(&call), GO, "until it has ended and said nothing");
    is_int(fresh(&next), HALF_OPEN, "the next one waits again");

    now += 39 * MSEC;
    is_int(fresh(&next), HALF_OPEN, "a refusal took 20 ms");
    now += MSEC;
    is_int(fresh(&next), GO, "it would have come by now");

    accepted(&call, 0);
    is_int(fresh(&call), GO, "when it is accepted");
    is_int(fresh(&next), GO, "all may go");
}


/* for the choice and the deadline */

static void
test_estimate(void)
{
    call_t    call;
    uint64_t  least;

    make(10000, 1);

    is_int(ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now,
                                               &least),
           now, "at once");

    (void) fresh(&call);
    run.waiting = 9;
    is_int(ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now, &least)
           - now, 1001 * MSEC, "nine wait at 10r/s");
    is_int(least - now, 1001 * MSEC, "that is sure");

    make(0, 1);

    run.deadline = now + 10 * SECOND;
    refuse(30 * SECOND);
    (void) ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now,
                                               &least);
    is_int(least - now, 250 * MSEC, "a long block may turn out to be none");

    run.waiting = 10;
    limit.patience = 2 * SECOND;
    (void) ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now,
                                               &least);
    ok(least >= now + 30 * SECOND, "it has been tried: others need not wait");

    run.waiting = 0;
    conf.trial = 0;
    (void) ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now,
                                               &least);
    is_int(least - now, 30 * SECOND, "trial=off: it is known");

    make(0, 1);

    serve(200, 50 * MSEC, 0);
    refuse(SECOND);
    run.waiting = 200;
    is_int((ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now,
                                                &least) - now) / SECOND, 3,
           "200 at a pace that is learned");
    is_int(least - now, SECOND, "which may be wrong");
}


/* the time of another worker may be a moment behind */

static void
test_clocks(void)
{
    call_t  call;

    make(10000, 3);

    serve(50, 100 * MSEC, 0);
    refuse(SECOND);

    now -= 5 * MSEC;
    is_int(fresh(&call), BLOCKED, "blocked");
    run.arrived = now + 10 * MSEC;
    is_int(admit(&call), BLOCKED, "and for who comes in the future");
    accepted(&call, 3);
    ok(limit.sum <= 51, "nothing is counted below zero");

    now += SECOND + 5 * MSEC;
    is_int(admit(&call), GO, "the block has ended");
    now -= 5 * MSEC;
    accepted(&call, 3);
    is_int(fresh(&call) == GO || when <= now + 100 * MSEC, 1, "it goes on");
}
