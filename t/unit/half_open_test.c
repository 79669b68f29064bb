
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* the time after a limit without a rate, and reloads */


#include "limiter.h"


#define FREE     NGX_HTTP_RETRY_CHAIN_PERIOD_FREE
#define PACED    NGX_HTTP_RETRY_CHAIN_PERIOD_PACED
#define PROBE    NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN


static void test_probe(void);
static void test_probe_burst(void);
static void test_probe_lost(void);
static void test_probe_between(void);
static void test_probe_slow(void);
static void test_free(void);
static void test_init(void);
static void test_init_limited(void);

static void make(ngx_uint_t rate, ngx_uint_t burst, uint64_t now);
static void make_learned(ngx_uint_t rate);
static ngx_uint_t kind(void);


static ngx_http_retry_chain_ticket_t  t[30];


int
main(void)
{
    test_probe();
    test_probe_burst();
    test_probe_lost();
    test_probe_between();
    test_probe_slow();
    test_free();
    test_init();
    test_init_limited();

    return done_testing();
}


/*
 * Without a rate one call goes when a limit has ended, and the others when one
 * that was sent since then has been accepted
 */

static void
test_probe(void)
{
    uint64_t    now, until;
    ngx_uint_t  i;

    make_learned(20000);

    (void) reserve(NOW, &t[0]);

    until = NOW + SECOND;

    is_int(limit(NOW, until), NGX_OK, "a limit without a rate");
    is_int(kind(), PROBE, "is followed by a probe");

    for (i = 0; i < 5; i++) {
        is_int(reserve(NOW + i * MSEC, &t[i]) - until, i * 50 * MSEC,
               "call %d is expected at the learned rate", (int) i + 1);
    }

    is_int(gate(&t[0], until), until, "one passes the gate");

    for (i = 1; i < 5; i++) {
        is_int(gate(&t[i], until) - until, i * SECOND,
               "call %d does not", (int) i + 1);
    }

    is_int(accepted(until + 10 * MSEC, NOW - 10 * MSEC), NGX_DECLINED,
           "a call accepted that was sent before the limit");
    is_int(accepted(until + 10 * MSEC, until - 1), NGX_DECLINED,
           "or before its end");
    is_int(gate(&t[1], until) - until, SECOND, "tells nothing");

    now = until + 20 * MSEC;

    is_int(accepted(now, until), NGX_OK, "one that was sent after it does");
    is_int(kind(), PACED, "the others follow");

    for (i = 1; i < 5; i++) {
        is_int(gate(&t[i], now) - now, (i - 1) * 50 * MSEC,
               "at the learned rate, call %d", (int) i + 1);
        is_int(due(&t[i], now), gate(&t[i], now), "as they are due");
    }

    is_int(ngx_http_retry_chain_limiter_rate(&limiter), 20000, "as it is said");
}


/* rate=auto burst=10: a burst is for the time without a limit */

static void
test_probe_burst(void)
{
    uint64_t    until, now;
    ngx_uint_t  i;

    until = NOW + SECOND;

    for (now = NOW; now < NOW + 100 * SECOND; now += 60 * SECOND) {
        make_learned(20000);
        pace.burst = 10;
        pace.automatic = 1;

        (void) limit(NOW, until);

        for (i = 0; i < 5; i++) {
            (void) reserve(now, &t[i]);
            is_int(gate(&t[i], until) - ngx_max(now, until), i * SECOND,
                   "one probe after %d s, call %d",
                   (int) ((now - NOW) / SECOND), (int) i + 1);
        }

        (void) accepted(now + 2 * SECOND, now + 2 * SECOND);
        (void) reserve(now + 2 * SECOND, &t[5]);

        ok(gate(&t[5], now + 2 * SECOND) > now + 2 * SECOND,
           "nothing is left of the burst");
    }
}


static void
test_probe_lost(void)
{
    uint64_t    until, now;
    ngx_uint_t  i;

    make_learned(20000);

    until = NOW + SECOND;

    (void) limit(NOW, until);

    for (i = 0; i < 5; i++) {
        (void) reserve(NOW, &t[i]);
    }

    now = until + SECOND;

    is_int(gate(&t[1], now), now, "a probe without an answer: the next passes");
    is_int(gate(&t[2], now) - now, SECOND, "and no other");

    now += 100 * MSEC;

    is_int(accepted(now, until), NGX_OK, "the late answer counts");
    is_int(gate(&t[2], now) - now, 45 * MSEC, "the third may go");

    /* a probe that is refused begins another limit */

    make_learned(20000);

    (void) limit(NOW, until);

    for (i = 0; i < 5; i++) {
        (void) reserve(NOW, &t[i]);
    }

    is_int(limit(until + 10 * MSEC, until + SECOND), NGX_OK,
           "a probe is refused");
    is_int(kind(), PROBE, "and there will be another");
    ok(gate(&t[1], until + SECOND) <= until + 2 * SECOND, "it is the second");
    is_int(gate(&t[2], until + SECOND) - gate(&t[1], until + SECOND), SECOND,
           "alone");
    is_int(accepted(until + SECOND, until), NGX_DECLINED,
           "the first cannot be accepted any more");
}


/* a limit that falls between two calls: the one that waits is the probe */

static void
test_probe_between(void)
{
    uint64_t  now, until;

    make_learned(0);

    (void) limit(NOW, NOW);
    (void) reserve(NOW, &t[0]);
    (void) reserve(NOW, &t[1]);

    now = NOW + 1542 * MSEC;

    is_int(accepted(now, NOW + SECOND), NGX_OK, "the second call is accepted");

    (void) reserve(now, &t[2]);
    (void) reserve(now, &t[3]);

    until = NOW + 2 * SECOND;

    is_int(limit(now, until), NGX_OK, "two wait when a limit falls");
    is_int(gate(&t[3], until) - gate(&t[2], until), SECOND, "one at a time");

    /* none has gone yet */

    until += SECOND;

    is_int(limit(now + 1, until), NGX_OK, "a later end");
    is_int(gate(&t[2], until), until, "the first goes at its end");
    is_int(gate(&t[3], until) - until, SECOND, "the second after the spacing");

    /* the first has */

    now = until;
    until += SECOND;

    is_int(limit(now, until), NGX_OK, "the probe is refused");
    is_int(gate(&t[3], until), until, "the second goes at its end");
}


/* an upstream that takes less than a call a spacing is not put off for that */

static void
test_probe_slow(void)
{
    uint64_t    now, until;
    ngx_uint_t  i;

    make_learned(100);

    until = NOW + SECOND;

    (void) limit(NOW, until);

    for (i = 0; i < 100; i += 10) {
        now = until + i * SECOND;

        is_int(ngx_http_retry_chain_limiter_peek(&limiter, &pace, now), now,
               "nobody has called for %d s: it is free", (int) i);
        is_int(reserve(now, &t[0]), now, "and can be had");
        is_int(gate(&t[0], now), now, "and used");
        is_int(reserve(now, &t[1]) - now, 10 * SECOND,
               "the next is expected at the learned rate");

        (void) ngx_http_retry_chain_limiter_cancel(&limiter, &t[1]);
        (void) ngx_http_retry_chain_limiter_cancel(&limiter, &t[0]);
    }
}


static void
test_free(void)
{
    uint64_t    now, until;
    ngx_uint_t  i;

    for (i = 0; i < 3; i++) {

        /* hints only, rate=auto, and that with nothing learned */

        make_learned(i < 2 ? 20000 : 0);
        pace.automatic = i > 0;

        until = NOW + SECOND;

        (void) limit(NOW, until);
        (void) reserve(NOW, &t[0]);
        (void) reserve(NOW, &t[1]);
        (void) reserve(NOW, &t[2]);
        (void) accepted(until + MSEC, until);

        now = gate(&t[2], until + MSEC);

        is_int(kind(), PACED, "after the limit, case %d", (int) i + 1);
        ok(ngx_http_retry_chain_limiter_peek(&limiter, &pace, now) > now,
           "while there are others");

        now += 2 * SECOND;

        is_int(ngx_http_retry_chain_limiter_peek(&limiter, &pace, now), now,
               "nobody waits");
        is_int(reserve(now, &t[3]), now, "one goes");
        is_int(kind(), i == 1 ? PACED : FREE, "what is learned lasts");
        is_int(reserve(now, &t[4]) - now, i == 1 ? 50 * MSEC : 0, "another");
    }
}


/* a reload */

static void
test_init(void)
{
    uint64_t                        first, now;
    ngx_uint_t                      i;
    ngx_http_retry_chain_limiter_t  before;
    ngx_http_retry_chain_learned_t  learned;

    make(10000, 1, NOW);

    limiter.learned.calls = 7;
    limiter.learned.rate = 12345;
    learned = limiter.learned;

    for (i = 0; i < 5; i++) {
        (void) reserve(NOW, &t[i]);
    }

    before = limiter;
    now = NOW + 50 * MSEC;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);
    ok(memcmp(&before, &limiter, sizeof(limiter)) == 0, "nothing new");

    pace.rate = 20000;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);

    first = due(&t[1], now);

    is_int(first - now, 25 * MSEC, "twice the rate: what was left is halved");

    for (i = 2; i < 5; i++) {
        is_int(due(&t[i], now) - first, (i - 1) * 50 * MSEC,
               "the distances are, too");
    }

    is_int(reserve(now, &t[5]) - first, 200 * MSEC, "new ones are behind them");

    pace.rate = 0;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);

    is_int(gate(&t[5], now) - first, 200 * MSEC,
           "without a rate those who wait keep their order");

    now += SECOND;

    is_int(reserve(now, &t[6]), now, "when nobody waits any more");
    is_int(reserve(now, &t[7]), now, "all may go");

    pace.rate = 5000;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);

    (void) reserve(now, &t[0]);
    is_int(reserve(now, &t[1]) - now, 200 * MSEC, "a rate again");

    pace.rate = 0;
    pace.automatic = 1;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);
    is_int(ngx_http_retry_chain_limiter_rate(&limiter) / 10, 1234,
           "rate=auto goes on with what is known");
    ok(memcmp(&learned, (void *) &limiter.learned, sizeof(learned)) == 0,
       "what is learned stays");
}


/* a reload under a limit */

static void
test_init_limited(void)
{
    uint64_t    until, now;
    ngx_uint_t  i;

    static ngx_uint_t  rates[][2] = {
        { 10000, 20000 }, { 10000, 0 }, { 0, 10000 }, { 0, 0 }
    };

    until = NOW + SECOND;

    for (i = 0; i < 4; i++) {
        make_learned(50000);

        pace.rate = rates[i][0];
        ngx_http_retry_chain_limiter_init(&limiter, &pace, NOW);

        (void) limit(NOW, until);
        (void) reserve(NOW, &t[0]);
        (void) reserve(NOW, &t[1]);

        pace.rate = rates[i][1];
        ngx_http_retry_chain_limiter_init(&limiter, &pace, NOW + MSEC);

        is_int(ngx_http_retry_chain_limiter_limited(&limiter, NOW + MSEC),
               until, "rate %d to %d: the limit stays", (int) rates[i][0],
               (int) rates[i][1]);
        is_int(gate(&t[0], NOW + MSEC), until, "for those who wait, too");
        is_int(gate(&t[1], NOW + MSEC) - until,
               pace.rate ? 1000 * SECOND / pace.rate : SECOND,
               "the pace after it is the new one");
    }

    make(0, 1, NOW);

    (void) limit(NOW, until);
    (void) reserve(NOW, &t[0]);
    (void) reserve(NOW, &t[1]);

    pace.spacing = 20000;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, NOW + MSEC);

    is_int(gate(&t[1], NOW + MSEC) - until, SECOND,
           "without one it is that of who was refused");

    /* a probe is under way, and others have had no answer */

    make_learned(50000);

    (void) limit(NOW, until);

    for (i = 0; i < 30; i++) {
        (void) reserve(NOW, &t[i]);
    }

    now = until + 20 * SECOND;

    pace.rate = 10000;
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);

    is_int(ngx_http_retry_chain_limiter_rate(&limiter), 10000,
           "a rate ends the time of probes");

    for (i = 20; i < 30; i++) {
        is_int(gate(&t[i], now) - now, (i - 20) * 100 * MSEC,
               "those who wait go at the rate");
    }
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


/* too few calls to learn anew from the next limit */

static void
make_learned(ngx_uint_t rate)
{
    make(0, 1, NOW);

    limiter.learned.rate = rate;
    limiter.learned.ceiling = rate;
    limiter.learned.since = NOW - SECOND;
    limiter.learned.calls = 1;
}


static ngx_uint_t
kind(void)
{
    return limiter.periods[limiter.current % NGX_HTTP_RETRY_CHAIN_PERIODS].kind;
}
