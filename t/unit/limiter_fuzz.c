
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A limiter in the hands of anybody: any calls at any times, with calls that
 * wait for their tickets and go when they are due.  The input is eaten byte by
 * byte, zeros follow its end.
 */


#include "fuzz.h"
#include "ngx_http_retry_chain_limiter.h"


#define CALL     ((uint64_t) NGX_HTTP_RETRY_CHAIN_CALL)
#define SECOND   ((uint64_t) 1000000)
#define MAX_LINE 64


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_any(input_t *in);
static void fuzz_advance(input_t *in);
static void fuzz_reserve(void);
static void fuzz_cancel(input_t *in);
static void fuzz_limit(input_t *in);
static void fuzz_accepted(input_t *in);
static void fuzz_told(input_t *in);
static void fuzz_refused(input_t *in);
static void fuzz_charge(input_t *in);
static void fuzz_init(input_t *in);

static void leave(uint64_t until);
static void depart(void);
static void remove_at(ngx_uint_t i);
static void check_line(void);
static void make_pace(input_t *in);
static uint64_t make_time(input_t *in);
static ngx_uint_t kind(void);
static uint64_t fixed(void);
static uint64_t gate(ngx_uint_t i);


static ngx_http_retry_chain_limiter_t    limiter;
static ngx_http_retry_chain_limiter_conf_t    pace;

/* those that wait for their tickets */

static ngx_http_retry_chain_ticket_t  line[MAX_LINE];
static ngx_uint_t                     waiting;

static uint64_t                       now;
static uint64_t                       limited;    /* end of the last limit */
static uint64_t                       full;       /* the bucket at the rate */
static uint64_t                       probed;     /* the last probe, 0: none */
static ngx_uint_t                     refusals;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t  in;

    static uint64_t  starts[] = {
        1000 * SECOND, 0, 1, (uint64_t) 1 << 40, (uint64_t) 1 << 61,
        ((uint64_t) 1 << 62) - ((uint64_t) 1 << 56)
    };

    in.pos = data;
    in.last = data + size;

    memset(&limiter, 0, sizeof(limiter));
    memset(&pace, 0, sizeof(pace));

    now = starts[number(&in, 6)];
    pace.burst = 1 + number(&in, 4) * number(&in, 4);
    waiting = 0;
    limited = 0;
    refusals = 0;

    fuzz_init(&in);

    while (in.pos < in.last) {

        fuzz_any(&in);

        leave(now);
        check_line();
    }

    return 0;
}


static void
fuzz_any(input_t *in)
{
    switch (number(in, 16)) {

    case 0:
        fuzz_init(in);
        break;

    case 1:
        fuzz_charge(in);
        break;

    case 2:
        fuzz_refused(in);
        break;

    case 3:
    case 4:
        fuzz_limit(in);
        break;

    case 5:
    case 6:
        fuzz_accepted(in);
        break;

    case 7:
        fuzz_cancel(in);
        break;

    case 11:
        fuzz_told(in);
        break;

    case 8:
    case 9:
    case 10:
        fuzz_advance(in);
        break;

    default:
        fuzz_reserve();
    }
}


static void
fuzz_advance(input_t *in)
{
    uint64_t  until;

    until = now + make_time(in);

    leave(until);
    now = until;
}


static void
fuzz_reserve(void)
{
    uint64_t                        peek, time;
    ngx_uint_t                      left;
    ngx_http_retry_chain_ticket_t   ticket;
    ngx_http_retry_chain_limiter_t  before;

    if (waiting == MAX_LINE) {
        return;
    }

    before = limiter;
    peek = ngx_http_retry_chain_limiter_peek(&limiter, &pace, now);
    left = ngx_http_retry_chain_limiter_left(&limiter, &pace, now);
    must(memcmp(&before, &limiter, sizeof(limiter)) == 0);

    must(left <= (pace.rate ? pace.burst : 0));
    must(pace.rate == 0 || now < limited || (left > 0) == (peek == now));

    time = ngx_http_retry_chain_limiter_reserve(&limiter, &pace, now, &ticket);

    must(time == peek);
    must(time >= now);

    if (ticket.tail == 0) {

        /* nobody waits where all may go */

        must(kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE);
        must(time == now && waiting == 0);

        /* and what was before is forgotten */

        limited = 0;
        return;
    }

    must(ticket.tail == limiter.tail);
    must(ticket.before == before.tail);
    must(ticket.tail >= ticket.ticket + CALL);

    line[waiting++] = ticket;
}


static void
fuzz_cancel(input_t *in)
{
    ngx_int_t                       rc;
    ngx_uint_t                      i;
    ngx_http_retry_chain_limiter_t  before;

    if (waiting == 0) {
        return;
    }

    i = waiting - 1 - number(in, number(in, 2) ? 1 : waiting);
    before = limiter;

    rc = ngx_http_retry_chain_limiter_cancel(&limiter, &line[i]);

    must((rc == NGX_OK) == (before.tail != limiter.tail));

    if (rc == NGX_OK) {

        /* nobody is behind it */

        must(i == waiting - 1);
        must(limiter.tail == line[i].before);

    } else {
        must(rc == NGX_DECLINED);
    }

    limiter.tail = before.tail;
    must(memcmp(&before, &limiter, sizeof(limiter)) == 0);

    if (rc == NGX_OK) {
        limiter.tail = line[i].before;
    }

    remove_at(i);
}


static void
fuzz_limit(input_t *in)
{
    uint64_t                        until, last, first, moved;
    ngx_int_t                       rc;
    ngx_http_retry_chain_limiter_t  before;

    until = make_time(in);
    until = number(in, 8) ? now + until : now - ngx_min(now, until);

    if (limited && number(in, 4) == 0) {
        until = limited + number(in, 3) - 1;
    }

    last = ngx_http_retry_chain_limiter_limited(&limiter, now);
    must(last == (limited > now ? limited : 0));

    first = waiting ? gate(0) : 0;
    before = limiter;

    rc = ngx_http_retry_chain_limiter_limit(&limiter, &pace, now, until);

    if (last >= until && last) {
        must(rc == NGX_DECLINED);
        must(memcmp(&before, &limiter, sizeof(limiter)) == 0);
        return;
    }

    must(rc == NGX_OK);

    until = ngx_max(until, now);
    limited = until;
    probed = 0;

    must(ngx_http_retry_chain_limiter_limited(&limiter, now)
         == (until > now ? until : 0));
    must(ngx_http_retry_chain_limiter_peek(&limiter, &pace, now) >= until);

    /* at a rate those who wait do so for as long as before, and the limit */

    if (waiting && fixed()) {
        moved = gate(0) - first;
        until -= ngx_max(last, now);

        must(moved >= until && moved <= until + fixed() / CALL + 1);
    }
}


static void
fuzz_accepted(input_t *in)
{
    uint64_t                        sent;
    ngx_int_t                       rc;
    ngx_uint_t                      old;
    ngx_http_retry_chain_limiter_t  before;

    sent = number(in, 2) ? make_time(in) : 0;
    sent = now - ngx_min(now, sent);

    if (limited && limited <= now && number(in, 4) == 0) {
        sent = limited - number(in, 2);
    }

    old = kind();
    before = limiter;

    rc = ngx_http_retry_chain_limiter_accepted(&limiter, &pace, now, sent);

    if (sent < limited) {

        /* it was under way */

        must(rc == NGX_DECLINED);
        must(memcmp(&before, &limiter, sizeof(limiter)) == 0);
        return;
    }

    if (sent == now) {
        must(limiter.refused == 0);
    }

    refusals = limiter.refused;

    if (old == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN) {
        must(rc == NGX_OK);
    }

    if (rc == NGX_OK) {
        must(pace.rate == 0);
        must(old != NGX_HTTP_RETRY_CHAIN_PERIOD_FREE);
        must(kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_PACED);
        probed = 0;
    }

    must(limiter.tail == before.tail);
    must(limiter.learned.rate <= NGX_HTTP_RETRY_CHAIN_MAX_PACE);
}


/* a reply that says how many calls are left may slow others, not stop them */

static void
fuzz_told(input_t *in)
{
    uint64_t                        sent, reset;
    ngx_int_t                       rc;
    ngx_uint_t                      old, rate, remaining;
    ngx_http_retry_chain_limiter_t  before;

    sent = now - ngx_min(now, make_time(in));
    remaining = 1 + number(in, (uint64_t) 1 << 31);
    reset = make_time(in);
    old = kind();
    before = limiter;

    rc = ngx_http_retry_chain_limiter_told(&limiter, &pace, now, sent,
                                           remaining, reset);

    if (!pace.automatic || sent < limited
        || old == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN)
    {
        must(rc == NGX_DECLINED);
        must(memcmp(&before, &limiter, sizeof(limiter)) == 0);
        return;
    }

    must(limiter.tail == before.tail);
    must(limiter.learned.rate == before.learned.rate);
    must(limiter.learned.bound <= NGX_HTTP_RETRY_CHAIN_MAX_PACE);

    rate = ngx_http_retry_chain_learn_pace((void *) &limiter.learned, now);
    must(before.learned.rate == 0 || rate <= before.learned.rate);

    if (waiting) {
        must(kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_PACED);
    }
}


static void
fuzz_refused(input_t *in)
{
    ngx_msec_t  first, max, delay;
    ngx_uint_t  i;

    first = number(in, 65536);
    max = number(in, (uint64_t) 1 << 31);

    for (delay = first, i = 0; i < refusals && delay < max; i++) {
        delay *= 2;

        if (delay == 0) {
            break;
        }
    }

    must(ngx_http_retry_chain_limiter_refused(&limiter, first, max)
         == ngx_min(delay, max));

    refusals++;
}


static void
fuzz_charge(input_t *in)
{
    uint64_t    clock;
    ngx_uint_t  calls;

    calls = number(in, 20);
    clock = limiter.tail;

    ngx_http_retry_chain_limiter_charge(&limiter, &pace, calls, now);

    if (kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_FREE) {
        must(limiter.tail == clock);
        limited = 0;
        return;
    }

    must(limiter.tail >= clock + calls * CALL);
}


/* the configuration is another: what is known and who waits stays */

static void
fuzz_init(input_t *in)
{
    uint64_t                        last;
    ngx_http_retry_chain_learned_t  learned;

    last = ngx_http_retry_chain_limiter_limited(&limiter, now);
    learned = limiter.learned;

    make_pace(in);
    ngx_http_retry_chain_limiter_init(&limiter, &pace, now);

    must(memcmp(&learned, (void *) &limiter.learned, sizeof(learned)) == 0);
    must(ngx_http_retry_chain_limiter_limited(&limiter, now) == last);

    if (pace.rate) {
        must(kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_PACED);
        must(ngx_http_retry_chain_limiter_rate(&limiter) <= pace.rate);
    }

    full = 0;
    probed = 0;
}


/* those who wait go as soon as they may */

static void
leave(uint64_t until)
{
    uint64_t  time;

    while (waiting) {
        time = gate(0);

        if (time > until) {
            return;
        }

        now = time;
        depart();
        remove_at(0);
    }
}


static void
depart(void)
{
    uint64_t  interval;

    must(now >= limited);
    must(ngx_http_retry_chain_limiter_limited(&limiter, now) == 0);

    /*
     * never more than burst + time / interval; the first of them may be early
     * for a thousandth, the unit of tickets
     */

    interval = fixed();

    if (interval) {
        full = ngx_max(full, now) + interval;
        must(full - now <= pace.burst * interval + interval / CALL + 1);
    }

    /* one call at a time, as who was refused has it */

    if (kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN) {
        interval = limiter.periods[limiter.current
                                   % NGX_HTTP_RETRY_CHAIN_PERIODS].interval;
        must(probed == 0
             || now + interval / CALL + 1 >= probed + interval);
        probed = now;
    }
}


static void
remove_at(ngx_uint_t i)
{
    waiting--;

    memmove(&line[i], &line[i + 1],
            (waiting - i) * sizeof(ngx_http_retry_chain_ticket_t));
}


/* in order, after the limit, and looked at without a trace */

static void
check_line(void)
{
    uint64_t                        time, due, last, last_due;
    ngx_uint_t                      i;
    ngx_http_retry_chain_limiter_t  before;

    before = limiter;
    last = now;
    last_due = now;

    for (i = 0; i < waiting; i++) {
        time = gate(i);
        due = ngx_http_retry_chain_limiter_due(&limiter, &line[i], now);

        must(time >= last && due >= last_due);
        must(time >= limited && due >= limited);
        must(time < NGX_HTTP_RETRY_CHAIN_NEVER || now >> 60);
        must(i == 0 || line[i].ticket >= line[i - 1].ticket + CALL);
        must(kind() == NGX_HTTP_RETRY_CHAIN_PERIOD_HALF_OPEN || due == time);

        last = time;
        last_due = due;
    }

    must(waiting == 0 || kind() != NGX_HTTP_RETRY_CHAIN_PERIOD_FREE);
    must(ngx_http_retry_chain_limiter_rate(&limiter)
         <= NGX_HTTP_RETRY_CHAIN_MAX_PACE * 10);
    must(memcmp(&before, &limiter, sizeof(limiter)) == 0);
}


static void
make_pace(input_t *in)
{
    static ngx_uint_t  rates[] = {
        1000, 20000, 333, 1, 7777777, NGX_HTTP_RETRY_CHAIN_MAX_PACE - 1,
        NGX_HTTP_RETRY_CHAIN_MAX_PACE
    };

    pace.rate = 0;
    pace.automatic = 0;
    pace.spacing = number(in, 4) ? 1000 : 1 + number(in, 65536);

    switch (number(in, 4)) {

    case 0:
        break;

    case 1:
        pace.automatic = 1;
        break;

    case 2:
        pace.rate = rates[number(in, 7)];
        break;

    default:
        pace.rate = 1 + number(in, NGX_HTTP_RETRY_CHAIN_MAX_PACE);
    }
}


/* up to a year, small ones more often */

static uint64_t
make_time(input_t *in)
{
    switch (number(in, 8)) {

    case 0:
        return number(in, 2);

    case 1:
        return number(in, 256);

    case 2:
    case 3:
        return number(in, 65536);

    case 4:
        return number(in, 65536) * 1000;

    case 5:
        return number(in, 256) * SECOND;

    case 6:
        return number(in, 16) * SECOND;

    default:
        return number(in, (uint64_t) 1 << 45);
    }
}


static ngx_uint_t
kind(void)
{
    return limiter.periods[limiter.current % NGX_HTTP_RETRY_CHAIN_PERIODS].kind;
}


/* the time between two calls at a configured rate, 0 without one */

static uint64_t
fixed(void)
{
    return pace.rate ? (1000 * SECOND + pace.rate - 1) / pace.rate : 0;
}


static uint64_t
gate(ngx_uint_t i)
{
    return ngx_http_retry_chain_limiter_gate(&limiter, &line[i], now);
}
