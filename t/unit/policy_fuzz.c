
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs of plans as they can be configured.  The input is eaten byte by byte,
 * zeros follow its end.
 */


#include "codes.h"
#include "ngx_http_retry_chain_policy.h"


#define MAX_RATE     1000000
#define MAX_STEPS    NGX_HTTP_RETRY_CHAIN_MAX_STEPS
#define NO_DEADLINE  ((ngx_msec_int_t) NGX_MAX_INT_T_VALUE)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_backoff(input_t *in);
static void fuzz_run(input_t *in);

static ngx_uint_t make_plan(input_t *in);
static void make_rule(input_t *in, ngx_http_retry_chain_rule_t *rule);
static void make_outcome(input_t *in);
static void make_ways(input_t *in);
static void check_verdict(ngx_msec_int_t left);
static void check_same(ngx_msec_int_t left);
static void check_pick(ngx_msec_t wait, ngx_msec_int_t left);
static void check_free(ngx_msec_t wait);
static ngx_uint_t soonest(ngx_msec_t wait);
static ngx_uint_t in_turn(ngx_uint_t k);
static ngx_uint_t waits(ngx_uint_t step);
static ngx_uint_t repeatable(void);

static ngx_msec_t make_time(input_t *in);


static ngx_http_retry_chain_plan_t     plan;
static ngx_http_retry_chain_step_t     steps[MAX_STEPS];
static ngx_http_retry_chain_rule_t     rules[NGX_HTTP_RETRY_CHAIN_MAX_RULES];
static ngx_http_retry_chain_limits_t     limits;
static ngx_http_retry_chain_place_t    place;
static ngx_http_retry_chain_outcome_t  outcome;
static ngx_http_retry_chain_verdict_t  verdict;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t  in;

    in.pos = data;
    in.last = data + size;

    if (number(&in, 4) == 0) {
        fuzz_backoff(&in);

    } else {
        fuzz_run(&in);
    }

    return 0;
}


/* no jitter is the upper bound of the others, and never falls */

static void
fuzz_backoff(input_t *in)
{
    uint32_t                     random;
    ngx_uint_t                   k;
    ngx_msec_t                   delay, plain, next;
    ngx_http_retry_chain_rule_t  rule;

    make_rule(in, &rule);

    k = 1 + number(in, NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
    random = number(in, 0xffffffff);

    delay = ngx_http_retry_chain_backoff(&rule, k, random);

    must(delay <= rule.max);
    must(delay <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
    must((ngx_msec_int_t) delay >= 0);

    rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_NONE;
    plain = ngx_http_retry_chain_backoff(&rule, k, random);
    next = ngx_http_retry_chain_backoff(&rule, k + 1, random);

    must(delay <= plain);
    must(plain <= next);
    must(k > 1 || plain == ngx_min(rule.interval, rule.max));

    rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_EQUAL;
    delay = ngx_http_retry_chain_backoff(&rule, k, random);

    must(delay >= plain / 2 && delay <= plain);
}


static void
fuzz_run(input_t *in)
{
    ngx_uint_t                    n, hasty;
    ngx_msec_int_t                left;
    ngx_http_retry_chain_place_t  before;

    if (make_plan(in)) {
        return;
    }

    hasty = number(in, 2);
    left = plan.timeout ? (ngx_msec_int_t) plan.timeout : NO_DEADLINE;

    ngx_memzero(&place, sizeof(place));
    place.first = number(in, MAX_STEPS);

    make_ways(in);
    memset(&verdict, 0xff, sizeof(verdict));

    ngx_http_retry_chain_pick(&plan, &place, &limits, 0, left, &verdict);

    must(!verdict.same);
    check_pick(0, left);

    for (n = 1; verdict.retry; n++) {
        must(n <= plan.attempts);

        before = place;

        ngx_http_retry_chain_place_move(&place, &verdict);

        must(place.step == verdict.step && place.step < plan.nsteps);
        must(place.used >> place.step & 1);
        must(verdict.same == (before.visits && place.step == before.step));
        must(place.visits == before.visits + !verdict.same);
        must(place.tries == (verdict.same ? before.tries + 1 : 1));

        if (plan.timeout) {
            left -= (ngx_msec_int_t) verdict.delay;
            must(left > 0);
        }

        /* an attempt takes its time, beyond the deadline, too */

        if (plan.timeout && !hasty) {
            left -= (ngx_msec_int_t) make_time(in);
        }

        make_outcome(in);
        make_ways(in);

        before = place;

        (void) ngx_http_retry_chain_decide(&plan, &place, &limits, &outcome,
                                           NULL, left, number(in, 0xffffffff),
                                           &verdict);

        must(memcmp(&before, &place, sizeof(place)) == 0);
        check_verdict(left);
    }
}


static void
check_verdict(ngx_msec_int_t left)
{
    ngx_uint_t  success, stop;

    success = 0;
    stop = 0;

    if (outcome.outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {
        success = ngx_http_retry_chain_codes_test(&plan.success,
                                                  outcome.status);
        stop = !success && ngx_http_retry_chain_codes_test(&plan.stop,
                                                           outcome.status);
    }

    if (!verdict.retry) {
        must(!verdict.same);
        must(verdict.delay == 0);

        must(success == (verdict.result == NGX_HTTP_RETRY_CHAIN_SUCCESS));
        must(stop == (verdict.result == NGX_HTTP_RETRY_CHAIN_STOPPED));

        switch (verdict.result) {

        case NGX_HTTP_RETRY_CHAIN_SUCCESS:
        case NGX_HTTP_RETRY_CHAIN_STOPPED:
            return;

        case NGX_HTTP_RETRY_CHAIN_UNSAFE:
            must(!repeatable());
            return;

        default:
            break;
        }

    } else {
        must(!success && !stop);
        must(repeatable());
        must(verdict.delay <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        must((ngx_msec_int_t) verdict.delay < left);
    }

    if (verdict.same) {
        check_same(left);
        return;
    }

    /* without rules all tries are made, if nothing is in their way */

    must(plan.nrules || place.tries >= plan.steps[place.step].attempts
         || limits.delay[place.step] || left <= 0);

    check_pick(place.visits < plan.nsteps ? steps[place.visits].wait : 0, left);
}


/* a limiter is waited for by those who wait, a long hint by nobody */

static void
check_same(ngx_msec_int_t left)
{
    ngx_msec_t                    limiter, max;
    ngx_http_retry_chain_step_t  *step;

    must(verdict.retry);
    must(verdict.step == place.step);

    step = &plan.steps[place.step];

    if (plan.nrules) {
        must(verdict.rule < plan.nrules);
        must(rules[verdict.rule].outcomes & outcome.outcome);
        must((ngx_uint_t) place.retries[verdict.rule] + 1
             < rules[verdict.rule].attempts);
        must(step->attempts == 0 || place.tries < step->attempts);

        max = rules[verdict.rule].max;

    } else {
        must(place.tries < step->attempts);

        max = 0;
    }

    limiter = limits.delay[place.step];

    if (verdict.reason == NGX_HTTP_RETRY_CHAIN_REASON_BACKOFF) {
        must(verdict.delay <= max);
        must(limiter <= verdict.delay
             || plan.limited == NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT);
        return;
    }

    must(verdict.delay == limiter && limiter);
    must((ngx_msec_int_t) (limiter + plan.margin) < left);
    must(plan.limited == NGX_HTTP_RETRY_CHAIN_LIMITED_WAIT);
    must(waits(place.step));
    must(verdict.reason == (limits.blocked >> place.step & 1
                            ? NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER
                            : NGX_HTTP_RETRY_CHAIN_REASON_RATE));
}


static void
check_pick(ngx_msec_t wait, ngx_msec_int_t left)
{
    ngx_uint_t  step, free, at_once, result;

    must(place.used >> plan.nsteps == 0);

    if (place.used == ((uint32_t) 1 << plan.nsteps) - 1) {
        must(!verdict.retry);
        must(verdict.result == NGX_HTTP_RETRY_CHAIN_EXHAUSTED
             || verdict.result == NGX_HTTP_RETRY_CHAIN_DEADLINE
             || (verdict.result == NGX_HTTP_RETRY_CHAIN_LIMITED
                 && limits.delay[place.step]));
        return;
    }

    step = soonest(wait);
    free = step != MAX_STEPS && limits.delay[step] <= wait;
    at_once = free || plan.limited == NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT;
    result = at_once ? NGX_HTTP_RETRY_CHAIN_DEADLINE
                     : NGX_HTTP_RETRY_CHAIN_LIMITED;

    if (!at_once && step != MAX_STEPS) {
        wait = limits.delay[step];
        left -= (ngx_msec_int_t) plan.margin;
    }

    if (step == MAX_STEPS || (ngx_msec_int_t) wait >= left
        || (!at_once && plan.limited == NGX_HTTP_RETRY_CHAIN_LIMITED_FAIL))
    {
        must(!verdict.retry);
        must(verdict.result == result);
        return;
    }

    must(verdict.retry);
    must(verdict.delay == wait);

    if (at_once) {
        must(verdict.reason == (place.visits
                                ? NGX_HTTP_RETRY_CHAIN_REASON_STEP
                                : NGX_HTTP_RETRY_CHAIN_REASON_FIRST));

    } else {
        must(verdict.reason == (limits.blocked >> step & 1
                                ? NGX_HTTP_RETRY_CHAIN_REASON_RETRY_AFTER
                                : NGX_HTTP_RETRY_CHAIN_REASON_RATE));
    }

    if (free) {
        check_free(wait);

    } else {
        must(verdict.step == step);
    }
}


/*
 * None has many more calls left, and those before it have fewer; if the first
 * one has no burst, it is taken
 */

static void
check_free(ngx_msec_t wait)
{
    ngx_uint_t  i, k, first, before;

    must(limits.delay[verdict.step] <= wait);
    must(!(place.used >> verdict.step & 1));

    first = MAX_STEPS;
    before = 1;

    for (k = 0; k < plan.nsteps; k++) {
        i = in_turn(k);

        if (place.used >> i & 1 || limits.delay[i] > wait) {
            continue;
        }

        if (first == MAX_STEPS) {
            first = i;
        }

        if (i == verdict.step) {
            before = 0;

        } else if (limits.left[first]) {
            must(limits.left[i] <= limits.left[verdict.step] + 2);
            must(!before || limits.left[i] < limits.left[verdict.step]);
        }
    }

    must(limits.left[first] || verdict.step == first);
}


/* the step that is free first, MAX_STEPS if a run should wait for none */

static ngx_uint_t
soonest(ngx_msec_t wait)
{
    ngx_uint_t  i, k, best;
    ngx_msec_t  delay, least;

    best = MAX_STEPS;
    least = 0;

    for (k = 0; k < plan.nsteps; k++) {
        i = in_turn(k);
        delay = ngx_max(limits.delay[i], wait);

        if (place.used >> i & 1
            || (delay > wait && !waits(i)
                && plan.limited != NGX_HTTP_RETRY_CHAIN_LIMITED_NEXT))
        {
            continue;
        }

        if (best == MAX_STEPS || delay < least) {
            best = i;
            least = delay;
        }
    }

    return best;
}


static ngx_uint_t
in_turn(ngx_uint_t k)
{
    ngx_uint_t  n;

    for (n = 0; n < plan.nsteps && !steps[n].location; n++) {
        /* void */
    }

    return k < n ? (place.first + k) % n : k;
}


static ngx_uint_t
waits(ngx_uint_t step)
{
    return !(limits.blocked >> step & 1)
           || limits.delay[step] <= plan.retry_after.max;
}


/* what is not idempotent and may have been applied is not repeated */

static ngx_uint_t
repeatable(void)
{
    return outcome.idempotent
           || plan.non_idempotent == NGX_HTTP_RETRY_CHAIN_UNSAFE_ON
           || (plan.non_idempotent == NGX_HTTP_RETRY_CHAIN_UNSAFE_SAFE
               && (outcome.keyed || !outcome.sent
                   || (outcome.outcome == NGX_HTTP_RETRY_CHAIN_REPLY
                       && outcome.status == 429 && !outcome.cached)));
}


static void
make_outcome(input_t *in)
{
    ngx_memzero(&outcome, sizeof(outcome));

    outcome.outcome = 1 << number(in, 4);
    outcome.status = 100 + number(in, 900);
    outcome.idempotent = number(in, 2);
    outcome.keyed = number(in, 2);
    outcome.sent = number(in, 2);
    outcome.cached = number(in, 2);
}


/* as a rule all limits are free */

static void
make_ways(input_t *in)
{
    ngx_uint_t  i;

    ngx_memzero(&limits, sizeof(limits));

    if (number(in, 3)) {
        return;
    }

    for (i = 0; i < plan.nsteps; i++) {
        limits.delay[i] = number(in, 2) ? make_time(in) : 0;
        limits.left[i] = number(in, 8);
    }

    limits.blocked = number(in, 0x10000);
}


/* what the configuration cannot hold is not a plan */

static ngx_uint_t
make_plan(input_t *in)
{
    ngx_int_t   rc;
    ngx_uint_t  i, few;

    ngx_memzero(&plan, sizeof(plan));
    ngx_memzero(steps, sizeof(steps));

    plan.steps = steps;
    plan.nsteps = 1 + number(in, MAX_STEPS);

    plan.rules = rules;
    plan.nrules = number(in, NGX_HTTP_RETRY_CHAIN_MAX_RULES + 1);

    make_codes(in, &plan.success);
    make_codes(in, &plan.stop);

    plan.non_idempotent = number(in, 3);
    plan.timeout = number(in, 2) ? make_time(in) : 0;
    plan.hard = number(in, 2);
    plan.limited = number(in, 3);
    plan.retry_after.max = make_time(in);

    few = number(in, 2) ? 4 : NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS + 1;

    for (i = 0; i < plan.nsteps; i++) {
        steps[i].attempts = number(in, few);
        steps[i].wait = i ? make_time(in) : 0;
        steps[i].location = number(in, 8) == 0;
    }

    for (i = 0; i < plan.nrules; i++) {
        make_rule(in, &rules[i]);
        rules[i].attempts = 1 + rules[i].attempts % few;
    }

    rc = ngx_http_retry_chain_plan_init(&plan);

    must(plan.attempts >= plan.nsteps);
    must((rc == NGX_OK)
         == (plan.attempts <= NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS));

    return rc != NGX_OK;
}


static void
make_rule(input_t *in, ngx_http_retry_chain_rule_t *rule)
{
    ngx_memzero(rule, sizeof(*rule));

    rule->outcomes = 1 + number(in, 15);
    rule->any = number(in, 2);
    rule->attempts = number(in, NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
    rule->jitter = number(in, 3);
    rule->interval = make_time(in);
    rule->max = make_time(in);
    rule->rate = 1000 + number(in, MAX_RATE - 1000 + 1);

    make_codes(in, &rule->codes);
}


/* the limits themselves and small times more often than all between */

static ngx_msec_t
make_time(input_t *in)
{
    switch (number(in, 4)) {

    case 0:
        return 0;

    case 1:
        return number(in, 256);

    case 2:
        return number(in, NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1);

    default:
        return NGX_HTTP_RETRY_CHAIN_MAX_TIME - number(in, 2);
    }
}
