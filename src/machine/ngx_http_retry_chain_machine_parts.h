
/*
 * Copyright (C) The ngx_http_retry_chain_module authors
 */


/*
 * What the files of the compiler share.  A function that fails returns
 * NGX_ERROR or NULL: it has reported an error of the machine, or there is no
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


/* objects that have fields: states by their type, and others */

#define NGX_HTTP_RETRY_CHAIN_NODE_PASS      0x0001
#define NGX_HTTP_RETRY_CHAIN_NODE_TASK      0x0002
#define NGX_HTTP_RETRY_CHAIN_NODE_CHOICE    0x0004
#define NGX_HTTP_RETRY_CHAIN_NODE_WAIT      0x0008
#define NGX_HTTP_RETRY_CHAIN_NODE_SUCCEED   0x0010
#define NGX_HTTP_RETRY_CHAIN_NODE_FAIL      0x0020
#define NGX_HTTP_RETRY_CHAIN_NODES          0x003f

#define NGX_HTTP_RETRY_CHAIN_IN_MACHINE     0x0040
#define NGX_HTTP_RETRY_CHAIN_IN_RETRY       0x0080
#define NGX_HTTP_RETRY_CHAIN_IN_CATCH       0x0100
#define NGX_HTTP_RETRY_CHAIN_IN_CHOICES     0x0200    /* in JSONata */
#define NGX_HTTP_RETRY_CHAIN_IN_LAMBDA      0x0400    /* Parameters */
#define NGX_HTTP_RETRY_CHAIN_IN_HTTP        0x0800

/* results of a Task; replies to functions are in those of lambda:invoke */

#define NGX_HTTP_RETRY_CHAIN_RESULT_FUNCTION  0
#define NGX_HTTP_RETRY_CHAIN_RESULT_HTTP      1
#define NGX_HTTP_RETRY_CHAIN_RESULT_LAMBDA    2
#define NGX_HTTP_RETRY_CHAIN_RESULT_ERROR     3    /* that was caught */

/* what there is in data: a part of the reply, a constant in place of one */

#define NGX_HTTP_RETRY_CHAIN_HAS_REPLY      0x01
#define NGX_HTTP_RETRY_CHAIN_HAS_OTHER      0x02

/* beside the types of cJSON: an array that is not empty, true or false, any */

#define NGX_HTTP_RETRY_CHAIN_LIST           (cJSON_Array|0x10000)
#define NGX_HTTP_RETRY_CHAIN_BOOL           (cJSON_True|cJSON_False)
#define NGX_HTTP_RETRY_CHAIN_ANY            0xff

/* the largest value of a field in seconds or of MaxAttempts */

#define NGX_HTTP_RETRY_CHAIN_MACHINE_MAX    99999999


/* what is said in several places of fields that are ignored */

#define NGX_HTTP_RETRY_CHAIN_OWN_REQUEST                                      \
    "has no effect, a step gets the client's own request"
#define NGX_HTTP_RETRY_CHAIN_NO_VARIABLES                                     \
    "has no effect, variables are not known here"


/* what is known of the data that a state has as its input */

typedef enum {
    NGX_HTTP_RETRY_CHAIN_TERM_UNKNOWN = 0,         /* and why */
    NGX_HTTP_RETRY_CHAIN_TERM_OPERAND,             /* of a condition */
    NGX_HTTP_RETRY_CHAIN_TERM_HEADERS,             /* all of a reply */
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

    const char                         *reason;    /* why it is unknown */
    ngx_http_retry_chain_operand_t      operand;
    cJSON                              *json;      /* of a constant */

    ngx_http_retry_chain_term_t        *base;      /* of an object, or NULL */
    ngx_http_retry_chain_field_t       *fields;    /* in front of the base */

    unsigned                            reply:1;   /* of the last Task */
    unsigned                            http:1;    /* reply to http:invoke */
    unsigned                            list:1;    /* of headers of one name */
};


/* what a path or an expression may refer to */

typedef struct {
    ngx_http_retry_chain_term_t        *input;
    ngx_http_retry_chain_term_t        *result;    /* JSONata; or NULL */
    ngx_http_retry_chain_term_t        *error;     /* JSONata; or NULL */

    unsigned                            jsonata:1;
} ngx_http_retry_chain_scope_t;


typedef struct {
    ngx_http_retry_chain_rule_t         rule;
    cJSON                              *json;
    ngx_uint_t                          asked;     /* MaxAttempts */
} ngx_http_retry_chain_retrier_t;


/* a state while it is compiled; links are indices of nodes, or END */

typedef struct {
    cJSON                              *json;      /* its string: the name */
    ngx_uint_t                          type;

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

    ngx_http_retry_chain_node_t        *nodes;
    ngx_uint_t                          nnodes;
    ngx_uint_t                          start;

    ngx_uint_t                         *order;     /* nodes, sorted */
    ngx_uint_t                          norder;

    ngx_http_retry_chain_term_t         input;     /* of the execution */
    ngx_http_retry_chain_term_t         stale;     /* of an earlier Task */
    ngx_http_retry_chain_term_t         unknown;
    ngx_http_retry_chain_term_t         conflict;  /* differs by the way here */
    ngx_http_retry_chain_term_t         absent;
    ngx_http_retry_chain_term_t         below;     /* absent in a reply */
    ngx_http_retry_chain_term_t         beside[2];  /* what no reply has */

    ngx_http_retry_chain_term_t        *results[4];  /* RESULT_* */

    ngx_uint_t                          fuel;      /* left for the data flow */
    ngx_uint_t                          nwarnings;
    ngx_uint_t                          nstates;   /* of the plan */
    ngx_uint_t                          attempts;
    ngx_msec_t                          timeout;   /* TimeoutSeconds */

    unsigned                            jsonata:1;
    unsigned                            body:1;    /* some condition needs it */
    unsigned                            failed:1;  /* no memory for a message */
} ngx_http_retry_chain_machine_t;


/*
 * machine.c: messages about an item of the machine, or about a field of it,
 * which may be missing, if "name" is not NULL
 */

/* always NGX_ERROR */
ngx_int_t ngx_http_retry_chain_machine_error(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, const char *fmt, ...);
void ngx_http_retry_chain_machine_warn(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, const char *fmt, ...);

/* whether the item is of one of these types of cJSON; an error if not */
ngx_int_t ngx_http_retry_chain_machine_is(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_uint_t types);

/* a field that must be there */
cJSON *ngx_http_retry_chain_machine_get(ngx_http_retry_chain_machine_t *m,
    cJSON *json, const char *name, ngx_uint_t types);

/* a text; without the field "absent", or an error if that is NULL */
const char *ngx_http_retry_chain_machine_string(
    ngx_http_retry_chain_machine_t *m, cJSON *json, const char *name,
    const char *absent);

/* without the field the value is left as it was */
ngx_int_t ngx_http_retry_chain_machine_integer(
    ngx_http_retry_chain_machine_t *m, cJSON *json, const char *name,
    ngx_uint_t min, ngx_uint_t max, ngx_uint_t *value);
ngx_int_t ngx_http_retry_chain_machine_seconds(
    ngx_http_retry_chain_machine_t *m, cJSON *json, const char *name,
    ngx_uint_t min, ngx_uint_t max, ngx_msec_t *value);

/* a copy that lives as long as the plan */
ngx_int_t ngx_http_retry_chain_machine_copy(ngx_http_retry_chain_machine_t *m,
    const char *text, ngx_str_t *copy);

ngx_uint_t ngx_http_retry_chain_machine_alnum(u_char ch);


/* machine_check.c: what can be said of each object alone */

ngx_int_t ngx_http_retry_chain_machine_check_text(
    ngx_http_retry_chain_machine_t *m, ngx_str_t *text);
ngx_int_t ngx_http_retry_chain_machine_check_states(
    ngx_http_retry_chain_machine_t *m);

/* the fields of an object of this kind, one of NODE_* and IN_* */
ngx_int_t ngx_http_retry_chain_machine_check_fields(
    ngx_http_retry_chain_machine_t *m, cJSON *json, ngx_uint_t kind,
    ngx_uint_t jsonata);


/* machine_graph.c: transitions; sorts the states */

ngx_int_t ngx_http_retry_chain_machine_graph(
    ngx_http_retry_chain_machine_t *m);


/* machine_task.c, machine_resource.c: what a state does */

ngx_int_t ngx_http_retry_chain_machine_state(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node);
ngx_int_t ngx_http_retry_chain_machine_resource(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node);


/* machine_flow.c: the data behind a state, handed on to those that follow */

ngx_int_t ngx_http_retry_chain_machine_flow(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_node_t *node);

/* the path that an item is */
ngx_int_t ngx_http_retry_chain_machine_path(ngx_http_retry_chain_machine_t *m,
    cJSON *json, ngx_http_retry_chain_json_path_t *path);


/* machine_term.c */

/* those that are the same everywhere */
ngx_int_t ngx_http_retry_chain_machine_terms(
    ngx_http_retry_chain_machine_t *m);

ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_term(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_e type);

/* what is written in the machine; absent if it is NULL */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_constant(
    ngx_http_retry_chain_machine_t *m, cJSON *json);

/* the object with one more field; NULL if one of them is NULL */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_add(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *object,
    const char *name, ngx_http_retry_chain_term_t *term);

ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_lookup(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys);

/* the base with the term at the end of a path of names */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_overlay(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *base,
    ngx_http_retry_chain_json_key_t *keys, ngx_uint_t nkeys,
    ngx_http_retry_chain_term_t *term);

/* what it is after another Task */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_stale(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *term);

/* what is known of data that comes from either */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_merge(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_term_t *a,
    ngx_http_retry_chain_term_t *b);

/* a mask of HAS_* */
ngx_uint_t ngx_http_retry_chain_machine_has(ngx_http_retry_chain_machine_t *m,
    ngx_http_retry_chain_term_t *term);


/* machine_choice.c */

ngx_int_t ngx_http_retry_chain_machine_choice(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_node_t *node,
    ngx_http_retry_chain_term_t *input);

/* a new one, the last of the list if there is one */
ngx_http_retry_chain_condition_t *ngx_http_retry_chain_machine_condition(
    ngx_http_retry_chain_machine_t *m, ngx_http_retry_chain_condition_t *list,
    ngx_http_retry_chain_condition_e type);

/* what a condition asks for; an error if the run does not know it */
ngx_int_t ngx_http_retry_chain_machine_operand(
    ngx_http_retry_chain_machine_t *m, cJSON *json,
    ngx_http_retry_chain_term_t *term,
    ngx_http_retry_chain_operand_t *operand);


/* machine_jsonata.c */

/* whether the text is "{% ... %}"; what is between */
ngx_uint_t ngx_http_retry_chain_machine_expression(const char *text,
    ngx_str_t *inner);

/* what the expression is; unknown if it is more than a path */
ngx_http_retry_chain_term_t *ngx_http_retry_chain_machine_evaluate(
    ngx_http_retry_chain_machine_t *m, ngx_str_t *inner,
    ngx_http_retry_chain_scope_t *scope);

/* the condition that the expression is */
ngx_int_t ngx_http_retry_chain_machine_jsonata(
    ngx_http_retry_chain_machine_t *m, cJSON *json, ngx_str_t *inner,
    ngx_http_retry_chain_term_t *input,
    ngx_http_retry_chain_condition_t *cond);


/* machine_plan.c: the plan of nodes that have been compiled */

ngx_int_t ngx_http_retry_chain_machine_emit(ngx_http_retry_chain_machine_t *m);


#endif /* _NGX_HTTP_RETRY_CHAIN_MACHINE_PARTS_H_INCLUDED_ */
