
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* one limiter, many workers; and workers that are killed at any moment */


#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include "tap.h"
#include "ngx_http_retry_chain_limiter.h"


#define CALL     ((uint64_t) NGX_HTTP_RETRY_CHAIN_CALL)
#define PHASES   NGX_HTTP_RETRY_CHAIN_PERIODS
#define MSEC     ((uint64_t) 1000)
#define SECOND   ((uint64_t) 1000000)
#define NOW      (1000 * SECOND)

#define THREADS  4
#define WAITING  16
#define INTERVAL 20
#define CALLS    800000
#define LIMITS   1000

/* every turn of a thread moves the clock by so many microseconds */

#define TICK     7
#define TURNS    2000000

/* of two threads that go side by side, and what each does in one of them */

#define ROUNDS   50000
#define TIMES    4


/* a call that was made: its ticket, and when */

typedef struct {
    uint64_t                       ticket;
    uint64_t                       time;
} call_t;


typedef struct {
    pthread_t                      thread;
    ngx_uint_t                     number;
    uint32_t                       seed;

    ngx_http_retry_chain_ticket_t  parked[WAITING];
    ngx_uint_t                     n;

    ngx_uint_t                     forfeited;
    ngx_uint_t                     wrong;
    ngx_uint_t                     news;      /* limits that were */
} worker_t;


static void test_killed(void);
static void test_killed_writers(void);
static void test_limits(void);
static void test_paced(void);
static void test_probes(void);

static void run(void *(*work)(void *data), ngx_uint_t threads);
static void *work_limits(void *data);
static void *work_paced(void *data);
static void *work_probes(void *data);
static void reserve(worker_t *w, uint64_t now);
static void depart(worker_t *w, uint64_t now);
static ngx_uint_t check_clock(void);
static ngx_uint_t check_tickets(void);
static int compare_tickets(const void *one, const void *two);
static int compare_times(const void *one, const void *two);
static void make(ngx_uint_t rate, ngx_uint_t burst);
static void kill_writer(void);
static uint32_t noise_of(uint32_t *seed);


static ngx_http_retry_chain_limiter_t   limiter;
static ngx_http_retry_chain_limiter_conf_t   pace;

static ngx_atomic_t                  current_time;
static ngx_atomic_t                  current_limit;

static ngx_atomic_t                  arrived;

static worker_t                      workers[THREADS];

static call_t                        calls[CALLS];
static ngx_atomic_t                  ncalls;

/* the periods of the first thread's limits, and when all could know of them */

static ngx_http_retry_chain_period_t  limits[LIMITS];
static uint64_t                      known[LIMITS];
static ngx_uint_t                    nlimits;


int
main(void)
{
    test_killed();
    test_killed_writers();
    test_limits();
    test_paced();
    test_probes();

    return done_testing();
}


/*
 * A writer that was killed before it could publish its period leaves a number
 * that is taken and a period of any bytes
 */

static void
test_killed(void)
{
    uint64_t                       now;
    ngx_uint_t                     i, wrong;
    ngx_http_retry_chain_ticket_t  one, two;

    make(10000, 1);

    wrong = 0;

    for (i = 0; i < 1000; i++) {
        now = NOW + i * 10 * SECOND;

        kill_writer();

        wrong += ngx_http_retry_chain_limiter_peek(&limiter, &pace, now) != now;
        wrong += ngx_http_retry_chain_limiter_reserve(&limiter, &pace, now,
                                                      &one)
                 != now;
        wrong += ngx_http_retry_chain_limiter_reserve(&limiter, &pace, now,
                                                      &two)
                 != now + 100 * MSEC;
        wrong += ngx_http_retry_chain_limiter_gate(&limiter, &two, now)
                 != now + 100 * MSEC;

        if (i % 3) {
            continue;
        }

        wrong += ngx_http_retry_chain_limiter_limit(&limiter, &pace, now,
                                                    now + 2 * SECOND)
                 != NGX_OK;

        kill_writer();

        wrong += ngx_http_retry_chain_limiter_limited(&limiter, now)
                 != now + 2 * SECOND;
        wrong += ngx_http_retry_chain_limiter_gate(&limiter, &two, now)
                 != now + 2100 * MSEC;
    }

    is_int(wrong, 0, "readers and writers go on after 1334 kills");
}


/* whatever number the next writer gets */

static void
test_killed_writers(void)
{
    uint64_t                       now;
    ngx_uint_t                     i, k, wrong;
    ngx_http_retry_chain_ticket_t  one;

    wrong = 0;

    for (i = 0; i < 3 * PHASES; i++) {
        make(0, 1);

        limiter.learned.rate = 20000;
        limiter.learned.ceiling = 20000;

        for (k = 0; k < i; k++) {
            kill_writer();
        }

        for (k = 0, now = NOW; k < 3 * PHASES; k++, now += 10 * SECOND) {

            /* limit, probe, accepted, free */

            wrong += ngx_http_retry_chain_limiter_limit(&limiter, &pace, now,
                                                        now + SECOND)
                     != NGX_OK;

            if (k % 2) {
                kill_writer();
            }

            (void) ngx_http_retry_chain_limiter_reserve(&limiter, &pace, now,
                                                        &one);

            wrong += ngx_http_retry_chain_limiter_gate(&limiter, &one, now)
                     < now + SECOND;
            wrong += ngx_http_retry_chain_limiter_accepted(&limiter, &pace,
                                                           now + 2 * SECOND,
                                                           now + SECOND)
                     != NGX_OK;

            wrong += ngx_http_retry_chain_limiter_reserve(&limiter, &pace,
                                                          now + 9 * SECOND,
                                                          &one)
                     != now + 9 * SECOND;
        }
    }

    is_int(wrong, 0, "after any number of them");
}


/* of limits that fall at the same time the one that ends last is kept */

static void
test_limits(void)
{
    ngx_uint_t  i, wrong;

    make(10000, 1);

    arrived = 0;
    run(work_limits, 2);

    wrong = 0;

    for (i = 0; i < 2; i++) {
        wrong += workers[i].wrong;
    }

    is_int(wrong, 0, "%d limits of two threads: the latest end is kept",
           2 * ROUNDS * TIMES);
    is_int(ngx_http_retry_chain_limiter_limited(&limiter, NOW), current_limit,
           "the last one at last");
}


/* never two calls for one, none before its time, never more than allowed */

static void
test_paced(void)
{
    ngx_uint_t  i, n, wrong, news, forfeited, enough, early, over, missing;

    wrong = 0;
    news = 0;
    early = 0;
    over = 0;
    missing = 0;
    enough = 0;

    /* how much the threads meet is up to the machine */

    for (n = 0; n < 20 && !enough; n++) {

        make(1000 * SECOND / INTERVAL, 3);
        run(work_paced, THREADS);

        forfeited = 0;

        for (i = 0; i < THREADS; i++) {
            wrong += workers[i].wrong;
            news += workers[i].news;
            forfeited += workers[i].forfeited;
        }

        missing += (ncalls + forfeited) * CALL > limiter.tail;
        early += check_clock();
        over += check_tickets();

        enough = ncalls > 10000 && nlimits > 10 && forfeited > 10;
    }

    is_int(wrong, 0, "%d calls of %d threads, %d limits", (int) ncalls, THREADS,
           (int) nlimits);
    is_int(news, 0, "no limit is news twice");
    ok(enough, "there were some");
    ok(missing == 0, "each has its ticket");
    is_int(early, 0, "none goes before its time");
    is_int(over, 0, "never more than burst + rate");
}


static void
test_probes(void)
{
    ngx_uint_t  i, wrong;

    make(0, 1);

    pace.automatic = 1;
    pace.spacing = 1;

    run(work_probes, THREADS);

    wrong = 0;

    for (i = 0; i < THREADS; i++) {
        wrong += workers[i].wrong;
    }

    is_int(wrong, 0, "%d calls of %d threads: limits, probes, learned paces",
           (int) ncalls, THREADS);
    ok(ncalls > 0, "there were some");
    is_int(check_tickets(), 0, "their tickets are distinct");
}


static void
run(void *(*work)(void *data), ngx_uint_t threads)
{
    ngx_uint_t  i;

    memset(workers, 0, sizeof(workers));

    current_time = NOW;
    current_limit = NOW;
    ncalls = 0;
    nlimits = 0;

    for (i = 0; i < threads; i++) {
        workers[i].number = i;
        workers[i].seed = 12345 + i;

        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            abort();
        }
    }

    for (i = 0; i < threads; i++) {
        (void) pthread_join(workers[i].thread, NULL);
    }
}


/*
 * A writer is not overtaken by as many as there are periods, which it would not
 * survive, but no worker sleeps for so long either
 */

static void *
work_limits(void *data)
{
    worker_t *w = data;

    uint64_t    until;
    ngx_uint_t  i, n;

    for (i = 0; i < ROUNDS; i++) {
        (void) ngx_atomic_fetch_add(&arrived, 1);

        for (n = 0; arrived < 2 * (i + 1); n++) {
            if (n > 1000) {
                (void) sched_yield();
            }
        }

        for (n = 0; n < TIMES; n++) {
            until = ngx_atomic_fetch_add(&current_limit, 1) + 1;

            (void) ngx_http_retry_chain_limiter_limit(&limiter, &pace, NOW,
                                                      until);

            w->wrong += ngx_http_retry_chain_limiter_limited(&limiter,
                                                             NOW) < until;
        }
    }

    return NULL;
}


/* the first thread hears of a limit, the others hear the same later */

static void *
work_paced(void *data)
{
    worker_t *w = data;

    uint64_t  now, until;

    for ( ;; ) {
        now = ngx_atomic_fetch_add(&current_time, TICK);

        if (now > NOW + TICK * TURNS) {
            return NULL;
        }

        reserve(w, now);

        until = current_limit;

        if (w->number == 0 && now > until + 10000 && nlimits < LIMITS) {
            until = now + 1000;

            w->wrong += ngx_http_retry_chain_limiter_limit(&limiter, &pace, now,
                                                           until)
                        != NGX_OK;

            limits[nlimits] = limiter.periods[limiter.current % PHASES];
            known[nlimits++] = current_time;
            current_limit = until;

        } else if (now < until && noise_of(&w->seed) % 4 == 0) {
            w->news += ngx_http_retry_chain_limiter_limit(&limiter, &pace, now,
                                                          until)
                       != NGX_DECLINED;
        }

        (void) ngx_http_retry_chain_limiter_accepted(&limiter, &pace, now, now);

        depart(w, current_time);
    }
}


static void *
work_probes(void *data)
{
    worker_t *w = data;

    uint64_t  now;

    for ( ;; ) {
        now = ngx_atomic_fetch_add(&current_time, TICK);

        if (now > NOW + TICK * TURNS) {
            return NULL;
        }

        reserve(w, now);

        if (noise_of(&w->seed) % 4096 == 0) {
            (void) ngx_http_retry_chain_limiter_limit(&limiter, &pace, now,
                                             now + noise_of(&w->seed) % 5000);
        }

        if (noise_of(&w->seed) % 4 == 0) {
            (void) ngx_http_retry_chain_limiter_accepted(&limiter, &pace, now,
                                                now - noise_of(&w->seed) % 100);
        }

        depart(w, current_time);
    }
}


/* some of those who wait change their mind */

static void
reserve(worker_t *w, uint64_t now)
{
    ngx_http_retry_chain_ticket_t *ticket;

    if (w->n && (w->n == WAITING || noise_of(&w->seed) % 4 == 0)) {
        ticket = &w->parked[--w->n];
        w->forfeited += ngx_http_retry_chain_limiter_cancel(&limiter, ticket)
                        != NGX_OK;
        return;
    }

    ticket = &w->parked[w->n];

    w->wrong += ngx_http_retry_chain_limiter_reserve(&limiter, &pace, now,
                                                     ticket)
                < now;

    w->n += ticket->tail != 0;
}


/* those whose time has come, in their order */

static void
depart(worker_t *w, uint64_t now)
{
    ngx_uint_t  i, n;

    for (i = 0; i < w->n; i++) {

        if (ngx_http_retry_chain_limiter_gate(&limiter, &w->parked[i], now)
            > now)
        {
            break;
        }

        w->wrong += i && w->parked[i].ticket < w->parked[i - 1].ticket;

        n = ngx_atomic_fetch_add(&ncalls, 1);

        if (n == CALLS) {
            abort();
        }

        calls[n].ticket = w->parked[i].ticket;
        calls[n].time = now;
    }

    w->n -= i;

    memmove(w->parked, &w->parked[i],
            w->n * sizeof(ngx_http_retry_chain_ticket_t));
}


/*
 * How many went before the clock was there.  A thread may still have gone by
 * the period before a limit that was not known to all at that time.
 */

static ngx_uint_t
check_clock(void)
{
    uint64_t                       time, clock;
    ngx_uint_t                     i, k, n, early, in_time;
    ngx_http_retry_chain_period_t  *period;

    static ngx_http_retry_chain_period_t  first = { .start = NOW };

    qsort(calls, ncalls, sizeof(call_t), compare_times);

    early = 0;
    k = 0;

    for (i = 0; i < ncalls; i++) {
        time = calls[i].time;

        while (k < nlimits && known[k] < time) {
            k++;
        }

        in_time = 0;

        for (n = k; n <= nlimits && !in_time; n++) {
            period = n ? &limits[n - 1] : &first;

            if (time < period->start) {
                break;
            }

            clock = period->ticket + (time - period->start) * CALL / INTERVAL;
            in_time = calls[i].ticket <= clock;
        }

        early += !in_time;
    }

    return early;
}


/* the same as for times, in the units of tickets */

static ngx_uint_t
check_tickets(void)
{
    uint64_t    full;
    ngx_uint_t  i, over;

    qsort(calls, ncalls, sizeof(call_t), compare_tickets);

    full = 0;
    over = 0;

    for (i = 0; i < ncalls; i++) {
        full = ngx_max(full, calls[i].ticket) + CALL;
        over += full - calls[i].ticket > pace.burst * CALL;
    }

    return over;
}


static int
compare_tickets(const void *one, const void *two)
{
    const call_t *a = one;
    const call_t *b = two;

    return (a->ticket > b->ticket) - (a->ticket < b->ticket);
}


static int
compare_times(const void *one, const void *two)
{
    const call_t *a = one;
    const call_t *b = two;

    return (a->time > b->time) - (a->time < b->time);
}


static void
make(ngx_uint_t rate, ngx_uint_t burst)
{
    memset(&limiter, 0, sizeof(limiter));
    memset(&pace, 0, sizeof(pace));

    pace.rate = rate;
    pace.burst = burst;
    pace.spacing = 1000;

    ngx_http_retry_chain_limiter_init(&limiter, &pace, NOW);
}


/* as it claims a number: never that of the current period */

static void
kill_writer(void)
{
    do {
        limiter.claimed++;
    } while (limiter.claimed % PHASES == limiter.current % PHASES);

    memset(&limiter.periods[limiter.claimed % PHASES], 0xff,
           sizeof(ngx_http_retry_chain_period_t));
}


static uint32_t
noise_of(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;

    return *seed;
}
