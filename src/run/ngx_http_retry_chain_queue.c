
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * Runs that wait for their tickets.  Each worker has a queue of its own for
 * each upstream, in the order of tickets and with one timer for all: a run that
 * waits costs neither a timer nor time.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include "ngx_http_retry_chain_run.h"


/* other workers may have moved the limiter: a line is looked at this often */

#define NGX_HTTP_RETRY_CHAIN_QUEUE_TIME   100

#define NGX_HTTP_RETRY_CHAIN_QUEUE_MOVES  1000

/* without "retry_chain_max_waiting" */

#define NGX_HTTP_RETRY_CHAIN_QUEUE_MOST   10000


static void ngx_http_retry_chain_queue_move_up(
    ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_queue_swap(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_run_t *other);
static void ngx_http_retry_chain_queue_handler(ngx_event_t *ev);
static void ngx_http_retry_chain_queue_late(ngx_http_retry_chain_queue_t *queue,
    uint64_t now);
static ngx_uint_t ngx_http_retry_chain_queue_missed(
    ngx_http_retry_chain_run_t *run, uint64_t now);
static void ngx_http_retry_chain_queue_wake(ngx_http_retry_chain_run_t *run);
static void ngx_http_retry_chain_queue_timer(
    ngx_http_retry_chain_queue_t *queue, ngx_msec_t timer);


/* runs of this worker that wait and have no zone */

static ngx_uint_t  ngx_http_retry_chain_queue_waiting;


/* a run that waits keeps its connection, half of them are left for others */

ngx_uint_t
ngx_http_retry_chain_queue_most(const ngx_http_retry_chain_plan_t *plan)
{
    ngx_uint_t        n;
    ngx_core_conf_t  *ccf;

    if (plan->max_waiting != NGX_CONF_UNSET_UINT) {
        return plan->max_waiting;
    }

    n = ngx_cycle->connection_n;

    if (plan->zone) {
        ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                               ngx_core_module);
        n *= ngx_max(ccf->worker_processes, 1);
    }

    return ngx_min(n / 2, NGX_HTTP_RETRY_CHAIN_QUEUE_MOST);
}


ngx_uint_t
ngx_http_retry_chain_queue_room(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t  most;

    most = ngx_http_retry_chain_queue_most(run->plan);

    if (run->plan->zone) {
        return ngx_http_retry_chain_zone_place(run->plan->zone, most);
    }

    return ngx_http_retry_chain_queue_waiting < most;
}


void
ngx_http_retry_chain_queue_count(ngx_http_retry_chain_run_t *run)
{
    if (run->waiting) {
        return;
    }

    run->waiting = 1;

    if (run->plan->zone) {
        ngx_http_retry_chain_zone_wait(run->plan->chain);

    } else {
        ngx_http_retry_chain_queue_waiting++;
    }
}


void
ngx_http_retry_chain_queue_add(ngx_http_retry_chain_run_t *run)
{
    ngx_queue_t                   *q;
    ngx_http_retry_chain_run_t    *other;
    ngx_http_retry_chain_queue_t  *queue;

    queue = run->queue;

    /* tickets come in order but for those of other workers */

    for (q = ngx_queue_last(&queue->runs);
         q != ngx_queue_sentinel(&queue->runs);
         q = ngx_queue_prev(q))
    {
        other = ngx_queue_data(q, ngx_http_retry_chain_run_t, link);

        if (other->ticket.ticket <= run->ticket.ticket) {
            break;
        }
    }

    ngx_queue_insert_after(q, &run->link);

    run->queued = 1;

    if (ngx_queue_head(&queue->runs) == &run->link) {
        ngx_http_retry_chain_queue_update(queue);
    }
}


void
ngx_http_retry_chain_queue_leave(ngx_http_retry_chain_run_t *run)
{
    if (run->waiting) {
        run->waiting = 0;

        if (run->plan->zone) {
            ngx_http_retry_chain_zone_leave(run->plan->chain);

        } else {
            ngx_http_retry_chain_queue_waiting--;
        }
    }

    if (!run->queued) {
        return;
    }

    run->queued = 0;

    ngx_queue_remove(&run->link);

    if (ngx_queue_empty(&run->queue->runs) && run->queue->event.timer_set) {
        ngx_del_timer(&run->queue->event);
    }
}


void
ngx_http_retry_chain_queue_quit(ngx_http_retry_chain_run_t *run)
{
    /* one that has missed its deadline is in the line no more */

    if (run->queued && !run->missed) {
        ngx_http_retry_chain_queue_move_up(run);
    }

    ngx_http_retry_chain_queue_leave(run);
}


/*
 * Everybody behind gets the ticket of the one before, the run gets the last; so
 * many at the most, for a line may be long and all of it may leave.
 */

static void
ngx_http_retry_chain_queue_move_up(ngx_http_retry_chain_run_t *run)
{
    ngx_uint_t    n;
    ngx_queue_t  *q;

    n = NGX_HTTP_RETRY_CHAIN_QUEUE_MOVES;

    for (q = ngx_queue_next(&run->link);
         q != ngx_queue_sentinel(&run->queue->runs) && n;
         q = ngx_queue_next(q))
    {
        n--;

        ngx_http_retry_chain_queue_swap(run,
                         ngx_queue_data(q, ngx_http_retry_chain_run_t, link));
    }
}


static void
ngx_http_retry_chain_queue_swap(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_run_t *other)
{
    ngx_http_retry_chain_ticket_t  ticket;

    ticket = run->ticket;
    run->ticket = other->ticket;
    other->ticket = ticket;
}


void
ngx_http_retry_chain_queue_update(ngx_http_retry_chain_queue_t *queue)
{
    uint64_t                     now, due;
    ngx_http_retry_chain_run_t  *run;

    if (ngx_queue_empty(&queue->runs)) {
        return;
    }

    run = ngx_queue_data(ngx_queue_head(&queue->runs),
                         ngx_http_retry_chain_run_t, link);

    now = ngx_http_retry_chain_zone_now();
    due = ngx_http_retry_chain_limiter_gate(queue->limiter, &run->ticket, now);

    ngx_http_retry_chain_queue_timer(queue, (due - now + 999) / 1000);
}


static void
ngx_http_retry_chain_queue_timer(ngx_http_retry_chain_queue_t *queue,
    ngx_msec_t timer)
{
    if (queue->event.handler == NULL) {
        queue->event.handler = ngx_http_retry_chain_queue_handler;
        queue->event.data = queue;
        queue->event.log = ngx_cycle->log;
    }

    if (queue->event.timer_set) {
        ngx_del_timer(&queue->event);
    }

    ngx_add_timer(&queue->event,
                  ngx_min(timer, NGX_HTTP_RETRY_CHAIN_QUEUE_TIME));
}


/*
 * Those that are due leave, one by one.  Each may end at once, with others of
 * the line, so the line is looked at anew every time.
 */

static void
ngx_http_retry_chain_queue_handler(ngx_event_t *ev)
{
    uint64_t                       now, due;
    ngx_http_retry_chain_run_t    *run;
    ngx_http_retry_chain_queue_t  *queue;

    queue = ev->data;

    now = ngx_http_retry_chain_zone_now();

    ngx_http_retry_chain_queue_late(queue, now);

    while (!ngx_queue_empty(&queue->runs)) {

        run = ngx_queue_data(ngx_queue_head(&queue->runs),
                             ngx_http_retry_chain_run_t, link);

        due = ngx_http_retry_chain_limiter_gate(queue->limiter, &run->ticket,
                                                now);

        if (due > now) {
            break;
        }

        ngx_http_retry_chain_queue_wake(run);
    }

    if (!ev->timer_set) {
        ngx_http_retry_chain_queue_update(queue);
    }
}


/*
 * A reply, or a slower pace, may have moved tickets beyond the deadline of
 * their runs.  Those behind move up: one that can make use of the first ticket
 * that has been given up swaps with its owner.  So one pass does for all, and
 * what is given up are the last tickets, which are given back from the end.
 */

static void
ngx_http_retry_chain_queue_late(ngx_http_retry_chain_queue_t *queue,
    uint64_t now)
{
    uint64_t                     until;
    ngx_queue_t                 *q, *next;
    ngx_http_retry_chain_run_t  *run, *late;

    if (ngx_queue_empty(&queue->runs)) {
        return;
    }

    until = ngx_http_retry_chain_limiter_limited(queue->limiter, now);

    run = ngx_queue_data(ngx_queue_head(&queue->runs),
                         ngx_http_retry_chain_run_t, link);

    /* half-open, all tickets move while the one call is under way */

    if (until == queue->limited
        && !ngx_http_retry_chain_limiter_half_open(queue->limiter, now)
        && !ngx_http_retry_chain_queue_missed(run, now))
    {
        return;
    }

    queue->limited = until;

    for (q = ngx_queue_head(&queue->runs);
         q != ngx_queue_sentinel(&queue->runs);
         q = next)
    {
        next = ngx_queue_next(q);
        run = ngx_queue_data(q, ngx_http_retry_chain_run_t, link);

        late = NULL;

        if (!ngx_queue_empty(&queue->late)) {
            late = ngx_queue_data(ngx_queue_head(&queue->late),
                                  ngx_http_retry_chain_run_t, link);

            ngx_http_retry_chain_queue_swap(run, late);
        }

        if (!ngx_http_retry_chain_queue_missed(run, now)) {

            if (late) {
                ngx_queue_remove(&late->link);
                ngx_queue_insert_tail(&queue->late, &late->link);
            }

            continue;
        }

        if (late) {
            ngx_http_retry_chain_queue_swap(run, late);
        }

        run->missed = 1;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&queue->late, q);
    }

    for (q = ngx_queue_last(&queue->late);
         q != ngx_queue_sentinel(&queue->late);
         q = ngx_queue_prev(q))
    {
        run = ngx_queue_data(q, ngx_http_retry_chain_run_t, link);

        (void) ngx_http_retry_chain_limiter_cancel(queue->limiter,
                                                   &run->ticket);
    }

    while (!ngx_queue_empty(&queue->late)) {
        run = ngx_queue_data(ngx_queue_head(&queue->late),
                             ngx_http_retry_chain_run_t, link);

        ngx_http_retry_chain_queue_wake(run);
    }
}


static ngx_uint_t
ngx_http_retry_chain_queue_missed(ngx_http_retry_chain_run_t *run, uint64_t now)
{
    uint64_t        due;
    ngx_msec_int_t  left;

    if (run->plan->timeout == 0) {
        return 0;
    }

    due = ngx_http_retry_chain_limiter_due(run->limiter, &run->ticket, now);
    left = ngx_http_retry_chain_run_left(run) - run->plan->margin;

    return left < 0 || due > now + (uint64_t) left * 1000;
}


static void
ngx_http_retry_chain_queue_wake(ngx_http_retry_chain_run_t *run)
{
    ngx_connection_t  *c;

    c = run->request->connection;

    ngx_http_retry_chain_queue_leave(run);

    ngx_http_set_log_request(c->log, run->request);

    ngx_http_retry_chain_schedule_wake(run);

    ngx_http_run_posted_requests(c);
}
