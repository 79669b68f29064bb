
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * A run: one client request going through a plan, attempt by attempt.  It lies
 * in the pool of the main request and holds one reference to it.  What the
 * files of this room export comes in the order in which a request meets it.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_RUN_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_RUN_H_INCLUDED_


#include "ngx_http_retry_chain.h"
#include "ngx_http_retry_chain_policy.h"
#include "ngx_http_retry_chain_attempt.h"
#include "ngx_http_retry_chain_zone.h"
#include "ngx_http_retry_chain_ratelimit.h"


typedef enum {
    NGX_HTTP_RETRY_CHAIN_RUN_READY = 0,    /* content handler is swapped */
    NGX_HTTP_RETRY_CHAIN_RUN_BODY,         /* request body is being read */
    NGX_HTTP_RETRY_CHAIN_RUN_ATTEMPT,
    NGX_HTTP_RETRY_CHAIN_RUN_WAIT,
    NGX_HTTP_RETRY_CHAIN_RUN_PASSTHROUGH,       /* the location's own handler */
    NGX_HTTP_RETRY_CHAIN_RUN_DONE
} ngx_http_retry_chain_run_state_e;


/* the verdict on an attempt: another one, or how the run is to end */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_NEXT_STEP = NGX_HTTP_RETRY_CHAIN_DRY_RUN + 1,
    NGX_HTTP_RETRY_CHAIN_NEXT_SAME
} ngx_http_retry_chain_next_e;


/* what is kept of an attempt that has ended; those of a run are one block */

typedef struct {
    uint32_t                            wait;     /* before it, ms */
    uint32_t                            time;     /* to its verdict, ms */
    ngx_http_retry_chain_outcome_t      outcome;
    ngx_http_retry_chain_outcome_t      response; /* by the upstream */
    uint32_t                            states;   /* first of its own */
    uint32_t                            end;      /* first of what follows */
    unsigned                            step:8;   /* index */
    unsigned                            reason:8; /* of the wait */
    unsigned                            next:8;   /* or a result */
} ngx_http_retry_chain_attempt_record_t;

#define ngx_http_retry_chain_run_record_step(run, record)                     \
    (&(run)->plan->steps[(record)->step])


typedef struct ngx_http_retry_chain_run_s  ngx_http_retry_chain_run_t;

struct ngx_http_retry_chain_run_s {
    ngx_http_request_t                 *request;  /* the main one */
    ngx_http_retry_chain_loc_conf_t    *conf;
    const ngx_http_retry_chain_plan_t  *plan;
    ngx_http_retry_chain_target_t      *target;   /* NULL: another handler */
    ngx_http_handler_pt                 handler;  /* the location's own */

    ngx_http_retry_chain_run_state_e        state;
    ngx_http_retry_chain_place_t        place;
    ngx_http_retry_chain_verdict_t      verdict;  /* on the last attempt */
    ngx_http_retry_chain_attempt_t     *attempt;  /* current or relayed one */

    /* of ngx_http_retry_chain_attempt_record_t */
    ngx_array_t                         records;
    ngx_array_t                        *states;   /* of earlier attempts */
    ngx_uint_t                          first_state;   /* of a passthrough */
    ngx_uint_t                          counted;  /* records so far */
    volatile uint32_t                  *in_flight; /* counts the attempt */

    /* with a ticket of its limiter, in the queue or not */
    ngx_http_retry_chain_queue_t       *queue;
    ngx_http_retry_chain_limiter_t     *limiter;
    ngx_http_retry_chain_ticket_t       ticket;
    ngx_queue_t                         link;
    uint64_t                           *told;     /* times without a zone */
    ngx_http_retry_chain_limiter_t     *copies;   /* of limiters, a dry run's */

    /* fires at the end of a wait, a timeout or a discarded body's time */
    ngx_event_t                         event;

    ngx_msec_t                          start;
    ngx_msec_t                          end;
    ngx_msec_t                          attempt_start;
    ngx_msec_t                          wait;     /* before the attempt */
    ngx_msec_t                          decided;  /* that there is one */
    ngx_http_retry_chain_reason_e       reason;   /* of the wait */

    unsigned                            recorded:1;   /* the attempt is */
    unsigned                            waiting:1;    /* counted as such */
    unsigned                            queued:1;     /* in a line */
    unsigned                            missed:1; /* ticket beyond deadline */
    unsigned                            late:1;   /* deadline cut an attempt */
    unsigned                            used:1;   /* $retry_chain_upstream */
    unsigned                            left:1;   /* for another location */
};


/* handler.c */

/* the PRECONTENT phase */
ngx_int_t ngx_http_retry_chain_phase_handler(ngx_http_request_t *r);


/* run.c */

/* NULL if there is no memory */
ngx_http_retry_chain_run_t *ngx_http_retry_chain_run_create(
    ngx_http_request_t *r);

/* the run of the main request, or NULL */
ngx_http_retry_chain_run_t *ngx_http_retry_chain_run_get(ngx_http_request_t *r);

/* makes the first attempt, once the request body has been read */
void ngx_http_retry_chain_run_begin(ngx_http_request_t *r);

/* makes an attempt at the step where the run is */
void ngx_http_retry_chain_run_attempt(ngx_http_retry_chain_run_t *run);


/* filter.c */

/* called in postconfiguration */
void ngx_http_retry_chain_filter_init(void);


/* schedule.c */

/* the first attempt */
void ngx_http_retry_chain_schedule_first(ngx_http_retry_chain_run_t *run);

/* where it would be made, and when */
void ngx_http_retry_chain_schedule_choose(ngx_http_retry_chain_run_t *run);

/* 1 if the run waits in the queue of an upstream, not just for a time */
ngx_uint_t ngx_http_retry_chain_schedule_queues(
    ngx_http_retry_chain_run_t *run);

/* the verdict on an outcome; "reply" is what conditions may ask for, or NULL */
void ngx_http_retry_chain_schedule_decide(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome,
    ngx_http_retry_chain_reply_t *reply);

/* the verdict on an attempt; what it needs for the next one is reserved */
void ngx_http_retry_chain_schedule_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_str_t *body);

/* 1 if what becomes of the reply depends on its body */
ngx_uint_t ngx_http_retry_chain_schedule_pending(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_attempt_t *at);

/* the attempt has been discarded */
void ngx_http_retry_chain_schedule_next(ngx_http_retry_chain_run_t *run);

/* a wait is over */
void ngx_http_retry_chain_schedule_wake(ngx_http_retry_chain_run_t *run);

/* whether the request may be repeated */
void ngx_http_retry_chain_schedule_safety(ngx_http_request_t *r,
    ngx_http_retry_chain_outcome_t *outcome);

/* a client that goes away, or has gone, ends the request "r" */
ngx_int_t ngx_http_retry_chain_schedule_watch(ngx_http_request_t *r);


/* limits.c */

/* a dry run works on copies; NGX_ERROR if there is no memory */
ngx_int_t ngx_http_retry_chain_limits_copy(ngx_http_retry_chain_run_t *run);

/* when each upstream of the plan is free */
void ngx_http_retry_chain_limits_survey(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_limits_t *limits);

/* takes a ticket for an attempt at the step; returns the ms until it is due */
ngx_msec_t ngx_http_retry_chain_limits_reserve(ngx_http_retry_chain_run_t *run,
    ngx_uint_t step);

/* the ms until the ticket of the run lets it pass, at the least */
ngx_msec_t ngx_http_retry_chain_limits_gate(ngx_http_retry_chain_run_t *run);

/* the ticket is not needed */
void ngx_http_retry_chain_limits_release(ngx_http_retry_chain_run_t *run);

/*
 * An attempt has an outcome: its calls are charged, and what it says, or an
 * accepted call, moves the limiter.  Runs that wait there may be due earlier.
 */
void ngx_http_retry_chain_limits_outcome(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at);

/* likewise of "r", which has updated the stale reply of an attempt */
void ngx_http_retry_chain_limits_updated(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_t *at, ngx_http_request_t *r);

/* the ms until some upstream is free, 0 if one is not limited now */
ngx_msec_t ngx_http_retry_chain_limits_soonest(ngx_http_retry_chain_run_t *run);

/* the pace of the upstream where the run is, 0 if it has none */
ngx_uint_t ngx_http_retry_chain_limits_rate(ngx_http_retry_chain_run_t *run);

/*
 * If a run fails and all upstreams are limited, Retry-After among the headers
 * of the request becomes the time when the first one is free; NGX_ERROR if
 * there is no memory.
 */
ngx_int_t ngx_http_retry_chain_limits_retry_after(
    ngx_http_retry_chain_run_t *run, ngx_http_request_t *r);


/* limits_fields.c */

/* what the reply to "r" with that status says; nothing if it is not wanted */
void ngx_http_retry_chain_limits_parse(ngx_http_retry_chain_run_t *run,
    ngx_http_request_t *r, ngx_uint_t status,
    ngx_http_retry_chain_ratelimit_t *ratelimit);


/* queue.c */

/* the run has a ticket; it is woken when that is due, or too late for it */
void ngx_http_retry_chain_queue_add(ngx_http_retry_chain_run_t *run);

/* the run waits, in the queue or not: it counts */
void ngx_http_retry_chain_queue_count(ngx_http_retry_chain_run_t *run);

/* the most runs that may wait, of the zone or of a worker without one */
ngx_uint_t ngx_http_retry_chain_queue_most(
    const ngx_http_retry_chain_plan_t *plan);

/* 1 if another run may wait */
ngx_uint_t ngx_http_retry_chain_queue_room(ngx_http_retry_chain_run_t *run);

/* the run does not wait any more */
void ngx_http_retry_chain_queue_leave(ngx_http_retry_chain_run_t *run);

/* likewise, but it has no use for its ticket: it gets the last of the line */
void ngx_http_retry_chain_queue_quit(ngx_http_retry_chain_run_t *run);

/* the limiter has been moved: its line is looked at soon */
void ngx_http_retry_chain_queue_update(ngx_http_retry_chain_queue_t *queue);


/* upstream_states.c */

/*
 * Copies the states of the run's attempt to the pool of the main request and
 * frees the attempt, at once or with the main request.  NGX_ERROR if there is
 * no memory.
 */
ngx_int_t ngx_http_retry_chain_upstream_states_keep(
    ngx_http_retry_chain_run_t *run);


/* finish.c */

/*
 * The last attempt has ended, with or without a reply: so does the request.
 * Called from the write handler of the main request, which may be gone
 * afterwards.
 */
void ngx_http_retry_chain_finish_request(ngx_http_retry_chain_run_t *run);

/* the one end of a run, whether it has begun or not; the request goes on */
void ngx_http_retry_chain_finish(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_result_e result);


/* error_body.c */

/*
 * Answers with {"statusCode":502,"error":"...","attempts":[...]}, and returns
 * what the main request is to be finalized with: "rc" where that is for nginx
 * to answer, with its own page or an error_page.
 */
ngx_int_t ngx_http_retry_chain_error_body_error(ngx_http_retry_chain_run_t *run,
    ngx_int_t rc);

/* answers with {"Error":"...","Cause":"..."} of the Fail of the verdict */
ngx_int_t ngx_http_retry_chain_error_body_fail(ngx_http_retry_chain_run_t *run);


/* passthrough.c */

/* 1 if the plan leaves nothing to decide */
ngx_uint_t ngx_http_retry_chain_passthrough_plan(
    const ngx_http_retry_chain_plan_t *plan);

/* the handler of the location is about to run */
void ngx_http_retry_chain_passthrough_begin(ngx_http_retry_chain_run_t *run);

/* notes the outcome, as far as it is known by now */
void ngx_http_retry_chain_passthrough_note(ngx_http_retry_chain_run_t *run);

/* the client has been answered: the end of such a run */
void ngx_http_retry_chain_passthrough_finish(ngx_http_retry_chain_run_t *run);


/* dry_run.c */

/* the location's own handler is about to run */
void ngx_http_retry_chain_dry_run_begin(ngx_http_retry_chain_run_t *run);

/* what the plan makes of the reply, once */
void ngx_http_retry_chain_dry_run_judge(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome);

void ngx_http_retry_chain_dry_run_end(ngx_http_retry_chain_run_t *run);


/* run_stats.c, for runs with a zone only but for run_stats_stop() below */

/* an attempt is in flight */
void ngx_http_retry_chain_run_stats_start(ngx_http_retry_chain_run_t *run);

/* the limited steps that the verdict passes over; "limits" as it saw them */
void ngx_http_retry_chain_run_stats_skips(ngx_http_retry_chain_run_t *run,
    const ngx_http_retry_chain_limits_t *limits,
    const ngx_http_retry_chain_verdict_t *verdict);

/* the "n"-th attempt, from 0, that a dry run would make, and its end */
void ngx_http_retry_chain_run_stats_dry(ngx_http_retry_chain_run_t *run,
    ngx_uint_t n);
void ngx_http_retry_chain_run_stats_dry_end(ngx_http_retry_chain_run_t *run);

/* attempts that have been recorded since the last time */
void ngx_http_retry_chain_run_stats_attempts(ngx_http_retry_chain_run_t *run);


/* run_log.c */

/* the event of the run fires after so many ms, not before */
void ngx_http_retry_chain_run_timer(ngx_http_retry_chain_run_t *run,
    ngx_msec_t timer);

/* NULL if there is no memory */
ngx_http_retry_chain_attempt_record_t *ngx_http_retry_chain_run_record(
    ngx_http_retry_chain_run_t *run, ngx_http_retry_chain_attempt_t *at);

/* a line about an attempt that failed; nothing if it did not */
void ngx_http_retry_chain_run_log_attempt(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);

/* once per plan and worker: steps were tried, but all went the same way */
void ngx_http_retry_chain_run_log_same(ngx_http_retry_chain_run_t *run);

/* a line about the end of a run, if there is anything to say */
void ngx_http_retry_chain_run_log_end(ngx_http_retry_chain_run_t *run);

/* attempts begun so far */
ngx_uint_t ngx_http_retry_chain_run_attempts(
    ngx_http_retry_chain_run_t *run);

/* milliseconds to the deadline */
ngx_msec_int_t ngx_http_retry_chain_run_left(
    ngx_http_retry_chain_run_t *run);

/* milliseconds from the start to now, or to the end */
ngx_msec_t ngx_http_retry_chain_run_time(ngx_http_retry_chain_run_t *run);

/*
 * The servers that the attempt has tried: the first of its upstream states, and
 * how many there are.  What comes behind a separator belongs to another one,
 * and so does what is not before "end".
 */
ngx_uint_t ngx_http_retry_chain_run_upstream_states(
    ngx_http_retry_chain_run_t *run, ngx_uint_t first, ngx_uint_t end,
    ngx_http_upstream_state_t **state);

/* the addresses of these servers as in $upstream_addr, at most "len" bytes */
size_t ngx_http_retry_chain_run_address(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record, u_char *buf, size_t len);

/* the bytes that have been received from them */
off_t ngx_http_retry_chain_run_bytes(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record);

/* the result, NULL as long as it is not known */
ngx_str_t *ngx_http_retry_chain_run_result(ngx_http_retry_chain_run_t *run);

/* "status", "error", "timeout", "invalid header" or "aborted" */
char *ngx_http_retry_chain_outcome_name(
    ngx_http_retry_chain_outcome_t *outcome);


/* the line of retry_chain_json that a reply has matched, or empty */
ngx_str_t *ngx_http_retry_chain_run_rule(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_outcome_t *outcome);


/* the attempt is in flight no more */

static ngx_inline void
ngx_http_retry_chain_run_stats_stop(ngx_http_retry_chain_run_t *run)
{
    if (run->in_flight) {
        --*run->in_flight;
        run->in_flight = NULL;
    }
}


/* the one place that changes the state */

static ngx_inline void
ngx_http_retry_chain_run_set_state(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_run_state_e state)
{
    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, run->request->connection->log, 0,
                   "retry chain state: %d -> %d", run->state, state);

    run->state = state;
}


/* called below */
void ngx_http_retry_chain_run_calm(ngx_http_retry_chain_run_t *run);


/* the event of the run will not fire */

static ngx_inline void
ngx_http_retry_chain_run_untimer(ngx_http_retry_chain_run_t *run)
{
    if (run->event.timer_set || run->event.posted) {
        ngx_http_retry_chain_run_calm(run);
    }
}


/* notes the verdict on an attempt */

static ngx_inline void
ngx_http_retry_chain_run_record_next(ngx_http_retry_chain_run_t *run,
    ngx_http_retry_chain_attempt_record_t *record)
{
    ngx_http_retry_chain_verdict_t  *verdict;

    verdict = &run->verdict;

    record->outcome.json = verdict->json;

    record->next = !verdict->retry ? verdict->result
                   : verdict->same ? NGX_HTTP_RETRY_CHAIN_NEXT_SAME
                                   : NGX_HTTP_RETRY_CHAIN_NEXT_STEP;
}


/* by result, and by what else a verdict may be */
extern ngx_str_t  ngx_http_retry_chain_result_names[];
extern ngx_str_t  ngx_http_retry_chain_reason_names[];


#endif /* _NGX_HTTP_RETRY_CHAIN_RUN_H_INCLUDED_ */
