
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Machines of unknown origin, and runs through those that compile.  The input
 * is the text of a machine, a zero and what the upstreams answer.
 */


#include "fuzz.h"
#include "tap.h"
#include "ngx_http_retry_chain_condition.h"
#include "ngx_http_retry_chain_machine.h"
#include "ngx_http_retry_chain_policy.h"


#define MAX_MESSAGE  1024
#define RUNS         8


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plan(void);
static void check_state(ngx_uint_t i);
static void check_message(ngx_str_t *message);
static void run(input_t *in);
static void make_outcome(input_t *in);
static void make_ways(input_t *in);
static ngx_int_t find_header(void *data, ngx_str_t *name, ngx_str_t *value);


static ngx_http_retry_chain_plan_t             plan;
static ngx_http_retry_chain_machine_result_t   result;
static ngx_http_retry_chain_machine_options_t  options;

static ngx_http_retry_chain_place_t            place;
static ngx_http_retry_chain_limits_t             limits;
static ngx_http_retry_chain_outcome_t          outcome;
static ngx_http_retry_chain_reply_t            reply;
static ngx_http_retry_chain_verdict_t          verdict;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u_char        *copy;
    input_t        in;
    ngx_int_t      rc;
    ngx_str_t      text, *warning;
    ngx_uint_t     i;
    ngx_pool_t    *pool;
    const u_char  *end;

    end = memchr(data, '\0', size);

    text.len = end ? (size_t) (end - data) : size;
    copy = malloc(text.len ? text.len : 1);
    must(copy);

    if (text.len) {
        memcpy(copy, data, text.len);
    }

    text.data = copy;

    in.pos = end ? end + 1 : data + size;
    in.last = data + size;

    pool = ngx_create_pool(1024, tap_pool()->log);
    must(pool);

    ngx_memzero(&plan, sizeof(plan));
    ngx_http_retry_chain_retry_after_conf_init(&plan.retry_after);

    options.deadline = 60000;

    rc = ngx_http_retry_chain_machine_compile(pool, &text, &options, &plan,
                                              &result);

    /* nothing of it is referred to any more */

    free(copy);

    must(rc == NGX_OK || rc == NGX_DECLINED);
    must(result.warnings.nelts <= 51);

    warning = result.warnings.elts;

    for (i = 0; i < result.warnings.nelts; i++) {
        check_message(&warning[i]);
    }

    if (rc == NGX_DECLINED) {
        check_message(&result.error);
        must(plan.states == NULL && plan.steps == NULL);

    } else {
        must(result.error.len == 0);
        check_plan();

        for (i = 0; i < RUNS; i++) {
            run(&in);
        }
    }

    ngx_destroy_pool(pool);

    return 0;
}


/* one line, fit to be logged */

static void
check_message(ngx_str_t *message)
{
    size_t  i;

    must(message->len && message->len <= MAX_MESSAGE);

    for (i = 0; i < message->len; i++) {
        must(message->data[i] >= ' ');
    }
}


static void
check_plan(void)
{
    ngx_uint_t  i;

    must(plan.nsteps >= 1 && plan.nsteps <= NGX_HTTP_RETRY_CHAIN_MAX_STEPS);
    must(plan.attempts >= 1
         && plan.attempts <= NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
    must(plan.nstates >= plan.nsteps
         && plan.nstates <= NGX_HTTP_RETRY_CHAIN_MAX_STATES);
    must(plan.wait <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
    must(plan.fail_status == 502);
    must(plan.states[0].type == NGX_HTTP_RETRY_CHAIN_STATE_TASK);

    for (i = 0; i < plan.nsteps; i++) {
        must(plan.steps[i].name.len);
        must(plan.steps[i].timeout <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        must(plan.steps[i].state < plan.nstates);
        must(plan.states[plan.steps[i].state].step == i);
    }

    for (i = 0; i < plan.nrules; i++) {
        must(plan.rules[i].outcomes);
        must(plan.rules[i].attempts >= 1
             && plan.rules[i].attempts <= NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
        must(plan.rules[i].rate >= 1000 && plan.rules[i].rate <= 1000000);
        must(plan.rules[i].interval <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        must(plan.rules[i].max <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
    }

    for (i = 0; i < plan.nstates; i++) {
        check_state(i);
    }
}


/* each transition leads on */

static void
check_state(ngx_uint_t i)
{
    ngx_uint_t                     k;
    ngx_http_retry_chain_state_t  *state;

    state = &plan.states[i];

    must(state->name.len);
    must(state->next == NGX_HTTP_RETRY_CHAIN_END
         || (state->next > i && state->next < plan.nstates));
    must(state->wait <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
    must(state->nrules <= NGX_HTTP_RETRY_CHAIN_MAX_RULES);
    must(state->rule + state->nrules <= plan.nrules);

    for (k = 0; k < state->nbranches; k++) {
        must(state->branches[k].condition);
        must(state->branches[k].next > i
             && state->branches[k].next < plan.nstates);
    }

    for (k = 0; k < state->ncatches; k++) {
        must(state->catches[k].next > i
             && state->catches[k].next < plan.nstates);
    }
}


static void
run(input_t *in)
{
    cJSON                         *json;
    ngx_int_t                      rc;
    ngx_uint_t                     n;
    ngx_msec_int_t                 left;
    ngx_http_retry_chain_place_t   before;

    static const char  *bodies[] = {
        "{\"a\":1,\"b\":{\"c\":[1,\"x\",null,true]},\"error\":\"busy\"}",
        "[]", "\"text\"", "2016-03-14T01:59:00Z"
    };

    ngx_memzero(&place, sizeof(place));
    memset(&verdict, 0, sizeof(verdict));

    plan.non_idempotent = number(in, 3);
    plan.limited = number(in, 3);

    left = number(in, 2) ? (ngx_msec_int_t) plan.timeout
                         : (ngx_msec_int_t) NGX_MAX_INT_T_VALUE;

    make_ways(in);

    ngx_http_retry_chain_pick(&plan, &place, &limits, plan.wait, left,
                              &verdict);

    for (n = 1; verdict.retry; n++) {
        must(n <= plan.attempts);
        must(verdict.step < plan.nsteps);
        must(verdict.delay <= NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        must((ngx_msec_int_t) verdict.delay < left);

        before = place;

        ngx_http_retry_chain_place_move(&place, &verdict);

        /* never back, and not again but by a retrier */

        must(verdict.same ? place.step == before.step
                          : !(before.used >> verdict.step & 1));
        must(before.visits == 0 || place.step >= before.step);

        left -= (ngx_msec_int_t) verdict.delay;

        make_outcome(in);
        make_ways(in);

        before = place;
        json = cJSON_Parse(bodies[number(in, 4)]);

        rc = ngx_http_retry_chain_decide(&plan, &place, &limits, &outcome,
                                         &reply, left,
                                         number(in, 0xffffffff), &verdict);

        if (rc == NGX_AGAIN) {
            must(plan.body && reply.pending);

            reply.pending = 0;
            reply.json = number(in, 2) ? json : NULL;

            rc = ngx_http_retry_chain_decide(&plan, &place, &limits, &outcome,
                                             &reply, left,
                                             number(in, 0xffffffff),
                                             &verdict);
        }

        cJSON_Delete(json);

        must(rc == NGX_OK);
        must(memcmp(&before, &place, sizeof(place)) == 0);
        must(verdict.json == 0);
        must(!verdict.retry || !verdict.fail);
        must(!verdict.fail || (verdict.step < plan.nstates
                               && plan.states[verdict.step].type
                                  == NGX_HTTP_RETRY_CHAIN_STATE_FAIL));
        must(verdict.retry || verdict.result != NGX_HTTP_RETRY_CHAIN_SUCCESS
             || (outcome.outcome == NGX_HTTP_RETRY_CHAIN_REPLY
                 && outcome.status >= 200 && outcome.status < 400));
    }
}


static void
make_outcome(input_t *in)
{
    ngx_memzero(&outcome, sizeof(outcome));
    ngx_memzero(&reply, sizeof(reply));

    outcome.outcome = 1 << number(in, 4);
    outcome.status = number(in, 2) ? 200 : 100 + number(in, 900);
    outcome.idempotent = number(in, 4) != 0;
    outcome.keyed = number(in, 2);
    outcome.sent = number(in, 2);

    reply.pending = 1;

    if (number(in, 2)) {
        reply.lookup = find_header;
    }
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
        limits.delay[i] = number(in, 2) ? number(in, 65536) : 0;
    }

    limits.blocked = number(in, 0x10000);
}


static ngx_int_t
find_header(void *data, ngx_str_t *name, ngx_str_t *value)
{
    if (name->len % 2) {
        return NGX_DECLINED;
    }

    *value = *name;

    return NGX_OK;
}
