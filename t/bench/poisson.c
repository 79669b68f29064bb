
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The load of t/bench/limits.sh: requests at times of a Poisson process,
 * whatever becomes of earlier ones, each on a connection of its own.
 *
 *   poisson PORT RATE SECONDS SEED PATIENCE
 *
 * The number of requests is RATE * SECONDS, and the times are independent and
 * uniform: that is a Poisson process of which the number is known, so that no
 * seed asks for more than another. A seed always gives the same times.
 *
 * Prints a line per request, in order of these times: the time in us since the
 * start; the status, 0 for no reply within PATIENCE ms, 1 for a connection that
 * was refused, reset or closed in mid-reply; us from that time to the end;
 * seconds of Retry-After, or -1; and how much later than its time the request
 * was sent, in us.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>


#define PENDING   (-1)
#define NO_REPLY  0
#define CUT       1


typedef struct {
    int64_t    at;
    int64_t    late;
    int64_t    took;
    int        status;
    int        retry_after;
    int        fd;
    size_t     len;
    char       buf[1024];
} request_t;


static void schedule(int rate, int seconds, uint64_t seed);
static int by_time(const void *one, const void *two);
static double uniform(uint64_t *state);
static void run(void);
static void wake_at(int timer, int64_t when);
static void send_request(request_t *r);
static void read_reply(request_t *r);
static void parse_reply(request_t *r);
static void end_request(request_t *r, int status);
static int64_t now_us(void);
static void die(char *what);


static int         ep;
static int64_t     start;
static int64_t     patience;
static request_t  *requests;
static int         nrequests;
static int         pending;

static struct sockaddr_in  target;


int
main(int argc, char **argv)
{
    int            i;
    request_t     *r;
    struct rlimit  rl;

    if (argc != 6) {
        fprintf(stderr, "usage: poisson PORT RATE SECONDS SEED PATIENCE\n");
        return 2;
    }

    target.sin_family = AF_INET;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons((uint16_t) atoi(argv[1]));

    patience = (int64_t) atoi(argv[5]) * 1000;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }

    schedule(atoi(argv[2]), atoi(argv[3]), strtoull(argv[4], NULL, 10));
    run();

    for (i = 0; i < nrequests; i++) {
        r = &requests[i];

        printf("%lld %d %lld %d %lld\n", (long long) r->at, r->status,
               (long long) r->took, r->retry_after, (long long) r->late);
    }

    return 0;
}


static void
schedule(int rate, int seconds, uint64_t seed)
{
    int  i;

    nrequests = rate * seconds;

    requests = calloc(nrequests, sizeof(request_t));
    if (requests == NULL) {
        die("calloc");
    }

    for (i = 0; i < nrequests; i++) {
        requests[i].at = (int64_t) (uniform(&seed) * seconds * 1e6);
        requests[i].status = PENDING;
        requests[i].retry_after = -1;
    }

    qsort(requests, nrequests, sizeof(request_t), by_time);
}


static int
by_time(const void *one, const void *two)
{
    const request_t  *a = one, *b = two;

    return (a->at > b->at) - (a->at < b->at);
}


/* 0 to 1: a counter, well mixed */

static double
uniform(uint64_t *state)
{
    int       i;
    uint64_t  x;

    x = *state += 0x9e3779b97f4a7c15;

    for (i = 0; i < 3; i++) {
        x ^= x >> 32;
        x *= 0xd6e8feb86659fd93;
    }

    x ^= x >> 32;

    return (x >> 11) / 9007199254740992.0;
}


static void
run(void)
{
    int                 i, n, timer, sent, oldest;
    int64_t             now, next;
    request_t          *r;
    struct epoll_event  ev, events[64];

    ep = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);

    if (ep == -1 || timer == -1) {
        die("epoll_create1, timerfd_create");
    }

    ev.events = EPOLLIN;
    ev.data.ptr = NULL;
    epoll_ctl(ep, EPOLL_CTL_ADD, timer, &ev);

    sent = 0;
    oldest = 0;
    start = now_us();

    while (sent < nrequests || pending) {
        now = now_us() - start;

        while (sent < nrequests && requests[sent].at <= now) {
            send_request(&requests[sent++]);
        }

        /* all have the same patience: the oldest loses it first */

        while (oldest < sent) {
            r = &requests[oldest];

            if (r->status == PENDING) {
                if (r->at + patience > now) {
                    break;
                }

                end_request(r, NO_REPLY);
            }

            oldest++;
        }

        next = INT64_MAX;

        if (sent < nrequests) {
            next = requests[sent].at;
        }

        if (oldest < sent && requests[oldest].at + patience < next) {
            next = requests[oldest].at + patience;
        }

        if (next == INT64_MAX) {
            continue;
        }

        wake_at(timer, next);

        n = epoll_wait(ep, events, 64, 1000);

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                read_reply(events[i].data.ptr);
            }
        }
    }
}


static void
wake_at(int timer, int64_t when)
{
    struct itimerspec  its;

    when += start;

    memset(&its, 0, sizeof(its));
    its.it_value.tv_sec = when / 1000000;
    its.it_value.tv_nsec = when % 1000000 * 1000;

    /* this also takes an expiration back that was not read */

    timerfd_settime(timer, TFD_TIMER_ABSTIME, &its, NULL);
}


/* a connect on the loopback interface does not wait */

static void
send_request(request_t *r)
{
    int                 rc;
    struct epoll_event  ev;

    static char  text[] = "GET / HTTP/1.1\r\nHost: vendor\r\n"
                          "Connection: close\r\n\r\n";

    pending++;
    r->late = now_us() - start - r->at;

    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (r->fd == -1) {
        die("socket");
    }

    rc = connect(r->fd, (struct sockaddr *) &target, sizeof(target));

    if (rc == -1 || send(r->fd, text, sizeof(text) - 1, MSG_NOSIGNAL) == -1) {
        end_request(r, CUT);
        return;
    }

    ev.events = EPOLLIN;
    ev.data.ptr = r;
    epoll_ctl(ep, EPOLL_CTL_ADD, r->fd, &ev);
}


static void
read_reply(request_t *r)
{
    ssize_t  n;

    if (r->status != PENDING) {
        return;
    }

    n = recv(r->fd, r->buf + r->len, sizeof(r->buf) - 1 - r->len,
             MSG_DONTWAIT);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n > 0) {
        r->len += n;
        r->buf[r->len] = '\0';

        /* the buffer has room for all replies */

        if (r->len < sizeof(r->buf) - 1) {
            return;
        }

        fprintf(stderr, "poisson: the reply is too long\n");
        n = -1;
    }

    if (n == -1) {
        end_request(r, CUT);
        return;
    }

    parse_reply(r);
}


static void
parse_reply(request_t *r)
{
    int    status;
    char  *body, *p;

    body = strstr(r->buf, "\r\n\r\n");

    if (body == NULL || sscanf(r->buf, "HTTP/1.%*d %d", &status) != 1) {
        end_request(r, CUT);
        return;
    }

    body += 4;

    p = strcasestr(r->buf, "\r\nContent-Length:");

    if (p && p < body
        && strtoul(p + 17, NULL, 10) != r->len - (body - r->buf))
    {
        end_request(r, CUT);
        return;
    }

    p = strcasestr(r->buf, "\r\nTransfer-Encoding: chunked");

    if (p && p < body
        && (r->len < 5 || strcmp(r->buf + r->len - 5, "0\r\n\r\n")))
    {
        end_request(r, CUT);
        return;
    }

    p = strcasestr(r->buf, "\r\nRetry-After:");

    if (p && p < body) {
        r->retry_after = atoi(p + 14);
    }

    end_request(r, status);
}


static void
end_request(request_t *r, int status)
{
    r->status = status;
    r->took = now_us() - start - r->at;
    close(r->fd);
    pending--;
}


static int64_t
now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


static void
die(char *what)
{
    fprintf(stderr, "poisson: %s: %s\n", what, strerror(errno));
    exit(1);
}
