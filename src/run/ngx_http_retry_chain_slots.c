
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_slots.h"
#include "ngx_http_retry_chain_header.h"
#include "ngx_http_retry_chain_hint.h"
#include "ngx_http_retry_chain_park.h"
#include "ngx_http_retry_chain_zone.h"


static void ngx_http_retry_chain_slots_accepted(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_way_t *way,
    ngx_http_retry_chain_hint_t *hint, uint64_t now);
static ngx_uint_t ngx_http_retry_chain_slots_calls(
    ngx_http_retry_chain_attempt_t *at);
static void ngx_http_retry_chain_slots_parse(ngx_http_retry_chain_run_t *run,
    ngx_http_request_t *r, ngx_uint_t status,
    ngx_http_retry_chain_hint_t *hint);
static ngx_msec_t ngx_http_retry_chain_slots_refused(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_slots_hint(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_http_retry_chain_hint_t *hint);
static void ngx_http_retry_chain_slots_fields(ngx_http_request_t *r,
    ngx_http_retry_chain_hint_fields_t *fields);
static void ngx_http_retry_chain_slots_join(ngx_pool_t *pool, ngx_str_t *list,
    ngx_str_t *value);
static void ngx_http_retry_chain_slots_limit(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step, ngx_msec_t delay);
static ngx_msec_t ngx_http_retry_chain_slots_msec(uint64_t time, uint64_t now);


void
ngx_http_retry_chain_slots_survey(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_ways_t *ways)
{
    uint64_t                      now;
    ngx_uint_t                    i;
    ngx_http_retry_chain_way_t   *way;
    ngx_http_retry_chain_plan_t  *plan;

    plan = run->plan;

    ngx_memzero(ways, sizeof(ngx_http_retry_chain_ways_t));

    if (plan->ways == NULL && run->told == NULL) {
        return;
    }

    now = ngx_http_retry_chain_zone_now();

    for (i = 0; i < plan->nsteps; i++) {

        if (plan->ways) {
            way = plan->ways[i];

            ways->delay[i] = ngx_http_retry_chain_slots_msec(
                     ngx_http_retry_chain_pace_peek(way->slot,
                                                    &way->step->pace, now),
                     now);

            ways->left[i] = ngx_http_retry_chain_pace_left(way->slot,
                                                           &way->step->pace,
                                                           now);

            if (ways->delay[i]
                && ngx_http_retry_chain_pace_limited(way->slot, now))
            {
                ways->hinted |= (uint32_t) 1 << i;

                if (ways->delay[i] == plan->hints.max + 1) {

                    /* a millisecond was added to the hint */

                    ways->delay[i]--;
                }
            }

        } else if (run->told) {
            ways->delay[i] = ngx_http_retry_chain_slots_msec(run->told[i], now);

            if (ways->delay[i]) {
                ways->hinted |= (uint32_t) 1 << i;
            }
        }
    }
}


ngx_msec_t
ngx_http_retry_chain_slots_reserve(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step)
{
    uint64_t                     now, due;
    ngx_http_retry_chain_way_t  *way;

    if (run->plan->ways == NULL) {
        return 0;
    }

    way = run->plan->ways[step];
    now = ngx_http_retry_chain_zone_now();

    due = ngx_http_retry_chain_pace_reserve(way->slot, &way->step->pace, now,
                                            &run->ticket);
    run->way = way;
    way->node->node.used = ngx_current_msec;

    return ngx_http_retry_chain_slots_msec(due, now);
}


ngx_msec_t
ngx_http_retry_chain_slots_gate(ngx_http_retry_chain_run_t *run)
{
    uint64_t  now;

    now = ngx_http_retry_chain_zone_now();

    if (run->ticket.tail == 0) {

        /* it could go at once, but a limit may have fallen since then */

        (void) ngx_http_retry_chain_pace_reserve(run->way->slot,
                                                 &run->way->step->pace, now,
                                                 &run->ticket);
    }

    return ngx_http_retry_chain_slots_msec(
                   ngx_http_retry_chain_pace_gate(run->way->slot,
                                                  &run->ticket, now),
                   now);
}


void
ngx_http_retry_chain_slots_release(ngx_http_retry_chain_run_t *run)
{
    if (run->way) {
        (void) ngx_http_retry_chain_pace_cancel(run->way->slot, &run->ticket);
        run->way = NULL;
    }
}


void
ngx_http_retry_chain_slots_outcome(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at)
{
    uint64_t                      now;
    ngx_uint_t                    calls;
    ngx_http_retry_chain_way_t   *way;
    ngx_http_retry_chain_hint_t   hint;

    way = run->way;

    if (run->plan->ways == NULL
        && at->outcome.status != NGX_HTTP_TOO_MANY_REQUESTS
        && at->outcome.status != NGX_HTTP_SERVICE_UNAVAILABLE)
    {
        /* other replies have hints for those who come later */
        return;
    }

    if (way == NULL && run->plan->hints.off) {
        return;
    }

    calls = ngx_http_retry_chain_slots_calls(at);

    if (calls == 0) {

        /* a cached reply, a page of nginx, or nobody was reached */

        ngx_http_retry_chain_slots_release(run);
        return;
    }

    now = ngx_http_retry_chain_zone_now();

    if (way) {
        run->way = NULL;
        ngx_http_retry_chain_pace_charge(way->slot, &way->step->pace,
                                         calls - 1, now);
    }

    if (at->outcome.outcome != NGX_HTTP_RETRY_CHAIN_REPLY) {
        return;
    }

#if (NGX_HTTP_CACHE)
    if (at->request->cached) {

        /* a stale reply tells nothing of the call that has failed */

        return;
    }
#endif

    ngx_http_retry_chain_slots_parse(run, at->request, at->outcome.status,
                                     &hint);

    if (way && at->outcome.status != 429
        && !(at->outcome.status == 503 && hint.limited))
    {
        ngx_http_retry_chain_slots_accepted(run, way, &hint, now);
    }

    ngx_http_retry_chain_slots_hint(run, at, &hint);
}


static void
ngx_http_retry_chain_slots_accepted(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_way_t *way, ngx_http_retry_chain_hint_t *hint,
    uint64_t now)
{
    uint64_t   sent;
    ngx_int_t  rc, told;

    sent = (uint64_t) run->attempt_start * 1000;
    told = NGX_DECLINED;

    rc = ngx_http_retry_chain_pace_accepted(way->slot, &way->step->pace, now,
                                            sent);

    if (hint->known && hint->remaining && !hint->limited) {
        told = ngx_http_retry_chain_pace_told(way->slot, &way->step->pace, now,
                                              sent, hint->remaining,
                                              (uint64_t) hint->reset * 1000);
    }

    if (rc == NGX_OK || told == NGX_OK) {
        ngx_http_retry_chain_park_update(way);
    }
}


/* upstream may have tried several peers, or a cached connection in vain */

static ngx_uint_t
ngx_http_retry_chain_slots_calls(ngx_http_retry_chain_attempt_t *at)
{
    ngx_uint_t                  i, n;
    ngx_array_t                *states;
    ngx_http_upstream_state_t  *state;

    states = at->request->upstream_states;
    n = 0;

#if (NGX_HTTP_CACHE)
    if (at->request->cache && at->request->cache->background) {

        /* an update of the stale reply goes there */

        n = 1;
    }
#endif

    if (states == NULL || at->request->upstream == NULL) {
        return n;
    }

    state = states->elts;

    for (i = at->states; i < states->nelts; i++) {
        if (state[i].bytes_sent || state[i].bytes_received) {
            n++;
        }
    }

    if (n == 0 && at->outcome.outcome == NGX_HTTP_RETRY_CHAIN_REPLY
        && at->request->upstream->peer.connection)
    {
        /* the bytes of a call that goes on are counted at its end */

        n = 1;
    }

    return n;
}


static void
ngx_http_retry_chain_slots_parse(ngx_http_retry_chain_run_t *run,
    ngx_http_request_t *r, ngx_uint_t status, ngx_http_retry_chain_hint_t *hint)
{
    ngx_http_retry_chain_hint_fields_t  fields;

    ngx_memzero(hint, sizeof(ngx_http_retry_chain_hint_t));

    if (run->plan->hints.off) {
        return;
    }

    ngx_http_retry_chain_slots_fields(r, &fields);

    ngx_http_retry_chain_hint_parse(&fields, status, ngx_time(),
                                    run->plan->hints.cap, hint);
}


void
ngx_http_retry_chain_slots_foresee(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome, ngx_http_retry_chain_ways_t *ways)
{
    ngx_uint_t                    i;
    ngx_http_request_t           *r;
    ngx_http_retry_chain_hint_t   hint;

    r = run->request;

    if (outcome->outcome != NGX_HTTP_RETRY_CHAIN_REPLY || r->upstream == NULL) {
        return;
    }

    ngx_http_retry_chain_slots_parse(run, r, outcome->status, &hint);

    if (!hint.limited && outcome->status == 429 && run->plan->ways
        && !run->plan->hints.off)
    {
        hint.limited = 1;
        hint.delay = ngx_http_retry_chain_slots_refused(run);
    }

    for (i = 0; hint.limited && i < run->plan->nsteps; i++) {

        if (i == run->place.step || run->plan->hints.chain) {
            ways->delay[i] = ngx_max(ways->delay[i], hint.delay);
            ways->hinted |= (uint32_t) 1 << i;
        }
    }
}


/* for how long a refusal without a hint would limit the way out */

static ngx_msec_t
ngx_http_retry_chain_slots_refused(ngx_http_retry_chain_run_t *run)
{
    ngx_http_retry_chain_slot_t  *slot;

    slot = run->plan->ways[run->place.step]->slot;

    if (ngx_http_retry_chain_pace_limited(slot,
                                          ngx_http_retry_chain_zone_now()))
    {
        return 0;
    }

    return ngx_http_retry_chain_pace_refusal(slot, run->plan->hints.spacing,
                                             run->plan->hints.max);
}


static void
ngx_http_retry_chain_slots_hint(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_http_retry_chain_hint_t *hint)
{
    ngx_uint_t                    i;
    ngx_http_retry_chain_plan_t  *plan;
    ngx_http_retry_chain_slot_t  *slot;

    plan = run->plan;

    if (plan->hints.off) {
        return;
    }

    if (hint->capped && !run->conf->notes->capped) {
        run->conf->notes->capped = 1;

        ngx_log_error(NGX_LOG_WARN, run->request->connection->log, 0,
                      "retry chain cut what \"%V\" said about the time of the "
                      "next call to %M ms", &at->step->name, hint->delay);
    }

    if (!hint->limited) {

        if (at->outcome.status != 429 || plan->ways == NULL) {
            return;
        }

        hint->limited = 1;
        slot = plan->ways[run->place.step]->slot;

        /* those that were under way when the limit fell are none in a row */

        if (ngx_http_retry_chain_pace_limited(slot,
                                              ngx_http_retry_chain_zone_now()))
        {
            return;
        }

        hint->delay = ngx_http_retry_chain_pace_refused(slot,
                                                        plan->hints.spacing,
                                                        plan->hints.max);
    }

    if (hint->delay == 0) {
        return;
    }

    if (plan->ways && hint->source != NGX_HTTP_RETRY_CHAIN_HINT_NONE) {
        ngx_http_retry_chain_count_add(
                         &plan->ways[run->place.step]->node->count.hints, 1);
    }

    /* the time of this turn of the event loop is too early for a promise */

    ngx_time_update();

    for (i = 0; i < plan->nsteps; i++) {
        if (i == run->place.step || plan->hints.chain) {
            ngx_http_retry_chain_slots_limit(run, i, hint->delay);
        }
    }
}


static void
ngx_http_retry_chain_slots_limit(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step, ngx_msec_t delay)
{
    uint64_t                     now, until;
    ngx_http_retry_chain_way_t  *way;

    now = ngx_http_retry_chain_zone_now();
    until = now + (uint64_t) delay * 1000;

    if (run->plan->ways) {
        way = run->plan->ways[step];

        /* a part of a millisecond has passed already */

        until += 1000;

        if (ngx_http_retry_chain_pace_limit(way->slot, &way->step->pace, now,
                                            until)
            == NGX_OK)
        {
            ngx_http_retry_chain_park_update(way);
        }

        return;
    }

    if (run->told == NULL) {
        run->told = ngx_pcalloc(run->request->pool,
                                run->plan->nsteps * sizeof(uint64_t));
        if (run->told == NULL) {
            return;
        }
    }

    run->told[step] = ngx_max(run->told[step], until);
}


/* the lines as the vendor has sent them, hidden ones, too */

static void
ngx_http_retry_chain_slots_fields(ngx_http_request_t *r,
    ngx_http_retry_chain_hint_fields_t *fields)
{
    ngx_str_t        *value;
    ngx_uint_t        i, j;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static struct {
        ngx_str_t  name;
        size_t     offset;
    } names[] = {
        { ngx_string("retry-after"),
          offsetof(ngx_http_retry_chain_hint_fields_t, retry_after) },
        { ngx_string("ratelimit"),
          offsetof(ngx_http_retry_chain_hint_fields_t, ratelimit) },
        { ngx_string("x-ratelimit-remaining"),
          offsetof(ngx_http_retry_chain_hint_fields_t, remaining) },
        { ngx_string("x-ratelimit-reset"),
          offsetof(ngx_http_retry_chain_hint_fields_t, reset) },
        { ngx_string("ratelimit-remaining"),
          offsetof(ngx_http_retry_chain_hint_fields_t, remaining) },
        { ngx_string("ratelimit-reset"),
          offsetof(ngx_http_retry_chain_hint_fields_t, reset) },
        { ngx_null_string, 0 }
    };

    ngx_memzero(fields, sizeof(ngx_http_retry_chain_hint_fields_t));

    part = &r->upstream->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        for (j = 0; names[j].name.len; j++) {

            if (h[i].key.len != names[j].name.len
                || ngx_strncmp(h[i].lowcase_key, names[j].name.data,
                               names[j].name.len)
                   != 0)
            {
                continue;
            }

            value = (ngx_str_t *) ((u_char *) fields + names[j].offset);

            if (value->data == NULL) {
                *value = h[i].value;

            } else if (value == &fields->ratelimit) {
                ngx_http_retry_chain_slots_join(r->pool, value, &h[i].value);
            }

            break;
        }
    }
}


/* several lines are one list, RFC 9110, section 5.3 */

static void
ngx_http_retry_chain_slots_join(ngx_pool_t *pool, ngx_str_t *list,
    ngx_str_t *value)
{
    u_char  *p, *joined;

    joined = ngx_pnalloc(pool, list->len + 1 + value->len);
    if (joined == NULL) {
        return;
    }

    p = ngx_cpymem(joined, list->data, list->len);
    *p++ = ',';
    p = ngx_cpymem(p, value->data, value->len);

    list->data = joined;
    list->len = p - joined;
}


ngx_msec_t
ngx_http_retry_chain_slots_soonest(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t                   i;
    ngx_msec_t                   soonest;
    ngx_http_retry_chain_ways_t  ways;

    ngx_http_retry_chain_slots_survey(run, &ways);

    soonest = ways.delay[0];

    for (i = 1; i < run->plan->nsteps; i++) {
        soonest = ngx_min(soonest, ways.delay[i]);
    }

    return soonest;
}


ngx_uint_t
ngx_http_retry_chain_slots_rate(ngx_http_retry_chain_run_t *run)
{
    if (run->plan->ways == NULL) {
        return 0;
    }

    return ngx_http_retry_chain_pace_rate(
                                      run->plan->ways[run->place.step]->slot);
}


ngx_int_t
ngx_http_retry_chain_slots_retry_after(ngx_http_retry_chain_run_t *run,
    ngx_http_request_t *r)
{
    u_char                         *p;
    ngx_msec_t                      soonest;
    ngx_table_elt_t                *h;
    ngx_http_retry_chain_header_t   at;

    static ngx_str_t  name = ngx_string("Retry-After");

    if (run->plan->ways == NULL) {

        /* the vendor's own word, if it has said one, is all that is known */

        return NGX_OK;
    }

    switch (run->verdict.result) {

    case NGX_HTTP_RETRY_CHAIN_SUCCESS:
    case NGX_HTTP_RETRY_CHAIN_STOPPED:
    case NGX_HTTP_RETRY_CHAIN_ABORTED:
        return NGX_OK;

    default:
        break;
    }

    soonest = ngx_http_retry_chain_slots_soonest(run);

    if (soonest == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, NGX_TIME_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&at, sizeof(ngx_http_retry_chain_header_t));

    while ((h = ngx_http_retry_chain_header_next(&r->headers_out.headers, &name,
                                                 &at)))
    {
        h->hash = 0;
    }

    h = ngx_http_retry_chain_header_add(r, &name);
    if (h == NULL) {
        return NGX_ERROR;
    }

    /* up to the next second, but for the millisecond that waits are longer */

    h->value.data = p;
    h->value.len = ngx_sprintf(p, "%T",
                               (time_t) ngx_max((soonest + 998) / 1000, 1))
                   - p;

    return NGX_OK;
}


static ngx_msec_t
ngx_http_retry_chain_slots_msec(uint64_t time, uint64_t now)
{
    if (time <= now) {
        return 0;
    }

    time = (time - now + 999) / 1000;

    return ngx_min(time, NGX_HTTP_RETRY_CHAIN_MAX_TIME);
}
