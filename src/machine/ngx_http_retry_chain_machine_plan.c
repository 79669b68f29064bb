
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * The plan that the nodes make: what it may hold, and what it needs.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_machine_parts.h"
#include "ngx_http_retry_chain_policy.h"


static ngx_int_t ngx_http_retry_chain_machine_count(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t *ntasks, ngx_uint_t *nrules);
static ngx_int_t ngx_http_retry_chain_machine_limit(
    ngx_http_retry_chain_machine_t *m);
static ngx_uint_t ngx_http_retry_chain_machine_longest(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t (*weight)(
    ngx_http_retry_chain_node_t *node));
static ngx_uint_t ngx_http_retry_chain_machine_attempts(
    ngx_http_retry_chain_node_t *node);
static ngx_uint_t ngx_http_retry_chain_machine_sleep(
    ngx_http_retry_chain_node_t *node);
static void ngx_http_retry_chain_machine_fill(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_state_t *state);
static ngx_uint_t ngx_http_retry_chain_machine_follow(
    ngx_http_retry_chain_machine_t *m, ngx_uint_t link, ngx_msec_t *wait);
static void ngx_http_retry_chain_machine_deadline(
    ngx_http_retry_chain_machine_t *m);


ngx_int_t
ngx_http_retry_chain_machine_emit(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t                       i, k, n, ntasks, nrules;
    ngx_http_retry_chain_node_t     *node;
    ngx_http_retry_chain_plan_t      plan;
    ngx_http_retry_chain_rule_t     *rule;
    ngx_http_retry_chain_step_t     *step;
    ngx_http_retry_chain_retrier_t  *retrier;

    if (ngx_http_retry_chain_machine_count(m, &ntasks, &nrules) != NGX_OK
        || ngx_http_retry_chain_machine_limit(m) != NGX_OK)
    {
        return NGX_ERROR;
    }

    plan = *m->plan;

    plan.steps = ngx_pcalloc(m->pool,
                             ntasks * sizeof(ngx_http_retry_chain_step_t));
    plan.rules = ngx_pcalloc(m->pool, (nrules + 1)
                                      * sizeof(ngx_http_retry_chain_rule_t));
    plan.states = ngx_pcalloc(m->pool, m->nstates
                                       * sizeof(ngx_http_retry_chain_state_t));

    if (plan.steps == NULL || plan.rules == NULL || plan.states == NULL) {
        return NGX_ERROR;
    }

    plan.nsteps = ntasks;
    plan.nrules = nrules;
    step = plan.steps;
    rule = plan.rules;
    n = 0;

    for (i = 0; i < m->norder; i++) {
        node = &m->nodes[m->order[i]];

        if (node->index == NGX_HTTP_RETRY_CHAIN_END) {
            continue;
        }

        if (node->type == NGX_HTTP_RETRY_CHAIN_NODE_TASK) {
            node->state.step = step - plan.steps;
            node->state.rule = rule - plan.rules;
            node->state.nrules = node->retriers.nelts;

            retrier = node->retriers.elts;

            for (k = 0; k < node->retriers.nelts; k++) {
                *rule++ = retrier[k].rule;
            }

            step->name = node->target;
            step->timeout = node->timeout;
            step->file = m->options->file;
            step->line = m->options->line;
            step->state = n;
            step++;
        }

        ngx_http_retry_chain_machine_fill(m, node, &plan.states[n++]);
    }

    (void) ngx_http_retry_chain_machine_follow(m, m->start, &plan.wait);

    plan.fail_status = m->options->fail_status ? m->options->fail_status : 502;
    plan.attempts = m->attempts;
    plan.nstates = m->nstates;
    plan.body = m->body;
    plan.rotate = 0;

    *m->plan = plan;

    ngx_http_retry_chain_machine_deadline(m);

    return NGX_OK;
}


/* what there is of each; the nodes get their place in the plan */

static ngx_int_t
ngx_http_retry_chain_machine_count(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t *ntasks, ngx_uint_t *nrules)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_node_t  *node;

    *ntasks = 0;
    *nrules = 0;
    m->nstates = 0;

    for (i = 0; i < m->norder; i++) {
        node = &m->nodes[m->order[i]];

        node->index = NGX_HTTP_RETRY_CHAIN_END;

        if (node->type == NGX_HTTP_RETRY_CHAIN_NODE_PASS) {
            continue;
        }

        if (node->type == NGX_HTTP_RETRY_CHAIN_NODE_TASK) {
            (*ntasks)++;
            *nrules += node->retriers.nelts;

        } else if (!node->after) {

            /* a Wait before the first step is the plan's */

            continue;
        }

        node->index = m->nstates++;
    }

    if (*ntasks > NGX_HTTP_RETRY_CHAIN_MAX_STEPS) {
        return ngx_http_retry_chain_machine_error(m, m->json, "States",
                                          "%ui Tasks, at most %d are allowed",
                                          *ntasks,
                                          NGX_HTTP_RETRY_CHAIN_MAX_STEPS);
    }

    return NGX_OK;
}


/*
 * Retriers that ask for more than a run may make share what the others leave.
 * Where each number is possible, but their sum is not, it is not for us to say
 * which one is meant.
 */

static ngx_int_t
ngx_http_retry_chain_machine_limit(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t                       i, k, n, share, clamped;
    ngx_http_retry_chain_node_t     *node;
    ngx_http_retry_chain_retrier_t  *retrier;

    n = 0;

    for (share = NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS - 1; share; share--) {

        clamped = 0;

        for (i = 0; i < m->norder; i++) {
            node = &m->nodes[m->order[i]];
            retrier = node->retriers.elts;

            for (k = 0; k < node->retriers.nelts; k++) {

                /* the one place where retries become attempts */

                retrier[k].rule.attempts = retrier[k].asked + 1;

                if (retrier[k].asked >= NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS) {
                    retrier[k].rule.attempts = share + 1;
                    clamped = 1;
                }
            }
        }

        n = ngx_http_retry_chain_machine_longest(m,
                                       ngx_http_retry_chain_machine_attempts);

        if (n <= NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS) {
            break;
        }

        if (!clamped || share == 1) {
            return ngx_http_retry_chain_machine_error(m, m->json, NULL,
                     "a run could make %ui attempts, at most %d are allowed",
                     n, NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
        }
    }

    m->attempts = n;

    for (i = 0; i < m->norder; i++) {
        node = &m->nodes[m->order[i]];
        retrier = node->retriers.elts;

        for (k = 0; k < node->retriers.nelts; k++) {

            if (retrier[k].asked < NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS) {
                continue;
            }

            ngx_http_retry_chain_machine_warn(m, retrier[k].json, NULL,
                                           "MaxAttempts %ui is reduced to "
                                           "%ui, a run makes at most %d "
                                           "attempts",
                                           retrier[k].asked, share,
                                           NGX_HTTP_RETRY_CHAIN_MAX_ATTEMPTS);
        }
    }

    return NGX_OK;
}


/* the heaviest way through the machine */

static ngx_uint_t
ngx_http_retry_chain_machine_longest(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t (*weight)(ngx_http_retry_chain_node_t *node))
{
    ngx_uint_t                    i, k;
    ngx_http_retry_chain_node_t  *node;

    i = m->norder;

    while (i--) {
        node = &m->nodes[m->order[i]];

        node->longest = 0;

        for (k = 0; k < node->nlinks; k++) {
            if (node->links[k] != NGX_HTTP_RETRY_CHAIN_END) {
                node->longest = ngx_max(node->longest,
                                        m->nodes[node->links[k]].longest);
            }
        }

        node->longest += weight(node);
    }

    return m->nodes[m->start].longest;
}


static ngx_uint_t
ngx_http_retry_chain_machine_attempts(ngx_http_retry_chain_node_t *node)
{
    ngx_uint_t                       i, n;
    ngx_http_retry_chain_retrier_t  *retrier;

    if (node->type != NGX_HTTP_RETRY_CHAIN_NODE_TASK) {
        return 0;
    }

    retrier = node->retriers.elts;
    n = 1;

    for (i = 0; i < node->retriers.nelts; i++) {
        n += retrier[i].rule.attempts - 1;
    }

    return n;
}


/* in seconds, so that a sum fits 32 bits */

static ngx_uint_t
ngx_http_retry_chain_machine_sleep(ngx_http_retry_chain_node_t *node)
{
    uint64_t                         delay, sum;
    ngx_uint_t                       i, k;
    ngx_http_retry_chain_rule_t      rule;
    ngx_http_retry_chain_retrier_t  *retrier;

    retrier = node->retriers.elts;
    sum = node->state.wait;

    for (i = 0; i < node->retriers.nelts; i++) {
        rule = retrier[i].rule;

        rule.jitter = NGX_HTTP_RETRY_CHAIN_JITTER_NONE;

        for (k = 1; k < rule.attempts; k++) {
            delay = ngx_http_retry_chain_backoff(&rule, k, 0);
            sum += delay;
        }
    }

    return (ngx_uint_t) ((sum + 999) / 1000);
}


static void
ngx_http_retry_chain_machine_fill(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node, ngx_http_retry_chain_state_t *state)
{
    ngx_uint_t  i, next;

    *state = node->state;

    state->next = NGX_HTTP_RETRY_CHAIN_END;

    if (node->nlinks) {
        state->next = ngx_http_retry_chain_machine_follow(m, node->links[0],
                                                          NULL);
    }

    for (i = 1; i < node->nlinks; i++) {
        next = ngx_http_retry_chain_machine_follow(m, node->links[i], NULL);

        if (node->type == NGX_HTTP_RETRY_CHAIN_NODE_CHOICE) {
            state->branches[i - 1].next = next;

            m->body |= ngx_http_retry_chain_condition_body(
                                            state->branches[i - 1].condition);

        } else {
            state->catches[i - 1].next = next;
        }
    }
}


/* over all that is not in the plan */

static ngx_uint_t
ngx_http_retry_chain_machine_follow(ngx_http_retry_chain_machine_t *m,
    ngx_uint_t link, ngx_msec_t *wait)
{
    ngx_http_retry_chain_node_t  *node;

    while (link != NGX_HTTP_RETRY_CHAIN_END) {
        node = &m->nodes[link];

        if (node->index != NGX_HTTP_RETRY_CHAIN_END) {
            return node->index;
        }

        if (wait) {
            *wait = ngx_min(*wait + node->state.wait,
                            NGX_HTTP_RETRY_CHAIN_MAX_TIME);
        }

        link = node->links[0];
    }

    return NGX_HTTP_RETRY_CHAIN_END;
}


static void
ngx_http_retry_chain_machine_deadline(ngx_http_retry_chain_machine_t *m)
{
    ngx_uint_t                    seconds;
    ngx_http_retry_chain_plan_t  *plan;

    plan = m->plan;

    plan->timeout = m->options->deadline;
    plan->hard = m->options->hard && plan->timeout;

    if (m->timeout) {
        ngx_http_retry_chain_plan_limit(plan, m->timeout);
    }

    (void) ngx_http_retry_chain_plan_init(plan);

    seconds = ngx_http_retry_chain_machine_longest(m,
                                           ngx_http_retry_chain_machine_sleep);

    m->result->sleep = (ngx_msec_t) ngx_min((uint64_t) seconds * 1000,
                                            NGX_MAX_INT_T_VALUE);

    if (plan->timeout && m->result->sleep >= plan->timeout) {
        ngx_http_retry_chain_machine_warn(m, m->json, NULL,
                    "a run could wait for %ui s in all, but ends after %M ms",
                    seconds, plan->timeout);
    }
}
