
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* what replies do to a limiter: one test for each rule */


#include "limit.h"


static void test_guess(void);
static void test_trial(void);
static void test_doubt(void);
static void test_again(void);
static void test_away(void);
static void test_pace(void);
static void test_drain(void);
static void test_flight(void);
static void test_best(void);
static void test_told(void);


int
main(void)
{
    test_guess();
    test_trial();
    test_doubt();
    test_again();
    test_away();
    test_pace();
    test_drain();
    test_flight();
    test_best();
    test_told();

    return done_testing();
}


/* a refusal without a time: one spacing more each time */

static void
test_guess(void)
{
    call_t      call;
    ngx_uint_t  i;

    make(0, 1);

    conf.trial = 0;

    (void) fresh(&call);

    for (i = 1; i <= 70; i++) {
        (void) refused(&call, 0);

        if (i < 4 || i > 59) {
            is_int(limit.blocked - now, ngx_min(i, 60) * SECOND,
                   "refusal %d without a time", (int) i);
        }

        now = limit.blocked;
        (void) fresh(&call);
    }

    make(0, 1);

    refuse(0);
    now = limit.blocked;
    refuse(0);
    now = limit.blocked;
    serve(1, 0, 0);
    refuse(0);

    is_int(limit.blocked - now, 2 * SECOND, "what did is tried first");

    now = limit.blocked + 60 * SECOND;
    serve(1, 0, 0);
    refuse(0);

    is_int(limit.blocked - now, SECOND, "a minute later it is forgotten");

    limit.guess = 8;
    run.deadline = now + 900 * MSEC;
    now += 500 * MSEC;
    (void) fresh(&call);
    accepted(&call, 0);
    is_int(limit.guess, 4, "a trial that is accepted makes it half");
}


/* a call during a block that would cost a deadline */

static void
test_trial(void)
{
    call_t      call;
    uint64_t    last, step;
    ngx_uint_t  i;

    make(0, 1);

    refuse(30 * SECOND);

    run.arrived = now;
    run.deadline = now + 60 * SECOND;
    now += 9 * SECOND;
    is_int(admit(&call), BLOCKED, "who has time waits");

    now += SECOND;
    is_int(admit(&call), GO, "for ten seconds");
    is_int(call.trial, 1, "that is a trial");

    make(0, 1);

    refuse(30 * SECOND);

    run.deadline = now + 10 * SECOND;
    is_int(admit(&call), BLOCKED, "who cannot outlast the block");
    is_int(when - now, 100 * MSEC, "looks again");

    now += 249 * MSEC;
    is_int(admit(&call), BLOCKED, "but not at once");
    now += MSEC;
    is_int(admit(&call), GO, "tries after 250 ms");
    is_int(fresh(&call), BLOCKED, "one at a time");

    make(0, 1);

    conf.trial = 0;
    refuse(30 * SECOND);
    run.deadline = now + 10 * SECOND;
    now += 9 * SECOND;
    is_int(admit(&call), BLOCKED, "trial=off keeps to the letter");

    make(0, 1);

    refuse(3600 * SECOND);

    last = now;
    step = 250 * MSEC;

    for (i = 0; i < 12; i++) {
        now = last + step;
        run.deadline = now + SECOND;
        is_int(fresh(&call), GO, "trial %d after %d ms", (int) i + 1,
               (int) (step / MSEC));

        last = now;
        (void) refused(&call, 3600 * SECOND);
        step = ngx_min(2 * step, 60 * SECOND);

        now = last + step - 1;
        run.deadline = now + SECOND;
        is_int(fresh(&call), BLOCKED, "and no sooner");
    }

    now = last + step;
    run.deadline = now + SECOND;
    (void) fresh(&call);
    accepted(&call, 0);
    is_int(fresh(&call), GO, "when one is accepted the block is over");
}


/* refusals that do not stop other calls are not believed, and then they are */

static void
test_doubt(void)
{
    call_t                              call;
    ngx_uint_t                          i, n;
    ngx_http_retry_chain_limit_state_t  state;

    make(0, 1);

    for (n = 0; n < 100; n++) {
        refuse(30 * SECOND);

        if (limit.blocked <= now) {
            break;
        }

        now += 250 * MSEC;
        run.deadline = now + SECOND;
        is_int(fresh(&call), GO, "a trial");
        accepted(&call, 0);
    }

    is_int(n, 2, "two calls in spite of refusals are enough");

    ngx_http_retry_chain_limit_state(&limit, &conf, now, &state);

    is_int(state.doubted, 1, "not believed");
    is_int(fresh(&call), GO, "the block is none");

    for (i = 0; i < 1000; i++) {
        (void) fresh(&call);
        now += MSEC;

        if (i % 2) {
            accepted(&call, 0);

        } else {
            (void) refused(&call, 30 * SECOND);
        }
    }

    for (n = 0; limit.blocked <= now; n++) {
        (void) fresh(&call);
        now += MSEC;
        (void) refused(&call, 30 * SECOND);
    }

    is_int(n, 7, "whatever was before, seven in a row are believed again");

    make(0, 1);

    run.in_flight = 2;
    (void) fresh(&call);
    (void) refused(&call, 30 * SECOND);
    now += 250 * MSEC;
    run.in_flight = 0;
    run.deadline = now + SECOND;
    (void) fresh(&call);
    accepted(&call, 0);
    is_int(limit.patience, 250 * MSEC, "one call says nothing about three");

    make(0, 1);

    for (i = 0, n = 0; i < 10000; i++) {

        if (fresh(&call) != GO) {
            run.deadline = now + SECOND;
            now += 250 * MSEC;
            n++;
            continue;
        }

        now += MSEC;

        if (noise() % 5 == 0) {
            (void) refused(&call, 30 * SECOND);

        } else {
            accepted(&call, 0);
        }
    }

    ok(n < 40, "one of five is refused: %d blocks", (int) n);

    make(0, 1);

    conf.trial = 0;

    for (i = 0; i < 10; i++) {
        (void) fresh(&call);
        (void) refused(&call, SECOND);
        accepted(&call, 0);
        now += SECOND;
    }

    refuse(SECOND);
    is_int(fresh(&call), BLOCKED, "trial=off believes all");
}


/* what others refuse, too, is about the request */

static void
test_again(void)
{
    call_t  call;

    make(0, 1);

    refuse(30 * SECOND);
    now += 250 * MSEC;

    run.deadline = now + SECOND;
    run.again = 1;

    (void) fresh(&call);
    is_int(call.trial, 1, "a trial by a run that was refused elsewhere");
    (void) refused(&call, 30 * SECOND);
    is_int(limit.patience, 250 * MSEC, "is no reason for patience");
}


/* what is no refusal is asked again soon, and teaches nothing */

static void
test_away(void)
{
    call_t      call;
    uint64_t    last;
    ngx_uint_t  i;

    static uint64_t  steps[] = { 1000, 1000, 1000, 2000, 4000, 8000, 10000,
                                 10000, 0 };

    make(0, 1);

    run.deadline = now + 3600 * SECOND;
    (void) fresh(&call);
    is_int(away(&call, 503, 3600 * SECOND), NGX_OK, "a 503 blocks");

    for (i = 0; steps[i]; i++) {
        last = now;

        now = last + steps[i] * MSEC - 1;
        is_int(fresh(&call), BLOCKED, "not before %d ms", (int) steps[i]);

        now++;
        is_int(fresh(&call), GO, "one call after %d ms", (int) steps[i]);
        (void) away(&call, 503, 3600 * SECOND);
    }

    now += 10 * SECOND;
    (void) fresh(&call);
    accepted(&call, 0);
    is_int(fresh(&call), GO, "it is back");
    is_int(limit.base, 0, "and nothing was learned");

    make(0, 1);

    (void) fresh(&call);
    accepted(&call, 0);
    (void) away(&call, 200, SECOND);
    is_int(fresh(&call), BLOCKED, "a success after which nothing remains");
    now += SECOND;
    is_int(fresh(&call), GO, "for a second");
}


/* after a block: a rate that was accepted, and what the line takes */

static void
test_pace(void)
{
    call_t  call;

    make(0, 1);

    serve(200, 50 * MSEC, 0);
    is_int(pace(0), 0, "nothing is known");

    refuse(2 * SECOND);
    ok(pace(0) >= 17900 && pace(0) <= 18000, "nine tenths of 20 a second");
    ok(pace(30) >= 27900 && pace(30) <= 28000,
       "and ten more, that 30 do not wait for longer than three seconds");

    now += 2 * SECOND;
    run.arrived = now;
    run.waiting = 30;
    is_int(admit(&call), GO, "one goes");
    accepted(&call, 30);

    is_int(admit(&call), PACE, "the next one");
    ok(when - now > 35 * MSEC && when - now < 36 * MSEC, "at the pace");

    accepted(&call, 0);
    is_int(pace(0), 0, "nobody waits: none");

    make(0, 1);

    conf.automatic = 1;
    serve(200, 50 * MSEC, 0);
    refuse(2 * SECOND);
    now += 2 * SECOND;
    serve(1, 0, 0);
    ok(pace(0) > 17000, "rate=auto remembers it");
}


/* refusals that follow the calls make the line slower, for a while */

static void
test_drain(void)
{
    ngx_uint_t  i, last;

    make(0, 1);

    conf.trial = 0;
    serve(200, 50 * MSEC, 0);
    refuse(SECOND);

    last = pace(30);

    for (i = 0; i < 4; i++) {
        now += SECOND;
        serve(10, 50 * MSEC, 30);
        refuse(SECOND);

        ok(pace(30) < last, "refused again: slower");
        last = pace(30);
    }

    now += SECOND;
    serve(9, 50 * MSEC, 30);
    refuse(SECOND);
    is_int(pace(30), last, "after less than ten calls it says nothing");

    for (i = 0; i < 20; i++) {
        now += SECOND;
        serve(10, 50 * MSEC, 30);
        refuse(SECOND);
    }

    ok(pace(180) - pace(0) >= 750 && pace(180) - pace(0) < 800,
       "a full line adds 4 %% at least");

    now += 70 * SECOND;
    is_int(pace(30) - pace(0), 10000, "a minute without a refusal: as before");
}


/* calls at once, if a refused one was one too many */

static void
test_flight(void)
{
    call_t  call;

    make(0, 1);

    run.in_flight = 1;
    (void) fresh(&call);
    accepted(&call, 0);

    run.in_flight = 2;
    (void) fresh(&call);
    (void) refused(&call, SECOND);

    now += SECOND;
    run.arrived = now;
    run.waiting = 5;
    run.in_flight = 1;
    (void) fresh(&call);
    accepted(&call, 5);
    now += 900 * MSEC;

    is_int(fresh(&call), GO, "two have been accepted");
    now += 400 * MSEC;

    run.in_flight = 2;
    is_int(fresh(&call), FLIGHT, "not three");

    now += SECOND;
    is_int(fresh(&call), GO, "some time later it may be tried");

    make(0, 1);

    run.in_flight = 2;
    (void) fresh(&call);
    accepted(&call, 0);

    run.in_flight = 1;
    (void) fresh(&call);
    (void) refused(&call, SECOND);
    now += SECOND;
    run.waiting = 5;
    (void) fresh(&call);
    accepted(&call, 5);
    now += SECOND;

    run.in_flight = 20;
    is_int(fresh(&call), GO, "no bound: more than the refused were accepted");
}


/* the best ten seconds of the last minute */

static void
test_best(void)
{
    make(0, 1);

    conf.automatic = 1;
    serve(3, 10 * MSEC, 0);
    refuse(SECOND);
    is_int(pace(0), 2700, "three in the first second");

    make(0, 1);

    conf.automatic = 1;
    serve(400, 50 * MSEC, 0);
    serve(35, SECOND, 0);
    refuse(SECOND);
    ok(pace(0) >= 17900, "some time ago");

    make(0, 1);

    conf.automatic = 1;
    serve(400, 50 * MSEC, 0);
    serve(70, SECOND, 0);
    refuse(SECOND);
    is_int(pace(0), 900, "that is over");
}


/* "remaining" of a window, for rate=auto */

static void
test_told(void)
{
    call_t  call;

    make(0, 1);

    ngx_http_retry_chain_limit_told(&limit, &conf, 20, 10 * SECOND, now);
    ngx_http_retry_chain_limit_told(&limit, &conf, 5, 10 * SECOND, now);
    is_int(pace(0), 0, "only if that is asked for");

    conf.automatic = 1;

    ngx_http_retry_chain_limit_told(&limit, &conf, 20, 10 * SECOND, now);
    is_int(pace(0), 0, "much remains");
    ngx_http_retry_chain_limit_told(&limit, &conf, 10, 10 * SECOND, now);
    is_int(pace(0), 1000, "half of it is spread");

    (void) fresh(&call);
    is_int(fresh(&call), PACE, "a call waits for that");

    now += 10 * SECOND;
    is_int(pace(0), 0, "the window has ended");

    ngx_http_retry_chain_limit_told(&limit, &conf, 4987, 3400 * SECOND, now);
    ngx_http_retry_chain_limit_told(&limit, &conf, 1, 3400 * SECOND, now);
    is_int(pace(0), 0, "what is left for an hour is not spread");
}
