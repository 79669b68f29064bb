
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What an upstream may do, learned from its refusals: 45 and 55 requests a
 * second for 60 that the vendors take, and vendors that change
 */


#include "tap.h"
#include "load.h"


#define FIGURES    "%d of %d calls refused, longest wait %d ms"
#define figures()  (int) seen.refused, (int) seen.calls,                     \
                   (int) (seen.longest / 1000)


static void test_automatic(void);
static void test_hints(void);
static void test_windows(void);
static void test_remaining(void);
static void test_quota(void);
static void test_halved(void);
static void test_doubled(void);
static void test_spike(void);
static void test_slow(void);
static void test_outage(void);

static void is_found(ngx_uint_t low, ngx_uint_t high, const char *name);


int
main(void)
{
    test_automatic();
    test_hints();
    test_windows();
    test_remaining();
    test_quota();
    test_halved();
    test_doubled();
    test_spike();
    test_slow();
    test_outage();

    return done_testing();
}


static void
test_automatic(void)
{
    ngx_uint_t  i, k;

    for (i = 0; i < 8; i++) {
        for (k = 1; k <= 5; k++) {
            start(20, 20, k);

            pace.automatic = 1;
            load = i & 1 ? 55 : 45;
            hints = i & 2;
            set_renews(i & 4);

            run(10);
            run(50);

            ok(seen.refused * 100 <= seen.calls && seen.longest < 20 * SECOND,
               "auto, %d/s, %s, %s: " FIGURES, (int) load,
               hints ? "hints" : "no hints", i & 4 ? "renewing" : "ending",
               figures());
        }
    }

    start(20, 20, 1);
    pace.automatic = 1;
    latency = 500 * MSEC;
    run(60);

    is_found(15, 25, "a call takes 500 ms");

    load = 3;
    run(10);
    run(3600);

    ok(seen.refused == 0, "no refusals in an hour with 3/s: " FIGURES,
       figures());
    is_found(15, 25, "what was learned stays");
}


/* nothing is learned: a limit is reached again, but then it is kept */

static void
test_hints(void)
{
    ngx_uint_t  i, k;

    for (i = 0; i < 8; i++) {
        for (k = 30; k <= 70; k += 10) {
            start(20, 20, 1);

            load = k;
            hints = 1;
            rotate = i & 1;
            set_renews(i & 2);
            latency = i & 4 ? 300 * MSEC : 2 * MSEC;

            run(60);

            ok(seen.late == 0, "hints, %d/s, %s, rotate %d, %d ms: " FIGURES,
               (int) load, i & 2 ? "renewing" : "ending", (int) rotate,
               (int) (latency / 1000), figures());
        }
    }
}


/* all of a window's calls at its beginning */

static void
test_windows(void)
{
    ngx_uint_t  i, k;

    static struct {
        uint64_t  calls;
        uint64_t  time;
    } windows[] = { { 20, 1 }, { 200, 10 }, { 1200, 60 } };

    for (i = 0; i < 6; i++) {
        start(0, windows[i / 2].calls, 1);

        pace.automatic = i & 1;
        hints = 1;
        load = 50;

        for (k = 0; k < WAYS; k++) {
            vendors[k].window = windows[i / 2].time * SECOND;
        }

        run(30);
        run(120);

        ok(seen.refused * 100 <= seen.calls && seen.longest < 20 * SECOND
           && seen.late == 0,
           "%d calls in %d s, auto %d: " FIGURES, (int) windows[i / 2].calls,
           (int) windows[i / 2].time, (int) pace.automatic, figures());
    }
}


/*
 * Replies say how many calls are left: from the first on none is refused, or
 * one of those that are under way when the last one is taken
 */

static void
test_remaining(void)
{
    ngx_uint_t  i, k, used;

    /* the time is told in whole seconds, so much of it may be lost */

    static struct {
        uint64_t  calls;
        uint64_t  time;
        uint64_t  used;
    } windows[] = { { 40, 2, 75 }, { 200, 10, 90 }, { 1200, 60, 97 } };

    for (i = 0; i < 12; i++) {
        start(0, windows[i / 4].calls, 1);

        pace.automatic = 1;
        hints = 1;
        teaches = 1;
        latency = i & 1 ? 300 * MSEC : 2 * MSEC;
        load = i & 2 ? 70 : 40;

        for (k = 0; k < WAYS; k++) {
            vendors[k].window = windows[i / 4].time * SECOND;
            vendors[k].filled = now;
        }

        run(180);

        used = 60 * 180 * windows[i / 4].used / 100;

        ok(seen.refused * 500 <= (i & 1 ? seen.calls : 0),
           "%d calls in %d s, %d/s, %d ms: " FIGURES,
           (int) windows[i / 4].calls, (int) windows[i / 4].time, (int) load,
           (int) (latency / 1000), figures());
        ok(load == 70 ? seen.calls >= used : seen.longest < 12 * SECOND,
           "what is offered is used");
    }
}


/* half of what a window offers may go at once, the rest is spread over it */

static void
test_quota(void)
{
    uint64_t                        last;
    ngx_uint_t                      i;
    ngx_http_retry_chain_ticket_t   t;

    start(0, 0, 1);
    pace.automatic = 1;

    for (i = 99; i >= 50; i--) {
        if (ngx_http_retry_chain_limiter_peek(&limiters[0], &pace, now)
            != now)
        {
            break;
        }

        (void) ngx_http_retry_chain_limiter_accepted(&limiters[0], &pace, now,
                                                     now);
        (void) ngx_http_retry_chain_limiter_told(&limiters[0], &pace, now, now,
                                                 i, 60 * SECOND);
    }

    is_int(i, 49, "50 of 100 calls in a moment");

    last = now;
    (void) ngx_http_retry_chain_limiter_accepted(&limiters[0], &pace, now, now);
    (void) ngx_http_retry_chain_limiter_told(&limiters[0], &pace, now, now, 49,
                                             60 * SECOND);

    for (i = 49; i > 1; i--) {
        now = ngx_http_retry_chain_limiter_reserve(&limiters[0], &pace, now,
                                                   &t);
        (void) ngx_http_retry_chain_limiter_accepted(&limiters[0], &pace, now,
                                                     now);
        (void) ngx_http_retry_chain_limiter_told(&limiters[0], &pace, now, now,
                                                 i - 1,
                                                 last + 60 * SECOND - now);
    }

    ok(now - last >= 55 * SECOND && now - last <= 60 * SECOND,
       "the others in %d ms", (int) ((now - last) / 1000));

    /* the next window */

    now = last + 60 * SECOND;

    (void) ngx_http_retry_chain_limiter_told(&limiters[0], &pace, now, now, 99,
                                             60 * SECOND);
    is_int(ngx_http_retry_chain_limiter_peek(&limiters[0], &pace, now), now,
           "at once again");

    /* only for rate=auto */

    start(0, 0, 1);

    is_int(ngx_http_retry_chain_limiter_told(&limiters[0], &pace, now, now, 1,
                                             60 * SECOND),
           NGX_DECLINED, "nobody has asked for it");
    is_int(ngx_http_retry_chain_limiter_peek(&limiters[0], &pace, now), now,
           "nothing is paced");
}


static void
test_halved(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 10; i++) {
        start(20, 20, i / 2 + 1);

        pace.automatic = 1;
        hints = i & 1;
        load = 25;

        run(60);
        set_rate(10);
        run(60);

        ok(seen.refused <= 8 * WAYS && seen.longest < 20 * SECOND,
           "the limit is halved: " FIGURES, figures());

        run(60);

        ok(seen.refused * 100 <= seen.calls && seen.longest < 10 * SECOND,
           "the next minute: " FIGURES, figures());
    }
}


static void
test_doubled(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 10; i++) {
        start(20, 20, i / 2 + 1);

        pace.automatic = 1;
        hints = i & 1;

        run(60);
        set_rate(40);
        load = 100;
        run(60);

        ok(seen.refused <= 5 * WAYS, "the limit is doubled: " FIGURES,
           figures());
        is_found(30, 50, "after a minute");
    }
}


/* what was taken in quiet times is not what may be taken */

static void
test_spike(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 4; i++) {
        start(20, 20, 1);

        pace.automatic = i & 1;
        hints = i & 2;
        load = 1;

        run(300);
        load = 55;
        run(60);

        ok(seen.refused <= 6 * WAYS && seen.longest < 20 * SECOND,
           "1/s, then 55/s, auto %d: " FIGURES, (int) pace.automatic,
           figures());
    }
}


/* an upstream that takes one call a second */

static void
test_slow(void)
{
    ngx_uint_t  i;

    for (i = 0; i < 4; i++) {
        start(1, 1, 1);

        pace.automatic = i & 1;
        hints = i & 2;
        load = 1.2;

        run(60);
        run(60);

        /* without hints a block is found to last two refusals */

        ok(seen.refused * (hints ? 10 : 5) <= seen.calls,
           "1/s, auto %d: " FIGURES, (int) pace.automatic, figures());
    }
}


/* an upstream that took nothing takes all again */

static void
test_outage(void)
{
    ngx_uint_t  i, k;

    for (i = 0; i < 4; i++) {
        start(20, 20, 1);

        pace.automatic = i & 1;
        hints = i & 2;
        load = 40;

        for (k = 0; k < WAYS; k++) {
            vendors[k].blocked = now + 5 * SECOND;
            vendors[k].began = now;
        }

        run(60);
        run(60);

        ok(seen.refused * 50 <= seen.calls && seen.longest < 60 * SECOND,
           "at the beginning, auto %d: " FIGURES, (int) pace.automatic,
           figures());

        /* an hour of probes */

        start(20, 20, 1);
        run(60);

        for (k = 0; k < 3600; k++) {
            now += 2 * SECOND;

            (void) ngx_http_retry_chain_limiter_limit(&limiters[0], &pace, now,
                                                      now + SECOND);
        }

        ok(limiters[0].learned.rate > 8000, "after an hour, auto %d: %d",
           (int) pace.automatic, (int) limiters[0].learned.rate);
    }
}


static void
is_found(ngx_uint_t low, ngx_uint_t high, const char *name)
{
    ngx_uint_t  i, rate;

    for (i = 0; i < WAYS; i++) {
        rate = limiters[i].learned.rate;

        ok(rate >= low * 1000 && rate <= high * 1000,
           "%s: %d/1000 a second", name, (int) rate);
    }
}
