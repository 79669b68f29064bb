
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <stdio.h>
#include <stdlib.h>

#include <ngx_config.h>
#include <ngx_core.h>
#include "sim.h"
#include "sim_events.h"
#include "ngx_http_retry_chain_limit_pace.h"


#define START        (1000 * SECOND)
#define DEADLINE     (10 * SECOND)
#define MARGIN       (500 * MSEC)

#define NEVER        ((uint64_t) 1 << 62)

#define MAX_RUNS     16384
#define MAX_STEPS    3
#define MAX_WORKERS  4


typedef struct run_s  run_t;

struct run_s {
    run_t                         *prev;
    run_t                         *next;
    uint64_t                       arrived;
    uint64_t                       ended;
    uint32_t                       hash;
    u_char                         worker;
    u_char                         first;
    u_char                         used;       /* steps */
    u_char                         step;
    u_char                         calls;
    u_char                         queued;
    u_char                         done;
    u_char                         answered;
    sim_reply_t                    reply;
    ngx_http_retry_chain_limit_call_t  call;
};


typedef struct {
    run_t                         *head;
    run_t                         *tail;
    ngx_uint_t                     length;
    uint64_t                       look;       /* 0: no timer */
    uint64_t                       seen;       /* the block */
    uint16_t                       generation;
} line_t;


typedef struct {
    sim_state_t                    vendor;

    ngx_uint_t                     in_flight;
    ngx_uint_t                     waiting;

    ngx_http_retry_chain_limit_t   limit;
} step_t;


static void sim_configure(void);
static void sim_arrivals(void);
static void sim_arrive(run_t *run);
static void sim_choose(run_t *run);
static void sim_look(ngx_uint_t worker, ngx_uint_t n);
static void sim_again(ngx_uint_t worker, ngx_uint_t n);
static ngx_uint_t sim_free(run_t *run);
static void sim_reply(run_t *run);
static void sim_send(run_t *run, ngx_uint_t n);
static void sim_tell(step_t *step, ngx_http_retry_chain_limit_call_t *call,
    sim_reply_t *reply);
static void sim_end(run_t *run, ngx_uint_t answered);

static void sim_about(run_t *run, ngx_uint_t n,
    ngx_http_retry_chain_limit_run_t *about);
static void sim_enter(run_t *run, ngx_uint_t n);
static void sim_leave(run_t *run);
static void sim_timer(ngx_uint_t worker, ngx_uint_t n, uint64_t when);

static int sim_compare(const void *a, const void *b);


static const sim_t                       *sim;
static const sim_vendor_t                *vendor;
static ngx_http_retry_chain_limit_conf_t  conf;

static uint64_t    now;

static run_t       runs[MAX_RUNS];
static ngx_uint_t  nruns;

static step_t      steps[MAX_STEPS];
static line_t      lines[MAX_WORKERS][MAX_STEPS];
static uint32_t    waits[MAX_RUNS];
static ngx_uint_t  refused;


void
sim_run(const sim_t *s, sim_result_t *result)
{
    ngx_uint_t   i, n;
    sim_event_t  event;

    sim = s;
    vendor = s->vendor;

    memset(steps, 0, sizeof(steps));
    memset(lines, 0, sizeof(lines));

    now = START;
    nruns = 0;
    refused = 0;

    sim_events(s->seed);
    sim_configure();
    sim_arrivals();

    while (sim_next(&event) == NGX_OK) {
        now = event.time;

        switch (event.kind) {

        case SIM_ARRIVE:
            sim_arrive(&runs[event.index]);
            break;

        case SIM_REPLY:
            sim_reply(&runs[event.index]);
            break;

        case SIM_LOOK:
            if (event.generation
                == lines[event.worker][event.index].generation)
            {
                lines[event.worker][event.index].look = 0;
                sim_look(event.worker, event.index);
            }

            break;

        default: /* SIM_LATE */

            if (runs[event.index].queued) {
                n = runs[event.index].step;
                sim_leave(&runs[event.index]);
                sim_end(&runs[event.index], 0);
                sim_look(runs[event.index].worker, n);
            }
        }
    }

    memset(result, 0, sizeof(*result));

    result->runs = nruns;
    result->refused = refused;

    for (i = 0, n = 0; i < nruns; i++) {
        if (!runs[i].done) {
            fprintf(stderr, "sim: run %lu has no end\n", (unsigned long) i);
            abort();
        }

        if (runs[i].answered) {
            result->answered++;
            waits[n++] = (runs[i].ended - runs[i].arrived) / MSEC;
        }
    }

    if (n) {
        qsort(waits, n, sizeof(uint32_t), sim_compare);
        result->longest = waits[n * 99 / 100];
    }
}


static void
sim_configure(void)
{
    ngx_uint_t  i;

    memset(&conf, 0, sizeof(conf));

    conf.burst = 1;
    conf.cap = 3600 * SECOND;
    conf.max = 10 * SECOND;
    conf.spacing = SECOND;
    conf.trial = 1;
    conf.automatic = sim->column == SIM_AUTO;

    if (sim->column == SIM_KNOWN) {

        switch (vendor->kind) {

        case SIM_BUCKET:
            conf.rate = vendor->rate * 1000;
            conf.burst = vendor->burst - 1;
            break;

        case SIM_WINDOW:
        case SIM_SLIDING:
            conf.rate = vendor->burst * 1000 * SECOND / vendor->period;
            break;

        case SIM_CONNS:
            conf.max_conns = vendor->burst;
            break;

        default: /* SIM_FREE */
            break;
        }
    }

    for (i = 0; i < sim->steps; i++) {
        steps[i].vendor.tokens = vendor->burst;
        ngx_http_retry_chain_limit_init(&steps[i].limit, now);
    }
}


static void
sim_arrivals(void)
{
    run_t      *run;
    double      rate, factor;
    uint64_t    time;

    static double  phases[] = { 0.5, 1.5, 0.5, 1.3, 0.2, 1.0 };

    rate = vendor->load * sim->load * sim->steps;

    time = 0;

    while (time < SIM_TIME && nruns < MAX_RUNS) {

        if (vendor->demand == SIM_BURST && nruns < 100) {
            time += MSEC / 10;

        } else {
            factor = 1;

            if (vendor->demand == SIM_STEPS) {
                factor = phases[time / (10 * SECOND) % 6];

            } else if (vendor->demand == SIM_BURST) {
                factor = 0.1;

            } else if (vendor->demand == SIM_WAKE) {
                factor = time < 22 * SECOND ? 0.1 : 1;
            }

            time += MSEC;

            if (sim_share() > rate * factor / 1000) {
                continue;
            }
        }

        run = &runs[nruns];
        memset(run, 0, sizeof(run_t));

        run->arrived = START + time;
        run->hash = sim_noise();
        run->worker = sim_noise() % sim->workers;
        run->first = sim->rotate ? nruns % sim->steps : 0;

        sim_event(run->arrived, SIM_ARRIVE, run->worker, nruns, 0);
        nruns++;
    }
}


static void
sim_arrive(run_t *run)
{
    sim_choose(run);
}


/* the first step that is free, or the line of the one that will be first */

static void
sim_choose(run_t *run)
{
    uint64_t    time, best, least, when;
    ngx_uint_t  i, n, k;

    ngx_http_retry_chain_limit_run_t  about;

    best = NEVER;
    n = 0;

    for (k = 0; k < sim->steps; k++) {
        i = (run->first + k) % sim->steps;

        if (run->used & (1 << i)) {
            continue;
        }

        if (sim->column == SIM_NONE) {
            sim_send(run, i);
            return;
        }

        sim_about(run, i, &about);
        time = ngx_http_retry_chain_limit_estimate(&steps[i].limit, &conf,
                                                   &about, now, &least);

        if (time <= now
            && ngx_http_retry_chain_limit_admit(&steps[i].limit, &conf, &about,
                                                now, &run->call, &when)
               == NGX_HTTP_RETRY_CHAIN_LIMIT_GO)
        {
            sim_send(run, i);
            return;
        }

        if (time < best && least + MARGIN <= run->arrived + DEADLINE) {
            best = time;
            n = i;
        }
    }

    if (best == NEVER) {
        sim_end(run, 0);
        return;
    }

    sim_enter(run, n);
    sim_event(run->arrived + DEADLINE - MARGIN, SIM_LATE, run->worker,
              run - runs, 0);
    sim_look(run->worker, n);
}


/* those at the head of a line go, if they may */

static void
sim_look(ngx_uint_t worker, ngx_uint_t n)
{
    run_t                                *run;
    line_t                               *line;
    uint64_t                              when;
    ngx_http_retry_chain_limit_run_t      about;
    ngx_http_retry_chain_limit_reason_e   reason;

    line = &lines[worker][n];

    if (steps[n].limit.blocked > now && line->seen != steps[n].limit.since) {
        line->seen = steps[n].limit.since;
        sim_again(worker, n);
    }

    while ((run = line->head)) {
        sim_about(run, n, &about);

        reason = ngx_http_retry_chain_limit_admit(&steps[n].limit, &conf,
                                                  &about, now, &run->call,
                                                  &when);

        if (reason != NGX_HTTP_RETRY_CHAIN_LIMIT_GO) {

            if (sim_free(run)) {
                continue;
            }

            sim_timer(worker, n, when);
            return;
        }

        sim_leave(run);
        sim_send(run, n);
    }
}


/* a block begins: those who wait choose again */

static void
sim_again(ngx_uint_t worker, ngx_uint_t n)
{
    run_t       *run, *next;
    uint64_t     time;
    ngx_uint_t   waiting;

    ngx_http_retry_chain_limit_run_t  about;

    waiting = 0;

    for (run = lines[worker][n].head; run; run = next) {
        next = run->next;

        if (sim_free(run)) {
            continue;
        }

        sim_about(run, n, &about);
        about.waiting = waiting * sim->workers;

        (void) ngx_http_retry_chain_limit_estimate(&steps[n].limit, &conf,
                                                   &about, now, &time);

        if (time + MARGIN <= run->arrived + DEADLINE) {
            waiting++;
            continue;
        }

        sim_leave(run);
        sim_end(run, 0);
    }
}


/* another step is free */

static ngx_uint_t
sim_free(run_t *run)
{
    uint64_t    when;
    ngx_uint_t  i, k;

    ngx_http_retry_chain_limit_run_t  about;

    for (k = 0; k < sim->steps; k++) {
        i = (run->first + k) % sim->steps;

        if ((run->used & (1 << i)) || i == run->step) {
            continue;
        }

        sim_about(run, i, &about);

        if (ngx_http_retry_chain_limit_estimate(&steps[i].limit, &conf, &about,
                                                now, &when)
            <= now
            && ngx_http_retry_chain_limit_admit(&steps[i].limit, &conf, &about,
                                                now, &run->call, &when)
               == NGX_HTTP_RETRY_CHAIN_LIMIT_GO)
        {
            sim_leave(run);
            sim_send(run, i);
            return 1;
        }
    }

    return 0;
}


static void
sim_send(run_t *run, ngx_uint_t n)
{
    step_t    *step;
    uint64_t   time;

    step = &steps[n];

    run->step = n;
    run->used |= 1 << n;

    step->in_flight++;

    sim_ask(vendor, &step->vendor, now - START, run->hash, run->calls++,
            &run->reply);

    time = sim->latency + sim->latency * sim_share() / 10;

    if (run->reply.status == 200) {

        if (vendor->kind == SIM_CONNS) {
            time += vendor->period;
        }

        if (now - START >= 20 * SECOND) {
            time += vendor->slow;
        }
    }

    if (sim->trace) {
        printf("%8.3f step %lu run %lu: %lu%s, %lu at once, %lu wait, "
               "pace %.2f, patience %.3f\n",
               (now - START) / 1e6, (unsigned long) n,
               (unsigned long) (run - runs), run->reply.status,
               run->call.trial ? " trial" : run->call.probe ? " probe" : "",
               (unsigned long) step->in_flight, (unsigned long) step->waiting,
               ngx_http_retry_chain_limit_pace(&step->limit, step->waiting, now)
               / 1000.0,
               step->limit.patience / 1e6);
    }

    sim_event(now + time, SIM_REPLY, run->worker, run - runs, 0);
}


static void
sim_reply(run_t *run)
{
    step_t      *step;
    ngx_uint_t   n;

    n = run->step;
    step = &steps[n];

    step->in_flight--;

    if (run->reply.status == 200 && vendor->kind == SIM_CONNS) {
        step->vendor.conns--;
    }

    if (sim->column != SIM_NONE) {
        sim_tell(step, &run->call, &run->reply);
    }

    if (run->reply.status == 200) {
        sim_end(run, 1);

    } else {
        refused++;
        sim_choose(run);
    }

    if (sim->column != SIM_NONE) {
        sim_look(run->worker, n);
    }
}


static void
sim_tell(step_t *step, ngx_http_retry_chain_limit_call_t *call,
    sim_reply_t *reply)
{
    ngx_http_retry_chain_limit_t  *limit;

    limit = &step->limit;

    switch (reply->status) {

    case 429:
        (void) ngx_http_retry_chain_limit_refused(limit, &conf, call,
                                                  reply->hint, now);
        break;

    case 503:
        ngx_http_retry_chain_limit_done(limit, call);
        (void) ngx_http_retry_chain_limit_away(limit, &conf, call, 503,
                                               reply->hint, now);
        break;

    default: /* 200 */
        ngx_http_retry_chain_limit_accepted(limit, &conf, call, step->waiting,
                                            now);

        if (reply->reset && reply->remaining) {
            ngx_http_retry_chain_limit_told(limit, &conf, reply->remaining,
                                            reply->reset, now);

        } else if (reply->reset) {
            (void) ngx_http_retry_chain_limit_away(limit, &conf, call, 200,
                                                   reply->reset, now);
        }
    }
}


static void
sim_end(run_t *run, ngx_uint_t answered)
{
    run->done = 1;
    run->answered = answered;
    run->ended = now;
}


static void
sim_about(run_t *run, ngx_uint_t n, ngx_http_retry_chain_limit_run_t *about)
{
    run_t       *head;
    ngx_uint_t   i;

    about->arrived = run->arrived;
    about->deadline = run->arrived + DEADLINE;
    about->in_flight = steps[n].in_flight;
    about->waiting = steps[n].waiting;
    about->first = 1;
    about->again = run->used != 0;

    if (run->queued && run->step == n) {
        about->waiting--;
    }

    for (i = 0; i < sim->workers; i++) {
        head = lines[i][n].head;

        if (head && head < run) {
            about->first = 0;
        }
    }
}


static void
sim_enter(run_t *run, ngx_uint_t n)
{
    run_t   *prev;
    line_t  *line;

    line = &lines[run->worker][n];

    for (prev = line->tail; prev && prev > run; prev = prev->prev) {
        /* void */
    }

    run->prev = prev;
    run->next = prev ? prev->next : line->head;

    if (run->next) {
        run->next->prev = run;

    } else {
        line->tail = run;
    }

    if (prev) {
        prev->next = run;

    } else {
        line->head = run;
    }

    run->step = n;
    run->queued = 1;
    line->length++;
    steps[n].waiting++;
}


static void
sim_leave(run_t *run)
{
    line_t  *line;

    line = &lines[run->worker][run->step];

    if (run->prev) {
        run->prev->next = run->next;

    } else {
        line->head = run->next;
    }

    if (run->next) {
        run->next->prev = run->prev;

    } else {
        line->tail = run->prev;
    }

    run->queued = 0;
    line->length--;
    steps[run->step].waiting--;
}


/* timers fire up to a millisecond late */

static void
sim_timer(ngx_uint_t worker, ngx_uint_t n, uint64_t when)
{
    line_t  *line;

    line = &lines[worker][n];

    when = (when + MSEC - 1) / MSEC * MSEC + sim_noise() % MSEC;
    when = ngx_max(when, now + 1);

    if (line->look == 0 || line->look > when || line->look <= now) {
        line->look = when;
        line->generation++;
        sim_event(when, SIM_LOOK, worker, n, line->generation);
    }
}


static int
sim_compare(const void *a, const void *b)
{
    uint32_t  x, y;

    x = *(const uint32_t *) a;
    y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}
