
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include "limiter.h"


#define NEVER    NGX_HTTP_RETRY_CHAIN_NEVER


static void test_burst(void);
static void test_left(void);
static void test_rates(void);
static void test_windows(void);
static void test_long(void);
static void test_limit(void);
static void test_limit_burst(void);
static void test_order(void);
static void test_cancel(void);
static void test_charge(void);
static void test_refused(void);
static void test_ends(void);

static void make(ngx_uint_t rate, ngx_uint_t burst, uint64_t now);


static ngx_http_retry_chain_ticket_t  t[100];


int
main(void)
{
    test_burst();
    test_left();
    test_rates();
    test_windows();
    test_long();
    test_limit();
    test_limit_burst();
    test_order();
    test_cancel();
    test_charge();
    test_refused();
    test_ends();

    return done_testing();
}


static void
test_burst(void)
{
    ngx_uint_t  i;

    make(0, 1, NOW);

    for (i = 0; i < 3; i++) {
        is_int(reserve(NOW, &t[i]), NOW, "without a rate all go at once");
    }

    is_int(ngx_http_retry_chain_limiter_rate(&limiter), 0, "there is no rate");

    make(10000, 3, NOW);

    is_int(ngx_http_retry_chain_limiter_rate(&limiter), 10000, "10r/s");

    for (i = 0; i < 6; i++) {
        is_int(reserve(NOW, &t[i]) - NOW, i < 3 ? 0 : (i - 2) * 100 * MSEC,
               "10r/s, burst 3: call %d", (int) i + 1);
    }

    is_int(reserve(NOW + 350 * MSEC, &t[6]) - NOW, 400 * MSEC,
           "the seventh waits behind them");

    is_int(reserve(NOW + 600 * MSEC, &t[7]) - NOW, 600 * MSEC,
           "idle for 200 ms: one at once");
    is_int(reserve(NOW + 600 * MSEC, &t[8]) - NOW, 600 * MSEC, "two at once");
    is_int(reserve(NOW + 600 * MSEC, &t[9]) - NOW, 700 * MSEC, "not three");

    for (i = 0; i < 6; i++) {
        is_int(reserve(NOW + 3600 * SECOND, &t[i]) - NOW,
               3600 * SECOND + (i < 3 ? 0 : (i - 2) * 100 * MSEC),
               "after an hour there is no more of it: call %d", (int) i + 1);
    }

    make(1, 1, NOW);

    (void) reserve(NOW, &t[0]);
    is_int(reserve(NOW, &t[1]) - NOW, 1000 * SECOND, "the slowest rate");

    make(NGX_HTTP_RETRY_CHAIN_MAX_PACE, 1, NOW);

    (void) reserve(NOW, &t[0]);
    is_int(reserve(NOW, &t[1]) - NOW, 10, "the fastest rate");
}


/* as many calls as are left of a burst go at once */

static void
test_left(void)
{
    uint64_t    now;
    ngx_uint_t  i, k, left, wrong;

    make(0, 1, NOW);

    is_int(ngx_http_retry_chain_limiter_left(&limiter, &pace, NOW), 0,
           "without a rate nothing is counted");

    wrong = 0;

    for (i = 0; i < 2000; i++) {
        now = NOW + noise();
        make(1 + noise() % 100000, 1 + noise() % 20, now);

        for (k = 0; k < 10; k++) {
            now += noise() % (10 * SECOND);

            left = ngx_http_retry_chain_limiter_left(&limiter, &pace, now);
            wrong += left > pace.burst;

            while (left) {
                wrong += reserve(now, &t[0]) != now;
                left--;

                if (noise() % 8 == 0) {
                    break;
                }
            }

            if (left == 0) {
                wrong += reserve(now, &t[0]) == now;
            }
        }
    }

    is_int(wrong, 0, "so many are left, and no more");
}


/* rounded, but never so that it is faster */

static void
test_rates(void)
{
    uint64_t    time, exact;
    ngx_uint_t  i, k, fast, slow;

    static ngx_uint_t  rates[] = {
        1, 3, 7, 16, 60, 333, 999, 1000, 1001, 1500, 7777, 20000, 30000,
        33333, 123457, 999999, 50000001, 66666667, 99999999,
        NGX_HTTP_RETRY_CHAIN_MAX_PACE
    };

    for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        make(rates[i], 1, NOW);

        fast = 0;
        slow = 0;

        for (k = 0; k < 1000; k++) {
            time = reserve(NOW, &t[0]) - NOW;
            exact = k * 1000 * SECOND;

            fast += time * rates[i] < exact;

            /* up to a microsecond for each call */

            slow += time > exact / rates[i] + k;
        }

        ok(fast == 0 && slow == 0, "1000 calls at %d/1000 a second",
           (int) rates[i]);
        ok(ngx_http_retry_chain_limiter_rate(&limiter) <= rates[i],
           "and so it is said");
    }
}


/*
 * Never more than burst + time / interval calls, in whatever time: the time
 * that the calls have taken from a bucket is never more than the burst.  A
 * ticket is a thousandth of a call, so much may the first one be early.
 */

static void
test_windows(void)
{
    uint64_t    now, time, full, interval, slack, most;
    ngx_uint_t  i, k, rate, over, late;

    over = 0;
    late = 0;

    for (i = 0; i < 2000; i++) {
        rate = 1 + noise() % (i % 2 ? NGX_HTTP_RETRY_CHAIN_MAX_PACE : 100000);
        rate = i == 0 ? 1 : i == 1 ? NGX_HTTP_RETRY_CHAIN_MAX_PACE : rate;

        now = NOW + noise();
        make(rate, 1 + noise() % (i % 3 ? 3 : 50), now);

        interval = (1000 * SECOND + rate - 1) / rate;
        slack = (pace.burst - 1) * interval;
        most = slack + interval + interval / 1000 + 1;
        full = 0;

        for (k = 0; k < 100; k++) {

            if (noise() % 3 == 0) {
                now += noise() % (2 * interval);
            }

            if (noise() % 20 == 0) {
                now += noise() % (100 * interval);
            }

            time = reserve(now, &t[0]);

            late += time > ngx_max(now + slack, full) - slack + 1;

            full = ngx_max(full, time) + interval;

            over += full - time > most;
        }
    }

    is_int(over, 0, "200000 calls at random: never more than burst + rate");
    is_int(late, 0, "nor later than need be");
}


/* the clock does not end with a period that lasts */

static void
test_long(void)
{
    uint64_t    day, now;
    ngx_uint_t  i, n, wrong;

    day = 86400 * SECOND;
    wrong = 0;

    make(20000, 2, NOW);

    for (i = 1; i < 60; i++) {
        now = NOW + i * day;

        for (n = 0; n < 100; n++) {
            if (reserve(now, &t[0]) > now) {
                break;
            }
        }

        wrong += n != 2;
    }

    is_int(wrong, 0, "the burst is two calls on each of 60 days");

    now = NOW + 100 * 365 * day;

    (void) reserve(now, &t[0]);
    (void) reserve(now, &t[0]);

    is_int(reserve(now, &t[0]) - now, 50 * MSEC, "and after 100 years");
}


/* a hint moves what is parked, by its time and with its distances */

static void
test_limit(void)
{
    uint64_t                        first, until;
    ngx_uint_t                      i;
    ngx_http_retry_chain_limiter_t  before;

    make(10000, 1, NOW);

    for (i = 0; i < 5; i++) {
        (void) reserve(NOW, &t[i]);
    }

    is_int(ngx_http_retry_chain_limiter_limited(&limiter, NOW), 0, "no limit");

    until = NOW + 3000 * MSEC;

    is_int(limit(NOW + 50 * MSEC, until), NGX_OK, "a limit of 2.95 s");
    is_int(ngx_http_retry_chain_limiter_limited(&limiter, NOW + 60 * MSEC),
           until, "is known");

    first = due(&t[1], NOW + 50 * MSEC);

    is_int(first - NOW, 3050 * MSEC, "the next call is 2.95 s later");

    for (i = 2; i < 5; i++) {
        is_int(due(&t[i], NOW + 60 * MSEC) - first, (i - 1) * 100 * MSEC,
               "the others keep their distances");
    }

    before = limiter;

    is_int(limit(NOW + 60 * MSEC, until), NGX_DECLINED, "the same again");
    is_int(limit(NOW + 70 * MSEC, until - 1), NGX_DECLINED, "an earlier end");
    is_int(limit(NOW + 70 * MSEC, NOW), NGX_DECLINED, "in the past");
    ok(memcmp(&before, &limiter, sizeof(limiter)) == 0, "change nothing");

    is_int(limit(NOW + 80 * MSEC, until + SECOND), NGX_OK, "a later end");
    is_int(due(&t[1], NOW + 80 * MSEC) - first, SECOND, "is one second more");

    for (i = 2; i < 5; i++) {
        is_int(due(&t[i], NOW) - due(&t[i - 1], NOW), 100 * MSEC,
               "the distances stay");
    }

    is_int(due(&t[0], NOW + 80 * MSEC), until + SECOND,
           "a call that has not gone yet waits, too");
    is_int(reserve(NOW + 90 * MSEC, &t[5]) - due(&t[4], NOW), 100 * MSEC,
           "a new one is behind them");
    is_int(ngx_http_retry_chain_limiter_limited(&limiter, until + SECOND), 0,
           "at the end of the limit there is none");
}


static void
test_limit_burst(void)
{
    uint64_t    until;
    ngx_uint_t  i;

    make(10000, 5, NOW);

    until = NOW + SECOND;

    (void) limit(NOW, until);

    for (i = 0; i < 4; i++) {
        is_int(reserve(NOW, &t[i]) - until, i * 100 * MSEC,
               "nothing is left of the burst: call %d", (int) i + 1);
    }

    make(10000, 5, NOW);
    (void) limit(NOW, until);

    for (i = 0; i < 5; i++) {
        is_int(reserve(until + 200 * MSEC, &t[i]) - until,
               (i < 3 ? 2 : i) * 100 * MSEC,
               "it comes back after the limit only: call %d", (int) i + 1);
    }

    is_int(limit(until + 200 * MSEC, until + SECOND), NGX_OK, "a second one");

    (void) limit(until + 300 * MSEC, until + SECOND + 1);
    (void) limit(until + 300 * MSEC, until + SECOND + 2);

    is_int(due(&t[3], until) - until, SECOND + 100 * MSEC + 2,
           "that is extended costs no more of it");
}


/* tickets are due in the order in which they were taken, whatever comes */

static void
test_order(void)
{
    uint64_t                        now, last, time, peek;
    ngx_uint_t                      i, k, n, wrong, differ;
    ngx_http_retry_chain_limiter_t  before;

    wrong = 0;
    differ = 0;

    for (i = 0; i < 3000; i++) {
        now = NOW;
        make(i % 3 ? 0 : 1 + noise() % 100000, 1 + noise() % 4, now);
        pace.automatic = i % 3 == 1;
        n = 0;

        while (n < 100) {
            now += noise() % (noise() % 8 ? 200 * MSEC : 20 * SECOND);

            switch (noise() % 6) {

            case 0:
                (void) limit(now, now + noise() % (5 * SECOND));
                break;

            case 1:
                (void) accepted(now, now - noise() % (SECOND));
                break;

            default:
                before = limiter;
                peek = ngx_http_retry_chain_limiter_peek(&limiter, &pace, now);
                differ += memcmp(&before, &limiter, sizeof(limiter)) != 0;

                time = reserve(now, &t[n]);
                differ += time != peek;

                /* what goes at once is in nobody's way */

                n += t[n].tail != 0;
            }

            for (k = 0, last = now; k < n; k++) {
                time = gate(&t[k], now);
                wrong += time < last || time >= NEVER;
                last = time;
            }
        }
    }

    is_int(wrong, 0, "300000 tickets keep their order");
    is_int(differ, 0, "to peek changes nothing and says what reserve says");
}


static void
test_cancel(void)
{
    ngx_http_retry_chain_limiter_t  before;

    make(10000, 2, NOW);

    (void) reserve(NOW, &t[0]);
    (void) reserve(NOW, &t[1]);
    before = limiter;
    (void) reserve(NOW, &t[2]);

    is_int(ngx_http_retry_chain_limiter_cancel(&limiter, &t[2]), NGX_OK,
           "a ticket is given back");
    ok(memcmp(&before, &limiter, sizeof(limiter)) == 0, "exactly");
    is_int(ngx_http_retry_chain_limiter_cancel(&limiter, &t[2]), NGX_OK,
           "a second time");
    ok(memcmp(&before, &limiter, sizeof(limiter)) == 0, "is nothing");

    (void) reserve(NOW, &t[2]);
    (void) reserve(NOW, &t[3]);
    before = limiter;

    is_int(ngx_http_retry_chain_limiter_cancel(&limiter, &t[2]), NGX_DECLINED,
           "one that others are behind is not");
    ok(memcmp(&before, &limiter, sizeof(limiter)) == 0, "but forfeited");
    is_int(due(&t[3], NOW) - NOW, 200 * MSEC, "they do not move up");
    is_int(ngx_http_retry_chain_limiter_cancel(&limiter, &t[3]), NGX_OK,
           "the last");
    is_int(reserve(NOW, &t[3]) - NOW, 200 * MSEC, "goes to the next");

    /* after some time, where the clock has gone beyond the tail */

    before = limiter;
    (void) reserve(NOW + 5 * SECOND, &t[4]);
    (void) ngx_http_retry_chain_limiter_cancel(&limiter, &t[4]);

    ok(memcmp(&before, &limiter, sizeof(limiter)) == 0,
       "exactly, after idle time");

    make(0, 1, NOW);
    (void) reserve(NOW, &t[0]);

    is_int(ngx_http_retry_chain_limiter_cancel(&limiter, &t[0]), NGX_OK,
           "without a rate there is nothing to give back");
}


static void
test_charge(void)
{
    make(10000, 3, NOW);

    (void) reserve(NOW, &t[0]);
    ngx_http_retry_chain_limiter_charge(&limiter, &pace, 0, NOW);

    is_int(reserve(NOW, &t[1]) - NOW, 0, "no call more");

    ngx_http_retry_chain_limiter_charge(&limiter, &pace, 4, NOW);

    is_int(reserve(NOW, &t[2]) - NOW, 400 * MSEC, "four calls more");
    is_int(reserve(NOW + 800 * MSEC, &t[3]) - NOW, 800 * MSEC,
           "they are worked off");

    make(0, 1, NOW);
    ngx_http_retry_chain_limiter_charge(&limiter, &pace, 4, NOW);

    is_int(reserve(NOW, &t[0]) - NOW, 0, "without a rate they do not count");
}


static void
test_refused(void)
{
    ngx_uint_t  i;

    static ngx_msec_t  delays[] = { 1000, 2000, 4000, 8000, 10000, 10000 };

    make(0, 1, NOW);

    for (i = 0; i < 6; i++) {
        is_int(ngx_http_retry_chain_limiter_refused(&limiter, 1000, 10000),
               delays[i], "refusal %d", (int) i + 1);
    }

    for (i = 0; i < 1000; i++) {
        (void) ngx_http_retry_chain_limiter_refused(&limiter, 1000, 10000);
    }

    is_int(ngx_http_retry_chain_limiter_refused(&limiter, 1000, 10000), 10000,
           "the thousandth");
    is_int(ngx_http_retry_chain_limiter_refused(&limiter, 0, 10000), 0,
           "of nothing");
    is_int(ngx_http_retry_chain_limiter_refused(&limiter, 1000, 500), 500,
           "a maximum below the first delay");
    is_int(
        ngx_http_retry_chain_limiter_refused(&limiter, 1, (ngx_msec_t) 1 << 40),
        (long long) 1 << 40, "a large one");

    (void) limit(NOW, NOW + SECOND);
    (void) accepted(NOW + 10 * MSEC, NOW - 10 * MSEC);

    is_int(ngx_http_retry_chain_limiter_refused(&limiter, 1000, 10000), 10000,
           "a call accepted that was sent before does not count");

    (void) accepted(NOW + 2 * SECOND, NOW + SECOND);

    is_int(ngx_http_retry_chain_limiter_refused(&limiter, 1000, 10000), 1000,
           "one that was sent after it starts anew");
}


/* the same at all times: near 0, and where times end */

static void
test_ends(void)
{
    uint64_t    now, got[9];
    ngx_uint_t  i, k;

    static uint64_t  starts[] = {
        NOW, 0, 1, 999, SECOND, (uint64_t) 1 << 52, (uint64_t) 1 << 61,
        NEVER - 4000 * SECOND
    };

    static uint64_t  expected[] = {
        0, 100 * MSEC, 5000 * MSEC, 5100 * MSEC, 5200 * MSEC, 5400 * MSEC,
        6000 * MSEC, 3600 * SECOND, 3600 * SECOND + 100 * MSEC
    };

    for (i = 0; i < 8; i++) {
        now = starts[i];
        make(10000, 1, now);

        got[0] = reserve(now, &t[0]);
        got[1] = reserve(now, &t[1]);
        (void) limit(now, now + 5 * SECOND);
        got[2] = gate(&t[0], now);
        got[3] = due(&t[1], now);
        got[4] = reserve(now + SECOND, &t[2]);
        ngx_http_retry_chain_limiter_charge(&limiter, &pace, 1, now + SECOND);
        got[5] = ngx_http_retry_chain_limiter_peek(&limiter, &pace,
                                                   now + SECOND);
        (void) accepted(now + 6 * SECOND, now + 5 * SECOND);
        got[6] = reserve(now + 6 * SECOND, &t[3]);
        got[7] = reserve(now + 3600 * SECOND, &t[4]);
        got[8] = reserve(now + 3600 * SECOND, &t[4]);

        for (k = 0; k < 9; k++) {
            got[k] -= now;
        }

        ok(memcmp(got, expected, sizeof(got)) == 0, "from %llu on",
           (unsigned long long) now);
    }

    make(1, NGX_HTTP_RETRY_CHAIN_MAX_BURST, NOW);
    ngx_http_retry_chain_limiter_charge(&limiter, &pace, 6000000, NOW);

    is_int(ngx_http_retry_chain_limiter_peek(&limiter, &pace, NOW), NEVER,
           "150 thousand years");
    is_int(reserve(NOW, &t[0]), NEVER, "do not come");

    make(0, NGX_HTTP_RETRY_CHAIN_MAX_BURST, NOW);
    pace.spacing = 1000000000;
    (void) limit(NOW, NEVER);
    (void) reserve(NOW, &t[0]);
    (void) reserve(NOW, &t[1]);

    is_int(gate(&t[0], NOW), NEVER, "a limit without an end");
    ok(gate(&t[1], NOW) > NEVER, "is not wrapped");
}


/* a limiter as it is in fresh memory */

static void
make(ngx_uint_t rate, ngx_uint_t burst, uint64_t now)
{
    memset(&limiter, 0, sizeof(limiter));
    memset(&pace, 0, sizeof(pace));
    memset(t, 0xff, sizeof(t));

    pace.rate = rate;
    pace.burst = burst;
    pace.spacing = 1000;

    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);
}
