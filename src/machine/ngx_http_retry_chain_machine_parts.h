
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What the files of the compiler share.  Functions return NGX_DECLINED after
 * an error of the machine, which has been reported, NGX_ERROR if there is no
 * memory.
 */


#ifndef _NGX_HTTP_RETRY_CHAIN_MACHINE_PARTS_H_INCLUDED_
#define _NGX_HTTP_RETRY_CHAIN_MACHINE_PARTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_retry_chain_condition.h"
#include "ngx_http_retry_chain_json.h"
#include "ngx_http_retry_chain_machine.h"
#include "ngx_http_retry_chain_plan.h"


#define NGX_HTTP_RETRY_CHAIN_NODE_PASS      0x01
#define NGX_HTTP_RETRY_CHAIN_NODE_TASK      0x02
#define NGX_HTTP_RETRY_CHAIN_NODE_CHOICE    0x04
#define NGX_HTTP_RETRY_CHAIN_NODE_WAIT      0x08
#define NGX_HTTP_RETRY_CHAIN_NODE_SUCCEED   0x10
#define NGX_HTTP_RETRY_CHAIN_NODE_FAIL      0x20

/* the largest value of a field in seconds or of MaxAttempts */

#define NGX_HTTP_RETRY_CHAIN_MACHINE_MAX    99999999


/* a place in the machine; lives on the stack of those who look at it */

typedef struct ngx_http_retry_chain_at_s  ngx_http_retry_chain_at_t;

struct ngx_http_retry_chain_at_s {
    const ngx_http_retry_chain_at_t    *up;
    const char                         *name;      /* NULL: an index */
    ngx_uint_t                          index;
};


/* what is known of the data that a state has as its input */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_TERM_INPUT = 0,           /* of the execution */
    NGX_HTTP_RETRY_CHAIN_TERM_REPLY,               /* of the last Task */
    NGX_HTTP_RETRY_CHAIN_TERM_ERROR,               /* that was caught */
    NGX_HTTP_RETRY_CHAIN_TERM_STALE,               /* of an earlier Task */
    NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN,
    NGX_HTTP_RETRY_CHAIN_TERM_CONFLICT,            /* differs by the way here */
    NGX_HTTP_RETRY_CHAIN_TERM_ABSENT,
    NGX_HTTP_RETRY_CHAIN_TERM_CONSTANT,
    NGX_HTTP_RETRY_CHAIN_TERM_OBJECT
} ngx_http_retry_chain_term_e;


typedef struct ngx_http_retry_chain_term_s  ngx_http_retry_chain_term_t;


typedef struct ngx_http_retry_chain_field_s  ngx_http_retry_chain_field_t;

struct ngx_http_retry_chain_field_s {
    const char                         *name;
    ngx_http_retry_chain_term_t        *term;
    ngx_http_retry_chain_field_t       *next;
};


struct ngx_http_retry_chain_term_s {
    ngx_http_retry_chain_term_e         type;

    ngx_http_retry_chain_json_path_t    path;      /* in a reply or an error */
    cJSON                              *json;      /* of a constant */

    ngx_http_retry_chain_term_t        *base;      /* of an object, or NULL */
    ngx_http_retry_chain_field_t       *fields;    /* in front of the base */

    unsigned                            http:1;    /* reply to http:invoke */
};


typedef struct {
    ngx_http_retry_chain_rule_t         rule;
    ngx_uint_t                          index;     /* in Retry */
    ngx_uint_t                          asked;     /* MaxAttempts */
} ngx_http_retry_chain_retrier_t;


/* what a path or an expression may refer to */

typedef struct {
    ngx_http_retry_chain_term_t        *input;
    ngx_http_retry_chain_term_t        *result;    /* JSONata; or NULL */
    ngx_http_retry_chain_term_t        *error;     /* JSONata; or NULL */

    unsigned                            jsonata:1;
} ngx_http_retry_chain_scope_t;


/* a state while it is compiled; links are indices of nodes, or END */

typedef struct {
    const char                         *name;
    cJSON                              *json;
    ngx_uint_t                          type;
    ngx_http_retry_chain_at_t           at;

    ngx_uint_t                         *links;     /* Next or Default first */
    ngx_uint_t                          nlinks;

    ngx_http_retry_chain_term_t        *input;     /* NULL: not reached yet */

    ngx_http_retry_chain_state_t        state;
    ngx_str_t                           target;    /* name of the step */
    ngx_msec_t                          timeout;
    ngx_array_t                         retriers;

    ngx_uint_t                          index;     /* in the plan */
    ngx_uint_t                          longest;   /* way to the end */

    unsigned                            mark:2;    /* entered, left */
    unsigned                            jsonata:1;
    unsigned                            after:1;   /* there was a Task */
    unsigned                            direct:1;  /* Resource is a function */
} ngx_http_retry_chain_node_t;


typedef struct {
    ngx_pool_t                         *pool;      /* of the plan */
    ngx_pool_t                         *temp;

    ngx_http_retry_chain_machine_options_t  *options;
    ngx_http_retry_chain_plan_t        *plan;
    ngx_http_retry_chain_machine_result_t  *result;

    cJSON                              *json;
    ngx_http_retry_chain_at_t           root;
    ngx_http_retry_chain_at_t           states;

    ngx_http_retry_chain_node_t        *nodes;
    ngx_uint_t                          nnodes;
    ngx_uint_t                          start;

    ngx_uint_t                         *order;     /* nodes, sorted */
    ngx_uint_t                          norder;

    ngx_http_retry_chain_term_t        *function;  /* result of lambda:invoke */

    ngx_uint_t                          fuel;      /* left for the data flow */
    ngx_uint_t                          nwarnings;
    ngx_uint_t                          nstates;   /* of the plan */
    ngx_uint_t                          attempts;
    ngx_msec_t                          timeout;   /* TimeoutSeconds */

    unsigned                            jsonata:1;
    unsigned                            body:1;    /* some condition needs it */
    unsigned                            failed:1;  /* no memory for a warning */
} ngx_http_retry_chain_machine_t;


/* machine.c */

void ngx_http_retry_chain_machine_at(ngx_http_retry_chain_at_t *at,
    const ngx_http_retry_chain_at_t *up, const char *name, ngx_uint_t index);

/* always NGX_DECLINED */
ngx_int_t ngx_http_retry_chain_machine_error(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, const char *fmt, ...);
void ngx_http_retry_chain_machine_warn(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, const char *fmt, ...);

/* an error about the field of this name of what is at "up" */
ngx_int_t ngx_http_retry_chain_machine_wrong(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, const char *name, const char *reason);

/* fields; what is absent leaves the value as it was */

cJSON *ngx_http_retry_chain_machine_get(cJSON *json, const char *name);
ngx_int_t ngx_http_retry_chain_machine_integer(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, const char *name, ngx_uint_t min, ngx_uint_t max,
    ngx_uint_t *value);
ngx_int_t ngx_http_retry_chain_machine_string(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *up,
    cJSON *json, const char *name, const char **value);

/* seconds as a time, clamped to what nginx can hold */
ngx_msec_t ngx_http_retry_chain_machine_msec(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *up, const char *name, ngx_uint_t seconds);

/* a copy that lives as long as the plan, or NULL data */
void ngx_http_retry_chain_machine_copy(ngx_http_retry_chain_machine_t *m,
    const char *text, ngx_str_t *copy);


/* machine_check.c: what can be said of each state alone */

ngx_int_t ngx_http_retry_chain_machine_check_text(
    ngx_http_retry_chain_machine_t *m, ngx_str_t *text);
ngx_int_t ngx_http_retry_chain_machine_check_states(
    ngx_http_retry_chain_machine_t *m);

/* machine_graph.c: transitions; sorts the states */

ngx_int_t ngx_http_retry_chain_machine_graph(
    ngx_http_retry_chain_machine_t *m);


/* machine_task.c, machine_resource.c: what states say of themselves */

ngx_int_t ngx_http_retry_chain_machine_task(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node);
ngx_int_t ngx_http_retry_chain_machine_resource(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
ngx_int_t ngx_http_retry_chain_machine_wait(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node);
ngx_int_t ngx_http_retry_chain_machine_fail(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node);


/* machine_choice.c, machine_jsonata.c */

ngx_int_t ngx_http_retry_chain_machine_choice(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_term_t *input);

/* an empty one, or NULL */
ngx_http_retry_chain_condition_t *ngx_http_retry_chain_machine_condition(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_condition_e type);
ngx_int_t ngx_http_retry_chain_machine_list_add(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_condition_t *list,
    ngx_http_retry_chain_condition_t *cond);

/* whether the text is "{% ... %}"; what is between */
ngx_uint_t ngx_http_retry_chain_machine_expression(const char *text,
    ngx_str_t *inner);

/* the condition of what is between */
ngx_int_t ngx_http_retry_chain_machine_jsonata(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    ngx_str_t *text, ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t **cond);

/* what names in expressions consist of */
ngx_uint_t ngx_http_retry_chain_machine_named(u_char ch);


/* machine_flow.c: the data behind a state, handed on to those that follow */

ngx_int_t ngx_http_retry_chain_machine_flow(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node);


/* machine_template.c: Parameters, ResultSelector, Output */

ngx_int_t ngx_http_retry_chain_machine_template(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    cJSON *json, ngx_http_retry_chain_scope_t *scope,
    ngx_http_retry_chain_term_t **term);

/* the term of a path at "pos", NGX_DECLINED, not reported, if it is none */
ngx_int_t ngx_http_retry_chain_machine_reference(
    ngx_http_retry_chain_machine_t *m, u_char **pos, u_char *last,
    ngx_http_retry_chain_scope_t *scope, ngx_http_retry_chain_term_t **term);

/* the path that a field is */
ngx_int_t ngx_http_retry_chain_machine_path(ngx_http_retry_chain_machine_t *m,
    const ngx_http_retry_chain_at_t *at, cJSON *json,
    ngx_http_retry_chain_json_path_t *path);


/* machine_term.c; NULL if there is no memory */

ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_term(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_e type);
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_result(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_lookup(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_json_path_t *path);

/* the object, or a new one, with a field if that has a name */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_object(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    const char *name, ngx_http_retry_chain_term_t *term);
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_overlay(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *base,
    ngx_http_retry_chain_json_path_t *path, ngx_http_retry_chain_term_t *term);
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_stale(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term);
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_merge(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *a,
    ngx_http_retry_chain_term_t *b);
ngx_uint_t ngx_http_retry_chain_machine_has(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term);
ngx_uint_t ngx_http_retry_chain_machine_keeps(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term);


/* machine_operand.c */

/* what a condition has to ask for; an error if the run does not know it */
ngx_int_t ngx_http_retry_chain_machine_operand(
    ngx_http_retry_chain_machine_t *m, const ngx_http_retry_chain_at_t *at,
    ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand);


/* machine_plan.c: the plan of nodes that have been compiled */

ngx_int_t ngx_http_retry_chain_machine_emit(ngx_http_retry_chain_machine_t *m);


#endif /* _NGX_HTTP_RETRY_CHAIN_MACHINE_PARTS_H_INCLUDED_ */
