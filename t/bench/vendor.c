
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The stand-in vendor of t/bench/limits.sh: it limits calls per source address.
 *
 *   vendor PORT ends|renews [HEADERS] [GRACE]
 *
 * An address has a bucket of 20 calls, refilled with 20 a second. A call that
 * finds it empty is refused with 429 and blocks the address for 2 s; calls
 * during the block are refused, and with "renews" each starts the 2 s anew.
 *
 * HEADERS is a list of what is sent: "r" Retry-After with a 429, "f" the
 * RateLimit fields with each reply, "-" nothing.
 *
 * GET /stats prints a line per address: address, calls accepted, refused, and
 * of these: beginning a block, within GRACE ms of its beginning (calls that
 * were under way then), later; the first and last call in ms since the start;
 * /reset does so and clears the counters, but not the buckets and blocks.
 */


#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define RATE      20
#define BURST     20
#define BLOCK     2000000              /* microseconds */

#define LIFETIME  1800                 /* seconds */
#define CALLERS   16
#define CONNS     65536


typedef struct {
    in_addr_t  addr;
    double     tokens;
    int64_t    refilled;
    int64_t    blocked;                /* until */
    int64_t    began;                  /* the block */

    int        ok;
    int        refused;
    int        starts;
    int        under_way;
    int        later;
    int64_t    first;
    int64_t    last;
} caller_t;


typedef struct {
    caller_t  *caller;
    size_t     len;
    char       buf[4096];
} conn_t;


static void accept_all(int listener);
static int read_conn(int fd);
static int answer(int fd, conn_t *c, char *request);
static int refuse(caller_t *caller, int64_t now);
static size_t fields(char *p, size_t size, caller_t *caller, int64_t now,
    int refused);
static size_t stats(char *p, size_t size, int reset);
static caller_t *find_caller(in_addr_t addr);
static int64_t now_us(void);
static void die(char *what);


static int        ep;
static int        renews;
static int        with_retry_after;
static int        with_fields;
static int64_t    grace = 20000;
static int64_t    start;
static caller_t   callers[CALLERS];
static int        ncallers;
static conn_t    *conns[CONNS];


int
main(int argc, char **argv)
{
    int                 i, n, fd, one = 1;
    struct sockaddr_in  sin;
    struct epoll_event  ev, events[64];

    if (argc < 3) {
        fprintf(stderr, "usage: vendor PORT ends|renews [HEADERS] [GRACE]\n");
        return 2;
    }

    renews = !strcmp(argv[2], "renews");

    if (argc > 3) {
        with_retry_after = strchr(argv[3], 'r') != NULL;
        with_fields = strchr(argv[3], 'f') != NULL;
    }

    if (argc > 4) {
        grace = (int64_t) atoi(argv[4]) * 1000;
    }

    /* whoever started it may be gone */

    alarm(LIFETIME);

    start = now_us();

    fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK, 0);
    if (fd == -1) {
        die("socket");
    }

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sin.sin_port = htons((uint16_t) atoi(argv[1]));

    if (bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(fd, 1024) == -1)
    {
        die("listen");
    }

    ep = epoll_create1(0);
    if (ep == -1) {
        die("epoll_create1");
    }

    ev.events = EPOLLIN;
    ev.data.fd = fd;
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);

    for ( ;; ) {
        n = epoll_wait(ep, events, 64, -1);

        for (i = 0; i < n; i++) {
            if (events[i].data.fd == fd) {
                accept_all(fd);

            } else if (read_conn(events[i].data.fd) == -1) {
                free(conns[events[i].data.fd]);
                close(events[i].data.fd);
            }
        }
    }
}


static void
accept_all(int listener)
{
    int                 fd, one = 1;
    conn_t             *c;
    socklen_t           len;
    struct sockaddr_in  sin;
    struct epoll_event  ev;

    for ( ;; ) {
        len = sizeof(sin);

        fd = accept4(listener, (struct sockaddr *) &sin, &len, SOCK_NONBLOCK);
        if (fd == -1) {
            return;
        }

        c = fd < CONNS ? malloc(sizeof(conn_t)) : NULL;
        if (c == NULL) {
            close(fd);
            continue;
        }

        c->caller = find_caller(sin.sin_addr.s_addr);
        c->len = 0;
        conns[fd] = c;

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

        ev.events = EPOLLIN;
        ev.data.fd = fd;
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    }
}


/* requests have no body */

static int
read_conn(int fd)
{
    char     *end;
    conn_t   *c;
    ssize_t   n;

    c = conns[fd];

    n = read(fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);

    if (n == -1 && errno == EAGAIN) {
        return 0;
    }

    if (n <= 0) {
        return -1;
    }

    c->len += n;
    c->buf[c->len] = '\0';

    while ((end = strstr(c->buf, "\r\n\r\n")) != NULL) {
        *end = '\0';

        if (answer(fd, c, c->buf) == -1) {
            return -1;
        }

        end += 4;
        c->len -= end - c->buf;
        memmove(c->buf, end, c->len + 1);
    }

    return c->len < sizeof(c->buf) - 1 ? 0 : -1;
}


static int
answer(int fd, conn_t *c, char *request)
{
    int      refused, shown;
    char     buf[4096], body[2048];
    size_t   len;
    int64_t  now;

    refused = 0;
    len = 0;
    now = now_us();

    shown = !strncmp(request, "GET /stats ", 11)
            || !strncmp(request, "GET /reset ", 11);

    if (shown) {
        stats(body, sizeof(body), request[5] == 'r');

    } else {
        refused = refuse(c->caller, now);
        strcpy(body, refused ? "limited\n" : "ok\n");
    }

    len = snprintf(buf, sizeof(buf), "HTTP/1.1 %s\r\n"
                   "Content-Type: text/plain\r\nContent-Length: %zu\r\n",
                   refused ? "429 Too Many Requests" : "200 OK",
                   strlen(body));

    if (!shown) {
        len += fields(buf + len, sizeof(buf) - len, c->caller, now, refused);
    }

    len += snprintf(buf + len, sizeof(buf) - len, "\r\n%s", body);

    if (write(fd, buf, len) != (ssize_t) len) {
        return -1;
    }

    return strstr(request, " HTTP/1.0") || strcasestr(request, ": close")
           ? -1 : 0;
}


static int
refuse(caller_t *caller, int64_t now)
{
    caller->tokens += (now - caller->refilled) * (RATE / 1e6);
    caller->refilled = now;

    if (caller->tokens > BURST) {
        caller->tokens = BURST;
    }

    if (caller->first == 0) {
        caller->first = now;
    }

    caller->last = now;

    if (now < caller->blocked) {
        caller->refused++;

        if (now - caller->began <= grace) {
            caller->under_way++;

        } else {
            caller->later++;
        }

        if (renews) {
            caller->blocked = now + BLOCK;
        }

        return 1;
    }

    if (caller->tokens < 1) {
        caller->refused++;
        caller->starts++;
        caller->began = now;
        caller->blocked = now + BLOCK;

        return 1;
    }

    caller->tokens -= 1;
    caller->ok++;

    return 0;
}


static size_t
fields(char *p, size_t size, caller_t *caller, int64_t now, int refused)
{
    int     left, reset;
    size_t  len;

    len = 0;

    /* whole seconds, rounded up */

    reset = refused ? (caller->blocked - now + 999999) / 1000000
                    : (int) ((BURST - caller->tokens) / RATE + 0.999999);

    if (refused && with_retry_after) {
        len += snprintf(p + len, size - len, "Retry-After: %d\r\n", reset);
    }

    if (with_fields) {
        left = refused ? 0 : (int) caller->tokens;

        len += snprintf(p + len, size - len,
                        "RateLimit-Policy: \"calls\";q=%d;w=%d\r\n"
                        "RateLimit: \"calls\";r=%d;t=%d\r\n",
                        BURST, BURST / RATE, left, reset);
    }

    return len;
}


static size_t
stats(char *p, size_t size, int reset)
{
    int        i;
    char       addr[INET_ADDRSTRLEN];
    size_t     len;
    caller_t  *caller;

    len = 0;
    p[0] = '\0';

    for (i = 0; i < ncallers; i++) {
        caller = &callers[i];

        if (caller->first == 0) {
            continue;
        }

        inet_ntop(AF_INET, &caller->addr, addr, sizeof(addr));

        len += snprintf(p + len, size - len, "%s %d %d %d %d %d %d %d\n", addr,
                        caller->ok, caller->refused, caller->starts,
                        caller->under_way, caller->later,
                        (int) ((caller->first - start) / 1000),
                        (int) ((caller->last - start) / 1000));

        if (reset) {
            caller->ok = 0;
            caller->refused = 0;
            caller->starts = 0;
            caller->under_way = 0;
            caller->later = 0;
            caller->first = 0;
            caller->last = 0;
        }
    }

    return len;
}


static caller_t *
find_caller(in_addr_t addr)
{
    int        i;
    caller_t  *caller;

    for (i = 0; i < ncallers; i++) {
        if (callers[i].addr == addr) {
            return &callers[i];
        }
    }

    if (ncallers == CALLERS) {
        die("too many addresses");
    }

    caller = &callers[ncallers++];

    caller->addr = addr;
    caller->tokens = BURST;
    caller->refilled = now_us();

    return caller;
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
    fprintf(stderr, "vendor: %s: %s\n", what, strerror(errno));
    exit(1);
}
