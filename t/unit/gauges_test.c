
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/* gauges of workers: of those that are there, and of those that are not */


#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tap.h"
#include "ngx_http_retry_chain_gauges.h"


#define GAUGES  4


static void test_sums(void);
static void test_taken(void);
static void test_made(void);

static ngx_uint_t count(void);
static ngx_http_retry_chain_gauges_t *take(ngx_pid_t pid, ngx_uint_t n);
static ngx_pid_t start(ngx_uint_t stranger);
static void end(ngx_pid_t pid);


static ngx_http_retry_chain_workers_t  workers;


int
main(void)
{
    workers.values = GAUGES;

    test_sums();
    test_taken();
    test_made();

    return done_testing();
}


static void
test_sums(void)
{
    ngx_pid_t                       sibling, stranger, killed;
    ngx_http_retry_chain_gauges_t  *gauges;

    sibling = start(0);
    stranger = start(1);
    killed = start(0);

    (void) take(getpid(), 1);
    (void) take(sibling, 10);
    gauges = take(killed, 100);

    is_int(ngx_http_retry_chain_gauges_sum(&workers, 0), 111, "three workers");
    is_int(ngx_http_retry_chain_gauges_waiting(&workers), 111, "their runs");

    end(killed);

    is_int(ngx_http_retry_chain_gauges_sum(&workers, 0), 11, "one is killed");
    is_int(ngx_http_retry_chain_gauges_waiting(&workers), 11, "its runs, too");

    gauges->pid = stranger;

    is_int(ngx_http_retry_chain_gauges_sum(&workers, 0), 11,
           "another process has its pid");
    is_int(ngx_http_retry_chain_gauges_waiting(&workers), 11,
           "runs of nobody do not wait");

    end(stranger);
    end(sibling);

    is_int(ngx_http_retry_chain_gauges_sum(&workers, 0), 1, "one is left");
    is_int(ngx_http_retry_chain_gauges_sum(&workers, GAUGES), 0,
           "the gauge of those that have none");
}


/* a worker that begins leaves nothing of those that were killed */

static void
test_taken(void)
{
    ngx_pid_t                       one, two;
    ngx_uint_t                      n;
    ngx_http_retry_chain_gauges_t  *gauges, *first, *second;

    one = start(0);
    two = start(0);

    first = take(one, 5);
    second = take(two, 7);
    n = count();

    end(one);
    end(two);

    one = start(0);
    gauges = take(one, 0);

    ok(gauges == first || gauges == second, "the gauges of one that is gone");
    is_int(count(), n, "no other one is made");
    is_int(gauges->values[0] + gauges->waiting, 0, "it is empty");

    gauges = gauges == first ? second : first;

    is_int(gauges->pid, 0, "that of another one is free, whoever gets its pid");

    (void) take(one, 3);
    is_int(ngx_http_retry_chain_gauges_sum(&workers, 0), 4,
           "a worker that has the pid of another one takes its gauges");

    end(one);
}


/* all are free but that of this process */

static void
test_made(void)
{
    ngx_uint_t  n;

    n = count();

    (void) ngx_http_retry_chain_gauges_make_locked(NULL, &workers, n - 1);
    is_int(count(), n, "enough are free");

    (void) ngx_http_retry_chain_gauges_make_locked(NULL, &workers, n + 1);
    is_int(count(), n + 2, "two more are made");
}


static ngx_uint_t
count(void)
{
    ngx_uint_t                      n;
    ngx_http_retry_chain_gauges_t  *gauges;

    n = 0;

    for (gauges = workers.workers; gauges; gauges = gauges->next) {
        n++;
    }

    return n;
}


static ngx_http_retry_chain_gauges_t *
take(ngx_pid_t pid, ngx_uint_t n)
{
    ngx_http_retry_chain_gauges_t  *gauges;

    gauges = ngx_http_retry_chain_gauges_take_locked(NULL, &workers, pid);
    if (gauges == NULL) {
        abort();
    }

    gauges->waiting = n;
    gauges->values[0] = n;

    return gauges;
}


/* a process that waits, of our process group or of one of its own */

static ngx_pid_t
start(ngx_uint_t stranger)
{
    ngx_pid_t  pid;

    pid = fork();

    if (pid == 0) {
        for ( ;; ) {
            pause();
        }
    }

    if (pid == -1 || (stranger && setpgid(pid, pid) == -1)) {
        abort();
    }

    return pid;
}


static void
end(ngx_pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
