
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_park.h"
#include "ngx_http_retry_chain_zone.h"


/* other workers may have moved the slot: a line is looked at this often */

#define NGX_HTTP_RETRY_CHAIN_PARK_TIME   100

#define NGX_HTTP_RETRY_CHAIN_PARK_MOVES  1000


static void ngx_http_retry_chain_park_move_up(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_park_swap(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_run_t *other);
static void ngx_http_retry_chain_park_handler(ngx_event_t *ev);
static void ngx_http_retry_chain_park_late(ngx_http_retry_chain_way_t *way,
    uint64_t now);
static ngx_uint_t ngx_http_retry_chain_park_missed(
    ngx_http_retry_chain_run_t *run, uint64_t now);
static void ngx_http_retry_chain_park_wake(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_park_timer(ngx_http_retry_chain_way_t *way,
    ngx_msec_t timer);


/* runs of this worker that wait and have no zone */

static ngx_uint_t  ngx_http_retry_chain_park_waiting;


ngx_uint_t
ngx_http_retry_chain_park_place(ngx_http_retry_chain_run_t *run)
{
    if (run->plan->zone) {
        return ngx_http_retry_chain_zone_place(run->plan->zone,
                                               run->plan->max_waiting);
    }

    return ngx_http_retry_chain_park_waiting < run->plan->max_waiting;
}


void
ngx_http_retry_chain_park_count(ngx_http_retry_chain_run_t *run)
{
    if (run->waiting) {
        return;
    }

    run->waiting = 1;

    if (run->plan->zone) {
        ngx_http_retry_chain_zone_wait(run->plan->chain);

    } else {
        ngx_http_retry_chain_park_waiting++;
    }
}


void
ngx_http_retry_chain_park(ngx_http_retry_chain_run_t *run)
{
    ngx_queue_t                 *q;
    ngx_http_retry_chain_run_t  *other;
    ngx_http_retry_chain_way_t  *way;

    way = run->way;

    /* tickets come in order but for those of other workers */

    for (q = ngx_queue_last(&way->parked);
         q != ngx_queue_sentinel(&way->parked);
         q = ngx_queue_prev(q))
    {
        other = ngx_queue_data(q, ngx_http_retry_chain_run_t, queue);

        if (other->ticket.ticket <= run->ticket.ticket) {
            break;
        }
    }

    ngx_queue_insert_after(q, &run->queue);

    run->parked = 1;

    if (ngx_queue_head(&way->parked) == &run->queue) {
        ngx_http_retry_chain_park_update(way);
    }
}


void
ngx_http_retry_chain_park_leave(ngx_http_retry_chain_run_t *run)
{
    if (run->waiting) {
        run->waiting = 0;

        if (run->plan->zone) {
            ngx_http_retry_chain_zone_leave(run->plan->chain);

        } else {
            ngx_http_retry_chain_park_waiting--;
        }
    }

    if (!run->parked) {
        return;
    }

    run->parked = 0;

    ngx_queue_remove(&run->queue);

    if (ngx_queue_empty(&run->way->parked) && run->way->event.timer_set) {
        ngx_del_timer(&run->way->event);
    }
}


void
ngx_http_retry_chain_park_quit(ngx_http_retry_chain_run_t *run)
{
    /* one that has missed its deadline is in the line no more */

    if (run->parked && !run->missed) {
        ngx_http_retry_chain_park_move_up(run);
    }

    ngx_http_retry_chain_park_leave(run);
}


/*
 * Everybody behind gets the ticket of the one before, the run gets the last; so
 * many at the most, for a line may be long and all of it may leave.
 */

static void
ngx_http_retry_chain_park_move_up(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    n = NGX_HTTP_RETRY_CHAIN_PARK_MOVES;

    for (q = ngx_queue_next(&run->queue);
         q != ngx_queue_sentinel(&run->way->parked) && n;
         q = ngx_queue_next(q))
    {
        n--;

        ngx_http_retry_chain_park_swap(run,
                         ngx_queue_data(q, ngx_http_retry_chain_run_t, queue));
    }
}


static void
ngx_http_retry_chain_park_swap(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_run_t *other)
{
    ngx_http_retry_chain_ticket_t  ticket;

    ticket = run->ticket;
    run->ticket = other->ticket;
    other->ticket = ticket;
}


void
ngx_http_retry_chain_park_update(ngx_http_retry_chain_way_t *way)
{
    uint64_t                     now, due;
    ngx_http_retry_chain_run_t  *run;

    if (ngx_queue_empty(&way->parked)) {
        return;
    }

    run = ngx_queue_data(ngx_queue_head(&way->parked),
                         ngx_http_retry_chain_run_t, queue);

    now = ngx_http_retry_chain_zone_now();
    due = ngx_http_retry_chain_pace_gate(way->slot, &run->ticket, now);

    ngx_http_retry_chain_park_timer(way, (due - now + 999) / 1000);
}


static void
ngx_http_retry_chain_park_timer(ngx_http_retry_chain_way_t *way,
    ngx_msec_t timer)
{
    if (way->event.handler == NULL) {
        way->event.handler = ngx_http_retry_chain_park_handler;
        way->event.data = way;
        way->event.log = ngx_cycle->log;
    }

    if (way->event.timer_set) {
        ngx_del_timer(&way->event);
    }

    ngx_add_timer(&way->event, ngx_min(timer, NGX_HTTP_RETRY_CHAIN_PARK_TIME));
}


/*
 * Those that are due leave, one by one.  Each may end at once, with others of
 * the line, so the line is looked at anew every time.
 */

static void
ngx_http_retry_chain_park_handler(ngx_event_t *ev)
{
    uint64_t                     now, due;
    ngx_http_retry_chain_run_t  *run;
    ngx_http_retry_chain_way_t  *way;

    way = ev->data;

    now = ngx_http_retry_chain_zone_now();

    ngx_http_retry_chain_park_late(way, now);

    while (!ngx_queue_empty(&way->parked)) {

        run = ngx_queue_data(ngx_queue_head(&way->parked),
                             ngx_http_retry_chain_run_t, queue);

        due = ngx_http_retry_chain_pace_gate(way->slot, &run->ticket, now);

        if (due > now) {
            break;
        }

        ngx_http_retry_chain_park_wake(run);
    }

    if (!ev->timer_set) {
        ngx_http_retry_chain_park_update(way);
    }
}


/*
 * A hint, or a slower pace, may have moved tickets beyond the deadline of their
 * runs.  Those behind move up: one that can make use of the first ticket that
 * has been given up swaps with its owner.  So one pass does for all, and what
 * is given up are the last tickets, which are given back from the end.
 */

static void
ngx_http_retry_chain_park_late(ngx_http_retry_chain_way_t *way, uint64_t now)
{
    uint64_t                     until;
    ngx_queue_t                 *q, *next;
    ngx_http_retry_chain_run_t  *run, *late;

    if (ngx_queue_empty(&way->parked)) {
        return;
    }

    until = ngx_http_retry_chain_pace_limited(way->slot, now);

    run = ngx_queue_data(ngx_queue_head(&way->parked),
                         ngx_http_retry_chain_run_t, queue);

    /* behind a probe all tickets move while it is under way */

    if (until == way->limited
        && !ngx_http_retry_chain_pace_probing(way->slot, now)
        && !ngx_http_retry_chain_park_missed(run, now))
    {
        return;
    }

    way->limited = until;

    for (q = ngx_queue_head(&way->parked);
         q != ngx_queue_sentinel(&way->parked);
         q = next)
    {
        next = ngx_queue_next(q);
        run = ngx_queue_data(q, ngx_http_retry_chain_run_t, queue);

        late = NULL;

        if (!ngx_queue_empty(&way->late)) {
            late = ngx_queue_data(ngx_queue_head(&way->late),
                                  ngx_http_retry_chain_run_t, queue);

            ngx_http_retry_chain_park_swap(run, late);
        }

        if (!ngx_http_retry_chain_park_missed(run, now)) {

            if (late) {
                ngx_queue_remove(&late->queue);
                ngx_queue_insert_tail(&way->late, &late->queue);
            }

            continue;
        }

        if (late) {
            ngx_http_retry_chain_park_swap(run, late);
        }

        run->missed = 1;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&way->late, q);
    }

    for (q = ngx_queue_last(&way->late);
         q != ngx_queue_sentinel(&way->late);
         q = ngx_queue_prev(q))
    {
        run = ngx_queue_data(q, ngx_http_retry_chain_run_t, queue);

        (void) ngx_http_retry_chain_pace_cancel(way->slot, &run->ticket);
    }

    while (!ngx_queue_empty(&way->late)) {
        run = ngx_queue_data(ngx_queue_head(&way->late),
                             ngx_http_retry_chain_run_t, queue);

        ngx_http_retry_chain_park_wake(run);
    }
}


static ngx_uint_t
ngx_http_retry_chain_park_missed(ngx_http_retry_chain_run_t *run, uint64_t now)
{
    uint64_t  due;

    if (run->deadline == 0) {
        return 0;
    }

    due = ngx_http_retry_chain_pace_due(run->way->slot, &run->ticket, now);

    return due + (uint64_t) run->plan->margin * 1000 > run->deadline;
}


static void
ngx_http_retry_chain_park_wake(ngx_http_retry_chain_run_t *run)
{
    ngx_connection_t  *c;

    c = run->request->connection;

    ngx_http_retry_chain_park_leave(run);

    ngx_http_set_log_request(c->log, run->request);

    run->wake(run);

    ngx_http_run_posted_requests(c);
}
