
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* recent runs: many writers, readers, and writers that are killed */


#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tap.h"
#include "ngx_http_retry_chain_history.h"


#define WRITERS  3
#define READERS  2
#define TIMES    8000
#define SIZE     8
#define KILLS    40

/* a process id that nobody has */

#define NOBODY   0x3fffffff


static void test_order(void);
static void test_texts(void);
static void test_slow(void);
static void test_taken(void);
static void test_threads(void);
static void test_killed(void);

static void make(ngx_uint_t size);
static void fill(ngx_http_retry_chain_history_run_t *run, ngx_uint_t n);
static ngx_uint_t torn(ngx_http_retry_chain_history_run_t *run);
static void *work_write(void *data);
static void *work_read(void *data);


static ngx_http_retry_chain_history_t        *ring;
static ngx_http_retry_chain_history_entry_t  *entries;

static ngx_atomic_t                        running;
static ngx_atomic_t                        seen;
static ngx_atomic_t                        wrong;


int
main(void)
{
    entries = mmap(NULL,
                   4096 + 64 * sizeof(ngx_http_retry_chain_history_entry_t),
                   PROT_READ|PROT_WRITE, MAP_ANON|MAP_SHARED, -1, 0);
    if (entries == MAP_FAILED) {
        return 1;
    }

    ring = (ngx_http_retry_chain_history_t *) entries;
    entries = (ngx_http_retry_chain_history_entry_t *)
              ((u_char *) entries + 4096);

    test_order();
    test_texts();
    test_slow();
    test_taken();
    test_threads();
    test_killed();

    return done_testing();
}


static void
test_order(void)
{
    ngx_uint_t                           i, bad;
    ngx_http_retry_chain_history_run_t   run;

    make(SIZE);

    is_int(ngx_http_retry_chain_history_read(ring, 0, &run), NGX_DECLINED,
           "an empty ring");

    for (i = 1; i <= 3; i++) {
        fill(&run, i);
        ngx_http_retry_chain_history_write(ring, &run, 1);
    }

    is_int(ngx_http_retry_chain_history_read(ring, 2, &run), NGX_OK,
           "the oldest one");
    is_int(run.number, 1, "is the first");
    is_int(ngx_http_retry_chain_history_read(ring, 3, &run), NGX_DECLINED,
           "there are not more");

    for (i = 4; i <= 100; i++) {
        fill(&run, i);
        ngx_http_retry_chain_history_write(ring, &run, 1);
    }

    for (i = 0, bad = 0; i < SIZE; i++) {
        bad += ngx_http_retry_chain_history_read(ring, i, &run) != NGX_OK
               || run.number != 100 - i || torn(&run);
    }

    is_int(bad, 0, "the latest ones, latest first");
    is_int(ngx_http_retry_chain_history_read(ring, SIZE, &run), NGX_DECLINED,
           "and no other");

    make(0);
    ngx_http_retry_chain_history_write(ring, &run, 1);
    ngx_http_retry_chain_history_slow(ring, &run, 1000, 1);
    is_int(ngx_http_retry_chain_history_read(ring, 0, &run), NGX_DECLINED,
           "a ring without a place");
}


static void
test_texts(void)
{
    size_t                             len;
    ngx_uint_t                         i;
    ngx_http_retry_chain_history_run_t   run;

    static u_char  text[1000];

    ngx_memset(text, 'x', sizeof(text));
    run.len = 0;

    is_int(ngx_http_retry_chain_history_text(&run, text, 0, 10), 0, "no text");
    is_int(ngx_http_retry_chain_history_text(&run, text, 11, 10), 10,
           "one that is too long");

    for (i = 0, len = 10; i < 100; i++) {
        len += ngx_http_retry_chain_history_text(&run, text, 300, 256);
    }

    is_int(len, sizeof(run.text), "all texts have room together");
    is_int(run.len, sizeof(run.text), "and not more");

    ok(sizeof(ngx_http_retry_chain_history_entry_t) <= 1024,
       "an entry is 1 KB");
}


static void
test_slow(void)
{
    ngx_uint_t                           i, k, n, bad;
    ngx_http_retry_chain_history_run_t   run;

    make(4);

    for (i = 0; i < 1000; i++) {
        fill(&run, i);
        run.duration = (uint32_t) (i * 7919 % 1000);
        run.time = 1000000 + i;
        ngx_http_retry_chain_history_slow(ring, &run, 3600000, 1);
    }

    for (k = 996, bad = 0; k < 1000; k++) {

        for (i = 0, n = 0; i < 4; i++) {
            n += ngx_http_retry_chain_history_read(ring, i, &run) == NGX_OK
                 && run.duration == k;
        }

        bad += n != 1;
    }

    is_int(bad, 0, "the slowest ones are kept");

    fill(&run, 1);
    run.time = 5000000;
    run.duration = 1;

    for (i = 0; i < 4; i++) {
        run.time += 1000;
        run.duration++;
        ngx_http_retry_chain_history_slow(ring, &run, 3600000, 1);
    }

    for (i = 0, bad = 0; i < 4; i++) {
        bad += ngx_http_retry_chain_history_read(ring, i, &run) != NGX_OK
               || run.duration > 5;
    }

    is_int(bad, 0, "but not for ever");
}


/* an entry that another one writes is left to it, if that is alive */

static void
test_taken(void)
{
    ngx_http_retry_chain_history_run_t   run;

    make(1);

    fill(&run, 1);
    ngx_http_retry_chain_history_write(ring, &run, 1);

    entries[0].sequence |= 1 | (ngx_atomic_uint_t) getppid() << 32;

    fill(&run, 2);
    ngx_http_retry_chain_history_write(ring, &run, getpid());

    is_int(ring->lost, 1, "a writer that is alive is left alone");
    is_int(ngx_http_retry_chain_history_read(ring, 0, &run), NGX_DECLINED,
           "nothing is read meanwhile");

    entries[0].sequence = 5 | (ngx_atomic_uint_t) NOBODY << 32;

    fill(&run, 3);
    ngx_http_retry_chain_history_write(ring, &run, getpid());

    is_int(ring->lost, 1, "one that is not is replaced");
    is_int(ngx_http_retry_chain_history_read(ring, 0, &run), NGX_OK,
           "what comes after it is read");
    is_int(run.number, 3, "completely");

    /* the word begins anew, but never as if nothing was written */

    entries[0].sequence = 0xfffffffe;
    fill(&run, 4);
    ngx_http_retry_chain_history_write(ring, &run, getpid());
    is_int(ngx_http_retry_chain_history_read(ring, 0, &run), NGX_OK,
           "the last number of the word");
    is_int(run.number, 4, "is followed by the first");
}


static void
test_threads(void)
{
    ngx_uint_t  i;
    pthread_t   threads[WRITERS + READERS];

    /* few places, so that readers and writers meet */

    make(2);

    running = WRITERS;
    seen = 0;
    wrong = 0;

    for (i = 0; i < WRITERS + READERS; i++) {
        pthread_create(&threads[i], NULL, i < WRITERS ? work_write : work_read,
                       (void *) (i + 1));
    }

    for (i = 0; i < WRITERS + READERS; i++) {
        pthread_join(threads[i], NULL);
    }

    is_int(wrong, 0, "%d entries read, none of them torn", (int) seen);
    is_int(ring->head, WRITERS * TIMES, "all were written");
    ok(ring->lost < WRITERS * TIMES, "not all of them got lost: %d",
       (int) ring->lost);
    ok(seen > 0, "there were some");
}


/* processes that are killed while they write */

static void
test_killed(void)
{
    ngx_pid_t                            pid;
    ngx_uint_t                           i, k, n, bad;
    ngx_http_retry_chain_history_run_t   run;

    make(SIZE);

    for (i = 0, bad = 0; i < KILLS; i++) {

        pid = fork();

        if (pid == 0) {
            for (n = 0; /* void */; n++) {
                fill(&run, n);
                ngx_http_retry_chain_history_write(ring, &run, getpid());
            }
        }

        usleep(500 + i * 37 % 1000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);

        for (k = 0; k < SIZE; k++) {
            fill(&run, k);
            ngx_http_retry_chain_history_write(ring, &run, getpid());
        }

        for (k = 0; k < SIZE; k++) {
            bad += ngx_http_retry_chain_history_read(ring, k, &run) != NGX_OK
                   || run.number != SIZE - 1 - k || torn(&run);
        }
    }

    is_int(bad, 0, "after %d kills all places are usable", KILLS);
    is_int(ring->lost, 0, "nothing was lost");
}


static void
make(ngx_uint_t size)
{
    ngx_memzero(ring, sizeof(ngx_http_retry_chain_history_t));
    ngx_memzero(entries, 64 * sizeof(ngx_http_retry_chain_history_entry_t));

    ring->entries = entries;
    ring->size = size;
}


/* everything in the entry follows from its number */

static void
fill(ngx_http_retry_chain_history_run_t *run, ngx_uint_t n)
{
    ngx_uint_t  i;

    ngx_memset(run, (int) (n & 0xff),
               sizeof(ngx_http_retry_chain_history_run_t));

    run->number = n;
    run->kept = n % (NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS + 1);
    run->len = (uint16_t) (n % sizeof(run->text));

    for (i = 0; i < run->kept; i++) {
        run->tries[i].bytes = n;
    }
}


static ngx_uint_t
torn(ngx_http_retry_chain_history_run_t *run)
{
    ngx_uint_t  i, n;

    n = run->number;

    if (run->kept != n % (NGX_HTTP_RETRY_CHAIN_ENTRY_ATTEMPTS + 1)
        || run->len != n % sizeof(run->text)
        || run->status != (n & 0xff) * 0x101)
    {
        return 1;
    }

    for (i = 0; i < run->kept; i++) {
        if (run->tries[i].bytes != n || run->tries[i].status != run->status) {
            return 1;
        }
    }

    for (i = 0; i < run->len; i++) {
        if (run->text[i] != (n & 0xff)) {
            return 1;
        }
    }

    return 0;
}


/* each thread says that it is another process, all of which are alive */

static void *
work_write(void *data)
{
    ngx_pid_t                            pid;
    ngx_uint_t                           i, number;
    ngx_http_retry_chain_history_run_t   run;

    number = (uintptr_t) data;
    pid = number == 1 ? 1 : number == 2 ? getpid() : getppid();

    for (i = 0; i < TIMES; i++) {
        fill(&run, i * WRITERS + number);
        ngx_http_retry_chain_history_write(ring, &run, pid);

        if (i % 64 == 0) {
            sched_yield();
        }
    }

    (void) ngx_atomic_fetch_add(&running, -1);

    return data;
}


static void *
work_read(void *data)
{
    ngx_uint_t                           i;
    ngx_http_retry_chain_history_run_t   run;

    while (running) {

        for (i = 0; i < SIZE; i++) {

            if (ngx_http_retry_chain_history_read(ring, i, &run) != NGX_OK) {
                continue;
            }

            (void) ngx_atomic_fetch_add(&seen, 1);

            if (torn(&run)) {
                (void) ngx_atomic_fetch_add(&wrong, 1);
            }
        }

        if (seen % 1024 == 0) {
            sched_yield();
        }
    }

    return data;
}
