
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Never worse than without: a chain with a zone in front of many kinds of
 * vendors.
 *
 *   sim_test                     half a point at the most, but for exceptions
 *   sim_test table [SEEDS [N]]   what all vendors, or the N-th, come to
 *   sim_test trace N STEPS LOAD LATENCY WORKERS COLUMN     each call of one
 */


#include <stdlib.h>
#include "tap.h"
#include "sim.h"


#define RA1   .hint = SIM_HINT_FIXED, .retry_after = SECOND
#define RA30  .hint = SIM_HINT_FIXED, .retry_after = 30 * SECOND
#define BUCKET                                                                \
    .kind = SIM_BUCKET, .rate = 20, .burst = 20, .load = 20, .limits = 1,     \
    .block = 2 * SECOND
#define FREE  .kind = SIM_FREE, .load = 20


static const sim_vendor_t  vendors[] = {
    { .name = "bucket, a block of 2 s", BUCKET, .hint = SIM_HINT_TRUE },
    { .name = "bucket, no hint", BUCKET, .hint = SIM_HINT_NONE },
    { .name = "bucket, block renewed", BUCKET, .hint = SIM_HINT_TRUE,
      .renewed = 1 },
    { .name = "bucket, no block", .kind = SIM_BUCKET, .rate = 20, .burst = 20,
      .load = 20, .limits = 1, .hint = SIM_HINT_TRUE },
    { .name = "bucket, no block or hint", .kind = SIM_BUCKET, .rate = 20,
      .burst = 20, .load = 20, .limits = 1, .hint = SIM_HINT_NONE },
    { .name = "window of 10 s", .kind = SIM_WINDOW, .burst = 20, .load = 2,
      .limits = 1, .period = 10 * SECOND, .hint = SIM_HINT_TRUE },
    { .name = "window of 10 s, no hint", .kind = SIM_WINDOW, .burst = 20,
      .load = 2, .limits = 1, .period = 10 * SECOND },
    { .name = "sliding window", .kind = SIM_SLIDING, .burst = 20, .load = 2,
      .limits = 1, .period = 10 * SECOND, .hint = SIM_HINT_TRUE },
    { .name = "sliding window, no hint", .kind = SIM_SLIDING, .burst = 20,
      .load = 2, .limits = 1, .period = 10 * SECOND },
    { .name = "2 at once, RA 1", .kind = SIM_CONNS, .burst = 2, .load = 4.88,
      .limits = 1, .period = 400 * MSEC, RA1 },
    { .name = "2 at once, no hint", .kind = SIM_CONNS, .burst = 2,
      .load = 4.88, .limits = 1, .period = 400 * MSEC },
    { .name = "random 1 %, RA 1", FREE, RA1, .random = 0.01 },
    { .name = "random 5 %, RA 1", FREE, RA1, .random = 0.05 },
    { .name = "random 20 %, RA 1", FREE, RA1, .random = 0.2 },
    { .name = "random 1 %, RA 30", FREE, RA30, .random = 0.01 },
    { .name = "random 5 %, RA 30", FREE, RA30, .random = 0.05 },
    { .name = "random 20 %, RA 30", FREE, RA30, .random = 0.2 },
    { .name = "random 1 %, no hint", FREE, .random = 0.01 },
    { .name = "random 5 %, no hint", FREE, .random = 0.05 },
    { .name = "random 20 %, no hint", FREE, .random = 0.2 },
    { .name = "outage of 1 s, RA 1", FREE, RA1, .outage = SECOND },
    { .name = "outage of 8 s, no hint", FREE, .outage = 8 * SECOND },
    { .name = "outage of 8 s, RA 30", FREE, RA30, .outage = 8 * SECOND },
    { .name = "outage of 1 s, then many", FREE, RA1, .outage = SECOND,
      .demand = SIM_WAKE },
    { .name = "one endpoint, RA 1", FREE, RA1, .endpoint = 1 },
    { .name = "one endpoint, 503, RA 30", FREE, RA30, .endpoint = 1,
      .down = 1 },
    { .name = "a third of it for 30 s", BUCKET, .hint = SIM_HINT_TRUE,
      .third = 1 },
    { .name = "a day's quota ends", .kind = SIM_WINDOW, .burst = 300,
      .load = 9, .period = 86400 * SECOND, .hint = SIM_HINT_TRUE },
    { .name = "100 at once, cold, RA 30", FREE, RA30, .cold = 1,
      .demand = SIM_BURST },
    { .name = "demand in steps", BUCKET, .hint = SIM_HINT_TRUE,
      .demand = SIM_STEPS },
    { .name = "bucket and random 2 %", BUCKET, .hint = SIM_HINT_TRUE,
      .random = 0.02 },
    { .name = "window, calls left", .kind = SIM_WINDOW, .burst = 20,
      .load = 2, .limits = 1, .period = 10 * SECOND, .hint = SIM_HINT_TRUE,
      .remain = 1 },
    { .name = "outage of 8 s, 4987 left", FREE, RA1, .outage = 8 * SECOND,
      .remain = 1 },
    { .name = "a day's quota, calls left", .kind = SIM_WINDOW, .burst = 300,
      .load = 9, .period = 86400 * SECOND, .hint = SIM_HINT_TRUE,
      .remain = 1 },
    { .name = "0 left, which is wrong", FREE, RA1, .remain = 1, .lies = 1 },
    { .name = "slow, random 5 %, RA 1", FREE, RA1, .random = 0.05,
      .slow = 3 * SECOND },
    { .name = "slow, outage of 1 s", FREE, RA1, .outage = SECOND,
      .slow = 3 * SECOND },
    { .name = "slow, bucket", BUCKET, .hint = SIM_HINT_TRUE,
      .slow = 3 * SECOND },
    { .name = NULL }
};


/* where half a point, or five refused calls, are not enough */

typedef struct {
    const char                    *name;
    double                         points;
    ngx_uint_t                     refused;
} exception_t;

static const exception_t  exceptions[] = {

    /* a client is lost for each call that finds out what refusals mean */

    { "random 20 %, RA 1", 1.5, 5 },
    { "random 20 %, no hint", 2, 5 },

    /*
     * after a block that was none a line is left, which fills the bucket: real
     * refusals then, of which none has few
     */

    { "bucket and random 2 %", 4.5, 250 },

    /* refusals that end with the next token: blocks do not help, nor harm */

    { "bucket, no block or hint", 0.5, 10 },

    { NULL, 0.5, 5 }
};


typedef struct {
    ngx_uint_t                     latency;
    ngx_uint_t                     workers;
    ngx_uint_t                     rotate;
} way_t;

static way_t  modes[] = { { 10, 1, 0 }, { 150, 1, 0 }, { 10, 4, 1 } };
static double  loads[] = { 0.75, 0.9, 1.15, 1.5 };

#define MODES  3
#define LOADS  4


static ngx_uint_t  cells;
static ngx_uint_t  bad;
static double      gain;


static void test_vendor(const sim_vendor_t *v, ngx_uint_t seeds,
    ngx_uint_t show);
static void test_cell(const sim_vendor_t *v, const sim_t *sim,
    ngx_uint_t seeds, ngx_uint_t show);
static void cell_run(const sim_t *proto, ngx_uint_t column, ngx_uint_t seeds,
    sim_result_t *result);
static const exception_t *cell_exception(const sim_vendor_t *v);
static void trace(char **argv);


static double      worst;
static ngx_uint_t  more;
static ngx_uint_t  refused;


int
main(int argc, char **argv)
{
    ngx_uint_t          i, seeds, only;
    const exception_t  *e;

    if (argc == 8 && strcmp(argv[1], "trace") == 0) {
        trace(argv + 2);
        return 0;
    }

    if (argc > 1) {
        seeds = argc > 2 ? atoi(argv[2]) : 3;
        only = argc > 3 ? atoi(argv[3]) : 0;

        printf("answered %%, refused calls, p99 of waits in s; load, latency "
               "in ms, workers\n%-26s %s  %-16s %-16s %-16s %s\n", "vendor",
               "steps  load lat w", "none", "hints", "auto", "known");

        for (i = 0; vendors[i].name; i++) {
            if (only == 0 || only == i + 1) {
                test_vendor(&vendors[i], seeds, 1);
            }
        }

        printf("# %lu of %lu cells are worse than none by more than half a "
               "point, mean %+.2f\n", (unsigned long) bad,
               (unsigned long) cells, gain / cells);
        return 0;
    }

    for (i = 0; vendors[i].name; i++) {
        test_vendor(&vendors[i], 1, 0);

        e = cell_exception(&vendors[i]);

        ok(worst >= -e->points, "%s: never worse than without a zone (%.1f)",
           vendors[i].name, worst);
        ok(more <= e->refused, "%s: no more refused calls (%lu)",
           vendors[i].name, (unsigned long) more);
        ok(refused == 0, "%s: none at a rate that is known", vendors[i].name);
    }

    return done_testing();
}


static void
test_vendor(const sim_vendor_t *v, ngx_uint_t seeds, ngx_uint_t show)
{
    sim_t       sim;
    ngx_uint_t  n, k, m;

    worst = 0;
    more = 0;
    refused = 0;

    for (n = 1; n <= 3; n += 2) {
        for (k = 0; k < LOADS; k++) {

            /* what takes any number of calls, takes them at two loads */

            if (!v->limits && k % 2 == 0) {
                continue;
            }

            for (m = 0; m < MODES; m++) {
                memset(&sim, 0, sizeof(sim));

                sim.vendor = v;
                sim.steps = n;
                sim.load = loads[k];
                sim.latency = modes[m].latency * MSEC;
                sim.workers = modes[m].workers;
                sim.rotate = modes[m].rotate;

                if (n > 1 || !sim.rotate || k == 1) {
                    test_cell(v, &sim, seeds, show);
                }
            }
        }
    }
}


static void
test_cell(const sim_vendor_t *v, const sim_t *sim, ngx_uint_t seeds,
    ngx_uint_t show)
{
    double        share[4];
    ngx_uint_t    c;
    sim_result_t  r[4];

    if (show) {
        printf("%-26s %5lu %5.2f %3lu %lu ", v->name,
               (unsigned long) sim->steps, sim->load,
               (unsigned long) (sim->latency / MSEC),
               (unsigned long) sim->workers);
    }

    for (c = SIM_NONE; c <= (v->limits ? SIM_KNOWN : SIM_AUTO); c++) {
        cell_run(sim, c, seeds, &r[c]);

        share[c] = 100.0 * r[c].answered / r[c].runs;

        if (show) {
            printf(" %5.1f %5lu %4.1f%s", share[c],
                   (unsigned long) (r[c].refused / seeds),
                   r[c].longest / 1000.0,
                   share[c] < share[SIM_NONE] - 0.5 ? "!"
                   : r[c].refused > r[SIM_NONE].refused ? "r" : " ");
        }

        if (c == SIM_HINTS || c == SIM_AUTO) {
            cells++;
            bad += share[c] < share[SIM_NONE] - 0.5;
            gain += share[c] - share[SIM_NONE];
            worst = ngx_min(worst, share[c] - share[SIM_NONE]);

            if (r[c].refused > r[SIM_NONE].refused) {
                more = ngx_max(more, r[c].refused - r[SIM_NONE].refused);
            }
        }
    }

    if (v->limits && !v->random && !v->third) {
        refused += r[SIM_KNOWN].refused;
    }

    if (show) {
        printf("\n");
    }
}


static void
cell_run(const sim_t *proto, ngx_uint_t column, ngx_uint_t seeds,
    sim_result_t *result)
{
    sim_t         sim;
    ngx_uint_t    s;
    sim_result_t  r;

    memset(result, 0, sizeof(sim_result_t));

    sim = *proto;
    sim.column = column;

    for (s = 0; s < seeds; s++) {
        sim.seed = s + 1;
        sim_run(&sim, &r);

        result->runs += r.runs;
        result->answered += r.answered;
        result->refused += r.refused;
        result->longest += r.longest / seeds;
    }
}


static const exception_t *
cell_exception(const sim_vendor_t *v)
{
    ngx_uint_t  i;

    for (i = 0; exceptions[i].name; i++) {
        if (strcmp(exceptions[i].name, v->name) == 0) {
            break;
        }
    }

    return &exceptions[i];
}


static void
trace(char **argv)
{
    sim_t         sim;
    sim_result_t  r;

    memset(&sim, 0, sizeof(sim));

    sim.vendor = &vendors[atoi(argv[0]) - 1];
    sim.steps = atoi(argv[1]);
    sim.load = atof(argv[2]);
    sim.latency = atoi(argv[3]) * MSEC;
    sim.workers = atoi(argv[4]);
    sim.rotate = sim.workers > 1;
    sim.column = atoi(argv[5]);
    sim.seed = 1;
    sim.trace = 1;

    sim_run(&sim, &r);
}
