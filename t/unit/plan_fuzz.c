
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Texts as they are in a configuration, and runs of plans as they can be
 * configured.  The input is eaten byte by byte, zeros follow its end.
 */


#include <stdio.h>
#include <stdlib.h>

#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_plan.h"
#include "ngx_http_retry_chain_policy.h"


#define MAX_RATE     1000000
#define NO_DEADLINE  ((ngx_msec_int_t) NGX_MAX_INT_T_VALUE)

#define must(cond)                                                           \
    if (!(cond)) {                                                           \
        fprintf(stderr, "%s:%d: must be: %s\n", __FILE__, __LINE__, #cond);  \
        abort();                                                             \
    }


typedef struct {
    const u_char                   *pos;
    const u_char                   *last;
} input_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_codes(input_t *in);
static void fuzz_msec(input_t *in);
static void fuzz_backoff(input_t *in);
static void fuzz_run(input_t *in);

static ngx_uint_t make_plan(input_t *in);
static void make_rule(input_t *in, ngx_http_retry_chain_rule_t *rule);
static void make_codes(input_t *in, ngx_http_retry_chain_codes_t *codes);
static void check_verdict(const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_int_t left,
    const ngx_http_retry_chain_verdict_t *verdict);

static void rest(input_t *in, ngx_str_t *text);
static ngx_msec_t make_time(input_t *in);
static uint32_t number(input_t *in, uint32_t limit);


static ngx_http_retry_chain_plan_t  plan;
static ngx_http_retry_chain_step_t  steps[NGX_HTTP_RETRY_CHAIN_MAX_STEPS];
static ngx_http_retry_chain_rule_t  rules[NGX_HTTP_RETRY_CHAIN_MAX_RULES];


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t  in;

    in.pos = data;
    in.last = data + size;

    switch (number(&in, 4)) {

    case 0:
        fuzz_codes(&in);
        break;

    case 1:
        fuzz_msec(&in);
        break;

    case 2:
        fuzz_backoff(&in);
        break;

    default:
        fuzz_run(&in);
        break;
    }

    return 0;
}


static void
fuzz_codes(input_t *in)
{
    ngx_int_t                     rc;
    ngx_str_t                     text;
    ngx_uint_t                    i, n, old, now;
    ngx_http_retry_chain_codes_t  before, codes;

    make_codes(in, &codes);
    before = codes;

    rest(in, &text);
    rc = ngx_http_retry_chain_codes_add(&codes, &text);
    free(text.data);

    must(rc == NGX_OK || rc == NGX_DECLINED);

    if (rc == NGX_DECLINED) {
        must(memcmp(&before, &codes, sizeof(codes)) == 0);
        return;
    }

    must(text.len == 3 || text.len == 7);

    n = 0;

    for (i = 0; i < 1024; i++) {
        old = ngx_http_retry_chain_codes_test(&before, i);
        now = ngx_http_retry_chain_codes_test(&codes, i);

        must(now || !old);
        must(!now || (i >= 100 && i <= 599));

        n += now;
    }

    must(n);
}


static void
fuzz_msec(input_t *in)
{
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_msec_t  msec;

    rest(in, &text);
    msec = NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1;

    rc = ngx_http_retry_chain_parse_msec(&text, &msec);
    free(text.data);

    if (rc == NGX_OK) {
        must(text.len);
        must(msec <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        return;
    }

    must(rc == NGX_DECLINED);
    must(msec == NGX_HTTP_RETRY_CHAIN_MAX_TIME + 1);
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
    ngx_uint_t                      n, hasty;
    ngx_msec_t                      passed;
    ngx_msec_int_t                  left;
    ngx_http_retry_chain_place_t    place, before;
    ngx_http_retry_chain_outcome_t  outcome;
    ngx_http_retry_chain_verdict_t  verdict;

    if (make_plan(in)) {
        return;
    }

    hasty = number(in, 2);
    left = plan.timeout ? (ngx_msec_int_t) plan.timeout : NO_DEADLINE;

    ngx_memzero(&place, sizeof(place));
    place.tries = 1;

    for (n = 1; /* void */; n++) {
        must(n <= plan.attempts);

        ngx_memzero(&outcome, sizeof(outcome));

        outcome.outcome = 1 << number(in, 4);
        outcome.status = 100 + number(in, 900);
        outcome.idempotent = number(in, 2);
        outcome.keyed = number(in, 2);
        outcome.sent = number(in, 2);

        /* an attempt takes its time, beyond the deadline, too */

        if (plan.timeout && !hasty) {
            passed = make_time(in);
            left -= (ngx_msec_int_t) passed;
        }

        before = place;

        ngx_http_retry_chain_decide(&plan, &place, &outcome, left,
                                    number(in, 0xffffffff), &verdict);

        must(memcmp(&before, &place, sizeof(place)) == 0);
        check_verdict(&place, &outcome, left, &verdict);

        if (!verdict.retry) {
            break;
        }

        ngx_http_retry_chain_place_move(&place, &verdict);

        must(place.step < plan.nsteps);
        must(place.step == before.step + !verdict.same);
        must(place.tries == (verdict.same ? before.tries + 1 : 1));

        if (plan.timeout) {
            left -= (ngx_msec_int_t) verdict.delay;
            must(left > 0);
        }
    }
}


static void
check_verdict(const ngx_http_retry_chain_place_t *place,
    const ngx_http_retry_chain_outcome_t *outcome, ngx_msec_int_t left,
    const ngx_http_retry_chain_verdict_t *verdict)
{
    ngx_uint_t                    final, success;
    ngx_http_retry_chain_step_t  *step;

    success = 0;
    final = 0;

    if (outcome->outcome == NGX_HTTP_RETRY_CHAIN_REPLY) {
        success = ngx_http_retry_chain_codes_test(&plan.success,
                                                  outcome->status);
        final = success || ngx_http_retry_chain_codes_test(&plan.stop,
                                                           outcome->status);
    }

    must(!success == (verdict->retry
                      || verdict->result != NGX_HTTP_RETRY_CHAIN_SUCCESS));

    if (!verdict->retry) {
        must(!verdict->same);
        must(verdict->delay == 0);
        must(verdict->result <= NGX_HTTP_RETRY_CHAIN_DEADLINE);
        must(verdict->result != NGX_HTTP_RETRY_CHAIN_DEADLINE || plan.timeout);
        return;
    }

    must(!final);
    must(verdict->delay <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
    must((ngx_msec_int_t) verdict->delay >= 0);
    must((ngx_msec_int_t) verdict->delay < left);

    /* what is not idempotent and may have been applied is not repeated */

    must(outcome->idempotent
         || plan.non_idempotent == NGX_HTTP_RETRY_CHAIN_UNSAFE_ON
         || (plan.non_idempotent == NGX_HTTP_RETRY_CHAIN_UNSAFE_SAFE
             && (outcome->keyed || !outcome->sent
                 || (outcome->outcome == NGX_HTTP_RETRY_CHAIN_REPLY
                     && outcome->status == 429))));

    step = &plan.steps[place->step];

    if (!verdict->same) {
        must(place->step + 1 < plan.nsteps);
        must(verdict->delay == step[1].wait);
        return;
    }

    must(step->attempts == 0 || place->tries < step->attempts);

    if (plan.nrules == 0) {
        must(verdict->delay == 0);
        return;
    }

    must(verdict->rule < plan.nrules);
    must(verdict->delay <= rules[verdict->rule].max);
    must(rules[verdict->rule].outcomes & outcome->outcome);
    must((ngx_uint_t) place->retries[verdict->rule] + 1
         < rules[verdict->rule].attempts);
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
    plan.nsteps = 1 + number(in, NGX_HTTP_RETRY_CHAIN_MAX_STEPS);

    plan.rules = rules;
    plan.nrules = number(in, NGX_HTTP_RETRY_CHAIN_MAX_RULES + 1);

    make_codes(in, &plan.success);
    make_codes(in, &plan.stop);

    plan.non_idempotent = number(in, 3);
    plan.timeout = number(in, 2) ? make_time(in) : 0;

    few = number(in, 2) ? 4 : NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS + 1;

    for (i = 0; i < plan.nsteps; i++) {
        steps[i].attempts = number(in, few);
        steps[i].wait = i ? make_time(in) : 0;
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


/* one range, as codes_add() would leave it */

static void
make_codes(input_t *in, ngx_http_retry_chain_codes_t *codes)
{
    u_char      buf[sizeof("100-599")];
    ngx_int_t   rc;
    ngx_str_t   text;
    ngx_uint_t  from, to;

    ngx_memzero(codes, sizeof(*codes));

    if (number(in, 4) == 0) {
        return;
    }

    from = 100 + number(in, 500);
    to = from + number(in, 600 - from);

    snprintf((char *) buf, sizeof(buf), "%u-%u", (unsigned) from,
             (unsigned) to);

    text.data = buf;
    text.len = sizeof("100-599") - 1;

    rc = ngx_http_retry_chain_codes_add(codes, &text);

    must(rc == NGX_OK);
    must(ngx_http_retry_chain_codes_test(codes, from));
    must(ngx_http_retry_chain_codes_test(codes, to));
    must(!ngx_http_retry_chain_codes_test(codes, from - 1));
    must(!ngx_http_retry_chain_codes_test(codes, to + 1));
}


/* in memory of its own, where one byte too far is seen */

static void
rest(input_t *in, ngx_str_t *text)
{
    text->len = in->last - in->pos;
    text->data = malloc(text->len ? text->len : 1);

    must(text->data);

    if (text->len) {
        ngx_memcpy(text->data, in->pos, text->len);
    }

    in->pos = in->last;
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


/* below limit; takes as many bytes as limit has */

static uint32_t
number(input_t *in, uint32_t limit)
{
    uint32_t  n, max;

    n = 0;

    for (max = limit - 1; max; max >>= 8) {
        n = n << 8 | (in->pos < in->last ? *in->pos++ : 0);
    }

    return n % limit;
}
