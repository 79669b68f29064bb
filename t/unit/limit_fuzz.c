
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A limiter in the hands of anybody: any calls, replies and times.  What has
 * to hold: never above rate and burst, nor max_conns; only who is first goes;
 * during a block only trials, one in a time; a block ends, and when nothing is
 * refused any more everybody goes within seconds.
 */


#include "fuzz.h"
#include "ngx_http_retry_chain_limit.h"
#include "ngx_http_retry_chain_limit_pace.h"


#define SECOND     NGX_HTTP_RETRY_CHAIN_LIMIT_SECOND
#define MAX_CALLS  64

/* what a timer may be late is made up for */
#define LATE       ((uint64_t) 10000)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_admit(input_t *in);
static void fuzz_reply(input_t *in);
static void fuzz_recover(void);

static void check(void);
static void make_run(input_t *in);
static uint64_t make_time(input_t *in);
static uint64_t interval(void);


static ngx_http_retry_chain_limit_t       limit;
static ngx_http_retry_chain_limit_conf_t  conf;
static ngx_http_retry_chain_limit_run_t   run;

static ngx_http_retry_chain_limit_call_t  calls[MAX_CALLS];
static ngx_uint_t                         ncalls;

static uint64_t                           now;
static uint64_t                           full;     /* the bucket of the rate */
static uint64_t                           tried;    /* the last trial */


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t  in;

    static ngx_uint_t  rates[] = {
        0, 0, 1000, 20000, 333, 1, 7777777,
        NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_RATE
    };

    in.pos = data;
    in.last = data + size;

    memset(&conf, 0, sizeof(conf));
    memset(&run, 0, sizeof(run));

    now = number(&in, 2) ? SECOND : (uint64_t) 1 << 40;
    ncalls = 0;
    full = 0;
    tried = 0;

    conf.rate = rates[number(&in, 8)];
    conf.burst = 1 + number(&in, 16);
    conf.max_conns = number(&in, 4) ? 0 : 1 + number(&in, 8);
    conf.cap = make_time(&in);
    conf.max = SECOND + number(&in, 65536) * 1000;
    conf.spacing = 1000 + number(&in, 65536) * 100;
    conf.automatic = number(&in, 2);
    conf.trial = number(&in, 4) != 0;

    ngx_http_retry_chain_limit_init(&limit, now);

    while (in.pos < in.last) {

        switch (number(&in, 8)) {

        case 0:
            now += make_time(&in);
            break;

        case 1:
        case 2:
        case 3:
            fuzz_admit(&in);
            break;

        case 4:
            ngx_http_retry_chain_limit_told(&limit, &conf,
                                            1 + number(&in, 65536),
                                            make_time(&in), now);
            break;

        default:
            fuzz_reply(&in);
        }

        check();
    }

    fuzz_recover();

    return 0;
}


static void
fuzz_admit(input_t *in)
{
    uint64_t                             when, least, time, blocked;
    ngx_uint_t                           left;
    ngx_http_retry_chain_limit_t         before;
    ngx_http_retry_chain_limit_call_t    call;
    ngx_http_retry_chain_limit_reason_e  reason, why;

    make_run(in);

    before = limit;
    blocked = limit.blocked;

    left = ngx_http_retry_chain_limit_left(&limit, &conf, now);
    why = ngx_http_retry_chain_limit_reason(&limit, &conf, &run, now, &when);
    time = ngx_http_retry_chain_limit_estimate(&limit, &conf, &run, now,
                                               &least);

    must(memcmp(&before, &limit, sizeof(limit)) == 0);
    must(time >= now && least >= now && least <= time);

    reason = ngx_http_retry_chain_limit_admit(&limit, &conf, &run, now, &call,
                                              &when);
    must(reason == why);

    if (reason != NGX_HTTP_RETRY_CHAIN_LIMIT_GO) {
        must(when > now && when <= now + NGX_HTTP_RETRY_CHAIN_LIMIT_TICK);
        must(memcmp(&before, &limit, sizeof(limit)) == 0);
        must(!run.first || time > now);
        return;
    }

    must(run.first);
    must(run.waiting || time == now || now < blocked);
    must(conf.max_conns == 0 || run.in_flight < conf.max_conns);
    must(call.trial == (now < blocked));

    if (conf.rate) {
        must(left > 0);

        full = ngx_max(full, now - ngx_min(now, LATE)) + interval();
        must(full <= now + conf.burst * interval());
    }

    if (call.trial) {
        must(limit.by != 429 || conf.trial);
        must(tried == 0 || now >= tried || limit.by != 429);
        tried = now + limit.patience;
    }

    if (ncalls < MAX_CALLS) {
        calls[ncalls++] = call;
    }
}


static void
fuzz_reply(input_t *in)
{
    uint64_t                           delay, patience, blocked;
    ngx_uint_t                         i, kind, pace;
    ngx_http_retry_chain_limit_call_t  call;

    if (ncalls == 0) {
        return;
    }

    i = number(in, MAX_CALLS) % ncalls;
    call = calls[i];
    calls[i] = calls[--ncalls];

    kind = number(in, 8);
    delay = number(in, 3) ? make_time(in) : 0;

    patience = limit.patience;
    blocked = limit.blocked;
    pace = limit.learned ? limit.base : 0;

    switch (kind) {

    case 0:
        ngx_http_retry_chain_limit_done(&limit, &call);
        must(limit.patience == patience && limit.blocked == blocked);
        break;

    case 1:
        full -= ngx_min(full, interval());
        ngx_http_retry_chain_limit_cancel(&limit, &conf, &call);
        must(limit.patience == patience && limit.blocked == blocked);
        tried = 0;
        break;

    case 2:
    case 3:
        (void) ngx_http_retry_chain_limit_refused(&limit, &conf, &call, delay,
                                                  now);

        must(limit.patience >= patience && limit.patience <= patience * 2);
        must(limit.blocked >= blocked);
        must(limit.blocked == blocked
             || limit.blocked <= now + ngx_max(conf.cap, 0));
        tried = 0;
        break;

    case 4:
        ngx_http_retry_chain_limit_done(&limit, &call);
        (void) ngx_http_retry_chain_limit_away(&limit, &conf, &call, 503,
                                               delay, now);
        must(limit.blocked >= blocked);
        must(pace == 0 || limit.base == pace);
        tried = 0;
        break;

    case 5:
        i = number(in, 20);
        full = ngx_max(full, now) + i * interval();
        ngx_http_retry_chain_limit_charge(&limit, &conf, i, now);
        calls[ncalls++] = call;
        break;

    default:
        ngx_http_retry_chain_limit_accepted(&limit, &conf, &call,
                                            number(in, 2) * number(in, 256),
                                            now);
        must(limit.patience <= patience);
        must(limit.blocked <= blocked);
        tried = 0;
    }
}


/* the upstream takes all: a thousand runs go within seconds */

static void
fuzz_recover(void)
{
    uint64_t                           when, end;
    ngx_uint_t                         n;
    ngx_http_retry_chain_limit_call_t  call;

    if (conf.rate) {
        return;
    }

    now = ngx_max(now, limit.blocked);
    now = ngx_max(now, limit.ends);

    memset(&run, 0, sizeof(run));
    run.first = 1;
    run.arrived = now;

    /* the longest time in which the line is drained, halved every 10 s */

    end = now + 100 * SECOND;

    for (n = 1000; n; n--) {
        run.waiting = n - 1;

        while (ngx_http_retry_chain_limit_admit(&limit, &conf, &run, now,
                                                &call, &when)
               != NGX_HTTP_RETRY_CHAIN_LIMIT_GO)
        {
            must(when > now);
            now = when;
            must(now < end);
        }

        now += 1000;
        ngx_http_retry_chain_limit_accepted(&limit, &conf, &call, run.waiting,
                                            now);
    }

    must(limit.half_open == 0 && limit.pressed == 0);
}


static void
check(void)
{
    ngx_uint_t                          i, sum;
    ngx_http_retry_chain_limit_state_t  state;

    for (i = 0, sum = 0; i < NGX_HTTP_RETRY_CHAIN_LIMIT_SPAN; i++) {
        sum += limit.counts[i];
    }

    must(limit.sum == sum);
    must(limit.patience >= 1000 && limit.patience <= 60 * SECOND);
    must(limit.drain <= 240 * SECOND);
    must(ngx_http_retry_chain_limit_pace(&limit, 1000000, now)
         <= NGX_HTTP_RETRY_CHAIN_LIMIT_MAX_RATE);

    ngx_http_retry_chain_limit_state(&limit, &conf, now, &state);

    must(state.blocked == 0 || state.blocked > now);
    must(!state.doubted || conf.trial);
}


static void
make_run(input_t *in)
{
    memset(&run, 0, sizeof(run));

    run.arrived = now - ngx_min(now, number(in, 2) * make_time(in));
    run.deadline = number(in, 2) ? now + make_time(in) : 0;
    run.waiting = number(in, 2) * number(in, 65536);
    run.in_flight = ncalls;
    run.first = number(in, 8) != 0;
    run.again = number(in, 8) == 0;
}


/* up to 24 days, small ones more often */

static uint64_t
make_time(input_t *in)
{
    switch (number(in, 4)) {

    case 0:
        return number(in, 65536);

    case 1:
        return number(in, 65536) * 1000;

    case 2:
        return number(in, 16) * SECOND;

    default:
        return number(in, (uint64_t) 24 * 86400 * SECOND);
    }
}


static uint64_t
interval(void)
{
    return conf.rate ? (1001 * SECOND + conf.rate - 1) / conf.rate : 0;
}
